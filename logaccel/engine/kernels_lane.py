"""The lane on a row of totals: bias, residual, ReLU and encoder, as `hardware.py` has them, fast.

Totals stay below 2^52, so that a double holds each exactly: the position of its leading one is the double's
exponent, the bits after it are the double's fraction. Callers prove and validate.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from logaccel.formats.encode import MANTISSA_BITS, Codes
from logaccel.jit import kernel, shift_left

Sums = NDArray[np.signedinteger[Any]]
Places = NDArray[np.int64]


class Lane(NamedTuple):
    """What happens to a total: bias and residual words in its LSBs, then ReLU and encoder."""

    bias: Places
    shift: int  # a total counts 2^shift LSBs
    residual_words: Places  # by code − residual_floor; empty where there is no residual
    residual_floor: int
    lowest: int  # 0 with a ReLU
    logarithmic: bool
    steps: int
    offset: int
    left: int  # linear: shifts into the LSBs of the code
    right: int
    low: int
    high: int


@kernel
def add_terms(totals: Sums, source: int, count: int, lane: Lane, bias: int, residual: Codes, target: int) -> None:
    """Add bias and residual to a row of totals, in the finer LSB of the two."""
    unit = totals.dtype.type
    first = np.uint64(source)
    for i in range(np.uint64(count)):
        totals[first + i] = unit(shift_left(totals[first + i], lane.shift) + unit(bias))
    if lane.residual_words.size > 0:
        for i in range(np.uint64(count)):
            index = np.uint64(np.int64(residual[np.uint64(target) + i]) - lane.residual_floor)
            totals[first + i] = unit(totals[first + i] + unit(lane.residual_words[index]))


@kernel
def to_log(
    totals: Sums, source: int, count: int, lane: Lane, thresholds: tuple[int, ...], out: Codes, target: int
) -> int:
    """Encode a row; return how many codes are at the ends of the format. A double holds every total exactly."""
    saturated: Any = 0
    first, to = np.uint64(source), np.uint64(target)
    for i in range(np.uint64(count)):
        value: Any = max(np.int64(totals[first + i]), lane.lowest)
        raw = np.float64(abs(value)).view(np.int64)
        octave = raw >> MANTISSA_BITS  # biased; 0 for zero
        fraction = raw - (octave << MANTISSA_BITS)
        code: Any = octave * lane.steps + lane.offset
        for threshold in thresholds:
            code += np.int64(fraction >= threshold)
        code = max(min(code, lane.high), 0)
        code = max(-code if value < 0 else code, lane.low)
        saturated += np.int64((code >= lane.high) | ((code <= lane.low) & (lane.low < 0)))
        out[to + i] = out.dtype.type(code)
    return int(saturated)


@kernel
def to_linear(totals: Sums, source: int, count: int, lane: Lane, out: Codes, target: int) -> int:
    """Encode a row; return how many codes are at the ends of the format."""
    saturated: Any = 0
    first, to = np.uint64(source), np.uint64(target)
    half = (np.int64(1) << lane.right) >> 1
    for i in range(np.uint64(count)):
        value: Any = max(np.int64(totals[first + i]), lane.lowest)
        magnitude: Any = ((abs(value) << lane.left) + half) >> lane.right
        code: Any = max(min(-magnitude if value < 0 else magnitude, lane.high), lane.low)
        saturated += np.int64((code >= lane.high) | ((code <= lane.low) & (lane.low < 0)))
        out[to + i] = out.dtype.type(code)
    return int(saturated)
