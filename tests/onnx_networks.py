"""The two networks of the paper as ONNX files, weights drawn: shapes and operators are those a user's file has."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
helper = onnx.helper


class Writer:
    """A chain of operators, each reading the tensor before it."""

    def __init__(self, seed: int) -> None:
        self.rng, self.tensor = np.random.default_rng(seed), "data"
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def put(self, op: str, name: str, constants: tuple[str, ...] = (), **attributes: Any) -> None:
        self.nodes.append(helper.make_node(op, [self.tensor, *constants], [name], name=name, **attributes))
        self.tensor = name

    def draw(self, name: str, shape: tuple[int, ...]) -> str:
        """Draw weights whose products keep their size (He et al. 2015); a vector is a small bias."""
        inputs = int(np.prod(shape[1:]))
        values = self.rng.standard_normal(shape, np.float32)
        values *= np.float32((2 / inputs) ** 0.5 if len(shape) > 1 else 0.01)
        tensor = onnx.TensorProto(name=name, data_type=1, dims=shape, raw_data=values.tobytes())
        self.initializers.append(tensor)
        return name

    def layer(self, op: str, name: str, shape: tuple[int, ...], relu: bool = True, **attributes: Any) -> None:
        constants = self.draw(f"{name}.weight", shape), self.draw(f"{name}.bias", shape[:1])
        self.put(op, name, constants, **attributes)
        if relu:
            self.put("Relu", f"{name}.relu")

    def save(self, path: Path, size: int, opset: int) -> Path:
        opened = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes, path.stem, [opened("data", 1, [1, 3, size, size])], [opened(self.tensor, 1, [1, 1000])],
            self.initializers,
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        path.write_bytes(model.SerializeToString())
        return path


def alexnet(path: Path) -> Path:
    """Write AlexNet as published (Krizhevsky et al. 2012): groups, overlapping pools, response normalisation."""
    net = Writer(1)
    norm = {"size": 5, "alpha": 1e-4, "beta": 0.75, "bias": 1.0}
    pool = {"kernel_shape": [3, 3], "strides": [2, 2]}
    net.layer("Conv", "conv1", (96, 3, 11, 11), strides=[4, 4], kernel_shape=[11, 11])
    net.put("LRN", "norm1", **norm)
    net.put("MaxPool", "pool1", **pool)
    net.layer("Conv", "conv2", (256, 48, 5, 5), pads=[2, 2, 2, 2], group=2, kernel_shape=[5, 5])
    net.put("LRN", "norm2", **norm)
    net.put("MaxPool", "pool2", **pool)
    net.layer("Conv", "conv3", (384, 256, 3, 3), pads=[1, 1, 1, 1])
    net.layer("Conv", "conv4", (384, 192, 3, 3), pads=[1, 1, 1, 1], group=2)
    net.layer("Conv", "conv5", (256, 192, 3, 3), pads=[1, 1, 1, 1], group=2)
    net.put("MaxPool", "pool5", **pool)
    net.put("Flatten", "flat")
    for name, shape in (("fc6", (4096, 9216)), ("fc7", (4096, 4096))):
        net.layer("Gemm", name, shape, transB=1)
        net.put("Dropout", f"{name}.drop", ratio=0.5)
    net.layer("Gemm", "fc8", (1000, 4096), relu=False, transB=1)
    net.put("Softmax", "prob", axis=1)
    return net.save(path, 227, opset=9)


def vgg16(path: Path) -> Path:
    """Write VGG16 (Simonyan and Zisserman 2015, configuration D)."""
    net, before = Writer(2), 3
    for block, (channels, count) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), start=1):
        for index in range(1, count + 1):
            net.layer("Conv", f"conv{block}_{index}", (channels, before, 3, 3), pads=[1, 1, 1, 1])
            before = channels
        net.put("MaxPool", f"pool{block}", kernel_shape=[2, 2], strides=[2, 2])
    net.put("Flatten", "flat")
    net.layer("Gemm", "fc6", (4096, 25088), transB=1)
    net.layer("Gemm", "fc7", (4096, 4096), transB=1)
    net.layer("Gemm", "fc8", (1000, 4096), relu=False, transB=1)
    return net.save(path, 224, opset=13)
