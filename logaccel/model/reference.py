"""The graph in float32: what the trained network itself computes. Matrix products are those of numpy."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.model.model import Model, Parameters
from logaccel.trace import Tensor
from logaccel.trace.windows import Windows, largest_of_windows, sums_of_windows
from logaccel.workload.graph import (
    INPUT,
    Add,
    Clip,
    Concat,
    FloatOp,
    Graph,
    LayerNode,
    Node,
    Pool,
    pool_size,
)
from logaccel.workload.layer import Layer
from logaccel.workload.moves import move

Array = NDArray[Any]


def run_float(
    model: Model, images: Tensor, layer: Callable[..., Tensor] | None = None
) -> Iterator[tuple[Node, Tensor]]:
    """Yield every node with its tensor [N, …]; a tensor is let go once nothing reads it any more.

    layer: what computes a layer instead of `float_layer`, with its arguments.
    """
    live: dict[str, Tensor] = {INPUT: np.ascontiguousarray(images, np.float32)}
    for node, gone in schedule(model.graph):
        inputs = [live[name] for name in node.inputs]
        if isinstance(node, LayerNode):
            own = model.parameters[node.layer.name]
            value = (layer or float_layer)(node.layer, own, *inputs)
        else:
            value = float_node(node, inputs)
        live[node.name] = value
        yield node, value
        for name in gone:
            del live[name]


def schedule(graph: Graph) -> Iterator[tuple[Node, list[str]]]:
    """Yield the nodes in order, each with the tensors that nothing reads after it."""
    last = {name: index for index, node in enumerate(graph.nodes) for name in (node.name, *node.inputs)}
    for index, node in enumerate(graph.nodes):
        yield node, [name for name in {node.name, *node.inputs} if last[name] == index and name != graph.output]


def float_layer(layer: Layer, own: Parameters, ifmap: Tensor, residual: Tensor | None = None) -> Tensor:
    """Return the ofmap of a layer, residual, bias and ReLU included."""
    batch, shape = len(ifmap), layer.matrix(len(ifmap))
    top, left, bottom, right = layer.padding
    maps = ifmap.reshape(batch, layer.in_channels, *layer.in_size)
    maps = np.pad(maps, ((0, 0), (0, 0), (top, bottom), (left, right)))
    views = windows(maps, layer.kernel, layer.stride, layer.dilation, layer.out_size)
    depth = layer.in_channels // layer.groups
    weights = own.filter.reshape(layer.groups, shape.channels, shape.reduction)
    parts = []
    for group in range(layer.groups):
        columns = views[:, group * depth : (group + 1) * depth].transpose(0, 2, 3, 1, 4, 5)
        parts.append(columns.reshape(shape.pixels, shape.reduction) @ weights[group].T)
    sums = np.concatenate(parts, axis=1) + own.bias
    value = sums.reshape(batch, *layer.out_size, layer.out_channels).transpose(0, 3, 1, 2)
    value = value.reshape(layer.ofmap_shape(batch))
    value = value if residual is None else value + residual
    return np.ascontiguousarray(np.maximum(value, 0) if layer.relu else value)


def windows(
    maps: Array, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], size: tuple[int, int]
) -> Array:
    """Return a view [n, c, p, q, r, s] of the windows of maps[n, c, h, w], padded already."""
    n, c, h, w = maps.strides
    strides = (n, c, h * stride[0], w * stride[1], h * dilation[0], w * dilation[1])
    return np.lib.stride_tricks.as_strided(maps, (*maps.shape[:2], *size, *kernel), strides, writeable=False)


def pool_windows(pool: Pool, maps: Array, filler: float) -> Array:
    """Return the windows of a pool; everything outside the map holds the filler."""
    size = pool_size(pool, maps.shape[2:])
    margins = []
    for axis in range(2):
        before = pool.padding[axis]
        reach = (size[axis] - 1) * pool.stride[axis] + pool.dilation[axis] * (pool.kernel[axis] - 1) + 1
        margins.append((before, max(reach - before - maps.shape[2 + axis], 0)))
    padded = np.pad(maps, ((0, 0), (0, 0), *margins), constant_values=filler)
    return windows(padded, pool.kernel, pool.stride, pool.dilation, size)


def largest_of_pool(pool: Pool, maps: Array) -> Array:
    """Return the largest of every window of maps[n, c, h, w]: values or codes."""
    size = pool_size(pool, maps.shape[2:])
    out = np.empty((*maps.shape[:2], *size), maps.dtype)
    flat = np.ascontiguousarray(maps).reshape(-1, *maps.shape[2:])
    largest_of_windows(flat, _windows_of(pool), out.reshape(-1, *size))
    return out


def sums_of_pool(pool: Pool, codes: Array, table: NDArray[np.int64], floor: int) -> NDArray[np.int64]:
    """Return the sum over every window of table[code − floor] or, without a table, of codes[n, c, h, w]."""
    size = pool_size(pool, codes.shape[2:])
    out = np.empty((*codes.shape[:2], *size), np.int64)
    flat = np.ascontiguousarray(codes, np.int16 if codes.dtype.itemsize <= 2 else np.int64)
    sums_of_windows(flat.reshape(-1, *codes.shape[2:]), table, floor, _windows_of(pool), out.reshape(-1, *size))
    return out


def _windows_of(pool: Pool) -> Windows:
    return Windows(*pool.kernel, *pool.stride, *pool.padding[:2], *pool.dilation)


def pool_counts(pool: Pool, size: tuple[int, ...]) -> NDArray[np.int64]:
    """Return by what each window [p, q] of an average is divided: its places in the map, or in map and padding."""
    top, left, bottom, right = pool.padding if pool.counts_padding else (0, 0, 0, 0)
    ones = np.zeros((1, 1, *size), np.int64)
    ones[:] = 1
    if pool.counts_padding:
        ones = np.pad(ones, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=1)
        outer = Pool("", (), "average", pool.kernel, pool.stride, (0, 0, 0, 0), pool.dilation, pool.ceil)
        wanted = pool_size(pool, size)
        counted = pool_windows(outer, ones, 0).sum(axis=(4, 5))[0, 0]
        return counted[: wanted[0], : wanted[1]]
    return np.asarray(pool_windows(pool, ones, 0).sum(axis=(4, 5))[0, 0])


def float_node(node: Node, inputs: list[Tensor]) -> Tensor:
    """Return the tensor of a node that is no layer."""
    first = inputs[0]
    moved = move(node, first)
    if moved is not None:
        return moved
    match node:
        case Pool(kind="max"):
            return largest_of_pool(node, first)
        case Pool():
            sums = pool_windows(node, first, 0.0).sum(axis=(4, 5), dtype=np.float32)
            return np.asarray(sums / pool_counts(node, first.shape[2:]).astype(np.float32))
        case Add(relu=relu):
            return np.maximum(first + inputs[1], 0) if relu else first + inputs[1]
        case Concat():
            return np.concatenate(inputs, axis=1)
        case Clip(low=low, high=high):
            return np.clip(first, np.float32(low), np.float32(high))
        case FloatOp():
            return float_op(node, first.astype(np.float64)).astype(np.float32)
        case _:
            raise AssertionError(f"no float arithmetic for {type(node).__name__}")


def float_op(node: FloatOp, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the result of an operation that stays linear, in float64."""
    if node.kind == "leaky_relu":
        return np.where(values < 0, values * node.setting("alpha"), values)
    if node.kind == "lrn":
        size = int(node.setting("size"))
        channels = values.shape[1]
        squares = np.pad(np.cumsum(values**2, axis=1), ((0, 0), (1, 0), *[(0, 0)] * (values.ndim - 2)))
        low = np.maximum(np.arange(channels) - (size - 1) // 2, 0)
        high = np.minimum(np.arange(channels) + size // 2, channels - 1) + 1
        spread = node.setting("bias") + node.setting("alpha") / size * (squares[:, high] - squares[:, low])
        return np.asarray(values / spread ** node.setting("beta"))
    shifted = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
