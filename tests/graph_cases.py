"""Small ONNX networks that several tests import, from the tensor `x` to the tensor `y`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from logaccel.model.model import Model
from logaccel.model.onnx_import import load_onnx

onnx = pytest.importorskip("onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
RNG = np.random.default_rng(7)


def save(
    path: Path,
    nodes: Sequence[Any],
    constants: dict[str, np.ndarray],
    shape: Sequence[Any] = (1, 4, 9, 8),
    opset: int = 17,
) -> Path:
    """Write a network from `x` to `y`."""
    graph = helper.make_graph(
        list(nodes), "net",
        [helper.make_tensor_value_info("x", 1, list(shape))], [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
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
    "softmax": [
        helper.make_node("GlobalAveragePool", ["c"], ["pooled"], name="pool"),
        helper.make_node("Softmax", ["pooled"], ["y"], name="n", axis=1),
    ],
    "maxpool": [
        helper.make_node("MaxPool", ["c"], ["y"], name="n", kernel_shape=[3, 2], strides=[2, 3], pads=[1, 0, 0, 1])
    ],
    "relu behind maxpools": [
        helper.make_node("MaxPool", ["c"], ["p"], name="p", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("MaxPool", ["p"], ["q"], name="q", kernel_shape=[2, 2]),
        helper.make_node("Relu", ["q"], ["y"], name="n"),
    ],
    "relu behind a pool that is read twice": [
        helper.make_node("MaxPool", ["c"], ["p"], name="p", kernel_shape=[3, 3]),
        helper.make_node("Relu", ["p"], ["r"], name="n"),
        helper.make_node("Concat", ["p", "r"], ["y"], name="cc", axis=1),
    ],
    "relu behind an average": [
        helper.make_node("AveragePool", ["c"], ["p"], name="p", kernel_shape=[3, 3]),
        helper.make_node("Relu", ["p"], ["y"], name="n"),
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
