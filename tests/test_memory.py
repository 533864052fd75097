"""Tiles and DRAM: the event form against a stepper, sums against tiles, tiles against loops, mapper against all."""

from collections import Counter
from math import prod
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from memory_cases import DRAMS, memory_of, some_mapping, tiled_layers

from logaccel.arch import ChannelDram, Dataflow, PEArray, load_arch
from logaccel.errors import ConfigError
from logaccel.memory.mapper import evaluate
from logaccel.memory.tiles import Mapping, TiledLayer, most_stored, stored_span
from logaccel.memory.timing import SteadyChannel, TileWork, tile_spans, time_tiles
from logaccel.schedule.cycles import compute_cycles
from logaccel.schedule.folds import plan_folds
from logaccel.simulation import MEMORY_NOTE, READY_NOTE, simulate
from logaccel.workload import Layer, MatrixShape, Network, load_network

MEMORY: dict[str, Any] = {
    **{name: {"bytes": 2**18} for name in ("ifmap", "filter", "ofmap")},
    "dram": {"bits_per_cycle": 64, "latency_cycles": 50, "burst_bits": 512},
}
WORKS = st.lists(
    st.builds(TileWork, st.integers(0, 50), st.integers(0, 40), st.integers(1, 30), st.integers(0, 60)),
    min_size=1,
    max_size=9,
)


