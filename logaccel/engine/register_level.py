"""The register-level engine: every register of every PE, every cycle. The reference for the fold-level engine and RTL.

Timing comes from a state machine (machine_control) and the registers themselves, never from a formula;
events are counted where they happen. docs/microarchitecture.md describes the machine.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from logaccel.engine import machine_state as state
from logaccel.engine.job import LayerJob, LayerRun
from logaccel.engine.machine_dataflows import run_block
from logaccel.engine.machine_operands import activation_matrix, combined, fold_list, weight_matrix, word_dtype
from logaccel.engine.machine_state import EMPTY_RAIL, Machine, Numbers, Settings, new_machine
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
    counts = np.stack([machine.counts for machine, _ in blocks])
    starts = blocks[0][0].starts
    _check(cycles, counts, [machine.starts for machine, _ in blocks])
    shape = job.layer.matrix(job.batch)
    psum = combined(blocks[0][0].memory, job.datapath)  # the blocks share one psum memory
    if job.dataflow != "is":  # [group, pixel, channel]
        psum = psum.transpose(1, 0, 2)
    else:  # [group, channel, pixel]
        psum = psum.transpose(2, 0, 1)
    run = LayerRun(
        psum=np.ascontiguousarray(psum).reshape(shape.pixels, shape.groups * shape.channels),
        clipped=int(counts[:, state.CLIPPED].sum()),
        array_cycles=int(counts[:, state.LAST_CYCLE].max()),
        activity=_activity(job, counts.sum(axis=0)),
        backend=BACKEND,
    )
    return RegisterRun(run=run, stream_starts=starts)


def build_blocks(job: LayerJob, count: int) -> list[tuple[Machine, Settings]]:
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
    for first, end in zip(bounds[:-1], bounds[1:], strict=True):
        settings = _settings(job, int(first), int(end - first))
        blocks.append((new_machine(settings, folds, left, top, memory, slices, constants), settings))
    return blocks


def _settings(job: LayerJob, first_col: int, width: int) -> Settings:
    path, array, shape = job.datapath, job.array, job.layer.matrix(job.batch)
    stationary = job.dataflow != "os"
    stage_plane = state.STATUS + 1 if stationary else state.FLAGS + 1
    sum_plane = stage_plane + 2 * array.pipeline_stages
    low, high, empty = _accumulator(path)
    return Settings(
        array_rows=array.rows,
        array_cols=array.cols,
        first_col=first_col,
        width=width,
        length={"os": shape.reduction, "ws": shape.pixels, "is": shape.channels}[job.dataflow],
        stages=array.pipeline_stages,
        lanes=path.lanes,
        stationary=stationary,
        left_is_weight=job.dataflow == "is",
        overlap=array.overlap,
        stage_plane=stage_plane,
        sum_plane=sum_plane,
        shadow_plane=sum_plane + path.lanes + 1,
        product=int(path.product),
        binned=path.binned,
        saturate=path.saturate,
        low=low,
        high=high,
        drop_bits=path.drop_bits,
        activation_scale=path.activation_scale,
        weight_scale=path.weight_scale,
        step_offset=path.step_offset,
        step_shift=path.step_shift,
        fraction_bits=path.fraction_bits,
        empty=empty,
    )


def _accumulator(path: Datapath) -> tuple[int, int, int]:
    """Return the least and the largest word of an accumulator, and the word it starts from."""
    if path.product is Product.LOGSUM:
        return 0, (1 << path.acc_bits) - 1, EMPTY_RAIL
    return -(1 << (path.acc_bits - 1)), (1 << (path.acc_bits - 1)) - 1, 0


def _run(block: tuple[Machine, Settings]) -> int:
    """Run one block to its last psum; the limit only stops a machine that hangs."""
    machine, settings = block
    rows, cols = machine.folds[:, state.ROWS], machine.folds[:, state.COLS]
    mine = np.clip(cols - settings.first_col, 0, settings.width)
    per_column = settings.length if settings.stationary else rows
    slack = 4 * (settings.array_rows + settings.array_cols + settings.stages + 4)
    limit = (len(rows) + 1) * (settings.length + slack)
    return int(run_block(machine, settings, int((mine * per_column).sum()), limit))


def _check(cycles: list[int], counts: Numbers, starts: list[Numbers]) -> None:
    """Raise RuntimeError where the machine broke one of its own rules: a defect, never the user's fault."""
    if min(cycles) < 0:
        raise RuntimeError("the array hangs: its last psum never left")
    if counts[:, state.FAULTS].any():
        raise RuntimeError(f"{counts[:, state.FAULTS].sum()} psums collided, were read too early or met no operand")
    if any((other != starts[0]).any() for other in starts[1:]):
        raise RuntimeError("blocks of columns disagree about when folds start")


def _activity(job: LayerJob, counts: Numbers) -> Activity:
    left_writes, other_writes = int(counts[state.LEFT_WRITES]), int(counts[state.OTHER_WRITES])
    left_reads, top_reads = int(counts[state.LEFT_READS]), int(counts[state.TOP_READS])
    weights_left = job.dataflow == "is"
    return Activity(
        macs=int(counts[state.MACS]),
        live_products=int(counts[state.LIVE_PRODUCTS]),
        activation_writes=other_writes if weights_left else left_writes,
        weight_writes=left_writes if weights_left else other_writes,
        stage_writes=int(counts[state.STAGE_WRITES]),
        psum_moves=int(counts[state.PSUM_MOVES]),
        ifmap_reads=top_reads if weights_left else left_reads,
        filter_reads=left_reads if weights_left else top_reads,
        psum_reads=int(counts[state.PSUM_READS]),
        psum_writes=int(counts[state.PSUM_WRITES]),
    )
