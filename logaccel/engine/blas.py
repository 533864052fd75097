"""Exact integer sums as floating-point matrix products, wherever a bound proves every partial sum exact.

Below 2^24 float32 holds every integer, below 2^53 float64; in whatever order the library adds, nothing rounds.
Longer sums are taken in spans of k that stay below.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.engine.bounds import largest_product
from logaccel.engine.factors import Factors
from logaccel.formats import Format
from logaccel.formats.encode import Codes
from logaccel.jit import parallel_kernel, parallel_range
from logaccel.pe import Datapath

Floats = NDArray[np.floating[Any]]
FLOAT32_EXACT, FLOAT64_EXACT = 2**24, 2**53
_SHORTEST_SPAN = 256  # shorter matrix products in float32 cost more than whole ones in float64


@dataclass(frozen=True)
class FloatPlan:
    """The float type of a layer's products, and how many of them its sums hold exactly."""

    dtype: type[np.floating[Any]]
    span: int


def float_plan(datapath: Datapath, reduction: int, bound: int) -> FloatPlan | None:
    """Return the fastest exact way to take sums within a bound in floating point, or None."""
    if bound <= FLOAT32_EXACT:
        return FloatPlan(np.float32, reduction)
    span = FLOAT32_EXACT // largest_product(datapath)
    if span >= _SHORTEST_SPAN:
        return FloatPlan(np.float32, span)
    return FloatPlan(np.float64, reduction) if bound <= FLOAT64_EXACT else None


class FloatFactors:
    """Factors as floating-point tables: one pair of matrices for every plane that is not another's negative."""

    def __init__(self, factors: Factors, dtype: type[np.floating[Any]]) -> None:
        self.factors, self.dtype = factors, dtype
        self.kept, self.home = _positive_planes(factors)

    def activations(self, codes: Codes) -> list[Floats]:
        """Return, for every plane kept, ±2^amount (or the linear code) where an activation meets it, else 0."""
        if self.factors.activation_is_linear:
            return [codes.astype(self.dtype)]
        return [_looked_up(values, codes, self.factors.activation_floor) for values in self.tables()[0]]

    def tables(self) -> tuple[Floats, int]:
        """Return factor[plane kept, code − floor] and the floor; no columns where a code is its own factor."""
        if self.factors.activation_is_linear:
            return np.empty((1, 0), self.dtype), 0
        planes = self.factors.planes[0]
        values = np.zeros((len(self.kept), len(planes)), self.dtype)
        for index, own in enumerate(planes):
            if own >= 0:
                plane, sign = self.home[own]
                values[self.kept.index(plane), index] = np.ldexp(float(sign), int(self.factors.amounts[index]))
        return values, self.factors.activation_floor

    def largest(self, activation: Format) -> list[float]:
        """Return the largest magnitude of an activation's factor in every plane kept."""
        if self.factors.activation_is_linear:
            return [float(max(activation.max_code, -activation.min_code))]
        return [float(row.max()) for row in np.abs(self.tables()[0])]

    def weights(self, codes: Codes) -> list[Floats]:
        """Return W[m, k] for every plane kept."""
        if self.factors.weight_is_linear:
            factors = [self.factors.words[plane, 0] for plane in self.kept]
            return [codes.astype(self.dtype) * self.dtype(f) if f != 1 else codes.astype(self.dtype) for f in factors]
        floor = self.factors.weight_floor
        return [_looked_up(self.factors.words[plane].astype(self.dtype), codes, floor) for plane in self.kept]


def _positive_planes(factors: Factors) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the planes to keep and, for every plane, the kept one that it equals up to a sign."""
    kept: list[int] = []
    home: list[tuple[int, int]] = []
    for plane, words in enumerate(factors.words):
        twin = next((other for other in kept if (factors.words[other] == -words).all()), None)
        if twin is None:
            kept.append(plane)
        home.append((plane, 1) if twin is None else (twin, -1))
    return kept, home


def _looked_up(table: Floats, codes: Codes, floor: int) -> Floats:
    values = np.empty(codes.shape, table.dtype)
    _look_up(table, np.ascontiguousarray(codes).reshape(-1), floor, values.reshape(-1))
    return values


@parallel_kernel
def _look_up(table: Floats, codes: Codes, floor: int, values: Floats) -> None:
    """Set values[i] = table[code − floor]."""
    for i in parallel_range(codes.size):
        values[i] = table[np.int64(codes[i]) - floor]


def add_matrix_products(pairs: list[tuple[Floats, Floats]], span: int, psum: NDArray[np.int64]) -> None:
    """Set psum[pixel, m] to the sum over pairs A[pixel, k], W[m, k] of A @ Wᵀ, taken in spans of k."""
    reduction = pairs[0][0].shape[1]
    starts = [(a, w, k0) for a, w in pairs for k0 in range(0, reduction, span)]
    for number, (a, w, k0) in enumerate(starts):
        part = a[:, k0 : k0 + span] @ w[:, k0 : k0 + span].T
        if number == 0:
            psum[...] = part
        else:
            psum += part.astype(np.int64)
