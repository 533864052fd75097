"""Kernels: transfers on a DRAM channel, row by row; integers in, integers out. Callers validate.

Time is in clocks of the device. Bursts are served in order and none is looked ahead at: a burst's row is opened when
its turn comes. Per bank, one row stays open. In the slot of a burst

    refresh due ≤ slot ──► all rows closed (tRP_all, if any is open) ──► tRFC, then the slot
    row open           ──► column command                                                       hit
    no row open        ──► activate ── tRCD ──► column command                                  miss
    another row open   ──► precharge (tRAS, tRTP, tWR kept) ── tRP ──► activate ── tRCD ──► …   conflict

and the next slot is one burst of data later. A read waits tWTR after the data written last. A transfer ends with its
last data: CL or CWL and a burst after the last command. A refresh that falls due while the channel is idle is done
at once.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.jit import kernel

Numbers = NDArray[np.int64]

# Fields of `state`.
SLOT, DUE, WRITTEN, HITS, MISSES, CONFLICTS, REFRESHES, FIELDS = 0, 1, 2, 3, 4, 5, 6, 7
# Fields of `clocks`: those of logaccel.dram.device.Clocks, in their order.
BURST, BANKS, ROW_BURSTS, BURST_BITS, CL, CWL, TRCD, TRP, TRP_ALL, TRAS, TWR, TWTR, TRTP, TRFC, TREFI = range(15)
# Rows of `banks[field, bank]`.
OPEN, ACTIVATED, CLOSABLE = 0, 1, 2
# Fields of a part: `bits` from bit `first` on, again every `stride` bits, all that every `outer_stride`, and all that
# every `image_stride`.
FIRST, BITS, COUNT, STRIDE, OUTER_COUNT, OUTER_STRIDE, IMAGE_COUNT, IMAGE_STRIDE = range(8)


@kernel
def refresh(clocks: Numbers, state: Numbers, banks: Numbers, earliest: int) -> None:
    """Close every row, at `earliest` or as soon as the rows allow, and refresh."""
    begin = earliest
    rows = False
    for bank in range(banks.shape[1]):
        if banks[OPEN, bank] >= 0:
            rows = True
            begin = max(begin, banks[CLOSABLE, bank], banks[ACTIVATED, bank] + clocks[TRAS])
            banks[OPEN, bank] = -1
    if rows:
        begin += clocks[TRP_ALL]
    state[SLOT] = begin + clocks[TRFC]
    state[DUE] += clocks[TREFI]
    state[REFRESHES] += 1


@kernel
def open_row(clocks: Numbers, state: Numbers, banks: Numbers, row: int) -> int:
    """Open a row (numbered over all banks) if it is not, count how that went, and return the column command's clock."""
    bank = row % banks.shape[1]
    slot = state[SLOT]
    if banks[OPEN, bank] == row:
        state[HITS] += 1
        return slot
    if banks[OPEN, bank] >= 0:
        state[CONFLICTS] += 1
        slot = max(slot, banks[CLOSABLE, bank], banks[ACTIVATED, bank] + clocks[TRAS]) + clocks[TRP]
    else:
        state[MISSES] += 1
    banks[OPEN, bank] = row
    banks[ACTIVATED, bank] = slot
    return slot + clocks[TRCD]


@kernel
def move_run(clocks: Numbers, state: Numbers, banks: Numbers, burst: int, last: int, write: bool) -> int:
    """Move bursts `burst` … `last` and return when the last data has passed: a row at a time, or up to a refresh."""
    end = state[SLOT]
    while burst <= last:
        while state[DUE] <= state[SLOT]:
            refresh(clocks, state, banks, state[SLOT])
        row = burst // clocks[ROW_BURSTS]
        command = open_row(clocks, state, banks, row)
        if not write:
            command = max(command, state[WRITTEN] + clocks[TWTR])
        follow = min(last, (row + 1) * clocks[ROW_BURSTS] - 1) - burst
        follow = min(follow, max(0, state[DUE] - command - 1) // clocks[BURST])  # slots before the refresh
        state[HITS] += follow
        command += follow * clocks[BURST]
        burst += follow + 1
        state[SLOT] = command + clocks[BURST]
        end = command + (clocks[CWL] if write else clocks[CL]) + clocks[BURST]
        closable = end + clocks[TWR] if write else command + clocks[TRTP]
        banks[CLOSABLE, row % banks.shape[1]] = max(banks[CLOSABLE, row % banks.shape[1]], closable)
    return end


@kernel
def begin(clocks: Numbers, state: Numbers, banks: Numbers, start: int) -> int:
    """Make the channel ready for a transfer from a clock on, and return when it is."""
    while state[DUE] <= start:
        refresh(clocks, state, banks, max(state[SLOT], state[DUE]))
    state[SLOT] = max(state[SLOT], start)
    return state[SLOT]


@kernel
def move_part(clocks: Numbers, state: Numbers, banks: Numbers, part: Numbers, write: bool, end: int) -> int:
    """Move a part, of a transfer whose data ended so far at `end`; return when they end now."""
    bits = part[BITS]
    if bits > 0:
        for image in range(part[IMAGE_COUNT]):
            for outer in range(part[OUTER_COUNT]):
                first = part[FIRST] + image * part[IMAGE_STRIDE] + outer * part[OUTER_STRIDE]
                for _ in range(part[COUNT]):
                    last = (first + bits - 1) // clocks[BURST_BITS]
                    end = move_run(clocks, state, banks, first // clocks[BURST_BITS], last, write)
                    first += part[STRIDE]
    return end


@kernel
def finish(state: Numbers, end: int, write: bool) -> int:
    """End a transfer with its last data and return when that is."""
    state[SLOT] = end
    if write:
        state[WRITTEN] = end
    return end


@kernel
def transfer(clocks: Numbers, state: Numbers, banks: Numbers, start: int, parts: Numbers, write: bool) -> int:
    """Move parts, parts[i, field], and return when the channel is free: when the last data has passed.

    A run moves in the bursts that hold its bits; parts of no bits are nothing.
    """
    end = begin(clocks, state, banks, start)
    for part in range(parts.shape[0]):
        end = move_part(clocks, state, banks, parts[part], write, end)
    return finish(state, end, write)


def new_state(clocks: Any) -> tuple[Numbers, Numbers, Numbers]:
    """Return clocks, state and banks of a channel that has done nothing; the first refresh is one tREFI away."""
    numbers = np.array([getattr(clocks, name) for name in clocks.__dataclass_fields__], dtype=np.int64)
    state = np.zeros(FIELDS, dtype=np.int64)
    state[DUE] = numbers[TREFI]
    state[WRITTEN] = -numbers[TWTR]
    banks = np.zeros((3, numbers[BANKS]), dtype=np.int64)
    banks[OPEN] = -1
    return numbers, state, banks
