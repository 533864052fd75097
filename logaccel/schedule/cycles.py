"""Cycles of a layer without listing its folds: what the mapper asks for thousands of shapes.

Folds come in at most four sizes (full or ragged outer slice × full or ragged inner slice). Starts only grow,
so of each size the last fold ends last, and its start is a sum of equal distances. The rules are those of
logaccel.schedule.folds, which tests hold this against.
"""

from functools import lru_cache

from logaccel.arch import Dataflow, PEArray
from logaccel.schedule.folds import fold_axes
from logaccel.workload import MatrixShape


@lru_cache(maxsize=65536)
def compute_cycles(matrix: MatrixShape, array: PEArray, dataflow: Dataflow) -> int:
    """Return what `plan_folds(matrix, array, dataflow).compute_cycles` returns, for a matrix of one group."""
    outer_size, inner_size, length = fold_axes(matrix, dataflow)
    stationary = dataflow != "os"

    def to_end(rows: int, cols: int) -> int:
        return length + array.rows + cols - 2 + array.pipeline_stages + (0 if stationary else rows)

    def distance(rows: int, following: int, cols: int, next_slice: bool) -> int:
        if array.overlap:
            least = max(length, following if stationary else rows)
        else:
            least = to_end(rows, cols) + (following if stationary else 0)
        return max(least, array.rows + 2) if stationary and next_slice else least

    (outer_full, outer_ragged), (inner_full, inner_ragged) = (
        divmod(outer_size, array.cols),
        divmod(inner_size, array.rows),
    )
    first = array.rows if inner_full else inner_ragged

    def last_starts(cols: int) -> list[tuple[int, int]]:
        """Return (start within the outer slice, rows) of the last fold of each inner size."""
        found = [(max(0, inner_full - 1) * distance(first, first, cols, True), first)]
        if inner_full and inner_ragged:
            found.append((found[0][0] + distance(first, inner_ragged, cols, True), inner_ragged))
        return found

    def end(cols: int) -> int:
        return max(start + to_end(rows, cols) for start, rows in last_starts(cols))

    start, rows = last_starts(array.cols)[-1]
    period = start + distance(rows, first, array.cols, False)
    loaded = first if stationary else 0
    ends = [(outer_full - 1) * period + end(array.cols)] if outer_full else []
    if outer_ragged:
        ends.append(outer_full * period + end(outer_ragged))
    return loaded + max(ends)
