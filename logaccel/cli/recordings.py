"""What `simulate` records of a run's tiles beside the result: `--timeline`, `--gantt`, `--access-trace`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from logaccel.cli.output import check_folder, save_plot
from logaccel.errors import ConfigError

if TYPE_CHECKING:
    from logaccel.arch import Architecture
    from logaccel.result import SimulationResult


@dataclass(frozen=True)
class Recordings:
    """Where the user wants which recording, of one layer or of all."""

    timeline: Path | None
    gantt: Path | None
    access_trace: Path | None
    trace_format: str
    layer: str | None

    @property
    def asked(self) -> bool:
        """Whether there is anything to write."""
        return any((self.timeline, self.gantt, self.access_trace))

    def check(self, arch: "Architecture") -> None:
        """Refuse what would fail after the work is done."""
        for path in (self.timeline, self.gantt):
            if path is not None:
                check_folder(path)
        if self.gantt is not None:
            from logaccel.report.figure import check_suffix

            check_suffix(self.gantt)
        if self.access_trace is not None:
            _check_target(self.access_trace)
            from logaccel.report.access_trace import check_format

            check_format(self.trace_format)
        elif self.trace_format != "csv":
            raise ConfigError("--trace-format: goes with --access-trace")
        if self.asked and arch.memory is None:
            asked = {"--timeline": self.timeline, "--gantt": self.gantt, "--access-trace": self.access_trace}
            option = next(name for name, path in asked.items() if path is not None)
            raise ConfigError(f"{option}: {arch.name} has no memory: without scratchpads there are no tiles to show")

    def write(self, result: "SimulationResult") -> None:
        """Write every recording that was asked for."""
        if not self.asked:
            return
        from logaccel.report.timeline import plot_timeline, write_timeline

        if self.timeline is not None:
            write_timeline(result, self.timeline, self.layer)
            typer.echo(f"wrote {self.timeline}", err=True)
        if self.gantt is not None:
            save_plot(plot_timeline(result, self.layer), self.gantt)
        if self.access_trace is not None:
            from logaccel.report.access_trace import write_access_trace

            sums = write_access_trace(result, self.access_trace, self.layer, self.trace_format)  # type: ignore[arg-type]
            typer.echo(f"wrote {self.access_trace}", err=True)
            for kind, (words, bits) in sums.items():
                if words:
                    typer.echo(f"  {' '.join(kind)}: {words:,} words, {bits:,} bits", err=True)


def _check_target(folder: Path) -> None:
    """Refuse a folder that cannot be made or written into."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file, must be a folder")
    check_folder(folder / "dram" if folder.is_dir() else folder)
