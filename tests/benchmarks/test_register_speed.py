"""How many PE-updates a second the register-level engine makes: every register of every PE, every cycle."""

import sys
import time
from pathlib import Path

import pytest

from logaccel.arch import Dataflow, PEArray
from logaccel.engine.job import LayerJob
from logaccel.engine.register_level import trace_layer
from logaccel.formats import LinearWord, LogWord
from logaccel.jit import thread_count
from logaccel.pe import PE, LogsumPE, ShiftPE
from logaccel.workload import Layer

sys.path.insert(0, str(Path(__file__).parents[1]))
from test_register_level import job_of

ROWS = COLS = 32
LAYER = Layer(name="layer", kind="fc", in_channels=2304, out_channels=64)
PIXELS = 256
MACHINES = {
    "shift": (ShiftPE(acc_bits=20), LogWord(bits=4), LinearWord(bits=8)),
    "logsum": (LogsumPE(acc_bits=24, fraction_bits=16), LogWord(bits=4), LogWord(bits=4)),
}


def updates_per_second(job: LayerJob, threads: int, repeats: int = 5) -> tuple[float, float]:
    """Return the best rate of several runs, memories and all, and the share of PEs in use."""
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        traced = trace_layer(job, threads)
        seconds.append(time.perf_counter() - begun)
    updates = traced.run.array_cycles * ROWS * COLS
    return updates / min(seconds), traced.run.activity.macs / updates


@pytest.mark.slow
@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("dataflow", ["os", "ws"])
@pytest.mark.parametrize("kind", MACHINES)
def test_pe_updates(kind: str, dataflow: Dataflow, overlap: bool) -> None:
    pe: PE
    pe, *words = MACHINES[kind]
    array = PEArray(rows=ROWS, cols=COLS, overlap=overlap)
    job = job_of(pe, tuple(words), LAYER, PIXELS, array, dataflow)
    trace_layer(job, 1)  # compiles
    rates = {threads: updates_per_second(job, threads) for threads in (1, thread_count())}
    for threads, (rate, share) in rates.items():
        print(
            f"{kind} {dataflow} overlap={overlap} threads={threads}: {rate:.2e} PE-updates/s, {share:.0%} of PEs in use"
        )
    assert min(rate for rate, _ in rates.values()) > 1e7  # a kernel that no longer vectorises is far below
