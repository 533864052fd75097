"""`logaccel simulate` and `logaccel compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from logaccel.cli.app import app
from logaccel.cli.drawing import Drawing
from logaccel.cli.inputs import is_graph, load_architectures, load_workload
from logaccel.cli.options import (
    DEFAULT_ARCH,
    RECORDS,
    AccessTraceOption,
    ArchArgument,
    BackendOption,
    BatchOption,
    CsvOption,
    EngineOption,
    GanttOption,
    JsonOption,
    KeepOption,
    NetworkOption,
    OutputOption,
    PlotOption,
    RecordedLayerOption,
    SetOption,
    SimulationPlotOption,
    TimelineOption,
    TraceFormatOption,
    TraceOption,
)
from logaccel.cli.output import check_apart, check_folder, check_targets, emit, interruptible, progress, save_plot
from logaccel.cli.recordings import Recordings
from logaccel.errors import ConfigError

if TYPE_CHECKING:
    from logaccel.arch import Architecture


@app.command()
def simulate(
    arch: ArchArgument = DEFAULT_ARCH,
    trace: TraceOption = None,
    network: NetworkOption = None,
    batch: BatchOption = None,
    chained: Annotated[bool, typer.Option(help="feed each layer the codes of the layer before it")] = False,
    settings: SetOption = None,
    engine: EngineOption = "fold",
    backend: BackendOption = "kernel",
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    output: OutputOption = None,
    plot: SimulationPlotOption = None,
    timeline: TimelineOption = None,
    gantt: GanttOption = None,
    access_trace: AccessTraceOption = None,
    trace_format: TraceFormatOption = "csv",
    waveform: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="write every PE register of one fold (.vcd); needs --engine register",
            rich_help_panel=RECORDS,
        ),
    ] = None,
    layer: RecordedLayerOption = None,
    fold: Annotated[
        int | None,
        typer.Option("--fold", "-f", min=0, help="the fold of --waveform; default: 0", rich_help_panel=RECORDS),
    ] = None,
) -> None:
    """Run one workload on one architecture."""
    from logaccel.simulation import simulate as run

    drawing = None if plot is None else Drawing.of(plot)
    check_targets(as_json, as_csv, output, None if drawing is None else drawing.path)
    recordings = Recordings(timeline, gantt, access_trace, trace_format, layer)
    targets = (output, None if drawing is None else drawing.path, timeline, gantt, waveform)
    check_apart(targets, (trace, network, arch))
    _check_waveform(waveform, layer if not recordings.asked else None, fold, engine, network)
    workload, accelerator = load_workload(trace, network, batch), load_architectures([arch], settings)[0]
    recordings.check(accelerator)
    if drawing is not None:
        drawing.check(accelerator)
    if waveform is not None:
        _write_waveform(workload, accelerator, waveform, layer, fold or 0)
    with progress() as report:
        result = run(
            workload,
            accelerator,
            batch=batch if is_graph(network) else None,
            engine=engine,  # type: ignore[arg-type]
            backend=backend,  # type: ignore[arg-type]
            chained=chained,
            progress=lambda done, total, layer: report(done / total, layer),
        )
    from logaccel.report.csv import layers_csv
    from logaccel.report.text import summary_renderables

    if drawing is not None:
        drawing.write(result)
    recordings.write(result)
    emit(result, as_json, layers_csv if as_csv else None, summary_renderables, output)


@app.command()
def compare(
    archs: Annotated[list[str] | None, typer.Argument(help="architectures; default: the standard eight")] = None,
    trace: TraceOption = None,
    network: NetworkOption = None,
    batch: BatchOption = None,
    settings: SetOption = None,
    engine: EngineOption = "fold",
    backend: BackendOption = "kernel",
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    output: OutputOption = None,
    plot: PlotOption = None,
    keep: KeepOption = None,
) -> None:
    """Run one workload on several architectures, side by side: multipliers against shifters by default."""
    from logaccel.comparison import STANDARD_ARCHITECTURES
    from logaccel.comparison import compare as run

    check_targets(as_json, as_csv, output, plot)
    check_apart((output, plot, keep), (trace, network, *(archs or ())))
    workload = load_workload(trace, network, batch)
    accelerators = load_architectures(archs or list(STANDARD_ARCHITECTURES), settings)
    with interruptible(keep), progress() as report:
        comparison = run(
            workload,
            accelerators,
            batch=batch if is_graph(network) else None,
            engine=engine,  # type: ignore[arg-type]
            backend=backend,  # type: ignore[arg-type]
            keep=keep,
            progress=report,
        )
    from logaccel.report.csv import comparison_csv
    from logaccel.report.text import comparison_renderables

    if plot is not None:
        from logaccel.report.plots import plot_comparison

        save_plot(plot_comparison(comparison), plot)
    emit(comparison, as_json, comparison_csv if as_csv else None, comparison_renderables, output)


def _check_waveform(
    waveform: Path | None, layer: str | None, fold: int | None, engine: str, network: str | None
) -> None:
    if waveform is None:
        if fold is not None:
            raise ConfigError("--fold: goes with --waveform")
        if layer is not None:
            raise ConfigError("--layer: goes with --waveform, --timeline, --gantt or --access-trace")
        return
    check_folder(waveform)
    if engine != "register":
        raise ConfigError(f"--waveform: needs --engine register, got {engine}")
    if network is not None:
        raise ConfigError("--waveform: needs a trace; --network has shapes only")


def _write_waveform(trace: Any, arch: "Architecture", path: Path, layer: str | None, fold: int) -> None:
    from logaccel.cosimulation import rtl_layer, write_waveform

    chosen = rtl_layer(trace, arch, layer or trace.layers[0].layer.name)
    with progress() as report:
        first, end = write_waveform(chosen, fold, path, lambda n, total: report(n / total, "waveform"))
    typer.echo(f"wrote {path}: {chosen.job.layer.name}, fold {fold}, cycles {first} to {end - 1}", err=True)
