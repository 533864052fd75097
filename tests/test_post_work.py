"""Work between layers: cycles and words against a walk over every word, costs by hand, graphs beside plain networks."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logaccel.arch import Architecture, Memory, load_arch
from logaccel.comparison import compare
from logaccel.cost import load_profile, memory_prices
from logaccel.cost.lane import encoder_parts
from logaccel.cost.post import decoded_bits, post_energy_pj
from logaccel.errors import ConfigError, WorkloadError
from logaccel.evaluation.lane import words_of
from logaccel.formats import LinearWord, LogWord
from logaccel.memory.post_tiles import PostCost, PostWidths, Surroundings, cost_post_work
from logaccel.pe.parts import Circuit, circuit_size
from logaccel.report.csv import layers_csv
from logaccel.report.text import summary_text
from logaccel.schedule.post_work import post_work
from logaccel.simulation import simulate
from logaccel.workload import Layer, Network
from logaccel.workload.graph import (
    Add,
    Clip,
    Concat,
    FloatOp,
    Graph,
    LayerNode,
    Node,
    Pool,
    Reshape,
    chain_graph,
    pool_size,
)

WIDE = 2**20
CONV = Layer(name="conv", in_channels=3, out_channels=20, in_size=(8, 6), kernel=(3, 3), padding=(1, 1, 1, 1))


def graph_of(*nodes: Node, layer: Layer = CONV) -> Graph:
    shape = layer.ifmap_shape(1)[1:]
    return Graph("small", shape, (LayerNode("conv", ("input",), layer), *nodes), nodes[-1].name if nodes else "conv")


def memory(ofmap: int = WIDE, bits_per_cycle: int | None = 8, port_bits: int | None = None) -> Memory:
    pads = {"ifmap": {"bytes": WIDE}, "filter": {"bytes": WIDE}, "ofmap": {"bytes": ofmap, "port_bits": port_bits}}
    return Memory.model_validate({**pads, "dram": {"bits_per_cycle": bits_per_cycle}})


@st.composite
def pools(draw: st.DrawFn) -> tuple[Graph, Pool]:
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = tuple(draw(st.integers(0, kernel[axis % 2] - 1)) for axis in range(4))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    kind, ceil = draw(st.sampled_from(["max", "average"])), draw(st.booleans())
    pool = Pool("pool", ("conv",), kind, kernel, stride, padding, dilation, ceil)  # type: ignore[arg-type]
    return graph_of(pool, layer=CONV.model_copy(update={"out_channels": draw(st.integers(1, 9))})), pool


def fits(pool: Pool, size: tuple[int, int]) -> bool:
    return min(pool_size(pool, size)) >= 1


@given(case=st.data(), lanes=st.integers(1, 5), batch=st.integers(1, 3))
@settings(max_examples=150)
def test_pooling_takes_a_cycle_for_every_word(case: st.DataObject, lanes: int, batch: int) -> None:
    try:
        graph, pool = case.draw(pools())
    except WorkloadError:
        return  # a window in the padding alone, or larger than the map
    channels, height, width = graph.shapes["conv"]
    cycles = reads = writes = 0
    for _ in range(batch):
        for first in range(0, channels, lanes):
            busy = range(first, min(first + lanes, channels))
            for p, q in product(*map(range, graph.shapes["pool"][1:])):
                for r, s in product(*map(range, pool.kernel)):
                    row = p * pool.stride[0] - pool.padding[0] + r * pool.dilation[0]
                    column = q * pool.stride[1] - pool.padding[1] + s * pool.dilation[1]
                    if 0 <= row < height and 0 <= column < width:
                        cycles += 1
                        reads += len(busy)
                writes += len(busy)
    work = post_work(graph, pool)
    assert work is not None and work.kind == f"{pool.kind} pool"
    cost = cost_post_work(work, PostWidths(((5,),), 3), Surroundings(batch, lanes, None, 500.0))
    assert (cost.compute_cycles, cost.stall_cycles, cost.lane_reads, cost.results) == (cycles, 0, reads, writes)
    assert (cost.traffic.ofmap.read_words, cost.traffic.ofmap.read_bits) == (reads, 5 * reads)
    assert (cost.traffic.ofmap.write_words, cost.traffic.ofmap.write_bits) == (writes, 3 * writes)
    assert cost.traffic.dram.bits == 0


@given(case=st.data(), lanes=st.integers(1, 5), batch=st.integers(1, 2), size=st.integers(60, 600))
@settings(max_examples=150)
def test_through_a_memory_every_block_comes_from_dram(case: st.DataObject, lanes: int, batch: int, size: int) -> None:
    try:
        graph, pool = case.draw(pools())
    except WorkloadError:
        return
    work = post_work(graph, pool)
    assert work is not None
    widths = PostWidths(((5,),), 3)
    bare = cost_post_work(work, widths, Surroundings(batch, lanes, None, 500.0))
    try:
        cost = cost_post_work(work, widths, Surroundings(batch, lanes, memory(size), 500.0))
    except ConfigError:
        return  # has a test of its own
    assert (cost.compute_cycles, cost.lane_reads, cost.results) == (
        bare.compute_cycles, bare.lane_reads, bare.results,
    )  # fmt: skip
    moved = cost.traffic
    assert moved.dram_ofmap.write_words == bare.results  # every word once
    assert moved.ofmap.write_words == bare.results + moved.dram_ifmap.read_words  # fills, and results
    assert moved.ofmap.read_words == bare.lane_reads + bare.results  # lanes, and write-backs
    # The channel moves a byte a cycle; words are 5 and 3 bits.
    least = -(-(moved.dram_ifmap.read_bits + moved.dram_ofmap.write_bits) // 8)
    assert cost.compute_cycles + cost.stall_cycles >= max(least, cost.compute_cycles)
    free = cost_post_work(work, widths, Surroundings(batch, lanes, memory(size, None), 500.0))
    assert free.stall_cycles == 0
    whole = cost_post_work(work, widths, Surroundings(batch, lanes, memory(), 500.0))
    assert (
        whole.traffic.dram_ifmap.read_words
        == batch * _rows_needed(graph, pool) * graph.shapes["conv"][2] * (graph.shapes["conv"][0])
    )
    touched = batch * len(_rows_touched(graph, pool)) * graph.shapes["conv"][2] * graph.shapes["conv"][0]
    assert moved.dram_ifmap.read_words >= touched  # rows at the seams come twice; rows between strides may come


@given(case=st.data(), lanes=st.integers(1, 5), port=st.integers(1, 30), widths=st.tuples(*[st.integers(1, 9)] * 3))
@settings(max_examples=150)
def test_a_narrow_port_holds_the_lanes_up(
    case: st.DataObject, lanes: int, port: int, widths: tuple[int, int, int]
) -> None:
    """Every step of the lanes beside a count of the words that it moves through each port."""
    node: Node
    if case.draw(st.booleans()):
        try:
            graph, node = case.draw(pools())
        except WorkloadError:
            return
        terms = [widths[0]]
        taps = lambda p, q: [  # noqa: E731
            terms[0]
            for r, s in product(*map(range, node.kernel))
            if 0 <= p * node.stride[0] - node.padding[0] + r * node.dilation[0] < 8
            and 0 <= q * node.stride[1] - node.padding[1] + s * node.dilation[1] < 6
        ]
    else:
        node = Add("add", ("conv", "conv"))
        graph, terms = graph_of(node, layer=CONV.model_copy(update={"out_channels": 7})), list(widths[:2])
        taps = lambda p, q: terms  # noqa: E731
    channels, *places = graph.shapes[node.name]
    cycles = 0
    for first in range(0, channels, lanes):
        busy = min(lanes, channels - first)
        for p, q in product(*map(range, places)):
            steps = taps(p, q)
            for number, bits in enumerate(steps, start=1):
                moved = [busy * bits] + ([busy * widths[2]] if number == len(steps) else [])
                cycles += max(-(-bits // port) for bits in moved)
    work = post_work(graph, node)
    assert work is not None
    cost = cost_post_work(
        work, PostWidths((tuple(terms),), widths[2]), Surroundings(1, lanes, memory(WIDE, None, port), 500.0)
    )
    assert cost.compute_cycles + cost.stall_cycles == cycles


def _rows_touched(graph: Graph, pool: Pool) -> set[int]:
    rows = {
        p * pool.stride[0] - pool.padding[0] + r * pool.dilation[0]
        for p in range(graph.shapes["pool"][1])
        for r in range(pool.kernel[0])
    }
    return {row for row in rows if 0 <= row < graph.shapes["conv"][1]}


def _rows_needed(graph: Graph, pool: Pool) -> int:
    """Whole rows from the first to the last that a tap may touch."""
    top, step = pool.padding[0], pool.stride[0]
    last = (graph.shapes["pool"][1] - 1) * step - top + pool.dilation[0] * (pool.kernel[0] - 1)
    return sum(-top <= row <= last for row in range(graph.shapes["conv"][1]))


def cost_of(graph: Graph, node: Node, lanes: int = 16, batch: int = 1) -> PostCost:
    work = post_work(graph, node)
    assert work is not None
    inputs = tuple(tuple(4 for _ in names) for names in work.inputs)
    return cost_post_work(work, PostWidths(inputs, 4), Surroundings(batch, lanes, None, 500.0))


def test_adds_concat_and_clip_by_hand() -> None:
    other = LayerNode("other", ("input",), CONV.model_copy(update={"name": "other"}))
    add, clip = Add("add", ("conv", "other")), Clip("clip", ("other",))
    concat = Concat("concat", ("conv", "clip", "add"))
    graph = graph_of(other, add, clip, concat)
    places, channels = 8 * 6, 20  # two passes of 16 lanes
    added = cost_of(graph, add, batch=3)
    assert added.compute_cycles == 3 * 2 * places * 2  # a word of each term
    assert (added.lane_reads, added.results) == (3 * 2 * places * channels, 3 * places * channels)
    joined = cost_of(graph, concat)
    assert joined.compute_cycles == 3 * 2 * places  # each part alone: its own two passes
    assert joined.lane_reads == joined.results == 3 * places * channels
    clipped = cost_of(graph, clip)
    assert (clipped.compute_cycles, clipped.lane_reads, clipped.results) == (96, 960, 960)


def test_a_residual_takes_words_but_no_cycles() -> None:
    second = CONV.model_copy(update={"name": "second", "in_channels": 20})
    node = LayerNode("second", ("conv", "conv"), second)
    cost = cost_of(graph_of(node), node)
    assert (cost.compute_cycles, cost.lane_reads, cost.results) == (0, 960, 0)


def test_what_only_moves_addresses_is_free() -> None:
    graph = graph_of(Reshape("flat", ("conv",), (960,)), FloatOp("soft", ("flat",), "softmax"))
    assert [post_work(graph, node) for node in graph.nodes] == [None, None, None]


def test_a_global_pool_reads_every_word_once() -> None:
    pool = Pool("pool", ("conv",), "average", (8, 6), (1, 1), (0, 0, 0, 0))
    cost = cost_of(graph_of(pool), pool, lanes=20)
    assert (cost.compute_cycles, cost.lane_reads, cost.results) == (48, 960, 20)


def test_a_chain_as_a_graph_costs_what_the_network_costs() -> None:
    layers = (
        CONV,
        Layer(name="next", in_channels=20, out_channels=6, in_size=(8, 6), kernel=(3, 3), relu=False),
        Layer(name="fc", kind="fc", in_channels=144, out_channels=10, relu=False),
    )
    network = Network(name="chain", batch=3, layers=layers)
    arch = architecture()
    plain, graph = simulate(network, arch), simulate(chain_graph(network), arch, batch=3)
    assert graph.post_work == ()
    for left, right in zip(plain.layers, graph.layers, strict=True):
        assert left.to_dict() == right.to_dict()
    assert graph.energy_system_pj == plain.energy_system_pj


def architecture(profile: str = "aladdin_40nm", ofmap: int = 4096) -> Architecture:
    pads = {"ifmap": {"bytes": 8192}, "filter": {"bytes": 8192}, "ofmap": {"bytes": ofmap}}
    tree = {**pads, "dram": {"bits_per_cycle": 16, "latency_cycles": 10}}
    return load_arch("decode_4b_16x16").replace(cost_profile=profile, memory=tree)


def pooled() -> Graph:
    pool = Pool("pool", ("conv",), "max", (2, 2), (2, 2), (0, 0, 0, 0))
    second = Layer(name="second", in_channels=20, out_channels=20, in_size=(4, 3), kernel=(3, 3), padding=(1, 1, 1, 1))
    last = Layer(name="fc", kind="fc", in_channels=240, out_channels=10, relu=False)
    flat = Reshape("flat", ("second",), (240,))
    return graph_of(pool, LayerNode("second", ("pool", "pool"), second), flat, LayerNode("fc", ("flat",), last))


def test_the_totals_hold_the_work_between_layers() -> None:
    arch = architecture()
    result = simulate(pooled(), arch, batch=2)
    pool, residual = result.post_work
    assert (pool.name, pool.kind, pool.layers_before) == ("pool", "max pool", 1)
    assert (residual.name, residual.kind, residual.layers_before) == ("second", "residual", 2)
    assert pool.compute_cycles == 2 * 2 * 4 * 3 * 4 + arch.post.stages  # images, passes, places, taps
    works, layers = result.post_work, result.layers
    assert result.total_cycles == sum(x.total_cycles for x in layers) + pool.total_cycles + residual.total_cycles
    assert result.energy_array_pj == pytest.approx(
        sum(x.energy.array_pj for x in layers) + pool.energy_pj + residual.energy_pj
    )
    assert result.energy_array_pj == pytest.approx(sum(result.energy_pj.values()))
    system = sum(x.energy_system_pj or 0 for x in (*layers, *works))
    assert result.energy_system_pj == pytest.approx(system)
    assert result.traffic is not None
    assert result.traffic.dram.bits == sum(x.traffic.dram.bits for x in (*layers, *works) if x.traffic is not None)
    tree = result.to_dict()
    assert [work["kind"] for work in tree["post_work"]] == ["max pool", "residual"]
    text = summary_text(result)
    assert "(between)" in text and "max pool" in text
    rows = [row.split(",")[7] for row in layers_csv(result).splitlines()]
    assert rows == ["layer", "conv", "pool", "second", "second", "fc"]


def test_a_max_pool_pays_a_comparator_and_a_register_a_word() -> None:
    profile = load_profile("aladdin_40nm")
    result = simulate(pooled(), architecture().replace(**{"memory.handover": False}))
    words = 20 * 4 * 3 * 4
    word = profile.energy_pj("adder", 4) + profile.energy_pj("register", 4)
    pool = result.post_work[0]
    assert pool.energy_pj == pytest.approx(words * word)
    prices = memory_prices(profile, result.arch)
    assert prices is not None and pool.energy_of_memory is not None
    read, written = words + 240, 240 + 20 * 8 * 6  # lanes and write-backs; results and fills
    assert pool.energy_of_memory.pj["scratchpads"] == pytest.approx(
        4 * (read * prices.ofmap.read_pj_per_bit + written * prices.ofmap.write_pj_per_bit)
    )
    assert pool.energy_of_memory.pj["dram"] == pytest.approx(8.0 * 4 * (960 + 240))
    kept = simulate(pooled(), architecture()).post_work[0]
    assert kept.maps_on_chip == ("conv", "pool") and kept.energy_pj == pool.energy_pj
    assert kept.energy_of_memory is not None and kept.energy_of_memory.pj["dram"] == 0
    assert kept.energy_of_memory.scratchpad_pj["ifmap"] == pytest.approx(
        4 * (words * prices.ifmap.read_pj_per_bit + 240 * prices.ifmap.write_pj_per_bit)
    )
    assert kept.energy_of_memory.scratchpad_pj["ofmap"] == 0


def test_a_comparison_takes_graphs() -> None:
    archs = [architecture().replace(name="one"), architecture("horowitz_45nm").replace(name="two")]
    rows = compare(pooled(), archs, batch=2).rows
    assert [row.total_cycles for row in rows] == [simulate(pooled(), archs[0], batch=2).total_cycles] * 2


@pytest.mark.parametrize(
    ("workload", "batch", "message"),
    [
        (pooled(), 0, "batch: must be at least 1, got 0"),
        (Network(name="plain", layers=(CONV,)), 2, "batch: goes with a graph; a trace or a network has its own"),
    ],
)
def test_a_wrong_batch_is_refused(workload: Graph | Network, batch: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        simulate(workload, architecture(), batch=batch)
    assert str(caught.value) == message


def test_a_row_that_fits_no_scratchpad_names_need_and_capacity() -> None:
    pool = Pool("pool", ("conv",), "max", (8, 6), (1, 1), (0, 0, 0, 0))
    graph = graph_of(pool, layer=CONV.model_copy(update={"out_channels": 100}))
    work = post_work(graph, pool)
    assert work is not None
    with pytest.raises(ConfigError) as caught:
        cost_post_work(work, PostWidths(((8,),), 8), Surroundings(1, 16, memory(1000), 500.0))
    # 16 channels of 8 × 6 words and their 16 results, of 8 bits, twice
    assert str(caught.value) == "pool: memory.ofmap: two of the smallest blocks need 1568 bytes, it holds 1000"


def test_an_add_pays_each_term_and_one_sum() -> None:
    """8 b linear words: two shifters bring them to one LSB of 16 b, one adder, a ReLU and an encoder follow."""
    profile, post = load_profile("aladdin_40nm"), load_arch("multiply_8b_16x16").post
    word = LinearWord(bits=8).at(0, False)
    parts = encoder_parts(word, 16, post)
    shift = profile.energy_pj("shifter", circuit_size(Circuit.SHIFTER, 8, 8))
    total = profile.energy_pj("adder", 16) + profile.energy_pj("gate", 16) + sum(map(profile.part_energy_pj, parts))
    assert post_energy_pj(profile, "add", ((10, 10), 10), ((word, word), word), post) == pytest.approx(
        20 * shift + 10 * total
    )
    assert post_energy_pj(profile, "residual", ((10,), 0), ((word,), word), post) == pytest.approx(
        10 * (shift + profile.energy_pj("adder", 16))
    )
    # A layer whose channels have LSBs up to 2^15 finer: the residual moves up to 15 further, by a sum of two amounts.
    own = load_arch("multiply_8b_16x16").replace(**{"post.channel_shift_bits": 4}).post
    shift = profile.energy_pj("shifter", circuit_size(Circuit.SHIFTER, 8, 23)) + profile.energy_pj("adder", 5)
    assert post_energy_pj(profile, "residual", ((10,), 0), ((word,), word), own) == pytest.approx(
        10 * (shift + profile.energy_pj("adder", 31))
    )
    # The sum of 4 words has 10 b; 1/n has 17.
    mean = profile.energy_pj("multiplier", 170) + profile.energy_pj("adder", 10)
    mean += sum(map(profile.part_energy_pj, encoder_parts(word, 10, post)))
    taken = profile.energy_pj("adder", 10) + profile.energy_pj("register", 10)
    assert post_energy_pj(profile, "average pool", ((40,), 10), ((word,), word), post) == pytest.approx(
        40 * taken + 10 * mean
    )
    assert post_energy_pj(profile, "concat", ((10,), 10), ((word,), word), post) == 0.0


@pytest.mark.parametrize(("word", "bits"), [(LogWord(bits=4), 15), (LogWord(bits=5, steps_per_octave=2), 28)])
def test_a_decoded_word_holds_the_largest_code(word: LogWord, bits: int) -> None:
    own = word.at(0, False)
    words, _ = words_of(np.array([own.max_code]), own, "n")
    assert int(words[0]).bit_length() == decoded_bits(own) == bits


def test_layers_behind_a_reshape_alone_take_the_ofmap_before_them() -> None:
    graph = pooled()  # conv → pool → second, whose residual is the pool → reshape → fc
    assert graph.unfed_layers() == ("second",)
    other = LayerNode("other", ("conv",), CONV.model_copy(update={"name": "other", "in_channels": 20}))
    assert graph_of(other).unfed_layers() == ()
    assert graph_of(other, Add("add", ("conv", "other"))).unfed_layers() == ("other",)  # the add reads it too
    beside = LayerNode("beside", ("input",), CONV.model_copy(update={"name": "beside"}))
    assert graph_of(beside, other).unfed_layers() == ("beside", "other")
    residual = LayerNode("last", ("other", "conv"), CONV.model_copy(update={"name": "last", "in_channels": 20}))
    assert graph_of(other, residual).unfed_layers() == ("other",)


def test_lanes_hold_what_the_graph_asks_of_them() -> None:
    profile = load_profile("aladdin_40nm")
    arch = load_arch("multiply_8b_16x16").replace(cost_profile="aladdin_40nm")
    pools = [Pool("max", ("conv",), "max", (2, 2), (2, 2), (0, 0, 0, 0)),
             Pool("mean", ("conv",), "average", (4, 4), (4, 4), (0, 0, 0, 0)),
             Pool("small", ("conv",), "average", (2, 2), (4, 4), (0, 0, 0, 0))]  # fmt: skip
    end = LayerNode("end", ("max",), Layer(name="end", in_channels=20, out_channels=2, in_size=(4, 3)))
    bare, pooled = simulate(graph_of(), arch), simulate(graph_of(*pools, end), arch)
    # 8 b maxima: a comparator and a register; 16 words of 8 b add up to 12 b; 1/n has 17 b. 16 lanes.
    lane = profile.area_um2("adder", 8) + profile.area_um2("register", 8)
    lane += 2 * profile.area_um2("adder", 12) + profile.area_um2("register", 12)
    lane += profile.area_um2("multiplier", 17 * 12)
    more = pooled.area.um2["post_processing"] - bare.area.um2["post_processing"]
    assert more == pytest.approx(16 * lane)
    assert pooled.area.um2["product"] == bare.area.um2["product"]


def test_a_banked_device_streams_whole_maps() -> None:
    pool = Pool("pool", ("conv",), "max", (2, 2), (2, 2), (0, 0, 0, 0))
    graph = graph_of(pool)
    work = post_work(graph, pool)
    assert work is not None
    pads = {name: {"bytes": WIDE} for name in ("ifmap", "filter", "ofmap")}
    banked = Memory.model_validate({**pads, "dram": {"kind": "banked", "device": "ddr4_2400"}})
    cost = cost_post_work(work, PostWidths(((8,),), 8), Surroundings(1, 16, banked, 500.0))
    assert cost.compute_cycles == 2 * 4 * 3 * 4
    moved = cost.traffic.dram_ifmap.read_bits + cost.traffic.dram_ofmap.write_bits
    assert cost.stall_cycles >= moved // (2 * 64 * 1200 // 500)  # two words of 64 b a clock at 1,200 MHz
