"""`logaccel rtl` and `logaccel waveform`: the accelerator as Verilog, and what its registers do."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from logaccel.cli.app import app, rtl_app
from logaccel.cli.inputs import load_architectures
from logaccel.cli.options import ArchArgument, ImagesOption, LayerOption, SetOption, TraceOption
from logaccel.cli.output import DIFFERENT, check_folder, progress, save_plot
from logaccel.errors import ConfigError

if TYPE_CHECKING:
    from logaccel.rtl.verify import RtlLayer

RtlScalesOption = Annotated[
    str, typer.Option(help="powers of two by ofmap channel in the weights, which the lanes take back: none, weights")
]


@rtl_app.command("export")
def rtl_export(
    arch: ArchArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="folder to make; it must not exist")],
    trace: TraceOption = None,
    layer: LayerOption = None,
    images: ImagesOption = 1,
    settings: SetOption = None,
    channel_scales: RtlScalesOption = "none",
) -> None:
    """Write Verilog, parameters, bench, operands, expected results and a Makefile: a folder that stands alone."""
    from logaccel.rtl.verify import SMALL_LAYER_UPDATES, export

    chosen = _rtl_layer(arch, trace, (layer, images), settings, channel_scales)
    export(chosen, output)
    slow = chosen.register_updates > SMALL_LAYER_UPDATES
    how = "`make verilator` runs it; Icarus would take minutes" if slow else "`make icarus` or `make verilator` runs it"
    typer.echo(f"{output}: {chosen.job.layer.name} on {chosen.arch.name}; {how}")


@rtl_app.command("verify")
def rtl_verify(
    arch: ArchArgument,
    trace: TraceOption = None,
    layer: LayerOption = None,
    images: ImagesOption = 1,
    settings: SetOption = None,
    channel_scales: RtlScalesOption = "none",
    simulator: Annotated[str, typer.Option(help="icarus, verilator, or auto: Icarus for small layers")] = "auto",
    registers: Annotated[
        bool | None,
        typer.Option(help="compare every PE register in every cycle (Icarus); default: where the layer is small"),
    ] = None,
) -> None:
    """Run a layer in a Verilog simulator and compare every word, every cycle and, if small, every register."""
    from logaccel.cosimulation import verify_layer

    chosen = _rtl_layer(arch, trace, (layer, images), settings, channel_scales)
    with progress() as report:
        done = verify_layer(chosen, simulator, registers, lambda n, total: report(n / total, "registers"))
    typer.echo(str(done))
    if not done.equal:
        raise typer.Exit(DIFFERENT)


@app.command("waveform")
def draw_waveform(
    vcd: Annotated[Path, typer.Argument(help="waveform (.vcd), of this simulator or of any other")],
    output: Annotated[Path, typer.Option("--output", "-o", help="figure to write (.png, .svg or .pdf)")],
    signals: Annotated[
        list[str] | None, typer.Option("--signals", "-s", help="pattern of full names, e.g. '*row[[]0]*pe.psum'")
    ] = None,
    first_ns: Annotated[int | None, typer.Option("--from", help="first nanosecond; default: the dump's first")] = None,
    end_ns: Annotated[int | None, typer.Option("--to", help="end in nanoseconds; default: the dump's end")] = None,
) -> None:
    """Draw a window of a waveform for a document."""
    from logaccel.report.waves import plot_waveform
    from logaccel.rtl.vcd import read_vcd

    check_folder(output)
    save_plot(plot_waveform(read_vcd(vcd), signals or ["*"], first_ns, end_ns, vcd.name), output)


def _rtl_layer(
    arch: str, trace: Path | None, part: tuple[str | None, int], settings: list[str] | None, channel_scales: str
) -> "RtlLayer":
    """Return a layer (default: the trace's first) of the first so many images."""
    from logaccel.cosimulation import rtl_layer
    from logaccel.trace import load_trace

    if channel_scales not in ("none", "weights"):
        raise ConfigError(f"--channel-scales: must be none or weights, got {channel_scales!r}")
    loaded, (name, images) = load_trace(trace), part
    machine = load_architectures([arch], settings)[0]
    return rtl_layer(loaded, machine, name or loaded.layers[0].layer.name, images, channel_scales == "weights")
