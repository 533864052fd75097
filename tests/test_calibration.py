"""Calibration against its definitions: output errors, channel scales, bit budgets, bias correction, the file."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import graph_cases
import numpy as np
import oracle
import pytest
from graph_cases import AFTER, CONSTANTS, STEM, helper, normal, residual_net, save
from hypothesis import given
from hypothesis import strategies as st

from logaccel.arch import load_arch
from logaccel.errors import ConfigError
from logaccel.evaluation import Calibration, GraphRun, calibrate, load_formats, run_graph, save_formats
from logaccel.evaluation.bias import corrected_biases
from logaccel.evaluation.budget import BITS, Choice, within_budget
from logaccel.evaluation.channels import choose_scales
from logaccel.evaluation.lane import words_of
from logaccel.evaluation.output_error import coded_filter, output_errors
from logaccel.formats import Format, LinearWord, LogWord
from logaccel.formats.calibrate import best_fsr
from logaccel.formats.channels import scaled
from logaccel.formats.encode import decode, encode
from logaccel.model.model import Model, Parameters
from logaccel.model.onnx_import import load_onnx
from logaccel.model.reference import float_layer, run_float
from logaccel.quantization import format_sets
from logaccel.workload.graph import INPUT, LayerNode

EVERYTHING = Calibration(
    "least_output_error", channel_scales="weights", weight_bits=5.0, activation_bits=4.0, correct_bias=True
)


@pytest.fixture(autouse=True)
def same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the same numbers whichever tests ran before."""
    monkeypatch.setattr(graph_cases, "RNG", np.random.default_rng(11))


def uneven(model: Model) -> Model:
    """Return the model with channels of very different sizes, one of them empty, as folded batch norms make them."""
    parameters = {}
    for name, own in model.parameters.items():
        sizes = np.exp2(np.arange(len(own.filter)) % 4 - 2.3).astype(np.float32)
        sizes[1] = 0
        parameters[name] = Parameters(own.filter * sizes.reshape(-1, *[1] * (own.filter.ndim - 1)), own.bias)
    return replace(model, parameters=parameters)


SLOW = [
    pytest.param(arch, marks=pytest.mark.slow)
    for arch in ("decode_4b_sqrt2_bins_16x16", "multiply_4b_16x16", "logsum_4b_16x16", "shift_weight_4b_16x16")
]


@pytest.mark.parametrize("arch", ["shift_4b_16x16", *SLOW])
def test_everything_together_equals_the_register_level_engine_and_plain_integers(arch: str, tmp_path: Path) -> None:
    model, images, unit = uneven(residual_net(tmp_path)), normal(1, 4, 9, 8), load_arch(arch)
    formats = calibrate(model, unit, images, EVERYTHING)
    assert "d" in formats.scales and set(formats.biases) == {"stem", "d", "fc"}
    fast = list(GraphRun(model, unit, formats).run(images))
    slow = list(GraphRun(model, unit, formats, engine="register", backend="kernel").run(images))
    for left, right in zip(fast, slow, strict=True):
        assert np.array_equal(left.codes, right.codes), left.node.name
        if left.array is not None and right.array is not None:
            assert left.array.clipped == right.array.clipped and left.array.array_cycles == right.array.array_cycles
    by_name = {done.node.name: done for done in fast}
    node, own_unit = by_name["d"].node, formats.architecture(unit).for_layer("d", 1, 3)
    assert isinstance(node, LayerNode)
    source, kept, own = formats.tensors["stem"], formats.filters["d"], formats.tensors["d"]
    scales, biases = formats.scales["d"], formats.biases["d"]
    filters = [[[[oracle.encode(float(v) * 2**scale, kept) for v in r] for r in c] for c in m]
               for m, scale in zip(model.parameters["d"].filter, scales, strict=True)]  # fmt: skip
    ifmap = by_name["stem"].codes
    sums = oracle.run_layer(node.layer, own_unit.pe, source, kept, ifmap.tolist(), filters)
    residual, fine = words_of(ifmap, source, "d")
    seen = set()
    for index, row in enumerate(sums.psum):
        p, q = divmod(index, 8)
        for m, psum in enumerate(row):
            lsb = own_unit.pe.datapath(source, kept).lsb_exponent - scales[m]  # the channel's own
            total = psum + oracle.round_away(Fraction(float(np.float32(biases[m]))) / oracle.power_of_two(lsb))
            low = min(lsb, fine)
            total = max(total * 2 ** (lsb - low) + int(residual[0, m, p, q]) * 2 ** (fine - low), 0)
            code = by_name["d"].codes[0, m, p, q]
            assert code == oracle.hardware_encode(total, low, own, unit.post.round_bits)
            seen.add(int(code))
    assert len(seen) > 4


