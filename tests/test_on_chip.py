"""Maps that stay on chip through the work between layers: words counted in loops, sets of maps all tried, places."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain, combinations, product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logaccel.arch import Architecture, Memory, Objective, load_arch
from logaccel.cost import load_profile, memory_prices
from logaccel.costed import Between, PostResult, Prices, cost_between_layers
from logaccel.errors import ConfigError
from logaccel.mapping import map_network
from logaccel.memory import stays
from logaccel.memory.access_trace import KINDS
from logaccel.memory.map_places import lay_out
from logaccel.memory.post_tiles import PostCost, PostWidths, Surroundings, cost_post_work
from logaccel.memory.stays import KeptMap, cheapest_stays
from logaccel.planning import OnChip, plan_layer
from logaccel.quantization import graph_layers, layer_architectures, quantize_graph
from logaccel.report.access_trace import access_tables
from logaccel.report.text import summary_text
from logaccel.result import SimulationResult
from logaccel.schedule.post_work import post_work
from logaccel.schedule.steps import Step, Steps, graph_steps
from logaccel.simulation import simulate
from logaccel.workload import Layer
from logaccel.workload.graph import Add, Concat, Graph, LayerNode, Node, Pad, Pool, Reshape, Slice, Transpose

BATCH = 2
HALF = ((2, 2), (2, 2), (0, 0, 0, 0))


def conv(name: str, source: str, channels: tuple[int, int], size: tuple[int, int], residual: str = "") -> LayerNode:
    layer = Layer(name=name, in_channels=channels[0], out_channels=channels[1], in_size=size, kernel=(3, 3),
                  padding=(1, 1, 1, 1))  # fmt: skip
    return LayerNode(name, (source, residual) if residual else (source,), layer)


def full(name: str, source: str, channels: tuple[int, int]) -> LayerNode:
    return LayerNode(name, (source,), Layer(name=name, kind="fc", in_channels=channels[0], out_channels=channels[1]))


def graph(*nodes: Node) -> Graph:
    return Graph("small", (3, 8, 6), nodes, nodes[-1].name)


LENET = graph(
    conv("c1", "input", (3, 6), (8, 6)), Pool("p1", ("c1",), "max", *HALF), conv("c2", "p1", (6, 9), (4, 3)),
    Pool("p2", ("c2",), "average", (4, 3), (1, 1), (0, 0, 0, 0)), Reshape("flat", ("p2",), (9,)),
    full("fc", "flat", (9, 5)),
)  # fmt: skip
RESIDUAL = graph(
    conv("c1", "input", (3, 6), (8, 6)), conv("c2", "c1", (6, 6), (8, 6)), conv("c3", "c2", (6, 6), (8, 6), "c1"),
    conv("c4", "c3", (6, 6), (8, 6)), Add("sum", ("c4", "c3"), relu=True), Pool("p", ("sum",), "max", *HALF),
    conv("c5", "p", (6, 4), (4, 3)),
)  # fmt: skip
FIRE = graph(
    conv("squeeze", "input", (3, 4), (8, 6)), conv("one", "squeeze", (4, 5), (8, 6)),
    conv("three", "squeeze", (4, 6), (8, 6)), Concat("both", ("one", "three")), Pool("p", ("both",), "max", *HALF),
    conv("last", "p", (11, 4), (4, 3)),
)  # fmt: skip
SLICED = graph(  # a shortcut with a stride, filled up with channels of zeros
    conv("c1", "input", (3, 6), (8, 6)), Pool("p", ("c1",), "max", *HALF), Slice("s", ("c1",), (0, 0, 0), (6, 8, 6),
    (1, 2, 2)), Pad("z", ("s",), (1, 0, 0), (2, 0, 0)), conv("c2", "p", (6, 9), (4, 3), "z"),
    conv("c3", "c2", (9, 4), (4, 3)),
)  # fmt: skip
GRAPHS = {"lenet": LENET, "residual": RESIDUAL, "fire": FIRE, "sliced": SLICED}
MOVED = (Reshape, Slice, Pad, Transpose)  # other addresses of a map


def arch(ifmap_bytes: int, **memory: Any) -> Architecture:
    pads = {"ifmap": {"bytes": ifmap_bytes}, "filter": {"bytes": 20_000}, "ofmap": {"bytes": 900}}
    dram = {"bits_per_cycle": 8, "latency_cycles": 9, "burst_bits": 32}
    return load_arch("shift_4b_16x16").replace(memory=pads | {"dram": dram} | memory, array={"rows": 4, "cols": 4})


def cost_of(item: Any, objective: Objective) -> float:
    """Return the cost of a layer or of work between layers, from the figures that results show."""
    if not isinstance(item, PostResult):
        mapped = item.mapped if hasattr(item, "mapped") else item.mapping
        return float(mapped.cost(objective)[0])
    energy = item.energy_system_pj or 0.0
    return float({"cycles": item.total_cycles, "traffic": item.traffic.dram.bits, "energy": energy,
                  "edp": energy * item.total_cycles}[objective])  # fmt: skip


def cost(result: SimulationResult, objective: Objective) -> float:
    return sum(cost_of(item, objective) for item in (*result.layers, *result.post_work))


def stored(network: Graph, tensor: str) -> str:
    """Return the node whose words a tensor is."""
    node = next((node for node in network.nodes if node.name == tensor), None)
    return stored(network, node.inputs[0]) if isinstance(node, MOVED) else tensor


def readings(network: Graph) -> Iterator[tuple[int, Node, str]]:
    """Yield (when, reader, map) for all that is read; new addresses read nothing."""
    for when, node in enumerate(network.nodes):
        if not isinstance(node, MOVED):
            yield from ((when, node, stored(network, tensor)) for tensor in node.inputs)


def best_of_all_sets(network: Graph, machine: Architecture, objective: Objective) -> float:
    """Try every set of maps: what is on chip is found anew at each node, and every layer is searched anew."""
    archs, tensors = layer_architectures(machine, network.layers), quantize_graph(network, machine)
    formats = graph_layers(network, archs, tensors)
    profile = load_profile(machine.cost_profile)
    prices = Prices(profile, memory_prices(profile, machine, archs))
    made = [node.name for node in network.nodes[:-1] if not isinstance(node, MOVED)]
    until = {name: max(when for when, _, read in readings(network) if read == name) for name in made}
    since = {node.name: when for when, node in enumerate(network.nodes)}
    elements = {name: BATCH * prod(network.shapes[name]) * tensors[name].bits for name in made}
    found = []
    assert machine.memory is not None
    for chosen in chain.from_iterable(combinations(made, size) for size in range(len(made) + 1)):
        spent, index = 0.0, -1
        try:
            for when, node in enumerate(network.nodes):
                there = {name for name in chosen if since[name] <= when <= until[name]}
                if sum(elements[name] for name in there) > 8 * machine.memory.ifmap.bytes:
                    raise ConfigError("too much")
                if isinstance(node, LayerNode):
                    index += 1
                    own = {stored(network, node.inputs[0]), node.name}
                    waiting = sum(elements[name] for name in there - own)
                    on_chip = OnChip(stored(network, node.inputs[0]) in there, node.name in there, waiting)
                    planned = plan_layer(node.layer, BATCH, archs[index], formats[index], prices, on_chip)
                    spent += cost_of(planned, objective)
            between = Between(network, BATCH, machine, tensors)
            spent += sum(cost_of(work, objective) for work in cost_between_layers(between, prices, chosen))
        except ConfigError:
            continue
        found.append(spent)
    return min(found)


@pytest.mark.parametrize("objective", ["cycles", "energy", "edp", "traffic"])
@pytest.mark.parametrize("ifmap_bytes", [310, 450, 650, 50_000])
@pytest.mark.parametrize("name", GRAPHS)
def test_the_cheapest_set_of_maps_is_found(name: str, ifmap_bytes: int, objective: Objective) -> None:
    machine = arch(ifmap_bytes, objective=objective)
    found = simulate(GRAPHS[name], machine, batch=BATCH)
    assert cost(found, objective) == pytest.approx(best_of_all_sets(GRAPHS[name], machine, objective), rel=1e-12)
    apart = simulate(GRAPHS[name], machine.replace(**{"memory.handover": False}), batch=BATCH)
    assert apart.maps_on_chip == () and cost(found, objective) <= cost(apart, objective)


def test_the_sizes_above_make_a_difference() -> None:
    kept = {size: [len(simulate(GRAPHS[name], arch(size), batch=BATCH).maps_on_chip) for name in GRAPHS]
            for size in (310, 450, 650, 50_000)}  # fmt: skip
    assert len({tuple(counts) for counts in kept.values()}) >= 3, kept
    assert kept[50_000] == [4, 6, 5, 3]  # all but the result


@pytest.mark.parametrize("name", ["lenet", "residual", "fire"])
def test_with_room_only_input_filters_and_result_cross_the_channel(name: str) -> None:
    """Each read of a map that does not stay costs its words once more, each map that is made once."""
    network, machine = GRAPHS[name], arch(50_000, ofmap={"bytes": 50_000})
    tensors = quantize_graph(network, machine)
    bits = {tensor: BATCH * prod(shape) * tensors[tensor].bits for tensor, shape in network.shapes.items()}
    filters = sum(8 * prod((layer.out_channels, layer.in_channels, *layer.kernel)) for layer in network.layers)
    result = simulate(network, machine, batch=BATCH)
    assert result.traffic is not None
    assert result.traffic.dram.bits == bits["input"] + filters + bits[network.output]
    apart = simulate(network, machine.replace(**{"memory.handover": False}), batch=BATCH)
    assert apart.traffic is not None
    crossing = sum(bits[read] for _, _, read in readings(network))
    made = sum(bits[node.name] for node in network.nodes if not isinstance(node, Reshape))
    assert apart.traffic.dram.bits == crossing + filters + made
    # What the lanes write in the ifmap scratchpad is what they no longer write for DRAM.
    inner = made - bits[network.output]
    assert result.traffic.handed.write_bits == inner
    assert apart.traffic.handed.bits == 0
    assert result.traffic.dram_ofmap.write_bits + inner == apart.traffic.dram_ofmap.write_bits


def test_a_map_stays_for_all_its_readers_or_for_none() -> None:
    for size in (310, 450, 650, 50_000):
        result = simulate(RESIDUAL, arch(size), batch=BATCH)
        kept = {own.name for own in result.maps_on_chip}
        layers = {layer.name: layer for layer in result.layers}
        for _, node, read in readings(RESIDUAL):
            if node.name in layers and node.inputs[0] == read:
                assert layers[node.name].tiled.ifmap_on_chip == (read in kept)  # type: ignore[union-attr]
        for work in result.post_work:
            node = next(node for node in RESIDUAL.nodes if node.name == work.name)
            read = node.inputs[1:] if work.kind == "residual" else node.inputs
            made = () if work.kind == "residual" else (work.name,)
            assert work.maps_on_chip == tuple(name for name in (*read, *made) if name in kept)
            assert (work.traffic.dram_ifmap.bits == 0) == kept.issuperset(read)
            assert (work.traffic.dram_ofmap.bits == 0) == kept.issuperset(made)


@given(st.data(), st.tuples(*[st.integers(1, 9)] * 3), st.tuples(*[st.booleans()] * 3), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_lanes_move_every_word_where_it_lies(
    case: st.DataObject, widths: tuple[int, int, int], there: tuple[bool, bool, bool], lanes: int
) -> None:
    """An add or a pool, word by word; the ofmap scratchpad holds everything at once, or only a few rows."""
    pool = case.draw(st.booleans())
    node: Node = Pool("n", ("a",), "max", (3, 2), (2, 1), (1, 0, 0, 1)) if pool else Add("n", ("a", "b"))
    network = graph(conv("a", "input", (3, 7), (8, 6)), conv("b", "input", (3, 7), (8, 6)), node)
    terms = 1 if pool else 2
    pads: dict[str, Counter[str]] = {"ifmap": Counter(), "ofmap": Counter()}
    dram: Counter[str] = Counter()
    fetched: set[tuple[int, ...]] = set()
    channels, height, width = network.shapes["n"]
    for image, channel, p, q in product(range(BATCH), range(channels), range(height), range(width)):
        taps = [(2 * p - 1 + r, q + s) for r in range(3) for s in range(2)] if pool else [(p, q)]
        for row, column in taps:
            if 0 <= row < 8 and 0 <= column < 6:
                for term in range(terms):
                    pads["ifmap" if there[term] else "ofmap"]["read"] += widths[term]
                    if not there[term]:
                        fetched.add((term, image, channel, row, column))
        if there[2]:
            pads["ifmap"]["write"] += widths[2]
        else:
            pads["ofmap"].update({"write": widths[2], "read": widths[2]})
            dram["write"] += widths[2]
    for term, *_ in fetched:
        pads["ofmap"]["write"] += widths[term]
        dram["read"] += widths[term]
    work = post_work(network, node)
    assert work is not None

    def cost_with(inputs: tuple[bool, ...], result: bool, size: int) -> PostCost:
        scratchpads = {name: {"bytes": size} for name in ("ifmap", "filter", "ofmap")}
        memory = Memory.model_validate({**scratchpads, "dram": {"bits_per_cycle": 8}})
        own = PostWidths((widths[:terms],), widths[2], (inputs,), result)
        return cost_post_work(work, own, Surroundings(BATCH, lanes, memory, 500.0))

    found, apart = cost_with(there[:terms], there[2], 10**6), cost_with((False,) * terms, False, 10**6)
    moved = found.traffic
    assert (moved.handed.read_bits, moved.handed.write_bits) == (pads["ifmap"]["read"], pads["ifmap"]["write"])
    assert (moved.ofmap.read_bits, moved.ofmap.write_bits) == (pads["ofmap"]["read"], pads["ofmap"]["write"])
    assert (moved.dram_ifmap.read_bits, moved.dram_ofmap.write_bits) == (dram["read"], dram["write"])
    assert (found.compute_cycles, found.lane_reads, found.results) == (
        apart.compute_cycles, apart.lane_reads, apart.results,
    )  # fmt: skip
    assert found.stall_cycles <= apart.stall_cycles
    if all(there[:terms]) and there[2]:
        assert found.stall_cycles == 0
        assert cost_with(there[:terms], True, 1) == found  # it needs nothing of the ofmap scratchpad


@st.composite
def step_lists(draw: st.DrawFn) -> tuple[Steps, dict[str, int]]:
    """Steps that each read some maps before them; every map that is read may stay, or all but some."""
    count = draw(st.integers(1, 7))
    order = []
    for index in range(count):
        reads = draw(st.sets(st.sampled_from([f"m{before}" for before in range(index)]), max_size=3)) if index else ()
        order.append(Step(f"m{index}", 1, tuple(sorted(reads))))
    read = {name for step in order for name in step.reads}
    stay = frozenset(name for name in read if draw(st.integers(0, 4)))
    return Steps(tuple(order), stay), {name: draw(st.integers(1, 5)) for name in sorted(stay)}


def of_set(steps: Steps, bits: dict[str, int], capacity: int, chosen: set[str], prices: Any) -> float | None:
    """Return the cost of keeping some maps; None where they do not fit at once."""
    total = 0.0
    for index, step in enumerate(steps.order):
        there = frozenset(
            name for name in chosen
            if (int(name[1:]) <= index and any(name in later.reads for later in steps.order[index:]))
            or name == step.name
        )  # fmt: skip
        if sum(bits[name] for name in there) > capacity:
            return None
        try:
            total += prices(step, there)
        except ConfigError:
            return None
    return total


@given(step_lists(), st.integers(0, 15), st.integers(0, 10**6), st.booleans())
@settings(max_examples=300, deadline=None)
def test_no_set_of_maps_is_cheaper(drawn: tuple[Steps, dict[str, int]], capacity: int, salt: int, faults: bool) -> None:
    steps, bits = drawn

    def prices(step: Step, there: frozenset[str]) -> float:
        key = sum((int(name[1:]) + 3) ** 3 for name in there) * 31 + int(step.name[1:]) * 17 + salt
        if faults and there and key % 5 == 0:
            raise ConfigError("cannot run")
        return float(key % 23)

    sets = chain.from_iterable(combinations(sorted(bits), size) for size in range(len(bits) + 1))
    every = [of_set(steps, bits, capacity, set(chosen), prices) for chosen in sets]
    found = cheapest_stays(steps, bits, capacity, prices)
    assert of_set(steps, bits, capacity, set(found), prices) == min(one for one in every if one is not None)


def test_too_many_maps_at_once_are_not_searched_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve maps wait for the last step: a part of the sets goes on, and what is found still fits and saves."""
    order = [Step(f"m{index}", 1, ()) for index in range(12)]
    steps = Steps((*order, Step("m12", 1, tuple(step.name for step in order))), frozenset(step.name for step in order))
    bits = dict.fromkeys(steps.may_stay, 2)
    monkeypatch.setattr(stays, "MOST_WAYS", 4)
    seen: list[int] = []

    def prices(step: Step, there: frozenset[str]) -> float:
        seen.append(len(there))
        return 10.0 - (step.name in there) - 0.5 * len(there)

    found = cheapest_stays(steps, bits, 9, prices)
    assert len(found) == 4 and len(seen) < 2**7


