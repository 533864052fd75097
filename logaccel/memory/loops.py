"""Loops of equal tiles: what runs how often, and when it ends, without walking every tile.

A layer's tiles are few kinds in nested loops. The channel and the array of logaccel.memory.timing forget all but
five numbers of what went before (see `State`), and only their distances matter: once a loop's body meets the
same distances again, every further pass costs the same, so whole periods are skipped. The result is exact;
tests hold it against the tiles one by one.
"""

from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Run(NamedTuple, Generic[T]):
    """A body that runs several times: one tile, or inner runs one after another."""

    body: "T | tuple[Run[T], ...]"
    times: int


Runs = tuple[Run[T], ...]


class TileCycles(NamedTuple):
    """Cycles of one tile: the channel's for its read, the array's, the channel's for its write-back."""

    read: int
    busy: int
    write: int


class State(NamedTuple):
    """Where channel and array stand, in cycles after the array finished its last tile (negative: before)."""

    channel: int  # the channel is free
    before: int  # the tile before the last one was computed
    write_before: int  # the channel's time for its write-back, which is still to come
    write_last: int  # and for that of the last tile


class Elapsed(NamedTuple):
    """Cycles of the array since the start: all of them, and those that it waited for reads or for write-backs."""

    total: int
    dram: int
    drain: int


def flatten(runs: Runs[T]) -> Iterator[T]:
    """Yield every tile in the order in which it runs."""
    for body, count in runs:
        for _ in range(count):
            if is_runs(body):
                yield from flatten(body)  # type: ignore[arg-type]
            else:
                yield body  # type: ignore[misc]


def total(runs: Runs[T], of: Callable[[T], int]) -> int:
    """Return the sum of something over all tiles."""
    sums = (times * (total(body, of) if is_runs(body) else of(body)) for body, times in runs)  # type: ignore[arg-type]
    return sum(sums)


def convert(runs: Runs[T], to: Callable[[T], U]) -> Runs[U]:
    """Return the same loops with every tile replaced."""
    return tuple(Run(convert(body, to) if is_runs(body) else to(body), count) for body, count in runs)  # type: ignore[arg-type]


def nest(runs: Runs[T], to: Callable[[T], Runs[U]]) -> Runs[U]:
    """Return the same loops with inner loops in place of every tile."""
    return tuple(Run(nest(body, to) if is_runs(body) else to(body), count) for body, count in runs)  # type: ignore[arg-type]


def split_first(runs: Runs[T]) -> tuple[T, Runs[T]]:
    """Return the first tile, and the loops without it."""
    (body, count), rest = runs[0], runs[1:]
    if count > 1:
        rest = (Run(body, count - 1), *rest)
    if not is_runs(body):
        return body, rest  # type: ignore[return-value]
    first, inner = split_first(body)  # type: ignore[arg-type]
    return first, inner + rest


def is_runs(body: object) -> bool:
    """Return whether a body is inner runs, not a tile."""
    return isinstance(body, tuple) and bool(body) and isinstance(body[0], Run)


def time_loops(runs: Runs[TileCycles]) -> Elapsed:
    """Return when the last word is written back; the same as tile by tile."""
    state, elapsed = _advance(State(0, 0, 0, 0), Elapsed(0, 0, 0), runs)
    channel = state.channel
    if state.write_before:
        channel = max(channel, state.before) + state.write_before
    if state.write_last:
        channel = max(channel, 0) + state.write_last
    last = max(channel, 0)
    return Elapsed(elapsed.total + last, elapsed.dram, elapsed.drain + last)


def _advance(state: State, elapsed: Elapsed, runs: Runs[TileCycles]) -> tuple[State, Elapsed]:
    for body, count in runs:
        done = 0
        seen: dict[State, tuple[int, Elapsed]] = {}
        while done < count:
            if count > 1:
                earlier = seen.get(state)
                if earlier is None:
                    seen[state] = done, elapsed
                else:
                    passes, then = earlier
                    periods = (count - done) // (done - passes)
                    elapsed = Elapsed(*(now + periods * (now - old) for now, old in zip(elapsed, then, strict=True)))
                    done += periods * (done - passes)
                    seen = {}
                    if done == count:
                        break
            if is_runs(body):
                state, elapsed = _advance(state, elapsed, body)  # type: ignore[arg-type]
            else:
                state, elapsed = _tile(state, elapsed, body)  # type: ignore[arg-type]
            done += 1
    return state, elapsed


def _tile(state: State, elapsed: Elapsed, tile: TileCycles) -> tuple[State, Elapsed]:
    """Run one tile: logaccel.memory.timing says what waits for what."""
    channel, before, write_before, write_last = state
    read, busy, write = tile
    arrived = before
    if read:
        arrived = channel = (channel if channel > before else before) + read
    drained = before
    if write_before:
        drained = channel = (channel if channel > before else before) + write_before
    ready = arrived if arrived > 0 else 0
    start = drained if drained > ready else ready
    done = start + busy
    # A channel that was free earlier than the tile before this one was done could not have used that time.
    channel = (channel if channel > 0 else 0) - done
    return (
        State(channel, -done, write_last, write),
        Elapsed(elapsed[0] + done, elapsed[1] + ready, elapsed[2] + start - ready),
    )
