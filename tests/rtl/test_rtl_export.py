"""The exported folder stands alone: make passes in it, and fails where a word is wrong."""

import os
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import rtl_cases

from logaccel import load_arch, load_trace
from logaccel.cosimulation import rtl_layer, verify_layer
from logaccel.errors import ConfigError
from logaccel.rtl.verify import RtlLayer, export

pytestmark = [pytest.mark.rtl, pytest.mark.usefixtures("icarus")]


# What a hardware team would get: everything below runs without this package.
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


@pytest.fixture
def exported(tmp_path):
    """A small layer with what the fold-level engine says about it."""
    case = rtl_cases.random_case(3)
    layer = RtlLayer(case.job, case.arch, case.output, case.bias, case.layer.relu, case.increment)
    folder = tmp_path / "rtl"
    export(layer, folder)
    with pytest.raises(ConfigError, match="cannot be made: File exists"):
        export(layer, folder)
    return folder


def make(folder, target):
    return subprocess.run(["make", target], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def test_icarus_passes_out_of_the_box_and_a_wrong_word_fails(exported):
    done = make(exported, "icarus")
    assert done.returncode == 0 and "PASSED" in done.stdout, done.stdout + done.stderr
    expected = exported / "expected.txt"
    cycles = next(line for line in expected.read_text().splitlines() if line.startswith("cycles"))
    expected.write_text(expected.read_text().replace(cycles, cycles + "0"))
    done = make(exported, "check")
    assert done.returncode != 0 and cycles + "0" in done.stdout


@pytest.mark.parametrize("output", [{"kind": "log", "bits": 4}, {"kind": "linear", "bits": 8}], ids=["log", "linear"])
def test_powers_of_two_by_channel_are_taken_back(output, tmp_path):
    """The last digits layer with uneven channels: lanes that the architecture leaves out, verified and exported."""
    trace, arch = load_trace(), load_arch("shift_4b_ws_16x16").replace(array={"rows": 8, "cols": 4}, output=output)
    uneven = trace.layers[-1].filter * np.exp2(-(np.arange(10) % 6)).astype(np.float32)[:, None]
    trace = replace(trace, layers=(*trace.layers[:-1], replace(trace.layers[-1], filter=uneven)))
    layer = rtl_layer(trace, arch, "fc5", 2, channel_scales=True)
    assert layer.parameters["CHANNEL_SHIFT_BITS"] == 4 and layer.scales.tolist() == [n % 6 for n in range(10)]
    assert str(verify_layer(layer, "icarus", registers=False)).endswith("equal")
    export(layer, tmp_path / "rtl")
    done = make(tmp_path / "rtl", "icarus")
    assert done.returncode == 0 and "PASSED" in done.stdout, done.stdout + done.stderr


def test_verilator_passes_out_of_the_box(exported, verilator):
    done = make(exported, "verilator")
    assert done.returncode == 0 and "PASSED" in done.stdout, done.stdout + done.stderr


def test_a_dump_of_every_register_comes_out_of_the_box(exported):
    done = make(exported, "waveform")
    assert done.returncode == 0 and "PASSED" in done.stdout, done.stdout + done.stderr
    assert "$scope module pe $end" in (exported / "waveform.vcd").read_text()
