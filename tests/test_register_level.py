"""The register-level engine: cycles from an independent stepper, bits and counts of the fold-level engine."""

import ast
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import logaccel.engine
from logaccel.arch import Dataflow, PEArray
from logaccel.engine import fold_level, register_level
from logaccel.engine import machine_state as at
from logaccel.engine.job import LayerJob, LayerRun
from logaccel.engine.machine_dataflows import step
from logaccel.engine.machine_state import snapshot
from logaccel.engine.register_level import build_blocks, trace_layer
from logaccel.formats import Format, LinearWord, LogWord
from logaccel.formats.number import Word
from logaccel.pe import PE, DecodePE, LogsumPE, MultiplyPE, ShiftPE
from logaccel.schedule.folds import plan_folds
from logaccel.workload import Layer

LOG4, ROOT4, LINEAR5 = LogWord(bits=4), LogWord(bits=4, steps_per_octave=2), LinearWord(bits=5)
EIGHTH = LogWord(bits=5, steps_per_octave=8)
PES: dict[str, tuple[PE, Word, Word]] = {
    "multiply": (MultiplyPE(acc_bits=20), LINEAR5, LINEAR5),
    "multiply saturates": (MultiplyPE(acc_bits=9), LINEAR5, LINEAR5),
    "multiply wraps": (MultiplyPE(acc_bits=7, overflow="wrap", drop_bits=2), LINEAR5, LINEAR5),
    "multiply wide": (MultiplyPE(acc_bits=48), LinearWord(bits=20), LinearWord(bits=20)),
    "shift": (ShiftPE(acc_bits=16, drop_bits=1), LOG4, LINEAR5),
    "shift by weight": (ShiftPE(acc_bits=11, overflow="wrap"), LINEAR5, LOG4),
    "shift bins": (ShiftPE(acc_bits=12), ROOT4, LINEAR5),
    "shift constant": (ShiftPE(acc_bits=20, root="constant", constant_bits=6, drop_bits=3), ROOT4, LINEAR5),
    "decode": (DecodePE(acc_bits=16), LOG4, LOG4),
    "decode bins": (DecodePE(acc_bits=12, overflow="wrap"), LOG4, EIGHTH),
    "decode constant": (DecodePE(acc_bits=18, root="constant", constant_bits=5, drop_bits=4), ROOT4, LOG4),
    "logsum": (LogsumPE(acc_bits=12, fraction_bits=7), LOG4, LOG4),
    "logsum root": (LogsumPE(acc_bits=6, fraction_bits=4), ROOT4, EIGHTH),
    "logsum wide": (LogsumPE(acc_bits=40, fraction_bits=30), LOG4, LOG4),
}
LAYERS = {
    "conv": (
        Layer(name="conv", in_channels=3, out_channels=5, in_size=5, kernel=(3, 2), stride=2, padding=(1, 0, 2, 1)),
        2,
    ),
    "depthwise": (
        Layer(name="depthwise", in_channels=3, out_channels=3, in_size=4, kernel=2, groups=3, dilation=2, padding=1),
        1,
    ),
    "fc": (Layer(name="fc", kind="fc", in_channels=23, out_channels=7), 1),
    "one": (Layer(name="one", kind="fc", in_channels=1, out_channels=1), 1),
    "slices": (Layer(name="slices", in_channels=9, out_channels=2, in_size=(1, 2), kernel=1), 1),
}


def job_of(
    pe: PE, words: tuple[Word, Word], layer: Layer, batch: int, array: PEArray, dataflow: Dataflow, signed: bool = True
) -> LayerJob:
    """Return a job with random codes, a third of them zero."""
    draws = np.random.default_rng(len(layer.name) + 100 * batch + array.rows)
    activation, weight = words[0].at(0, signed), words[1].at(0, True)

    def codes(shape: tuple[int, ...], own: Format) -> np.ndarray:
        drawn = draws.integers(own.min_code, own.max_code, shape, endpoint=True) * (draws.random(shape) < 0.67)
        return drawn.astype(own.code_dtype)  # as in a run: kernels of other types would be compiled for these tests

    return LayerJob(
        layer=layer,
        datapath=pe.datapath(activation, weight),
        array=array,
        dataflow=dataflow,
        ifmap_codes=codes(layer.ifmap_shape(batch), activation),
        filter_codes=codes(layer.filter_shape, weight),
    )


