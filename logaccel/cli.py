"""The command line: arguments, progress, exit codes. Everything else lives below, and loads on use."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from logaccel import __version__
from logaccel.errors import ConfigError, LogaccelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from logaccel.arch import Architecture
    from logaccel.rtl.verify import RtlLayer
    from logaccel.trace import Trace
    from logaccel.workload import Network

DIFFERENT, USER_ERROR, INTERRUPTED = 1, 2, 130
CALIBRATION_IMAGES = 16
PIPE_WIDTH = 100  # columns, where no terminal gives a width: the standard comparison is one table

app = typer.Typer(
    name="logaccel",
    help="Simulate log-domain CNN accelerators: bit-exact values, exact cycles, sourced energy and area.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
trace_app = typer.Typer(help="Make and inspect traces.", no_args_is_help=True)
arch_app = typer.Typer(help="Check and show architectures.", no_args_is_help=True)
app.add_typer(trace_app, name="trace")
app.add_typer(arch_app, name="arch")
rtl_app = typer.Typer(
    help="Export the accelerator as Verilog, and hold it against the simulator.", no_args_is_help=True
)
app.add_typer(rtl_app, name="rtl")

TraceOption = Annotated[
    Path | None, typer.Option("--trace", "-t", help="trace file (.npz); default: the bundled digits trace")
]
NetworkOption = Annotated[
    str | None,
    typer.Option("--network", "-n", help="shapes only: alexnet, vgg16, resnet18, mobilenet_v1, YAML, SCALE-Sim CSV"),
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
ImagesOption = Annotated[int, typer.Option("--images", min=1, help="the first so many images of the trace")]
PlotOption = Annotated[Path | None, typer.Option("--plot", help="draw a figure (.png, .svg or .pdf)")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        typer.echo(f"logaccel {__version__}")
        raise typer.Exit


@app.command()
def simulate(
    arch: Annotated[str, typer.Argument(help="architecture: a shipped name or a YAML file")] = "shift_4b_16x16",
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
    plot: PlotOption = None,
    waveform: Annotated[
        Path | None, typer.Option(help="write every PE register of one fold (.vcd); needs --engine register")
    ] = None,
    layer: LayerOption = None,
    fold: Annotated[int | None, typer.Option("--fold", "-f", min=0, help="the fold of --waveform; default: 0")] = None,
) -> None:
    """Run one workload on one architecture."""
    from logaccel.simulation import simulate as run

    _check_targets(as_json, as_csv, output, plot)
    _check_waveform(waveform, layer, fold, engine, network)
    workload, accelerator = _workload(trace, network, batch), _architectures([arch], settings)[0]
    if waveform is not None:
        _write_waveform(workload, accelerator, waveform, layer, fold or 0)
    with _progress() as report:
        result = run(
            workload,
            accelerator,
            engine=engine,  # type: ignore[arg-type]
            backend=backend,  # type: ignore[arg-type]
            chained=chained,
            progress=lambda done, total, layer: report(done / total, layer),
        )
    from logaccel.report.csv import layers_csv
    from logaccel.report.text import summary_renderables

    if plot is not None:
        from logaccel.report.plots import plot_result, save_figure

        save_figure(plot_result(result), plot)
    _emit(result, as_json, layers_csv if as_csv else None, summary_renderables, output)


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

    _check_targets(as_json, as_csv, output, plot)
    workload = _workload(trace, network, batch)
    accelerators = _architectures(archs or list(STANDARD_ARCHITECTURES), settings)
    with _interruptible(keep), _progress() as report:
        comparison = run(
            workload,
            accelerators,
            engine=engine,  # type: ignore[arg-type]
            backend=backend,  # type: ignore[arg-type]
            keep=keep,
            progress=report,
        )
    from logaccel.report.csv import comparison_csv
    from logaccel.report.text import comparison_renderables

    if plot is not None:
        from logaccel.report.plots import plot_comparison, save_figure

        save_figure(plot_comparison(comparison), plot)
    _emit(comparison, as_json, comparison_csv if as_csv else None, comparison_renderables, output)


@trace_app.command("synth")
def trace_synth(
    network: Annotated[str, typer.Argument(help="network: a shipped name, a YAML file or a SCALE-Sim CSV")],
    output: Annotated[Path, typer.Option("--output", "-o", help="trace file to write (.npz)")],
    seed: Annotated[int, typer.Option(min=0, help="same seed, same bits")] = 0,
    batch: Annotated[int | None, typer.Option("--batch", "-b", min=1, help="images")] = None,
    zero_share: Annotated[float, typer.Option(min=0, max=1, help="share of zeros after a ReLU")] = 0.5,
) -> None:
    """Draw a trace of realistic statistics for the shapes of a network."""
    from logaccel.trace import save_trace, synthesize_trace
    from logaccel.workload import load_network

    _check_folder(output)
    drawn = synthesize_trace(load_network(network, batch), seed=seed, zero_share=zero_share)
    save_trace(drawn, output)
    typer.echo(f"{output}: {drawn.name}, {len(drawn.layers)} layers, batch {drawn.batch}, seed {seed}")


@trace_app.command("info")
def trace_info(
    path: Annotated[Path | None, typer.Argument(help="trace file; default: the bundled one")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a trace holds: layers, shapes, zeros, ranges, source."""
    from logaccel.report.text import trace_renderables
    from logaccel.trace import load_trace

    trace = load_trace(path)
    if as_json:
        from logaccel.report.text import trace_dict

        _print_json(trace_dict(trace))
    else:
        _print(trace_renderables(trace))


