"""Layers from codes to codes in one pass: against plain integers, against the fold-level engine, at their bounds."""

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import oracle
import pytest
from equality_cases import CIRCUITS, Case, cases, random_codes
from hypothesis import given, settings
from hypothesis import strategies as st

from logaccel.arch import PEArray
from logaccel.engine import fold_level
from logaccel.engine.direct import LaneSpec, direct_layer
from logaccel.engine.job import LayerJob
from logaccel.engine.layout import lay_out
from logaccel.engine.post import post_process
from logaccel.engine.real import RealLayer
from logaccel.engine.uses import count_live_products, weights_met
from logaccel.formats import LinearFormat, LogFormat
from logaccel.metrics import error_powers
from logaccel.pe import DecodePE, LogsumPE, MultiplyPE, ShiftPE
from logaccel.trace.reference import reference_ofmap
from logaccel.workload import Layer

LINEAR = [circuit for circuit in CIRCUITS if circuit[0] != "logsum"]
LOG_4, LOG_W = LogFormat(bits=4, fsr=1, signed=False), LogFormat(bits=4, fsr=0, signed=True)
SQRT_4, SQRT_W = (one.model_copy(update={"steps_per_octave": 2}) for one in (LOG_4, LOG_W))
LINEAR_8, LINEAR_W = LinearFormat(bits=8, fsr=1, signed=False), LinearFormat(bits=8, fsr=0, signed=True)
KINDS = {
    "multiply": (MultiplyPE(acc_bits=40), LINEAR_8, LINEAR_W),
    "multiply signed": (MultiplyPE(acc_bits=40), LINEAR_W, LINEAR_W),
    "shift": (ShiftPE(acc_bits=44), LOG_4, LINEAR_W),
    "mirrored shift": (ShiftPE(acc_bits=44), LINEAR_8, LOG_W),
    "decode": (DecodePE(acc_bits=44), LOG_4, LOG_W),
    "decode bins": (DecodePE(acc_bits=40, root="bins"), SQRT_4, SQRT_W),
    "decode constant": (DecodePE(acc_bits=50, root="constant"), SQRT_4, SQRT_W),
}
OUTPUTS = [
    LINEAR_8, LINEAR_W, LOG_4, LOG_W, SQRT_4, SQRT_W.model_copy(update={"rounding": "floor"}),
    LogFormat(bits=8, fsr=4, signed=False), LogFormat(bits=6, steps_per_octave=8, fsr=4, signed=True),
    LinearFormat(bits=12, fsr=4, signed=True),
]  # fmt: skip
SHAPES = {
    "one tile": Layer(name="a", in_channels=3, out_channels=5, in_size=(9, 8), kernel=(3, 3), padding=(1, 1, 1, 1)),
    "tiles": Layer(name="b", in_channels=5, out_channels=8, in_size=(33, 31), kernel=(3, 3), padding=(1, 1, 1, 1)),
    "small maps": Layer(name="c", in_channels=7, out_channels=9, in_size=(4, 3), kernel=(3, 2), padding=(2, 0, 1, 1)),
    "stride": Layer(name="d", in_channels=4, out_channels=6, in_size=(23, 30), kernel=(5, 3), stride=(2, 3),
                    padding=(2, 1, 0, 2)),
    "wide stride": Layer(name="e", in_channels=4, out_channels=6, in_size=(17, 16), kernel=(1, 1), stride=(3, 2)),
    "one row of pixels": Layer(name="l", in_channels=2, out_channels=3, in_size=(3, 5), kernel=(2, 2), stride=(3, 1),
                               padding=(0, 1, 0, 0)),
    "dilation": Layer(name="f", in_channels=3, out_channels=4, in_size=(20, 19), kernel=(3, 3), dilation=(3, 2),
                      padding=(3, 2, 3, 2)),
    "stride and dilation": Layer(name="g", in_channels=3, out_channels=4, in_size=(20, 19), kernel=(3, 3),
                                 dilation=(3, 2), stride=(2, 2), padding=(0, 2, 3, 1)),
    "more padding than map": Layer(name="h", in_channels=2, out_channels=4, in_size=(3, 5), kernel=(1, 1),
                                   padding=(2, 2, 1, 3)),
    "groups": Layer(name="i", in_channels=6, out_channels=15, in_size=(10, 11), kernel=(3, 3), groups=3,
                    padding=(1, 0, 1, 0)),
    "depthwise": Layer(name="j", in_channels=6, out_channels=6, in_size=(14, 13), kernel=(3, 3), groups=6),
    "fc": Layer(name="k", kind="fc", in_channels=70, out_channels=10),
}  # fmt: skip
ARRAY = PEArray(rows=4, cols=4)


