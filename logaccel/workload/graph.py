"""Networks as graphs: nodes that make tensors out of tensors, shapes without the batch axis.

A plain chain of layers (`Network`) is the special case in which every node is a layer that reads the node
before it. A node's tensor has the node's name; the input of the graph is the tensor `input`.

    layer   inputs (x) or (x, residual): the residual is added in the lane below the array, before the ReLU
    pool    max compares codes; average sums and multiplies by round(2^16/n)
    add     two tensors of one shape, where no lane can take one of them
    concat  along the channels
    clip    low … high; the ReLU that no layer has in its lane
    reshape, transpose, pad, slice   move codes
    float   leaky_relu, lrn, softmax: linear arithmetic off the array
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf, prod

from logaccel.errors import WorkloadError
from logaccel.workload.layer import Layer
from logaccel.workload.network import Network

Shape = tuple[int, ...]  # of one image: (C, H, W) or (C,)

INPUT = "input"
MOST_ELEMENTS = 2**28  # of one tensor of one image


@dataclass(frozen=True)
class Node:
    """What all nodes have: a unique name, which is that of the tensor they make, and the tensors they read."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class LayerNode(Node):
    """A convolution or a fully connected layer; a second input is added to the psum (the layer's ReLU follows)."""

    layer: Layer


@dataclass(frozen=True)
class Pool(Node):
    """Max or average over windows. `counts_padding`: the average divides by the window with its padding."""

    kind: str  # "max" or "average"
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]  # top, left, bottom, right
    dilation: tuple[int, int] = (1, 1)
    ceil: bool = False
    counts_padding: bool = False


@dataclass(frozen=True)
class Add(Node):
    """The sum of two tensors, then a ReLU if there is one."""

    relu: bool = False


@dataclass(frozen=True)
class Concat(Node):
    """Tensors one after the other along the channels."""


@dataclass(frozen=True)
class Clip(Node):
    """Values limited to low … high."""

    low: float = 0.0
    high: float = inf


@dataclass(frozen=True)
class Reshape(Node):
    """The same values in another shape; flattening is the shape of one axis."""

    shape: Shape


@dataclass(frozen=True)
class Transpose(Node):
    """Axes of an image in another order: axes[i] is where axis i of the result comes from."""

    axes: tuple[int, ...]


@dataclass(frozen=True)
class Pad(Node):
    """Zeros around: before[axis], after[axis] of the image's axes."""

    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class Slice(Node):
    """Every step-th element of start … end − 1 along each axis of the image."""

    start: tuple[int, ...]
    end: tuple[int, ...]
    step: tuple[int, ...]


