"""Rows of maps in and out of `kernels_direct`: codes → factors at their places, totals at places → codes of the ofmap.

A row is read and written sixteen elements at a time, also where it is shorter: what passes its end is garbage that the
following row of the same map writes over, so that rows of 13 elements cost hardly more than rows of 16. The last
elements of a map, behind which nothing follows, go one by one.

    place     0 1 2 3 4 5 6 7 …                       first chunk        second chunk, from the start of row 1
    totals    a a a a a · b b b b b ·     →   ofmap   a a a a a · b b   →   a a a a a b b b b b · …
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from logaccel.engine.kernels_lane import Lane, count_ends
from logaccel.engine.vectors import CHUNK, TILE, convert_chunk, narrow_chunk, power_chunk
from logaccel.formats.encode import Codes
from logaccel.jit import kernel, shift_left

Floats = NDArray[np.floating[Any]]
Sums = NDArray[np.signedinteger[Any]]
Places = NDArray[np.int64]

STRETCH = 5  # numbers of a stretch: image, first element of the map, first place of the tile, places, end of the run


class Walk(NamedTuple):
    """Where things lie: see `layout.py`. Images of a task, how many tasks share the channels of these images."""

    images: int
    splits: int
    workers: int  # that run tasks beside each other
    rows: int  # of an image in x, margins included
    pitch: int  # of a row
    lead: int  # zeros before the first row
    plane: int  # elements of one channel and phase
    size: int  # elements of x
    out_high: int
    out_wide: int
    step_down: int  # strides
    step_right: int
    top: int  # margins that are not in `lead`
    left: int
    phases: Places  # [phase, axis]


class Factors(NamedTuple):
    """Factors of values: table[plane, code − floor], flat; where it is empty, a value is its own factor.

    rules[plane] = (added, shift, exponent, signed) of `power_chunk`, or a shift of −1 where only the table knows.
    """

    table: Floats
    floor: int
    rules: Places


class Shape(NamedTuple):
    """Extents of the ifmap and the number of groups of a layer."""

    channels: int
    high: int
    wide: int
    groups: int


@kernel
def spread(flat: NDArray[Any], shape: Shape, part: tuple[Any, ...], factors: Factors, walk: Walk, x: Floats) -> None:
    """Write the factors of values[n, c, h, w] where their places are: every plane of factors, channel and phase.

    part: first image, images, group. The values are flat: views would be counted at every row.
    """
    depth, phases, steps = shape.channels // shape.groups, walk.phases.shape[0], walk.step_right
    rows, pitch, high, wide, down = walk.rows, walk.pitch, shape.high, shape.wide, walk.step_down
    if pitch == wide and rows == high and phases == steps == down == 1 and walk.lead == 0:
        rows, high, pitch, wide = 1, 1, high * wide, high * wide  # no margins: all rows at once
    for index in range(factors.rules.shape[0] * depth * phases):
        line, phase = divmod(np.int64(index), phases)
        plane, c = divmod(line, depth)
        top, left = walk.phases[phase, 0] - walk.top, walk.phases[phase, 1] - walk.left
        begin = max((-left + steps - 1) // steps, 0)
        count = max(min((wide - left + steps - 1) // steps, pitch) - begin, 0)
        row = max((-top + down - 1) // down, 0)
        end = max(min((high - top + down - 1) // down, rows), row)
        for n in range(part[1]):
            channel = ((part[0] + n) * shape.channels + part[2] * depth + c) * high
            source = (channel + row * down + top) * wide + left + begin * steps
            to = index * walk.plane + walk.lead + (n * rows + row) * pitch + begin
            if steps == 1:
                _dense_rows(flat, source, down * wide, (end - row, count, pitch), factors, plane, x, to)
            else:
                for r in range(end - row):
                    _elements(flat, source + r * down * wide, steps, count, factors, plane, x, to + r * pitch)


@kernel
def _dense_rows(
    flat: NDArray[Any],
    source: int,
    apart: int,
    extent: tuple[Any, ...],
    factors: Factors,
    plane: int,
    x: Floats,
    to: int,
) -> None:
    """Write rows of neighbours (extent: rows, elements, places from one row to the next) and zeros between them."""
    rows, count, pitch = extent
    added, shift, exponent, signed = factors.rules[plane]
    last: Any = to + (rows - 1) * pitch + count if factors.table.size == 0 or shift >= 0 else 0
    for _ in range(rows):
        i: Any = np.int64(0)
        while i < count and to + i + CHUNK <= last and source + i + CHUNK <= flat.size:
            if factors.table.size == 0:
                convert_chunk(flat, source + i, x, to + i)
            else:
                power_chunk(flat, source + i, x, to + i, added, shift, exponent, signed)
            i += CHUNK
        if i < count:
            _elements(flat, source + i, 1, count - i, factors, plane, x, to + i)
        for place in range(np.uint64(to + count), np.uint64(min(to + pitch, last))):
            x[place] = 0  # where chunks of this row and those before it have passed their ends
        source += apart
        to += pitch


@kernel
def _elements(
    flat: NDArray[Any], source: int, step: int, count: int, factors: Factors, plane: int, x: Floats, to: int
) -> None:
    """Write the factors of so many values, one by one."""
    unit, table = x.dtype.type, factors.table
    zero = plane * (table.size // factors.rules.shape[0]) - factors.floor
    first, target, apart = np.uint64(source), np.uint64(to), np.uint64(step)
    if table.size == 0:
        for i in range(np.uint64(count)):
            x[target + i] = unit(flat[first + i * apart])
    else:
        for i in range(np.uint64(count)):
            x[target + i] = table[np.uint64(zero + flat[first + i * apart])]


@kernel
def find_stretches(first: int, j: int, length: int, walk: Walk, found: Places) -> int:
    """Set found[stretch, …] to the rows of the ofmap in a tile of places; return how many.

    The tile begins at place j of image `first`. A run is what rows of one image make of the ofmap without a gap.
    """
    held, at, end = 0, np.int64(j), np.int64(j + length)
    while at < end:
        n, place = divmod(at, walk.rows * walk.pitch)
        p, q = divmod(place, walk.pitch)
        count = min(walk.out_wide - q, end - at)
        if p < walk.out_high and count > 0:
            begin = p * walk.out_wide + q
            found[held, 0], found[held, 1], found[held, 2], found[held, 3] = first + n, begin, at - j, count
            held += 1
        at += walk.pitch - q
    for s in range(held - 1, -1, -1):
        stop = found[s, 1] + found[s, 3]
        goes_on = s + 1 < held and found[s + 1, 0] == found[s, 0] and found[s + 1, 1] == stop
        found[s, 4] = found[s + 1, 4] if goes_on else stop
    return held


@kernel
def add_rows(
    codes: Codes, found: Places, held: int, spot: tuple[int, int, int], size: int, lane: Lane, totals: Sums
) -> None:
    """Add the words of codes[n, m, p, q] to totals[m, place] of a tile, in the finer LSB of the two.

    spot: channels of an image, first of them, how many. size: elements of a map.
    """
    unit = totals.dtype.type
    words, floor, shift = lane.residual_words, lane.residual_floor, lane.shift
    for own in range(spot[2]):
        for s in range(held):
            source = np.uint64((found[s, 0] * spot[0] + spot[1] + own) * size + found[s, 1])
            target = np.uint64(own * TILE + found[s, 2])
            for i in range(np.uint64(found[s, 3])):
                word = words[np.uint64(np.int64(codes[source + i]) - floor)]
                totals[target + i] = unit(shift_left(totals[target + i], shift) + word)


@kernel
def write_rows(
    totals: Sums, found: Places, held: int, spot: tuple[int, int, int], size: int, lane: Lane, out: Codes
) -> int:
    """Set codes[n, m, p, q] to what stands in totals[m, place] of a tile (see `add_rows`).

    Return how many of them are at the ends of the format.
    """
    saturated = 0
    for own in range(spot[2]):
        run: Any = np.int64(-1)
        for s in range(held):
            base = (found[s, 0] * spot[0] + spot[1] + own) * size
            source, target, left = own * TILE + found[s, 2], base + found[s, 1], found[s, 3]
            while left > 0 and target + CHUNK <= base + found[s, 4]:
                narrow_chunk(totals, source, out, target)
                source += CHUNK
                target += CHUNK
                left -= CHUNK
            for i in range(np.uint64(max(left, 0))):
                out[np.uint64(target) + i] = out.dtype.type(totals[np.uint64(source) + i])
            if run < 0:
                run = base + found[s, 1]
            if target + left == base + found[s, 4]:  # a run ends: all of it is written
                saturated += count_ends(out, run, base + found[s, 4], lane.low, lane.high)
                run = np.int64(-1)
    return saturated
