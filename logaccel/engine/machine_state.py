"""The machine as records of arrays: registers, controller and the memories around a block of columns.

A *block* is the array's columns first_col … first_col + width − 1; a block of all columns is the array.
Blocks never talk to each other: what reaches a block's left edge is what left the controller first_col
cycles earlier, so every block delays the controller's tokens by the columns before it and is exact by itself.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from logaccel.engine.machine_passes import EDGE, EMPTY_RAIL, Plane

Numbers = NDArray[np.int64]
Words = NDArray[np.signedinteger]

# Planes of registers. LEFT moves right in every dataflow; OTHER is the weight that moves down (OS) or the
# stationary word in use (WS, IS with shadow registers; without, CHAIN is).
LEFT, OTHER, FLAGS, CHAIN, STATUS = range(5)
# Wires: not registers, alive within one cycle.
ARRIVING, MOVING_NOW, PRODUCT, PRODUCT_FLAGS = range(4)
WIRES = 4
# Columns of the fold list.
ROWS, COLS, ROW_BASE, COL_BASE, GROUP, SLICE = range(6)
# What the controller sends in a cycle; fold −1: nothing.
STREAM_FOLD, STREAM_INDEX, LOAD_FOLD, LOAD_INDEX, PULSES = range(5)
TOKENS = 5
# Registers of the controller.
STARTED, AGE, LOADED_FOLDS, LOAD_STEP, DRAIN_LEFT, SHIFTS, PULSED = range(7)
CONTROLS = 7
# Event counters of a block.
(
    MACS, LIVE_PRODUCTS, LEFT_WRITES, OTHER_WRITES, STAGE_WRITES, PSUM_MOVES, LEFT_READS, TOP_READS,
    PSUM_READS, PSUM_WRITES, CLIPPED, FAULTS, LAST_CYCLE,
) = range(13)  # fmt: skip
COUNTS = 13


class Settings(NamedTuple):
    """Integers that never change while a layer runs."""

    array_rows: int
    array_cols: int
    first_col: int
    width: int
    length: int  # T
    stages: int  # D
    lanes: int
    stationary: bool  # WS or IS
    left_is_weight: bool  # IS
    overlap: bool
    stage_plane: int  # first of D pairs: product, flags
    sum_plane: int  # first of `lanes` accumulators (OS) or psum registers (WS, IS)
    shadow_plane: int  # first of `lanes` shadow registers, then their flags (OS with overlap)
    product: int
    binned: bool
    saturate: bool
    low: int
    high: int
    drop_bits: int
    activation_scale: int
    weight_scale: int
    step_offset: int
    step_shift: int
    fraction_bits: int
    empty: int  # what an accumulator holds before its first product


class Machine(NamedTuple):
    """Everything that changes, and the memories.

    planes[parity, plane, cell]: registers before and after a clock edge; wires[wire, cell];
    tokens[kind, cycle mod slots]: what the controller sent; folds[fold, …]; starts[fold]: stream starts;
    left[group, line, t]: operand lines that enter at the left; top[group, line, position]: those that
    enter at the top; memory[group, line, position, lane]: psums; slices[group, line, position]: how
    many K slices each psum there holds; drained[col]: psums that left the column, and of which fold.
    """

    planes: Words
    wires: Words
    tokens: Numbers
    control: Numbers
    counts: Numbers
    starts: Numbers
    folds: Numbers
    left: Words
    top: Words
    memory: Words
    slices: Numbers
    drained: Numbers
    constants: Numbers


def plane_names(settings: Settings) -> dict[str, int]:
    """Return the name of every register of a PE and the plane that holds it."""
    moving, other = ("weight", "activation") if settings.left_is_weight else ("activation", "weight")
    names = {moving: LEFT, "flags": FLAGS}
    if not settings.stationary or settings.overlap:
        names[other] = OTHER
    if settings.stationary:
        names[f"shadow_{other}" if settings.overlap else other] = CHAIN
        names["status"] = STATUS
    for stage in range(settings.stages):
        names[f"product_{stage + 1}"] = settings.stage_plane + 2 * stage
        names[f"product_flags_{stage + 1}"] = settings.stage_plane + 2 * stage + 1
    sums = "psum" if settings.stationary else "accumulator"
    for lane in range(settings.lanes):
        names[f"{sums}_{lane}"] = settings.sum_plane + lane
    names[f"{sums}_full"] = settings.sum_plane + settings.lanes
    if settings.overlap and not settings.stationary:
        for lane in range(settings.lanes):
            names[f"shadow_{lane}"] = settings.shadow_plane + lane
        names["shadow_flags"] = settings.shadow_plane + settings.lanes
    return names


def new_machine(
    settings: Settings, folds: Numbers, left: Words, top: Words, memory: Words, slices: Numbers, constants: Numbers
) -> Machine:
    """Return a block in reset: no register valid, the controller about to send the token of cycle 0."""
    narrow = memory.dtype
    planes = settings.shadow_plane + settings.lanes + 1
    cells = (settings.array_rows + 1) * settings.width
    registers = np.zeros((2, planes, cells), narrow)
    registers[:, settings.sum_plane : settings.sum_plane + settings.lanes] = settings.empty
    if settings.stationary:
        registers[:, STATUS, : settings.width] = EDGE
    reach = settings.array_rows + settings.array_cols + settings.stages + 4
    return Machine(
        planes=registers,
        wires=np.zeros((WIRES, cells), narrow),
        tokens=np.full((TOKENS, 1 << reach.bit_length()), -1, np.int64),
        control=np.zeros(CONTROLS, np.int64),
        counts=np.zeros(COUNTS, np.int64),
        starts=np.full(len(folds), -1, np.int64),
        folds=folds,
        left=left,
        top=top,
        memory=memory,
        slices=slices,
        drained=np.zeros((settings.width, 2), np.int64),
        constants=constants,
    )


__all__ = ["EMPTY_RAIL", "Machine", "Numbers", "Plane", "Settings", "Words", "new_machine", "plane_names"]
