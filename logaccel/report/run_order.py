"""What a run does one after the other: layers and the work between them, and the cycle in which each starts."""

from collections.abc import Iterator

from logaccel.costed import PostResult
from logaccel.errors import ConfigError
from logaccel.memory.post_tiles import Sweep, sweeps
from logaccel.result import LayerResult, SimulationResult

Step = LayerResult | PostResult


def chosen_steps(result: SimulationResult, name: str | None = None) -> list[tuple[Step, int]]:
    """Return the layers and the work between them, in the order of the run, each with the cycle in which it starts.

    name: only the layer (with the residual that it adds) or the node of that name. Raises ConfigError for an unknown
    name, or where there is no memory: nothing to show.
    """
    if result.arch.memory is None:
        raise ConfigError(f"{result.arch.name}: memory: is missing: without scratchpads there are no tiles to show")
    if result.post_work and result.between is None:
        raise ConfigError(f"{result.network} on {result.arch.name}: a kept row has no graph: simulate it again")
    steps: list[Step] = []
    for index, layer in enumerate((*result.layers, None)):
        steps += [work for work in result.post_work if work.layers_before == index]
        steps += [layer] if layer is not None else []
    names = list(dict.fromkeys(step.name for step in steps))
    if name is not None and name not in names:
        raise ConfigError(f"--layer: no layer {name!r}; there are {', '.join(names)}")
    found, start = [], 0
    for step in steps:
        found.append((step, start))
        start += step.total_cycles
    return [(step, start) for step, start in found if name in (None, step.name)]


def sweep_starts(result: SimulationResult, work: PostResult) -> Iterator[tuple[Sweep, int]]:
    """Yield the sweeps of the lanes of a node's work, each with its start, in cycles from the start of the node."""
    between, start = result.between, 0
    assert between is not None
    node = between.works[work.name]
    for sweep in sweeps(node, between.widths(node, {own.name for own in result.maps_on_chip}), between.surroundings):
        yield sweep, start
        start += max(placed.end for placed in sweep.placed(between.surroundings))
