"""Timelines: valid Chrome trace events, one thing at a time on every resource, sums equal to the report's cycles."""

import itertools
import json
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_cases import some_mapping

from logaccel.arch import ChannelDram, PEArray, load_arch
from logaccel.errors import ConfigError
from logaccel.memory.tiles import TiledLayer
from logaccel.memory.walk import drain_cycles, places
from logaccel.memory.widths import WordWidths
from logaccel.report import timeline
from logaccel.report.timeline import LAYER, MOST_BARS, plot_timeline, timeline_events, write_timeline
from logaccel.result import SimulationResult
from logaccel.simulation import simulate
from logaccel.workload import Layer, MatrixShape, Network
from logaccel.workload.graph import Graph, LayerNode, Pool

LAYERS = (
    Layer(name="conv", in_channels=8, out_channels=12, in_size=13, kernel=3, stride=2, padding=1, groups=2),
    Layer(name="deep", in_channels=40, out_channels=24, in_size=9, kernel=3),
    Layer(name="fc", kind="fc", in_channels=300, out_channels=70),
)
MEMORY = {
    "ifmap": {"bytes": 2400}, "filter": {"bytes": 3000}, "ofmap": {"bytes": 700},
    "dram": {"bits_per_cycle": 32, "latency_cycles": 20, "burst_bits": 128},
}  # fmt: skip


def result_on(dataflow: str, **changes: Any) -> SimulationResult:
    arch = load_arch("multiply_8b_16x16").replace(
        memory=MEMORY, dataflow=dataflow, array={"rows": 8, "cols": 8}, clock_mhz=400, **changes
    )
    return simulate(Network(name="net", batch=2, layers=LAYERS), arch)


def trace_of(result: SimulationResult, path: Path, layer: str | None = None) -> list[dict[str, Any]]:
    write_timeline(result, path, layer)
    tree = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda text: pytest.fail(text))
    return [event for event in tree["traceEvents"] if event["ph"] == "X"]


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_sums_are_those_of_the_report(tmp_path: Path, dataflow: str) -> None:
    result = result_on(dataflow)
    events = trace_of(result, tmp_path / "t.json")
    start = 0
    for layer in result.layers:
        assert layer.mapping is not None and layer.mapping.tiles > 2
        own = [event for event in events if event["args"]["layer"] == layer.name]
        by_kind = {kind: [e for e in own if e["cat"] == kind] for kind in {e["cat"] for e in own}}

        def cycles(kind: str, by_kind: dict[str, list[Any]] = by_kind) -> int:
            return sum(event["args"]["cycles"] for event in by_kind[kind])

        assert cycles("layer") == layer.total_cycles
        array = cycles("array: compute") + cycles("array: drain")
        assert array + cycles("post-processing") == layer.compute_cycles
        assert len(by_kind["array: compute"]) == layer.mapping.tiles
        bits = [sum(e["args"].get(key, 0) for e in own) for key in ("ifmap_bits", "filter_bits", "ofmap_bits")]
        assert bits[0] + bits[1] == layer.mapping.dram_read_bits and bits[2] == layer.mapping.dram_write_bits
        ends = [event["args"]["cycle"] + event["args"]["cycles"] for event in own]
        assert min(event["args"]["cycle"] for event in own) == start and max(ends) == start + layer.total_cycles
        start += layer.total_cycles
    assert start == result.total_cycles
    for event in events:
        assert event["ts"] * 400 == pytest.approx(event["args"]["cycle"])
        assert event["dur"] * 400 == pytest.approx(event["args"]["cycles"])


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
@pytest.mark.parametrize("shared", [("array: compute", "array: drain"), ("DRAM: in", "DRAM: out"), ("layer",)])
def test_nothing_does_two_things_at_once(tmp_path: Path, dataflow: str, shared: tuple[str, ...]) -> None:
    events = trace_of(result_on(dataflow), tmp_path / "t.json")
    spans = sorted((e["args"]["cycle"], e["args"]["cycles"]) for e in events if e["cat"] in shared)
    assert len(spans) > 2
    for (start, cycles), (following, _) in itertools.pairwise(spans):
        assert start + cycles <= following
    assert {e["tid"] for e in events if e["cat"] in shared} == {
        ("layer", "DRAM: in", "array: compute", "array: drain", "DRAM: out").index(kind) for kind in shared
    }


