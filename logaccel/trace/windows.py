"""Largest code of every window: rows first, whole lines at a time, then columns."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from logaccel.jit import parallel_kernel, parallel_range


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
    for own in parallel_range(maps.shape[0]):
        line = np.empty(wide, maps.dtype)
        for p in range(out.shape[1]):
            started = False
            for r in range(windows.high):
                h = p * windows.step_down - windows.top + r * windows.apart_down
                if 0 <= h < high:
                    if not started:
                        for w in range(wide):
                            line[w] = maps[own, h, w]
                        started = True
                    else:
                        for w in range(wide):
                            line[w] = max(line[w], maps[own, h, w])
            for q in range(out.shape[2]):
                w0 = q * windows.step_right - windows.left
                first = 0 if w0 >= 0 else (-w0 + windows.apart_right - 1) // windows.apart_right
                largest = line[w0 + first * windows.apart_right]
                for s in range(first + 1, windows.wide):
                    w = w0 + s * windows.apart_right
                    if w < wide:
                        largest = max(largest, line[w])
                out[own, p, q] = largest


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
