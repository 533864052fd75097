"""Powers of two that the next filters take back: the same function, the same codes as plain integers, the choice."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import command_line
import graph_cases
import graph_oracle
import numpy as np
import pytest
from graph_cases import AFTER, CONSTANTS, STEM, helper, normal, residual_net, save
from hypothesis import given, settings
from hypothesis import strategies as st
from test_random_graphs import grown

from logaccel import load_arch
from logaccel.errors import ConfigError
from logaccel.evaluation import Calibration, GraphRun, calibrate, load_formats, run_graph, save_formats
from logaccel.evaluation.balance import REACH, Balance, Operands, choose_next_scales
from logaccel.evaluation.channel_ties import FIXED, NONE, channel_ties
from logaccel.evaluation.equalised import equalised
from logaccel.evaluation.formats import GraphFormats
from logaccel.evaluation.next_scales import rescaled
from logaccel.formats.encode import decode, encode
from logaccel.model.model import Model, Parameters
from logaccel.model.onnx_import import load_onnx
from logaccel.model.reference import run_float
from logaccel.workload.graph import LayerNode

ARCH = "multiply_4b_16x16"


@pytest.fixture(autouse=True)
def same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the same numbers whichever tests ran before."""
    monkeypatch.setattr(graph_cases, "RNG", np.random.default_rng(11))


def network(folder: Path, *nodes: Any, **constants: np.ndarray) -> Model:
    used = {name for node in nodes for name in node.input}
    known = {**CONSTANTS, **constants}
    return load_onnx(save(folder / "net.onnx", nodes, {key: known[key] for key in known if key in used}))


def drawn(model: Model, seed: int) -> dict[str, tuple[int, ...]]:
    """Return scales of every channel that may have one."""
    ties = channel_ties(model.graph)
    exponents = np.random.default_rng(seed).choice([-5, -4, -3, -2, -1, 1, 2, 3, 4, 5], ties.count)
    exponents[FIXED] = 0
    return {name: tuple(exponents[made].tolist()) for name, made in ties.made.items()}


def check_same_function(model: Model, images: np.ndarray, seed: int) -> int:
    """Hold every layer's tensor against 2^s times the trained one; return how many channels had an s that is not 0."""
    scales = drawn(model, seed)
    pairs = zip(run_float(model, images), run_float(rescaled(model, scales), images), strict=True)
    for (node, value), (_, other) in pairs:
        if node.name in scales:
            turned = np.array(scales[node.name]).reshape(-1, *[1] * (value.ndim - 2))
            assert np.array_equal(other, np.ldexp(value, turned)), node.name
        if node.name == model.graph.output:
            assert np.array_equal(other, value)
    return sum(map(np.count_nonzero, scales.values()))


def test_random_networks_compute_the_same_bits(tmp_path: Path) -> None:
    moved = []

    @given(st.data())
    @settings(max_examples=100)
    def check(data: st.DataObject) -> None:
        _, model, images = grown(data, tmp_path, data.draw(st.integers(0, 8)), quantized=False)
        moved.append(check_same_function(model, images, len(moved)))

    check()
    assert sum(count > 0 for count in moved) > 20  # the others end in their only layer


def test_channels_are_followed_through_a_residual_pools_concat_and_flatten(tmp_path: Path) -> None:
    model = residual_net(tmp_path)
    ties = channel_ties(model.graph)
    stem = ties.made["stem"]
    assert len(set(stem.tolist())) == 6 and FIXED not in stem
    assert ties.made["d"].tolist() == ties.read["d"].tolist() == stem.tolist()  # d adds the stem to itself
    assert ties.read["stem"].tolist() == [FIXED] * 4 and ties.made["fc"].tolist() == [FIXED] * 7
    assert ties.read["fc"].tolist() == np.repeat([*stem, *stem], 6).tolist()  # 12 maps of 3 × 2
    assert check_same_function(model, normal(2, 4, 9, 8), 1) == 12


CONV = helper.make_node("Conv", ["p", "g2"], ["y"], name="last")
FREE = {
    "leaky": helper.make_node("LeakyRelu", ["c"], ["p"], name="n", alpha=0.2),
    "average": helper.make_node(
        "AveragePool", ["c"], ["p"], name="n", kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1
    ),
    "pad": helper.make_node("Pad", ["c", "space"], ["p"], name="n"),
}
BOUND = {
    "relu6": helper.make_node("Clip", ["c", "zero", "six"], ["p"], name="n"),
    "lrn": helper.make_node("LRN", ["c"], ["p"], name="n", size=3, alpha=0.3, beta=0.6, bias=1.5),
    "input": helper.make_node("Add", ["c", "wide"], ["p"], name="n"),
}


