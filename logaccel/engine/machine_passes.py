"""Passes over the array: what every PE does in one cycle. Callers validate.

All registers of one name form a *plane*: cell (row + 1)·width + col belongs to PE(row, col), cells
0…width − 1 are the top edge. All planes lie in one array `cells`, and a pass is told where PE(0, 0) lies
in each: `own`. Its left neighbour is then at own − 1 and the PE above at own − width, for every PE at
once, so that one contiguous loop serves the array. At column 0 "one back" is the row above: the caller
overwrites that column with what enters at the left. A pass reads this cycle's planes, writes the next's.

Indices are unsigned: one that the compiler can prove non-negative is what lets it vectorise (eleven
times faster here). One array and few planes per loop keep its overlap checks below the limit of eight.
"""

import numpy as np
from numpy.typing import NDArray

from logaccel.jit import kernel, shift_right

Cells = NDArray[np.signedinteger]

# Flags that travel with operands; the first three travel on with the product.
VALID = 1
FIRST = 2  # OS: first operand of a psum
LAST = 4  # OS: last operand of a psum
SWAP = 8  # WS, IS: first operand of a stream, the stationary word changes with it
LOAD = 16  # WS, IS: the column's chain of stationary words moves
RESTART = 32  # WS, IS: first cycle of a load
PULSE = 64  # OS: the column's shadow registers start to drain
WITH_PRODUCT = VALID | FIRST | LAST
LIVE_BIT = 3
LIVE = 1 << LIVE_BIT  # in a pipeline stage: both operands were non-zero
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
def move(cells: Cells, source: int, target: int, number: int) -> None:
    """Copy registers: from the left, from above, or to the PE's own next pipeline stage."""
    source_, target_ = np.uint64(source), np.uint64(target)
    for i in range(np.uint64(number)):
        cells[target_ + i] = cells[source_ + i]


@kernel
def count(cells: Cells, flags: int, mask: int, number: int) -> int:
    """Return how many PEs have all flags of the mask set."""
    narrow = cells.dtype.type
    flags_ = np.uint64(flags)
    wanted = narrow(mask)
    found = narrow(0)
    for i in range(np.uint64(number)):
        found = narrow(found + narrow(narrow(cells[flags_ + i] & wanted) == wanted))
    return int(found)


@kernel
def join_operands(cells: Cells, left: int, above: int, target: int, number: int) -> int:
    """Take operand flags from the left; an operand is valid only where a valid word comes from above too (OS).

    Returns how many are.
    """
    narrow = cells.dtype.type
    left_, above_, target_ = np.uint64(left), np.uint64(above), np.uint64(target)
    pulse, travelling, found = narrow(PULSE), narrow(WITH_PRODUCT), narrow(0)
    for i in range(np.uint64(number)):
        joined = narrow(-narrow(cells[above_ + i] & narrow(VALID)))
        flags = narrow(cells[left_ + i] & narrow(narrow(travelling & joined) | pulse))
        cells[target_ + i] = flags
        found = narrow(found + narrow(flags & narrow(VALID)))
    return int(found)


@kernel
def take_status(cells: Cells, left: int, above: int, own: int, target: int, overlap: bool, number: int) -> int:
    """Decide which PEs take a stationary word, swap it in, and hold a valid one (WS, IS); return how many take one.

    A PE takes while its column loads and the PE above took one cycle earlier; the first cycle of a load
    forgets what the load before it left behind, and without shadow registers invalidates the column.
    """
    narrow = cells.dtype.type
    left_, above_, own_, target_ = np.uint64(left), np.uint64(above), np.uint64(own), np.uint64(target)
    one, forget, shadows = narrow(1), narrow(0 if overlap else 1), narrow(1 if overlap else 0)
    taken = narrow(0)
    for i in range(np.uint64(number)):
        flags, upper, old = cells[left_ + i], cells[above_ + i], cells[own_ + i]
        swap = narrow(narrow(flags >> narrow(3)) & one)
        load = narrow(narrow(flags >> narrow(4)) & one)
        restart = narrow(narrow(flags >> narrow(5)) & one)
        took_above = narrow(narrow(narrow(upper >> one) & narrow(one - restart)) | narrow(upper >> narrow(3)))
        take = narrow(narrow(load & took_above) & one)
        stays = narrow(narrow(one - swap) & narrow(one - narrow(restart & forget)))
        chain = narrow(narrow(narrow(upper & take) | narrow(narrow(old & stays) & narrow(one - take))) & one)
        swapped = narrow(narrow(old & swap) | narrow(narrow(old >> narrow(2)) & narrow(one - swap)))
        held = narrow(narrow(swapped & shadows) | narrow(chain & forget))
        cells[target_ + i] = narrow(chain | narrow(narrow(take << one) | narrow(held << narrow(2))))
        taken = narrow(taken + narrow(take & chain))
    return int(taken)


