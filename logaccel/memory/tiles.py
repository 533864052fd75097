"""A layer cut into tiles that fit the scratchpads, and the DRAM words each tile moves.

    for group:
      for block of ofmap channels:            (`channels` outer; `pixels` outer exchanges the two loops)
        for block of images and ofmap rows:
          for block of ifmap channels:        WS and IS: psums stay on chip; OS: one block, the whole K
            ──────────── DRAM │ scratchpads ────────────
            folds of the tile's own matrix

An operand that the tile before it used stays; every other is read from DRAM. Ifmap blocks hold whole rows,
those that the ofmap rows need, overlaps again each time; padding is not stored. Ofmap words are written once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal

from logaccel.arch import Dataflow, PEArray
from logaccel.memory.timing import TileWork
from logaccel.memory.widths import WordWidths
from logaccel.schedule.cycles import compute_cycles
from logaccel.workload import Layer, MatrixShape

Order = Literal["channels", "pixels"]
Block = tuple[int, int]  # first, end


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


@dataclass(frozen=True)
class TiledLayer:
    """One layer with everything that its tiles depend on."""

    layer: Layer
    batch: int
    array: PEArray
    dataflow: Dataflow
    widths: WordWidths

    @property
    def group_channels(self) -> tuple[int, int]:
        """Ofmap and ifmap channels of one group."""
        return self.layer.out_channels // self.layer.groups, self.layer.in_channels // self.layer.groups

    def ifmap_bits(self, images: int, rows: Block, ifmap_channels: int) -> int:
        """Return the bits of the ifmap rows that a block of ofmap rows needs; padding is not stored."""
        layer = self.layer
        top, step = layer.padding[0], layer.stride[0]
        first = max(0, rows[0] * step - top)
        end = min(layer.in_size[0], (rows[1] - 1) * step - top + layer.dilation[0] * (layer.kernel[0] - 1) + 1)
        words = images * max(0, end - first) * layer.in_size[1] * ifmap_channels
        return words * self.widths.ifmap_bits

    def filter_bits(self, ofmap_channels: int, ifmap_channels: int) -> int:
        """Return the bits of a block of filters."""
        taps = self.layer.kernel[0] * self.layer.kernel[1]
        return ofmap_channels * ifmap_channels * taps * self.widths.filter_bits

    def footprint_bits(self, mapping: Mapping) -> dict[str, int]:
        """Return what two full tiles (one in use, one on its way) need of each scratchpad."""
        layer = self.layer
        reach = (mapping.ofmap_rows - 1) * layer.stride[0] + layer.dilation[0] * (layer.kernel[0] - 1) + 1
        rows = min(layer.in_size[0], reach)
        outputs = mapping.images * mapping.ofmap_rows * layer.out_size[1] * mapping.ofmap_channels
        ifmap_words = mapping.images * rows * layer.in_size[1] * mapping.ifmap_channels
        return {
            "ifmap": 2 * ifmap_words * self.widths.ifmap_bits,
            "filter": 2 * self.filter_bits(mapping.ofmap_channels, mapping.ifmap_channels),
            "ofmap": 2 * outputs * self.widths.psum_bits,
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
                    new_filters = self.filter_bits(size[1], size[2]) if kept.get("filter") != filters else 0
                    kept = {"ifmap": ifmap, "filter": filters}
                    outputs = size[0] * (rows[1] - rows[0]) * self.layer.out_size[1] * size[1]
                    written = outputs * self.widths.ofmap_bits if depth == depths[-1] else 0
                    compute = self._compute_cycles(outputs // size[1], size[1], size[2])
                    yield TileWork(new_ifmap, new_filters, compute, written)

    def totals(self, mapping: Mapping) -> TileWork:
        """Return the sums over all tiles, in closed form (tests add the tiles up).

        With one block an axis does not evict; filters are read again for each block of the map if the loops
        between change them, ifmaps again for each block of ofmap channels likewise.
        """
        ofmap_channels, ifmap_channels = self.group_channels
        images, rows = _lengths(self.batch, mapping.images), blocks(self.layer.out_size[0], mapping.ofmap_rows)
        channels = _lengths(ofmap_channels, mapping.ofmap_channels)
        depths = _lengths(ifmap_channels, mapping.ifmap_channels)
        maps, slices = sum(images.values()) * len(rows), sum(channels.values())
        deep = sum(depths.values()) > 1
        filter_passes = maps if deep or (slices > 1 and mapping.order == "pixels") else 1
        ifmap_passes = slices if deep or (maps > 1 and mapping.order == "channels") else 1
        ifmap = sum(self.ifmap_bits(self.batch, block, ifmap_channels) for block in rows)
        heights = _lengths(self.layer.out_size[0], mapping.ofmap_rows)
        compute = sum(
            n_images * n_rows * n_channels * n_depths
            * self._compute_cycles(image * height * self.layer.out_size[1], channel, depth)
            for image, n_images in images.items()
            for height, n_rows in heights.items()
            for channel, n_channels in channels.items()
            for depth, n_depths in depths.items()
        )  # fmt: skip
        filters = self.filter_bits(ofmap_channels, ifmap_channels)
        outputs = self.batch * self.layer.out_size[0] * self.layer.out_size[1] * ofmap_channels
        groups = self.layer.groups
        return TileWork(
            groups * ifmap * ifmap_passes,
            groups * filters * filter_passes,
            groups * compute,
            groups * outputs * self.widths.ofmap_bits,
        )

    def edge_bits(self, mapping: Mapping) -> tuple[int, int]:
        """Return what the first tile reads and what the last tile writes: neither hides behind the array."""
        height = self.layer.out_size[0]
        ifmap = self.ifmap_bits(mapping.images, (0, mapping.ofmap_rows), mapping.ifmap_channels)
        read = ifmap + self.filter_bits(mapping.ofmap_channels, mapping.ifmap_channels)
        last = [
            end - first
            for first, end in (
                blocks(self.batch, mapping.images)[-1],
                blocks(height, mapping.ofmap_rows)[-1],
                blocks(self.group_channels[0], mapping.ofmap_channels)[-1],
            )
        ]
        return read, prod(last) * self.layer.out_size[1] * self.widths.ofmap_bits

    def reads(self, mapping: Mapping) -> int:
        """Return how many tiles surely read: all (neighbours share one operand at most), or 0 if ifmaps are padding."""
        rows = blocks(self.layer.out_size[0], mapping.ofmap_rows)
        if not all(self.ifmap_bits(1, block, 1) for block in rows):
            return 0
        ofmap_channels, ifmap_channels = self.group_channels
        maps = len(blocks(self.batch, mapping.images)) * len(rows)
        depths = len(blocks(ifmap_channels, mapping.ifmap_channels))
        return self.layer.groups * maps * len(blocks(ofmap_channels, mapping.ofmap_channels)) * depths

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


def _lengths(size: int, step: int) -> dict[int, int]:
    """Return how many blocks of which length an axis has."""
    full, ragged = divmod(size, step)
    return ({step: full} if full else {}) | ({ragged: 1} if ragged else {})


def blocks(size: int, step: int) -> list[Block]:
    """Return an axis cut into blocks: full ones first, the ragged one last."""
    return [(first, min(first + step, size)) for first in range(0, size, step)]