def wide_enough(case: Case) -> Case:
    """Return the case on an accumulator of 60 bits that keeps every bit."""
    pe = case.pe.model_copy(update={"acc_bits": 60} | ({} if case.job.datapath.fraction_bits else {"drop_bits": 0}))
    path = pe.datapath(case.job.datapath.activation, case.job.datapath.weight)
    return replace(case, pe=pe, job=replace(case.job, datapath=path))


@settings(max_examples=60)
@given(cases(LINEAR), st.booleans(), st.integers(-3, 3), st.integers(0, 2**32 - 1))
def test_equals_plain_integers(case: Case, residual: bool, apart: int, seed: int) -> None:
    case = wide_enough(case)
    if seed % 2:  # half of them with stride 1, where margins are shared
        layer = case.job.layer.model_copy(update={"stride": (1, 1)})
        case = replace(case, job=replace(case.job, layer=layer))
    job, path, layer = case.job, case.job.datapath, case.job.layer
    rng = np.random.default_rng(seed)
    source = LogFormat(bits=3, fsr=0, signed=True)
    words = np.cumsum(rng.integers(1, 2 ** int(rng.integers(1, 20)), 7)) - int(rng.integers(0, 2**10))
    added = rng.integers(-3, 4, layer.ofmap_shape(job.batch)).astype(np.int8)
    lsb = path.lsb_exponent + apart
    spec = LaneSpec(case.bias, (words, lsb, source) if residual else None, layer.relu, case.output, case.round_bits)
    direct = direct_layer(layer, path, job.filter_codes, spec)
    sums = oracle.run_layer(
        layer, case.pe, path.activation, path.weight, job.ifmap_codes.tolist(), job.filter_codes.tolist()
    )
    if direct is None:  # only what leaves the doubles may be refused
        bias = max(abs(float(b)) for b in case.bias) / 2.0**path.lsb_exponent
        reach = layer.matrix(1).reduction * max(abs(end) for end in path.product_range) * max(path.constants)
        assert reach + bias + 2**24 > 2**40
        return
    codes, saturated = direct.run(job.ifmap_codes, added if residual else None)
    assert codes.shape == layer.ofmap_shape(job.batch) and codes.dtype == case.output.code_dtype
    fine = min(lsb, path.lsb_exponent) if residual else path.lsb_exponent
    turned = np.moveaxis(codes, 1, -1).reshape(-1, layer.out_channels)
    others = np.moveaxis(added, 1, -1).reshape(-1, layer.out_channels)
    for row, got, extra in zip(sums.psum, turned.tolist(), others.tolist(), strict=True):
        for m, psum in enumerate(row):
            total = psum + oracle.round_away(Fraction(float(case.bias[m])) / oracle.power_of_two(path.lsb_exponent))
            total *= 2 ** (path.lsb_exponent - fine)
            total += int(words[extra[m] + 3]) * 2 ** (lsb - fine) if residual else 0
            total = max(total, 0) if layer.relu else total
            assert got[m] == oracle.hardware_encode(total, fine, case.output, case.round_bits)
    ends = {max(oracle.all_codes(case.output))} | ({min(oracle.all_codes(case.output))} - {0})
    assert saturated == sum(code in ends for code in codes.reshape(-1).tolist())
    assert count_live_products(job.ifmap_codes, weights_met(layer, job.filter_codes)) == sums.live


def drawn(shape: str, kind: str, batch: int) -> tuple[LayerJob, np.ndarray]:
    """Return a job of a layer and a bias."""
    layer, (pe, activation, weight) = SHAPES[shape], KINDS[kind]
    rng = np.random.default_rng(len(shape) * 31 + len(kind))
    path = pe.datapath(activation, weight)
    ifmap = random_codes(rng, activation, layer.ifmap_shape(batch), "uniform")
    filters = random_codes(rng, weight, layer.filter_shape, "uniform")
    bias = rng.normal(size=layer.out_channels) * np.ldexp(1.0, path.lsb_exponent + 12)
    return LayerJob(layer, path, ARRAY, "os", ifmap, filters), bias


