"""The full-scale range of a tensor: the one whose codes have the least squared error.

One pass over the tensor sums moments per rounded exponent. For log words that decides: exponents lie on the
same grid at every range, and the range only chooses a window of it. For linear words the moments bound the
error of every range from both sides; the few ranges that can still win are summed directly in a second pass.

Sums are float64 in a fixed order, whatever the machine or the number of threads: a tensor is cut into at most
64 chunks by its size alone, chunks are summed in order, and the direct sums run in 64 explicit lanes.
"""

from math import fsum, ldexp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.errors import TraceError
from logaccel.formats.encode import MANTISSA_BITS, Values, padded_thresholds, powers_of_root
from logaccel.formats.number import FSR_MAX, FSR_MIN, LinearFormat, LinearWord, LogWord, Rounding
from logaccel.jit import kernel, parallel_kernel, parallel_range, read_only

Floats = NDArray[np.float64]

_CHUNKS = 64
_SMALLEST_CHUNK = 16384
_LANES = 64
_TILE = 64 * _LANES  # elements read once for all ranges: they stay in the first-level cache
_HUGE = 2.0**96  # larger values count as this one: beyond it float64 squares could not tell the ranges apart
_SIGNLESS = 2**63 - 1
_EXPONENT_BIAS = 1023
COUNT, SUM, SQUARES, ERRORS = range(4)  # columns of the moments
NEGATIVE = 1


