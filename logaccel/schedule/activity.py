"""Closed forms of what the registers and circuits of the array do during one layer."""

import numpy as np

from logaccel.schedule.folds import FoldPlan
from logaccel.schedule.record import Activity

__all__ = ["Activity", "count_activity"]


def count_activity(plan: FoldPlan, live_products: int | None) -> Activity:
    """Return the closed forms; tests/test_activity.py and the register-level engine count the same by loops.

    Every PE of a fold's r × c receives T moving operands. A stationary operand of row i passes the rows
    above it: Σ(i + 1) = r(r + 1)/2 writes a column, and one more each to swap in from the shadow. A psum
    of row i shifts R_a − 1 − i rows to the bottom one (OS); rows r…R_a − 1 pass psums through (WS, IS).
    """
    rows, cols, length = plan.rows, plan.cols, plan.stream_length
    array_rows, overlap = plan.array.rows, plan.array.overlap
    used = rows * cols
    macs = int((used * length).sum())
    if plan.dataflow == "os":
        drain_hops = cols * (rows * (array_rows - 1) - rows * (rows - 1) // 2)
        activation_writes = weight_writes = macs
        psum_moves = int((drain_hops + (used if overlap else 0)).sum())
        ifmap_reads, filter_reads = int((rows * length).sum()), int((cols * length).sum())
        psum_reads, psum_writes = 0, int(used.sum())
    else:
        loads = int((cols * (rows * (rows + 1) // 2) + (used if overlap else 0)).sum())
        stationary_reads, moving_reads = int(used.sum()), int((rows * length).sum())
        psum_moves = int(((array_rows - rows) * cols * length).sum())
        psum_reads = int((cols * np.int64(length))[plan.slice_of_inner > 0].sum())
        psum_writes = int((cols * length).sum())
        if plan.dataflow == "ws":
            activation_writes, weight_writes = macs, loads
            ifmap_reads, filter_reads = moving_reads, stationary_reads
        else:
            activation_writes, weight_writes = loads, macs
            ifmap_reads, filter_reads = stationary_reads, moving_reads
    return Activity(
        macs=macs,
        live_products=live_products,
        activation_writes=activation_writes,
        weight_writes=weight_writes,
        stage_writes=plan.array.pipeline_stages * macs,
        psum_moves=psum_moves,
        ifmap_reads=ifmap_reads,
        filter_reads=filter_reads,
        psum_reads=psum_reads,
        psum_writes=psum_writes,
    )
