"""Where the tiles of a layer lie: their blocks of the layer, and the bits of these blocks in DRAM.

In DRAM the tensors of a layer lie one after another, words packed, each tensor from a whole burst on:

    ifmap [N, C, H, W] │ filters [M, C/groups, R, S] │ ofmap [N, M, P, Q]

So a block is some runs of consecutive bits at even distances: rows of an image and channel, or whole maps on end.
"""

from collections.abc import Iterator
from typing import NamedTuple

from logaccel.memory.tiles import Block, Mapping, TiledLayer, blocks


class Place(NamedTuple):
    """The block of a layer that a tile computes: first and end along each axis."""

    group: int
    images: Block
    ofmap_rows: Block
    ofmap_channels: Block  # of the group
    ifmap_channels: Block  # of the group


def places(tiled: TiledLayer, mapping: Mapping) -> Iterator[Place]:
    """Yield the blocks of the tiles in the order in which logaccel.memory.tiles draws their loops."""
    ofmap_channels, ifmap_channels = tiled.group_channels
    slices = blocks(ofmap_channels, mapping.ofmap_channels)
    depths = blocks(ifmap_channels, mapping.ifmap_channels)
    maps = [
        (images, rows)
        for images in blocks(tiled.batch, mapping.images)
        for rows in blocks(tiled.layer.out_size[0], mapping.ofmap_rows)
    ]
    outer = mapping.order == "channels"
    for group in range(tiled.layer.groups):
        for first in slices if outer else maps:
            for second in maps if outer else slices:
                (images, rows), channels = (second, first) if outer else (first, second)
                for depth in depths:
                    yield Place(group, images, rows, channels, depth)  # type: ignore[arg-type]


class Runs(NamedTuple):
    """`bits` from bit `first` on, `times` times at a distance of `stride`, and all that again; nothing if bits is 0."""

    first: int
    bits: int
    times: int
    stride: int
    outer_times: int
    outer_stride: int


NOTHING = Runs(0, 0, 0, 0, 0, 0)


class Layout:
    """The tensors of a layer in DRAM."""

    def __init__(self, tiled: TiledLayer, burst_bits: int) -> None:
        layer, widths = tiled.layer, tiled.widths
        self._layer, self._widths = layer, widths
        self._ofmap_channels, self._ifmap_channels = tiled.group_channels
        ifmap = tiled.batch * layer.in_channels * layer.in_size[0] * layer.in_size[1] * widths.ifmap_bits
        filters = tiled.filter_bits(layer.out_channels, self._ifmap_channels)
        self.filter_base = -(-ifmap // burst_bits) * burst_bits
        self.ofmap_base = self.filter_base + -(-int(filters) // burst_bits) * burst_bits

    def ifmap(self, place: Place) -> Runs:
        """Return the ifmap rows that a tile needs; padding is not stored."""
        layer, (first, end) = self._layer, place.ofmap_rows
        top = max(0, first * layer.stride[0] - layer.padding[0])
        reach = (end - 1) * layer.stride[0] - layer.padding[0] + layer.dilation[0] * (layer.kernel[0] - 1) + 1
        rows = (top, max(top, min(layer.in_size[0], reach)))
        channels = (layer.in_channels, place.group * self._ifmap_channels, place.ifmap_channels)
        return _maps(0, place.images, channels, rows, layer.in_size, self._widths.ifmap_bits)

    def filter(self, place: Place) -> Runs:
        """Return the filters of a tile."""
        taps = self._layer.kernel[0] * self._layer.kernel[1] * self._widths.filter_bits
        whole = self._ifmap_channels * taps
        first, end = (place.group * self._ofmap_channels + channel for channel in place.ofmap_channels)
        depth = place.ifmap_channels
        at = self.filter_base + first * whole + depth[0] * taps
        return _joined(Runs(at, (depth[1] - depth[0]) * taps, end - first, whole, 1, 0))

    def ofmap(self, place: Place) -> Runs:
        """Return the ofmap rows of a tile."""
        channels = (self._layer.out_channels, place.group * self._ofmap_channels, place.ofmap_channels)
        size, bits = self._layer.out_size, self._widths.ofmap_bits
        return _maps(self.ofmap_base, place.images, channels, place.ofmap_rows, size, bits)


def _maps(
    base: int, images: Block, channels: tuple[int, int, Block], rows: Block, size: tuple[int, int], bits: int
) -> Runs:
    """Return rows of some channels (all, first of the group, block in it) of some images, maps of a size."""
    every, group, (first, end) = channels
    plane = size[0] * size[1] * bits
    at = base + (images[0] * every + group + first) * plane + rows[0] * size[1] * bits
    if rows[1] <= rows[0]:
        return NOTHING
    row_bits = (rows[1] - rows[0]) * size[1] * bits
    return _joined(Runs(at, row_bits, end - first, plane, images[1] - images[0], every * plane))


def _joined(runs: Runs) -> Runs:
    """Return the same bits in as few runs as possible: those on end are one."""
    first, bits, times, stride, outer_times, outer_stride = runs
    if times == 1 or stride == bits:
        bits, times, stride = bits * times, outer_times, outer_stride
        if times == 1 or stride == bits:
            bits, times = bits * times, 1
        return Runs(first, bits, times, stride, 1, 0)
    return runs
