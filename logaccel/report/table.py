"""A table as data: columns in groups, rendered to a terminal or to HTML, split where it would be too wide."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

GAP = 2  # spaces between columns
LONGEST_NAME = 32
HEADER_WIDTH = 8  # of a folded name: eight columns and the figures' names stand in 100 columns


@dataclass(frozen=True)
class Column:
    """One column; columns of a group stay together where the width allows it."""

    header: str  # lines; the unit stands here
    cells: tuple[str, ...]
    group: str = ""
    left: bool = False

    @property
    def width(self) -> int:
        """Cells of a terminal that the column needs."""
        return max(cell_len(line) for line in (*self.header.split("\n"), *self.cells))


@dataclass(frozen=True)
class Grid:
    """A table with a key column that every part repeats; the last row may be a total, and rows may form sections."""

    title: str
    key: Column
    columns: tuple[Column, ...]
    has_total: bool = False
    section_ends: frozenset[int] = frozenset()  # rows with a rule below

    def flipped(self, key: str = "") -> "Grid":
        """Return the table with a column for every row and a row for every column; groups become sections."""
        names = tuple(" ".join(column.header.split("\n")) for column in self.columns)
        columns = tuple(
            Column(_folded(name), tuple(column.cells[index] for column in self.columns))
            for index, name in enumerate(self.key.cells)
        )
        groups = [column.group for column in self.columns]
        ends = frozenset(index for index, (own, after) in enumerate(pairwise(groups)) if own != after)
        return Grid(self.title, Column(key, names, left=True), columns, section_ends=ends)

    def parts(self, width: int) -> Iterator[tuple[Column, ...]]:
        """Split the columns so that each part, the key included, fits the width: between groups where possible."""
        room = width - self.key.width
        part: list[Column] = []
        used = 0
        for group in _groups(self.columns):
            needed = _width(group)
            if part and used + needed > room:
                yield tuple(part)
                part, used = [], 0
            for column in group:
                if part and used + GAP + column.width > room:
                    yield tuple(part)
                    part, used = [], 0
                part.append(column)
                used += GAP + column.width
        if part or not self.columns:
            yield tuple(part)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, part in enumerate(self.parts(options.max_width)):
            yield Text(self.title if number == 0 else f"{self.title} (continued)", style="bold")
            table = Table(
                box=box.SIMPLE_HEAD,
                padding=(0, 1, 0, 0),
                pad_edge=False,
                show_edge=False,
            )
            for column in (self.key, *part):
                table.add_column(
                    Text(column.header),
                    justify="left" if column.left else "right",
                    vertical="bottom",
                    no_wrap=True,
                    header_style="bold",
                    style="cyan" if column is self.key else None,
                )
            rows = list(zip(*(column.cells for column in (self.key, *part)), strict=True))
            for index, row in enumerate(rows):
                total = self.has_total and index == len(rows) - 1
                table.add_row(
                    *(Text(cell) for cell in row),
                    style="bold" if total else None,
                    end_section=index in self.section_ends or (self.has_total and index == len(rows) - 2),
                )
            yield table
            yield Text("")


def printable(name: str, limit: int = LONGEST_NAME) -> str:
    """Return a user's name in one line, cut to a width in terminal cells."""
    line = "".join(char if char.isprintable() else "�" for char in name)
    return line if cell_len(line) <= limit else set_cell_size(line, limit - 1).rstrip() + "…"


def _folded(name: str) -> str:
    """Return a name in lines, broken at underscores (not shown there)."""
    first, *words = name.split("_")
    lines = [first]
    for word in words:
        if cell_len(f"{lines[-1]}_{word}") <= HEADER_WIDTH:
            lines[-1] += f"_{word}"
        else:
            lines.append(word)
    return "\n".join(lines)


def _groups(columns: Sequence[Column]) -> list[list[Column]]:
    groups: list[list[Column]] = []
    for column in columns:
        if groups and column.group and groups[-1][-1].group == column.group:
            groups[-1].append(column)
        else:
            groups.append([column])
    return groups


def _width(columns: Sequence[Column]) -> int:
    return sum(GAP + column.width for column in columns)
