"""The roofline: MACs a cycle against MACs per DRAM byte, under what the array and the channel can do at most."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from logaccel.arch import BankedDram
from logaccel.dram import load_device
from logaccel.errors import ConfigError
from logaccel.memory.banked import clock_ratio
from logaccel.report.figure import INK, SERIES_COLOURS, ReportFigure, dress, new_figure, plain
from logaccel.report.table import printable
from logaccel.result import LayerResult, SimulationResult

LABEL_SIZE = 7.5
WIDTH, HEIGHT = 9.0, 5.6  # inches
ROOF = "#333333"
MOST_NAMED_SPOTS = 12  # with more, spots have numbers, and the names stand beside the figure
PLACES = tuple((x, y) for y in (4, -12, 14, -22, -32, -42, 24, -52, -62) for x in (7, -7))  # in points
Box = tuple[float, float, float, float]  # left, bottom, right, top in points


def plot_roofline(result: SimulationResult) -> ReportFigure:
    """Draw every layer under the roof; hollow where it would stand without stalls.

    The roof is the lower of the array's peak (a MAC a cycle in every PE) and what the channel's bandwidth feeds. Raises
    ConfigError where the architecture has no memory, or no layer reads from DRAM.
    """
    if result.arch.memory is None:
        raise ConfigError(f"{result.arch.name}: memory: a roofline needs one, and there is none")
    layers = [layer for layer in result.layers if layer.macs_per_dram_byte is not None]
    if not layers:
        raise ConfigError(f"{result.arch.name}: a roofline needs DRAM traffic, and no layer has any")
    title = f"Roofline of {printable(result.network)} on {printable(result.arch.name)}"
    figure = new_figure(WIDTH, HEIGHT, (result,), title)
    figure.suptitle(title, fontsize=12, color=INK, x=0.01, ha="left").set_parse_math(False)
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        axis.set_major_formatter("{x:,g}")
        axis.set_minor_formatter(NullFormatter())
    dress(axes, _subtitle(result), "both")
    axes.set_xlabel("MACs per DRAM byte", fontsize=9, color=INK)
    axes.set_ylabel("MACs per cycle", fontsize=9, color=INK)
    _roof(axes, result, [layer.macs_per_dram_byte or 0.0 for layer in layers])
    _points(axes, layers)
    figure.canvas.draw()  # places of labels depend on the layout
    _label(axes, layers, _taken_by_roof(axes))
    unfed = len(result.layers) - len(layers)
    if unfed:
        axes.text(
            0.01, 0.01, f"{unfed} layers without DRAM traffic are not drawn", transform=axes.transAxes, fontsize=7.5
        )  # fmt: skip
    return figure


def bytes_per_cycle(result: SimulationResult) -> float | None:
    """Return the channel's bandwidth at its best, None where it is unlimited."""
    dram = None if result.arch.memory is None else result.arch.memory.dram
    if isinstance(dram, BankedDram):
        device = load_device(dram.device)
        return float(clock_ratio(device, result.arch.clock_mhz)) * device.clocks.burst_bits / device.clocks.burst / 8
    return None if dram is None or dram.bits_per_cycle is None else dram.bits_per_cycle / 8


def _subtitle(result: SimulationResult) -> str:
    array, bandwidth = result.arch.array, bytes_per_cycle(result)
    fed = "bandwidth unlimited" if bandwidth is None else f"{bandwidth:g} bytes a cycle from DRAM"
    return f"{array.rows}×{array.cols} PEs, dataflow {result.arch.dataflow}, batch {result.batch}, {fed}"


def _roof(axes: Axes, result: SimulationResult, intensities: list[float]) -> None:
    peak, bandwidth = float(result.arch.array.rows * result.arch.array.cols), bytes_per_cycle(result)
    low, high = min(intensities), max(intensities)
    ridge = None if bandwidth is None else peak / bandwidth
    if ridge is not None:
        low, high = min(low, ridge), max(high, ridge)
    span = np.array([low / 2, high * 3])
    xs = np.array(sorted({*span, ridge} if ridge is not None else set(span)))
    ys = np.full(len(xs), peak) if bandwidth is None else np.minimum(peak, bandwidth * xs)
    axes.plot(xs, ys, color=ROOF, linewidth=1.4, label="roof")
    axes.annotate(
        f"{peak:,.0f} MACs a cycle", (xs[-1], peak), (0, 12), textcoords="offset points", ha="right", va="bottom",
        fontsize=8, color=ROOF,
    )  # fmt: skip
    if bandwidth is not None and ridge is not None:
        middle = float(np.sqrt(span[0] * ridge))
        axes.annotate(
            f"{bandwidth:g} bytes a cycle", (middle, bandwidth * middle), (8, -12), textcoords="offset points",
            ha="left", va="bottom", fontsize=8, color=ROOF,
        )  # fmt: skip
    axes.set_xlim(*span)
    axes.set_ylim(top=peak * 2.2)


