"""Energy and area: tiny layers by hand, circuits of every PE, gating, provenance, the traps."""

import json
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise
from math import log
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from logaccel.arch import Architecture
from logaccel.cost import (
    ASSUMED_LIVE_SHARE,
    array_area,
    bits_moved,
    layer_energy,
    load_profile,
    shipped_profiles,
)
from logaccel.cost.area import board_parts
from logaccel.cost.lane import lane_parts
from logaccel.pe.parts import Circuit, Part, Role, circuit_size, constant_adders, merged, stage_bits
from logaccel.schedule.activity import Activity
from logaccel.workload import Layer
from logaccel.workload.layer import MatrixShape

HOROWITZ = load_profile("horowitz_45nm")
DOCUMENTATION = Path(__file__).parents[1] / "docs" / "cost.md"
LINEAR8 = {"kind": "linear", "bits": 8}
LINEAR4 = {"kind": "linear", "bits": 4}
LOG4 = {"kind": "log", "bits": 4}
LOG5 = {"kind": "log", "bits": 5}
LOG5_ROOT2 = {"kind": "log", "bits": 5, "steps_per_octave": 2}
MATRIX = MatrixShape(groups=1, pixels=4, channels=3, reduction=10)
ACTIVITY = Activity(
    macs=120,
    live_products=60,
    activation_writes=120,
    weight_writes=110,
    stage_writes=120,
    psum_moves=7,
    ifmap_reads=0,
    filter_reads=0,
    psum_reads=0,
    psum_writes=12,
)


def raw(name):
    """Return a shipped profile's file as plain values, read by nothing of logaccel's cost room."""
    return yaml.safe_load((files("logaccel") / "cost" / "profiles" / f"{name}.yaml").read_text(encoding="utf-8"))


def arch(pe, activation=LINEAR8, weight=LINEAR8, **others):
    tree = {"name": "tiny", "pe": pe, "activation": activation, "weight": weight, "output": LINEAR8}
    return Architecture.model_validate(tree | {"array": {"rows": 2, "cols": 3}} | others)


def multiply(**others):
    return arch({"kind": "multiply", "acc_bits": 24}, **others)


ARCHS = {
    "multiply": multiply(),
    "shift": arch({"kind": "shift", "acc_bits": 40}, LOG4),
    "shift by weight": arch({"kind": "shift", "acc_bits": 40}, LINEAR8, LOG4),
    "shift bins": arch({"kind": "shift", "acc_bits": 30}, LOG5_ROOT2),
    "shift constant": arch({"kind": "shift", "acc_bits": 50, "root": "constant"}, LOG4 | {"steps_per_octave": 4}),
    "decode": arch({"kind": "decode", "acc_bits": 42}, LOG4, LOG5),
    "decode bins": arch({"kind": "decode", "acc_bits": 28}, LOG4, LOG5_ROOT2),
    "decode constant": arch({"kind": "decode", "acc_bits": 40, "root": "constant"}, LOG4, LOG5_ROOT2),
    "logsum": arch({"kind": "logsum", "acc_bits": 21}, LOG4, LOG5),
}


def datapath(architecture, signed=False):
    return architecture.pe.datapath(architecture.activation.at(0, signed), architecture.weight.at(0, True))


def energy(architecture, activity=ACTIVITY, profile=HOROWITZ):
    return layer_energy(profile, datapath(architecture), architecture, activity, architecture.output, MATRIX)


# The traps that docs/cost.md describes


def test_naive_decode_loses_to_a_small_multiplier_at_45_nm():
    """4 b exponent add + 32 b barrel shift + 42 b add, about 0.28 pJ; 4×5 b multiplier + 22 b add, about 0.13."""
    barrel_shift = HOROWITZ.energy_pj("shifter", 5 * 32)
    naive = HOROWITZ.energy_pj("adder", 4) + barrel_shift + HOROWITZ.energy_pj("adder", 42)
    multiplier = HOROWITZ.energy_pj("multiplier", 20) + HOROWITZ.energy_pj("adder", 22)
    assert naive == pytest.approx(0.28, abs=0.01)
    assert multiplier == pytest.approx(0.13, abs=0.01)
    decoder = HOROWITZ.energy_pj("decoder", 32)
    assert decoder < 0.2 * barrel_shift  # what saves a decode PE: it never shifts a constant 1


