"""The tiles of many mappings on a DRAM device with banks: what the mapper times.

As logaccel.memory.banked, but the tiles of a mapping are arrays, which a kernel goes through
(logaccel.dram.tiles_kernel). Parts of tensors are laid out once for all mappings of a layer.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from logaccel.arch import BankedDram
from logaccel.dram import load_device
from logaccel.memory.banked import RowCounts, clock_ratio
from logaccel.memory.loops import Elapsed, Runs, is_runs
from logaccel.memory.places import Layout, Place
from logaccel.memory.places import Runs as Parts
from logaccel.memory.tiles import Mapping, TiledLayer, blocks
from logaccel.memory.timing import TileWork

Counts = NDArray[np.int64]
NO_LIMIT = 2**62
NOWHERE = (0, 0)


class BankedTiles:
    """Times mappings of one layer."""

    def __init__(self, tiled: TiledLayer, dram: BankedDram) -> None:
        device = load_device(dram.device)
        self._tiled, self._clocks, self._ratio = tiled, device.clocks, clock_ratio(device, tiled.clock_mhz)
        self._layout = Layout(tiled, device.clocks.burst_bits)
        self._numbers: dict[tuple[object, ...], int] = {}  # of the parts that are laid out
        self._blocks: list[Parts] = []
        self._firsts = [0]
        self._least: list[int] = []  # clocks that the data of a part takes

    def elapsed(self, mapping: Mapping, works: Runs[TileWork], most: int = NO_LIMIT) -> tuple[Elapsed, RowCounts]:
        """Return the array's cycles and what the device's rows met; beyond `most` cycles only that there are more."""
        from logaccel.dram.kernel import CONFLICTS, HITS, MISSES, REFRESHES, new_state
        from logaccel.dram.tiles_kernel import run_tiles  # loads the compiler: only where it is needed

        tiles, device = self._tiles(mapping, works), new_state(self._clocks)
        parts = np.array(self._blocks, dtype=np.int64).reshape(-1, 6), np.array(self._firsts)
        ratio = self._ratio.numerator, self._ratio.denominator
        found = run_tiles(device, ratio, tiles, *parts, most)
        rows = (int(device[1][field]) for field in (HITS, MISSES, CONFLICTS, REFRESHES))
        return Elapsed(*(int(cycles) for cycles in found)), RowCounts(*rows)

    def _tiles(self, mapping: Mapping, works: Runs[TileWork]) -> Counts:
        """Return the tiles as the kernel takes them, in the order in which they run."""
        ofmap_channels, ifmap_channels = self._tiled.group_channels
        maps = list(self._tiled.map_blocks(mapping))
        slices = blocks(ofmap_channels, mapping.ofmap_channels)
        depths = blocks(ifmap_channels, mapping.ifmap_channels)
        groups = range(self._tiled.layer.groups)
        ifmap, filters, ofmap = self._layout.ifmap, self._layout.filter, self._layout.ofmap
        ifmaps = [[[self._part("i", ifmap, Place(g, *m, NOWHERE, d)) for d in depths] for m in maps] for g in groups]
        blank = (NOWHERE,) * 3
        held = [[[self._part("f", filters, Place(g, *blank, b, d)) for d in depths] for b in slices] for g in groups]
        ofmaps = [[[self._part("o", ofmap, Place(g, *m, b, NOWHERE)) for b in slices] for m in maps] for g in groups]
        by_map, by_slice = np.array(ifmaps)[:, :, None, :], np.array(held)[:, None, :, :]
        parts = list(np.broadcast_arrays(by_map, by_slice, np.array(ofmaps)[..., None]))  # [group, map, slice, depth]
        if mapping.order == "channels":
            parts = [np.swapaxes(part, 1, 2) for part in parts]
        work = _listed(works)
        where = np.where(work[:, :3] > 0, np.stack([part.ravel() for part in parts], axis=1), -1)
        least = np.where(where >= 0, np.array(self._least)[where], 0)
        unwritten = _after(least[:, 2]) + least[:, 2] + np.append(0, least[:-1, 2])  # it and the tile before wait
        transfers = _after(least[:, 0] + least[:, 1]) + unwritten
        channel = transfers * self._ratio.denominator // self._ratio.numerator
        return np.column_stack((where, work[:, 3], channel, _after(work[:, 3]))).astype(np.int64)

    def _part(self, tensor: str, layout: Callable[[Place], tuple[Parts, ...]], place: Place) -> int:
        """Return the number of a part of a tensor; lay it out if it is new."""
        key = (tensor, place)
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers)
            parts = layout(place)
            self._blocks += parts
            self._firsts.append(len(self._blocks))
            bursts = (-(-part.bits // self._clocks.burst_bits) * part.times * part.outer_times for part in parts)
            self._least.append(self._clocks.burst * sum(bursts))
        return self._numbers[key]


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
