"""What all figures share: palette, caption, names, and files written whole or not at all."""

from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from logaccel.errors import ConfigError
from logaccel.report.content import has_unverified
from logaccel.report.table import printable
from logaccel.result import SimulationResult, write_whole

SUFFIXES = (".png", ".svg", ".pdf")
DPI = 150
INK, FAINT = "#333333", "#d9d9d9"

# Okabe and Ito's colours, told apart with any colour vision; ALU warm, registers cool, the rest apart.
COMPONENT_COLOURS = {
    "product": "#D55E00",
    "accumulate": "#E69F00",
    "operand_registers": "#0072B2",
    "pipeline_registers": "#56B4E9",
    "psum_registers": "#009E73",
    "shadow_registers": "#8C8C8C",
    "drain": "#F0E442",
    "post_processing": "#CC79A7",
    "array": "#333333",  # of a system: the array whole, and what surrounds it
    "scratchpads": "#56B4E9",
    "dram": "#D55E00",
    "leakage": "#8C8C8C",
    "compute": "#0072B2",
    "stalled": "#E69F00",
    "ifmap": "#0072B2",
    "filter": "#E69F00",
    "ofmap": "#009E73",
}
SERIES_COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C", "#F0E442", "#333333", "#A6761D",
)  # fmt: skip
OTHER_COLOUR = "#BBBBBB"


class ReportFigure(Figure):
    """A figure that carries its caption into the metadata of its files."""

    caption: str = ""
    subject: str = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        FigureCanvasAgg(self)  # no display, no global state of pyplot


def check_suffix(path: str | Path) -> None:
    """Raise ConfigError unless the file's suffix names a format that can be drawn."""
    suffix = Path(path).suffix
    if suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path}: suffix: must be one of {', '.join(SUFFIXES)}, got {suffix!r}")


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure in the format of the file's suffix, whole or not at all; nothing in it depends on the time.

    Raises ConfigError for a suffix that is none of SUFFIXES, OSError where the file cannot be written.
    """
    check_suffix(path)
    suffix = Path(path).suffix.lower()
    caption, subject = getattr(figure, "caption", ""), getattr(figure, "subject", "")
    metadata: dict[str, str | None] = {
        ".png": {"Title": subject, "Description": caption, "Software": "logaccel"},
        ".svg": {"Title": subject, "Description": caption, "Creator": "logaccel", "Date": None},
        ".pdf": {"Title": subject, "Subject": caption, "Creator": "logaccel", "CreationDate": None},
    }[suffix]
    drawn = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "logaccel", "pdf.fonttype": 42}):
        figure.savefig(drawn, format=suffix[1:], dpi=DPI, metadata=metadata)
    write_whole(path, drawn.getvalue())


def new_figure(width: float, height: float, rows: tuple[SimulationResult, ...], subject: str) -> ReportFigure:
    """Return an empty figure, size in inches, with the origin of results as its caption line at the bottom."""
    profiles = list(dict.fromkeys(printable(row.area.provenance.profile) for row in rows))
    caption = (
        f"logaccel {rows[0].version} · {printable(rows[0].network)}, batch {rows[0].batch} · "
        f"cost profile {', '.join(profiles)}" + (" (with unverified entries)" if has_unverified(rows) else "")
    )
    return captioned_figure(width, height, caption, subject)


def captioned_figure(width: float, height: float, caption: str, subject: str) -> ReportFigure:
    """Return an empty figure, size in inches, with a caption line at the bottom."""
    figure = ReportFigure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1, w_pad=0.06)  # type: ignore[union-attr,call-arg]
    figure.caption, figure.subject = caption, subject
    figure.supxlabel(caption, fontsize=7.5, color="#666666", x=0.01, ha="left").set_parse_math(False)
    return figure


def dress(axes: Axes, title: str, value_axis: str) -> None:
    """Give axes a title at the left, a quiet grid along the value axis ("x" or "y") and no box."""
    axes.set_title(title, loc="left", fontsize=10, color=INK, fontweight="bold")
    axes.title.set_parse_math(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.tick_params(labelsize=8, colors=INK, length=0)
    axes.grid(axis=value_axis, color=FAINT, linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def name_ticks(axes: Axes, axis: str, names: list[str], rotation: float = 0) -> None:
    """Put names at 0, 1, 2 …; a user's `$` is a character, not mathematics."""
    positions = list(range(len(names)))
    if axis == "x":
        axes.set_xticks(
            positions, names, rotation=rotation, ha="right" if rotation else "center", rotation_mode="anchor"
        )
        slack = max(0.0, (4 - len(names)) / 2)  # a single bar need not fill the page
        axes.set_xlim(-0.6 - slack, len(names) - 0.4 + slack)
        plain(axes.get_xticklabels())
    else:
        axes.set_yticks(positions, names)
        axes.set_ylim(len(names) - 0.4, -0.6)  # the first on top
        plain(axes.get_yticklabels())


def plain(texts: list[Text]) -> None:
    """Switch off mathematics in texts that hold names of the user."""
    for text in texts:
        text.set_parse_math(False)