def test_powers_of_two_change_nothing_where_codes_are_exact(tmp_path: Path) -> None:
    """Weights that every channel holds exactly with and without its power of two give the same codes."""
    model, images, arch = residual_net(tmp_path), normal(2, 4, 9, 8), load_arch("multiply_16b_16x16")
    model = replace(
        model,
        parameters={
            name: Parameters(np.rint(own.filter * 8) / 64, np.rint(own.bias * 4) / 4)
            for name, own in model.parameters.items()
        },
    )
    plain = calibrate(model, arch, images, "max")
    plain = replace(plain, filters={name: LinearWord(bits=16).at(6, True) for name in plain.filters})
    scales = {name: tuple(index % 4 for index in range(len(own.bias))) for name, own in model.parameters.items()}
    shifted = replace(plain, scales=scales)
    for left, right in zip(*(GraphRun(model, arch, own).run(images) for own in (plain, shifted)), strict=True):
        assert np.array_equal(left.codes, right.codes), left.node.name


@pytest.mark.parametrize("word", [LinearWord(bits=4), LogWord(bits=4), LogWord(bits=4, steps_per_octave=2)], ids=str)
def test_scales_are_the_best_of_every_channel(word: LinearWord | LogWord, tmp_path: Path) -> None:
    model = uneven(residual_net(tmp_path))
    words = dict.fromkeys(model.parameters, word)
    assert choose_scales(model, "none", words) == {}
    for name, scales in choose_scales(model, "weights", words).items():
        weights = model.parameters[name].filter
        stored = word.at(best_fsr(scaled(weights, scales), word, True), True)
        assert min(scales) == scales[1] == 0 < max(scales)  # a channel without weights stays as it is
        for m, own in enumerate(scales):
            errors = [
                np.square(coded_filter(weights, stored, (s,) * len(scales))[m] - weights[m]).sum() for s in range(16)
            ]
            assert errors[own] <= min(errors) * (1 + 1e-5)
        plain = word.at(best_fsr(weights, word, True), True)
        misses = [np.square(coded_filter(weights, *how) - weights).sum() for how in ((stored, scales), (plain, None))]
        assert misses[0] < misses[1]
    weights = np.diag(np.exp2(-4.0 * np.arange(72))).astype(np.float32)[:7]
    tiny = replace(model, parameters={**model.parameters, "fc": Parameters(weights, np.zeros(7, np.float32))})
    assert max(choose_scales(tiny, "weights", words)["fc"]) == 15  # a shift has four bits


def test_scales_of_a_batch_norm_keep_its_power_of_two_out_of_the_weights(tmp_path: Path) -> None:
    factors = np.array([3.0, -0.2, 1.0, 0.01, 0.0, 1.5], np.float32)
    constants = {**CONSTANTS, "a": factors, "v": np.ones(6, np.float32) - np.float32(1e-3)}
    nodes = [
        STEM, helper.make_node("BatchNormalization", ["c", "a", "b", "m", "v"], ["e"], name="e", epsilon=1e-3),
        helper.make_node("Relu", ["e"], ["y"], name="n"),
    ]  # fmt: skip
    used = {name for node in nodes for name in node.input}
    model = load_onnx(save(tmp_path / "net.onnx", nodes, {key: constants[key] for key in constants if key in used}))
    np.testing.assert_allclose(model.norm_factors["stem"], factors, rtol=1e-6)
    scales = choose_scales(model, "batch_norm", {})["stem"]
    assert scales == (0, 4, 2, 9, 0, 1)  # from 2^2, 2^-2, 2^0, 2^-7, none, 2^1
    stored = scaled(model.parameters["stem"].filter, scales)
    for m in (0, 1, 2, 3, 5):  # the trained weights, times what is left of the factor, times one power of two
        left = stored[m] / CONSTANTS["w"][m] / 4
        np.testing.assert_allclose(left, left[0, 0, 0], rtol=1e-5)
        assert 2**-0.5 <= abs(left[0, 0, 0]) <= 2**0.5