@trace_app.command("capture")
def trace_capture(
    model: Annotated[Path, typer.Argument(help="trained network (.onnx)")],
    images: Annotated[Path, typer.Argument(help="images (.npy), N first, normalised as the network expects")],
    output: Annotated[Path, typer.Option("--output", "-o", help="trace file to write (.npz)")],
) -> None:
    """Record the tensors of every layer of a trained network on some images."""
    from logaccel.evaluation.formats import check_images
    from logaccel.model.capture import capture_trace
    from logaccel.model.onnx_import import load_onnx
    from logaccel.trace import save_trace

    _check_folder(output)
    network = load_onnx(model)
    trace = capture_trace(network, check_images(_array(images), network.graph.input_shape, str(images)))
    save_trace(trace, output)
    typer.echo(f"{output}: {trace.name}, {len(trace.layers)} layers, batch {trace.batch}")


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="trained network (.onnx)")],
    images: Annotated[Path, typer.Argument(help="images (.npy), N first, normalised as the network expects")],
    labels: Annotated[Path | None, typer.Argument(help="classes (.npy), one an image")] = None,
    arch: Annotated[str, typer.Option("--arch", "-a", help="architecture: a shipped name or a YAML file")] = (
        "shift_4b_16x16"
    ),
    settings: SetOption = None,
    batch: Annotated[int, typer.Option("--batch", "-b", min=1, help="images in memory at a time")] = 32,
    engine: EngineOption = "fold",
    backend: BackendOption = "blas",
    calibration: Annotated[
        Path | None, typer.Option(help="images (.npy) to calibrate on; default: the first 16")
    ] = None,
    method: Annotated[str, typer.Option(help="max, percentile or least_squares")] = "least_squares",
    formats: Annotated[
        Path | None, typer.Option(help="formats (.yaml) of an earlier run, instead of calibrating")
    ] = None,
    save_formats: Annotated[Path | None, typer.Option(help="write the formats (.yaml)")] = None,
    state: Annotated[Path | None, typer.Option(help="file to go on from after an interruption")] = None,
    as_json: JsonOption = False,
    output: OutputOption = None,
) -> None:
    """Run a trained network on the simulated machine: accuracy, agreement, cycles and energy per image."""
    from logaccel import evaluation
    from logaccel.evaluation.formats import check_images
    from logaccel.model.onnx_import import load_onnx
    from logaccel.result import write_whole

    for path in (output, save_formats, state):
        if path is not None:
            _check_folder(path)
    accelerator, network, data = _architectures([arch], settings)[0], load_onnx(model), _array(images)
    shape = network.graph.input_shape
    if formats is not None:
        chosen = evaluation.load_formats(formats)
    else:
        check_images(data[:1], shape, str(images))
        samples = data[:CALIBRATION_IMAGES] if calibration is None else _array(calibration)
        samples = check_images(samples, shape, str(images if calibration is None else calibration))
        chosen = evaluation.calibrate(network, accelerator, samples, method)  # type: ignore[arg-type]
    run = evaluation.GraphRun(network, accelerator, chosen, engine, backend)
    if save_formats is not None:
        evaluation.save_formats(chosen, network.name, save_formats)
    with _progress() as report:
        result = evaluation.evaluate(
            run, data, None if labels is None else _array(labels), batch=batch, state=state,
            progress=lambda done, total: report(done / total, f"{done} of {total} images"),
        )  # fmt: skip
    if output is not None and as_json:
        import json

        write_whole(output, json.dumps(result.to_dict(), indent=2, allow_nan=False) + "\n")
    elif as_json:
        _print_json(result.to_dict())
    elif output is not None:
        write_whole(output, result.summary() + "\n")
    else:
        typer.echo(result.summary())


