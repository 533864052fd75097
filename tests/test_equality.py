"""Fold level (both backends) = register level = oracle, on every field, over random layers and machines.

The examples are derandomized (conftest.py); every run proves by counting that each class of case occurred.
"""

from collections import Counter
from unittest import mock

import numba
import oracle
import pytest
from equality_cases import CLASSES, Case, cases, classes_of
from hypothesis import given, settings

from logaccel.engine import fold_level, register_level
from logaccel.engine.job import LayerJob, LayerRun
from logaccel.engine.post import post_process


def check_case(case: Case) -> tuple[LayerRun, LayerRun]:
    """Run a case on every level and compare; return what kernels and blas said."""
    job, path = case.job, case.job.datapath
    numba.set_num_threads(min(case.threads, numba.config.NUMBA_NUM_THREADS))
    expected = oracle.run_layer(job.layer, case.pe, path.activation, path.weight, job.ifmap_codes, job.filter_codes)
    runs = {
        "kernel": fold_level.run_layer(job, backend="kernel"),
        "packed": _run_packed(job),
        "blas": fold_level.run_layer(job, backend="blas"),
        "register": register_level.run_layer(job),
    }
    shape = job.layer.matrix(job.batch)
    array = (job.array.rows, job.array.cols)
    sizes = (shape.pixels, shape.channels, shape.reduction)
    stages, overlap = job.array.pipeline_stages, job.array.overlap
    timing = oracle.time_layer(job.dataflow, array, stages, overlap, sizes, shape.groups)
    for name, run in runs.items():
        assert run.psum.tolist() == expected.psum, name
        assert run.clipped == expected.clipped, name
        assert run.array_cycles == timing.cycles, name
        assert (run.activity.macs, run.activity.live_products) == (expected.macs, expected.live), name
        assert run.activity == runs["register"].activity, name
    traced = register_level.trace_layer(job, 2)
    assert traced.stream_starts.tolist() == timing.stream_starts
    assert traced.run.psum.tolist() == expected.psum
    check_ofmap(case, runs["kernel"], expected.psum)
    return runs["kernel"], runs["blas"]


def _run_packed(job: LayerJob) -> LayerRun:
    """Run the kernels for large layers: small ones would sum along k."""
    with mock.patch.object(fold_level, "FEW", 0):
        return fold_level.run_layer(job)


def check_ofmap(case: Case, run: LayerRun, psum: list[list[int]]) -> None:
    """Compare the codes after bias, ReLU and encoder."""
    lsb = oracle.Accumulation(case.pe, case.job.datapath.activation, case.job.datapath.weight).lsb_exponent
    relu = case.job.layer.relu
    codes = post_process(run.psum, case.job.datapath.lsb_exponent, case.bias, relu, case.output, case.round_bits)
    assert codes.tolist() == [
        [
            oracle.post_process(word, lsb, float(bias), relu, case.output, case.round_bits)
            for word, bias in zip(row, case.bias, strict=True)
        ]
        for row in psum
    ]


def check_examples(count: int) -> None:
    """Check that many cases, then that every class of case was among them."""
    seen: Counter[str] = Counter()

    @settings(max_examples=count)
    @given(cases())
    def levels_agree(case: Case) -> None:
        run, blas = check_case(case)
        seen.update(classes_of(case, run.clipped, blas.backend))

    try:
        levels_agree()
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    assert set(seen) == CLASSES, f"classes that never occurred in {count} examples, or have no name"


def test_levels_agree() -> None:
    check_examples(300)


@pytest.mark.slow
def test_levels_agree_on_many_more() -> None:
    check_examples(4000)
