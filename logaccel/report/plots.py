"""Figures of results: cycles, energy and area by component, utilization, errors. Needs no display."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from logaccel.report.content import BETWEEN, component_label
from logaccel.report.figure import (
    COMPONENT_COLOURS,
    INK,
    OTHER_COLOUR,
    SERIES_COLOURS,
    ReportFigure,
    check_suffix,
    dress,
    name_ticks,
    new_figure,
    plain,
    save_figure,
)
from logaccel.report.table import printable
from logaccel.result import SimulationResult
from logaccel.units import Scale, area_scale, bits_scale, count_scale, energy_scale, format_db, format_percent

if TYPE_CHECKING:  # reports read results; they need no engine
    from logaccel.comparison import Comparison

__all__ = ["ReportFigure", "check_suffix", "plot_comparison", "plot_result", "save_figure"]

BAR = 0.72
DODGE = 0.14  # apart even where both values are the same
MOST_LABELLED_BARS = 12
LABEL_SIZE = 7.5


def plot_result(result: SimulationResult) -> ReportFigure:
    """Draw cycles, energy by component and utilization of every layer; with a memory, stalls and system energy too.

    What the nodes between the layers of a graph take together stands behind the last layer.
    """
    names = [printable(layer.name, 18) for layer in result.layers] + ([BETWEEN] if result.post_work else [])
    width = min(max(7.5, 2.5 + 0.42 * len(names)), 18.0)
    title = f"{printable(result.network)} on {printable(result.arch.name)}"
    arrays, systems = _array_stacks(result), _system_stacks(result)
    panels = 4 if systems else 3
    figure = new_figure(width, 2.8 * panels, (result,), title)
    figure.suptitle(title, fontsize=12, color=INK, x=0.01, ha="left").set_parse_math(False)
    cycles, energy, *system, use = figure.subplots(panels, 1, sharex=True)

    stacks = _cycle_stacks(result)
    scale = count_scale(sum(stack.values()) for stack in stacks)
    _stacks(cycles, stacks, scale)
    dress(cycles, "Cycles" + (f" ({scale.unit})" if scale.unit else ""), "y")
    if result.arch.memory is not None:
        _legend(cycles)

    for axes, what, energies in [(energy, "Array", arrays), *((axes, "System", systems) for axes in system)]:
        in_pj = energy_scale(sum(stack.values()) for stack in energies)
        _stacks(axes, energies, in_pj)
        dress(axes, f"{what} energy ({in_pj.unit})", "y")
        _legend(axes)

    _utilization(use, result)
    name_ticks(use, "x", names, rotation=0 if len(names) <= 6 else 45)
    return figure


def _cycle_stacks(result: SimulationResult) -> list[dict[str, float]]:
    """Return compute and stalled cycles of every layer, and of the work between them together."""
    stacks = [{"compute": float(x.compute_cycles), "stalled": float(x.stall_cycles)} for x in result.layers]
    if result.post_work:
        compute = sum(work.compute_cycles for work in result.post_work)
        stalled = sum(work.stall_cycles for work in result.post_work)
        stacks.append({"compute": float(compute), "stalled": float(stalled)})
    return stacks


def _array_stacks(result: SimulationResult) -> list[dict[str, float]]:
    """Return array energy of every layer by component, and of the work between them, which is that of the lanes."""
    stacks = [dict(layer.energy_pj) for layer in result.layers]
    if result.post_work:
        stacks.append({"post_processing": sum(work.energy_pj for work in result.post_work)})
    return stacks


def _system_stacks(result: SimulationResult) -> list[dict[str, float]]:
    """Return system energy by component, the array whole, in the same order; nothing without prices of a memory."""
    parts = [layer.energy.memory for layer in result.layers]
    if any(part is None for part in parts):
        return []
    stacks = [
        {"array": layer.energy.array_pj} | part.pj
        for layer, part in zip(result.layers, parts, strict=True)
        if part is not None
    ]
    if result.post_work:
        between = [work.energy_of_memory.pj for work in result.post_work if work.energy_of_memory is not None]
        stacks.append(
            {"array": sum(work.energy_pj for work in result.post_work)}
            | {key: sum(part[key] for part in between) for key in between[0]}
        )
    return stacks


def _stacks(axes: Axes, stacks: list[dict[str, float]], scale: Scale) -> None:
    """Draw one stack a layer, its sum above it where there is room."""
    _stack(axes, stacks, scale.size, vertical=True)
    if len(stacks) <= MOST_LABELLED_BARS:
        for index, stack in enumerate(stacks):
            total = sum(stack.values())
            axes.annotate(
                scale.text(total), (index, total / scale.size), (0, 2), textcoords="offset points",
                ha="center", va="bottom", fontsize=LABEL_SIZE, color=INK,
            )  # fmt: skip
        axes.margins(y=0.14)


def plot_comparison(comparison: "Comparison") -> ReportFigure:
    """Draw energy and area by component, errors where values were simulated, and cycles of every layer.

    Where an architecture has a memory with prices: energy of the system, and what crosses the DRAM channel.
    """
    rows = comparison.rows
    names = [printable(row.arch.name) for row in rows]
    with_values, with_system = rows[0].values_simulated, any(row.energy_system_pj is not None for row in rows)
    pairs = 1 + with_system + with_values
    height = (1.2 + 0.3 * len(rows)) * pairs + 0.8
    figure = new_figure(max(11.0, min(18.0, 4 + 0.45 * len(rows[0].layers))), height + 3.6, rows, "comparison")
    title = f"{printable(rows[0].network)} on {len(rows)} architecture{'s' if len(rows) > 1 else ''}"
    figure.suptitle(title, fontsize=12, color=INK, x=0.01, ha="left").set_parse_math(False)
    parts: Any = figure.subfigures(2, 1, height_ratios=[height, 3.0])
    above, below = parts
    panels = above.subplots(pairs, 2, squeeze=False)

    in_pj = energy_scale(value for row in rows for value in (row.energy_alu_pj, row.energy_array_pj))
    labels = [f"{in_pj.text(row.energy_array_pj)} (ALU {in_pj.text(row.energy_alu_pj)})" for row in rows]
    _rows_of_stacks(panels[0, 0], [row.energy_pj for row in rows], labels, in_pj.size)
    dress(panels[0, 0], f"Array energy ({in_pj.unit})", "x")
    in_um2 = area_scale(value for row in rows for value in (row.area.alu_um2, row.area_um2))
    labels = [f"{in_um2.text(row.area_um2)} (ALU {in_um2.text(row.area.alu_um2)})" for row in rows]
    _rows_of_stacks(panels[0, 1], [row.area.um2 for row in rows], labels, in_um2.size)
    dress(panels[0, 1], f"Array area ({in_um2.unit})", "x")
    _shared_legend(above, list(panels[0]))
    if with_system:
        _system(panels[1, 0], rows)
        _dram(panels[1, 1], rows)
    if with_values:
        _noise(panels[-1, 0], comparison)
        _top1(panels[-1, 1], comparison)
    for left, right in panels:
        name_ticks(left, "y", names)
        name_ticks(right, "y", [""] * len(names))
    _cycles_of_layers(below.subplots(), rows)
    return figure


def _system(axes: Axes, rows: tuple[SimulationResult, ...]) -> None:
    """Draw the energy of each system: the array whole, scratchpads, DRAM, leakage."""
    stacks = [
        {} if row.energy_of_memory_pj is None else {"array": row.energy_array_pj} | row.energy_of_memory_pj
        for row in rows
    ]
    in_pj = energy_scale(sum(stack.values()) for stack in stacks)
    labels = [in_pj.text(sum(stack.values())) if stack else "no memory" for stack in stacks]
    _rows_of_stacks(axes, stacks, labels, in_pj.size)
    dress(axes, f"System energy ({in_pj.unit})", "x")
    _legend_below(axes)


def _dram(axes: Axes, rows: tuple[SimulationResult, ...]) -> None:
    """Draw the bits that cross the DRAM channel, by operand."""
    moved = [row.traffic for row in rows]
    stacks = [
        {} if traffic is None
        else {key: float(getattr(traffic, f"dram_{key}").bits) for key in ("ifmap", "filter", "ofmap")}
        for traffic in moved
    ]  # fmt: skip
    in_bits = bits_scale(sum(stack.values()) for stack in stacks)
    labels = [in_bits.text(sum(stack.values())) if stack else "no memory" for stack in stacks]
    _rows_of_stacks(axes, stacks, labels, in_bits.size)
    dress(axes, f"DRAM traffic ({in_bits.unit})", "x")
    _legend_below(axes)


def _stack(axes: Axes, stacks: Sequence[dict[str, float]], size: float, vertical: bool) -> None:
    """Draw one bar a stack, the components in their own order and always in their own colour."""
    base = np.zeros(len(stacks))
    positions = np.arange(len(stacks))
    for component in dict.fromkeys(key for stack in stacks for key in stack):
        values = np.array([stack.get(component, 0.0) / size for stack in stacks])
        if not values.any():
            continue
        style = {
            "color": COMPONENT_COLOURS.get(component, OTHER_COLOUR),
            "label": component_label(component),
            "edgecolor": "white",
            "linewidth": 0.4,
        }
        if vertical:
            axes.bar(positions, values, BAR, bottom=base, **style)  # type: ignore[arg-type]
        else:
            axes.barh(positions, values, BAR, left=base, **style)  # type: ignore[arg-type]
        base += values


def _rows_of_stacks(axes: Axes, stacks: list[dict[str, float]], labels: list[str], size: float) -> None:
    _stack(axes, stacks, size, vertical=False)
    for index, (stack, label) in enumerate(zip(stacks, labels, strict=True)):
        _label_right(axes, sum(stack.values()) / size, index, label)
    axes.margins(x=0.34)  # room for the labels


def _label_right(axes: Axes, x: float, y: float, label: str) -> None:
    axes.annotate(
        label, (x, y), (4, 0), textcoords="offset points", va="center", ha="left", fontsize=LABEL_SIZE, color=INK
    )


def _legend(axes: Axes) -> None:
    axes.legend(fontsize=7.5, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)


def _legend_below(axes: Axes) -> None:
    axes.legend(
        fontsize=7.5, frameon=False, loc="upper left", bbox_to_anchor=(0.0, -0.12), borderaxespad=0,
        columnspacing=1.2, ncols=4,
    )  # fmt: skip


def _shared_legend(figure: FigureBase, panels: list[Axes]) -> None:
    """Name every component once, above all panels."""
    found: dict[str, Any] = {}
    for panel in panels:
        handles, labels = panel.get_legend_handles_labels()
        for handle, label in zip(handles, map(str, labels), strict=True):
            found.setdefault(label, handle)
    figure.legend(list(found.values()), [*found], loc="outside upper right", ncols=4, fontsize=8, frameon=False)


def _utilization(axes: Axes, result: SimulationResult) -> None:
    places = np.arange(len(result.layers))
    half = BAR / 2
    for shift, key, label, colour in (
        (-half / 2, "spatial_utilization", "spatial (PEs in use)", "#56B4E9"),
        (half / 2, "utilization", "total (MACs / PEs · cycles)", "#0072B2"),
    ):
        values = [100 * getattr(layer, key) for layer in result.layers]
        drawn = axes.bar(places + shift, values, half, color=colour, label=label)
        if len(places) <= MOST_LABELLED_BARS // 2:
            axes.bar_label(drawn, [format_percent(v / 100) for v in values], fontsize=LABEL_SIZE, padding=2, color=INK)
    dress(axes, "Utilization (%)", "y")
    axes.set_ylim(0, 109)
    axes.set_yticks([0, 25, 50, 75, 100])
    _legend(axes)


def _noise(axes: Axes, comparison: "Comparison") -> None:
    """Draw the last layer's SNR as a bar; chained where there is a chain."""
    rows = comparison.chained_rows or comparison.rows
    found = [row.layers[-1].snr_db for row in rows]
    finite = [value if value is not None and np.isfinite(value) else 0.0 for value in found]
    axes.barh(range(len(rows)), finite, BAR, color="#8C8C8C")
    for index, (value, shown) in enumerate(zip(finite, found, strict=True)):
        _label_right(axes, max(value, 0.0), index, format_db(shown))
    how = "chained" if comparison.chained_rows else "recorded ifmaps"
    dress(axes, f"Last layer's signal-to-noise ratio ({how}, dB)", "x")
    axes.margins(x=0.14)


