"""Every operand pair of every kind of PE, and every decision of the encoders, on the hardware."""

from math import ceil

import numpy as np
import oracle
import pytest
import rtl_cases

from logaccel.arch import Architecture, PEArray
from logaccel.arch.model import PostProcessing
from logaccel.formats import LinearFormat, LinearWord, LogFormat, LogWord
from logaccel.formats.thresholds import fraction_thresholds
from logaccel.pe import DecodePE, LogsumPE, MultiplyPE, ShiftPE
from logaccel.workload import Layer

pytestmark = [pytest.mark.rtl, pytest.mark.usefixtures("icarus")]

LINEAR_5 = LinearWord(bits=5)
LOG_4, ROOT_5, OCTAVE_5 = LogWord(bits=4), LogWord(bits=5, steps_per_octave=2), LogWord(bits=5, steps_per_octave=8)
CIRCUITS = {
    "multiply": (MultiplyPE(acc_bits=12), LINEAR_5, LINEAR_5, False),
    "multiply dropped": (MultiplyPE(acc_bits=12, drop_bits=3), LINEAR_5, LINEAR_5, False),
    "shift": (ShiftPE(acc_bits=24), LOG_4, LINEAR_5, False),
    "shift gated": (ShiftPE(acc_bits=24, zero_gating=True), LOG_4, LINEAR_5, False),
    "shift dropped": (ShiftPE(acc_bits=20, drop_bits=5), LOG_4, LINEAR_5, False),
    "shift bins": (ShiftPE(acc_bits=24), OCTAVE_5, LINEAR_5, False),
    "shift constant": (ShiftPE(acc_bits=32, root="constant"), ROOT_5, LINEAR_5, False),
    "mirrored": (ShiftPE(acc_bits=24), LINEAR_5, LOG_4, False),
    "mirrored constant": (ShiftPE(acc_bits=24, root="constant", constant_bits=5), LINEAR_5, OCTAVE_5, False),
    "decode": (DecodePE(acc_bits=26), LOG_4, LOG_4, False),
    "decode increment": (DecodePE(acc_bits=26), LOG_4, LOG_4, True),
    "decode dropped": (DecodePE(acc_bits=16, drop_bits=9), LOG_4, LOG_4, False),
    "decode bins": (DecodePE(acc_bits=26), LOG_4, ROOT_5, False),
    "decode bins increment": (DecodePE(acc_bits=26), LOG_4, ROOT_5, True),
    "decode constant": (DecodePE(acc_bits=34, root="constant"), LOG_4, OCTAVE_5, False),
    "decode narrow increment": (DecodePE(acc_bits=6), LOG_4, LOG_4, True),
    "logsum": (LogsumPE(acc_bits=14, fraction_bits=8), LOG_4, ROOT_5, False),
    "logsum narrow": (LogsumPE(acc_bits=9, fraction_bits=6), LOG_4, LOG_4, False),
}


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("circuit", CIRCUITS)
def test_every_pair_of_operands_makes_the_product_of_the_specification(circuit, signed):
    """K = 1: each psum is one product of one PE, and all pairs of codes occur."""
    pe, activation_word, weight_word, increment = CIRCUITS[circuit]
    activation, weight = activation_word.at(0, signed), weight_word.at(0, True)
    activations, weights = oracle.all_codes(activation), oracle.all_codes(weight)
    layer = Layer(name="pairs", kind="fc", in_channels=1, out_channels=len(weights))
    case = rtl_cases.Case(
        Architecture(
            name="pairs", pe=pe, activation=activation_word, weight=weight_word, array=PEArray(rows=4, cols=8),
        ),
        layer, activation, weight, LinearFormat(bits=16, fsr=8, signed=False),
        ifmap=np.array(activations).reshape(-1, 1),
        filters=np.array(weights).reshape(-1, 1),
        bias=np.zeros(len(weights), np.int64),
        increment=increment,
    )  # fmt: skip
    got = rtl_cases.check(case)
    assert got.psum.shape == (len(activations), len(weights))
    assert (got.clipped > 0) == ("narrow" in circuit)


@pytest.mark.parametrize("round_bits", [1, 5, 16])
@pytest.mark.parametrize("rounding", ["nearest", "floor"])
@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_the_log_encoder_decides_at_every_threshold(steps, rounding, round_bits):
    """Values one below, at and one above every threshold of every octave, of both signs; 0 and the extremes."""
    output = LogFormat(bits=6, steps_per_octave=steps, rounding=rounding, fsr=12, signed=True)
    values = {0, 1, 2, 3, 2**19, 2**20 - 1}
    for threshold in fraction_thresholds(steps, rounding, round_bits):
        for position in range(20):
            edge = ceil((2**round_bits + int(threshold)) * 2**position / 2**round_bits)
            values |= {edge - 1, edge, edge + 1}
    check_encoder(output, sorted(v for v in values if 0 <= v < 2**20), round_bits)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("fsr", [-6, 3, 8, 30], ids=["saturates", "shifts left", "shifts right", "vanishes"])
def test_the_linear_encoder_rounds_ties_away_and_saturates(fsr, signed):
    """Every value of a small word, and values about the largest."""
    output = LinearFormat(bits=5, fsr=fsr, signed=signed)
    check_encoder(output, [*range(300), 2**19, 2**20 - 1], 8)


@pytest.mark.parametrize("channel_shift_bits", [1, 4])
@pytest.mark.parametrize(
    "output",
    [
        LinearFormat(bits=5, fsr=-3, signed=True),  # to the left for a small s, to the right for a large one
        LinearFormat(bits=5, fsr=3, signed=False),
        LogFormat(bits=4, steps_per_octave=1, rounding="nearest", fsr=8, signed=False),
        LogFormat(bits=6, steps_per_octave=4, rounding="floor", fsr=9, signed=True),
    ],
    ids=str,
)
def test_encoders_take_values_at_the_lsb_of_their_channel(output, channel_shift_bits):
    """Values about every power of two and every half, at every s."""
    values = {edge + step for n in range(20) for edge in (2**n, 3 << n) for step in (-1, 0, 1)}
    check_encoder(output, sorted({0, 1, *values}), 8, channel_shift_bits)


def check_encoder(output, values, round_bits, channel_shift_bits=0):
    """Encode ±values at every s of a channel: the psum is 0, the bias is the value."""
    signed = [*values, *(-v for v in values)]
    shifts = 2**channel_shift_bits
    both = np.array([value for value in signed for _ in range(shifts)], np.int64)
    case = rtl_cases.Case(
        Architecture(
            name="encoder", pe=MultiplyPE(acc_bits=8), activation=LINEAR_5, weight=LINEAR_5,
            array=PEArray(rows=1, cols=8, overlap=True),
            post=PostProcessing(round_bits=round_bits, channel_shift_bits=channel_shift_bits),
        ),
        Layer(name="encoder", kind="fc", in_channels=1, out_channels=len(both), relu=False),
        LINEAR_5.at(5, False), LINEAR_5.at(4, True), output,
        ifmap=np.zeros((1, 1), np.int64), filters=np.zeros((len(both), 1), np.int64), bias=both,
        scales=np.tile(np.arange(shifts), len(signed)),
    )  # fmt: skip
    got = rtl_cases.check(case)
    assert len(set(got.ofmap_codes.reshape(-1).tolist())) > 1 or output.fsr == 30
