"""Files that are no network, or a damaged one: an error that says where, never a crash, nothing allocated for it."""

import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_cases import AFTER, CONSTANTS, STEM, STEM_W, helper, normal, save
from hypothesis import given, settings
from hypothesis import strategies as st

from logaccel import load_arch
from logaccel.errors import LogaccelError, WorkloadError
from logaccel.evaluation import GraphRun, calibrate
from logaccel.model.importing import import_operators
from logaccel.model.onnx_file import read_onnx
from logaccel.model.onnx_import import load_onnx
from logaccel.model.operators import with_unique_names

onnx = pytest.importorskip("onnx")
RELU = helper.make_node("Relu", ["c"], ["y"], name="n")


def refused(path: Path, message: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        load_onnx(path)
    assert str(caught.value).startswith(f"{path}: {message}"), str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def changed(path: Path, change: Any) -> Path:
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def outside(model: Any) -> None:
    """Let the filter lie in another file, which is not there."""
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"


def enormous(model: Any) -> None:
    """Claim more elements than there are bytes: nothing may be allocated for them."""
    model.graph.initializer[0].dims[:] = [2**20, 2**20, 1, 1]


def untyped(model: Any) -> None:
    model.graph.initializer[0].data_type = 15  # complex128


def misfit(model: Any) -> None:
    model.graph.initializer[0].dims[:] = [6, 4, 3, 2]


def unfinished(model: Any) -> None:
    tensor = model.graph.initializer[0]
    values = np.frombuffer(tensor.raw_data, np.float32).copy()
    values[7] = np.nan
    tensor.raw_data = values.tobytes()


def second_input(model: Any) -> None:
    model.graph.input.append(helper.make_tensor_value_info("z", 1, [1, 4]))


def sentence(model: Any) -> None:
    del model.graph.input[0].type.tensor_type.shape.dim[3:]


def recurrent(model: Any) -> None:
    model.graph.node[0].input[0] = "y"


def made_twice(model: Any) -> None:
    model.graph.node[1].output.append("w")


def unversioned(model: Any) -> None:
    del model.opset_import[:]


def misleading(model: Any) -> None:
    model.graph.node[1].op_type = "Sig\x1b[2J"
    model.graph.node[1].name = "first line\nerror: second line"


def infinite(model: Any) -> None:
    """Weights in a type that is checked by nobody else, one of them no number."""
    tensor = model.graph.initializer[0]
    values = np.zeros((6, 4, 3, 3), np.uint16)
    values[5, 1, 2, 0] = 0x7FC0  # as bfloat16
    tensor.data_type, tensor.raw_data = onnx.TensorProto.BFLOAT16, values.tobytes()


def dangling(model: Any) -> None:
    model.graph.output[0].name = "z"


def nested(model: Any) -> None:
    branch = helper.make_graph([], "branch", [], [])
    model.graph.node[1].attribute.append(helper.make_attribute("then_branch", branch))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            outside,
            "initializer w: external data: location: must be a file in the folder of the model, got '../../etc/passwd'",
        ),
        (enormous, "initializer w: must have 0 … 268435456 elements, got the shape [1048576, 1048576, 1, 1]"),
        (untyped, "initializer w: data type 15 is not supported"),
        (misfit, "initializer w: [6, 4, 3, 2] does not fit its 864 bytes"),
        (unfinished, "initializer w: must be finite, got nan"),
        (second_input, "must have one input and one output, got 2 and 1"),
        (sentence, "input x: must have the axes N, C, H, W or N, C, got 3 axes"),
        (recurrent, "node stem (Conv): reads a tensor that no node before it makes"),
        (made_twice, "tensor w: is made 2 times"),
        (unversioned, "opset_import: names no version of the operators; is the file complete?"),
        (misleading, "node first line error: second line (Sig [2J): operator is not supported"),
        (infinite, "node stem: filter with what is folded into it must be finite in float32"),
        (dangling, "output z: no node makes it"),
        (nested, "node n (Relu): then_branch: attribute is not supported"),
    ],
)
def test_wrong_files_are_one_error(change: Any, message: str, tmp_path: Path) -> None:
    refused(changed(save(tmp_path / "net.onnx", [STEM, RELU], STEM_W), change), message)


