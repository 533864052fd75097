"""What transfers on a DRAM device with banks take at least: what the mapper knows of all mappings at once.

A run moves in the bursts that hold it, as few as its bits allow. Bursts in order go through rows in order, and of the
rows that a transfer needs, each bank may hold one already: every other is opened. A bank whose row was closed by a
refresh needs no precharge, but the refresh itself takes longer than all of these.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from logaccel.dram import Clocks
from logaccel.memory.tiles import Map, TiledLayer

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class BankedBound:
    """A device, and how many of its clocks an array cycle has."""

    clocks: Clocks
    ratio: Fraction

    @property
    def latency_cycles(self) -> int:
        """Cycles before the first word of a read, rounded up."""
        return -(-self.clocks.cl * self.ratio.denominator // self.ratio.numerator)

    @property
    def _clock_bits(self) -> int:
        return self.clocks.burst_bits // self.clocks.burst

    def cycles(self, bits: Counts, read: bool) -> Counts:
        """Return array cycles that no transfer beats whose bits and openings take as long as so many bits."""
        least = -(-bits // self._clock_bits) + (self.clocks.cl if read else self.clocks.cwl)
        return np.where(bits > 0, -(-least * self.ratio.denominator // self.ratio.numerator), 0)

    def with_refresh(self, cycles: Counts) -> Counts:
        """Return the least cycles until a channel has ended transfers that take so many by themselves.

        Refreshes fall due every tREFI. All but those due after the last burst's turn are done by then, and no data
        moves in the meantime. The rounding of what surrounds a refresh may hide two array cycles of it.
        """
        clocks, over, under = self.clocks, self.ratio.numerator, self.ratio.denominator
        each = max(0, clocks.trfc * under // over - 2)
        last = clocks.tras + clocks.twr + clocks.trtp + clocks.trp + clocks.trcd + clocks.twtr + clocks.trp_all
        last += clocks.trfc + clocks.cl + clocks.cwl + 2 * clocks.burst  # from a burst's turn to its data, and more
        ends = cycles
        for _ in range(3):  # more time, more refreshes
            ends = cycles + each * np.maximum(0, ((ends - 1) * over // under - last) // clocks.trefi)
        return ends

    def as_bits(
        self, tiled: TiledLayer, kinds: Sequence[Map], channels: Counts, depths: Counts
    ) -> tuple[Counts, Counts, Counts]:
        """Return ifmap[kind, depth], filter[channels, depth] and ofmap[kind, channels] of tiles.

        Each as the bits whose data alone would take as long as its bursts and the rows that must be opened.
        """
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
        filters = np.where(
            depths == whole,
            self.run_bits(channels[:, None] * depths * taps, 1, 0),
            self.run_bits(depths * taps, channels[:, None], whole * taps),
        )
        ifmap = self._maps(images, depths, layer.in_channels, stored, layer.in_size, widths.ifmap_bits)
        ofmap = self._maps(images, channels, layer.out_channels, own, layer.out_size, widths.ofmap_bits)
        return ifmap, filters, ofmap

    def _maps(
        self, images: Counts, channels: Counts, every: int, part: tuple[Counts, ...], size: tuple[int, int], bits: int
    ) -> Counts:
        """Take rows and columns of some channels of some images: whole maps lie on end, and so do whole images."""
        rows, columns = part
        plane = size[0] * size[1] * bits
        parts = self.run_bits(columns * bits, rows * channels * images, size[1] * bits)
        apart = self.run_bits(rows * size[1] * bits, channels * images, plane)
        one_image = self.run_bits(channels * plane, images, every * plane)
        together = np.where(channels == every, self.run_bits(images * channels * plane, 1, 0), one_image)
        whole_rows = np.where(rows == size[0], together, apart)
        return np.where(columns == size[1], whole_rows, parts)

    def run_bits(self, bits: Counts, times: Counts | int, stride: int) -> Counts:
        """Take runs that begin at least `stride` apart: each has bursts of its own, and rows lie between them."""
        clocks = self.clocks
        row_bits = clocks.row_bursts * clocks.burst_bits
        bursts = times * -(-bits // clocks.burst_bits)
        # Short runs may share a burst, and move it again each: bits alone tell how many rows there are at least.
        rows = np.maximum(-(-times * bits // row_bits), np.minimum(times, (times - 1) * stride // row_bits + 1))
        # Runs so far apart that no row holds parts of two: each has as many rows as its bits fill.
        rows = np.where(stride - bits >= row_bits, times * -(-bits // row_bits), rows)
        precharge = clocks.trp if clocks.trfc >= clocks.banks * clocks.trp else 0
        opening = np.maximum(0, rows - clocks.banks) * (clocks.trcd + precharge)
        return np.where(bits > 0, bursts * clocks.burst_bits + opening * self._clock_bits, 0)
