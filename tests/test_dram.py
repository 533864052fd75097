"""DRAM devices: the kernel, row by row, against a controller and banks that are stepped clock by clock."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from logaccel.dram import Clocks, load_device, shipped_devices
from logaccel.dram.kernel import CONFLICTS, HITS, MISSES, REFRESHES, new_state, transfer
from logaccel.errors import ConfigError

Request = tuple[int, list[tuple[int, int]], bool]  # idle clocks before it, runs (first bit, bits), write


class Machine:
    """Counts down timers, clock by clock: one controller, its banks, and the clock of the refresh."""

    def __init__(self, clocks: Clocks) -> None:
        self.clocks, self.now = clocks, 0
        self.rows: list[int | None] = [None] * clocks.banks
        self.open_for = [0] * clocks.banks  # clocks for which a bank must stay open yet: tRAS
        self.data_for = [0] * clocks.banks  # the same for tRTP, tWR
        self.to_refresh, self.owed, self.turn = clocks.trefi, 0, 0
        self.counts = {"hits": 0, "misses": 0, "conflicts": 0, "refreshes": 0}

    def tick(self, clocks: int = 1) -> None:
        for _ in range(clocks):
            self.now += 1
            self.open_for = [max(0, left - 1) for left in self.open_for]
            self.data_for = [max(0, left - 1) for left in self.data_for]
            self.turn = max(0, self.turn - 1)
            self.to_refresh -= 1
            if not self.to_refresh:
                self.owed, self.to_refresh = self.owed + 1, self.clocks.trefi

    def refresh(self) -> None:
        if any(row is not None for row in self.rows):
            while any(self.open_for) or any(self.data_for):
                self.tick()
            self.rows = [None] * len(self.rows)
            self.tick(self.clocks.trp_all)
        self.tick(self.clocks.trfc)
        self.owed -= 1
        self.counts["refreshes"] += 1

    def burst(self, number: int, write: bool) -> None:
        """Serve one burst; leaves the clock at its column command."""
        while self.owed:
            self.refresh()
        bank, row = number // self.clocks.row_bursts % self.clocks.banks, number // self.clocks.row_bursts
        if self.rows[bank] != row:
            if self.rows[bank] is None:
                self.counts["misses"] += 1
            else:
                self.counts["conflicts"] += 1
                while self.open_for[bank] or self.data_for[bank]:
                    self.tick()
                self.tick(self.clocks.trp)
            self.rows[bank], self.open_for[bank] = row, self.clocks.tras
            self.tick(self.clocks.trcd)
        else:
            self.counts["hits"] += 1
        while self.turn and not write:
            self.tick()
        data = (self.clocks.cwl if write else self.clocks.cl) + self.clocks.burst
        self.data_for[bank] = max(self.data_for[bank], data + self.clocks.twr if write else self.clocks.trtp)
        self.last = self.now + data

    def serve(self, start: int, runs: list[tuple[int, int]], write: bool) -> int:
        """Serve one request that comes at a clock; return when its last data has passed."""
        while self.now < start or self.owed:
            if self.owed:
                self.refresh()
            else:
                self.tick()
        for first, bits in runs:
            for number in range(first // self.clocks.burst_bits, (first + bits - 1) // self.clocks.burst_bits + 1):
                self.burst(number, write)
                self.tick(self.clocks.burst)
        while self.now < self.last:
            self.tick()
        if write:
            self.turn = self.clocks.twtr
        return self.now


CLOCKS = st.builds(
    Clocks,
    burst=st.integers(1, 4),
    banks=st.integers(1, 4),
    row_bursts=st.integers(1, 6),
    burst_bits=st.integers(8, 40),
    cl=st.integers(1, 9),
    cwl=st.integers(1, 9),
    trcd=st.integers(1, 9),
    trp=st.integers(1, 9),
    trp_all=st.integers(1, 9),
    tras=st.integers(1, 20),
    twr=st.integers(1, 12),
    twtr=st.integers(1, 12),
    trtp=st.integers(1, 9),
    trfc=st.integers(1, 30),
    trefi=st.integers(100, 200),
)
REQUESTS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 5), st.integers(0, 400)),
        st.lists(
            st.one_of(
                st.tuples(st.integers(0, 900), st.integers(1, 500)), st.tuples(st.integers(0, 200), st.integers(1, 30))
            ),
            min_size=1,
            max_size=4,
        ),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


def run(first: int, bits: int) -> tuple[int, ...]:
    """Return a part of one run."""
    return (first, bits, 1, 0, 1, 0, 1, 0)


@given(clocks=CLOCKS, requests=REQUESTS)
@settings(max_examples=300, deadline=None)
def test_rows_at_once_equal_bursts_clock_by_clock(clocks: Clocks, requests: list[Request]) -> None:
    machine, (numbers, state, banks) = Machine(clocks), new_state(clocks)
    end = 0
    for idle, runs, write in requests:
        parts = np.array([run(*bits) for bits in runs])
        start = end + idle
        end = transfer(numbers, state, banks, start, parts, write)
        assert end == machine.serve(start, runs, write)
    fields = {"hits": HITS, "misses": MISSES, "conflicts": CONFLICTS, "refreshes": REFRESHES}
    assert machine.counts == {name: state[field] for name, field in fields.items()}
    bursts = [(first + bits - 1) // clocks.burst_bits - first // clocks.burst_bits + 1 for _, runs, _ in requests
              for first, bits in runs]  # fmt: skip
    assert sum(bursts) == state[HITS] + state[MISSES] + state[CONFLICTS]


@pytest.mark.parametrize(("start", "end"), [(99, 99 + 2 + 3 + 1), (100, 100 + 20 + 2 + 3 + 1)])
def test_a_refresh_due_in_the_first_slot_comes_first(start: int, end: int) -> None:
    """By hand: tRFC 20 where the refresh is due in clock 100, then tRCD 2, CL 3 and one clock of data."""
    clocks = Clocks(1, 1, 8, 8, 3, 3, 2, 2, 2, 4, 1, 1, 1, trfc=20, trefi=100)
    assert transfer(*new_state(clocks), start, np.array([run(0, 8)]), False) == end


def test_a_row_stays_open_until_its_writes_have_recovered() -> None:
    """By hand: write done in clock 2 + 3 + 1 = 6; a read in the row in slot 7, then another row: tWR counts from 6.

    Precharge in 6 + tWR 12 = 18, tRP 2, tRCD 2: the read command is in 22, its data gone in 26.
    """
    clocks = Clocks(1, 1, 1, 8, 3, 3, 2, 2, 2, 4, 12, 1, 1, trfc=20, trefi=10_000)
    machine = new_state(clocks)
    assert transfer(*machine, 0, np.array([run(0, 8)]), True) == 6
    assert transfer(*machine, 6, np.array([run(0, 8), run(8, 8)]), False) == 26


def test_parts_are_their_runs() -> None:
    clocks = load_device("lpddr4_3200").clocks
    one, many = new_state(clocks), new_state(clocks)
    runs = [
        run(100 + 900_000 * image + 70_000 * outer + 3_000 * inner, 900)
        for image in range(2) for outer in range(3) for inner in range(5)
    ]  # fmt: skip
    part = np.array([(100, 900, 5, 3_000, 3, 70_000, 2, 900_000)])
    assert transfer(*one, 7, part, False) == transfer(*many, 7, np.array(runs), False)
    assert (one[1] == many[1]).all()


@pytest.mark.parametrize("name", ["ddr4_2400", "lpddr4_3200"])
@pytest.mark.parametrize("bursts", [1, 7, 1000])
def test_one_endless_row_without_refresh_is_a_channel(name: str, bursts: int) -> None:
    """Then only the first burst waits (tRCD, CL or CWL) and every other follows at once: bandwidth and latency."""
    clocks = replace(load_device(name).clocks, row_bursts=2**40, trefi=2**60)
    for write, latency in ((False, clocks.cl), (True, clocks.cwl)):
        part = np.array([run(0, bursts * clocks.burst_bits)])
        assert transfer(*new_state(clocks), 0, part, write) == clocks.trcd + latency + bursts * clocks.burst


def test_data_sheet_figures_in_clocks() -> None:
    """By hand: 17-17-17 at 1200 MHz, and 18, 21, 42, 180, 3904 ns at 1600 MHz, rounded up."""
    ddr4, lpddr4 = load_device("ddr4_2400").clocks, load_device("lpddr4_3200").clocks
    assert (ddr4.cl, ddr4.trcd, ddr4.trp, ddr4.tras, ddr4.trfc, ddr4.trefi) == (17, 17, 17, 39, 420, 9360)
    assert (ddr4.burst_bits, ddr4.burst, ddr4.banks, ddr4.row_bursts) == (512, 4, 4, 512)
    assert (lpddr4.cl, lpddr4.trcd, lpddr4.trp, lpddr4.trp_all, lpddr4.tras) == (28, 29, 29, 34, 68)
    assert (lpddr4.trfc, lpddr4.trefi, lpddr4.burst_bits, lpddr4.row_bursts) == (288, 6247, 256, 64)


def changed(tmp_path: Path, **keys: Any) -> str:
    """Write a copy of a shipped table with keys changed (None: left out) and return its path."""
    tree = yaml.safe_load(shipped_devices()["ddr4_2400"])
    for key, value in keys.items():
        if value is None:
            del tree[key]
        else:
            tree[key] = tree[key] | {"value": value}
    path = tmp_path / "device.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"trcd_ns": None}, "trcd_ns: required, but missing"),
        ({"bus_bits": 0}, "bus_bits.value: must be at least 1, got 0"),
        ({"clock_mhz": 0.0}, "clock_mhz.value: must be greater than 0, got 0.0"),
        ({"bank_groups": 3}, "bank_groups: must divide the 16 banks evenly, got 3"),
        ({"row_bytes": 100}, "row_bytes: must hold whole bursts of 512 bits in pairs of beats, got 100"),
        ({"trefi_ns": 300.0}, "trefi_ns: must leave time between refreshes (more than 510 clocks), got 300.0"),
    ],
)
def test_a_wrong_timing_table_is_an_error(tmp_path: Path, keys: dict[str, Any], problem: str) -> None:
    path = changed(tmp_path, **keys)
    with pytest.raises(ConfigError) as caught:
        load_device(path)
    assert str(caught.value) == f"{path}: {problem}"


def test_a_figure_without_source_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "device.yaml"
    tree = yaml.safe_load(shipped_devices()["ddr4_2400"])
    del tree["trp_ns"]["source"]
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"trp_ns\.source: required, but missing"):
        load_device(str(path))


def test_an_unknown_device_is_an_error() -> None:
    with pytest.raises(ConfigError) as caught:
        load_device("ddr9")
    assert str(caught.value) == (
        "ddr9: no such file, nor a DRAM device of that name; shipped are ddr4_2400, lpddr4_3200"
    )


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "device.yaml"
    text = shipped_devices()["ddr4_2400"]
    path.write_text(text, encoding="utf-8")
    before = load_device(str(path))
    tree = yaml.safe_load(text) | {"name": "slow"}
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    assert (before.name, load_device(str(path)).name) == ("ddr4_2400", "slow")


def test_files_that_are_no_device_are_one_line_each(tmp_path: Path) -> None:
    path = tmp_path / "device.yaml"
    for content, rule in (
        (b"a: [1,2\n", "not valid YAML: line 2: expected ',' or ']', but got '<stream end>'"),
        (b"\xff\xfe\x00", "not a text file in UTF-8"),
        (b"- 1\n", "must be a mapping of keys, got a list"),
        (b"banks: 8\nbanks: 4\n", "not valid YAML: line 2: key 'banks' is given twice"),
    ):
        path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            load_device(str(path))
        assert str(caught.value) == f"{path}: {rule}"
    with pytest.raises(ConfigError) as caught:
        load_device(str(tmp_path))
    assert str(caught.value) == f"{tmp_path}: is a folder, must be a file"
