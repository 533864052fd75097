"""Convolution without a lowered ifmap: psum[m, j] = Σ_k W[m, k] · x[at[k] + j], j running over places of a map.

The maps of one channel lie one image after the other with their padding as zeros between them (`layout.py`), so that
every tap of the filter is the same stretch of memory, begun elsewhere. Loop nest of one task, some images:

    spread codes as factors over x
    for tile of up to 256 places:
      for four channels m:
        for span of k:                   # so short that nothing rounds
          for four k:
            for j in tile:  sum[m, j] += W[m, k] · x[at[k] + j]     # sixteen products for eight loads
          total[m, j] += sum[m, j]       # in integers
        lane: total + bias + residual, ReLU, encoder → codes[n, m, p, q]
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from logaccel.engine.kernels_lane import Lane, add_terms, to_linear, to_log
from logaccel.formats.encode import Codes
from logaccel.jit import fused_kernel, kernel, parallel_kernel, parallel_range

Floats = NDArray[np.floating[Any]]
Sums = NDArray[np.signedinteger[Any]]
Places = NDArray[np.int64]

TILE = 256  # places: four rows of sums and four of factors stay in the first-level cache
CHANNELS = 4  # of a block of weights
DEPTH = 4  # k of a block of weights
_TILE, _ONE, _TWO, _THREE, _FOUR = (np.uint64(number) for number in (TILE, 1, 2, 3, 4))


class Walk(NamedTuple):
    """Where things lie: see `layout.py`. Images of a task, and how many tasks share the channels of these images."""

    images: int
    splits: int
    rows: int  # of an image in x, margins included
    pitch: int  # of a row
    lead: int  # zeros before the first row
    plane: int  # elements of one channel and phase
    size: int  # elements of x
    out_high: int
    out_wide: int
    step_down: int  # strides
    step_right: int
    top: int  # margins that are not in `lead`
    left: int
    phases: Places  # [phase, axis]


class Weights(NamedTuple):
    """Packed[group, block of channels, k, 4 channels], where the factors of every k begin in x, and ends of spans."""

    packed: Floats
    at: Places
    ends: Places
    groups: int
    channels: int  # of a group


@parallel_kernel
def run_exact(
    codes: Codes,
    tables: tuple[Floats, int],
    walk: Walk,
    weights: Weights,
    lane: Lane,
    thresholds: tuple[int, ...],
    zero: Sums,
    residual: Codes,
    out: Codes,
) -> int:
    """Set out[n, m, p, q] to the codes of a layer of codes[n, c, h, w]; return how many are at the ends of the format.

    zero: an empty array of the integers in which the totals fit.
    """
    saturated = 0
    groups = (codes.shape[0] + walk.images - 1) // walk.images
    blocks = (weights.channels + CHANNELS - 1) // CHANNELS
    for task in parallel_range(groups * walk.splits):
        share, split = divmod(np.int64(task), walk.splits)
        first = share * walk.images
        images = min(walk.images, codes.shape[0] - first)
        x = np.zeros(walk.size, weights.packed.dtype)
        sums = np.empty(CHANNELS * TILE, weights.packed.dtype)
        totals = np.empty(CHANNELS * TILE, zero.dtype)
        for group in range(weights.groups):
            spread(codes[first : first + images], group, tables, walk, weights, x)
            places = images * walk.rows * walk.pitch
            step = even_step(places)
            for j in range(0, places, step):
                for block in range(blocks * split // walk.splits, blocks * (split + 1) // walk.splits):
                    add_spans(x, j, step, weights, group * blocks + block, sums, totals)
                    tile = first, j, min(step, places - j), group, block
                    saturated += _drain(totals, tile, walk, weights, lane, thresholds, residual, out)
    return saturated


@kernel
def even_step(places: int) -> int:
    """Return the places of a tile: tiles of one size, in whole vectors."""
    tiles = (places + TILE - 1) // TILE
    return ((places + tiles - 1) // tiles + 31) // 32 * 32


@kernel
def spread(
    values: NDArray[Any], group: int, tables: tuple[Floats, int], walk: Walk, weights: Weights, x: Floats
) -> None:
    """Write the factors of values[n, c, h, w] where their places are: every plane of factors, channel and phase.

    tables[0][plane, code − tables[1]]; without columns a value is its own factor.
    """
    unit = x.dtype.type
    table, floor = tables
    images, _, high, wide = values.shape
    depth = values.shape[1] // weights.groups
    line, steps = walk.step_down, walk.step_right
    for plane in range(table.shape[0]):
        for c in range(depth):
            for phase in range(walk.phases.shape[0]):
                top, left = walk.phases[phase, 0] - walk.top, walk.phases[phase, 1] - walk.left
                base = ((plane * depth + c) * walk.phases.shape[0] + phase) * walk.plane + walk.lead
                for n in range(images):
                    own = values[n, group * depth + c]
                    for row in range(walk.rows):
                        h = row * line + top
                        if 0 <= h < high:
                            place = base + (n * walk.rows + row) * walk.pitch
                            first = (-left + steps - 1) // steps if left < 0 else 0
                            last = min((wide - left + steps - 1) // steps, walk.pitch)
                            if table.shape[1] == 0:
                                for column in range(first, last):
                                    x[place + column] = unit(own[h, column * steps + left])
                            else:
                                for column in range(first, last):
                                    x[place + column] = table[plane, np.int64(own[h, column * steps + left]) - floor]


@kernel
def add_spans(x: Floats, j: int, length: int, weights: Weights, block: int, sums: Floats, totals: Sums) -> None:
    """Set totals[m, place] of four channels and a tile of places."""
    unit = totals.dtype.type
    totals[:] = unit(0)
    first: Any = np.int64(0)
    start = block * weights.at.size * CHANNELS
    for end in weights.ends:
        sums[:] = 0
        add_block(x, j, length, weights.at, weights.packed, start, first, end, sums)
        for m in range(CHANNELS):
            for i in range(np.uint64(length)):
                place = np.uint64(m) * _TILE + i
                totals[place] = unit(totals[place] + unit(sums[place]))
        first = end


@fused_kernel
def add_block(
    x: Floats, j: int, length: int, at: Places, packed: Floats, start: int, first: int, end: int, sums: Floats
) -> None:
    """sums[m, i] += Σ_k packed[start + k, m] · x[at[k] + j + i], k = first … end − 1, a multiple of four of them."""
    k, places = np.uint64(first), np.uint64(length)
    while k < np.uint64(end):
        o0, o1 = np.uint64(at[k] + j), np.uint64(at[k + _ONE] + j)
        o2, o3 = np.uint64(at[k + _TWO] + j), np.uint64(at[k + _THREE] + j)
        b = np.uint64(start) + k * _FOUR
        a0, b0, c0, d0 = packed[b], packed[b + _ONE], packed[b + _TWO], packed[b + _THREE]
        b += _FOUR
        a1, b1, c1, d1 = packed[b], packed[b + _ONE], packed[b + _TWO], packed[b + _THREE]
        b += _FOUR
        a2, b2, c2, d2 = packed[b], packed[b + _ONE], packed[b + _TWO], packed[b + _THREE]
        b += _FOUR
        a3, b3, c3, d3 = packed[b], packed[b + _ONE], packed[b + _TWO], packed[b + _THREE]
        for i in range(places):
            x0, x1, x2, x3 = x[o0 + i], x[o1 + i], x[o2 + i], x[o3 + i]
            sums[i] = sums[i] + a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
            sums[_TILE + i] = sums[_TILE + i] + b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
            sums[_TWO * _TILE + i] = sums[_TWO * _TILE + i] + c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
            sums[_THREE * _TILE + i] = sums[_THREE * _TILE + i] + d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3
        k += _FOUR


@kernel
def _drain(
    totals: Sums,
    tile: tuple[Any, ...],
    walk: Walk,
    weights: Weights,
    lane: Lane,
    thresholds: tuple[int, ...],
    residual: Codes,
    out: Codes,
) -> int:
    """Send the totals of a tile (image, place, places, group, block of channels) through the lane, row by row."""
    image, j, places, group, block = tile
    end, high, wide = j + places, walk.out_high, walk.out_wide
    saturated = 0
    at: Any = np.int64(j)
    while at < end:
        n, place = divmod(at, walk.rows * walk.pitch)
        p, q = divmod(place, walk.pitch)
        count = min(walk.pitch - q, end - at, wide - q)
        if p < high and count > 0:
            for own in range(min(CHANNELS, weights.channels - block * CHANNELS)):
                m = group * weights.channels + block * CHANNELS + own
                target = (((image + n) * weights.channels * weights.groups + m) * high + p) * wide + q
                source = own * TILE + at - j
                add_terms(totals, source, count, lane, lane.bias[m], residual, target)
                if lane.logarithmic:
                    saturated += to_log(totals, source, count, lane, thresholds, out, target)
                else:
                    saturated += to_linear(totals, source, count, lane, out, target)
        at += walk.pitch - q
    return saturated
