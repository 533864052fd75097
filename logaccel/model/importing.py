"""Operators to nodes of a graph, shared by all importers. It builds records; it runs nothing."""

from collections import Counter
from collections.abc import Callable
from math import copysign, inf, isfinite, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from logaccel.errors import WorkloadError
from logaccel.model.build import Builder
from logaccel.model.model import Model
from logaccel.model.operators import Operator, OperatorGraph
from logaccel.section import problems
from logaccel.workload.graph import Clip, Concat, FloatOp, LayerNode, Pad, Pool, Reshape, Slice, Transpose
from logaccel.workload.layer import Layer


def import_operators(graph: OperatorGraph) -> Model:
    """Build a model of operators. Raises WorkloadError naming node and attribute, one line for every problem."""
    return _Importer(graph).model()


class _Importer:
    def __init__(self, graph: OperatorGraph) -> None:
        self.graph, self.constants = graph, graph.constants
        uses = Counter(name for node in graph.nodes for name in node.inputs) + Counter([graph.output_name])
        self.build = Builder(graph.input_shape, uses)
        self.faults: list[str] = []

    def model(self) -> Model:
        self.build.start(self.graph.input_name)
        for node in self.graph.nodes:
            self._take(node)
        if not self.faults and self.graph.output_name not in self.build.tensors:
            self.faults.append(f"{self.graph.subject}: output {self.graph.output_name}: no node makes it")
        if self.faults:
            raise WorkloadError("\n".join(self.faults))
        return self.build.model(self.graph.name, self.build.tensors[self.graph.output_name], self.graph.subject)

    def _take(self, node: Operator) -> None:
        """Translate one node; what depends on a faulty node is passed over, its own op is still checked."""
        place = node.place(self.graph.subject)
        if node.op == "Constant":
            if not all(name in self.constants for name in node.outputs):
                self.faults.append(f"{place}: holds no value that is supported")
            return
        known = _OPERATORS.get(node.op)
        if known is None:
            self.faults.append(f"{place}: operator is not supported")
            return
        translate, attributes = known
        odd = sorted(set(node.attributes) - set(attributes.split()))
        if odd:
            self.faults += [f"{place}: {key}: attribute is not supported" for key in odd]
            return
        source = next((name for name in node.inputs if name not in self.constants), None)
        if source is None or not node.outputs or not node.inputs:
            self.faults.append(f"{place}: must read a tensor and make one")
            return
        tensors = [self.build.tensors.get(name) for name in node.inputs if name and name not in self.constants]
        if None in tensors:
            if not self.faults:
                self.faults.append(f"{place}: reads a tensor that no node before it makes")
            return
        try:
            translate(self, node)
        except ValidationError as error:
            self.faults.append(problems(error, place))
        except (ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError) as error:
            self.faults.append(f"{place}: {' '.join(str(error).split()) or 'cannot be read'}")

    def tensor(self, node: Operator, index: int = 0) -> str:
        if len(node.inputs) <= index or node.inputs[index] not in self.build.tensors:
            raise ValueError(f"input {index} must be computed by the network, got a constant or nothing")
        return self.build.tensors[node.inputs[index]]

    def constant(self, node: Operator, index: int, what: str) -> NDArray[Any]:
        if len(node.inputs) <= index or node.inputs[index] not in self.constants:
            raise ValueError(f"{what} must be a constant")
        return self.constants[node.inputs[index]]

    def given(self, node: Operator, key: str, index: int) -> NDArray[Any] | None:
        """Return what older files have as an attribute and newer ones as a constant input."""
        if key in node.attributes:
            return np.asarray(node.attributes[key])
        if len(node.inputs) > index and node.inputs[index]:
            return self.constant(node, index, key)
        return None


def _window(node: Operator, size: tuple[int, ...], kernel: tuple[int, int]) -> dict[str, Any]:
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


