"""Tiles on a DRAM device with banks: addresses bit by bit, the whole schedule against the machine of test_dram."""

import random
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from math import gcd
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_cases import IDEAL, WAYS, handed_layers, memory_of, some_mapping, tiled_layers
from test_dram import CLOCKS, Machine

from logaccel.arch import BankedDram, Objective, PEArray, load_arch
from logaccel.dram import Clocks, device, load_device
from logaccel.dram.kernel import new_state, transfer
from logaccel.memory.banked import BankedChannel, RowCounts, least_transfers
from logaccel.memory.banked_bound import BankedBound
from logaccel.memory.banked_tiles import BankedTiles
from logaccel.memory.choices import choices
from logaccel.memory.loops import convert, flatten
from logaccel.memory.mapper import candidates, evaluate, fits, rank_mappings
from logaccel.memory.parts import Counts, lay_out
from logaccel.memory.places import Place, places
from logaccel.memory.space import Space
from logaccel.memory.tiles import Mapping, TiledLayer
from logaccel.memory.timing import TileWork, tile_spans, waits
from logaccel.memory.waits import tile_works
from logaccel.memory.widths import WordWidths
from logaccel.simulation import simulate
from logaccel.workload import Layer, load_network


def bits_of(part: Counts) -> list[int]:
    first, bits, times, stride, outer_times, outer_stride, image_times, image_stride = part
    return [
        first + image * image_stride + outer * outer_stride + inner * stride + bit
        for image in range(image_times)
        for outer in range(outer_times)
        for inner in range(times)
        for bit in range(bits)
    ]


class Words:
    """Every word of a layer's tensors and the bits that it has in DRAM, tensor after tensor, in loops."""

    def __init__(self, tiled: TiledLayer, burst_bits: int) -> None:
        self.tiled, layer, widths = tiled, tiled.layer, tiled.widths
        at = 0
        self.bits: dict[tuple[object, ...], range] = {}
        tensors = (
            ("ifmap", (tiled.batch, layer.in_channels, *layer.in_size), widths.ifmap_bits),
            ("filter", (layer.out_channels, tiled.group_channels[1], *layer.kernel), widths.filter_bits),
            ("ofmap", (tiled.batch, layer.out_channels, *layer.out_size), widths.ofmap_bits),
        )
        for name, (a, b, c, d), width in tensors:
            while at % burst_bits:
                at += 1
            for word in ((name, i, j, k, x) for i in range(a) for j in range(b) for k in range(c) for x in range(d)):
                self.bits[word] = range(at, at + width)
                at += width

    def of(self, words: Iterable[tuple[object, ...]]) -> list[int]:
        """Return the bits of these words, in the order of the tensor."""
        return sorted(bit for word in words for bit in self.bits[word])

    def ifmap(self, place: Place) -> list[int]:
        layer, c_all = self.tiled.layer, self.tiled.group_channels[1]
        lines = [p * layer.stride[0] + r * layer.dilation[0] - layer.padding[0] for p in range(*place.ofmap_rows)
                 for r in range(layer.kernel[0])]  # fmt: skip
        return self.of(
            ("ifmap", n, place.group * c_all + c, h, w)
            for n in range(*place.images)
            for c in range(*place.ifmap_channels)
            for h in range(min(lines), max(lines) + 1)
            if 0 <= h < layer.in_size[0]
            for w in self.columns(place)
        )

    def columns(self, place: Place) -> list[int]:
        """Return the ifmap columns between the first and the last one that is multiplied; of whole rows all."""
        layer, columns = self.tiled.layer, range(*place.ofmap_columns)
        if len(columns) == layer.out_size[1]:
            return list(range(layer.in_size[1]))
        spots = [q * layer.stride[1] + s * layer.dilation[1] - layer.padding[1] for q in columns
                 for s in range(layer.kernel[1])]  # fmt: skip
        return [w for w in range(layer.in_size[1]) if min(spots) <= w <= max(spots)]

    def filter(self, place: Place) -> list[int]:
        layer, m_all = self.tiled.layer, self.tiled.group_channels[0]
        return self.of(
            ("filter", place.group * m_all + m, c, r, s)
            for m in range(*place.ofmap_channels)
            for c in range(*place.ifmap_channels)
            for r in range(layer.kernel[0])
            for s in range(layer.kernel[1])
        )

    def ofmap(self, place: Place) -> list[int]:
        m_all = self.tiled.group_channels[0]
        return self.of(
            ("ofmap", n, place.group * m_all + m, p, q)
            for n in range(*place.images)
            for m in range(*place.ofmap_channels)
            for p in range(*place.ofmap_rows)
            for q in range(*place.ofmap_columns)
        )


