"""SCALE-Sim topology files: CSV rows of convolutions, or of matrix products (its `-i gemm` files).

    Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,
    Layer, M, N, K,

Read as SCALE-Sim 3.0.0 reads them (scalesim/topology_utils.py): the first row is a heading, what follows a row's
last comma is a remark, a convolution whose name holds `DP` is one layer of a single channel for each of its channels.
"""

from pathlib import Path
from typing import Any

from logaccel.documents import read_text
from logaccel.errors import WorkloadError

_CONVOLUTION = ("ifmap height", "ifmap width", "filter height", "filter width", "channels", "num filter", "strides")
_PRODUCT = ("M", "N", "K")
_DEPTHWISE = "DP"


def read_topology(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a topology as layer trees.

    No padding field exists. SCALE-Sim ends a map at ⌈(H − R + s) / s⌉: it covers the last, partial stride too, by
    zeros that are written here as padding at the bottom and right. An eighth number is a second stride, as in
    SCALE-Sim 2; `1:1`, dense, is the only sparsity. M × N × K is a 1 × 1 convolution of an M × 1 map.
    Raises WorkloadError naming file, line, field and value, one line for every problem.
    """
    rows = read_text(path, WorkloadError).splitlines()
    faults: list[str] = []
    layers: list[dict[str, Any]] = []
    heading = [cell.strip().upper() for cell in rows[0].split(",")] if rows else []
    if len(heading) > 1 and all(cell.isdecimal() for cell in heading[1:4]):
        faults.append(f"{path}: line 1: must be a heading, got the layer {rows[0].split(',')[0].strip()!r}")
    products = tuple(heading[1:4]) == _PRODUCT
    for number, row in enumerate(rows[1:], start=2):
        cells = _cells(row)
        if not cells:
            continue
        place = f"{path}: line {number} ({cells[0]})"
        layers += _products(cells, place, faults) if products else _convolutions(cells, place, faults)
    if not layers and not faults:
        faults.append(f"{path}: holds no layer")
    if faults:
        raise WorkloadError("\n".join(faults))
    return layers


def _cells(row: str) -> list[str]:
    """Return a row's fields without the remark after its last comma; a row may also end in its last number."""
    cells = [cell.strip() for cell in row.split(",")]
    if not any(cells):
        return []
    if len(cells) > 1 and not cells[-1].isdecimal():
        cells.pop()
    while len(cells) > 1 and not cells[-1]:
        cells.pop()
    return cells


def _products(cells: list[str], place: str, faults: list[str]) -> list[dict[str, Any]]:
    values = _numbers(cells, _PRODUCT, (), place, faults)
    if values is None:
        return []
    rows, columns, reduction = values
    return [{"name": cells[0], "in_channels": reduction, "out_channels": columns, "in_size": (rows, 1)}]


def _convolutions(cells: list[str], place: str, faults: list[str]) -> list[dict[str, Any]]:
    values = _numbers(cells, _CONVOLUTION, ("second stride",), place, faults)
    if values is None:
        return []
    height, width, taps_high, taps_wide, channels, filters, stride, *more = values
    strides = (stride, more[0] if more else stride)
    sizes = (("height", height, taps_high), ("width", width, taps_wide))
    large = [
        f"{place}: filter {what} must be at most the ifmap's {size}, got {taps}"
        for what, size, taps in sizes
        if taps > size
    ]
    faults += large
    if large:
        return []
    short = [-(size - taps) % step for (_, size, taps), step in zip(sizes, strides, strict=True)]
    layer = {
        "in_channels": channels,
        "out_channels": filters,
        "in_size": (height, width),
        "kernel": (taps_high, taps_wide),
        "stride": strides,
        "padding": (0, 0, *short),
    }
    name = cells[0]
    if _DEPTHWISE not in name:
        return [{"name": name, **layer}]
    return [{"name": f"{name}Channel_{channel}", **layer, "in_channels": 1} for channel in range(channels)]


def _numbers(
    cells: list[str], fields: tuple[str, ...], optional: tuple[str, ...], place: str, faults: list[str]
) -> list[int] | None:
    """Return the numbers of a row, or None where something is wrong: then faults name it."""
    given = cells[1:]
    if given and ":" in given[-1]:
        dense = given.pop().split(":")
        if len(dense) != 2 or dense[0].strip() != dense[1].strip():
            faults.append(f"{place}: sparsity must be 1:1 (dense), got {':'.join(dense)!r}")
            return None
    if len(given) < len(fields):
        faults.append(f"{place}: {', '.join(fields[len(given) :])} missing")
        return None
    known = (*fields, *optional)
    if len(given) > len(known):
        faults.append(f"{place}: must have at most {len(known)} numbers, got {len(given)}")
        return None
    wrong = [
        f"{place}: {field} must be a positive integer, got {text!r}"
        for field, text in zip(known, given, strict=False)
        if not text.isdecimal() or int(text) < 1
    ]
    faults += wrong
    return None if wrong else [int(text) for text in given]