def test_scales_reach_as_far_as_the_lanes_shift(tmp_path: Path) -> None:
    """Two bits shift by 3 at most; without any the widest lanes are taken, but only where formats have scales."""
    model, images, plain = uneven(residual_net(tmp_path)), normal(1, 4, 9, 8), load_arch("multiply_4b_16x16")
    narrow = plain.replace(**{"post.channel_shift_bits": 2})
    wanted = Calibration(channel_scales="weights")
    wide, near = (calibrate(model, own, images, wanted) for own in (plain, narrow))
    assert {name: max(own) for name, own in near.scales.items()} == {
        name: min(max(own), 3) for name, own in wide.scales.items()
    }
    assert max(map(max, wide.scales.values())) > 3
    given = {"wide": (plain, wide), "near": (narrow, near), "none": (plain, replace(wide, scales={}))}
    runs = {name: GraphRun(model, *own) for name, own in given.items()}
    assert [(run.arch.post.channel_shift_bits, run.lanes_widened) for run in runs.values()] == [
        (4, True), (2, False), (0, False)
    ]  # fmt: skip
    faults = [
        f"formats: scales {name}: must be at most 3 (post.channel_shift_bits: 2), got {max(own)}"
        for name, own in wide.scales.items()
        if max(own) > 3
    ]
    with pytest.raises(ConfigError) as caught:
        GraphRun(model, narrow, wide)
    assert str(caught.value).split("\n") == faults


def _ofmap(model: Model, name: str, images: np.ndarray, **changed: Any) -> np.ndarray:
    changes = {**model.parameters, **changed}
    return next(value for node, value in run_float(replace(model, parameters=changes), images) if node.name == name)


def _coded(values: np.ndarray, chosen: Format) -> np.ndarray:
    return decode(encode(values, chosen), chosen).astype(np.float32)


@pytest.mark.parametrize(("arch", "moves"), [("shift_3b_16x16", False), ("multiply_4b_16x16", True)])
def test_least_output_error_is_the_least(arch: str, moves: bool, tmp_path: Path) -> None:
    model, images = residual_net(tmp_path), normal(3, 4, 9, 8)
    squares = calibrate(model, load_arch(arch), images)
    output = calibrate(model, load_arch(arch), images, "least_output_error")
    moved = 0
    for name, first in squares.filters.items():
        exact, errors = _ofmap(model, name, images), {}
        for fsr in range(first.fsr - 2, first.fsr + 3):
            own = model.parameters[name]
            coded = Parameters(_coded(own.filter, first.model_copy(update={"fsr": fsr})), own.bias)
            errors[fsr] = float(np.square(_ofmap(model, name, images, **{name: coded}) - exact, dtype=float).sum())
        chosen = output.filters[name].fsr
        moved += chosen != first.fsr
        assert errors[chosen] == pytest.approx(min(errors.values()), rel=1e-5)
    errors = {}
    for fsr in range(squares.tensors[INPUT].fsr - 2, squares.tensors[INPUT].fsr + 3):
        coded_images = _coded(images, squares.tensors[INPUT].model_copy(update={"fsr": fsr}))
        errors[fsr] = np.square(_ofmap(model, "stem", coded_images) - _ofmap(model, "stem", images), dtype=float).sum()
    chosen = output.tensors[INPUT].fsr
    moved += chosen != squares.tensors[INPUT].fsr
    assert errors[chosen] == pytest.approx(min(errors.values()), rel=1e-5)
    assert moved or not moves  # otherwise nothing is told apart here
    assert output.tensors["fc"] == squares.tensors["fc"]  # no layer reads it
    sets = format_sets(model.graph)
    assert all(output.tensors[name] == output.tensors[own] for name, own in sets.items())


def test_a_tensor_that_is_ifmap_and_residual_is_coded_for_both(tmp_path: Path) -> None:
    model, images = residual_net(tmp_path), normal(2, 4, 9, 8)
    candidates = [LogWord(bits=3).at(fsr, False) for fsr in (1, 3)]
    errors, _ = output_errors(model, images, {"stem": candidates}, {}, {})
    layer = next(layer for layer in model.graph.layers if layer.name == "d")
    stem, exact = _ofmap(model, "stem", images), _ofmap(model, "d", images)
    for chosen, error in zip(candidates, errors["stem"], strict=True):
        coded = float_layer(layer, model.parameters["d"], *[_coded(stem, chosen)] * 2)
        wanted = np.square(exact - coded, dtype=float).sum() / np.square(exact, dtype=float).sum()
        assert error == pytest.approx(wanted, rel=1e-4)


