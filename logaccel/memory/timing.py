"""Tiles on one DRAM channel and one array, double-buffered: when each is read, computed and written.

    channel  R0  R1  ·  R2  W0  R3  W1  …  W(n−2)  W(n−1)
    array        C0     C1      C2      …

The channel serves in this order. Tile i's read starts when its half of the buffers is free (tile i − 2
computed); its computation when it has arrived, the array is idle and the ofmap half is written back (i − 2).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from logaccel.arch import ChannelDram


@dataclass(frozen=True)
class TileWork:
    """What one tile moves and computes."""

    ifmap_read_bits: int
    filter_read_bits: int
    compute_cycles: int
    write_bits: int
    port_stall_cycles: int = 0
    bank_stall_cycles: int = 0

    @property
    def busy_cycles(self) -> int:
        """Cycles of the array, those included in which a scratchpad port or bank holds it up."""
        return self.compute_cycles + self.port_stall_cycles + self.bank_stall_cycles

    @property
    def read_bits(self) -> int:
        """Bits that one read brings: both operands, one after the other."""
        return self.ifmap_read_bits + self.filter_read_bits


@dataclass(frozen=True)
class Stalls:
    """Cycles in which the array waits, by what it waits for."""

    port: int  # a scratchpad port too narrow for the array
    bank: int  # words that meet in one bank of a scratchpad
    dram: int  # a tile that has not arrived
    drain: int  # an ofmap half that is not written back yet, and the last write-back

    @property
    def total(self) -> int:
        """All of them."""
        return self.port + self.bank + self.dram + self.drain


@dataclass(frozen=True)
class TileTiming:
    """Cycles of a sequence of tiles; `start_cycles[i]` is when the array begins tile i."""

    start_cycles: tuple[int, ...]
    total_cycles: int  # the last word is written back

    def stall_cycles(self, works: Sequence[TileWork]) -> int:
        """Return the cycles in which the array did not compute."""
        return self.total_cycles - sum(work.compute_cycles for work in works)


def transfer_cycles(bits: int, dram: ChannelDram, latency_cycles: int) -> int:
    """Return the channel's time for one transfer: latency, then whole bursts; nothing for nothing."""
    if bits == 0:
        return 0
    if dram.bits_per_cycle is None:
        return latency_cycles
    bursts = -(-bits // dram.burst_bits)
    return latency_cycles + -(-bursts * dram.burst_bits // dram.bits_per_cycle)


class Channel(Protocol):
    """What serves the tiles' transfers, one at a time, in the order in which it is asked."""

    def read(self, tile: int, work: TileWork, start: int) -> int:
        """Return when what a tile reads has arrived, if the channel begins in cycle `start`."""

    def write(self, tile: int, work: TileWork, start: int) -> int:
        """Return when what a tile writes is written."""


@dataclass(frozen=True)
class SteadyChannel:
    """A channel of one bandwidth; reads pay its latency, writes are posted."""

    dram: ChannelDram

    def read(self, tile: int, work: TileWork, start: int) -> int:
        """Return when what a tile reads has arrived."""
        return start + transfer_cycles(work.read_bits, self.dram, self.dram.latency_cycles)

    def write(self, tile: int, work: TileWork, start: int) -> int:
        """Return when what a tile writes is written."""
        return start + transfer_cycles(work.write_bits, self.dram, 0)


def time_tiles(works: Sequence[TileWork], dram: ChannelDram) -> TileTiming:
    """Return when the tiles run. tests/test_memory.py steps the same cycle by cycle."""
    starts, total = [], 0
    for tile in tile_spans(works, SteadyChannel(dram)):
        starts.append(tile.busy.start)
        total = max(total, tile.busy.end, tile.write.end)
    return TileTiming(tuple(starts), total)


class Span(NamedTuple):
    """Cycles from `start` up to, not including, `end`."""

    start: int
    end: int

    @property
    def cycles(self) -> int:
        """How many they are."""
        return self.end - self.start


class TileSpans(NamedTuple):
    """When a tile is read, runs on the array and is written back; empty where nothing moves."""

    work: TileWork
    read: Span
    busy: Span
    write: Span


def tile_spans(works: Iterable[TileWork], dram: Channel) -> Iterator[TileSpans]:
    """Yield the tiles in order, each once its write-back is known: one pass that holds three of them."""
    channel = before = last = 0  # the channel is free; the last two tiles have left the array
    waiting: deque[TileSpans] = deque()
    index = -1
    for index, work in enumerate(works):
        start = max(channel, before)
        read = Span(start, dram.read(index, work, start)) if work.read_bits else Span(before, before)
        channel = read.end if read.cycles else channel
        drained = 0
        if len(waiting) == 2:
            tile = _written(index - 2, waiting.popleft(), channel, dram)
            channel, drained = max(channel, tile.write.end), tile.write.end
            yield tile
        start = max(read.end, last, drained)
        before, last = last, start + work.busy_cycles
        waiting.append(TileSpans(work, read, Span(start, last), Span(last, last)))
    for later, tile in enumerate(waiting):
        tile = _written(index + 1 - len(waiting) + later, tile, channel, dram)
        channel = max(channel, tile.write.end)
        yield tile


def _written(index: int, tile: TileSpans, channel: int, dram: Channel) -> TileSpans:
    """Write a tile back on a channel that is free from a cycle on."""
    if not tile.work.write_bits:
        return tile
    start = max(channel, tile.busy.end)
    return tile._replace(write=Span(start, dram.write(index, tile.work, start)))


def waits(tiles: Iterable[TileSpans]) -> tuple[int, int, int]:
    """Return the cycle in which the last tile is written, and the cycles that the array waits for reads and writes."""
    last = end = dram = drain = 0
    for tile in tiles:
        arrived = min(max(tile.read.end, last), tile.busy.start)
        dram, drain = dram + arrived - last, drain + tile.busy.start - arrived
        last = tile.busy.end
        end = max(end, last, tile.write.end)
    return end, dram, drain + end - last
