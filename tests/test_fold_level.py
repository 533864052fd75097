"""The fold-level engine by itself: backends agree, order counts, wide words fit, kernels also run uncompiled."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import oracle
import pytest

from logaccel.arch import PEArray
from logaccel.engine import fold_level
from logaccel.engine.bounds import Bound
from logaccel.engine.fold_level import accumulate, run_layer
from logaccel.engine.job import LayerJob
from logaccel.formats import Format, LinearFormat, LogFormat
from logaccel.pe import PE, DecodePE, LogsumPE, MultiplyPE, ShiftPE
from logaccel.workload import Layer

UNSIGNED, SIGNED = LinearFormat(bits=8, fsr=0, signed=False), LinearFormat(bits=8, fsr=0, signed=True)
LOG, ROOT = LogFormat(bits=4, fsr=1, signed=False), LogFormat(bits=5, fsr=0, signed=True, steps_per_octave=2)
MACHINES: dict[str, tuple[PE, Format, Format]] = {
    "multiply": (MultiplyPE(acc_bits=40), UNSIGNED, SIGNED),
    "shift": (ShiftPE(acc_bits=40), LOG, SIGNED),
    "shift by weight": (ShiftPE(acc_bits=50), UNSIGNED, ROOT),
    "decode": (DecodePE(acc_bits=50, root="bins"), LOG, ROOT),
}
CONV = {"kernel": 3, "padding": 1}
SHAPES = {
    "plain": Layer(name="plain", in_channels=3, out_channels=5, in_size=(7, 6), **CONV),
    "strided": Layer(name="strided", in_channels=2, out_channels=3, in_size=(9, 9), stride=(2, 3), **CONV),
    "dilated": Layer(name="dilated", in_channels=2, out_channels=3, in_size=(8, 8), dilation=2, **CONV),
    "lopsided": Layer(name="lopsided", in_channels=2, out_channels=3, in_size=5, kernel=(2, 3), padding=(0, 2, 1, 0)),
    "grouped": Layer(name="grouped", in_channels=4, out_channels=6, in_size=6, groups=2, **CONV),
    "depthwise": Layer(name="depthwise", in_channels=4, out_channels=4, in_size=8, groups=4, **CONV),
    "fc": Layer(name="fc", kind="fc", in_channels=40, out_channels=7),
}


def job_of(layer: Layer, machine: tuple[PE, Format, Format], batch: int = 2) -> LayerJob:
    pe, activation, weight = machine
    generator = np.random.default_rng(5)

    def drawn(fmt: Format, shape: tuple[int, ...]) -> np.ndarray:
        return generator.integers(fmt.min_code, fmt.max_code + 1, shape).astype(fmt.code_dtype)

    ifmap, filters = drawn(activation, layer.ifmap_shape(batch)), drawn(weight, layer.filter_shape)
    return LayerJob(layer, pe.datapath(activation, weight), PEArray(rows=4, cols=4), "os", ifmap, filters)


@pytest.mark.parametrize("few", [0, 1000], ids=["packed words", "along k"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("machine", MACHINES)
def test_exact_sums_agree_with_blas_and_oracle(
    machine: str, shape: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold_level, "FEW", few)
    pe, activation, weight = MACHINES[machine]
    job = job_of(SHAPES[shape], MACHINES[machine])
    exact, blas = run_layer(job), run_layer(job, "blas")
    expected = oracle.run_layer(job.layer, pe, activation, weight, job.ifmap_codes, job.filter_codes)
    assert (exact.backend, blas.backend.split()[0]) == ("kernel", "blas")
    assert exact.psum.tolist() == blas.psum.tolist() == expected.psum
    assert exact.clipped == blas.clipped == 0
    assert exact.activity == blas.activity and exact.activity.live_products == expected.live


@pytest.mark.parametrize("machine", MACHINES)
def test_sums_in_order_agree_with_exact_ones_where_nothing_clips(machine: str) -> None:
    job = job_of(SHAPES["fc"], MACHINES[machine], batch=1)
    psum = run_layer(job).psum[0]
    for m, weights in enumerate(job.filter_codes):
        assert accumulate(job.datapath, job.ifmap_codes[0], weights) == (psum[m], 0)


LARGE = Layer(name="large", in_channels=34, out_channels=130, in_size=(28, 26), kernel=3, padding=1)
LARGE_MACHINES: dict[str, tuple[PE, Format, Format]] = {
    **MACHINES,
    "multiply, sums move to 64 bits": (MultiplyPE(acc_bits=50), LinearFormat(bits=11, fsr=0, signed=False),
                                       LinearFormat(bits=12, fsr=0, signed=True)),
    "shift in 64 bits": (ShiftPE(acc_bits=55), ROOT, LinearFormat(bits=16, fsr=0, signed=True)),
    "shift saturates": (ShiftPE(acc_bits=18), LOG, SIGNED),
    "multiply wraps": (MultiplyPE(acc_bits=17, overflow="wrap"), UNSIGNED, SIGNED),
    "decode drops bits": (DecodePE(acc_bits=12, drop_bits=5, root="bins"), LOG, ROOT),
    "logsum": (LogsumPE(acc_bits=20, fraction_bits=12), LOG, ROOT),
}  # fmt: skip


@pytest.mark.parametrize("machine", LARGE_MACHINES)
def test_layers_of_many_tiles_blocks_and_chunks(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tiles of pixels and channels, several blocks of k, ragged each; a sample against the oracle."""
    pe, activation, weight = LARGE_MACHINES[machine]
    job = job_of(LARGE, LARGE_MACHINES[machine], batch=1)
    run = run_layer(job)
    others = [run_layer(job, "blas")]
    monkeypatch.setattr(fold_level, "PACKED_WORDS", 1)
    monkeypatch.setattr(fold_level._Sums, "chunk_words", 1)
    others.append(run_layer(job))
    monkeypatch.setattr(fold_level, "FEW", 1000)
    others.append(run_layer(job))
    for other in others:
        assert (other.psum == run.psum).all() and other.clipped == run.clipped
        assert other.activity == run.activity
    padded = np.pad(job.ifmap_codes[0], ((0, 0), (1, 1), (1, 1)))
    for pixel, m in [(0, 0), (14, 63), (90, 64), (128, 127), (650, 128), (727, 129)]:
        p, q = divmod(pixel, 26)
        codes = padded[:, p : p + 3, q : q + 3].reshape(-1)
        unit = oracle.accumulate(pe, activation, weight, codes.tolist(), job.filter_codes[m].reshape(-1).tolist())
        assert run.psum[pixel, m] == unit.drain(), (pixel, m)


