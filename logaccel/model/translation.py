"""What the translators of operators work on: the operators' constants and the graph in the making."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.model.build import Builder
from logaccel.model.constants import is_open
from logaccel.model.operators import Operator, OperatorGraph


class Translation:
    """A network on its way from operators to nodes; constants grow as operators on constants are worked out."""

    def __init__(self, graph: OperatorGraph, build: Builder) -> None:
        self.constants, self.build, self.batch = dict(graph.constants), build, graph.batch
        self.taken = {name for node in graph.nodes for name in (node.name, *node.inputs, *node.outputs)}

    def part(self, node: Operator, what: str) -> str:
        """Return a name for one of several nodes that an operator becomes; no node and no tensor has it."""
        name = f"{node.name}.{what}"
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    def tensor(self, node: Operator, index: int = 0) -> str:
        """Return the tensor of the graph that an operator reads."""
        if len(node.inputs) <= index or node.inputs[index] not in self.build.tensors:
            raise ValueError(f"input {index} must be computed by the network, got a constant or nothing")
        return self.build.tensors[node.inputs[index]]

    def constant(self, node: Operator, index: int, what: str) -> NDArray[Any]:
        """Return a constant that an operator reads."""
        if len(node.inputs) <= index or node.inputs[index] not in self.constants:
            raise ValueError(f"{what} must be a constant")
        value = self.constants[node.inputs[index]]
        if is_open(value) and node.op != "Reshape":
            raise ValueError(f"{what} depends on the size of the batch, which is open")
        return value

    def given(self, node: Operator, key: str, index: int) -> NDArray[Any] | None:
        """Return what older files have as an attribute and newer ones as a constant input."""
        if key in node.attributes:
            return np.asarray(node.attributes[key])
        if len(node.inputs) > index and node.inputs[index]:
            return self.constant(node, index, key)
        return None


def axis_of(axis: int, rank: int, what: str = "axis") -> int:
    """Return an axis, counted from the front. Raises ValueError for one that a tensor of that rank does not have."""
    if not -rank <= axis < rank:
        raise ValueError(f"{what}: must be {-rank} … {rank - 1}, got {axis}")
    return axis % rank


def number_of(value: NDArray[Any], what: str) -> float:
    """Return the one number of a constant."""
    if value.size != 1:
        raise ValueError(f"{what}: must be one number, got the shape {list(value.shape)}")
    return float(value.item())


def window_of(node: Operator, size: tuple[int, ...], kernel: tuple[int, int]) -> dict[str, Any]:
    """Return stride, dilation and padding (top, left, bottom, right) as numbers."""
    get = node.attributes.get
    stride, dilation = tuple(get("strides", (1, 1))), tuple(get("dilations", (1, 1)))
    padding = tuple(get("pads", (0, 0, 0, 0)))
    if (len(kernel), len(stride), len(dilation), len(padding)) != (2, 2, 2, 4):
        raise ValueError("windows must have two axes")
    if min(*kernel, *stride, *dilation) < 1 or min(padding) < 0 or max(*kernel, *stride, *dilation, *padding) > 2**16:
        raise ValueError(f"kernel {kernel}, strides {stride}, dilations {dilation}, pads {padding}: out of range")
    auto = get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        spans = [
            max((-(-size[a] // stride[a]) - 1) * stride[a] + dilation[a] * (kernel[a] - 1) + 1 - size[a], 0)
            for a in range(2)
        ]
        small, large = tuple(s // 2 for s in spans), tuple(s - s // 2 for s in spans)
        padding = (*small, *large) if auto == "SAME_UPPER" else (*large, *small)
    elif auto not in ("NOTSET", "VALID"):
        raise ValueError(f"auto_pad: {auto!r} is not supported")
    return {"stride": stride, "dilation": dilation, "padding": padding}