def _taken_by_roof(axes: Axes) -> list[Box]:
    """Return the boxes, in points, that the roof's line and its two labels take."""
    points = 72 / axes.figure.dpi
    corners = axes.transData.transform(axes.lines[0].get_xydata()) * points
    steps = [start + (end - start) * part for start, end in pairwise(corners) for part in np.linspace(0, 1, 100)]
    line = [(x - 1, y - 1, x + 1, y + 1) for x, y in steps]
    for text in axes.texts:
        left, bottom, right, top = points * np.array(text.get_window_extent().extents)
        line.append((left, bottom, right, top))
    return line


def _points(axes: Axes, layers: Sequence[LayerResult]) -> None:
    xs = [layer.macs_per_dram_byte or 0.0 for layer in layers]
    reached = [layer.macs / layer.total_cycles for layer in layers]
    alone = [layer.macs / layer.compute_cycles for layer in layers]
    axes.vlines(xs, reached, alone, color="#999999", linewidth=0.8, zorder=2)
    axes.plot(
        xs, alone, "o", markersize=6, markerfacecolor="white", markeredgecolor=SERIES_COLOURS[0], linestyle="none",
        label="without stalls",
    )  # fmt: skip
    axes.plot(xs, reached, "o", markersize=6, color=SERIES_COLOURS[0], linestyle="none", label="reached")
    bottom = min(reached) / 2
    axes.set_ylim(bottom=bottom)
    axes.legend(fontsize=8, frameon=False, loc="lower right")


def _label(axes: Axes, layers: Sequence[LayerResult], taken: list[Box]) -> None:
    """Name the layers; those on one spot share a label; labels keep off one another, off points and what is taken."""
    spots: dict[tuple[float, float], list[str]] = {}
    for layer in layers:
        spot = (layer.macs_per_dram_byte or 0.0, layer.macs / layer.total_cycles)
        near = next((other for other in spots if np.allclose(np.log(other), np.log(spot), atol=0.02)), spot)
        spots.setdefault(near, []).append(printable(layer.name, 18))
    named = len(spots) <= MOST_NAMED_SPOTS
    taken = taken + [_box(axes, spot, (-4, -4), 8, 8) for spot in spots]
    key = []
    for number, (spot, names) in enumerate(sorted(spots.items()), start=1):
        text = ", ".join(names) if len(names) <= 3 else f"{names[0]} … {names[-1]} ({len(names)})"
        key.append(f"{number}  {text}")
        text = text if named else str(number)
        x, y = _free_place(axes, spot, text, taken)
        label = axes.annotate(
            text, spot, (x, y), textcoords="offset points", fontsize=LABEL_SIZE, color=INK,
            ha="left" if x > 0 else "right", va="bottom",
            arrowprops={"arrowstyle": "-", "color": "#bbbbbb", "linewidth": 0.5} if abs(y) > 14 else None,
        )  # fmt: skip
        label.set_in_layout(False)
        plain([label])
    if not named:
        listed = axes.text(
            1.01, 1.0, "\n".join(key), transform=axes.transAxes, fontsize=LABEL_SIZE, color=INK, va="top"
        )
        plain([listed])


def _free_place(axes: Axes, spot: tuple[float, float], text: str, taken: list[Box]) -> tuple[int, int]:
    """Return the first offset where a label meets nothing and stays inside; the first of all if there is none."""
    points = 72 / axes.figure.dpi
    left, bottom, right, top = (value * points for value in axes.bbox.extents)
    width, height = 0.6 * LABEL_SIZE * len(text), 1.2 * LABEL_SIZE

    def box(place: tuple[int, int]) -> Box:
        return _box(axes, spot, (place[0] if place[0] > 0 else place[0] - width, place[1]), width, height)

    def free(own: Box) -> bool:
        inside = left <= own[0] and own[2] <= right and bottom <= own[1] and own[3] <= top
        return inside and not any(
            own[0] < other[2] and other[0] < own[2] and own[1] < other[3] and other[1] < own[3] for other in taken
        )

    chosen = next((place for place in PLACES if free(box(place))), PLACES[0])
    taken.append(box(chosen))
    return chosen


def _box(axes: Axes, spot: tuple[float, float], offset: tuple[float, float], width: float, height: float) -> Box:
    x, y = axes.transData.transform(spot) * 72 / axes.figure.dpi
    return x + offset[0], y + offset[1], x + offset[0] + width, y + offset[1] + height
