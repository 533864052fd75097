"""Calibration: the range of least squared error, against trying every range."""

import os
import subprocess
import sys
from math import fsum, inf, nan

import numpy as np
import pytest

from logaccel.errors import TraceError
from logaccel.formats import LinearWord, LogWord
from logaccel.formats.calibrate import best_fsr
from logaccel.formats.encode import decode, encode
from logaccel.formats.number import FSR_MAX, FSR_MIN

Word = LinearWord | LogWord
RANGES = range(FSR_MIN, FSR_MAX + 1)
WORDS: list[Word] = [LinearWord(bits=bits) for bits in (1, 2, 3, 4, 5, 8, 12, 16, 24, 32)]
WORDS += [
    LogWord(bits=bits, steps_per_octave=steps, rounding=rounding)
    for bits in (1, 2, 3, 4, 5, 8)
    for steps in (1, 2, 4, 8)
    for rounding in ("nearest", "floor")
]
SHAPES = ["normal", "powers", "constant", "outlier", "halves", "negatives", "wide", "relu", "ties", "tiny"]


def draw(shape: str, rng: np.random.Generator) -> np.ndarray:
    """Return a tensor of a kind that has fooled somebody."""
    size = int(rng.integers(1, 80))
    signs = rng.choice([-1.0, 1.0], size)
    match shape:
        case "powers":
            values = signs * 2.0 ** rng.integers(-6, 7, size)
        case "constant":
            values = np.full(size, rng.choice([1.0, 3.0, 0.75, rng.random() + 0.1]))
        case "outlier":
            values = rng.standard_normal(size)
            values[0] = 2.0 ** rng.integers(1, 40)
        case "halves":
            values = rng.integers(-9, 10, size) * 0.5
        case "negatives":
            values = -np.abs(rng.standard_normal(size))
            values[-1] *= -(2.0 ** -rng.integers(0, 20))
        case "wide":
            values = signs * np.exp(rng.standard_normal(size) * rng.choice([1, 5]))
        case "relu":
            values = np.maximum(rng.standard_normal(size), 0)
        case "ties":
            values = signs * rng.choice([1.5, 3.0, 0.75], size)  # halfway between 1 and 2, 2 and 4, ½ and 1
        case "tiny":
            values = np.where(rng.random(size) < 0.5, rng.random(size), 2.0**-20)
        case _:
            values = rng.standard_normal(size)
    scaled = values * 2.0 ** int(rng.integers(-75, 46))
    return scaled.astype(rng.choice([np.float32, np.float64]))


def squared_errors(values: np.ndarray, word: Word, signed: bool) -> list[float]:
    """Return Σ (x − decode(encode(x)))² at every range, correctly rounded; an unsigned word ignores negatives."""
    exact = values.astype(np.float64)
    exact = exact if signed else np.maximum(exact, 0.0)
    formats = [word.at(fsr, signed) for fsr in RANGES]
    return [fsum((exact - decode(encode(exact, fmt), fmt)) ** 2) for fmt in formats]


@pytest.mark.parametrize("shape", SHAPES)
def test_no_range_is_better_and_none_smaller_is_as_good(shape: str) -> None:
    rng = np.random.default_rng(SHAPES.index(shape))
    tied = 0
    for word in WORDS[SHAPES.index(shape) % 5 :: 5]:
        for signed in (False, True)[: word.bits]:
            values = draw(shape, rng)
            found = best_fsr(values, word, signed)
            errors = squared_errors(values, word, signed)
            if max(values.max(), 0 if not signed else -values.min()) <= 0:
                assert found == 0
                continue
            own, least = errors[found - FSR_MIN], min(errors)
            assert own <= least * (1 + 1e-11), (word, signed, values)
            assert errors.index(own) + FSR_MIN == found, (word, signed, values)
            tied += errors.count(least) > 1
    assert tied > 0 or shape not in ("powers", "halves", "constant")


@pytest.mark.parametrize("word", [LinearWord(bits=4), LinearWord(bits=8), LogWord(bits=4)], ids=str)
def test_tensors_of_many_chunks(word: Word) -> None:
    rng = np.random.default_rng(5)
    values = (rng.standard_normal(1_200_001) * 0.05).astype(np.float32)
    values[-1] = 3.0  # in the ragged end of the last chunk
    errors = [
        float(((values - decode(encode(values, word.at(fsr, True)), word.at(fsr, True))) ** 2).sum())
        for fsr in range(-8, 8)
    ]
    assert best_fsr(values, word, True) == int(np.argmin(errors)) - 8


