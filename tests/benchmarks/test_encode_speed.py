"""How long encoding and calibration take, beside copying the same float32 tensor."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from logaccel.engine.post import post_process
from logaccel.formats import LinearWord, LogWord
from logaccel.formats.calibrate import best_fsr
from logaccel.formats.encode import encode

pytestmark = pytest.mark.slow
SIZE = 16_000_000
WORDS = [LinearWord(bits=8), LinearWord(bits=4), LogWord(bits=4), LogWord(bits=5, steps_per_octave=2)]


def shortest_ns(work: Callable[[], object], rounds: int = 5) -> float:
    """Return the shortest of several runs in ns per element, after one that compiles."""
    work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) / SIZE * 1e9


def test_speed_beside_a_copy(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    values = (rng.standard_normal(SIZE) * 0.05).astype(np.float32)
    copied = np.empty_like(values)
    copy_ns = shortest_ns(lambda: np.copyto(copied, values))
    psum = rng.integers(-(2**20), 2**20, (SIZE // 64, 64))
    bias = rng.standard_normal(64)
    measured = {}
    for word in WORDS:
        fmt = word.at(0, True)
        measured[f"encode, {word}"] = shortest_ns(lambda fmt=fmt: encode(values, fmt))
        measured[f"calibrate, {word}"] = shortest_ns(lambda word=word: best_fsr(values, word, True))
        measured[f"post-process, {word}"] = shortest_ns(lambda fmt=fmt: post_process(psum, -16, bias, False, fmt, 8))
    with capsys.disabled():
        print(f"\nfloat32 copy: {copy_ns:.2f} ns/element")
        for what, ns in measured.items():
            print(f"{what:<32} {ns:6.2f} ns/element, {ns / copy_ns:5.1f} copies")
    # Wide margins: shared machines are noisy. They catch a pass too many or a loop that stopped vectorising.
    for what, ns in measured.items():
        assert ns < (12 if "encode" in what else 40) * max(copy_ns, 0.5), what
