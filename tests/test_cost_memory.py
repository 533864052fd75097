"""Prices of memory: published points, the fit against the runs it comes from, leakage by hand, bad tables."""

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from logaccel.arch import Architecture, Scratchpad, load_arch
from logaccel.cost import load_profile, shipped_profiles
from logaccel.cost.area import array_leakage_mw
from logaccel.cost.memory import area_um2, leakage_mw, memory_prices, scratchpad_area_um2
from logaccel.cost.memory_table import MemoryTable
from logaccel.errors import ConfigError

PROFILES = Path(__file__).parents[1] / "logaccel" / "cost" / "profiles"
# What docs/cost.md and the notes of the profile say: quantity → column, scale, rms and largest error.
FITTED = {
    "read_pj": ("read_pJ", 1.0, 0.162, 0.329),
    "write_pj": ("write_pJ", 1.0, 0.079, 0.310),
    "leakage_mw": ("leak_mW", 1.0, 0.040, 0.149),
    "area_um2": ("area_mm2", 1e6, 0.063, 0.186),
}


def with_memory(profile: str, **pads: dict[str, int]) -> Architecture:
    sections = {name: {"bytes": 65536, **pads.get(name, {})} for name in ("ifmap", "filter", "ofmap")}
    memory = {**sections, "dram": {"bits_per_cycle": 64}}
    return load_arch("multiply_8b_16x16").replace(cost_profile=profile, memory=memory)


def table_of(profile: str) -> MemoryTable:
    table = load_profile(profile).memory
    assert table is not None
    return table


@pytest.mark.parametrize(("size", "pj"), [(8192, 10.0), (32768, 20.0), (1048576, 100.0)])
def test_horowitz_prices_are_his(size: int, pj: float) -> None:
    prices = memory_prices(load_profile("horowitz_45nm"), with_memory("horowitz_45nm", ifmap={"bytes": size}))
    assert prices is not None
    assert prices.ifmap.read_pj_per_bit == pytest.approx(pj / 64)
    assert prices.ifmap.write_pj_per_bit == pytest.approx(pj / 64)
    assert 1300 <= 64 * prices.dram_pj_per_bit <= 2600
    assert prices.leakage_pj_per_cycle == 0.0  # he gives none


def test_the_fit_is_that_of_the_runs(shared_data: Path) -> None:
    with (shared_data / "cost" / "sram_cacti.csv").open(encoding="utf-8") as file:
        runs = [
            run
            for run in csv.DictReader(file)
            if (run["tech_nm"], run["device"], run["opt"], run["ports"]) == ("45", "itrs-lstp", "ED^2", "1r1w")
            and run["status"] == "ok"
            and int(run["size_bytes"]) >= 1024
        ]
    size, width = (np.array([float(run[key]) for run in runs]) for key in ("size_bytes", "width_bits"))
    assert len(runs) == 71
    table = table_of("aladdin_40nm")
    for quantity, (column, scale, rms, largest) in FITTED.items():
        curve = getattr(table, quantity)
        values = scale * np.array([float(run[column]) for run in runs])
        powers = [(term.bytes_power, term.bits_power) for term in curve.terms]
        relative = np.stack([size**p * width**q / values for p, q in powers], axis=1)
        best = np.linalg.lstsq(relative, np.ones(len(runs)), rcond=None)[0]
        np.testing.assert_allclose([term.factor for term in curve.terms], best, rtol=1e-3)
        errors = [curve.at(s, w) / value - 1 for s, w, value in zip(size, width, values, strict=True)]
        assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(rms, abs=0.001)
        assert np.abs(errors).max() == pytest.approx(largest, abs=0.001)


@pytest.mark.parametrize("profile", shipped_profiles())
@given(size=st.integers(1, 2**24), more=st.integers(0, 2**24), width=st.integers(1, 2048), wider=st.integers(0, 2048))
def test_larger_and_wider_never_cost_less(profile: str, size: int, more: int, width: int, wider: int) -> None:
    table = table_of(profile)
    for curve in (table.read_pj, table.write_pj, table.leakage_mw, table.area_um2):
        if curve is not None:
            assert 0 < curve.at(size, width) <= curve.at(size + more, width + wider) * (1 + 1e-12)


