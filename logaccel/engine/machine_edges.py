"""The edges of the array: operand lines and psums between memories and registers, one cycle at a time.

Row i and column j take what the controller sent i and j cycles before: the token stands at their lane then.
"""

import numpy as np

from logaccel.engine import machine_state as at
from logaccel.engine.machine_control import token
from logaccel.engine.machine_passes import CHAIN_VALID, EDGE, FIRST, LAST, LOAD, PULSE, RESTART, SWAP, VALID, Cells
from logaccel.engine.machine_pe import plane, wire
from logaccel.engine.machine_state import Numbers
from logaccel.jit import inlined_kernel


@inlined_kernel
def enter_left(
    cells: Cells,
    settings: Numbers,
    tokens: Numbers,
    counts: Numbers,
    folds: Numbers,
    left: Cells,
    cycle: int,
    after: int,
) -> None:
    """Drive what the block's first column takes at this edge."""
    width, first, length = settings[at.WIDTH], settings[at.FIRST_COL], settings[at.LENGTH]
    overlap, stationary = settings[at.OVERLAP] != 0, settings[at.STATIONARY] != 0
    words, arriving = plane(settings, after, at.LEFT), wire(settings, at.ARRIVING)
    first_flag, last_flag = (SWAP if overlap else 0, 0) if stationary else (FIRST, LAST)
    zero = cells.dtype.type(0)
    column_flags = 0
    if stationary:
        index = token(tokens, at.LOAD_INDEX, cycle - first)
        if index >= 0:
            column_flags = LOAD | RESTART if index == 0 else LOAD
    elif overlap and token(tokens, at.PULSES, cycle - first) == 1:
        column_flags = PULSE
    entered = 0
    known, group, lines, base = -1, 0, 0, 0  # of the fold of the row above: mostly that of this row, too
    for row in range(settings[at.ARRAY_ROWS]):
        fold = token(tokens, at.STREAM_FOLD, cycle - first - row)
        flags, word = column_flags, zero
        if fold != known:
            known = fold
            if fold >= 0:
                group, lines, base = folds[fold, at.GROUP], folds[fold, at.ROWS], folds[fold, at.ROW_BASE]
        if fold >= 0 and row < lines:
            index = token(tokens, at.STREAM_INDEX, cycle - first - row)
            word = left[np.uint64(group), np.uint64(base + row), np.uint64(index)]
            flags |= VALID
            if index == 0:
                flags |= first_flag
            if index == length - 1:
                flags |= last_flag
            entered += 1
        cells[np.uint64(words + row * width)] = word
        cells[np.uint64(arriving + row * width)] = flags
    if first == 0:
        counts[at.LEFT_READS] += entered


@inlined_kernel
def enter_top(
    cells: Cells, settings: Numbers, tokens: Numbers, counts: Numbers, folds: Numbers, top: Cells, cycle: int, now: int
) -> None:
    """Drive what row 0 takes at this edge: streamed weights (OS) or stationary words, the last row's first."""
    width, first = settings[at.WIDTH], settings[at.FIRST_COL]
    stationary = settings[at.STATIONARY] != 0
    kind = at.LOAD_FOLD if stationary else at.STREAM_FOLD
    words = plane(settings, now, at.CHAIN if stationary else at.OTHER) - width
    marks = plane(settings, now, at.STATUS if stationary else at.FLAGS) - width
    absent, present = (EDGE, EDGE | CHAIN_VALID) if stationary else (0, VALID)
    entered = 0
    known, group, used, base, end = -1, 0, 0, 0, 0
    for col in range(width):
        place = first + col
        fold = token(tokens, kind, cycle - place)
        if fold != known:
            known = fold
            if fold >= 0:
                group, used, base = folds[fold, at.GROUP], folds[fold, at.COLS], folds[fold, at.COL_BASE]
                end = folds[fold, at.ROW_BASE] + folds[fold, at.ROWS] - 1
        mark = absent
        if fold >= 0 and place < used:
            line = token(tokens, kind + 1, cycle - place)
            if stationary:
                line = end - line
            word = top[np.uint64(group), np.uint64(line), np.uint64(base + place)]
            cells[np.uint64(words + col)] = word
            mark = present
            entered += 1
        cells[np.uint64(marks + col)] = mark
    counts[at.TOP_READS] += entered


