"""Scratchpad ports: the cycles that a tile waits because a port cannot move in one cycle what the array asks for.

A slow access freezes the whole array, so each cycle of the array's own clock takes as long as its slowest port.
s: cycle in which a fold's operand 0 enters; T, D, R_a, r, c as in logaccel.schedule.folds. In array cycle n

    operand              words   cycles n
    moving (OS: both)    r, c    s … s + T − 1                     one vector a step; registers at the edge skew it
    stationary (WS, IS)  c       s − r … s − 1; overlap: r cycles from the start of the fold before (but the first fold)
    psum in, column j    1       s + D − 1 + j …, T of them        K slices that continue; each column in its own cycle
    psum out, column j   1       s + D + R_a − 1 + j …, T of them  (WS, IS)
    psum out, column j   1       s + T + D + R_a − 1 + j …, r of them (OS; serial: all columns with the last)

A psum that leaves is raw unless its tile finishes the output in this K slice: then it is an ofmap word, and takes the
port as it leaves for the post-processing lane. Ifmap words in conflict over banks: logaccel.memory.banks.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.arch import Dataflow, Memory, PEArray
from logaccel.memory.widths import WordWidths
from logaccel.schedule.folds import FoldPlan, fold_axes, plan_folds
from logaccel.workload import MatrixShape

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Port:
    """One port: at most `port_bits` and at most `banks` words in a cycle (None: any)."""

    port_bits: int | None = None
    banks: int | None = None

    def cycles(self, words: Any, bits: Any) -> Any:
        """Return how long each access of so many words and bits takes; none takes its one cycle too."""
        cycles = np.ones_like(words)
        if self.port_bits is not None:
            cycles = np.maximum(cycles, -(-bits // self.port_bits))
        return cycles if self.banks is None else np.maximum(cycles, -(-words // self.banks))

    def binds(self, words: int, word_bits: int) -> bool:
        """Return whether an access of so many words takes more than one cycle."""
        over = self.port_bits is not None and words * word_bits > self.port_bits
        return over or (self.banks is not None and words > self.banks)


@dataclass(frozen=True)
class Ports:
    """The ports between scratchpads and array, and the words that they move; the ofmap reads and writes by one each."""

    ifmap: Port
    filter: Port
    ofmap: Port
    widths: WordWidths

    def without_banks(self) -> "Ports":
        """Return the same ports in front of ideal banks."""
        return replace(
            self, **{name: replace(getattr(self, name), banks=None) for name in ("ifmap", "filter", "ofmap")}
        )

    def bind(self, array: PEArray) -> bool:
        """Return whether any access of a whole array takes more than one cycle."""
        most, widths = max(array.rows, array.cols), self.widths
        return (
            self.ifmap.binds(most, widths.ifmap_bits)
            or self.filter.binds(most, widths.filter_bits)
            or self.ofmap.binds(array.cols, max(widths.psum_bits, widths.ofmap_bits))
        )

    def machine(self, array: PEArray, dataflow: Dataflow) -> Counts:
        """Return an array behind these ports as its kernels take it."""
        from logaccel.schedule.port_kernel import machine_of  # loads the compiler: only where a port binds

        widths = self.widths
        ifmap, filters = (self.ifmap, widths.ifmap_bits), (self.filter, widths.filter_bits)
        (moving, moving_bits), (still, still_bits) = (filters, ifmap) if dataflow == "is" else (ifmap, filters)
        return machine_of(
            rows=array.rows, cols=array.cols, delay=array.pipeline_stages, overlap=array.overlap,
            output_stationary=dataflow == "os",
            moving_bits=moving_bits, moving_port=moving.port_bits, moving_banks=moving.banks,
            still_bits=still_bits, still_port=still.port_bits, still_banks=still.banks,
            psum_bits=widths.psum_bits, ofmap_bits=widths.ofmap_bits,
            ofmap_port=self.ofmap.port_bits, ofmap_banks=self.ofmap.banks,
        )  # fmt: skip


def ports_of(memory: Memory, widths: WordWidths) -> Ports:
    """Return the ports for words of these widths. Banks of the ifmap depend on addresses and are not in here."""
    filter_port, ofmap_port = (Port(pad.port_bits, pad.banks) for pad in (memory.filter, memory.ofmap))
    return Ports(Port(memory.ifmap.port_bits), filter_port, ofmap_port, widths)


@dataclass(frozen=True)
class TileFolds:
    """A tile as folds: its matrix (one group), whether its psums continue those of a tile before, and are the last."""

    matrix: MatrixShape
    array: PEArray
    dataflow: Dataflow
    continues: bool = False
    finishes: bool = True


@dataclass(frozen=True)
class Profile:
    """How long array cycles take: `cycles[i]` each from `cuts[i]` to the next cut."""

    cuts: Counts
    cycles: Counts

    @property
    def stall_cycles(self) -> int:
        """Cycles beyond the array's own."""
        return int(((self.cycles[:-1] - 1) * np.diff(self.cuts)).sum())


