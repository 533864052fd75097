"""Timelines: when each tile moves, runs and drains, as Chrome trace events (Perfetto) and as a Gantt chart."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

from logaccel.memory.post_tiles import PlacedBlock
from logaccel.memory.timing import Span
from logaccel.memory.walk import PlacedTile, walk
from logaccel.report.figure import INK, SERIES_COLOURS, ReportFigure, dress, name_ticks, new_figure
from logaccel.report.run_order import Step, chosen_steps, sweep_starts
from logaccel.report.table import printable
from logaccel.result import LayerResult, SimulationResult, whole_file

LAYER, DMA_IN, COMPUTE, DRAIN, DMA_OUT, POST = range(6)  # one thread of the trace each
RESOURCES = ("layer", "DRAM: in", "array: compute", "array: drain", "DRAM: out", "post-processing")
MOST_BARS = 600  # a resource with more is drawn as its share of busy time
BINS = 1200
NAME_SIZE = 7.5  # points


class Event(NamedTuple):
    """One resource at work for one tile or block (None: for a whole layer or node), in cycles of the run."""

    resource: int
    span: Span
    layer: Step
    tile: PlacedTile | PlacedBlock | None


def layer_tiles(item: LayerResult, result: SimulationResult) -> Iterator[PlacedTile]:
    """Yield the tiles of a layer in the order in which they run, in cycles after the layer's start."""
    assert item.tiled is not None and item.mapping is not None and result.arch.memory is not None
    return walk(item.tiled, item.mapping.mapping, result.arch.memory)


def timeline_events(result: SimulationResult, layer: str | None = None) -> Iterator[Event]:
    """Yield what every resource does, in the order of the run: layers tile by tile, work between them by blocks.

    Raises ConfigError without a memory.
    """
    for item, start in chosen_steps(result, layer):
        if item.total_cycles:
            yield Event(LAYER, Span(start, start + item.total_cycles), item, None)
        for resource, span, part in _parts(item, result):
            if span.cycles:
                yield Event(resource, Span(start + span.start, start + span.end), item, part)
        stages = result.arch.post.stages if item.compute_cycles else 0
        if stages:
            yield Event(POST, Span(start + item.total_cycles - stages, start + item.total_cycles), item, None)


def _parts(item: Step, result: SimulationResult) -> Iterator[tuple[int, Span, PlacedTile | PlacedBlock]]:
    """Yield what the resources do for each tile of a layer, or each block of the work between layers."""
    if isinstance(item, LayerResult):
        for tile in layer_tiles(item, result):
            spans = tile.spans
            computed = Span(spans.busy.start, tile.drain.start)
            parts = ((DMA_IN, spans.read), (COMPUTE, computed), (DRAIN, tile.drain), (DMA_OUT, spans.write))
            yield from ((resource, span, tile) for resource, span in parts)
        return
    assert result.between is not None
    for sweep, start in sweep_starts(result, item):
        for placed in sweep.placed(result.between.surroundings):
            spans = placed.spans
            for resource, span in ((DMA_IN, spans.read), (POST, spans.busy), (DMA_OUT, spans.write)):
                yield resource, Span(start + span.start, start + span.end), placed


def write_timeline(result: SimulationResult, path: str | Path, layer: str | None = None) -> None:
    """Write Chrome trace events as JSON, one line an event, whole or not at all; `ts` and `dur` are µs of the clock."""
    chosen_steps(result, layer)  # what is wrong is said before the file is touched
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
        work = event.tile.spans.work
        if isinstance(event.tile, PlacedTile):
            name = f"tile {event.tile.index}"
            args |= {"tile": event.tile.index, **event.tile.place._asdict()}
            read = {"ifmap_bits": work.ifmap_read_bits, "filter_bits": work.filter_read_bits}
        else:
            name = f"block {event.tile.number}"
            args |= {"block": event.tile.number, "image": event.tile.image, **event.tile.block._asdict()}
            read = {"input_bits": work.read_bits}
        if event.resource == DMA_IN:
            args |= read
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
    chosen = chosen_steps(result, layer)
    first, end = chosen[0][1], chosen[-1][1] + chosen[-1][0].total_cycles
    width = max(1, end - first) / BINS
    lanes = [_Lane() for _ in RESOURCES]
    for event in timeline_events(result, layer):
        lanes[event.resource].add(event.span, first, width)
    what = result.network if layer is None else f"{result.network}, {layer}"
    title = f"{printable(what)} on {printable(result.arch.name)}"
    shown = [DMA_IN, COMPUTE, DRAIN, DMA_OUT, POST]
    figure = new_figure(14.0, 1.6 + 0.55 * len(shown), (result,), title)
    figure.suptitle(title, fontsize=12, color=INK, x=0.01, ha="left").set_parse_math(False)
    axes = figure.subplots()
    scale = 1 / result.arch.clock_mhz
    for place, resource in enumerate(shown):
        _draw(axes, lanes[resource], place, (first, width), scale, SERIES_COLOURS[place])
    dress(axes, "Tiles over time (µs)", "x")
    shares = {resource for resource in shown if lanes[resource].count > MOST_BARS}
    name_ticks(axes, "y", [RESOURCES[item] + "\n(share of time)" * (item in shares) for item in shown])
    axes.set_title(axes.get_title("left"), loc="left", fontsize=10, color=INK, fontweight="bold", pad=28)
    axes.set_xlim(first * scale, end * scale)
    axes.xaxis.set_major_formatter("{x:,g}")
    figure.canvas.draw()  # what fits depends on the layout
    _name_layers(axes, chosen, scale)
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


def _name_layers(axes: Axes, chosen: list[tuple[Step, int]], scale: float) -> None:
    """Part layers and nodes by thin lines; name those that find room in two lines above, the longest first."""
    left, right = axes.get_xlim()
    points = axes.bbox.width * 72 / axes.figure.dpi / (right - left)  # of one µs
    taken: list[list[tuple[float, float]]] = [[], []]
    timed = [step for step in chosen if step[0].total_cycles]  # a residual takes none
    for item, start in sorted(timed, key=lambda pair: -pair[0].total_cycles):
        axes.axvline(start * scale, color="#999999", linewidth=0.6, zorder=0)
        middle, name = (start + item.total_cycles / 2) * scale, printable(item.name, 18)
        half = (0.31 * NAME_SIZE * len(name) + 2) / points
        for line, others in enumerate(taken):
            if all(middle + half <= low or high <= middle - half for low, high in others):
                others.append((middle - half, middle + half))
                axes.annotate(
                    name, (middle, 1), xycoords=("data", "axes fraction"), xytext=(0, 2 + 10 * line),
                    textcoords="offset points", ha="center", fontsize=NAME_SIZE, color=INK,
                ).set_parse_math(False)  # fmt: skip
                break
