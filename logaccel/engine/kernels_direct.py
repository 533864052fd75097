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

from logaccel.engine.kernels_lane import Lane, count_ends, to_linear, to_log
from logaccel.formats.encode import Codes
from logaccel.jit import fused_kernel, kernel, parallel_kernel, parallel_range, shift_left

Floats = NDArray[np.floating[Any]]
Sums = NDArray[np.signedinteger[Any]]
Places = NDArray[np.int64]

TILE = 256  # places: four rows of sums and four of factors stay in the first-level cache
CHANNELS = 4  # of a block of weights
DEPTH = 4  # k of a block of weights
_TILE, _ONE, _TWO, _THREE, _FOUR = (np.uint64(number) for number in (TILE, 1, 2, 3, 4))


class Walk(NamedTuple):
    """Where things lie: see `layout.py`. Images of a task, how many tasks share the channels of these images."""

    images: int
    splits: int
    workers: int  # that run tasks beside each other
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
    flat, table = codes.reshape(-1), tables[0].reshape(-1)
    sizes = tables[0].shape[0], codes.shape[1], codes.shape[2], codes.shape[3]
    blocks = (weights.channels + CHANNELS - 1) // CHANNELS
    for worker in parallel_range(walk.workers):
        x = np.zeros(walk.size, weights.packed.dtype)  # margins stay zero from task to task
        sums = np.empty(CHANNELS * TILE, weights.packed.dtype)
        totals = np.zeros(CHANNELS * TILE, zero.dtype)
        for task in range(worker, groups * walk.splits, walk.workers):
            share, split = divmod(np.int64(task), walk.splits)
            first = share * walk.images
            images: Any = min(walk.images, codes.shape[0] - first)
            begin, end = blocks * split // walk.splits, blocks * (split + 1) // walk.splits
            for group in range(weights.groups):
                spread(flat, sizes, (first, images, group), table, tables[1], walk, weights.groups, x)
                places = images * walk.rows * walk.pitch
                step = even_step(places)
                for j in range(0, places, step):
                    for block in range(begin, end):
                        add_spans(x, j, step, weights, group * blocks + block, sums, totals)
                        tile = first, j, min(step, places - j), group, block
                        if lane.residual_words.size > 0:
                            _add_rows(residual, tile, walk, weights, lane, totals)
                        held = min(CHANNELS, weights.channels - block * CHANNELS), step, TILE
                        bias = group * weights.channels + block * CHANNELS
                        if lane.logarithmic:
                            to_log(totals, held, lane, bias, thresholds, sums)
                        else:
                            to_linear(totals, held, lane, bias)
                        _write_rows(totals, tile, walk, weights, out)
                size = walk.out_high * walk.out_wide
                for n in range(images):
                    own: Any = ((first + n) * weights.groups + group) * weights.channels
                    last: Any = own + min(end * CHANNELS, weights.channels)
                    saturated += count_ends(out, (own + begin * CHANNELS) * size, last * size, lane.low, lane.high)
    return saturated


