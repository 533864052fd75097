"""The mapper: loops against tiles one by one, arrays over the space against them, the optimum against all."""

from dataclasses import replace
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_cases import DRAMS, IDEAL, WAYS, handed_layers, memory_of, some_mapping

from logaccel.arch import ChannelDram, Memory, Objective, PEArray
from logaccel.errors import ConfigError, WorkloadError
from logaccel.memory.accounting import count_work
from logaccel.memory.choices import choices, even_steps, steps
from logaccel.memory.loops import Run, TileCycles, flatten, time_loops, total
from logaccel.memory.mapper import candidates, evaluate, fits, map_layer, rank_mappings
from logaccel.memory.prices import LayerPrices, MemoryPrices, ScratchpadPrice
from logaccel.memory.space import Space
from logaccel.memory.tiles import Mapping, TiledLayer
from logaccel.memory.timing import TileWork, time_tiles, transfer_cycles
from logaccel.memory.waits import tile_work
from logaccel.memory.widths import WordWidths
from logaccel.workload import Layer

OBJECTIVES = st.sampled_from(["cycles", "energy", "edp", "traffic"])
SIZES = st.tuples(*[st.integers(30, 400)] * 3)
TILES = st.builds(TileWork, st.integers(0, 40), st.integers(0, 40), st.integers(1, 60), st.integers(0, 80))
PJ = st.integers(0, 20).map(float)
PADS = st.builds(ScratchpadPrice, PJ, PJ)
PRICES = st.builds(LayerPrices, st.builds(MemoryPrices, PADS, PADS, PADS, PJ, PJ), PJ, PJ, PJ)
LOOPS = st.recursive(
    st.tuples(st.builds(Run, TILES, st.integers(1, 40))),
    lambda inner: st.lists(st.builds(Run, inner, st.integers(1, 6)), min_size=1, max_size=3).map(tuple),
    max_leaves=6,
)


def in_cycles(work: TileWork, dram: ChannelDram) -> TileCycles:
    read = transfer_cycles(work.read_bits, dram, dram.latency_cycles)
    return TileCycles(read, work.compute_cycles, transfer_cycles(work.write_bits, dram, 0))


def spent_pj(tiled: TiledLayer, mapping: Mapping, prices: LayerPrices, cycles: int) -> float:
    """Price the reads and writes that the accounting counts (tests/test_accounting.py walks them word by word)."""
    work, memory = count_work(tiled, mapping), prices.memory
    loads = {"os": 0, "ws": work.activity.weight_writes, "is": work.activity.activation_writes}[tiled.dataflow]
    pads = ((memory.ifmap, work.traffic.ifmap), (memory.filter, work.traffic.filter),
            (memory.ofmap, work.traffic.psum), (memory.ofmap, work.traffic.ofmap),
            (memory.ifmap, work.traffic.handed))  # fmt: skip
    return (
        prices.fixed_pj + prices.load_pj * loads + prices.psum_move_pj * work.activity.psum_moves
        + sum(pad.read_pj_per_bit * flow.read_bits + pad.write_pj_per_bit * flow.write_bits for pad, flow in pads)
        + memory.dram_pj_per_bit * work.traffic.dram.bits + memory.leakage_pj_per_cycle * cycles
    )  # fmt: skip


def brute_force(tiled: TiledLayer, mapping: Mapping, memory: Memory, prices: LayerPrices) -> tuple[float, float]:
    """Return the cost of a mapping from its tiles, walked one by one. Prices are whole numbers: sums are exact."""
    works = [tile_work(tiled, tile, memory) for tile in flatten(tiled.loops(mapping))]
    cycles = time_tiles(works, memory.dram).total_cycles
    bits = sum(work.read_bits + work.write_bits for work in works)
    energy = spent_pj(tiled, mapping, prices, cycles)
    return {
        "cycles": (cycles, bits), "traffic": (bits, cycles), "energy": (energy, cycles),
        "edp": (energy * cycles, cycles),
    }[memory.objective]  # fmt: skip


@given(loops=LOOPS, dram=DRAMS)
@settings(max_examples=150, deadline=None)
def test_loops_end_when_their_tiles_do(loops: tuple[Run[TileWork], ...], dram: ChannelDram) -> None:
    works = list(flatten(loops))
    assert total(loops, lambda work: work.compute_cycles) == sum(work.compute_cycles for work in works)
    timing = time_tiles(works, dram)
    elapsed = time_loops(converted(loops, dram))
    assert elapsed.total == timing.total_cycles
    assert elapsed.dram + elapsed.drain == timing.stall_cycles(works)