@kernel
def take_where(cells: Cells, flags: int, mask: int, source: int, own: int, target: int, number: int) -> None:
    """Load a register from `source` where a flag is set, keep its own word elsewhere."""
    narrow = cells.dtype.type
    flags_, source_, own_, target_ = np.uint64(flags), np.uint64(source), np.uint64(own), np.uint64(target)
    wanted = narrow(mask)
    for i in range(np.uint64(number)):
        new, old = cells[source_ + i], cells[own_ + i]
        cells[target_ + i] = new if narrow(cells[flags_ + i] & wanted) != narrow(0) else old


@kernel
def join_stationary(cells: Cells, left: int, status: int, target: int, number: int) -> tuple[int, int]:
    """Take operand flags from the left; an operand goes no further than the valid stationary words (WS, IS).

    Returns how many operands are valid and how many of them swap a stationary word in.
    """
    narrow = cells.dtype.type
    left_, status_, target_ = np.uint64(left), np.uint64(status), np.uint64(target)
    operand, column = narrow(VALID | SWAP), narrow(LOAD | RESTART)
    found, swaps = narrow(0), narrow(0)
    for i in range(np.uint64(number)):
        held = narrow(-narrow(narrow(cells[status_ + i] >> narrow(2)) & narrow(1)))
        flags = narrow(cells[left_ + i] & narrow(narrow(held & operand) | column))
        cells[target_ + i] = flags
        found = narrow(found + narrow(flags & narrow(VALID)))
        swaps = narrow(swaps + narrow(narrow(flags & narrow(SWAP)) != narrow(0)))
    return int(found), int(swaps)


@kernel
def accumulate(
    cells: Cells, product: int, flags: int, source: int, target: int, lane: int, saturate: bool, low: int,
    high: int, number: int,
) -> int:  # fmt: skip
    """Add products to one accumulator of every PE; return how many additions were clipped or wrapped.

    `source` is the PE's own psum (OS) or the one above (WS, IS). The first product of a psum meets 0.
    Where no product of this lane is valid the psum moves on unchanged.
    """
    narrow = cells.dtype.type
    product_, flags_, source_, target_ = np.uint64(product), np.uint64(flags), np.uint64(source), np.uint64(target)
    least, most, zero = narrow(low), narrow(high), narrow(0)
    wanted, mine = narrow(VALID | (lane << LANE_SHIFT)), narrow(VALID | (LANES_MASK << LANE_SHIFT))
    clipped = zero
    if saturate:
        for i in range(np.uint64(number)):
            flag, old, term = cells[flags_ + i], cells[source_ + i], cells[product_ + i]
            start = zero if narrow(flag & narrow(FIRST)) != zero else old
            total = narrow(start + (term if narrow(flag & mine) == wanted else zero))
            limited = min(max(total, least), most)
            cells[target_ + i] = limited
            clipped = narrow(clipped + narrow(total != limited))
    else:
        span = narrow(most - least)
        for i in range(np.uint64(number)):
            flag, old, term = cells[flags_ + i], cells[source_ + i], cells[product_ + i]
            start = zero if narrow(flag & narrow(FIRST)) != zero else old
            total = narrow(start + (term if narrow(flag & mine) == wanted else zero))
            limited = narrow(narrow(narrow(total - least) & span) + least)
            cells[target_ + i] = limited
            clipped = narrow(clipped + narrow(total != limited))
    return int(clipped)


@kernel
def accumulate_log(
    cells: Cells, product: int, flags: int, source: int, target: int, rail: int, fraction_bits: int, high: int,
    number: int,
) -> int:  # fmt: skip
    """Add log-domain products to one rail of every PE; return how many sums were limited.

    s ← max(s, P) + (2^F >> |⌊s⌋ − ⌊P⌋|); an empty rail takes P. Zero products change nothing.
    """
    narrow = cells.dtype.type
    product_, flags_, source_, target_ = np.uint64(product), np.uint64(flags), np.uint64(source), np.uint64(target)
    most, places, zero, empty = narrow(high), narrow(fraction_bits), narrow(0), narrow(EMPTY_RAIL)
    wanted = narrow(VALID | LIVE | (rail << LANE_SHIFT))
    checked = narrow(VALID | LIVE | (1 << LANE_SHIFT))
    one, furthest = narrow(1 << fraction_bits), narrow(fraction_bits + 1)
    clipped = zero
    for i in range(np.uint64(number)):
        flag, old, term = cells[flags_ + i], cells[source_ + i], cells[product_ + i]
        start = empty if narrow(flag & narrow(FIRST)) != zero else old
        octaves = narrow(shift_right(start, places) - shift_right(term, places))
        apart = min(max(octaves, narrow(-octaves)), furthest)
        total = narrow(max(start, term) + (shift_right(one, apart) if start >= zero else zero))
        limited = min(total, most)
        adds = narrow(narrow(flag & checked) == wanted)
        cells[target_ + i] = limited if adds != zero else start
        clipped = narrow(clipped + narrow(adds & narrow(total != limited)))
    return int(clipped)


