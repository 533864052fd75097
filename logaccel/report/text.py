"""Results as text: the same renderables go to a terminal in colour and into plain strings."""

from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from logaccel.report import content
from logaccel.report.memory import between_grids, memory_grids
from logaccel.report.table import Column, Grid, printable
from logaccel.result import SimulationResult
from logaccel.trace import LayerTensors, Trace
from logaccel.units import count_scale, format_percent

if TYPE_CHECKING:  # reports read results; they need no engine
    from logaccel.comparison import Comparison

WIDTH = 120


def summary_text(result: SimulationResult, width: int = WIDTH) -> str:
    """Return one result as plain text at most `width` columns wide."""
    return plain_text(summary_renderables(result), width)


def comparison_text(comparison: "Comparison", width: int = WIDTH) -> str:
    """Return a comparison as plain text: one table, a column an architecture, in parts where it is too wide."""
    return plain_text(comparison_renderables(comparison), width)


def trace_text(trace: Trace, width: int = WIDTH) -> str:
    """Return what a trace holds as plain text."""
    return plain_text(trace_renderables(trace), width)


def summary_renderables(result: SimulationResult) -> list[RenderableType]:
    """Return what rich prints for one result."""
    return [
        *_lines(content.summary_heading(result)),
        Text(""),
        content.layer_grid(result),
        content.component_grid(result),
        *between_grids(result),
        *memory_grids(result),
        content.format_grid(result),
        *remarks(content.summary_notes(result)),
    ]


def comparison_renderables(comparison: "Comparison") -> list[RenderableType]:
    """Return what rich prints for a comparison."""
    return [
        *_lines(content.comparison_caption(comparison)),
        Text(""),
        content.comparison_grid(comparison),
        *remarks(content.comparison_notes(comparison)),
    ]


def trace_renderables(trace: Trace) -> list[RenderableType]:
    """Return what rich prints for a trace: shapes, zeros and ranges of every layer's tensors."""
    tree = trace_dict(trace)
    layers = tree["layers"]
    macs = count_scale(layer["macs"] for layer in layers)
    columns = [
        Column("kind", tuple(layer["kind"] for layer in layers), left=True),
        Column(f"MACs\n{macs.unit}".rstrip(), tuple(macs.text(layer["macs"]) for layer in layers)),
    ]
    for key in ("ifmap", "filter", "ofmap"):
        found = [layer[key] for layer in layers]
        columns += [
            Column(f"{key}\nshape", tuple("×".join(map(str, item["shape"])) for item in found), key),
            Column("zeros\n%", tuple(format_percent(item["zero_share"]) for item in found), key),
            Column("min", tuple(f"{item['min']:.3g}" for item in found), key),
            Column("max", tuple(f"{item['max']:.3g}" for item in found), key),
        ]
    labels = "labels of every image" if tree["has_labels"] else "no labels"
    head = [f"{printable(trace.name)}: {len(layers)} layers, {trace.batch} images, {labels}"]
    if trace.source:
        head.append("source: " + printable(trace.source, 2000))
    names = tuple(printable(layer["name"], content.SHORT_NAME) for layer in layers)
    return [*_lines(head), Text(""), Grid("Layers", Column("layer", names, left=True), tuple(columns))]


def trace_dict(trace: Trace) -> dict[str, Any]:
    """Return what a trace holds as plain values, ready for JSON."""
    return {
        "name": trace.name,
        "source": trace.source,
        "images": trace.batch,
        "has_labels": trace.labels is not None,
        "macs": trace.network.macs,
        "layers": [_layer_dict(tensors, trace.batch) for tensors in trace.layers],
    }


def _layer_dict(tensors: LayerTensors, batch: int) -> dict[str, Any]:
    statistics = {key: _statistics(getattr(tensors, key)) for key in ("ifmap", "filter", "bias", "ofmap")}
    layer = tensors.layer
    return {"name": layer.name, "kind": layer.kind, "macs": layer.matrix(batch).macs, "relu": layer.relu} | statistics


def _statistics(values: Any) -> dict[str, Any]:
    return {
        "shape": list(values.shape),
        "zero_share": 1.0 - float(np.count_nonzero(values)) / values.size,
        "min": float(values.min()),
        "max": float(values.max()),
    }


def _lines(lines: list[str]) -> list[RenderableType]:
    return [Text(line) for line in lines]


def remarks(lines: list[str]) -> list[RenderableType]:
    """Return what stands below the tables, dimmed."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    for line in lines:
        grid.add_row("·", Text(line), style="dim")
    return [grid]


def plain_text(renderables: list[RenderableType], width: int = WIDTH) -> str:
    """Return what rich would print, without colour, at most `width` columns wide."""
    console = Console(
        file=StringIO(), width=width, no_color=True, color_system=None, force_terminal=False, legacy_windows=False,
        force_jupyter=False,  # in a notebook, rich would show the pieces as output and leave the file empty
    )  # fmt: skip
    for item in renderables:
        console.print(item)
    assert isinstance(console.file, StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()).rstrip()