def test_a_step_that_cannot_run_in_any_way_says_why() -> None:
    def prices(step: Step, there: frozenset[str]) -> float:
        raise ConfigError(f"{step.name}: no")

    with pytest.raises(ConfigError) as caught:
        cheapest_stays(Steps((Step("m0", 1, ()),), frozenset()), {}, 1, prices)
    assert str(caught.value) == "m0: no"


def test_steps_of_a_graph_by_hand() -> None:
    turned = graph(
        conv("c1", "input", (3, 6), (8, 6)), Transpose("t", ("c1",), (0, 2, 1)), conv("c2", "t", (6, 6), (6, 8)),
        Reshape("r", ("c2",), (288,)), full("f1", "r", (288, 4)), full("f2", "r", (288, 4)), Add("out", ("f1", "f2")),
        Reshape("end", ("out",), (4, 1)),
    )  # fmt: skip
    steps = graph_steps(turned)
    assert [(step.name, step.reads, step.layer, step.words) for step in steps.order] == [
        ("c1", ("input",), 0, 288), ("c2", ("c1",), 1, 288), ("f1", ("c2",), 2, 4), ("f2", ("c2",), 3, 4),
        ("out", ("f1", "f2"), None, 4),
    ]  # fmt: skip
    assert steps.may_stay == {"c2", "f1", "f2"}  # not an ifmap behind a transpose, nor the result
    assert steps.readers("c2") == steps.ifmap_of("c2") == ("f1", "f2")
    assert graph_steps(RESIDUAL).ifmap_of("c1") == ("c2",) and graph_steps(RESIDUAL).readers("c1") == ("c2", "c3")


