"""Number formats: every code of every small format, every threshold one ulp either side, software and circuit."""

import contextlib
import io
import re
from fractions import Fraction
from math import inf, nan, nextafter
from pathlib import Path

import numpy as np
import oracle
import pytest
from pydantic import ValidationError

from logaccel.errors import TraceError
from logaccel.formats import Format, LinearFormat, LinearWord, LogFormat, LogWord
from logaccel.formats.encode import decode, encode
from logaccel.formats.hardware import encode_accumulators
from logaccel.formats.thresholds import fraction_thresholds, root_constants

BITS = range(1, 7)
LINEAR = [
    LinearFormat(bits=bits, fsr=fsr, signed=signed)
    for bits in BITS
    for fsr in (-64, 0, 64)
    for signed in (False, True)
    if bits > signed
]
LOG = [
    LogFormat(bits=bits, steps_per_octave=steps, rounding=rounding, fsr=fsr, signed=signed)
    for bits in BITS
    for steps in (1, 2, 4, 8)
    for rounding in ("nearest", "floor")
    for fsr in (-64, 0, 64)
    for signed in (False, True)
    if bits > signed
]


def name_of(fmt: Format) -> str:
    return f"{fmt}, fsr {fmt.fsr}{', signed' if fmt.signed else ''}"


@pytest.mark.parametrize("fmt", LINEAR + LOG, ids=name_of)
def test_every_code_survives_its_value(fmt: Format) -> None:
    codes = np.array(oracle.all_codes(fmt))
    values = decode(codes, fmt)
    assert values.tolist() == [float(oracle.decode(int(code), fmt)) for code in codes]
    if isinstance(fmt, LogFormat) and fmt.rounding == "floor" and fmt.steps_per_octave > 1:
        values = values * (1 + 1e-9)  # an irrational power may round to just below itself, and floor is exact
    assert encode(values, fmt).tolist() == codes.tolist()
    if not fmt.signed:
        assert encode(-values, fmt).tolist() == [0] * codes.size


@pytest.mark.parametrize("fmt", LINEAR + LOG, ids=name_of)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_thresholds_one_ulp_either_side(fmt: Format, dtype: type[np.floating]) -> None:
    if isinstance(fmt, LinearFormat):
        low, high = oracle.linear_limits(fmt)
        edges = [
            float((Fraction(2 * code + 1, 2)) * oracle.power_of_two(fmt.lsb_exponent)) for code in range(low, high + 1)
        ]
    else:
        half = 0.5 if fmt.rounding == "nearest" else 0.0
        exponents = [oracle.log_exponent(fmt, code) - half for code in range(1, fmt.max_code + 2)]
        edges = [2.0 ** (exponent / fmt.steps_per_octave) for exponent in exponents]
    centre = np.array(edges, dtype)
    around = [centre, np.nextafter(centre, dtype(inf)), np.nextafter(centre, dtype(-inf))]
    values = np.concatenate([sign * part for part in around for sign in (1, -1)])
    assert encode(values, fmt).tolist() == [oracle.encode(float(value), fmt) for value in values]


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize("rounding", ["nearest", "floor"])
def test_the_circuit_at_every_threshold_and_every_round_bits(steps: int, rounding: str) -> None:
    fmt = LogWord(bits=6, steps_per_octave=steps, rounding=rounding).at(4, signed=True)
    for round_bits in range(1, 33):
        fractions = [int(t) for t in fraction_thresholds(steps, rounding, round_bits)]
        found = set()
        for position in (0, 1, 2, round_bits - 1, round_bits, round_bits + 1, 40, 60):
            for fraction in (f + d for f in fractions for d in (-1, 0, 1)):
                if 0 <= fraction < 2**round_bits:
                    exact = (2**round_bits + fraction) * 2 ** max(position, 0) // 2**round_bits
                    found |= {max(exact + d, 0) for d in (-1, 0, 1)}
        accumulators = sorted(a for a in found if a <= 2**62)
        accumulators += [-a for a in accumulators]
        for lsb in (-30, 0):
            got = encode_accumulators(np.array(accumulators, np.int64), lsb, fmt, round_bits)
            assert got.tolist() == [oracle.hardware_encode(a, lsb, fmt, round_bits) for a in accumulators]


