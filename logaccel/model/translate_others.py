"""Operators between layers: pools, clips, moves of codes, linear arithmetic off the array."""

from math import copysign, inf, prod

import numpy as np

from logaccel.model.constants import OPEN_BATCH
from logaccel.model.operators import Operator
from logaccel.model.translation import Translation, axis_of, number_of, window_of
from logaccel.workload.graph import Clip, Concat, FloatOp, Pad, Pool, Reshape, Slice, Transpose


def relu(net: Translation, node: Operator) -> None:
    """Translate Relu."""
    net.build.rectify(node.outputs[0], net.tensor(node), node.name)


def clip(net: Translation, node: Operator) -> None:
    """Translate Clip."""
    low, high = (net.given(node, key, index) for index, key in ((1, "min"), (2, "max")))
    lowest = -inf if low is None else _limit(number_of(low, "min"))
    highest = inf if high is None else _limit(number_of(high, "max"))
    if lowest > 0 or highest < 0:
        raise ValueError(f"0 must lie between min and max, got {lowest} … {highest}")
    if (lowest, highest) == (0.0, inf):
        net.build.rectify(node.outputs[0], net.tensor(node), node.name)
    else:
        net.build.put(node.outputs[0], Clip(node.name, (net.tensor(node),), lowest, highest))


def _limit(value: float) -> float:
    """Older files write the largest float32 where they mean no limit."""
    return value if abs(value) < 3.4e38 else copysign(inf, value)


def pool(net: Translation, node: Operator) -> None:
    """Translate MaxPool and AveragePool."""
    source = net.tensor(node)
    kernel = tuple(node.attributes.get("kernel_shape", ()))
    if (len(node.outputs) > 1 and node.outputs[1]) or node.attributes.get("storage_order", 0):
        raise ValueError("indices of the largest are not supported")
    window = window_of(node, net.build.shapes[source][1:], kernel)
    if any(margin >= taps for margin, taps in zip(window["padding"], kernel * 2, strict=True)):
        raise ValueError(f"pads must be smaller than the kernel, got {window['padding']} and {kernel}")
    pool = Pool(
        node.name, (source,), "max" if node.op == "MaxPool" else "average", kernel,
        ceil=bool(node.attributes.get("ceil_mode", 0)),
        counts_padding=bool(node.attributes.get("count_include_pad", 0)), **window,
    )  # fmt: skip
    net.build.put(node.outputs[0], pool)


def global_pool(net: Translation, node: Operator) -> None:
    """Translate GlobalAveragePool, GlobalMaxPool and ReduceMean."""
    source = net.tensor(node)
    shape = net.build.shapes[source]
    axes = net.given(node, "axes", 1) if node.op == "ReduceMean" else np.array([2, 3])
    given = [] if axes is None else [int(axis) for axis in axes]
    if len(shape) != 3 or sorted(axis_of(axis, 4, "axes") for axis in given) != [2, 3]:
        raise ValueError(f"axes: must be both axes of a map, 2 and 3, got {given} of [N, {', '.join(map(str, shape))}]")
    kind = "max" if node.op == "GlobalMaxPool" else "average"
    pool = Pool(node.name, (source,), kind, (shape[1], shape[2]), (1, 1), (0, 0, 0, 0))
    if node.op == "ReduceMean" and not node.attributes.get("keepdims", 1):
        pool_name = net.part(node, "mean")
        net.build.put(pool_name, Pool(pool_name, (source,), kind, pool.kernel, (1, 1), (0, 0, 0, 0)))
        net.build.put(node.outputs[0], Reshape(node.name, (pool_name,), (shape[0],)))
    else:
        net.build.put(node.outputs[0], pool)


def concat(net: Translation, node: Operator) -> None:
    """Translate Concat."""
    terms = tuple(net.tensor(node, index) for index in range(len(node.inputs)))
    rank = len(net.build.shapes[terms[0]]) + 1
    axis = node.attributes.get("axis", 1)
    if axis_of(axis, rank) != 1:
        raise ValueError(f"axis: must be 1, the channels, got {axis}")
    net.build.put(node.outputs[0], Concat(node.name, terms))


def reshape(net: Translation, node: Operator) -> None:
    """Translate Reshape, Flatten, Squeeze and Unsqueeze."""
    source = net.tensor(node)
    shape = net.build.shapes[source]
    wanted = _wanted_shape(net, node, shape)
    if wanted == shape:
        net.build.alias(node.outputs[0], source)
    else:
        net.build.put(node.outputs[0], Reshape(node.name, (source,), wanted))


