"""Post-processing work through the memory: inputs come from DRAM into the ofmap scratchpad, results go back.

Blocks of whole rows (and, where even one row is too much, of fewer channels) are double-buffered like the tiles of a
layer. A map that stays on chip is read, or written, by the lanes in the ifmap scratchpad and takes no part in that.
Without a memory the words are in the ofmap scratchpad already.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from logaccel.arch import ChannelDram, Memory
from logaccel.errors import ConfigError
from logaccel.memory.accounting import Flow, Traffic
from logaccel.memory.banked import fastest_channel
from logaccel.memory.tiles import blocks
from logaccel.memory.timing import SteadyChannel, TileSpans, TileWork, tile_spans
from logaccel.schedule.post_work import LaneBlock, LanePort, Piece, PostWork

NOTHING = Flow()


@dataclass(frozen=True)
class PostCost:
    """Cycles and words of one node's post-processing work. read (of each input), results: words that pass the lanes."""

    compute_cycles: int
    stall_cycles: int
    read: tuple[int, ...]
    results: int
    traffic: Traffic

    @property
    def lane_reads(self) -> int:
        """The words that the lanes read of all inputs."""
        return sum(self.read)


@dataclass(frozen=True)
class PostWidths:
    """Bits of a word of every tensor that each piece reads, and of the result; which of these maps stay on chip."""

    inputs: tuple[tuple[int, ...], ...]
    result: int
    inputs_on_chip: tuple[tuple[bool, ...], ...] = ()  # as `inputs`; empty: none
    result_on_chip: bool = False


@dataclass(frozen=True)
class Surroundings:
    """What the work of every node meets: images, lanes, the memory (None: the words are there), the array's clock."""

    batch: int
    lanes: int
    memory: Memory | None
    clock_mhz: float

    @cached_property
    def channel(self) -> ChannelDram:
        """The DRAM channel; a device with banks streams whole maps, so its data are taken to come end on end."""
        assert self.memory is not None
        dram = self.memory.dram
        return dram if isinstance(dram, ChannelDram) else fastest_channel(dram, self.clock_mhz)


def cost_post_work(work: PostWork, widths: PostWidths, around: Surroundings) -> PostCost:
    """Return what a node's work takes; the lane's own latency is not in it.

    Raises ConfigError naming node, need and capacity where not even one row of one channel a lane fits.
    """
    total = PostCost(0, 0, (), 0, _traffic(NOTHING, NOTHING, NOTHING, NOTHING))
    for sweep in sweeps(work, widths, around):
        one = _cost_sweep(sweep, around)
        total = PostCost(
            total.compute_cycles + one.compute_cycles,
            total.stall_cycles + one.stall_cycles,
            total.read + one.read,
            total.results + one.results,
            total.traffic + one.traffic,
        )
    return total


def sweeps(work: PostWork, widths: PostWidths, around: Surroundings) -> Iterator["Sweep"]:
    """Yield a node's pieces, each with the words and ports that the lanes meet."""
    port = None if around.memory is None else around.memory.ofmap.port_bits
    there = widths.inputs_on_chip or tuple((False,) * len(bits) for bits in widths.inputs)
    for piece, bits, on_chip in zip(work.pieces, widths.inputs, there, strict=True):
        lanes = LanePort(around.lanes, port, bits, widths.result)
        yield Sweep(work.name, piece, lanes, on_chip, widths.result_on_chip)


class PlacedBlock(NamedTuple):
    """A block of one image, and when it comes, is gone through and goes back: cycles from the start of its sweep."""

    number: int
    image: int
    block: LaneBlock
    spans: TileSpans

    @property
    def end(self) -> int:
        """When it has left the lanes and is written back."""
        return max(self.spans.busy.end, self.spans.write.end)


