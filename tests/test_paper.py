"""The definitions of Miyashita, Lee, Murmann 2016 (arXiv 1603.01025v2) as tests, and what follows from them."""

import itertools
import math
from fractions import Fraction

import numpy as np
import oracle
import pytest

from logaccel.engine import fold_level
from logaccel.formats import Format, LinearFormat, LogFormat
from logaccel.formats.encode import decode, encode
from logaccel.formats.hardware import encode_accumulators
from logaccel.pe import PE, DecodePE, LogsumPE, MultiplyPE, ShiftPE

ROOT_TWO = math.sqrt(2.0)

SMALL_LINEAR = [
    LinearFormat(bits=bits, fsr=fsr, signed=signed)
    for bits, fsr, signed in itertools.product(range(1, 7), (-3, 5), (False, True))
    if bits > signed
]
SMALL_LOG = [
    LogFormat(bits=bits, steps_per_octave=steps, rounding=rounding, fsr=fsr, signed=signed)
    for bits, steps, rounding, fsr, signed in itertools.product(
        range(1, 7), (1, 2, 4, 8), ("nearest", "floor"), (-3, 5), (False, True)
    )
    if bits > signed
]


def log_quant(x: float, bits: int, fsr: int) -> float:
    """The paper's LogQuant, word for word, in floating point: away from a threshold that is exact."""
    if x == 0:
        return 0.0
    lowest, highest = fsr - 2**bits, fsr
    rounded = math.floor(math.log2(abs(x)) + 0.5)
    if rounded <= lowest:
        return 0.0
    return 2.0 ** (highest - 1 if rounded >= highest else rounded)


def linear_quant(x: float, bits: int, fsr: int) -> float:
    """The paper's LinearQuant with the largest value that b bits hold: 2^FSR itself would need one more."""
    step = 2.0 ** (fsr - bits)
    return min(max(math.floor(x / step + 0.5) * step, 0.0), 2.0**fsr - step)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("fsr", [-4, 0, 3])
def test_log_quant_levels(bits: int, fsr: int) -> None:
    """Zero and 2^b − 1 powers of two, FSR − 2^b + 1 … FSR − 1."""
    fmt = LogFormat(bits=bits, fsr=fsr, signed=False)
    levels = decode(np.arange(2**bits), fmt).tolist()
    assert levels == [0.0] + [2.0**e for e in range(fsr - 2**bits + 1, fsr)]
    assert (fmt.min_code, fmt.max_code) == (0, 2**bits - 1)


@pytest.mark.parametrize("bits", [1, 3, 4, 5])
def test_log_quant_is_the_papers(bits: int) -> None:
    rng = np.random.default_rng(5)
    values = np.exp2(rng.uniform(-(2.0**bits) - 3, 6.0, 4000))
    for fsr in (-2, 0, 3):
        fmt = LogFormat(bits=bits, fsr=fsr, signed=False)
        assert decode(encode(values, fmt), fmt).tolist() == [log_quant(x, bits, fsr) for x in values]


def test_underflow_is_zero_and_overflow_the_largest() -> None:
    fmt = LogFormat(bits=4, fsr=2, signed=True)
    lowest = 2.0 ** (2 - 2**3)
    below = math.nextafter(lowest * ROOT_TWO, 0.0)
    values = [0.0, -0.0, 1e-300, lowest, below, lowest * 2, 2.0, 4.0, 1e30, -1e30]
    assert decode(encode(np.array(values), fmt), fmt).tolist() == [
        0.0, 0.0, 0.0, 0.0, 0.0, lowest * 2, 2.0, 2.0, 2.0, -2.0,
    ]  # fmt: skip