@given(tiled=tiled_layers(), pick=st.integers(0, 10_000), burst_bits=st.integers(1, 70))
@settings(max_examples=40, deadline=None)
def test_runs_are_the_bits_of_the_words(tiled: TiledLayer, pick: int, burst_bits: int) -> None:
    mapping = some_mapping(tiled, pick)
    words, parts = Words(tiled, burst_bits), lay_out(tiled, mapping, burst_bits)
    tiles = zip(places(tiled, mapping), tiled.tiles(mapping), parts.of_tiles, strict=True)
    for place, work, (ifmap, filters, ofmap) in tiles:
        assert bits_of(parts.runs[ifmap]) == words.ifmap(place)
        assert bits_of(parts.runs[filters]) == words.filter(place)
        assert bits_of(parts.runs[ofmap]) == words.ofmap(place)
        assert work.ifmap_read_bits in (0, len(words.ifmap(place)))


class SteppedChannel:
    """Serves transfers by stepping the device's banks; addresses come word by word."""

    def __init__(self, tiled: TiledLayer, mapping: Mapping, clocks: Clocks, ratio: Fraction) -> None:
        self.machine, self.ratio = Machine(clocks), ratio
        self.words, self.places = Words(tiled, clocks.burst_bits), list(places(tiled, mapping))

    def read(self, tile: int, work: TileWork, start: int) -> int:
        place = self.places[tile]
        parts = [self.words.ifmap(place)] * (work.ifmap_read_bits > 0)
        parts += [self.words.filter(place)] * (work.filter_read_bits > 0)
        return self.serve(start, [run for part in parts for run in on_end(part)], False)

    def write(self, tile: int, work: TileWork, start: int) -> int:
        return self.serve(start, on_end(self.words.ofmap(self.places[tile])), True)

    def serve(self, start: int, runs: list[tuple[int, int]], write: bool) -> int:
        clock = 0
        while clock < start * self.ratio:
            clock += 1
        done, cycle = self.machine.serve(clock, runs, write), start
        while cycle * self.ratio < done:
            cycle += 1
        return cycle


def on_end(bits: list[int]) -> list[tuple[int, int]]:
    """Return sorted bits as runs: first bit and length of each."""
    runs: list[tuple[int, int]] = []
    for bit in bits:
        if runs and sum(runs[-1]) == bit:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((bit, 1))
    return runs


@given(
    tiled=tiled_layers(),
    pick=st.integers(0, 10_000),
    clocks=CLOCKS,
    array_mhz=st.sampled_from([200.0, 333.3, 500.0, 1200.0, 1700.0]),
)
@settings(max_examples=15, deadline=None)
def test_a_schedule_on_banks_equals_the_stepped_one(
    tiled: TiledLayer, pick: int, clocks: Clocks, array_mhz: float
) -> None:
    tiled = replace(tiled, clock_mhz=array_mhz)
    mapping = some_mapping(tiled, pick)
    works = list(tiled.tiles(mapping))[:12]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device.Device, "clocks", clocks)
        channel = BankedChannel(tiled, mapping, BankedDram(kind="banked", device="ddr4_2400"))
        stepped = SteppedChannel(tiled, mapping, clocks, Fraction(1200) / Fraction(str(array_mhz)))
        spans = list(tile_spans(works, channel))
        assert spans == list(tile_spans(works, stepped))
        assert channel.rows == RowCounts(**stepped.machine.counts)
        least = least_transfers(BankedDram(kind="banked", device="ddr4_2400"), array_mhz)
    for span in spans:
        moved = span.work.read_bits, span.work.write_bits
        for bits, span_of, read in zip(moved, (span.read, span.write), (True, False), strict=True):
            assert least.cycles(least.runs(np.array(bits), 1, 0).clocks, read) <= span_of.cycles
    total, dram, drain = waits(spans)
    assert total == sum(work.busy_cycles for work in works) + dram + drain


