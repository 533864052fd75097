"""Trained networks: import against onnxruntime, codes against plain integers and the register-level engine."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest

from logaccel.arch import load_arch
from logaccel.errors import ConfigError, LogaccelError, TraceError, WorkloadError
from logaccel.evaluation import GraphRun, calibrate, evaluate, load_formats, save_formats
from logaccel.evaluation.lane import add_residual, average, reciprocal, words_of
from logaccel.formats import LinearWord, LogWord
from logaccel.model.model import Model
from logaccel.model.onnx_import import load_onnx
from logaccel.model.reference import run_float
from logaccel.workload import load_network
from logaccel.workload.graph import LayerNode, Pool, chain_graph
from logaccel.workload.network import network_of

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
RNG = np.random.default_rng(7)


def save(
    path: Path, nodes: Sequence[Any], constants: dict[str, np.ndarray], shape: Sequence[Any] = (1, 4, 9, 8)
) -> Path:
    """Write a network from `x` to `y`."""
    graph = helper.make_graph(
        list(nodes), "net",
        [helper.make_tensor_value_info("x", 1, list(shape))], [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


STEM = helper.make_node("Conv", ["x", "w"], ["c"], name="stem", pads=[1, 1, 1, 1])
STEM_W = {"w": normal(6, 4, 3, 3)}
AFTER = {
    "relu": [helper.make_node("Relu", ["c"], ["y"], name="n")],
    "relu6": [helper.make_node("Clip", ["c", "zero", "six"], ["y"], name="n")],
    "leaky": [helper.make_node("LeakyRelu", ["c"], ["y"], name="n", alpha=0.2)],
    "lrn": [helper.make_node("LRN", ["c"], ["y"], name="n", size=5, alpha=0.3, beta=0.6, bias=1.5)],
    "softmax": [helper.make_node("Softmax", ["c"], ["y"], name="n", axis=1)],
    "maxpool": [
        helper.make_node("MaxPool", ["c"], ["y"], name="n", kernel_shape=[3, 2], strides=[2, 3], pads=[1, 0, 0, 1])
    ],
    "maxpool ceil": [
        helper.make_node("MaxPool", ["c"], ["y"], name="n", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    ],
    "average": [
        helper.make_node("AveragePool", ["c"], ["y"], name="n", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    ],
    "average with padding": [
        helper.make_node(
            "AveragePool", ["c"], ["y"], name="n", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1
        )
    ],
    "global": [helper.make_node("GlobalAveragePool", ["c"], ["y"], name="n")],
    "transpose": [helper.make_node("Transpose", ["c"], ["y"], name="n", perm=[0, 2, 3, 1])],
    "slice": [helper.make_node("Slice", ["c", "starts", "ends", "axes", "steps"], ["y"], name="n")],
    "pad": [helper.make_node("Pad", ["c", "pads"], ["y"], name="n")],
    "grouped": [helper.make_node("Conv", ["c", "g"], ["y"], name="n", group=3, dilations=[2, 1], pads=[0, 1, 2, 0])],
    "batch norm": [helper.make_node("BatchNormalization", ["c", "a", "b", "m", "v"], ["y"], name="n", epsilon=1e-3)],
    "batch norm after relu": [
        helper.make_node("Relu", ["c"], ["r"], name="r"),
        helper.make_node("BatchNormalization", ["r", "a", "b", "m", "v"], ["y"], name="n"),
    ],
    "residual": [
        helper.make_node("Relu", ["c"], ["r"], name="r"),
        helper.make_node("Conv", ["r", "g2"], ["d"], name="d", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["d", "a", "b", "m", "v"], ["e"], name="e"),
        helper.make_node("Add", ["e", "r"], ["s"], name="s"),
        helper.make_node("Relu", ["s"], ["y"], name="n"),
    ],
    "concat": [
        helper.make_node("Relu", ["c"], ["r"], name="r"),
        helper.make_node("Concat", ["c", "r", "x"], ["y"], name="n", axis=1),
    ],
    "gemm": [
        helper.make_node("Flatten", ["c"], ["f"], name="f"),
        helper.make_node("Gemm", ["f", "fc", "fb"], ["y"], name="n", transB=1, alpha=0.5, beta=2.0),
    ],
    "matmul": [
        helper.make_node("Reshape", ["c", "shape"], ["f"], name="f"),
        helper.make_node("Dropout", ["f"], ["f2"], name="drop"),
        helper.make_node("MatMul", ["f2", "fct"], ["h"], name="h"),
        helper.make_node("Add", ["h", "fb"], ["y"], name="n"),
    ],
}
CONSTANTS = {
    **STEM_W, "zero": np.float32(0), "six": np.float32(1), "starts": np.array([0, 1]), "ends": np.array([5, 2**62]),
    "axes": np.array([1, 3]), "steps": np.array([2, 3]), "pads": np.array([0, 1, 2, 0, 0, 3, 0, 1]),
    "g": normal(6, 2, 3, 2), "g2": normal(6, 6, 3, 3), "a": normal(6), "b": normal(6), "m": normal(6),
    "v": np.abs(normal(6)) + np.float32(0.1), "fc": normal(5, 432), "fct": normal(432, 5), "fb": normal(5),
    "shape": np.array([1, -1]),
}  # fmt: skip


@pytest.mark.parametrize("case", AFTER)
def test_float_path_equals_onnxruntime(case: str, tmp_path: Path) -> None:
    used = {name for node in (STEM, *AFTER[case]) for name in node.input}
    path = save(tmp_path / "net.onnx", [STEM, *AFTER[case]], {k: v for k, v in CONSTANTS.items() if k in used})
    model, images = load_onnx(path), normal(1, 4, 9, 8)
    expected = ort.InferenceSession(str(path)).run(None, {"x": images})[0]
    result = {node.name: value for node, value in run_float(model, images)}[model.graph.output]
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_lane_takes_residual_batch_norm_and_relu(tmp_path: Path) -> None:
    model = load_onnx(save(tmp_path / "net.onnx", [STEM, *AFTER["residual"]], CONSTANTS))
    assert [(node.name, node.inputs) for node in model.graph.nodes] == [("stem", ("input",)), ("d", ("stem", "stem"))]
    assert all(isinstance(node, LayerNode) and node.layer.relu for node in model.graph.nodes)


def test_every_unsupported_operator_is_named(tmp_path: Path) -> None:
    nodes = [
        STEM, helper.make_node("Sin", ["c"], ["d"], name="wave"), helper.make_node("Relu", ["d"], ["e"], name="r"),
        helper.make_node("Erf", ["e"], ["y"], name="bell"),
    ]  # fmt: skip
    path = save(tmp_path / "net.onnx", nodes, STEM_W)
    with pytest.raises(WorkloadError) as caught:
        load_onnx(path)
    assert str(caught.value).splitlines() == [
        f"{path}: node wave (Sin): operator is not supported",
        f"{path}: node bell (Erf): operator is not supported",
    ]


def test_open_sizes_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx", [STEM, *AFTER["relu"]], STEM_W, ("n", 4, "h", 8))
    with pytest.raises(WorkloadError, match="input x: axis 2 must be a fixed size, got 'h'"):
        load_onnx(path)


def test_damaged_files_are_errors_never_crashes(tmp_path: Path) -> None:
    whole = save(tmp_path / "net.onnx", [STEM, *AFTER["residual"]], CONSTANTS).read_bytes()
    rng, refused = np.random.default_rng(5), 0
    for trial in range(150):
        damaged = bytearray(whole[: int(rng.integers(0, len(whole)))] if trial % 3 == 0 else whole)
        for _ in range(int(rng.integers(1, 12))):
            if damaged:
                place = int(rng.integers(0, len(damaged)))
                damaged[place] = int(rng.integers(0, 256))
        path = tmp_path / "damaged.onnx"
        path.write_bytes(bytes(damaged))
        try:
            load_onnx(path)
        except LogaccelError as error:
            refused += bool(str(error))
    assert refused > 40  # flipped bits of a weight are weights: not every damage can be seen


def residual_net(folder: Path) -> Model:
    nodes = [
        STEM, *AFTER["residual"][:-1],
        helper.make_node("Relu", ["s"], ["t"], name="t"),
        helper.make_node("AveragePool", ["t"], ["p"], name="p", kernel_shape=[3, 3], strides=[3, 3]),
        helper.make_node("MaxPool", ["t"], ["q"], name="q", kernel_shape=[3, 3], strides=[3, 3]),
        helper.make_node("Concat", ["p", "q"], ["cc"], name="cc", axis=1),
        helper.make_node("Flatten", ["cc"], ["f"], name="f"),
        helper.make_node("Gemm", ["f", "last"], ["y"], name="fc", transB=1),
    ]  # fmt: skip
    return load_onnx(save(folder / "net.onnx", nodes, {**CONSTANTS, "last": normal(7, 72)}))


@pytest.mark.parametrize("arch", ["shift_4b_16x16", "decode_4b_sqrt2_constant_16x16", "multiply_8b_16x16"])
def test_chain_equals_the_register_level_engine_and_plain_integers(arch: str, tmp_path: Path) -> None:
    model, images = residual_net(tmp_path), normal(2, 4, 9, 8)
    formats = calibrate(model, load_arch(arch), images)
    fast = list(GraphRun(model, load_arch(arch), formats).run(images))
    slow = list(GraphRun(model, load_arch(arch), formats, engine="register", backend="kernel").run(images))
    for left, right in zip(fast, slow, strict=True):
        assert np.array_equal(left.codes, right.codes), left.node.name
        if left.array is not None and right.array is not None:
            assert left.array.clipped == right.array.clipped and left.array.array_cycles == right.array.array_cycles
    by_name = {done.node.name: done for done in fast}
    node = by_name["d"].node
    assert isinstance(node, LayerNode)
    unit, source, own = load_arch(arch), formats.tensors["stem"], formats.tensors["d"]
    filters = [[[[oracle.encode(float(v), formats.filters["d"]) for v in r] for r in c] for c in m]
               for m in model.parameters["d"].filter]  # fmt: skip
    ifmap = by_name["stem"].codes
    sums = oracle.run_layer(node.layer, unit.pe, source, formats.filters["d"], ifmap.tolist(), filters)
    lsb = unit.pe.datapath(source, formats.filters["d"]).lsb_exponent
    residual, fine = words_of(ifmap, source)
    low = min(lsb, fine)
    for index, row in enumerate(sums.psum):
        n, (p, q) = index // 72, divmod(index % 72, 8)
        for m, psum in enumerate(row):
            total = psum + oracle.round_away(Fraction(float(model.parameters["d"].bias[m])) / oracle.power_of_two(lsb))
            total = max(total * 2 ** (lsb - low) + int(residual[n, m, p, q]) * 2 ** (fine - low), 0)
            assert by_name["d"].codes[n, m, p, q] == oracle.hardware_encode(total, low, own, unit.post.round_bits)


@pytest.mark.parametrize("word", [LinearWord(bits=8), LogWord(bits=4), LogWord(bits=5, steps_per_octave=2)], ids=str)
@pytest.mark.parametrize("counts_padding", [False, True])
def test_average_is_that_of_plain_integers(word: LinearWord | LogWord, counts_padding: bool) -> None:
    source, target = word.at(1, True), word.at(0, True)
    codes = RNG.integers(source.min_code, source.max_code + 1, (2, 3, 7, 6))
    pool = Pool("p", ("x",), "average", (3, 2), (2, 2), (1, 1, 1, 0), counts_padding=counts_padding)
    got = average(pool, codes, source, target, 8)
    words, lsb = words_of(codes, source)
    for n, c, p, q in np.ndindex(got.shape):
        places = [(2 * p - 1 + r, 2 * q - 1 + s) for r in range(3) for s in range(2)]
        inside = [(h, w) for h, w in places if 0 <= h < 7 and 0 <= w < 6]
        count = len(places) if counts_padding else len(inside)
        total = sum(int(words[n, c, h, w]) for h, w in inside)
        mean = oracle.round_away(Fraction(total * oracle.round_away(Fraction(2**16, count)), 2**16))
        assert got[n, c, p, q] == oracle.hardware_encode(mean, lsb, target, 8)


@pytest.mark.parametrize("word", [LinearWord(bits=8), LogWord(bits=4), LogWord(bits=5, steps_per_octave=4)], ids=str)
def test_decoded_words_are_the_values_of_the_codes(word: LinearWord | LogWord) -> None:
    number_format = word.at(-2, True)
    codes = np.array(oracle.all_codes(number_format))
    words, lsb = words_of(codes, number_format)
    exact = getattr(word, "steps_per_octave", 1) == 1
    for code, value in zip(codes.tolist(), words.tolist(), strict=True):
        wanted = float(oracle.decode(code, number_format))
        assert abs(value * 2.0**lsb - wanted) <= (0 if exact else abs(wanted) * 2.0**-13)


def test_residual_goes_to_the_finer_lsb() -> None:
    psum, bias, residual = np.array([[5]]), np.array([1.0], np.float32), np.array([[3]])
    assert [
        int(part) if np.isscalar(part) else part.tolist() for part in add_residual("n", (psum, 1), bias, (residual, -1))
    ] == [[[27]], -1]
    with pytest.raises(ConfigError, match="n: a term has"):
        add_residual("n", (psum, 60), bias, (residual, -10))
    assert [reciprocal(count) for count in (1, 2, 3, 9, 49)] == [65536, 32768, 21845, 7282, 1337]


def test_evaluation_goes_on_where_it_stopped(tmp_path: Path) -> None:
    model, images = residual_net(tmp_path), normal(10, 4, 9, 8)
    arch, labels = load_arch("shift_4b_16x16"), np.arange(10) % 7
    formats = calibrate(model, arch, images)
    whole = evaluate(GraphRun(model, arch, formats), images, labels, batch=4).to_dict()

    def stop(done: int, total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(GraphRun(model, arch, formats), images, labels, batch=4, state=tmp_path / "s", progress=stop)
    seen: list[int] = []
    again = evaluate(
        GraphRun(model, arch, formats), images, labels, batch=4, state=tmp_path / "s",
        progress=lambda done, total: seen.append(done),
    )  # fmt: skip
    assert seen[0] == 4 and again.to_dict() == whole
    with pytest.raises(ConfigError, match="belongs to another evaluation"):
        evaluate(GraphRun(model, arch, formats), images[:9], labels[:9], state=tmp_path / "s")
    with pytest.raises(TraceError, match=r"labels: must be 0 … 6, got 0 … 9"):
        evaluate(GraphRun(model, arch, formats), images, np.arange(10))


def test_formats_survive_a_file(tmp_path: Path) -> None:
    model, images = residual_net(tmp_path), normal(2, 4, 9, 8)
    arch = load_arch("shift_4b_16x16")
    for method in ("max", "percentile", "least_squares"):
        formats = calibrate(model, arch, images, method)
        save_formats(formats, model.name, tmp_path / "f.yaml")
        assert load_formats(tmp_path / "f.yaml") == formats
    with pytest.raises(ConfigError, match=r"formats: tensor stem: multiply_8b_16x16 has linear 8 b words there"):
        GraphRun(model, load_arch("multiply_8b_16x16"), formats)


def test_chain_of_layers_is_a_graph() -> None:
    layers = [
        {"name": "a", "in_channels": 2, "out_channels": 3, "in_size": (4, 4), "kernel": (3, 3)},
        {"name": "b", "kind": "fc", "in_channels": 12, "out_channels": 5},
    ]
    graph = chain_graph(network_of({"name": "n", "layers": layers}, "n"))
    assert [node.name for node in graph.nodes] == ["a", "b.flat", "b"] and graph.shapes["b"] == (5,)
    with pytest.raises(WorkloadError, match="node conv2: its ifmap must have the shape"):
        chain_graph(load_network("alexnet"))  # poolings stand between its layers
