"""The pipeline: what simulate and compare return, refuse, and keep equal."""

import json
import re

import numpy as np
import pytest

import logaccel
from logaccel import ConfigError, Layer, LayerTensors, Trace, WorkloadError
from logaccel.formats import LinearFormat, LogFormat
from logaccel.formats.encode import decode, encode
from tests import oracle


@pytest.fixture(scope="module")
def digits() -> Trace:
    return logaccel.load_trace()


@pytest.fixture(scope="module")
def small() -> Trace:
    """The first eight images of the bundled trace."""
    return first_images(logaccel.load_trace(), 8)


def first_images(trace: Trace, count: int) -> Trace:
    layers = [LayerTensors(t.layer, t.ifmap[:count], t.filter, t.bias, t.ofmap[:count]) for t in trace.layers]
    labels = None if trace.labels is None else trace.labels[:count]
    return Trace.from_arrays(trace.name, layers, labels, trace.source)


def chain(relu: bool = True) -> Trace:
    """Two fully connected layers with few, round values."""
    generator = np.random.default_rng(7)
    first = Layer(name="a", kind="fc", in_channels=5, out_channels=4, relu=relu)
    second = Layer(name="b", kind="fc", in_channels=4, out_channels=3, relu=False)
    x = generator.standard_normal((6, 5)).astype(np.float32)
    tensors = []
    for layer in (first, second):
        w = generator.standard_normal(layer.filter_shape).astype(np.float32)
        b = generator.standard_normal(layer.out_channels).astype(np.float32)
        y = x @ w.T + b
        y = np.maximum(y, 0) if layer.relu else y
        tensors.append(LayerTensors(layer, x, w, b, y.astype(np.float32)))
        x = tensors[-1].ofmap
    return Trace.from_arrays("chain", tensors)


@pytest.mark.parametrize(
    "name", ["multiply_8b_16x16", "shift_4b_16x16", "decode_4b_sqrt2_bins_16x16", "logsum_4b_16x16"]
)
@pytest.mark.parametrize("chained", [False, True])
def test_engines_agree_in_every_field_of_the_real_trace(small: Trace, name: str, chained: bool) -> None:
    arch = logaccel.load_arch(name)
    fold = logaccel.simulate(small, arch, chained=chained)
    register = logaccel.simulate(small, arch, chained=chained, engine="register")
    left, right = fold.to_dict(), register.to_dict()
    for tree in (left, right):
        tree.pop("engine")
        for layer in tree["layers"]:
            layer.pop("backend")
    assert left == right
    for a, b in zip(fold.layers, register.layers, strict=True):
        np.testing.assert_array_equal(a.psum, b.psum)
        np.testing.assert_array_equal(a.ofmap_codes, b.ofmap_codes)


@pytest.mark.parametrize("name", ["multiply_4b_16x16", "shift_4b_16x16", "decode_4b_16x16", "logsum_4b_16x16"])
def test_chained_codes_equal_the_oracle_layer_by_layer(name: str) -> None:
    trace = chain()
    arch = logaccel.load_arch(name)
    result = logaccel.simulate(trace, arch, chained=True)
    codes = encode(trace.layers[0].ifmap, result.layers[0].quantization.ifmap)
    for tensors, layer in zip(trace.layers, result.layers, strict=True):
        path = arch.pe.datapath(layer.quantization.ifmap, layer.quantization.filter)
        weights = encode(tensors.filter, layer.quantization.filter)
        formats = layer.quantization
        exact = oracle.run_layer(
            tensors.layer, arch.pe, formats.ifmap, formats.filter, codes.tolist(), weights.tolist()
        )
        np.testing.assert_array_equal(exact.psum, layer.psum)
        assert (exact.clipped, exact.macs, exact.live) == (
            layer.clipped,
            layer.macs,
            layer.activity.live_products,
        )
        expected = [
            [
                oracle.post_process(
                    psum, path.lsb_exponent, float(b), tensors.layer.relu, formats.ofmap, arch.post.round_bits
                )
                for psum, b in zip(row, tensors.bias, strict=True)
            ]
            for row in exact.psum
        ]
        np.testing.assert_array_equal(expected, layer.ofmap_codes)
        codes = layer.ofmap_codes
        np.testing.assert_array_equal(np.asarray(expected).reshape(codes.shape), codes)


