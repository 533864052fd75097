"""What exporters leave around the layers: constants of constants, shapes with an open batch, scales by channel."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_cases import STEM, STEM_W, helper, normal, numpy_helper, save

from logaccel.errors import WorkloadError
from logaccel.model import importing
from logaccel.model.onnx_import import load_onnx
from logaccel.model.reference import run_float
from logaccel.workload.graph import LayerNode

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

OPEN = ("batch", 4, 9, 8)
Nodes = list[Any]
Constants = dict[str, np.ndarray]
counter = iter(range(10**6))


def node(op: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(op, inputs.split(), [output], name=f"n{next(counter)}", **attributes)


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def flattening(opset: int) -> Nodes:
    """Return what x.view(x.size(0), -1) becomes, as older exporters of PyTorch write it."""
    unsqueeze = {"axes": [0]} if opset < 13 else {}
    axes = " zeros" if opset >= 13 else ""
    return [
        node("Shape", "c", "shape"), node("Gather", "shape zero", "size", axis=0),
        node("Unsqueeze", f"size{axes}", "first", **unsqueeze), node("Concat", "first rest", "sizes", axis=0),
        node("Reshape", "c sizes", "f"), node("Gemm", "f m v", "y"),
    ]  # fmt: skip


def moved() -> Iterator[tuple[str, int, Nodes, Constants]]:
    """Yield name, opset, nodes after the stem c[N, 6, 9, 8], constants: values are moved, none is scaled."""
    matrix = {"m": normal(432, 5), "v": normal(5)}
    for opset in (9, 12, 13, 17, 21):
        zeros = {"zeros": numbers(0)} if opset >= 13 else {}
        shape = {"zero": np.array(0), "rest": numbers(-1)} | zeros
        yield "view", opset, flattening(opset), matrix | shape
    for opset in (13, 18):
        split = [
            helper.make_node("Split", ["c", "parts"], ["d", "e"], name="n", axis=1),
            node("Neg", "k", "k2"), node("Add", "d k2", "d2"), node("Concat", "e d2", "y", axis=1),
        ]  # fmt: skip
        yield "split", opset, split, {"parts": numbers(2, 4), "k": normal(2, 1, 1)}
        pooled = [node("GlobalAveragePool", "c", "p"), node("Squeeze", "p a", "q"), node("MatMul", "q m6", "y")]
        yield "squeeze", opset, pooled, {"a": numbers(-1, 2), "m6": normal(6, 5)}
        back = [*pooled[:2], node("Unsqueeze", "q a", "u"), node("Add", "u c", "s"), node("Relu", "u", "y")]
        yield "unsqueeze", opset, back[:3] + back[4:], {"a": numbers(2, 3)}
    cut = [node("Shape", "c", "shape", start=2), node("Concat", "start shape", "sizes", axis=0)]
    cut += [node("Concat", "some sizes", "all", axis=0), node("Reshape", "c all", "y")]
    yield "shape from axis 2", 15, cut, {"start": numbers(-1), "some": numbers(0)}
    uneven = helper.make_node("Split", ["c"], ["d", "e"], name="n", axis=-2, num_outputs=2)  # 5 and 4 rows
    pools = [node("GlobalMaxPool", "d", "p"), node("GlobalMaxPool", "e", "q"), node("Concat", "q p", "y", axis=-3)]
    yield "uneven split", 18, [uneven, *pools], {}
    for opset in (11, 17):
        yield "pad", opset, *padding()
    filled = [node("ConstantOfShape", "ones", "k", value=numpy_helper.from_array(floats(0.5))), node("Add", "c k", "y")]
    yield "constant of shape", 17, filled, {"ones": numbers(1, 6, 1, 1)}
    yield "cast", 17, [node("Cast", "c", "y", to=1)], {}
    yield "sum", 13, [node("Relu", "c", "r"), node("Sum", "c r c r", "y")], {}
    yield "sum of one", 13, [node("Sum", "c", "y")], {}
    steps = [
        node("Slice", "k lo hi ax", "k1"), node("Transpose", "k1", "k2", perm=[1, 0]), node("Sqrt", "k2", "k3"),
        node("Mul", "k3 k3", "k4"), node("Div", "k4 two", "k5"), node("Sub", "k5 one", "k6"),
        node("Cast", "k6", "k7", to=11), node("Cast", "k7", "k8", to=1), node("Flatten", "c", "f"),
        node("Gemm", "f k8", "y"),
    ]  # fmt: skip
    parts = {"lo": numbers(1, 0), "hi": numbers(6, 432), "ax": numbers(0, 1), "two": floats(2), "one": floats(1)}
    yield "a matrix of constants", 13, steps, {"k": abs(normal(6, 432)), **parts}
    named = [node("Identity", "v", "v2"), node("Flatten", "c", "f"), node("Gemm", "f m v2", "y")]
    yield "identity of a weight", 17, named, matrix


def padding() -> tuple[Nodes, Constants]:
    """Return F.pad(c, (1, 2, 0, 1)) as older exporters write it: pairs from the last axis on, turned round."""
    zero = numpy_helper.from_array(numbers(0))
    nodes = [
        node("ConstantOfShape", "four", "zeros", value=zero), node("Concat", "pads zeros", "eight", axis=0),
        node("Reshape", "eight pairs", "by_axis"), node("Slice", "by_axis last first rows back", "turned"),
        node("Transpose", "turned", "sides", perm=[1, 0]), node("Reshape", "sides flat", "all"),
        node("Cast", "all", "whole", to=7), node("Pad", "c whole filler", "y", mode="constant"),
    ]  # fmt: skip
    return nodes, {
        "four": numbers(4), "pads": numbers(1, 2, 0, 1), "pairs": numbers(-1, 2), "last": numbers(-1),
        "first": numbers(-(2**63)), "rows": numbers(0), "back": numbers(-1), "flat": numbers(-1),
        "filler": np.float32(0),
    }  # fmt: skip


def scaled() -> Iterator[tuple[str, int, Nodes, Constants]]:
    """Yield the same; and the number of layers that it takes beside the stem."""
    by_channel, scalar = {"k": normal(6, 1, 1)}, {"k": np.float32(1.7)}
    for name, constants in (("by channel", by_channel), ("scalar", scalar), ("all axes", {"k": normal(1, 6, 1, 1)})):
        for op in ("Add", "Sub", "Mul", "Div"):
            yield f"{op} {name}", 0, [node(op, "c k", "y")], constants
            yield f"{op} {name} behind a relu", 1, [node("Relu", "c", "r"), node(op, "r k", "y")], constants
            if op != "Div":
                yield f"{op} {name}, constant first", 0, [node(op, "k c", "y")], constants
    residual = [node("Conv", "x w", "d", pads=[1, 1, 1, 1]), node("Add", "c d", "s")]
    yield "Add behind a residual", 1, [*residual, node("Add", "s k", "y")], by_channel
    yield "Mul behind a residual", 2, [*residual, node("Mul", "s k", "y")], by_channel
    flat = [node("GlobalAveragePool", "c", "p"), node("Flatten", "p", "f"), node("Relu", "f", "r")]
    norm = {"g": normal(6), "b": normal(6), "v": abs(normal(6))}
    yield "batch norm of a vector", 1, [*flat, node("BatchNormalization", "r g b b v", "y")], norm
    yield "Mul of a vector", 1, [*flat, node("Mul", "r row", "z"), node("Relu", "z", "y")], {"row": normal(6)}


def equals_onnxruntime(path: Path, batches: tuple[int, ...]) -> Any:
    model = load_onnx(path)
    for batch in batches:
        images = normal(batch, 4, 9, 8)
        expected = ort.InferenceSession(str(path)).run(None, {"x": images})[0]
        result = {done.name: value for done, value in run_float(model, images)}[model.graph.output]
        assert result.shape == expected.shape
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)
    return model


@pytest.mark.parametrize(
    ("opset", "nodes", "constants"), [pytest.param(*rest, id=f"{name}, opset {rest[0]}") for name, *rest in moved()]
)
def test_moves_equal_onnxruntime_with_an_open_batch(
    opset: int, nodes: Nodes, constants: Constants, tmp_path: Path
) -> None:
    equals_onnxruntime(save(tmp_path / "net.onnx", [STEM, *nodes], STEM_W | constants, OPEN, opset), (1, 3))


@pytest.mark.parametrize(
    ("layers", "nodes", "constants"), [pytest.param(*rest, id=name) for name, *rest in scaled()]
)  # fmt: skip
def test_scales_equal_onnxruntime_in_as_few_layers_as_can_be(
    layers: int, nodes: Nodes, constants: Constants, tmp_path: Path
) -> None:
    model = equals_onnxruntime(save(tmp_path / "net.onnx", [STEM, *nodes], STEM_W | constants, OPEN), (1, 3))
    assert len(model.graph.layers) == 1 + layers


@pytest.mark.parametrize("opset", [22, 23])
def test_opsets_that_runtimes_learn_now(opset: int, tmp_path: Path) -> None:
    """Nothing that the operators here mean has changed in them."""
    nodes = [
        node("BatchNormalization", "c g b b v", "d"), node("AveragePool", "d", "e", kernel_shape=[2, 2]),
        node("LeakyRelu", "e", "f"), node("MaxPool", "f", "g2", kernel_shape=[3, 3], ceil_mode=1, strides=[2, 2]),
        node("Pad", "g2 pads", "h"), node("GlobalMaxPool", "h", "i"), node("Flatten", "i", "y"),
    ]  # fmt: skip
    norm = {"g": normal(6), "b": normal(6), "v": abs(normal(6)), "pads": numbers(0, 0, 1, 0, 0, 0, 0, 2)}
    equals_onnxruntime(save(tmp_path / "net.onnx", [STEM, *nodes], STEM_W | norm, OPEN, opset), (2,))


def test_images_may_be_scaled_first(tmp_path: Path) -> None:
    """Preprocessing in the file: (x / 255 − mean) / deviation, on one 1×1 depthwise layer of its own."""
    before = [node("Div", "x full", "a"), node("Sub", "a mean", "b"), node("Div", "b dev", "c")]
    constants = {"full": np.float32(255), "mean": normal(4, 1, 1), "dev": abs(normal(1, 4, 1, 1)) + 1}
    conv = node("Conv", "c w", "y", pads=[1, 1, 1, 1])
    model = equals_onnxruntime(save(tmp_path / "net.onnx", [*before, conv], STEM_W | constants, OPEN), (2,))
    assert [layer.groups for layer in model.graph.layers] == [4, 1]


def test_a_shape_is_no_reader(tmp_path: Path) -> None:
    """The ReLU stays in the layer's lane."""
    nodes = [node("Relu", "c", "r"), node("Shape", "c", "shape"), node("Reshape", "r shape", "y")]
    graph = equals_onnxruntime(save(tmp_path / "net.onnx", [STEM, *nodes], STEM_W, OPEN), (2,)).graph
    assert [type(done) for done in graph.nodes] == [LayerNode]
    assert graph.layers[0].relu


