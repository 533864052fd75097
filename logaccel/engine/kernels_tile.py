"""The innermost loops: a list of activations times their rows of weight words, into one tile of accumulators.

An entry of the list is (at, amount): `at` is where its row of LANES words begins. Four entries at a time, so
that the accumulators are read and written once for four products. Indices are unsigned and everything lies in
flat arrays: views would be counted at every entry. Callers validate.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from logaccel.jit import kernel, shift_left, shift_right

Work = NDArray[np.signedinteger[Any]]
Places = NDArray[np.int64]

LANES = 64  # channels of a tile: eight registers of 256 bits
_LANES = np.uint64(LANES)
_STEP = np.uint64(4)


class Limits(NamedTuple):
    """How products form and accumulators end: what the kernels need of a datapath beside its factors."""

    shifts: bool  # otherwise the words are multiplied
    drop_bits: int
    truncates: bool  # magnitudes lose their low bits; otherwise two's-complement words do, floored
    acc_bits: int
    saturates: bool  # otherwise wraps


@kernel
def add_shifted(words: Work, at: Places, amounts: Work, first: int, end: int, sums: Work, base: int) -> None:
    """sums[m] += words[m] << amount, in any order: 32-bit words wrap, and are right where the total fits."""
    unit = sums.dtype.type
    j, end_, base_ = np.uint64(first), np.uint64(end), np.uint64(base)
    while j + _STEP <= end_:
        b0, b1 = np.uint64(at[j]), np.uint64(at[j + np.uint64(1)])
        b2, b3 = np.uint64(at[j + np.uint64(2)]), np.uint64(at[j + np.uint64(3)])
        a0, a1 = amounts[j], amounts[j + np.uint64(1)]
        a2, a3 = amounts[j + np.uint64(2)], amounts[j + np.uint64(3)]
        for m in range(_LANES):
            low = unit(shift_left(words[b0 + m], a0) + shift_left(words[b1 + m], a1))
            high = unit(shift_left(words[b2 + m], a2) + shift_left(words[b3 + m], a3))
            sums[base_ + m] = unit(sums[base_ + m] + unit(low + high))
        j += _STEP
    while j < end_:
        b0, a0 = np.uint64(at[j]), amounts[j]
        for m in range(_LANES):
            sums[base_ + m] = unit(sums[base_ + m] + shift_left(words[b0 + m], a0))
        j += np.uint64(1)


@kernel
def add_multiplied(words: Work, at: Places, amounts: Work, first: int, end: int, sums: Work, base: int) -> None:
    """sums[m] += words[m] · amount, in any order."""
    unit = sums.dtype.type
    j, end_, base_ = np.uint64(first), np.uint64(end), np.uint64(base)
    while j + _STEP <= end_:
        b0, b1 = np.uint64(at[j]), np.uint64(at[j + np.uint64(1)])
        b2, b3 = np.uint64(at[j + np.uint64(2)]), np.uint64(at[j + np.uint64(3)])
        a0, a1 = amounts[j], amounts[j + np.uint64(1)]
        a2, a3 = amounts[j + np.uint64(2)], amounts[j + np.uint64(3)]
        for m in range(_LANES):
            low = unit(unit(words[b0 + m] * a0) + unit(words[b1 + m] * a1))
            high = unit(unit(words[b2 + m] * a2) + unit(words[b3 + m] * a3))
            sums[base_ + m] = unit(sums[base_ + m] + unit(low + high))
        j += _STEP
    while j < end_:
        b0, a0 = np.uint64(at[j]), amounts[j]
        for m in range(_LANES):
            sums[base_ + m] = unit(sums[base_ + m] + unit(words[b0 + m] * a0))
        j += np.uint64(1)


@kernel
def accumulate(
    words: Work, at: Places, amounts: Work, first: int, end: int, path: Limits, sums: Work, base: int
) -> int:
    """Add the products entry by entry, low bits dropped and every sum limited; return how many sums were limited.

    Two's-complement products are floored; magnitudes are truncated, so that negative products round up.
    """
    unit = sums.dtype.type
    shifts = path.shifts
    high = unit((np.int64(1) << (path.acc_bits - 1)) - 1)
    low = unit(-high - 1)
    drop = unit(path.drop_bits)
    rounding = unit((np.int64(1) << path.drop_bits) - 1 if path.truncates else 0)
    clipped, base_ = unit(0), np.uint64(base)
    for j in range(np.uint64(first), np.uint64(end)):
        own, amount = np.uint64(at[j]), amounts[j]
        places = amount if shifts else unit(0)
        factor = unit(1) if shifts else amount
        if path.saturates and path.drop_bits == 0:  # the common case, twice as fast without the dropping
            for m in range(_LANES):
                exact = unit(sums[base_ + m] + unit(shift_left(words[own + m], places) * factor))
                kept = min(max(exact, low), high)
                clipped = unit(clipped + unit(exact != kept))
                sums[base_ + m] = kept
        elif path.saturates:
            for m in range(_LANES):
                product = unit(shift_left(words[own + m], places) * factor)
                product = shift_right(unit(product + (rounding if product < unit(0) else unit(0))), drop)
                exact = unit(sums[base_ + m] + product)
                kept = min(max(exact, low), high)
                clipped = unit(clipped + unit(exact != kept))
                sums[base_ + m] = kept
        else:
            mask = unit((np.int64(1) << path.acc_bits) - 1)
            for m in range(_LANES):
                product = unit(shift_left(words[own + m], places) * factor)
                product = shift_right(unit(product + (rounding if product < unit(0) else unit(0))), drop)
                exact = unit(sums[base_ + m] + product)
                kept = unit(unit(unit(exact - low) & mask) + low)
                clipped = unit(clipped + unit(exact != kept))
                sums[base_ + m] = kept
    return int(clipped)
