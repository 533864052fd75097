"""One clock edge of the whole machine, for the two kinds of dataflow, and the loop that runs a block.

Every step reads the planes of the cycle that ends and writes those of the cycle that begins:

    edge into cycle n     token of cycle n            operand t of a fold stands in the registers of
      │                     │                         PE(i, j) in cycle start + t + i + j
      ▼                     ▼
    now ── passes ──► after          left edge: row i takes what the controller sent i cycles before
                                     top edge: column j takes what it sent j cycles before
"""

from logaccel.engine import machine_passes as passes
from logaccel.engine import machine_pe as pe
from logaccel.engine.machine_control import control_output_stationary, control_stationary, token
from logaccel.engine.machine_passes import (
    CHAIN_VALID,
    EDGE,
    FIRST,
    LAST,
    LOAD,
    MOVING,
    PULSE,
    RESTART,
    SWAP,
    TOOK,
    VALID,
)
from logaccel.engine.machine_state import (
    ARRIVING,
    CHAIN,
    COL_BASE,
    COLS,
    FAULTS,
    FLAGS,
    GROUP,
    LAST_CYCLE,
    LEFT,
    LEFT_READS,
    LEFT_WRITES,
    LOAD_FOLD,
    LOAD_INDEX,
    MACS,
    MOVING_NOW,
    OTHER,
    OTHER_WRITES,
    PSUM_MOVES,
    PSUM_READS,
    PSUM_WRITES,
    PULSES,
    ROW_BASE,
    ROWS,
    SHIFTS,
    SLICE,
    STATUS,
    STREAM_FOLD,
    STREAM_INDEX,
    TOP_READS,
    Machine,
    Settings,
    Words,
)
from logaccel.jit import kernel


@kernel
def step(machine: Machine, settings: Settings, cycle: int) -> None:
    """Clock everything once: the edge that begins `cycle`; planes[cycle & 1] hold the registers then."""
    now, after = machine.planes[1 - (cycle & 1)], machine.planes[cycle & 1]
    if settings.stationary:
        control_stationary(machine, settings, cycle)
        _step_stationary(machine, settings, cycle, now, after)
    else:
        control_output_stationary(machine, settings, cycle)
        _step_output_stationary(machine, settings, cycle, now, after)


@kernel
def run_block(machine: Machine, settings: Settings, psums: int, limit: int) -> int:
    """Run until all folds have streamed and `psums` have left; return the cycles stepped, −1 beyond the limit."""
    cycle = 0
    last = machine.folds.shape[0] - 1
    while machine.counts[PSUM_WRITES] < psums or machine.starts[last] < 0:
        if cycle > limit:
            return -1
        step(machine, settings, cycle)
        cycle += 1
    return cycle


@kernel
def _enter_left(machine: Machine, settings: Settings, cycle: int, after: Words) -> None:
    """Drive the left edge: what column 0 of the block takes at this edge."""
    s, tokens = settings, machine.tokens
    arriving, words = machine.wires[ARRIVING], after[LEFT]
    column_flags = 0
    if s.stationary:
        index = token(tokens, LOAD_INDEX, cycle - s.first_col)
        if index >= 0:
            column_flags = LOAD | RESTART if index == 0 else LOAD
    elif s.overlap and token(tokens, PULSES, cycle - s.first_col) == 1:
        column_flags = PULSE
    entered = 0
    for row in range(s.array_rows):
        cell = (row + 1) * s.width
        sent = cycle - s.first_col - row
        fold = token(tokens, STREAM_FOLD, sent)
        flags, word = column_flags, words[cell]
        word = words.dtype.type(0)
        if fold >= 0 and row < machine.folds[fold, ROWS]:
            index = token(tokens, STREAM_INDEX, sent)
            word = machine.left[machine.folds[fold, GROUP], machine.folds[fold, ROW_BASE] + row, index]
            flags |= VALID
            if s.stationary:
                flags |= SWAP if index == 0 and s.overlap else 0
            else:
                flags |= (FIRST if index == 0 else 0) | (LAST if index == s.length - 1 else 0)
            entered += 1
        words[cell] = word
        arriving[cell] = flags
    if s.first_col == 0:
        machine.counts[LEFT_READS] += entered