def test_unchained_layers_take_the_recorded_ifmap_and_chained_ones_the_codes(small: Trace) -> None:
    arch = logaccel.load_arch("shift_3b_16x16")
    plain, chained = (logaccel.simulate(small, arch, chained=mode) for mode in (False, True))
    np.testing.assert_array_equal(plain.layers[0].psum, chained.layers[0].psum)
    assert any((a.psum != b.psum).any() for a, b in zip(plain.layers[1:], chained.layers[1:], strict=True))
    assert plain.total_cycles == chained.total_cycles


def test_backends_agree(small: Trace) -> None:
    for name in ("multiply_8b_16x16", "shift_4b_16x16", "decode_4b_16x16", "decode_4b_sqrt2_constant_16x16"):
        kernel, blas = (logaccel.simulate(small, logaccel.load_arch(name), backend=b) for b in ("kernel", "blas"))
        assert any("blas" in layer.backend for layer in blas.layers)
        for a, b in zip(kernel.layers, blas.layers, strict=True):
            np.testing.assert_array_equal(a.psum, b.psum)


def test_many_bits_approach_the_float_network(digits: Trace) -> None:
    result = logaccel.simulate(digits, logaccel.load_arch("multiply_16b_16x16"), chained=True)
    assert all(layer.snr_db > 50 for layer in result.layers)
    assert result.accuracy.top1_agreement == 1.0
    assert result.accuracy.top1_accuracy == result.accuracy.float_top1_accuracy


def test_cycles_without_tensors_are_the_cycles_with_tensors(small: Trace) -> None:
    arch = logaccel.load_arch("shift_4b_16x16")
    timing, values = logaccel.simulate(small.network, arch), logaccel.simulate(small, arch)
    assert timing.total_cycles == values.total_cycles
    assert not timing.values_simulated and values.values_simulated
    assert timing.layers[0].psum is None and timing.clipped is None and timing.accuracy is None
    assert any("values were not simulated" in note for note in timing.notes)
    for a, b in zip(timing.layers, values.layers, strict=True):
        assert a.activity.macs == b.activity.macs and a.activity.live_products is None
        assert a.energy.array_pj > 0


def test_totals_are_sums_of_layers_and_ratios_are_defined(small: Trace) -> None:
    result = logaccel.simulate(small, logaccel.load_arch("shift_4b_12x14"))
    assert result.total_cycles == sum(layer.total_cycles for layer in result.layers)
    assert result.time_us == pytest.approx(result.total_cycles / result.arch.clock_mhz)
    for layer in result.layers:
        assert layer.compute_cycles + layer.stall_cycles == layer.total_cycles
        assert layer.utilization == pytest.approx(layer.macs / (12 * 14 * layer.total_cycles))
        assert layer.utilization <= layer.spatial_utilization <= 1
    assert sum(result.energy_pj.values()) == pytest.approx(result.energy_array_pj)


def test_results_can_be_written_read_and_fed_back(small: Trace, tmp_path) -> None:
    arch = logaccel.load_arch("decode_4b_sqrt2_bins_16x16")
    result = logaccel.simulate(small, arch)
    result.to_json(tmp_path / "r.json")
    tree = json.loads((tmp_path / "r.json").read_text())
    assert tree == result.to_dict()
    assert tree["logaccel_version"] == logaccel.__version__
    assert tree["cost"]["profile"] == arch.cost_profile
    again = logaccel.simulate(small, arch, quantization=result.quantization)
    assert again.to_dict() == tree
    assert list(tmp_path.iterdir()) == [tmp_path / "r.json"]
    with pytest.raises(AttributeError):
        result.batch = 3


def test_given_ranges_replace_the_calibrated_ones(small: Trace) -> None:
    arch = logaccel.load_arch("shift_4b_16x16")
    first, second = small.layers[0].layer.name, small.layers[1].layer.name
    result = logaccel.simulate(small, arch, quantization={second: {"ifmap": 5, "filter": 3}})
    assert result.quantization[second].ifmap.fsr == 5 == result.quantization[first].ofmap.fsr
    assert result.quantization[second].filter.fsr == 3