def table_rows(text):
    """Yield the cells of every row of the tables of a Markdown text."""
    for line in text.splitlines():
        if line.startswith("| "):
            yield tuple(cell.strip() for cell in line.strip("| ").split("|"))


def test_the_documented_alus_cost_what_the_documentation_says():
    linear5 = {"kind": "linear", "bits": 5}
    documented = {
        "multiply 4 × 5 b, 22 b accumulator": arch({"kind": "multiply", "acc_bits": 22}, LINEAR4, linear5),
        "decode 4 × 5 b, 42 b": arch({"kind": "decode", "acc_bits": 42}, LOG4, LOG5),
        "decode 4 × 5 b, 18 b dropped, 24 b": arch({"kind": "decode", "acc_bits": 24, "drop_bits": 18}, LOG4, LOG5),
        "decode 4 × 5 b base √2, two bins of 28 b": arch({"kind": "decode", "acc_bits": 28}, LOG4, LOG5_ROOT2),
        "shift 4 × 8 b, 40 b": arch({"kind": "shift", "acc_bits": 40}, LOG4),
        "multiply 8 × 8 b, 32 b": arch({"kind": "multiply", "acc_bits": 32}),
    }
    rows = {row[0]: row[1:] for row in table_rows(DOCUMENTATION.read_text(encoding="utf-8"))}
    for name, architecture in documented.items():
        cells = []
        for profile in (HOROWITZ, load_profile("aladdin_40nm")):
            cells.append(f"{energy(architecture, profile=profile).alu_pj / ACTIVITY.macs:.2f}")
            cells.append(f"{array_area(profile, architecture).alu_um2 / 6:.0f}")
        assert rows[name] == tuple(cells)


# Sizes of circuits


@given(st.integers(1, 20), st.integers(0, 40))
def test_a_barrel_shifter_has_a_multiplexer_for_every_bit_that_a_stage_can_reach(word, longest):
    count = 0
    for stage in range(longest.bit_length()):
        behind = {amount % 2 ** (stage + 1) for amount in range(longest + 1)}
        count += len({bit + amount for bit in range(word) for amount in behind} | set(range(word + max(behind))))
    assert circuit_size(Circuit.SHIFTER, word, longest) == count


@given(st.integers(1, 2**20))
def test_a_constant_takes_one_adder_less_than_its_non_adjacent_form_has_digits(constant):
    digits, rest = 0, constant
    while rest:
        digit = 2 - rest % 4 if rest % 2 else 0
        digits, rest = digits + abs(digit), (rest - digit) // 2
    assert constant_adders(constant) == digits - 1


def test_merged_parts_are_built_at_the_widest_of_each_width():
    narrow = Part("x", Circuit.MULTIPLIER, (4, 16), Role.PRODUCT)
    tall = Part("x", Circuit.MULTIPLIER, (8, 8), Role.PRODUCT, copies=2)
    other = Part("y", Circuit.ADDER, (9,), Role.PRODUCT)
    assert merged([[narrow, other], [tall]]) == (replace(tall, widths=(8, 16)), other)


# A tiny layer by hand


