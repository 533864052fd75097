"""Where maps that stay on chip lie: bit by bit no two share a place, also where a map lies in pieces."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from logaccel.memory.map_places import lay_out
from logaccel.memory.stays import KeptMap


def bits_of(pieces: tuple[tuple[int, int], ...]) -> list[int]:
    return [bit for first, end in pieces for bit in range(first, end)]


@given(
    words=st.lists(st.integers(1, 12), min_size=2, max_size=10), data=st.data(),
    capacity=st.integers(12, 40), word_bits=st.integers(1, 3),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_maps_never_share_a_bit(words: list[int], data: st.DataObject, capacity: int, word_bits: int) -> None:
    steps = [f"s{index}" for index in range(len(words) + 1)]
    kept: list[KeptMap] = []
    for index, size in enumerate(words):
        last = data.draw(st.integers(index + 1, len(words)))
        own = KeptMap(steps[index], size, word_bits, (steps[last],))
        alive = [old for old in kept if steps.index(old.readers[0]) >= index]
        later = [[old for old in (*alive, own) if steps.index(old.readers[0]) >= step] for step in (index, last)]
        if all(sum(old.bits for old in those) <= capacity * word_bits for those in later):
            kept.append(own)
    for step, there, gaps in lay_out(steps, kept, capacity * word_bits):
        now = steps.index(step)
        wanted = {own.name for own in kept if steps.index(own.name) <= now <= steps.index(own.readers[0])}
        assert set(there) == wanted
        used = [bit for spot in there.values() for bit in bits_of(spot.pieces)] + bits_of(gaps.free)
        assert sorted(used) == list(range(capacity * word_bits))  # each bit is a map's, or free, and once
        assert all(before[1] < after[0] for before, after in pairwise(gaps.free))  # neighbours are one gap
        for own in kept:
            if own.name in there:
                spot = there[own.name]
                assert len(bits_of(spot.pieces)) == own.bits
                places = [bits_of(spot.pieces)[word * word_bits] // word_bits for word in range(own.words)]
                assert spot.address(np.arange(own.words)).tolist() == places


def test_a_map_fills_the_gaps_that_others_left() -> None:
    """Ten words: a at the end, b at the beginning, c between; a and b gone, e needs both their places."""
    maps = [("a", 3, "d"), ("b", 3, "d"), ("c", 4, "e"), ("e", 6, "f")]
    kept = [KeptMap(name, size, 4, (reader,)) for name, size, reader in maps]
    places = {step: there for step, there, _ in lay_out(["a", "b", "c", "d", "e", "f"], kept, 40)}
    assert [own.pieces for own in places["c"].values()] == [((28, 40),), ((0, 12),), ((12, 28),)]
    assert places["e"]["e"].pieces == ((0, 12), (28, 40))
    assert places["e"]["e"].address(np.arange(6)).tolist() == [0, 1, 2, 7, 8, 9]
    kept[-1] = KeptMap("e", 2, 4, ("f",))  # what fits at either end lies at the end
    places = {step: there for step, there, _ in lay_out(["a", "b", "c", "d", "e", "f"], kept, 40)}
    assert places["e"]["e"].pieces == ((32, 40),)