def test_single_layers_can_differ(small: Trace) -> None:
    arch = logaccel.load_arch("decode_4b_16x16").replace(
        layers={
            "first": {
                "activation": {"kind": "linear", "bits": 8},
                "weight": {"kind": "linear", "bits": 8},
                "pe": {"kind": "multiply", "acc_bits": 40},
            }
        }
    )
    result = logaccel.simulate(small, arch)
    assert isinstance(result.layers[0].quantization.ifmap, LinearFormat)
    assert isinstance(result.layers[0].quantization.ofmap, LogFormat)
    assert isinstance(result.layers[1].quantization.ifmap, LogFormat)
    assert result.area_um2 > logaccel.simulate(small, logaccel.load_arch("decode_4b_16x16")).area_um2


def test_a_narrow_accumulator_clips_and_says_how_often(small: Trace) -> None:
    wide = logaccel.load_arch("multiply_8b_16x16")
    narrow = wide.replace(**{"pe.acc_bits": 14})
    assert logaccel.simulate(small, wide).clipped == 0
    result = logaccel.simulate(small, narrow)
    assert result.clipped > 0
    assert all(abs(layer.psum).max() <= 2**13 for layer in result.layers)
    assert all(layer.exact_acc_bits > layer.acc_bits for layer in result.layers if layer.clipped)


def test_ofmap_codes_decode_to_about_the_reference(small: Trace) -> None:
    result = logaccel.simulate(small, logaccel.load_arch("multiply_8b_16x16"))
    for tensors, layer in zip(small.layers, result.layers, strict=True):
        assert layer.ofmap_codes.shape == tensors.ofmap.shape == layer.psum.shape
        values = decode(layer.ofmap_codes, layer.quantization.ofmap)
        assert np.abs(values - tensors.ofmap).max() < 0.25 * np.abs(tensors.ofmap).max()


def test_a_layer_without_relu_feeds_signed_codes() -> None:
    result = logaccel.simulate(chain(relu=False), logaccel.load_arch("shift_4b_16x16"), chained=True)
    assert result.layers[1].quantization.ifmap.signed
    assert (result.layers[0].ofmap_codes < 0).any()


def message(*lines: str) -> str:
    return "^" + re.escape("\n".join(lines)) + "$"


def test_what_cannot_be_run_is_refused(small: Trace) -> None:
    arch = logaccel.load_arch("shift_4b_16x16")
    alexnet = logaccel.load_network("alexnet")
    with pytest.raises(ConfigError, match=message("chained: needs a trace; alexnet has shapes only")):
        logaccel.simulate(alexnet, arch, chained=True)
    with pytest.raises(ConfigError, match="alexnet: conv1 does not feed conv2 directly"):
        logaccel.simulate(logaccel.synthesize_trace(one_pair(alexnet), seed=1), arch, chained=True)
    with pytest.raises(ConfigError, match=message("engine: must be fold or register, got 'magic'")):
        logaccel.simulate(small, arch, engine="magic")
    with pytest.raises(ConfigError, match=r"backend: must be kernel or \(fold engine only\) blas"):
        logaccel.simulate(small, arch, engine="register", backend="blas")
    with pytest.raises(ConfigError, match=r"layers\.conv9: no layer of that name; there are"):
        logaccel.simulate(small, arch.replace(layers={"conv9": {"weight": {"kind": "linear", "bits": 4}}}))
    with pytest.raises(ConfigError, match="quantization: nowhere: no layer of that name"):
        logaccel.simulate(small, arch, quantization={"nowhere": {"ifmap": 1}})
    name = small.layers[0].layer.name
    with pytest.raises(ConfigError) as error:
        logaccel.simulate(small, arch, quantization={name: {"imap": 1, "filter": "big", "ifmap": 1000}})
    assert str(error.value).splitlines() == [
        f"quantization: {name}.imap: unknown key; must be one of ifmap, filter, ofmap",
        f"quantization: {name}.filter: must be a full-scale range or a format, got 'big'",
        f"quantization: {name}.ifmap: fsr must be -64…64, got 1000",
    ]
    with pytest.raises(ConfigError, match="has log 4 b base 2 words there, got linear 8 b unsigned, fsr 0"):
        logaccel.simulate(small, arch, quantization={name: {"ifmap": LinearFormat(bits=8, fsr=0, signed=False)}})
    with pytest.raises(ConfigError, match=message("compare: needs at least one architecture, got none")):
        logaccel.compare(small, [])
    with pytest.raises(ConfigError, match="compare: architectures need different names"):
        logaccel.compare(small, [arch, arch])
    with pytest.raises(WorkloadError, match="no such file, nor a network of that name"):
        logaccel.load_network("alexnett")


