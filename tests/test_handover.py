"""Ofmaps that stay on chip as the next ifmap: nothing else changes, and the best way to choose is found."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise, product
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_cases import DRAMS, handed_layers, memory_of, some_mapping, tiled_layers

from logaccel.arch import Architecture, ChannelDram, Objective, load_arch
from logaccel.cost import load_profile, memory_prices
from logaccel.costed import Prices
from logaccel.errors import ConfigError
from logaccel.mapping import map_network
from logaccel.memory.access_trace import KINDS
from logaccel.memory.accounting import count_work
from logaccel.memory.mapper import MappedLayer, map_layer
from logaccel.memory.tiles import TiledLayer
from logaccel.planning import OnChip, plan_layer, plan_network
from logaccel.quantization import layer_architectures, quantize_network
from logaccel.report.access_trace import access_tables
from logaccel.simulation import simulate
from logaccel.trace import Trace, synthesize_trace
from logaccel.workload import Layer, Network

NETWORK = Network(
    name="chain",
    batch=2,
    layers=(
        Layer(name="a", in_channels=3, out_channels=6, in_size=(9, 8), kernel=(3, 3)),
        Layer(name="b", in_channels=6, out_channels=8, in_size=(7, 6), kernel=(3, 3), padding=(1, 1, 1, 1)),
        Layer(name="c", kind="fc", in_channels=8 * 7 * 6, out_channels=20),
        Layer(name="d", kind="fc", in_channels=20, out_channels=5),
    ),
)


def arch(ifmap_bytes: int, **changes: Any) -> Architecture:
    memory = {
        "ifmap": {"bytes": ifmap_bytes}, "filter": {"bytes": 900}, "ofmap": {"bytes": 900},
        "dram": {"bits_per_cycle": 8, "latency_cycles": 9, "burst_bits": 32},
    }  # fmt: skip
    own = changes.pop("memory", {})
    return load_arch("shift_4b_16x16").replace(memory=memory | own, array={"rows": 4, "cols": 4}, **changes)


@given(tiled=tiled_layers(), pick=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_dram_bits_drop_by_exactly_what_stays(tiled: TiledLayer, pick: int) -> None:
    mapping = some_mapping(tiled, pick)
    plain = count_work(tiled, mapping)
    for ifmap, ofmap in product((False, True), repeat=2):
        handed = count_work(replace(tiled, ifmap_on_chip=ifmap, ofmap_on_chip=ofmap), mapping)
        before, after = plain.traffic, handed.traffic
        dropped = ifmap * before.dram_ifmap.bits + ofmap * before.dram_ofmap.bits
        assert after.dram.bits == before.dram.bits - dropped
        assert handed.activity == plain.activity  # the array does not notice
        assert (after.ifmap.read_words, after.filter, after.psum) == (
            before.ifmap.read_words,
            before.filter,
            before.psum,
        )
        assert after.ifmap.write_words == (0 if ifmap else before.ifmap.write_words)
        # Every finished word is written once, into one scratchpad or the other, and read for DRAM if it goes there.
        assert after.handed.write_words + after.ofmap.write_words == prod(tiled.layer.ofmap_shape(tiled.batch))
        assert after.ofmap.read_words == after.ofmap.write_words == after.dram_ofmap.write_words


@given(tiled=handed_layers(), dram=DRAMS, size=st.integers(60, 400), waiting=st.integers(1, 100))
@settings(max_examples=60, deadline=None)
def test_maps_that_wait_leave_as_much_less_room(tiled: TiledLayer, dram: ChannelDram, size: int, waiting: int) -> None:
    """A layer beside maps of so many bytes runs as in a scratchpad that is as much smaller."""
    found: list[MappedLayer | None] = []
    for pad, there in ((size + waiting, 8 * waiting), (size, 0)):
        try:
            one = replace(tiled, waiting_bits=there)
            found.append(map_layer(one, memory_of((pad, 300, 300), dram, objective="cycles")))
        except ConfigError:
            found.append(None)  # fits neither
    assert found[0] == found[1]


def best_of_all_ways(machine: Architecture, objective: Objective) -> float:
    """Try every way to hand over or not, layer by layer."""
    archs = layer_architectures(machine, NETWORK.layers)
    formats = quantize_network(NETWORK, archs)
    prices = Prices(
        load_profile(machine.cost_profile), memory_prices(load_profile(machine.cost_profile), machine, archs)
    )
    costs = []
    for stays in product((False, True), repeat=len(NETWORK.layers) - 1):
        edges = (False, *stays, False)
        try:
            planned = [
                plan_layer(layer, 2, own, chosen, prices, OnChip(edges[index], edges[index + 1]))
                for index, (layer, own, chosen) in enumerate(zip(NETWORK.layers, archs, formats, strict=True))
            ]
        except ConfigError:
            continue
        costs.append(sum(layer.mapped.cost(objective)[0] for layer in planned))  # type: ignore[union-attr]
    return min(costs)


@pytest.mark.parametrize("objective", ["cycles", "energy", "edp", "traffic"])
@pytest.mark.parametrize("ifmap_bytes", [300, 500, 700, 5000])
@pytest.mark.parametrize("dataflow", ["ws", "auto"])
def test_the_cheapest_way_to_hand_over_is_found(objective: Objective, ifmap_bytes: int, dataflow: str) -> None:
    machine = arch(ifmap_bytes, memory={"objective": objective}, dataflow=dataflow)
    found = simulate(NETWORK, machine).layers
    total = sum(layer.mapping.cost(objective)[0] for layer in found)  # type: ignore[union-attr]
    assert total == pytest.approx(best_of_all_ways(machine, objective), rel=1e-12)
    apart = simulate(NETWORK, machine.replace(**{"memory.handover": False})).layers
    assert total <= sum(layer.mapping.cost(objective)[0] for layer in apart)  # type: ignore[union-attr]


def test_with_room_only_the_ends_of_the_chain_cross_the_channel() -> None:
    layers = simulate(NETWORK, arch(100_000)).layers
    moved = [(layer.traffic.dram_ifmap.bits > 0, layer.traffic.dram_ofmap.bits > 0) for layer in layers]  # type: ignore[union-attr]
    assert moved == [(True, False), (False, False), (False, False), (False, True)]
    for before, after in pairwise(layers):
        assert before.tiled is not None and after.tiled is not None
        assert before.tiled.ofmap_on_chip == after.tiled.ifmap_on_chip is True
    last = layers[-1].traffic
    assert last is not None and last.dram_ofmap.write_words == 2 * 5


def test_nothing_is_handed_over_where_the_user_says_so_or_it_does_not_fit() -> None:
    for machine in (arch(100_000, memory={"handover": False}), arch(200, dataflow="ws")):
        for layer in simulate(NETWORK, machine).layers[:2]:
            assert layer.tiled is not None and not layer.tiled.ofmap_on_chip
            assert layer.traffic is not None and layer.traffic.dram_ofmap.bits > 0


def test_a_traced_ifmap_that_is_another_tensor_comes_from_dram() -> None:
    trace = synthesize_trace(NETWORK, seed=2)
    fed = trace.unfed_layers()
    first, *rest = trace.layers
    same = replace(rest[0], ifmap=first.ofmap.copy())
    joined = Trace(name="joined", source="", layers=(first, same, *rest[1:]), labels=None)
    assert set(joined.unfed_layers()) == set(fed) - {"b"}
    on_chip = [layer.tiled.ifmap_on_chip for layer in simulate(joined, arch(100_000)).layers]  # type: ignore[union-attr]
    assert on_chip == [layer.name not in joined.unfed_layers() and layer.name != "a" for layer in NETWORK.layers]


def test_values_do_not_depend_on_where_maps_lie() -> None:
    trace = synthesize_trace(NETWORK, seed=2)
    one, other = simulate(trace, arch(100_000)), simulate(trace, arch(100_000, memory={"handover": False}))
    for mine, theirs in zip(one.layers, other.layers, strict=True):
        assert np.array_equal(mine.ofmap_codes, theirs.ofmap_codes)  # type: ignore[arg-type]


def test_the_map_says_what_was_handed_over() -> None:
    text = map_network(NETWORK, arch(100_000)).summary()
    assert text.count("whole ofmap, kept on chip: 2×6×7×6 words of 4 bits") == 1
    assert text.count("whole, kept on chip: 2×6×7×6 words of 4 bits") == 1
    layers = map_network(NETWORK, arch(100_000)).to_dict()["layers"]
    assert [layer["ofmap_on_chip"] for layer in layers] == [True, True, True, False]


def test_a_layer_that_fits_only_where_its_ifmap_already_lies() -> None:
    """OS: two tiles of the whole reduction do not fit, the ifmap itself does."""
    layers = (Layer(name="x", kind="fc", in_channels=20, out_channels=500),
              Layer(name="y", kind="fc", in_channels=500, out_channels=4))  # fmt: skip
    network = Network(name="two", layers=layers)
    machine = arch(280, memory={"filter": {"bytes": 5000}}, dataflow="os")
    assert simulate(network, machine).layers[1].tiled.ifmap_on_chip  # type: ignore[union-attr]
    with pytest.raises(ConfigError) as caught:
        simulate(network, machine.replace(**{"memory.handover": False}))
    assert str(caught.value) == "y: memory.ifmap: two of the smallest tiles need 500 bytes, it holds 280"


def test_plans_of_a_network_are_plans_of_its_layers_where_nothing_is_handed_over() -> None:
    machine = arch(100_000, memory={"handover": False})
    archs = layer_architectures(machine, NETWORK.layers)
    formats = quantize_network(NETWORK, archs)
    profile = load_profile(machine.cost_profile)
    prices = Prices(profile, memory_prices(profile, machine, archs))
    apart = tuple(plan_layer(*each, prices) for each in zip(NETWORK.layers, (2,) * 4, archs, formats, strict=True))
    assert plan_network(NETWORK, archs, formats, prices).layers == apart


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_traced_words_are_read_where_the_layer_before_wrote_them(dataflow: str) -> None:
    """Each traced access is one of those counted; a handed word is written once and read at the same address."""
    result = simulate(NETWORK, arch(1600, dataflow=dataflow))
    assert [layer.tiled.ifmap_on_chip for layer in result.layers] == [False, True, True, True]  # type: ignore[union-attr]
    sums: Counter[tuple[str, str, str, str]] = Counter()
    handed: dict[str, Counter[int]] = {layer.name: Counter() for layer in result.layers}
    read: dict[str, set[int]] = {layer.name: set() for layer in result.layers}
    for table in access_tables(result):
        rows = (table.rows.kind.tolist(), table.address.tolist(), table.rows.words.tolist(), table.bits.tolist())
        for number, address, words, bits in zip(*rows, strict=True):
            kind = KINDS[number]
            sums[table.layer, *kind] += bits
            if kind == ("ifmap", "write", "ofmap"):
                handed[table.layer].update(range(address, address + words))
            elif kind == ("ifmap", "read", "ifmap"):
                read[table.layer].update(range(address, address + words))
    for before, layer in pairwise(result.layers):
        assert set(handed[before.name].values()) == {1}
        assert len(handed[before.name]) == prod(layer.tiled.layer.ifmap_shape(2))  # type: ignore[union-attr]
        assert read[layer.name] == set(handed[before.name])  # every word of these layers is needed
        assert read[layer.name].isdisjoint(handed[layer.name])
        assert max(handed[before.name]) < 8 * 1600 // 4
    for layer in result.layers:
        traffic = layer.traffic
        assert traffic is not None
        for level, operand, flow in (
            ("ifmap", "ifmap", traffic.ifmap), ("filter", "filter", traffic.filter), ("ofmap", "psum", traffic.psum),
            ("ofmap", "ofmap", traffic.ofmap), ("ifmap", "ofmap", traffic.handed),
            ("dram", "ifmap", traffic.dram_ifmap), ("dram", "filter", traffic.dram_filter),
            ("dram", "ofmap", traffic.dram_ofmap),
        ):  # fmt: skip
            assert sums[layer.name, level, "read", operand] == flow.read_bits
            assert sums[layer.name, level, "write", operand] == flow.write_bits