def test_the_threshold_is_applied_to_the_mantissa() -> None:
    """Up from 1.4142…, not from 2^(√2 − 1) = 1.3326 as with the threshold on the fraction of log2."""
    fmt = LogFormat(bits=4, fsr=4, signed=False)
    values = np.array([1.3325, 1.3327, 1.4, 1.4142, 1.4143, 1.5, 2.0])
    expected = [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0]
    assert decode(encode(values, fmt), fmt).tolist() == expected
    words = np.round(values * 2**20).astype(np.int64)
    assert decode(encode_accumulators(words, -20, fmt, round_bits=20), fmt).tolist() == expected


@pytest.mark.parametrize("bits", [1, 3, 4, 8])
def test_linear_quant(bits: int) -> None:
    rng = np.random.default_rng(6)
    for fsr in (-1, 0, 4):
        fmt = LinearFormat(bits=bits, fsr=fsr, signed=False)
        step = 2.0 ** (fsr - bits)
        assert decode(np.arange(2**bits), fmt).tolist() == [i * step for i in range(2**bits)]
        values = np.concatenate([rng.uniform(-(2.0**fsr), 2.0 ** (fsr + 1), 1000), np.arange(2**bits + 2) * step / 2])
        assert decode(encode(values, fmt), fmt).tolist() == [linear_quant(x, bits, fsr) for x in values]


@pytest.mark.parametrize("rounding", ["nearest", "floor"])
@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_hardware_quantiser(rounding: str, steps: int) -> None:
    """Leading one, then the bits after it against √2 − 1: with enough of them, the software encoder."""
    words = np.arange(-(2**13), 2**13 + 1)
    for bits, fsr, signed in ((4, 9, False), (6, 13, True), (8, 14, True)):
        fmt = LogFormat(bits=bits, steps_per_octave=steps, rounding=rounding, fsr=fsr, signed=signed)
        by_software = encode(words.astype(np.float64), fmt)
        for round_bits in (13, 20):  # p is at most 13
            assert (encode_accumulators(words, 0, fmt, round_bits) == by_software).all()
        if steps == 1 and rounding == "floor":  # needs no fraction at all
            assert (encode_accumulators(words, 0, fmt, 1) == by_software).all()


def test_hardware_quantiser_by_its_definition() -> None:
    fmt = LogFormat(bits=8, fsr=20, signed=False)
    smallest = fmt.exponent_steps(0)
    words = range(1, 2**11)
    for word, code in zip(words, encode_accumulators(np.array(words), 0, fmt, 12), strict=True):
        position = word.bit_length() - 1
        fraction = Fraction(word, 2**position) - 1
        assert code + smallest == position + ((fraction + 1) ** 2 >= 2)


def test_few_round_bits_move_the_threshold_up() -> None:
    """One bit after the leading one can only tell 1.5 from 1."""
    fmt = LogFormat(bits=5, fsr=20, signed=False)
    codes = encode_accumulators(np.array([0b1011, 0b1100]), 0, fmt, round_bits=1)
    assert decode(codes, fmt).tolist() == [8.0, 16.0]


@pytest.mark.parametrize("formats", [SMALL_LINEAR, SMALL_LOG], ids=["linear", "log"])
def test_every_code_is_itself(formats: list[Format]) -> None:
    for fmt in formats:
        codes = np.array(oracle.all_codes(fmt))
        values = decode(codes, fmt)
        assert values.tolist() == pytest.approx([float(oracle.decode(int(c), fmt)) for c in codes], rel=1e-15, abs=0)
        if isinstance(fmt, LogFormat) and fmt.rounding == "floor":
            values = values * (1 + 2.0**-50)  # the double beside an irrational level may lie below it
        assert encode(values, fmt).tolist() == codes.tolist(), fmt