@given(step_lists(), st.integers(0, 40))
@settings(max_examples=200, deadline=None)
def test_maps_never_lie_on_each_other(drawn: tuple[Steps, dict[str, int]], more: int) -> None:
    steps, bits = drawn
    kept = [KeptMap(name, size, 1, steps.readers(name)) for name, size in bits.items()]
    live = [
        {name for name in bits if int(name[1:]) <= index <= steps.last_readers[name]}
        for index in range(len(steps.order))
    ]  # fmt: skip
    capacity = max(sum(bits[name] for name in names) for names in live) + more
    before: dict[str, Any] = {}
    for names, (_, there, gaps) in zip(live, lay_out([s.name for s in steps.order], kept, capacity), strict=True):
        assert set(there) == names
        used = [bit for name in names for bit in there[name].address(np.arange(bits[name])).tolist()]
        free = [bit for first, end in gaps.free for bit in range(first, end)]
        assert sorted([*used, *free]) == list(range(capacity))
        assert all(there[name] is before.get(name, there[name]) for name in names)  # a map does not move
        before = there


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_traced_layers_find_maps_where_others_left_them(dataflow: str) -> None:
    """c1 is read by c2 and waits for the lane of c3; nothing is written over it."""
    result = simulate(RESIDUAL, arch(1800).replace(dataflow=dataflow), batch=BATCH)
    assert {"c1", "c2", "c3"} <= {own.name for own in result.maps_on_chip}
    written: dict[str, set[int]] = {}
    read: dict[str, set[int]] = {}
    for table in access_tables(result):
        for number, address, words in zip(
            table.rows.kind.tolist(), table.address.tolist(), table.rows.words.tolist(), strict=True
        ):
            kind = KINDS[number]
            if kind.level == "ifmap":
                chosen = read if kind.access == "read" else written
                chosen.setdefault(f"{table.layer}.{kind.operand}", set()).update(range(address, address + words))
    assert read["c2.ifmap"] == written["c1.ofmap"] and read["c3.ifmap"] == written["c2.ofmap"]
    assert read["c4.ifmap"] == written["c3.ofmap"]
    assert not written["c1.ofmap"] & (written["c2.ofmap"] | written["c3.ofmap"] | read["c1.ifmap"])
    assert max(chain.from_iterable(written.values())) < 8 * 1800 // 4


