"""Brute force beside every closed form of the schedule: folds, starts and events counted one by one.

Nothing here steps registers or uses a product of two sizes: every event of every PE is visited and counted.
"""

from dataclasses import asdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from logaccel.arch import Dataflow, PEArray
from logaccel.schedule.activity import count_activity
from logaccel.schedule.folds import plan_folds
from logaccel.schedule.record import Activity
from logaccel.workload import MatrixShape

SHAPES = st.builds(
    MatrixShape,
    groups=st.integers(1, 2),
    pixels=st.integers(1, 7),
    channels=st.integers(1, 7),
    reduction=st.integers(1, 9),
)
ARRAYS = st.builds(
    PEArray,
    rows=st.integers(1, 5),
    cols=st.integers(1, 5),
    overlap=st.booleans(),
    pipeline_stages=st.integers(0, 3),
)
DATAFLOWS = st.sampled_from(["os", "ws", "is"])
Fold = tuple[list[int], list[int], int, int]  # lines of its rows, positions of its columns, T, K slice


def fold_lists(shape: MatrixShape, array: PEArray, dataflow: Dataflow) -> list[Fold]:
    """Cut the lines and positions of every group into slices by walking them."""
    lines = range(shape.pixels if dataflow == "os" else shape.reduction)
    positions = range(shape.pixels if dataflow == "is" else shape.channels)
    length = {"os": shape.reduction, "ws": shape.pixels, "is": shape.channels}[dataflow]
    folds = []
    for _ in range(shape.groups):
        for first_position in positions[:: array.cols]:
            for number, first_line in enumerate(lines[:: array.rows]):
                rows = [line for line in lines if first_line <= line < first_line + array.rows]
                cols = [position for position in positions if first_position <= position < first_position + array.cols]
                folds.append((rows, cols, length, number if dataflow != "os" else 0))
    return folds


def counted(shape: MatrixShape, array: PEArray, dataflow: Dataflow) -> Activity:
    """Count every event of a layer by visiting every PE, operand and hop."""
    count = dict.fromkeys(Activity.__dataclass_fields__, 0)
    stationary = {"ws": "weight", "is": "activation"}.get(dataflow)
    moving = "weight" if dataflow == "is" else "activation"
    read = {"weight": "filter_reads", "activation": "ifmap_reads"}
    for rows, cols, length, number in fold_lists(shape, array, dataflow):
        for _ in range(length):
            for _ in rows:
                count[read[moving]] += 1
            for _ in rows:
                for _ in cols:
                    count[f"{moving}_writes"] += 1
                    count["weight_writes"] += dataflow == "os"
                    count["macs"] += 1
                    for _ in range(array.pipeline_stages):
                        count["stage_writes"] += 1
            for _ in cols:
                count["filter_reads"] += dataflow == "os"
                if stationary:
                    count["psum_reads"] += number > 0
                    count["psum_writes"] += 1
                    for _ in range(len(rows), array.rows):
                        count["psum_moves"] += 1
        for i, _ in enumerate(rows):
            for _ in cols:
                if stationary:
                    count[read[stationary]] += 1
                    for _ in range(i + 1):  # the word of row i enters at row 0
                        count[f"{stationary}_writes"] += 1
                    count[f"{stationary}_writes"] += array.overlap  # swaps in from the shadow
                else:
                    count["psum_moves"] += array.overlap  # into the shadow
                    for _ in range(i + 1, array.rows):
                        count["psum_moves"] += 1
                    count["psum_writes"] += 1
    return Activity(**count)


def earliest_starts(shape: MatrixShape, array: PEArray, dataflow: Dataflow) -> tuple[list[int], int]:
    """Try every cycle for every fold: it starts at the first in which nothing that it needs is taken.

    Returns the stream starts and the cycles of the layer. What can be taken, in row 0 and column 0 (all
    others follow one cycle a hop): the left edge, the shadow register, the psum memory's word, and
    without overlap the whole array.
    """
    high, stages = array.rows, array.pipeline_stages
    starts: list[int] = []
    ends: list[int] = []
    before: Fold | None = None
    for fold in fold_lists(shape, array, dataflow):
        rows, cols, length, _ = fold
        start = starts[-1] if starts else 0
        while not _can_start(start, starts, ends, before, fold, array, dataflow):
            start += 1
        starts.append(start)
        last = 0
        for j, _ in enumerate(cols):
            # The last operand reaches the accumulator of the last row that matters, then its psum leaves.
            if dataflow != "os":
                last = max(last, start + (length - 1) + (high - 1) + j + stages + 1)
            else:
                finished = start + (length - 1) + (len(rows) - 1) + (j if array.overlap else len(cols) - 1) + stages + 1
                last = max(last, finished + high)
        ends.append(last)
        before = fold
    return starts, max(ends)


def _can_start(
    start: int, starts: list[int], ends: list[int], before: Fold | None, fold: Fold, array: PEArray, dataflow: Dataflow
) -> bool:
    rows, _, _, number = fold
    if before is None:
        return dataflow == "os" or start >= len(rows)  # the words load in cycles 0 … r − 1
    rows_before, _, length_before, _ = before
    if dataflow != "os" and number > 0:
        # Operand 0's psum stands in the bottom register, is written, is read, is used by row 0.
        bottom = starts[-1] + array.rows + array.pipeline_stages
        written, read = bottom, start + array.pipeline_stages - 1
        if read <= written:
            return False
    if not array.overlap:
        return start >= ends[-1] + (0 if dataflow == "os" else len(rows))
    streaming = range(starts[-1], starts[-1] + length_before)
    if start in streaming or start <= starts[-1]:
        return False
    if dataflow == "os":
        # A psum may be loaded into row 0's shadow at the end of the cycle in which the pulse moves the one
        # before it down, not earlier. That pulse comes when row r − 1, r − 1 cycles behind, has its own.
        pulse = starts[-1] + length_before + array.pipeline_stages + len(rows_before) - 1
        return start + length_before + array.pipeline_stages - 1 >= pulse
    loading = range(starts[-1], starts[-1] + len(rows))  # row 0's shadow takes a word each of these cycles
    return start not in loading


@settings(max_examples=200)
@given(SHAPES, ARRAYS, DATAFLOWS)
def test_activity_equals_counting(shape: MatrixShape, array: PEArray, dataflow: Dataflow) -> None:
    plan = plan_folds(shape, array, dataflow)
    assert asdict(count_activity(plan, 0)) == asdict(counted(shape, array, dataflow))


@settings(max_examples=200)
@given(SHAPES, ARRAYS, DATAFLOWS)
def test_folds_and_starts_equal_trying_every_cycle(shape: MatrixShape, array: PEArray, dataflow: Dataflow) -> None:
    plan = plan_folds(shape, array, dataflow)
    folds = fold_lists(shape, array, dataflow)
    assert list(plan.rows) == [len(rows) for rows, _, _, _ in folds]
    assert list(plan.cols) == [len(cols) for _, cols, _, _ in folds]
    starts, cycles = earliest_starts(shape, array, dataflow)
    np.testing.assert_array_equal(plan.stream_starts, starts)
    assert plan.compute_cycles == cycles


def test_live_products_are_passed_on() -> None:
    plan = plan_folds(MatrixShape(groups=1, pixels=2, channels=3, reduction=4), PEArray(rows=2, cols=2), "os")
    assert count_activity(plan, None).live_products is None
    assert count_activity(plan, 5).live_products == 5