@pytest.mark.parametrize("fmt", [fmt for fmt in LOG if fmt.fsr == 0 and fmt.bits > 3], ids=name_of)
def test_with_enough_round_bits_the_circuit_is_the_software_encoder(fmt: LogFormat) -> None:
    integers = np.arange(-5000, 5001)
    for lsb in (-14, -3):
        exact = encode(np.ldexp(integers.astype(np.float64), lsb), fmt)
        assert np.array_equal(encode_accumulators(integers, lsb, fmt, round_bits=13), exact)
    if fmt.rounding == "nearest":  # one bit after the leading one is not enough, and that must show
        coarse = encode_accumulators(integers, -12, fmt, round_bits=1)
        assert not np.array_equal(coarse, encode(integers * 2.0**-12, fmt))


@pytest.mark.parametrize("fmt", [fmt for fmt in LINEAR if fmt.fsr == 0], ids=name_of)
def test_the_linear_circuit_at_every_tie(fmt: LinearFormat) -> None:
    for lsb in (-12, -5, 0, 40):
        around = {
            (2 * q + 1) * 2 ** max(fmt.lsb_exponent - lsb, 0) // 2 + d for q in range(-70, 70) for d in (-1, 0, 1)
        }
        values = sorted(around | {2**62, -(2**62)})
        got = encode_accumulators(np.array(values, np.int64), lsb, fmt, 8)
        assert got.tolist() == [oracle.hardware_encode(value, lsb, fmt, 8) for value in values]


@pytest.mark.parametrize("shift", [61, 62, 63, 64, 65, 200])
def test_shifts_beyond_the_word_still_round_exactly(shift: int) -> None:
    fmt = LinearWord(bits=8).at(0, signed=True)
    values = [0, 1, -1, 2**61 - 1, 2**61, -(2**61), 2**62 - 1, 2**62, -(2**62)]
    got = encode_accumulators(np.array(values), fmt.lsb_exponent - shift, fmt, 8)
    assert got.tolist() == [oracle.encode(Fraction(value, 2**shift) / 128, fmt) for value in values]


def test_the_paper_s_log_quantiser() -> None:
    """LogQuant (Miyashita 2016, §3): 2^b − 1 levels with exponents FSR − 2^b + 1 … FSR − 1, and zero."""
    fmt = LogWord(bits=3).at(5, signed=False)
    assert decode(np.arange(8), fmt).tolist() == [0.0, *[2.0**e for e in range(5 - 8 + 1, 5)]]
    root = 2**0.5
    assert encode(np.array([2.0**-2.51, 4 * root - 1e-12, 4 * root + 1e-12, 1e30]), fmt).tolist() == [0, 5, 6, 7]
    # √2 − 1 is compared with the fraction of the mantissa, not of the logarithm:
    assert encode(np.array([4 * 1.45]), fmt).tolist() == [6] and encode(np.array([4 * 1.40]), fmt).tolist() == [5]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("word", [LinearWord(bits=8), LogWord(bits=8), LogWord(bits=5, steps_per_octave=2)], ids=str)
def test_zeros_subnormals_and_the_rims_of_the_type(dtype: type[np.floating], word: LinearWord | LogWord) -> None:
    info = np.finfo(dtype)
    magnitudes = [0.0, info.smallest_subnormal, 3 * info.smallest_subnormal, info.tiny / 4, info.tiny, info.max]
    values = np.array([sign * value for value in magnitudes for sign in (1, -1)], dtype)
    for fsr in (-64, 0, 64):  # 8 b base 2 at fsr −64 reaches down to 2^−191: float32 subnormals have codes there
        for signed in (False, True):
            fmt = word.at(fsr, signed)
            assert encode(values, fmt).tolist() == [oracle.encode(float(value), fmt) for value in values]
    small = LogWord(bits=8).at(-64, signed=True)
    assert encode(np.array([2.0**-140], np.float32), small).tolist() == [-140 + 64 + 128]


@pytest.mark.parametrize("bad", [nan, inf, -inf])
@pytest.mark.parametrize("word", [LinearWord(bits=8), LogWord(bits=4)], ids=str)
def test_what_is_not_finite_is_refused(word: LinearWord | LogWord, bad: float) -> None:
    for dtype in (np.float32, np.float64):
        values = np.zeros(40000, dtype)
        values[[3, 39999]] = bad
        with pytest.raises(TraceError, match=r"^values must be finite, got 2 NaN or infinite of 40000$"):
            encode(values, word.at(0, signed=True))


