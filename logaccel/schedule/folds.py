"""Folds: how a layer is cut into passes of the array, and when each pass starts. Pure functions.

One fold uses the top-left r × c PEs for a stream of T operands:

    dataflow   stays        rows (r)   columns (c)   stream (T)
    OS         psum         pixels     channels      K
    WS         weight       K          channels      pixels
    IS         activation   K          pixels        channels

    for group:                          for group:
      for channel slice:                  for output slice (channels or pixels):
        for pixel slice:      (OS)          for K slice:                  (WS, IS)
          stream k = 0…K−1, drain             load r operands, stream T
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from logaccel.arch import Dataflow, PEArray
from logaccel.errors import WorkloadError
from logaccel.workload import MatrixShape

Counts = NDArray[np.int64]

MOST_FOLDS = 2**24


@dataclass(frozen=True)
class FoldPlan:
    """The folds of one layer in the order in which they run; arrays run over folds."""

    dataflow: Dataflow
    array: PEArray
    matrix: MatrixShape
    rows: Counts  # r
    cols: Counts  # c
    slice_of_outer: Counts  # OS: channel slice; WS, IS: output slice
    slice_of_inner: Counts  # OS: pixel slice; WS, IS: K slice
    group: Counts

    @property
    def stream_length(self) -> int:
        """T, the same for every fold of a layer."""
        return fold_axes(self.matrix, self.dataflow)[2]

    @property
    def count(self) -> int:
        """Folds of the layer."""
        return len(self.rows)

    @cached_property
    def stream_starts(self) -> Counts:
        """Cycle in which the first operand of each fold stands in the registers of PE(0, 0)."""
        return _stream_starts(self)

    @cached_property
    def compute_cycles(self) -> int:
        """Cycles until the last psum has left the array (post-processing latency not included)."""
        return int((self.stream_starts + self.stream_to_end).max())

    @property
    def stream_to_end(self) -> Counts:
        """Cycles from each fold's stream start until its own last psum has left."""
        a = self.array
        below = self.rows + a.rows if self.dataflow == "os" else a.rows
        return self.stream_length + below + self.cols - 2 + a.pipeline_stages


def fold_axes(matrix: MatrixShape, dataflow: Dataflow) -> tuple[int, int, int]:
    """Return the sizes of the outer axis (columns), the inner axis (rows) and the stream of one group."""
    channels, pixels, reduction = matrix.channels, matrix.pixels, matrix.reduction
    return {
        "os": (channels, pixels, reduction), "ws": (channels, reduction, pixels), "is": (pixels, reduction, channels)
    }[dataflow]  # fmt: skip


@lru_cache(maxsize=4096)
def plan_folds(matrix: MatrixShape, array: PEArray, dataflow: Dataflow) -> FoldPlan:
    """Cut a layer into folds: full slices first, the ragged one last; groups outermost.

    Raises WorkloadError for more than MOST_FOLDS of them: each is a record, and they must fit the memory.
    """
    outer_size, inner_size, _ = fold_axes(matrix, dataflow)
    per_group = -(-outer_size // array.cols) * -(-inner_size // array.rows)
    if per_group * matrix.groups > MOST_FOLDS:
        raise WorkloadError(
            f"must take at most {MOST_FOLDS:,} folds, got {per_group * matrix.groups:,} on "
            f"{array.rows}×{array.cols} PEs: a smaller batch or a larger array needs fewer"
        )
    outer, inner = _slices(outer_size, array.cols), _slices(inner_size, array.rows)
    return FoldPlan(
        dataflow=dataflow,
        array=array,
        matrix=matrix,
        rows=np.tile(inner, len(outer) * matrix.groups),
        cols=np.tile(np.repeat(outer, len(inner)), matrix.groups),
        slice_of_outer=np.tile(np.repeat(np.arange(len(outer)), len(inner)), matrix.groups),
        slice_of_inner=np.tile(np.arange(len(inner)), len(outer) * matrix.groups),
        group=np.repeat(np.arange(matrix.groups), per_group),
    )


def _slices(size: int, limit: int) -> Counts:
    """Return the sizes of the slices of an axis: full ones first, the ragged one last."""
    full, ragged = divmod(size, limit)
    return np.array([limit] * full + [ragged] * (ragged > 0), dtype=np.int64)


def _stream_starts(plan: FoldPlan) -> Counts:
    """Return the stream start of every fold (hardware rules: docs/microarchitecture.md, Timing)."""
    length, rows = plan.stream_length, plan.rows
    stationary = plan.dataflow != "os"
    first = rows[0] if stationary else 0
    if plan.array.overlap:
        # OS: the drain of fold i needs its r_i cycles; WS, IS: the load of fold i + 1 needs its r_{i+1}.
        distance = np.maximum(length, rows[1:] if stationary else rows[:-1])
    else:
        distance = plan.stream_to_end[:-1] + (rows[1:] if stationary else 0)
    if stationary:
        # A psum leaves the bottom, is written in one cycle and read in the next by the following K slice.
        next_slice = plan.slice_of_inner[1:] > 0
        distance = np.where(next_slice, np.maximum(distance, plan.array.rows + 2), distance)
    return np.concatenate(([first], first + np.cumsum(distance)))
