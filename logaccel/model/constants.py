"""Operators on constants alone, worked out while a file is read: exporters leave such where they write shapes.

The size of the batch is open. In what `Shape` gives it stands as OPEN_BATCH, which may be moved, not computed with.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.model.operators import Operator
from logaccel.workload.graph import MOST_ELEMENTS

Array = NDArray[Any]

OPEN_BATCH = -(2**31) + 1  # no size and no index of a file that makes sense
_DTYPES = {1: np.float32, 6: np.int32, 7: np.int64, 10: np.float16, 11: np.float64}  # by ONNX data type


def is_open(value: Array) -> bool:
    """Return whether the size of the batch is among the values."""
    return value.dtype.kind == "i" and bool((value == OPEN_BATCH).any())


def is_known(op: str) -> bool:
    """Return whether an operator is worked out where all it reads is constant."""
    return op in _MOVES or op in _ARITHMETIC


def work_out(node: Operator, values: list[Array | None]) -> Array:
    """Return what an operator makes of constants. Raises ValueError, and what numpy raises for odd shapes."""
    given = [value for value in values if value is not None]
    if node.op in _MOVES:
        return _MOVES[node.op](node, values)
    if any(is_open(value) for value in given):
        raise ValueError("computes with the size of the batch, which is open")
    size = int(np.prod(np.broadcast_shapes(*(value.shape for value in given)), dtype=object))
    if size > MOST_ELEMENTS:
        raise ValueError(f"makes a constant of {size} elements, must be at most {MOST_ELEMENTS}")
    with np.errstate(all="ignore"):
        result = np.asarray(_ARITHMETIC[node.op](*given))
    if result.dtype.kind == "f" and not np.isfinite(result).all():
        raise ValueError("makes a constant that is not finite")
    return result


def shape_of_batch(node: Operator, shape: tuple[int, ...]) -> Array:
    """Return what Shape gives for a tensor of the network, with the batch in front."""
    sizes = np.array([OPEN_BATCH, *shape], np.int64)
    return sizes[node.attributes.get("start", 0) : node.attributes.get("end")]


def _list(node: Operator, key: str, values: list[Array | None], index: int) -> list[int] | None:
    """Return what older files have as an attribute and newer ones as an input."""
    if key in node.attributes:
        return [int(value) for value in np.atleast_1d(node.attributes[key])]
    value = values[index] if len(values) > index else None
    return None if value is None else [int(part) for part in np.atleast_1d(value)]


def _first(values: list[Array | None]) -> Array:
    if not values or values[0] is None:
        raise ValueError("input 0 is missing")
    return values[0]


def _identity(node: Operator, values: list[Array | None]) -> Array:
    return _first(values)


def _shape(node: Operator, values: list[Array | None]) -> Array:
    return np.array(_first(values).shape, np.int64)[node.attributes.get("start", 0) : node.attributes.get("end")]


def _cast(node: Operator, values: list[Array | None]) -> Array:
    if node.attributes.get("to") not in _DTYPES:
        raise ValueError(f"to: must be one of {', '.join(map(str, _DTYPES))}, got {node.attributes.get('to')}")
    with np.errstate(all="ignore"):
        return _first(values).astype(_DTYPES[node.attributes["to"]])


def _reshape(node: Operator, values: list[Array | None]) -> Array:
    value, sizes = _first(values), _list(node, "shape", values, 1)
    if sizes is None:
        raise ValueError("shape is missing")
    keep = not node.attributes.get("allowzero", 0)
    return value.reshape([value.shape[i] if size == 0 and keep else size for i, size in enumerate(sizes)])


def _transpose(node: Operator, values: list[Array | None]) -> Array:
    return _first(values).transpose(node.attributes.get("perm"))


def _squeeze(node: Operator, values: list[Array | None]) -> Array:
    axes = _list(node, "axes", values, 1)
    return np.squeeze(_first(values), None if axes is None else tuple(axes))


def _unsqueeze(node: Operator, values: list[Array | None]) -> Array:
    axes = _list(node, "axes", values, 1)
    if axes is None or len(axes) > 8:
        raise ValueError("axes are missing or too many")
    return np.expand_dims(_first(values), tuple(axes))


def _concat(node: Operator, values: list[Array | None]) -> Array:
    given = [value for value in values if value is not None]
    if sum(value.size for value in given) > MOST_ELEMENTS:
        raise ValueError(f"makes a constant of more than {MOST_ELEMENTS} elements")
    return np.concatenate(given, axis=node.attributes["axis"])


def _gather(node: Operator, values: list[Array | None]) -> Array:
    value, axis = _first(values), node.attributes.get("axis", 0)
    indices = values[1]
    if indices is None or value.ndim == 0 or value.size * max(indices.size, 1) > MOST_ELEMENTS:
        raise ValueError("indices are missing or too many")
    return np.asarray(np.take(value, indices.astype(np.int64), axis=axis))


def _slice(node: Operator, values: list[Array | None]) -> Array:
    value = _first(values)
    starts, ends = _list(node, "starts", values, 1), _list(node, "ends", values, 2)
    if starts is None or ends is None:
        raise ValueError("starts and ends are missing")
    axes, steps = _list(node, "axes", values, 3) or list(range(len(starts))), _list(node, "steps", values, 4)
    index = [slice(None)] * value.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps or [1] * len(starts), strict=True):
        if step == 0:
            raise ValueError("steps: must not be 0")
        index[axis] = slice(start, end, step)
    return value[tuple(index)]


def _constant_of_shape(node: Operator, values: list[Array | None]) -> Array:
    """Return one value in many places, of which one takes memory."""
    sizes, value = _first(values).reshape(-1), np.asarray(node.attributes.get("value", np.float32(0)))
    if is_open(sizes):
        raise ValueError("its shape has the size of the batch, which is open")
    if value.size != 1 or (sizes < 0).any() or np.prod(sizes, dtype=object) > MOST_ELEMENTS:
        raise ValueError(f"must have one value and 0 … {MOST_ELEMENTS} elements, got the shape {sizes.tolist()}")
    return np.broadcast_to(value.reshape(()), tuple(sizes.tolist()))


def _quotient(value: Array, divisor: Array) -> Array:
    if value.dtype.kind == "f":
        return np.asarray(value / divisor)
    if (divisor == 0).any():
        raise ValueError("divides by zero")
    return np.asarray(np.sign(value) * np.sign(divisor) * (abs(value) // abs(divisor)))  # towards zero


_MOVES: dict[str, Callable[[Operator, list[Array | None]], Array]] = {
    "Identity": _identity, "Cast": _cast, "Reshape": _reshape, "Transpose": _transpose, "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze, "Concat": _concat, "Gather": _gather, "Slice": _slice, "Shape": _shape,
    "ConstantOfShape": _constant_of_shape,
}  # fmt: skip
_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": _quotient, "Neg": np.negative, "Sqrt": np.sqrt,
}  # fmt: skip
