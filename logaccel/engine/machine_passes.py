"""Passes over one register plane of the array: what every PE does in one cycle. Callers validate.

A plane is flat: cell (row + 1)·width + col belongs to PE(row, col), cells 0…width − 1 are the top edge.
So the left neighbour is one cell back, the PE above is `width` cells back, and one contiguous loop
serves the whole array. A pass reads the planes of this cycle and writes those of the next. At the first
column "one cell back" is the row above: the caller overwrites that column with what enters at the left.

Every loop counts from 0 over views that start where it needs them: an index that the compiler can prove
non-negative is what lets it vectorise (eleven times faster here); so are few arrays per loop, beyond some
eight overlap checks it gives up.
"""

import numpy as np
from numpy.typing import NDArray

from logaccel.jit import kernel

Plane = NDArray[np.signedinteger]

# Flags that travel with operands; the first three travel on with the product.
VALID = 1
FIRST = 2  # OS: first operand of a psum
LAST = 4  # OS: last operand of a psum
SWAP = 8  # WS, IS: first operand of a stream, the stationary word changes with it
LOAD = 16  # WS, IS: the column's chain of stationary words moves
RESTART = 32  # WS, IS: first cycle of a load
PULSE = 64  # OS: the column's shadow registers start to drain
WITH_PRODUCT = VALID | FIRST | LAST
LIVE = 8  # in a pipeline stage: both operands were non-zero
LANE_SHIFT = 4  # in a pipeline stage: which accumulator takes the product
LANES_MASK = 7
# Status of a stationary PE.
CHAIN_VALID = 1
TOOK = 2  # took a word into the chain at the last clock edge
HELD_VALID = 4
EDGE = 8  # the cell is the top edge, which always has a word to offer
# Flags of an OS shadow register.
LOADED = 1
MOVING = 2

EMPTY_RAIL = -1


@kernel
def shift_right(before: Plane, after: Plane, width: int) -> None:
    """Move every word one PE to the right."""
    left, own = before[width - 1 : before.size - 1], after[width:]
    for cell in range(own.size):
        own[cell] = left[cell]


@kernel
def shift_down(before: Plane, after: Plane, width: int) -> None:
    """Move every word one PE down."""
    above, own = before[: before.size - width], after[width:]
    for cell in range(own.size):
        own[cell] = above[cell]


@kernel
def copy(before: Plane, after: Plane) -> None:
    """Move every word to the next pipeline stage of its PE."""
    for cell in range(after.size):
        after[cell] = before[cell]


@kernel
def count(flags: Plane, mask: int, width: int) -> int:
    """Return how many PEs have all flags of the mask set."""
    narrow = flags.dtype.type
    wanted = narrow(mask)
    own = flags[width:]
    found = narrow(0)
    for cell in range(own.size):
        found = narrow(found + narrow(narrow(own[cell] & wanted) == wanted))
    return np.int64(found)


@kernel
def join_operands(arriving: Plane, before: Plane, after: Plane, width: int) -> None:
    """Take operand flags from the left; an operand is valid only where a valid word comes from above too (OS)."""
    narrow = before.dtype.type
    left, above, own = arriving[width:], before[: before.size - width], after[width:]
    pulse, travelling = narrow(PULSE), narrow(WITH_PRODUCT)
    for cell in range(own.size):
        joined = narrow(-narrow(above[cell] & VALID))
        own[cell] = narrow(left[cell] & narrow(narrow(travelling & joined) | pulse))


@kernel
def take_status(arriving: Plane, before: Plane, after: Plane, overlap: bool, width: int) -> None:
    """Decide which PEs take a stationary word, swap it in, and hold a valid one (WS, IS).

    A PE takes while its column loads and the PE above took one cycle earlier; the first cycle of a load
    forgets what the load before it left behind, and without shadow registers invalidates the column.
    """
    narrow = before.dtype.type
    forget = narrow(0 if overlap else 1)
    swaps = narrow(1 if overlap else 0)
    left, above, own, result = arriving[width:], before[: before.size - width], before[width:], after[width:]
    for cell in range(result.size):
        flags, old, upper = left[cell], own[cell], above[cell]
        load = narrow(narrow(flags >> 4) & 1)
        restart = narrow(narrow(flags >> 5) & 1)
        swap = narrow(narrow(flags >> 3) & 1)
        took_above = narrow(narrow(narrow(upper >> 1) & narrow(1 - restart)) | narrow(upper >> 3))
        take = narrow(narrow(load & took_above) & 1)
        stays = narrow(narrow(1 - swap) & narrow(1 - narrow(restart & forget)))
        chain = narrow(narrow(upper & take) | narrow(narrow(old & stays) & narrow(1 - take)))
        shadowed = narrow(narrow(old & swap) | narrow(narrow(old >> 2) & narrow(1 - swap)))
        held = narrow(narrow(narrow(shadowed & swaps) | narrow(chain & narrow(1 - swaps))) & 1)
        result[cell] = narrow(narrow(chain & 1) | narrow(narrow(take << 1) | narrow(held << 2)))


