"""Every word that the array reads from and writes to the scratchpads while it runs one tile, cycle by cycle.

The cycles are those of logaccel.memory.ports, worked out here from the addresses themselves: what a port is asked for
in a cycle of the array says how long that cycle takes. Words lie in a scratchpad

    ifmap    ((n·C + c)·H + h)·W + w    C, H, W: what the tile stores; padding is neither stored nor read
    filter   k·M + m                    k = (c·R + r)·S + s
    ofmap    pixel·M + m                raw psums and ofmap words alike

from the half of it that the tile uses. A tile is gone through in windows of some cycles, so memory is bounded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.arch import Memory
from logaccel.memory.places import Place
from logaccel.memory.tiles import Block, TiledLayer, stored_span
from logaccel.memory.walk import tile_matrix
from logaccel.schedule.folds import FoldPlan, plan_folds

Counts = NDArray[np.int64]
WINDOW_WORDS = 2**16  # of one edge of the array

READ_IFMAP, READ_FILTER, READ_PSUM, WRITE_PSUM, WRITE_OFMAP = range(5)


@dataclass(frozen=True)
class Accesses:
    """Single words: `cycle` counts from the start of the tile, waits for ports and banks included."""

    what: int  # READ_IFMAP, …
    cycle: Counts
    address: Counts


@dataclass(frozen=True)
class _Stream:
    """Words that cross one edge of the array: fold i's step t in lane j in array cycle first[i] + t + j·skew."""

    first: Counts
    length: Counts
    lanes: Counts
    skew: int
    folds: Counts  # which folds of the plan these are

    def words(self, cycles: Counts) -> tuple[Counts, Counts, Counts, NDArray[np.bool_]]:
        """Return fold, step and lane of what crosses in these cycles, [cycle, lane], and where there is anything."""
        lane = np.arange(int(self.lanes.max(initial=1)))
        own = cycles[:, None] - self.skew * lane
        index = np.searchsorted(self.first, own, "right") - 1
        step = own - self.first[index]
        there = (index >= 0) & (step < self.length[index]) & (lane < self.lanes[index])
        return self.folds[index], step, np.broadcast_to(lane, own.shape), there