@pytest.mark.parametrize("formats", [SMALL_LINEAR, SMALL_LOG], ids=["linear", "log"])
def test_every_threshold_and_one_ulp_beside_it(formats: list[Format]) -> None:
    for fmt in formats:
        if isinstance(fmt, LinearFormat):
            middles = [(code + 0.5) * 2.0**fmt.lsb_exponent for code in range(fmt.min_code - 2, fmt.max_code + 2)]
        else:
            half = 0.5 if fmt.rounding == "nearest" else 0.0
            steps = [fmt.exponent_steps(code) for code in range(fmt.max_code + 2)]
            middles = [2.0 ** ((e + shift) / fmt.steps_per_octave) for e in steps for shift in (-half, half)]
        around = [[math.nextafter(x, -math.inf), x, math.nextafter(x, math.inf)] for x in middles]
        values = [sign * x for sign in (1.0, -1.0) for trio in around for x in trio]
        codes = encode(np.array(values), fmt)
        assert codes.tolist() == [oracle.encode(x, fmt) for x in values], fmt
        assert len(set(codes.tolist())) == fmt.max_code - fmt.min_code + 1, "every code was met"


def dot(pe: PE, formats: tuple[Format, Format], seed: int, count: int = 60) -> tuple[Fraction, list[Fraction]]:
    """Return the machine's sum of random products as a value, and the exact products."""
    rng = np.random.default_rng(seed)
    a, w = (rng.integers(fmt.min_code, fmt.max_code + 1, count).astype(fmt.code_dtype) for fmt in formats)
    path = pe.datapath(*formats)
    psum, clipped = fold_level.accumulate(path, a, w)
    assert clipped == 0
    exact = [
        Fraction(oracle.decode(int(x), formats[0])) * Fraction(oracle.decode(int(y), formats[1]))
        for x, y in zip(a, w, strict=True)
    ]
    return psum * oracle.power_of_two(path.lsb_exponent), exact


@pytest.mark.parametrize("seed", range(3))
def test_methods_1_and_2_are_exact_sums(seed: int) -> None:
    """wᵀx̃ = Σ Bitshift(w, x̃) = Σ Bitshift(1, w̃ + x̃): in base 2 the shifts lose nothing."""
    linear, log = LinearFormat(bits=6, fsr=-1, signed=True), LogFormat(bits=4, fsr=2, signed=True)
    unsigned = LogFormat(bits=4, fsr=1, signed=False)
    for pe, formats in (
        (MultiplyPE(acc_bits=40), (linear, linear)),
        (ShiftPE(acc_bits=50), (unsigned, linear)),
        (ShiftPE(acc_bits=50), (linear, log)),
        (DecodePE(acc_bits=60), (unsigned, log)),
    ):
        got, exact = dot(pe, formats, seed)
        assert got == sum(exact)


@pytest.mark.parametrize("root", ["bins", "constant"])
def test_base_root_two_is_as_good_as_its_constants(root: str) -> None:
    log = LogFormat(bits=5, steps_per_octave=2, fsr=1, signed=True)
    got, exact = dot(DecodePE(acc_bits=40, root=root, constant_bits=12), (log, log), 9)
    assert abs(float(got - sum(exact))) <= 2.0**-13 * float(sum(abs(x) for x in exact))


def test_log_domain_recurrence() -> None:
    """s̃ₙ = max(s̃ₙ₋₁, p̃ₙ) + 2^−|⌊s̃ₙ₋₁⌋ − p̃ₙ| (§3.3), for positive terms, in fractions."""
    fmt = LogFormat(bits=4, fsr=0, signed=False)
    weight = LogFormat(bits=4, fsr=0, signed=True)
    path = LogsumPE(acc_bits=27, fraction_bits=22).datapath(fmt, weight)
    rng = np.random.default_rng(3)
    for count in (1, 2, 3, 20, 200):
        a, w = rng.integers(1, 16, count), rng.integers(1, 8, count)
        terms = [int(x + y) - 2 for x, y in zip(a, w, strict=True)]  # exponents above the smallest
        level = Fraction(terms[0])
        for term in terms[1:]:
            correction = Fraction(1, 2 ** abs(math.floor(level) - term))
            assert correction >= Fraction(1, 2**22), "no correction falls below the last fraction bit"
            level = max(level, Fraction(term)) + correction
        octave = math.floor(level)
        psum, _ = fold_level.accumulate(path, a.astype(np.int8), w.astype(np.int8))
        assert Fraction(psum, 2**22) == (1 + level - octave) * 2**octave


