"""Work between the layers: pooling, adds, concat and clip on the words of the ofmap scratchpad.

One lane stands below each column of the array and reads and writes one word a cycle. All lanes work on the same
place of as many channels; what has more channels takes several passes:

    for image:
      for pass of C_a channels:
        for place [p, q] of the result:
          pool: a word a cycle for each tap that lies in the map;  add: a word of each term;  concat, clip: a word

A zero that a pad has put around a map is no word: nobody writes it, nobody reads it. At its tap a lane is fed a zero,
and the tap lasts as long as any other. A concat is a copy of its parts, one after another. The lane that adds a
residual to a layer's psums reads one word where the column brings one, so it takes no cycles of its own. Reshape,
transpose, pad and slice are the addresses of whoever reads next: no word moves. Float operations leave the array, and
nothing is said of what they take.
"""

from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np

from logaccel.schedule.map_words import Real, real_words
from logaccel.workload.graph import Add, Clip, Concat, Graph, LayerNode, Node, Pool

Block = tuple[int, int]  # first, end


@dataclass(frozen=True)
class Window:
    """Which rows of an input a row of the result needs: a pool's taps along one axis, or the row itself."""

    size: int  # of the input
    taps: int = 1
    stride: int = 1
    dilation: int = 1
    before: int = 0  # padding

    def uses(self, places: Block) -> list[int]:
        """Return how many taps of some places read each row of the input."""
        found = [0] * self.size
        for place in range(*places):
            first = self.first_inside(place)
            for tap in range(self.taps_inside(place)):
                found[first + tap * self.dilation] += 1
        return found

    def taps_inside(self, place: int) -> int:
        """Return how many taps of a place lie in the input."""
        start = place * self.stride - self.before
        return sum(0 <= start + tap * self.dilation < self.size for tap in range(self.taps))

    def first_inside(self, place: int) -> int:
        """Return the row of the input that the first of these taps reads."""
        start = place * self.stride - self.before
        return start if start >= 0 else start % self.dilation

    def block(self, places: Block) -> Block:
        """Return the rows of the input, from the first to the last, that some places need."""
        first = max(0, places[0] * self.stride - self.before)
        end = (places[1] - 1) * self.stride - self.before + self.dilation * (self.taps - 1) + 1
        return first, max(first, min(self.size, end))

    def span(self, places: Block) -> int:
        """Return how many rows of the input some places need."""
        first, end = self.block(places)
        return end - first


class LaneBlock(NamedTuple):
    """What the lanes go through between two transfers: rows of the result, and channels; first and end of both."""

    rows: Block
    channels: Block

    @property
    def depth(self) -> int:
        """How many channels there are."""
        return self.channels[1] - self.channels[0]


@dataclass(frozen=True)
class LanePort:
    """How many lanes share the scratchpad's ports, how wide these are (None: never too narrow), and bits of a word."""

    lanes: int
    bits: int | None
    term_bits: tuple[int, ...]
    result_bits: int


