"""Tiles on one DRAM channel and one array, double-buffered: when each is read, computed and written.

    channel  R0  R1  ·  R2  W0  R3  W1  …  W(n−2)  W(n−1)
    array        C0     C1      C2      …

The channel serves in this order. Tile i's read starts when its half of the buffers is free (tile i − 2
computed); its computation when it has arrived, the array is idle and the ofmap half is written back (i − 2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from logaccel.arch import ChannelDram


@dataclass(frozen=True)
class TileWork:
    """What one tile moves and computes."""

    ifmap_read_bits: int
    filter_read_bits: int
    compute_cycles: int
    write_bits: int

    @property
    def read_bits(self) -> int:
        """Bits that one read brings: both operands, one after the other."""
        return self.ifmap_read_bits + self.filter_read_bits


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


def time_tiles(works: Sequence[TileWork], dram: ChannelDram) -> TileTiming:
    """Return when the tiles run: one pass over events. tests/test_memory.py steps the same cycle by cycle."""
    channel, starts, done, written = 0, [], [0, 0], [0, 0]  # two tiles before the first, long finished
    for index, work in enumerate(works):
        read = transfer_cycles(work.read_bits, dram, dram.latency_cycles)
        if read:
            channel = max(channel, done[index]) + read
        arrived = channel if read else done[index]
        if index >= 2:
            channel = _write(works[index - 2], done[index], channel, dram, written)
        start = max(arrived, done[index + 1], written[-1] if index >= 2 else 0)
        starts.append(start)
        done.append(start + work.compute_cycles)
    for index in range(max(0, len(works) - 2), len(works)):
        channel = _write(works[index], done[index + 2], channel, dram, written)
    return TileTiming(tuple(starts), max(channel, done[-1]))


def _write(work: TileWork, done: int, channel: int, dram: ChannelDram, written: list[int]) -> int:
    """Write a tile back and return when the channel is free again; writes are posted: they pay no latency."""
    write = transfer_cycles(work.write_bits, dram, 0)
    written.append(max(channel, done) + write if write else done)
    return written[-1] if write else channel