def sums_net(folder: Path) -> Model:
    """A network whose output is a layer's sum with a residual, without a ReLU."""
    nodes = [STEM, *AFTER["residual"][:2], helper.make_node("Add", ["d", "r"], ["y"], name="s")]
    used = {name for node in nodes for name in node.input}
    return load_onnx(save(folder / "net.onnx", nodes, {key: CONSTANTS[key] for key in CONSTANTS if key in used}))


@pytest.mark.parametrize("network", [residual_net, sums_net])
def test_corrected_biases_take_mean_errors_back(network: Callable[[Path], Model], tmp_path: Path) -> None:
    model, images, arch = network(tmp_path), normal(8, 4, 9, 8), load_arch("shift_3b_16x16")
    plain, last = calibrate(model, arch, images), model.graph.nodes[-1]
    wide = plain.tensors[last.name].model_copy(update={"fsr": plain.tensors[last.name].fsr + 4})  # nothing saturates
    plain = replace(plain, tensors=plain.tensors | {last.name: wide})
    corrected = replace(plain, biases=corrected_biases(model, arch, plain, images))
    exact = [value for _, value in run_float(model, images)][-1]
    errors = [
        (decode(run_graph(GraphRun(model, arch, own), images), wide) - exact).mean(axis=(0, *range(2, exact.ndim)))
        for own in (plain, corrected)
    ]
    psum = arch.pe.datapath(plain.tensors[last.inputs[0]], plain.filters[last.name]).lsb_exponent
    # Half an LSB of the bias word and half one of each 16-bit value, and what float32 sums leave.
    bound = 2.0 ** (psum - 1) + 2.0 ** (wide.fsr - 15 - 1) + 1e-5
    assert np.abs(errors[1]).max() <= bound < np.abs(errors[0]).max() / 4


def convex(draw: Any) -> list[float]:
    steps = sorted(draw(st.lists(st.integers(1, 1000), min_size=len(BITS) - 1, max_size=len(BITS) - 1)), reverse=True)
    errors = [sum(steps) + 1]
    for step in steps:
        errors.append(errors[-1] - step)
    return [float(error) for error in errors]


@st.composite
def equal_choices(draw: Any) -> list[Choice]:
    """Tensors of one size whose errors fall ever more slowly: there the greedy search is optimal."""
    count = draw(st.integers(1, 3))
    return [
        Choice(
            str(index),
            10,
            tuple((LinearWord(bits=bits), error) for bits, error in zip(BITS, convex(draw), strict=True)),
        )
        for index in range(count)
    ]


@given(equal_choices(), st.floats(2, 9))
def test_greedy_search_finds_the_optimum_where_it_must(choices: list[Choice], bits: float) -> None:
    chosen = within_budget(choices, bits, "weight_bits")
    limit = bits * 10 * len(choices)
    best = min(
        sum(error for _, error in options)
        for options in product(*(choice.options for choice in choices))
        if sum(10 * word.bits for word, _ in options) <= limit
    )
    assert sum(10 * word.bits for word in chosen.values()) <= limit
    assert sum(dict(choice.options)[chosen[choice.name]] for choice in choices) == best


@given(
    st.lists(
        st.tuples(st.integers(1, 50), st.dictionaries(st.sampled_from(BITS), st.integers(0, 1000), min_size=1)),
        min_size=1, max_size=4,
    ),
    st.floats(2, 9),
)  # fmt: skip
def test_budget_holds_and_no_single_word_does_better(sizes: list[tuple[int, dict[int, int]]], bits: float) -> None:
    choices = []
    for index, (size, errors) in enumerate(sizes):
        options: list[Any] = []
        for width in sorted(errors):
            if not options or errors[width] < options[-1][1]:
                options.append((LinearWord(bits=width), float(errors[width])))
        choices.append(Choice(str(index), size, tuple(options)))
    limit = bits * sum(choice.values for choice in choices)
    least = sum(choice.values * choice.options[0][0].bits for choice in choices)
    if least > limit:
        with pytest.raises(ConfigError, match=r"activation_bits must be at least [\d.]+, the fewest that are legal"):
            within_budget(choices, bits, "activation_bits")
        return
    chosen = within_budget(choices, bits, "activation_bits")
    used = sum(choice.values * chosen[choice.name].bits for choice in choices)
    error = sum(dict(choice.options)[chosen[choice.name]] for choice in choices)
    assert used <= limit
    for width in BITS:
        same = {choice.name: [option for option in choice.options if option[0].bits <= width] for choice in choices}
        if all(same.values()) and sum(choice.values * same[choice.name][-1][0].bits for choice in choices) <= limit:
            assert error <= sum(options[-1][1] for options in same.values())


