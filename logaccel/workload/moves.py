"""Nodes of a graph that only move elements, on arrays of them: values, codes, or what is known of each word."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from logaccel.workload.graph import Node, Pad, Reshape, Slice, Transpose

T = TypeVar("T", bound=np.generic)


def move(node: Node, value: NDArray[T]) -> NDArray[T] | None:
    """Return the result [n, …] of a node that only moves elements, with zeros where it pads; None for another node."""
    match node:
        case Reshape(shape=shape):
            return value.reshape(len(value), *shape)
        case Transpose(axes=axes):
            return np.ascontiguousarray(value.transpose(0, *(axis + 1 for axis in axes)))
        case Pad():
            return np.pad(value, ((0, 0), *zip(node.before, node.after, strict=True)))
        case Slice():
            spans = zip(node.start, node.end, node.step, strict=True)
            return np.ascontiguousarray(value[(slice(None), *(slice(*span) for span in spans))])
        case _:
            return None
