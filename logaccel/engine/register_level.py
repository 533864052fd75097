"""The register-level engine: every register of every PE, every cycle. The reference for the fold-level engine and RTL.

Timing comes from a state machine (machine_control) and the registers themselves, never from a formula;
events are counted where they happen. docs/microarchitecture.md describes the machine.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from logaccel.engine import machine_state as at
from logaccel.engine.job import LayerJob, LayerRun
from logaccel.engine.machine_dataflows import run_block
from logaccel.engine.machine_operands import activation_matrix, combined, fold_list, weight_matrix, word_dtype
from logaccel.engine.machine_passes import EMPTY_RAIL
from logaccel.engine.machine_state import Machine, Numbers, new_machine
from logaccel.jit import thread_count
from logaccel.pe import Datapath, Product
from logaccel.schedule.record import Activity

_NARROWEST_BLOCK = 8  # columns a thread is worth
BACKEND = "registers"


@dataclass(frozen=True, eq=False)
class RegisterRun:
    """A layer's run with the cycle in which each fold's stream started, as the machine saw it."""

    run: LayerRun
    stream_starts: Numbers


def run_layer(job: LayerJob) -> LayerRun:
    """Step one layer through the array, cycle by cycle, on all threads; results never depend on how many."""
    return trace_layer(job, thread_count()).run


def trace_layer(job: LayerJob, threads: int) -> RegisterRun:
    """Run one layer with its columns split over at most `threads` threads."""
    blocks = build_blocks(job, min(threads, max(1, job.array.cols // _NARROWEST_BLOCK)))
    with ThreadPoolExecutor(len(blocks)) as pool:
        cycles = list(pool.map(_run, blocks))
    counts = np.stack([machine.counts for machine in blocks])
    starts = blocks[0].starts
    _check(cycles, counts, [machine.starts for machine in blocks])
    shape = job.layer.matrix(job.batch)
    psum = combined(blocks[0].memory, job.datapath)  # the blocks share one psum memory
    if job.dataflow != "is":  # [group, pixel, channel]
        psum = psum.transpose(1, 0, 2)
    else:  # [group, channel, pixel]
        psum = psum.transpose(2, 0, 1)
    run = LayerRun(
        psum=np.ascontiguousarray(psum).reshape(shape.pixels, shape.groups * shape.channels),
        clipped=int(counts[:, at.CLIPPED].sum()),
        array_cycles=int(counts[:, at.LAST_CYCLE].max()),
        activity=_activity(job, counts.sum(axis=0)),
        backend=BACKEND,
    )
    return RegisterRun(run=run, stream_starts=starts)


def build_blocks(job: LayerJob, count: int) -> list[Machine]:
    """Return the array as `count` blocks of columns in reset, with the layer in their operand memories."""
    dtype = word_dtype(job.datapath)
    shape = job.layer.matrix(job.batch)
    activations, weights = activation_matrix(job, dtype), weight_matrix(job, dtype)  # [g, pixel, k], [g, k, m]
    if job.dataflow == "os":
        left, top, lines = activations, weights, shape.pixels
    elif job.dataflow == "ws":
        left, top, lines = np.ascontiguousarray(activations.transpose(0, 2, 1)), weights, shape.pixels
    else:
        left, top, lines = weights, np.ascontiguousarray(activations.transpose(0, 2, 1)), shape.channels
    positions = shape.pixels if job.dataflow == "is" else shape.channels
    folds = fold_list(shape, job)
    memory = np.zeros((shape.groups, lines, positions, job.datapath.lanes), dtype)
    slices = np.zeros(memory.shape[:3], np.int64)
    constants = np.array(job.datapath.constants, np.int64)
    bounds = np.linspace(0, job.array.cols, count + 1).astype(int)
    blocks = []
    for first, end in pairwise(bounds):
        settings = _settings(job, int(first), int(end - first))
        blocks.append(new_machine(settings, folds, left, top, memory, slices, constants))
    return blocks


def _settings(job: LayerJob, first_col: int, width: int) -> Numbers:
    path, array, shape = job.datapath, job.array, job.layer.matrix(job.batch)
    stationary = job.dataflow != "os"
    low, high, empty = _accumulator(path)
    settings = np.zeros(at.SETTINGS, np.int64)
    stage_plane = at.STATUS + 1 if stationary else at.FLAGS + 1
    sum_plane = stage_plane + 2 * array.pipeline_stages
    shadow_plane = sum_plane + path.lanes + 1
    shadowed = array.overlap and not stationary
    for place, value in (
        (at.ARRAY_ROWS, array.rows),
        (at.ARRAY_COLS, array.cols),
        (at.FIRST_COL, first_col),
        (at.WIDTH, width),
        (at.LENGTH, {"os": shape.reduction, "ws": shape.pixels, "is": shape.channels}[job.dataflow]),
        (at.STAGES, array.pipeline_stages),
        (at.LANES, path.lanes),
        (at.STATIONARY, stationary),
        (at.LEFT_IS_WEIGHT, job.dataflow == "is"),
        (at.OVERLAP, array.overlap),
        (at.PRODUCT, path.product),
        (at.STEPS_BINNED, path.binned),
        (at.SATURATES, path.saturate),
        (at.LOW, low),
        (at.HIGH, high),
        (at.DROP_BITS, path.drop_bits),
        (at.ACTIVATION_SCALE, path.activation_scale),
        (at.WEIGHT_SCALE, path.weight_scale),
        (at.STEP_OFFSET, path.step_offset),
        (at.STEP_SHIFT, path.step_shift),
        (at.FRACTION_BITS, path.fraction_bits),
        (at.EMPTY, empty),
        (at.NUMBER, array.rows * width),
        (at.SIZE, (array.rows + 1) * width),
        (at.PLANES, shadow_plane + (path.lanes + 1 if shadowed else 0)),
        (at.STAGE_PLANE, stage_plane),
        (at.SUM_PLANE, sum_plane),
        (at.SHADOW_PLANE, shadow_plane),
    ):
        settings[place] = value
    return settings


def _accumulator(path: Datapath) -> tuple[int, int, int]:
    """Return the least and the largest word of an accumulator, and the word it starts from."""
    if path.product is Product.LOGSUM:
        return 0, (1 << path.acc_bits) - 1, EMPTY_RAIL
    return -(1 << (path.acc_bits - 1)), (1 << (path.acc_bits - 1)) - 1, 0


def _run(machine: Machine) -> int:
    """Run one block to its last psum; the limit only stops a machine that hangs."""
    settings = machine.settings
    rows, cols = machine.folds[:, at.ROWS], machine.folds[:, at.COLS]
    mine = np.clip(cols - settings[at.FIRST_COL], 0, settings[at.WIDTH])
    per_column = settings[at.LENGTH] if settings[at.STATIONARY] else rows
    slack = 4 * (settings[at.ARRAY_ROWS] + settings[at.ARRAY_COLS] + settings[at.STAGES] + 4)
    limit = (len(rows) + 1) * (settings[at.LENGTH] + slack)
    return int(run_block(*machine, 0, int((mine * per_column).sum()), int(limit)))


def _check(cycles: list[int], counts: Numbers, starts: list[Numbers]) -> None:
    """Raise RuntimeError where the machine broke one of its own rules: a defect, never the user's fault."""
    if min(cycles) < 0:
        raise RuntimeError("the array hangs: its last psum never left")
    if counts[:, at.FAULTS].any():
        raise RuntimeError(f"{counts[:, at.FAULTS].sum()} psums collided, were read too early or met no operand")
    if any((other != starts[0]).any() for other in starts[1:]):
        raise RuntimeError("blocks of columns disagree about when folds start")


def _activity(job: LayerJob, counts: Numbers) -> Activity:
    left_writes, other_writes = int(counts[at.LEFT_WRITES]), int(counts[at.OTHER_WRITES])
    left_reads, top_reads = int(counts[at.LEFT_READS]), int(counts[at.TOP_READS])
    weights_left = job.dataflow == "is"
    return Activity(
        macs=int(counts[at.MACS]),
        live_products=int(counts[at.LIVE_PRODUCTS]),
        activation_writes=other_writes if weights_left else left_writes,
        weight_writes=left_writes if weights_left else other_writes,
        stage_writes=int(counts[at.STAGE_WRITES]),
        psum_moves=int(counts[at.PSUM_MOVES]),
        ifmap_reads=top_reads if weights_left else left_reads,
        filter_reads=left_reads if weights_left else top_reads,
        psum_reads=int(counts[at.PSUM_READS]),
        psum_writes=int(counts[at.PSUM_WRITES]),
    )
