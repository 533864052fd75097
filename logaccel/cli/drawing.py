"""What `simulate --plot` draws: the result as bars, or its roofline."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from logaccel.cli.output import save_plot
from logaccel.errors import ConfigError

if TYPE_CHECKING:
    from logaccel.arch import Architecture
    from logaccel.result import SimulationResult

ROOFLINE = "roofline"


@dataclass(frozen=True)
class Drawing:
    """One figure and its file."""

    path: Path
    roofline: bool

    @classmethod
    def of(cls, text: str) -> "Drawing":
        """Read FILE, `roofline` or `roofline=FILE`."""
        kind, _, file = text.partition("=")
        if kind == ROOFLINE:
            return cls(Path(file or f"{ROOFLINE}.png"), True)
        return cls(Path(text), False)

    def check(self, arch: "Architecture") -> None:
        """Refuse before the work what could not be drawn after it."""
        if self.roofline and arch.memory is None:
            raise ConfigError(f"--plot {ROOFLINE}: {arch.name} has no memory, so nothing bounds the bandwidth")

    def write(self, result: "SimulationResult") -> None:
        """Draw and save."""
        from logaccel.report.plots import plot_result
        from logaccel.report.roofline import plot_roofline

        save_plot(plot_roofline(result) if self.roofline else plot_result(result), self.path)
