"""Where the words of a tensor lie in the map that holds them: reshape, transpose, pad and slice are other addresses."""

from collections.abc import Callable
from functools import partial
from math import prod

import numpy as np
from numpy.typing import NDArray

from logaccel.workload.graph import Graph, Node, Pad, Reshape, Shape, Slice, Transpose

Counts = NDArray[np.int64]
Words = Callable[[Counts], Counts]  # words of a tensor, image after image → words of its map


def map_words(graph: Graph, tensor: str) -> Words | None:
    """Return where each word of a tensor lies in its map; None where each is at the same place.

    Zeros that a pad adds lie nowhere: they stand at the first word of their image.
    """
    nodes = {node.name: node for node in graph.nodes}
    moves: list[tuple[Node, Shape, Shape]] = []
    name = tensor
    while isinstance(node := nodes.get(name), Reshape | Transpose | Pad | Slice):
        (source,) = node.inputs
        moves.append((node, graph.shapes[node.name], graph.shapes[source]))
        name = source
    if all(isinstance(node, Reshape) for node, _, _ in moves):
        return None
    return partial(_moved, moves, prod(graph.shapes[tensor]), prod(graph.shapes[name]))


def _moved(moves: list[tuple[Node, Shape, Shape]], own_words: int, map_words: int, word: Counts) -> Counts:
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
    return np.asarray(image * map_words + np.where(there, word, 0))