def assert_equal(ours: LayerRun, theirs: LayerRun) -> None:
    """Compare two runs in every field but the name of what computed them."""
    np.testing.assert_array_equal(ours.psum, theirs.psum)
    assert (ours.clipped, ours.array_cycles, ours.activity) == (theirs.clipped, theirs.array_cycles, theirs.activity)


def test_conformance_cycles(shared_data: Path) -> None:
    """Stream starts and cycles of 160 layers equal those of an independent token-level stepper."""
    pe, words = MultiplyPE(acc_bits=30), (LINEAR5, LINEAR5)
    for case in json.loads((shared_data / "conformance" / "cycles.json").read_text()):
        layer = Layer(name="layer", kind="fc", in_channels=case["K"], out_channels=case["channels"])
        array = PEArray(
            rows=case["array_rows"],
            cols=case["array_cols"],
            overlap=case["overlap"],
            pipeline_stages=case["pipeline_stages"],
        )
        job = job_of(pe, words, layer, case["pixels"], array, case["dataflow"])
        traced = trace_layer(job, 2)
        assert list(traced.stream_starts) == case["stream_starts"], case
        assert traced.run.array_cycles == case["cycles_without_post_stages"], case
        np.testing.assert_array_equal(traced.run.psum, job.ifmap_codes.astype(np.int64) @ job.filter_codes.T)


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
@pytest.mark.parametrize("name", PES)
def test_every_pe_kind_equals_the_fold_level_engine(name: str, dataflow: Dataflow) -> None:
    pe, *words = PES[name]
    clipped = 0
    for overlap, stages, layer in ((False, 1, "conv"), (True, 0, "conv"), (True, 2, "slices")):
        array = PEArray(rows=4, cols=3, overlap=overlap, pipeline_stages=stages)
        job = job_of(pe, tuple(words), *LAYERS[layer], array, dataflow)
        run = register_level.run_layer(job)
        assert_equal(run, fold_level.run_layer(job))
        clipped += run.clipped
    if name in ("multiply saturates", "multiply wraps", "shift by weight", "logsum root"):
        assert clipped > 0


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
@pytest.mark.parametrize("overlap", [False, True])
def test_every_shape_equals_the_fold_level_engine(layer: str, dataflow: Dataflow, overlap: bool) -> None:
    """Arrays smaller and larger than the layer, ragged folds, T = 1, depthwise, three and more K slices."""
    pe, *words = PES["multiply saturates"]
    for rows, cols, stages in ((1, 1, 0), (2, 3, 1), (3, 2, 3), (5, 9, 1), (30, 40, 2)):
        array = PEArray(rows=rows, cols=cols, overlap=overlap, pipeline_stages=stages)
        job = job_of(pe, tuple(words), *LAYERS[layer], array, dataflow)
        traced = trace_layer(job, 1)
        assert_equal(traced.run, fold_level.run_layer(job))
        plan = plan_folds(job.layer.matrix(job.batch), array, dataflow)
        np.testing.assert_array_equal(traced.stream_starts, plan.stream_starts)


def test_unsigned_activations_equal_the_fold_level_engine() -> None:
    for name in ("multiply", "shift", "decode bins", "logsum"):
        pe, *words = PES[name]
        job = job_of(pe, tuple(words), *LAYERS["conv"], PEArray(rows=4, cols=4), "ws", signed=False)
        assert_equal(register_level.run_layer(job), fold_level.run_layer(job))


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
@pytest.mark.parametrize("overlap", [False, True])
def test_blocks_of_columns_are_the_array(dataflow: Dataflow, overlap: bool) -> None:
    """However many threads share the columns, every result is the same."""
    pe, *words = PES["logsum root"]
    array = PEArray(rows=5, cols=40, overlap=overlap, pipeline_stages=2)
    layer = Layer(name="wide", kind="fc", in_channels=17, out_channels=47)
    job = job_of(pe, tuple(words), layer, 43, array, dataflow)
    whole = trace_layer(job, 1)
    for threads in (2, 3, 5):
        parts = trace_layer(job, threads)
        assert len(build_blocks(job, threads)) == threads
        assert_equal(parts.run, whole.run)
        np.testing.assert_array_equal(parts.stream_starts, whole.stream_starts)