@pytest.mark.parametrize("profile", shipped_profiles())
def test_banks_share_capacity_and_port(profile: str) -> None:
    table = table_of(profile)
    whole = with_memory(profile, ifmap={"port_bits": 256})
    banked = with_memory(profile, ifmap={"port_bits": 256, "banks": 16})
    one, many = (memory_prices(load_profile(profile), arch) for arch in (whole, banked))
    assert one is not None and many is not None
    assert one.ifmap.read_pj_per_bit == pytest.approx(table.read_pj.at(65536, 256) / 256)
    assert many.ifmap.read_pj_per_bit == pytest.approx(table.read_pj.at(4096, 16) / 16)
    assert one.filter == many.filter


def test_an_unlimited_port_is_made_of_words_of_64_bits() -> None:
    table = table_of("aladdin_40nm")
    prices = memory_prices(load_profile("aladdin_40nm"), with_memory("aladdin_40nm"))
    assert prices is not None
    assert prices.filter.write_pj_per_bit == pytest.approx(table.write_pj.at(65536, 64) / 64)


def test_leakage_and_area_are_those_of_all_banks_and_of_the_array() -> None:
    profile, arch = load_profile("aladdin_40nm"), with_memory("aladdin_40nm", ofmap={"banks": 4})
    table = table_of("aladdin_40nm")
    quarter = 4.656e-7 * 16384**0.75 + 1.747e-7 * 16384
    assert leakage_mw(table, Scratchpad(bytes=65536, banks=4)) == pytest.approx(4 * quarter)
    whole = 0.2748 * 64**2 + 6.396 * 65536
    assert area_um2(table, Scratchpad(bytes=65536)) == pytest.approx(whole)
    areas = scratchpad_area_um2(profile, arch)
    assert areas is not None and areas["filter"] == pytest.approx(whole)
    array = array_leakage_mw(profile, arch)
    pads = 4 * quarter + 2 * (4.656e-7 * 65536**0.75 + 1.747e-7 * 65536)
    prices = memory_prices(profile, arch)
    assert array is not None and prices is not None
    # 1 mW is 1e-3 J a second; a cycle at 500 MHz is 2e-9 s: 2e-12 J, 2 pJ.
    assert prices.leakage_pj_per_cycle == pytest.approx(2.0 * (array + pads))


def test_the_array_leaks_what_its_registers_and_gates_leak() -> None:
    """Registers alone: a weight-stationary 8 b multiplier holds at least 8 + 8 + 32 flip-flops a PE."""
    profile = load_profile("aladdin_40nm")
    arch = load_arch("multiply_8b_16x16")
    total = array_leakage_mw(profile, arch)
    assert total is not None
    assert total > 256 * (48 * 7.395312e-05 + 4.831147e-02 * 64 / 1024)
    assert array_leakage_mw(profile, arch.replace(**{"array.rows": 32})) == pytest.approx(
        2 * total, rel=0.1
    )  # the lanes do not double
    assert array_leakage_mw(load_profile("horowitz_45nm"), arch) is None


def test_without_memory_or_prices_there_is_nothing_to_say(tmp_path: Path) -> None:
    profile = load_profile("aladdin_40nm")
    assert memory_prices(profile, load_arch("multiply_8b_16x16")) is None
    tree = yaml.safe_load((PROFILES / "aladdin_40nm.yaml").read_text(encoding="utf-8"))
    del tree["memory"]
    (tmp_path / "bare.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    bare = load_profile(tmp_path / "bare.yaml")
    assert memory_prices(bare, with_memory("aladdin_40nm")) is None
    assert scratchpad_area_um2(bare, with_memory("aladdin_40nm")) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"terms": []}, "memory.read_pj: terms: rule fit needs it"),
        ({"access_bits": 64}, "memory.read_pj: access_bits: not for rule fit"),
        ({"terms": [{"factor": -1.0}]}, "memory.read_pj.terms.0.factor: must be greater than 0, got -1.0"),
        (
            {"terms": [{"factor": 1.0, "bytes_power": -1.0}]},
            "memory.read_pj.terms.0.bytes_power: must be at least 0, got -1.0",
        ),
    ],
)
def test_a_bad_table_is_one_clear_error(tmp_path: Path, change: dict[str, object], message: str) -> None:
    tree = yaml.safe_load((PROFILES / "aladdin_40nm.yaml").read_text(encoding="utf-8"))
    tree["memory"]["read_pj"] |= change
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_profile(path)
    assert str(caught.value) == f"{path}: {message}"
