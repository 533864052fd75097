"""Trained networks: import against onnxruntime, codes against plain integers and the register-level engine."""

from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import numpy as np
import oracle
import pytest
from graph_cases import AFTER, CONSTANTS, RNG, STEM, STEM_W, helper, normal, residual_net, save

from logaccel.arch import load_arch
from logaccel.errors import ConfigError, LogaccelError, TraceError, WorkloadError
from logaccel.evaluation import GraphRun, calibrate, evaluate, load_formats, save_formats
from logaccel.evaluation.lane import add_residual, average, reciprocal, words_of
from logaccel.formats import LinearWord, LogWord
from logaccel.model.onnx_import import load_onnx
from logaccel.model.reference import run_float
from logaccel.simulation import simulate
from logaccel.workload import load_network
from logaccel.workload.graph import LayerNode, Pool, chain_graph
from logaccel.workload.network import network_of

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("case", AFTER)
def test_float_path_equals_onnxruntime(case: str, tmp_path: Path) -> None:
    used = {name for node in (STEM, *AFTER[case]) for name in node.input}
    path = save(tmp_path / "net.onnx", [STEM, *AFTER[case]], {k: v for k, v in CONSTANTS.items() if k in used})
    model, images = load_onnx(path), normal(1, 4, 9, 8)
    expected = ort.InferenceSession(str(path)).run(None, {"x": images})[0]
    result = {node.name: value for node, value in run_float(model, images)}[model.graph.output]
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 12])
def test_lrn_sums_the_window_of_the_onnx_operator(size: int, tmp_path: Path) -> None:
    node = helper.make_node("LRN", ["c"], ["y"], name="n", size=size, alpha=0.3, beta=0.6, bias=1.5)
    path = save(tmp_path / "net.onnx", [STEM, node], STEM_W)
    model, images = load_onnx(path), normal(6, 4, 9, 8)
    values = {done.name: value for done, value in run_float(model, images)}
    exact, wanted = values["stem"].astype(float), np.empty((6, 6, 9, 8))
    for c in range(6):  # the formula of the operator's text, term by term
        window = range(max(0, c - floor((size - 1) / 2)), min(5, c + ceil((size - 1) / 2)) + 1)
        wanted[:, c] = exact[:, c] / (1.5 + 0.3 / size * sum(exact[:, i] ** 2 for i in window)) ** 0.6
    np.testing.assert_allclose(values["n"], wanted, rtol=1e-5, atol=1e-6)
    # The operator's reference counts channels by the batch, so it is right where there are as many images.
    from onnx.reference import ReferenceEvaluator

    np.testing.assert_allclose(values["n"], ReferenceEvaluator(str(path)).run(None, {"x": images})[0], rtol=1e-3)
    if size % 2:  # onnxruntime takes no even size
        whole = onnx.load(path)
        whole.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 6
        session = ort.InferenceSession(whole.SerializeToString())
        np.testing.assert_allclose(values["n"], session.run(None, {"x": images})[0], rtol=1e-4, atol=1e-5)