@kernel
def pass_psums(cells: Cells, flags: int, above: int, target: int, number: int) -> tuple[int, int, int]:
    """Move psum-valid flags down (WS, IS).

    Returns how many products are valid, how many psums met none, and how many products no psum: a fault of
    the schedule.
    """
    narrow = cells.dtype.type
    flags_, above_, target_ = np.uint64(flags), np.uint64(above), np.uint64(target)
    valid, passed, alone, one = narrow(0), narrow(0), narrow(0), narrow(1)
    for i in range(np.uint64(number)):
        upper, product = cells[above_ + i], narrow(cells[flags_ + i] & narrow(VALID))
        cells[target_ + i] = upper
        valid = narrow(valid + product)
        passed = narrow(passed + narrow(upper & narrow(one - product)))
        alone = narrow(alone + narrow(product & narrow(one - upper)))
    return int(valid), int(passed), int(alone)


@kernel
def fill_accumulators(cells: Cells, flags: int, own: int, target: int, number: int) -> int:
    """Mark the accumulators whose psum is finished (OS); return how many products are valid."""
    narrow = cells.dtype.type
    flags_, own_, target_ = np.uint64(flags), np.uint64(own), np.uint64(target)
    valid, one = narrow(0), narrow(1)
    for i in range(np.uint64(number)):
        flag = cells[flags_ + i]
        cells[target_ + i] = narrow(cells[own_ + i] | narrow(narrow(flag >> narrow(2)) & one))
        valid = narrow(valid + narrow(flag & narrow(VALID)))
    return int(valid)


@kernel
def start_moving(cells: Cells, flags: int, shadow: int, target: int, number: int) -> None:
    """Set MOVING where the pulse stands at a loaded shadow register (OS)."""
    narrow = cells.dtype.type
    flags_, shadow_, target_ = np.uint64(flags), np.uint64(shadow), np.uint64(target)
    one = narrow(1)
    for i in range(np.uint64(number)):
        pulse = narrow(narrow(cells[flags_ + i] >> narrow(6)) & one)
        own = cells[shadow_ + i]
        cells[target_ + i] = narrow(own | narrow(narrow(own & pulse) << one))


@kernel
def move_shadow_flags(cells: Cells, flags: int, above: int, own: int, target: int, number: int) -> tuple[int, int]:
    """Move shadow flags down, load finished psums.

    Returns how many words were written and how many collided, a fault of the schedule.
    """
    narrow = cells.dtype.type
    flags_, above_, own_, target_ = np.uint64(flags), np.uint64(above), np.uint64(own), np.uint64(target)
    written, collisions, one = narrow(0), narrow(0), narrow(1)
    for i in range(np.uint64(number)):
        shadow = cells[own_ + i]
        comes = narrow(narrow(cells[above_ + i] >> one) & one)
        stays = narrow(narrow(shadow & one) & narrow(one - narrow(shadow >> one)))
        load = narrow(narrow(cells[flags_ + i] >> narrow(2)) & one)
        cells[target_ + i] = narrow(narrow(narrow(comes << one) | comes) | narrow(stays | load))
        written = narrow(written + narrow(comes + load))
        collisions = narrow(collisions + narrow(narrow(narrow(comes + stays) + load) > one))
    return int(written), int(collisions)


@kernel
def move_shadow(
    cells: Cells, flags: int, above_flags: int, finished: int, above: int, own: int, target: int, number: int
) -> None:
    """Move shadow words down, load finished psums (OS); `finished` is the accumulator of the next cycle."""
    narrow = cells.dtype.type
    flags_, above_flags_, finished_ = np.uint64(flags), np.uint64(above_flags), np.uint64(finished)
    above_, own_, target_ = np.uint64(above), np.uint64(own), np.uint64(target)
    zero = narrow(0)
    for i in range(np.uint64(number)):
        upper, old, total = cells[above_ + i], cells[own_ + i], cells[finished_ + i]
        kept = total if narrow(cells[flags_ + i] & narrow(LAST)) != zero else old
        cells[target_ + i] = upper if narrow(cells[above_flags_ + i] & narrow(MOVING)) != zero else kept