def test_energy_of_a_tiny_multiply_layer_by_hand():
    table = raw("horowitz_45nm")["circuits"]
    register, gate = table["register"]["energy_pj"]["points"][0]["value"], 0.01805590 / 32
    mux = 0.13 / 160
    add24, add9, add8 = 0.03 + 0.07 * 16 / 24, 0.03 + 0.07 / 24, 0.03
    rescale_muxes = 10 + 12 + 16 + 24 + 32  # 9 b, shifted by 0…23
    rescale = 0.057 * (0.13 / 0.057) ** (log(rescale_muxes / 64) / log(160 / 64))
    word = 2 * add24 + 3 * 24 * gate + rescale + add9 + 8 * mux + add8 + (3 * 24 + 8) * register
    expected = {
        "product": 120 * 0.2,
        "accumulate": 120 * (add24 + 24 * mux),
        "operand_registers": (120 + 110) * 8 * register,
        "pipeline_registers": 120 * 16 * register,
        "psum_registers": 120 * 24 * register,
        "drain": 7 * 24 * (register + mux),
        "post_processing": 12 * word,
    }
    found = energy(multiply())
    assert found.pj == pytest.approx(expected)
    assert found.alu_pj == pytest.approx(expected["product"] + expected["accumulate"])
    assert found.array_pj == pytest.approx(sum(expected.values()))


def test_area_of_a_tiny_decode_array_by_hand():
    tiny = ARCHS["decode"].replace(array={"rows": 2, "cols": 3, "overlap": True, "pipeline_stages": 2})
    register, gate, mux = 5.981433, 50.36996 / 32, 157 / 160
    add5, add42 = 36 * 5 / 8, 137 * 42 / 32
    product = 9 * gate + add5 + gate + 29 * gate  # zero detectors, exponents 0…28, sign, lines 0…28
    accumulate = 42 * gate + add42 + 42 * mux
    found = array_area(HOROWITZ, tiny).um2
    assert found["product"] == pytest.approx(6 * product)
    assert found["accumulate"] == pytest.approx(6 * accumulate)
    assert found["operand_registers"] == pytest.approx(6 * 9 * register)
    assert found["psum_registers"] == pytest.approx(6 * 42 * register)
    assert found["pipeline_registers"] == pytest.approx(6 * 2 * 7 * register)  # 5 b sum, sign, zero flag
    assert found["shadow_registers"] == pytest.approx(6 * 42 * (register + mux))
    assert array_area(HOROWITZ, tiny).alu_um2 == pytest.approx(6 * (product + accumulate))
    assert array_area(HOROWITZ, tiny).array_um2 == pytest.approx(sum(found.values()))


@pytest.mark.parametrize("name", ARCHS)
def test_more_pes_cost_their_share(name):
    small, wide = ARCHS[name], ARCHS[name].replace(**{"array.cols": 12})
    assert array_area(HOROWITZ, wide).array_um2 == pytest.approx(4 * array_area(HOROWITZ, small).array_um2)


@pytest.mark.parametrize(("dataflow", "shadow_bits"), [("os", 24), ("ws", 6), ("is", 8)])
def test_overlap_adds_a_shadow_of_what_stays(dataflow, shadow_bits):
    plain = multiply(dataflow=dataflow, weight={"kind": "linear", "bits": 6})
    hidden = plain.replace(**{"array.overlap": True})
    before, after = (array_area(HOROWITZ, a) for a in (plain, hidden))
    assert after.array_um2 - before.array_um2 == pytest.approx(6 * shadow_bits * 5.981433)
    assert before.um2["shadow_registers"] == 0


def test_every_pipeline_stage_adds_the_same_registers():
    areas = [array_area(HOROWITZ, multiply(array={"rows": 1, "cols": 1, "pipeline_stages": d})) for d in (0, 1, 3)]
    assert [area.um2["pipeline_registers"] for area in areas] == pytest.approx([0, 16 * 5.981433, 48 * 5.981433])


@pytest.mark.parametrize("name", ["decode bins", "logsum"])
def test_the_raw_psum_moves_whole_but_an_accumulation_writes_one_lane(name):
    stays, moves = ARCHS[name], ARCHS[name].replace(dataflow="ws")
    register = 0.008999495
    lane, whole = {"decode bins": (28, 56), "logsum": (22, 44)}[name]
    assert energy(stays).pj["psum_registers"] == pytest.approx(120 * lane * register)
    assert energy(moves).pj["psum_registers"] == pytest.approx(120 * whole * register)
    assert energy(moves).pj["drain"] == pytest.approx(7 * whole * register)


