"""Widths and scales of the PEs against brute force over every pair of codes of small formats."""

import itertools
import math
import random
from collections.abc import Iterator
from fractions import Fraction
from functools import cache

import oracle
import pytest

from logaccel import ConfigError, load_arch
from logaccel.formats import Format, LinearFormat, LogFormat
from logaccel.pe import PE, DecodePE, LogsumPE, MultiplyPE, ShiftPE

LINEAR = [LinearFormat(bits=b, fsr=fsr, signed=s) for b, fsr, s in ((1, 0, False), (3, 2, False), (4, -1, True))]
LOG = [
    LogFormat(bits=b, steps_per_octave=steps, fsr=fsr, signed=s)
    for steps in (1, 2, 4, 8)
    for b, fsr, s in ((1, 3, False), (3, 0, False), (4, -3, True))
]
DROPS = (0, 1, 4)


def pairs() -> Iterator[tuple[PE, Format, Format]]:
    """Yield every PE kind and circuit with formats that it takes (accumulator wide, so that it never matters)."""
    for drop in DROPS:
        for a, w in itertools.product(LINEAR, LINEAR):
            yield MultiplyPE(acc_bits=62, drop_bits=drop), a, w
        for root in ("bins", "constant"):
            for linear, log in itertools.product(LINEAR, LOG):
                yield ShiftPE(acc_bits=62, drop_bits=drop, root=root, constant_bits=5), log, linear
                yield ShiftPE(acc_bits=62, drop_bits=drop, root=root, constant_bits=7), linear, log
            for a, w in itertools.product(LOG, LOG):
                yield DecodePE(acc_bits=62, drop_bits=drop, root=root, constant_bits=6), a, w


def with_settings(pe: PE, **settings: object) -> PE:
    """Return the PE with other settings."""
    return type(pe).model_validate(pe.model_dump() | settings)


@cache  # six tests ask for the same
def words(pe: PE, a_format: Format, w_format: Format) -> dict[tuple[int, int], int]:
    """Return the accumulated word of every pair of codes, by the oracle."""
    codes = itertools.product(oracle.all_codes(a_format), oracle.all_codes(w_format))
    found = {}
    for a, w in codes:
        found[a, w] = sum(oracle.accumulate(pe, a_format, w_format, [a], [w]).bins)
    return found


def test_product_ranges() -> None:
    for pe, a_format, w_format in pairs():
        path = pe.datapath(a_format, w_format)
        kept = words(pe, a_format, w_format).values()
        assert path.kept_product_range == (min(kept), max(kept)), path
        whole = words(with_settings(pe, drop_bits=0), a_format, w_format).values()
        assert path.product_range == (min(whole), max(whole)), path
        held = all(-(2 ** (path.product_bits - 1)) <= word < 2 ** (path.product_bits - 1) for word in whole)
        tight = path.product_bits == 1 or any(
            not -(2 ** (path.product_bits - 2)) <= word < 2 ** (path.product_bits - 2) for word in whole
        )
        assert held and tight, path


def test_value_of_a_product() -> None:
    """decode(a)·decode(w) = psum·2^lsb: exact for base 2, else within the rounding of the constants."""
    for pe, a_format, w_format in pairs():
        if pe.drop_bits:
            continue
        path = pe.datapath(a_format, w_format)
        for a, w in itertools.product(oracle.all_codes(a_format), oracle.all_codes(w_format)):
            unit = oracle.accumulate(pe, a_format, w_format, [a], [w])
            assert path.lsb_exponent == unit.lsb_exponent, path
            got = unit.drain() * oracle.power_of_two(path.lsb_exponent)
            true = oracle.decode(a, a_format) * oracle.decode(w, w_format)
            if path.steps == 1:
                assert got == true
            else:
                # K_j is off by at most half a unit of 2^-constant_bits, and at least 1.
                error = 0.5 * 2.0**-pe.constant_bits + 1e-12
                assert math.isclose(got, true, rel_tol=error, abs_tol=0.0), path


def test_dropping_bits_raises_the_lsb() -> None:
    for pe, a_format, w_format in pairs():
        whole = with_settings(pe, drop_bits=0).datapath(a_format, w_format)
        assert pe.datapath(a_format, w_format).lsb_exponent == whole.lsb_exponent + pe.drop_bits


@pytest.mark.parametrize("reduction", [1, 2, 3, 7, 64])
def test_exact_accumulator_never_clips_and_one_bit_less_does(reduction: int) -> None:
    for pe, a_format, w_format in pairs():
        table = words(pe, a_format, w_format)
        width = pe.datapath(a_format, w_format).exact_acc_bits(reduction)
        low, high = min(table.values()), max(table.values())
        clipped = []
        for bits in (max(width, 2), width - 1):  # no PE is built with less than two bits
            narrow = with_settings(pe, acc_bits=max(bits, 2))
            clipped.append(0)
            for extreme in (low, high):
                a, w = next(pair for pair, word in table.items() if word == extreme)
                clipped[-1] += oracle.accumulate(narrow, a_format, w_format, [a] * reduction, [w] * reduction).clipped
        assert clipped[0] == 0, (pe, a_format, w_format, width)
        assert clipped[1] > 0 or width <= 2, (pe, a_format, w_format, width)


