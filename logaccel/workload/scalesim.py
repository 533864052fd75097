"""SCALE-Sim topology files: CSV rows of layer name, ifmap and filter sizes, channels, filters, strides."""

import csv
from pathlib import Path
from typing import Any

from logaccel.errors import WorkloadError

_FIELDS = ("ifmap height", "ifmap width", "filter height", "filter width", "channels", "num filter", "strides")


def read_topology(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a topology as layer trees (no padding field exists; an 8th number is a second stride).

    SCALE-Sim ends a map at ⌈(H − R + s) / s⌉: it covers the last, partial stride too, by zeros that are
    written here as padding at the bottom and right.
    Raises WorkloadError naming file, line, field and value, one line for every problem.
    """
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WorkloadError(f"{path}: cannot be read: {error}") from None
    faults: list[str] = []
    layers = []
    for number, row in enumerate(rows[1:], start=2):
        cells = [cell.strip() for cell in row]
        while cells and not cells[-1]:
            cells.pop()  # rows end with a comma
        if cells:
            layer = _layer_of(cells, f"{path}: line {number}", faults)
            layers.append(layer)
    if not rows or not layers:
        faults.append(f"{path}: holds no layer")
    if faults:
        raise WorkloadError("\n".join(faults))
    return layers


def _layer_of(cells: list[str], place: str, faults: list[str]) -> dict[str, Any]:
    name, numbers = cells[0], cells[1:9]
    if len(numbers) < len(_FIELDS):
        faults.append(f"{place} ({name}): {', '.join(_FIELDS[len(numbers) :])} missing")
        return {}
    values = []
    for field, text in zip((*_FIELDS, "second stride"), numbers, strict=False):
        if not text.isdecimal() or int(text) < 1:
            faults.append(f"{place} ({name}): {field} must be a positive integer, got {text!r}")
        else:
            values.append(int(text))
    if len(values) < len(numbers):
        return {}
    height, width, taps_high, taps_wide, channels, filters, stride, *more = values
    strides = (stride, more[0] if more else stride)
    short = [
        -(size - taps) % step for size, taps, step in zip((height, width), (taps_high, taps_wide), strides, strict=True)
    ]
    return {
        "name": name,
        "in_channels": channels,
        "out_channels": filters,
        "in_size": (height, width),
        "kernel": (taps_high, taps_wide),
        "stride": strides,
        "padding": (0, 0, *short),
    }
