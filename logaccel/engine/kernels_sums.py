"""Sums of products over a layer's matrices, tile by tile: lists of live activations, then words times amounts.

Loop nest of one task, some pixels by some tiles of 64 channels:

    for block of k:
      list the live activations of every pixel        # a zero costs nothing from here on
      for tile of channels:                           # its words of this block stay in the first-level cache
        for pixel:
          accumulator[pixel, 0…63] += word[k, 0…63] << amount,   k ascending
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.engine.factors import Factors
from logaccel.engine.kernels_tile import (
    LANES,
    Limits,
    Places,
    Work,
    accumulate,
    add_multiplied,
    add_shifted,
)
from logaccel.formats.encode import Codes
from logaccel.jit import kernel, parallel_kernel, parallel_range, shift_left

Psum = NDArray[np.int64]

_SIDE = 16  # pixels and channels of a task of `sum_few`
_SPAN = 1024  # most k that it takes at a time: they stay in the first-level cache
BLOCK = 128  # k of a block: 128 rows of 64 words are 32 kB


@parallel_kernel
def pack_words(codes: Codes, factors: Factors, packed: Work) -> None:
    """Fill packed[tile, plane, k, lane] (flat) with the words of codes[m, k], m = 64·tile + lane; 0 beyond the last."""
    channels, reduction = codes.shape
    planes = factors.words.shape[0]
    for tile in parallel_range((channels + LANES - 1) // LANES):
        m0 = np.int64(tile) * LANES
        words = np.zeros(LANES, packed.dtype)
        for plane in range(planes):
            start = (np.int64(tile) * planes + plane) * reduction * LANES
            for k0 in range(0, reduction, LANES):  # squares: a cache line of codes is read once
                k1 = min(k0 + LANES, reduction)
                for lane in range(LANES):
                    if m0 + lane < channels:
                        _read_words(codes[m0 + lane, k0:k1], factors, plane, words)
                    else:
                        words[:] = 0
                    for k in range(k0, k1):
                        packed[start + k * LANES + lane] = words[k - k0]


@kernel
def list_live(codes: Codes, factors: Factors, lane: int, start: int, spread: int, at: Places, amounts: Work) -> int:
    """List the activations of codes[k] that feed a lane, as where their words begin and amounts; return how many.

    Words of plane x begin at x · spread, those of codes[k] `start` + k rows of 64 further.
    """
    unit = amounts.dtype.type
    found, place, row = np.uint64(0), np.int64(start), np.int64(LANES)
    if factors.activation_is_linear:
        place += factors.planes[lane, 0] * spread
        for k in range(np.uint64(codes.size)):
            at[found] = place
            amounts[found] = unit(codes[k])
            found += np.uint64(codes[k] != 0)
            place += row
        return int(found)
    planes, octaves, floor = factors.planes[lane], factors.amounts, np.int64(factors.activation_floor)
    for k in range(np.uint64(codes.size)):
        index = np.uint64(np.int64(codes[k]) - floor)
        plane = planes[index]
        at[found] = place + plane * spread
        amounts[found] = unit(octaves[index])
        found += np.uint64(plane >= 0)
        place += row
    return int(found)


@parallel_kernel
def sum_products(
    operands: Codes, packed: Work, factors: Factors, path: Limits, tiling: tuple[int, int, int], psum: Psum
) -> int:
    """Set psum[pixel, m] = Σ_lane scale · accumulator; return how many accumulations were limited.

    A[pixel, k] are activation codes; packed comes from `pack_words`. tiling: pixels of a task, tiles of
    channels of a task, and the blocks of k after which sums move to 64 bits. The last is 0 where the
    accumulators have limits: those keep the order k = 0…K−1 and are read at the end alone.
    """
    pixels, reduction = operands.shape
    tile_pixels, task_tiles, flush_blocks = tiling
    tiles = (psum.shape[1] + LANES - 1) // LANES
    across, down = (tiles + task_tiles - 1) // task_tiles, (pixels + tile_pixels - 1) // tile_pixels
    blocks, lanes = (reduction + BLOCK - 1) // BLOCK, factors.planes.shape[0]
    limited = flush_blocks == 0
    spread = reduction * LANES
    clipped = 0
    for task in parallel_range(across * down):
        row, column = divmod(np.int64(task), across)
        p0, t0 = row * tile_pixels, column * task_tiles
        high, wide = min(tile_pixels, pixels - p0), min(task_tiles, tiles - t0)
        sums = np.zeros(lanes * high * wide * LANES, packed.dtype)
        at, amounts = np.empty(lanes * high * BLOCK, np.int64), np.empty(lanes * high * BLOCK, packed.dtype)
        number = np.empty(lanes * high, np.int64)
        for p in range(high):
            for m in range(t0 * LANES, min((t0 + wide) * LANES, psum.shape[1])):
                psum[p0 + p, m] = 0
        for block in range(blocks):
            k0, k1 = block * BLOCK, min((block + 1) * BLOCK, reduction)
            for line in range(lanes * high):
                lane, p = divmod(line, high)
                f0, f1 = line * BLOCK, (line + 1) * BLOCK
                number[line] = list_live(
                    operands[p0 + p, k0:k1], factors, lane, k0 * LANES, spread, at[f0:f1], amounts[f0:f1]
                )
            for tile in range(wide):
                first = (t0 + tile) * factors.words.shape[0] * spread
                words = packed[first : first + factors.words.shape[0] * spread]
                for line in range(lanes * high):
                    f0, base = line * BLOCK, (line * wide + tile) * LANES
                    if limited:
                        clipped += accumulate(words, at, amounts, f0, f0 + number[line], path, sums, base)
                    elif path.shifts:
                        add_shifted(words, at, amounts, f0, f0 + number[line], sums, base)
                    else:
                        add_multiplied(words, at, amounts, f0, f0 + number[line], sums, base)
            if block == blocks - 1 or (not limited and (block + 1) % flush_blocks == 0):
                _flush(sums, factors.scales, high, psum[p0 : p0 + high, t0 * LANES : (t0 + wide) * LANES])
    return clipped


@kernel
def _flush(sums: Work, scales: Places, high: int, psum: Psum) -> None:
    """Move sums[lane, pixel, m] to psum[pixel, m], times the scale of their lane, and clear them."""
    wide = sums.size // (scales.size * high)
    for lane in range(scales.size):
        for p in range(high):
            first = (lane * high + p) * wide
            for m in range(psum.shape[1]):
                psum[p, m] += np.int64(sums[first + m]) * scales[lane]
    sums[:] = 0


@parallel_kernel
def sum_few(operands: Codes, codes: Codes, factors: Factors, path: Limits, unit: Work, most: int, psum: Psum) -> None:
    """Set psum[pixel, m] = Σ_k product(A[pixel, k], W[m, k]) along k, where one side of the psum is narrow.

    Weights stay as they lie in memory: a fully connected layer is a stream of codes. Sums of `most`
    products fit `unit`, the dtype in which they are taken.
    """
    pixels, reduction = operands.shape
    span = min(most, _SPAN)
    down, across = (pixels + _SIDE - 1) // _SIDE, (codes.shape[0] + _SIDE - 1) // _SIDE
    planes = factors.words.shape[0]
    for task in parallel_range(across * down):
        row, column = divmod(np.int64(task), across)
        p0, m0 = row * _SIDE, column * _SIDE
        p1, m1 = min(p0 + _SIDE, pixels), min(m0 + _SIDE, codes.shape[0])
        amounts = np.zeros((p1 - p0, reduction), unit.dtype)
        masks = np.zeros((planes, p1 - p0, reduction), unit.dtype)
        words = np.empty(_SPAN, unit.dtype)
        for p in range(p0, p1):
            _spread_live(operands[p], factors, amounts[p - p0], masks[:, p - p0])
            for m in range(m0, m1):
                psum[p, m] = 0
        for k0 in range(0, reduction, span):
            k1 = min(k0 + span, reduction)
            for m in range(m0, m1):
                for plane in range(planes):
                    _read_words(codes[m, k0:k1], factors, plane, words)
                    for p in range(p0, p1):
                        psum[p, m] += _dot(words, amounts[p - p0, k0:k1], masks[plane, p - p0, k0:k1], path.shifts)


@kernel
def _read_words(codes: Codes, factors: Factors, plane: int, words: Work) -> None:
    """Set words[k] to the weight words of codes[k]."""
    unit = words.dtype.type
    if factors.weight_is_linear:
        factor = unit(factors.words[plane, 0])
        for k in range(np.uint64(codes.size)):
            words[k] = unit(unit(codes[k]) * factor)
        return
    table, floor = factors.words[plane], np.int64(factors.weight_floor)
    for k in range(np.uint64(codes.size)):
        words[k] = unit(table[np.uint64(np.int64(codes[k]) - floor)])


@kernel
def _spread_live(codes: Codes, factors: Factors, amounts: Work, masks: Work) -> None:
    """Set amounts[k] of every activation, and masks[plane, k] to all ones where it meets the words of a plane."""
    unit = amounts.dtype.type
    for k in range(codes.size):
        if codes[k] != 0:
            index = np.int64(0)
            amounts[k] = unit(codes[k])
            if not factors.activation_is_linear:
                index = np.int64(codes[k]) - factors.activation_floor
                amounts[k] = unit(factors.amounts[index])
            masks[factors.planes[0, index], k] = unit(-1)


@kernel
def _dot(words: Work, amounts: Work, masks: Work, shifts: bool) -> int:
    """Return the sum of products of words[k] and amounts[k] where the mask is set."""
    unit = words.dtype.type
    total = unit(0)
    if shifts:
        for k in range(np.uint64(amounts.size)):
            total = unit(total + shift_left(unit(words[k] & masks[k]), amounts[k]))
    else:
        for k in range(np.uint64(amounts.size)):
            total = unit(total + unit(unit(words[k] & masks[k]) * amounts[k]))
    return int(total)


def working_type(narrow: bool) -> type[np.signedinteger[Any]]:
    """Return the type in which products and sums are taken."""
    return np.int32 if narrow else np.int64