def of_the_engine(job: LayerJob, spec: LaneSpec) -> tuple[Any, int]:
    """Return the ofmap's codes and the live products by the fold-level engine, sums shifted and added."""
    run = fold_level.run_layer(job, "kernel")
    codes = post_process(run.psum, job.datapath.lsb_exponent, spec.bias, spec.relu, spec.output, spec.round_bits)
    shape = job.layer.ofmap_shape(job.batch)
    live = run.activity.live_products
    assert live is not None and run.clipped == 0
    return np.moveaxis(codes.reshape(shape[0], *shape[2:], shape[1]), -1, 1), live


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_fold_level_engine(shape: str) -> None:
    for number, kind in enumerate(KINDS):
        for batch in (1, 13):
            job, bias = drawn(shape, kind, batch)
            output = OUTPUTS[(number + batch) % len(OUTPUTS)]
            spec = LaneSpec(bias, None, number % 2 == 0, output, 8)
            direct = direct_layer(job.layer, job.datapath, job.filter_codes, spec)
            assert direct is not None
            wanted, live = of_the_engine(job, spec)
            codes, _ = direct.run(job.ifmap_codes)
            assert np.array_equal(codes, wanted), (kind, batch)
            assert count_live_products(job.ifmap_codes, weights_met(job.layer, job.filter_codes)) == live
    walk, at = lay_out(job.layer, 1, 13)
    assert walk.images * walk.rows * walk.pitch + int(at.max()) < walk.size  # nothing is read beyond x


@pytest.mark.parametrize("shape", SHAPES)
def test_real_layers_have_the_bits_of_the_reference(shape: str) -> None:
    layer, rng = SHAPES[shape].model_copy(update={"relu": False}), np.random.default_rng(3)
    filters = rng.normal(size=layer.filter_shape).astype(np.float32)
    bias = rng.normal(size=layer.out_channels).astype(np.float32)
    one = RealLayer(layer.model_copy(update={"relu": True}), filters, bias)
    for batch in (1, 13):
        ifmap = rng.normal(size=layer.ifmap_shape(batch)).astype(np.float32)
        residual = rng.normal(size=layer.ofmap_shape(batch)).astype(np.float32)
        wanted = reference_ofmap(layer, ifmap, filters, bias)
        assert np.array_equal(one.run(ifmap), np.maximum(wanted, 0))
        assert np.array_equal(one.run(ifmap, residual), np.maximum(wanted + residual, 0))


def test_very_large_filters_stay_as_they_are() -> None:
    layer, rng = Layer(name="l", kind="fc", in_channels=2100, out_channels=2000, relu=True), np.random.default_rng(3)
    filters = rng.normal(size=layer.filter_shape).astype(np.float32)
    bias, ifmap = (rng.normal(size=size).astype(np.float32) for size in ((2000,), (2, 2100)))
    one, residual = RealLayer(layer, filters, bias), np.ones((2, 2000), np.float32)
    assert one.weights is None
    wanted = reference_ofmap(layer.model_copy(update={"relu": False}), ifmap, filters, bias)
    assert np.array_equal(one.run(ifmap), np.maximum(wanted, 0))
    assert np.array_equal(one.run(ifmap, residual), np.maximum(wanted + 1, 0))


@pytest.mark.parametrize(
    "number_format", [LINEAR_8, LINEAR_W, LOG_4, SQRT_W, LinearFormat(bits=32, fsr=3, signed=True)]
)
def test_powers_of_errors(number_format: LinearFormat | LogFormat) -> None:
    rng = np.random.default_rng(5)
    codes = random_codes(rng, number_format, (3, 4100), "uniform")
    reference = rng.normal(size=codes.shape).astype(np.float32)
    pairs = [
        (float(value), float(oracle.decode(int(code), number_format)))
        for value, code in zip(reference.reshape(-1), codes.reshape(-1), strict=True)
    ]
    signal, noise = math.fsum(v * v for v, _ in pairs), math.fsum((v - d) ** 2 for v, d in pairs)
    assert error_powers(codes, number_format, reference) == pytest.approx((signal, noise), rel=1e-12)


