"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

# Panels of the help: each has columns of its own, as narrow as its options allow.
OUTPUT = "Output"
RECORDS = "Records of a run"
FORMATS = "Formats"

DEFAULT_ARCH = "shift_4b_16x16"

_ARCH_HELP = "architecture: a shipped name or a YAML file"
ArchArgument = Annotated[str, typer.Argument(help=_ARCH_HELP)]
ArchOption = Annotated[str, typer.Option("--arch", "-a", help=_ARCH_HELP)]
TraceOption = Annotated[
    Path | None, typer.Option("--trace", "-t", help="trace file (.npz); default: the bundled digits trace")
]
NetworkOption = Annotated[
    str | None,
    typer.Option(
        "--network", "-n", help="shapes only: alexnet, vgg16, resnet18, mobilenet_v1, YAML, SCALE-Sim CSV, ONNX"
    ),
]
BatchOption = Annotated[int | None, typer.Option("--batch", "-b", min=1, help="images (with --network)")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="vary the architecture, e.g. array.rows=32")
]
EngineOption = Annotated[str, typer.Option(help="fold (fast) or register (every register, every cycle)")]
BackendOption = Annotated[str, typer.Option(help="fold engine: kernel (shift and add) or blas (where exact)")]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON instead of tables", rich_help_panel=OUTPUT)]
CsvOption = Annotated[bool, typer.Option("--csv", help="print CSV instead of tables", rich_help_panel=OUTPUT)]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="write what would be printed to a file", rich_help_panel=OUTPUT)
]
KeepOption = Annotated[
    Path | None,
    typer.Option(
        "--keep",
        metavar="DIR",
        help="keep finished rows there; the same command goes on from them",
        rich_help_panel=OUTPUT,
    ),
]
LayerOption = Annotated[str | None, typer.Option("--layer", "-l", help="a layer of the trace; default: its first")]
RecordedLayerOption = Annotated[
    str | None,
    typer.Option(
        "--layer",
        "-l",
        help="of --waveform (default: the first), or the only one of the other records",
        rich_help_panel=RECORDS,
    ),
]
ImagesOption = Annotated[int, typer.Option("--images", min=1, help="the first so many images of the trace")]
TimelineOption = Annotated[
    Path | None,
    typer.Option(
        "--timeline",
        metavar="FILE",
        help="write when each tile moves and runs: Chrome trace events, JSON",
        rich_help_panel=RECORDS,
    ),
]
GanttOption = Annotated[
    Path | None,
    typer.Option(
        "--gantt",
        metavar="FILE",
        help="draw when each tile moves and runs (.png, .svg or .pdf)",
        rich_help_panel=RECORDS,
    ),
]
AccessTraceOption = Annotated[
    Path | None,
    typer.Option(
        "--access-trace",
        metavar="DIR",
        help="write every access of scratchpads and DRAM, one file a level",
        rich_help_panel=RECORDS,
    ),
]
TraceFormatOption = Annotated[
    str, typer.Option("--trace-format", help="of --access-trace: csv or parquet", rich_help_panel=RECORDS)
]
PlotOption = Annotated[
    Path | None, typer.Option("--plot", help="draw a figure (.png, .svg or .pdf)", rich_help_panel=OUTPUT)
]
SimulationPlotOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|roofline",
        help="draw a figure (.png, .svg or .pdf); roofline, roofline=FILE: that of a memory, into roofline.png or FILE",
        rich_help_panel=OUTPUT,
    ),
]
MethodOption = Annotated[
    str,
    typer.Option(
        help="full-scale ranges by max, percentile, least_squares or least_output_error", rich_help_panel=FORMATS
    ),
]
PercentileOption = Annotated[
    float,
    typer.Option(
        min=50, max=100, help="share of the magnitudes, in per cent, that do not saturate", rich_help_panel=FORMATS
    ),
]
ChannelScalesOption = Annotated[
    str,
    typer.Option(
        help="powers of two by ofmap channel in the weights: none, weights, batch_norm, next_weights",
        rich_help_panel=FORMATS,
    ),
]
WeightBitsOption = Annotated[
    float | None,
    typer.Option(
        metavar="BITS", help="choose each layer's weight word: mean bits a weight, at most", rich_help_panel=FORMATS
    ),
]
ActivationBitsOption = Annotated[
    float | None,
    typer.Option(
        metavar="BITS", help="choose each layer's activation word: mean bits a value, at most", rich_help_panel=FORMATS
    ),
]
CorrectBiasOption = Annotated[
    bool, typer.Option("--correct-bias", help="take mean errors of channels back in the bias", rich_help_panel=FORMATS)
]