@pytest.mark.parametrize("name", [*FREE, *BOUND])
def test_what_lets_a_power_of_two_through(name: str, tmp_path: Path) -> None:
    space = {"space": np.array([0, 0, 1, 0, 0, 0, 0, 1])}
    if name == "input":  # a term that no layer makes
        wide = helper.make_node("Concat", ["x", "x"], ["twice"], name="t", axis=1)
        cut = helper.make_node("Slice", ["twice", "zeros", "sixes", "ones"], ["wide"], name="u")
        limits = {"zeros": np.array([0]), "sixes": np.array([6]), "ones": np.array([1])}
        model = network(tmp_path, wide, cut, STEM, BOUND[name], CONV, **limits)
    else:
        model = network(tmp_path, STEM, (FREE | BOUND)[name], CONV, **space)
    made = channel_ties(model.graph).made["stem"]
    assert len(set(made.tolist())) == (6 if name in FREE else 1) and (FIXED in made) == (name in BOUND)
    assert check_same_function(model, normal(2, 4, 9, 8), 2) == (6 if name in FREE else 0)


def test_groups_read_their_own_channels_and_zeros_have_no_tie(tmp_path: Path) -> None:
    pad = helper.make_node("Pad", ["c", "room"], ["q"], name="q")
    deep = helper.make_node("Conv", ["q", "deep"], ["y"], name="n", group=4, pads=[0, 1, 0, 0])
    deep_w = normal(8, 2, 3, 2)
    model = network(tmp_path, STEM, pad, deep, room=np.array([0, 1, 0, 0, 0, 1, 0, 0]), deep=deep_w)
    ties = channel_ties(model.graph)
    assert ties.read["n"].tolist() == [NONE, *ties.made["stem"], NONE]
    assert check_same_function(model, normal(2, 4, 9, 8), 3) == 6
    scales = (1, -2, 3, 0, 4, -5)
    changed, reads = rescaled(model, {"stem": scales}).parameters["n"].filter, (0, *scales, 0)
    for m, c in product(range(8), range(2)):
        assert np.array_equal(changed[m, c], deep_w[m, c] * 2.0 ** -reads[m // 2 * 2 + c])


@pytest.mark.parametrize("arch", ["multiply_8b_16x16", "shift_4b_16x16"])
def test_codes_are_those_of_filters_rescaled_by_hand(arch: str, tmp_path: Path) -> None:
    model, images, unit = residual_net(tmp_path), normal(1, 4, 9, 8), load_arch(arch)
    scales = (2, -1, 0, 3, 1, -2)
    of_maps = np.repeat([*scales, *scales], 6)
    by_hand = {}
    for name, own in model.parameters.items():
        weights, bias = own.filter.copy(), own.bias.copy()
        for m in range(len(weights)):
            made = 0 if name == "fc" else scales[m]
            bias[m] *= 2.0**made
            for c in range(weights.shape[1]):
                weights[m, c] *= 2.0 ** (made - {"stem": 0, "d": scales[c % 6], "fc": of_maps[c % 72]}[name])
        by_hand[name] = Parameters(weights, bias)
    formats = calibrate(replace(model, parameters=by_hand), unit, images)
    run = GraphRun(model, unit, replace(formats, next_scales={"stem": scales, "d": scales}))
    wanted = graph_oracle.run_graph(
        SimpleNamespace(
            formats=formats, model=replace(model, parameters=by_hand), archs=run.archs, arch=run.arch
        ), images,
    )  # fmt: skip
    for done in run.run(images):
        assert done.codes.tolist() == wanted[done.node.name].tolist(), done.node
    assert len(np.unique(done.codes)) > 4


@given(st.data())
@settings(max_examples=15)
def test_random_networks_balanced_are_those_of_plain_integers(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    _, model, images = grown(data, tmp_path_factory.getbasetemp(), data.draw(st.integers(0, 5)), quantized=True)
    arch = load_arch(data.draw(st.sampled_from(["shift_4b_16x16", ARCH])))
    chosen = calibrate(model, arch, images, Calibration(channel_scales="next_weights"))
    run = GraphRun(model, arch, chosen)
    codes = graph_oracle.run_graph(run, images)
    for done in run.run(images):
        assert done.codes.tolist() == codes[done.node.name].tolist(), done.node
    assert run_graph(run, images).tolist() == codes[model.graph.output].tolist()


def uneven(model: Model, seed: int = 4) -> Model:
    """Return the same function with channels of very different sizes."""
    return rescaled(model, drawn(model, seed))


def brute_error(model: Model, formats: GraphFormats, images: np.ndarray, exponents: np.ndarray) -> float:
    """Return the error that `balance.py` defines, weight by weight."""
    ties, values, total = channel_ties(model.graph), {"input": images}, 0.0
    values |= {node.name: value for node, value in run_float(model, images)}

    def missed(numbers: np.ndarray, s: int, word: Any) -> np.ndarray:
        scaled = numbers.astype(float) * 2.0**s
        return ((decode(encode(scaled, word), word) - scaled) / 2.0**s) ** 2

    for node in model.graph.layer_nodes:
        name, layer, weights = node.name, node.layer, model.parameters[node.name].filter
        ifmap, ofmap, error, depth = values[node.inputs[0]], values[name], 0.0, weights.shape[1]
        for m in range(layer.out_channels):
            made = int(exponents[ties.made[name][m]])
            for c in range(depth):
                place = m // (layer.out_channels // layer.groups) * depth + c
                read = int(exponents[ties.read[name][place]])
                x, w = ifmap[:, place], weights[m, c]
                error += missed(x, read, formats.tensors[node.inputs[0]]).mean() * (w.astype(float) ** 2).sum()
                error += missed(w, made - read, formats.filters[name]).sum() * (x.astype(float) ** 2).mean()
            for residual in node.inputs[1:]:
                error += missed(values[residual][:, m], made, formats.tensors[residual]).mean()
        energy = sum((ofmap[:, m].astype(float) ** 2).mean() for m in range(layer.out_channels))
        total += error / energy
    return total


@pytest.mark.parametrize("arch", [ARCH, "shift_3b_16x16"])
def test_no_tie_alone_can_lower_the_error(arch: str, tmp_path: Path) -> None:
    model, images = uneven(residual_net(tmp_path)), normal(1, 4, 9, 8)
    formats = calibrate(model, load_arch(arch), images)
    balance = Balance(Operands(model, images), formats, {})
    before = balance.total()
    assert before == pytest.approx(brute_error(model, formats, images, balance.exponents), rel=1e-6)
    assert balance.settle() and not balance.sweep()
    least = balance.total()
    assert least == pytest.approx(brute_error(model, formats, images, balance.exponents), rel=1e-6)
    assert least < before
    for tie, step in product(balance.blocks, (-2, -1, 1, 2)):
        other = balance.exponents.copy()
        other[tie] += step
        if abs(other[tie]) <= REACH:
            assert brute_error(model, formats, images, other) >= least * (1 - 1e-9)


def test_uneven_channels_are_evened(tmp_path: Path) -> None:
    even, images, arch = residual_net(tmp_path), normal(4, 4, 9, 8), load_arch(ARCH)
    model, exact = uneven(even), [value for _, value in run_float(even, images)][-1]
    misses = []
    for of_model, kind in ((even, "none"), (model, "none"), (model, "next_weights")):
        formats = calibrate(of_model, arch, images, Calibration(channel_scales=kind))  # type: ignore[arg-type]
        made = decode(run_graph(GraphRun(of_model, arch, formats), images), formats.tensors["fc"])
        misses.append(float(np.square(made - exact).sum()))
    assert misses[2] < 1.2 * misses[0] < misses[1] / 4
    # Evening out goes from anywhere to nearly the same place: what is left is the rounding of powers of two.
    ties = channel_ties(model.graph)
    began = np.array(drawn(even, 4)["stem"])
    ends = [equalised(own, ties, 15)[ties.made["stem"]] for own in (even, model)]
    assert np.ptp(ends[0] - (ends[1] + began)) <= 1


def test_choice_is_never_worse_than_none_at_its_own_ranges(tmp_path: Path) -> None:
    model, images, arch = residual_net(tmp_path), normal(2, 4, 9, 8), load_arch(ARCH)
    plain, scales = Balance(Operands(model, images), calibrate(model, arch, images), {}), {}

    def ranges(made: Model) -> GraphFormats:
        return calibrate(made, arch, images)

    scales = choose_next_scales(model, images, ranges)
    end = Balance(Operands(model, images), ranges(rescaled(model, scales)), scales)
    assert end.total() < plain.total()


def test_scales_survive_their_file_and_others_are_refused(tmp_path: Path) -> None:
    model, images, arch = uneven(residual_net(tmp_path)), normal(2, 4, 9, 8), load_arch(ARCH)
    formats = calibrate(model, arch, images, Calibration(channel_scales="next_weights", correct_bias=True))
    assert formats.next_scales and not formats.scales
    save_formats(formats, model.name, tmp_path / "f.yaml")
    text = (tmp_path / "f.yaml").read_text()
    again = load_formats(tmp_path / "f.yaml")
    assert again == formats and "next_scales:\n  stem: [" in text
    codes = [run_graph(GraphRun(model, arch, own), images) for own in (formats, again)]
    assert np.array_equal(*codes)
    without = run_graph(GraphRun(model, arch, replace(formats, next_scales={})), images)
    assert not np.array_equal(codes[0], without)
    stem, reason = formats.next_scales["stem"], "to which it is added or with which it shares a weight"
    for scales, message in (
        ({"gone": (1,)}, "formats: next_scales gone: net has no layer of that name"),
        ({"stem": stem[1:]}, "formats: next_scales stem: must be 6 numbers, one an ofmap channel, got 5"),
        (
            {"stem": (1,) * 6, "d": (1, 1, 2, 1, 1, 1)},
            f"formats: next_scales d: channel 2: must be 1, as in stem channel 2, {reason}, got 2",
        ),
        (
            {"fc": (0, 3, 0, 0, 0, 0, 0)},
            "formats: next_scales fc: channel 1: must be 0: it reaches the output, a limit, LRN or softmax, "
            "or is added to what has no scale, got 3",
        ),
    ):
        with pytest.raises(ConfigError) as refused:
            GraphRun(model, arch, replace(formats, next_scales=scales))
        assert str(refused.value) == message
    (tmp_path / "g.yaml").write_text(text.replace("next_scales:\n  stem: [", "next_scales:\n  stem: [32, "))
    with pytest.raises(ConfigError, match=r"next_scales\.stem\.0: must be at most 31, got 32"):
        load_formats(tmp_path / "g.yaml")


def test_the_command_line_writes_and_takes_them_again(tmp_path: Path) -> None:
    network, images = tmp_path / "net.onnx", tmp_path / "images.npy"
    model, values, formats = residual_net(tmp_path), normal(3, 4, 9, 8), tmp_path / "f.yaml"
    np.save(images, values)
    how = ("--arch", ARCH, "--channel-scales", "next_weights")
    done = command_line.run("calibrate", network, images, "-o", formats, *how)
    chosen = calibrate(model, load_arch(ARCH), values, Calibration(channel_scales="next_weights"))
    assert done.returncode == 0 and load_formats(formats) == chosen and chosen.next_scales
    moved = [s for own in chosen.next_scales.values() for s in own]
    told = f"{np.count_nonzero(moved)} channels, s = {min(moved)} … {max(moved)}"
    assert f"powers of two taken back in the next filters: {told}\n" in done.stdout
    told = []
    for part in (("--formats", formats), how[2:]):
        done = command_line.run("evaluate", network, images, "--arch", ARCH, "--json", *part)
        assert done.returncode == 0
        told.append(json.loads(done.stdout))
    assert [own.pop("formats_origin").partition(", ")[2] for own in told] == [
        "from f.yaml", "least_squares, channel scales next_weights on 3 images of those evaluated",
    ]  # fmt: skip
    assert told[0] == told[1]


def test_weights_that_leave_float32_are_refused(tmp_path: Path) -> None:
    model = residual_net(tmp_path)
    stem = Parameters(np.full((6, 4, 3, 3), 1e38, np.float32), np.zeros(6, np.float32))
    huge = replace(model, parameters={**model.parameters, "stem": stem})
    with pytest.raises(ConfigError, match="formats: next_scales stem: weights leave float32"):
        rescaled(huge, {"stem": (9,) * 6, "d": (9,) * 6})


def test_corrected_biases_are_in_the_units_of_the_trained_model(tmp_path: Path) -> None:
    """Where hardly anything errs, hardly anything is corrected, whatever the channels are multiplied by."""
    model, images, arch = residual_net(tmp_path), normal(4, 4, 9, 8), load_arch("multiply_16b_16x16")
    formats = calibrate(uneven(model), arch, images, Calibration(channel_scales="next_weights", correct_bias=True))
    assert formats.next_scales
    for node, value in run_float(uneven(model), images):
        if isinstance(node, LayerNode):
            sizes = np.abs(value).max(axis=tuple(axis for axis in range(value.ndim) if axis != 1))
            own = uneven(model).parameters[node.name].bias
            assert (np.abs(np.array(formats.biases[node.name]) - own) < 1e-3 * sizes).all(), node.name


def test_a_network_of_one_layer_keeps_its_scales(tmp_path: Path) -> None:
    model = network(tmp_path, STEM, AFTER["relu"][0])
    assert all(isinstance(node, LayerNode) for node in model.graph.nodes)
    formats = calibrate(model, load_arch(ARCH), normal(1, 4, 9, 8), Calibration(channel_scales="next_weights"))
    assert formats.next_scales == {} and rescaled(model, {}) is model