@pytest.mark.parametrize("budgets", [(4.25, 3.5), (8.0, 8.0)], ids=str)
@pytest.mark.parametrize(
    "arch", ["shift_4b_16x16", "decode_4b_16x16", "multiply_8b_16x16", "logsum_4b_16x16", "shift_4b_first_linear_16x16"]
)
def test_words_within_a_budget_are_legal_and_counted(arch: str, budgets: tuple[float, float], tmp_path: Path) -> None:
    model, images, unit = residual_net(tmp_path), normal(2, 4, 9, 8), load_arch(arch)
    formats = calibrate(model, unit, images, Calibration(weight_bits=budgets[0], activation_bits=budgets[1]))
    chosen = formats.architecture(unit)  # refuses what no hardware can do
    GraphRun(model, unit, formats)
    nodes = model.graph.layer_nodes
    weights = [(formats.filters[node.name].bits, model.parameters[node.name].filter.size) for node in nodes]
    values = [(formats.tensors[n.inputs[0]].bits, np.prod(model.graph.shapes[n.inputs[0]])) for n in nodes]
    for spent, budget in zip((weights, values), budgets, strict=True):
        assert sum(bits * count for bits, count in spent) / sum(count for _, count in spent) <= budget
    assert budgets[0] == 8 or len({bits for bits, _ in weights}) > 1
    for index, node in enumerate(nodes):
        own, before = (part.for_layer(node.name, index, 3) for part in (chosen, unit))
        assert (own.activation.kind, own.weight.kind) == (before.activation.kind, before.weight.kind)
        needs = []
        for view in (own, before):
            path = view.pe.datapath(view.activation.at(0, False), view.weight.at(0, True))
            needs.append(path.exact_acc_bits(node.layer.matrix(1).reduction))
        assert needs[0] <= max(before.pe.acc_bits, needs[1])
    with pytest.raises(ConfigError, match=r"calibration: weight_bits must be at least 2\.000, the fewest .*, got 1.5"):
        calibrate(model, unit, images, Calibration(weight_bits=1.5))


def test_a_whole_calibration_survives_its_file(tmp_path: Path) -> None:
    model, images, arch = uneven(residual_net(tmp_path)), normal(2, 4, 9, 8), load_arch("shift_4b_16x16")
    formats = calibrate(model, arch, images, EVERYTHING)
    assert formats.layers and formats.scales and formats.biases
    save_formats(formats, model.name, tmp_path / "f.yaml")
    assert load_formats(tmp_path / "f.yaml") == formats
    text = (tmp_path / "f.yaml").read_text()
    for old, new, message in (
        ("scales:\n", "scales:\n  gone: [1]\n", "formats: scales gone: net has no layer of that name"),
        ("biases:\n", "biases:\n  gone: [1]\n", "formats: biases gone: net has no layer of that name"),
        ("scales:\n  stem: [", "scales:\n  stem: [0, ", "scales stem: must be 6 numbers, one an ofmap channel, got 7"),
        ("scales:\n  stem: [", "scales:\n  stem: [16, ", "scales.stem.0: must be at most 15, got 16"),
        ("biases:\n  stem: [", "biases:\n  stem: [.nan, ", r"biases.stem.0: .*finite"),
        ("layers:\n", "layers:\n  gone: {weight: {kind: linear, bits: 3}}\n", "layers.gone: no layer of that name"),
        ("layers:\n", "layers:\n  last: {weight: {kind: log, bits: 3}}\n", "a shift PE takes one log operand"),
    ):  # fmt: skip
        assert old in text
        (tmp_path / "g.yaml").write_text(text.replace(old, new, 1))
        with pytest.raises(ConfigError, match=message):
            GraphRun(model, arch, load_formats(tmp_path / "g.yaml"))


def test_wrong_settings_are_refused() -> None:
    for settings, message in (
        ({"method": "best"}, "method must be one of max, percentile, least_squares, least_output_error, got 'best'"),
        ({"channel_scales": "all"}, "channel_scales must be one of none, weights, batch_norm, next_weights, got 'all'"),
        ({"weight_bits": 0.5}, "weight_bits must be 1 … 32 bits, got 0.5"),
        ({"percentile": 10.0}, "percentile must be 50 … 100, got 10.0"),
    ):
        with pytest.raises(ConfigError, match=f"calibration: {message}"):
            Calibration(**settings)  # type: ignore[arg-type]
