"""The Verilog under Verilator: free of warnings, and the same results as under Icarus."""

import subprocess

import numpy as np
import pytest
import rtl_cases

from logaccel.rtl import bench
from logaccel.rtl.images import build_image

pytestmark = [pytest.mark.rtl, pytest.mark.usefixtures("verilator")]


@pytest.mark.parametrize("chunk", range(4))
def test_the_machine_is_free_of_lint_warnings(chunk, tmp_path):
    """verilator --lint-only -Wall over random architectures of every kind."""
    for seed in range(chunk * 10, chunk * 10 + 10):
        case = rtl_cases.random_case(seed)
        image = build_image(case.job, case.bias)
        parameters = bench.job_parameters(
            case.job, case.arch, image, case.output, case.bias, case.layer.relu, increment=case.increment
        )
        bench.write_inputs(tmp_path, image, parameters)
        sources = [str(path) for path in sorted(bench.verilog_folder().glob("*.v")) if path.name != "bench.v"]
        command = ["verilator", "--lint-only", "-Wall", "--top-module", "accelerator", f"-I{tmp_path}", *sources]
        outcome = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (outcome.returncode, outcome.stderr) == (0, ""), f"seed {seed}"


@pytest.mark.parametrize("seed", [1, 3])
def test_verilator_and_icarus_agree(seed, icarus):
    """Two builds: a case is not a build, Icarus runs the many."""
    case = rtl_cases.random_case(seed)
    one, other = rtl_cases.check(case, "verilator"), rtl_cases.run(case, "icarus")
    assert np.array_equal(one.psum, other.psum) and np.array_equal(one.ofmap_codes, other.ofmap_codes)
    assert (one.clipped, one.total_cycles) == (other.clipped, other.total_cycles)