# What each PE kind is made of


@pytest.mark.parametrize(
    ("name", "has", "has_not"),
    [
        ("multiply", {"multiplier"}, {"shifter", "decoder"}),
        ("shift", {"shifter"}, {"multiplier", "root multiplier", "decoder", "lane read"}),
        ("shift by weight", {"shifter"}, {"multiplier", "decoder"}),
        ("shift bins", {"shifter", "lane read"}, {"root adders", "root multiplier"}),
        ("shift constant", {"shifter", "root multiplier"}, {"lane read"}),
        ("decode", {"exponent adder", "decoder"}, {"shifter", "multiplier"}),
        ("decode bins", {"decoder", "lane read"}, {"shifter"}),
        ("decode constant", {"root table", "shifter"}, {"decoder", "lane read"}),
        ("logsum", {"exponent adder", "rail maximum", "correction decoder", "rail adder"}, {"shifter", "multiplier"}),
    ],
)
def test_circuits_of_a_pe(name, has, has_not):
    names = {part.name for part in board_parts(ARCHS[name])}
    assert has <= names
    assert not has_not & names


def test_base_root_two_per_product_is_shift_and_add():
    root2 = arch({"kind": "shift", "acc_bits": 50, "root": "constant"}, LOG5_ROOT2)
    adders = {part.name: part for part in root2.pe.parts(datapath(root2))}["root adders"]
    assert (adders.copies, adders.widths) == (4, (8 + 9,))  # 362 = 512 − 128 − 32 + 8 + 2


def test_bins_are_combined_once_per_output():
    path = datapath(ARCHS["decode bins"])
    lane = {part.name: part for part in lane_parts(path, ARCHS["decode bins"].output, ARCHS["decode bins"].post)}
    assert (lane["bin constant adders"].copies, lane["bin constant adders"].widths) == (4, (28 + 9,))
    assert lane["bin sum adders"].copies == 1
    assert "rail shifter" not in lane


@pytest.mark.parametrize("profile", shipped_profiles())
@pytest.mark.parametrize("word", [LOG4, LINEAR8], ids=["log", "linear"])
def test_lanes_that_shift_by_channel_keep_s_and_move_by_it(word, profile):
    """40 b psums and four bits of s: the parts that differ, by hand, in energy a word and in area."""
    prices = load_profile(profile)
    # Cells before and after: s beside the word in three registers, s as it is read, and
    # 40 + 15 octaves as an exponent of 7 b, or a shift by up to 39 + 15, which takes 6 b and may leave none of 9 b.
    cells = [("register", 40, 44)] * 3 + [("register", 0, 4)]
    if word is LOG4:
        cells += [("adder", 0, 7)]
    else:
        cells += [("adder", 0, 6), ("gate", 0, 9)]
    without = arch({"kind": "shift", "acc_bits": 40}, LOG4, output=word)
    shifting = without.replace(**{"post.channel_shift_bits": 4})
    for quantity in ("energy_pj", "area_um2"):
        price = getattr(prices, quantity)
        more = sum(price(circuit, new) - price(circuit, old) for circuit, old, new in cells)
        part_price = getattr(prices, f"part_{quantity}")
        lanes = [sum(map(part_price, lane_parts(datapath(a), a.output, a.post))) for a in (without, shifting)]
        assert lanes[1] - lanes[0] == pytest.approx(more), quantity
    energies = [energy(a, profile=prices).pj for a in (without, shifting)]
    words = MATRIX.pixels * MATRIX.channels
    paid = energies[1].pop("post_processing") - energies[0].pop("post_processing")
    assert paid == pytest.approx(
        words * sum(prices.energy_pj(c, new) - prices.energy_pj(c, old) for c, old, new in cells)
    )
    assert energies[0] == energies[1]
    areas = [array_area(prices, a).um2 for a in (without, shifting)]
    assert areas[1].pop("post_processing") > areas[0].pop("post_processing")
    assert areas[0] == areas[1]


