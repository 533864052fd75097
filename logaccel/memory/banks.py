"""Bank conflicts of the ifmap scratchpad, im2col read on the fly: strided and dilated words that meet in one bank.

Word (n, c, h, w) lies at address ((n·C + c)·H + h)·W + w, bank = address mod banks; C, H, W: channels, rows and
columns that the scratchpad holds, of the tile or, handed over on chip, of the whole map. A bank delivers one word a
cycle, so a vector takes as long as its fullest bank; padding is not read. A vector holds many pixels of one tap (OS,
IS) or many taps of one pixel (WS). Between two such vectors the addresses differ by a constant, which turns the banks
round and leaves the fullest as full: only relative addresses and padding count. So few kinds of vectors are worked
out, and a tile is a sum over them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from logaccel.memory.port_tables import port_stalls
from logaccel.memory.ports import Ports, TileFolds, load_starts, profile, shortened
from logaccel.schedule.folds import plan_folds

Counts = NDArray[np.int64]
Pair = tuple[int, int]


@dataclass(frozen=True)
class IfmapTile:
    """The part of an ifmap that a tile stores, and how the array walks it. Pairs: rows, columns."""

    images: int
    channels: int
    ofmap: Pair  # of the tile
    stored: Pair
    before: Pair  # padding above and left of what is stored
    row_words: int  # from one row to the next
    channel_words: int
    image_words: int
    kernel: Pair
    stride: Pair
    dilation: Pair
    banks: int

    @property
    def taps(self) -> int:
        """Taps of one channel."""
        return self.kernel[0] * self.kernel[1]

    def inside(self, axis: int) -> NDArray[np.bool_]:
        """Return [ofmap row or column, tap row or column]: is the word stored, or padding?"""
        outputs, taps = np.arange(self.ofmap[axis]), np.arange(self.kernel[axis])
        place = outputs[:, None] * self.stride[axis] + taps * self.dilation[axis] - self.before[axis]
        return (place >= 0) & (place < self.stored[axis])

    def pixel_addresses(self) -> tuple[Counts, Counts, Counts]:
        """Return row, column and address of the first tap of every pixel, up to a constant."""
        image, row, col = (x.ravel() for x in np.indices((self.images, *self.ofmap)))
        return row, col, image * self.image_words + row * self.stride[0] * self.row_words + col * self.stride[1]

    def tap_addresses(self) -> tuple[Counts, Counts, Counts]:
        """Return tap row, tap column and address of every k = (c, r, s), up to a constant."""
        channel, row, col = (x.ravel() for x in np.indices((self.channels, *self.kernel)))
        offset = row * self.dilation[0] * self.row_words + col * self.dilation[1]
        return row, col, channel * self.channel_words + offset


@lru_cache(maxsize=16384)
def bank_stalls(tile: TileFolds, ports: Ports, ifmap: IfmapTile | None) -> int:
    """Return the cycles that a tile waits for banks, beyond those that it waits for ports anyway.

    Filter and psum words lie in the order of use, one bank after the other; ifmap None: ideal banks.
    """
    stalls = port_stalls(tile, ports) - port_stalls(tile, ports.without_banks())
    if ifmap is None:
        return stalls
    vectors = _vectors(tile, ifmap)
    if vectors.worst == 1:
        return stalls
    return stalls + (_beyond_ports(tile, ports, vectors) if ports.bind(tile.array) else vectors.excess())


def least_tap_stalls(tiles: Sequence[IfmapTile], depths: Sequence[int], lanes: int) -> Counts:
    """Return [tile, depth]: stalls of one pass of a weight-stationary array over tiles of so many ifmap channels.

    No tile avoids them: those of the pixels whose taps are all inside. They see one plane of the ifmap modulo the
    banks, so few tiles differ.
    """
    found = np.zeros((len(tiles), len(depths)), dtype=np.int64)
    known: dict[tuple[int, int, int], int] = {}
    for t, tile in enumerate(tiles):
        pixels = tile.images * int(tile.inside(0).all(axis=1).sum()) * int(tile.inside(1).all(axis=1).sum())
        for d, channels in enumerate(depths):
            key = (tile.row_words % tile.banks, tile.channel_words % tile.banks, channels)
            if pixels and key not in known:
                address = replace(tile, channels=channels).tap_addresses()[2]
                used = np.arange(-(-len(address) // lanes) * lanes).reshape(-1, lanes) < len(address)
                bank = np.pad(address, (0, used.size - len(address))).reshape(-1, lanes) % tile.banks
                known[key] = int((_fullest(bank, used, tile.banks) - 1).sum())
            found[t, d] = pixels * known[key] if pixels else 0
    return found


@dataclass(frozen=True, eq=False)
class _Vectors:
    """What the ifmap port fetches: of fold i `length[i]` vectors, cycles[kind[i], offset[i] …]."""

    length: Counts
    kind: Counts
    offset: Counts
    cycles: Counts  # of each kind of sequence of vectors
    known: dict[int, Counts] = field(default_factory=dict)  # running sums beyond a floor

    @property
    def worst(self) -> int:
        """Cycles of the slowest vector."""
        return int(self.cycles.max(initial=1))

    def excess(self) -> int:
        """Return the cycles beyond one a vector, over all vectors."""
        return int(self.beyond(1, self.kind, self.offset, self.offset + self.length).sum())

    def beyond(self, floor: int, kind: Counts, first: Counts, end: Counts) -> Counts:
        """Sum what vectors first … end − 1 of a sequence take beyond `floor` cycles each."""
        if floor not in self.known:
            self.known[floor] = np.zeros((self.cycles.shape[0], self.cycles.shape[1] + 1), dtype=np.int64)
            np.cumsum(np.maximum(self.cycles - floor, 0), axis=1, out=self.known[floor][:, 1:])
        return self.known[floor][kind, end] - self.known[floor][kind, first]


def _beyond_ports(tile: TileFolds, ports: Ports, vectors: _Vectors) -> int:
    """Return the cycles by which banks are slower than the slowest port, over all vectors.

    Many folds see the same ports in the same cycles: each such kind of fold is gone through once.
    """
    short, stand_in = shortened(tile, plan_folds(tile.matrix, tile.array, tile.dataflow))
    plan = plan_folds(short.matrix, short.array, short.dataflow)
    seen = profile(short, ports)
    change = np.concatenate(([True], np.diff(seen.cycles) != 0))
    cuts, cycles = seen.cuts[change], seen.cycles[change]
    starts = load_starts(plan) if tile.dataflow == "is" else plan.stream_starts
    found = 0
    for fold in np.unique(stand_in):
        members = np.flatnonzero(stand_in == fold)
        kind, offset = vectors.kind[members], vectors.offset[members]
        start, length = int(starts[fold]), int(vectors.length[members[0]])
        first = np.searchsorted(cuts, start, "right") - 1
        last = np.searchsorted(cuts, start + length, "left")
        edges = np.clip(np.append(cuts[first:last], start + length) - start, 0, length)
        for floor, begin, end in zip(cycles[first:last], edges[:-1], edges[1:], strict=True):
            if floor < vectors.worst:
                found += int(vectors.beyond(int(floor), kind, offset + begin, offset + end).sum())
    return found


def _vectors(tile: TileFolds, ifmap: IfmapTile) -> _Vectors:
    """Return every vector of a tile in the order of its folds."""
    plan = plan_folds(tile.matrix, tile.array, tile.dataflow)
    full = np.full_like(plan.stream_starts, plan.stream_length)
    if tile.dataflow == "ws":
        kinds, cycles = _by_pixel(ifmap, tile.array.rows)
        return _Vectors(full, kinds[plan.slice_of_inner], np.zeros_like(full), cycles)
    lanes = tile.array.rows if tile.dataflow == "os" else tile.array.cols
    kinds, taps = _by_tap(ifmap, lanes)
    cycles = np.tile(taps, ifmap.channels)  # k = (c, r, s)
    if tile.dataflow == "os":
        return _Vectors(full, kinds[plan.slice_of_inner], np.zeros_like(full), cycles)
    # The word of the last row enters first: k counts down.
    offset = plan.matrix.reduction - plan.slice_of_inner * tile.array.rows - plan.rows
    return _Vectors(plan.rows, kinds[plan.slice_of_outer], offset, cycles[:, ::-1])


def _by_tap(ifmap: IfmapTile, lanes: int) -> tuple[Counts, Counts]:
    """Return the kind of each vector of `lanes` pixels, and cycles[kind, tap]."""
    row, col, address = ifmap.pixel_addresses()
    rows, row_class = np.unique(ifmap.inside(0), axis=0, return_inverse=True)
    cols, col_class = np.unique(ifmap.inside(1), axis=0, return_inverse=True)
    kinds, number, (bank, in_row, in_col) = _kinds(ifmap, lanes, address, row_class[row], col_class[col])
    cycles = [
        _fullest(bank, rows[in_row, r] & cols[in_col, s] & (number >= 0), ifmap.banks)
        for r in range(ifmap.kernel[0])
        for s in range(ifmap.kernel[1])
    ]
    return kinds, np.stack(cycles, axis=1)


def _by_pixel(ifmap: IfmapTile, lanes: int) -> tuple[Counts, Counts]:
    """Return the kind of each vector of `lanes` taps, and cycles[kind, pixel]."""
    row, col, address = ifmap.tap_addresses()
    rows, row_class = np.unique(ifmap.inside(0), axis=0, return_inverse=True)
    cols, col_class = np.unique(ifmap.inside(1), axis=0, return_inverse=True)
    kinds, number, (bank, tap_row, tap_col) = _kinds(ifmap, lanes, address, row, col)
    table = np.stack(
        [[_fullest(bank, r[tap_row] & c[tap_col] & (number >= 0), ifmap.banks) for c in cols] for r in rows]
    )  # [class of ofmap row, of ofmap column, kind]
    one_image = table[row_class[:, None], col_class[None, :]].reshape(-1, table.shape[2])
    return kinds, np.tile(one_image.T, ifmap.images)


def _kinds(
    ifmap: IfmapTile, lanes: int, address: Counts, first: Counts, second: Counts
) -> tuple[Counts, Counts, list[Counts]]:
    """Cut lanes into vectors and find equal ones: kind of each vector, and of each kind its lanes (−1: none).

    The lanes of a kind come as bank, first label and second label: [kind, lane].
    """
    count = -(-len(address) // lanes)
    padded = [np.pad(x, (0, count * lanes - len(x))).reshape(count, lanes) for x in (address, first, second)]
    used = np.pad(np.zeros(len(address), dtype=np.int64), (0, count * lanes - len(address)), constant_values=-1)
    bank = (padded[0] - padded[0][:, :1]) % ifmap.banks
    used = used.reshape(count, lanes)
    label = (padded[1] * (int(second.max()) + 1) + padded[2]) * ifmap.banks + bank
    _, where, kinds = np.unique(np.where(used < 0, -1, label), axis=0, return_index=True, return_inverse=True)
    return kinds.ravel(), used[where], [bank[where], padded[1][where], padded[2][where]]


def _fullest(bank: Counts, read: NDArray[np.bool_], banks: int) -> Counts:
    """Return, for each vector, the most words that one bank delivers; a vector of padding alone takes its cycle too."""
    vector = np.arange(len(bank))[:, None] * banks
    words = np.bincount((bank + vector)[read], minlength=len(bank) * banks).reshape(len(bank), banks)
    return np.maximum(words.max(axis=1), 1)
