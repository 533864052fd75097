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
from logaccel.jit import float_bits, inlined_kernel, kernel, shift_right

Sums = NDArray[np.signedinteger[Any]]
Places = NDArray[np.int64]

_COUNTED = 128  # codes whose count fits eight bits


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
    totals: Sums, tile: tuple[int, int, int], lane: Lane, first: int, carries: tuple[int, ...], real: Any
) -> None:
    """Replace totals[m, i] by the log codes of totals + bias[first + m].

    tile: channels, places, places from one channel to the next. carries: 2^(fraction bits) less each threshold of the
    encoder, eight of them. real: any array of floats as wide as a total.
    """
    # Each number of steps has a loop of its own: that of base 2 adds once where base 2^(1/8) adds eight times.
    if lane.steps == 1:
        _to_log(totals, tile, lane, first, carries[:1], real)
    elif lane.steps == 2:
        _to_log(totals, tile, lane, first, carries[:2], real)
    elif lane.steps == 4:
        _to_log(totals, tile, lane, first, carries[:4], real)
    else:
        _to_log(totals, tile, lane, first, carries, real)


@kernel
def _to_log(
    totals: Sums, tile: tuple[int, int, int], lane: Lane, first: int, carries: tuple[int, ...], real: Any
) -> None:
    unit = totals.dtype.type
    lowest, low, high, zero = unit(lane.lowest), unit(lane.low), unit(lane.high), unit(0)
    bits, offset = unit(lane.fraction_bits), unit(lane.offset)
    for m in range(tile[0]):
        start, bias = np.uint64(m * tile[2]), unit(lane.bias[first + m])
        if lowest == zero:
            for i in range(np.uint64(tile[1])):
                value: Any = max(unit(totals[start + i] + bias), zero)
                code: Any = unit(_steps_of(value, bits, carries, totals, real) + offset)
                totals[start + i] = max(min(code, high), zero) if value > zero else zero
        else:
            for i in range(np.uint64(tile[1])):
                value = max(unit(totals[start + i] + bias), lowest)
                magnitude: Any = unit(-value) if value < zero else value
                code = unit(_steps_of(magnitude, bits, carries, totals, real) + offset)
                code = max(min(code, high), zero) if magnitude > zero else zero
                totals[start + i] = max(unit(-code) if value < zero else code, low)


@inlined_kernel
def _steps_of(magnitude: Any, bits: Any, carries: tuple[int, ...], totals: Sums, real: Any) -> Any:
    """Return B · octave (biased) + how many of the B thresholds of an octave the fraction reaches.

    Adding 2^bits less a threshold to octave and fraction, as they stand in the float, carries into the octave where
    the fraction reaches the threshold: the sum of B such octaves is what is wanted.
    """
    unit, single = totals.dtype.type, real.dtype.type
    kept = unit(magnitude & unit(~shift_right(magnitude, unit(bits + unit(1)))))
    raw: Any = float_bits(single(kept))
    steps: Any = unit(0)
    for carry in carries:
        steps = unit(steps + shift_right(unit(raw + unit(carry)), bits))
    return steps


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
    unit = codes.dtype.type
    found: Any = 0
    top, bottom = unit(high), unit(low if low < 0 else -1)
    for block in range(first, end, _COUNTED):
        own: Any = np.uint8(0)  # as narrow as codes: a vector holds many
        for i in range(np.uint64(block), np.uint64(min(block + _COUNTED, end))):
            own = np.uint8(own + np.uint8((codes[i] >= top) | (codes[i] <= bottom)))
        found += np.int64(own)
    return int(found)