def _wanted_shape(net: Translation, node: Operator, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape behind the batch that Reshape, Flatten, Squeeze or Unsqueeze makes of another."""
    if node.op == "Flatten":
        if (axis := node.attributes.get("axis", 1)) not in (1, -len(shape)):
            raise ValueError(f"axis: must be 1, got {axis}")
        return (prod(shape),)
    if node.op in ("Squeeze", "Unsqueeze"):
        return _with_axes(net, node, shape)
    given = net.given(node, "shape", 1)
    if given is None or given.ndim != 1 or len(given) < 2:
        raise ValueError("shape must be a constant of at least two numbers, the batch first")
    first, *sizes = (int(size) for size in given)
    if OPEN_BATCH in sizes:
        raise ValueError("shape: must have the batch in front, alone")
    if first > 0 and net.batch > 0 and first != net.batch:
        raise ValueError(f"shape: must keep the batch of {net.batch}, got {first}")
    if node.attributes.get("allowzero", 0) and 0 in sizes:
        raise ValueError("allowzero: must be 0 where a size is 0")
    sizes = [shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    known = prod(size for size in sizes if size != -1)
    return tuple(prod(shape) // known if size == -1 else size for size in sizes) if known > 0 else (0,)


def _with_axes(net: Translation, node: Operator, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without some axes of one element, or with some more."""
    given = net.given(node, "axes", 1)
    if given is None:
        raise ValueError("axes must be given: whether the batch is one of them is open")
    squeezes = node.op == "Squeeze"
    rank = len(shape) + 1 if squeezes else len(shape) + 1 + given.size
    axes = sorted(int(axis) + rank if axis < 0 else int(axis) for axis in given.reshape(-1))
    if len(set(axes)) < len(axes) or not all(0 < axis < rank for axis in axes):
        raise ValueError(f"axes: must be 1 … {rank - 1}, each once, got {given.tolist()}")
    if squeezes:
        if any(shape[axis - 1] != 1 for axis in axes):
            raise ValueError(f"axes: must be those of one element, got {given.tolist()} of {list(shape)}")
        return tuple(size for axis, size in enumerate(shape, start=1) if axis not in axes)
    sizes = iter(shape)
    return tuple(1 if axis in axes else next(sizes) for axis in range(1, rank))


def split(net: Translation, node: Operator) -> None:
    """Translate Split: a slice for every output."""
    source, outputs = net.tensor(node), node.outputs
    shape = net.build.shapes[source]
    axis = axis_of(node.attributes.get("axis", 0), len(shape) + 1) - 1
    if axis < 0:
        raise ValueError("axis: must not be the batch")
    if (number := node.attributes.get("num_outputs", len(outputs))) != len(outputs):
        raise ValueError(f"num_outputs: must be the number of outputs, {len(outputs)}, got {number}")
    given = net.given(node, "split", 1)
    size = -(-shape[axis] // len(outputs))  # since opset 18 the last part may be smaller
    sizes = [size] * (len(outputs) - 1) + [shape[axis] - size * (len(outputs) - 1)]
    sizes = sizes if given is None else [int(part) for part in given.reshape(-1)]
    if len(sizes) != len(outputs) or sum(sizes) != shape[axis] or min(sizes) < 1:
        raise ValueError(f"split: must cut {shape[axis]} into {len(outputs)}, got {sizes}")
    start = 0
    for index, (output, part) in enumerate(zip(outputs, sizes, strict=True)):
        begin, end = [0] * len(shape), list(shape)
        begin[axis], end[axis] = start, start + part
        name = net.part(node, str(index))
        net.build.put(output, Slice(name, (source,), tuple(begin), tuple(end), (1,) * len(shape)))
        start += part


def transpose(net: Translation, node: Operator) -> None:
    """Translate Transpose."""
    axes = node.attributes.get("perm", ())
    if not axes or axes[0] != 0:
        raise ValueError(f"perm: must keep the batch axis first, got {list(axes)}")
    net.build.put(node.outputs[0], Transpose(node.name, (net.tensor(node),), tuple(axis - 1 for axis in axes[1:])))


def pad(net: Translation, node: Operator) -> None:
    """Translate Pad."""
    source = net.tensor(node)
    rank = len(net.build.shapes[source]) + 1
    pads, value = net.given(node, "pads", 1), net.given(node, "value", 2)
    if (mode := node.attributes.get("mode", "constant")) != "constant":
        raise ValueError(f"mode: must be constant, got {mode}")
    if value is not None and (filler := number_of(value, "value")) != 0:
        raise ValueError(f"value: must be 0, got {filler:g}")
    margins = [] if pads is None else [int(margin) for margin in pads]
    axes = net.given(node, "axes", 3)  # since opset 18: the axes that the margins belong to
    if axes is not None and len(margins) == 2 * len(axes):
        given, margins = margins, [0] * (2 * rank)
        for place, axis in enumerate(axis_of(axis, rank, "axes") for axis in axes.tolist()):
            margins[axis], margins[axis + rank] = given[place], given[place + len(axes)]
    if len(margins) != 2 * rank or margins[0] or margins[rank] or min(margins) < 0 or max(margins) > 2**16:
        raise ValueError(f"pads: must be {2 * rank} numbers 0 … {2**16}, none on the batch axis, got {margins}")
    node_ = Pad(node.name, (source,), tuple(margins[1:rank]), tuple(margins[rank + 1 :]))
    net.build.put(node.outputs[0], node_)


def cut(net: Translation, node: Operator) -> None:
    """Translate Slice."""
    source = net.tensor(node)
    shape = net.build.shapes[source]
    starts, ends = net.given(node, "starts", 1), net.given(node, "ends", 2)
    axes, steps = net.given(node, "axes", 3), net.given(node, "steps", 4)
    if starts is None or ends is None:
        raise ValueError("starts and ends are missing")
    spans = [(0, size, 1) for size in shape]
    axes = np.arange(len(starts)) if axes is None else axes
    steps = np.ones(len(starts), int) if steps is None else steps
    places = [axis_of(axis, len(shape) + 1, "axes") - 1 for axis in axes.tolist()]
    if len({len(starts), len(ends), len(places), len(steps)}) > 1 or len(set(places)) < len(places):
        raise ValueError(f"starts, ends, axes and steps: must be as many, each axis once, got axes {axes.tolist()}")
    for start, end, place, step in zip(starts.tolist(), ends.tolist(), places, steps.tolist(), strict=True):
        whole = end >= 2**31 - 1 or 0 < net.batch <= end
        if place < 0 and (start, step) == (0, 1) and whole:
            continue
        if place < 0:
            raise ValueError("must keep the batch axis whole")
        if step < 1:
            raise ValueError(f"steps: must be at least 1, got {step}")
        low, high, _ = slice(start, end).indices(shape[place])
        spans[place] = (low, high, step)
    begin, stop, stride = zip(*spans, strict=True)
    net.build.put(node.outputs[0], Slice(node.name, (source,), begin, stop, stride))


def dropout(net: Translation, node: Operator) -> None:
    """Translate Dropout."""
    training = net.given(node, "training_mode", 2)
    if training is not None and training.any():
        raise ValueError("training_mode: must be 0")
    net.build.alias(node.outputs[0], net.tensor(node))


def cast(net: Translation, node: Operator) -> None:
    """Translate Cast: values are real numbers here, so that one real type is as good as another."""
    if node.attributes.get("to") not in (1, 10, 11, 16):
        raise ValueError(f"to: must be a floating-point type, got {node.attributes.get('to')}")
    net.build.alias(node.outputs[0], net.tensor(node))


def identity(net: Translation, node: Operator) -> None:
    """Translate Identity."""
    net.build.alias(node.outputs[0], net.tensor(node))


def float_op(net: Translation, node: Operator) -> None:
    """Translate LeakyRelu, LRN and Softmax."""
    source, get = net.tensor(node), node.attributes.get
    rank = len(net.build.shapes[source]) + 1
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
        if settings["bias"] <= 0 or settings["alpha"] < 0:  # the power of what is negative is no number
            raise ValueError(f"bias: must be above 0 and alpha not below, got {settings['bias']}, {settings['alpha']}")
    elif axis_of(get("axis", 1 if rank == 2 else -1), rank) != 1:
        raise ValueError("axis: must be 1, the channels")
    elif any(size > 1 for size in net.build.shapes[source][1:]):  # before opset 13 it meant all of them together
        raise ValueError(f"must be of one value a channel, got a map of {net.build.shapes[source]}")
    kind = {"LeakyRelu": "leaky_relu", "LRN": "lrn", "Softmax": "softmax"}[node.op]
    net.build.put(node.outputs[0], FloatOp(node.name, (source,), kind, tuple(settings.items())))
