"""Random networks of all operators: float path against onnxruntime, codes against plain integers, engine by engine."""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import graph_oracle
import numpy as np
import pytest
from graph_cases import helper, save
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from test_lane_trace import BATCH, arch, counted

from logaccel import ConfigError, WorkloadError, load_arch, simulate
from logaccel.evaluation import GraphRun, calibrate
from logaccel.memory.access_trace import KINDS
from logaccel.model.model import Model
from logaccel.model.onnx_import import load_onnx
from logaccel.model.reference import run_float
from logaccel.report.access_trace import access_tables
from logaccel.report.run_order import chosen_steps
from logaccel.workload.graph import FloatOp

ort = pytest.importorskip("onnxruntime")

MOST_SIZE = 7
LIMITS = {"low": 0.0, "lower": -0.8, "high": 1.5}
Shape = tuple[int, ...]


@dataclass
class Grower:
    """Grows an ONNX network, operator by operator, out of what an example draws."""

    data: st.DataObject
    quantized: bool
    tensors: dict[str, Shape] = field(default_factory=dict)
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.number(0, 2**16))
        self.tensors["x"] = (self.number(1, 3), self.number(3, MOST_SIZE), self.number(3, MOST_SIZE))

    def number(self, low: int, high: int) -> int:
        return self.data.draw(st.integers(low, high))

    def flag(self) -> bool:
        return self.data.draw(st.booleans())

    def pick(self, *options: Any) -> Any:
        return self.data.draw(st.sampled_from(options))

    def constant(self, *shape: int) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = self.rng.normal(size=shape).astype(np.float32)
        return name

    def put(self, op: str, inputs: list[str], shape: Shape, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"n{len(self.nodes)}", **attributes))
        self.tensors[name] = shape
        return name

    def grow(self, steps: int) -> None:
        """Add a convolution and some operators, then join what is left to one output."""
        self.convolution("x")
        for _ in range(steps):
            source = self.pick(*self.tensors)
            kinds = [self.convolution, self.pool, self.join, self.simple, self.move]
            self.pick(*kinds)(source)
        last = list(self.tensors)[-1]
        if self.flag():
            flat = self.put("Flatten", [last], (int(np.prod(self.tensors[last])),))
            width = self.number(1, 4)
            last = self.put("Gemm", [flat, self.constant(self.tensors[flat][0], width), self.constant(width)], (width,))
            if self.flag() and not self.quantized:
                last = self.put("Softmax", [last], (width,), axis=1)
        self.nodes.append(helper.make_node("Identity", [last], ["y"], name="end"))

    def window(self, size: Shape, padded: bool) -> tuple[dict[str, Any], tuple[int, int]] | None:
        """Draw kernel, stride, padding; return them with P and Q, or None where a window fits nowhere."""
        kernel = [self.number(1, 3), self.number(1, 3)]
        stride = [self.number(1, 3), self.number(1, 3)]
        margins = [self.number(0, kernel[axis % 2] - 1) if padded else 0 for axis in range(4)]
        spans = [size[axis] + margins[axis] + margins[axis + 2] - kernel[axis] for axis in range(2)]
        if min(spans) < 0:
            return None
        out = spans[0] // stride[0] + 1, spans[1] // stride[1] + 1
        return {"kernel_shape": kernel, "strides": stride, "pads": margins}, out

    def convolution(self, source: str) -> None:
        channels, *size = self.tensors[source]
        drawn = self.window(tuple(size), padded=True)
        if drawn is None:
            return
        attributes, out = drawn
        groups = self.pick(*[g for g in (1, 2, 3, channels) if channels % g == 0])
        made = groups * self.number(1, 2)
        inputs = [source, self.constant(made, channels // groups, *attributes["kernel_shape"])]
        inputs += [self.constant(made)] if self.flag() else []
        tensor = self.put("Conv", inputs, (made, *out), group=groups, **attributes)
        if self.flag():
            moments = [self.constant(made) for _ in range(4)]
            self.constants[moments[3]] = np.abs(self.constants[moments[3]]) + np.float32(0.1)
            tensor = self.put("BatchNormalization", [tensor, *moments], (made, *out))
        if self.flag():
            self.put("Relu", [tensor], (made, *out))

    def pool(self, source: str) -> None:
        channels, *size = self.tensors[source]
        drawn = self.window(tuple(size), padded=self.flag())
        if drawn is None:
            return
        attributes, out = drawn
        op = self.pick("MaxPool", "AveragePool")
        extra = {"count_include_pad": int(self.flag())} if op == "AveragePool" else {}
        self.put(op, [source], (channels, *out), **attributes, **extra)

    def join(self, source: str) -> None:
        shape = self.tensors[source]
        same = [name for name, other in self.tensors.items() if other == shape]
        if self.flag():
            tensor = self.put("Add", [source, self.pick(*same)], shape)
            if self.flag():
                self.put("Relu", [tensor], shape)
            return
        fitting = [name for name, other in self.tensors.items() if other[1:] == shape[1:] and other[0] + shape[0] < 8]
        if fitting:
            other = self.pick(*fitting)
            self.put("Concat", [source, other], (shape[0] + self.tensors[other][0], *shape[1:]), axis=1)

    def simple(self, source: str) -> None:
        shape = self.tensors[source]
        kinds = ["Relu", "LeakyRelu", "Identity", "Clip"] + ([] if self.quantized else ["LRN"])
        kind = self.pick(*kinds)
        inputs, attributes = [source], {}
        if kind == "Clip":
            limits = [self.pick("low", "lower"), "high"]
            self.constants |= {key: np.array(own, np.float32) for key, own in LIMITS.items()}
            inputs += limits
        elif kind == "LRN":
            attributes = {"size": self.pick(1, 3, 5), "alpha": 0.2}
        elif kind == "LeakyRelu":
            attributes = {"alpha": self.pick(0.01, 0.25)}
        self.put(kind, inputs, shape, **attributes)

    def move(self, source: str) -> None:
        shape = self.tensors[source]
        kind = self.pick("Pad", "Slice", "Transpose", "Reshape")
        name = f"m{len(self.constants)}"
        if kind == "Pad":
            margins = [0, self.number(0, 1), self.number(0, 2), 0, 0, self.number(0, 1), 0, self.number(0, 1)]
            made = tuple(size + margins[1 + axis] + margins[5 + axis] for axis, size in enumerate(shape))
            self.constants[name] = np.array(margins)
            self.put("Pad", [source, name], made)
        elif kind == "Slice":
            axis = self.number(0, 2)
            start, step = self.number(0, shape[axis] - 1), self.number(1, 2)
            made = list(shape)
            made[axis] = len(range(start, shape[axis], step))
            for suffix, value in (("s", start), ("e", 2**31), ("a", axis + 1), ("t", step)):
                self.constants[name + suffix] = np.array([value])
            self.put("Slice", [source, *(name + suffix for suffix in "seat")], tuple(made))
        elif kind == "Transpose":
            order = self.data.draw(st.permutations(range(3)))
            self.put("Transpose", [source], tuple(shape[axis] for axis in order), perm=[0, *(a + 1 for a in order)])
        else:
            self.constants[name] = np.array([1, shape[0] * shape[1], 1, shape[2]])
            self.put("Reshape", [source, name], (shape[0] * shape[1], 1, shape[2]))


def grown(data: st.DataObject, folder: Path, steps: int, quantized: bool) -> tuple[Path, Model, np.ndarray]:
    net = Grower(data, quantized)
    net.grow(steps)
    path = save(folder / "net.onnx", net.nodes, net.constants, (1, *net.tensors["x"]))
    try:
        model = load_onnx(path)
    except WorkloadError as error:
        # By way of identities alone, or of operators that are no layer: convolutions that nothing reads are left out.
        if str(error).endswith(("output: is the input itself", "holds no convolution or fully connected layer")):
            reject()
        raise
    return path, model, net.rng.normal(size=(1, *net.tensors["x"])).astype(np.float32)


def check_float(data: st.DataObject, folder: Path) -> None:
    path, model, images = grown(data, folder, data.draw(st.integers(0, 8)), quantized=False)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    expected = ort.InferenceSession(str(path), options).run(None, {"x": images})[0]
    result = {node.name: value for node, value in run_float(model, images)}[model.graph.output]
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-4 * max(1.0, float(np.abs(expected).max())))


@given(st.data())
@settings(max_examples=120)
def test_float_path_equals_onnxruntime(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    check_float(data, tmp_path_factory.getbasetemp())


@pytest.mark.slow
@given(st.data())
@settings(max_examples=3000)
def test_many_float_paths_equal_onnxruntime(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    check_float(data, tmp_path_factory.getbasetemp())


ARCHS = ("shift_4b_16x16", "multiply_8b_16x16", "decode_4b_16x16", "decode_4b_sqrt2_bins_16x16")


def check_codes(data: st.DataObject, folder: Path, **engine: str) -> None:
    _, model, images = grown(data, folder, data.draw(st.integers(0, 6)), quantized=True)
    arch = load_arch(data.draw(st.sampled_from(ARCHS)))
    arch = arch.replace(**{"post.round_bits": data.draw(st.sampled_from([2, 8]))})
    formats = calibrate(model, arch, images)
    if data.draw(st.booleans()):  # any powers of two will do; some saturate weights
        rng = np.random.default_rng(data.draw(st.integers(0, 99)))
        names = [node.name for node in model.graph.layer_nodes]
        scales = {name: tuple(rng.integers(0, 8, len(model.parameters[name].bias)).tolist()) for name in names}
        formats = replace(formats, scales=scales)
    run = GraphRun(model, arch, formats, **engine)
    wanted = graph_oracle.run_graph(run, images)
    for done in run.run(images):
        assert done.codes.tolist() == wanted[done.node.name].tolist(), done.node


@given(st.data())
@settings(max_examples=20)
def test_codes_are_those_of_plain_integers(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    check_codes(data, tmp_path_factory.getbasetemp())


@pytest.mark.slow
@pytest.mark.parametrize("engine", [{}, {"backend": "kernel"}, {"engine": "register", "backend": "kernel"}], ids=str)
@given(st.data())
@settings(max_examples=300)
def test_many_codes_are_those_of_plain_integers(
    engine: dict[str, str], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    check_codes(data, tmp_path_factory.getbasetemp(), **engine)


@pytest.mark.slow
@given(data=st.data(), dataflow=st.sampled_from(["os", "ws", "is"]), bytes_each=st.tuples(*[st.integers(60, 900)] * 2))
@settings(max_examples=500, deadline=None)
def test_random_graphs_are_traced_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, dataflow: str, bytes_each: tuple[int, int]
) -> None:
    """Any operators in any order: all bits of the report, each within its cycles, in places that exist."""
    network = grown(data, tmp_path_factory.getbasetemp(), data.draw(st.integers(4, 9)), quantized=False)[1].graph
    ports, stay = data.draw(st.sampled_from([None, 5, 13])), data.draw(st.booleans())
    own = {"ofmap": {"bytes": bytes_each[1], "port_bits": ports}, "handover": stay}
    try:
        result = simulate(network, arch(bytes_each[0], **own).replace(dataflow=dataflow), batch=BATCH)
    except ConfigError:
        reject()  # fits no scratchpad
    spans: dict[str, tuple[int, int]] = {}
    for item, start in chosen_steps(result):
        spans[item.name] = spans.get(item.name, (start, 0))[0], start + item.total_cycles
    found: Counter[tuple[str, str, str]] = Counter()
    memory = result.arch.memory
    assert memory is not None
    for table in access_tables(result):
        start, end = spans[table.layer]
        assert table.rows.cycle.min() >= start and table.rows.cycle.max() < end
        if table.level != "dram":
            each = table.bits // table.rows.words
            size = 8 * memory.capacity_bytes[table.level]
            assert (table.address >= 0).all() and ((table.address + table.rows.words) * each <= size).all()
        for kind, bits in zip(table.rows.kind.tolist(), table.bits.tolist(), strict=True):
            found[table.layer, table.level, KINDS[kind].access] += bits
    assert found == +counted(result)


def test_random_graphs_hold_every_operator(tmp_path: Path) -> None:
    """What the strategy can draw is what the examples above did draw: no kind of node is left out."""
    seen: set[str] = set()

    @given(st.data())
    @settings(max_examples=150)
    def look(data: st.DataObject) -> None:
        model = grown(data, tmp_path, 6, quantized=False)[1]
        seen.update(node.kind if isinstance(node, FloatOp) else type(node).__name__ for node in model.graph.nodes)

    look()
    kinds = {"LayerNode", "Pool", "Add", "Concat", "Clip", "Reshape", "Transpose", "Pad", "Slice"}
    assert seen == kinds | {"leaky_relu", "lrn", "softmax"}
