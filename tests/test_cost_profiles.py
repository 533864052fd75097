"""Price tables: published points, interpolation rules, the documentation's tables, bad files."""

from importlib.resources import files
from math import sqrt
from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from logaccel.cost import load_profile, shipped_profiles
from logaccel.cost.curve import CircuitName
from logaccel.errors import ConfigError
from logaccel.pe.parts import Circuit, circuit_size

DOCUMENTATION = Path(__file__).parents[1] / "docs" / "cost.md"
HOROWITZ = load_profile("horowitz_45nm")
QUANTITIES = ("energy_pj", "area_um2")


def raw(name):
    """Return a shipped profile's file as plain values, read by nothing of logaccel's cost room."""
    return yaml.safe_load((files("logaccel") / "cost" / "profiles" / f"{name}.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", shipped_profiles())
def test_every_published_point_is_reproduced_exactly(name):
    profile, table = load_profile(name), raw(name)["circuits"]
    assert set(table) == set(Circuit) == set(get_args(CircuitName))
    points = 0
    for circuit, price in table.items():
        for quantity in QUANTITIES:
            for point in price[quantity].get("points", ()):
                assert getattr(profile, quantity)(circuit, point["size"]) == point["value"]
                points += 1
    assert points >= 10


@pytest.mark.parametrize("name", shipped_profiles())
def test_every_entry_has_a_source_and_says_whether_it_was_verified(name):
    for circuit, price in raw(name)["circuits"].items():
        for quantity in QUANTITIES:
            entry = price[quantity]
            assert len(entry["source"]) > 10, circuit
            assert ("verified" in entry) != entry["source"].startswith("[derived]"), circuit


def test_published_figures_of_horowitz_2014():
    """45 nm, 0.9 V: integer add 8/32 b 0.03/0.1 pJ, multiply 8/32 b 0.2/3.1 pJ."""
    assert [HOROWITZ.energy_pj("adder", bits) for bits in (8, 32)] == [0.03, 0.1]
    assert [HOROWITZ.energy_pj("multiplier", circuit_size(Circuit.MULTIPLIER, b, b)) for b in (8, 32)] == [0.2, 3.1]
    assert (HOROWITZ.node_nm, HOROWITZ.voltage_v, HOROWITZ.clock_mhz) == (45, 0.9, None)


def test_linear_rule_is_straight_between_points_and_proportional_outside():
    assert HOROWITZ.energy_pj("adder", 20) == pytest.approx(0.03 + 0.07 * 12 / 24)
    assert HOROWITZ.energy_pj("adder", 4) == pytest.approx(0.015)
    assert HOROWITZ.energy_pj("adder", 64) == pytest.approx(0.2)
    assert HOROWITZ.area_um2("adder", 24) == pytest.approx((67 + 137) / 2)
    assert HOROWITZ.energy_pj("adder", 0) == 0


def test_power_rule_is_straight_in_log_log_and_goes_on():
    assert HOROWITZ.energy_pj("multiplier", 256) == pytest.approx(sqrt(0.2 * 3.1))
    assert HOROWITZ.energy_pj("multiplier", 16384) == pytest.approx(3.1 * 3.1 / 0.2)
    assert HOROWITZ.energy_pj("multiplier", 4) == pytest.approx(0.2 * 0.2 / 3.1)
    aladdin = load_profile("aladdin_40nm")
    assert aladdin.energy_pj("multiplier", 64) == pytest.approx(9.554858 / 16)  # one point: proportional


def test_derived_rule_multiplies_a_cell_of_another_circuit():
    assert HOROWITZ.energy_pj("mux", 10) == pytest.approx(10 * 0.13 / 160)
    assert HOROWITZ.area_um2("leading_one", 7) == pytest.approx(7 * 3 * 50.36996 / 32)


@pytest.mark.parametrize("name", shipped_profiles())
@given(st.sampled_from(list(Circuit)), st.integers(1, 5000))
def test_a_larger_circuit_never_costs_less(name, circuit, size):
    profile = load_profile(name)
    assert 0 < profile.energy_pj(circuit, size) <= profile.energy_pj(circuit, size + 1)
    assert 0 < profile.area_um2(circuit, size) <= profile.area_um2(circuit, size + 1)


@pytest.mark.parametrize("name", shipped_profiles())
def test_the_documentation_lists_every_published_point(name):
    """Row of docs/cost.md: | circuit | quantity: size → value, … | source | verified |."""
    text = DOCUMENTATION.read_text(encoding="utf-8")
    rows = {tuple(cell.strip() for cell in line.split("|")[1:4]) for line in text.splitlines() if line.startswith("| ")}
    for circuit, price in raw(name)["circuits"].items():
        for quantity in QUANTITIES:
            points = ", ".join(f"{p['size']} → {p['value']:.4g}" for p in price[quantity].get("points", ()))
            if points:
                assert (circuit, quantity, points) in rows, (name, circuit, quantity, points)


# Bad profiles


def set_key(tree, path, value):
    *parents, last = path
    for key in parents:
        tree = tree[key]
    if value is None:
        del tree[last]
    else:
        tree[last] = value


ADDER = ("circuits", "adder", "energy_pj")
BAD = {
    "unknown key": ({("volts",): 0.9}, ["volts: unknown key"]),
    "missing source": ({(*ADDER, "source"): None}, ["circuits.adder.energy_pj.source: required, but missing"]),
    "empty source": (
        {(*ADDER, "source"): ""},
        ["circuits.adder.energy_pj.source: string should have at least 1 character, got ''"],
    ),
    "negative": (
        {(*ADDER, "points"): [{"size": 8, "value": -0.03}]},
        ["circuits.adder.energy_pj.points.0.value: must be greater than 0, got -0.03"],
    ),
    "infinite": (
        {(*ADDER, "points"): [{"size": 8, "value": float("inf")}]},
        ["circuits.adder.energy_pj.points.0.value: input should be a finite number, got inf"],
    ),
    "missing circuit": ({("circuits", "register"): None}, ["circuits.register: required, but missing"]),
    "unknown circuit": ({("circuits", "divider"): {}}, ["circuits.divider: unknown key"]),
    "no verified": ({(*ADDER, "verified"): None}, ["circuits.adder.energy_pj: verified: rule linear needs it"]),
    "no points": ({(*ADDER, "points"): []}, ["circuits.adder.energy_pj: points: rule linear needs it"]),
    "decreasing": (
        {(*ADDER, "points"): [{"size": 8, "value": 0.3}, {"size": 32, "value": 0.1}]},
        [
            "circuits.adder.energy_pj: points: sizes must increase and values not decrease, "
            "got 8: 0.3 before 32: 0.1"
        ],
    ),
    "derived with a figure": (
        {("circuits", "mux", "energy_pj", "verified"): True},
        ["circuits.mux.energy_pj: verified: not for rule derived"],
    ),
    "derived from derived": (
        {("circuits", "mux", "energy_pj", "of"): "decoder"},
        ["circuits.mux.energy_pj.of: must name a circuit with points, got decoder"],
    ),
    "everything at once": (
        {("node_nm",): -45, (*ADDER, "rule"): "cubic"},
        ["node_nm: must be greater than 0, got -45", "circuits.adder.energy_pj.rule: must be 'linear', "
         "'power' or 'derived', got 'cubic'"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_profile_is_one_clear_error(case, tmp_path):
    changes, lines = BAD[case]
    tree = yaml.safe_load(yaml.safe_dump(raw("horowitz_45nm")))
    for path, value in changes.items():
        set_key(tree, path, value)
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_profile(file)
    assert str(caught.value).splitlines() == [f"{file}: {line}" for line in lines]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"- 1", "must be a mapping of keys, got a list"),
        (b"a: [", "not valid YAML: line 1: "),
        (b"\xff\xfe", "not a text file in UTF-8"),
        (b"", "must be a mapping of keys, got nothing (the file is empty)"),
    ],
)
def test_a_file_that_is_no_profile(content, rule, tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_profile(file)
    assert str(caught.value).startswith(f"{file}: {rule}")


def test_an_unknown_profile_names_those_that_ship():
    with pytest.raises(ConfigError) as caught:
        load_profile("unobtainium")
    assert str(caught.value) == (
        "unobtainium: no such file, nor a cost profile of that name; shipped are aladdin_40nm, horowitz_45nm"
    )


def test_a_profile_of_ones_own_is_read_by_path(tmp_path):
    tree = raw("horowitz_45nm")
    del tree["name"]
    tree["circuits"]["adder"]["energy_pj"]["points"] = [{"size": 32, "value": 1.0}]
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    profile = load_profile(str(file))
    assert profile.name == "own"
    assert profile.energy_pj("adder", 16) == 0.5
