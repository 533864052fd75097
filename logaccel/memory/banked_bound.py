"""What transfers on a DRAM device with banks take at least: what the mapper knows of all mappings at once.

A run moves in the bursts that hold it, as few as its bits allow. Bursts in order go through rows in order, and of the
rows that a transfer needs, each bank may hold one already: every other is opened, and another one of the same transfer
closed before. A bank whose row was closed by a refresh needs no precharge, but the refresh itself takes longer than all
of these.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from logaccel.dram import Clocks
from logaccel.memory.tiles import Map, TiledLayer

Counts = NDArray[np.int64]


class Load(NamedTuple):
    """What parts of tensors ask of a device at least."""

    clocks: Counts  # of data, and to open rows
    openings: Counts  # of rows in whose bank the same transfer has opened another one before


@dataclass(frozen=True)
class BankedBound:
    """A device, and how many of its clocks an array cycle has."""

    clocks: Clocks
    ratio: Fraction

    @property
    def latency_cycles(self) -> int:
        """Cycles before the first word of a read, rounded up."""
        return -(-self.clocks.cl * self.ratio.denominator // self.ratio.numerator)

    def cycles(self, least_clocks: Counts, read: bool) -> Counts:
        """Return array cycles that no transfer beats whose runs take so many clocks; nothing for nothing."""
        least = least_clocks + (self.clocks.cl if read else self.clocks.cwl)
        return np.where(least_clocks > 0, -(-least * self.ratio.denominator // self.ratio.numerator), 0)

    def with_refresh(self, cycles: Counts, openings: Counts) -> Counts:
        """Return the least cycles until a channel has ended transfers that take so many by themselves.

        Refreshes fall due every tREFI. All but those due after the last burst's turn are done by then, and no data
        moves in the meantime. The rounding of what surrounds a refresh may hide two array cycles of it. It precharges
        all banks at once: as many of the openings (those that `cycles` hold, or more) need none any more.
        """
        clocks, over, under = self.clocks, self.ratio.numerator, self.ratio.denominator
        each = max(0, clocks.trfc * under // over - 2)
        last = clocks.tras + clocks.twr + clocks.trtp + clocks.trp + clocks.trcd + clocks.twtr + clocks.trp_all
        last += clocks.trfc + clocks.cl + clocks.cwl + 2 * clocks.burst  # from a burst's turn to its data, and more
        saving = max(0, clocks.banks * self._precharge - clocks.trp_all)
        if each * over < saving * under:
            return cycles
        ends = cycles
        for _ in range(3):  # more time, more refreshes
            due = np.maximum(0, ((ends - 1) * over // under - last) // clocks.trefi)
            saved = np.minimum(due * saving, openings * self._precharge)
            ends = np.maximum(cycles, cycles + each * due - -(-saved * under // over))
        return ends

    def of_tiles(self, tiled: TiledLayer, kinds: Sequence[Map], channels: Counts, depths: Counts) -> tuple[Load, ...]:
        """Return the loads of ifmap[kind, depth], filter[channels, depth] and ofmap[kind, channels] of tiles."""
        layer, widths = tiled.layer, tiled.widths
        images = np.array([kind.images for kind in kinds])[:, None]
        stored, own = (
            tuple(np.array(sizes)[:, None] for sizes in zip(*pairs, strict=True))
            for pairs in (
                [(kind.rows.stored, kind.columns.stored) for kind in kinds],
                [(kind.rows.size, kind.columns.size) for kind in kinds],
            )
        )
        taps = layer.kernel[0] * layer.kernel[1] * widths.filter_bits
        whole = tiled.group_channels[1]
        filters = _either(
            depths == whole,
            self.runs(channels[:, None] * depths * taps, 1, 0),
            self.runs(depths * taps, channels[:, None], whole * taps, even=True),
        )
        ifmap = self._maps(images, depths, layer.in_channels, stored, layer.in_size, widths.ifmap_bits)
        ofmap = self._maps(images, channels, layer.out_channels, own, layer.out_size, widths.ofmap_bits)
        return ifmap, filters, ofmap

    def _maps(
        self, images: Counts, channels: Counts, every: int, part: tuple[Counts, ...], size: tuple[int, int], bits: int
    ) -> Load:
        """Take rows and columns of some channels of some images: whole maps lie on end, and so do whole images."""
        rows, columns = part
        plane = size[0] * size[1] * bits
        parts = self.runs(columns * bits, rows * channels * images, size[1] * bits)
        apart = self.runs(rows * size[1] * bits, channels * images, plane)
        one_image = self.runs(channels * plane, images, every * plane)
        together = _either(channels == every, self.runs(images * channels * plane, 1, 0), one_image)
        whole_rows = _either(rows == size[0], together, apart)
        return _either(columns == size[1], whole_rows, parts)

    def runs(self, bits: Counts, times: Counts | int, stride: Counts | int, even: bool = False) -> Load:
        """Take runs that begin at least `stride` apart: each has bursts of its own, and rows lie between them.

        even: they begin exactly so far apart.
        """
        clocks = self.clocks
        row_bits = clocks.row_bursts * clocks.burst_bits
        bursts = times * -(-bits // clocks.burst_bits)
        # Short runs may share a burst, and move it again each: bits alone tell how many rows there are at least.
        rows = np.maximum(-(-times * bits // row_bits), np.minimum(times, (times - 1) * stride // row_bits + 1))
        # Runs so far apart that no row holds parts of two: each has rows of its own.
        alone = times * -(-bits // row_bits)
        alone = np.maximum(alone, self._even_rows(bits, times, stride)) if even else alone
        rows = np.where(stride - bits >= row_bits, alone, rows)
        openings = np.where(bits > 0, np.maximum(0, rows - clocks.banks), 0)
        return Load(bursts * clocks.burst + openings * (clocks.trcd + self._precharge), openings)

    @property
    def _precharge(self) -> int:
        """Clocks that an opening waits for the row before it; a refresh must not save more than it takes."""
        return self.clocks.trp if self.clocks.trfc >= self.clocks.banks * self.clocks.trp else 0

    def _even_rows(self, bits: Counts, times: Counts | int, stride: Counts | int) -> Counts:
        """Return how many rows runs at even distances lie in at least, wherever the first begins, run by run.

        Where in their rows runs begin comes again every `period` runs, and these meet every place that is a multiple of
        `step` bits from the first one's, once. So beyond the rows in which they begin, they reach into
        ⌊(bits − 1 + first mod step) / step⌋ others, all together (Hermite's identity).
        """
        row_bits = self.clocks.row_bursts * self.clocks.burst_bits
        step = np.gcd(stride, row_bits)
        period = row_bits // step
        several = times // period * (period + (bits - 1) // step)
        return np.asarray(several + times % period * -(-bits // row_bits))


def _either(condition: NDArray[np.bool_], one: Load, other: Load) -> Load:
    return Load(*(np.where(condition, *fields) for fields in zip(one, other, strict=True)))
