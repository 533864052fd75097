"""`logaccel rtl` and bad input: a simulator that is missing, too old, or fails; nothing is left behind."""

import os
import stat
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.rtl, pytest.mark.usefixtures("icarus")]

SMALL = ("--layer", "fc5", "--set", "array.rows=3", "--set", "array.cols=4")


def run(folder, *arguments, path=None):
    environment = os.environ | ({} if path is None else {"PATH": str(path)})
    command = [sys.executable, "-m", "logaccel", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def fake(folder, script):
    """Return a folder with an iverilog that is none."""
    folder.mkdir()
    tool = folder / "iverilog"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    return folder


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def test_verify_compares_words_cycles_and_registers(work):
    done = run(work, "rtl", "verify", "decode_4b_16x16", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "registers in every cycle: equal" in done.stdout
    done = run(work, "rtl", "verify", "decode_4b_16x16", *SMALL, "--no-registers", "--images", "2")
    assert "20 ofmap words" in done.stdout and "registers" not in done.stdout
    assert list(work.iterdir()) == []


def test_export_makes_a_folder_once(work):
    done = run(work, "rtl", "export", "logsum_4b_16x16", *SMALL, "-o", "hardware")
    assert done.returncode == 0, done.stderr
    made = subprocess.run(["make"], cwd=work / "hardware", capture_output=True, text=True)
    assert made.returncode == 0 and "PASSED" in made.stdout
    again = run(work, "rtl", "export", "logsum_4b_16x16", *SMALL, "-o", "hardware")
    assert again.returncode == 2 and "hardware: cannot be made: File exists" in again.stderr


def test_a_missing_simulator_says_what_to_install(work, tmp_path):
    (tmp_path / "empty").mkdir()
    done = run(work, "rtl", "verify", "shift_4b_16x16", *SMALL, path=tmp_path / "empty")
    assert (done.returncode, done.stdout) == (2, "")
    assert "iverilog: not found on the path; install iverilog (apt)" in done.stderr
    assert list(work.iterdir()) == []


def test_an_old_simulator_is_refused(work, tmp_path):
    old = fake(tmp_path / "old", "echo 'Icarus Verilog version 10.3 (stable)'")
    done = run(work, "rtl", "verify", "shift_4b_16x16", *SMALL, path=f"{old}:{os.environ['PATH']}")
    assert done.returncode == 2 and "must be version 11.0 or newer, got" in done.stderr
    assert list(work.iterdir()) == []


def test_a_failed_build_leaves_its_log_and_nothing_else(work, tmp_path):
    script = 'case "$*" in -V) echo "Icarus Verilog version 12.0";; *) echo "top.v:1: error: no luck"; exit 3;; esac'
    broken = fake(tmp_path / "broken", script)
    done = run(work, "rtl", "verify", "shift_4b_16x16", *SMALL, path=f"{broken}:{os.environ['PATH']}")
    assert done.returncode == 2 and "failed with exit code 3: top.v:1: error: no luck" in done.stderr
    assert "Traceback" not in done.stderr and "logaccel-rtl.log" in done.stderr
    assert [path.name for path in work.iterdir()] == ["logaccel-rtl.log"]
    assert "no luck" in (work / "logaccel-rtl.log").read_text()


def test_wrong_arguments(work):
    for arguments, message in (
        (("--layer", "conv9"), "conv9: no layer of that name; there are conv1"),
        (("--images", "999"), "images: must be 1…360, got 999"),
        (("--simulator", "vcs"), "simulator: must be auto, icarus or verilator, got 'vcs'"),
        (("--simulator", "verilator", "--registers"), "registers: compared in icarus only"),
    ):
        done = run(work, "rtl", "verify", "shift_4b_16x16", *arguments)
        assert done.returncode == 2 and message in done.stderr, done.stderr