def test_linear_approximation_of_the_logarithm() -> None:
    """log2(1 + f) ≈ f is off by at most 0.0861, near f = 0.4427: seen on a single product of base 2^(1/8)."""
    x = np.linspace(0.0, 1.0, 200_001)
    gap = np.log2(1.0 + x) - x
    assert gap.min() > -1e-15 and gap.max() == pytest.approx(0.0861, abs=5e-5)
    assert x[gap.argmax()] == pytest.approx(0.4427, abs=5e-5)
    log = LogFormat(bits=5, steps_per_octave=8, fsr=0, signed=True)
    path = LogsumPE(acc_bits=20, fraction_bits=10).datapath(log, log)
    errors = []
    for code in range(1, 16):
        psum, _ = fold_level.accumulate(path, np.array([code], np.int8), np.array([1], np.int8))
        true = float(oracle.decode(code, log)) * float(oracle.decode(1, log))
        errors.append(math.log2(float(psum * oracle.power_of_two(path.lsb_exponent)) / true))
    assert min(errors) > -1e-12 and 0.08 < max(errors) <= 0.0861


def accumulated(pe: PE, fmt: Format, weight: Format, codes: list[int]) -> int:
    """Return the psum of codes times the weight code 1."""
    ones = np.ones(len(codes), weight.code_dtype)
    return fold_level.accumulate(pe.datapath(fmt, weight), np.array(codes, fmt.code_dtype), ones)[0]


def test_saturation_depends_on_the_order() -> None:
    fmt = LinearFormat(bits=5, fsr=0, signed=True)
    codes = [15, 15, -15]
    orders = {
        order: accumulated(MultiplyPE(acc_bits=5), fmt, fmt, list(order)) for order in itertools.permutations(codes)
    }
    assert orders[15, 15, -15] == 0 and orders[15, -15, 15] == 15 and orders[-15, 15, 15] == 15
    wrapped = {accumulated(MultiplyPE(acc_bits=5, overflow="wrap"), fmt, fmt, list(order)) for order in orders}
    assert wrapped == {15}, "wrapping does not"


def test_log_domain_accumulation_depends_on_the_order() -> None:
    fmt, weight = LogFormat(bits=4, fsr=0, signed=False), LogFormat(bits=3, fsr=0, signed=True)
    pe = LogsumPE(acc_bits=20, fraction_bits=2)
    small_first = accumulated(pe, fmt, weight, [1] * 8 + [4])
    large_first = accumulated(pe, fmt, weight, [4] + [1] * 8)
    assert large_first == 8 * 4, "corrections of 1/8 vanish below two fraction bits"
    assert small_first > large_first


def test_short_fractions_lose_long_sums() -> None:
    """K = 576 positive products: few fraction bits lose much, many little (mean over trials, no tuning)."""
    fmt, weight = LogFormat(bits=4, fsr=2, signed=False), LogFormat(bits=5, fsr=0, signed=True)
    errors: dict[int, list[float]] = {5: [], 16: []}
    for seed in range(8):
        rng = np.random.default_rng(seed)
        a, w = encode(np.abs(rng.normal(size=576)), fmt), encode(np.abs(rng.normal(size=576)) * 0.3, weight)
        true = float((decode(a, fmt) * decode(w, weight)).sum())
        for bits, found in errors.items():
            path = LogsumPE(acc_bits=30, fraction_bits=bits).datapath(fmt, weight)
            psum, clipped = fold_level.accumulate(path, a, w)
            assert clipped == 0
            found.append(psum * 2.0**path.lsb_exponent / true - 1.0)
    assert np.mean(errors[5]) < -0.3, errors
    assert abs(np.mean(errors[16])) < 0.1, errors