@kernel
def even_step(places: int) -> int:
    """Return the places of a tile: tiles of one size, in whole vectors."""
    tiles = (places + TILE - 1) // TILE
    return ((places + tiles - 1) // tiles + 15) // 16 * 16


@kernel
def spread(
    flat: NDArray[Any],
    sizes: tuple[int, ...],
    part: tuple[Any, ...],
    table: Floats,
    floor: int,
    walk: Walk,
    groups: int,
    x: Floats,
) -> None:
    """Write the factors of values[n, c, h, w] where their places are: every plane of factors, channel and phase.

    sizes: planes, C, H, W. part: first image, images, group. table[plane, code − floor]; where it is empty, a value
    is its own factor. Both are flat: views would be counted at every row.
    """
    unit = x.dtype.type
    planes, channels, high, wide = sizes
    depth, phases, steps, rows, width = channels // groups, walk.phases.shape[0], walk.step_right, walk.rows, wide
    pitch, step = walk.pitch, np.uint64(steps)
    if pitch == wide and rows == high and phases == steps == walk.step_down == 1 and walk.lead == 0:
        rows, width, high, pitch = 1, high * wide, 1, high * wide  # no margins: all rows at once
    for index in range(planes * depth * phases):
        line, phase = divmod(np.int64(index), phases)
        plane, c = divmod(line, depth)
        zero = plane * (table.size // planes) - floor
        top, left = walk.phases[phase, 0] - walk.top, walk.phases[phase, 1] - walk.left
        begin = max((-left + steps - 1) // steps, 0)
        count = np.uint64(max(min((width - left + steps - 1) // steps, pitch) - begin, 0))
        for n in range(part[1]):
            channel = ((part[0] + n) * channels + part[2] * depth + c) * high
            for row in range(rows):
                h = row * walk.step_down + top
                if 0 <= h < high:
                    source = np.uint64((channel + h) * width + left + begin * steps)
                    to = np.uint64(index * walk.plane + walk.lead + (n * rows + row) * pitch + begin)
                    if table.size == 0:
                        for i in range(count):
                            x[to + i] = unit(flat[source + i * step])
                    elif steps == 1:
                        for i in range(count):
                            x[to + i] = table[np.uint64(zero + flat[source + i])]
                    else:
                        for i in range(count):
                            x[to + i] = table[np.uint64(zero + flat[source + i * step])]


@kernel
def add_spans(x: Floats, j: int, length: int, weights: Weights, block: int, sums: Floats, totals: Sums) -> None:
    """Set totals[m, place] of four channels and a tile of places."""
    unit = totals.dtype.type
    first: Any = np.int64(0)
    start = block * weights.at.size * CHANNELS
    for end in weights.ends:
        sums[:] = 0
        add_block(x, j, length, weights.at, weights.packed, start, first, end, sums)
        for m in range(CHANNELS):
            row = np.uint64(m) * _TILE
            if first == 0:
                for i in range(np.uint64(length)):
                    totals[row + i] = unit(sums[row + i])
            else:
                for i in range(np.uint64(length)):
                    totals[row + i] = unit(totals[row + i] + unit(sums[row + i]))
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
def _add_rows(codes: Codes, tile: tuple[Any, ...], walk: Walk, weights: Weights, lane: Lane, totals: Sums) -> None:
    """Add the words of codes[n, m, p, q] to totals[m, place] of a tile, in the finer LSB of the two.

    tile: image, place, places, group, block of channels.
    """
    image, j, places, group, block = tile
    unit = totals.dtype.type
    words, floor, shift = lane.residual_words, lane.residual_floor, lane.shift
    at: Any = np.int64(j)
    while at < j + places:
        n, place = divmod(at, walk.rows * walk.pitch)
        p, q, count = _stretch(place, j + places - at, walk)
        for own in range(min(CHANNELS, weights.channels - block * CHANNELS) if p < walk.out_high else 0):
            m = ((image + n) * weights.groups + group) * weights.channels + block * CHANNELS + own
            source = np.uint64((m * walk.out_high + p) * walk.out_wide + q)
            target = np.uint64(own * TILE + at - j)
            for i in range(np.uint64(max(min(count, walk.out_wide - q), 0))):
                word = words[np.uint64(np.int64(codes[source + i]) - floor)]
                totals[target + i] = unit(shift_left(totals[target + i], shift) + word)
        at += count


@kernel
def _stretch(place: int, left: int, walk: Walk) -> tuple[int, int, int]:
    """Return row and column of a place of an image, and how many places on it goes on along the row."""
    p, q = divmod(place, walk.pitch)
    return p, q, min(walk.pitch - q, left)


@kernel
def _write_rows(totals: Sums, tile: tuple[Any, ...], walk: Walk, weights: Weights, out: Codes) -> None:
    """Set codes[n, m, p, q] to what stands in totals[m, place] of a tile (see `_add_rows`)."""
    image, j, places, group, block = tile
    at: Any = np.int64(j)
    while at < j + places:
        n, place = divmod(at, walk.rows * walk.pitch)
        p, q, count = _stretch(place, j + places - at, walk)
        for own in range(min(CHANNELS, weights.channels - block * CHANNELS) if p < walk.out_high else 0):
            m = ((image + n) * weights.groups + group) * weights.channels + block * CHANNELS + own
            target = np.uint64((m * walk.out_high + p) * walk.out_wide + q)
            source = np.uint64(own * TILE + at - j)
            for i in range(np.uint64(max(min(count, walk.out_wide - q), 0))):
                out[target + i] = out.dtype.type(totals[source + i])
        at += count


@parallel_kernel
def run_real(
    values: NDArray[np.float32],
    tables: tuple[Floats, int],
    walk: Walk,
    weights: Weights,
    bias: Floats,
    relu: bool,
    residual: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Set out[n, m, p, q] of a layer of real values[n, c, h, w], summed in float64 in the order of k.

    The bias is added before the sum is rounded, once, to float32; a residual after that. Tables are empty.
    """
    groups = (values.shape[0] + walk.images - 1) // walk.images
    flat, table = values.reshape(-1), tables[0].reshape(-1)
    sizes = tables[0].shape[0], values.shape[1], values.shape[2], values.shape[3]
    blocks = (weights.channels + CHANNELS - 1) // CHANNELS
    for worker in parallel_range(walk.workers):
        x = np.zeros(walk.size, weights.packed.dtype)
        sums = np.empty(CHANNELS * TILE, weights.packed.dtype)
        for task in range(worker, groups * walk.splits, walk.workers):
            share, split = divmod(np.int64(task), walk.splits)
            first = share * walk.images
            images = min(walk.images, values.shape[0] - first)
            for group in range(weights.groups):
                spread(flat, sizes, (first, images, group), table, tables[1], walk, weights.groups, x)
                places = images * walk.rows * walk.pitch
                step = even_step(places)
                for j in range(0, places, step):
                    for block in range(blocks * split // walk.splits, blocks * (split + 1) // walk.splits):
                        sums[:] = 0
                        start = (group * blocks + block) * weights.at.size * CHANNELS
                        add_block(x, j, step, weights.at, weights.packed, start, 0, weights.at.size, sums)
                        tile = first, j, min(step, places - j), group, block
                        _finish(sums, tile, walk, weights, bias, relu, residual, out)


@kernel
def _finish(
    sums: Floats,
    tile: tuple[Any, ...],
    walk: Walk,
    weights: Weights,
    bias: Floats,
    relu: bool,
    residual: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Add bias and residual to the sums of a tile (image, place, places, group, block of channels), row by row."""
    image, j, places, group, block = tile
    end, high, wide = j + places, walk.out_high, walk.out_wide
    lowest = np.float32(0.0 if relu else -np.inf)
    at: Any = np.int64(j)
    while at < end:
        n, place = divmod(at, walk.rows * walk.pitch)
        p, q = divmod(place, walk.pitch)
        count = min(walk.pitch - q, end - at, wide - q)
        if p < high and count > 0:
            for own in range(min(CHANNELS, weights.channels - block * CHANNELS)):
                m = group * weights.channels + block * CHANNELS + own
                target = (((image + n) * weights.channels * weights.groups + m) * high + p) * wide + q
                for i in range(count):
                    value = np.float32(sums[own * TILE + at - j + i] + bias[m])
                    if residual.size > 0:
                        value = np.float32(value + residual[target + i])
                    out[target + i] = max(value, lowest)
        at += walk.pitch - q
