"""Where the words of a tensor lie in the map that holds them: reshape, transpose, pad and slice are other addresses.

Zeros that a pad adds are no words: they lie nowhere, and nobody reads them.
"""

from collections.abc import Callable
from functools import partial
from math import prod

import numpy as np
from numpy.typing import NDArray

from logaccel.workload.graph import Graph, Node, Pad, Reshape, Shape, Slice, Transpose
from logaccel.workload.moves import move

Counts = NDArray[np.int64]
Words = Callable[[Counts], Counts]  # words of a tensor, image after image → words of its map
Real = NDArray[np.bool_]  # of each element of an image: is it a word?
Move = tuple[Node, Shape, Shape]  # with the shapes of its result and of what it reads


def map_words(graph: Graph, tensor: str) -> Words | None:
    """Return where each word of a tensor lies in its map, −1: a zero of a pad; None: each is at the same place."""
    name, moves = _moves(graph, tensor)
    if all(isinstance(node, Reshape) for node, _, _ in moves):
        return None
    return partial(_moved, moves, prod(graph.shapes[tensor]), prod(graph.shapes[name]))


def real_words(graph: Graph, tensor: str) -> Real | None:
    """Return which elements of one image of a tensor are words, and not zeros of a pad; None: all are."""
    name, moves = _moves(graph, tensor)
    if not any(isinstance(node, Pad) for node, _, _ in moves):
        return None
    real = np.full((1, *graph.shapes[name]), True)
    for node, _, _ in reversed(moves):
        found = move(node, real)
        assert found is not None
        real = found
    return real[0]


def _moves(graph: Graph, tensor: str) -> tuple[str, list[Move]]:
    """Return the map that holds a tensor, and the way back to it."""
    nodes = {node.name: node for node in graph.nodes}
    moves = list[Move]()
    name = tensor
    while isinstance(node := nodes.get(name), Reshape | Transpose | Pad | Slice):
        (source,) = node.inputs
        moves.append((node, graph.shapes[node.name], graph.shapes[source]))
        name = source
    return name, moves


def _moved(moves: list[Move], own_words: int, map_words: int, word: Counts) -> Counts:
    image, word = np.divmod(word, own_words)
    there = np.full(word.shape, True)
    for node, shape, source in moves:
        if isinstance(node, Reshape):
            continue
        places = list(np.unravel_index(np.where(there, word, 0), shape))
        match node:
            case Transpose(axes=axes):
                places = [places[axes.index(axis)] for axis in range(len(axes))]
            case Slice(start=start, step=step):
                places = [first + place * by for first, place, by in zip(start, places, step, strict=True)]
            case Pad(before=before):
                places = [place - zeros for place, zeros in zip(places, before, strict=True)]
                for place, size in zip(places, source, strict=True):
                    there &= (place >= 0) & (place < size)
        inside = [np.where(there, place, 0) for place in places]
        word = np.ravel_multi_index(inside, source).astype(np.int64)
    return np.asarray(np.where(there, image * map_words + word, -1))
