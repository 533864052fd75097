"""Random graphs of padded, cut and turned maps: every word read was written, counts are those of plain loops."""

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_lane_trace import BATCH, Loops, Word, counted, map_of, order, traced
from test_on_chip import SLICED, arch, conv

from logaccel.costed import PostResult
from logaccel.errors import ConfigError
from logaccel.memory.access_trace import KINDS
from logaccel.memory.post_tiles import PostWidths, Surroundings, cost_post_work
from logaccel.report.access_trace import access_tables
from logaccel.report.run_order import chosen_steps, sweep_starts
from logaccel.result import SimulationResult
from logaccel.schedule.post_work import post_work
from logaccel.simulation import simulate
from logaccel.workload import Layer
from logaccel.workload.graph import (
    Add,
    Clip,
    Concat,
    Graph,
    LayerNode,
    Node,
    Pad,
    Pool,
    Reshape,
    Shape,
    Slice,
    Transpose,
    shape_of,
)


def moved(draw: st.DrawFn, name: str, source: str, shape: Shape) -> Node:
    """Return a node that moves the words of a map."""
    match draw(st.sampled_from(["pad", "pad", "slice", "transpose", "reshape"])):
        case "pad":
            before, after = (tuple(draw(st.sampled_from([0, 0, 1, 2])) for _ in shape) for _ in range(2))
            return Pad(name, (source,), before, after)
        case "slice":
            start = tuple(draw(st.integers(0, size - 1)) for size in shape)
            end = tuple(draw(st.integers(first + 1, size)) for first, size in zip(start, shape, strict=True))
            return Slice(name, (source,), start, end, tuple(draw(st.integers(1, 2)) for _ in shape))
        case "transpose":
            return Transpose(name, (source,), tuple(draw(st.permutations(range(len(shape))))))
        case _:
            rows = draw(st.sampled_from([size for size in range(1, 9) if np.prod(shape) % size == 0]))
            return Reshape(name, (source,), (int(np.prod(shape)) // rows, rows, 1))


def reader(draw: st.DrawFn, name: str, shapes: dict[str, Shape], source: str) -> Node:
    """Return a node that reads the words of a tensor, and those of others."""
    channels, height, width = shape = shapes[source]
    alike = [other for other, own in shapes.items() if own == shape]
    fit = [other for other, own in shapes.items() if own[1:] == shape[1:]]
    match draw(st.sampled_from(["pool", "add", "concat", "clip", "layer", "residual"])):
        case "pool":
            kernel = draw(st.integers(1, min(3, height))), draw(st.integers(1, min(3, width)))
            padding = tuple(draw(st.integers(0, kernel[axis % 2] - 1)) for axis in range(4))
            strides = draw(st.integers(1, 2)), draw(st.integers(1, 3))
            return Pool(name, (source,), draw(st.sampled_from(["max", "average"])), kernel, strides, padding)  # type: ignore[arg-type]
        case "add":
            return Add(name, (source, draw(st.sampled_from(alike))))
        case "concat":
            return Concat(name, (source, draw(st.sampled_from(fit))))
        case "clip":
            return Clip(name, (source,))
        case "layer":
            return conv(name, source, (channels, draw(st.integers(1, 6))), (height, width))
        case _:  # a layer that adds this tensor
            other = draw(st.sampled_from(fit))
            layer = Layer(name=name, in_channels=shapes[other][0], out_channels=channels, in_size=(height, width))
            return LayerNode(name, (other, source), layer)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    nodes: list[Node] = [conv("first", "input", (2, draw(st.integers(1, 5))), (4, 5))]
    shapes: dict[str, Shape] = {"first": nodes[0].layer.ofmap_shape(1)[1:]}  # type: ignore[attr-defined]
    for number in range(draw(st.integers(2, 9))):
        source = draw(st.sampled_from(sorted(shapes)))
        if draw(st.booleans()):
            node = moved(draw, f"n{number}", source, shapes[source])
        else:
            node = reader(draw, f"n{number}", shapes, source)
        shape = shape_of(node, [shapes[name] for name in node.inputs])
        if np.prod(shape) <= 400:
            nodes.append(node)
            shapes[node.name] = shape
    last = next(node for node in reversed(nodes) if not isinstance(node, Pad | Slice | Transpose | Reshape))
    return Graph("random", (2, 4, 5), tuple(nodes), last.name)


def wanted_of(result: SimulationResult, item: PostResult, start: int) -> Counter[Word]:
    found: Counter[Word] = Counter()
    for part, (sweep, own) in enumerate(sweep_starts(result, item)):
        for cycle, *rest in Loops(result, item, part, sweep).words():
            found[start + own + cycle, *rest] += 1  # type: ignore[index]
    return found


def check(network: Graph, machine: Any) -> None:
    try:
        result = simulate(network, machine, batch=BATCH)
    except ConfigError:
        return  # a scratchpad that is too small
    found = traced(result)
    layers = {layer.name for layer in result.layers}
    for item, start in chosen_steps(result):
        if isinstance(item, PostResult) and not (item.kind == "residual" and item.maps_on_chip):
            mine = Counter(
                {word: count for (layer, word), count in found.items()
                 if layer == item.name and (layer not in layers or word[3] == "residual")}
            )  # fmt: skip
            assert mine == wanted_of(result, item, start), item.name
    bits: Counter[tuple[str, str, str]] = Counter()
    for table in access_tables(result):
        for kind, own in zip(table.rows.kind.tolist(), table.bits.tolist(), strict=True):
            bits[table.layer, table.level, KINDS[kind].access] += own
    assert bits == +counted(result)
    writes: Counter[Any] = Counter()
    written: set[Any] = set()
    for (_, (_, level, access, _, place)), count in sorted(found.items(), key=lambda one: order(one[0][1])):
        if access == "write":
            written.add((level, place))
            writes[place] += count * (level == "dram")
        elif level != "dram" or not place[0].endswith(("input", " filters")):
            assert (level, place) in written
    writes = +writes
    assert set(writes.values()) <= {1}
    kept = {own.name for own in result.maps_on_chip}
    for node in network.nodes:
        if not isinstance(node, Pad | Slice | Transpose | Reshape) and node.name not in kept:
            words = BATCH * int(np.prod(network.shapes[node.name]))
            assert {word for name, word in writes if name == node.name} == set(range(words))


MACHINES = st.builds(
    lambda ifmap, ofmap, port, dataflow, handover: arch(
        ifmap, handover=handover, ofmap={"bytes": ofmap, "port_bits": port}
    ).replace(dataflow=dataflow),
    st.sampled_from([200, 500, 50_000]), st.sampled_from([60, 200, 2000]), st.sampled_from([6, None]),
    st.sampled_from(["os", "ws"]), st.booleans(),
)  # fmt: skip


@example(network=SLICED, machine=arch(50_000))
@given(network=graphs(), machine=MACHINES)
@settings(max_examples=15, deadline=None)
def test_every_word_of_a_random_graph_is_counted(network: Graph, machine: Any) -> None:
    check(network, machine)


@pytest.mark.slow
@given(network=graphs(), machine=MACHINES)
@settings(max_examples=1000, deadline=None)
def test_every_word_of_many_random_graphs_is_counted(network: Graph, machine: Any) -> None:
    check(network, machine)


@given(network=graphs(), lanes=st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_a_zero_takes_a_cycle_but_is_no_word(network: Graph, lanes: int) -> None:
    """Without a memory: every tap of every node in plain loops."""
    for node in network.nodes:
        work = post_work(network, node)
        if work is None or work.kind == "residual":
            continue
        cycles, read = 0, list[int]()
        kernel = node.kernel if isinstance(node, Pool) else (1, 1)
        stride = node.stride if isinstance(node, Pool) else (1, 1)
        top, left = node.padding[:2] if isinstance(node, Pool) else (0, 0)
        for name in node.inputs:
            words = map_of(network, name)[1]
            _, channels, height, width = words.shape
            read.append(0)
            for p, q in product(*map(range, network.shapes[node.name][1:])):
                for r, s in product(*map(range, kernel)):
                    row, column = p * stride[0] - top + r, q * stride[1] - left + s
                    if 0 <= row < height and 0 <= column < width:
                        read[-1] += int((words[:, :, row, column] >= 0).sum())
                        cycles += BATCH * len(range(0, channels, lanes))
        widths = PostWidths(tuple((4,) * len(names) for names in work.inputs), 4)
        cost = cost_post_work(work, widths, Surroundings(BATCH, lanes, None, 500.0))
        assert (cost.read, cost.compute_cycles) == (tuple(read), cycles)
        assert cost.traffic.ofmap.read_bits == 4 * sum(read)
