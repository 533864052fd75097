"""The steps of a network in the order in which they run, and the maps that pass between them.

A step is a layer (with the residual that it adds) or work of the lanes between layers. A map has the name of the node
that makes it; reshape, transpose, pad and slice are other addresses of the same map, which the lanes can go through. A
layer's ifmap they cannot be on chip: the array takes it as it lies. Float operators are no steps: what they read, and
what they make, is in DRAM.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from logaccel.schedule.post_work import post_work
from logaccel.workload import Layer
from logaccel.workload.graph import INPUT, Graph, LayerNode, Pad, Reshape, Slice, Transpose


@dataclass(frozen=True)
class Step:
    """A layer or post-processing work. It makes the map of its name, of so many words an image."""

    name: str
    words: int
    reads: tuple[str, ...]  # maps
    layer: int | None = None  # which one of the network; None: work between layers

    @property
    def ifmap(self) -> str | None:
        """The map that a layer takes, if a step made it."""
        return self.reads[0] if self.layer is not None and self.reads else None


@dataclass(frozen=True)
class Steps:
    """All steps, and the maps that may stay on chip: steps make them, steps alone read them, one at least."""

    order: tuple[Step, ...]
    may_stay: frozenset[str]

    def readers(self, name: str) -> tuple[str, ...]:
        """Return the steps that read a map."""
        return tuple(step.name for step in self.order if name in step.reads)

    def ifmap_of(self, name: str) -> tuple[str, ...]:
        """Return the layers that take a map as their ifmap."""
        return tuple(step.name for step in self.order if step.ifmap == name)

    @property
    def last_readers(self) -> dict[str, int]:
        """The last step that reads each map."""
        return {name: index for index, step in enumerate(self.order) for name in step.reads}

    def with_maps(self) -> Iterator[tuple[Step, frozenset[str]]]:
        """Yield every step with the maps that are on chip while it runs, if all stay that may."""
        there, last = frozenset[str](), self.last_readers
        for index, step in enumerate(self.order):
            there |= {step.name} & self.may_stay
            yield step, there
            there = frozenset(name for name in there if last[name] > index)


def chain_steps(layers: Sequence[Layer], unfed: Collection[str]) -> Steps:
    """Return layers as steps: each takes the ofmap before it, if the shapes allow, unless it is one of `unfed`."""
    fed = {
        after.name: before.name
        for before, after in pairwise(layers)
        if before.feeds(after) and after.name not in unfed
    }  # fmt: skip
    order = tuple(
        Step(layer.name, prod(layer.ofmap_shape(1)), (fed[layer.name],) if layer.name in fed else (), index)
        for index, layer in enumerate(layers)
    )
    return Steps(order, frozenset(fed.values()))


def graph_steps(graph: Graph) -> Steps:
    """Return the layers of a graph and the work between them."""
    maps, order, elsewhere, layers = map_names(graph), list[Step](), {INPUT}, 0
    moved = _moved(graph)
    for node in graph.nodes:
        reads, words = tuple(dict.fromkeys(maps[name] for name in node.inputs)), prod(graph.shapes[node.name])
        if isinstance(node, LayerNode):
            order.append(Step(node.name, words, reads, layers))
            layers += 1
            elsewhere |= {reads[0]} if node.inputs[0] in moved else set()
        elif post_work(graph, node) is not None:
            order.append(Step(node.name, words, reads))
        elif not isinstance(node, Reshape | Transpose | Pad | Slice):
            elsewhere |= {node.name, *reads}
    made, read = {step.name for step in order}, {name for step in order for name in step.reads}
    return Steps(tuple(order), frozenset((made & read) - elsewhere - {maps[graph.output]}))


def map_names(graph: Graph) -> dict[str, str]:
    """Return for every tensor the map that holds it."""
    maps = {INPUT: INPUT}
    for node in graph.nodes:
        addresses = isinstance(node, Reshape | Transpose | Pad | Slice)
        maps[node.name] = maps[node.inputs[0]] if addresses else node.name
    return maps


def _moved(graph: Graph) -> set[str]:
    """Return the tensors whose words lie in another order, or are others, than in the map that holds them."""
    found = set[str]()
    for node in graph.nodes:
        turned = isinstance(node, Transpose | Pad | Slice)
        if turned or (isinstance(node, Reshape) and node.inputs[0] in found):
            found.add(node.name)
    return found