BANKED = BankedDram(kind="banked", device="ddr4_2400")
WHOLE_CLOCKS = CLOCKS.map(
    lambda clocks: replace(clocks, burst_bits=clocks.burst * clocks.burst_bits)
)  # as devices have


@given(tiled=tiled_layers(), pick=st.integers(0, 10_000), clocks=WHOLE_CLOCKS)
@settings(max_examples=60, deadline=None)
def test_no_tile_beats_the_bound_of_its_blocks(tiled: TiledLayer, pick: int, clocks: Clocks) -> None:
    mapping = some_mapping(tiled, pick)
    tiles = list(flatten(tiled.loops(mapping)))[:60]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device.Device, "clocks", clocks)
        spans = list(tile_spans([tiled.work(tile) for tile in tiles], BankedChannel(tiled, mapping, BANKED)))
        least = least_transfers(BANKED, tiled.clock_mhz)
    for tile, span in zip(tiles, spans, strict=True):
        loads = least.of_tiles(tiled, [tile.map], np.array([tile.channels]), np.array([tile.ifmap_channels]))
        ifmap, filters, ofmap = (load.clocks.ravel()[0] for load in loads)
        read = ifmap * (span.work.ifmap_read_bits > 0) + filters * (span.work.filter_read_bits > 0)
        assert least.cycles(read, True) <= span.read.cycles
        assert least.cycles(ofmap * (span.work.write_bits > 0), False) <= span.write.cycles