def _array(path: Path) -> "NDArray[Any]":
    """Open an array without reading it; nothing is unpickled."""
    import numpy as np

    from logaccel.errors import TraceError

    try:
        values = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError, SyntaxError, MemoryError) as error:
        raise TraceError(f"{path}: is no .npy array: {' '.join(str(error).split())}") from None
    if values.ndim == 0 or not len(values):
        raise TraceError(f"{path}: must hold at least one entry, got the shape {list(values.shape)}")
    return values


@arch_app.command("list")
def arch_list() -> None:
    """List the architectures that ship with logaccel."""
    from logaccel.arch import load_arch, shipped_architectures

    for name in shipped_architectures():
        typer.echo(f"{name:34} {load_arch(name).description}")


@arch_app.command("check")
def arch_check(files: Annotated[list[str], typer.Argument(help="architecture files or names")]) -> None:
    """Check architecture files; every problem of every file is reported at once."""
    from logaccel.arch import load_arch

    faults = []
    for file in files:
        try:
            load_arch(file)
            typer.echo(f"{file}: ok")
        except LogaccelError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(faults))


@arch_app.command("show")
def arch_show(
    arch: Annotated[str, typer.Argument(help="architecture file or name")],
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show an architecture with all defaults filled in, as YAML that can be edited and run."""
    import yaml

    tree = _architectures([arch], settings)[0].model_dump()
    if as_json:
        _print_json(tree)
    else:
        typer.echo(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), nl=False)


@rtl_app.command("export")
def rtl_export(
    arch: Annotated[str, typer.Argument(help="architecture: a shipped name or a YAML file")],
    output: Annotated[Path, typer.Option("--output", "-o", help="folder to make; it must not exist")],
    trace: TraceOption = None,
    layer: LayerOption = None,
    images: ImagesOption = 1,
    settings: SetOption = None,
) -> None:
    """Write Verilog, parameters, bench, operands, expected results and a Makefile: a folder that stands alone."""
    from logaccel.rtl.verify import export

    chosen = _rtl_layer(arch, trace, layer, images, settings)
    export(chosen, output)
    typer.echo(f"{output}: {chosen.job.layer.name} on {chosen.arch.name}; `make icarus` or `make verilator` runs it")


@rtl_app.command("verify")
def rtl_verify(
    arch: Annotated[str, typer.Argument(help="architecture: a shipped name or a YAML file")],
    trace: TraceOption = None,
    layer: LayerOption = None,
    images: ImagesOption = 1,
    settings: SetOption = None,
    simulator: Annotated[str, typer.Option(help="icarus, verilator, or auto: Icarus for small layers")] = "auto",
    registers: Annotated[
        bool | None,
        typer.Option(help="compare every PE register in every cycle (Icarus); default: where the layer is small"),
    ] = None,
) -> None:
    """Run a layer in a Verilog simulator and compare every word, every cycle and, if small, every register."""
    from logaccel.cosimulation import verify_layer

    chosen = _rtl_layer(arch, trace, layer, images, settings)
    with _progress() as report:
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
    from logaccel.report.figure import save_figure
    from logaccel.report.waves import plot_waveform
    from logaccel.rtl.vcd import read_vcd

    _check_folder(output)
    save_figure(plot_waveform(read_vcd(vcd), signals or ["*"], first_ns, end_ns, vcd.name), output)
    typer.echo(f"wrote {output}", err=True)


@app.command()
def schema() -> None:
    """Print the JSON Schema of architecture files, for editors."""
    from logaccel.arch import json_schema

    _print_json(json_schema())


def main() -> NoReturn:
    """Run the command line; a user's mistake is one clear message and exit code 2, never a traceback."""
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:  # the parser turns Ctrl-C into this code, without a word
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except LogaccelError as error:
        _fail(str(error))
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("interrupted; nothing was written", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has left: nothing to say, and nobody to say it to
        sys.exit(0)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except MemoryError:
        _fail("not enough memory for this workload; a smaller --batch needs less")
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # wrong usage, worded by the parser
            error.show()
            sys.exit(error.exit_code)
        raise


def _fail(message: str) -> NoReturn:
    for line in message.splitlines():
        typer.echo(f"error: {line}", err=True)
    sys.exit(USER_ERROR)


def _workload(trace: Path | None, network: str | None, batch: int | None) -> "Trace | Network":
    if network is not None:
        from logaccel.workload import load_network

        if trace is not None:
            raise ConfigError("--trace and --network: give one of them")
        return load_network(network, batch)
    if batch is not None:
        raise ConfigError("--batch: goes with --network; a trace has its own batch")
    from logaccel.trace import load_trace

    return load_trace(trace)


def _architectures(names: list[str], settings: list[str] | None) -> "list[Architecture]":
    import yaml

    from logaccel.arch import load_arch

    changes: dict[str, Any] = {}
    for setting in settings or []:
        key, sign, text = setting.partition("=")
        if not sign or not key:
            raise ConfigError(f"--set: must be KEY=VALUE, got {setting!r}")
        try:
            changes[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--set {key}: not a YAML value: {text!r}") from None
    return [load_arch(name).replace(**changes) if changes else load_arch(name) for name in names]


def _rtl_layer(arch: str, trace: Path | None, layer: str | None, images: int, settings: list[str] | None) -> "RtlLayer":
    from logaccel.cosimulation import rtl_layer
    from logaccel.trace import load_trace

    loaded = load_trace(trace)
    return rtl_layer(loaded, _architectures([arch], settings)[0], layer or loaded.layers[0].layer.name, images)


def _check_waveform(
    waveform: Path | None, layer: str | None, fold: int | None, engine: str, network: str | None
) -> None:
    if waveform is None:
        if layer is not None or fold is not None:
            raise ConfigError("--layer and --fold: go with --waveform")
        return
    _check_folder(waveform)
    if engine != "register":
        raise ConfigError(f"--waveform: needs --engine register, got {engine}")
    if network is not None:
        raise ConfigError("--waveform: needs a trace; --network has shapes only")


def _write_waveform(trace: Any, arch: "Architecture", path: Path, layer: str | None, fold: int) -> None:
    from logaccel.cosimulation import rtl_layer, write_waveform

    chosen = rtl_layer(trace, arch, layer or trace.layers[0].layer.name)
    with _progress() as report:
        first, end = write_waveform(chosen, fold, path, lambda n, total: report(n / total, "waveform"))
    typer.echo(f"wrote {path}: {chosen.job.layer.name}, fold {fold}, cycles {first} to {end - 1}", err=True)


def _check_targets(as_json: bool, as_csv: bool, output: Path | None, plot: Path | None) -> None:
    """Refuse what would fail after the work is done."""
    if as_json and as_csv:
        raise ConfigError("--json and --csv: give one of them")
    for path in (output, plot):
        if path is not None:
            _check_folder(path)
    if plot is not None:
        from logaccel.report.plots import check_suffix

        check_suffix(plot)


def _check_folder(path: Path) -> None:
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder, must be a file")
    if not path.resolve().parent.is_dir():
        raise ConfigError(f"{path}: no such folder: {path.resolve().parent}")
    if not os.access(path.resolve().parent, os.W_OK):
        raise ConfigError(f"{path}: no permission to write into {path.resolve().parent}")


def _emit(
    result: Any,
    as_json: bool,
    as_csv: Callable[[Any], str] | None,
    renderables: Callable[[Any], Any],
    output: Path | None,
) -> None:
    """Print the result, or write what would be printed."""
    if output is None:
        if as_json:
            _print_json(result.to_dict())
        elif as_csv is not None:
            typer.echo(as_csv(result), nl=False)
        else:
            _print(renderables(result))
        return
    from logaccel.result import write_whole

    if as_json:
        result.to_json(output)
    else:
        write_whole(output, as_csv(result) if as_csv is not None else result.summary() + "\n")
    typer.echo(f"wrote {output}", err=True)


def _print(renderables: Any) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:  # a file or a pipe has no width of its own
        console = Console(width=PIPE_WIDTH, no_color=True)
    for item in renderables:
        console.print(item)


def _print_json(tree: Any) -> None:
    import json

    typer.echo(json.dumps(tree, indent=2, allow_nan=False))


@contextmanager
def _interruptible(keep: Path | None) -> Iterator[None]:
    """Say on Ctrl-C where finished rows are kept; without such a folder the usual word is said."""
    try:
        yield
    except KeyboardInterrupt:
        if keep is None:
            raise
        typer.echo(f"interrupted; finished rows are in {keep}, the same command goes on from them", err=True)
        sys.exit(INTERRUPTED)


@contextmanager
def _progress() -> Iterator[Callable[[float, str], None]]:
    """Show a bar on the terminal once the work has taken a second."""
    if not sys.stderr.isatty():
        yield lambda share, what: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    task = bar.add_task("starting", total=1.0)
    timer = threading.Timer(1.0, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda share, what: bar.update(task, completed=share, description=what)
    finally:
        timer.cancel()
        timer.join()
        bar.stop()
