"""Kernel: the tiles of a layer on a DRAM channel with banks and one array, one after another.

As logaccel.memory.timing.tile_spans does with a channel of logaccel.memory.banked, tile by tile, which the
tests hold it against; for the mapper, which times many mappings of many tiles each.
"""

import numpy as np
from numpy.typing import NDArray

from logaccel.dram.kernel import begin, finish, move_part
from logaccel.jit import kernel

Numbers = NDArray[np.int64]

# Fields of a tile: which part of the tensors it reads and writes (−1: none of it), the array's cycles, and the least
# that channel and array still need after it.
IFMAP, FILTER, OFMAP, BUSY, CHANNEL_AFTER, BUSY_AFTER, TILE_FIELDS = range(7)
# Fields of `found`.
TOTAL, DRAM, DRAIN, FOUND = range(4)


@kernel
def run_tiles(
    device: tuple[Numbers, Numbers, Numbers],
    ratio: tuple[int, int],
    tiles: Numbers,
    parts: Numbers,
    most: int,
) -> tuple[int, int, int]:
    """Return total cycles, and those waited for reads and for write-backs; more than `most` cycles: at least so many.

    device: clocks, state and banks; ratio: the device's clocks an array cycle, as a fraction.
    """
    clocks, state, banks = device
    over, under = ratio
    channel, before, last, total, waited, drained_for = 0, 0, 0, 0, 0, 0
    count = tiles.shape[0]
    for index in range(count + 2):
        arrived = before
        if index < count and (tiles[index, IFMAP] >= 0 or tiles[index, FILTER] >= 0):
            end = begin(clocks, state, banks, -(-max(channel, before) * over // under))
            for field in (IFMAP, FILTER):
                if tiles[index, field] >= 0:
                    end = move_part(clocks, state, banks, parts[tiles[index, field]], False, end)
            arrived = channel = -(-finish(state, end, False) * under // over)
        written = 0
        if index >= 2:
            finished = before if index <= count else last
            written = finished
            if tiles[index - 2, OFMAP] >= 0:
                end = begin(clocks, state, banks, -(-max(channel, finished) * over // under))
                end = move_part(clocks, state, banks, parts[tiles[index - 2, OFMAP]], True, end)
                written = -(-finish(state, end, True) * under // over)
            channel = max(channel, written)
            total = max(total, written)
        if index < count:
            ready = max(arrived, last)
            start = max(ready, written)
            waited, drained_for = waited + ready - last, drained_for + start - ready
            before, last = last, start + tiles[index, BUSY]
            total = max(total, last)
            least = max(last + tiles[index, BUSY_AFTER], channel + tiles[index, CHANNEL_AFTER])
            if least > most:
                return least, waited, drained_for
        elif index == count:
            before = last  # what is left to write is that of the last tile
    return total, waited, drained_for + total - last