def test_margins_belong_to_the_axes_that_are_named(tmp_path: Path) -> None:
    node = helper.make_node("Pad", ["c", "few", "", "places"], ["y"], name="n")
    constants = {**STEM_W, "few": np.array([1, 2, 0, 3]), "places": np.array([-1, 2])}
    path = save(tmp_path / "net.onnx", [STEM, node], constants, opset=18)
    model, images = load_onnx(path), normal(1, 4, 9, 8)
    expected = ort.InferenceSession(str(path)).run(None, {"x": images})[0]
    result = {done.name: value for done, value in run_float(model, images)}["n"]
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("margins", "others", "kept"),
    [
        ((0, 0, 1, 2, 0, 0, 0, 3), [], False),  # axes of the batch, channels, rows and columns, before and after
        ((0, 0, 1, 2, 0, 0, 0, 3), ["q"], True),  # a pool reads the zeros too
        ((0, 1, 0, 0, 0, 2, 0, 0), [], True),  # channels of zeros
    ],
)
def test_convolutions_take_the_zeros_around_their_maps(
    margins: tuple[int, ...], others: list[str], kept: bool, tmp_path: Path
) -> None:
    channels = 6 + margins[1] + margins[5]
    nodes = [
        STEM, helper.make_node("Pad", ["c", "margins"], ["p"], name="p"),
        helper.make_node("MaxPool", ["p"], ["q"], name="q", kernel_shape=[2, 2]),
        helper.make_node("Conv", ["p", "v"], ["d"], name="d", pads=[1, 0, 0, 2], strides=[2, 1]),
        helper.make_node("GlobalMaxPool", ["d"], ["e"], name="e"),
        helper.make_node("GlobalMaxPool", ["q"], ["f"], name="f"),
        helper.make_node("Concat", ["e", "f"] if others else ["e", "e"], ["y"], name="y", axis=1),
    ]  # fmt: skip
    constants = {**STEM_W, "v": normal(5, channels, 3, 2), "margins": np.array(margins)}
    path = save(tmp_path / "net.onnx", nodes, constants)
    model, images = load_onnx(path), normal(1, 4, 9, 8)
    d = next(node for node in model.graph.nodes if node.name == "d")
    assert isinstance(d, LayerNode) and ("p" in model.graph.shapes) == kept
    spatial = not margins[1]
    assert (d.inputs, d.layer.padding) == ((("stem",), (2, 2, 0, 5)) if spatial else (("p",), (1, 0, 0, 2)))
    values = {node.name: value for node, value in run_float(model, images)}
    expected = ort.InferenceSession(str(path)).run(None, {"x": images})[0]
    np.testing.assert_allclose(values[model.graph.output], expected, rtol=1e-4, atol=1e-4)
    machine = load_arch("shift_4b_16x16").replace(
        memory={key: {"bytes": 20_000} for key in ("ifmap", "filter", "ofmap")}
        | {"dram": {"bits_per_cycle": 8}, "handover": False, "objective": "traffic"}
    )
    traffic = simulate(model.graph, machine).layers[1].traffic
    assert traffic is not None
    assert not spatial or traffic.dram_ifmap.read_words == 6 * 9 * 8  # no zeros


def test_nodes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="input", pads=[1, 1, 1, 1]),
        helper.make_node("LeakyRelu", ["c"], ["d"], name="a"),
        helper.make_node("Conv", ["d", "g2"], ["a"], pads=[1, 1, 1, 1]),  # without a name it has that of its tensor
        helper.make_node("LeakyRelu", ["a"], ["y"], name="b"),
    ]
    path = save(tmp_path / "net.onnx", nodes, {key: CONSTANTS[key] for key in ("w", "g2")})
    model, images = load_onnx(path), normal(1, 4, 9, 8)
    assert [node.name for node in model.graph.nodes] == ["input.2", "a", "a.2", "b"]
    expected = ort.InferenceSession(str(path)).run(None, {"x": images})[0]
    np.testing.assert_allclose(list(run_float(model, images))[-1][1], expected, rtol=1e-4, atol=1e-4)


def test_pool_windows_without_a_value_are_refused(tmp_path: Path) -> None:
    pool = helper.make_node(
        "MaxPool", ["c"], ["y"], name="n", kernel_shape=[2, 2], dilations=[10, 1], pads=[1, 0, 1, 0]
    )
    with pytest.raises(WorkloadError, match=r"n \(MaxPool\): window 0 of axis 0 lies in the padding alone"):
        load_onnx(save(tmp_path / "net.onnx", [STEM, pool], STEM_W))


def test_softmax_over_a_map_is_refused(tmp_path: Path) -> None:
    """Before opset 13 axis=1 meant channels and pixels together, since then channels alone."""
    softmax = helper.make_node("Softmax", ["c"], ["y"], name="n", axis=1)
    with pytest.raises(WorkloadError, match=r"n \(Softmax\): must be of one value a channel, got a map of \(6, 9, 8\)"):
        load_onnx(save(tmp_path / "net.onnx", [STEM, softmax], STEM_W))


def test_lane_takes_residual_batch_norm_and_relu(tmp_path: Path) -> None:
    model = load_onnx(save(tmp_path / "net.onnx", [STEM, *AFTER["residual"]], CONSTANTS))
    assert [(node.name, node.inputs) for node in model.graph.nodes] == [("stem", ("input",)), ("d", ("stem", "stem"))]
    assert all(isinstance(node, LayerNode) and node.layer.relu for node in model.graph.nodes)