def test_operands_stand_where_the_timing_rule_says() -> None:
    """Operand t stands in PE(i, j) in cycle start + t + i + j, in every dataflow, read from the registers."""
    pe, words = MultiplyPE(acc_bits=20), (LINEAR5, LINEAR5)
    layer = Layer(name="fc", kind="fc", in_channels=4, out_channels=3)
    for dataflow, moving in (("os", "activation"), ("ws", "activation"), ("is", "weight")):
        for overlap in (False, True):
            job = job_of(pe, words, layer, 3, PEArray(rows=4, cols=4, overlap=overlap), dataflow)
            job = replace(
                job, ifmap_codes=1 + np.arange(12).reshape(3, 4), filter_codes=1 + np.arange(12).reshape(3, 4)
            )
            machine = build_blocks(job, 1)[0]
            start = 0 if dataflow == "os" else 4
            lines = {"os": job.ifmap_codes, "ws": job.ifmap_codes.T, "is": job.filter_codes.T}[dataflow]
            for cycle in range(16):
                step(*machine, cycle)
                registers = snapshot(machine, cycle)
                for i in range(len(lines)):
                    for j in range(3):
                        t = cycle - start - i - j
                        valid = bool(registers["flags"][i, j] & 1)
                        assert valid == (0 <= t < lines.shape[1])
                        assert not valid or registers[moving][i, j] == lines[i, t]


def test_a_stationary_word_passes_every_row_above() -> None:
    """Row i takes i cycles after row 0, and holds its own word when the stream starts."""
    pe, words = MultiplyPE(acc_bits=20), (LINEAR5, LINEAR5)
    layer = Layer(name="fc", kind="fc", in_channels=3, out_channels=2)
    job = job_of(pe, words, layer, 2, PEArray(rows=4, cols=2), "ws")
    machine = build_blocks(job, 1)[0]
    took = []
    for cycle in range(4):
        step(*machine, cycle)
        took.append([int(status) for status in snapshot(machine, cycle)["status"][:, 0] & 2])
    assert took == [[2, 0, 0, 0], [2, 2, 0, 0], [2, 2, 2, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(snapshot(machine, 3)["weight"][:3, 0], job.filter_codes[0])


def test_a_psum_read_too_early_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """The psum memory is written in one cycle and read in the next: one cycle earlier would be stale."""
    pe, words = MultiplyPE(acc_bits=20), (LINEAR5, LINEAR5)
    layer = Layer(name="fc", kind="fc", in_channels=6, out_channels=1)
    job = job_of(pe, words, layer, 1, PEArray(rows=2, cols=1, overlap=True), "ws")
    assert list(trace_layer(job, 1).stream_starts) == [2, 6, 10]
    blocks = build_blocks(job, 1)
    machine = blocks[0]
    for cycle in range(7):
        step(*machine, cycle)
    assert machine.slices[0, 0, 0] == 1  # written at the end of the cycle before
    machine.slices[0, 0, 0] = 0  # as if a cycle later
    for cycle in range(7, 14):
        step(*machine, cycle)
    assert machine.counts[at.FAULTS] == 1
    monkeypatch.setattr(register_level, "build_blocks", lambda job, count: [machine])
    with pytest.raises(RuntimeError, match=r"^1 psums collided, were read too early or met no operand$"):
        trace_layer(job, 1)


def test_it_takes_no_timing_from_the_scheduler() -> None:
    """Neither the scheduler's formulas nor the fold-level engine's kernels are within reach of the machine."""
    folder = Path(logaccel.engine.__file__).parent
    sources = [folder / "register_level.py", *sorted(folder.glob("machine_*.py"))]
    assert len(sources) > 5
    allowed = {"job", "combine", "register_level"} | {path.stem for path in sources}
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                rooms = name.split(".")
                if name.startswith("logaccel.schedule"):
                    assert name == "logaccel.schedule.record.Activity", f"{path.name} imports {name}"
                if name.startswith("logaccel.engine."):
                    assert rooms[2] in allowed, f"{path.name} imports {name}"
