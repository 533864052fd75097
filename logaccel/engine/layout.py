"""Where a map's elements lie for `kernels_direct`: rows, images and taps as stretches of one memory.

Stride 1: the zeros after a row are also those before the next one, and the rows of zeros below an image those above
the next image. With `pitch` = W + max(left, right):

    0 0 0 0 0 │ a a a a 0 │ a a a a 0 │ 0 0 0 0 0 │ b b b b 0 │ …        (W = 4, a margin of 1 on every side)

Other strides: element (h, w) of the padded map belongs to phase (h mod stride, w mod stride); within a phase, the
places that a tap meets follow each other as with stride 1. Phases that no tap meets are left out.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.engine.kernels_rows import Factors, Walk
from logaccel.engine.vectors import CHANNELS, CHUNK, STEP, TILE, plain_power
from logaccel.jit import thread_count
from logaccel.workload import Layer

FEWEST_TASKS = 8  # that keep two to four threads about equally busy
MOST_PLACES = 4096  # of several small images in one task
_LINE = 16  # floats of a cache line


def lay_out(layer: Layer, planes: int, batch: int) -> tuple[Walk, NDArray[np.int64]]:
    """Return the walk over one batch, and at[k] where the factors of k = (plane, c, r, s) begin."""
    (top, left, bottom, right), (high, wide) = layer.padding, layer.in_size
    (out_high, out_wide), depth = layer.out_size, layer.in_channels // layer.groups
    rows, pitch, margin, lead = high + max(top, bottom), wide + max(left, right), (0, 0), 0
    shared = layer.stride == (1, 1) and out_high <= rows and out_wide <= pitch
    if shared:
        lead = top * pitch + left
    else:
        rows, pitch = (
            size + (taps - 1) * dilation // stride
            for size, taps, dilation, stride in zip(
                layer.out_size, layer.kernel, layer.dilation, layer.stride, strict=True
            )
        )
        margin = (top, left)
    taps = [
        tuple(divmod(tap * own, stride) for tap, own, stride in zip(place, layer.dilation, layer.stride, strict=True))
        for place in np.ndindex(*layer.kernel)
    ]
    phases = sorted({(r[1], s[1]) for r, s in taps})
    images = _images(rows * pitch, batch)
    plane = lead + images * rows * pitch
    plane += (_LINE - plane) % (2 * _LINE)  # an odd number of lines: planes do not meet in the same part of a cache
    reach = [phases.index((r[1], s[1])) * plane + r[0] * pitch + s[0] for r, s in taps]
    channels = np.arange(planes * depth, dtype=np.int64) * (len(phases) * plane)
    at = (channels[:, None] + np.array(reach, np.int64)).reshape(-1)
    size = planes * depth * len(phases) * plane + 2 * TILE + (max(r[0] for r, _ in taps) + 1) * pitch
    shares = -(-batch // images)
    splits = min(-(-layer.out_channels // layer.groups // CHANNELS), -(-FEWEST_TASKS // shares))
    return (
        Walk(
            images, max(splits, 1), thread_count(), rows, pitch, lead, plane, size, *layer.out_size, *layer.stride,
            *margin, np.array(phases, np.int64),
        ),
        at,
    )  # fmt: skip


def _images(places: int, batch: int) -> int:
    """Return how many images of so many places make a task: few enough tasks' worth of places are computed in vain."""
    most = max(1, min(-(-batch // FEWEST_TASKS), MOST_PLACES // places))

    def computed(images: int) -> int:
        own, rest = images * places, batch % images * places
        return batch // images * _whole(own) + (_whole(rest) if rest else 0)

    return min(range(1, most + 1), key=lambda images: (computed(images), -images))


def _whole(places: int) -> int:
    return -(-places // STEP) * STEP


def pack_blocks(weights: NDArray[np.floating[Any]], dtype: Any) -> NDArray[Any]:
    """Return [group, block of channels, k, channel] flat, of W[group, m, k]; zeros fill up."""
    groups, channels, reduction = weights.shape
    padded = np.pad(weights.astype(dtype), ((0, 0), (0, -channels % CHANNELS), (0, 0)))
    blocks = padded.reshape(groups, -1, CHANNELS, reduction)
    return np.ascontiguousarray(blocks.transpose(0, 1, 3, 2)).reshape(-1)


def kernel_factors(table: NDArray[np.floating[Any]], floor: int) -> Factors:
    """Return factor[plane, code − floor] with rules by which powers of two follow from codes."""
    rules = [_rule(row, floor) for row in table]
    return Factors(table.reshape(-1), floor, np.array(rules, np.int64).reshape(-1, 4))


def _rule(row: NDArray[np.floating[Any]], floor: int) -> tuple[int, int, int, int]:
    """Return (added, shift, exponent, signed) that make this row (see `power_chunk`), a shift of −1 if none do."""
    codes = np.arange(floor, floor + row.size)
    live = np.flatnonzero(row)
    none = (0, -1, 0, 0)
    if live.size == 0 or (np.frexp(np.abs(row[live]))[0] != 0.5).any():
        return none
    bias = 127 if row.dtype == np.float32 else 1023
    top = live[np.argmax(np.abs(codes[live]))]
    for shift in range(4):
        added = int(-abs(codes[top])) % 2**shift
        exponent = int(np.frexp(abs(row[top]))[1]) - 1 + bias - ((int(abs(codes[top])) + added) >> shift)
        for signed in (0, 1):
            got = np.zeros(-(-row.size // CHUNK) * CHUNK, row.dtype)
            padded = np.resize(codes, got.size)
            for first in range(0, got.size, CHUNK):
                plain_power(padded, first, got, first, added, shift, exponent, signed)
            if np.array_equal(got[: row.size], row):
                return added, shift, exponent, signed
    return none