@dataclass(frozen=True)
class _Runs:
    """How many full folds a tile has along each axis."""

    tile: TileFolds
    outer: int
    inner: int
    fold: int  # least distance of two full folds

    def period(self, inner_folds: int) -> int:
        """Return the least distance of two outer slices with so many full inner folds."""
        return max(1, inner_folds) * self.fold

    def listed(self, outer_folds: int, inner_folds: int) -> TileFolds:
        """Return the tile with so many full folds along each axis, and its ragged ones."""
        outer, inner, length = fold_axes(self.tile.matrix, self.tile.dataflow)
        array = self.tile.array
        outer = outer_folds * array.cols + outer % array.cols
        inner = inner_folds * array.rows + inner % array.rows
        pixels, channels, reduction = {
            "os": (inner, outer, length), "ws": (length, outer, inner), "is": (outer, length, inner)
        }[self.tile.dataflow]  # fmt: skip
        return replace(self.tile, matrix=MatrixShape(1, pixels, channels, reduction))


def _runs(tile: TileFolds) -> _Runs:
    outer, inner, length = fold_axes(tile.matrix, tile.dataflow)
    fold = max(length, min(inner, tile.array.rows))
    return _Runs(tile, outer // tile.array.cols, inner // tile.array.rows, fold)


def shortened(tile: TileFolds, plan: FoldPlan) -> tuple[TileFolds, Counts]:
    """Return the tile with its long runs cut short, and for each of its folds one there that sees the same ports."""
    runs = _runs(tile)
    inner = min(runs.inner, _settled(tile, runs.fold) + 1)
    outer = min(runs.outer, _settled(tile, runs.period(inner)) + 1)
    per_slice = inner + (fold_axes(tile.matrix, tile.dataflow)[1] % tile.array.rows > 0)
    listed = _stand_in(plan.slice_of_outer, runs.outer, outer) * per_slice
    return runs.listed(outer, inner), listed + _stand_in(plan.slice_of_inner, runs.inner, inner)


def _stand_in(index: Counts, count: int, listed: int) -> Counts:
    """Map slices of a run of `count` to those of one of `listed`: both ends to themselves, the rest to its middle."""
    half = listed // 2
    return np.where(index >= count - half, index - count + listed, np.minimum(index, half))


def profile(tile: TileFolds, ports: Ports) -> Profile:
    """Return how long every array cycle takes, listing all folds."""
    plan = plan_folds(tile.matrix, tile.array, tile.dataflow)
    vectors = [vector for vector in _vectors(plan, ports) if vector.binds]
    columns = [
        psums
        for psums in _psums(plan, tile, ports.widths)
        if ports.ofmap.binds(int(psums.cols.max(initial=0)), int(psums.bits.max(initial=0)))
    ]
    points = [np.array([0, plan.compute_cycles])]
    points += [vector.first for vector in vectors] + [vector.first + vector.length for vector in vectors]
    points += [psums.changes() for psums in columns]
    cuts = np.unique(np.concatenate(points))
    cycles = np.ones_like(cuts)
    for vector in vectors:
        cycles = np.maximum(cycles, vector.cycles(cuts))
    for psums in columns:
        cycles = np.maximum(cycles, ports.ofmap.cycles(psums.passing(cuts), psums.passing(cuts, psums.bits)))
    return Profile(cuts, cycles)


@dataclass(frozen=True)
class _Vectors:
    """Operand vectors through one port: of fold i, words[i] in each of `length[i]` cycles from first[i] on."""

    port: Port
    word_bits: int
    first: Counts
    length: Counts
    words: Counts

    @property
    def binds(self) -> bool:
        """Whether any of them takes more than one cycle."""
        return self.port.binds(int(self.words.max()), self.word_bits)

    def cycles(self, cuts: Counts) -> Counts:
        """Return how long the access takes in each of these cycles."""
        fold = np.searchsorted(self.first, cuts, "right") - 1
        inside = (fold >= 0) & (cuts < (self.first + self.length)[fold])
        words = np.where(inside, self.words[fold], 0)
        return self.port.cycles(words, words * self.word_bits)


def _vectors(plan: FoldPlan, ports: Ports) -> tuple[_Vectors, _Vectors]:
    """Return the ifmap's and the filter's vectors."""
    start, length = plan.stream_starts, np.full_like(plan.stream_starts, plan.stream_length)
    rows, load = (start, length, plan.rows), (load_starts(plan), plan.rows, plan.cols)
    ifmap, filters = {"os": (rows, (start, length, plan.cols)), "ws": (rows, load), "is": (load, rows)}[plan.dataflow]
    widths = ports.widths
    return _Vectors(ports.ifmap, widths.ifmap_bits, *ifmap), _Vectors(ports.filter, widths.filter_bits, *filters)


def load_starts(plan: FoldPlan) -> Counts:
    """Return the first cycle of each fold's load (WS, IS)."""
    first = plan.stream_starts - plan.rows
    return np.concatenate((first[:1], plan.stream_starts[:-1])) if plan.array.overlap else first


@dataclass(frozen=True)
class _Psums:
    """Psums that pass an edge: of fold i in column j, one a cycle for `length[i]` cycles from first[i] + j·skew."""

    first: Counts
    length: Counts
    cols: Counts
    bits: Counts  # of a word
    skew: int  # 0: all columns at once

    def changes(self) -> Counts:
        """Return the cycles in which their number can change."""
        edges = np.concatenate((self.first, self.first + self.length))
        if not self.skew:
            return edges
        steps = np.arange(self.cols.max(initial=0) + 1)
        return (edges[:, None] + steps)[steps <= np.tile(self.cols, 2)[:, None]]

    def passing(self, cuts: Counts, weight: Counts | int = 1) -> Counts:
        """Return the weight of what passes in each of these cycles: words, or their bits."""
        weights = np.broadcast_to(np.asarray(weight), self.first.shape)
        ends = self.first + self.length
        if not self.skew:
            fold = np.searchsorted(self.first, cuts, "right") - 1
            return np.where((fold >= 0) & (cuts < ends[fold]), (weights * self.cols)[fold], 0)
        events = np.concatenate((self.first, ends + self.cols, self.first + self.cols, ends))
        slopes = np.concatenate((weights, weights, -weights, -weights))
        order = np.argsort(events, kind="stable")
        upto = np.searchsorted(events[order], cuts, "right")
        slope = np.concatenate(([0], np.cumsum(slopes[order])))[upto]
        offset = np.concatenate(([0], np.cumsum((slopes * events)[order])))[upto]
        return slope * (cuts + 1) - offset  # Σ slope · (cut − event + 1) over all events up to the cut


def _psums(plan: FoldPlan, tile: TileFolds, widths: WordWidths) -> list[_Psums]:
    """Return the psums that leave and, in K slices that continue, those that come in."""
    starts, rows, delay = plan.stream_starts, plan.array.rows, plan.array.pipeline_stages
    if plan.dataflow == "os":
        first, bits = starts + plan.stream_length + delay + rows - 1, np.full_like(starts, widths.ofmap_bits)
        if plan.array.overlap:
            return [_Psums(first, plan.rows, plan.cols, bits, 1)]
        return [_Psums(first + plan.cols - 1, plan.rows, plan.cols, bits, 0)]
    length, raw = np.full_like(starts, plan.stream_length), np.full_like(starts, widths.psum_bits)
    again = np.full(plan.count, True) if tile.continues else plan.slice_of_inner > 0
    last = (plan.slice_of_inner == plan.slice_of_inner.max()) & tile.finishes
    bits = np.where(last, widths.ofmap_bits, raw)
    return [
        _Psums(starts + delay + rows - 1, length, plan.cols, bits, 1),
        _Psums(starts[again] + delay - 1, length[again], plan.cols[again], raw[again], 1),
    ]


def _settled(tile: TileFolds, period: int) -> int:
    """Return a number of repetitions, `period` or more cycles apart, from which on each adds the same.

    A fold touches at most the cycles from a load before its stream to its last psum out; two such spans part a
    repetition from the start of the run, and two from its end.
    """
    length = fold_axes(tile.matrix, tile.dataflow)[2]
    span = length + 2 * tile.array.rows + tile.array.cols + tile.array.pipeline_stages
    return 2 * (span // period + 2)