@dataclass(frozen=True)
class Sweep:
    """A piece of a node, its words, the lanes and ports that they pass, and which of its maps stay on chip."""

    name: str  # of the node
    piece: Piece
    port: LanePort
    terms_on_chip: tuple[bool, ...]
    result_on_chip: bool

    @property
    def whole(self) -> LaneBlock:
        """One image."""
        return LaneBlock((0, self.piece.size[0]), (0, self.piece.channels))

    def read(self, words: Callable[[int], int], on_chip: bool) -> Flow:
        """Return the reads of those terms that stay on chip, or of those that do not; words: of each term."""
        terms = [term for term, there in enumerate(self.terms_on_chip) if there == on_chip]
        counts = [(words(term), self.port.term_bits[term]) for term in terms]
        return Flow(sum(count for count, _ in counts), sum(count * bits for count, bits in counts))

    def fills(self, block: LaneBlock) -> Flow:
        """Return what a block brings from DRAM."""
        return self.read(lambda term: self.piece.fills(term, block), on_chip=False)

    def written(self, block: LaneBlock) -> Flow:
        """Return what a block writes back."""
        words = 0 if self.result_on_chip else self.piece.results(block)
        return Flow(0, 0, words, words * self.port.result_bits)

    def block_bits(self, block: LaneBlock) -> int:
        """Return what a block needs of the ofmap scratchpad."""
        return self.fills(block).read_bits + self.written(block).write_bits

    def work(self, block: LaneBlock) -> TileWork:
        """Return what a block moves, and the cycles of the lanes."""
        return TileWork(
            ifmap_read_bits=self.fills(block).read_bits,
            filter_read_bits=0,
            compute_cycles=self.piece.cycles(block, self.port.lanes),
            write_bits=self.written(block).write_bits,
            port_stall_cycles=self.piece.port_stalls(block, self.port),
        )

    def blocks(self, capacity_bits: int) -> list[LaneBlock]:
        """Return the blocks of one image: as few as fit twice. Raises ConfigError where none does.

        Channels are cut at multiples of the lanes, so that no pass of the lanes is split.
        """
        piece, least = self.piece, 0
        for depth in _halves(piece.channels, self.port.lanes):
            for rows in _halves(piece.size[0], 1):
                cuts = blocks(piece.size[0], rows)
                least = 2 * max(self.block_bits(LaneBlock(span, (0, depth))) for span in cuts)
                if least <= capacity_bits:
                    return [LaneBlock(span, part) for part in blocks(piece.channels, depth) for span in cuts]
        raise ConfigError(
            f"{self.name}: memory.ofmap: two of the smallest blocks need {-(-least // 8)} bytes, "
            f"it holds {capacity_bits // 8}"
        )

    def placed(self, around: Surroundings) -> Iterator[PlacedBlock]:
        """Yield the blocks of all images with their times; a memory is given."""
        assert around.memory is not None
        one_image = self.blocks(8 * around.memory.ofmap.bytes)
        works = [self.work(block) for block in one_image] * around.batch
        for number, spans in enumerate(tile_spans(works, SteadyChannel(around.channel))):
            image, place = divmod(number, len(one_image))
            yield PlacedBlock(number, image, one_image[place], spans)


def _cost_sweep(sweep: Sweep, around: Surroundings) -> PostCost:
    batch, piece, whole = around.batch, sweep.piece, sweep.whole
    reads = tuple(batch * piece.reads(term, whole) for term in range(len(piece.terms)))
    results, cycles = batch * piece.results(whole), batch * piece.cycles(whole, sweep.port.lanes)
    made = Flow(0, 0, results, results * sweep.port.result_bits)
    written = NOTHING if sweep.result_on_chip else made
    lane, handed = (sweep.read(reads.__getitem__, there) for there in (False, True))
    lane += written
    if sweep.result_on_chip:
        handed += made
    if around.memory is None:
        return PostCost(cycles, 0, reads, results, _traffic(lane, NOTHING, NOTHING, NOTHING))
    fills = [sweep.fills(block) for block in sweep.blocks(8 * around.memory.ofmap.bytes)]
    end = max(placed.end for placed in sweep.placed(around))
    words, bits = (batch * sum(getattr(fill, key) for fill in fills) for key in ("read_words", "read_bits"))
    moved = lane + Flow(written.write_words, written.write_bits, words, bits)
    return PostCost(cycles, end - cycles, reads, results, _traffic(moved, Flow(words, bits), written, handed))


def _halves(size: int, unit: int) -> list[int]:
    """Return size, then about half of the one before in whole units, down to one unit."""
    found = [size]
    while found[-1] > unit:
        found.append(unit * max(1, -(-found[-1] // unit) // 2))
    return found


def _traffic(pad: Flow, read: Flow, written: Flow, handed: Flow) -> Traffic:
    return Traffic(NOTHING, NOTHING, NOTHING, pad, read, NOTHING, written, handed)
