"""Accesses of the work between layers at every level in the order of time: lanes, fills and write-backs merged.

Two blocks lie one after the other in the ofmap scratchpad, each as │ term │ term │ result │ of what is not on chip, in
the order of channels, rows and columns. A residual is read while the layer's psums arrive: from DRAM each word in
the cycle in which it comes, on chip in those of the layer (logaccel.memory.access_trace).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from logaccel.memory.access_trace import KINDS, Kind, Rows, Stream, Written, merged, rows_of
from logaccel.memory.lane_accesses import RESULT, BlockAccesses, LaneWords
from logaccel.memory.map_places import LaneMap, Spot
from logaccel.memory.post_tiles import PlacedBlock, Surroundings, Sweep
from logaccel.memory.transfers import CHUNK_WORDS, arrivals
from logaccel.schedule.post_work import LaneBlock

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class SweptMaps:
    """The maps of a sweep: of each term, and of the result."""

    terms: tuple[LaneMap, ...]
    result: LaneMap
    residual: bool = False

    def kind(self, level: str, access: str, term: int) -> int:
        """Return the number of an access of a term: that of its kind, and the term's own range of numbers."""
        operand = "ofmap" if term == RESULT else "residual" if self.residual else "input"
        return KINDS.index(Kind(level, access, operand)) + len(KINDS) * max(term, 0)


def trace_sweep(sweep: Sweep, maps: SweptMaps, around: Surroundings) -> Iterator[tuple[str, Rows]]:
    """Yield (level, rows); of each level in the order of cycles, which count from the sweep's start.

    Kinds are those of KINDS, plus len(KINDS) for every term before; `address` in DRAM is a word of the map.
    """
    own = _Sweep(sweep, maps, around)
    return merged([own.lanes(), own.fills(), own.write_backs()])