@kernel
def take_chain(status: Plane, before: Plane, after: Plane, width: int) -> None:
    """Shift the stationary words of loading columns down; `status` is that of the next cycle."""
    narrow = before.dtype.type
    marks, above, own, result = status[width:], before[: before.size - width], before[width:], after[width:]
    for cell in range(result.size):
        upper, old = above[cell], own[cell]
        result[cell] = upper if narrow(marks[cell] & TOOK) != 0 else old


@kernel
def swap_in(arriving: Plane, chain: Plane, before: Plane, after: Plane, width: int) -> None:
    """Copy shadow to stationary registers where the first operand of a stream arrives."""
    narrow = before.dtype.type
    left, shadows, own, result = arriving[width:], chain[width:], before[width:], after[width:]
    for cell in range(result.size):
        shadow, old = shadows[cell], own[cell]
        result[cell] = shadow if narrow(left[cell] & SWAP) != 0 else old


@kernel
def join_stationary(arriving: Plane, status: Plane, after: Plane, width: int) -> None:
    """Take operand flags from the left; an operand goes no further than the valid stationary words (WS, IS)."""
    narrow = after.dtype.type
    left, marks, result = arriving[width:], status[width:], after[width:]
    operand, column = narrow(VALID | SWAP), narrow(LOAD | RESTART)
    for cell in range(result.size):
        held = narrow(-narrow(narrow(marks[cell] >> 2) & 1))
        result[cell] = narrow(left[cell] & narrow(narrow(held & operand) | column))


@kernel
def accumulate(
    product: Plane, flags: Plane, before: Plane, after: Plane, distance: int, lane: int, saturate: bool,
    low: int, high: int, width: int,
) -> int:  # fmt: skip
    """Add products to one accumulator of every PE; return how many additions were clipped or wrapped.

    The psum comes from `distance` cells back: 0 (OS, the PE's own) or `width` (WS, IS, from above). The
    first product of a psum meets 0. Where no product of this lane is valid the psum moves on unchanged.
    """
    narrow = before.dtype.type
    least, most = narrow(low), narrow(high)
    wanted, mine = narrow(VALID | (lane << LANE_SHIFT)), narrow(VALID | (LANES_MASK << LANE_SHIFT))
    terms, marks, result = product[width:], flags[width:], after[width:]
    psums = before[width - distance : before.size - distance]
    clipped = narrow(0)
    if saturate:
        for cell in range(result.size):
            flag, old, term = marks[cell], psums[cell], terms[cell]
            start = narrow(0) if narrow(flag & FIRST) != 0 else old
            total = narrow(start + (term if narrow(flag & mine) == wanted else narrow(0)))
            limited = min(max(total, least), most)
            result[cell] = limited
            clipped = narrow(clipped + narrow(total != limited))
    else:
        span = narrow(most - least)
        for cell in range(result.size):
            flag, old, term = marks[cell], psums[cell], terms[cell]
            start = narrow(0) if narrow(flag & FIRST) != 0 else old
            total = narrow(start + (term if narrow(flag & mine) == wanted else narrow(0)))
            limited = narrow(narrow(narrow(total - least) & span) + least)
            result[cell] = limited
            clipped = narrow(clipped + narrow(total != limited))
    return np.int64(clipped)


