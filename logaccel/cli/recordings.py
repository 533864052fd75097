"""What `simulate` records of a run's tiles beside the result: `--timeline` and `--gantt`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from logaccel.cli.output import check_folder
from logaccel.errors import ConfigError

if TYPE_CHECKING:
    from logaccel.arch import Architecture
    from logaccel.result import SimulationResult


@dataclass(frozen=True)
class Recordings:
    """Where the user wants which recording, of one layer or of all."""

    timeline: Path | None
    gantt: Path | None
    layer: str | None

    @property
    def asked(self) -> bool:
        """Whether there is anything to write."""
        return any((self.timeline, self.gantt))

    def check(self, arch: "Architecture") -> None:
        """Refuse what would fail after the work is done."""
        for path in (self.timeline, self.gantt):
            if path is not None:
                check_folder(path)
        if self.gantt is not None:
            from logaccel.report.figure import check_suffix

            check_suffix(self.gantt)
        if self.asked and arch.memory is None:
            option = "--timeline" if self.timeline else "--gantt"
            raise ConfigError(f"{option}: {arch.name} has no memory: without scratchpads there are no tiles to show")

    def write(self, result: "SimulationResult") -> None:
        """Write every recording that was asked for."""
        if not self.asked:
            return
        from logaccel.report.figure import save_figure
        from logaccel.report.timeline import plot_timeline, write_timeline

        if self.timeline is not None:
            write_timeline(result, self.timeline, self.layer)
            typer.echo(f"wrote {self.timeline}", err=True)
        if self.gantt is not None:
            save_figure(plot_timeline(result, self.layer), self.gantt)
            typer.echo(f"wrote {self.gantt}", err=True)