@pytest.mark.parametrize("fraction_bits", [3, 6])
def test_exact_rail_never_clips(fraction_bits: int) -> None:
    """Every sequence of products of tiny formats, and long random ones."""
    rng = random.Random(11)
    formats = [LogFormat(bits=2, steps_per_octave=s, fsr=0, signed=g) for s in (1, 2, 8) for g in (False, True)]
    for a_format, w_format in itertools.product(formats, formats):
        wide = LogsumPE(acc_bits=30, fraction_bits=fraction_bits)
        products = list(itertools.product(range(1, oracle.largest_log_code(a_format) + 1), repeat=1))
        choices = [(a, w) for (a,) in products for w in range(1, oracle.largest_log_code(w_format) + 1)]
        for reduction in (1, 2, 3, 4, 300):
            bits = max(2, wide.datapath(a_format, w_format).exact_acc_bits(reduction))
            if len(choices) ** reduction <= 100:
                sequences = list(itertools.product(choices, repeat=reduction))
            else:
                sequences = [rng.choices(choices, k=reduction) for _ in range(10)] + [[choices[-1]] * reduction]
            pe = LogsumPE(acc_bits=bits, fraction_bits=fraction_bits)
            for sequence in sequences:
                a_codes, w_codes = zip(*sequence, strict=True)
                unit = oracle.accumulate(pe, a_format, w_format, a_codes, w_codes)
                assert unit.clipped == 0, (pe, a_format, w_format, sequence)
                path = pe.datapath(a_format, w_format)
                assert abs(unit.drain()).bit_length() < path.combined_bits(reduction)


def test_logsum_product_range() -> None:
    for a_format, w_format in itertools.product(LOG, LOG):
        pe = LogsumPE(acc_bits=40, fraction_bits=5)
        path = pe.datapath(a_format, w_format)
        terms = [
            oracle.accumulate(pe, a_format, w_format, [a], [w]).rails[0]
            for a in range(1, oracle.largest_log_code(a_format) + 1)
            for w in range(1, oracle.largest_log_code(w_format) + 1)
        ]
        assert path.product_range[1] == max(terms)
        assert 0 <= min(terms) < 2**5, "the smallest product lies in octave 0"


def test_bins_combine_within_the_stated_width() -> None:
    for steps in (2, 4, 8):
        log = LogFormat(bits=3, steps_per_octave=steps, fsr=0, signed=True)
        path = DecodePE(acc_bits=9, constant_bits=6).datapath(log, log)
        extreme = sum(-(2**8) * oracle.root_constant(j, steps, 6) for j in range(steps))
        assert path.lanes == steps and path.psum_bits == 9 * steps
        assert extreme >= -(2 ** (path.combined_bits(100) - 1)), "the combined psum fits"
        assert extreme < -(2 ** (path.combined_bits(100) - 3)), "and wastes at most a bit"


def test_constants_are_the_nearest() -> None:
    from logaccel.formats.thresholds import root_constants

    for steps, bits in itertools.product((1, 2, 4, 8), range(1, 25)):
        for j, constant in enumerate(root_constants(steps, bits)):
            assert constant == oracle.root_constant(j, steps, bits)
            # |K − 2^(j/B)·2^bits| <= 1/2, both sides raised to the power B.
            exact = Fraction(2 ** (j + bits * steps))
            assert Fraction(2 * constant - 1, 2) ** steps <= exact <= Fraction(2 * constant + 1, 2) ** steps


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"activation": {"kind": "log", "bits": 8}},
            "shift_4b_16x16: pe: a product would need 262 bits, must be at most 62",
        ),
        (
            {"activation": {"kind": "log", "bits": 6, "steps_per_octave": 1}},
            "shift_4b_16x16: pe: a product would need 70 bits, must be at most 62",
        ),
        (
            {"activation": {"kind": "linear", "bits": 4}},
            "shift_4b_16x16: pe.kind: a shift PE takes one log operand and one linear operand, "
            "got linear activations and linear weights",
        ),
        (
            {
                "pe": {"kind": "shift", "acc_bits": 60, "root": "bins", "constant_bits": 8},
                "activation": {"kind": "log", "bits": 4, "steps_per_octave": 2},
            },
            "shift_4b_16x16: pe: a combined psum would need 70 bits, must be at most 62",
        ),
    ],
)
def test_words_beyond_62_bits_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_arch("shift_4b_16x16").replace(**changes)
    assert str(caught.value) == message


def test_a_narrow_accumulator_is_legal() -> None:
    assert load_arch("shift_4b_16x16").replace(**{"pe.acc_bits": 4}).pe.acc_bits == 4
