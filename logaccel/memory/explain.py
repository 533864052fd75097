"""What a mapping means: its loops from DRAM to the array, what stays while they run, what it needs of each level."""

from dataclasses import dataclass, replace

from logaccel.arch import Memory, Objective
from logaccel.memory.mapper import MappedLayer
from logaccel.memory.tiles import Mapping, TiledLayer, most_stored

AXES = {"os": ("pixels", "ofmap channels", "k"), "ws": ("k", "ofmap channels", "pixels"),
        "is": ("k", "pixels", "ofmap channels")}  # rows, columns, stream  # fmt: skip
OTHERS = "other maps, kept on chip"  # of whatever words: counted in bits
STAYS = {"os": "psums", "ws": "weights", "is": "activations"}


@dataclass(frozen=True)
class Loop:
    """One loop: so many blocks of so many (the last one `ragged`, if it is smaller), and what its body keeps."""

    level: str  # DRAM, scratchpads (folds) or array
    over: str
    blocks: int
    size: int
    ragged: int | None = None
    keeps: str = ""


@dataclass(frozen=True)
class Contents:
    """Words, by axis, that lie in a scratchpad: two tiles, or one whole map."""

    what: str
    copies: int
    words: tuple[int, ...]
    word_bits: int


@dataclass(frozen=True)
class Room:
    """What lies in a scratchpad, and how much of it that takes."""

    contents: tuple[Contents, ...]
    need_bytes: int
    capacity_bytes: int


def loop_nest(tiled: TiledLayer, mapping: Mapping) -> tuple[Loop, ...]:
    """Return the loops, outermost first, down to the stream of one fold; loops of one pass are left out.

    Those over DRAM blocks run the tiles; the others run the folds of a full tile.
    """
    ofmap_channels, ifmap_channels = tiled.group_channels
    deep = mapping.ifmap_channels < ifmap_channels
    channels = _loop("DRAM", "ofmap channels", ofmap_channels, mapping.ofmap_channels)
    height, width = tiled.layer.out_size
    maps: tuple[Loop, ...] = (
        _loop("DRAM", "images", tiled.batch, mapping.images),
        _loop("DRAM", "ofmap rows", height, mapping.ofmap_rows),
    )
    if mapping.ofmap_columns < width:
        maps = (*maps, _loop("DRAM", "ofmap columns", width, mapping.ofmap_columns))
    outer, inner = ((channels,), maps) if mapping.order == "channels" else (maps, (channels,))
    kept, other = ("filter", "ifmap") if mapping.order == "channels" else ("ifmap", "filter")
    if not deep and any(loop.blocks > 1 for loop in inner):
        outer = (*outer[:-1], replace(outer[-1], keeps=f"a block of the {kept} stays for each"))
    elif not deep:
        outer = (*outer[:-1], replace(outer[-1], keeps=f"the {other} stays for all"))
    depth = _loop("DRAM", "ifmap channels", ifmap_channels, mapping.ifmap_channels)
    depth = replace(depth, keeps="psums stay in the ofmap scratchpad")
    nest = [_loop("DRAM", "groups", tiled.layer.groups, 1), *outer, *inner, depth]
    shown = [loop for loop in nest if loop.blocks > 1 or (loop.keeps and loop is not depth)]
    return (*shown, *_folds(tiled, mapping))


def _folds(tiled: TiledLayer, mapping: Mapping) -> tuple[Loop, ...]:
    """Return the loops within a full tile: over its folds, and the stream of one of them."""
    taps = tiled.layer.kernel[0] * tiled.layer.kernel[1]
    sizes = {
        "pixels": mapping.images * mapping.ofmap_rows * mapping.ofmap_columns,
        "ofmap channels": mapping.ofmap_channels,
        "k": mapping.ifmap_channels * taps,
    }
    rows, columns, stream = AXES[tiled.dataflow]
    array = tiled.array
    folds = [
        _loop("scratchpads", columns, sizes[columns], min(array.cols, sizes[columns])),
        _loop("scratchpads", rows, sizes[rows], min(array.rows, sizes[rows])),
    ]
    if tiled.dataflow != "os":
        folds[1] = replace(folds[1], keeps="psums stay in the ofmap scratchpad")
    used = f"{STAYS[tiled.dataflow]} stay in {folds[1].size} × {folds[0].size} PEs ({rows} × {columns})"
    stream_loop = Loop("array", stream, 1, sizes[stream], keeps=used)
    return (*(loop for loop in folds if loop.blocks > 1), stream_loop)


def _loop(level: str, over: str, size: int, step: int) -> Loop:
    blocks, ragged = -(-size // step), size % step
    return Loop(level, over, blocks, step, ragged if ragged and blocks > 1 else None)


def rooms(tiled: TiledLayer, mapping: Mapping, memory: Memory) -> dict[str, Room]:
    """Return what lies in each scratchpad, and how much of it that takes."""
    layer, widths = tiled.layer, tiled.widths
    stored = (int(most_stored(layer, 0, mapping.ofmap_rows)), int(most_stored(layer, 1, mapping.ofmap_columns)))
    ifmap_words = (mapping.images, mapping.ifmap_channels, *stored)
    ofmap_words = (mapping.images, mapping.ofmap_channels, mapping.ofmap_rows, mapping.ofmap_columns)
    ifmap = Contents("tiles", 2, ifmap_words, widths.ifmap_bits)
    filters = Contents("tiles", 2, (mapping.ofmap_channels, mapping.ifmap_channels, *layer.kernel), widths.filter_bits)
    ofmap: tuple[Contents, ...] = (Contents("tiles", 2, ofmap_words, widths.psum_bits),)
    if tiled.ifmap_on_chip:
        ifmap = Contents("whole, kept on chip", 1, layer.ifmap_shape(tiled.batch), widths.ifmap_bits)
    handed: tuple[Contents, ...] = ()
    if tiled.ofmap_on_chip:
        ofmap = () if tiled.dataflow == "os" else ofmap
        shape = layer.ofmap_shape(tiled.batch)
        handed = (Contents("whole ofmap, kept on chip", 1, shape, widths.ofmap_bits),)
    if tiled.waiting_bits:
        handed += (Contents(OTHERS, 1, (tiled.waiting_bits,), 1),)
    contents = {"ifmap": (ifmap, *handed), "filter": (filters,), "ofmap": ofmap}
    need, capacity = tiled.footprint_bits(mapping), memory.capacity_bytes
    return {name: Room(contents[name], -(-need[name] // 8), capacity[name]) for name in contents}


def relative_cost(best: MappedLayer, other: MappedLayer, objective: Objective) -> float:
    """Return how much more the other one costs, as a share of the best; 0 for equals."""
    own, others = best.cost(objective)[0], other.cost(objective)[0]
    return others / own - 1 if own else 0.0


def differences(best: MappedLayer, other: MappedLayer) -> dict[str, float]:
    """Return what the other one has more (less: negative) of: cycles by cause, DRAM bits by operand, energy."""
    found: dict[str, float] = {
        "compute_cycles": other.compute_cycles - best.compute_cycles,
        "stall_cycles": other.stall_cycles - best.stall_cycles,
        "dram_ifmap_bits": other.dram_ifmap_bits - best.dram_ifmap_bits,
        "dram_filter_bits": other.dram_filter_bits - best.dram_filter_bits,
        "dram_write_bits": other.dram_write_bits - best.dram_write_bits,
    }
    if best.energy_pj is not None and other.energy_pj is not None:
        found["energy_pj"] = other.energy_pj - best.energy_pj
    return found
