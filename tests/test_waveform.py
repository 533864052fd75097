"""Value change dumps without a Verilog simulator: the format, windows, and `simulate --waveform`."""

from pathlib import Path

import numpy as np
import pytest
from command_line import refused, run
from test_register_level import LAYERS, LINEAR5, job_of

from logaccel import ConfigError
from logaccel.arch import PEArray
from logaccel.pe import MultiplyPE
from logaccel.report.figure import save_figure
from logaccel.report.waves import plot_waveform
from logaccel.rtl.parameters import datapath_parameters
from logaccel.rtl.vcd import Waveform, first_difference, read_vcd, write_vcd
from logaccel.rtl.waveform import CYCLE_NS, fold_window, record
from logaccel.schedule.folds import plan_folds


def drawn() -> Waveform:
    waveform = Waveform()
    for name, bits in ((("bench", "clock"), 1), (("bench", "dut", "row[0]", "pe", "acc"), 6), (("bench", "late"), 3)):
        waveform.add(name, bits)
    for name, changes in zip(
        waveform.bits,
        (
            [(0, "1"), (5, "0"), (10, "1")],
            [(0, "xxxxxx"), (10, "000101"), (20, "0xx101"), (30, "x00001")],
            [(10, "001")],
        ),
        strict=True,
    ):
        for time, value in changes:
            waveform.set(name, time, value)
    return waveform


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.vcd"
    path.write_text(write_vcd(drawn(), "a comment"))
    back = read_vcd(path)
    assert list(back.bits.items()) == list(drawn().bits.items())
    assert back.changes == drawn().changes
    text = path.read_text()
    assert text.count("$scope") == text.count("$upscope") == 4  # bench, dut, row[0], pe
    assert "$scope begin row[0] $end\n$scope module pe $end\n$var reg 6" in text


def test_a_dump_of_icarus_is_read(tmp_path: Path) -> None:
    """Its own scopes for every call, picoseconds, short words, several names for one code."""
    path = tmp_path / "b.vcd"
    path.write_text(
        "$date today $end $version Icarus Verilog $end $timescale 1ps $end\n"
        "$scope module bench $end $scope begin row[0] $end $var reg 4 ! acc [3:0] $end $upscope $end $upscope $end\n"
        "$scope module bench $end $var reg 1 # clock $end $var wire 1 # copy $end $upscope $end $enddefinitions $end\n"
        "#0\n$dumpvars\nbx !\n0#\n$end\n#5000\n1#\nb101 !\n#10000\n0#\nb101 !\n"
    )
    waveform = read_vcd(path)
    assert waveform.changes[("bench", "row[0]", "acc")] == [(0, "xxxx"), (5, "0101")]
    assert (
        waveform.changes[("bench", "clock")] == waveform.changes[("bench", "copy")] == [(0, "0"), (5, "1"), (10, "0")]
    )


