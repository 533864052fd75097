"""A layer cut into tiles that fit the scratchpads, and the DRAM words each tile moves.

    for group:
      for block of ofmap channels:            (`channels` outer; `pixels` outer exchanges the two loops)
        for block of images, ofmap rows and ofmap columns:
          for block of ifmap channels:        WS and IS: psums stay on chip; OS: one block, the whole K
            ──────────── DRAM │ scratchpads ────────────
            folds of the tile's own matrix

An operand that the tile before it used stays; every other is read from DRAM. Ifmap blocks hold the rows that the
ofmap rows need, whole ones or, for a part of the ofmap columns, the columns that these need; overlaps again each
time; padding is not stored. Ofmap words are written once.

Handed over on chip: the post-processing lane writes the finished words of the whole ofmap into a part of the
ifmap scratchpad, beside the tiles (or the whole ifmap) of the layer that runs, and beside maps that others will read;
there its readers find them. Neither crosses the channel. In OS nothing waits in the ofmap scratchpad then; in WS and
IS raw psums still do.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple, TypeVar

import numpy as np

from logaccel.arch import Dataflow, Order, PEArray
from logaccel.memory.loops import Run, Runs, convert, nest, split_first
from logaccel.memory.timing import TileWork
from logaccel.memory.widths import WordWidths
from logaccel.schedule.cycles import compute_cycles
from logaccel.workload import Layer, MatrixShape

Block = tuple[int, int]  # first, end
T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Mapping:
    """Sizes of a full tile and the outer loop."""

    images: int
    ofmap_rows: int
    ofmap_columns: int
    ofmap_channels: int
    ifmap_channels: int
    order: Order

    def __str__(self) -> str:
        return (
            f"images {self.images}, ofmap rows {self.ofmap_rows}, ofmap columns {self.ofmap_columns}, "
            f"ofmap channels {self.ofmap_channels}, ifmap channels {self.ifmap_channels}, {self.order} outer"
        )


class AxisBlock(NamedTuple):
    """Ofmap rows or columns of a tile: how many, those of the ifmap that they need, and the padding before those."""

    size: int
    stored: int
    before: int


class Map(NamedTuple):
    """The part of the ofmap's maps that a tile covers, and of the ifmap's that it needs."""

    images: int
    rows: AxisBlock
    columns: AxisBlock

    @property
    def pixels(self) -> int:
        """Ofmap pixels."""
        return self.images * self.rows.size * self.columns.size

    @property
    def stored_words(self) -> int:
        """Words of one ifmap channel."""
        return self.images * self.rows.stored * self.columns.stored


class Tile(NamedTuple):
    """One kind of tile: its sizes, which operands it reads, and whether it finishes or begins its outputs."""

    map: Map
    channels: int
    ifmap_channels: int
    new_ifmap: bool
    new_filter: bool
    last: bool
    first: bool = True


@dataclass(frozen=True)
class TiledLayer:
    """One layer with everything that its tiles depend on."""

    layer: Layer
    batch: int
    array: PEArray
    dataflow: Dataflow
    widths: WordWidths
    clock_mhz: float = 500.0  # of the array: what a DRAM device with its own clock needs to know
    ifmap_on_chip: bool = False  # it lies whole in the ifmap scratchpad
    ofmap_on_chip: bool = False  # the lane writes it there, whole, for those that read it
    waiting_bits: int = 0  # of other maps that lie there while the layer runs

    @property
    def group_channels(self) -> tuple[int, int]:
        """Ofmap and ifmap channels of one group."""
        return self.layer.out_channels // self.layer.groups, self.layer.in_channels // self.layer.groups

    def ifmap_bits(self, where: Map, ifmap_channels: int) -> int:
        """Return the bits of the ifmap that a block needs; padding is not stored."""
        return where.stored_words * ifmap_channels * self.widths.ifmap_bits

    def filter_bits(self, ofmap_channels: Any, ifmap_channels: Any) -> Any:
        """Return the bits of a block of filters."""
        taps = self.layer.kernel[0] * self.layer.kernel[1]
        return ofmap_channels * ifmap_channels * taps * self.widths.filter_bits

    def footprint_bits(self, mapping: Mapping) -> dict[str, int]:
        """Return what two full tiles (one in use, one on its way), or a whole map, need of each scratchpad."""
        pixels = (mapping.images, mapping.ofmap_rows, mapping.ofmap_columns)
        needs = self.footprints_bits(pixels, mapping.ofmap_channels, mapping.ifmap_channels)
        return {name: int(bits) for name, bits in needs.items()}

    def footprints_bits(self, pixels: tuple[Any, Any, Any], ofmap_channels: Any, ifmap_channels: Any) -> dict[str, Any]:
        """Return the same for many mappings at once: the sizes of their tiles broadcast.

        pixels: images, ofmap rows, ofmap columns.
        """
        layer, (images, rows, columns) = self.layer, pixels
        ifmap = images * most_stored(layer, 0, rows) * most_stored(layer, 1, columns) * ifmap_channels
        outputs = images * rows * columns * ofmap_channels
        whole = prod(layer.ofmap_shape(self.batch)) * self.widths.ofmap_bits if self.ofmap_on_chip else 0
        tiles = 2 * ifmap * self.widths.ifmap_bits
        if self.ifmap_on_chip:
            tiles = prod(layer.ifmap_shape(self.batch)) * self.widths.ifmap_bits + 0 * ifmap
        waiting = 0 if self.ofmap_on_chip and self.dataflow == "os" else 2  # OS: nothing waits below the array
        return {
            "ifmap": tiles + whole + self.waiting_bits,
            "filter": 2 * self.filter_bits(ofmap_channels, ifmap_channels),
            "ofmap": waiting * outputs * self.widths.psum_bits,
        }

    def tiles(self, mapping: Mapping) -> Iterator[TileWork]:
        """Yield the tiles in the order in which they run."""
        ofmap_channels, ifmap_channels = self.group_channels
        depths = blocks(ifmap_channels, mapping.ifmap_channels)
        kept: dict[str, object] = {}
        for group in range(self.layer.groups):
            for at, channels in self._outputs(mapping, ofmap_channels):
                images, rows, columns = at
                where = Map(
                    images[1] - images[0], axis_block(self.layer, 0, rows), axis_block(self.layer, 1, columns)
                )  # fmt: skip
                for depth in depths:
                    ifmap, filters = (group, at, depth), (group, channels, depth)
                    size = (channels[1] - channels[0], depth[1] - depth[0])
                    new_ifmap = self.ifmap_bits(where, size[1]) if kept.get("ifmap") != ifmap else 0
                    new_ifmap = 0 if self.ifmap_on_chip else new_ifmap
                    new_filters = self.filter_bits(*size) if kept.get("filter") != filters else 0
                    kept = {"ifmap": ifmap, "filter": filters}
                    outputs = where.pixels * size[0]
                    written = 0 if self.ofmap_on_chip or depth != depths[-1] else outputs * self.widths.ofmap_bits
                    yield TileWork(new_ifmap, new_filters, self._compute_cycles(where.pixels, *size), written)

    def loops(self, mapping: Mapping) -> Runs[Tile]:
        """Return the tiles as loops of equal ones, in the order in which they run: what `tiles` yields, but few."""
        ofmap_channels, whole = self.group_channels
        maps = self._map_runs(mapping)
        channels = _runs(ofmap_channels, mapping.ofmap_channels)
        depths = _runs(whole, mapping.ifmap_channels)
        if mapping.order == "channels":
            outputs = nest(channels, lambda number: convert(maps, lambda where: (where, number)))
        else:
            outputs = nest(maps, lambda where: convert(channels, lambda number: (where, number)))
        if depths != (Run(whole, 1),):
            group = nest(outputs, lambda output: _reduction(output, depths))
        elif mapping.order == "channels":
            group = _kept(channels, maps, lambda n, where, outer, inner: Tile(where, n, whole, inner, outer, True))
        else:
            group = _kept(maps, channels, lambda where, n, outer, inner: Tile(where, n, whole, outer, inner, True))
        return (Run(group, self.layer.groups),)

    def work(self, tile: Tile) -> TileWork:
        """Return what a tile moves and computes."""
        pixels, new_ifmap = tile.map.pixels, tile.new_ifmap and not self.ifmap_on_chip
        return TileWork(
            ifmap_read_bits=self.ifmap_bits(tile.map, tile.ifmap_channels) if new_ifmap else 0,
            filter_read_bits=self.filter_bits(tile.channels, tile.ifmap_channels) if tile.new_filter else 0,
            compute_cycles=self._compute_cycles(pixels, tile.channels, tile.ifmap_channels),
            write_bits=pixels * tile.channels * self.widths.ofmap_bits if tile.last and not self.ofmap_on_chip else 0,
        )

    def map_blocks(self, mapping: Mapping) -> Iterator[tuple[Block, Block, Block]]:
        """Yield the blocks of images, ofmap rows and ofmap columns in the order in which they run."""
        height, width = self.layer.out_size
        sizes = ((self.batch, mapping.images), (height, mapping.ofmap_rows), (width, mapping.ofmap_columns))
        return product(*(blocks(size, step) for size, step in sizes))  # type: ignore[return-value]

    def _map_runs(self, mapping: Mapping) -> Runs[Map]:
        """Return the same as loops of equal ones."""
        rows, columns = axis_runs(self.layer, 0, mapping.ofmap_rows), axis_runs(self.layer, 1, mapping.ofmap_columns)
        whole = columns[0].body if columns == (Run(columns[0].body, 1),) else None

        def of_images(images: int) -> Runs[Map]:
            if whole is not None:  # a loop of one pass less
                return convert(rows, lambda row: Map(images, row, whole))  # type: ignore[arg-type]
            return nest(rows, lambda row: convert(columns, lambda column: Map(images, row, column)))

        return nest(_runs(self.batch, mapping.images), of_images)

    def _outputs(self, mapping: Mapping, ofmap_channels: int) -> Iterator[tuple[tuple[Block, Block, Block], Block]]:
        slices = blocks(ofmap_channels, mapping.ofmap_channels)
        if mapping.order == "channels":
            yield from ((where, channels) for channels in slices for where in self.map_blocks(mapping))
        else:
            yield from ((where, channels) for where in self.map_blocks(mapping) for channels in slices)

    def _compute_cycles(self, pixels: int, channels: int, ifmap_channels: int) -> int:
        reduction = ifmap_channels * self.layer.kernel[0] * self.layer.kernel[1]
        return compute_cycles(MatrixShape(1, pixels, channels, reduction), self.array, self.dataflow)


def _reduction(output: tuple[Map, int], depths: Runs[int]) -> Runs[Tile]:
    """Return the K slices of one output, two or more: each reads both operands, the last one finishes it."""
    where, channels = output
    begin, slices = split_first(convert(depths, lambda depth: Tile(where, channels, depth, True, True, False, False)))
    (body, count), rest = slices[-1], slices[:-1]
    if count > 1:
        rest = (*rest, Run(body, count - 1))
    return (Run(begin._replace(first=True), 1), *rest, Run(body._replace(last=True), 1))  # type: ignore[union-attr]


def _kept(outer: Runs[T], inner: Runs[U], tile: Callable[[T, U, bool, bool], Tile]) -> Runs[Tile]:
    """Return two loops around tiles that hold the whole reduction.

    The operand of the outer loop is read once a pass; that of the inner loop for each tile, or only once if
    there is but one block of it. tile(outer, inner, whether the outer operand is new, whether the inner one is).
    """
    alone, others = split_first(inner)
    if not others:
        first, rest = split_first(outer)
        return (Run(tile(first, alone, True, True), 1), *convert(rest, lambda block: tile(block, alone, True, False)))
    return nest(
        outer,
        lambda block: (
            Run(tile(block, alone, True, True), 1),
            *convert(others, lambda other: tile(block, other, False, True)),
        ),
    )


@lru_cache(maxsize=4096)
def axis_runs(layer: Layer, axis: int, step: int) -> Runs[AxisBlock]:
    """Return the blocks of ofmap rows (axis 0) or columns (1), equal neighbours as one run."""
    runs: list[Run[AxisBlock]] = []
    for at in blocks(layer.out_size[axis], step):
        block = axis_block(layer, axis, at)
        if runs and runs[-1].body == block:
            runs[-1] = Run(block, runs[-1].times + 1)
        else:
            runs.append(Run(block, 1))
    return tuple(runs)


def axis_block(layer: Layer, axis: int, block: Block) -> AxisBlock:
    """Return what a block of ofmap rows (axis 0) or columns (1) needs."""
    first, end = stored_span(layer, axis, block)
    before = max(0, layer.padding[axis] - block[0] * layer.stride[axis])
    return AxisBlock(block[1] - block[0], end - first, before)


def stored_span(layer: Layer, axis: int, block: Block) -> Block:
    """Return the first ifmap row or column that a block of the ofmap needs, and the end; padding is not stored.

    All ofmap columns need whole rows: these lie on end in DRAM.
    """
    size = layer.in_size[axis]
    if axis == 1 and block == (0, layer.out_size[1]):
        return 0, size
    first = block[0] * layer.stride[axis] - layer.padding[axis]
    end = first + _reach(layer, axis, block[1] - block[0])
    first = max(0, first)
    return first, max(first, min(size, end))


def most_stored(layer: Layer, axis: int, sizes: Any) -> Any:
    """Return how many ifmap rows or columns the blocks of an axis cut in so many need at most.

    Not always the reach of a block: of two blocks each one sees the padding at its own side.
    """
    kinds, which = np.unique(sizes, return_inverse=True)
    most = [max(run.body.stored for run in axis_runs(layer, axis, int(size))) for size in kinds]  # type: ignore[union-attr]
    return np.array(most, dtype=np.int64)[which].reshape(np.shape(sizes))


def _reach(layer: Layer, axis: int, size: int) -> int:
    """Return the distance from the first to after the last ifmap row or column of a block, padding included."""
    return (size - 1) * layer.stride[axis] + layer.dilation[axis] * (layer.kernel[axis] - 1) + 1


def _runs(size: int, step: int) -> Runs[int]:
    return tuple(Run(length, count) for length, count in _lengths(size, step).items())


def _lengths(size: int, step: int) -> dict[int, int]:
    """Return how many blocks of which length an axis has."""
    full, ragged = divmod(size, step)
    return ({step: full} if full else {}) | ({ragged: 1} if ragged else {})


def blocks(size: int, step: int) -> list[Block]:
    """Return an axis cut into blocks: full ones first, the ragged one last."""
    return [(first, min(first + step, size)) for first in range(0, size, step)]
