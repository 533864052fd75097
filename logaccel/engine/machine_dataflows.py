"""One clock edge of the whole machine, for the two kinds of dataflow, and the loop that runs a block.

Every step reads the planes of the cycle that ends and writes those of the cycle that begins:

    edge into cycle n     token of cycle n            operand t of a fold stands in the registers of
      │                     │                         PE(i, j) in cycle start + t + i + j
      ▼                     ▼
    now ── passes ──► after          left edge: row i takes what the controller sent i cycles before
                                     top edge: column j takes what it sent j cycles before
"""

from logaccel.engine import machine_edges as edges
from logaccel.engine import machine_passes as passes
from logaccel.engine import machine_pe as pe
from logaccel.engine import machine_state as at
from logaccel.engine.machine_control import control_output_stationary, control_stationary
from logaccel.engine.machine_passes import MOVING, SWAP, TOOK, VALID, Cells
from logaccel.engine.machine_pe import plane, wire
from logaccel.engine.machine_state import Numbers
from logaccel.jit import inlined_kernel, kernel


@inlined_kernel
def step(
    cells: Cells, settings: Numbers, tokens: Numbers, control: Numbers, counts: Numbers, starts: Numbers,
    folds: Numbers, left: Cells, top: Cells, memory: Cells, slices: Numbers, drained: Numbers, constants: Numbers,
    cycle: int,
) -> None:  # fmt: skip
    """Clock everything once: the edge that begins `cycle`. The arguments are those of a Machine, then the cycle."""
    half = settings[at.PLANES] * settings[at.SIZE]
    now, after = (1 - (cycle & 1)) * half, (cycle & 1) * half
    if settings[at.STATIONARY]:
        control_stationary(settings, tokens, control, starts, folds, cycle)
        second = at.OTHER if settings[at.OVERLAP] else at.CHAIN
        pe.form_products(cells, settings, counts, constants, now, after, second)
        _sum_downwards(cells, settings, counts, now, after)
        # The memory's read port sees what earlier edges wrote; reading comes first here for the same effect.
        edges.enter_psums(cells, settings, tokens, counts, folds, memory, slices, cycle, after)
        edges.store_psums(cells, settings, tokens, counts, folds, memory, slices, cycle, now, after)
    else:
        control_output_stationary(settings, tokens, control, starts, folds, cycle)
        pe.form_products(cells, settings, counts, constants, now, after, at.OTHER)
        psums, leaving = _sum_in_place(cells, settings, control, counts, now, after)
        if leaving >= 0:
            mask = MOVING if settings[at.OVERLAP] else 1
            edges.drain_bottom(cells, settings, counts, folds, memory, slices, drained, cycle, psums, leaving, mask)
    edges.enter_top(cells, settings, tokens, counts, folds, top, cycle, now)
    _move_left_operands(cells, settings, now, after)
    edges.enter_left(cells, settings, tokens, counts, folds, left, cycle, after)
    if settings[at.STATIONARY]:
        _take_stationary(cells, settings, counts, now, after)
    else:
        _take_streamed(cells, settings, counts, now, after)


@kernel
def run_block(
    cells: Cells, settings: Numbers, tokens: Numbers, control: Numbers, counts: Numbers, starts: Numbers,
    folds: Numbers, left: Cells, top: Cells, memory: Cells, slices: Numbers, drained: Numbers, constants: Numbers,
    cycle: int, psums: int, limit: int,
) -> int:  # fmt: skip
    """Run from `cycle` until all folds have streamed and `psums` have left; return the next cycle, −1: beyond limit."""
    last = folds.shape[0] - 1
    while counts[at.PSUM_WRITES] < psums or starts[last] < 0:
        if cycle > limit:
            return -1
        step(
            cells, settings, tokens, control, counts, starts, folds, left, top, memory, slices, drained, constants,
            cycle,
        )  # fmt: skip
        cycle += 1
    return cycle


