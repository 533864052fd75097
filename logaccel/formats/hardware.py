"""The encoder of the machine: accumulator integers to the next layer's codes, as the circuit does it."""

import numpy as np
from numpy.typing import NDArray

from logaccel.formats.encode import Codes
from logaccel.formats.number import Format, LinearFormat
from logaccel.formats.thresholds import fraction_thresholds
from logaccel.jit import kernel, parallel_kernel, parallel_range

Accumulators = NDArray[np.int64]
_BLOCK = 16384
_WIDEST = 34  # any set bit at or above this position saturates a 32-bit word


def encode_accumulators(
    accumulators: Accumulators, lsb_exponent: int, number_format: Format, round_bits: int
) -> Codes:
    """Return the codes of integers a·2^lsb_exponent in a format.

    Linear: shift, nearest with ties away from zero, saturate. Log: leading one at position p, the next
    `round_bits` bits Φ as a fraction; count the thresholds (rounded up to that many bits) that Φ reaches;
    exponent B·(p + lsb_exponent) + count; below the smallest code → zero, above the largest → the largest.
    Unsigned formats take negatives to zero. |a| < 2^62.
    """
    flat = np.ascontiguousarray(accumulators, np.int64).reshape(-1)
    codes = np.empty(flat.size, number_format.code_dtype)
    if isinstance(number_format, LinearFormat):
        shift = number_format.lsb_exponent - lsb_exponent
        _to_linear(flat, shift, number_format.min_code, number_format.max_code, codes)
    else:
        steps = number_format.steps_per_octave
        thresholds = fraction_thresholds(steps, number_format.rounding, round_bits)
        offset = steps * lsb_exponent - number_format.exponent_steps(0)
        _to_log(
            flat, round_bits, thresholds, steps, offset, number_format.max_code, number_format.signed, codes
        )
    return codes.reshape(accumulators.shape)


@kernel
def leading_one(magnitude: int) -> int:
    """Return the position of the leading one of a positive integer below 2^63."""
    position = 0
    for step in (32, 16, 8, 4, 2, 1):
        if magnitude >> (position + step):
            position += step
    return position


@kernel
def shift_rounded(value: int, shift: int) -> int:
    """Return value / 2^shift, nearest, ties away from zero; a left shift where shift is negative."""
    magnitude = abs(value)
    if shift > 62:
        magnitude = 0
    elif shift > 0:
        magnitude = (magnitude + (np.int64(1) << (shift - 1))) >> shift
    else:
        magnitude = magnitude << -shift
    return magnitude if value >= 0 else -magnitude


@parallel_kernel
def _to_linear(accumulators: Accumulators, shift: int, low: int, high: int, codes: Codes) -> None:
    # A left shift must not leave 64 bits: what passes `limit` saturates the widest format (32 bits) anyway.
    left = min(max(-shift, 0), _WIDEST)
    limit = ((np.int64(1) << _WIDEST) >> left) + 1 if left > 0 else np.int64(1) << 62
    for block in parallel_range((accumulators.size + _BLOCK - 1) // _BLOCK):
        for i in range(block * _BLOCK, min((block + 1) * _BLOCK, accumulators.size)):
            value = min(max(accumulators[i], -limit), limit)
            codes[i] = codes.dtype.type(min(max(shift_rounded(value, max(shift, -left)), low), high))


@parallel_kernel
def _to_log(
    accumulators: Accumulators,
    round_bits: int,
    thresholds: NDArray[np.int64],
    steps: int,
    offset: int,
    max_code: int,
    signed: bool,
    codes: Codes,
) -> None:
    for block in parallel_range((accumulators.size + _BLOCK - 1) // _BLOCK):
        for i in range(block * _BLOCK, min((block + 1) * _BLOCK, accumulators.size)):
            value = accumulators[i]
            code = np.int64(0)
            if value > 0 or (value < 0 and signed):
                magnitude = abs(value)
                position = leading_one(magnitude)
                fraction = magnitude - (np.int64(1) << position)
                if position > round_bits:
                    fraction >>= position - round_bits
                else:
                    fraction <<= round_bits - position
                code = position * steps + offset
                for k in range(thresholds.size):
                    code += np.int64(fraction >= thresholds[k])
                code = max(np.int64(0), min(code, max_code))
            codes[i] = codes.dtype.type(-code if value < 0 else code)
