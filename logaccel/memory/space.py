"""Every mapping of a layer at once, as arrays: what fits, what it moves and computes, and the least that it takes.

    axes   [m, b, d, o]   m: block of images, rows and columns, b: of ofmap channels, d: of ifmap channels, o: order

An axis of size n cut in steps of s has blocks of at most two lengths (full, ragged), and blocks of ofmap rows or
columns differ besides in the padding that they see. So a table over all kinds of blocks is built once, [x, c, k],
and sums over the tiles of a mapping are products with matrices that say how many blocks of which kind it has.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from logaccel.arch import ChannelDram, Memory, Order
from logaccel.errors import WorkloadError
from logaccel.memory.banked_bound import BankedBound
from logaccel.memory.busy import ALONE, FIRST, LAST, MIDDLE, BusyTables, sees_padding
from logaccel.memory.choices import Choices
from logaccel.memory.tiles import Map, Mapping, TiledLayer, axis_runs

Counts = NDArray[np.int64]
SLOWEST_MAC = 2**12  # cycles or bits of a MAC that is a tile of its own: its fold on the largest array


def check_size(tiled: TiledLayer, dram: ChannelDram | BankedBound) -> None:
    """Refuse a layer whose sums could need more than 64 bits. Raises WorkloadError."""
    macs = tiled.layer.matrix(tiled.batch).macs
    most = 2**62 // max(SLOWEST_MAC, dram.latency_cycles)
    if macs > most:
        raise WorkloadError(f"{tiled.layer.name}: must be at most {most:,} MACs to be mapped, got {macs:,}")


class Axis:
    """The steps of an axis, the lengths of their blocks, and how many blocks of each: counts[step, length]."""

    def __init__(self, size: int, steps: Sequence[int]) -> None:
        self.steps = np.array(steps, dtype=np.int64)
        ragged = size % self.steps
        self.lengths = np.unique(np.concatenate((np.minimum(self.steps, size), ragged[ragged > 0])))
        self.counts = np.zeros((len(steps), len(self.lengths)), dtype=np.int64)
        self.first = np.searchsorted(self.lengths, np.minimum(self.steps, size))
        self.last = np.where(ragged > 0, np.searchsorted(self.lengths, ragged), self.first)
        np.add.at(self.counts, (np.arange(len(steps)), self.first), size // self.steps)
        np.add.at(self.counts, (np.arange(len(steps)), self.last), ragged > 0)
        self.blocks = self.counts.sum(axis=1)


class Maps:
    """The same for blocks of images, ofmap rows and columns, whose kinds are `Map`s."""

    def __init__(self, tiled: TiledLayer, steps: Sequence[tuple[int, int, int]], padding: bool) -> None:
        """List the kinds; padding: whether those differ that see other padding, but store as much."""
        kinds: dict[Map, int] = {}
        entries: list[tuple[int, int, int]] = []
        self.first, self.last = np.zeros(len(steps), np.int64), np.zeros(len(steps), np.int64)
        for index, (images, height, width) in enumerate(steps):
            rows, columns = (
                [(block if padding else block._replace(before=0), times) for block, times in runs]  # type: ignore[union-attr]
                for runs in (axis_runs(tiled.layer, 0, height), axis_runs(tiled.layer, 1, width))
            )
            numbers = [(images, tiled.batch // images)] + [(tiled.batch % images, 1)] * (tiled.batch % images > 0)
            own = [
                (kinds.setdefault(Map(number, row, column), len(kinds)), times * down * across)  # type: ignore[arg-type]
                for number, times in numbers
                for row, down in rows
                for column, across in columns
            ]
            entries += [(index, kind, count) for kind, count in own]
            self.first[index], self.last[index] = own[0][0], own[-1][0]
        self.counts = np.zeros((len(steps), len(kinds)), dtype=np.int64)
        for index, kind, count in entries:
            self.counts[index, kind] += count
        self.kinds = tuple(kinds)
        self.pixels = np.array([kind.pixels for kind in kinds])
        bits = 0 if tiled.ifmap_on_chip else tiled.widths.ifmap_bits
        # What comes from DRAM, of one ifmap channel.
        self.ifmap_bits = np.array([kind.stored_words for kind in kinds], dtype=np.int64) * bits
        self.blocks = self.counts.sum(axis=1)


class Space:
    """All mappings of a layer. Arrays have the axes [m, b, d, o], some of them of length 1."""

    def __init__(self, tiled: TiledLayer, memory: Memory, dram: ChannelDram | BankedBound, chosen: Choices) -> None:
        """Prepare the tables; the caller has called `check_size`."""
        self.tiled, self.memory, self.dram, self.choices = tiled, memory, dram, chosen
        ofmap_channels, ifmap_channels = tiled.group_channels
        taps = tiled.layer.kernel[0] * tiled.layer.kernel[1]
        self.maps = Maps(tiled, self.choices.maps, sees_padding(tiled, memory))
        self.channels = Axis(ofmap_channels, self.choices.ofmap_channels)
        self.depths = Axis(ifmap_channels, self.choices.ifmap_channels)
        x, c, k = self.maps.pixels, self.channels.lengths, self.depths.lengths
        self.busy = BusyTables(tiled, memory, self.maps.kinds, (x, c, k))
        self._cycles = self.busy.cycles
        self._ifmap = self.maps.ifmap_bits[:, None] * k
        self._filter = tiled.widths.filter_bits * taps * c[:, None] * k
        self._write = x[:, None] * c * (0 if tiled.ofmap_on_chip else tiled.widths.ofmap_bits)
        if isinstance(dram, BankedBound):  # clocks in place of bits: of whole bursts, and of rows to open
            moved = self._ifmap > 0, self._filter > 0, self._write > 0
            loads = dram.of_tiles(tiled, self.maps.kinds, c, k)
            self._ifmap, self._filter, self._write = (
                load.clocks * some for load, some in zip(loads, moved, strict=True)
            )
            self._openings = tuple(load.openings * some for load, some in zip(loads, moved, strict=True))

    def mapping(self, index: int) -> Mapping:
        """Return a mapping by its place in the flattened space."""
        m, b, d, o = np.unravel_index(index, self.shape)
        chosen = self.choices
        return Mapping(*chosen.maps[m], chosen.ofmap_channels[b], chosen.ifmap_channels[d], chosen.orders[o])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Sizes of the four axes."""
        chosen = self.choices
        return len(chosen.maps), len(chosen.ofmap_channels), len(chosen.ifmap_channels), len(chosen.orders)

    @cached_property
    def needs_bits(self) -> dict[str, Counts]:
        """What two full tiles need of each scratchpad."""
        images, rows, columns = np.array(self.choices.maps).T[:, :, None, None, None]
        channels = np.array(self.choices.ofmap_channels)[:, None, None]
        depths = np.array(self.choices.ifmap_channels)[:, None]
        return self.tiled.footprints_bits((images, rows, columns), channels, depths)

    @cached_property
    def fits(self) -> NDArray[np.bool_]:
        """Whether a mapping fits every scratchpad; of two orders that run the same tiles the first one."""
        fit = np.ones(self.shape, dtype=bool)
        for name, capacity in self.memory.capacity_bytes.items():
            fit &= self.needs_bits[name] <= 8 * capacity
        if self.shape[3] > 1:
            alone = (self.maps.blocks[:, None] == 1) | (self.channels.blocks == 1)
            fit[..., 1] &= ~alone[:, :, None]
        return fit

    @cached_property
    def compute_cycles(self) -> Counts:
        """Cycles of the array over all tiles, without stalls of any kind."""
        return self.tiled.layer.groups * self.summed(self._cycles)[..., None]

    @cached_property
    def busy_cycles(self) -> Counts:
        """The same with the least that scratchpad ports hold the array up."""
        busy, depths = self.busy, self.depths
        if not busy.port_bound:
            return self.tiled.layer.groups * self.summed(busy.least(ALONE))[..., None]
        cycles = np.zeros(self.shape[:3], dtype=np.int64)
        first, last = (depths.lengths == depths.lengths[ends][:, None] for ends in (depths.first, depths.last))
        deep = depths.blocks > 1
        for part, counts in (
            (ALONE, first * ~deep[:, None]),
            (FIRST, first * deep[:, None]),
            (LAST, last * deep[:, None]),
            (MIDDLE, (depths.counts - first - last) * deep[:, None]),
        ):
            if counts.any():
                cycles += self.summed(busy.least(part), counts)
        return self.tiled.layer.groups * cycles[..., None]

    @cached_property
    def dram_read_bits(self) -> tuple[Counts, Counts]:
        """Bits of ifmaps and of filters that all tiles read."""
        ifmap = (self.maps.counts @ self.maps.ifmap_bits)[:, None, None, None] * self.tiled.group_channels[1]
        filters = self.tiled.filter_bits(*self.tiled.group_channels)
        ifmap_passes, filter_passes = self._passes
        return ifmap * ifmap_passes, filters * filter_passes

    @cached_property
    def _passes(self) -> tuple[Counts, Counts]:
        """How often all of an ifmap and all filters of a group are read, times the groups."""
        groups, maps, slices = self.tiled.layer.groups, self.maps.blocks[:, None, None, None], self.channels.blocks
        slices, deep = slices[:, None, None], (self.depths.blocks > 1)[:, None]
        pixels_outer = np.array([order == "pixels" for order in self.choices.orders])
        ifmap = np.where(deep | (~pixels_outer & (maps > 1)), slices, 1)
        return groups * ifmap, groups * np.where(deep | (pixels_outer & (slices > 1)), maps, 1)

    @cached_property
    def dram_write_bits(self) -> int:
        """Bits of ofmaps: each is written once, or stays on chip."""
        layer = self.tiled.layer
        pixels = self.tiled.batch * layer.out_size[0] * layer.out_size[1]
        return 0 if self.tiled.ofmap_on_chip else pixels * layer.out_channels * self.tiled.widths.ofmap_bits

    @cached_property
    def least_cycles(self) -> Counts:
        """Cycles that no run of a mapping can beat.

        Nothing hides the first read and the last write from the array. Nor does the channel end before all of
        its transfers: the last tile is computed after all reads and all write-backs but its own and that of
        the tile before it.
        """
        first_map, last_map = self.maps.first, self.maps.last
        first, last = self.channels.first, self.channels.last
        deep_first, deep_last = self.depths.first, self.depths.last
        opening = self._time(
            self._ifmap[first_map][:, None, deep_first] + self._filter[first][:, deep_first], read=True
        )[..., None]
        closing = self._time(self._write[last_map][:, last])[:, :, None, None]
        last_tile = self._cycles[last_map[:, None, None], last[:, None], deep_last][..., None]
        hidden = np.where(
            (self.depths.blocks > 1)[:, None], 0, self._time(self._write).max(axis=0)[first][:, None, None]
        )
        writes = self.tiled.layer.groups * (self.maps.counts @ self._time(self._write) @ self.channels.counts.T)
        channel = self._read_cycles + writes[:, :, None, None]
        ends, before_last = channel, channel - hidden
        if isinstance(self.dram, BankedBound):
            ends, before_last = (self.dram.with_refresh(cycles, self._all_openings) for cycles in (ends, before_last))
        return np.maximum(self.busy_cycles + opening + closing, np.maximum(ends, before_last + last_tile))

    @property
    def _all_openings(self) -> Counts:
        """Rows that are opened, as far as the channel's cycles hold their precharges."""
        maps, channels, depths = self.maps.counts, self.channels.counts, self.depths.counts
        ifmap, filters, ofmap = self._openings
        ifmap_passes, filter_passes = self._passes
        read = (maps @ ifmap @ depths.T)[:, None, :, None] * ifmap_passes
        read = read + (channels @ filters @ depths.T)[..., None] * filter_passes
        return read + self.tiled.layer.groups * (maps @ ofmap @ channels.T)[:, :, None, None]

    @cached_property
    def _read_cycles(self) -> Counts:
        """Cycles of the channel for all reads."""
        groups = self.tiled.layer.groups
        both = self._time(self._ifmap[:, None, :] + self._filter, read=True)
        cycles = np.repeat(self.summed(both)[..., None], self.shape[3], axis=3)
        for d in np.flatnonzero(self.depths.blocks == 1):
            k = self.depths.first[d]
            for o, order in enumerate(self.choices.orders):
                cycles[:, :, d, o] = self._kept_reads(int(k), order)
        return groups * cycles

    def _kept_reads(self, k: int, order: Order) -> Counts:
        """Return cycles[m, b] of the reads of one group's tiles that hold the whole reduction."""
        ifmap, filters = self._ifmap[:, k], self._filter[:, k]
        alone_i, alone_f = self._time(ifmap, read=True), self._time(filters, read=True)
        both = self._time(ifmap[:, None] + filters, read=True)
        maps, slices = self.maps.counts, self.channels.counts
        of_maps, of_slices = (maps @ alone_i)[:, None], slices @ alone_f
        first_map, first_slice = self.maps.first, self.channels.first
        one_map, one_slice = (self.maps.blocks == 1)[:, None], self.channels.blocks == 1
        opening = both[first_map[:, None], first_slice]
        if order == "channels":
            several = (both[first_map] - alone_i[first_map][:, None]) @ slices.T + of_maps * self.channels.blocks
            return np.where(one_map, opening - alone_f[first_slice] + of_slices, several)
        several = maps @ (both - alone_f)[:, first_slice] + of_slices * self.maps.blocks[:, None]
        return np.where(one_slice, opening - alone_i[first_map][:, None] + of_maps, several)

    def summed(self, table: Counts, slices: Counts | None = None) -> Counts:
        """Sum table[x, c, k] over the tiles of every mapping, or over some K slices[d, k] of them: [m, b, d]."""
        maps, channels = self.maps.counts, self.channels.counts
        depths = self.depths.counts if slices is None else slices
        by_map = np.tensordot(maps, table, axes=(1, 0))
        return (channels @ by_map) @ depths.T

    def _time(self, bits: Counts, read: bool = False) -> Counts:
        """Return the channel's cycles for transfers, as logaccel.memory.timing.transfer_cycles does for one.

        bits: clocks, where the device has banks.
        """
        if isinstance(self.dram, BankedBound):
            return self.dram.cycles(bits, read)
        latency = self.dram.latency_cycles if read else 0
        if self.dram.bits_per_cycle is None:
            return np.where(bits > 0, latency, 0)
        bursts = -(-bits // self.dram.burst_bits) * self.dram.burst_bits
        return np.where(bits > 0, latency - (-bursts // self.dram.bits_per_cycle), 0)
