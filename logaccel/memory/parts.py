"""The parts of a layer's tensors that its tiles read and write, as bits in DRAM.

In DRAM the tensors of a layer lie one after another, words packed, each tensor from a whole burst on:

    ifmap [N, C, H, W] │ filters [M, C/groups, R, S] │ ofmap [N, M, P, Q]

So a part is some runs of consecutive bits at even distances: rows of an image and channel, parts of each of these
rows, or whole maps on end. All parts of a mapping are laid out at once, in arrays over the blocks of its loops:

    [group, images, ofmap rows, ofmap columns, ofmap channels, ifmap channels]
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from logaccel.memory.tiles import Block, Mapping, TiledLayer, blocks, stored_span

Counts = NDArray[np.int64]
Span = tuple[Counts, Counts]  # first and end of each block
GROUP, IMAGES, ROWS, COLUMNS, OFMAP_CHANNELS, IFMAP_CHANNELS, AXES = range(7)
RUN_FIELDS = 8  # first, bits, and thrice: times, stride


class Parts(NamedTuple):
    """Parts of the three tensors, and which of them each tile has.

    A part is `bits` bits from bit `first` on, `times` times at a distance of `stride`, all that again at a second
    distance, and all that again at a third one; runs on end are one, and where there are no bits or times is nothing.
    """

    runs: Counts  # [part, field]: first, bits, times, stride, times, stride, times, stride
    of_tiles: Counts  # [tile, tensor]: of ifmap, filters and ofmap, in the order in which the tiles run


class _Maps(NamedTuple):
    """A tensor of maps: where it begins, channels of an image, rows and columns, bits of a word."""

    base: int
    channels: int
    size: tuple[int, int]
    word_bits: int


def lay_out(tiled: TiledLayer, mapping: Mapping, burst_bits: int) -> Parts:
    """Lay out what every tile needs of the ifmap (padding is not stored) and of the filters, and what it computes."""
    layer, widths, (ofmap_channels, ifmap_channels) = tiled.layer, tiled.widths, tiled.group_channels
    rows, columns = blocks(layer.out_size[0], mapping.ofmap_rows), blocks(layer.out_size[1], mapping.ofmap_columns)
    read = (
        _span(ROWS, [stored_span(layer, 0, block) for block in rows]),
        _span(COLUMNS, [stored_span(layer, 1, block) for block in columns]),
    )
    group = _along(GROUP, range(layer.groups))
    images = _span(IMAGES, blocks(tiled.batch, mapping.images))
    slices = _span(OFMAP_CHANNELS, blocks(ofmap_channels, mapping.ofmap_channels))
    depths = _span(IFMAP_CHANNELS, blocks(ifmap_channels, mapping.ifmap_channels))
    own = _from(slices, group * ofmap_channels)

    ifmap = _Maps(0, layer.in_channels, layer.in_size, widths.ifmap_bits)
    filter_base = _whole(prod(layer.ifmap_shape(tiled.batch)) * widths.ifmap_bits, burst_bits)
    ofmap_base = filter_base + _whole(tiled.filter_bits(layer.out_channels, ifmap_channels), burst_bits)
    ofmap = _Maps(ofmap_base, layer.out_channels, layer.out_size, widths.ofmap_bits)
    taps_bits = layer.kernel[0] * layer.kernel[1] * widths.filter_bits
    stride = ifmap_channels * taps_bits
    of_filters = filter_base + own[0] * stride + depths[0] * taps_bits
    tensors = (
        _of_maps(ifmap, images, _from(depths, group * ifmap_channels), read),
        _joined(of_filters, _length(depths) * taps_bits, ((_length(own), stride), (1, 0), (1, 0))),
        _of_maps(ofmap, images, own, (_span(ROWS, rows), _span(COLUMNS, columns))),
    )
    return Parts(np.concatenate([runs.reshape(-1, RUN_FIELDS) for runs in tensors]), _of_tiles(tensors, mapping))


def _of_tiles(tensors: Sequence[Counts], mapping: Mapping) -> Counts:
    """Number the parts of all tensors and return which of them each tile has."""
    shapes = [runs.shape[:-1] for runs in tensors]
    first = [sum(prod(shape) for shape in shapes[:index]) for index in range(len(shapes))]
    numbers = [at + np.arange(prod(shape)).reshape(shape) for at, shape in zip(first, shapes, strict=True)]
    whole = np.stack(np.broadcast_arrays(*numbers), axis=-1)
    if mapping.order == "channels":
        whole = np.moveaxis(whole, OFMAP_CHANNELS, IMAGES)
    return whole.reshape(-1, len(tensors))


def _of_maps(maps: _Maps, images: Span, channels: Span, part: tuple[Span, Span]) -> Counts:
    """Lay out rows and columns of some channels of some images."""
    rows, columns = part
    line = maps.size[1] * maps.word_bits
    plane = maps.size[0] * line
    image = maps.channels * plane
    first = maps.base + images[0] * image + channels[0] * plane + rows[0] * line + columns[0] * maps.word_bits
    levels = (_length(rows), line), (_length(channels), plane), (_length(images), image)
    return _joined(first, _length(columns) * maps.word_bits, levels)


def _joined(first: Counts, bits: Counts, levels: Sequence[tuple[Counts | int, int]]) -> Counts:
    """Return runs[…, field] of bits that come again at three levels: as few as possible, those on end are one."""
    first, bits, *again = np.broadcast_arrays(first, bits, *(number for level in levels for number in level))
    for _ in levels:
        on_end = (again[0] == 1) | (again[1] == bits)
        bits = np.where(on_end, bits * again[0], bits)
        outer = [*again[2:], np.array(1), np.array(0)]
        again = [np.where(on_end, further, number) for further, number in zip(outer, again, strict=True)]
    return np.stack([first, bits, *again], axis=-1)


def _along(axis: int, numbers: Sequence[int]) -> Counts:
    """Return numbers along one axis of the arrays."""
    shape = [1] * AXES
    shape[axis] = len(numbers)
    return np.array(numbers, dtype=np.int64).reshape(shape)


def _span(axis: int, along: Sequence[Block]) -> Span:
    """Return first and end of blocks along one axis."""
    return _along(axis, [first for first, _ in along]), _along(axis, [end for _, end in along])


def _from(span: Span, begin: Counts) -> Span:
    """Return blocks that are counted from elsewhere."""
    return span[0] + begin, span[1] + begin


def _length(span: Span) -> Counts:
    """Return the lengths of blocks."""
    return span[1] - span[0]


def _whole(bits: int, burst_bits: int) -> int:
    """Return bits in whole bursts."""
    return -(-bits // burst_bits) * burst_bits
