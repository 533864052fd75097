"""The tiles of many mappings on a DRAM device with banks: what the mapper times.

As logaccel.memory.banked, but the tiles of a mapping are arrays, which a kernel goes through
(logaccel.dram.tiles_kernel).
"""

import numpy as np
from numpy.typing import NDArray

from logaccel.arch import BankedDram
from logaccel.dram import load_device
from logaccel.memory.banked import RowCounts, clock_ratio
from logaccel.memory.banked_bound import BankedBound
from logaccel.memory.loops import Elapsed, Runs, is_runs
from logaccel.memory.parts import lay_out
from logaccel.memory.tiles import Mapping, TiledLayer
from logaccel.memory.timing import TileWork

Counts = NDArray[np.int64]
NO_LIMIT = 2**62


class BankedTiles:
    """Times mappings of one layer."""

    def __init__(self, tiled: TiledLayer, dram: BankedDram) -> None:
        device = load_device(dram.device)
        self._tiled, self._clocks, self._ratio = tiled, device.clocks, clock_ratio(device, tiled.clock_mhz)
        self._bound = BankedBound(self._clocks, self._ratio)

    def elapsed(self, mapping: Mapping, works: Runs[TileWork], most: int = NO_LIMIT) -> tuple[Elapsed, RowCounts]:
        """Return the array's cycles and what the device's rows met; beyond `most` cycles only that there are more."""
        from logaccel.dram.kernel import CONFLICTS, HITS, MISSES, REFRESHES, new_state
        from logaccel.dram.tiles_kernel import run_tiles  # loads the compiler: only where it is needed

        parts, of_tiles = lay_out(self._tiled, mapping, self._clocks.burst_bits)
        tiles, device = self._tiles(parts, of_tiles, _listed(works)), new_state(self._clocks)
        found = run_tiles(device, (self._ratio.numerator, self._ratio.denominator), tiles, parts, most)
        rows = (int(device[1][field]) for field in (HITS, MISSES, CONFLICTS, REFRESHES))
        return Elapsed(*(int(cycles) for cycles in found)), RowCounts(*rows)

    def _tiles(self, parts: Counts, of_tiles: Counts, work: Counts) -> Counts:
        """Return the tiles as the kernel takes them; work: of `_listed`."""
        where = np.where(work[:, :3] > 0, of_tiles, -1)
        _, bits, times, stride, outer, _, images, _ = parts.T
        loads = (outer * images * load for load in self._bound.runs(bits, times, stride, even=True))
        clocks, openings = (_left(np.where(where >= 0, load[where], 0)) for load in loads)
        least = clocks * self._ratio.denominator // self._ratio.numerator
        channel = self._bound.with_refresh(least, openings)
        return np.column_stack((where, work[:, 3], channel, _after(work[:, 3]))).astype(np.int64)


def _left(loads: Counts) -> Counts:
    """Return what is left to move after the read of each tile and the write-back of the second one before it.

    loads: of ifmap, filters and ofmap, [tile, tensor].
    """
    reads, writes = loads[:, 0] + loads[:, 1], loads[:, 2]
    return _after(reads) + _after(writes) + writes + np.append(0, writes[:-1])


def _after(values: Counts) -> Counts:
    """Return the sum of all that follow each."""
    return values.sum() - np.cumsum(values)


def _listed(runs: Runs[TileWork]) -> Counts:
    """Return what each tile reads (ifmap, filters), writes and computes, [tile, 4], in the order in which they run."""
    parts = []
    for body, times in runs:
        if is_runs(body):
            once = _listed(body)  # type: ignore[arg-type]
        else:
            once = np.array([(body.ifmap_read_bits, body.filter_read_bits, body.write_bits, body.busy_cycles)])  # type: ignore[union-attr]
        parts.append(np.tile(once, (times, 1)))
    return np.concatenate(parts)
