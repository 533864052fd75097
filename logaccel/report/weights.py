"""Weight statistics as tables and CSV."""

from collections.abc import Callable

from rich.console import RenderableType
from rich.text import Text

from logaccel import __version__
from logaccel.report.content import SHORT_NAME
from logaccel.report.csv import written
from logaccel.report.table import Column, Grid, printable
from logaccel.units import format_db, format_percent
from logaccel.weights import CodeUse, LayerWeights, WeightStatistics

NOTES = (
    "octaves: between the smallest magnitude that is not zero and the largest; of 98 %: between the 1st and the "
    "99th percentile",
    "every word at the full-scale range with the least squared error; entropy: information of a code, at most its "
    "bits; relative error: mean of |ŵ − w| / |w|, 100 % for a weight that becomes zero",
)


def weight_renderables(statistics: WeightStatistics) -> list[RenderableType]:
    """Return what rich prints: one table of values, one of codes."""
    layers = statistics.layers
    total = sum(layer.weights for layer in layers)
    key = Column("layer", tuple(printable(layer.name, SHORT_NAME) for layer in layers), left=True)
    return [
        Text(f"{printable(statistics.network)}: {len(layers)} layer{'s' * (len(layers) > 1)}, {total:,} weights"),
        Text(""),
        Grid("Values", key, _value_columns(layers)),
        Grid("Codes", key, _code_columns(layers)),
        *(Text(f"· {note}", style="dim") for note in NOTES),
    ]


def _value_columns(layers: tuple[LayerWeights, ...]) -> tuple[Column, ...]:
    return (
        Column("weights", tuple(f"{layer.weights:,}" for layer in layers)),
        Column("zeros\n%", tuple(format_percent(layer.zero_share) for layer in layers)),
        Column("min", tuple(f"{layer.minimum:.3g}" for layer in layers), "values"),
        Column("max", tuple(f"{layer.maximum:.3g}" for layer in layers), "values"),
        Column("mean", tuple(f"{layer.mean:.2g}" for layer in layers), "values"),
        Column("std", tuple(f"{layer.deviation:.3g}" for layer in layers), "values"),
        Column("mean\n|w|", tuple(f"{layer.mean_magnitude:.3g}" for layer in layers), "magnitudes"),
        Column("least\n|w|", tuple(f"{layer.smallest_magnitude:.2g}" for layer in layers), "magnitudes"),
        Column("octaves", tuple(f"{layer.octaves:.1f}" for layer in layers), "octaves"),
        Column("octaves\nof 98 %", tuple(f"{layer.octaves_98:.1f}" for layer in layers), "octaves"),
    )


def _code_columns(layers: tuple[LayerWeights, ...]) -> tuple[Column, ...]:
    """Return four columns for every word; a layer that does not have the word leaves its cells empty."""
    columns: list[Column] = []
    for word in dict.fromkeys(use.word for layer in layers for use in layer.uses):
        found = [next((use for use in layer.uses if use.word == word), None) for layer in layers]
        name = str(word).replace(" base", "\nbase")
        columns += [
            Column(f"{name}\nentropy\nbits", _cells(found, lambda use: f"{use.entropy_bits:.2f}"), str(word)),
            Column("zeros\n%", _cells(found, lambda use: format_percent(use.zero_share)), str(word)),
            Column("relative\nerror %", _cells(found, lambda use: format_percent(use.relative_error)), str(word)),
            Column("SNR\ndB", _cells(found, lambda use: format_db(use.snr_db)), str(word)),
        ]
    return tuple(columns)


def _cells(uses: list[CodeUse | None], text: Callable[[CodeUse], str]) -> tuple[str, ...]:
    return tuple("" if use is None else text(use) for use in uses)


def weights_csv(statistics: WeightStatistics) -> str:
    """Return one row a layer and word."""
    return written(
        {
            "logaccel_version": __version__,
            "network": statistics.network,
            "layer": layer.name,
            "kind": layer.layer.kind,
            "weights": layer.weights,
            "zero_share": layer.zero_share,
            "minimum": layer.minimum,
            "maximum": layer.maximum,
            "mean": layer.mean,
            "deviation": layer.deviation,
            "mean_magnitude": layer.mean_magnitude,
            "smallest_magnitude": layer.smallest_magnitude,
            "octaves": layer.octaves,
            "octaves_98": layer.octaves_98,
            "word": str(use.word),
            "fsr": use.number_format.fsr,
            "entropy_bits": use.entropy_bits,
            "used_codes": use.used_codes,
            "code_zero_share": use.zero_share,
            "saturated_share": use.saturated_share,
            "relative_error": use.relative_error,
            "snr_db": use.snr_db,
        }
        for layer in statistics.layers
        for use in layer.uses
    )
