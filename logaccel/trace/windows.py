"""Largest code of every window: rows first, whole lines at a time, then columns."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from logaccel.jit import kernel, parallel_kernel, parallel_range

_TWO = np.uint64(2)


class Windows(NamedTuple):
    """Windows of a pool: extents, strides, margins before the map, distances of taps."""

    high: int
    wide: int
    step_down: int
    step_right: int
    top: int
    left: int
    apart_down: int
    apart_right: int


@parallel_kernel
def largest_of_windows(maps: NDArray[Any], windows: Windows, out: NDArray[Any]) -> None:
    """Set out[map, p, q] to the largest element of each window of maps[map, h, w]; every window holds one."""
    _, high, wide = maps.shape
    flat, values = out.reshape(-1), maps.reshape(-1)
    for own in parallel_range(maps.shape[0]):
        line = np.empty(wide, maps.dtype)
        for p in range(out.shape[1]):
            started = False
            for r in range(windows.high):
                h = p * windows.step_down - windows.top + r * windows.apart_down
                if 0 <= h < high:
                    row = np.uint64((own * high + h) * wide)
                    if started:
                        for w in range(np.uint64(wide)):
                            line[w] = max(line[w], values[row + w])
                    else:
                        for w in range(np.uint64(wide)):
                            line[w] = values[row + w]
                    started = True
            first = (own * out.shape[1] + p) * out.shape[2]
            _largest_of_line(line, windows, flat[first : first + out.shape[2]])


@kernel
def _largest_of_line(line: NDArray[Any], windows: Windows, out: NDArray[Any]) -> None:
    """Set out[q] to the largest element of line[w] in each window: tap by tap, windows side by side together.

    Every window holds one: the smallest of the line may stand in the others' place.
    """
    step, wide = windows.step_right, line.size
    lowest = line[0]
    for w in range(wide):
        lowest = min(lowest, line[w])
    for q in range(out.size):
        out[q] = lowest
    for s in range(windows.wide):
        place = s * windows.apart_right - windows.left
        begin = max((-place + step - 1) // step, 0)
        count = np.uint64(max(min((wide - place + step - 1) // step, out.size) - begin, 0))
        source, target = np.uint64(begin * step + place), np.uint64(begin)
        if step == 1:
            for i in range(count):
                out[target + i] = max(out[target + i], line[source + i])
        elif step == 2:
            for i in range(count):
                out[target + i] = max(out[target + i], line[source + _TWO * i])
        else:
            for i in range(count):
                out[target + i] = max(out[target + i], line[source + np.uint64(step) * i])


@parallel_kernel
def sums_of_windows(maps: NDArray[Any], table: NDArray[np.int64], floor: int, windows: Windows, out: Any) -> None:
    """Set out[map, p, q] to the sum over each window of table[code − floor], or of the codes if there is no table."""
    _, high, wide = maps.shape
    for own in parallel_range(maps.shape[0]):
        for p in range(out.shape[1]):
            for q in range(out.shape[2]):
                total = np.int64(0)
                for r in range(windows.high):
                    h = p * windows.step_down - windows.top + r * windows.apart_down
                    if 0 <= h < high:
                        for s in range(windows.wide):
                            w = q * windows.step_right - windows.left + s * windows.apart_right
                            if 0 <= w < wide:
                                code = np.int64(maps[own, h, w])
                                total += table[code - floor] if table.size > 0 else code
                out[own, p, q] = total
