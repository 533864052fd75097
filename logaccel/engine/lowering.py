"""Layers as matrix operands: ifmaps to A[pixel, k], filters to W[k, channel]. Codes in, codes out."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.formats.encode import Codes
from logaccel.jit import parallel_kernel, parallel_range
from logaccel.workload import Layer

Operands = NDArray[np.int32] | NDArray[np.int64]  # 64 bits for unsigned 32-bit words alone

_CHUNK_WORDS = 2**22  # words of A made at a time: memory stays bounded whatever the layer
_BLOCK = 64  # one cache line of 8-bit codes


def pixel_chunks(pixels: int, reduction: int) -> Iterator[tuple[int, int]]:
    """Yield (first, end) ranges of pixels whose lowered operands fit the chunk."""
    step = max(64, _CHUNK_WORDS // reduction // 64 * 64)
    for first in range(0, pixels, step):
        yield first, min(first + step, pixels)


def operand_dtype(codes: Codes) -> type[np.signedinteger[Any]]:
    """Return the type in which kernels read activation codes."""
    return np.int64 if codes.dtype == np.int64 else np.int32


def lower_ifmap(layer: Layer, ifmap: Codes, group: int, first: int, end: int) -> Operands:
    """Return A[pixel, k] of one group for pixels first…end−1, k = (c·R + r)·S + s; padding is code 0."""
    depth = layer.in_channels // layer.groups
    maps = ifmap.reshape(len(ifmap), layer.in_channels, *layer.in_size)[:, group * depth : (group + 1) * depth]
    lowered = np.empty((end - first, depth * layer.kernel[0] * layer.kernel[1]), operand_dtype(maps))
    _lower(
        np.ascontiguousarray(maps), first, layer.out_size, layer.kernel, layer.stride, layer.padding[:2],
        layer.dilation, lowered,
    )  # fmt: skip
    return lowered


@parallel_kernel
def _lower(
    maps: Codes,
    first: int,
    out_size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    margin: tuple[int, int],
    dilation: tuple[int, int],
    lowered: Operands,
) -> None:
    """Fill lowered[pixel, k] from maps[n, c, h, w], pixel = (n·P + p)·Q + q counted from `first`."""
    high, wide = maps.shape[2], maps.shape[3]
    for row in parallel_range(lowered.shape[0]):
        image, place = divmod(np.int64(first) + np.int64(row), out_size[0] * out_size[1])
        p, q = divmod(place, out_size[1])
        k = 0
        for c in range(maps.shape[1]):
            for r in range(kernel[0]):
                h = p * stride[0] - margin[0] + r * dilation[0]
                w = q * stride[1] - margin[1]
                for _ in range(kernel[1]):
                    inside = 0 <= h < high and 0 <= w < wide
                    lowered[row, k] = lowered.dtype.type(maps[image, c, h, w] if inside else 0)
                    w += dilation[1]
                    k += 1


def lower_filter(layer: Layer, filters: Codes) -> Codes:
    """Return W[group, k, channel] of filters[M, C/groups, R, S], contiguous in the channels."""
    channels = layer.out_channels // layer.groups
    rows = np.ascontiguousarray(filters).reshape(layer.groups, channels, -1)
    turned = np.empty((layer.groups, rows.shape[2], channels), filters.dtype)
    _transpose(rows, turned)
    return turned


@parallel_kernel
def _transpose(rows: Codes, turned: Codes) -> None:
    """Turn rows[g, m, k] into turned[g, k, m], a cache line's square at a time."""
    blocks = (rows.shape[1] + _BLOCK - 1) // _BLOCK
    for task in parallel_range(rows.shape[0] * blocks):
        group, block = divmod(np.int64(task), blocks)  # the loop's index is unsigned: a mix would be a float
        m0, m1 = block * _BLOCK, min((block + 1) * _BLOCK, rows.shape[1])
        for k0 in range(0, rows.shape[2], _BLOCK):
            for k in range(k0, min(k0 + _BLOCK, rows.shape[2])):
                for m in range(m0, m1):
                    turned[group, k, m] = rows[group, m, k]


@parallel_kernel
def count_live_products(operands: Operands, weights: Codes) -> int:
    """Return how many products have two non-zero operands: Σ_k nnz(A[:, k]) · nnz(W[k, :])."""
    live = 0
    for k in parallel_range(operands.shape[1]):
        active, kept = np.int64(0), np.int64(0)
        for pixel in range(operands.shape[0]):
            active += np.int64(operands[pixel, k] != 0)
        for m in range(weights.shape[1]):
            kept += np.int64(weights[k, m] != 0)
        live += int(active * kept)
    return live