@dataclass(frozen=True)
class _Sweep:
    sweep: Sweep
    maps: SweptMaps
    around: Surroundings

    def lanes(self) -> Stream:
        if not self.sweep.piece.adds_cycles:
            return
        for placed in self.sweep.placed(self.around):
            spots = self._spots(placed)
            for found, elapsed in BlockAccesses(self.sweep, placed.block).windows():
                rows: Written = {}
                for words in found:
                    level, access, real, address = self._accessed(placed, spots, words)
                    kind, cycle = self.maps.kind(level, access, words.term), placed.spans.busy.start + words.cycle
                    rows.setdefault(level, []).append(rows_of(cycle[real], kind, address[real]))
                yield rows, placed.spans.busy.start + elapsed

    def _accessed(
        self, placed: PlacedBlock, spots: dict[int, Spot], words: LaneWords
    ) -> tuple[str, str, NDArray[np.bool_], Counts]:
        """Return level, access, which of the elements are words, and where they lie; zeros of a pad lie anywhere."""
        access = "write" if words.term == RESULT else "read"
        own = self._map(words.term)
        if own.spot is not None:
            found = own.words(placed.image, words.channel, words.row, words.column)
            return "ifmap", access, found >= 0, own.spot.address(np.maximum(found, 0))
        (first, _), (top, bottom) = placed.block.channels, self._rows(words.term, placed.block)
        line = (words.channel - first) * (bottom - top) + words.row - top
        element = line * own.size[2] + words.column
        held = self._held(words.term, placed.block)
        if held is None:
            return "ofmap", access, np.full(len(element), True), spots[words.term].address(element)
        before = np.cumsum(held) - 1  # words before each of the words
        return "ofmap", access, held[element], spots[words.term].address(before[element])

    def fills(self) -> Stream:
        channel = self.around.channel
        for placed in self.sweep.placed(self.around):
            spots, span, before = self._spots(placed), placed.spans.read, 0
            for term, bits in enumerate(self.sweep.port.term_bits):
                if self.maps.terms[term].spot is not None:
                    continue
                for word in _chunks(self._words(term, placed.block)):
                    arrived = before + (word + 1) * bits
                    cycle = arrivals(arrived, span, channel, placed.spans.work.read_bits, channel.latency_cycles)
                    address, kind = spots[term].address(word), self.maps.kind
                    pad = [rows_of(cycle, kind("ofmap", "write", term), address)]
                    if self.maps.residual:  # the lane takes it at once
                        pad.append(rows_of(cycle, kind("ofmap", "read", term), address))
                    crossed = rows_of(cycle, kind("dram", "read", term), self._in_map(term, placed, word))
                    yield {"ofmap": pad, "dram": [crossed]}, int(cycle[-1])
                before += self._words(term, placed.block) * bits

    def write_backs(self) -> Stream:
        channel, bits = self.around.channel, self.sweep.port.result_bits
        for placed in self.sweep.placed(self.around):
            span, all_bits = placed.spans.write, placed.spans.work.write_bits
            address = self._spots(placed).get(RESULT)
            for word in _chunks(all_bits // bits):
                assert address is not None
                cycle = arrivals((word + 1) * bits, span, channel, all_bits, 0)
                pad = rows_of(cycle, self.maps.kind("ofmap", "read", RESULT), address.address(word))
                crossed = rows_of(cycle, self.maps.kind("dram", "write", RESULT), self._in_map(RESULT, placed, word))
                yield {"ofmap": [pad], "dram": [crossed]}, int(cycle[-1])

    @cached_property
    def _half_bits(self) -> int:
        """How far apart the two blocks in the scratchpad lie."""
        assert self.around.memory is not None
        return max(map(self.sweep.block_bits, self.sweep.blocks(8 * self.around.memory.ofmap.bytes)))

    def _map(self, term: int) -> LaneMap:
        return self.maps.result if term == RESULT else self.maps.terms[term]

    def _rows(self, term: int, block: LaneBlock) -> tuple[int, int]:
        """Return the rows of a term, or of the result, that a block holds."""
        return block.rows if term == RESULT else self.sweep.piece.rows.block(block.rows)

    def _words(self, term: int, block: LaneBlock) -> int:
        """Return how many words of a term, or of the result, a block holds."""
        piece = self.sweep.piece
        return piece.results(block) if term == RESULT else piece.fills(term, block)

    def _held(self, term: int, block: LaneBlock) -> NDArray[np.bool_] | None:
        """Return which elements of what a block holds are words, one after the other; None: all are."""
        held = None if term == RESULT else self.sweep.piece.held(term, block)
        return None if held is None else held.reshape(-1)

    def _in_map(self, term: int, placed: PlacedBlock, word: Counts) -> Counts:
        """Return which words of the map some words of a block are."""
        own, (top, bottom) = self._map(term), self._rows(term, placed.block)
        held = self._held(term, placed.block)
        line, column = np.divmod(word if held is None else np.flatnonzero(held)[word], own.size[2])
        channel, row = np.divmod(line, bottom - top)
        return own.words(placed.image, placed.block.channels[0] + channel, top + row, column)

    def _spots(self, placed: PlacedBlock) -> dict[int, Spot]:
        """Return where the terms and the result of a block lie in the ofmap scratchpad, if they are not on chip."""
        at, spots = placed.number % 2 * self._half_bits, {}
        for term, bits in (*enumerate(self.sweep.port.term_bits), (RESULT, self.sweep.port.result_bits)):
            writes = term != RESULT or self.sweep.piece.writes
            if self._map(term).spot is None and writes:
                size = self._words(term, placed.block) * bits
                spots[term] = Spot(((at, at + size),), bits)
                at += size
        return spots


def _chunks(words: int) -> Iterator[Counts]:
    """Yield the numbers of some words, a part at a time."""
    for first in range(0, words, CHUNK_WORDS):
        yield np.arange(first, min(first + CHUNK_WORDS, words))