@inlined_kernel
def drain_bottom(
    cells: Cells, settings: Numbers, counts: Numbers, folds: Numbers, memory: Cells, slices: Numbers, drained: Numbers,
    cycle: int, psums: int, flags: int, mask: int,
) -> None:  # fmt: skip
    """Write psums that leave the bottom row to memory (OS): of each fold and column the last row's first.

    `psums` and `flags` are where PE(0, 0) lies in the plane of lane 0 and in that of the leaving flags.
    """
    width, first = settings[at.WIDTH], settings[at.FIRST_COL]
    bottom = (settings[at.ARRAY_ROWS] - 1) * width
    for col in range(width):
        if cells[flags + bottom + col] & mask:
            fold = drained[col, 0]
            while first + col >= folds[fold, at.COLS]:  # that fold has no such column
                fold += 1
            row = folds[fold, at.ROWS] - 1 - drained[col, 1]
            group, line = folds[fold, at.GROUP], folds[fold, at.ROW_BASE] + row
            position = folds[fold, at.COL_BASE] + first + col
            for lane in range(settings[at.LANES]):
                memory[group, line, position, lane] = cells[psums + lane * settings[at.SIZE] + bottom + col]
            slices[group, line, position] += 1
            drained[col, 0], drained[col, 1] = fold, drained[col, 1] + 1
            if row == 0:
                drained[col, 0], drained[col, 1] = fold + 1, 0
            counts[at.PSUM_WRITES] += 1
            counts[at.LAST_CYCLE] = cycle


@inlined_kernel
def enter_psums(
    cells: Cells, settings: Numbers, tokens: Numbers, counts: Numbers, folds: Numbers, memory: Cells, slices: Numbers,
    cycle: int, after: int,
) -> None:  # fmt: skip
    """Load the psum registers above row 0 (WS, IS): zero or empty for a first K slice, else the raw psum so far."""
    width, size, lanes = settings[at.WIDTH], settings[at.SIZE], settings[at.LANES]
    psums = plane(settings, after, settings[at.SUM_PLANE]) - width
    valid = psums + lanes * size
    for col in range(width):
        place = settings[at.FIRST_COL] + col
        sent = cycle - place - settings[at.STAGES]
        fold = token(tokens, at.STREAM_FOLD, sent)
        cells[valid + col] = 0
        if fold >= 0 and place < folds[fold, at.COLS]:
            line = token(tokens, at.STREAM_INDEX, sent)
            group, position = folds[fold, at.GROUP], folds[fold, at.COL_BASE] + place
            cells[valid + col] = 1
            if folds[fold, at.SLICE] == 0:
                for lane in range(lanes):
                    cells[psums + lane * size + col] = settings[at.EMPTY]
            else:
                for lane in range(lanes):
                    cells[psums + lane * size + col] = memory[group, line, position, lane]
                counts[at.PSUM_READS] += 1
                if slices[group, line, position] != folds[fold, at.SLICE]:
                    counts[at.FAULTS] += 1  # read before it was written


@inlined_kernel
def store_psums(
    cells: Cells, settings: Numbers, tokens: Numbers, counts: Numbers, folds: Numbers, memory: Cells, slices: Numbers,
    cycle: int, now: int, after: int,
) -> None:  # fmt: skip
    """Write the psums that stand in the bottom row to memory (WS, IS), and note when one arrives there."""
    rows, width, size, lanes = settings[at.ARRAY_ROWS], settings[at.WIDTH], settings[at.SIZE], settings[at.LANES]
    bottom = (rows - 1) * width
    psums = plane(settings, now, settings[at.SUM_PLANE]) + bottom
    arrived = plane(settings, after, settings[at.SUM_PLANE]) + bottom
    for col in range(width):
        if cells[arrived + lanes * size + col] != 0:
            counts[at.LAST_CYCLE] = cycle
        if cells[psums + lanes * size + col] != 0:
            place = settings[at.FIRST_COL] + col
            sent = cycle - 1 - rows - place - settings[at.STAGES]
            fold = token(tokens, at.STREAM_FOLD, sent)
            line = token(tokens, at.STREAM_INDEX, sent)
            group, position = folds[fold, at.GROUP], folds[fold, at.COL_BASE] + place
            for lane in range(lanes):
                memory[group, line, position, lane] = cells[psums + lane * size + col]
            slices[group, line, position] = folds[fold, at.SLICE] + 1
            counts[at.PSUM_WRITES] += 1
