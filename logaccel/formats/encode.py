"""Values to codes and back, in software: every rounding decision is exact, one ulp beside a threshold too."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.errors import TraceError
from logaccel.formats.number import Format, LinearFormat, LogFormat, Rounding
from logaccel.formats.thresholds import fraction_thresholds
from logaccel.jit import kernel, parallel_kernel, parallel_range, read_only

Values = NDArray[np.floating[Any]]
Codes = NDArray[np.signedinteger[Any]]

MOST_STEPS = 8  # per octave
MANTISSA_BITS = 52  # stored fraction bits of a float64; a float32 converts exactly
_SIGNLESS = 2**63 - 1
_EXPONENT_BIAS = 1023
_BLOCK = 16384  # elements a thread takes at a time: stays in its first-level cache


def encode(values: Values, number_format: Format) -> Codes:
    """Return the codes of float values, in the narrowest integer type of the format.

    Linear: nearest, ties away from zero, saturating. Log: nearest or floor of B·log₂|x| (nearest means
    |x| >= 2^((k+½)/B) goes up); below the smallest code → zero, above the largest → the largest.
    Unsigned formats take negatives to zero. Raises TraceError on NaN or infinity.
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    if flat.dtype not in (np.float32, np.float64):
        flat = flat.astype(np.float64)
    own, codes = read_only(flat), np.empty(flat.size, number_format.code_dtype)
    if isinstance(number_format, LinearFormat):
        low, high = float(number_format.min_code), float(number_format.max_code)
        bad = _encode_linear(own, 2.0**-number_format.lsb_exponent, low, high, codes)
    else:
        steps = number_format.steps_per_octave
        offset = -number_format.exponent_steps(0) - steps * _EXPONENT_BIAS
        thresholds = padded_thresholds(steps, number_format.rounding)
        bad = _encode_log(own, thresholds, steps, offset, number_format.min_code, number_format.max_code, codes)
    if bad:
        raise TraceError(f"values must be finite, got {bad} NaN or infinite of {flat.size}")
    return codes.reshape(values.shape)


def decode(codes: Codes, number_format: Format) -> NDArray[np.float64]:
    """Return the values of codes as float64 (linear: exact; log with B > 1: the nearest double)."""
    if isinstance(number_format, LinearFormat):
        return np.ldexp(codes.astype(np.float64), number_format.lsb_exponent)
    table = log_values(number_format)
    magnitudes = table[np.abs(codes)]
    return np.where(codes < 0, -magnitudes, magnitudes)


def log_values(number_format: LogFormat) -> NDArray[np.float64]:
    """Return the value of every magnitude code 0…max_code."""
    exponents = number_format.exponent_steps(0) + np.arange(number_format.max_code + 1)
    values = powers_of_root(exponents, number_format.steps_per_octave)
    values[0] = 0.0
    return values


@cache
def padded_thresholds(steps_per_octave: int, rounding: Rounding) -> tuple[int, ...]:
    """Return the thresholds of a float64's fraction, always eight: the kernels unroll and vectorise over them.

    The ones added are out of reach.
    """
    thresholds = fraction_thresholds(steps_per_octave, rounding, MANTISSA_BITS).tolist()
    return tuple(thresholds + [2**MANTISSA_BITS] * (MOST_STEPS - len(thresholds)))


def powers_of_root(exponents: int | NDArray[np.int64], steps_per_octave: int) -> NDArray[np.float64]:
    """Return 2^(exponent / steps_per_octave) as the nearest doubles; exact at whole octaves."""
    octave, step = np.divmod(exponents, steps_per_octave)
    roots = 2.0 ** (np.arange(steps_per_octave) / steps_per_octave)
    return np.ldexp(roots[step], octave)


@kernel
def round_away(value: float) -> float:
    """Round to the nearest integer, ties away from zero; exact where `value + 0.5` would not be."""
    magnitude = abs(value)
    whole = np.floor(magnitude)
    rounded = whole + (1.0 if magnitude - whole >= 0.5 else 0.0)
    return rounded if value >= 0.0 else -rounded


@parallel_kernel
def _encode_linear(values: Values, per_lsb: float, low: float, high: float, codes: Codes) -> int:
    """Encode values[i] into codes[i]; return how many values are not finite."""
    bad = 0
    for block in parallel_range((values.size + _BLOCK - 1) // _BLOCK):
        for i in range(block * _BLOCK, min((block + 1) * _BLOCK, values.size)):
            value = np.float64(values[i])
            bad += 0 if abs(value) < np.inf else 1
            codes[i] = codes.dtype.type(min(max(round_away(value * per_lsb), low), high))
    return bad


@parallel_kernel
def _encode_log(
    values: Values, thresholds: tuple[int, ...], steps: int, offset: int, low: int, high: int, codes: Codes
) -> int:
    """Encode values[i] into codes[i]; return how many values are not finite."""
    bad: Any = 0
    for block in parallel_range((values.size + _BLOCK - 1) // _BLOCK):
        for i in range(block * _BLOCK, min((block + 1) * _BLOCK, values.size)):
            raw = np.float64(values[i]).view(np.int64)
            bits = raw & _SIGNLESS
            octave = bits >> MANTISSA_BITS  # biased; a subnormal is below every format: zero
            fraction = bits - (octave << MANTISSA_BITS)
            code: Any = octave * steps + offset
            for threshold in thresholds:
                code += np.int64(fraction >= threshold)  # a bare bool would halve the speed
            bad += np.int64(octave > 2 * _EXPONENT_BIAS)
            code = max(min(code, high), 0)
            codes[i] = codes.dtype.type(max(-code if raw < 0 else code, low))
    return bad
