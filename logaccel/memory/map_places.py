"""Where maps that stay on chip lie in the ifmap scratchpad, and where the tiles of a layer lie beside them.

    │ tiles, or a map │   gaps between maps   │ a map │
    0                                          capacity

A map lies at the end of the scratchpad, or else at its beginning, or else in the first gap that holds it; in pieces,
from the lowest gap on, where none does. So whatever fits by its size has its place.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from logaccel.memory.stays import KeptMap

Counts = NDArray[np.int64]
Piece = tuple[int, int]  # first bit, end


@dataclass(frozen=True, eq=False)
class Spot:
    """Where words lie: one piece after another. A word that lies in two is where it begins."""

    pieces: tuple[Piece, ...]
    word_bits: int

    def address(self, word: Counts) -> Counts:
        """Return the addresses of some words, counted in words."""
        first = np.array([piece[0] for piece in self.pieces], dtype=np.int64)
        before = np.cumsum([0, *(end - start for start, end in self.pieces[:-1])])
        bit = word * self.word_bits
        own = np.searchsorted(before, bit, side="right") - 1
        return np.asarray((first[own] + bit - before[own]) // self.word_bits)


@dataclass(frozen=True)
class LaneMap:
    """A tensor that the lanes go through: [N, C, H, W], where its words are in its map, and where that is on chip."""

    size: tuple[int, int, int]
    in_map: Callable[[Counts], Counts] | None = None  # None: at the same place
    spot: Spot | None = None  # None: in DRAM
    first_channel: int = 0  # of a concat's part

    def words(self, image: Counts | int, channel: Counts, row: Counts, column: Counts) -> Counts:
        """Return the words of the map; channels count from the first of this part."""
        channels, height, width = self.size
        return self.map_words(((image * channels + self.first_channel + channel) * height + row) * width + column)

    def map_words(self, word: Counts) -> Counts:
        """Return the words of the map that some words of the tensor are."""
        return word if self.in_map is None else self.in_map(word)


@dataclass(frozen=True)
class Spots:
    """Where a layer's ifmap lies (the whole, or two tiles one after the other), and its ofmap if it stays.

    ifmap_in_map: where the words of an ifmap in DRAM are in its map; None: at the same place. residual: one on chip.
    """

    ifmap: Spot
    ofmap: Spot | None
    ifmap_in_map: Callable[[Counts], Counts] | None = None
    residual: LaneMap | None = None


@dataclass(frozen=True)
class Gaps:
    """What is free of a scratchpad, in order."""

    capacity_bits: int
    free: tuple[Piece, ...]

    def take(self, bits: int, from_end: bool) -> tuple[tuple[Piece, ...], "Gaps"]:
        """Return room for so many bits, at one end of the scratchpad if that is free, and the gaps that are left."""
        whole = [gap for gap in self.free if gap[1] - gap[0] >= bits]
        at_end, at_start = [gap for gap in whole if gap[1] == self.capacity_bits], [gap for gap in whole if not gap[0]]
        by_choice = [*at_end, *at_start, *whole] if from_end else [*at_start, *at_end, *whole]
        taken, left = list[Piece](), list[Piece]()
        for gap in self.free:
            size = min(bits, gap[1] - gap[0]) if not whole or gap == by_choice[0] else 0
            high = gap[1] == self.capacity_bits and (from_end or gap[0] > 0)
            at = gap[1] - size if high else gap[0]
            taken += [(at, at + size)] * (size > 0)
            left += [piece for piece in ((gap[0], at), (at + size, gap[1])) if piece[0] < piece[1]]
            bits -= size
        return tuple(taken), Gaps(self.capacity_bits, tuple(left))

    def give(self, pieces: tuple[Piece, ...]) -> "Gaps":
        """Return the gaps with these pieces; neighbours are one."""
        found: list[Piece] = []
        for first, end in sorted([*self.free, *pieces]):
            if found and found[-1][1] == first:
                found[-1] = found[-1][0], end
            else:
                found.append((first, end))
        return Gaps(self.capacity_bits, tuple(found))


def empty(capacity_bits: int) -> Gaps:
    """Return a scratchpad in which nothing lies."""
    return Gaps(capacity_bits, ((0, capacity_bits),))


def lay_out(
    steps: Sequence[str], kept: Sequence[KeptMap], capacity_bits: int
) -> Iterator[tuple[str, dict[str, Spot], Gaps]]:
    """Yield every step, where the maps lie that are on chip while it runs, and the gaps beside them."""
    known = {own.name: own for own in kept}
    there: dict[str, Spot] = {}
    gaps = empty(capacity_bits)
    for index, step in enumerate(steps):
        if step in known:
            pieces, gaps = gaps.take(known[step].bits, from_end=True)
            there[step] = Spot(pieces, known[step].word_bits)
        yield step, dict(there), gaps
        for name in [name for name in there if not set(known[name].readers) & set(steps[index + 1 :])]:
            gaps = gaps.give(there.pop(name).pieces)
