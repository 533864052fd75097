"""What the terminal and files get: tables, JSON, progress, and the refusal of what could not be written."""

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from logaccel.errors import INTERRUPTED, ConfigError

if TYPE_CHECKING:
    from logaccel.report.figure import ReportFigure

DIFFERENT, USER_ERROR = 1, 2  # exit codes, beside INTERRUPTED
PIPE_WIDTH = 100  # columns, where no terminal gives a width: the standard comparison is one table


def check_targets(as_json: bool, as_csv: bool, output: Path | None, plot: Path | None) -> None:
    """Refuse what would fail after the work is done."""
    if as_json and as_csv:
        raise ConfigError("--json and --csv: give one of them")
    for path in (output, plot):
        if path is not None:
            check_folder(path)
    if plot is not None:
        from logaccel.report.plots import check_suffix

        check_suffix(plot)


def check_apart(targets: Iterable[Path | None], sources: Iterable[Path | str | None]) -> None:
    """Refuse to write over a file that the command reads, and to write two things into one."""
    taken = {Path(source).resolve() for source in sources if source is not None and Path(source).exists()}
    for path in targets:
        if path is None:
            continue
        if path.resolve() in taken:
            raise ConfigError(f"{path}: is read by this command or written twice; give another file to write")
        taken.add(path.resolve())


def check_folder(path: Path) -> None:
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder, must be a file")
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path}: is a device or a pipe, must be a file")
    if not path.resolve().parent.is_dir():
        raise ConfigError(f"{path}: no such folder: {path.resolve().parent}")
    if not os.access(path.resolve().parent, os.W_OK):
        raise ConfigError(f"{path}: no permission to write into {path.resolve().parent}")


def emit(
    result: Any,
    as_json: bool,
    as_csv: Callable[[Any], str] | None,
    renderables: Callable[[Any], Any],
    output: Path | None,
) -> None:
    """Print the result, or write what would be printed."""
    if output is None:
        if as_json:
            print_json(result.to_dict())
        elif as_csv is not None:
            typer.echo(as_csv(result), nl=False)
        else:
            print_tables(renderables(result))
        return
    from logaccel.result import write_whole

    if as_json:
        result.to_json(output)
    else:
        write_whole(output, as_csv(result) if as_csv is not None else result.summary() + "\n")
    typer.echo(f"wrote {output}", err=True)


def save_plot(figure: "ReportFigure", path: Path) -> None:
    """Save a figure and say so."""
    from logaccel.report.figure import save_figure

    save_figure(figure, path)
    typer.echo(f"wrote {path}", err=True)


def print_tables(renderables: Any) -> None:
    from rich.console import Console

    from logaccel.report.text import plain_text

    console = Console()
    if not console.is_terminal:  # a file or a pipe has no width of its own
        typer.echo(plain_text(list(renderables), PIPE_WIDTH))
        return
    for item in renderables:
        console.print(item)


def print_json(tree: Any) -> None:
    import json

    typer.echo(json.dumps(tree, indent=2, allow_nan=False))


@contextmanager
def interruptible(keep: Path | None) -> Iterator[None]:
    """Say on Ctrl-C where finished work is kept; without such a place the usual word is said."""
    try:
        yield
    except KeyboardInterrupt:
        if keep is None:
            raise
        typer.echo(f"interrupted; what is finished is in {keep}, the same command goes on from there", err=True)
        sys.exit(INTERRUPTED)


@contextmanager
def calibrating() -> Iterator[None]:
    """Say that formats are being chosen: how long that takes is not known beforehand."""
    with progress() as report:
        report(0.0, "choosing formats")
        yield


@contextmanager
def progress() -> Iterator[Callable[[float, str], None]]:
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
