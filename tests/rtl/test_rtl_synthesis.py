"""The Verilog is synthesisable: yosys reads it, finds no loop, no conflict and no latch."""

import pytest
import rtl_cases

from logaccel.rtl import bench
from logaccel.rtl.images import build_image

pytestmark = pytest.mark.rtl
libyosys = pytest.importorskip("pyosys.libyosys", reason="pyosys is not installed (pip install pyosys)")


@pytest.mark.parametrize("seed", [0, 1, 5, 11])
def test_yosys_finds_no_problem(seed, tmp_path):
    case = rtl_cases.random_case(seed)
    image = build_image(case.job, case.bias)
    parameters = bench.job_parameters(
        case.job, case.arch, image, case.output, case.bias, case.layer.relu, increment=case.increment
    )
    bench.write_inputs(tmp_path, image, parameters)
    sources = " ".join(str(path) for path in sorted(bench.verilog_folder().glob("*.v")) if path.name != "bench.v")
    log = tmp_path / "yosys.log"
    design = libyosys.Design()
    for command in (
        f"read_verilog -I{tmp_path} {sources}", "hierarchy -check -top accelerator", "proc",
        "check -assert", "select -assert-none t:$dlatch",
    ):  # fmt: skip
        libyosys.run_pass(f"tee -q -a {log} {command}", design)
    assert "Found and reported 0 problems." in log.read_text(encoding="utf-8")
