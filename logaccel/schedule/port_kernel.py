"""Kernel: how long the cycles of an array take whose ports cannot keep up. Integers in, integers out; callers validate.

What passes a port in which cycle is drawn in logaccel.memory.ports. Here the cycles of one tile's folds are gone
through one by one, which is cheap for the few folds that differ:

    level[n]      cycles that the operand vectors of array cycle n take, the slowest port
    slope[i, n]   change, from cycle n on, of how much the number of columns that pass psums grows a cycle:
                  IN raw psums that go in, RAW and LAST words that leave. A wave of columns, each a cycle after the
                  one before, rises from its first column to its last, and falls likewise.
    step[n]       words that leave in all columns at once (OS without overlap): change of their number in cycle n
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.jit import kernel

Numbers = NDArray[np.int64]

# Fields of `machine`. Bits of a word, then of the port, then banks, of each operand that moves, stays, or leaves.
ROWS, COLS, DELAY, OVERLAP, OUTPUT_STATIONARY = range(5)
MOVING_BITS, MOVING_PORT, MOVING_BANKS, STILL_BITS, STILL_PORT, STILL_BANKS = range(5, 11)
PSUM_BITS, OFMAP_BITS, OFMAP_PORT, OFMAP_BANKS, FIELDS = range(11, 16)
# Fields of a tile: its sizes along the columns and the rows of the array, its stream, and its place in the reduction.
OUTER, INNER, LENGTH, CONTINUES, FINISHES = range(5)
IN, RAW, LAST = range(3)


@kernel
def access_cycles(words: int, bits: int, port_bits: int, banks: int) -> int:
    """Return how long an access of some words takes: one cycle at least, one that does not happen too."""
    return max(1, -(-bits // port_bits), -(-words // banks))


@kernel
def wave(slope: Numbers, which: int, first: int, length: int, cols: int) -> None:
    """Let columns pass a word a cycle for `length` cycles, column j from cycle first + j on."""
    slope[which, first] += 1
    slope[which, first + cols] -= 1
    slope[which, first + length] -= 1
    slope[which, first + length + cols] += 1


@kernel
def raise_to(level: Numbers, first: int, length: int, cycles: int) -> None:
    """Let some cycles take at least so long."""
    if cycles > 1:
        for n in range(first, first + length):
            level[n] = max(level[n], cycles)


@kernel
def most_cycles(machine: Numbers, tile: Numbers) -> int:
    """Return array cycles that no tile exceeds."""
    folds = -(-tile[OUTER] // machine[COLS]) * -(-tile[INNER] // machine[ROWS])
    return folds * (tile[LENGTH] + 3 * machine[ROWS] + machine[COLS] + machine[DELAY] + 2) + machine[ROWS]


@kernel
def fill_folds(machine: Numbers, tile: Numbers, level: Numbers, slope: Numbers, step: Numbers) -> int:
    """Enter every fold of a tile into arrays that are clear, and return the array's own cycles."""
    rows_all, cols_all, length = machine[ROWS], machine[COLS], tile[LENGTH]
    output = machine[OUTPUT_STATIONARY] > 0
    inner_slices, outer_slices = -(-tile[INNER] // rows_all), -(-tile[OUTER] // cols_all)
    start, before, end = 0, -1, 0
    for o in range(outer_slices):
        cols = min(cols_all, tile[OUTER] - o * cols_all)
        for i in range(inner_slices):
            rows = min(rows_all, tile[INNER] - i * rows_all)
            if not output and before < 0:
                start = rows
            moving = access_cycles(rows, rows * machine[MOVING_BITS], machine[MOVING_PORT], machine[MOVING_BANKS])
            still = access_cycles(cols, cols * machine[STILL_BITS], machine[STILL_PORT], machine[STILL_BANKS])
            out = start + machine[DELAY] + rows_all - 1
            raise_to(level, start, length, moving)
            if output:
                raise_to(level, start, length, still)
                if machine[OVERLAP]:
                    wave(slope, LAST, out + length, rows, cols)
                else:
                    step[out + length + cols - 1] += cols
                    step[out + length + cols - 1 + rows] -= cols
            else:
                load = before if machine[OVERLAP] and before >= 0 else start - rows
                raise_to(level, load, rows, still)
                finished = tile[FINISHES] > 0 and i == inner_slices - 1
                wave(slope, LAST if finished else RAW, out, length, cols)
                if i > 0 or tile[CONTINUES] > 0:
                    wave(slope, IN, start + machine[DELAY] - 1, length, cols)
            own = length + rows_all + cols - 2 + machine[DELAY] + (rows if output else 0)
            end = max(end, start + own)
            following = (
                min(rows_all, tile[INNER] - (i + 1) * rows_all) if i + 1 < inner_slices else min(rows_all, tile[INNER])
            )
            distance = max(length, rows if output else following)
            if not machine[OVERLAP]:
                distance = own + (0 if output else following)
            if not output and i + 1 < inner_slices:
                distance = max(distance, rows_all + 2)
            before = start
            start += distance
    return end


@kernel
def long_cycles(machine: Numbers, end: int, level: Numbers, slope: Numbers, step: Numbers, keep: bool) -> int:
    """Return the cycles beyond the array's own; clear the arrays, or keep in `level` what each cycle takes."""
    stalls = 0
    rising_in = rising_raw = rising_last = 0
    words_in = words_raw = words_last = 0
    longest = 1
    for n in range(end):
        rising_in += slope[IN, n]
        rising_raw += slope[RAW, n]
        rising_last += slope[LAST, n]
        if step[n] or rising_in or rising_raw or rising_last:
            words_in += rising_in
            words_raw += rising_raw
            words_last += rising_last + step[n]
            out = words_raw * machine[PSUM_BITS] + words_last * machine[OFMAP_BITS]
            longest = max(
                access_cycles(words_in, words_in * machine[PSUM_BITS], machine[OFMAP_PORT], machine[OFMAP_BANKS]),
                access_cycles(words_raw + words_last, out, machine[OFMAP_PORT], machine[OFMAP_BANKS]),
            )
        cycles = max(level[n], longest)
        stalls += cycles - 1
        level[n] = cycles if keep else 1
        step[n] = slope[IN, n] = slope[RAW, n] = slope[LAST, n] = 0
    for n in range(end, end + 2):  # where the last waves end
        step[n] = slope[IN, n] = slope[RAW, n] = slope[LAST, n] = 0
    return stalls


@kernel
def settled_folds(machine: Numbers, length: int, period: int) -> int:
    """Return a number of equal folds, `period` or more cycles apart, from which on each more adds the same.

    Then in some period of their run neither the first fold (that takes up no psum) nor the last one (whose psums may
    be finished), nor what comes before and after, is felt: a fold touches no cycle but those from its load to its
    last psum.
    """
    return (length + 2 * machine[ROWS] + machine[COLS] + machine[DELAY]) // period + 4


@kernel
def stalls_of_tiles(machine: Numbers, tiles: Numbers, outers: Numbers, stalls: Numbers) -> None:
    """Work out stalls[i, j] of tiles[i] with outers[j] along the columns.

    Outer slices repeat: what is beyond a settled number of them is added evenly, and equal ones are worked out once.
    """
    cols, rows = machine[COLS], machine[ROWS]
    tile = np.empty(5, np.int64)
    longest, most = 0, 0
    for i in range(tiles.shape[0]):
        period = max(1, tiles[i, INNER] // rows) * max(tiles[i, LENGTH], min(tiles[i, INNER], rows))
        most = max(most, settled_folds(machine, tiles[i, LENGTH], period))
    for i in range(tiles.shape[0]):
        tile[:] = tiles[i]
        tile[OUTER] = min(outers.max(), (most + 2) * cols)
        longest = max(longest, most_cycles(machine, tile))
    level, slope, step = np.ones(longest, np.int64), np.zeros((3, longest), np.int64), np.zeros(longest, np.int64)
    known = np.empty((most + 2) * cols, np.int64)
    for i in range(tiles.shape[0]):
        tile[:] = tiles[i]
        period = max(1, tile[INNER] // rows) * max(tile[LENGTH], min(tile[INNER], rows))
        settled = settled_folds(machine, tile[LENGTH], period)
        known[:] = -1
        for j in range(outers.shape[0]):
            beyond = max(0, outers[j] // cols - settled - 1)
            size = outers[j] - beyond * cols
            for shorter in (size, size - cols) if beyond else (size, size):
                if known[shorter] < 0:
                    tile[OUTER] = shorter
                    end = fill_folds(machine, tile, level, slope, step)
                    known[shorter] = long_cycles(machine, end, level, slope, step, False)
            more = known[size] - known[size - cols] if beyond else 0
            stalls[i, j] = known[size] + beyond * more


@kernel
def cycles_of_tile(machine: Numbers, tile: Numbers) -> Numbers:
    """Return how long each array cycle of a tile takes."""
    room = most_cycles(machine, tile)
    level, slope, step = np.ones(room, np.int64), np.zeros((3, room), np.int64), np.zeros(room, np.int64)
    end = fill_folds(machine, tile, level, slope, step)
    long_cycles(machine, end, level, slope, step, True)
    return level[:end]


def machine_of(**fields: Any) -> Numbers:
    """Return the fields as the kernels take them; None: no limit."""
    order = (
        "rows", "cols", "delay", "overlap", "output_stationary", "moving_bits", "moving_port", "moving_banks",
        "still_bits", "still_port", "still_banks", "psum_bits", "ofmap_bits", "ofmap_port", "ofmap_banks",
    )  # fmt: skip
    return np.array([2**40 if fields[name] is None else int(fields[name]) for name in order], dtype=np.int64)