def test_windows_and_differences() -> None:
    waveform = drawn()
    acc, late = ("bench", "dut", "row[0]", "pe", "acc"), ("bench", "late")
    cut = waveform.window(12, 30)
    assert cut.changes[acc] == [(12, "000101"), (20, "0xx101")]
    assert waveform.window(2, 8).changes[late] == [(2, "xxx")]
    assert first_difference(waveform, drawn()) is None
    other = drawn()
    other.set(late, 25, "010")
    assert first_difference(waveform, other) == first_difference(other, waveform) == (25, late)
    other.changes[acc][1] = (9, "000101")
    assert first_difference(waveform, other) == (9, acc)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "no $enddefinitions"),
        ("$var reg 1 ! a $end $enddefinitions $end #0 q!", "'q!': not a change"),
        ("$var real 64 ! a $end $enddefinitions $end", "a: a real number"),
        ("$var reg 1 ! a $end $enddefinitions $end #0 1?", "not a value change dump: '?'"),
    ],
)
def test_no_dump_is_one_clear_message(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.vcd"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_vcd(path)
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_a_fold_lies_in_its_window(dataflow: str) -> None:
    """An accumulator holds what the arithmetic says when the psum is complete; the last psum leaves in the window."""
    layer, batch = LAYERS["fc"]
    array = PEArray(rows=4, cols=3, pipeline_stages=1)
    job = job_of(MultiplyPE(acc_bits=24), (LINEAR5, LINEAR5), layer, batch, array, dataflow)  # type: ignore[arg-type]
    parameters = datapath_parameters(job.datapath)
    plan = plan_folds(layer.matrix(batch), array, dataflow)  # type: ignore[arg-type]
    first, end = fold_window(job, plan.count - 1)
    assert end == plan.compute_cycles + 1
    waveform = record(job, parameters, (first, end), 0)
    psum = (job.ifmap_codes.astype(np.int64) @ job.filter_codes.T)[0]
    if dataflow == "os":
        name, wanted = ("bench", "dut", "output_stationary", "array", "row[0]", "col[0]", "pe", "acc"), psum[6]
    elif dataflow == "ws":
        name, wanted = ("bench", "dut", "stationary", "array", "row[3]", "col[0]", "pe", "psum"), psum[6]
    else:
        name, wanted = ("bench", "dut", "stationary", "array", "row[3]", "col[0]", "pe", "psum"), psum[6]
    words = [int(value, 2) for _, value in waveform.changes[name] if "x" not in value]
    assert int(wanted) & (2**24 - 1) in words
    with pytest.raises(ConfigError, match=rf"fold: must be 0…{plan.count - 1}, got {plan.count}"):
        fold_window(job, plan.count)
    assert CYCLE_NS * first == waveform.changes[("bench", "clock")][0][0]


def test_the_command_line_writes_and_draws(tmp_path: Path) -> None:
    arch = ("shift_4b_16x16", "--set", "array.rows=2", "--set", "array.cols=2")
    vcd, png = tmp_path / "out.vcd", tmp_path / "out.png"
    network = tmp_path / "net.yaml"
    network.write_text("layers:\n- {name: a, kind: fc, in_channels: 6, out_channels: 3}\n")
    trace = tmp_path / "t.npz"
    assert run("trace", "synth", network, "-o", trace).returncode == 0
    where = ("--trace", trace, "--engine", "register", "--waveform", vcd, "--layer", "a", "--fold", 1)
    done = run("simulate", *arch, *where)
    assert done.returncode == 0, done.stderr
    assert f"wrote {vcd}: a, fold 1, cycles " in done.stderr
    waveform = read_vcd(vcd)
    assert ("bench", "dut", "output_stationary", "array", "row[1]", "col[1]", "pe", "acc") in waveform.bits
    pattern = "*row[[]0]*"
    assert run("waveform", vcd, "-o", png, "--signals", pattern, "--signals", "bench.clock").returncode == 0
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "fold: must be 0…1, got 7" in refused("simulate", *arch, *where[:-1], 7)
    assert "--waveform: needs --engine register" in refused("simulate", "--waveform", vcd)
    assert "--fold: goes with --waveform" in refused("simulate", "--fold", 1)
    assert "--layer: goes with --waveform, --timeline, --gantt or --access-trace" in refused("simulate", "--layer", "a")
    assert "signals: none fits nothing" in refused("waveform", vcd, "-o", png, "--signals", "nothing")


def test_a_figure_needs_a_window_and_not_too_many_signals(tmp_path: Path) -> None:
    figure = plot_waveform(drawn(), ["*"], 0, 40, "drawn")
    save_figure(figure, tmp_path / "drawn.svg")
    assert "row[0].pe.acc" in (tmp_path / "drawn.svg").read_text()
    with pytest.raises(ConfigError, match="must end after 30 ns, got 30 ns"):
        plot_waveform(drawn(), ["*"], 30, 30, "drawn")
    for window in ((31, 60), (-20, 0)):
        with pytest.raises(ConfigError, match=r"must meet 0 … 30 ns, got"):
            plot_waveform(drawn(), ["*"], *window, "drawn")
    clock = next(line.get_xydata() for line in figure.axes[0].lines[1:])  # falls at 5 ns, from high to low
    assert clock[0][0] == clock[1][0] == 5 and clock[0][1] < clock[1][1] == clock[2][1]
    many = Waveform()
    for n in range(61):
        many.add((f"s{n}",), 1)
    with pytest.raises(ConfigError, match="at most 60 can be drawn, 61 fit"):
        plot_waveform(many, ["*"], None, None, "many")