def stepped(works: list[TileWork], dram: ChannelDram) -> tuple[list[int], int, dict[tuple[str, int], tuple[int, int]]]:
    """Step channel and array one cycle at a time; knows a queue and flags, no formulas."""
    count = len(works)
    order = [("read", i) for i in range(min(2, count))]
    for i in range(2, count):
        order += [("read", i), ("write", i - 2)]
    order += [("write", i) for i in range(max(0, count - 2), count)]
    bits = {("read", i): work.read_bits for i, work in enumerate(works)}
    bits |= {("write", i): work.write_bits for i, work in enumerate(works)}
    queue = [request for request in order if bits[request]]
    moved: set[tuple[str, int]] = set()
    computed = [False] * count

    def ready(kind: str, i: int) -> bool:
        """May the transfer start: is the half that it fills free, or is what it writes computed?"""
        return computed[i] if kind == "write" else i < 2 or computed[i - 2]

    def complete(kind: str, i: int) -> bool:
        return (kind, i) in moved or (bits[kind, i] == 0 and ready(kind, i))

    starts: list[int] = []
    transfers: dict[tuple[str, int], tuple[int, int]] = {}
    wait = words = running = cycle = 0
    while not all(complete("write", i) for i in range(count)):
        if not wait and not words and queue and ready(*queue[0]):
            wait = dram.latency_cycles if queue[0][0] == "read" else 0
            words = -(-bits[queue[0]] // dram.burst_bits) * dram.burst_bits
            transfers[queue[0]] = cycle, cycle
        tile = len(starts)
        if not running and tile < count and complete("read", tile) and (tile < 2 or complete("write", tile - 2)):
            starts.append(cycle)
            running = works[tile].compute_cycles
        if wait:
            wait -= 1
        elif words:
            words = max(0, words - (dram.bits_per_cycle or words))
            if not words:
                transfers[queue[0]] = transfers[queue[0]][0], cycle + 1
                moved.add(queue.pop(0))
        if running:
            running -= 1
            computed[len(starts) - 1] = running == 0
        cycle += 1
    return starts, cycle, transfers


@given(works=WORKS, dram=DRAMS)
@settings(max_examples=400)
def test_events_equal_the_stepper(works: list[TileWork], dram: ChannelDram) -> None:
    timing = time_tiles(works, dram)
    starts, total, transfers = stepped(works, dram)
    assert (list(timing.start_cycles), timing.total_cycles) == (starts, total)
    tiles = list(tile_spans(iter(works), SteadyChannel(dram)))
    assert [tile.work for tile in tiles] == works
    assert [tile.busy for tile in tiles] == [
        (start, start + work.compute_cycles) for start, work in zip(starts, works, strict=True)
    ]
    spans = {("read", index): tile.read for index, tile in enumerate(tiles)}
    spans |= {("write", index): tile.write for index, tile in enumerate(tiles)}
    assert {key: span for key, span in spans.items() if span.cycles} == transfers


@given(works=WORKS, dram=DRAMS, more=st.integers(1, 40))
def test_more_bandwidth_never_costs_cycles(works: list[TileWork], dram: ChannelDram, more: int) -> None:
    faster = dram.model_copy(update={"bits_per_cycle": (dram.bits_per_cycle or 0) + more})
    assert time_tiles(works, faster).total_cycles <= time_tiles(works, dram).total_cycles


def counted(tiled: TiledLayer, mapping: Mapping) -> tuple[int, int, int]:
    """Walk every product of every tile: (MACs, bits read, bits written), operands as sets of single words."""
    layer, (m_all, c_all) = tiled.layer, tiled.group_channels
    height, width = layer.in_size

    def parts(size: int, step: int) -> list[range]:
        return [range(at, min(size, at + step)) for at in range(0, size, step)]

    maps = [
        (n, p, q)
        for n in parts(tiled.batch, mapping.images)
        for p in parts(layer.out_size[0], mapping.ofmap_rows)
        for q in parts(layer.out_size[1], mapping.ofmap_columns)
    ]
    outer = [(m, *where) for m in parts(m_all, mapping.ofmap_channels) for where in maps]
    if mapping.order == "pixels":
        outer = [(m, *where) for where in maps for m in parts(m_all, mapping.ofmap_channels)]
    macs = read = written = 0
    held: list[object] = [None, None]
    for group in range(layer.groups):
        for ms, ns, ps, qs in outer:
            for cs in parts(c_all, mapping.ifmap_channels):
                macs += len(ms) * len(ns) * len(ps) * len(qs) * len(cs) * prod(layer.kernel)
                lines = [p * layer.stride[0] + r * layer.dilation[0] - layer.padding[0] for p in ps
                         for r in (0, layer.kernel[0] - 1)]  # fmt: skip
                span = [h for h in range(min(lines), max(lines) + 1) if 0 <= h < height]
                spots = [q * layer.stride[1] + s * layer.dilation[1] - layer.padding[1] for q in qs
                         for s in (0, layer.kernel[1] - 1)]  # fmt: skip
                across = [x for x in range(width) if len(qs) == layer.out_size[1] or min(spots) <= x <= max(spots)]
                blocks = [(group, ns, ps, qs, cs), (group, ms, cs)]
                if blocks[0] != held[0]:
                    read += len({(n, c, h, x) for n in ns for c in cs for h in span for x in across}) \
                        * tiled.widths.ifmap_bits  # fmt: skip
                if blocks[1] != held[1]:
                    read += len(ms) * len(cs) * prod(layer.kernel) * tiled.widths.filter_bits
                held = list(blocks)
            written += len(ms) * len(ns) * len(ps) * len(qs) * tiled.widths.ofmap_bits
    return macs, read, written


@given(tiled=tiled_layers(), pick=st.integers(0, 10_000))
def test_tiles_equal_loops_over_words(tiled: TiledLayer, pick: int) -> None:
    mapping = some_mapping(tiled, pick)
    works = list(tiled.tiles(mapping))
    macs, read, written = counted(tiled, mapping)
    assert macs == tiled.layer.matrix(tiled.batch).macs
    assert read == sum(work.read_bits for work in works)
    assert written == sum(work.write_bits for work in works)


@given(tiled=tiled_layers(), pick=st.integers(0, 10_000))
def test_no_tile_needs_more_than_its_footprint(tiled: TiledLayer, pick: int) -> None:
    mapping = some_mapping(tiled, pick)
    need, works = tiled.footprint_bits(mapping), list(tiled.tiles(mapping))
    assert need["ifmap"] >= 2 * max(work.ifmap_read_bits for work in works)
    assert need["filter"] == 2 * max(work.filter_read_bits for work in works)
    assert (
        need["ofmap"] * tiled.widths.ofmap_bits == 2 * max(work.write_bits for work in works) * tiled.widths.psum_bits
    )


def test_the_cases_of_these_tests_cut_columns() -> None:
    """Some tiles have a part of one row, some a rectangle, some of them of several images."""
    cut: Counter[tuple[bool, bool]] = Counter()

    @given(tiled=tiled_layers(), pick=st.integers(0, 10_000))
    @settings(max_examples=200, phases=[Phase.generate])
    def look(tiled: TiledLayer, pick: int) -> None:
        mapping = some_mapping(tiled, pick)
        if mapping.ofmap_columns < tiled.layer.out_size[1]:
            cut[mapping.ofmap_rows > 1, mapping.images > 1] += 1

    look()
    assert min(cut[kind] for kind in ((False, False), (True, False), (True, True))) >= 3
    assert cut.total() >= 60


def test_a_block_of_columns_reads_what_its_taps_need() -> None:
    """12 columns, padding 1 before, S = 3, stride 2, dilation 2: the taps of ofmap column q lie at 2q − 1 … 2q + 3."""
    layer = Layer(name="a", in_channels=1, out_channels=1, in_size=(1, 12), kernel=(1, 3), stride=(1, 2),
                  padding=(0, 1, 0, 0), dilation=(1, 2))  # fmt: skip
    assert layer.out_size == (1, 5)
    read = {(0, 2): (0, 6), (2, 4): (3, 10), (4, 5): (7, 12), (0, 5): (0, 12), (3, 4): (5, 10)}
    assert {block: stored_span(layer, 1, block) for block in read} == read


@given(tiled=tiled_layers(), pick=st.integers(0, 10_000))
def test_a_scratchpad_holds_twice_the_largest_tile_and_no_more(tiled: TiledLayer, pick: int) -> None:
    mapping = some_mapping(tiled, pick)
    works, need = list(tiled.tiles(mapping)), tiled.footprint_bits(mapping)
    assert need["ifmap"] == 2 * max(work.ifmap_read_bits for work in works)
    assert need["filter"] == 2 * max(work.filter_read_bits for work in works)


def test_of_two_blocks_each_sees_the_padding_at_its_own_side() -> None:
    """8 rows in halves, 3 × 3 with padding 1: taps reach rows −1 … 4 and 3 … 8, of which five are in the map."""
    layer = Layer(name="a", in_channels=1, out_channels=1, in_size=(8, 8), kernel=(3, 3), padding=(1, 1, 1, 1))
    assert [int(most_stored(layer, 0, size)) for size in (8, 4, 3, 2, 1)] == [8, 5, 5, 4, 3]


@given(tiled=tiled_layers())
@settings(max_examples=40)
def test_unlimited_memory_leaves_the_array_its_own_cycles(tiled: TiledLayer) -> None:
    one = TiledLayer(
        tiled.layer.model_copy(update={"groups": 1}), tiled.batch, tiled.array, tiled.dataflow, tiled.widths
    )
    whole = Mapping(one.batch, *one.layer.out_size, *one.group_channels, "channels")
    memory = memory_of((2**30,) * 3, ChannelDram(bits_per_cycle=None))
    found = evaluate(one, whole, memory)
    assert (found.compute_cycles, found.stall_cycles) == (
        plan_folds(one.layer.matrix(one.batch), one.array, one.dataflow).compute_cycles, 0
    )  # fmt: skip


@given(
    matrix=st.builds(MatrixShape, st.just(1), st.integers(1, 20), st.integers(1, 20), st.integers(1, 20)),
    array=st.builds(
        PEArray,
        rows=st.integers(1, 8),
        cols=st.integers(1, 8),
        overlap=st.booleans(),
        pipeline_stages=st.integers(0, 3),
    ),
    dataflow=st.sampled_from(["os", "ws", "is"]),
)
@settings(max_examples=1500)
def test_cycles_equal_those_of_the_listed_folds(matrix: MatrixShape, array: PEArray, dataflow: Dataflow) -> None:
    assert compute_cycles(matrix, array, dataflow) == plan_folds(matrix, array, dataflow).compute_cycles


def test_a_layer_that_fits_no_tile_names_need_and_capacity() -> None:
    layer = Layer(name="wide", kind="fc", in_channels=1000, out_channels=4)
    memory = {
        "ifmap": {"bytes": 100},
        "filter": {"bytes": 4000},
        "ofmap": {"bytes": 64},
        "dram": {"bits_per_cycle": 64},
    }
    arch = load_arch("multiply_8b_16x16").replace(memory=memory)
    with pytest.raises(ConfigError) as caught:
        simulate(Network(name="one", layers=(layer,)), arch)
    assert str(caught.value) == ("wide: memory.ifmap: two of the smallest tiles need 2000 bytes, it holds 100")


@pytest.mark.parametrize("value", [0, -1])
def test_zero_bandwidth_is_an_error(value: int) -> None:
    memory = MEMORY | {"dram": {"bits_per_cycle": value}}
    with pytest.raises(ConfigError) as caught:
        load_arch("multiply_8b_16x16").replace(memory=memory)
    assert str(caught.value) == (f"multiply_8b_16x16: memory.dram.bits_per_cycle: must be at least 1, got {value}")


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"bits_per_cycle": 8, "kind": "ddr9"}, "kind must be one of 'channel', 'banked', got 'ddr9'"),
        ({"latency_cycles": 8}, "bits_per_cycle: required, but missing"),
        ({"kind": "banked"}, "device: required, but missing"),
        ({"kind": "banked", "device": "ddr4_2400", "burst_bits": 8}, "burst_bits: unknown key"),
        (
            {"kind": "banked", "device": "ddr9"},
            "device: ddr9: no such file, nor a DRAM device of that name; shipped are ddr4_2400, lpddr4_3200",
        ),
        (7, "must be a mapping of keys, got 7"),
    ],
)
def test_a_wrong_dram_section_is_an_error(section: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_arch("multiply_8b_16x16").replace(memory=MEMORY | {"dram": section})
    where = "memory.dram" + (": " if problem[:4] in ("kind", "must") else ".")
    assert str(caught.value) == f"multiply_8b_16x16: {where}{problem}"


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"bytes": 0}, "bytes: must be at least 1, got 0"),
        ({"bytes": 64, "port_bits": 0}, "port_bits: must be at least 1, got 0"),
        ({"bytes": 64, "banks": 0}, "banks: must be at least 1, got 0"),
    ],
)
def test_an_empty_scratchpad_is_an_error(section: dict[str, int], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_arch("multiply_8b_16x16").replace(memory=MEMORY | {"ifmap": section})
    assert str(caught.value) == f"multiply_8b_16x16: memory.ifmap.{problem}"


def test_a_network_says_what_it_waited_for() -> None:
    network = load_network("alexnet")
    bare = load_arch("multiply_8b_16x16")
    assert READY_NOTE in simulate(network, bare).notes
    result = simulate(network, bare.replace(memory=MEMORY))
    assert MEMORY_NOTE in result.notes and READY_NOTE not in result.notes
    for layer in result.layers:
        assert layer.mapping is not None
        assert layer.stall_cycles == layer.mapping.stall_cycles == sum(layer.stall_cycles_by_reason.values())
        assert layer.total_cycles == layer.compute_cycles + layer.stall_cycles
        # The channel alone needs this long: no total can be below it.
        bits = layer.mapping.dram_read_bits + layer.mapping.dram_write_bits
        assert layer.total_cycles >= bits // 64
    assert result.layers[5].stall_cycles > 0  # fc6: each weight is used once
