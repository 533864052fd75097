"""Grow a graph node by node, folding what the lane below the array does for free into the layer before it.

Folded, where nothing else reads the layer's tensor: a scale and shift per channel (batch norm, a bias), in
float64 and rounded once; a residual add; the ReLU after either, also behind a max pool.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.errors import WorkloadError
from logaccel.model.model import Model, Parameters
from logaccel.workload.graph import INPUT, Add, Clip, Graph, LayerNode, Node, Pad, Pool, Shape, checked_shape, shape_of

Floats = NDArray[np.float64]
MOST_WEIGHTS = 2**29  # in all layers: 2 GiB of float32


@dataclass
class Builder:
    """A graph in the making. `tensors` maps names of the file to tensors of the graph."""

    input_shape: Shape
    uses: Counter[str]
    tensors: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    parameters: dict[str, tuple[NDArray[Any], NDArray[Any]]] = field(default_factory=dict)
    reads: Counter[str] = field(default_factory=Counter)
    norm_factors: dict[str, Floats] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)  # later nodes have greater ones
    appended: int = 0
    weights: int = 0  # of all layers: one tensor of a file may be the filters of many

    def start(self, input_name: str) -> None:
        """Name the input."""
        self.name(input_name, INPUT)
        self.shapes[INPUT] = self.input_shape

    def name(self, tensor: str, target: str) -> None:
        """Let a name of the file stand for a tensor of the graph, with all its readers."""
        self.tensors[tensor] = target
        self.reads[target] += self.uses[tensor]

    def alias(self, tensor: str, target: str) -> None:
        """Let an operator vanish: its output is its input."""
        self.reads[target] -= 1
        self.name(tensor, target)

    def put(self, tensor: str, node: Node) -> None:
        """Append a node. Raises ValueError where its inputs do not fit."""
        self.shapes[node.name] = checked_shape(shape_of(node, [self.shapes[name] for name in node.inputs]))
        self._append(node)
        self.name(tensor, node.name)

    def _append(self, node: Node) -> None:
        self.nodes[node.name] = node
        self.places[node.name] = self.appended = self.appended + 1

    def put_layer(self, tensor: str, node: LayerNode, weights: NDArray[Any], bias: NDArray[Any]) -> None:
        """Append a layer with its parameters, in the precision of the file until something is folded into them."""
        if weights.dtype.kind in "biu":
            raise ValueError(f"its filter must hold floating-point numbers, got {weights.dtype}")
        self.weights += weights.size
        if self.weights > MOST_WEIGHTS:
            raise ValueError(f"its filters would make more than {MOST_WEIGHTS} weights in all layers")
        self.put(tensor, node)
        self.parameters[node.name] = (weights, bias)

    def take_padding(self, node: LayerNode) -> LayerNode:
        """Return a layer that adds the zeros itself which a pad around rows and columns adds for it."""
        pad = self.nodes.get(node.inputs[0])
        if not isinstance(pad, Pad) or pad.before[0] or pad.after[0]:
            return node
        (source,) = pad.inputs
        zeros = (*pad.before[1:], *pad.after[1:])
        padding = tuple(own + more for own, more in zip(node.layer.padding, zeros, strict=True))
        in_size = self.shapes[source][1:]
        self.reads[pad.name] -= 1
        self.reads[source] += 1
        if not self.reads[pad.name]:
            del self.nodes[pad.name]
            self.reads[source] -= 1
        layer = node.layer.model_copy(update={"in_size": in_size, "padding": padding})
        return self.take_padding(replace(node, inputs=(source,), layer=layer))

    def open_layer(self, tensor: str) -> LayerNode | None:
        """Return the layer that makes a tensor if what follows may still be folded into it."""
        node = self.nodes.get(tensor)
        if isinstance(node, LayerNode) and not node.layer.relu and self.reads[tensor] == 1:
            return node
        return None

    def scale(self, node: LayerNode, factor: Floats, shift: Floats) -> bool:
        """Fold y = x · factor[m] + shift[m] into a layer; False where a residual would have to be scaled too."""
        if len(node.inputs) > 1 and (factor != 1).any():
            return False
        weights, bias = (part.astype(np.float64) for part in self.parameters[node.name])
        turned = factor.reshape(-1, *[1] * (weights.ndim - 1))
        self.parameters[node.name] = (weights * turned, bias * factor + shift)
        if (factor != 1).any():
            self.norm_factors[node.name] = self.norm_factors.get(node.name, 1.0) * factor
        return True

    def rectify(self, tensor: str, source: str, name: str) -> None:
        """Add a ReLU: in the lane of the layer or add before it where it can be, else as a node.

        A max pool between them does not matter: the largest of rectified values is the rectified largest.
        """
        below = source
        while isinstance(pool := self.nodes.get(below), Pool) and pool.kind == "max" and self.reads[below] == 1:
            below = pool.inputs[0]
        layer, node = self.open_layer(below), self.nodes.get(below)
        if layer is not None:
            self.nodes[below] = replace(layer, layer=layer.layer.model_copy(update={"relu": True}))
            self.alias(tensor, source)
        elif isinstance(node, Add) and not node.relu and self.reads[below] == 1:
            self.nodes[below] = replace(node, relu=True)
            self.alias(tensor, source)
        else:
            self.put(tensor, Clip(name, (source,)))

    def add(self, tensor: str, terms: tuple[str, str], name: str) -> None:
        """Add two tensors: in the lane of the later layer that makes one of them, else as a node."""
        if self.shapes[terms[0]] != self.shapes[terms[1]]:
            raise ValueError(f"adds tensors of one shape, got {[list(self.shapes[term]) for term in terms]}")
        for own, other in sorted((terms, terms[::-1]), key=lambda pair: -self.places.get(pair[0], -1)):
            layer = self.open_layer(own)
            if layer is not None and len(layer.inputs) == 1 and own != other:
                del self.nodes[own]  # it runs once its residual is there: nothing else reads it
                self._append(replace(layer, inputs=(*layer.inputs, other)))
                self.alias(tensor, own)
                return
        self.put(tensor, Add(name, terms))

    def model(self, name: str, output: str, source: str) -> Model:
        """Return what was built; parameters are rounded to float32 here, once. WorkloadError beyond its range."""
        graph = Graph(name, self.input_shape, tuple(self.nodes.values()), output, source)
        with np.errstate(over="ignore", invalid="ignore"):
            rounded = {
                key: Parameters(*(np.array(part, np.float32, order="C") for part in parts))
                for key, parts in self.parameters.items()
            }
        faults = [
            f"{source}: node {key}: {what} with what is folded into it must be finite in float32"
            for key, own in rounded.items()
            for what, values in (("filter", own.filter), ("bias", own.bias))
            if not np.isfinite(values).all()
        ]
        if faults:
            raise WorkloadError("\n".join(faults))
        return Model(graph, rounded, self.norm_factors)
