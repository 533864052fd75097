"""Which channels of a graph must share a power of two, where the filters that read a channel take it back.

Channel m of a layer may be made 2^s times as large (filters and bias) and divided by 2^s again in the filters of all
layers that read it, wherever everything in between commutes with a positive factor: ReLU, leaky ReLU, pools, concat,
pad with zeros, slice, reshape, transpose. Every element of every tensor carries the number of a *tie*, and elements
that must have one factor are tied together:

    filter of a convolution   one weight for the whole map of an ifmap channel
    pool                      the values of one window
    residual, add             both terms, and the sum
    tie 0, s = 0              the input and the output of the network; what clip, LRN and softmax read

A zero of a pad fits every factor: it has no tie.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from logaccel.model.reference import schedule
from logaccel.workload.graph import INPUT, Add, Clip, Concat, FloatOp, Graph, LayerNode, Node, Pool
from logaccel.workload.moves import move

FIXED, NONE = 0, -1
Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ChannelTies:
    """By layer the tie of every ofmap channel, and of every ifmap channel (NONE: nothing but zeros)."""

    made: dict[str, Numbers]
    read: dict[str, Numbers]
    count: int


def channel_ties(graph: Graph) -> ChannelTies:
    """Follow the channels of every layer to the layers that read them."""
    return _Walk(graph).run()


class _Walk:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.parent = [FIXED]  # of a tie: a smaller one that it was found to be tied to, or itself
        self.made: dict[str, Numbers] = {}
        self.read: dict[str, Numbers] = {}

    def run(self) -> ChannelTies:
        live = {INPUT: np.full(self.graph.input_shape, FIXED)}
        for node, gone in schedule(self.graph):
            live[node.name] = self.ties_of(node, [live[name] for name in node.inputs])
            for name in gone:
                del live[name]
        self.tie(live[self.graph.output], FIXED)
        roots = np.array([self.root(tie) for tie in range(len(self.parent))])

        def settled(ties: dict[str, Numbers]) -> dict[str, Numbers]:
            return {name: np.where(own == NONE, NONE, roots[own]) for name, own in ties.items()}

        return ChannelTies(settled(self.made), settled(self.read), len(roots))

    def ties_of(self, node: Node, inputs: list[Numbers]) -> Numbers:
        """Return the tie of every element of a node's tensor."""
        first, shape = inputs[0], self.graph.shapes[node.name]
        moved = move(node, np.where(first == NONE, 0, first + 1)[None])  # a pad fills with zeros
        if moved is not None:
            return np.asarray(moved[0] - 1)
        match node:
            case LayerNode():
                self.read[node.name] = self.of_channels(first)
                own = np.arange(len(self.parent), len(self.parent) + shape[0])
                self.parent += own.tolist()
                self.made[node.name] = own
                for residual in inputs[1:]:
                    self.tie_pairs(own, self.of_channels(residual))
                return _spread(own, shape)
            case Pool():
                return _spread(self.of_channels(first), shape)
            case Concat():
                return np.concatenate(inputs)
            case Add():
                self.tie_pairs(first, inputs[1])
                return np.where(first == NONE, inputs[1], first)
            case Clip(low=low, high=high) if high == np.inf and low in (0, -np.inf):
                return first
            case FloatOp(kind="leaky_relu"):
                return first
            case _:
                self.tie(first, FIXED)
                return np.full(shape, FIXED)

    def of_channels(self, ties: Numbers) -> Numbers:
        """Tie the elements of every channel together; return one of its ties, NONE where it holds zeros alone."""
        rows = ties.reshape(len(ties), -1)
        highest = rows.max(axis=1)
        for row in rows[((rows != highest[:, None]) & (rows != NONE)).any(axis=1)]:
            self.tie(row, int(row.max()))
        return np.asarray(highest)

    def tie_pairs(self, left: Numbers, right: Numbers) -> None:
        known = (left != right) & (left != NONE) & (right != NONE)
        for one, other in np.unique(np.stack([left[known], right[known]]), axis=1).T.tolist():
            self.tie(np.array([one]), other)

    def tie(self, ties: Numbers, other: int) -> None:
        """Tie all to another; the smallest number stands for them, so FIXED stays FIXED."""
        for own in np.unique(ties[ties != NONE]).tolist():
            low, high = sorted((self.root(own), self.root(other)))
            self.parent[high] = low

    def root(self, tie: int) -> int:
        while self.parent[tie] != tie:
            tie = self.parent[tie]
        return tie


def _spread(ties: Numbers, shape: tuple[int, ...]) -> Numbers:
    """Return the tie of every element of a tensor whose channels have these; nothing is copied."""
    return np.broadcast_to(ties.reshape(-1, *[1] * (len(shape) - 1)), shape)