def converted(loops: object, dram: ChannelDram) -> tuple[Run[TileCycles], ...]:
    return tuple(
        Run(in_cycles(body, dram) if isinstance(body, TileWork) else converted(body, dram), times)
        for body, times in loops  # type: ignore[attr-defined]
    )


def test_a_long_loop_takes_no_longer_than_a_short_one() -> None:
    """A billion tiles: walking them would take hours."""
    tile = TileCycles(read=70, busy=90, write=30)
    many = time_loops((Run(tile, 10**9),))
    assert many.total - time_loops((Run(tile, 10**9 - 1),)).total == 100  # the channel is the busier one


@given(tiled=handed_layers(), pick=st.integers(0, 10_000))
@settings(deadline=None)
def test_loops_are_the_tiles_in_order(tiled: TiledLayer, pick: int) -> None:
    mapping = some_mapping(tiled, pick)
    assert [tiled.work(tile) for tile in flatten(tiled.loops(mapping))] == list(tiled.tiles(mapping))


@given(tiled=handed_layers(), dram=DRAMS, ways=WAYS, pick=st.integers(0, 10_000), more=st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_wider_ports_and_no_banks_never_cost_cycles(
    tiled: TiledLayer, dram: ChannelDram, ways: Any, pick: int, more: int
) -> None:
    """Under one mapping. (More banks can: a stride may divide their number.)"""
    mapping = some_mapping(tiled, pick)
    wider = [(bits and bits + more, banks) for bits, banks in ways]
    bankless = [(bits, None) for bits, _ in ways]
    cycles = evaluate(tiled, mapping, memory_of((2**30,) * 3, dram, ways)).total_cycles
    for better in (wider, bankless, IDEAL):
        assert evaluate(tiled, mapping, memory_of((2**30,) * 3, dram, better)).total_cycles <= cycles


@given(tiled=handed_layers(), pick=st.integers(0, 10_000))
@settings(deadline=None)
def test_outputs_begin_where_others_ended(tiled: TiledLayer, pick: int) -> None:
    begins = True
    for tile in flatten(tiled.loops(some_mapping(tiled, pick))):
        assert tile.first == begins
        begins = tile.last


@given(tiled=handed_layers(), dram=DRAMS, sizes=SIZES, ways=WAYS)
@settings(max_examples=40, deadline=None)
def test_no_tile_beats_the_bound_of_its_ports(tiled: TiledLayer, dram: ChannelDram, sizes: Any, ways: Any) -> None:
    memory = memory_of(sizes, dram, ways)
    space = Space(tiled, memory, dram, choices(tiled))
    for index, mapping in list(enumerate(candidates(tiled)))[::7]:
        works = [tile_work(tiled, tile, memory) for tile in flatten(tiled.loops(mapping))]
        assert np.broadcast_to(space.busy_cycles, space.shape).flat[index] <= sum(work.busy_cycles for work in works)
        found = evaluate(tiled, mapping, memory)
        assert found.stalls.port == sum(work.port_stall_cycles for work in works)
        assert found.stalls.bank == sum(work.bank_stall_cycles for work in works)
        assert found.stalls.total == time_tiles(works, dram).stall_cycles(works)
        assert np.broadcast_to(space.least_cycles, space.shape).flat[index] <= found.compute_cycles + found.stalls.total


@given(tiled=handed_layers(), dram=DRAMS, sizes=SIZES)
@settings(max_examples=40, deadline=None)
def test_arrays_over_the_space_equal_each_mapping(
    tiled: TiledLayer, dram: ChannelDram, sizes: tuple[int, int, int]
) -> None:
    memory = memory_of(sizes, dram)
    space = Space(tiled, memory, dram, choices(tiled))
    flat = {
        name: np.broadcast_to(array, space.shape).ravel()
        for name, array in (
            ("compute", space.compute_cycles), ("least", space.least_cycles),
            ("ifmap", space.dram_read_bits[0]), ("filter", space.dram_read_bits[1]),
        )
    }  # fmt: skip
    for index, mapping in enumerate(candidates(tiled)):
        assert space.mapping(index) == mapping
        works = list(tiled.tiles(mapping))
        assert flat["compute"][index] == sum(work.compute_cycles for work in works)
        assert flat["ifmap"][index] == sum(work.ifmap_read_bits for work in works)
        assert flat["filter"][index] == sum(work.filter_read_bits for work in works)
        assert space.dram_write_bits == sum(work.write_bits for work in works)
        assert flat["least"][index] <= time_tiles(works, dram).total_cycles
        assert fits(tiled, mapping, memory) or not space.fits.ravel()[index]


@given(tiled=handed_layers(), dram=DRAMS)
@settings(max_examples=40, deadline=None)
def test_a_dropped_order_runs_the_same_tiles(tiled: TiledLayer, dram: ChannelDram) -> None:
    space = Space(tiled, memory_of((2**30,) * 3, dram), dram, choices(tiled))
    for index in np.flatnonzero(~space.fits):
        dropped = space.mapping(int(index))
        kept = replace(dropped, order="channels")
        assert dropped.order == "pixels"
        assert list(tiled.tiles(dropped)) == list(tiled.tiles(kept))


@given(
    tiled=handed_layers(), dram=DRAMS, sizes=SIZES, objective=OBJECTIVES, prices=PRICES,
    ways=st.one_of(st.just(IDEAL), WAYS),
)  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_the_mapper_finds_the_best_of_all(
    tiled: TiledLayer, dram: ChannelDram, sizes: Any, objective: Objective, prices: LayerPrices, ways: Any
) -> None:
    memory = memory_of(sizes, dram, ways, objective=objective)
    fitting = [mapping for mapping in candidates(tiled) if fits(tiled, mapping, memory)]
    if not fitting:
        with pytest.raises(ConfigError, match="random: memory"):
            map_layer(tiled, memory, prices)
        return
    costs = {mapping: brute_force(tiled, mapping, memory, prices) for mapping in fitting}
    order = sorted(fitting, key=costs.__getitem__)  # stable: of equals the first of the space
    found = rank_mappings(tiled, memory, prices, places=2)
    assert found[0].mapping == order[0]
    assert found[0] == map_layer(tiled, memory, prices)
    assert [entry.cost(objective) for entry in found] == [costs[entry.mapping] for entry in found]
    different = [m for m in order if list(tiled.tiles(m)) != list(tiled.tiles(order[0]))]
    if different:
        assert costs[found[1].mapping] <= costs[different[0]]


@given(tiled=handed_layers(), dram=DRAMS, sizes=SIZES, objective=OBJECTIVES, prices=PRICES, data=st.data())
@settings(max_examples=40, deadline=None)
def test_fixed_parts_stay_and_the_rest_is_the_best(
    tiled: TiledLayer, dram: ChannelDram, sizes: tuple[int, int, int], objective: Objective, prices: LayerPrices,
    data: st.DataObject,
) -> None:  # fmt: skip
    whole = {"images": tiled.batch, "ofmap_rows": tiled.layer.out_size[0], "ofmap_columns": tiled.layer.out_size[1],
             "ofmap_channels": tiled.group_channels[0], "ifmap_channels": tiled.group_channels[1]}  # fmt: skip
    parts = {name: data.draw(st.integers(1, bound)) for name, bound in whole.items() if data.draw(st.booleans())}
    if tiled.dataflow == "os":
        parts.pop("ifmap_channels", None)
    if data.draw(st.booleans()):
        parts["order"] = data.draw(st.sampled_from(["channels", "pixels"]))
    memory = memory_of(sizes, dram, objective=objective, mapping={"random": parts})
    axes = {"images": steps(tiled.batch), "ofmap_rows": even_steps(whole["ofmap_rows"]),
            "ofmap_columns": even_steps(whole["ofmap_columns"]), "ofmap_channels": even_steps(whole["ofmap_channels"]),
            "ifmap_channels": steps(whole["ifmap_channels"]), "order": ("channels", "pixels")}  # fmt: skip
    every = [dict(zip(axes, sizes, strict=True)) for sizes in product(*((parts[n],) if n in parts else axes[n]
             for n in axes))]  # fmt: skip
    nested = list(combinations(("images", "ofmap_rows", "ofmap_columns"), 2))

    def cut(sizes: dict[str, Any]) -> list[tuple[str, str]]:
        """Return pairs of axes of which a tile takes several of the outer one, but a part of the inner one."""
        return [pair for pair in nested if sizes[pair[0]] > 1 and sizes[pair[1]] < whole[pair[1]]]

    as_told = any(set(pair) <= set(parts) for pair in cut(whole | parts))  # the fixed sizes are no run of pixels
    allowed = [
        Mapping(**sizes) for sizes in every
        if (as_told or not cut(sizes))
        and (tiled.dataflow != "os" or sizes["ifmap_channels"] == whole["ifmap_channels"])
    ]  # fmt: skip
    fitting = [mapping for mapping in allowed if fits(tiled, mapping, memory)]
    if not fitting:
        with pytest.raises(ConfigError, match=r"random: memory\.(ifmap|filter|ofmap): two of the smallest|at once"):
            map_layer(tiled, memory, prices)
        return
    found = map_layer(tiled, memory, prices)
    assert all(getattr(found.mapping, name) == value for name, value in parts.items())
    assert found.cost(objective) == min(brute_force(tiled, mapping, memory, prices) for mapping in fitting)


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [
        ({"conv": {"ofmap_rows": 8}}, "conv: memory.mapping.ofmap_rows: must be at most 7, the loop's bound, got 8"),
        ({"conv": {"images": 2, "ofmap_channels": 12}},
         "conv: memory.mapping.images: must be at most 1, the loop's bound, got 2\n"
         "conv: memory.mapping.ofmap_channels: must be at most 11, the loop's bound, got 12"),
        ({"all": {"ofmap_rows": 99}, "conv": {"ofmap_channels": 11}},
         "conv: memory.ofmap: two of the smallest tiles that memory.mapping allows need 3234 bytes, it holds 3000"),
    ],
)  # fmt: skip
def test_a_fixed_mapping_that_cannot_be_names_layer_loop_or_level(mapping: dict[str, Any], problem: str) -> None:
    layer = Layer(name="conv", in_channels=7, out_channels=11, in_size=(9, 9), kernel=(3, 3))
    tiled = TiledLayer(layer, 1, PEArray(rows=4, cols=4), "ws", WordWidths(8, 8, 24, 8))
    memory = memory_of((10**4, 10**4, 3000), ChannelDram(bits_per_cycle=16), objective="cycles", mapping=mapping)
    with pytest.raises(ConfigError) as caught:
        map_layer(tiled, memory)
    assert str(caught.value) == problem


