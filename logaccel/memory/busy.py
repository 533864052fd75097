"""The array's cycles of every kind of tile at once, those included in which scratchpad ports hold it up.

    table[x, c, k]   x: kind of block of images, rows and columns, c: of ofmap channels, k: of ifmap channels

One table for each place of a tile in its reduction: only K slices that continue take psums in, only the last one
writes words that are finished.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from logaccel.arch import Memory
from logaccel.memory.banks import least_tap_stalls
from logaccel.memory.port_tables import Part, stalls_of_shapes
from logaccel.memory.ports import ports_of
from logaccel.memory.tiles import Map, TiledLayer
from logaccel.memory.waits import ifmap_tile
from logaccel.schedule.cycles import cycles_of_shapes

Counts = NDArray[np.int64]
ALONE, FIRST, MIDDLE, LAST = Part(False, True), Part(False, False), Part(True, False), Part(True, True)


def sees_padding(tiled: TiledLayer, memory: Memory) -> bool:
    """Return whether the padding that tiles see counts in the tables: that of taps which meet in a bank."""
    return tiled.dataflow == "ws" and memory.ifmap.banks is not None


class BusyTables:
    """Cycles of all kinds of tiles: exact, but that of ifmap words that meet in a bank only some are counted."""

    def __init__(
        self, tiled: TiledLayer, memory: Memory, kinds: Sequence[Map], sizes: tuple[Counts, Counts, Counts]
    ) -> None:
        """Prepare; sizes: pixels of each kind of block, ofmap channels, ifmap channels."""
        self._tiled, self._ports = tiled, ports_of(memory, tiled.widths)
        pixels, channels, depths = sizes
        reduction = tiled.layer.kernel[0] * tiled.layer.kernel[1] * depths
        self.shapes = pixels[:, None, None], channels[None, :, None], reduction[None, None, :]
        self.cycles: Counts = cycles_of_shapes(*self.shapes, tiled.array, tiled.dataflow)
        self._pixels, self._pixels_of = np.unique(pixels, return_inverse=True)
        self._channels, self._reduction = channels, reduction
        self._taps: Counts | None = None
        banks = memory.ifmap.banks
        if banks is not None and sees_padding(tiled, memory):
            tiles = [ifmap_tile(tiled, kind, 1, banks) for kind in kinds]
            once = least_tap_stalls(tiles, depths.tolist(), tiled.array.rows)[:, None, :]
            self._taps = -(-channels[None, :, None] // tiled.array.cols) * once
        self.port_bound = self._ports.bind(tiled.array)
        self._tables: dict[Part, Counts] = {}

    def stalls(self, part: Part) -> Counts:
        """Return the cycles that tiles wait for their ports, by banks of filters and psums too."""
        if part not in self._tables:
            sizes = self._pixels, self._channels, self._reduction
            found = stalls_of_shapes(sizes, part, self._tiled.array, self._tiled.dataflow, self._ports)
            self._tables[part] = found[self._pixels_of.ravel()]
        return self._tables[part]

    def least(self, part: Part) -> Counts:
        """Return cycles of the array that no tile beats."""
        if not self.port_bound:
            return self.cycles if self._taps is None else self.cycles + self._taps
        waits = self.stalls(part)
        return self.cycles + (waits if self._taps is None else np.maximum(waits, self._taps))