def one_pair(network: logaccel.Network) -> logaccel.Network:
    """conv1 and conv2, with few channels: between them stands a pooling layer that is not here."""
    a, b = network.layers[:2]
    a = a.model_copy(update={"out_channels": 4})
    b = b.model_copy(update={"in_channels": 4, "out_channels": 4})
    return network.model_copy(update={"layers": (a, b)})


def test_compare_runs_every_architecture_both_ways(small: Trace) -> None:
    archs = [logaccel.load_arch(name) for name in ("multiply_8b_16x16", "decode_4b_16x16")]
    comparison = logaccel.compare(small, archs)
    for arch, row, chained in zip(archs, comparison.rows, comparison.chained_rows, strict=True):
        assert row.to_dict() == logaccel.simulate(small, arch).to_dict()
        assert chained.to_dict() == logaccel.simulate(small, arch, chained=True).to_dict()
    assert logaccel.compare(logaccel.load_network("alexnet"), archs).chained_rows is None


def test_progress_counts_up_to_all_macs(small: Trace) -> None:
    seen: list[tuple[int, int, str]] = []
    logaccel.simulate(small, logaccel.load_arch("shift_4b_16x16"), progress=lambda *args: seen.append(args))
    assert [name for _, _, name in seen] == [t.layer.name for t in small.layers] + [""]
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert seen[-1][0] == seen[-1][1]


def test_the_number_of_threads_changes_nothing(small: Trace) -> None:
    import numba

    arch = logaccel.load_arch("shift_4b_16x16").replace(**{"pe.acc_bits": 16})
    both = logaccel.simulate(small, arch).to_dict()
    numba.set_num_threads(1)
    try:
        assert logaccel.simulate(small, arch).to_dict() == both
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)


def test_a_chain_that_the_recording_does_not_follow_is_noted() -> None:
    layers = tuple(
        Layer(name=name, kind="fc", in_channels=6, out_channels=6, relu=relu)
        for name, relu in (("a", True), ("b", False))
    )
    drawn = logaccel.synthesize_trace(logaccel.Network(name="pair", batch=3, layers=layers), seed=2)
    arch = logaccel.load_arch("shift_4b_16x16")
    assert drawn.unfed_layers() == ("b",) and chain().unfed_layers() == ()
    notes = logaccel.simulate(drawn, arch, chained=True).notes
    assert any(note.startswith("chained: b: the recorded ifmap is not the ofmap") for note in notes)
    assert logaccel.compare(drawn, [arch]).chained_rows is None


def test_a_bias_beyond_every_word_names_its_layer() -> None:
    trace = chain()
    first = trace.layers[0]
    huge = LayerTensors(first.layer, first.ifmap, first.filter, first.bias * np.float32(1e30), first.ofmap)
    bad = Trace.from_arrays("bad", [huge, trace.layers[1]])
    with pytest.raises(logaccel.TraceError, match=r"^a: bias\[0\]: must fit 62 bits"):
        logaccel.simulate(bad, logaccel.load_arch("multiply_8b_16x16"))


def test_more_folds_than_can_be_planned_are_refused() -> None:
    """1,048,576 images of AlexNet's first layer are 198 million pixel slices; that once ran for minutes."""
    with pytest.raises(logaccel.WorkloadError) as raised:
        logaccel.simulate(logaccel.load_network("alexnet", 2**20), logaccel.load_arch("shift_4b_16x16"))
    assert str(raised.value) == (
        "alexnet: conv1: must take at most 16,777,216 folds, got 1,189,478,400 on 16×16 PEs: "
        "a smaller batch or a larger array needs fewer"
    )