@pytest.mark.parametrize("machine", ["multiply", "shift", "shift by weight", "decode"])
def test_a_proof_from_the_data_is_never_wrong(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the accumulator's width, the sums equal those taken in order, each one limited."""
    pe, activation, weight = MACHINES[machine]
    job = job_of(SHAPES["plain"], (pe, activation, weight))
    reduction = job.layer.matrix(job.batch).reduction
    needed = job.datapath.exact_acc_bits(reduction)
    proven, clipped = set(), 0
    for acc_bits in range(needed, needed - 9, -1):
        path = pe.model_copy(update={"acc_bits": acc_bits}).datapath(activation, weight)
        narrow = dataclasses.replace(job, datapath=path)
        run = run_layer(narrow)
        proven.add((run.backend, acc_bits < needed))
        with monkeypatch.context() as ordered:
            ordered.setattr(fold_level, "_bound", lambda *_: Bound(2**70, 2**70))
            expected = run_layer(narrow)
        assert expected.backend == "kernel ordered"
        assert (run.psum == expected.psum).all() and run.clipped == expected.clipped
        clipped += run.clipped
    assert {("kernel", False), ("kernel", True), ("kernel ordered", True)} <= proven and clipped > 0


def test_saturation_depends_on_the_order() -> None:
    path = MultiplyPE(acc_bits=8).datapath(SIGNED, SIGNED)
    assert accumulate(path, [100, 100, -100], [1, 1, 1]) == (27, 1)
    assert accumulate(path, [100, -100, 100], [1, 1, 1]) == (100, 0)


def test_wrapping_keeps_the_sum_modulo_the_width() -> None:
    path = MultiplyPE(acc_bits=8, overflow="wrap").datapath(SIGNED, SIGNED)
    assert accumulate(path, [100, 100, -100], [1, 1, 1]) == (100, 2)


def test_log_domain_sums_depend_on_the_order() -> None:
    path = LogsumPE(acc_bits=16, fraction_bits=2).datapath(LOG, LogFormat(bits=5, fsr=0, signed=True))
    # 8 is large enough to hide each 1 that follows (2^2 >> 3 = 0); four ones first are not hidden.
    late, _ = accumulate(path, [4, 1, 1, 1, 1], [1, 1, 1, 1, 1])
    early, _ = accumulate(path, [1, 1, 1, 1, 4], [1, 1, 1, 1, 1])
    assert late == 8 << 2
    assert early > late


@pytest.mark.parametrize("backend", ["kernel", "blas"])
@pytest.mark.parametrize("acc_bits", [60, 34])
def test_unsigned_words_of_32_bits_are_read_whole(acc_bits: int, backend: str) -> None:
    """Their codes do not fit an int32; 60 bits are summed in any order, 34 in the machine's."""
    wide = LinearFormat(bits=32, fsr=0, signed=False)
    layer = Layer(name="fc", kind="fc", in_channels=2, out_channels=1)
    path = MultiplyPE(acc_bits=acc_bits).datapath(wide, SIGNED)
    ifmap, filters = np.array([[2**32 - 1, 5]]), np.array([[2, -2]], np.int8)
    run = run_layer(LayerJob(layer, path, PEArray(rows=2, cols=2), "os", ifmap, filters), backend)
    assert (run.backend == "kernel ordered") == (acc_bits == 34)
    assert run.psum.tolist() == [[2 * (2**32 - 1) - 10]]
    assert accumulate(path, ifmap[0], filters[0]) == (run.psum[0, 0], run.clipped)


SMALL = """
import numpy as np
from logaccel.arch import PEArray
from logaccel.engine.fold_level import accumulate, run_layer
from logaccel.engine.job import LayerJob
from logaccel.formats import LinearFormat, LogFormat
from logaccel.pe import DecodePE, LogsumPE, MultiplyPE, ShiftPE
from logaccel.workload import Layer
linear, log = LinearFormat(bits=6, fsr=0, signed=True), LogFormat(bits=4, fsr=0, signed=True)
layer = Layer(name="conv", in_channels=2, out_channels=2, in_size=4, kernel=2, groups=2)
machines = [(MultiplyPE(acc_bits=bits), linear, linear) for bits in (24, 8)]
machines += [(ShiftPE(acc_bits=bits, overflow="wrap"), *pair) for bits in (24, 9)
             for pair in ((log, linear), (linear, log))]
machines += [(DecodePE(acc_bits=bits), log, log) for bits in (24, 9)] + [(LogsumPE(acc_bits=18), log, log)]
for pe, a, w in machines:
    draw = np.random.default_rng(1).integers
    x = draw(a.min_code, a.max_code + 1, layer.ifmap_shape(1)).astype(a.code_dtype)
    f = draw(w.min_code, w.max_code + 1, layer.filter_shape).astype(w.code_dtype)
    run = run_layer(LayerJob(layer, pe.datapath(a, w), PEArray(rows=2, cols=2), "ws", x, f))
    print(pe.kind, run.backend, run.psum.tolist(), run.clipped, run.activity)
"""


def run_small(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", SMALL],
        env=os.environ | {"LOGACCEL_CACHE_DIR": str(folder)} | environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip


@pytest.mark.slow
def test_kernels_run_uncompiled_and_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    compiled = run_small(tmp_path)
    assert compiled.stdout.count("kernel ordered") == 5
    assert run_small(tmp_path, NUMBA_DISABLE_JIT="1").stdout == compiled.stdout
    second = run_small(tmp_path, NUMBA_DEBUG_CACHE="1").stdout
    assert "data loaded from" in second
    assert "data saved to" not in second
