"""Closed forms of what the registers and circuits of the array do during one layer."""

from logaccel.arch import Dataflow, PEArray
from logaccel.schedule.folds import FoldPlan, fold_axes
from logaccel.schedule.record import Activity
from logaccel.workload import MatrixShape

__all__ = ["Activity", "count_activity", "matrix_activity"]


def count_activity(plan: FoldPlan, live_products: int | None) -> Activity:
    """Return the activity of a layer that is cut into these folds."""
    return matrix_activity(plan.matrix, plan.array, plan.dataflow, live_products)


def matrix_activity(
    matrix: MatrixShape, array: PEArray, dataflow: Dataflow, live_products: int | None = None
) -> Activity:
    """Return the closed forms; tests/test_activity.py and the register-level engine count the same by loops.

    Every PE of a fold's r × c receives T moving operands. A stationary operand of row i passes the rows
    above it: Σ(i + 1) = r(r + 1)/2 writes a column, and one more each to swap in from the shadow. A psum
    of row i shifts R_a − 1 − i rows to the bottom one (OS); rows r…R_a − 1 pass psums through (WS, IS).
    Slices of rows and of columns are cut apart from each other, so a sum over folds is a product of two sums.
    """
    outer, inner, length = fold_axes(matrix, dataflow)
    outer_slices, inner_slices = -(-outer // array.cols), -(-inner // array.rows)
    used = outer * inner
    macs = used * length
    row_passes, col_passes = outer_slices * inner * length, inner_slices * outer * length
    psum_reads = 0
    if dataflow == "os":
        activation_writes = weight_writes = macs
        hops = inner * (array.rows - 1) - sum(r * (r - 1) // 2 * n for r, n in _slices(inner, array.rows))
        psum_moves = outer * hops + (used if array.overlap else 0)
        ifmap_reads, filter_reads, psum_writes = row_passes, col_passes, used
    else:
        loads = outer * sum(r * (r + 1) // 2 * n for r, n in _slices(inner, array.rows))
        loads += used if array.overlap else 0
        psum_moves = (inner_slices * array.rows - inner) * outer * length
        psum_reads, psum_writes = (inner_slices - 1) * outer * length, col_passes
        activation_writes, weight_writes = (macs, loads) if dataflow == "ws" else (loads, macs)
        ifmap_reads, filter_reads = (row_passes, used) if dataflow == "ws" else (used, row_passes)
    groups = matrix.groups
    return Activity(
        macs=groups * macs,
        live_products=live_products,
        activation_writes=groups * activation_writes,
        weight_writes=groups * weight_writes,
        stage_writes=groups * array.pipeline_stages * macs,
        psum_moves=groups * psum_moves,
        ifmap_reads=groups * ifmap_reads,
        filter_reads=groups * filter_reads,
        psum_reads=groups * psum_reads,
        psum_writes=groups * psum_writes,
    )


def _slices(size: int, limit: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (length, number) of the full slices of an axis and of its ragged one."""
    full, ragged = divmod(size, limit)
    return (limit, full), (ragged, 1 * (ragged > 0))