def _conv(self: _Importer, node: Operator) -> None:
    source, weights = self.tensor(node), self.constant(node, 1, "the filter")
    shape = self.build.shapes[source]
    if weights.ndim != 4 or len(shape) != 3:
        raise ValueError(f"convolves maps of two axes, got a filter {list(weights.shape)} on {list(shape)}")
    kernel = (int(weights.shape[2]), int(weights.shape[3]))
    if tuple(node.attributes.get("kernel_shape", kernel)) != kernel:
        raise ValueError(f"kernel_shape: must be that of the filter, {kernel}, got {node.attributes['kernel_shape']}")
    has_bias = len(node.inputs) > 2 and node.inputs[2]
    bias = self.constant(node, 2, "the bias") if has_bias else np.zeros(weights.shape[0])
    layer = Layer(
        name=node.name, in_channels=shape[0], out_channels=int(weights.shape[0]), in_size=shape[1:], kernel=kernel,
        groups=node.attributes.get("group", 1), relu=False, **_window(node, shape[1:], kernel),
    )  # fmt: skip
    if weights.shape != layer.filter_shape or bias.shape != (layer.out_channels,):
        raise ValueError(
            f"filter must be {list(layer.filter_shape)}, got {list(weights.shape)}, bias {list(bias.shape)}"
        )
    self.build.put_layer(node.outputs[0], LayerNode(node.name, (source,), layer), weights, bias)


def _connected(self: _Importer, node: Operator, weights: NDArray[Any], bias: NDArray[Any]) -> None:
    source = self.tensor(node)
    if weights.ndim != 2 or len(self.build.shapes[source]) != 1:
        raise ValueError(f"multiplies [N, C] by a matrix, got {list(self.build.shapes[source])}, {list(weights.shape)}")
    layer = Layer(
        name=node.name, kind="fc", in_channels=int(weights.shape[1]), out_channels=int(weights.shape[0]), relu=False
    )
    self.build.put_layer(node.outputs[0], LayerNode(node.name, (source,), layer), weights, bias)


def _gemm(self: _Importer, node: Operator) -> None:
    if node.attributes.get("transA", 0):
        raise ValueError("transA: must be 0")
    weights, alpha = self.constant(node, 1, "the matrix"), node.attributes.get("alpha", 1.0)
    weights = weights if alpha == 1.0 else weights.astype(np.float64) * alpha
    weights = weights if node.attributes.get("transB", 0) else weights.T
    bias = np.zeros(weights.shape[0])
    if len(node.inputs) > 2 and node.inputs[2]:
        given = self.constant(node, 2, "the bias").astype(np.float64) * node.attributes.get("beta", 1.0)
        bias = np.broadcast_to(given, (1, weights.shape[0]))[0]
    _connected(self, node, weights, bias)


def _matmul(self: _Importer, node: Operator) -> None:
    weights = self.constant(node, 1, "the matrix").T
    _connected(self, node, weights, np.zeros(weights.shape[0]))


def _batch_norm(self: _Importer, node: Operator) -> None:
    for key, wanted in (("training_mode", 0), ("spatial", 1)):
        if node.attributes.get(key, wanted) != wanted:
            raise ValueError(f"{key}: must be {wanted}")
    source = self.tensor(node)
    gamma, beta, mean, variance = (
        self.constant(node, index, what).astype(np.float64)
        for index, what in enumerate(("scale", "bias", "mean", "variance"), start=1)
    )
    shape = self.build.shapes[source]
    if any(part.shape != (shape[0],) for part in (gamma, beta, mean, variance)):
        raise ValueError(f"scale, bias, mean and variance must have {shape[0]} elements")
    spread = variance + node.attributes.get("epsilon", 1e-5)
    if not (spread > 0).all():
        raise ValueError("variance + epsilon must be positive")
    factor = gamma / np.sqrt(spread)
    layer = self.build.open_layer(source)
    if layer is not None and self.build.scale(layer, factor, beta - mean * factor):
        self.build.alias(node.outputs[0], source)
        return
    if len(shape) != 3:
        raise ValueError("must follow a layer that it can be folded into")
    alone = Layer(
        name=node.name, in_channels=shape[0], out_channels=shape[0], in_size=shape[1:], groups=shape[0], relu=False
    )  # a 1×1 depthwise convolution
    weights = factor.reshape(-1, 1, 1, 1)
    self.build.put_layer(node.outputs[0], LayerNode(node.name, (source,), alone), weights, beta - mean * factor)
    self.build.norm_factors[node.name] = factor


