"""Convolution without a lowered ifmap: psum[m, j] = Σ_k W[m, k] · x[at[k] + j], j running over places of a map.

The maps of one channel lie one image after the other with their padding as zeros between them (`layout.py`), so that
every tap of the filter is the same stretch of memory, begun elsewhere. Loop nest of one task, some images:

    spread codes as factors over x                          # kernels_rows.py
    for tile of up to 240 places:
      for block of four or eight channels m:
        for span of k:                                      # so short that nothing rounds
          for three vectors of places j:
            for k:  sum[m, j] += W[m, k] · x[at[k] + j]     # in registers: vectors.py
            total[m, j] += sum[m, j]                        # in integers
        lane: total + bias + residual, ReLU, encoder        # kernels_lane.py
        totals at places → codes[n, m, p, q]                # kernels_rows.py

Codes of 8, 16 and 32 bits come as bytes and are told apart inside: one compiled kernel serves all of them.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from logaccel.engine.kernels_lane import Lane, to_linear, to_log
from logaccel.engine.kernels_rows import (
    STRETCH,
    Factors,
    Floats,
    Places,
    Shape,
    Sums,
    Walk,
    add_rows,
    find_stretches,
    spread,
    write_rows,
)  # fmt: skip
from logaccel.engine.vectors import CHANNELS, STEP, TILE, VECTOR_BYTES, add_one, add_three, add_two
from logaccel.jit import kernel, parallel_kernel, parallel_range

Bytes = NDArray[np.int8]


class Weights(NamedTuple):
    """Packed[group, block of channels, k, channel], where the factors of every k begin in x, and ends of spans."""

    packed: Floats
    at: Places
    ends: Places
    groups: int
    channels: int  # of a group


class Convolution(NamedTuple):
    """One layer on one batch: what it reads, how codes become factors, where things lie, and the weights."""

    shape: Shape
    factors: Factors
    walk: Walk
    weights: Weights


class CodeBytes(NamedTuple):
    """Codes of any width as bytes."""

    flat: Bytes
    width: int  # bytes of a code


@parallel_kernel
def run_exact(
    ifmap: CodeBytes,
    shape: Shape,
    factors: Factors,
    walk: Walk,
    weights: Weights,
    lane: Lane,
    carries: tuple[int, ...],
    residual: CodeBytes,
    out: CodeBytes,
) -> int:
    """Set out[n, m, p, q] to the codes of a layer of codes[n, c, h, w]; return how many are at the ends of the format.

    Totals are integers of the type of the lane's residual words. A parallel loop takes no records of records.
    """
    saturated = 0
    for worker in parallel_range(walk.workers):
        work = Convolution(shape, factors, walk, weights)
        saturated += _work(worker, ifmap, work, lane, carries, residual, out)
    return saturated


@kernel
def _work(
    worker: int,
    ifmap: CodeBytes,
    work: Convolution,
    lane: Lane,
    carries: tuple[int, ...],
    residual: CodeBytes,
    out: CodeBytes,
) -> int:
    """Do every task of one worker; return how many codes are at the ends of the format."""
    saturated, (shape, _, walk, weights) = 0, work
    batch = ifmap.flat.size // (ifmap.width * shape.channels * shape.high * shape.wide)
    shares, blocks = _parts(batch, walk, weights)
    x = np.zeros(walk.size, weights.packed.dtype)  # margins stay zero from task to task
    totals = np.zeros(CHANNELS * TILE, lane.residual_words.dtype)
    found = np.empty((TILE, STRETCH), np.int64)
    for task in range(worker, shares * walk.splits, walk.workers):
        share, split = _share(task, walk)
        images: Any = min(walk.images, batch - share * walk.images)
        places = images * walk.rows * walk.pitch
        for group in range(weights.groups):
            _spread_codes(ifmap, work, (share * walk.images, images, group), x)
            for j in range(0, places, TILE):
                length = min(TILE, (places - j + STEP - 1) // STEP * STEP)
                held = find_stretches(share * walk.images, j, min(length, places - j), walk, found)
                for block in range(blocks * split // walk.splits, blocks * (split + 1) // walk.splits):
                    spot = _spot(weights, group, block)
                    add_spans(x, j, length, weights, group * blocks + block, totals)
                    if lane.residual_words.size > 0:
                        _add_codes(residual, found, held, spot, walk, lane, totals)
                    if lane.logarithmic:
                        to_log(totals, (spot[2], length, TILE), lane, spot[1], carries, x)
                    else:
                        to_linear(totals, (spot[2], length, TILE), lane, spot[1])
                    saturated += _write_codes(totals, found, held, spot, walk, lane, out)
    return saturated


@kernel
def _parts(batch: int, walk: Walk, weights: Weights) -> tuple[int, int]:
    """Return into how many shares the images go, and into how many blocks the channels of a group."""
    return (batch + walk.images - 1) // walk.images, (weights.channels + CHANNELS - 1) // CHANNELS


@kernel
def _share(task: int, walk: Walk) -> tuple[Any, Any]:
    """Return which images a task takes, and which part of the channels."""
    return divmod(np.int64(task), walk.splits)


@kernel
def _spot(weights: Weights, group: int, block: int) -> tuple[int, int, int]:
    """Return the channels of an image, the first of a block and how many it has."""
    first = block * CHANNELS
    return weights.channels * weights.groups, group * weights.channels + first, min(CHANNELS, weights.channels - first)


@kernel
def _spread_codes(ifmap: CodeBytes, work: Convolution, part: tuple[Any, ...], x: Floats) -> None:
    shape, factors, walk, _ = work
    if ifmap.width == 1:
        spread(ifmap.flat, shape, part, factors, walk, x)
    elif ifmap.width == 2:
        spread(ifmap.flat.view(np.int16), shape, part, factors, walk, x)
    else:
        spread(ifmap.flat.view(np.int32), shape, part, factors, walk, x)


@kernel
def _add_codes(
    codes: CodeBytes, found: Places, held: int, spot: tuple[int, int, int], walk: Walk, lane: Lane, totals: Sums
) -> None:
    size = walk.out_high * walk.out_wide
    if codes.width == 1:
        add_rows(codes.flat, found, held, spot, size, lane, totals)
    elif codes.width == 2:
        add_rows(codes.flat.view(np.int16), found, held, spot, size, lane, totals)
    else:
        add_rows(codes.flat.view(np.int32), found, held, spot, size, lane, totals)


@kernel
def _write_codes(
    totals: Sums, found: Places, held: int, spot: tuple[int, int, int], walk: Walk, lane: Lane, out: CodeBytes
) -> int:
    size = walk.out_high * walk.out_wide
    if out.width == 1:
        return write_rows(totals, found, held, spot, size, lane, out.flat)
    if out.width == 2:
        return write_rows(totals, found, held, spot, size, lane, out.flat.view(np.int16))
    return write_rows(totals, found, held, spot, size, lane, out.flat.view(np.int32))


@kernel
def add_spans(x: Floats, j: int, length: int, weights: Weights, block: int, totals: Any) -> None:
    """Set totals[m, place] of a block of channels and a tile of places."""
    lanes = VECTOR_BYTES // x.itemsize
    start = block * weights.at.size * CHANNELS
    first: Any = np.int64(0)
    for end in weights.ends:
        i: Any = np.int64(0)
        while i + 3 * lanes <= length:
            add_three(x, j + i, weights.at, weights.packed, start, first, end, totals, i)
            i += 3 * lanes
        if i + 2 * lanes <= length:
            add_two(x, j + i, weights.at, weights.packed, start, first, end, totals, i)
        elif i < length:
            add_one(x, j + i, weights.at, weights.packed, start, first, end, totals, i)
        first = end


class RealLane(NamedTuple):
    """What follows the sums of real values. The bias is added before the one rounding, the residual after it."""

    bias: Floats
    relu: bool
    residual: NDArray[np.float32]  # [n, m, p, q], flat, or empty


@parallel_kernel
def run_real(
    values: NDArray[np.float32],
    shape: Shape,
    factors: Factors,
    walk: Walk,
    weights: Weights,
    lane: RealLane,
    out: NDArray[np.float32],
) -> None:
    """Set out[n, m, p, q] of a layer of real values[n, c, h, w], summed in float64 in the order of k. All are flat."""
    for worker in parallel_range(walk.workers):
        _work_really(worker, values, Convolution(shape, factors, walk, weights), lane, out)


@kernel
def _work_really(
    worker: int, values: NDArray[np.float32], work: Convolution, lane: RealLane, out: NDArray[np.float32]
) -> None:
    shape, factors, walk, weights = work
    batch = values.size // (shape.channels * shape.high * shape.wide)
    shares, blocks = _parts(batch, walk, weights)
    x, sums = np.zeros(walk.size, np.float64), np.zeros(CHANNELS * TILE, np.float64)
    found = np.empty((TILE, STRETCH), np.int64)
    for task in range(worker, shares * walk.splits, walk.workers):
        share, split = _share(task, walk)
        images: Any = min(walk.images, batch - share * walk.images)
        places = images * walk.rows * walk.pitch
        for group in range(weights.groups):
            spread(values, shape, (share * walk.images, images, group), factors, walk, x)
            for j in range(0, places, TILE):
                length = min(TILE, (places - j + STEP - 1) // STEP * STEP)
                held = find_stretches(share * walk.images, j, min(length, places - j), walk, found)
                for block in range(blocks * split // walk.splits, blocks * (split + 1) // walk.splits):
                    add_spans(x, j, length, weights, group * blocks + block, sums)
                    _finish(sums, found, held, _spot(weights, group, block), walk, lane, out)


@kernel
def _finish(
    sums: Floats,
    found: Places,
    held: int,
    spot: tuple[int, int, int],
    walk: Walk,
    lane: RealLane,
    out: NDArray[np.float32],
) -> None:
    """Add bias and residual to the sums of a tile, stretch by stretch (see `add_rows`)."""
    size, lowest = walk.out_high * walk.out_wide, np.float32(0.0 if lane.relu else -np.inf)
    for m in range(spot[2]):
        addend = lane.bias[spot[1] + m]
        for s in range(held):
            target = np.uint64((found[s, 0] * spot[0] + spot[1] + m) * size + found[s, 1])
            source = np.uint64(m * TILE + found[s, 2])
            for i in range(np.uint64(found[s, 3])):
                value = np.float32(sums[source + i] + addend)
                if lane.residual.size > 0:
                    value = np.float32(value + lane.residual[target + i])
                out[target + i] = max(value, lowest)