@kernel
def accumulate_log(
    product: Plane, flags: Plane, before: Plane, after: Plane, distance: int, rail: int, fraction_bits: int,
    high: int, width: int,
) -> int:  # fmt: skip
    """Add log-domain products to one rail of every PE; return how many sums were limited.

    s ← max(s, P) + (2^F >> |⌊s⌋ − ⌊P⌋|); an empty rail takes P. Zero products change nothing.
    """
    narrow = before.dtype.type
    most, places, zero = narrow(high), narrow(fraction_bits), narrow(0)
    wanted = narrow(VALID | LIVE | (rail << LANE_SHIFT))
    checked = narrow(VALID | LIVE | (1 << LANE_SHIFT))
    one, furthest = narrow(1 << fraction_bits), narrow(fraction_bits + 1)
    terms, marks, result = product[width:], flags[width:], after[width:]
    psums = before[width - distance : before.size - distance]
    clipped = zero
    for cell in range(result.size):
        flag, old, term = marks[cell], psums[cell], terms[cell]
        start = narrow(EMPTY_RAIL) if narrow(flag & FIRST) != 0 else old
        octaves = narrow(narrow(start >> places) - narrow(term >> places))
        apart = max(octaves, narrow(-octaves))
        correction = narrow(one >> min(apart, furthest))
        total = narrow(max(start, term) + (correction if start >= zero else zero))
        limited = min(total, most)
        adds = narrow(flag & checked) == wanted
        result[cell] = limited if adds else start
        clipped = narrow(clipped + narrow(narrow(adds) & narrow(total != limited)))
    return np.int64(clipped)


@kernel
def pass_psums(flags: Plane, before: Plane, after: Plane, width: int) -> int:
    """Move psum-valid flags down (WS, IS); return how many products met no psum, a fault of the schedule."""
    narrow = before.dtype.type
    marks, above, result = flags[width:], before[: before.size - width], after[width:]
    alone = narrow(0)
    for cell in range(result.size):
        upper = above[cell]
        result[cell] = upper
        alone = narrow(alone + narrow(narrow(marks[cell] & VALID) & narrow(1 - upper)))
    return np.int64(alone)


@kernel
def fill_accumulators(flags: Plane, before: Plane, after: Plane) -> None:
    """Mark the accumulators whose psum is finished (OS)."""
    narrow = before.dtype.type
    for cell in range(after.size):
        after[cell] = narrow(before[cell] | narrow(narrow(flags[cell] >> 2) & 1))


@kernel
def start_moving(flags: Plane, before: Plane, moving: Plane, width: int) -> None:
    """Set MOVING where the pulse stands at a loaded shadow register (OS); the top edge never moves."""
    narrow = before.dtype.type
    marks, own, result = flags[width:], before[width:], moving[width:]
    for cell in range(result.size):
        pulse = narrow(narrow(marks[cell] >> 6) & 1)
        shadow = own[cell]
        result[cell] = narrow(shadow | narrow(narrow(shadow & pulse) << 1))


@kernel
def move_shadow_flags(flags: Plane, moving: Plane, after: Plane, width: int) -> int:
    """Move shadow flags down, load finished psums; return how many words collided, a fault of the schedule."""
    narrow = after.dtype.type
    marks, above, own, result = flags[width:], moving[: moving.size - width], moving[width:], after[width:]
    collisions = narrow(0)
    for cell in range(result.size):
        shadow = own[cell]
        comes = narrow(narrow(above[cell] >> 1) & 1)
        stays = narrow(narrow(shadow & 1) & narrow(1 - narrow(shadow >> 1)))
        load = narrow(narrow(marks[cell] >> 2) & 1)
        result[cell] = narrow(narrow(narrow(comes << 1) | comes) | narrow(stays | load))
        collisions = narrow(collisions + narrow(narrow(narrow(comes + stays) + load) > narrow(1)))
    return np.int64(collisions)


@kernel
def move_shadow(flags: Plane, moving: Plane, finished: Plane, before: Plane, after: Plane, width: int) -> None:
    """Move shadow words down, load finished psums (OS); `finished` is the accumulator of the next cycle."""
    narrow = before.dtype.type
    marks, sums, result = flags[width:], finished[width:], after[width:]
    above, own, upper_moves = before[: before.size - width], before[width:], moving[: moving.size - width]
    for cell in range(result.size):
        upper, old, total = above[cell], own[cell], sums[cell]
        kept = total if narrow(marks[cell] & LAST) != 0 else old
        result[cell] = upper if narrow(upper_moves[cell] & MOVING) != 0 else kept