def _top1(axes: Axes, comparison: "Comparison") -> None:
    """Draw agreement with the float network and accuracy as dots, from just below the lowest up to 100 %."""
    rows = comparison.chained_rows or comparison.rows
    known = [(index, row.accuracy) for index, row in enumerate(rows) if row.accuracy is not None]
    how = "chained" if comparison.chained_rows else "recorded ifmaps"
    dress(axes, f"Top-1 ({how}, %)", "x")
    if not known:
        axes.text(0.5, 0.5, "no logits: the last ofmap is a map", transform=axes.transAxes, ha="center", fontsize=8)
        axes.set_xticks([])
        return
    shown: list[float] = []
    agreement = [(100 * item.top1_agreement, index - DODGE) for index, item in known]
    correct = [(100 * item.top1_accuracy, index + DODGE) for index, item in known if item.top1_accuracy is not None]
    for points, marker, colour, label in (
        (agreement, "D", "#0072B2", "same as float network"),
        (correct, "o", "#D55E00", "same as label"),
    ):
        if points:
            axes.plot(
                [x for x, _ in points], [y for _, y in points], marker, color=colour, markersize=6, label=label,
                linestyle="none",
            )  # fmt: skip
            shown += [x for x, _ in points]
    reference = known[0][1].float_top1_accuracy
    if reference is not None:
        axes.axvline(
            100 * reference, color=INK, linewidth=1, linestyle="--",
            label=f"float network on labels ({format_percent(reference)})",
        )  # fmt: skip
        shown.append(100 * reference)
    low = max(0.0, np.floor(min(shown) - 0.06 * (100 - min(shown)) - 0.5))
    axes.set_xlim(low, 100 + 0.03 * (100 - low))
    _legend_below(axes)