@pytest.mark.parametrize("output", [LinearFormat(bits=16, fsr=-6, signed=True), LogFormat(bits=8, fsr=18, signed=True)])
def test_sums_beyond_24_bits_do_not_round(output: LinearFormat | LogFormat) -> None:
    """Large sums less a bias that leaves their low bits: a float32 sum of all products would have lost these."""
    layer = Layer(name="l", in_channels=900, out_channels=6, in_size=(2, 3), kernel=(1, 1))
    path, rng = ShiftPE(acc_bits=44).datapath(LOG_4, LINEAR_W), np.random.default_rng(4)
    filters = (rng.integers(0, 64, layer.filter_shape) * 2 + 1).astype(np.int16)
    ifmap = np.repeat(np.where(rng.random((1, 900, 1, 1)) < 0.5, 15, 1), 12, axis=3).reshape(900, 2, 2, 3)
    ifmap = np.where(ifmap == 1, rng.integers(0, 3, ifmap.shape), ifmap).swapaxes(0, 1).astype(np.int8)
    factors = (1 << ifmap.astype(np.int64) >> 1).transpose(0, 2, 3, 1).reshape(12, 900)
    words = factors @ filters.astype(np.int64).reshape(6, 900).T
    assert words.max() > 2**28 and (words % 2).any() and np.ptp(words, axis=0).max() < 2**16
    bias = -words[0] * 2.0**path.lsb_exponent
    direct = direct_layer(layer, path, filters, LaneSpec(bias, None, False, output, 8))
    assert direct is not None and direct.backend == "direct float32"
    ends = [int(end) for end in direct.weights.ends]
    assert len(ends) > 10 and ends[-1] == 900 and all(end % 4 == 0 for end in ends[:-1])
    for first, end in zip([0, *ends[:-1]], ends, strict=True):
        assert int(filters.astype(np.int64).reshape(6, 900)[:, first:end].sum(axis=1).max()) * 2**14 <= 2**24
    codes = np.moveaxis(direct.run(ifmap)[0], 1, -1).reshape(12, 6)
    for got, row in zip(codes.tolist(), (words - words[0]).tolist(), strict=True):
        assert got == [oracle.hardware_encode(total, path.lsb_exponent, output, 8) for total in row]


@pytest.mark.parametrize("largest", [30, 51])
@pytest.mark.parametrize("output", OUTPUTS, ids=str)
def test_low_bits_are_cut_off_not_rounded(output: LinearFormat | LogFormat, largest: int) -> None:
    """Totals beside powers of two, as biases of channels that see zeros alone: in 32 and in 64 bits."""
    totals = [sign * (2**k + d) for k in range(largest) for d in (-2, -1, 0, 1, 2) for sign in (1, -1)]
    layer = Layer(name="l", kind="fc", in_channels=1, out_channels=len(totals), relu=False)
    path, filters = ShiftPE(acc_bits=44).datapath(LOG_4, LINEAR_W), np.zeros((len(totals), 1), np.int8)
    for round_bits, shift in ((8, -30), (1, 0), (13, 4)):
        moved = output.model_copy(update={"fsr": output.fsr + shift})
        bias = np.ldexp(np.array(totals, np.float64), path.lsb_exponent)
        direct = direct_layer(layer, path, filters, LaneSpec(bias, None, False, moved, round_bits))
        assert direct is not None or largest == 51
        if direct is not None:
            assert direct.backend == ("direct float32" if largest == 30 else "direct float64")
            got = direct.run(np.zeros((1, 1), np.int8))[0][0].tolist()
            assert got == [oracle.hardware_encode(total, path.lsb_exponent, moved, round_bits) for total in totals]


def test_what_is_not_proven_is_refused() -> None:
    layer = Layer(name="l", in_channels=9, out_channels=2, in_size=(2, 2), kernel=(1, 1))
    filters = np.full((2, 9, 1, 1), 100, np.int16)
    spec = LaneSpec(np.zeros(2), None, True, LOG_4, 8)

    def ready(pe: Any, activation: Any = LOG_4, weight: Any = LINEAR_W, lane: LaneSpec = spec) -> bool:
        return direct_layer(layer, pe.datapath(activation, weight), filters, lane) is not None

    bits = (900 * 2**14).bit_length() + 1  # exactly what the largest sum needs
    assert ready(ShiftPE(acc_bits=bits)) and not ready(ShiftPE(acc_bits=bits - 1))
    assert not ready(ShiftPE(acc_bits=bits - 1, overflow="wrap"))
    assert not ready(ShiftPE(acc_bits=bits, drop_bits=1))
    assert not ready(LogsumPE(acc_bits=22, fraction_bits=16), LOG_4, LOG_W)
    assert not ready(ShiftPE(acc_bits=40), lane=replace(spec, output=LinearFormat(bits=32, fsr=0, signed=False)))
    assert not ready(ShiftPE(acc_bits=40), lane=replace(spec, bias=np.array([1e300, 0.0])))
    assert not ready(ShiftPE(acc_bits=40), lane=replace(spec, bias=np.array([2.0**40, 0.0])))
    far = np.arange(16), 50, LOG_4
    assert not ready(ShiftPE(acc_bits=40), lane=replace(spec, residual=far))
    assert ready(ShiftPE(acc_bits=40), lane=replace(spec, residual=(far[0], 0, LOG_4)))