def test_a_tile_runs_between_its_transfers(tmp_path: Path) -> None:
    tiles: dict[tuple[str, int], dict[str, tuple[int, int]]] = {}
    for event in trace_of(result_on("ws"), tmp_path / "t.json"):
        if "tile" in event["args"]:
            span = event["args"]["cycle"], event["args"]["cycle"] + event["args"]["cycles"]
            tiles.setdefault((event["args"]["layer"], event["args"]["tile"]), {})[event["cat"]] = span
    for spans in tiles.values():
        if "DRAM: in" in spans:
            assert spans["DRAM: in"][1] <= spans["array: compute"][0]
        assert spans["array: compute"][1] == spans["array: drain"][0]
        if "DRAM: out" in spans:
            assert spans["array: drain"][1] <= spans["DRAM: out"][0]


def test_work_between_the_layers_of_a_graph_has_its_place(tmp_path: Path) -> None:
    first = Layer(name="first", in_channels=4, out_channels=8, in_size=8, kernel=3, padding=1)
    second = first.model_copy(update={"name": "second", "in_channels": 8, "in_size": (4, 4)})
    graph = Graph(
        "graph", (4, 8, 8),
        (
            LayerNode("first", ("input",), first), Pool("pool", ("first",), "max", (2, 2), (2, 2), (0, 0, 0, 0)),
            LayerNode("second", ("pool",), second), Pool("mean", ("second",), "average", (4, 4), (1, 1), (0, 0, 0, 0)),
        ),
        "mean",
    )  # fmt: skip
    arch = load_arch("multiply_8b_16x16").replace(memory=MEMORY, array={"rows": 8, "cols": 8}, clock_mhz=400)
    result = simulate(graph, arch, batch=2)
    events = trace_of(result, tmp_path / "t.json")
    whole = sorted((e for e in events if e["cat"] == "layer"), key=lambda event: event["args"]["cycle"])
    assert [event["name"] for event in whole] == ["first", "pool", "second", "mean"]
    ends = [event["args"]["cycle"] + event["args"]["cycles"] for event in whole]
    assert [event["args"]["cycle"] for event in whole] == [0, *ends[:-1]] and ends[-1] == result.total_cycles
    for node in result.post_work:  # from DRAM, through the lanes, and back, block by block
        own = [event for event in events if event["args"]["layer"] == node.name]
        moved = [sum(e["args"].get(key, 0) for e in own) for key in ("input_bits", "ofmap_bits")]
        assert moved == [node.traffic.dram_ifmap.read_bits, node.traffic.dram_ofmap.write_bits]
        lanes = sum(event["args"]["cycles"] for event in own if event["cat"] == "post-processing")
        assert lanes == node.compute_cycles
        assert min(e["args"]["cycle"] for e in own) >= next(e for e in whole if e["name"] == node.name)["args"]["cycle"]
    for shared in (("DRAM: in", "DRAM: out"), ("post-processing",)):
        spans = sorted((e["args"]["cycle"], e["args"]["cycles"]) for e in events if e["cat"] in shared)
        assert all(start + cycles <= after for (start, cycles), (after, _) in itertools.pairwise(spans))
    assert max(e["args"]["cycle"] + e["args"]["cycles"] for e in events) == result.total_cycles
    assert {e["name"] for e in events if e["args"]["layer"] == "pool"} == {"pool", "block 0", "block 1"}
    axes = plot_timeline(result).axes[0]
    assert axes.get_xlim() == pytest.approx((0, result.time_us))
    drawn = max(path.get_extents().x1 for item in axes.collections for path in item.get_paths())
    assert drawn == pytest.approx(result.time_us)  # the latency of the last pool
    alone = trace_of(result, tmp_path / "p.json", "pool")
    assert alone == [event for event in events if event["args"]["layer"] == "pool"]


@given(
    layer=st.sampled_from(LAYERS), batch=st.integers(1, 3), pick=st.integers(0, 9999),
    dataflow=st.sampled_from(["os", "ws", "is"]),
)  # fmt: skip
@settings(max_examples=25)
def test_places_cover_every_product_once(layer: Layer, batch: int, pick: int, dataflow: str) -> None:
    tiled = TiledLayer(layer, batch, PEArray(rows=8, cols=8), dataflow, WordWidths(8, 8, 8, 8))  # type: ignore[arg-type]
    mapping = some_mapping(tiled, pick)
    seen = set()
    for place, work in zip(places(tiled, mapping), tiled.tiles(mapping), strict=True):
        block = {(place.group, *at) for at in itertools.product(*(range(*axis) for axis in place[1:]))}
        assert not block & seen
        seen |= block
        outputs = [end - first for first, end in place[1:5]]
        last = place.ifmap_channels[1] == layer.in_channels // layer.groups
        assert work.write_bits == last * prod(outputs) * 8
    channels = layer.out_channels * layer.in_channels // layer.groups
    assert len(seen) == batch * prod(layer.out_size) * channels