def test_reports_say_which_maps_stay() -> None:
    result = simulate(RESIDUAL, arch(50_000), batch=BATCH)
    text = summary_text(result)
    assert "stay on chip" in text and "c4, c3, sum" in text
    tree = result.to_dict()["maps_on_chip"]
    assert tree[0] == {"name": "c1", "words": 2 * 288, "word_bits": 4, "bits": 8 * 288, "readers": ["c2", "c3"],
                       "ifmap_of": ["c2"]}  # fmt: skip
    mapping = map_network(RESIDUAL, arch(50_000), batch=BATCH)
    assert mapping.to_dict()["maps_on_chip"] == tree
    assert [layer["waiting_bits"] for layer in mapping.to_dict()["layers"]] == [0, 0, 8 * 288, 0, 0]
    alone = map_network(RESIDUAL, arch(50_000), layer="c2", batch=BATCH)
    assert [own.name for own in alone.maps_on_chip] == ["c1", "c2"]
    said = mapping.summary()
    assert said.count("other maps, kept on chip: 288 B") == 1
    assert "maps that stay on chip:\n  c1: 288 B, for c2, c3\n" in said


@pytest.mark.parametrize("name", ["lenet", "cifar10_quick", "resnet20", "squeezenet11"])
def test_of_trained_networks_only_input_filters_and_result_cross_the_channel(name: str, shared_data: Path) -> None:
    pytest.importorskip("onnx")
    from logaccel.model.onnx_import import load_onnx

    network = load_onnx(shared_data / "networks" / f"{name}.onnx").graph
    machine = arch(2**22, filter={"bytes": 2**22}, ofmap={"bytes": 2**22})
    tensors = quantize_graph(network, machine)
    filters = sum(8 * prod((layer.out_channels, layer.in_channels, *layer.kernel)) for layer in network.layers)
    result = simulate(network, machine)
    assert result.traffic is not None and result.traffic.dram_filter.bits == filters
    assert result.traffic.dram_ofmap.bits == prod(network.shapes[network.output]) * tensors[network.output].bits
    first = result.layers[0].traffic  # rows of the input that two blocks need come twice
    assert first is not None and first.dram_ifmap.bits == result.traffic.dram_ifmap.bits
    assert len(result.maps_on_chip) == sum(not isinstance(node, MOVED) for node in network.nodes) - 1
