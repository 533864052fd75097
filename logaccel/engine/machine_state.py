"""The machine as arrays: registers, controller and the memories around a block of columns.

A *block* is the array's columns first_col … first_col + width − 1; a block of all columns is the array.
Blocks never talk to each other: what reaches a block's left edge is what left the controller first_col
cycles earlier, so every block delays the controller's tokens by the columns before it and is exact by itself.

Kernels take arrays and integers one by one: records of arrays would be counted, slowly, at every access.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from logaccel.engine.machine_passes import EDGE, Cells

Numbers = NDArray[np.int64]

# Settings of a block: integers that never change while a layer runs.
(
    ARRAY_ROWS, ARRAY_COLS, FIRST_COL, WIDTH, LENGTH, STAGES, LANES, STATIONARY, LEFT_IS_WEIGHT, OVERLAP,
    PRODUCT, STEPS_BINNED, SATURATES, LOW, HIGH, DROP_BITS, ACTIVATION_SCALE, WEIGHT_SCALE, STEP_OFFSET, STEP_SHIFT,
    FRACTION_BITS, EMPTY,
    NUMBER,  # PEs of the block
    SIZE,  # cells of a plane: the PEs and the top edge
    PLANES,  # planes of one parity
    STAGE_PLANE,  # first of D pairs: product, flags
    SUM_PLANE,  # first of `lanes` accumulators (OS) or psum registers (WS, IS), then their valid flags
    SHADOW_PLANE,  # first of `lanes` shadow registers (OS with overlap), then their flags
) = range(28)  # fmt: skip
SETTINGS = 28

# Planes of registers. LEFT moves right in every dataflow; OTHER is the weight that moves down (OS) or the
# stationary word in use (WS, IS with shadow registers; without, CHAIN is).
LEFT, OTHER, FLAGS, CHAIN, STATUS = range(5)
# Wires lie behind the planes of both parities: not registers, alive within one cycle.
ARRIVING, MOVING_NOW, PRODUCTS, PRODUCT_FLAGS = range(4)
WIRES = 4
# Columns of the fold list.
ROWS, COLS, ROW_BASE, COL_BASE, GROUP, SLICE = range(6)
# What the controller sends in a cycle; −1: nothing.
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


class Machine(NamedTuple):
    """A block of columns: everything that changes, and the memories. In this order kernels take them.

    cells: planes of even cycles, planes of odd cycles, wires; tokens[kind, cycle mod slots]: what the
    controller sent; starts[fold]: first cycle of its stream; folds[fold, column of the fold list];
    left[group, line, t]: operand lines that enter at the left; top[group, line, position]: those that
    enter at the top; memory[group, line, position, lane]: psums; slices[group, line, position]: how many
    K slices each of them holds; drained[col]: of which fold how many psums left the column (OS).
    """

    cells: Cells
    settings: Numbers
    tokens: Numbers
    control: Numbers
    counts: Numbers
    starts: Numbers
    folds: Numbers
    left: Cells
    top: Cells
    memory: Cells
    slices: Numbers
    drained: Numbers
    constants: Numbers


def new_machine(
    settings: Numbers, folds: Numbers, left: Cells, top: Cells, memory: Cells, slices: Numbers, constants: Numbers
) -> Machine:
    """Return a block in reset: no register valid, the controller about to send the token of cycle 0."""
    size, planes = settings[SIZE], settings[PLANES]
    cells = np.zeros((2 * planes + WIRES, size), memory.dtype)
    for parity in (0, planes):
        first_sum = parity + settings[SUM_PLANE]
        cells[first_sum : first_sum + settings[LANES]] = settings[EMPTY]
        if settings[STATIONARY]:
            cells[parity + STATUS, : settings[WIDTH]] = EDGE
    reach = int(settings[ARRAY_ROWS] + settings[ARRAY_COLS] + settings[STAGES] + 4)
    return Machine(
        cells=cells.reshape(-1),
        settings=settings,
        tokens=np.full((TOKENS, 1 << reach.bit_length()), -1, np.int64),
        control=np.zeros(CONTROLS, np.int64),
        counts=np.zeros(COUNTS, np.int64),
        starts=np.full(len(folds), -1, np.int64),
        folds=folds,
        left=left,
        top=top,
        memory=memory,
        slices=slices,
        drained=np.zeros((settings[WIDTH], 2), np.int64),
        constants=constants,
    )


def plane_names(settings: Numbers) -> dict[str, int]:
    """Return the name of every register of a PE and its plane."""
    moving, other = ("weight", "activation") if settings[LEFT_IS_WEIGHT] else ("activation", "weight")
    names = {moving: LEFT, "flags": FLAGS}
    if settings[STATIONARY]:
        if settings[OVERLAP]:
            names[other] = OTHER
        names[f"shadow_{other}" if settings[OVERLAP] else other] = CHAIN
        names["status"] = STATUS
    else:
        names[other] = OTHER
    for stage in range(settings[STAGES]):
        names[f"product_{stage + 1}"] = int(settings[STAGE_PLANE]) + 2 * stage
        names[f"product_flags_{stage + 1}"] = int(settings[STAGE_PLANE]) + 2 * stage + 1
    for name, first, present in (
        ("psum", settings[SUM_PLANE], True),
        ("shadow", settings[SHADOW_PLANE], settings[OVERLAP] and not settings[STATIONARY]),
    ):
        if present:
            names |= {f"{name}_{lane}": int(first) + lane for lane in range(settings[LANES])}
            names[f"{name}_flags"] = int(first + settings[LANES])
    return names


def snapshot(machine: Machine, cycle: int) -> dict[str, Cells]:
    """Return every register of the block as it stands in a cycle just stepped to, each as [row, col]."""
    settings = machine.settings
    planes = machine.cells.reshape(-1, settings[SIZE])[(cycle & 1) * settings[PLANES] :]
    shape = (settings[ARRAY_ROWS], settings[WIDTH])
    return {name: planes[at, settings[WIDTH] :].reshape(shape).copy() for name, at in plane_names(settings).items()}