@pytest.mark.parametrize(
    ("dataflow", "cycles"), [("os", 2 + 5 + 3 - 2 + 8), ("ws", 8 + 3 - 2 + 2), ("is", 8 + 2 - 2 + 2)]
)
def test_the_drain_is_what_follows_the_last_operand(dataflow: str, cycles: int) -> None:
    """5 pixels (OS: rows), 3 channels, K = 4 on 8 × 8 with D = 2, from the cycle rules of one fold."""
    matrix = MatrixShape(1, 5 if dataflow != "is" else 2, 3, 4)
    array = PEArray(rows=8, cols=8, pipeline_stages=2)
    assert drain_cycles(matrix, array, dataflow) == cycles  # type: ignore[arg-type]


def test_one_layer_of_many(tmp_path: Path) -> None:
    result = result_on("os")
    events = trace_of(result, tmp_path / "t.json", "deep")
    assert {event["args"]["layer"] for event in events} == {"deep"}
    assert min(event["args"]["cycle"] for event in events) == result.layers[0].total_cycles
    with pytest.raises(ConfigError, match="--layer: no layer 'none'; there are conv, deep, fc"):
        write_timeline(result, tmp_path / "u.json", "none")
    assert not (tmp_path / "u.json").exists()


def test_the_gantt_chart_has_a_bar_for_every_event() -> None:
    result = result_on("os")
    events = [event for event in timeline_events(result) if event.resource != LAYER]
    axes = plot_timeline(result).axes[0]
    bars = [path.get_extents() for item in axes.collections for path in item.get_paths()]
    assert len(events) < MOST_BARS
    drawn = sorted((bar.x0, bar.x1) for bar in bars)
    wanted = sorted((event.span.start / 400, event.span.end / 400) for event in events)
    assert np.array(drawn) == pytest.approx(np.array(wanted))
    assert axes.get_xlim() == pytest.approx((0, result.time_us))


def test_names_of_layers_do_not_overlap() -> None:
    layers = tuple(LAYERS[0].model_copy(update={"name": f"block{number}.convolution"}) for number in range(30))
    arch = load_arch("multiply_8b_16x16").replace(memory=MEMORY, array={"rows": 8, "cols": 8})
    figure = plot_timeline(simulate(Network(name="net", layers=layers), arch))
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) > 10
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_too_many_bars_become_shares_of_busy_time(monkeypatch: pytest.MonkeyPatch) -> None:
    result = result_on("os")
    monkeypatch.setattr(timeline, "MOST_BARS", 5)
    stairs = plot_timeline(result).axes[0].patches
    busy = {}
    for event in timeline_events(result):
        if event.tile is not None:
            busy[event.resource] = busy.get(event.resource, 0) + event.span.cycles
    assert len(stairs) == len(busy) == 4
    labels = [label.get_text() for label in plot_timeline(result).axes[0].get_yticklabels()]
    assert labels[0] == "DRAM: in\n(share of time)"
    for shape, resource in zip(stairs, sorted(busy), strict=True):
        top, edges, base = shape.get_data()  # type: ignore[attr-defined]
        shares = (base - top) / 0.72
        assert shares.min() >= 0 and shares.max() <= 1 + 1e-9
        assert (shares * np.diff(edges)).sum() == pytest.approx(busy[resource] / 400)


def test_from_the_command_line(tmp_path: Path) -> None:
    args = ("simulate", "multiply_8b_16x16", "--network", "alexnet", "--csv")
    plain = run(*args, "--timeline", tmp_path / "t.json")
    assert plain.returncode == 2 and "multiply_8b_16x16 has no memory" in plain.stderr
    memory = "{ifmap: {bytes: 65536}, filter: {bytes: 65536}, ofmap: {bytes: 65536}, dram: {bits_per_cycle: 64}}"
    both = run(*args, "--set", f"memory={memory}", "--layer", "conv5",
               "--timeline", tmp_path / "t.json", "--gantt", tmp_path / "g.png")  # fmt: skip
    assert both.returncode == 0, both.stderr
    assert json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert (tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")
    wrong = run(*args, "--set", f"memory={memory}", "--gantt", tmp_path / "g.gif")
    assert wrong.returncode == 2 and "suffix" in wrong.stderr


def test_a_run_without_a_memory_is_refused(tmp_path: Path) -> None:
    result = simulate(Network(name="net", layers=LAYERS[:1]), load_arch("multiply_8b_16x16"))
    with pytest.raises(ConfigError, match="multiply_8b_16x16: memory: is missing"):
        write_timeline(result, tmp_path / "t.json")


def test_unlimited_bandwidth_moves_in_no_time(tmp_path: Path) -> None:
    result = result_on("os", **{"memory.dram": ChannelDram(bits_per_cycle=None).model_dump()})
    events = trace_of(result, tmp_path / "t.json")
    assert {event["cat"] for event in events} == {"layer", "array: compute", "array: drain", "post-processing"}
