"""The command line end to end: output, exit codes, messages, nothing half-written."""

import csv
import errno
import io
import json
import os
import signal
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from command_line import refused, run, run_alone

import logaccel
from logaccel.result import whole_file, write_whole


@pytest.fixture
def small_trace(tmp_path: Path) -> Path:
    layer = logaccel.Layer(name="only", kind="fc", in_channels=20, out_channels=10)
    network = logaccel.Network(name="tiny", batch=4, layers=(layer,))
    path = tmp_path / "tiny.npz"
    logaccel.save_trace(logaccel.synthesize_trace(network, seed=3), path)
    return path


def test_simulate_prints_a_table_and_its_provenance(small_trace: Path) -> None:
    done = run_alone("simulate", "shift_4b_16x16", "--trace", small_trace)
    assert done.returncode == 0, done.stderr
    for part in ("only", "horowitz_45nm", "45", "operands are always ready"):
        assert part in done.stdout
    assert "\x1b" not in done.stdout


def test_json_and_csv_hold_the_same_numbers(small_trace: Path, tmp_path: Path) -> None:
    tree = json.loads(run("simulate", "--trace", small_trace, "--json").stdout)
    rows = list(csv.DictReader(io.StringIO(run("simulate", "--trace", small_trace, "--csv").stdout)))
    assert sum(int(row["total_cycles"]) for row in rows if row["layer"] == "only") == tree["total_cycles"]
    result = logaccel.simulate(logaccel.load_trace(small_trace), logaccel.load_arch("shift_4b_16x16"))
    assert tree == result.to_dict()
    done = run("simulate", "--trace", small_trace, "--json", "-o", tmp_path / "out.json")
    assert done.stdout == "" and json.loads((tmp_path / "out.json").read_text()) == tree


def test_set_varies_the_architecture(small_trace: Path) -> None:
    tree = json.loads(run("simulate", "--trace", small_trace, "--json", "--set", "array.rows=3").stdout)
    assert tree["architecture"]["array"]["rows"] == 3
    assert "array.rows: must be at least 1, got 0" in refused("simulate", "--set", "array.rows=0")
    assert "--set: must be KEY=VALUE, got 'rows'" in refused("simulate", "--set", "rows")
    assert "array.rowz: unknown key" in refused("simulate", "--set", "array.rowz=1")


def test_compare_and_plots(small_trace: Path, tmp_path: Path) -> None:
    picture = tmp_path / "c.png"
    done = run("compare", "multiply_8b_16x16", "decode_4b_16x16", "--trace", small_trace, "--plot", picture)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Comparison") == 1 and "SNR" in done.stdout
    assert all(piece in done.stdout for piece in ("multiply", "8b_16x16", "decode"))
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert run("simulate", "--trace", small_trace, "--plot", tmp_path / "s.svg").returncode == 0
    assert "<svg" in (tmp_path / "s.svg").read_text()


def test_networks_without_tensors(tmp_path: Path) -> None:
    done = run("simulate", "shift_4b_32x32", "--network", "alexnet")
    assert done.returncode == 0 and "values were not simulated" in done.stdout
    topology = tmp_path / "net.csv"
    topology.write_text("Layer, IH, IW, FH, FW, C, N, S,\nConv1, 8, 8, 3, 3, 2, 4, 1,\n")
    assert json.loads(run("simulate", "--network", topology, "--json").stdout)["macs"] == 36 * 18 * 4


def test_traces_can_be_drawn_and_inspected(tmp_path: Path) -> None:
    network = tmp_path / "net.yaml"
    network.write_text("layers:\n- {name: a, kind: fc, in_channels: 6, out_channels: 3}\n")
    done = run("trace", "synth", network, "-o", tmp_path / "t.npz", "--seed", 5, "--batch", 2)
    assert done.returncode == 0, done.stderr
    assert "a" in run("trace", "info", tmp_path / "t.npz").stdout
    tree = json.loads(run("trace", "info", "--json").stdout)
    assert tree["images"] >= 300 and tree["layers"]


def test_architectures_can_be_listed_checked_shown_and_edited(tmp_path: Path) -> None:
    names = [line.split()[0] for line in run("arch", "list").stdout.splitlines()]
    assert len(names) >= 12
    assert run("arch", "check", *names).stdout.count(": ok") == len(names)
    shown = run("arch", "show", "decode_4b_16x16", "--set", "array.cols=5").stdout
    (tmp_path / "mine.yaml").write_text(shown)
    assert run("arch", "check", tmp_path / "mine.yaml").returncode == 0
    assert logaccel.load_arch(tmp_path / "mine.yaml").array.cols == 5
    bad = tmp_path / "bad.yaml"
    bad.write_text("pe: {kind: shift, acc_bits: 99}\narray: {rows: 0, cols: 4}\nfoo: 1\n")
    errors = refused("arch", "check", bad)
    for part in ("pe.acc_bits: must be at most 62, got 99", "array.rows: must be at least 1", "foo: unknown key"):
        assert f"{bad}: {part}" in errors
    bad.write_text(shown.replace("horowitz_45nm", "no_such_prices"))
    assert f"error: {bad}: cost_profile: no_such_prices: no such file" in refused("arch", "check", bad)


