"""A network as a list of operators, whatever tool it comes from: what the importers write and the graph is built from.

Operators carry the names and the meaning of the ONNX standard; records alone, the onnx package is not needed.
"""

from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from logaccel.workload.graph import INPUT, Shape


@dataclass(frozen=True)
class Operator:
    """One operator: attributes as plain Python values or arrays, '' for an input left out.

    `op` decides what it does, `shown` is what its own tool calls it.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    shown: str = ""

    def place(self, subject: str) -> str:
        """Return how messages name it."""
        return f"{subject}: node {self.name} ({self.shown or self.op})"


@dataclass(frozen=True, eq=False)
class OperatorGraph:
    """Operators in an order in which they can run. input_shape is that of one image; batch 0: open."""

    subject: str
    name: str
    input_name: str
    input_shape: Shape
    output_name: str
    nodes: tuple[Operator, ...]
    constants: dict[str, NDArray[Any]]
    batch: int = 0


def with_unique_names(nodes: list[Operator]) -> tuple[Operator, ...]:
    """Return the operators with a number behind every name that is taken: tools let several have one name."""
    taken, named, numbers = {INPUT}, [], dict[str, int]()
    for node in nodes:
        name = node.name
        while name in taken:
            numbers[node.name] = numbers.get(node.name, 1) + 1
            name = f"{node.name}.{numbers[node.name]}"
        taken.add(name)
        named.append(replace(node, name=name))
    return tuple(named)