@dataclass(frozen=True)
class FloatOp(Node):
    """Linear arithmetic off the array: `leaky_relu` (alpha), `lrn` (size, alpha, beta, bias), `softmax`."""

    kind: str
    settings: tuple[tuple[str, float], ...] = ()

    def setting(self, key: str) -> float:
        """Return one of the settings."""
        return dict(self.settings)[key]


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which they can run; the tensor of `output` is the result."""

    name: str
    input_shape: Shape
    nodes: tuple[Node, ...]
    output: str
    source: str = ""
    shapes: dict[str, Shape] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Work out the shape of every tensor. Raises WorkloadError, one line for every node that does not fit."""
        shapes: dict[str, Shape] = {INPUT: self.input_shape}
        faults: list[str] = []
        for node in self.nodes:
            if node.name in shapes:
                faults.append(f"{self.name}: node {node.name}: name is used more than once")
                continue
            missing = [name for name in node.inputs if name not in shapes]
            if missing:
                faults.append(
                    f"{self.name}: node {node.name}: reads {', '.join(missing)}, which no node before it makes"
                )
                continue
            try:
                shapes[node.name] = checked_shape(shape_of(node, [shapes[name] for name in node.inputs]))
            except ValueError as error:
                faults.append(f"{self.name}: node {node.name}: {error}")
        if not faults and self.output not in shapes:
            faults.append(f"{self.name}: output: no node makes {self.output}")
        if not faults and self.output == INPUT:
            faults.append(f"{self.name}: output: is the input itself")
        if not any(isinstance(node, LayerNode) for node in self.nodes):
            faults.append(f"{self.name}: holds no convolution or fully connected layer")
        if faults:
            raise WorkloadError("\n".join(faults))
        object.__setattr__(self, "shapes", shapes)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in the order in which they run."""
        return tuple(node.layer for node in self.layer_nodes)

    @property
    def layer_nodes(self) -> tuple[LayerNode, ...]:
        """The nodes that run on the array."""
        return tuple(node for node in self.nodes if isinstance(node, LayerNode))

    def network(self, batch: int = 1) -> Network:
        """Return the layers alone, for cycles and energy without values."""
        return Network(name=self.name, source=self.source, batch=batch, layers=self.layers)

    def unfed_layers(self) -> tuple[str, ...]:
        """Return the layers whose ifmap is not the ofmap of the layer before, or of which others read that ofmap too.

        Only a reshape may lie between the two: it moves no word.
        """
        unfed, layers = [], self.layer_nodes
        for before, node in pairwise(layers):
            tensor, alone = before.name, before.name != self.output
            while alone and node.inputs[0] != tensor:
                readers = list(self.readers(tensor))
                alone = len(readers) == 1 and isinstance(readers[0], Reshape) and readers[0].name != self.output
                tensor = readers[0].name if alone else tensor
            if not alone or list(self.readers(tensor)) != [node] or node.inputs.count(tensor) > 1:
                unfed.append(node.name)
        return tuple(unfed)

    def readers(self, tensor: str) -> Iterator[Node]:
        """Yield the nodes that read a tensor."""
        return (node for node in self.nodes if tensor in node.inputs)


def chain_graph(network: Network) -> Graph:
    """Return a chain of layers as a graph. Raises WorkloadError where a layer does not feed the next."""
    first = network.layers[0]
    before, nodes, shape = INPUT, list[Node](), first.ifmap_shape(1)[1:]
    for layer in network.layers:
        if layer.ifmap_shape(1)[1:] != shape and layer.kind == "fc":
            nodes.append(Reshape(f"{layer.name}.flat", (before,), (prod(shape),)))
            before = nodes[-1].name
        nodes.append(LayerNode(layer.name, (before,), layer))
        before, shape = layer.name, layer.ofmap_shape(1)[1:]
    return Graph(network.name, first.ifmap_shape(1)[1:], tuple(nodes), before, network.source)


def checked_shape(shape: Shape) -> Shape:
    """Return the shape of a tensor that may be made. Raises ValueError."""
    if any(size < 1 for size in shape) or prod(shape) > MOST_ELEMENTS:
        raise ValueError(f"its tensor would have the shape {list(shape)}: must be 1 … {MOST_ELEMENTS} elements")
    return shape


def shape_of(node: Node, inputs: list[Shape]) -> Shape:
    """Return the shape of a node's tensor. Raises ValueError naming rule and value."""
    first = inputs[0]
    match node:
        case LayerNode(layer=layer):
            _expect(first, layer.ifmap_shape(1)[1:], "its ifmap")
            for residual in inputs[1:]:
                _expect(residual, layer.ofmap_shape(1)[1:], "the residual")
            return layer.ofmap_shape(1)[1:]
        case Pool():
            if len(first) != 3:
                raise ValueError(f"pools maps of 3 axes (C, H, W), got {list(first)}")
            size = pool_size(node, first[1:])
            _expect_values(node, first[1:], size)
            return first[0], *size
        case Add():
            _expect(inputs[1], first, "the second term")
            return first
        case Concat():
            if any(other[1:] != first[1:] for other in inputs):
                raise ValueError(f"joins channels of maps of one size, got {[list(shape) for shape in inputs]}")
            return sum(shape[0] for shape in inputs), *first[1:]
        case Reshape(shape=shape):
            if prod(shape) != prod(first):
                raise ValueError(f"{list(first)} cannot become {list(shape)}")
            return shape
        case Transpose(axes=axes):
            if sorted(axes) != list(range(len(first))):
                raise ValueError(f"axes must be a permutation of {len(first)}, got {list(axes)}")
            return tuple(first[axis] for axis in axes)
        case Pad():
            return tuple(b + size + a for b, size, a in zip(node.before, first, node.after, strict=True))
        case Slice():
            spans = zip(node.start, node.end, node.step, first, strict=True)
            return tuple(len(range(start, min(end, size), step)) for start, end, step, size in spans)
        case _:
            return first


def pool_size(pool: Pool, size: tuple[int, ...]) -> tuple[int, int]:
    """Return P, Q; in ceil mode a last window that would start in the padding behind the map is left out."""
    sizes = []
    for axis in range(2):
        before, after = pool.padding[axis], pool.padding[axis + 2]
        span = size[axis] + before + after - pool.dilation[axis] * (pool.kernel[axis] - 1) - 1
        count = (-(-span // pool.stride[axis]) if pool.ceil else span // pool.stride[axis]) + 1
        if pool.ceil and (count - 1) * pool.stride[axis] >= size[axis] + before:
            count -= 1
        sizes.append(count)
    return sizes[0], sizes[1]


def _expect_values(pool: Pool, size: Shape, windows: tuple[int, int]) -> None:
    """Raise ValueError for a window that holds nothing of the map: it has neither a largest value nor a mean."""
    for axis in range(2):
        for window in range(windows[axis]):
            start, step = window * pool.stride[axis] - pool.padding[axis], pool.dilation[axis]
            first = max(-(start // step), 0)  # the first tap that is not before the map
            if first >= pool.kernel[axis] or start + first * step >= size[axis]:
                raise ValueError(f"window {window} of axis {axis} lies in the padding alone")


def _expect(shape: Shape, wanted: Shape, what: str) -> None:
    if shape != wanted:
        raise ValueError(f"{what} must have the shape {list(wanted)}, got {list(shape)}")
