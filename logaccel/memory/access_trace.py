"""Accesses of a layer at every level in the order of time: array, fills and write-backs merged, memory bounded.

Three streams go through the tiles on their own, each in the order of time: what the array reads and writes, what the
channel brings into the scratchpads, what it takes from them. The one that is behind goes on, and rows before all
three are given out. Two tiles lie one after the other in a scratchpad; each new block takes the place that the block
before left. Where maps that stay on chip lie: logaccel.memory.map_places.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from logaccel.arch import Memory
from logaccel.memory import accesses, transfers
from logaccel.memory.map_places import Gaps, LaneMap, Spot, Spots, empty
from logaccel.memory.tiles import Mapping, TiledLayer
from logaccel.memory.walk import PlacedTile, walk

Counts = NDArray[np.int64]
LEVELS = ("ifmap", "filter", "ofmap", "dram")


class Kind(NamedTuple):
    """What an access is: where, read or write, of which operand."""

    level: str
    access: str
    operand: str


KINDS = (
    Kind("ifmap", "read", "ifmap"), Kind("filter", "read", "filter"), Kind("ofmap", "read", "psum"),
    Kind("ofmap", "write", "psum"), Kind("ofmap", "write", "ofmap"),  # as logaccel.memory.accesses numbers them
    Kind("ifmap", "write", "ifmap"), Kind("filter", "write", "filter"), Kind("ofmap", "read", "ofmap"),
    Kind("dram", "read", "ifmap"), Kind("dram", "read", "filter"), Kind("dram", "write", "ofmap"),
    Kind("ifmap", "write", "ofmap"),
    *(Kind(level, access, operand) for operand in ("input", "residual")  # of the work between layers
      for level, access in (("ofmap", "read"), ("ofmap", "write"), ("ifmap", "read"), ("dram", "read"))),
)  # fmt: skip
HANDED, READ_RESIDUAL = 11, KINDS.index(Kind("ifmap", "read", "residual"))
FILL, CROSS = {"ifmap": 5, "filter": 6, "ofmap": 7}, {"ifmap": 8, "filter": 9, "ofmap": 10}


@dataclass(frozen=True)
class Rows:
    """Accesses of one level: runs of words that follow one another in one cycle. Arrays run over rows."""

    cycle: Counts
    kind: Counts  # of KINDS
    address: Counts  # first word: of a scratchpad, or of the tensor in DRAM
    words: Counts


class _Placed(NamedTuple):
    tile: PlacedTile
    half: dict[str, int]  # of each scratchpad, 0 or 1


Written = dict[str, list[Counts]]  # level → arrays of [cycle, kind, address]
Stream = Iterator[tuple[Written, int]]  # with the cycle before which no other row of the stream will come


def trace_layer(
    tiled: TiledLayer, mapping: Mapping, memory: Memory, spots: Spots | None = None
) -> Iterator[tuple[str, Rows]]:
    """Yield (level, rows); of each level in the order of cycles, which count from the layer's start.

    spots: of `layer_spots`; None: nothing else is in the ifmap scratchpad, and its own ifmap lies at the beginning.
    """
    if spots is None:
        spots = _alone(tiled, mapping, memory)
    array = _array(tiled, mapping, memory, spots)
    return merged([array, _fills(tiled, mapping, memory, spots), _write_backs(tiled, mapping, memory)])


def merged(streams: list[Stream]) -> Iterator[tuple[str, Rows]]:
    """Yield (level, rows) of several streams, each in the order of cycles; of each level in that order."""
    marks = [0] * len(streams)
    pending: Written = {level: [] for level in LEVELS}
    while streams:
        behind = marks.index(min(marks))
        found = next(streams[behind], None)
        if found is None:
            del streams[behind], marks[behind]
        else:
            block, marks[behind] = found
            for level, arrays in block.items():
                pending[level] += arrays
        for level in LEVELS:
            if pending[level]:
                rows = np.concatenate(pending[level])
                ready = rows[:, 0] < min(marks) if marks else np.full(len(rows), True)
                pending[level] = [rows[~ready]] if not ready.all() else []
                if ready.any():
                    yield level, _runs(rows[ready])


def half_words(tiled: TiledLayer, mapping: Mapping) -> dict[str, int]:
    """Return how far apart the two tiles of each scratchpad lie: the words of a full tile."""
    widths = tiled.widths
    bits = {"ifmap": widths.ifmap_bits, "filter": widths.filter_bits, "ofmap": widths.psum_bits}
    moved = replace(tiled, ifmap_on_chip=False, ofmap_on_chip=False, waiting_bits=0)
    return {level: both // 2 // bits[level] for level, both in moved.footprint_bits(mapping).items()}


def layer_spots(tiled: TiledLayer, mapping: Mapping, maps: tuple[Spot | None, Spot | None], gaps: Gaps) -> Spots:
    """Return where ifmap and ofmap of a layer lie: maps, if they stay on chip; else two tiles, in the gaps."""
    ifmap, ofmap = maps
    if ifmap is None:
        bits = tiled.widths.ifmap_bits
        ifmap = Spot(gaps.take(2 * half_words(tiled, mapping)["ifmap"] * bits, from_end=False)[0], bits)
    return Spots(ifmap, ofmap)


def _alone(tiled: TiledLayer, mapping: Mapping, memory: Memory) -> Spots:
    gaps, words, widths = empty(8 * memory.ifmap.bytes), transfers.tensor_words(tiled), tiled.widths
    ifmap = ofmap = None
    if tiled.ifmap_on_chip:
        room, gaps = gaps.take(words["ifmap"] * widths.ifmap_bits, from_end=False)
        ifmap = Spot(room, widths.ifmap_bits)
    if tiled.ofmap_on_chip:
        room, gaps = gaps.take(words["ofmap"] * widths.ofmap_bits, from_end=True)
        ofmap = Spot(room, widths.ofmap_bits)
    return layer_spots(tiled, mapping, (ifmap, ofmap), gaps)


def _placed(tiled: TiledLayer, mapping: Mapping, memory: Memory) -> Iterator[_Placed]:
    half = {"ifmap": 1, "filter": 1, "ofmap": 1}
    for tile in walk(tiled, mapping, memory):
        work = tile.spans.work
        half["ifmap"] ^= work.ifmap_read_bits > 0
        half["filter"] ^= work.filter_read_bits > 0
        half["ofmap"] ^= tile.place.ifmap_channels[0] == 0
        yield _Placed(tile, dict(half))


def _array(tiled: TiledLayer, mapping: Mapping, memory: Memory, spots: Spots) -> Stream:
    half_size = half_words(tiled, mapping)
    for tile, half in _placed(tiled, mapping, memory):
        start = tile.spans.busy.start
        for found, elapsed in accesses.TileAccesses(tiled, tile.place, memory).windows():
            block: Written = {}
            for item in found:
                kind, level = item.what, KINDS[item.what].level
                if kind == accesses.WRITE_OFMAP and spots.residual is not None:
                    word = transfers.ofmap_word(tiled, tile.place, item.address)
                    block.setdefault("ifmap", []).append(_residual(spots.residual, start + item.cycle, word))
                if kind == accesses.READ_IFMAP:
                    before = 0 if tiled.ifmap_on_chip else half[level] * half_size[level]
                    address = spots.ifmap.address(before + item.address)
                elif kind == accesses.WRITE_OFMAP and spots.ofmap is not None:
                    kind, level = HANDED, "ifmap"
                    address = spots.ofmap.address(transfers.ofmap_word(tiled, tile.place, item.address))
                else:
                    address = half[level] * half_size[level] + item.address
                block.setdefault(level, []).append(rows_of(start + item.cycle, kind, address))
            yield block, start + elapsed


def _residual(own: LaneMap, cycle: Counts, ofmap_word: Counts) -> Counts:
    """Return what the lane reads of a residual on chip: a word beside each finished word of the layer."""
    assert own.spot is not None
    word = own.map_words(ofmap_word)
    real = word >= 0
    return rows_of(cycle[real], READ_RESIDUAL, own.spot.address(word[real]))


def _fills(tiled: TiledLayer, mapping: Mapping, memory: Memory, spots: Spots) -> Stream:
    half_size, dram = half_words(tiled, mapping), memory.dram
    for tile, half in _placed(tiled, mapping, memory):
        for moved in transfers.reads(tiled, tile, dram):
            if moved.tensor == "ifmap" and spots.ifmap_in_map is not None:
                in_map = np.maximum(spots.ifmap_in_map(moved.in_dram), 0)  # zeros of a pad: at the first word
                moved = replace(moved, in_dram=in_map)
            address = half[moved.tensor] * half_size[moved.tensor] + moved.in_tile
            yield _crossing(moved, spots.ifmap.address(address) if moved.tensor == "ifmap" else address)


def _write_backs(tiled: TiledLayer, mapping: Mapping, memory: Memory) -> Stream:
    half_size, dram = half_words(tiled, mapping), memory.dram
    for tile, half in _placed(tiled, mapping, memory):
        for moved in transfers.writes(tiled, tile, dram):
            yield _crossing(moved, half["ofmap"] * half_size["ofmap"] + moved.in_tile)


def _crossing(moved: transfers.Moved, address: Counts) -> tuple[Written, int]:
    block = {
        moved.tensor: [rows_of(moved.cycle, FILL[moved.tensor], address)],
        "dram": [rows_of(moved.cycle, CROSS[moved.tensor], moved.in_dram)],
    }
    return block, int(moved.cycle[-1])


def rows_of(cycle: Counts, kind: int, address: Counts) -> Counts:
    """Return single words as rows [cycle, kind, address]."""
    return np.stack((cycle, np.full_like(cycle, kind), address), axis=1)


def _runs(rows: Counts) -> Rows:
    """Sort by cycle, kind and address, and join words that follow one another."""
    rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]
    step = np.diff(rows, axis=0)
    starts = np.flatnonzero(np.concatenate(([True], (step != (0, 0, 1)).any(axis=1))))
    words = np.diff(np.append(starts, len(rows)))
    return Rows(rows[starts, 0], rows[starts, 1], rows[starts, 2], words)