def _cycles_of_layers(axes: Axes, rows: tuple[SimulationResult, ...]) -> None:
    """Draw grouped bars; architectures with the same cycles in every layer share one bar."""
    alike: dict[tuple[int, ...], list[str]] = {}
    for row in rows:
        alike.setdefault(tuple(layer.total_cycles for layer in row.layers), []).append(printable(row.arch.name))
    scale = count_scale(value for cycles in alike for value in cycles)
    layers = [printable(layer.name, 18) for layer in rows[0].layers]
    width = 0.82 / len(alike)
    for number, (cycles, names) in enumerate(alike.items()):
        places = np.arange(len(layers)) + (number - (len(alike) - 1) / 2) * width
        label = "\n".join(names)
        drawn = axes.bar(
            places, [value / scale.size for value in cycles], width, color=SERIES_COLOURS[number % 10], label=label
        )
        if len(layers) * len(alike) <= MOST_LABELLED_BARS:
            axes.bar_label(drawn, [scale.text(v) for v in cycles], fontsize=LABEL_SIZE, padding=2, color=INK)
    axes.margins(y=0.14)
    same = f", the same on all {len(rows)} architectures" if len(alike) == 1 < len(rows) else ""
    dress(axes, "Cycles per layer" + (f" ({scale.unit})" if scale.unit else "") + same, "y")
    name_ticks(axes, "x", layers, rotation=0 if len(layers) <= 8 else 45)
    if len(alike) > 1:
        legend = axes.legend(fontsize=7.5, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        plain(legend.get_texts())
