"""Every operator in every form that files have it: float path against onnxruntime, from opset 7 to the latest."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_cases import STEM, STEM_W, helper, normal, save

from logaccel.errors import WorkloadError
from logaccel.model.onnx_import import load_onnx
from logaccel.model.reference import run_float

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

LATEST = min(onnx.defs.onnx_opset_version(), 21)  # of the operators here none has changed since; runtimes lag behind
Case = tuple[list[Any], dict[str, np.ndarray]]
node = helper.make_node


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def one(op: str, *constants: str, **attributes: Any) -> list[Any]:
    return [node(op, ["c", *constants], ["y"], name="n", **attributes)]


def cases() -> Iterator[tuple[str, int, list[Any], dict[str, np.ndarray]]]:
    """Yield name, opset, nodes after the stem c[1, 6, 9, 8], constants."""
    low, high = {"low": np.float32(0)}, {"high": np.float32(0.7)}
    for opset in (7, 9, 10):
        yield "clip attributes", opset, one("Clip", min=0.0, max=0.7), {}
        yield "clip on both sides", opset, one("Clip", min=-0.5, max=0.7), {}
        yield "clip without limits", opset, one("Clip", min=0.0, max=3.4028234663852886e38), {}
    for opset in (11, 13, LATEST):
        yield "clip", opset, one("Clip", "low", "high"), low | high
        yield "clip below 0", opset, one("Clip", "high", "low"), {"high": np.float32(-0.9), "low": np.float32(0)}
        yield "clip from 0", opset, one("Clip", "low"), low
        yield "clip from nothing", opset, one("Clip", "", "high"), high
    for opset in (7, 10):
        yield "dropout attribute", opset, one("Dropout", ratio=0.3), {}
    for opset in (12, 13, LATEST):
        yield "dropout", opset, one("Dropout", "r"), {"r": np.float32(0.3)}
        yield "dropout that says so", opset, one("Dropout", "r", "t"), {"r": np.float32(0.3), "t": np.array(False)}
    margins = (0, 1, 2, 0, 0, 3, 0, 1)
    yield "pad attributes", 7, one("Pad", pads=list(margins)), {}
    for opset in (11, 13, LATEST):
        yield "pad", opset, one("Pad", "p"), {"p": numbers(*margins)}
        yield "pad value", opset, one("Pad", "p", "z"), {"p": numbers(*margins), "z": np.float32(0)}
    yield "pad axes", LATEST, one("Pad", "p", "", "a"), {"p": numbers(1, 2, 0, 3), "a": numbers(-1, 1)}
    yield "slice attributes", 7, one("Slice", starts=[1, -5], ends=[4, 2**31], axes=[1, 3]), {}
    yield "slice no axes", 7, one("Slice", starts=[0, 2], ends=[2**31, 5]), {}
    for opset in (10, 13, LATEST):
        span = {"s": numbers(0, -7), "e": numbers(-1, 2**62), "a": numbers(1, -2), "t": numbers(2, 3)}
        yield "slice", opset, one("Slice", "s", "e", "a", "t"), span
        yield "slice in steps of one", opset, one("Slice", "s", "e", "a"), {k: span[k] for k in "sea"}
    for opset in (7, 13):
        yield "mean attributes", opset, one("ReduceMean", axes=[-1, 2]), {}
        yield "mean without axes", opset, one("ReduceMean", axes=[2, 3], keepdims=0), {}
    yield "mean", LATEST, one("ReduceMean", "a"), {"a": numbers(2, 3)}
    yield "mean away", LATEST, one("ReduceMean", "a", keepdims=0), {"a": numbers(-2, -1)}
    flat = [node("GlobalAveragePool", ["c"], ["g"], name="g"), node("Flatten", ["g"], ["f"], name="f")]
    for opset in (7, 11):
        yield "softmax default", opset, [*flat, node("Softmax", ["f"], ["y"], name="n")], {}
        yield "softmax default of a map", opset, [flat[0], node("Softmax", ["g"], ["y"], name="n")], {}
    for opset in (7, 13, LATEST):
        yield "softmax", opset, [*flat, node("Softmax", ["f"], ["y"], name="n", axis=-1)], {}
        yield "softmax of a map", opset, [flat[0], node("Softmax", ["g"], ["y"], name="n", axis=1)], {}
    yield "softmax last", LATEST, [*flat, node("Softmax", ["f"], ["y"], name="n")], {}
    moments = {"a": normal(6), "b": normal(6), "m": normal(6), "v": np.abs(normal(6)) + np.float32(0.1)}
    for opset in (7, 9, 14, 15, LATEST):
        extra = {"spatial": 1} if opset == 7 else {}
        yield "batch norm", opset, one("BatchNormalization", "a", "b", "m", "v", epsilon=1e-3, **extra), moments
    yield from windows()
    yield from moves()
    yield from layers()


def windows() -> Iterator[tuple[str, int, list[Any], dict[str, np.ndarray]]]:
    for op in ("MaxPool", "AveragePool"):
        for opset in (7, 11, LATEST):
            yield f"{op}", opset, one(op, kernel_shape=[3, 2], strides=[2, 3], pads=[1, 0, 2, 1]), {}
            for auto in ("SAME_UPPER", "SAME_LOWER", "VALID"):
                yield f"{op} {auto}", opset, one(op, kernel_shape=[2, 3], strides=[2, 2], auto_pad=auto), {}
        for opset in (10, 13, LATEST):
            for stride in (2, 3, 4):
                attributes = {"kernel_shape": [3, 3], "strides": [stride, stride], "ceil_mode": 1}
                yield f"{op} ceil {stride}", opset, one(op, **attributes), {}
                yield f"{op} ceil {stride} padded", opset, one(op, **attributes, pads=[1, 0, 1, 2]), {}
    for opset in (7, 10, LATEST):
        padded = {"kernel_shape": [3, 3], "pads": [2, 1, 0, 1], "strides": [2, 1]}
        yield "average counts padding", opset, one("AveragePool", **padded, count_include_pad=1), {}
    yield "max dilated", 10, one("MaxPool", kernel_shape=[3, 2], dilations=[2, 3], pads=[1, 1, 1, 1]), {}
    yield "average dilated", 19, one("AveragePool", kernel_shape=[3, 2], dilations=[2, 3]), {}
    for op in ("GlobalAveragePool", "GlobalMaxPool"):
        yield op, 7, one(op), {}
    for size in (1, 3, 5):
        yield f"lrn {size}", 7, one("LRN", size=size, alpha=0.2), {}
        yield f"lrn {size}", LATEST, one("LRN", size=size, alpha=0.2, beta=0.5, bias=2.0), {}


def moves() -> Iterator[tuple[str, int, list[Any], dict[str, np.ndarray]]]:
    for opset in (7, LATEST):
        yield "reshape", opset, one("Reshape", "s"), {"s": numbers(0, 3, -1, 4)}
        yield "reshape keeps", opset, one("Reshape", "s"), {"s": numbers(1, 0, 0, 0)}
        yield "flatten", opset, one("Flatten"), {}
        yield "flatten last", LATEST, one("Flatten", axis=-3), {}
        yield "transpose", opset, one("Transpose", perm=[0, 3, 1, 2]), {}
        yield "identity", opset, one("Identity"), {}
        yield "leaky", opset, one("LeakyRelu"), {}
        yield "leaky steep", opset, one("LeakyRelu", alpha=1.5), {}
        concat = [node("LeakyRelu", ["c"], ["d"], name="d"), node("Concat", ["d", "c"], ["y"], name="n", axis=-3)]
        yield "concat", opset, concat, {}
        twice = [node("LeakyRelu", ["c"], ["d"], name="d"), node("Add", ["d", "d"], ["y"], name="n")]
        yield "add to itself", opset, twice, {}


def layers() -> Iterator[tuple[str, int, list[Any], dict[str, np.ndarray]]]:
    for opset in (7, LATEST):
        for name, shape, attributes in (
            ("grouped", (9, 2, 3, 2), {"group": 3, "pads": [0, 2, 1, 0]}),
            ("depthwise", (6, 1, 3, 3), {"group": 6, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
            ("depthwise multiplied", (12, 1, 2, 3), {"group": 6, "dilations": [2, 2]}),
            ("dilated", (4, 6, 3, 3), {"dilations": [3, 2], "pads": [3, 1, 0, 2]}),
            ("strided", (4, 6, 1, 1), {"strides": [2, 3]}),
            ("wider than the map", (4, 6, 9, 8), {}),
            ("same upper", (4, 6, 2, 4), {"auto_pad": "SAME_UPPER", "strides": [2, 1]}),
            ("same lower", (4, 6, 4, 2), {"auto_pad": "SAME_LOWER", "strides": [1, 3]}),
            ("valid", (4, 6, 3, 3), {"auto_pad": "VALID", "kernel_shape": [3, 3]}),
        ):
            yield f"conv {name}", opset, one("Conv", "w2", **attributes), {"w2": normal(*shape)}
            bias = {"w2": normal(*shape), "b2": normal(shape[0])}
            yield f"conv {name}, bias", opset, one("Conv", "w2", "b2", **attributes), bias
        flat = node("Flatten", ["c"], ["f"], name="f")
        for name, inputs, constants, attributes in (
            ("gemm", ["m"], {"m": normal(432, 5)}, {}),
            ("gemm scalar", ["m", "s"], {"m": normal(432, 5), "s": normal(1)}, {"beta": 0.5}),
            ("gemm row", ["m", "s"], {"m": normal(5, 432), "s": normal(1, 5)}, {"transB": 1, "alpha": -2.0}),
        ):
            inputs = inputs if opset > 10 or len(inputs) > 1 else [*inputs, "none"]  # an input that came later
            constants = constants if "none" not in inputs else constants | {"none": np.zeros(5, np.float32)}
            yield name, opset, [flat, node("Gemm", ["f", *inputs], ["y"], name="n", **attributes)], constants


@pytest.mark.parametrize(
    ("opset", "nodes", "constants"),
    [pytest.param(*rest, id=f"{name}, opset {rest[0]}") for name, *rest in cases()],
)
def test_operator_equals_onnxruntime(
    opset: int, nodes: list[Any], constants: dict[str, np.ndarray], tmp_path: Path
) -> None:
    path = save(tmp_path / "net.onnx", [STEM, *nodes], STEM_W | constants, opset=opset)
    model, images = load_onnx(path), normal(1, 4, 9, 8)
    expected = ort.InferenceSession(str(path)).run(None, {"x": images})[0]
    result = {done.name: value for done, value in run_float(model, images)}[model.graph.output]
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


REFUSED: list[tuple[list[Any], dict[str, np.ndarray], str]] = [
    (one("Clip", min=0.5, max=0.7), {}, "n (Clip): 0 must lie between min and max, got 0.5 … "),
    (one("Clip", min=float("nan")), {}, "n (Clip): min: must be finite, got nan"),
    (one("LRN", size=5, alpha=float("inf")), {}, "n (LRN): alpha: must be finite, got inf"),
    (one("LRN", size=0), {}, "n (LRN): size: must be at least 1, got 0"),
    (one("Dropout", "r", "t"), {"r": np.float32(0.3), "t": np.array(True)}, "n (Dropout): training_mode: must be 0"),
    (one("Pad", "p"), {"p": numbers(0, 0, -1, 0, 0, 0, 0, 0)}, "n (Pad): pads: must be 8 numbers 0 … 65536, none on"),
    (one("Pad", "p"), {"p": numbers(1, 0, 0, 0, 0, 0, 0, 0)}, "n (Pad): pads: must be 8 numbers 0 … 65536, none on"),
    (one("Pad", "p", mode="reflect"), {"p": numbers(*[0] * 8)}, "n (Pad): mode: must be constant, got reflect"),
    (one("Pad", "p", "z"), {"p": numbers(*[0] * 8), "z": np.float32(1)}, "n (Pad): value: must be 0, got 1"),
    (one("Pad", "p", "", "a"), {"p": numbers(1, 1), "a": numbers(6)}, "n (Pad): axes: must be -4 … 3, got 6"),
    (one("Slice", "s", "e", "a"), {"s": numbers(1), "e": numbers(2), "a": numbers(0)}, "n (Slice): must keep the b"),
    (
        one("Slice", "s", "e", "a", "t"),
        {"s": numbers(5), "e": numbers(0), "a": numbers(1), "t": numbers(-1)},
        "n (Slice): steps: must be at least 1, got -1",
    ),
    (one("Slice", "s", "e", "a"), {"s": numbers(3), "e": numbers(3), "a": numbers(1)}, "n (Slice): its tensor would"),
    (one("Slice", "s", "e", "a"), {"s": numbers(3), "e": numbers(9), "a": numbers(5)}, "n (Slice): axes: must be -4 …"),
    (one("Slice", "s", "e"), {"s": numbers(0, 1), "e": numbers(9)}, "n (Slice): starts, ends, axes and steps: must be"),
    (
        one("Slice", "s", "e", "a"),
        {"s": numbers(0, 1), "e": numbers(4, 4), "a": numbers(1, -3)},
        "n (Slice): starts, ends, axes and steps: must be as many, each axis once",
    ),
    (
        one("ReduceMean", "a"),
        {"a": numbers(1)},
        "n (ReduceMean): axes: must be both axes of a map, 2 and 3, got [1] of",
    ),
    (one("ReduceMean", "a"), {"a": numbers(6, 7)}, "n (ReduceMean): axes: must be -4 … 3, got 6"),
    (one("Softmax", axis=2), {}, "n (Softmax): axis: must be 1, the channels"),
    (one("Softmax", axis=5), {}, "n (Softmax): axis: must be -4 … 3, got 5"),
    (one("Concat", axis=2), {}, "n (Concat): axis: must be 1, the channels, got 2"),
    (one("Concat", axis=5), {}, "n (Concat): axis: must be -4 … 3, got 5"),
    (one("Split", axis=5), {}, "n (Split): axis: must be -4 … 3, got 5"),
    (one("Split", axis=1, num_outputs=2), {}, "n (Split): num_outputs: must be the number of outputs, 1, got 2"),
    (one("Transpose", perm=[1, 0, 2, 3]), {}, "n (Transpose): perm: must keep the batch axis first, got [1, 0, 2, 3]"),
    (one("Reshape", "s"), {"s": numbers(1, 5, 7)}, "n (Reshape): [6, 9, 8] cannot become [5, 7]"),
    (one("Flatten", axis=2), {}, "n (Flatten): axis: must be 1, got 2"),
    (one("Flatten", axis=5), {}, "n (Flatten): axis: must be 1, got 5"),
    (one("Clip", "k"), {"k": normal(6)}, "n (Clip): min: must be one number, got the shape [6]"),
    (one("LeakyRelu", alpha="steep"), {}, "n (LeakyRelu): alpha: must be a number, got 'steep'"),
    (one("LeakyRelu", alpha=[0.1, 0.2]), {}, "n (LeakyRelu): alpha: must be a number, got [0.1"),
    (one("LRN", size=3.0), {}, "n (LRN): size: must be a whole number, got 3.0"),
    (one("LRN", size=3, bias=-1.0), {}, "n (LRN): bias: must be above 0 and alpha not below, got -1.0, "),
    (one("MaxPool", kernel_shape=[2.0, 2.0]), {}, "n (MaxPool): kernel_shape: must be a list of whole numbers, got ["),
    (
        one("Conv", "w2", pads="same"),
        {"w2": normal(8, 6, 1, 1)},
        "n (Conv): pads: must be a list of whole numbers, got",
    ),
    (one("Conv", "w2", auto_pad=2), {"w2": normal(8, 6, 1, 1)}, "n (Conv): auto_pad: must be text, got 2"),
    (one("Conv", "w2"), {"w2": numbers(*range(48)).reshape(8, 6, 1, 1)}, "n (Conv): its filter must hold floating-p"),
    (
        [node("Flatten", ["c"], ["f"], name="f"), node("Gemm", ["f", "m", "b"], ["y"], name="n")],
        {"m": normal(432, 5), "b": normal(4)},
        "n (Gemm): the bias must be one value or 5, got [4]",
    ),
    (one("MaxPool", kernel_shape=[3]), {}, "n (MaxPool): windows must have two axes"),
    (one("MaxPool", kernel_shape=[3, 3], storage_order=1), {}, "n (MaxPool): indices of the largest are not supported"),
    (one("MaxPool", kernel_shape=[2, 2], pads=[2, 0, 0, 0]), {}, "n (MaxPool): pads must be smaller than the kernel"),
    (one("AveragePool", kernel_shape=[99, 2]), {}, "n (AveragePool): its tensor would have the shape [6, -89, 7]"),
    (one("Conv", "w2", group=4), {"w2": normal(8, 2, 1, 1)}, "n (Conv): in_channels: must be a multiple of groups"),
    (one("Conv", "w2"), {"w2": normal(8, 5, 1, 1)}, "n (Conv): filter must be [8, 6, 1, 1], got [8, 5, 1, 1]"),
    (one("Conv", "w2", strides=[0, 1]), {"w2": normal(8, 6, 1, 1)}, "n (Conv): kernel (1, 1), strides (0, 1), "),
    (one("Conv", "w2", auto_pad="SAME"), {"w2": normal(8, 6, 1, 1)}, "n (Conv): auto_pad: 'SAME' is not supported"),
    (one("Conv", "w2", kernel_shape=[3, 3]), {"w2": normal(8, 6, 1, 1)}, "n (Conv): kernel_shape: must be that of"),
    (one("Conv", "w2", flavour=3), {"w2": normal(8, 6, 1, 1)}, "n (Conv): flavour: attribute is not supported"),
    (one("Conv", "w2", "b2"), {"w2": normal(8, 6, 1, 1), "b2": normal(7)}, "n (Conv): filter must be [8, 6, 1, 1], "),
    (one("Gemm", "m"), {"m": normal(6, 5)}, "n (Gemm): multiplies [N, C] by a matrix, got [6, 9, 8], [5, 6]"),
    (one("Gemm", "m", transA=1), {"m": normal(6, 5)}, "n (Gemm): transA: must be 0"),
    (one("Conv", "c"), {}, "n (Conv): the filter must be a constant"),
    (one("Add", "k"), {"k": normal(1, 6, 9, 8)}, "n (Add): "),
    (
        one("BatchNormalization", "a", "b", "a", "b", training_mode=1),
        {"a": normal(6), "b": normal(6)},
        "n (BatchNormalization): training_mode: must be 0",
    ),
    (
        one("BatchNormalization", "a", "b", "a", "v"),
        {"a": normal(6), "b": normal(6), "v": -np.ones(6, np.float32)},
        "n (BatchNormalization): variance + epsilon must be positive",
    ),
    (
        one("BatchNormalization", "a", "b", "a", "b", epsilon=99.0, spatial=0),
        {"a": normal(6), "b": normal(6)},
        "n (BatchNormalization): spatial: must be 1",
    ),
]


@pytest.mark.parametrize(("nodes", "constants", "message"), [pytest.param(*case, id=case[2][:40]) for case in REFUSED])
def test_what_is_not_supported_is_one_error(
    nodes: list[Any], constants: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    path = save(tmp_path / "net.onnx", [STEM, *nodes], STEM_W | constants)
    with pytest.raises(WorkloadError) as caught:
        load_onnx(path)
    assert str(caught.value).startswith(f"{path}: node {message}"), str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
