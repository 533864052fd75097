"""Results for notebooks: plain HTML tables, everything escaped, no scripts, nothing loaded from elsewhere."""

from html import escape
from typing import TYPE_CHECKING

from logaccel.report import content
from logaccel.report.memory import between_grids, memory_grids
from logaccel.report.table import Grid
from logaccel.result import SimulationResult

if TYPE_CHECKING:  # reports read results; they need no engine
    from logaccel.comparison import Comparison

_TABLE = "border-collapse:collapse;margin:0.4em 0"
_CELL = "padding:0.15em 0.6em;white-space:nowrap;text-align:"
_RULE = ";border-top:1px solid currentColor"
_TOTAL = ";border-top:1px solid currentColor;font-weight:bold"
_NOTES = "font-size:85%;opacity:0.8;margin:0.2em 0;padding-left:1.2em"


def summary_html(result: SimulationResult) -> str:
    """Return one result as HTML."""
    grids = (
        content.layer_grid(result),
        content.component_grid(result),
        *between_grids(result),
        *memory_grids(result),
        content.format_grid(result),
    )
    return _page(content.summary_heading(result), grids, content.summary_notes(result))


def comparison_html(comparison: "Comparison") -> str:
    """Return a comparison as HTML: one table, a column an architecture."""
    grids = (content.comparison_grid(comparison),)
    return _page(content.comparison_caption(comparison), grids, content.comparison_notes(comparison))


def _page(heading: list[str], grids: tuple[Grid, ...], notes: list[str]) -> str:
    head = "".join(f"<div>{escape(line)}</div>" for line in heading)
    body = "".join(_table(grid) for grid in grids)
    foot = "".join(f"<li>{escape(line)}</li>" for line in notes)
    return f'<div class="logaccel">{head}{body}<ul style="{_NOTES}">{foot}</ul></div>'


def _table(grid: Grid) -> str:
    columns = (grid.key, *grid.columns)
    aligned = [_CELL + ("left" if column.left else "right") for column in columns]
    header = "".join(
        f'<th style="{style};vertical-align:bottom">{escape(column.header).replace(chr(10), "<br>")}</th>'
        for column, style in zip(columns, aligned, strict=True)
    )
    rows = list(zip(*(column.cells for column in columns), strict=True))
    body = ""
    for index, row in enumerate(rows):
        total = _TOTAL if grid.has_total and index == len(rows) - 1 else _RULE if index - 1 in grid.section_ends else ""
        cells = zip(row, aligned, strict=True)
        body += "<tr>" + "".join(f'<td style="{style}{total}">{escape(cell)}</td>' for cell, style in cells) + "</tr>"
    caption = f'<caption style="text-align:left;font-weight:bold">{escape(grid.title)}</caption>'
    return f'<table style="{_TABLE}">{caption}<thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>'
