"""Kept rows: an interrupted comparison goes on where it stopped, and nothing stale or foreign is taken."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import logaccel
from logaccel import comparison
from logaccel.trace import Trace

NAMES = ("multiply_8b_16x16", "decode_4b_16x16")


@pytest.fixture(scope="module")
def trace() -> Trace:
    layers = [logaccel.Layer(name=f"fc{n}", kind="fc", in_channels=12, out_channels=12) for n in range(2)]
    return logaccel.synthesize_trace(logaccel.Network(name="two", layers=tuple(layers)), seed=4, batch=3)


def run(trace: Trace, folder: Path | None, *settings: str) -> tuple[comparison.Comparison, int]:
    """Return the comparison and how many simulations it took."""
    archs = [logaccel.load_arch(name).replace(**dict(s.split("=") for s in settings)) for name in NAMES]
    with mock.patch.object(comparison, "simulate", wraps=comparison.simulate) as simulate:
        return logaccel.compare(trace, archs, keep=folder), simulate.call_count


def test_a_second_run_finds_every_row_and_says_the_same(trace: Trace, tmp_path: Path) -> None:
    plain, _ = run(trace, None)
    first, count = run(trace, tmp_path / "rows")
    again, none = run(trace, tmp_path / "rows")
    assert (count, none) == (2 * len(plain.modes), 0)
    assert first.to_dict() == again.to_dict() == plain.to_dict()
    assert first.summary() == again.summary() == plain.summary()


def test_an_interrupted_comparison_goes_on(trace: Trace, tmp_path: Path) -> None:
    real, calls = comparison.simulate, []

    def interrupted(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)  # type: ignore[arg-type]

    archs = [logaccel.load_arch(name) for name in NAMES]
    with mock.patch.object(comparison, "simulate", interrupted), pytest.raises(KeyboardInterrupt):
        logaccel.compare(trace, archs, keep=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    both, count = run(trace, tmp_path)
    assert count == 2 * len(both.modes) - 1
    assert both.to_dict() == run(trace, None)[0].to_dict()


def test_what_differs_is_run_again(trace: Trace, tmp_path: Path) -> None:
    run(trace, tmp_path)
    first = trace.layers[0]
    changed = np.array(first.filter)
    changed[0, 0] += 1.0
    other = dataclasses.replace(trace, layers=(dataclasses.replace(first, filter=changed), *trace.layers[1:]))
    assert run(other, tmp_path)[1] > 0
    assert run(trace, tmp_path, "dataflow=ws")[1] > 0
    with mock.patch("logaccel.kept.sources_digest", return_value="another version"):
        assert run(trace, tmp_path)[1] > 0
    assert run(trace, tmp_path)[1] == 0


def test_foreign_files_and_folders_are_refused(trace: Trace, tmp_path: Path) -> None:
    run(trace, tmp_path)
    row = next(tmp_path.glob("decode*recorded*"))
    row.write_text("{}")
    with pytest.raises(logaccel.ConfigError, match="not a finished row of a comparison; delete it to run it again"):
        run(trace, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(logaccel.ConfigError, match="file: cannot keep rows there: File exists"):
        run(trace, tmp_path / "file")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    command = [sys.executable, "-m", "logaccel", "compare", "--keep", str(folder), "--engine", "register"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 200
        while not list(folder.glob("*.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, said = process.communicate(timeout=60)
    assert process.returncode == 130 and output == ""
    assert said.strip() == f"interrupted; what is finished is in {folder}, the same command goes on from there"
    assert list(folder.iterdir()) and not list(folder.glob(".*"))
