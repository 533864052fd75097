"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

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
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON instead of tables")]
CsvOption = Annotated[bool, typer.Option("--csv", help="print CSV instead of tables")]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="write what would be printed to a file")]
KeepOption = Annotated[
    Path | None,
    typer.Option("--keep", metavar="DIR", help="keep finished rows there; the same command goes on from them"),
]
LayerOption = Annotated[str | None, typer.Option("--layer", "-l", help="a layer of the trace; default: its first")]
RecordedLayerOption = Annotated[
    str | None,
    typer.Option("--layer", "-l", help="of --waveform (default: the first), or the only one of the other records"),
]
ImagesOption = Annotated[int, typer.Option("--images", min=1, help="the first so many images of the trace")]
TimelineOption = Annotated[
    Path | None,
    typer.Option("--timeline", metavar="FILE", help="write when each tile moves and runs: Chrome trace events, JSON"),
]
GanttOption = Annotated[
    Path | None, typer.Option("--gantt", metavar="FILE", help="draw when each tile moves and runs (.png, .svg or .pdf)")
]
AccessTraceOption = Annotated[
    Path | None,
    typer.Option("--access-trace", metavar="DIR", help="write every access of scratchpads and DRAM, one file a level"),
]
TraceFormatOption = Annotated[str, typer.Option("--trace-format", help="of --access-trace: csv or parquet")]
PlotOption = Annotated[Path | None, typer.Option("--plot", help="draw a figure (.png, .svg or .pdf)")]
SimulationPlotOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|roofline[=FILE]",
        help="draw a figure (.png, .svg or .pdf); roofline: that of a memory, into roofline.png unless a file is given",
    ),
]
MethodOption = Annotated[
    str, typer.Option(help="full-scale ranges by max, percentile, least_squares or least_output_error")
]
PercentileOption = Annotated[
    float, typer.Option(min=50, max=100, help="share of the magnitudes, in per cent, that do not saturate")
]
ChannelScalesOption = Annotated[
    str, typer.Option(help="powers of two by ofmap channel in the weights: none, weights or batch_norm")
]
WeightBitsOption = Annotated[
    float | None, typer.Option(metavar="BITS", help="choose each layer's weight word: mean bits a weight, at most")
]
ActivationBitsOption = Annotated[
    float | None, typer.Option(metavar="BITS", help="choose each layer's activation word: mean bits a value, at most")
]
CorrectBiasOption = Annotated[
    bool, typer.Option("--correct-bias", help="take mean errors of channels back in the bias")
]
