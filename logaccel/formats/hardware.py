"""The encoder of the machine: accumulator integers to the next layer's codes, as the circuit does it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.formats.encode import Codes
from logaccel.formats.number import Format, LinearFormat
from logaccel.formats.thresholds import fraction_thresholds
from logaccel.jit import kernel, parallel_kernel, parallel_range

Accumulators = NDArray[np.int64]
_TILE = 16384
_WIDEST = 34  # any set bit at or above this position saturates a 32-bit word
_LOWEST = -(2**63)


def encode_accumulators(
    accumulators: Accumulators,
    lsb_exponent: int,
    number_format: Format,
    round_bits: int,
    bias: Accumulators | None = None,
    relu: bool = False,
) -> Codes:
    """Return the codes of integers a·2^lsb_exponent in a format, after a bias and a ReLU where they are given.

    bias[m], in the same LSBs, is added along the last axis of accumulators[…, m]; |a + bias| <= 2^62.
    Linear: shift, nearest with ties away from zero, saturate. Log: leading one at position p, the next
    `round_bits` bits Φ as a fraction; count the thresholds (rounded up to that many bits) that Φ reaches;
    exponent B·(p + lsb_exponent) + count; below the smallest code → zero, above the largest → the largest.
    Unsigned formats take negatives to zero.
    """
    channels = accumulators.shape[-1] if accumulators.ndim else 1
    rows = np.ascontiguousarray(accumulators, np.int64).reshape(-1, max(channels, 1))
    addend = np.zeros(rows.shape[1], np.int64) if bias is None else np.ascontiguousarray(bias, np.int64)
    lowest = 0 if relu else _LOWEST
    # Two types of code serve all formats: each further one would be compiled for itself.
    narrow = number_format.code_dtype in (np.int8, np.int16)
    codes = np.empty(rows.shape, np.int16 if narrow else np.int64)
    if isinstance(number_format, LinearFormat):
        shift = number_format.lsb_exponent - lsb_exponent
        _to_linear(rows, addend, lowest, shift, number_format.min_code, number_format.max_code, codes)
    else:
        steps = number_format.steps_per_octave
        thresholds = fraction_thresholds(steps, number_format.rounding, round_bits)
        offset = steps * lsb_exponent - number_format.exponent_steps(0)
        signed, largest = number_format.signed, number_format.max_code
        _to_log(rows, addend, lowest, round_bits, thresholds, steps, offset, largest, signed, codes)
    return codes.astype(number_format.code_dtype, copy=False).reshape(accumulators.shape)


@kernel
def leading_one(magnitude: int) -> int:
    """Return the position of the leading one of a positive integer below 2^63; 0 for 0."""
    position = 0
    for step in (32, 16, 8, 4, 2, 1):
        position += step if magnitude >> (position + step) else 0
    return position


@kernel
def shift_rounded(value: int, shift: int) -> int:
    """Return value / 2^shift, nearest, ties away from zero; a left shift where shift is negative."""
    magnitude = abs(value)
    if shift > 63:
        magnitude = 0
    elif shift > 0:
        magnitude = ((magnitude >> (shift - 1)) + 1) >> 1
    else:
        magnitude = magnitude << -shift
    return magnitude if value >= 0 else -magnitude


@parallel_kernel
def _to_linear(
    accumulators: Accumulators, bias: Accumulators, lowest: int, shift: int, low: int, high: int, codes: Codes
) -> None:
    """Encode max(accumulators[row, m] + bias[m], lowest) into codes[row, m]."""
    # A left shift must not leave 64 bits: what passes `limit` saturates the widest format (32 bits) anyway.
    left = min(max(-shift, 0), _WIDEST)
    limit = ((np.int64(1) << _WIDEST) >> left) + 1 if left > 0 else np.int64(1) << 62
    tiles = (bias.size + _TILE - 1) // _TILE
    for tile in parallel_range(accumulators.shape[0] * tiles):
        row = tile // tiles
        first = (tile - row * tiles) * _TILE
        for m in range(first, min(first + _TILE, bias.size)):
            value = min(max(max(accumulators[row, m] + bias[m], lowest), -limit), limit)
            codes[row, m] = codes.dtype.type(min(max(shift_rounded(value, max(shift, -left)), low), high))


@parallel_kernel
def _to_log(
    accumulators: Accumulators,
    bias: Accumulators,
    lowest: int,
    round_bits: int,
    thresholds: NDArray[np.int64],
    steps: int,
    offset: int,
    max_code: int,
    signed: bool,
    codes: Codes,
) -> None:
    """Encode max(accumulators[row, m] + bias[m], lowest) into codes[row, m]."""
    tiles = (bias.size + _TILE - 1) // _TILE
    for tile in parallel_range(accumulators.shape[0] * tiles):
        row = tile // tiles
        first = (tile - row * tiles) * _TILE
        for m in range(first, min(first + _TILE, bias.size)):
            value = max(accumulators[row, m] + bias[m], lowest)
            magnitude = abs(value)
            position = leading_one(magnitude)
            fraction = magnitude - (np.int64(1) << position)
            fraction = (fraction >> max(position - round_bits, 0)) << max(round_bits - position, 0)
            code: Any = position * steps + offset
            for k in range(thresholds.size):
                code += np.int64(fraction >= thresholds[k])
            code = max(0, min(code, max_code))
            code = code if value > 0 or (value < 0 and signed) else 0
            codes[row, m] = codes.dtype.type(-code if value < 0 else code)