def _add(self: _Importer, node: Operator) -> None:
    if all(name in self.build.tensors for name in node.inputs) and len(node.inputs) == 2:
        self.build.add(node.outputs[0], (self.tensor(node, 0), self.tensor(node, 1)), node.name)
        return
    index = 0 if node.inputs[0] in self.build.tensors else 1
    source, shift = self.tensor(node, index), self.constant(node, 1 - index, "the other term").astype(np.float64)
    layer = self.build.open_layer(source)
    channels = self.build.shapes[source][0]
    wanted = (1, channels) if len(self.build.shapes[source]) == 1 else (1, channels, 1, 1)
    if layer is None:
        raise ValueError("a constant can be added only to a layer that nothing else reads")
    self.build.scale(layer, np.ones(channels), np.broadcast_to(shift, wanted).reshape(-1))
    self.build.alias(node.outputs[0], source)


def _relu(self: _Importer, node: Operator) -> None:
    self.build.rectify(node.outputs[0], self.tensor(node), node.name)


def _clip(self: _Importer, node: Operator) -> None:
    low, high = (self.given(node, key, index) for index, key in ((1, "min"), (2, "max")))
    lowest = -inf if low is None else _limit(float(low.item()))
    highest = inf if high is None else _limit(float(high.item()))
    if lowest > 0 or highest < 0 or (lowest < 0 and isfinite(lowest)):
        raise ValueError(f"min must be 0 or none and max positive or none, got {lowest} … {highest}")
    if (lowest, highest) == (0.0, inf):
        self.build.rectify(node.outputs[0], self.tensor(node), node.name)
    else:
        self.build.put(node.outputs[0], Clip(node.name, (self.tensor(node),), lowest, highest))


def _limit(value: float) -> float:
    """Older files write the largest float32 where they mean no limit."""
    return value if abs(value) < 3.4e38 else copysign(inf, value)


def _pool(self: _Importer, node: Operator) -> None:
    source = self.tensor(node)
    kernel = tuple(node.attributes.get("kernel_shape", ()))
    if (len(node.outputs) > 1 and node.outputs[1]) or node.attributes.get("storage_order", 0):
        raise ValueError("indices of the largest are not supported")
    window = _window(node, self.build.shapes[source][1:], kernel)
    if any(margin >= taps for margin, taps in zip(window["padding"], kernel * 2, strict=True)):
        raise ValueError(f"pads must be smaller than the kernel, got {window['padding']} and {kernel}")
    pool = Pool(
        node.name, (source,), "max" if node.op == "MaxPool" else "average", kernel,
        ceil=bool(node.attributes.get("ceil_mode", 0)),
        counts_padding=bool(node.attributes.get("count_include_pad", 0)), **window,
    )  # fmt: skip
    self.build.put(node.outputs[0], pool)


def _global_pool(self: _Importer, node: Operator) -> None:
    source = self.tensor(node)
    shape = self.build.shapes[source]
    axes = self.given(node, "axes", 1) if node.op == "ReduceMean" else np.array([2, 3])
    if axes is None or len(shape) != 3 or sorted(int(axis) % 4 for axis in axes) != [2, 3]:
        raise ValueError("must average over both axes of a map")
    kind = "max" if node.op == "GlobalMaxPool" else "average"
    pool = Pool(node.name, (source,), kind, (shape[1], shape[2]), (1, 1), (0, 0, 0, 0))
    if node.op == "ReduceMean" and not node.attributes.get("keepdims", 1):
        pool_name = f"{node.name}.mean"
        self.build.put(pool_name, Pool(pool_name, (source,), kind, pool.kernel, (1, 1), (0, 0, 0, 0)))
        self.build.put(node.outputs[0], Reshape(node.name, (pool_name,), (shape[0],)))
    else:
        self.build.put(node.outputs[0], pool)


