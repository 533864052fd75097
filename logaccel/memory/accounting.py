"""What a tiled layer reads and writes at each level, in words and bits, in closed form.

    DRAM ──fill──► ifmap, filter scratchpads ──read──► array ──► psums, ofmap words ──► ofmap scratchpad ──► DRAM
                                                         ▲                                    │
                                                         └──── raw psums of the K slice before ┘

Each tile is a matrix product of its own, so the layer's activity is the sum over its tiles. Psums stay on chip
between the tiles of one output: the first K slice of a later block of ifmap channels takes them up again. Only the
last K slice of all leaves through the post-processing lane, as ofmap words; every other leaves raw psums (WS, IS).
tests/test_accounting.py walks every fold of every tile and counts the same words one by one.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

from logaccel.memory.loops import total
from logaccel.memory.tiles import Mapping, TiledLayer, axis_runs, blocks
from logaccel.schedule.activity import matrix_activity
from logaccel.schedule.record import Activity
from logaccel.workload import Layer, MatrixShape


@dataclass(frozen=True)
class Flow:
    """Words, and their bits, that go out of (read) and into (write) one memory."""

    read_words: int = 0
    read_bits: int = 0
    write_words: int = 0
    write_bits: int = 0

    @property
    def bits(self) -> int:
        """Both ways."""
        return self.read_bits + self.write_bits

    def __add__(self, other: "Flow") -> "Flow":
        return Flow(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Flow)))


@dataclass(frozen=True)
class Traffic:
    """What each memory moved. `psum` and `ofmap` share the ofmap scratchpad: raw psums, and words of the next layer.

    ifmap, filter: writes are fills, reads go to the array (padding is not read). ofmap: reads are write-backs.
    handed: words of maps that stay on chip, which the lanes write into the ifmap scratchpad, and read there.
    """

    ifmap: Flow
    filter: Flow
    psum: Flow
    ofmap: Flow
    dram_ifmap: Flow
    dram_filter: Flow
    dram_ofmap: Flow
    handed: Flow = Flow()

    @property
    def dram(self) -> Flow:
        """All that crosses the channel."""
        return self.dram_ifmap + self.dram_filter + self.dram_ofmap

    @property
    def ifmap_reuse(self) -> float | None:
        """How often a filled ifmap word is read by the array (taps, passes over channels); None where none was."""
        return self.ifmap.read_words / self.ifmap.write_words if self.ifmap.write_words else None

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Traffic)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class TiledWork:
    """Folds, used PEs (summed over folds), activity and traffic of all tiles of a layer."""

    folds: int
    used_pes: int
    activity: Activity
    traffic: Traffic


def count_work(tiled: TiledLayer, mapping: Mapping, live_products: int | None = None) -> TiledWork:
    """Return the sums over all tiles. live_products depends on the data, not on the tiles: given, or None."""
    layer, widths = tiled.layer, tiled.widths
    counts, folds, used = _sum_of_tiles(tiled, mapping)
    outputs = tiled.batch * layer.out_channels * layer.out_size[0] * layer.out_size[1]
    stationary = tiled.dataflow != "os"
    if stationary:
        counts["psum_reads"] += outputs * (len(blocks(tiled.group_channels[1], mapping.ifmap_channels)) - 1)
    activity = Activity(**counts, live_products=live_products)

    ifmap_fills, filter_fills = _words_filled(tiled, mapping)
    ifmap_fills = 0 if tiled.ifmap_on_chip else ifmap_fills
    handed, drained = (outputs, 0) if tiled.ofmap_on_chip else (0, outputs)
    read = _moved(widths.ifmap_bits, _ifmap_words_read(tiled, mapping), ifmap_fills)
    filters = _moved(widths.filter_bits, activity.filter_reads, filter_fills)
    psums = activity.psum_writes - outputs if stationary else 0
    traffic = Traffic(
        ifmap=read,
        filter=filters,
        psum=_moved(widths.psum_bits, activity.psum_reads, psums),
        ofmap=_moved(widths.ofmap_bits, drained, drained),
        handed=_moved(widths.ofmap_bits, 0, handed),
        dram_ifmap=_moved(widths.ifmap_bits, ifmap_fills, 0),
        dram_filter=_moved(widths.filter_bits, filter_fills, 0),
        dram_ofmap=_moved(widths.ofmap_bits, 0, drained),
    )
    return TiledWork(folds, used, activity, traffic)


def _moved(bits: int, read_words: int, write_words: int) -> Flow:
    return Flow(read_words, read_words * bits, write_words, write_words * bits)


def _words_filled(tiled: TiledLayer, mapping: Mapping) -> tuple[int, int]:
    """Return the words that all tiles bring into the ifmap and the filter scratchpad.

    A block stays where the next tile needs the same. So the operand of the outer loop comes once, and the other once
    for each of its rounds; with several blocks of ifmap channels neither stays, and with one block neither goes.
    """
    layer, (channels, depth) = tiled.layer, tiled.group_channels
    images = len(blocks(tiled.batch, mapping.images))
    rows, columns = axis_runs(layer, 0, mapping.ofmap_rows), axis_runs(layer, 1, mapping.ofmap_columns)
    maps = images * total(rows, lambda block: 1) * total(columns, lambda block: 1)
    slices = len(blocks(channels, mapping.ofmap_channels))
    deep = mapping.ifmap_channels < depth
    ifmap_rounds = slices if deep or (maps > 1 and mapping.order == "channels") else 1
    filter_rounds = maps if deep or (slices > 1 and mapping.order == "pixels") else 1
    stored = total(rows, lambda block: block.stored) * total(columns, lambda block: block.stored)
    ifmap = tiled.batch * depth * stored
    filters = tiled.filter_bits(channels, depth) // tiled.widths.filter_bits
    return layer.groups * ifmap * ifmap_rounds, layer.groups * filters * filter_rounds


def taps_inside(layer: Layer) -> tuple[int, int]:
    """Return how many (ofmap row, filter row) pairs meet a row of the ifmap, and how many of the columns a column."""
    found = []
    for axis in range(2):
        size, taps, stride, dilation = (
            side[axis] for side in (layer.in_size, layer.kernel, layer.stride, layer.dilation)
        )
        first = -layer.padding[axis]
        found.append(
            sum(
                _taps_in(first + place * stride, taps, dilation, size) for place in range(layer.out_size[axis])
            )
        )  # fmt: skip
    return found[0], found[1]


def _taps_in(start: int, taps: int, dilation: int, size: int) -> int:
    """Return how many of start, start + dilation, … lie in 0 … size − 1."""
    before = min(taps, max(0, -(start // dilation)))
    end = min(taps, max(0, -((start - size) // dilation)))
    return end - before


def _ifmap_words_read(tiled: TiledLayer, mapping: Mapping) -> int:
    """Return the ifmap words that the array fetches: no padding, once a pass over the channels of a tile.

    IS keeps them while all channels stream by: once a tile.
    """
    channels, depth = tiled.group_channels
    rows, columns = taps_inside(tiled.layer)
    sizes = [end - first for first, end in blocks(channels, mapping.ofmap_channels)]
    passes = sum(1 if tiled.dataflow == "is" else -(-size // tiled.array.cols) for size in sizes)
    return tiled.layer.groups * tiled.batch * depth * rows * columns * passes


def _sum_of_tiles(tiled: TiledLayer, mapping: Mapping) -> tuple[dict[str, int], int, int]:
    """Return activity, folds and used PEs, tiles of one shape counted at once."""
    layer, (channels, depth) = tiled.layer, tiled.group_channels
    counts = {field.name: 0 for field in fields(Activity) if field.name != "live_products"}
    folds = used = 0
    for shape, times in _tile_shapes(tiled, mapping, channels, depth).items():
        times *= layer.groups
        one = matrix_activity(shape, tiled.array, tiled.dataflow)
        for key in counts:
            counts[key] += times * getattr(one, key)
        rows = shape.pixels if tiled.dataflow == "os" else shape.reduction
        cols = shape.pixels if tiled.dataflow == "is" else shape.channels
        folds += times * -(-rows // tiled.array.rows) * -(-cols // tiled.array.cols)
        used += times * rows * cols
    return counts, folds, used


def _tile_shapes(tiled: TiledLayer, mapping: Mapping, channels: int, depth: int) -> dict[MatrixShape, int]:
    """Return the matrices of the tiles of one group, and how many tiles have each."""
    layer, found = tiled.layer, dict[MatrixShape, int]()
    taps = layer.kernel[0] * layer.kernel[1]
    for images, n_images in _lengths(tiled.batch, mapping.images):
        for number, n_number in _lengths(channels, mapping.ofmap_channels):
            for deep, n_deep in _lengths(depth, mapping.ifmap_channels):
                for rows, n_rows in _lengths(layer.out_size[0], mapping.ofmap_rows):
                    for columns, n_columns in _lengths(layer.out_size[1], mapping.ofmap_columns):
                        shape = MatrixShape(1, images * rows * columns, number, deep * taps)
                        times = n_images * n_rows * n_columns * n_number * n_deep
                        found[shape] = found.get(shape, 0) + times
    return found


def _lengths(size: int, step: int) -> list[tuple[int, int]]:
    """Return (length, number) of the blocks of an axis."""
    full, ragged = divmod(size, step)
    return [(step, full)] * (full > 0) + [(ragged, 1)] * (ragged > 0)
