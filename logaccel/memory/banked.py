"""The channel of a DRAM device with banks: what open rows, conflicts and refresh make of the tiles' transfers.

The device has its own clock. A transfer begins with the device's clock at or after the array's, and has ended with
the first array cycle at or after its last data.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from logaccel.arch import BankedDram, ChannelDram
from logaccel.dram import Device, load_device
from logaccel.memory.banked_bound import BankedBound
from logaccel.memory.parts import lay_out
from logaccel.memory.tiles import Mapping, TiledLayer
from logaccel.memory.timing import TileWork

MOST_BITS_PER_CYCLE = 2**20


@dataclass(frozen=True)
class RowCounts:
    """What the bursts of a layer met, and how often the device was refreshed until the last of them."""

    hits: int
    misses: int
    conflicts: int
    refreshes: int


class BankedChannel:
    """Serves the transfers of one layer's tiles, each asked for once and in order (reads and writes apart)."""

    def __init__(self, tiled: TiledLayer, mapping: Mapping, dram: BankedDram) -> None:
        from logaccel.dram.kernel import new_state, transfer  # loads the compiler: only where it is needed

        device = load_device(dram.device)
        clocks = device.clocks
        self._transfer, self._ratio = transfer, clock_ratio(device, tiled.clock_mhz)
        self._clocks, self._state, self._banks = new_state(clocks)
        self._parts = lay_out(tiled, mapping, clocks.burst_bits)

    def read(self, tile: int, work: TileWork, start: int) -> int:
        """Return when what a tile reads has arrived: the ifmap, then the filters."""
        ifmap, filters, _ = self._parts.of_tiles[tile]
        return self._move(start, [ifmap] * (work.ifmap_read_bits > 0) + [filters] * (work.filter_read_bits > 0), False)

    def write(self, tile: int, work: TileWork, start: int) -> int:
        """Return when what a tile writes is written."""
        return self._move(start, [self._parts.of_tiles[tile, 2]], True)

    @property
    def rows(self) -> RowCounts:
        """Counts up to now."""
        from logaccel.dram.kernel import CONFLICTS, HITS, MISSES, REFRESHES

        return RowCounts(*(int(self._state[field]) for field in (HITS, MISSES, CONFLICTS, REFRESHES)))

    def _move(self, start: int, parts: list[int], write: bool) -> int:
        over, under = self._ratio.numerator, self._ratio.denominator
        clock = -(-start * over // under)
        end = int(self._transfer(self._clocks, self._state, self._banks, clock, self._parts.runs[parts], write))
        return -(-end * under // over)


def clock_ratio(device: Device, clock_mhz: float) -> Fraction:
    """Return the device's clocks an array cycle."""
    return (Fraction(str(device.clock_mhz.value)) / Fraction(str(clock_mhz))).limit_denominator(10**6)


def fastest_channel(dram: BankedDram, clock_mhz: float) -> ChannelDram:
    """Return a channel of the device's best: data end on end, and CL before what is read."""
    clocks, ratio = load_device(dram.device).clocks, clock_ratio(load_device(dram.device), clock_mhz)
    bits = ceil(Fraction(clocks.burst_bits, clocks.burst) * ratio)
    return ChannelDram(
        bits_per_cycle=bits if bits <= MOST_BITS_PER_CYCLE else None,
        latency_cycles=floor(clocks.cl / ratio),
        burst_bits=clocks.burst_bits,
    )


def least_transfers(dram: BankedDram, clock_mhz: float) -> BankedBound:
    """Return what transfers on a device take at least, for an array of some clock."""
    device = load_device(dram.device)
    return BankedBound(device.clocks, clock_ratio(device, clock_mhz))
