"""A window of a waveform as a figure: bits as lines, words as boxes with their value."""

from fnmatch import fnmatchcase

from matplotlib.axes import Axes

from logaccel.errors import ConfigError
from logaccel.report.figure import INK, ReportFigure, plain
from logaccel.rtl.vcd import Changes, Waveform

MOST_SIGNALS = 60
_UNKNOWN, _BOX = "#D55E00", "#0072B2"
_DIGITS_ACROSS = 170  # that the figure holds side by side
_HALF = 0.36  # of a signal's row


def plot_waveform(
    waveform: Waveform, patterns: list[str], first_ns: int | None, end_ns: int | None, title: str
) -> ReportFigure:
    """Draw the signals whose full name (parts joined by dots) fits a pattern, from first_ns to end_ns.

    Raises ConfigError where no signal fits, too many do, or the window is empty or beside the waveform.
    """
    names = [name for name in waveform.bits if any(fnmatchcase(".".join(name), pattern) for pattern in patterns)]
    if not names:
        raise ConfigError(f"{title}: signals: none fits {', '.join(patterns)}")
    if len(names) > MOST_SIGNALS:
        raise ConfigError(f"{title}: signals: at most {MOST_SIGNALS} can be drawn, {len(names)} fit")
    times = [time for changes in waveform.changes.values() for time, _ in changes]
    start, last = min(times, default=0), max(times, default=0)
    first = start if first_ns is None else first_ns
    end = last + 1 if end_ns is None else end_ns
    if end <= first:
        raise ConfigError(f"{title}: window: must end after {first} ns, got {end} ns")
    if end <= start or first > last:
        raise ConfigError(f"{title}: window: must meet {start} … {last} ns, got {first} … {end} ns")
    shown = waveform.window(first, end)
    figure = ReportFigure(figsize=(11, 1.0 + 0.3 * len(names)), layout="constrained")
    figure.subject = f"{title}, {first} to {end} ns"
    axes = figure.add_subplot()
    shared = _shared_scope(names)
    for place, name in enumerate(names):
        _draw(axes, shown.changes[name], (first, end), place, waveform.bits[name] == 1)
    axes.set_yticks(range(len(names)), [".".join(name[shared:]) for name in names])
    plain(axes.get_yticklabels())
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(first, end)
    axes.set_xlabel("ns; words in hexadecimal", fontsize=8, color=INK)
    axes.set_title(f"{title} · {'.'.join(names[0][:shared])}", loc="left", fontsize=9, color=INK).set_parse_math(False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(labelsize=7.5, length=0)
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.5)
    axes.set_axisbelow(True)
    return figure


def _shared_scope(names: list[tuple[str, ...]]) -> int:
    """Return how many parts of the hierarchy all names share, their own names not counted."""
    shortest = min(len(name) for name in names) - 1
    return next((n for n in range(shortest) if len({name[n] for name in names}) > 1), shortest)


def _draw(axes: Axes, changes: Changes, window: tuple[int, int], place: int, single: bool) -> None:
    """Draw one signal; a value that is wider than the time it stands is left out, its box stays."""
    end = window[1]
    narrowest = (window[1] - window[0]) / _DIGITS_ACROSS
    ends = [time for time, _ in changes[1:]] + [end]
    before: float | None = None  # the level of a bit until now
    for (time, value), until in zip(changes, ends, strict=True):
        unknown = not set(value) <= {"0", "1"}
        colour = _UNKNOWN if unknown else _BOX
        if single and not unknown:
            level = place + _HALF - 2 * _HALF * int(value)
            edge = level if before is None else before
            axes.plot([time, time, until], [edge, level, level], color=colour, lw=1)
            before = level
            continue
        before = None
        low, high = place + _HALF, place - _HALF
        axes.fill_between([time, until], low, high, facecolor=colour, alpha=0.12, edgecolor=colour, linewidth=0.8)
        text = "x" if unknown else f"{int(value, 2):x}"
        if until - time >= len(text) * narrowest:
            axes.text((time + until) / 2, place, text, ha="center", va="center", fontsize=6, color=INK, clip_on=True)
