"""A layer cut into tiles that fit the scratchpads, and the DRAM words each tile moves.

    for group:
      for block of ofmap channels:            (`channels` outer; `pixels` outer exchanges the two loops)
        for block of images and ofmap rows:
          for block of ifmap channels:        WS and IS: psums stay on chip; OS: one block, the whole K
            ──────────── DRAM │ scratchpads ────────────
            folds of the tile's own matrix

An operand that the tile before it used stays; every other is read from DRAM. Ifmap blocks hold whole rows,
those that the ofmap rows need, overlaps again each time; padding is not stored. Ofmap words are written once.

Handed over on chip: the post-processing lane writes the finished words of the whole ofmap into a part of the
ifmap scratchpad, beside the tiles (or the whole ifmap) of the layer that runs, and beside maps that others will read;
there its readers find them. Neither crosses the channel. In OS nothing waits in the ofmap scratchpad then; in WS and
IS raw psums still do.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
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
    ofmap_channels: int
    ifmap_channels: int
    order: Order

    def __str__(self) -> str:
        return (
            f"images {self.images}, ofmap rows {self.ofmap_rows}, ofmap channels {self.ofmap_channels}, "
            f"ifmap channels {self.ifmap_channels}, {self.order} outer"
        )


class RowBlock(NamedTuple):
    """Ofmap rows of a tile: how many, the ifmap rows that they need, and the rows of padding above those."""

    rows: int
    stored: int
    above: int


class Map(NamedTuple):
    """The part of the ofmap's maps that a tile covers."""

    images: int
    block: RowBlock


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

    def ifmap_bits(self, images: int, rows: Block, ifmap_channels: int) -> int:
        """Return the bits of the ifmap rows that a block of ofmap rows needs; padding is not stored."""
        stored = _stored_rows(self.layer, *rows)[1]
        return images * stored * self.layer.in_size[1] * ifmap_channels * self.widths.ifmap_bits

    def filter_bits(self, ofmap_channels: Any, ifmap_channels: Any) -> Any:
        """Return the bits of a block of filters."""
        taps = self.layer.kernel[0] * self.layer.kernel[1]
        return ofmap_channels * ifmap_channels * taps * self.widths.filter_bits

    def footprint_bits(self, mapping: Mapping) -> dict[str, int]:
        """Return what two full tiles (one in use, one on its way), or a whole map, need of each scratchpad."""
        sizes = (mapping.images, mapping.ofmap_rows, mapping.ofmap_channels, mapping.ifmap_channels)
        return {name: int(bits) for name, bits in self.footprints_bits(*sizes).items()}

    def footprints_bits(self, images: Any, ofmap_rows: Any, ofmap_channels: Any, ifmap_channels: Any) -> dict[str, Any]:
        """Return the same for many mappings at once: the sizes of their tiles broadcast."""
        layer = self.layer
        reach = (ofmap_rows - 1) * layer.stride[0] + layer.dilation[0] * (layer.kernel[0] - 1) + 1
        ifmap = images * np.minimum(layer.in_size[0], reach) * layer.in_size[1] * ifmap_channels
        outputs = images * ofmap_rows * layer.out_size[1] * ofmap_channels
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
            for images, rows, channels in self._outputs(mapping, ofmap_channels):
                for depth in depths:
                    ifmap, filters = (group, images, rows, depth), (group, channels, depth)
                    size = (images[1] - images[0], channels[1] - channels[0], depth[1] - depth[0])
                    new_ifmap = self.ifmap_bits(size[0], rows, size[2]) if kept.get("ifmap") != ifmap else 0
                    new_ifmap = 0 if self.ifmap_on_chip else new_ifmap
                    new_filters = self.filter_bits(size[1], size[2]) if kept.get("filter") != filters else 0
                    kept = {"ifmap": ifmap, "filter": filters}
                    outputs = size[0] * (rows[1] - rows[0]) * self.layer.out_size[1] * size[1]
                    written = 0 if self.ofmap_on_chip or depth != depths[-1] else outputs * self.widths.ofmap_bits
                    compute = self._compute_cycles(outputs // size[1], size[1], size[2])
                    yield TileWork(new_ifmap, new_filters, compute, written)

    def loops(self, mapping: Mapping) -> Runs[Tile]:
        """Return the tiles as loops of equal ones, in the order in which they run: what `tiles` yields, but few."""
        ofmap_channels, whole = self.group_channels
        rows = row_runs(self.layer, mapping.ofmap_rows)
        maps: Runs[Map] = tuple(
            Run(convert(rows, lambda block, images=images: Map(images, block)), count)  # type: ignore[misc]
            for images, count in _lengths(self.batch, mapping.images).items()
        )
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
        images, block = tile.map
        ifmap = images * block.stored * self.layer.in_size[1] * tile.ifmap_channels * self.widths.ifmap_bits
        pixels = images * block.rows * self.layer.out_size[1]
        return TileWork(
            ifmap_read_bits=ifmap if tile.new_ifmap and not self.ifmap_on_chip else 0,
            filter_read_bits=self.filter_bits(tile.channels, tile.ifmap_channels) if tile.new_filter else 0,
            compute_cycles=self._compute_cycles(pixels, tile.channels, tile.ifmap_channels),
            write_bits=pixels * tile.channels * self.widths.ofmap_bits if tile.last and not self.ofmap_on_chip else 0,
        )

    def _outputs(self, mapping: Mapping, ofmap_channels: int) -> Iterator[tuple[Block, Block, Block]]:
        maps = [
            (images, rows)
            for images in blocks(self.batch, mapping.images)
            for rows in blocks(self.layer.out_size[0], mapping.ofmap_rows)
        ]
        slices = blocks(ofmap_channels, mapping.ofmap_channels)
        if mapping.order == "channels":
            yield from ((*where, channels) for channels in slices for where in maps)
        else:
            yield from ((*where, channels) for where in maps for channels in slices)

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
def row_runs(layer: Layer, step: int) -> Runs[RowBlock]:
    """Return the blocks of ofmap rows, equal neighbours as one run."""
    runs: list[Run[RowBlock]] = []
    for first, end in blocks(layer.out_size[0], step):
        above, stored = _stored_rows(layer, first, end)
        block = RowBlock(end - first, stored, above)
        if runs and runs[-1].body == block:
            runs[-1] = Run(block, runs[-1].times + 1)
        else:
            runs.append(Run(block, 1))
    return tuple(runs)


def _stored_rows(layer: Layer, first: int, end: int) -> tuple[int, int]:
    """Return how many rows of padding lie above a block of ofmap rows, and how many rows it needs from the ifmap."""
    top = first * layer.stride[0] - layer.padding[0]
    bottom = (end - 1) * layer.stride[0] - layer.padding[0] + layer.dilation[0] * (layer.kernel[0] - 1) + 1
    return max(0, -top), max(0, min(layer.in_size[0], bottom) - max(0, top))


def _runs(size: int, step: int) -> Runs[int]:
    return tuple(Run(length, count) for length, count in _lengths(size, step).items())


def _lengths(size: int, step: int) -> dict[int, int]:
    """Return how many blocks of which length an axis has."""
    full, ragged = divmod(size, step)
    return ({step: full} if full else {}) | ({ragged: 1} if ragged else {})


def blocks(size: int, step: int) -> list[Block]:
    """Return an axis cut into blocks: full ones first, the ragged one last."""
    return [(first, min(first + step, size)) for first in range(0, size, step)]
