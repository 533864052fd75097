"""Does the suite notice? One token of a kernel changed in a copy of the package, and a few tests must fail there.

The copies run uncompiled (NUMBA_DISABLE_JIT): a mutant would otherwise compile for longer than it runs.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROBE = "probe_levels.py"
PROBE_TEXT = """
from equality_cases import CIRCUITS, Case, cases
from hypothesis import Phase, given, settings
from test_equality import check_case

@settings(max_examples=100, phases=[Phase.generate])
@given(cases([circuit for circuit in CIRCUITS if circuit[0] in "KINDS"]))
def test_probe(case: Case) -> None:
    check_case(case)
"""
PAPER, VECTORS, ROWS = "test_paper.py", "test_vectors.py", "test_rows.py"
DIRECT = "probe_direct.py"
DIRECT_TEXT = """
from test_direct import (
    test_equals_plain_integers, test_low_bits_are_cut_off_not_rounded, test_sums_beyond_24_bits_do_not_round,
)
"""
MUTANTS = [
    ("engine/kernels_tile.py", "min(max(exact, low), high)", "min(max(exact, low), high - 1)", "multiply"),
    ("engine/kernels_tile.py", "rounding if product < unit(0)", "rounding if product > unit(0)", "decode"),
    ("engine/kernels_tile.py", "shift_left(words[b2 + m], a2)", "shift_left(words[b2 + m], a3)", "shift"),
    ("engine/kernels_tile.py", "words[b1 + m] * a1", "words[b1 + m] * a0", "multiply"),
    ("engine/kernels_logs.py", "old if old > product else product", "old if old < product else product", "logsum"),
    ("engine/kernels_sums.py", "found += np.uint64(plane >= 0)", "found += np.uint64(plane > 0)", "shift"),
    ("engine/kernels_sums.py", "words[k] & masks[k]", "words[k] | masks[k]", "shift"),
    ("engine/kernels_sums.py", "place + plane * spread", "place", "decode"),
    ("engine/factors.py", "1 if code > 0 else -1", "1", "shift"),
    ("engine/factors.py", "plane.sign * np.sign(codes)", "np.sign(codes)", "decode"),
    ("engine/factors.py", "live & (fractions == plane.lane)", "live", "mirrored shift"),
    ("engine/lowering.py", "inside = 0 <= h", "inside = 0 < h", "multiply"),
    ("engine/lowering.py", "w0 + q * stride[1]", "w0 + q", "multiply"),
    ("engine/combine.py", "linear[0] - linear[1]", "linear[0] + linear[1]", "logsum"),
    ("engine/bounds.py", "lane = reduction * max(-low, high)", "lane = max(-low, high)", "multiply"),
    ("engine/blas.py", "else (twin, -1)", "else (twin, 1)", "shift, decode"),
    ("engine/machine_passes.py", "max(start, term)", "min(start, term)", "logsum"),
    ("engine/machine_passes.py", "& span) + least", "& span) - least", "multiply"),
    ("engine/machine_products.py", "narrow(-b) if a < zero", "narrow(-b) if a > zero", "shift"),
    ("engine/machine_control.py", "age >= rows + 2", "age >= rows + 1", "multiply"),
    (
        "engine/machine_edges.py",
        "first_flag, last_flag = (SWAP if overlap else 0, 0)",
        "first_flag, last_flag = (0, 0)",
        "multiply",
    ),
    ("engine/machine_edges.py", "folds[fold, at.SLICE] + 1", "folds[fold, at.SLICE] + 2", "multiply"),
    ("engine/machine_pe.py", "(activation, weight) if kind", "(weight, activation) if kind", "shift"),
    ("engine/machine_dataflows.py", "counts[at.PSUM_MOVES] += passed", "counts[at.PSUM_MOVES] += macs", "multiply"),
    ("engine/blas.py", "np.int64(codes[i]) - floor", "np.int64(codes[i])", "mirrored shift"),
    ("schedule/folds.py", "plan.array.rows + 2", "plan.array.rows + 1", "multiply"),
    ("schedule/activity.py", "sum(r * (r + 1) // 2 * n", "sum(r * (r - 1) // 2 * n", "multiply"),
    ("formats/hardware.py", "fraction >= thresholds[k]", "fraction > thresholds[k]", PAPER),
    ("formats/hardware.py", "(magnitude >> (shift - 1)) + 1", "(magnitude >> (shift - 1)) + 0", "multiply"),
    ("formats/encode.py", "fraction >= threshold", "fraction > threshold", PAPER),
    ("formats/encode.py", "magnitude - whole >= 0.5", "magnitude - whole > 0.5", PAPER),
    ("engine/kernels_lane.py", "unit(~shift_right(magnitude, unit(bits + unit(1))))", "unit(-1)", DIRECT),
    ("engine/kernels_lane.py", "if magnitude > zero else zero", "if magnitude >= zero else zero", DIRECT),
    ("engine/kernels_lane.py", "abs(value) << lane.left) + half", "abs(value) << lane.left)", DIRECT),
    ("engine/kernels_lane.py", "unit(raw + unit(carry))", "unit(raw - unit(carry))", DIRECT),
    ("engine/vectors.py", "(own if first > 0 else own.dtype.type(0))", "own.dtype.type(0)", DIRECT),
    ("engine/vectors.py", "x[at[k] + j :", "x[at[0] + j :", DIRECT),
    ("engine/vectors.py", "(own < 0) & (signed > 0)", "own < 0", VECTORS),
    ("engine/vectors.py", "steps % 2**shift == 0", "steps % 2**shift >= 0", VECTORS),
    ("engine/kernels_rows.py", "x[place] = 0", "x[place] = 1", ROWS),
    (
        "engine/kernels_rows.py",
        "base + found[s, 4]:\n                narrow",
        "base + size + 99:\n                narrow",
        DIRECT,
    ),
    ("engine/kernels_rows.py", "shift_left(totals[target + i], shift) + word", "totals[target + i] + word", DIRECT),
    ("engine/direct.py", "_spans(reach, FLOAT32_EXACT)", "_spans(reach, 2**40)", DIRECT),
    ("engine/uses.py", "met[:, rows, columns] +=", "met[:, rows, columns] =", DIRECT),
    ("formats/thresholds.py", "root * root != value", "root * root == value", PAPER),
]

pytestmark = pytest.mark.slow


@pytest.fixture
def workshop(tmp_path: Path) -> Path:
    """Return a copy of the package with the tests that probe it."""
    no_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "logaccel", tmp_path / "logaccel", ignore=no_caches)
    shutil.copytree(ROOT / "arch_configs", tmp_path / "arch_configs")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests").mkdir()
    for name in (
        "conftest.py",
        "oracle.py",
        "equality_cases.py",
        "test_equality.py",
        "test_direct.py",
        PAPER,
        VECTORS,
        ROWS,
    ):
        shutil.copy(ROOT / "tests" / name, tmp_path / "tests")
    (tmp_path / "tests" / DIRECT).write_text(DIRECT_TEXT, encoding="utf-8")
    return tmp_path


def run_tests(workshop: Path, test: str) -> subprocess.CompletedProcess[str]:
    """Run a test file, or the comparison of all levels for the PE kinds named, against the package of the copy."""
    file = workshop / "tests" / test
    if not file.is_file():
        file = workshop / "tests" / PROBE
        file.write_text(PROBE_TEXT.replace('"KINDS"', repr(test.split(", "))), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(workshop), "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", f"tests/{file.name}"]
    return subprocess.run(command, cwd=workshop, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("test", [PAPER, DIRECT, VECTORS, ROWS, "multiply, shift, mirrored shift", "decode, logsum"])
def test_the_unchanged_copy_passes(workshop: Path, test: str) -> None:
    done = run_tests(workshop, test)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("file", "old", "new", "test"), MUTANTS, ids=[f"{m[0]}:{m[2]}" for m in MUTANTS])
def test_a_mutant_fails(workshop: Path, file: str, old: str, new: str, test: str) -> None:
    path = workshop / "logaccel" / file
    source = path.read_text(encoding="utf-8")
    assert old in source, "the kernel was rewritten: choose a new place for this mutant"
    path.write_text(source.replace(old, new), encoding="utf-8")
    done = run_tests(workshop, test)
    assert done.returncode == 1 and " failed" in done.stdout, f"survived:\n{done.stdout}\n{done.stderr}"
