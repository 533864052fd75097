"""Which maps stay on chip from the step that makes them to the last that reads them: the cheapest of all choices.

    step          makes   reads    on chip while it runs, if all stay
    conv1         conv1            conv1
    pool1         pool1   conv1    conv1, pool1
    conv2         conv2   pool1    pool1, conv2
    conv3 (+ r)   conv3   conv2, pool1 …

What a step costs depends on nothing but the maps that are on chip while it runs. So one way through the steps before
it is enough for every set of maps that may be there when it has run: the cheapest.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from logaccel.errors import ConfigError
from logaccel.schedule.steps import Step, Steps

MOST_WAYS = 64  # sets of maps on chip after a step that the search goes on with

StepCost = Callable[[Step, frozenset[str]], float]  # with these maps on chip; ConfigError where it cannot run


@dataclass(frozen=True)
class KeptMap:
    """A map that never leaves the chip: made by the layer or node of its name, read by others."""

    name: str
    words: int
    word_bits: int
    readers: tuple[str, ...]
    ifmap_of: tuple[str, ...] = ()  # those readers that are layers and take it in as their ifmap

    @property
    def bits(self) -> int:
        """Of all its words."""
        return self.words * self.word_bits

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, units in the keys."""
        lists = {"readers": list(self.readers), "ifmap_of": list(self.ifmap_of)}
        return asdict(self) | lists | {"bits": self.bits}


class _Way(NamedTuple):
    cost: float
    stays: frozenset[str]  # all maps so far


def cheapest_stays(steps: Steps, map_bits: dict[str, int], capacity_bits: int, cost: StepCost) -> frozenset[str]:
    """Return the maps that stay. map_bits: of those that may; on equal cost more of them stay.

    The sum over all steps is least, unless more than MOST_WAYS sets of maps wait at once: then it is not searched
    whole. Raises the ConfigError of a step that cannot run in any way.
    """
    last = steps.last_readers
    ways = {frozenset[str](): _Way(0.0, frozenset())}
    for index, step in enumerate(steps.order):
        found: dict[frozenset[str], _Way] = {}
        faults: list[ConfigError] = []
        for made in (frozenset[str](), frozenset({step.name})) if step.name in map_bits else (frozenset[str](),):
            for waiting, way in ways.items():
                there = waiting | made
                if sum(map_bits[name] for name in there) > capacity_bits:
                    continue
                try:
                    total = way.cost + cost(step, there)
                except ConfigError as error:
                    faults.append(error)
                    continue
                after = frozenset(name for name in there if last[name] > index)
                if after not in found or total <= found[after].cost:
                    found[after] = _Way(total, way.stays | made)
        if not found:
            raise faults[0]
        ways = _fewer(found)
    return ways[frozenset()].stays


def _fewer(ways: dict[frozenset[str], _Way]) -> dict[frozenset[str], _Way]:
    """Return the cheapest sets of maps, and the empty one: with it there is always a way to go on."""
    if len(ways) <= MOST_WAYS:
        return ways
    chosen = {*sorted(ways, key=lambda there: ways[there].cost)[:MOST_WAYS], frozenset[str]()}
    return {there: way for there, way in ways.items() if there in chosen}