SHAPE = node("Shape", "c", "shape")
REFUSED: list[tuple[Nodes, Constants, str]] = [
    ([SHAPE, node("Mul", "shape two", "s"), node("Reshape", "c s", "y")], {"two": numbers(2)},
     "(Mul): computes with the size of the batch, which is open"),
    ([SHAPE, node("Gather", "shape back", "s"), node("Reshape", "c s", "y")], {"back": numbers(1, 0, 2, 3)},
     "(Reshape): shape: must have the batch in front, alone"),
    ([SHAPE, node("Slice", "c shape e", "y")], {"e": numbers(1, 2, 3, 4)},
     "(Slice): starts depends on the size of the batch, which is open"),
    ([SHAPE, node("ConstantOfShape", "shape", "k"), node("Add", "c k", "y")], {},
     "(ConstantOfShape): its shape has the size of the batch, which is open"),
    ([node("ConstantOfShape", "s", "k"), node("Add", "c k", "y")], {"s": numbers(2**20, 2**20)},
     "(ConstantOfShape): must have one value and 0 … 268435456 elements, got the shape [1048576, 1048576]"),
    ([node("Div", "k c", "y")], {"k": floats(1)}, "(Div): must divide a tensor by a constant other than 0"),
    ([node("Div", "c k", "y")], {"k": floats(0)}, "(Div): must divide a tensor by a constant other than 0"),
    ([node("Div", "k z", "d"), node("Add", "c d", "y")], {"k": floats(1), "z": floats(0)},
     "(Div): makes a constant that is not finite"),
    ([node("Mul", "c c", "y")], {}, "(Mul): one of the two must be a constant"),
    ([node("Sub", "c k", "y")], {"k": normal(1, 6, 9, 8)},
     "(Sub): a constant must be one value or one a channel, (1, 6, 1, 1), got (1, 6, 9, 8)"),
    ([node("Cast", "c", "y", to=7)], {}, "(Cast): to: must be a floating-point type, got 7"),
    ([node("Squeeze", "c", "y")], {}, "(Squeeze): axes must be given: whether the batch is one of them is open"),
    ([node("Squeeze", "c a", "y")], {"a": numbers(2)}, "(Squeeze): axes: must be those of one element, got [2] of "),
    ([node("Unsqueeze", "c a", "y")], {"a": numbers(0)}, "(Unsqueeze): axes: must be 1 … 4, each once, got [0]"),
    ([helper.make_node("Split", ["c", "p"], ["y", "z"], name="n", axis=1)], {"p": numbers(2, 3)},
     "(Split): split: must cut 6 into 2, got [2, 3]"),
    ([node("Concat", "a b", "k", axis=0), node("Add", "c k", "y")], {"a": normal(2, 1), "b": normal(3)},
     "(Concat): all the input array"),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "constants", "message"), [pytest.param(*case, id=case[2][:40]) for case in REFUSED])