def test_an_output_stationary_tile_cannot_cut_the_reduction() -> None:
    layer = Layer(name="conv", in_channels=7, out_channels=11, in_size=(9, 9), kernel=(3, 3))
    tiled = TiledLayer(layer, 1, PEArray(rows=4, cols=4), "os", WordWidths(8, 8, 8, 8))
    mapping = {"all": {"ifmap_channels": 3}}
    memory = memory_of((10**5,) * 3, ChannelDram(bits_per_cycle=16), objective="cycles", mapping=mapping)
    with pytest.raises(ConfigError) as caught:
        map_layer(tiled, memory)
    rule = "must be 7: an output-stationary tile holds the whole reduction"
    assert str(caught.value) == f"conv: memory.mapping.ifmap_channels: {rule}, got 3"


@given(tiled=handed_layers(), dram=DRAMS, pick=st.integers(0, 10_000), prices=PRICES)
@settings(deadline=None)
def test_a_mapping_costs_what_its_tiles_do(
    tiled: TiledLayer, dram: ChannelDram, pick: int, prices: LayerPrices
) -> None:
    mapping, memory = some_mapping(tiled, pick), memory_of((1, 1, 1), dram)
    found, works = evaluate(tiled, mapping, memory, prices), list(tiled.tiles(mapping))
    assert found.energy_pj == spent_pj(tiled, mapping, prices, found.total_cycles)
    timing = time_tiles(works, dram)
    assert (found.tiles, found.stall_cycles) == (len(works), timing.stall_cycles(works))
    assert found.compute_cycles + found.stall_cycles == timing.total_cycles
    assert found.dram_read_bits == sum(work.read_bits for work in works)
    assert found.dram_write_bits == sum(work.write_bits for work in works)


