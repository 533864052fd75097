"""Post-processing work through the memory: inputs come from DRAM into the ofmap scratchpad, results go back.

Blocks of whole rows (and, where even one row is too much, of fewer channels) are double-buffered like the tiles of a
layer. A map that stays on chip is read, or written, by the lanes in the ifmap scratchpad and takes no part in that.
Without a memory the words are in the ofmap scratchpad already.
"""

from dataclasses import dataclass

from logaccel.arch import ChannelDram, Memory
from logaccel.errors import ConfigError
from logaccel.memory.accounting import Flow, Traffic
from logaccel.memory.banked import fastest_channel
from logaccel.memory.timing import TileWork, time_tiles
from logaccel.schedule.post_work import Block, LanePort, Piece, PostWork

NOTHING = Flow()


@dataclass(frozen=True)
class PostCost:
    """Cycles and words of one node's post-processing work; lane_reads, results: words that pass the lanes."""

    compute_cycles: int
    stall_cycles: int
    lane_reads: int
    results: int
    traffic: Traffic


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

    @property
    def channel(self) -> ChannelDram:
        """The DRAM channel; a device with banks streams whole maps, so its data are taken to come end on end."""
        assert self.memory is not None
        dram = self.memory.dram
        return dram if isinstance(dram, ChannelDram) else fastest_channel(dram, self.clock_mhz)


def cost_post_work(work: PostWork, widths: PostWidths, around: Surroundings) -> PostCost:
    """Return what a node's work takes; the lane's own latency is not in it.

    Raises ConfigError naming node, need and capacity where not even one row of one channel a lane fits.
    """
    port = None if around.memory is None else around.memory.ofmap.port_bits
    total = PostCost(0, 0, 0, 0, _traffic(NOTHING, NOTHING, NOTHING, NOTHING))
    there = widths.inputs_on_chip or tuple((False,) * len(bits) for bits in widths.inputs)
    for piece, bits, on_chip in zip(work.pieces, widths.inputs, there, strict=True):
        lanes = LanePort(around.lanes, port, bits, widths.result)
        one = _cost_sweep(work.name, _Sweep(piece, lanes, on_chip, widths.result_on_chip), around)
        total = PostCost(
            total.compute_cycles + one.compute_cycles,
            total.stall_cycles + one.stall_cycles,
            total.lane_reads + one.lane_reads,
            total.results + one.results,
            total.traffic + one.traffic,
        )
    return total


@dataclass(frozen=True)
class _Sweep:
    """A piece, its words, the lanes and ports that they pass, and which of its maps stay on chip."""

    piece: Piece
    port: LanePort
    terms_on_chip: tuple[bool, ...]
    result_on_chip: bool

    def read(self, words: int, on_chip: bool) -> Flow:
        """Return the reads of those terms that stay on chip, or of those that do not, out of so many words of all."""
        widths = [bits for bits, there in zip(self.port.term_bits, self.terms_on_chip, strict=True) if there == on_chip]
        each = words // self.piece.terms
        return Flow(each * len(widths), each * sum(widths))

    def fills(self, places: Block, channels: int) -> Flow:
        """Return what a block brings from DRAM."""
        return self.read(self.piece.fills(places, channels), on_chip=False)

    def written(self, places: Block, channels: int) -> Flow:
        """Return what a block writes back."""
        words = 0 if self.result_on_chip else self.piece.results(places, channels)
        return Flow(0, 0, words, words * self.port.result_bits)

    def need_bits(self, places: Block, channels: int) -> int:
        """Return what a block and the one after it need of the ofmap scratchpad."""
        return 2 * (self.fills(places, channels).read_bits + self.written(places, channels).write_bits)

    def work(self, places: Block, channels: int) -> TileWork:
        return TileWork(
            ifmap_read_bits=self.fills(places, channels).read_bits,
            filter_read_bits=0,
            compute_cycles=self.piece.cycles(places, channels, self.port.lanes),
            write_bits=self.written(places, channels).write_bits,
            port_stall_cycles=self.piece.port_stalls(places, channels, self.port),
        )


def _cost_sweep(name: str, sweep: _Sweep, around: Surroundings) -> PostCost:
    batch, memory = around.batch, around.memory
    piece, whole = sweep.piece, ((0, sweep.piece.size[0]), sweep.piece.channels)
    reads, results = batch * piece.reads(*whole), batch * piece.results(*whole)
    cycles = batch * piece.cycles(*whole, sweep.port.lanes)
    made = Flow(0, 0, results, results * sweep.port.result_bits)
    written = NOTHING if sweep.result_on_chip else made
    lane, handed = sweep.read(reads, on_chip=False) + written, sweep.read(reads, on_chip=True)
    if sweep.result_on_chip:
        handed += made
    if memory is None:
        return PostCost(cycles, 0, reads, results, _traffic(lane, NOTHING, NOTHING, NOTHING))
    blocks = _blocks(name, sweep, 8 * memory.ofmap.bytes)
    fills = [sweep.fills(*block) for block in blocks] * batch
    works = [sweep.work(*block) for block in blocks] * batch
    stalls = time_tiles(works, around.channel).total_cycles - cycles
    read = Flow(sum(fill.read_words for fill in fills), sum(fill.read_bits for fill in fills))
    moved = lane + Flow(written.write_words, written.write_bits, read.read_words, read.read_bits)
    return PostCost(cycles, stalls, reads, results, _traffic(moved, read, written, handed))


def _blocks(name: str, sweep: _Sweep, capacity_bits: int) -> list[tuple[Block, int]]:
    """Return (rows, number of channels) of the blocks of one image: as few as fit twice.

    Channels are cut at multiples of the lanes, so that no pass of the lanes is split.
    """
    piece, least = sweep.piece, 0
    for channels in _halves(piece.channels, sweep.port.lanes):
        for rows in _halves(piece.size[0], 1):
            spans = [(at, min(at + rows, piece.size[0])) for at in range(0, piece.size[0], rows)]
            least = max(sweep.need_bits(span, channels) for span in spans)
            if least <= capacity_bits:
                full, ragged = divmod(piece.channels, channels)
                return [(span, size) for size in [channels] * full + [ragged] * (ragged > 0) for span in spans]
    raise ConfigError(
        f"{name}: memory.ofmap: two of the smallest blocks need {-(-least // 8)} bytes, it holds {capacity_bits // 8}"
    )


def _halves(size: int, unit: int) -> list[int]:
    """Return size, then about half of the one before in whole units, down to one unit."""
    found = [size]
    while found[-1] > unit:
        found.append(unit * max(1, -(-found[-1] // unit) // 2))
    return found


def _traffic(pad: Flow, read: Flow, written: Flow, handed: Flow) -> Traffic:
    return Traffic(NOTHING, NOTHING, NOTHING, pad, read, NOTHING, written, handed)
