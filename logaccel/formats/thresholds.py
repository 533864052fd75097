"""Exact rounding thresholds of the logarithm: integer roots, no floating point."""

from functools import cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from logaccel.formats.number import Rounding


@cache
def fraction_thresholds(steps_per_octave: int, rounding: Rounding, fraction_bits: int) -> NDArray[np.int64]:
    """Return the fractions, in units of 2^−fraction_bits and rounded up, at which the log code steps up.

    A magnitude 2^p·(1 + φ) lies `count` steps above 2^p, count = how many thresholds are <= φ.
    Nearest: 2^((j+½)/B) − 1 for j = 0…B−1; floor: 2^(j/B) − 1 for j = 1…B−1 (never empty: for B = 1
    the one threshold is out of reach). The thresholds are irrational, so rounding *up* makes the
    comparison with a fraction of that many bits exact.
    """
    steps = steps_per_octave
    if rounding == "nearest":
        halves = [2 * j + 1 for j in range(steps)]
    else:
        halves = [2 * j for j in range(1, steps)]
    ceilings = [_ceil_power(half, 2 * steps, fraction_bits) - 2**fraction_bits for half in halves]
    return np.array(ceilings or [2**fraction_bits], dtype=np.int64)


@cache
def root_constants(steps_per_octave: int, constant_bits: int) -> tuple[int, ...]:
    """Return K_j = round(2^(j/B) · 2^constant_bits), j = 0…B−1: the machine's fixed-point roots of two."""
    # With n = ceil(2x), x lies in ((n − 1)/2, n/2], and never on a tie: its nearest integer is n // 2.
    doubled = (_ceil_power(2 * j, 2 * steps_per_octave, constant_bits + 1) for j in range(steps_per_octave))
    return tuple(value // 2 for value in doubled)


def _ceil_power(numerator: int, denominator: int, fraction_bits: int) -> int:
    """Return ceil(2^(numerator/denominator) · 2^fraction_bits); the denominator is a power of two."""
    value = 2 ** (numerator + fraction_bits * denominator)
    while denominator > 1:
        root = isqrt(value)
        value = root + (root * root != value)  # ceil(sqrt(ceil(x))) = ceil(sqrt(x)) for integers
        denominator //= 2
    return value
