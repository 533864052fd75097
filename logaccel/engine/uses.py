"""Live products of a layer, counted from its ifmap alone: an activation meets the same weights in every image."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.formats.encode import Codes
from logaccel.jit import parallel_kernel, parallel_range
from logaccel.workload import Layer


def weights_met(layer: Layer, filters: Codes) -> NDArray[np.int64]:
    """Return how many weights that are not zero element [c, h, w] of an ifmap meets, over all output places."""
    depth, channels = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    kept = np.count_nonzero(filters.reshape(layer.groups, channels, depth, *layer.kernel), axis=1)
    kept = kept.reshape(layer.in_channels, *layer.kernel)
    top, left, bottom, right = layer.padding
    high, wide = layer.in_size
    met = np.zeros((layer.in_channels, high + top + bottom, wide + left + right), np.int64)
    for r, s in np.ndindex(*layer.kernel):
        rows, columns = (
            slice(tap * dilation, tap * dilation + (size - 1) * stride + 1, stride)
            for tap, dilation, size, stride in zip((r, s), layer.dilation, layer.out_size, layer.stride, strict=True)
        )
        met[:, rows, columns] += kept[:, r, s, None, None]
    return np.ascontiguousarray(met[:, top : top + high, left : left + wide])


def count_live_products(ifmap: Codes, met: NDArray[np.int64]) -> int:
    """Return how many products of codes[n, c, h, w] have two operands that are not zero."""
    return int(_count(np.ascontiguousarray(ifmap, np.int16).reshape(len(ifmap), -1), met.reshape(-1)))


@parallel_kernel
def _count(codes: Codes, met: NDArray[np.int64]) -> int:
    """Sum met[i] where codes[n, i] is not zero."""
    live: Any = 0
    for n in parallel_range(codes.shape[0]):
        found = np.int64(0)
        for i in range(codes.shape[1]):
            found += met[i] * np.int64(codes[n, i] != 0)
        live += found
    return int(live)