def best_fsr(values: Values, word: LinearWord | LogWord, signed: bool) -> int:
    """Return the full-scale range in FSR_MIN…FSR_MAX with the least Σ (x − decode(encode(x)))².

    The smaller range wins a tie. A tensor without a value that the word could show (all zeros; for an
    unsigned word also negatives) gets 0; |x| beyond 2^96 counts as 2^96. Raises TraceError on NaN or infinity.
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    if flat.dtype not in (np.float32, np.float64):
        flat = flat.astype(np.float64)
    steps = word.steps_per_octave if isinstance(word, LogWord) else 1
    # Exponents below `first` are zero at every range, those from `last` on clip at every range.
    depth = 2**word.bits if isinstance(word, LogWord) else word.bits + 2
    first, last = steps * FSR_MIN - depth, steps * FSR_MAX
    moments, peaks = _moments_of(flat, word, steps, first, last)
    if not signed:
        moments[NEGATIVE] = 0.0
        peaks[NEGATIVE] = 0.0
    if not peaks.any():
        return 0
    if isinstance(word, LogWord):
        return _best_log(moments.sum(axis=0), word, signed, first)
    candidates = _linear_candidates(moments, peaks, word, signed, first, _chunk_size(flat.size))
    if len(candidates) == 1:
        return candidates[0]
    errors = _linear_errors(flat, [word.at(fsr, signed) for fsr in candidates])
    return candidates[int(np.argmin(errors))]


def _chunk_size(size: int) -> int:
    return max(_SMALLEST_CHUNK, -(-size // (_CHUNKS * _TILE)) * _TILE)


def _moments_of(flat: Values, word: LinearWord | LogWord, steps: int, first: int, last: int) -> tuple[Floats, Floats]:
    """Return moments[sign, exponent − first, column] and peaks[sign], the largest magnitudes."""
    rounding: Rounding = word.rounding if isinstance(word, LogWord) else "floor"
    thresholds = padded_thresholds(steps, rounding)
    grid = powers_of_root(np.arange(first, last + 1), steps)
    size = _chunk_size(flat.size)
    chunks = max(1, -(-flat.size // size))
    moments = np.zeros((chunks, 2, grid.size, 4))
    peaks = np.zeros((chunks, 2))
    bad = np.zeros(chunks, np.int64)
    _sum_moments(read_only(flat), size, thresholds, steps, first, grid, moments, peaks, bad)
    if bad.any():
        raise TraceError(f"values must be finite, got {bad.sum()} NaN or infinite of {flat.size}")
    return np.add.accumulate(moments, axis=0)[-1], peaks.max(axis=0)


def _best_log(moments: Floats, word: LogWord, signed: bool, first: int) -> int:
    """Return the best range from moments[exponent − first, column] of both signs."""
    used = np.flatnonzero(moments[:, COUNT])
    low, high = int(used[0]), int(used[-1]) + 1
    counts, sums, squares, errors = (moments[low:high, column].tolist() for column in range(4))
    best, least = FSR_MIN, float("inf")
    for fsr in range(FSR_MIN, FSR_MAX + 1):
        coded = word.at(fsr, signed)
        bottom = min(max(coded.exponent_steps(1) - first - low, 0), high - low)
        top = min(max(coded.exponent_steps(coded.max_code) + 1 - first - low, 0), high - low)
        error = fsum(squares[:bottom]) + fsum(errors[bottom:top])
        if top < high - low:
            limit = float(powers_of_root(coded.exponent_steps(coded.max_code), word.steps_per_octave))
            clipped = fsum(squares[top:]) - 2.0 * limit * fsum(sums[top:]) + limit * limit * fsum(counts[top:])
            error += max(clipped, 0.0)
        if error < least:
            best, least = fsr, error
    return best


def _linear_candidates(
    moments: Floats, peaks: Floats, word: LinearWord, signed: bool, first: int, chunk: int
) -> list[int]:
    """Return every range that can have the least error, ascending: none that is left out can.

    Above the smallest range at which nothing saturates, grids are subsets of its grid: no error is smaller.
    Below it, octaves from the full scale up clip, which moments sum exactly; octaves below half an LSB are
    zero; each value between adds at most a quarter of the squared LSB, or a whole one where it may clip.
    """
    slack = 16.0 * (chunk + _CHUNKS) * 2.0**-53  # more than any sum of moments can be wrong by, relatively
    bounds = []
    for fsr in range(FSR_MIN, FSR_MAX + 1):
        coded = word.at(fsr, signed)
        lsb = ldexp(1.0, coded.lsb_exponent)
        limits = np.array([coded.max_code * lsb, -coded.min_code * lsb])
        saturates = bool((peaks > limits + 0.5 * lsb).any())
        bounds.append((fsr, *_error_bounds(moments, limits, coded, first, (slack, saturates))))
        if not saturates:
            break
    least = min(upper for _, _, upper in bounds)
    return [fsr for fsr, lower, _ in bounds if lower <= least]


def _error_bounds(
    moments: Floats, limits: Floats, coded: LinearFormat, first: int, tolerance: tuple[float, bool]
) -> tuple[float, float]:
    """Return a lower and an upper bound of the squared error at one range."""
    slack, saturates = tolerance
    bottom, top = coded.lsb_exponent - 1 - first, coded.fsr - first
    below = float(moments[:, :bottom, SQUARES].sum())
    between = float(moments[:, bottom:top, COUNT].sum())
    above = moments[:, top:].sum(axis=1)
    terms = (above[:, SQUARES], 2.0 * limits * above[:, SUM], limits * limits * above[:, COUNT])
    clipped = float((terms[0] - terms[1] + terms[2]).sum())
    doubt = slack * (below + float(sum(term.sum() for term in terms)))
    residue = between * ldexp(1.0, 2 * coded.lsb_exponent) * (1.0 if saturates else 0.25)
    return below + clipped - doubt, below + clipped + doubt + residue * (1.0 + slack)


def _linear_errors(flat: Values, formats: list[LinearFormat]) -> Floats:
    """Return the squared error of each format, summed directly."""
    size = _chunk_size(flat.size)
    per_lsb = np.array([ldexp(1.0, -coded.lsb_exponent) for coded in formats])
    limits = np.array([(coded.max_code, -coded.min_code) for coded in formats], np.float64)
    lanes = np.zeros((-(-flat.size // size), len(formats), _LANES))
    _sum_linear_errors(read_only(flat), size, per_lsb, limits, lanes)
    totals = np.add.accumulate(np.add.accumulate(lanes, axis=0)[-1], axis=1)[:, -1]
    result: Floats = totals / per_lsb**2
    return result


@parallel_kernel
def _sum_moments(
    values: Values,
    chunk: int,
    thresholds: tuple[int, ...],
    steps: int,
    first: int,
    grid: Floats,
    moments: Floats,
    peaks: Floats,
    bad: NDArray[np.int64],
) -> None:
    """Add count, Σ|x|, Σx² and Σ(|x| − grid)² of each chunk to moments[chunk, sign, exponent − first].

    grid[i] is the magnitude of exponent first + i; what lies beyond either end is counted at that end.
    """
    for c in parallel_range(moments.shape[0]):
        for i in range(c * chunk, min((c + 1) * chunk, values.size)):
            value = np.float64(values[i])
            bits = value.view(np.int64)
            sign = np.int64(bits < 0)
            bits &= _SIGNLESS
            octave = (bits >> MANTISSA_BITS) - _EXPONENT_BIAS  # of a subnormal: below every range
            fraction = bits - ((bits >> MANTISSA_BITS) << MANTISSA_BITS)
            k: Any = octave * steps - first
            for threshold in thresholds:
                k += np.int64(fraction >= threshold)
            k = min(max(k, 0), grid.size - 1)
            bad[c] += np.int64(octave > _EXPONENT_BIAS)
            magnitude = min(abs(value), _HUGE)
            miss = magnitude - grid[k]
            cell = moments[c, sign, k]
            cell[0] += 1.0
            cell[1] += magnitude
            cell[2] += magnitude * magnitude
            cell[3] += miss * miss
            peaks[c, sign] = max(peaks[c, sign], magnitude)


@parallel_kernel
def _sum_linear_errors(values: Values, chunk: int, per_lsb: Floats, limits: Floats, lanes: Floats) -> None:
    """Add the squared errors, in squared LSBs, of values[i] to lanes[chunk, range, i mod lanes].

    limits[range, sign] are the largest code magnitudes; an unsigned range has 0 for negatives.
    """
    for c in parallel_range(lanes.shape[0]):
        end = min((c + 1) * chunk, values.size)
        for start in range(c * chunk, end, _TILE):
            for fsr in range(per_lsb.size):
                scale, highest, lowest = per_lsb[fsr], limits[fsr, 0], limits[fsr, 1]
                floor = -_HUGE if lowest > 0.0 else 0.0  # an unsigned word errs on negatives alike at every range
                sums = lanes[c, fsr]
                for row in range(start, min(start + _TILE, end), _LANES):
                    for lane in range(min(_LANES, end - row)):
                        value = min(max(np.float64(values[row + lane]), floor), _HUGE)
                        sums[lane] += _squared_miss(value * scale, highest, lowest)


@kernel
def _squared_miss(scaled: float, highest: float, lowest: float) -> float:
    """Return the squared distance of a value, in LSBs, from its code: nearest, limited on either side."""
    magnitude = abs(scaled)
    whole = np.floor(magnitude)
    code = whole + (1.0 if magnitude - whole >= 0.5 else 0.0)
    miss = magnitude - min(code, highest if scaled >= 0.0 else lowest)
    return miss * miss
