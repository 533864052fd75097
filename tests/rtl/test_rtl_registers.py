"""Every register of every PE in every cycle: the Verilog and the register-level engine dump the same waveform."""

import dataclasses
import shutil

import pytest
import rtl_cases
from test_rtl_layers import FIRST_SEED

from logaccel.arch import Architecture, PEArray
from logaccel.formats import LinearWord, LogWord
from logaccel.pe import ShiftPE
from logaccel.rtl import bench, verify
from logaccel.rtl.vcd import first_difference, read_vcd, write_vcd
from logaccel.rtl.verify import RtlLayer
from logaccel.rtl.waveform import CYCLE_NS, compare, fold_window, record, record_rtl
from logaccel.workload import Layer

pytestmark = [pytest.mark.rtl, pytest.mark.usefixtures("icarus")]

CHUNKS, CASES = 6, 25


def layer_of(case: rtl_cases.Case) -> RtlLayer:
    """Return a case as the comparison takes it."""
    return RtlLayer(case.job, case.arch, case.output, case.bias, case.layer.relu, case.increment)


def machine(dataflow, overlap):
    """A layer of several ragged folds and K slices on a small array."""
    seed = 0
    layer = Layer(name="folds", in_channels=3, out_channels=5, in_size=3, kernel=2)
    rng = rtl_cases.random.Random("folds")
    activation, weight = LogWord(bits=4).at(0, False), LinearWord(bits=5).at(0, True)
    arch = Architecture(
        name="folds", pe=ShiftPE(acc_bits=12), activation=LogWord(bits=4), weight=LinearWord(bits=5),
        array=PEArray(rows=3, cols=2, overlap=overlap, pipeline_stages=2), dataflow=dataflow,
    )  # fmt: skip
    return rtl_cases.Case(
        arch, layer, activation, weight, LinearWord(bits=8).at(2, False),
        ifmap=rtl_cases.random_codes(rng, activation, layer.ifmap_shape(1)),
        filters=rtl_cases.random_codes(rng, weight, layer.filter_shape),
        bias=rtl_cases.np.full(5, seed, rtl_cases.np.int64),
    )  # fmt: skip


def dump(folder, layer):
    """Run the Verilog in a folder of its own."""
    folder.mkdir()
    bench.write_inputs(folder, layer.image, layer.parameters)
    return record_rtl(folder, layer.job, layer.parameters)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_register_is_equal_in_every_cycle(chunk):
    """Icarus; ofmap words, psums and their cycles are compared in the same run."""
    for seed in range(FIRST_SEED + chunk * CASES, FIRST_SEED + (chunk + 1) * CASES):
        done = verify.verify(layer_of(rtl_cases.random_case(seed)), "icarus", registers=True)
        assert done.equal and done.registers > 0, f"seed {seed}: {done}"


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_the_two_files_of_a_fold_are_equal_change_by_change(dataflow, overlap, tmp_path):
    """Both go through files; of every fold, also where an earlier start is skipped: unknown is no difference then."""
    layer = layer_of(machine(dataflow, overlap))
    theirs = dump(tmp_path / "rtl", layer)
    folds = layer.plan.count
    assert folds >= 4
    for fold in range(folds):
        first, end = fold_window(layer.job, fold)
        ours = record(layer.job, layer.parameters, (first, end), 0)
        for name, waveform in (("ours", ours), ("theirs", theirs.window(first * CYCLE_NS, end * CYCLE_NS))):
            (tmp_path / f"{name}.vcd").write_text(write_vcd(waveform, name))
        one, other = read_vcd(tmp_path / "ours.vcd"), read_vcd(tmp_path / "theirs.vcd")
        assert one.bits == other.bits
        assert all(one.changes[name] == other.changes[name] for name in one.bits), first_difference(one, other)
    late = record(layer.job, layer.parameters, (first, end), fold_window(layer.job, folds - 2)[0])
    for name, changes in late.changes.items():
        assert all("x" in value or other.at(name, time) == value for time, value in changes), name


# What no psum shows: flags that only a later load would trip over, and words that nobody reads any more.
SILENT = {
    "pe_os": ("else if (stage_valid & stage_last) acc_valid", "else if (stage_valid) acc_valid", "os", False),
    "pe_os shadow": ("shadow_moving <= ~finish;", "shadow_moving <= 1'b0;", "os", True),
    "pe_stationary": ("else if (restart) stationary_valid <= 1'b0;", "", "ws", False),
    "pe_stationary swap": ("else if (left_valid & left_swap) shadow_valid <= 1'b0;", "", "is", True),
}


@pytest.mark.parametrize("what", SILENT)
def test_a_mutant_is_reported_with_cycle_pe_signal_and_both_words(what, tmp_path, monkeypatch):
    old, new, dataflow, overlap = SILENT[what]
    folder = shutil.copytree(bench.verilog_folder(), tmp_path / "verilog")
    source = folder / f"{what.split()[0]}.v"
    text = source.read_text(encoding="utf-8")
    assert old in text
    source.write_text(text.replace(old, new), encoding="utf-8")
    monkeypatch.setattr(bench, "verilog_folder", lambda: folder)
    done = verify.verify(layer_of(machine(dataflow, overlap)), "icarus", registers=True)
    assert not done.equal
    for part in ("first difference: cycle ", "PE(", "_valid", "RTL 1'b", "engine 1'b"):
        assert part in str(done) or (part == "_valid" and "_moving" in str(done)), str(done)


def test_a_wrong_operand_is_found_in_the_cycle_in_which_it_enters(tmp_path):
    """The engine runs on other filters than the hardware: the first weight that differs is named."""
    layer = layer_of(machine("os", False))
    theirs = dump(tmp_path / "rtl", layer)
    filters = layer.job.filter_codes.copy()
    filters.reshape(5, -1)[1, 4] ^= 1  # channel 1, k = 4
    job = dataclasses.replace(layer.job, filter_codes=filters)
    window = (0, layer.plan.compute_cycles)
    found = compare(record(job, layer.parameters, window, 0), theirs, window)
    assert found is not None
    assert (found.cycle, found.pe, found.signal) == (4 + 1, (0, 1), "weight")


def test_the_cycle_of_every_psum_is_compared(tmp_path):
    """The closed forms of events.py against what the bench saw; one cycle off is a difference."""
    layer = layer_of(machine("ws", True))
    got = bench.run_layer(layer.job, layer.arch, layer.output, layer.bias, layer.relu)
    assert verify.word_differences(got, layer.expected) == []
    cycles = got.psum_cycles.copy()
    cycles[2, 3] += 1
    lines = verify.word_differences(dataclasses.replace(got, psum_cycles=cycles), layer.expected)
    assert len(lines) == 1 and f"pixel 2, channel 3, cycle of the psum: RTL {cycles[2, 3]}" in lines[0]