def _concat(self: _Importer, node: Operator) -> None:
    terms = tuple(self.tensor(node, index) for index in range(len(node.inputs)))
    rank = len(self.build.shapes[terms[0]]) + 1
    if node.attributes.get("axis", 1) % rank != 1:
        raise ValueError(f"axis: must be 1, the channels, got {node.attributes['axis']}")
    self.build.put(node.outputs[0], Concat(node.name, terms))


def _reshape(self: _Importer, node: Operator) -> None:
    source = self.tensor(node)
    shape = self.build.shapes[source]
    if node.op == "Flatten":
        if node.attributes.get("axis", 1) % (len(shape) + 1) != 1:
            raise ValueError(f"axis: must be 1, got {node.attributes['axis']}")
        wanted: tuple[int, ...] = (prod(shape),)
    else:
        given = self.given(node, "shape", 1)
        if given is None or given.ndim != 1 or len(given) < 2:
            raise ValueError("shape must be a constant of at least two numbers, the batch first")
        sizes = [int(size) for size in given[1:]]
        if node.attributes.get("allowzero", 0) and 0 in sizes:
            raise ValueError("allowzero: must be 0 where a size is 0")
        sizes = [shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
        known = prod(size for size in sizes if size != -1)
        wanted = tuple(prod(shape) // known if size == -1 else size for size in sizes) if known > 0 else (0,)
    if wanted == shape:
        self.build.alias(node.outputs[0], source)
    else:
        self.build.put(node.outputs[0], Reshape(node.name, (source,), wanted))


def _transpose(self: _Importer, node: Operator) -> None:
    axes = node.attributes.get("perm", ())
    if not axes or axes[0] != 0:
        raise ValueError(f"perm: must keep the batch axis first, got {list(axes)}")
    self.build.put(node.outputs[0], Transpose(node.name, (self.tensor(node),), tuple(axis - 1 for axis in axes[1:])))


def _pad(self: _Importer, node: Operator) -> None:
    source = self.tensor(node)
    rank = len(self.build.shapes[source]) + 1
    pads, value = self.given(node, "pads", 1), self.given(node, "value", 2)
    if node.attributes.get("mode", "constant") != "constant" or (value is not None and float(value.item()) != 0.0):
        raise ValueError("must pad with zeros")
    margins = [] if pads is None else [int(margin) for margin in pads]
    axes = self.given(node, "axes", 3)  # since opset 18: the axes that the margins belong to
    if axes is not None and len(margins) == 2 * len(axes):
        given, margins = margins, [0] * (2 * rank)
        for place, axis in enumerate(axes.tolist()):
            margins[axis % rank], margins[axis % rank + rank] = given[place], given[place + len(axes)]
    if len(margins) != 2 * rank or margins[0] or margins[rank] or min(margins) < 0 or max(margins) > 2**16:
        raise ValueError(f"pads: must be {2 * rank} numbers 0 … {2**16}, none on the batch axis, got {margins}")
    node_ = Pad(node.name, (source,), tuple(margins[1:rank]), tuple(margins[rank + 1 :]))
    self.build.put(node.outputs[0], node_)


def _slice(self: _Importer, node: Operator) -> None:
    source = self.tensor(node)
    shape = self.build.shapes[source]
    starts, ends = self.given(node, "starts", 1), self.given(node, "ends", 2)
    axes, steps = self.given(node, "axes", 3), self.given(node, "steps", 4)
    if starts is None or ends is None:
        raise ValueError("starts and ends are missing")
    spans = [(0, size, 1) for size in shape]
    axes = np.arange(len(starts)) if axes is None else axes
    steps = np.ones(len(starts), int) if steps is None else steps
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes.tolist(), steps.tolist(), strict=True):
        place = axis % (len(shape) + 1) - 1
        if place < 0 and (start, step) == (0, 1) and end >= 2**31 - 1:
            continue
        if place < 0:
            raise ValueError("must keep the batch axis whole")
        if step < 1:
            raise ValueError(f"steps: must be at least 1, got {step}")
        low, high, _ = slice(start, end).indices(shape[place])
        spans[place] = (low, high, step)
    begin, stop, stride = zip(*spans, strict=True)
    self.build.put(node.outputs[0], Slice(node.name, (source,), begin, stop, stride))


def _dropout(self: _Importer, node: Operator) -> None:
    training = self.given(node, "training_mode", 2)
    if training is not None and training.any():
        raise ValueError("training_mode: must be 0")
    self.build.alias(node.outputs[0], self.tensor(node))


def _identity(self: _Importer, node: Operator) -> None:
    self.build.alias(node.outputs[0], self.tensor(node))


def _float_op(self: _Importer, node: Operator) -> None:
    source, get = self.tensor(node), node.attributes.get
    rank = len(self.build.shapes[source]) + 1
    settings: dict[str, float] = {}
    if node.op == "LeakyRelu":
        settings = {"alpha": get("alpha", 0.01)}
    elif node.op == "LRN":
        settings = {
            "size": get("size", 0),
            "alpha": get("alpha", 1e-4),
            "beta": get("beta", 0.75),
            "bias": get("bias", 1.0),
        }
        if not 1 <= settings["size"] <= 2**16:
            raise ValueError(f"size: must be at least 1, got {settings['size']}")
    elif get("axis", 1 if rank == 2 else -1) % rank != 1:
        raise ValueError("axis: must be 1, the channels")
    elif any(size > 1 for size in self.build.shapes[source][1:]):  # before opset 13 it meant all of them together
        raise ValueError(f"must be of one value a channel, got a map of {self.build.shapes[source]}")
    kind = {"LeakyRelu": "leaky_relu", "LRN": "lrn", "Softmax": "softmax"}[node.op]
    self.build.put(node.outputs[0], FloatOp(node.name, (source,), kind, tuple(settings.items())))


_WINDOW = "kernel_shape strides dilations pads auto_pad"
_OPERATORS: dict[str, tuple[Callable[[_Importer, Operator], None], str]] = {
    "Conv": (_conv, f"{_WINDOW} group"),
    "Gemm": (_gemm, "alpha beta transA transB"),
    "MatMul": (_matmul, ""),
    "BatchNormalization": (_batch_norm, "epsilon momentum training_mode spatial"),
    "Add": (_add, ""),
    "Relu": (_relu, ""),
    "Clip": (_clip, "min max"),
    "MaxPool": (_pool, f"{_WINDOW} ceil_mode storage_order"),
    "AveragePool": (_pool, f"{_WINDOW} ceil_mode count_include_pad"),
    "GlobalAveragePool": (_global_pool, ""),
    "GlobalMaxPool": (_global_pool, ""),
    "ReduceMean": (_global_pool, "axes keepdims noop_with_empty_axes"),
    "Concat": (_concat, "axis"),
    "Flatten": (_reshape, "axis"),
    "Reshape": (_reshape, "shape allowzero"),
    "Transpose": (_transpose, "perm"),
    "Pad": (_pad, "mode pads value"),
    "Slice": (_slice, "starts ends axes"),
    "Dropout": (_dropout, "ratio seed is_test"),
    "Identity": (_identity, ""),
    "LeakyRelu": (_float_op, "alpha"),
    "LRN": (_float_op, "size alpha beta bias"),
    "Softmax": (_float_op, "axis"),
}  # fmt: skip
