"""Timelines: when each tile moves, runs and drains, as Chrome trace events (Perfetto) and as a Gantt chart."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

from logaccel.costed import PostResult
from logaccel.errors import ConfigError
from logaccel.memory.timing import Span
from logaccel.memory.walk import PlacedTile, walk
from logaccel.report.figure import INK, SERIES_COLOURS, ReportFigure, dress, name_ticks, new_figure
from logaccel.report.table import printable
from logaccel.result import LayerResult, SimulationResult, whole_file

LAYER, DMA_IN, COMPUTE, DRAIN, DMA_OUT, POST = range(6)  # one thread of the trace each
RESOURCES = ("layer", "DRAM: in", "array: compute", "array: drain", "DRAM: out", "post-processing")
MOST_BARS = 600  # a resource with more is drawn as its share of busy time
BINS = 1200


class Event(NamedTuple):
    """One resource at work for one tile (tile None: for a layer, or for work between layers), in cycles of the run."""

    resource: int
    span: Span
    layer: LayerResult | PostResult
    tile: PlacedTile | None


def needs_memory(result: SimulationResult) -> None:
    """Raise ConfigError where there are no tiles to show."""
    if result.arch.memory is None:
        raise ConfigError(f"{result.arch.name}: memory: is missing: without scratchpads there are no tiles to show")


def chosen_layers(result: SimulationResult, layer: str | None) -> list[tuple[LayerResult, int]]:
    """Return the layers (or the one of that name) and the cycle in which each starts. Raises ConfigError."""
    needs_memory(result)
    names = [item.name for item in result.layers]
    if layer is not None and layer not in names:
        raise ConfigError(f"--layer: no layer {layer!r}; there are {', '.join(names)}")
    found, start = [], 0
    for index, item in enumerate(result.layers):
        start += sum(work.total_cycles for work in result.post_work if work.layers_before == index)
        if layer in (None, item.name):
            found.append((item, start))
        start += item.total_cycles
    return found


def work_between(result: SimulationResult) -> Iterator[tuple[PostResult, int]]:
    """Yield the work between the layers of a graph, and the cycle in which each piece starts."""
    ends = {index + 1: start + item.total_cycles for index, (item, start) in enumerate(chosen_layers(result, None))}
    for work in result.post_work:
        start = ends.get(work.layers_before, 0)
        yield work, start
        ends[work.layers_before] = start + work.total_cycles


def layer_tiles(item: LayerResult, result: SimulationResult) -> Iterator[PlacedTile]:
    """Yield the tiles of a layer in the order in which they run, in cycles after the layer's start."""
    assert item.tiled is not None and item.mapping is not None and result.arch.memory is not None
    return walk(item.tiled, item.mapping.mapping, result.arch.memory)


def timeline_events(result: SimulationResult, layer: str | None = None) -> Iterator[Event]:
    """Yield what every resource does, layer by layer and tile by tile; work between layers comes last.

    Raises ConfigError without a memory.
    """
    for item, start in chosen_layers(result, layer):
        yield Event(LAYER, Span(start, start + item.total_cycles), item, None)
        for tile in layer_tiles(item, result):
            spans = tile.spans
            computed = Span(spans.busy.start, tile.drain.start)
            parts = ((DMA_IN, spans.read), (COMPUTE, computed), (DRAIN, tile.drain), (DMA_OUT, spans.write))
            for resource, span in parts:
                if span.cycles:
                    yield Event(resource, Span(start + span.start, start + span.end), item, tile)
        stages = result.arch.post.stages
        if stages:
            yield Event(POST, Span(start + item.total_cycles - stages, start + item.total_cycles), item, None)
    for work, start in work_between(result) if layer is None else ():
        for resource in (LAYER, POST) if work.total_cycles else ():
            yield Event(resource, Span(start, start + work.total_cycles), work, None)


def write_timeline(result: SimulationResult, path: str | Path, layer: str | None = None) -> None:
    """Write Chrome trace events as JSON, one line an event, whole or not at all; `ts` and `dur` are µs of the clock."""
    chosen_layers(result, layer)  # what is wrong is said before the file is touched
    name = f"{result.network} on {result.arch.name}"
    head: list[dict[str, Any]] = [{"name": "process_name", "ph": "M", "pid": 1, "tid": 0, "args": {"name": name}}]
    for thread, resource in enumerate(RESOURCES):
        head.append({"name": "thread_name", "ph": "M", "pid": 1, "tid": thread, "args": {"name": resource}})
        head.append({"name": "thread_sort_index", "ph": "M", "pid": 1, "tid": thread, "args": {"sort_index": thread}})
    other = {
        "logaccel_version": result.version,
        "architecture": result.arch.name,
        "cost_profile": result.arch.cost_profile,
        "clock_mhz": result.arch.clock_mhz,
    }
    with whole_file(path) as file:
        file.write(f'{{"displayTimeUnit": "ns", "otherData": {json.dumps(other)}, "traceEvents": [\n'.encode())
        file.write(",\n".join(json.dumps(item) for item in head).encode())
        for event in timeline_events(result, layer):
            file.write(b",\n" + json.dumps(_chrome(event, result.arch.clock_mhz), allow_nan=False).encode())
        file.write(b"\n]}\n")


