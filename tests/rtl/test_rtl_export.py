"""The exported folder stands alone: make passes in it, and fails where a word is wrong."""

import subprocess

import pytest
import rtl_cases

from logaccel.engine import fold_level
from logaccel.engine.post import post_process
from logaccel.errors import ConfigError
from logaccel.rtl import bench
from logaccel.rtl.export import export_layer
from logaccel.rtl.images import build_image

pytestmark = [pytest.mark.rtl, pytest.mark.usefixtures("icarus")]


@pytest.fixture
def exported(tmp_path):
    """A small layer with what the fold-level engine says about it."""
    case = rtl_cases.random_case(3)
    image = build_image(case.job, case.bias)
    parameters = bench.job_parameters(
        case.job, case.arch, image, case.output, case.bias, case.layer.relu, increment=case.increment
    )
    run = fold_level.run_layer(case.job)
    lsb = case.job.datapath.lsb_exponent
    codes = post_process(run.psum, lsb, case.bias * 2.0**lsb, case.layer.relu, case.output, case.arch.post.round_bits)
    expected = bench.RtlRun(run.psum, codes, run.clipped, run.array_cycles + case.arch.post.stages)
    folder = tmp_path / "rtl"
    export_layer(folder, image, parameters, expected, case.output)
    with pytest.raises(ConfigError, match="cannot be made: File exists"):
        export_layer(folder, image, parameters, expected, case.output)
    return folder


def make(folder, target):
    return subprocess.run(["make", target], cwd=folder, capture_output=True, text=True, check=False)


def test_icarus_passes_out_of_the_box_and_a_wrong_word_fails(exported):
    done = make(exported, "icarus")
    assert done.returncode == 0 and "PASSED" in done.stdout, done.stdout + done.stderr
    expected = exported / "expected.txt"
    cycles = next(line for line in expected.read_text().splitlines() if line.startswith("cycles"))
    expected.write_text(expected.read_text().replace(cycles, cycles + "0"))
    done = make(exported, "check")
    assert done.returncode != 0 and cycles + "0" in done.stdout


def test_verilator_passes_out_of_the_box(exported, verilator):
    done = make(exported, "verilator")
    assert done.returncode == 0 and "PASSED" in done.stdout, done.stdout + done.stderr