def test_the_schema_is_json() -> None:
    assert json.loads(run("schema").stdout)["title"] == "logaccel architecture"


def test_a_mistake_in_a_process_of_its_own() -> None:
    done = run_alone("simulate", "shift_9b")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == refused("simulate", "shift_9b")


def test_mistakes_are_one_clear_message_and_exit_code_2(small_trace: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.npz"
    foreign.write_text("not a zip")
    assert f"{foreign}: " in refused("simulate", "--trace", foreign)
    assert "no such file" in refused("simulate", "--trace", tmp_path / "none.npz")
    assert "no such file, nor an architecture of that name" in refused("simulate", "shift_9b")
    assert "no such file, nor a network of that name" in refused("simulate", "--network", "nonet")
    assert "--trace and --network: give one of them" in refused("simulate", "-t", small_trace, "-n", "alexnet")
    assert "--batch: goes with a network; a trace has its own batch" in refused("simulate", "-b", 2)
    assert "--json and --csv: give one of them" in refused("simulate", "--json", "--csv")
    assert "no such folder" in refused("simulate", "-t", small_trace, "-o", tmp_path / "no" / "x.json")
    assert "is a folder" in refused("simulate", "-t", small_trace, "-o", tmp_path)
    assert ".png" in refused("simulate", "-t", small_trace, "--plot", tmp_path / "x.bmp")
    assert "No such command" in refused("simulat")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign.npz", "tiny.npz"]


def test_a_full_disk_leaves_nothing_behind(small_trace: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    done = subprocess.run(
        f"{sys.executable} -m logaccel simulate -t {small_trace} --json > /dev/full",
        shell=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr and "No space left" in done.stderr


def test_a_disk_that_fills_up_is_named_with_the_file(tmp_path: Path) -> None:
    def fill() -> None:
        with whole_file(tmp_path / "result.json") as file:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left on device") as caught:
        fill()
    assert caught.value.filename == str(tmp_path / "result.json")
    assert list(tmp_path.iterdir()) == []


def test_a_device_or_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    for option in ("-o", "--timeline"):
        message = refused("simulate", "shift_4b_16x16_memory", "-n", "alexnet", option, pipe)
        assert message == f"error: {pipe}: is a device or a pipe, must be a file\n"
    with pytest.raises(logaccel.ConfigError, match="a device or a pipe"):
        write_whole(pipe, "x")
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that refuses files")
def test_an_unwritable_output_is_named_as_the_user_wrote_it() -> None:
    message = refused("simulate", "--network", "alexnet", "-o", "/proc/x.txt")
    assert message.startswith("error: /proc/x.txt: ")


def test_help_loads_no_numba() -> None:
    code = "import sys; sys.argv=['logaccel','--help']\nfrom logaccel.cli import main\n"
    code += "try: main()\nexcept SystemExit: pass\n"
    code += "assert not {'numba','matplotlib','numpy','pydantic'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "compare" in done.stdout


SLOW_IMPORT = """import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep({seconds})
except KeyboardInterrupt:  # as compiled modules do
    raise ImportError("cannot be imported") from None
raise SystemExit(7)
"""


@pytest.mark.parametrize("ignored", [False, True])
def test_ctrl_c_while_the_command_line_is_imported_is_one_line(tmp_path: Path, ignored: bool) -> None:
    """The parser's library is one that Ctrl-C meets. A caller that ignores Ctrl-C, as nohup does, is not stopped."""
    (tmp_path / "typer.py").write_text(SLOW_IMPORT.format(seconds=0 if ignored else 60))
    done = subprocess.run(
        [sys.executable, "-m", "logaccel", "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env=os.environ | {"PYTHONPATH": str(Path(logaccel.__file__).parent.parent)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.SIG_DFL),
    )  # fmt: skip
    if ignored:
        assert (done.returncode, done.stdout, done.stderr) == (7, "", "")
    else:
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted; nothing was written\n")


def test_the_installed_command_starts_where_ctrl_c_is_caught() -> None:
    settings = tomllib.loads((Path(logaccel.__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
    module, _, name = settings["project"]["scripts"]["logaccel"].partition(":")
    assert (module, name) == ("logaccel.__main__", "main") and callable(getattr(import_module(module), name))


@pytest.mark.parametrize(
    "arguments",
    [
        ("simulate", "--access-trace", ""), ("simulate", "--access-trace="), ("simulate", "-o", ""),
        ("simulate", "--timeline="), ("compare", "--keep", ""), ("map", "", "-a", "x"), ("trace", "info", ""),
    ],
)  # fmt: skip
def test_an_empty_path_is_not_the_current_folder(arguments: tuple[str, ...], tmp_path: Path) -> None:
    said = refused(*arguments, cwd=tmp_path)
    assert said.startswith("error: ") and said.endswith(": must not be empty\n") and said.count("\n") == 1
    assert arguments[1].rstrip("=") in said
    assert list(tmp_path.iterdir()) == []