@kernel
def _enter_top_stream(machine: Machine, settings: Settings, cycle: int, now: Words) -> None:
    """Drive the top edge with the streamed weights (OS)."""
    s, tokens = settings, machine.tokens
    for col in range(s.width):
        place = s.first_col + col
        fold = token(tokens, STREAM_FOLD, cycle - place)
        now[FLAGS, col] = 0
        if fold >= 0 and place < machine.folds[fold, COLS]:
            line = token(tokens, STREAM_INDEX, cycle - place)
            position = machine.folds[fold, COL_BASE] + place
            now[OTHER, col] = machine.top[machine.folds[fold, GROUP], line, position]
            now[FLAGS, col] = VALID
            machine.counts[TOP_READS] += 1


@kernel
def _enter_top_load(machine: Machine, settings: Settings, cycle: int, now: Words) -> None:
    """Drive the top edge with stationary words, the last row's first (WS, IS)."""
    s, tokens = settings, machine.tokens
    for col in range(s.width):
        place = s.first_col + col
        fold = token(tokens, LOAD_FOLD, cycle - place)
        now[STATUS, col] = EDGE
        if fold >= 0 and place < machine.folds[fold, COLS]:
            row = machine.folds[fold, ROWS] - 1 - token(tokens, LOAD_INDEX, cycle - place)
            line = machine.folds[fold, ROW_BASE] + row
            position = machine.folds[fold, COL_BASE] + place
            now[CHAIN, col] = machine.top[machine.folds[fold, GROUP], line, position]
            now[STATUS, col] = EDGE | CHAIN_VALID
            machine.counts[TOP_READS] += 1


@kernel
def _step_output_stationary(machine: Machine, settings: Settings, cycle: int, now: Words, after: Words) -> None:
    """Clock the array once (OS)."""
    s, counts, width = settings, machine.counts, settings.width
    full = s.sum_plane + s.lanes
    pe.form_products(machine, s, now[LEFT], now[OTHER], now[FLAGS])
    operands = passes.count(now[FLAGS], VALID, width)
    counts[LEFT_WRITES] += operands
    counts[OTHER_WRITES] += operands
    pe.advance_stages(machine, s, now, after)
    flags = pe.accumulated_flags(machine, s, now)

    if not s.overlap and machine.control[SHIFTS] == 1:
        before = counts[MACS]
        counts[MACS] += passes.count(flags, VALID, width)
        counts[FAULTS] += counts[MACS] - before  # nothing may still accumulate
        _leave_bottom(machine, s, cycle, now, s.sum_plane, now[full], 1)
        for plane in range(s.sum_plane, full + 1):
            passes.shift_down(now[plane], after[plane], width)
        counts[PSUM_MOVES] += passes.count(after[full], 1, width)
    else:
        pe.accumulate(machine, s, now, after)
        if not s.overlap:
            passes.fill_accumulators(flags, now[full], after[full])
    if s.overlap:
        shadow_flags = s.shadow_plane + s.lanes
        moving = machine.wires[MOVING_NOW]
        passes.start_moving(now[FLAGS], now[shadow_flags], moving, width)
        _leave_bottom(machine, s, cycle, now, s.shadow_plane, moving, MOVING)
        counts[FAULTS] += passes.move_shadow_flags(flags, moving, after[shadow_flags], width)
        for lane in range(s.lanes):
            shadow = s.shadow_plane + lane
            passes.move_shadow(flags, moving, after[s.sum_plane + lane], now[shadow], after[shadow], width)
        counts[PSUM_MOVES] += passes.count(after[shadow_flags], MOVING, width) + passes.count(flags, LAST, width)

    _enter_top_stream(machine, s, cycle, now)
    passes.shift_right(now[LEFT], after[LEFT], width)
    passes.shift_right(now[FLAGS], machine.wires[ARRIVING], width)
    _enter_left(machine, s, cycle, after)
    passes.shift_down(now[OTHER], after[OTHER], width)
    passes.join_operands(machine.wires[ARRIVING], now[FLAGS], after[FLAGS], width)


@kernel
def _leave_bottom(
    machine: Machine, settings: Settings, cycle: int, now: Words, plane: int, leaving: Words, mask: int
) -> None:
    """Write psums that leave the bottom row to memory (OS): of each fold and column the last row's first."""
    s, drained = settings, machine.drained
    for col in range(s.width):
        cell = s.array_rows * s.width + col
        if leaving[cell] & mask:
            fold = drained[col, 0]
            while s.first_col + col >= machine.folds[fold, COLS]:  # this fold has no such column
                fold += 1
            row = machine.folds[fold, ROWS] - 1 - drained[col, 1]
            group, line = machine.folds[fold, GROUP], machine.folds[fold, ROW_BASE] + row
            position = machine.folds[fold, COL_BASE] + s.first_col + col
            for lane in range(s.lanes):
                machine.memory[group, line, position, lane] = now[plane + lane, cell]
            machine.slices[group, line, position] += 1
            drained[col, 1] += 1
            drained[col, 0] = fold
            if row == 0:
                drained[col, 0], drained[col, 1] = fold + 1, 0
            machine.counts[PSUM_WRITES] += 1
            machine.counts[LAST_CYCLE] = cycle


