"""The float reference of a layer: the same bits on every machine and for every number of threads.

Each ofmap element is Σ_k ifmap·filter accumulated in float64 in the order k = 0 … K−1, k = (c·R + r)·S + s,
plus the bias, rounded once to float32. The product of two float32 numbers is exact in float64, so a fused
multiply–add changes nothing, and adding the product of a zero changes nothing either: zeros are skipped.

One task is a tile of `_PIXELS` × `_CHANNELS` ofmap elements of one group. It gathers slices of `_SLICE` steps
of k of both operands into contiguous arrays and runs them through its accumulators:

    for slice of k:                      # in order
        gather operand[pixel, k], weight[k, channel]
        for pixel, k:  accumulator[pixel, :] += operand[pixel, k] * weight[k, :]
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
from numpy.typing import NDArray

from logaccel.jit import kernel, read_only, thread_count
from logaccel.trace.trace import Tensor
from logaccel.workload import Layer

_PIXELS, _CHANNELS, _SLICE = 128, 64, 128


@kernel
def _gather_operands(
    ifmap: Tensor, geometry: NDArray[np.int64], first_pixel: int, first_k: int, operand: NDArray[np.float64]
) -> None:
    """Fill operand[pixel, k] from ifmap[N, C, H, W] (the group's channels), 0 in the padding."""
    rows, cols, taps_high, taps_wide, step_high, step_wide, top, left, spread_high, spread_wide = geometry
    for i in range(operand.shape[0]):
        pixel = first_pixel + i
        image, corner_row = pixel // (rows * cols), (pixel // cols) % rows * step_high - top
        corner_col = pixel % cols * step_wide - left
        for j in range(operand.shape[1]):
            k = first_k + j
            row = corner_row + (k // taps_wide) % taps_high * spread_high
            col = corner_col + k % taps_wide * spread_wide
            inside = 0 <= row < ifmap.shape[2] and 0 <= col < ifmap.shape[3]
            operand[i, j] = ifmap[image, k // (taps_high * taps_wide), row, col] if inside else 0.0


@kernel
def _run_tile(
    ifmap: Tensor, weights: Tensor, geometry: NDArray[np.int64], first_pixel: int, accumulator: NDArray[np.float64]
) -> None:
    """Add up accumulator[pixel, channel] from ifmap[N, C, H, W] and weights[channel, k]."""
    pixels, channels = accumulator.shape
    steps = weights.shape[1]
    operands = np.empty((pixels, min(steps, _SLICE)))
    weight = np.empty((min(steps, _SLICE), channels))
    for first_k in range(0, steps, _SLICE):
        length = min(_SLICE, steps - first_k)
        _gather_operands(ifmap, geometry, first_pixel, first_k, operands[:, :length])
        for channel in range(channels):
            for j in range(length):
                weight[j, channel] = weights[channel, first_k + j]
        for i in range(pixels):
            for j in range(length):
                operand = operands[i, j]
                if operand != 0.0:
                    for channel in range(channels):
                        accumulator[i, channel] += operand * weight[j, channel]


def reference_ofmap(layer: Layer, ifmap: Tensor, filters: Tensor, bias: Tensor) -> Tensor:
    """Return ofmap[N, M, P, Q] (fully connected: [N, M]) of a layer in float32, bias and ReLU included.

    Takes float32 ifmap[N, C, H, W], filters[M, C/groups, R, S] and bias[M] that fit the layer: callers check.
    A sum too large for float32 becomes infinite.
    """
    batch = ifmap.shape[0]
    maps = read_only(np.ascontiguousarray(ifmap)).reshape(batch, layer.in_channels, *layer.in_size)
    shape = layer.matrix(batch)
    weights = read_only(np.ascontiguousarray(filters)).reshape(layer.out_channels, shape.reduction)
    geometry = np.array(
        [*layer.out_size, *layer.kernel, *layer.stride, *layer.padding[:2], *layer.dilation], dtype=np.int64
    )
    sums = np.empty((shape.pixels, layer.out_channels), dtype=np.float32)
    depth = layer.in_channels // layer.groups

    def run(task: tuple[int, int, int]) -> None:
        group, pixel, channel = task
        channel += group * shape.channels
        last = min(channel + _CHANNELS, (group + 1) * shape.channels)
        accumulator = np.zeros((min(_PIXELS, shape.pixels - pixel), last - channel))
        _run_tile(maps[:, group * depth : (group + 1) * depth], weights[channel:last], geometry, pixel, accumulator)
        accumulator += bias[channel:last]
        if layer.relu:
            np.maximum(accumulator, 0.0, out=accumulator)
        with np.errstate(over="ignore"):
            sums[pixel : pixel + _PIXELS, channel:last] = accumulator

    tasks = product(range(shape.groups), range(0, shape.pixels, _PIXELS), range(0, shape.channels, _CHANNELS))
    with ThreadPoolExecutor(thread_count()) as pool:
        for _ in pool.map(run, tasks):
            pass
    ofmap = sums.reshape(batch, -1, layer.out_channels).transpose(0, 2, 1)
    return np.ascontiguousarray(ofmap).reshape(layer.ofmap_shape(batch))
