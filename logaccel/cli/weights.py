"""`logaccel weights`: how the weights of a network are spread, and what codes make of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from logaccel.cli.app import app
from logaccel.cli.inputs import load_architectures
from logaccel.cli.options import CsvOption, JsonOption, OutputOption, PlotOption, SetOption
from logaccel.cli.output import check_apart, check_targets, emit, save_plot
from logaccel.errors import ConfigError

if TYPE_CHECKING:
    from logaccel.model import Model
    from logaccel.trace import Trace


@app.command()
def weights(
    source: Annotated[
        Path | None, typer.Argument(help="trained network (.onnx) or trace (.npz); default: the bundled trace")
    ] = None,
    bits: Annotated[
        list[int] | None, typer.Option("--bits", "-b", min=2, max=8, help="of the words to try; default: 4 and 5")
    ] = None,
    arch: Annotated[
        str | None, typer.Option("--arch", "-a", help="architecture whose weight words to try as well")
    ] = None,
    settings: SetOption = None,
    layer: Annotated[str | None, typer.Option("--layer", "-l", help="one layer, its figure in detail")] = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    output: OutputOption = None,
    plot: PlotOption = None,
) -> None:
    """Show how the weights of every layer are spread, and how linear and log codes show them."""
    from logaccel.report.weights import weight_renderables, weights_csv
    from logaccel.weights import DEFAULT_BITS, weight_statistics

    check_targets(as_json, as_csv, output, plot)
    check_apart((output, plot), (source, arch))
    if settings and arch is None:
        raise ConfigError("--set: goes with --arch")
    accelerator = None if arch is None else load_architectures([arch], settings)[0]
    statistics = weight_statistics(_load(source), tuple(bits or DEFAULT_BITS), accelerator, layer)
    if plot is not None:
        from logaccel.report.weight_plots import plot_weights

        save_plot(plot_weights(statistics), plot)
    emit(statistics, as_json, weights_csv if as_csv else None, weight_renderables, output)


def _load(source: Path | None) -> "Model | Trace":
    if source is not None and source.suffix.lower() == ".onnx":
        from logaccel.model.onnx_import import load_onnx

        return load_onnx(source)
    from logaccel.trace import load_trace

    return load_trace(source)
