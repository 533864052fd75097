"""Post-processing work through the memory: inputs come from DRAM into the ofmap scratchpad, results go back.

Blocks of whole rows (and, where even one row is too much, of fewer channels) are double-buffered like the tiles of a
layer. Without a memory the words are in the scratchpad already.
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
    """Bits of a word of every tensor that each piece reads, and of the result."""

    inputs: tuple[tuple[int, ...], ...]
    result: int


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
    total = PostCost(0, 0, 0, 0, _traffic(NOTHING, NOTHING, NOTHING))
    for piece, bits in zip(work.pieces, widths.inputs, strict=True):
        one = _cost_sweep(work.name, _Sweep(piece, LanePort(around.lanes, port, bits, widths.result)), around)
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
    """A piece, its words, and the lanes and ports that they pass."""

    piece: Piece
    port: LanePort

    def read_bits(self, words: int) -> int:
        return words // self.piece.terms * sum(self.port.term_bits)

    def need_bits(self, places: Block, channels: int) -> int:
        """Return what a block and the one after it need of the scratchpad."""
        fills = self.read_bits(self.piece.fills(places, channels))
        return 2 * (fills + self.piece.results(places, channels) * self.port.result_bits)

    def work(self, places: Block, channels: int) -> TileWork:
        return TileWork(
            ifmap_read_bits=self.read_bits(self.piece.fills(places, channels)),
            filter_read_bits=0,
            compute_cycles=self.piece.cycles(places, channels, self.port.lanes),
            write_bits=self.piece.results(places, channels) * self.port.result_bits,
            port_stall_cycles=self.piece.port_stalls(places, channels, self.port),
        )


def _cost_sweep(name: str, sweep: _Sweep, around: Surroundings) -> PostCost:
    batch, memory = around.batch, around.memory
    piece, bits, whole = sweep.piece, sweep.port.result_bits, (0, sweep.piece.size[0])
    reads, results = batch * piece.reads(whole, piece.channels), batch * piece.results(whole, piece.channels)
    cycles = batch * piece.cycles(whole, piece.channels, sweep.port.lanes)
    lane = Flow(reads, sweep.read_bits(reads), results, results * bits)
    if memory is None:
        return PostCost(cycles, 0, reads, results, _traffic(lane, NOTHING, NOTHING))
    blocks = _blocks(name, sweep, 8 * memory.ofmap.bytes)
    fills = batch * sum(piece.fills(*block) for block in blocks)
    works = [sweep.work(*block) for block in blocks] * batch
    stalls = time_tiles(works, around.channel).total_cycles - cycles
    read, written = Flow(fills, sweep.read_bits(fills)), Flow(0, 0, results, results * bits)
    moved = lane + Flow(results, written.write_bits, fills, read.read_bits)
    return PostCost(cycles, stalls, reads, results, _traffic(moved, read, written))


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


def _traffic(pad: Flow, read: Flow, written: Flow) -> Traffic:
    return Traffic(NOTHING, NOTHING, NOTHING, pad, read, NOTHING, written)