def test_steps_give_every_number_of_blocks_the_least_step() -> None:
    for size in range(1, 400):
        assert even_steps(size) == tuple(sorted({-(-size // count) for count in range(1, size + 1)}))
        assert set(steps(size)) >= {size, 1} and max(steps(size)) == size


def test_equal_layers_are_mapped_once(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Layer(name="a", in_channels=7, out_channels=11, in_size=(9, 9), kernel=(3, 3))
    tiled = TiledLayer(layer, 1, PEArray(rows=4, cols=4), "ws", WordWidths(8, 8, 20, 8))
    memory = memory_of((4000, 4000, 4000), ChannelDram(bits_per_cycle=16), objective="cycles")
    first = map_layer(tiled, memory)
    monkeypatch.setattr("logaccel.memory.mapper.Space", None)  # a second search would fail
    other = TiledLayer(
        tiled.layer.model_copy(update={"name": "b", "relu": False}), 1, tiled.array, "ws", tiled.widths
    )  # fmt: skip
    assert map_layer(other, memory) is first


def test_sums_beyond_64_bits_are_refused() -> None:
    layer = Layer(name="huge", kind="fc", in_channels=2**24, out_channels=2**24)
    tiled = TiledLayer(layer, 2**10, PEArray(rows=4, cols=4), "ws", WordWidths(8, 8, 20, 8))
    with pytest.raises(WorkloadError) as caught:
        map_layer(tiled, memory_of((2**20,) * 3, ChannelDram(bits_per_cycle=16), objective="cycles"))
    assert str(caught.value) == (
        "huge: must be at most 1,125,899,906,842,624 MACs to be mapped, got 288,230,376,151,711,744"
    )
