"""Powers of two by ofmap channel: channel m of a filter is stored as W[m] · 2^s[m], in the one format of the filter."""

import numpy as np
from numpy.typing import NDArray

from logaccel.formats.encode import decode, encode
from logaccel.formats.number import FSR_MAX, FSR_MIN, LinearWord, LogWord

MOST_VALUES = 2**22  # weights that ranges are tried on at a time


def scaled(values: NDArray[np.float32], scales: tuple[int, ...] | None) -> NDArray[np.float32]:
    """Return values[m, …] · 2^s[m]; exact."""
    if scales is None:
        return values
    turned = np.array(scales, np.int32).reshape(-1, *[1] * (values.ndim - 1))
    return np.ldexp(values, turned).astype(np.float32)


def best_scales(filters: NDArray[np.float32], word: LinearWord | LogWord, largest: int) -> tuple[int, ...]:
    """Return s[m] of filters[m, …]: each channel in the range of the least squared error of its own weights."""
    rows = filters.reshape(len(filters), -1)
    used = np.abs(rows).max(axis=1) > 0
    return scales_below(_best_ranges(rows, word, largest), used, largest) if used.any() else (0,) * len(rows)


def scales_below(exponents: NDArray[np.int64], used: NDArray[np.bool_], largest: int) -> tuple[int, ...]:
    """Return how far each channel's exponent lies below the highest of those used, at most `largest`; unused: 0."""
    chosen = np.where(used, np.minimum(exponents[used].max() - exponents, largest), 0)
    return tuple(int(value) for value in chosen)


def _best_ranges(rows: NDArray[np.float32], word: LinearWord | LogWord, largest_scale: int) -> NDArray[np.int64]:
    """Return for weights[m, k] the range of each channel with the least squared error; the larger wins a tie.

    Candidates reach down from where the largest weight of all does not saturate as far as a scale can.
    """
    largest = int(np.frexp(np.abs(rows).max())[1]) + 1
    candidates = np.arange(min(largest, FSR_MAX), max(largest - largest_scale - 2, FSR_MIN) - 1, -1)
    best = np.empty(len(rows), np.int64)
    at_a_time = max(1, MOST_VALUES // rows.shape[1])
    for first in range(0, len(rows), at_a_time):
        part = np.ascontiguousarray(rows[first : first + at_a_time])
        errors = []
        for fsr in candidates.tolist():
            chosen = word.at(fsr, True)
            errors.append(np.square(part - decode(encode(part, chosen), chosen)).sum(axis=1))
        best[first : first + at_a_time] = candidates[np.argmin(errors, axis=0)]
    return best
