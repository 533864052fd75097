"""The conformance vectors, against every level of the simulator: each level overrides what it does its own way."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from pydantic import TypeAdapter

from logaccel.arch import PEArray
from logaccel.engine import fold_level, register_level
from logaccel.engine.job import LayerJob
from logaccel.engine.machine_operands import fold_list
from logaccel.engine.machine_state import COLS, ROWS
from logaccel.engine.post import post_process
from logaccel.formats import AnyFormat, Format
from logaccel.formats.encode import encode
from logaccel.formats.hardware import encode_accumulators
from logaccel.pe import PE, AnyPE
from logaccel.schedule.folds import plan_folds
from logaccel.workload import Layer, MatrixShape

Case = dict[str, Any]
FORMATS: TypeAdapter[Format] = TypeAdapter(AnyFormat)
PES: TypeAdapter[PE] = TypeAdapter(AnyPE)


class Oracle:
    """Plain integers."""

    def encode(self, fmt: Format, values: list[float]) -> list[int]:
        return [oracle.encode(value, fmt) for value in values]

    def hardware_encode(self, fmt: Format, accumulators: list[int], lsb_exponent: int, round_bits: int) -> list[int]:
        return [oracle.hardware_encode(acc, lsb_exponent, fmt, round_bits) for acc in accumulators]

    def accumulate(self, pe: PE, formats: tuple[Format, Format], a: list[int], w: list[int]) -> tuple[int, int, int]:
        """Return psum, LSB exponent and how many accumulations clipped."""
        unit = oracle.accumulate(pe, *formats, a, w)
        return unit.drain(), unit.lsb_exponent, unit.clipped

    def post(self, fmt: Format, case: Case) -> list[int]:
        lsb, bias = case["lsb_exponent"], float.fromhex(case["bias"])
        return [oracle.post_process(p, lsb, bias, case["relu"], fmt, case["round_bits"]) for p in case["psum"]]

    def schedule(self, case: Case) -> tuple[list[list[int]], list[int], int]:
        """Return folds, stream starts and cycles."""
        timing = oracle.time_layer(
            case["dataflow"],
            (case["array_rows"], case["array_cols"]),
            case["pipeline_stages"],
            case["overlap"],
            (case["pixels"], case["channels"], case["K"]),
        )
        return [list(fold) for fold in timing.folds], timing.stream_starts, timing.cycles


class FoldLevel(Oracle):
    """The package's public functions and its fold-level engine."""

    def encode(self, fmt: Format, values: list[float]) -> list[int]:
        return encode(np.array(values), fmt).tolist()

    def hardware_encode(self, fmt: Format, accumulators: list[int], lsb_exponent: int, round_bits: int) -> list[int]:
        return encode_accumulators(np.array(accumulators), lsb_exponent, fmt, round_bits).tolist()

    def accumulate(self, pe: PE, formats: tuple[Format, Format], a: list[int], w: list[int]) -> tuple[int, int, int]:
        datapath = pe.datapath(*formats)
        codes = [np.array(codes, fmt.code_dtype) for codes, fmt in zip((a, w), formats, strict=True)]
        psum, clipped = fold_level.accumulate(datapath, *codes)
        return int(psum), datapath.lsb_exponent, int(clipped)

    def post(self, fmt: Format, case: Case) -> list[int]:
        codes = post_process(
            np.array(case["psum"])[:, None],
            case["lsb_exponent"],
            np.array([float.fromhex(case["bias"])]),
            case["relu"],
            fmt,
            case["round_bits"],
        )
        return codes[:, 0].tolist()

    def schedule(self, case: Case) -> tuple[list[list[int]], list[int], int]:
        matrix = MatrixShape(groups=1, pixels=case["pixels"], channels=case["channels"], reduction=case["K"])
        plan = plan_folds(matrix, array_of(case), case["dataflow"])
        folds = [[int(r), int(c), plan.stream_length] for r, c in zip(plan.rows, plan.cols, strict=True)]
        return folds, plan.stream_starts.tolist(), plan.compute_cycles


