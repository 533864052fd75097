"""Cycles of a layer without listing its folds: what the mapper asks for thousands of shapes.

Folds come in at most four sizes (full or ragged outer slice × full or ragged inner slice). Starts only grow,
so of each size the last fold ends last, and its start is a sum of equal distances. The rules are those of
logaccel.schedule.folds, which tests hold this against.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.arch import Dataflow, PEArray
from logaccel.schedule.folds import fold_axes
from logaccel.workload import MatrixShape

Counts = NDArray[np.int64]
NEVER = -(2**62)  # the end of a fold that there is not


@lru_cache(maxsize=65536)
def compute_cycles(matrix: MatrixShape, array: PEArray, dataflow: Dataflow) -> int:
    """Return what `plan_folds(matrix, array, dataflow).compute_cycles` returns, for a matrix of one group."""
    pixels, channels, reduction = (np.array(size) for size in (matrix.pixels, matrix.channels, matrix.reduction))
    return int(cycles_of_shapes(pixels, channels, reduction, array, dataflow))


def cycles_of_shapes(
    pixels: Counts, channels: Counts, reduction: Counts, array: PEArray, dataflow: Dataflow
) -> NDArray[Any]:
    """Return the compute cycles of many matrices at once; the three sizes broadcast."""
    shape = MatrixShape(1, pixels, channels, reduction)  # type: ignore[arg-type]
    outer_size, inner_size, length = (np.asarray(size) for size in fold_axes(shape, dataflow))
    stationary = dataflow != "os"

    def to_end(rows: Any, cols: Any) -> Any:
        return length + array.rows + cols - 2 + array.pipeline_stages + (0 if stationary else rows)

    def distance(rows: Any, following: Any, cols: Any, next_slice: bool) -> Any:
        if array.overlap:
            least = np.maximum(length, following if stationary else rows)
        else:
            least = to_end(rows, cols) + (following if stationary else 0)
        return np.maximum(least, array.rows + 2) if stationary and next_slice else least

    outer_full, outer_ragged = outer_size // array.cols, outer_size % array.cols
    inner_full, inner_ragged = inner_size // array.rows, inner_size % array.rows
    first = np.where(inner_full > 0, array.rows, inner_ragged)
    both = (inner_full > 0) & (inner_ragged > 0)

    def last_of_full(cols: Any) -> Any:
        """Return the start within the outer slice of the last fold of the first inner size."""
        return np.maximum(0, inner_full - 1) * distance(first, first, cols, True)

    def last_of_ragged(cols: Any) -> Any:
        return last_of_full(cols) + distance(first, inner_ragged, cols, True)

    def end(cols: Any) -> Any:
        ragged = np.where(both, last_of_ragged(cols) + to_end(inner_ragged, cols), NEVER)
        return np.maximum(last_of_full(cols) + to_end(first, cols), ragged)

    cols = array.cols
    start = np.where(both, last_of_ragged(cols), last_of_full(cols))
    period = start + distance(np.where(both, inner_ragged, first), first, cols, False)
    full = np.where(outer_full > 0, (outer_full - 1) * period + end(cols), NEVER)
    ragged = np.where(outer_ragged > 0, outer_full * period + end(outer_ragged), NEVER)
    return (first if stationary else 0) + np.maximum(full, ragged)