def test_a_pe_holds_the_wider_of_both_signednesses():
    shift = ARCHS["shift"]
    both = {part.name: part for part in board_parts(shift)}["shifter"].widths
    unsigned, signed = (
        {part.name: part for part in shift.pe.parts(datapath(shift, signed))}["shifter"].widths
        for signed in (False, True)
    )
    assert unsigned == (8, 14) and signed == (8, 6)
    assert both == (8, 14)


def test_a_pe_is_built_for_every_layers_settings():
    first = {"pe": {"kind": "multiply", "acc_bits": 30}, "activation": {"kind": "linear", "bits": 6}}
    mixed = ARCHS["shift"].replace(layers={"first": first})
    parts = {part.name: part for part in board_parts(mixed, [mixed.for_layer("", 0, 2)])}
    assert parts["multiplier"].widths == (6, 8)
    assert parts["shifter"].widths == (8, 14)
    assert parts["accumulator adder"].widths == (40,)
    assert parts["activation register"].widths == (6,)
    area, alone = array_area(HOROWITZ, mixed), array_area(HOROWITZ, ARCHS["shift"])
    assert area.um2["product"] > alone.um2["product"]
    # An accumulator is shared; only the multiplier and wider operands come on top.
    assert area.um2["accumulate"] == alone.um2["accumulate"]
    views = [mixed.for_layer(f"conv{i}", i, 2) for i in range(2)]
    assert array_area(HOROWITZ, mixed, views).um2 == area.um2


@pytest.mark.parametrize("kind", ["multiply", "shift", "decode"])
def test_more_bits_cost_more(kind):
    words = {
        "multiply": lambda bits: ({"kind": "linear", "bits": bits}, LINEAR8),
        "shift": lambda bits: (LOG4, {"kind": "linear", "bits": bits}),
        "decode": lambda bits: ({"kind": "log", "bits": bits}, LOG4),
    }[kind]
    widest = {"multiply": 16, "shift": 16, "decode": 5}[kind]
    archs = [arch({"kind": kind, "acc_bits": 48}, *words(bits)) for bits in range(2, widest + 1)]
    for narrow, wide in pairwise(archs):
        assert energy(narrow).alu_pj < energy(wide).alu_pj
        assert energy(narrow).array_pj < energy(wide).array_pj
        assert array_area(HOROWITZ, narrow).alu_um2 < array_area(HOROWITZ, wide).alu_um2
        assert array_area(HOROWITZ, narrow).array_um2 < array_area(HOROWITZ, wide).array_um2


@pytest.mark.parametrize("name", ARCHS)
@pytest.mark.parametrize("profile", shipped_profiles())
def test_a_wider_accumulator_costs_more(name, profile):
    narrow = ARCHS[name].replace(**{"pe.acc_bits": ARCHS[name].pe.acc_bits - 1})
    for price in (lambda a: energy(a, profile=load_profile(profile)), lambda a: array_area(load_profile(profile), a)):
        smaller, larger = price(narrow), price(ARCHS[name])
        total = "array_pj" if hasattr(smaller, "pj") else "array_um2"
        assert getattr(smaller, total) < getattr(larger, total)


# Zero gating


@pytest.mark.parametrize("name", ARCHS)
def test_gating_pays_product_and_accumulation_for_live_products_only(name):
    gated = ARCHS[name].replace(**{"pe.zero_gating": True})
    full, half = (energy(gated, replace(ACTIVITY, live_products=live)) for live in (120, 60))
    always = sum(HOROWITZ.part_energy_pj(part) for part in gated.pe.parts(datapath(gated)) if not part.gated)
    assert half.pj["accumulate"] == pytest.approx(full.pj["accumulate"] / 2)
    assert half.pj["product"] - 120 * always == pytest.approx((full.pj["product"] - 120 * always) / 2)
    assert (half.live_share, half.live_share_assumed) == (0.5, False)
    for component in set(half.pj) - {"product", "accumulate"}:
        assert half.pj[component] == full.pj[component]


