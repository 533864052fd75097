"""Figures of weights: a network as rows of layers, or one layer in detail. Needs no display."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from logaccel.report.figure import (
    INK,
    SERIES_COLOURS,
    ReportFigure,
    captioned_figure,
    dress,
    name_ticks,
)
from logaccel.report.table import printable
from logaccel.units import format_db, format_percent
from logaccel.weights import STEPS, CodeUse, LayerWeights, WeightStatistics

MARKERS = "osD^vP"
MOST_OCTAVES = 20  # below the largest weight of the network: what lies further down is too little to see


def plot_weights(statistics: WeightStatistics) -> ReportFigure:
    """Draw every layer as a row; a network of one layer, or one that was chosen, in detail."""
    from logaccel import __version__

    caption = f"logaccel {__version__} · {printable(statistics.network)} · ranges with the least squared error"
    if len(statistics.layers) == 1:
        return _detail(statistics, caption)
    title = f"Weights of {printable(statistics.network)}"
    rows = len(statistics.layers)
    figure = captioned_figure(14.0, min(max(3.4, 1.9 + 0.24 * rows), 40.0), caption, title)
    figure.suptitle(title, fontsize=12, color=INK, x=0.01, ha="left").set_parse_math(False)
    octaves, entropy, relative, noise = figure.subplots(1, 4, sharey=True, width_ratios=[1.6, 1, 1, 1])
    _octave_map(octaves, statistics.layers)
    for axes, title, pick in (
        (entropy, "Entropy of the codes (bits)", lambda use: use.entropy_bits),
        (relative, "Mean relative error (%)", lambda use: 100 * use.relative_error),
        (noise, "Signal to noise (dB)", lambda use: use.snr_db),
    ):
        _dots(axes, statistics.layers, pick)
        dress(axes, title, "x")
    relative.set_xlim(left=0)
    name_ticks(octaves, "y", [printable(layer.name, 24) for layer in statistics.layers])
    handles, labels = entropy.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=min(len(labels), 6), fontsize=8, frameon=False)
    return figure


def _octave_map(axes: Axes, layers: tuple[LayerWeights, ...]) -> None:
    """Shade each layer's histogram of log2 |w|, darkest where its own bins are fullest."""
    filled = [layer for layer in layers if layer.log2_counts.size]
    last = max((layer.first_bin + layer.log2_counts.size for layer in filled), default=STEPS)
    first = max(min((layer.first_bin for layer in filled), default=0), last - MOST_OCTAVES * STEPS)
    shades = np.zeros((len(layers), last - first))
    for row, layer in zip(shades, layers, strict=True):
        start = layer.first_bin - first
        kept = layer.log2_counts[max(-start, 0) :]
        row[max(start, 0) : max(start, 0) + kept.size] = kept / max(int(layer.log2_counts.max(initial=1)), 1)
    axes.imshow(
        shades, cmap="Blues", aspect="auto", interpolation="nearest", vmin=0, vmax=1,
        extent=(first / STEPS, last / STEPS, len(layers) - 0.5, -0.5),
    )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    dress(axes, "log2 |w|, darkest where most weights are", "x")
    axes.grid(visible=False)


def _dots(axes: Axes, layers: tuple[LayerWeights, ...], pick: Callable[[CodeUse], float | None]) -> None:
    """Draw a dot for every layer and word: a colour a kind of word, filled for the first bits, hollow for others."""
    words = list(dict.fromkeys(use.word for layer in layers for use in layer.uses))
    kinds = list(dict.fromkeys((word.kind, getattr(word, "steps_per_octave", 0)) for word in words))
    sizes = sorted({word.bits for word in words})
    for word in words:
        points = [
            (value, index)
            for index, layer in enumerate(layers)
            for use in layer.uses
            if use.word == word and (value := pick(use)) is not None
        ]
        colour = SERIES_COLOURS[kinds.index((word.kind, getattr(word, "steps_per_octave", 0))) % 10]
        axes.plot(
            [x for x, _ in points], [y for _, y in points], MARKERS[sizes.index(word.bits) % len(MARKERS)],
            markersize=5, color=colour, markerfacecolor="white" if word.bits != sizes[-1] else colour, label=str(word),
            linestyle="none",
        )  # fmt: skip


def _detail(statistics: WeightStatistics, caption: str) -> ReportFigure:
    """Draw one layer: its values, their logarithms, and how often each word uses each of its codes."""
    layer = statistics.layers[0]
    title = f"Weights of {printable(layer.name)} in {printable(statistics.network)}"
    columns = min(len(layer.uses), 3)
    rows = -(-len(layer.uses) // columns)
    figure = captioned_figure(12.5, 3.0 + 2.3 * rows, caption, title)
    figure.suptitle(title, fontsize=12, color=INK, x=0.01, ha="left").set_parse_math(False)
    parts: Any = figure.subfigures(2, 1, height_ratios=[2.4, 2.1 * rows])
    above, below = parts
    values, logs = above.subplots(1, 2)
    half = layer.largest_magnitude or 1.0
    edges = np.linspace(-half, half, layer.value_counts.size + 1)
    values.stairs(layer.value_counts / layer.weights * 100, edges, fill=True, color=SERIES_COLOURS[0])
    dress(values, f"w: {layer.weights:,} weights", "y")
    counts, first = layer.log2_counts, layer.first_bin
    kept = counts[max(counts.size - MOST_OCTAVES * STEPS, 0) :]
    bins = (first + counts.size - kept.size + np.arange(kept.size + 1)) / STEPS
    logs.stairs(kept / layer.weights * 100, bins, fill=True, color=SERIES_COLOURS[2])
    dress(logs, f"log2 |w|: 98 % within {layer.octaves_98:.1f} octaves", "y")
    for axes, use in zip(np.ravel(below.subplots(rows, columns, squeeze=False)), layer.uses, strict=False):
        codes = np.arange(use.counts.size) + use.number_format.min_code
        shares = use.counts / use.counts.sum() * 100
        axes.bar(codes, shares, 0.85, color=[SERIES_COLOURS[6 if code == 0 else 1] for code in codes])
        dress(axes, f"{use.word}: {use.entropy_bits:.2f} bits, {format_db(use.snr_db)} dB", "y")
        zero = format_percent(use.zero_share)
        axes.set_xlabel(f"code; {zero} % of the weights are zero", fontsize=8, color=INK)
    for axes in figure.axes:
        axes.yaxis.set_major_formatter("{x:g} %")  # of the weights
    for axes in np.ravel(np.array(below.axes))[len(layer.uses) :]:
        axes.set_visible(False)
    return figure