@dataclass(frozen=True)
class TileAccesses:
    """One tile of a layer on the array."""

    tiled: TiledLayer
    place: Place
    memory: Memory

    @cached_property
    def plan(self) -> FoldPlan:
        """Folds of the tile."""
        return plan_folds(tile_matrix(self.tiled, self.place), self.tiled.array, self.tiled.dataflow)

    def windows(self) -> Iterator[tuple[list[Accesses], int]]:
        """Yield what is accessed window by window, and the cycle in which the next window starts."""
        elapsed = 0
        end = self.plan.compute_cycles
        step = max(1, WINDOW_WORDS // max(self.tiled.array.rows, self.tiled.array.cols))
        for first in range(0, end, step):
            cycles = np.arange(first, min(first + step, end))
            found = [(what, *self._addresses(what, stream, cycles)) for what, stream in self._streams]
            cost = self._cost(found, cycles)
            when = elapsed + np.concatenate(([0], np.cumsum(cost)))
            elapsed = int(when[-1])
            yield [self._listed(what, address, there, when) for what, address, there in found], elapsed

    @cached_property
    def _streams(self) -> list[tuple[int, _Stream]]:
        plan, array = self.plan, self.tiled.array
        every, starts = np.arange(plan.count), plan.stream_starts
        delay, length = array.pipeline_stages, np.full(plan.count, plan.stream_length)
        out = starts + delay + array.rows - 1
        if plan.dataflow == "os":
            serial = not array.overlap  # all columns with the last
            out = out + length + (plan.cols - 1 if serial else 0)
            return [
                (READ_IFMAP, _Stream(starts, length, plan.rows, 0, every)),
                (READ_FILTER, _Stream(starts, length, plan.cols, 0, every)),
                (WRITE_OFMAP, _Stream(out, plan.rows, plan.cols, 0 if serial else 1, every)),
            ]
        moving, fixed = (READ_IFMAP, READ_FILTER) if plan.dataflow == "ws" else (READ_FILTER, READ_IFMAP)
        load = starts - plan.rows
        if array.overlap:
            load = np.concatenate((load[:1], starts[:-1]))
        again, last = plan.slice_of_inner > 0, plan.slice_of_inner == plan.slice_of_inner.max()
        if self.place.ifmap_channels[0] > 0:
            again = np.ones_like(again)
        if self.place.ifmap_channels[1] < self.tiled.group_channels[1]:
            last = np.zeros_like(last)

        def psums(first: Counts, which: Any) -> _Stream:
            return _Stream(first[which], length[which], plan.cols[which], 1, every[which])

        streams = [
            (moving, _Stream(starts, length, plan.rows, 0, every)),
            (fixed, _Stream(load, plan.rows, plan.cols, 0, every)),
            (READ_PSUM, psums(starts + delay - 1, again)),
            (WRITE_PSUM, psums(out, ~last)),
            (WRITE_OFMAP, psums(out, last)),
        ]
        return [(what, stream) for what, stream in streams if len(stream.first)]

    def _addresses(self, what: int, stream: _Stream, cycles: Counts) -> tuple[Counts, NDArray[np.bool_]]:
        """Return the word addresses [cycle, lane] and where there is a word; -1: padding, asked for but not read."""
        fold, step, lane, there = stream.words(cycles)
        plan, array = self.plan, self.tiled.array
        outer, inner = plan.slice_of_outer[fold] * array.cols, plan.slice_of_inner[fold] * array.rows
        row = plan.rows[fold] - 1 - step  # the word of the last row enters, and a psum of the last row leaves, first
        if plan.dataflow == "os":
            moving = what == READ_IFMAP
            pixel, channel, k = inner + (lane if moving else row), outer + lane, step
        elif plan.dataflow == "ws":
            pixel, channel, k = step, outer + lane, inner + (lane if what == READ_IFMAP else row)
        else:
            pixel, channel, k = outer + lane, step, inner + (row if what == READ_IFMAP else lane)
        if what == READ_IFMAP:
            address = self._ifmap(np.where(there, pixel, 0), np.where(there, k, 0))
        elif what == READ_FILTER:
            address = k * plan.matrix.channels + channel
        else:
            address = pixel * plan.matrix.channels + channel
        return np.where(there, address, -1), there

    def _ifmap(self, pixel: Counts, k: Counts) -> Counts:
        """Return where the word of a pixel and a tap lies in the tile, or -1 for padding."""
        layer, place = self.tiled.layer, self.place
        (top, bottom), (left, right) = stored_parts(self.tiled, place)
        columns = place.ofmap_columns[1] - place.ofmap_columns[0]
        image, rest = np.divmod(pixel, (place.ofmap_rows[1] - place.ofmap_rows[0]) * columns)
        p, q = np.divmod(rest, columns)
        channel, tap = np.divmod(k, layer.kernel[0] * layer.kernel[1])
        r, s = np.divmod(tap, layer.kernel[1])
        h = (place.ofmap_rows[0] + p) * layer.stride[0] + r * layer.dilation[0] - layer.padding[0]
        w = (place.ofmap_columns[0] + q) * layer.stride[1] + s * layer.dilation[1] - layer.padding[1]
        stored = (h >= top) & (h < bottom) & (w >= left) & (w < right)
        depth = place.ifmap_channels[1] - place.ifmap_channels[0]
        plane, rows, width = image * depth + channel, bottom - top, right - left
        if self.tiled.ifmap_on_chip:  # the whole map lies there
            channel = channel + place.group * self.tiled.group_channels[1] + place.ifmap_channels[0]
            plane, (rows, width) = (place.images[0] + image) * layer.in_channels + channel, layer.in_size
            top = left = 0
        address = (plane * rows + h - top) * width + w - left
        return np.where(stored, address, -1)

    def _cost(self, found: list[tuple[int, Counts, NDArray[np.bool_]]], cycles: Counts) -> Counts:
        """Return how long each cycle of the array takes: its slowest port; the ofmap reads and writes by one each."""
        widths, memory = self.tiled.widths, self.memory
        width = {READ_IFMAP: widths.ifmap_bits, READ_FILTER: widths.filter_bits, WRITE_OFMAP: widths.ofmap_bits}
        cost = np.ones_like(cycles)
        for pad, asked in (
            (memory.ifmap, (READ_IFMAP,)),
            (memory.filter, (READ_FILTER,)),
            (memory.ofmap, (READ_PSUM,)),
            (memory.ofmap, (WRITE_PSUM, WRITE_OFMAP)),
        ):
            words = [(what, address, there.sum(axis=1)) for what, address, there in found if what in asked]
            if pad.port_bits is not None:
                bits = sum(count * width.get(what, widths.psum_bits) for what, _, count in words)
                cost = np.maximum(cost, -(-bits // pad.port_bits))
            if pad.banks is not None and asked == (READ_IFMAP,):
                cost = np.maximum(cost, _fullest_bank(words[0][1], pad.banks))
            elif pad.banks is not None:
                cost = np.maximum(cost, -(-sum(count for _, _, count in words) // pad.banks))
        return cost

    def _listed(self, what: int, address: Counts, there: NDArray[np.bool_], when: Counts) -> Accesses:
        real = there & (address >= 0)
        return Accesses(what, np.broadcast_to(when[:-1, None], real.shape)[real], address[real])


def stored_parts(tiled: TiledLayer, place: Place) -> tuple[Block, Block]:
    """Return the rows and the columns of the ifmap that a tile stores."""
    return stored_span(tiled.layer, 0, place.ofmap_rows), stored_span(tiled.layer, 1, place.ofmap_columns)


def _fullest_bank(address: Counts, banks: int) -> Counts:
    """Return how many words of each cycle lie in one bank, at most."""
    rows, _ = np.nonzero(address >= 0)
    count = np.zeros((len(address), banks), dtype=np.int64)
    np.add.at(count, (rows, address[address >= 0] % banks), 1)
    return count.max(axis=1)