def test_gating_has_a_price_of_its_own():
    plain, gated = multiply(), arch({"kind": "multiply", "acc_bits": 24, "zero_gating": True})
    extra = 16 * 0.01805590 / 32 + 16 * 0.13 / 160  # an OR tree and a hold multiplexer per operand
    everything_live = replace(ACTIVITY, live_products=120)
    assert energy(gated, everything_live).alu_pj - energy(plain).alu_pj == pytest.approx(120 * extra)
    assert array_area(HOROWITZ, gated).alu_um2 > array_area(HOROWITZ, plain).alu_um2


def test_without_gating_zeros_cost_as_much():
    few, none = replace(ACTIVITY, live_products=1), replace(ACTIVITY, live_products=None)
    assert energy(multiply(), few) == energy(multiply()) == energy(multiply(), none)
    assert energy(multiply(), none).live_share_assumed is False


def test_without_values_a_stated_share_is_assumed():
    gated = arch({"kind": "multiply", "acc_bits": 24, "zero_gating": True})
    guess = energy(gated, replace(ACTIVITY, live_products=None))
    known = energy(gated, replace(ACTIVITY, live_products=round(120 * ASSUMED_LIVE_SHARE)))
    assert guess.pj == pytest.approx(known.pj)
    assert (guess.live_share, guess.live_share_assumed) == (ASSUMED_LIVE_SHARE, True)


# Provenance


def test_unverified_and_derived_entries_are_named():
    found = energy(ARCHS["shift"]).provenance
    flagged = {entry.partition(":")[0] for entry in found.unverified}
    assert {"shifter energy_pj", "shifter area_um2", "mux energy_pj", "adder area_um2"} <= flagged
    assert not {"adder energy_pj", "register energy_pj", "multiplier energy_pj", "multiplier area_um2"} & flagged
    assert any(entry.startswith("mux energy_pj: [derived]") for entry in found.derived)
    assert all("ShiftAddNet" in entry for entry in found.unverified if entry.startswith(("shifter", "mux")))
    unused = array_area(HOROWITZ, ARCHS["decode"]).provenance
    assert not any(entry.startswith("multiplier") for entry in unused.unverified)
    assert any(entry.startswith("multiplier area_um2") for entry in energy(multiply()).provenance.unverified)


def test_provenance_states_technology_and_what_is_left_out():
    tree = energy(multiply()).provenance.to_dict()
    assert json.loads(json.dumps(tree, allow_nan=False)) == tree
    assert (tree["profile"], tree["node_nm"], tree["voltage_v"], tree["clock_mhz"]) == ("horowitz_45nm", 45, 0.9, None)
    for word in ("leakage", "clock tree", "wires", "area of scratchpads"):
        assert any(word in entry for entry in tree["excluded"])
    assert array_area(load_profile("aladdin_40nm"), multiply()).provenance.unverified == ()


# Bits moved


@pytest.mark.parametrize(("name", "psum_bits"), [("multiply", 24), ("decode bins", 56), ("logsum", 44)])
def test_bits_moved_touch_every_word_once(name, psum_bits):
    layer = Layer(name="a", in_channels=4, out_channels=6, in_size=(5, 7), kernel=3, stride=2, padding=1, groups=2)
    path = datapath(ARCHS[name])
    ifmap, filters, ofmap = 2 * 4 * 5 * 7, 6 * 2 * 3 * 3, 2 * 6 * 3 * 4
    assert bits_moved(layer, 2, path, ARCHS[name].output) == {
        "ifmap": ifmap * path.activation.bits,
        "filter": filters * path.weight.bits,
        "psum": ofmap * psum_bits,
        "ofmap": ofmap * 8,
    }


def test_stage_registers_stand_where_the_word_is_narrowest():
    widths = {name: stage_bits(datapath(architecture)) for name, architecture in ARCHS.items()}
    assert widths["multiply"] == 16
    assert widths["shift"] == 8 + 14
    assert widths["decode"] == widths["logsum"] == 5 + 2
