"""Layers as matrix operands: ifmaps to A[pixel, k]; filters are W[m, k] as they lie. Codes in, codes out."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.formats.encode import Codes
from logaccel.jit import parallel_kernel, parallel_range
from logaccel.workload import Layer

_STRIP = 4096  # columns counted by one task
_BYTE_ROWS = 127  # rows that a byte can count
_LINE = 64  # 8-bit codes of a cache line


def lowered_ifmap(layer: Layer, ifmap: NDArray[Any], group: int, words: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield (first pixel, A[pixel, k]) of one group, about so many words at a time; k = (c·R + r)·S + s, padding is 0.

    All of them lie in the same memory: use one before the next is made.
    """
    maps, pixels = _group_maps(layer, ifmap, group), len(ifmap) * layer.out_size[0] * layer.out_size[1]
    reduction = maps.shape[1] * layer.kernel[0] * layer.kernel[1]
    step = -(-pixels // -(-pixels * reduction // words))
    plain = _is_plain(layer)
    lowered = np.empty((0 if plain else step, reduction), maps.dtype)
    for first in range(0, pixels, step):
        end = min(first + step, pixels)
        if plain:
            yield first, maps.reshape(pixels, reduction)[first:end]
            continue
        own = lowered[: end - first]
        _lower(maps, first, layer.out_size, layer.kernel, layer.stride, layer.padding[:2], layer.dilation, own)
        yield first, own


def _is_plain(layer: Layer) -> bool:
    """Whether the ifmap is A[pixel, k] as it lies."""
    return layer.kernel == layer.in_size == (1, 1) and layer.padding == (0, 0, 0, 0)


def _group_maps(layer: Layer, ifmap: NDArray[Any], group: int) -> NDArray[Any]:
    """Return maps[n, c, h, w] of the group's channels."""
    depth = layer.in_channels // layer.groups
    maps = ifmap.reshape(len(ifmap), layer.in_channels, *layer.in_size)
    return np.ascontiguousarray(maps[:, group * depth : (group + 1) * depth])


@parallel_kernel
def _lower(
    maps: NDArray[Any],
    first: int,
    out_size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    margin: tuple[int, int],
    dilation: tuple[int, int],
    lowered: NDArray[Any],
) -> None:
    """Fill lowered[pixel, k] from maps[n, c, h, w], pixel = (n·P + p)·Q + q counted from `first`."""
    channels, high, wide = maps.shape[1:]
    words = maps.reshape(-1)
    for row in parallel_range(lowered.shape[0]):
        image, place = divmod(np.int64(first) + np.int64(row), out_size[0] * out_size[1])
        p, q = divmod(place, out_size[1])
        w0 = q * stride[1] - margin[1]
        k, step, taps = np.uint64(0), np.uint64(dilation[1]), np.uint64(kernel[1])
        whole = w0 >= 0 and w0 + (kernel[1] - 1) * dilation[1] < wide
        for c in range(channels):
            for r in range(kernel[0]):
                h = p * stride[0] - margin[0] + r * dilation[0]
                if whole and 0 <= h < high:
                    own = np.uint64(((image * channels + c) * high + h) * wide + w0)
                    for s in range(taps):
                        lowered[row, k + s] = words[own + s * step]
                else:
                    for s in range(kernel[1]):
                        w = w0 + s * dilation[1]
                        inside = 0 <= h < high and 0 <= w < wide
                        lowered[row, k + np.uint64(s)] = maps[image, c, h, w] if inside else 0
                k += taps


def group_filters(layer: Layer, filters: Codes) -> Codes:
    """Return W[group, m, k] of filters[M, C/groups, R, S]: a view of the same memory."""
    return np.ascontiguousarray(filters).reshape(layer.groups, layer.out_channels // layer.groups, -1)


def count_live(layer: Layer, ifmap: Codes, group: int) -> NDArray[np.int64]:
    """Return, for every k, how many pixels meet an activation that is not zero: nnz(A[:, k])."""
    maps = _group_maps(layer, ifmap, group)
    counts = np.zeros((maps.shape[1], *layer.kernel), np.int64)
    if _is_plain(layer):
        count_kept(maps.reshape(maps.shape[:2]), counts.reshape(-1))
        return counts.reshape(-1)
    _count_live(maps, layer.out_size, layer.stride, layer.padding[:2], layer.dilation, counts)
    return counts.reshape(-1)


@parallel_kernel
def _count_live(
    maps: Codes,
    out_size: tuple[int, int],
    stride: tuple[int, int],
    margin: tuple[int, int],
    dilation: tuple[int, int],
    counts: NDArray[np.int64],
) -> None:
    """Add to counts[c, r, s] from maps[n, c, h, w]: every line is counted once for each s, and used for every r."""
    images, _, high, wide = maps.shape
    for c in parallel_range(maps.shape[1]):
        lines = np.empty(high, np.int64)
        for n in range(images):
            for s in range(counts.shape[2]):
                w0 = s * dilation[1] - margin[1]
                for h in range(high):
                    found = np.int64(0)
                    for q in range(out_size[1]):
                        w = w0 + q * stride[1]
                        if 0 <= w < wide:
                            found += np.int64(maps[n, c, h, w] != 0)
                    lines[h] = found
                for r in range(counts.shape[1]):
                    for p in range(out_size[0]):
                        h = p * stride[0] - margin[0] + r * dilation[0]
                        if 0 <= h < high:
                            counts[c, r, s] += lines[h]


@parallel_kernel
def count_kept(codes: Codes, counts: NDArray[np.int64]) -> None:
    """Set counts[k] to how many of codes[row, k] are not zero."""
    rows, columns = codes.shape
    for strip in parallel_range((columns + _STRIP - 1) // _STRIP):
        k0 = np.int64(strip) * _STRIP
        wide = np.uint64(min(_STRIP, columns - k0))
        found = np.zeros(wide, np.int64)
        for first in range(0, rows, _BYTE_ROWS):
            few = np.zeros(wide, np.int8)
            for row in range(np.uint64(first), np.uint64(min(first + _BYTE_ROWS, rows))):
                for k in range(wide):  # an index that cannot be negative: this loop vectorises
                    few[k] = np.int8(few[k] + np.int8(codes[row, np.uint64(k0) + k] != 0))
            for k in range(wide):
                found[k] += np.int64(few[k])
        counts[k0 : k0 + np.int64(wide)] = found


def turn_weights(weights: Codes) -> Codes:
    """Return W[k, m] of W[m, k], contiguous in the channels."""
    turned = np.empty(weights.shape[::-1], weights.dtype)
    _turn(weights, turned)
    return turned


@parallel_kernel
def _turn(rows: Codes, turned: Codes) -> None:
    """Turn rows[m, k] into turned[k, m], a cache line's square at a time."""
    for block in parallel_range((rows.shape[0] + _LINE - 1) // _LINE):
        m0 = np.int64(block) * _LINE
        m1 = min(m0 + _LINE, rows.shape[0])
        for k0 in range(0, rows.shape[1], _LINE):
            for k in range(k0, min(k0 + _LINE, rows.shape[1])):
                for m in range(m0, m1):
                    turned[k, m] = rows[m, k]