def test_the_end_of_a_tensor_counts() -> None:
    """One value decides; wherever it stands in a chunk or a row of lanes, it must be seen."""
    for size in (1, 63, 64, 65, 4097, 16384, 16385, 2**20 + 1):
        for place in {0, size // 2, size - 1}:
            values = np.zeros(size, np.float32)
            values[place] = 100.0
            assert best_fsr(values, LinearWord(bits=8), False) == 7
            assert best_fsr(values, LogWord(bits=4), False) == 8  # 2^7 is nearest, and the largest is 2^(fsr − 1)


def test_a_tie_goes_to_the_smaller_range() -> None:
    assert best_fsr(np.array([3.0]), LogWord(bits=1), False) == 2  # 2 and 4 are one away
    assert best_fsr(np.array([1.0, 0.25]), LogWord(bits=8), True) == 1
    assert best_fsr(np.array([-1.0]), LinearWord(bits=4), True) == 0  # two's complement holds −1 at range 0 …
    assert best_fsr(np.array([1.0]), LinearWord(bits=4), True) == 1  # … but not +1


def test_two_s_complement_reaches_further_down() -> None:
    """At range 0 codes are −1, −½, 0, ½: only 0.9 errs there, by 0.4; at range 1 each ½ would."""
    values = np.array([-1.0] * 4 + [0.5] * 4 + [0.9])
    assert best_fsr(values, LinearWord(bits=2), True) == 0
    values = np.append(values, -1.0)
    assert best_fsr(-values, LinearWord(bits=2), True) == 1


def test_tensors_with_nothing_to_show_get_range_0() -> None:
    for word in (LinearWord(bits=4), LogWord(bits=4)):
        assert best_fsr(np.zeros(5), word, True) == 0
        assert best_fsr(np.array([-0.0, 0.0]), word, True) == 0
        assert best_fsr(np.empty(0, np.float32), word, True) == 0
        assert best_fsr(np.array([-1.0, 0.0]), word, False) == 0


def test_ranges_stay_within_their_limits() -> None:
    for word in (LinearWord(bits=8), LogWord(bits=4)):
        assert best_fsr(np.array([1e38], np.float32), word, True) == FSR_MAX
        assert best_fsr(np.array([1e-45], np.float32), word, True) == FSR_MIN


@pytest.mark.parametrize("bad", [nan, inf, -inf])
@pytest.mark.parametrize("word", [LinearWord(bits=8), LogWord(bits=4)], ids=str)
def test_what_is_not_finite_is_refused(word: Word, bad: float) -> None:
    with pytest.raises(TraceError, match=r"^values must be finite, got 1 NaN or infinite of 3$"):
        best_fsr(np.array([1.0, bad, 2.0], np.float32), word, True)


def test_other_types_and_layouts() -> None:
    values = np.linspace(-3, 7, 60).reshape(6, 10)
    for word in (LinearWord(bits=4), LogWord(bits=4)):
        assert best_fsr(values.T[::2], word, True) == best_fsr(values.T[::2].copy(), word, True)
        assert best_fsr(np.array([1, 5, 9]), word, False) == best_fsr(np.array([1.0, 5.0, 9.0]), word, False)


SUMS = """
import hashlib, numba, numpy as np
from logaccel.formats import LinearWord
from logaccel.formats import calibrate
numba.set_num_threads({threads})
values = (np.random.default_rng(0).standard_normal(300_000) * 0.05).astype(np.float32)
word = LinearWord(bits=8)
moments, peaks = calibrate._moments_of(values, word, 1, -80, 64)
errors = calibrate._linear_errors(values, [word.at(fsr, True) for fsr in (-3, -2, -1)])
print(hashlib.sha256(moments.tobytes() + peaks.tobytes() + errors.tobytes()).hexdigest())
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_sums_do_not_depend_on_the_number_of_threads() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", SUMS.format(threads=threads)], capture_output=True, text=True, check=True
        ).stdout
        for threads in (1, 2)
    }
    assert len(found) == 1 and found != {""}