def test_a_file_cut_anywhere_is_refused_or_whole(tmp_path: Path) -> None:
    whole = save(tmp_path / "net.onnx", [STEM, RELU], STEM_W).read_bytes()
    path, read, refusals = tmp_path / "cut.onnx", 0, list[str]()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        try:
            load_onnx(path)
            read += 1
        except WorkloadError as error:
            refusals.append(str(error))
    assert all(message.startswith(f"{path}: ") for message in refusals)
    assert read == 0  # what stands behind the graph, the versions of the operators, says that it is complete


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    for content in (b"", b"\x80\x04\x95pickle", b"PK\x03\x04" + bytes(100), b"{}", bytes(1000), b"\x89PNG\r\n"):
        path.write_bytes(content)
        with pytest.raises(WorkloadError, match=r"net\.onnx: is no ONNX file, or "):
            load_onnx(path)
    with pytest.raises(WorkloadError, match=r": cannot be read: Is a directory"):
        load_onnx(tmp_path)


@given(st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=8), st.integers(0, 2**20))
@settings(max_examples=100)
def test_damaged_networks_run_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]], seed: int
) -> None:
    """Also behind the import: whatever passes it is calibrated and run, or refused with a message."""
    folder = tmp_path_factory.getbasetemp()
    used = {name for node in (STEM, *AFTER["residual"]) for name in node.input}
    constants = {key: value for key, value in CONSTANTS.items() if key in used}
    damaged = bytearray(save(folder / "net.onnx", [STEM, *AFTER["residual"]], constants).read_bytes())
    for place, value in flips:
        damaged[place % len(damaged)] = value
    path = folder / "damaged.onnx"
    path.write_bytes(bytes(damaged))
    message: str | None = None
    try:
        model = load_onnx(path)
        if np.prod(model.graph.input_shape) > 10_000:
            return  # a larger image is an image
        images = np.random.default_rng(seed).normal(size=(2, *model.graph.input_shape)).astype(np.float32)
        arch = load_arch("shift_4b_16x16")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # numpy's own words on overflow
            list(GraphRun(model, arch, calibrate(model, arch, images)).run(images))
    except LogaccelError as error:
        message = str(error)
    assert message is None or message


def test_weights_beyond_float32_are_named(tmp_path: Path) -> None:
    """Each weight is finite, their products are not: the message names the tensor."""
    arch = load_arch("shift_4b_16x16")
    model = load_onnx(save(tmp_path / "net.onnx", [STEM, RELU], {"w": STEM_W["w"] * np.float32(1e38)}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(LogaccelError, match=r"^net: stem: must be finite in float32, got .*: weights too large$"):
            calibrate(model, arch, normal(2, 4, 9, 8) * np.float32(100))


def test_parameters_beyond_float32_are_named(tmp_path: Path) -> None:
    """They are finite in the file: what is folded into them is not any more, or float64 is narrowed."""
    norm = helper.make_node("Mul", ["c", "k"], ["y"], name="n")
    folded = save(tmp_path / "net.onnx", [STEM, norm], {"w": STEM_W["w"] * np.float32(1e20), "k": np.float32(1e20)})
    refused(folded, "node stem: filter with what is folded into it must be finite in float32")
    wide = {"w": STEM_W["w"].astype(np.float64) * 1e300}
    refused(save(folded, [STEM, RELU], wide), "node stem: filter with what is folded into it must be finite in float32")


def test_weights_that_many_layers_share_are_counted_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file may claim much memory: every layer has filters of its own."""
    nodes = [helper.make_node("Conv", [f"t{i}" if i else "x", "w"], [f"t{i + 1}"], name=f"n{i}") for i in range(3)]
    nodes.append(helper.make_node("Relu", ["t3"], ["y"], name="n"))
    path = save(tmp_path / "net.onnx", nodes, {"w": normal(4, 4, 1, 1)})
    load_onnx(path)
    monkeypatch.setattr("logaccel.model.build.MOST_WEIGHTS", 47)
    refused(path, "node n2 (Conv): its filters would make more than 47 weights in all layers")


def test_long_networks_take_time_in_proportion(tmp_path: Path) -> None:
    """Nodes of one name, sums in a row: each was quadratic once. Then these took 80 s and 13 s, now 0.7 s together."""
    count = 32_000
    nodes = [STEM, *(helper.make_node("Add", [f"t{i}" if i else "c", "x6"], [f"t{i + 1}"], name="same")
                     for i in range(count))]  # fmt: skip
    nodes.insert(1, helper.make_node("Conv", ["x", "w"], ["x6"], name="other", pads=[1, 1, 1, 1]))
    nodes.append(helper.make_node("Relu", [f"t{count}"], ["y"], name="end"))
    graph = read_onnx(save(tmp_path / "net.onnx", nodes, STEM_W))
    start = time.process_time()
    named = with_unique_names([replace(node, name="same") for node in graph.nodes])
    assert named[-1].name == f"same.{count + 3}"
    import_operators(graph)
    assert time.process_time() - start < 6  # far from all three: no load of the machine lies between
