"""Random layers on random machines: the hardware, the oracle and the engines give the same words and cycles."""

import os
from collections import Counter

import pytest
import rtl_cases

from logaccel.engine import fold_level, register_level
from logaccel.schedule.folds import plan_folds

pytestmark = [pytest.mark.rtl, pytest.mark.usefixtures("icarus")]

FIRST_SEED = int(os.environ.get("LOGACCEL_RTL_SEED", "0"))  # another start draws other cases
CHUNKS, CASES = 10, 30


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_layers_equal_the_oracle_in_every_word_and_the_total_cycles(chunk):
    """Icarus; the failing seed is the failing case: rtl_cases.random_case(seed)."""
    seen = Counter()
    for seed in range(FIRST_SEED + chunk * CASES, FIRST_SEED + (chunk + 1) * CASES):
        case = rtl_cases.random_case(seed)
        try:
            got = rtl_cases.check(case)
        except Exception as error:
            error.add_note(f"seed {seed}: {case.arch}")
            raise
        seen.update(features(case, got.clipped))
    assert {"os", "ws", "is", "overlap", "serial", "clipped", "ragged", "slices", "D=0", "D>1"} <= set(seen)


@pytest.mark.parametrize("engine", [fold_level, register_level], ids=["fold", "register"])
def test_random_layers_equal_the_engines(engine):
    """The same cases against the simulator's own engines."""
    for seed in range(FIRST_SEED, FIRST_SEED + CASES):
        rtl_cases.check_engine(rtl_cases.random_case(seed), engine.run_layer)


def features(case, clipped):
    """Name what a case exercises."""
    array = case.arch.array
    plan = plan_folds(case.layer.matrix(case.job.batch), array, case.arch.dataflow)
    yield case.arch.dataflow
    yield "overlap" if array.overlap else "serial"
    yield f"D={array.pipeline_stages}" if array.pipeline_stages < 2 else "D>1"
    yield case.arch.pe.kind
    if clipped:
        yield "clipped"
    if len(set(plan.rows.tolist())) > 1 or len(set(plan.cols.tolist())) > 1:
        yield "ragged"
    if case.arch.dataflow != "os" and plan.slice_of_inner.max() >= 2:
        yield "slices"