@dataclass(frozen=True, eq=False)
class Piece:
    """One sweep of the lanes over inputs of one shape; it adds no cycles where it keeps up with a drain.

    terms: of each input [channel, row, column], what are words and not zeros of a pad; None: all are.
    """

    channels: int
    size: tuple[int, int]  # P, Q of the result
    rows: Window
    columns: Window
    terms: tuple[Real | None, ...] = (None,)
    writes: bool = True
    adds_cycles: bool = True

    @property
    def window(self) -> int:
        """Taps of a whole window."""
        return self.rows.taps * self.columns.taps

    def taps(self, block: LaneBlock) -> int:
        """Return the taps of a term in one channel, zeros of a pad included."""
        rows = sum(self.rows.taps_inside(p) for p in range(*block.rows))
        return rows * sum(self.columns.taps_inside(q) for q in range(self.size[1]))

    def reads(self, term: int, block: LaneBlock) -> int:
        """Return the words that the lanes read of a term."""
        real = self.terms[term]
        if real is None:
            return block.depth * self.taps(block)
        rows, columns = self.rows.uses(block.rows), self.columns.uses((0, self.size[1]))
        return int((real[slice(*block.channels)] @ np.array(columns) @ np.array(rows)).sum())

    def held(self, term: int, block: LaneBlock) -> Real | None:
        """Return what of a term's rows that a block needs are words; None: all are."""
        real = self.terms[term]
        return None if real is None else real[slice(*block.channels), slice(*self.rows.block(block.rows))]

    def fills(self, term: int, block: LaneBlock) -> int:
        """Return the words of a term that a block needs, each once."""
        real = self.held(term, block)
        return block.depth * self.rows.span(block.rows) * self.columns.size if real is None else int(real.sum())

    def results(self, block: LaneBlock) -> int:
        """Return the words that the lanes write."""
        return block.depth * (block.rows[1] - block.rows[0]) * self.size[1] if self.writes else 0

    def port_stalls(self, block: LaneBlock, port: LanePort) -> int:
        """Return the cycles that the lanes wait for a scratchpad port that is too narrow for a word a lane.

        The last read of a place overlaps the write of its result: they go through ports of their own.
        """
        if port.bits is None or not self.adds_cycles:
            return 0
        full, ragged = divmod(block.depth, port.lanes)
        stalls, taps = 0, self.taps(block)
        results = (block.rows[1] - block.rows[0]) * self.size[1]
        for lanes, passes in ((port.lanes, full), (ragged, 1 if ragged else 0)):
            reads = [-(-lanes * bits // port.bits) for bits in port.term_bits]
            write = -(-lanes * port.result_bits // port.bits) if self.writes else 1
            stalls += passes * (taps * sum(max(0, cost - 1) for cost in reads) + results * max(0, write - reads[-1]))
        return stalls

    def cycles(self, block: LaneBlock, lanes: int) -> int:
        """Return the cycles of the lanes: one for each tap, of all lanes at once."""
        return -(-block.depth // lanes) * len(self.terms) * self.taps(block) if self.adds_cycles else 0


@dataclass(frozen=True)
class PostWork:
    """What one node does on the ofmap scratchpad. `inputs`: the tensors that each piece reads."""

    name: str  # of the node
    kind: str
    pieces: tuple[Piece, ...]
    inputs: tuple[tuple[str, ...], ...]


def post_work(graph: Graph, node: Node) -> PostWork | None:
    """Return the work of a node; None where no word moves."""
    match node:
        case LayerNode(inputs=(_, residual)):
            piece = _sweep(graph, (residual,), writes=False, adds_cycles=False)
            return PostWork(node.name, "residual", (piece,), ((residual,),))
        case Pool(kind=kind):
            return PostWork(node.name, f"{kind} pool", (_pool(graph, node),), (node.inputs,))
        case Add():
            return PostWork(node.name, "add", (_sweep(graph, node.inputs),), (node.inputs,))
        case Concat():
            pieces = tuple(_sweep(graph, (name,)) for name in node.inputs)
            return PostWork(node.name, "concat", pieces, tuple((name,) for name in node.inputs))
        case Clip():
            return PostWork(node.name, "clip", (_sweep(graph, node.inputs),), (node.inputs,))
        case _:
            return None


def _sweep(graph: Graph, inputs: tuple[str, ...], writes: bool = True, adds_cycles: bool = True) -> Piece:
    """Return a sweep that reads and writes maps of one shape; a vector is a map of one place."""
    shape = graph.shapes[inputs[0]]
    rows, columns = (shape[1], prod(shape[2:])) if len(shape) > 1 else (1, 1)
    found = (real_words(graph, name) for name in inputs)
    terms = tuple(None if real is None else real.reshape(shape[0], rows, columns) for real in found)
    return Piece(shape[0], (rows, columns), Window(rows), Window(columns), terms, writes, adds_cycles)


def _pool(graph: Graph, node: Pool) -> Piece:
    source, result = graph.shapes[node.inputs[0]], graph.shapes[node.name]
    rows, columns = (
        Window(source[1 + axis], node.kernel[axis], node.stride[axis], node.dilation[axis], node.padding[axis])
        for axis in range(2)
    )
    return Piece(source[0], (result[1], result[2]), rows, columns, (real_words(graph, node.inputs[0]),))
