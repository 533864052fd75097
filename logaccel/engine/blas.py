"""Exact integer sums as floating-point matrix products, wherever a bound proves every partial sum exact.

Below 2^24 float32 holds every integer, below 2^53 float64; in whatever order the library adds, nothing rounds.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.engine.bounds import Bound, log_integers, separable
from logaccel.engine.lowering import Operands
from logaccel.formats import Format, LinearFormat
from logaccel.formats.encode import Codes
from logaccel.jit import parallel_kernel, parallel_range
from logaccel.pe import Datapath, Product

Factor = NDArray[np.floating[Any]]
FLOAT32_EXACT, FLOAT64_EXACT = 2**24, 2**53


def float_type(datapath: Datapath, bound: Bound) -> type[np.floating[Any]] | None:
    """Return the narrowest float type that is exact for sums within a bound, or None."""
    if not (separable(datapath) or (datapath.product is Product.DECODE and not datapath.drop_bits)):
        return None
    if bound.combined <= FLOAT32_EXACT:
        return np.float32
    return np.float64 if bound.combined <= FLOAT64_EXACT else None


def weight_factors(datapath: Datapath, weights: Codes, dtype: type[np.floating[Any]]) -> list[Factor]:
    """Return W[k, m] as floats, once for every fractional step that an activation can have."""
    if separable(datapath):
        return [_values(datapath, datapath.weight, weights, dtype)]
    return [_after_fraction(datapath, fraction)[weights].astype(dtype) for fraction in _fractions(datapath)]


def matrix_sums(datapath: Datapath, operands: Operands, factors: list[Factor]) -> NDArray[np.int64]:
    """Return psum[pixel, m] of A[pixel, k] codes and the factors of the weights."""
    dtype = factors[0].dtype.type
    if separable(datapath):
        return np.asarray((_values(datapath, datapath.activation, operands, dtype) @ factors[0]).astype(np.int64))
    total = np.zeros((operands.shape[0], factors[0].shape[1]), np.int64)
    for fraction, factor in zip(_fractions(datapath), factors, strict=True):
        total += (_octaves(datapath, fraction)[operands].astype(dtype) @ factor).astype(np.int64)
    return total


def _values(datapath: Datapath, operand: Format, codes: Codes, dtype: type[np.floating[Any]]) -> Factor:
    if isinstance(operand, LinearFormat):
        return codes.astype(dtype)
    values = np.empty(codes.shape, dtype)
    _look_up(_signed(log_integers(datapath, operand).astype(dtype)), codes, values)
    return values


@parallel_kernel
def _look_up(table: Factor, codes: Codes, values: Factor) -> None:
    """Set values[row, column] = table[code]; a negative code counts from the end."""
    for row in parallel_range(codes.shape[0]):
        for column in range(codes.shape[1]):
            values[row, column] = table[codes[row, column]]


def _signed(magnitudes: Factor) -> Factor:
    """Extend a table over magnitude codes to negative codes, which index from its end."""
    return np.concatenate((magnitudes, -magnitudes[:0:-1]))


def _fractions(datapath: Datapath) -> range:
    """Return the fractional steps of activation codes (decode with B > 1)."""
    return range(0, datapath.steps, datapath.activation_scale)


def _octaves(datapath: Datapath, fraction: int) -> Factor:
    """Return 2^octave of every activation code with that fractional step, 0 for the others."""
    steps = np.arange(datapath.activation.max_code + 1) * datapath.activation_scale
    values = np.where(steps % datapath.steps == fraction, np.ldexp(1.0, steps // datapath.steps), 0.0)
    values[0] = 0.0
    return _signed(values)


def _after_fraction(datapath: Datapath, fraction: int) -> Factor:
    """Return what each weight code contributes to products with activations of one fractional step."""
    steps = np.arange(datapath.weight.max_code + 1) * datapath.weight_scale + fraction + datapath.step_offset
    values = np.array(datapath.constants, np.float64)[steps % datapath.steps] * np.ldexp(1.0, steps // datapath.steps)
    values[0] = 0.0
    return _signed(values)