class RegisterLevel(FoldLevel):
    """The registers of a 3 × 2 array, a weight-stationary one: the K slices re-enter at the top."""

    dataflow = "ws"

    def accumulate(self, pe: PE, formats: tuple[Format, Format], a: list[int], w: list[int]) -> tuple[int, int, int]:
        layer = Layer(name="vector", kind="fc", in_channels=len(a), out_channels=1)
        codes = [np.array([codes], fmt.code_dtype) for codes, fmt in zip((a, w), formats, strict=True)]
        datapath = pe.datapath(*formats)
        run = register_level.run_layer(LayerJob(layer, datapath, PEArray(rows=3, cols=2), self.dataflow, *codes))
        return int(run.psum[0, 0]), datapath.lsb_exponent, run.clipped

    def schedule(self, case: Case) -> tuple[list[list[int]], list[int], int]:
        """Read starts and cycles off the machine's clock."""
        layer = Layer(name="shape", in_channels=case["K"], out_channels=case["channels"], in_size=(case["pixels"], 1))
        formats = [FORMATS.validate_python({"kind": "linear", "bits": 2, "fsr": 0, "signed": True})] * 2
        pe = PES.validate_python({"kind": "multiply", "acc_bits": 20})
        ifmap = np.ones((1, case["K"], case["pixels"], 1), np.int8)
        filters = np.ones((case["channels"], case["K"], 1, 1), np.int8)
        job = LayerJob(layer, pe.datapath(*formats), array_of(case), case["dataflow"], ifmap, filters)
        traced = register_level.trace_layer(job, threads=1)
        folds = fold_list(layer.matrix(1), job)[:, [ROWS, COLS]].tolist()
        length = {"os": case["K"], "ws": case["pixels"], "is": case["channels"]}[case["dataflow"]]
        return [[*fold, length] for fold in folds], traced.stream_starts.tolist(), traced.run.array_cycles


class OutputStationaryRegisterLevel(RegisterLevel):
    """The same, with the sum standing in one PE."""

    dataflow = "os"


LEVELS = [Oracle(), FoldLevel(), RegisterLevel(), OutputStationaryRegisterLevel()]
every_level = pytest.mark.parametrize("level", LEVELS, ids=lambda level: type(level).__name__)


def array_of(case: Case) -> PEArray:
    """Return the array of a timing vector."""
    return PEArray(
        rows=case["array_rows"],
        cols=case["array_cols"],
        overlap=case["overlap"],
        pipeline_stages=case["pipeline_stages"],
    )


def read(folder: Path, name: str) -> list[Case]:
    """Return the cases of one file."""
    cases: list[Case] = json.loads((folder / "conformance" / f"{name}.json").read_text())
    assert len(cases) >= 50, f"{name}: suspiciously few vectors"
    return cases


def pe_of(case: Case) -> PE:
    """Return the PE of a vector: its file lists keys that the kind does not have."""
    has = {"multiply": {"overflow", "drop_bits"}, "logsum": {"fraction_bits"}}
    keys = has.get(case["kind"], {"overflow", "drop_bits", "root", "constant_bits"}) | {"kind", "acc_bits"}
    return PES.validate_python({key: case[key] for key in keys})


@every_level
def test_encode(level: Oracle, shared_data: Path) -> None:
    wrong = []
    for case in read(shared_data, "encode"):
        values = [float.fromhex(text) for text in case["x"]]
        codes = level.encode(FORMATS.validate_python(case["format"]), values)
        wrong += [
            (case["format"], *item) for item in zip(values, codes, case["code"], strict=True) if item[1] != item[2]
        ]
    assert wrong == []


@every_level
def test_hardware_encode(level: Oracle, shared_data: Path) -> None:
    wrong = []
    for case in read(shared_data, "hardware_encode"):
        fmt = FORMATS.validate_python(case["format"])
        codes = level.hardware_encode(fmt, case["acc"], case["lsb_exponent"], case["round_bits"])
        wrong += [(fmt, *item) for item in zip(case["acc"], codes, case["code"], strict=True) if item[1] != item[2]]
    assert wrong == []


@every_level
def test_accumulate(level: Oracle, shared_data: Path) -> None:
    wrong = []
    for number, case in enumerate(read(shared_data, "accumulate")):
        formats = (FORMATS.validate_python(case["activation"]), FORMATS.validate_python(case["weight"]))
        got = level.accumulate(pe_of(case["pe"]), formats, case["activation_codes"], case["weight_codes"])
        expected = (case["psum"], case["lsb_exponent"], case["clipped"])
        if got != expected:
            wrong.append((number, case["pe"], got, expected))
    assert wrong == []


@every_level
def test_post_processing(level: Oracle, shared_data: Path) -> None:
    wrong = []
    for case in read(shared_data, "post"):
        fmt = FORMATS.validate_python(case["format"])
        codes = level.post(fmt, case)
        wrong += [(fmt, *item) for item in zip(case["psum"], codes, case["code"], strict=True) if item[1] != item[2]]
    assert wrong == []


@every_level
def test_schedule(level: Oracle, shared_data: Path) -> None:
    wrong = []
    for number, case in enumerate(read(shared_data, "cycles")):
        expected = (case["folds"], case["stream_starts"], case["cycles_without_post_stages"])
        got = level.schedule(case)
        if got != expected:
            wrong.append((number, got, expected))
    assert wrong == []
