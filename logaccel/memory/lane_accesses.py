"""Every word that the lanes read and write in one block of the work between layers, cycle by cycle.

    for pass of C_a channels:
      for place [p, q] of the result:
        for tap within the map:
          for term:  a step: the lanes read a word each; in the last step of a place they write one each

A step takes a cycle, or as long as the slower of its ports. A block is gone through in windows, so memory is bounded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from logaccel.memory.post_tiles import Sweep
from logaccel.memory.tiles import Block, blocks
from logaccel.schedule.post_work import LaneBlock, Window

Counts = NDArray[np.int64]
WINDOW_WORDS = 2**16

RESULT = -1  # in place of a term


@dataclass(frozen=True)
class LaneWords:
    """Elements of a term, zeros of a pad too, or words of the result: `cycle` counts from the block's first step."""

    term: int
    cycle: Counts
    channel: Counts
    row: Counts
    column: Counts


@dataclass(frozen=True)
class _Taps:
    """The taps of some places along one axis: how many lie in the map, how many before, and where the first reads."""

    window: Window
    places: Block

    @cached_property
    def count(self) -> Counts:
        return np.array([self.window.taps_inside(place) for place in range(*self.places)])

    @cached_property
    def before(self) -> Counts:
        return np.concatenate(([0], np.cumsum(self.count)))

    @cached_property
    def first(self) -> Counts:
        return np.array([self.window.first_inside(place) for place in range(*self.places)])

    def input(self, place: Counts, tap: Counts) -> Counts:
        """Return the rows of the input that a place (counted from the first of these) reads at a tap inside."""
        return np.asarray(self.first[place] + tap * self.window.dilation)


@dataclass(frozen=True)
class BlockAccesses:
    """One block of a sweep that adds cycles."""

    sweep: Sweep
    block: LaneBlock

    def windows(self) -> Iterator[tuple[list[LaneWords], int]]:
        """Yield what is accessed window by window, and the cycle in which the next window starts."""
        elapsed = 0
        first, end = self.block.channels
        for part in blocks(end - first, self.sweep.port.lanes):
            lanes = np.arange(first + part[0], first + part[1])
            size = max(1, WINDOW_WORDS // len(lanes))
            for start in range(0, self._steps, size):
                step = np.arange(start, min(start + size, self._steps))
                found, cost = self._words(step, lanes)
                when = elapsed + np.concatenate(([0], np.cumsum(cost)))
                elapsed = int(when[-1])
                yield [self._listed(term, when[at], lanes, row, column) for term, at, row, column in found], elapsed

    @cached_property
    def _axes(self) -> tuple[_Taps, _Taps]:
        piece = self.sweep.piece
        return _Taps(piece.rows, self.block.rows), _Taps(piece.columns, (0, piece.size[1]))

    @property
    def _steps(self) -> int:
        rows, columns = self._axes
        return int(len(self.sweep.piece.terms) * rows.before[-1] * columns.before[-1])

    def _words(self, step: Counts, lanes: Counts) -> tuple[list[tuple[int, Counts, Counts, Counts]], Counts]:
        """Return (term, which steps, row, column) of what these steps read and write, and how long each takes."""
        (rows, columns), terms, port = self._axes, len(self.sweep.piece.terms), self.sweep.port
        tap, term = np.divmod(step, terms)
        p = np.searchsorted(rows.before * columns.before[-1], tap, "right") - 1
        tap = tap - rows.before[p] * columns.before[-1]  # of this row of the result
        q = np.searchsorted(columns.before, tap // rows.count[p], "right") - 1
        tap = tap - rows.count[p] * columns.before[q]  # of this place
        r, s = np.divmod(tap, columns.count[q])
        last = (tap == rows.count[p] * columns.count[q] - 1) & (term == terms - 1)
        row, column = rows.input(p, r), columns.input(q, s)
        own = [(number, np.flatnonzero(term == number)) for number in range(terms)]
        found = [(number, at, row[at], column[at]) for number, at in own]
        at = np.flatnonzero(last)
        found.append((RESULT, at, self.block.rows[0] + p[at], q[at]))
        cost = np.ones_like(step)
        if port.bits is not None:
            cost = -(-len(lanes) * np.array(port.term_bits)[term] // port.bits)
            cost[last] = np.maximum(cost[last], -(-len(lanes) * port.result_bits // port.bits))
        return found, cost

    def _listed(self, term: int, when: Counts, lanes: Counts, row: Counts, column: Counts) -> LaneWords:
        """Return a word for each lane: [step, lane], step by step."""
        each = len(lanes)
        cycle, row, column = (np.repeat(array, each) for array in (when, row, column))
        return LaneWords(term, cycle, np.tile(lanes, len(when)), row, column)
