"""When each psum of a layer reaches its post-processing lane: closed forms, independent of both engines."""

import numpy as np
from numpy.typing import NDArray

from logaccel.schedule.folds import FoldPlan


def psum_cycles(plan: FoldPlan, post_stages: int) -> NDArray[np.int64]:
    """Return cycles[pixel, m] in which combined psums stand in their lanes (docs/microarchitecture.md, sections 3–5).

    The word leaves the array with the edge that begins the cycle; a register behind the combination, with two
    or more post-processing stages, adds one.
    """
    matrix, array, length = plan.matrix, plan.array, plan.stream_length
    found = np.zeros((matrix.groups, matrix.pixels, matrix.channels), np.int64)
    latency = 1 if post_stages >= 2 else 0
    for fold in range(plan.count):
        rows, cols, start = int(plan.rows[fold]), int(plan.cols[fold]), int(plan.stream_starts[fold])
        group, outer, inner = int(plan.group[fold]), int(plan.slice_of_outer[fold]), int(plan.slice_of_inner[fold])
        across = np.arange(cols)[None, :]
        items = slice(outer * array.cols, outer * array.cols + cols)
        if plan.dataflow == "os":
            skew = across if array.overlap else cols - 1
            done = start + length + rows - 1 + array.pipeline_stages + skew
            pixels = slice(inner * array.rows, inner * array.rows + rows)
            found[group, pixels, items] = done + array.rows - np.arange(rows)[:, None] + latency
            continue
        leaves = start + np.arange(length)[:, None] + across + array.pipeline_stages + array.rows + latency
        if plan.dataflow == "ws":  # of several K slices the last one, which comes last, stays
            found[group, :, items] = leaves
        else:
            found[group, items, :] = leaves.T
    return found.transpose(1, 0, 2).reshape(matrix.pixels, -1)