def test_what_cannot_be_worked_out_is_one_error(
    nodes: Nodes, constants: Constants, message: str, tmp_path: Path
) -> None:
    path = save(tmp_path / "net.onnx", [STEM, *nodes], STEM_W | constants, OPEN)
    with pytest.raises(WorkloadError) as caught:
        load_onnx(path)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_products_of_tensors_are_listed_beside_unsupported_operators(tmp_path: Path) -> None:
    """A squeeze-and-excitation block: what to do without is both, and neither is hidden by the other."""
    nodes = [
        node("GlobalAveragePool", "c", "p"), node("Sigmoid", "p", "s"), node("Mul", "c s", "m"), node("Erf", "k", "e"),
        node("Mul", "m e", "y"),
    ]  # fmt: skip
    with pytest.raises(WorkloadError) as caught:
        load_onnx(save(tmp_path / "net.onnx", [STEM, *nodes], STEM_W | {"k": normal(6, 1, 1)}))
    messages = [line.split(" ", 2)[2].split(" ", 1)[1] for line in str(caught.value).splitlines()]
    assert messages == [
        "(Sigmoid): operator is not supported", "(Mul): one of the two must be a constant",
        "(Erf): operator is not supported",
    ]  # fmt: skip


def test_a_fixed_batch_may_be_sliced_whole(tmp_path: Path) -> None:
    def sliced(end: int) -> Path:
        constants = STEM_W | {"s": numbers(0, 1), "e": numbers(end, 5), "a": numbers(0, 1)}
        return save(tmp_path / "net.onnx", [STEM, node("Slice", "c s e a", "y")], constants, (3, 4, 9, 8))

    equals_onnxruntime(sliced(3), (3,))
    with pytest.raises(WorkloadError, match="must keep the batch axis whole"):
        load_onnx(sliced(2))


