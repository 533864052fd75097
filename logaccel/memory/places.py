"""Where the tiles of a layer lie: their blocks of the layer, and the bits of these blocks in DRAM.

In DRAM the tensors of a layer lie one after another, words packed, each tensor from a whole burst on:

    ifmap [N, C, H, W] │ filters [M, C/groups, R, S] │ ofmap [N, M, P, Q]

So a block is some runs of consecutive bits at even distances: rows of an image and channel, parts of each of these
rows, or whole maps on end.
"""

from collections.abc import Iterator
from typing import NamedTuple

from logaccel.memory.tiles import Block, Mapping, TiledLayer, blocks, stored_span


class Place(NamedTuple):
    """The block of a layer that a tile computes: first and end along each axis."""

    group: int
    images: Block
    ofmap_rows: Block
    ofmap_columns: Block
    ofmap_channels: Block  # of the group
    ifmap_channels: Block  # of the group


def places(tiled: TiledLayer, mapping: Mapping) -> Iterator[Place]:
    """Yield the blocks of the tiles in the order in which logaccel.memory.tiles draws their loops."""
    ofmap_channels, ifmap_channels = tiled.group_channels
    slices = blocks(ofmap_channels, mapping.ofmap_channels)
    depths = blocks(ifmap_channels, mapping.ifmap_channels)
    outer = mapping.order == "channels"
    for group in range(tiled.layer.groups):
        for first in slices if outer else tiled.map_blocks(mapping):
            for second in tiled.map_blocks(mapping) if outer else slices:
                where, channels = (second, first) if outer else (first, second)
                for depth in depths:
                    yield Place(group, *where, channels, depth)  # type: ignore[call-arg]


class Runs(NamedTuple):
    """`bits` from bit `first` on, `times` times at a distance of `stride`, and all that again; nothing if bits is 0."""

    first: int
    bits: int
    times: int
    stride: int
    outer_times: int
    outer_stride: int


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

    def ifmap(self, place: Place) -> tuple[Runs, ...]:
        """Return the part of the ifmap that a tile needs; padding is not stored."""
        layer = self._layer
        part = (stored_span(layer, 0, place.ofmap_rows), stored_span(layer, 1, place.ofmap_columns))
        channels = (layer.in_channels, place.group * self._ifmap_channels, place.ifmap_channels)
        return _maps(0, place.images, channels, part, _Maps(layer.in_size, self._widths.ifmap_bits))

    def filter(self, place: Place) -> tuple[Runs, ...]:
        """Return the filters of a tile."""
        taps = self._layer.kernel[0] * self._layer.kernel[1] * self._widths.filter_bits
        whole = self._ifmap_channels * taps
        first, end = (place.group * self._ofmap_channels + channel for channel in place.ofmap_channels)
        depth = place.ifmap_channels
        at = self.filter_base + first * whole + depth[0] * taps
        return (_joined(Runs(at, (depth[1] - depth[0]) * taps, end - first, whole, 1, 0)),)

    def ofmap(self, place: Place) -> tuple[Runs, ...]:
        """Return the part of the ofmap that a tile computes."""
        channels = (self._layer.out_channels, place.group * self._ofmap_channels, place.ofmap_channels)
        part = (place.ofmap_rows, place.ofmap_columns)
        return _maps(
            self.ofmap_base, place.images, channels, part, _Maps(self._layer.out_size, self._widths.ofmap_bits)
        )


class _Maps(NamedTuple):
    """Size of the maps of a tensor, and the bits of its words."""

    size: tuple[int, int]
    word_bits: int


def _maps(
    base: int, images: Block, channels: tuple[int, int, Block], part: tuple[Block, Block], maps: _Maps
) -> tuple[Runs, ...]:
    """Return rows and columns of some channels (all, first of the group, block in it) of some images.

    Of whole rows one run a channel; of parts of rows one a row, image after image.
    """
    (every, group, (first, end)), (rows, columns), (size, bits) = channels, part, maps
    line, plane = size[1] * bits, size[0] * size[1] * bits
    at = base + (images[0] * every + group + first) * plane + rows[0] * line + columns[0] * bits
    number, height, width = images[1] - images[0], rows[1] - rows[0], (columns[1] - columns[0]) * bits
    if not height or not width:
        return ()
    if width == line:
        return (_joined(Runs(at, height * line, end - first, plane, number, every * plane)),)
    one_image = Runs(at, width, height, line, end - first, plane)
    return tuple(one_image._replace(first=at + image * every * plane) for image in range(number))


def _joined(runs: Runs) -> Runs:
    """Return the same bits in as few runs as possible: those on end are one."""
    first, bits, times, stride, outer_times, outer_stride = runs
    if times == 1 or stride == bits:
        bits, times, stride = bits * times, outer_times, outer_stride
        if times == 1 or stride == bits:
            bits, times = bits * times, 1
        return Runs(first, bits, times, stride, 1, 0)
    return runs
