"""The lane on a tile of totals: bias, residual, ReLU and encoder, as `hardware.py` has them, a vector at a time.

The position of a magnitude's leading one and the bits after it are the exponent and the fraction of the magnitude
as a float; low bits that the float does not hold are cut off, never rounded: for a magnitude of p + 1 bits,
`magnitude >> (fraction bits + 1)` has its leading one where rounding looks, and is cleared there. Totals in 32 bits
take 23 fraction bits, those in 64 bits 52. Callers prove and validate.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from logaccel.formats.encode import Codes
from logaccel.jit import float_bits, kernel, shift_left, shift_right

Sums = NDArray[np.signedinteger[Any]]
Places = NDArray[np.int64]


class Lane(NamedTuple):
    """What happens to a total: bias and residual words in its LSBs, then ReLU and encoder."""

    bias: Places
    shift: int  # a total counts 2^shift LSBs
    residual_words: Sums  # by code − residual_floor; empty where there is no residual
    residual_floor: int
    lowest: int  # 0 with a ReLU
    logarithmic: bool
    fraction_bits: int  # of the float
    steps: int
    offset: int
    left: int  # linear: shifts into the LSBs of the code
    right: int
    low: int
    high: int


@kernel
def to_log(
    totals: Sums, tile: tuple[int, int, int], lane: Lane, first: int, thresholds: tuple[int, ...], real: Any
) -> None:
    """Replace totals[m, i] by the log codes of totals + bias[first + m].

    tile: channels, places, places from one channel to the next. real: any array of floats as wide as a total.
    """
    unit, single = totals.dtype.type, real.dtype.type
    bits, beyond = unit(lane.fraction_bits), unit(lane.fraction_bits + 1)
    lowest, steps, offset = unit(lane.lowest), unit(lane.steps), unit(lane.offset)
    low, high, zero = unit(lane.low), unit(lane.high), unit(0)
    for m in range(tile[0]):
        start, bias = np.uint64(m * tile[2]), unit(lane.bias[first + m])
        for i in range(np.uint64(tile[1])):
            value: Any = max(unit(totals[start + i] + bias), lowest)
            magnitude = unit(-value) if value < zero else value
            kept = unit(magnitude & unit(~shift_right(magnitude, beyond)))
            raw: Any = float_bits(single(kept))
            octave = shift_right(raw, bits)  # biased; 0 for zero
            fraction = unit(raw - shift_left(octave, bits))
            code: Any = unit(unit(octave * steps) + offset)
            for threshold in thresholds:
                code = unit(code + unit(fraction >= unit(threshold)))
            code = max(min(code, high), zero) if magnitude > zero else zero
            totals[start + i] = max(unit(-code) if value < zero else code, low)


@kernel
def to_linear(totals: Sums, tile: tuple[int, int, int], lane: Lane, first: int) -> None:
    """Replace totals[m, i] by the linear codes of totals + bias[first + m]: nearest, ties away from zero."""
    unit, half = totals.dtype.type, (np.int64(1) << lane.right) >> 1
    for m in range(tile[0]):
        start, bias = np.uint64(m * tile[2]), lane.bias[first + m]
        for i in range(np.uint64(tile[1])):
            value: Any = max(np.int64(totals[start + i]) + bias, lane.lowest)
            magnitude: Any = ((abs(value) << lane.left) + half) >> lane.right
            code: Any = max(min(-magnitude if value < 0 else magnitude, lane.high), lane.low)
            totals[start + i] = unit(code)


@kernel
def count_ends(codes: Codes, first: int, end: int, low: int, high: int) -> int:
    """Return how many of codes[first … end − 1] are the largest or, where there are negative ones, the smallest."""
    found: Any = 0
    unit = codes.dtype.type
    top, bottom = unit(high), unit(low if low < 0 else -1)
    for i in range(np.uint64(first), np.uint64(end)):
        found += np.int64((codes[i] >= top) | (codes[i] <= bottom))
    return int(found)