@pytest.mark.parametrize(
    ("case", "folded", "nodes"),
    [
        ("relu behind maxpools", True, ["stem", "p", "q"]),
        ("relu behind a pool that is read twice", False, ["stem", "p", "n", "cc"]),
        ("relu behind an average", False, ["stem", "p", "n"]),
    ],
)
def test_relu_passes_max_pools_only(case: str, folded: bool, nodes: list[str], tmp_path: Path) -> None:
    model = load_onnx(save(tmp_path / "net.onnx", [STEM, *AFTER[case]], STEM_W))
    assert [node.name for node in model.graph.nodes] == nodes
    assert model.graph.layer_nodes[0].layer.relu is folded


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


SLOW = [
    pytest.param(arch, 2, marks=pytest.mark.slow)
    for arch in ("shift_4b_16x16", "decode_4b_sqrt2_constant_16x16", "multiply_8b_16x16")
]


@pytest.mark.parametrize("arch", ["shift_4b_16x16", "multiply_4b_16x16"])
def test_codes_at_the_ends_of_their_format_count_as_saturated(arch: str, tmp_path: Path) -> None:
    model, images = residual_net(tmp_path), normal(3, 4, 9, 8)
    formats = calibrate(model, load_arch(arch), images)
    met = set()
    for done in GraphRun(model, load_arch(arch), formats).run(images * 8):
        own = done.number_format
        ends = {own.max_code, own.min_code} if own.signed else {own.max_code}
        assert done.saturated == sum(code in ends for code in done.codes.reshape(-1).tolist()), done.node.name
        met |= {(own.signed, done.array is None)} if done.saturated else set()
    assert met >= {(False, True), (False, False)}


@pytest.mark.parametrize(("arch", "batch"), [("shift_4b_16x16", 1), *SLOW])
def test_chain_equals_the_register_level_engine_and_plain_integers(arch: str, batch: int, tmp_path: Path) -> None:
    model, images = residual_net(tmp_path), normal(batch, 4, 9, 8)
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
    residual, fine = words_of(ifmap, source, "n")
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
    words, lsb = words_of(codes, source, "n")
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
    words, lsb = words_of(codes, number_format, "n")
    exact = getattr(word, "steps_per_octave", 1) == 1
    for code, value in zip(codes.tolist(), words.tolist(), strict=True):
        wanted = float(oracle.decode(code, number_format))
        assert abs(value * 2.0**lsb - wanted) <= (0 if exact else abs(wanted) * 2.0**-13)


@pytest.mark.parametrize("case", ["average", "residual", "add"])
def test_words_too_wide_to_be_added_name_the_node(case: str, tmp_path: Path) -> None:
    """Codes of 126 octaves may be an output; their sums have more bits than a word."""
    nodes = {
        "average": [helper.make_node("AveragePool", ["c"], ["y"], name="n", kernel_shape=[2, 2])],
        "residual": [
            helper.make_node("Conv", ["x", "w"], ["d"], name="n", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"], name="r"), helper.make_node("Add", ["r", "d"], ["y"], name="a"),
        ],
        "add": [helper.make_node("Relu", ["c"], ["r"], name="r"), helper.make_node("Add", ["r", "r"], ["y"], name="n")],
    }[case]  # fmt: skip
    model, images = load_onnx(save(tmp_path / "net.onnx", [STEM, *nodes], STEM_W)), normal(2, 4, 9, 8)
    arch = load_arch("shift_4b_16x16").replace(output={"kind": "log", "bits": 8})
    with pytest.raises(ConfigError, match=r"^n: a decoded log 8 b base 2 word has "):
        list(GraphRun(model, arch, calibrate(model, arch, images)).run(images))


def test_residual_goes_to_the_finer_lsb() -> None:
    psum, bias, residual = np.array([[5]]), np.array([1]), np.array([[3]])
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
    changed = images.copy()
    changed[7, 3, 8, 7] += 1  # one value of one image
    with pytest.raises(ConfigError, match="belongs to another evaluation"):
        evaluate(GraphRun(model, arch, formats), changed, labels, batch=4, state=tmp_path / "s")
    changed[7, 3, 8, 7] = np.inf
    with pytest.raises(TraceError, match="images: must be finite in float32, got inf in image 7"):
        evaluate(GraphRun(model, arch, formats), changed, labels)
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
