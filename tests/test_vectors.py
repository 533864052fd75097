"""Emitted vector kernels against what they stand for in plain Python, and that against loops over single elements."""

from typing import Any

import numpy as np
import pytest

from logaccel.engine import vectors
from logaccel.engine.layout import kernel_factors
from logaccel.engine.vectors import CHANNELS, CHUNK, TILE, VECTOR_BYTES
from logaccel.jit import kernel

ADD_ONE, ADD_TWO, ADD_THREE = vectors.add_one, vectors.add_two, vectors.add_three
NARROW, CONVERT, POWER = vectors.narrow_chunk, vectors.convert_chunk, vectors.power_chunk
Array = np.ndarray[Any, Any]


@kernel
def block(count: int, x: Array, at: Array, packed: Array, part: tuple[int, int, int, int], totals: Array) -> None:
    j, first, end, to = part
    if count == 1:
        ADD_ONE(x, j, at, packed, 8, first, end, totals, to)
    elif count == 2:
        ADD_TWO(x, j, at, packed, 8, first, end, totals, to)
    else:
        ADD_THREE(x, j, at, packed, 8, first, end, totals, to)


@kernel
def narrow(totals: Array, source: int, out: Array, target: int) -> None:
    NARROW(totals, source, out, target)


@kernel
def convert(values: Array, source: int, x: Array, to: int) -> None:
    CONVERT(values, source, x, to)


@kernel
def power(codes: Array, source: int, x: Array, to: int, rule: tuple[int, int, int, int]) -> None:
    POWER(codes, source, x, to, rule[0], rule[1], rule[2], rule[3])


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(("real", "total"), [(np.float32, np.int32), (np.float64, np.int64), (np.float64, np.float64)])
def test_blocks_of_sums(count: int, real: Any, total: Any) -> None:
    rng = np.random.default_rng(count)
    x, packed = (rng.integers(-9, 10, 400).astype(real) for _ in range(2))
    at, places = rng.integers(0, 200, 9), count * VECTOR_BYTES // np.dtype(real).itemsize
    for first, end in ((0, 9), (0, 1), (4, 7), (0, 0)):
        if first and total is np.float64:
            continue  # floats are never added to
        totals = rng.integers(-99, 100, CHANNELS * TILE).astype(total)
        wanted = totals.copy()
        for m in range(CHANNELS):
            for i in range(places):
                old = wanted[m * TILE + 5 + i] if first else 0
                wanted[m * TILE + 5 + i] = old + sum(
                    int(packed[8 + k * CHANNELS + m]) * int(x[at[k] + 3 + i]) for k in range(first, end)
                )
        block(count, x, at, packed, (3, first, end, 5), totals)
        assert np.array_equal(totals, wanted)


@pytest.mark.parametrize("narrow_type", [np.int8, np.int16, np.int32])
def test_chunks(narrow_type: Any) -> None:
    low, high = np.iinfo(narrow_type).min, np.iinfo(narrow_type).max
    codes = np.random.default_rng(1).integers(low, high, CHUNK + 9, dtype=narrow_type, endpoint=True)
    codes[3], codes[4] = low, high
    for word in (np.int32, np.int64):
        out = np.zeros(CHUNK + 9, narrow_type)
        narrow(codes.astype(word), 3, out, 2)
        assert out.tolist() == [0, 0, *codes[3 : 3 + CHUNK].tolist(), *[0] * 7]
    for real in (np.float32, np.float64):
        x = np.zeros(CHUNK + 9, real)
        convert(codes, 3, x, 2)
        assert x.tolist() == [0, 0, *codes[3 : 3 + CHUNK].astype(real).tolist(), *[0] * 7]


def test_real_values_widen() -> None:
    values, x = np.random.default_rng(1).normal(size=CHUNK + 2).astype(np.float32), np.zeros(CHUNK + 2)
    convert(values, 1, x, 2)
    assert x.tolist() == [0, 0, *values[1 : 1 + CHUNK].tolist()]


@pytest.mark.parametrize("real", [np.float32, np.float64])
@pytest.mark.parametrize("width", [np.int8, np.int16, np.int32])
@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize("sign", [1, -1])
def test_powers_follow_from_codes(real: Any, width: Any, steps: int, sign: int) -> None:
    """Every plane of a table: octaves of the codes with one fraction, negative ones with either sign."""
    codes = np.arange(-31, 32)
    table = np.zeros((steps, codes.size), real)
    for index, code in enumerate(codes.tolist()):
        if code:
            table[code % steps if code > 0 else -code % steps, index] = 2.0 ** (abs(code) // steps - 3) * (
                1 if code > 0 else sign
            )
    factors = kernel_factors(table, -31)
    assert (factors.rules[:, 1] >= 0).all()
    padded = np.zeros(64, width)
    padded[:63] = codes
    for plane, row in zip(factors.rules.tolist(), table, strict=True):
        x = np.full(64, 7, real)
        for first in range(0, 64, CHUNK):
            power(padded, first, x, first, tuple(plane))
        assert np.array_equal(x[:63], row) and x[63] == 0


def test_tables_that_are_no_powers_have_no_rule() -> None:
    rows = [[0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 2.0], [1.0, 2.0, 4.0, 8.0], [0.0, 0.0, 0.0, 0.0]]
    assert kernel_factors(np.array(rows, np.float32), 0).rules[:, 1].tolist() == [-1] * 4