def _chrome(event: Event, clock_mhz: float) -> dict[str, Any]:
    span = event.span
    args: dict[str, Any] = {"layer": event.layer.name, "cycle": span.start, "cycles": span.cycles}
    name = event.layer.name
    if event.tile is not None:
        name = f"tile {event.tile.index}"
        args |= {"tile": event.tile.index, **event.tile.place._asdict()}
        work = event.tile.spans.work
        if event.resource == DMA_IN:
            args |= {"ifmap_bits": work.ifmap_read_bits, "filter_bits": work.filter_read_bits}
        elif event.resource == DMA_OUT:
            args["ofmap_bits"] = work.write_bits
    elif event.resource == LAYER:
        args |= {"compute_cycles": event.layer.compute_cycles, "stall_cycles": event.layer.stall_cycles}
    return {
        "name": name,
        "cat": RESOURCES[event.resource],
        "ph": "X",
        "pid": 1,
        "tid": event.resource,
        "ts": span.start / clock_mhz,
        "dur": span.cycles / clock_mhz,
        "args": args,
    }


@dataclass
class _Lane:
    """What is drawn of one resource: its bars as long as they are few, always its busy cycles in each bin."""

    bars: list[Span] = field(default_factory=list)
    count: int = 0
    busy: Any = field(default_factory=lambda: np.zeros(BINS))

    def add(self, span: Span, first: int, width: float) -> None:
        self.count += 1
        if self.count <= MOST_BARS:
            self.bars.append(span)
        start, end = ((cycle - first) / width for cycle in span)
        low, high = int(start), min(int(end), BINS - 1)
        if low >= high:
            self.busy[min(low, BINS - 1)] += end - start
        else:
            self.busy[low] += low + 1 - start
            self.busy[low + 1 : high] += 1
            self.busy[high] += end - high


def plot_timeline(result: SimulationResult, layer: str | None = None) -> ReportFigure:
    """Draw what each resource does over time; where tiles are too many to tell apart, the share of busy time."""
    chosen = chosen_layers(result, layer)
    first, end = chosen[0][1], chosen[-1][1] + chosen[-1][0].total_cycles
    if layer is None:  # with what lies between the layers
        first, end = 0, result.total_cycles
    width = max(1, end - first) / BINS
    lanes = [_Lane() for _ in RESOURCES]
    for event in timeline_events(result, layer):
        if event.resource not in (LAYER, POST):
            lanes[event.resource].add(event.span, first, width)
    what = result.network if layer is None else f"{result.network}, {layer}"
    title = f"{printable(what)} on {printable(result.arch.name)}"
    figure = new_figure(14.0, 3.6, (result,), title)
    figure.suptitle(title, fontsize=12, color=INK, x=0.01, ha="left").set_parse_math(False)
    axes = figure.subplots()
    scale = 1 / result.arch.clock_mhz
    shown = [DMA_IN, COMPUTE, DRAIN, DMA_OUT]
    for place, resource in enumerate(shown):
        _draw(axes, lanes[resource], place, (first, width), scale, SERIES_COLOURS[place])
    dress(axes, "Tiles over time (µs)", "x")
    name_ticks(axes, "y", [RESOURCES[resource] for resource in shown])
    axes.set_title(axes.get_title("left"), loc="left", fontsize=10, color=INK, fontweight="bold", pad=18)
    axes.set_xlim(first * scale, end * scale)
    _name_layers(axes, chosen, end - first, scale)
    return figure


def _draw(axes: Axes, lane: _Lane, place: int, bins: tuple[int, float], scale: float, colour: str) -> None:
    first, width = bins
    if lane.count <= MOST_BARS:
        for turn, strength in enumerate((1.0, 0.6)):  # neighbours stay apart, and thin bars keep their colour
            spans = [(span.start * scale, span.cycles * scale) for span in lane.bars[turn::2]]
            face = to_rgba(colour, strength)
            axes.broken_barh(spans, (place - 0.36, 0.72), facecolor=face, edgecolor=face, linewidth=0.3)
        return
    edges = (first + width * np.arange(BINS + 1)) * scale
    axes.stairs(place + 0.36 - 0.72 * lane.busy, edges, baseline=place + 0.36, fill=True, color=colour, linewidth=0)


def _name_layers(axes: Axes, chosen: list[tuple[LayerResult, int]], cycles: int, scale: float) -> None:
    """Part the layers by thin lines; name those that are wide enough."""
    for item, start in chosen:
        axes.axvline(start * scale, color="#999999", linewidth=0.6, zorder=0)
        if item.total_cycles * 100 >= cycles * 4:
            middle = (start + item.total_cycles / 2) * scale
            axes.annotate(
                printable(item.name, 14), (middle, 1), xycoords=("data", "axes fraction"), xytext=(0, 2),
                textcoords="offset points", ha="center", fontsize=7.5, color=INK,
            ).set_parse_math(False)  # fmt: skip
