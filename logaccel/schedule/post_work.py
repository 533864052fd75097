"""Work between the layers: pooling, adds, concat and clip on the words of the ofmap scratchpad.

One lane stands below each column of the array and reads and writes one word a cycle. All lanes work on the same
place of as many channels; what has more channels takes several passes:

    for image:
      for pass of C_a channels:
        for place [p, q] of the result:
          pool: a word a cycle for each tap that lies in the map;  add: a word of each term;  concat, clip: a word

A concat is a copy of its parts, one after another. The lane that adds a residual to a layer's psums reads one word
where the column brings one, so it takes no cycles of its own. Reshape, transpose, pad and slice are the addresses of
whoever reads next: no word moves. Float operations leave the array, and nothing is said of what they take.
"""

from dataclasses import dataclass
from math import prod

from logaccel.workload.graph import Add, Clip, Concat, Graph, LayerNode, Node, Pool, Shape

Block = tuple[int, int]  # first, end


@dataclass(frozen=True)
class Window:
    """Which rows of an input a row of the result needs: a pool's taps along one axis, or the row itself."""

    size: int  # of the input
    taps: int = 1
    stride: int = 1
    dilation: int = 1
    before: int = 0  # padding

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


@dataclass(frozen=True)
class LanePort:
    """How many lanes share the scratchpad's ports, how wide these are (None: never too narrow), and bits of a word."""

    lanes: int
    bits: int | None
    term_bits: tuple[int, ...]
    result_bits: int


@dataclass(frozen=True)
class Piece:
    """One sweep of the lanes over `terms` inputs of one shape; it adds no cycles where it keeps up with a drain."""

    channels: int
    size: tuple[int, int]  # P, Q of the result
    rows: Window
    columns: Window
    terms: int = 1
    writes: bool = True
    adds_cycles: bool = True

    @property
    def window(self) -> int:
        """Taps of a whole window."""
        return self.rows.taps * self.columns.taps

    def reads(self, places: Block, channels: int) -> int:
        """Return the words that the lanes read for some rows of the result."""
        taps = sum(self.rows.taps_inside(p) for p in range(*places))
        return channels * self.terms * taps * sum(self.columns.taps_inside(q) for q in range(self.size[1]))

    def fills(self, places: Block, channels: int) -> int:
        """Return the words of the inputs that these rows need, each once."""
        return channels * self.terms * self.rows.span(places) * self.columns.size

    def results(self, places: Block, channels: int) -> int:
        """Return the words that the lanes write."""
        return channels * (places[1] - places[0]) * self.size[1] if self.writes else 0

    def port_stalls(self, places: Block, channels: int, port: "LanePort") -> int:
        """Return the cycles that the lanes wait for a scratchpad port that is too narrow for a word a lane.

        The last read of a place overlaps the write of its result: they go through ports of their own.
        """
        if port.bits is None or not self.adds_cycles:
            return 0
        full, ragged = divmod(channels, port.lanes)
        stalls = 0
        rows = [self.rows.taps_inside(p) for p in range(*places)]
        taps = sum(rows) * sum(self.columns.taps_inside(q) for q in range(self.size[1]))
        results = len(rows) * self.size[1]
        for lanes, passes in ((port.lanes, full), (ragged, 1 if ragged else 0)):
            reads = [-(-lanes * bits // port.bits) for bits in port.term_bits]
            write = -(-lanes * port.result_bits // port.bits) if self.writes else 1
            stalls += passes * (taps * sum(max(0, cost - 1) for cost in reads) + results * max(0, write - reads[-1]))
        return stalls

    def cycles(self, places: Block, channels: int, lanes: int) -> int:
        """Return the cycles of the lanes: their reads, one word each and cycle."""
        return -(-channels // lanes) * self.reads(places, 1) if self.adds_cycles else 0


@dataclass(frozen=True)
class PostWork:
    """What one node does on the ofmap scratchpad. `inputs`: the tensors that each piece reads."""

    name: str  # of the node
    kind: str
    pieces: tuple[Piece, ...]
    inputs: tuple[tuple[str, ...], ...]


def post_work(graph: Graph, node: Node) -> PostWork | None:
    """Return the work of a node; None where no word moves."""
    shapes = graph.shapes
    match node:
        case LayerNode(inputs=(_, residual)):
            piece = _sweep(shapes[residual], writes=False, adds_cycles=False)
            return PostWork(node.name, "residual", (piece,), ((residual,),))
        case Pool(kind=kind):
            return PostWork(node.name, f"{kind} pool", (_pool(node, shapes),), (node.inputs,))
        case Add():
            return PostWork(node.name, "add", (_sweep(shapes[node.name], terms=2),), (node.inputs,))
        case Concat():
            pieces = tuple(_sweep(shapes[name]) for name in node.inputs)
            return PostWork(node.name, "concat", pieces, tuple((name,) for name in node.inputs))
        case Clip():
            return PostWork(node.name, "clip", (_sweep(shapes[node.name]),), (node.inputs,))
        case _:
            return None


def _sweep(shape: Shape, terms: int = 1, writes: bool = True, adds_cycles: bool = True) -> Piece:
    """Return a sweep that reads and writes maps of one shape; a vector is a map of one place."""
    rows, columns = (shape[1], prod(shape[2:])) if len(shape) > 1 else (1, 1)
    return Piece(shape[0], (rows, columns), Window(rows), Window(columns), terms, writes, adds_cycles)


def _pool(node: Pool, shapes: dict[str, Shape]) -> Piece:
    source, result = shapes[node.inputs[0]], shapes[node.name]
    rows, columns = (
        Window(source[1 + axis], node.kernel[axis], node.stride[axis], node.dilation[axis], node.padding[axis])
        for axis in range(2)
    )
    return Piece(source[0], (result[1], result[2]), rows, columns)