@kernel
def _step_stationary(machine: Machine, settings: Settings, cycle: int, now: Words, after: Words) -> None:
    """Clock the array once (WS, IS)."""
    s, counts, width = settings, machine.counts, settings.width
    valid = s.sum_plane + s.lanes
    held = OTHER if s.overlap else CHAIN
    pe.form_products(machine, s, now[LEFT], now[held], now[FLAGS])
    counts[LEFT_WRITES] += passes.count(now[FLAGS], VALID, width)
    pe.advance_stages(machine, s, now, after)
    before = counts[MACS]
    pe.accumulate(machine, s, now, after)
    flags = pe.accumulated_flags(machine, s, now)
    counts[FAULTS] += passes.pass_psums(flags, now[valid], after[valid], width)
    counts[PSUM_MOVES] += passes.count(after[valid], 1, width) - (counts[MACS] - before)
    _enter_psums(machine, s, cycle, after)  # the memory's read port: sees writes of earlier edges only
    _store_psums(machine, s, cycle, now, after)

    _enter_top_load(machine, s, cycle, now)
    passes.shift_right(now[LEFT], after[LEFT], width)
    arriving = machine.wires[ARRIVING]
    passes.shift_right(now[FLAGS], arriving, width)
    _enter_left(machine, s, cycle, after)
    passes.take_status(arriving, now[STATUS], after[STATUS], s.overlap, width)
    passes.take_chain(after[STATUS], now[CHAIN], after[CHAIN], width)
    counts[OTHER_WRITES] += passes.count(after[STATUS], TOOK | CHAIN_VALID, width)
    if s.overlap:
        passes.swap_in(arriving, now[CHAIN], now[OTHER], after[OTHER], width)
    passes.join_stationary(arriving, after[STATUS], after[FLAGS], width)
    if s.overlap:
        counts[OTHER_WRITES] += passes.count(after[FLAGS], VALID | SWAP, width)


@kernel
def _enter_psums(machine: Machine, settings: Settings, cycle: int, after: Words) -> None:
    """Load the psum registers above row 0 (WS, IS): zero or empty for a first K slice, else the raw psum so far."""
    s = settings
    valid = s.sum_plane + s.lanes
    for col in range(s.width):
        place = s.first_col + col
        sent = cycle - place - s.stages
        fold = token(machine.tokens, STREAM_FOLD, sent)
        after[valid, col] = 0
        if fold >= 0 and place < machine.folds[fold, COLS]:
            line = token(machine.tokens, STREAM_INDEX, sent)
            group, position = machine.folds[fold, GROUP], machine.folds[fold, COL_BASE] + place
            further = machine.folds[fold, SLICE] > 0
            after[valid, col] = 1
            for lane in range(s.lanes):
                stored = machine.memory[group, line, position, lane]
                after[s.sum_plane + lane, col] = stored if further else s.empty
            if further:
                machine.counts[PSUM_READS] += 1
                if machine.slices[group, line, position] != machine.folds[fold, SLICE]:
                    machine.counts[FAULTS] += 1  # read before it was written


@kernel
def _store_psums(machine: Machine, settings: Settings, cycle: int, now: Words, after: Words) -> None:
    """Write the psums that stand in the bottom row to memory (WS, IS), and note when one arrives there."""
    s = settings
    valid = s.sum_plane + s.lanes
    for col in range(s.width):
        cell = s.array_rows * s.width + col
        if after[valid, cell] != 0:
            machine.counts[LAST_CYCLE] = cycle
        if now[valid, cell] != 0:
            sent = cycle - 1 - s.array_rows - s.first_col - col - s.stages
            fold = token(machine.tokens, STREAM_FOLD, sent)
            line = token(machine.tokens, STREAM_INDEX, sent)
            group, position = machine.folds[fold, GROUP], machine.folds[fold, COL_BASE] + s.first_col + col
            for lane in range(s.lanes):
                machine.memory[group, line, position, lane] = now[s.sum_plane + lane, cell]
            machine.slices[group, line, position] = machine.folds[fold, SLICE] + 1
            machine.counts[PSUM_WRITES] += 1