@inlined_kernel
def _sum_in_place(
    cells: Cells, settings: Numbers, control: Numbers, counts: Numbers, now: int, after: int
) -> tuple[int, int]:
    """Clock pipeline, accumulators and shadow registers (OS).

    Returns where the psums and the flags lie of what may leave the bottom row at this edge, −1: nothing.
    """
    number, width, lanes = settings[at.NUMBER], settings[at.WIDTH], settings[at.LANES]
    flags = pe.finished_flags(settings, now)
    sums, sums_after = plane(settings, now, settings[at.SUM_PLANE]), plane(settings, after, settings[at.SUM_PLANE])
    full = lanes * settings[at.SIZE]
    pe.advance_stages(cells, settings, counts, now, after)
    if control[at.SHIFTS] == 1:
        counts[at.FAULTS] += passes.count(cells, flags, VALID, number)  # nothing may still accumulate
        for lane in range(lanes + 1):
            offset = lane * settings[at.SIZE]
            passes.move(cells, sums + offset - width, sums_after + offset, number)
        counts[at.PSUM_MOVES] += passes.count(cells, sums_after + full, 1, number)
        return sums, sums + full
    pe.accumulate(cells, settings, counts, now, after)
    if not settings[at.OVERLAP]:
        counts[at.MACS] += passes.fill_accumulators(cells, flags, sums + full, sums_after + full, number)
        return sums, -1
    counts[at.MACS] += passes.count(cells, flags, VALID, number)
    moving = wire(settings, at.MOVING_NOW)
    shadow = plane(settings, now, settings[at.SHADOW_PLANE])
    shadow_after = plane(settings, after, settings[at.SHADOW_PLANE])
    passes.start_moving(cells, plane(settings, now, at.FLAGS), shadow + full, moving, number)
    above = moving - width
    written, collided = passes.move_shadow_flags(cells, flags, above, moving, shadow_after + full, number)
    counts[at.PSUM_MOVES] += written
    counts[at.FAULTS] += collided
    for lane in range(lanes):
        offset = lane * settings[at.SIZE]
        own, target = shadow + offset, shadow_after + offset
        passes.move_shadow(cells, flags, above, sums_after + offset, own - width, own, target, number)
    return shadow, moving


@inlined_kernel
def _sum_downwards(cells: Cells, settings: Numbers, counts: Numbers, now: int, after: int) -> None:
    """Clock pipeline and psum registers (WS, IS)."""
    number, lanes = settings[at.NUMBER], settings[at.LANES]
    valid = plane(settings, now, settings[at.SUM_PLANE] + lanes)
    valid_after = plane(settings, after, settings[at.SUM_PLANE] + lanes)
    pe.advance_stages(cells, settings, counts, now, after)
    pe.accumulate(cells, settings, counts, now, after)
    flags = pe.finished_flags(settings, now)
    macs, passed, alone = passes.pass_psums(cells, flags, valid - settings[at.WIDTH], valid_after, number)
    counts[at.MACS] += macs
    counts[at.PSUM_MOVES] += passed
    counts[at.FAULTS] += alone


@inlined_kernel
def _move_left_operands(cells: Cells, settings: Numbers, now: int, after: int) -> None:
    """Move what came from the left one PE on; the flags stay on wires until the PE has judged them."""
    number = settings[at.NUMBER]
    passes.move(cells, plane(settings, now, at.LEFT) - 1, plane(settings, after, at.LEFT), number)
    passes.move(cells, plane(settings, now, at.FLAGS) - 1, wire(settings, at.ARRIVING), number)


@inlined_kernel
def _take_streamed(cells: Cells, settings: Numbers, counts: Numbers, now: int, after: int) -> None:
    """Clock the weights, and the flags of both operands (OS)."""
    number, width = settings[at.NUMBER], settings[at.WIDTH]
    flags, flags_after = plane(settings, now, at.FLAGS), plane(settings, after, at.FLAGS)
    passes.move(cells, plane(settings, now, at.OTHER) - width, plane(settings, after, at.OTHER), number)
    written = passes.join_operands(cells, wire(settings, at.ARRIVING), flags - width, flags_after, number)
    counts[at.LEFT_WRITES] += written
    counts[at.OTHER_WRITES] += written


@inlined_kernel
def _take_stationary(cells: Cells, settings: Numbers, counts: Numbers, now: int, after: int) -> None:
    """Clock the chain of stationary words, the words in use, and the flags of the moving operand (WS, IS)."""
    number, width, overlap = settings[at.NUMBER], settings[at.WIDTH], settings[at.OVERLAP] != 0
    arriving = wire(settings, at.ARRIVING)
    status, status_after = plane(settings, now, at.STATUS), plane(settings, after, at.STATUS)
    chain, chain_after = plane(settings, now, at.CHAIN), plane(settings, after, at.CHAIN)
    flags_after = plane(settings, after, at.FLAGS)
    taken = passes.take_status(cells, arriving, status - width, status, status_after, overlap, number)
    passes.take_where(cells, status_after, TOOK, chain - width, chain, chain_after, number)
    moved, swapped = passes.join_stationary(cells, arriving, status_after, flags_after, number)
    counts[at.LEFT_WRITES] += moved
    counts[at.OTHER_WRITES] += taken + swapped
    if overlap:
        held, held_after = plane(settings, now, at.OTHER), plane(settings, after, at.OTHER)
        passes.take_where(cells, arriving, SWAP, chain, held, held_after, number)
