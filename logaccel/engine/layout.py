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

from logaccel.engine.kernels_direct import CHANNELS, DEPTH, TILE, Walk, even_step
from logaccel.jit import thread_count
from logaccel.workload import Layer

FEWEST_TASKS = 8  # that keep two to four threads about equally busy
MOST_PLACES = 4096  # of several small images in one task


def lay_out(layer: Layer, planes: int, batch: int) -> tuple[Walk, NDArray[np.int64]]:
    """Return the walk over one batch, and at[k] where the factors of k = (plane, c, r, s) begin; k in whole steps."""
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
    reach = [phases.index((r[1], s[1])) * plane + r[0] * pitch + s[0] for r, s in taps]
    channels = np.arange(planes * depth, dtype=np.int64) * (len(phases) * plane)
    at = (channels[:, None] + np.array(reach, np.int64)).reshape(-1)
    at = np.concatenate([at, np.zeros(-at.size % DEPTH, np.int64)])  # their weights are zero
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
    step = even_step(places)
    return -(-places // step) * step


def pack_blocks(weights: NDArray[np.floating[Any]], dtype: Any) -> NDArray[Any]:
    """Return [group, block of channels, k, 4 channels] flat, of W[group, m, k]; zeros fill up."""
    groups, channels, reduction = weights.shape
    padded = np.pad(weights.astype(dtype), ((0, 0), (0, -channels % CHANNELS), (0, -reduction % DEPTH)))
    blocks = padded.reshape(groups, -1, CHANNELS, padded.shape[2])
    return np.ascontiguousarray(blocks.transpose(0, 1, 3, 2)).reshape(-1)