def test_codes_have_the_narrowest_type_and_the_shape_of_the_values() -> None:
    expected = {
        LinearWord(bits=8).at(0, True): np.int8,
        LinearWord(bits=8).at(0, False): np.int16,
        LinearWord(bits=16).at(0, True): np.int16,
        LinearWord(bits=32).at(0, True): np.int32,
        LinearWord(bits=32).at(0, False): np.int64,
        LogWord(bits=8).at(0, True): np.int8,
        LogWord(bits=8).at(0, False): np.int16,
    }
    for fmt, dtype in expected.items():
        for values in (np.empty((3, 0, 2), np.float32), np.ones((2, 3)), np.float64(1.0)):
            codes = encode(np.asarray(values), fmt)
            assert codes.dtype == dtype and codes.shape == np.shape(values)
            assert decode(codes, fmt).shape == np.shape(values)
        empty = encode_accumulators(np.empty((4, 0), np.int64), 0, fmt, 8)
        assert empty.dtype == dtype and empty.shape == (4, 0)


def test_strided_and_other_types_encode_alike() -> None:
    values = np.linspace(-3, 3, 60).reshape(6, 10)
    fmt = LogWord(bits=5, steps_per_octave=2).at(2, signed=True)
    expected = encode(values, fmt)
    assert np.array_equal(encode(values.T, fmt), expected.T)
    assert np.array_equal(encode(values[:, ::-2], fmt), expected[:, ::-2])
    assert encode(np.array([1, 2, 3]), fmt).tolist() == encode(np.array([1.0, 2.0, 3.0]), fmt).tolist()
    half = np.linspace(-3, 3, 7, dtype=np.float16)
    assert np.array_equal(encode(half, fmt), encode(half.astype(np.float64), fmt))


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_constants_are_the_nearest_integers_to_the_roots(steps: int) -> None:
    for bits in range(1, 25):
        for j, constant in enumerate(root_constants(steps, bits)):
            # K − ½ < 2^(j/B + bits) < K + ½, compared as integers raised to the B-th power
            assert (2 * constant - 1) ** steps < 2 ** (j + (bits + 1) * steps) < (2 * constant + 1) ** steps


@pytest.mark.parametrize(
    ("build", "rule"),
    [
        (lambda: LinearWord(bits=33), "less than or equal to 32"),
        (lambda: LinearWord(bits=0), "greater than or equal to 1"),
        (lambda: LogWord(bits=9), "less than or equal to 8"),
        (lambda: LogWord(bits=4, steps_per_octave=3), "Input should be 1, 2, 4 or 8"),
        (lambda: LogWord(bits=4, rounding="up"), "'nearest' or 'floor'"),
        (lambda: LinearWord(bits=1).at(0, True), "bits: a signed word needs at least 2, got 1"),
        (lambda: LogWord(bits=1).at(0, True), "bits: a signed word needs at least 2, got 1"),
        (lambda: LogWord(bits=4).at(65, True), "less than or equal to 64"),
    ],
)
def test_formats_that_cannot_be(build: object, rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        build()  # type: ignore[operator]


def test_one_ulp_matters() -> None:
    """The tests above would pass with a sloppy oracle: one threshold by hand, √2 between two doubles."""
    below, above = 1.4142135623730949, 1.4142135623730951
    assert nextafter(below, 2) == above and Fraction(below) ** 2 < 2 < Fraction(above) ** 2
    fmt = LogWord(bits=4).at(4, signed=False)
    assert encode(np.array([below, above]), fmt).tolist() == [12, 13]


DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("page", ["formats.md", "architectures.md"])
def test_the_page_s_code_prints_what_the_page_says(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    names: dict[str, object] = {}
    checked = 0
    for code, output in re.findall(r"```python\n(.*?)```\n(?:\n(?:prints\n\n)?```text\n(.*?)```)?", text, re.DOTALL):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        assert printed.getvalue() == output
        checked += bool(output)
    assert checked == {"formats.md": 3, "architectures.md": 1}[page]


def test_the_page_s_tables_of_codes() -> None:
    rows = dict(
        re.findall(r"^\| ((?:linear|log) 3 b, [^|]*) \| (.*) \|$", (DOCS / "formats.md").read_text("utf-8"), re.M)
    )
    words = {"linear 3 b": LinearWord(bits=3), "log 3 b, base 2": LogWord(bits=3)}
    words["log 3 b, base √2"] = LogWord(bits=3, steps_per_octave=2)
    assert len(rows) == 6
    for name, row in rows.items():
        word, sign = name.rsplit(", ", 1)
        fmt = words[word].at(1, sign == "signed")
        assert row == " ".join(f"{code}→{float(oracle.decode(code, fmt)):.4g}" for code in oracle.all_codes(fmt))
