"""Layers, and the scales and shifts by channel that are folded into them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.model.build import Floats
from logaccel.model.operators import Operator
from logaccel.model.translation import Translation, window_of
from logaccel.workload.graph import LayerNode, Reshape
from logaccel.workload.layer import Layer


def conv(net: Translation, node: Operator) -> None:
    """Translate Conv."""
    source, weights = net.tensor(node), net.constant(node, 1, "the filter")
    shape = net.build.shapes[source]
    if weights.ndim != 4 or len(shape) != 3:
        raise ValueError(f"convolves maps of two axes, got a filter {list(weights.shape)} on {list(shape)}")
    kernel = (int(weights.shape[2]), int(weights.shape[3]))
    if tuple(node.attributes.get("kernel_shape", kernel)) != kernel:
        raise ValueError(f"kernel_shape: must be that of the filter, {kernel}, got {node.attributes['kernel_shape']}")
    has_bias = len(node.inputs) > 2 and node.inputs[2]
    bias = net.constant(node, 2, "the bias") if has_bias else np.zeros(weights.shape[0])
    layer = Layer(
        name=node.name, in_channels=shape[0], out_channels=int(weights.shape[0]), in_size=shape[1:], kernel=kernel,
        groups=node.attributes.get("group", 1), relu=False, **window_of(node, shape[1:], kernel),
    )  # fmt: skip
    if weights.shape != layer.filter_shape or bias.shape != (layer.out_channels,):
        raise ValueError(
            f"filter must be {list(layer.filter_shape)}, got {list(weights.shape)}, bias {list(bias.shape)}"
        )
    made = net.build.take_padding(LayerNode(node.name, (source,), layer))
    net.build.put_layer(node.outputs[0], made, weights, bias)


def _connected(net: Translation, node: Operator, weights: NDArray[Any], bias: NDArray[Any]) -> None:
    source = net.tensor(node)
    if weights.ndim != 2 or len(net.build.shapes[source]) != 1:
        raise ValueError(f"multiplies [N, C] by a matrix, got {list(net.build.shapes[source])}, {list(weights.shape)}")
    layer = Layer(
        name=node.name, kind="fc", in_channels=int(weights.shape[1]), out_channels=int(weights.shape[0]), relu=False
    )
    net.build.put_layer(node.outputs[0], LayerNode(node.name, (source,), layer), weights, bias)


def gemm(net: Translation, node: Operator) -> None:
    """Translate Gemm, alpha and beta within the parameters."""
    if node.attributes.get("transA", 0):
        raise ValueError("transA: must be 0")
    weights, alpha = net.constant(node, 1, "the matrix"), node.attributes.get("alpha", 1.0)
    weights = weights if alpha == 1.0 else weights.astype(np.float64) * alpha
    weights = weights if node.attributes.get("transB", 0) else weights.T
    bias = np.zeros(weights.shape[0])
    if len(node.inputs) > 2 and node.inputs[2]:
        given = net.constant(node, 2, "the bias").astype(np.float64) * node.attributes.get("beta", 1.0)
        try:
            bias = np.broadcast_to(given, (1, weights.shape[0]))[0]
        except ValueError:
            raise ValueError(f"the bias must be one value or {weights.shape[0]}, got {list(given.shape)}") from None
    _connected(net, node, weights, bias)


def matmul(net: Translation, node: Operator) -> None:
    """Translate MatMul."""
    weights = net.constant(node, 1, "the matrix").T
    _connected(net, node, weights, np.zeros(weights.shape[0]))


def batch_norm(net: Translation, node: Operator) -> None:
    """Translate BatchNormalization."""
    for key, wanted in (("training_mode", 0), ("spatial", 1)):
        if node.attributes.get(key, wanted) != wanted:
            raise ValueError(f"{key}: must be {wanted}")
    source = net.tensor(node)
    gamma, beta, mean, variance = (
        net.constant(node, index, what).astype(np.float64)
        for index, what in enumerate(("scale", "bias", "mean", "variance"), start=1)
    )
    shape = net.build.shapes[source]
    if any(part.shape != (shape[0],) for part in (gamma, beta, mean, variance)):
        raise ValueError(f"scale, bias, mean and variance must have {shape[0]} elements")
    spread = variance + node.attributes.get("epsilon", 1e-5)
    if not (spread > 0).all():
        raise ValueError("variance + epsilon must be positive")
    factor = gamma / np.sqrt(spread)
    _scale(net, node, factor, beta - mean * factor)


def affine(net: Translation, node: Operator) -> None:
    """Translate Add, Sub, Mul and Div: with a constant for every channel it is a batch norm, two tensors are added."""
    if len(node.inputs) != 2:
        raise ValueError(f"must have two inputs, got {len(node.inputs)}")
    if all(name in net.build.tensors for name in node.inputs):  # of Add alone: the importer has looked
        net.build.add(node.outputs[0], (net.tensor(node, 0), net.tensor(node, 1)), node.name)
        return
    place = 0 if node.inputs[0] in net.build.tensors else 1
    shape = net.build.shapes[net.tensor(node, place)]
    given = net.constant(node, 1 - place, "the other term").astype(np.float64)
    wanted = (1, shape[0], *[1] * (len(shape) - 1))
    try:
        value = np.broadcast_to(given, wanted).reshape(-1)
    except ValueError:
        raise ValueError(f"a constant must be one value or one a channel, {wanted}, got {given.shape}") from None
    one, none = np.ones(shape[0]), np.zeros(shape[0])
    match node.op:
        case "Add":
            factor, shift = one, value
        case "Sub":
            factor, shift = (one, -value) if place == 0 else (-one, value)
        case "Mul":
            factor, shift = value, none
        case _:
            if place == 1 or not value.all():
                raise ValueError("must divide a tensor by a constant other than 0")
            factor, shift = 1 / value, none
    _scale(net, node, factor, shift, place)


def total(net: Translation, node: Operator) -> None:
    """Translate Sum, of any number of tensors."""
    terms = [net.tensor(node, index) for index in range(len(node.inputs))]
    if len(terms) == 1:
        net.build.alias(node.outputs[0], terms[0])
        return
    for index, term in enumerate(terms[1:], start=1):
        last = index == len(terms) - 1
        name = node.name if last else net.part(node, str(index))
        if not last:
            net.build.uses[name] = 1
        net.build.add(node.outputs[0] if last else name, (terms[0], term), name)
        terms[0] = net.build.tensors[node.outputs[0] if last else name]


def _scale(net: Translation, node: Operator, factor: Floats, shift: Floats, place: int = 0) -> None:
    """Scale and shift every channel: in the layer before it, else as a 1×1 depthwise convolution."""
    source, build = net.tensor(node, place), net.build
    shape = build.shapes[source]
    layer = build.open_layer(source)
    if layer is not None and build.scale(layer, factor, shift):
        build.alias(node.outputs[0], source)
        return
    weights, size = factor.reshape(-1, 1, 1, 1), shape[1:] if len(shape) == 3 else (1, 1)
    alone = Layer(
        name=node.name, in_channels=shape[0], out_channels=shape[0], in_size=size, groups=shape[0], relu=False
    )
    if len(shape) == 3:
        build.put_layer(node.outputs[0], LayerNode(node.name, (source,), alone), weights, shift)
    elif len(shape) == 1:  # each value is a map of one pixel
        before, scaled, after = (net.part(node, what) for what in ("map", "scaled", "flat"))
        build.put(before, Reshape(before, (source,), (*shape, 1, 1)))
        build.put_layer(scaled, LayerNode(node.name, (before,), alone), weights, shift)
        build.put(node.outputs[0], Reshape(after, (node.name,), shape))
    else:
        raise ValueError(f"must be of maps or vectors, got {list(shape)}")
    if (factor != 1).any():
        build.norm_factors[node.name] = factor