@given(
    clocks=WHOLE_CLOCKS, bits=st.integers(1, 200), gap=st.one_of(st.integers(0, 20), st.integers(0, 2000)),
    times=st.integers(1, 60), first=st.integers(0, 200),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_no_runs_beat_their_bound(clocks: Clocks, bits: int, gap: int, times: int, first: int) -> None:
    """Parts of rows are short runs, of which many may lie in one burst. The rows that come first are open already."""
    numbers, state, banks = new_state(clocks)
    stride = bits + gap
    before = np.array([(first, stride * min(times, 2) + bits, 1, 0, 1, 0, 1, 0)])
    start = transfer(numbers, state, banks, 0, before, False)
    end = transfer(numbers, state, banks, start, np.array([(first, bits, times, stride, 1, 0, 1, 0)]), False)
    bound = BankedBound(clocks, Fraction(1))
    for even in (False, True):
        assert bound.cycles(bound.runs(np.array(bits), times, stride, even).clocks, read=True) <= end - start


@given(
    row_bursts=st.integers(1, 6), burst_bits=st.integers(1, 12), bits=st.integers(1, 200), times=st.integers(1, 60),
    gap=st.integers(0, 300), first=st.integers(0, 200),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_rows_of_runs_at_even_distances(
    row_bursts: int, burst_bits: int, bits: int, times: int, gap: int, first: int
) -> None:
    """Counted one by one; where the runs begin at all places that there are, as few are found somewhere."""
    row_bits, stride = row_bursts * burst_bits, bits + gap + row_bursts * burst_bits
    usual = load_device("ddr4_2400").clocks
    bound = BankedBound(replace(usual, row_bursts=row_bursts, burst_bits=burst_bits, banks=1), Fraction(1))
    counts = [
        sum((at + bits - 1) // row_bits - at // row_bits + 1 for at in range(begin, begin + times * stride, stride))
        for begin in range(first, first + row_bits)
    ]
    least = 1 + bound.runs(np.array(bits), times, stride, even=True).openings
    assert least <= min(counts)
    assert least == min(counts) or times % (row_bits // gcd(stride, row_bits))


@given(tiled=tiled_layers(), clocks=CLOCKS, ways=st.one_of(st.just(IDEAL), WAYS))
@settings(max_examples=25, deadline=None)
def test_no_mapping_beats_the_bound_of_its_transfers(tiled: TiledLayer, clocks: Clocks, ways: Any) -> None:
    memory = memory_of((2**30,) * 3, BANKED, ways, objective="cycles")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device.Device, "clocks", clocks)
        space = Space(tiled, memory, least_transfers(BANKED, tiled.clock_mhz), choices(tiled))
        least = np.broadcast_to(space.least_cycles, space.shape).ravel()
        for index in range(0, len(least), 5):
            found = evaluate(tiled, space.mapping(index), memory)
            assert least[index] <= found.total_cycles
            assert found.dram_rows is not None


def test_refreshes_of_long_layers_stay_below_the_bound_and_none_is_given_up_wrongly() -> None:
    """Layers of many refreshes, on a device that refreshes often: the bound comes close, and never passes."""
    draw, dram = random.Random(3), BankedDram(kind="banked", device="lpddr4_3200")
    usual = load_device(dram.device).clocks
    tightest = 0.0
    for _ in range(12):
        clocks = replace(usual, trefi=draw.choice([600, 900, 2000, 6247]), trfc=draw.choice([20, 100, 288]))
        layer = Layer(
            name="layer", in_channels=draw.choice([16, 64, 256]), out_channels=draw.choice([8, 64]),
            in_size=draw.choice([1, 7, 20]), kernel=1,
        )  # fmt: skip
        array, dataflow = PEArray(rows=16, cols=16, overlap=True), draw.choice(["os", "ws", "is"])
        mhz = draw.choice([333.3, 500.0, 1700.0])
        tiled = TiledLayer(layer, 1, array, dataflow, WordWidths(8, 8, 24, 8), clock_mhz=mhz)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(device.Device, "clocks", clocks)
            memory = memory_of((2**30,) * 3, dram, objective="cycles")
            space = Space(tiled, memory, least_transfers(dram, tiled.clock_mhz), choices(tiled))
            least = np.broadcast_to(space.least_cycles, space.shape).ravel()
            timed = BankedTiles(tiled, dram)
            for index in draw.sample(range(len(least)), min(12, len(least))):
                mapping = space.mapping(index)
                works = convert(tiled.loops(mapping), tiled.work)
                total = timed.elapsed(mapping, works)[0].total
                assert least[index] <= total
                assert timed.elapsed(mapping, works, total)[0].total == total
                tightest = max(tightest, least[index] / total)
    assert tightest > 0.99


def test_rows_that_a_refresh_has_closed_need_no_precharge() -> None:
    """Where every run opens rows of its own, of eight openings after a refresh none waits for a precharge."""
    dram = BankedDram(kind="banked", device="lpddr4_3200")
    layer = Layer(name="layer", kind="fc", in_channels=9216, out_channels=128)
    tiled = TiledLayer(layer, 1, PEArray(rows=16, cols=16, overlap=True), "os", WordWidths(8, 8, 24, 8), 1000.0)
    memory = memory_of((2**18,) * 3, dram, objective="cycles")
    space = Space(tiled, memory, least_transfers(dram, tiled.clock_mhz), choices(tiled))
    fitting = np.flatnonzero(space.fits)
    totals = [evaluate(tiled, space.mapping(int(index)), memory).total_cycles for index in fitting]
    assert 0.999 < (space.least_cycles.ravel()[fitting] / totals).max() <= 1


@given(tiled=handed_layers(), clocks=CLOCKS, pick=st.integers(0, 10_000), mhz=st.sampled_from([333.3, 500.0, 1700.0]))
@settings(max_examples=60, deadline=None)
def test_tiles_in_a_kernel_equal_tiles_one_by_one(tiled: TiledLayer, clocks: Clocks, pick: int, mhz: float) -> None:
    tiled = replace(tiled, clock_mhz=mhz)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device.Device, "clocks", clocks)
        timed = BankedTiles(tiled, BANKED)
        for mapping in {some_mapping(tiled, pick + step) for step in (0, 17, 234)}:
            channel = BankedChannel(tiled, mapping, BANKED)
            total, dram, drain = waits(tile_spans(tiled.tiles(mapping), channel))
            works = convert(tiled.loops(mapping), tiled.work)
            assert timed.elapsed(mapping, works) == ((total, dram, drain), channel.rows)
            assert timed.elapsed(mapping, works, total)[0].total == total
            for short in (total - 1, total // 2, 0):
                assert short < timed.elapsed(mapping, works, short)[0].total <= total  # a bound, no more


@given(
    tiled=handed_layers(), name=st.sampled_from(["ddr4_2400", "lpddr4_3200"]), sizes=st.integers(60, 400),
    ways=st.one_of(st.just(IDEAL), WAYS), objective=st.sampled_from(["cycles", "traffic"]),
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_the_mapper_finds_the_best_on_banks(
    tiled: TiledLayer, name: str, sizes: int, ways: Any, objective: Objective
) -> None:
    dram = BankedDram(kind="banked", device=name)
    memory = memory_of((sizes,) * 3, dram, ways, objective=objective)

    def cost(mapping: Mapping) -> tuple[int, int]:
        works = list(tile_works(tiled, mapping, memory))
        bits = sum(work.read_bits + work.write_bits for work in works)
        cycles = waits(tile_spans(works, BankedChannel(tiled, mapping, dram)))[0]
        return (cycles, bits) if objective == "cycles" else (bits, cycles)

    fitting = [mapping for mapping in candidates(tiled) if fits(tiled, mapping, memory)]
    if fitting:
        costs = sorted(
            cost(mapping) for mapping in fitting if mapping.order == "channels" or both_orders(tiled, mapping)
        )
        found = rank_mappings(tiled, memory, places=2)
        assert [entry.cost(objective) for entry in found] == costs[:2]


def both_orders(tiled: TiledLayer, mapping: Mapping) -> bool:
    """Return whether the two orders run different tiles."""
    return list(tiled.tiles(mapping)) != list(tiled.tiles(replace(mapping, order="channels")))


def test_alexnet_on_ddr4_keeps_its_words_and_says_what_its_rows_met() -> None:
    memory = {name: {"bytes": 2**18} for name in ("ifmap", "filter", "ofmap")} | {"handover": False}
    arch = load_arch("multiply_8b_16x16")
    steady = arch.replace(memory=memory | {"dram": {"bits_per_cycle": 307}, "objective": "cycles"})
    on_banks = arch.replace(memory=memory | {"dram": {"kind": "banked", "device": "ddr4_2400"}, "objective": "cycles"})
    network = load_network("alexnet")
    for layer, ideal in zip(simulate(network, on_banks).layers, simulate(network, steady).layers, strict=True):
        mapped = layer.mapping
        assert mapped is not None and mapped.dram_rows is not None and ideal.mapping is not None
        rows, moved = mapped.dram_rows, mapped.dram_read_bits + mapped.dram_write_bits
        assert (rows.hits + rows.misses + rows.conflicts) * 512 >= moved
        assert rows.hits > 8 * (rows.misses + rows.conflicts)  # tiles are long runs
        assert layer.total_cycles >= 0.99 * ideal.total_cycles  # 19.2 GB/s at 500 MHz is 307.2 bits a cycle
        expected = layer.total_cycles * 1200 / 500 / 9360
        assert abs(rows.refreshes - expected) < 2
        assert mapped.stalls.total == layer.stall_cycles