def test_a_reshape_keeps_a_fixed_batch(tmp_path: Path) -> None:
    """Two images of 432 values are not four of 216."""
    nodes = [node("Reshape", "c s", "y")]
    path = save(tmp_path / "net.onnx", [STEM, *nodes], STEM_W | {"s": numbers(4, 216)}, (2, 4, 9, 8))
    with pytest.raises(WorkloadError, match=r"\(Reshape\): shape: must keep the batch of 2, got 4$"):
        load_onnx(path)


def test_constants_of_constants_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [node("Mul", "row column", "a"), node("Mul", "a row", "b"), node("Add", "c b", "y")]
    path = save(tmp_path / "net.onnx", [STEM, *nodes], STEM_W | {"row": normal(1, 2**15), "column": normal(2**15, 1)})
    with pytest.raises(WorkloadError, match=r"\(Mul\): makes a constant of 1073741824 elements, must be at most"):
        load_onnx(path)
    nodes = [node("Add", "one row", "a"), node("Add", "a row", "b"), node("Reshape", "c b", "y")]
    path = save(tmp_path / "net.onnx", [STEM, *nodes], STEM_W | {"row": numbers(*[7] * 60), "one": numbers(1)})
    monkeypatch.setattr(importing, "MOST_ELEMENTS", 100)
    with pytest.raises(WorkloadError, match=r"\(Add\): constants made of constants hold more than 100 elements"):
        load_onnx(path)


def test_parts_of_an_operator_take_no_name_that_is_there(tmp_path: Path) -> None:
    """Reducing without keepdims makes two nodes; one of the file has the name that the first would get."""
    taken = [
        helper.make_node("Relu", ["c"], ["m.mean"], name="other"),
        helper.make_node("ReduceMean", ["c"], ["p"], name="m", axes=[2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["m.mean"], ["q"], name="m.mean", axes=[2, 3], keepdims=0),
        node("Add", "p q", "y"),
    ]
    equals_onnxruntime(save(tmp_path / "net.onnx", [STEM, *taken], STEM_W, OPEN), (2,))


def test_weights_that_are_inputs_as_well(tmp_path: Path) -> None:
    """Files before IR version 4 list initializers among the inputs."""
    path = save(tmp_path / "net.onnx", [STEM, node("Relu", "c", "y")], STEM_W, opset=8)
    model = onnx.load(path)
    model.graph.input.insert(0, helper.make_tensor_value_info("w", 1, [6, 4, 3, 3]))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(STEM_W["w"], "w"))
    model.ir_version = 3
    path.write_bytes(model.SerializeToString())
    equals_onnxruntime(path, (1,))


def test_what_the_output_does_not_depend_on_is_left_out(tmp_path: Path) -> None:
    """A branch that nothing reads costs nothing, and the ReLU stays in the layer's lane."""
    branch = [node("Sigmoid", "c", "s"), node("Conv", "c w2", "d")]
    path = save(
        tmp_path / "net.onnx", [STEM, *branch, node("Relu", "c", "y")], STEM_W | {"w2": normal(2, 6, 1, 1)}, OPEN
    )
    graph = equals_onnxruntime(path, (2,)).graph
    assert [done.name for done in graph.nodes] == ["stem"]
