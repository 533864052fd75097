"""A trained network: a graph and the parameters of its layers."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from logaccel.errors import WorkloadError
from logaccel.trace import Tensor
from logaccel.workload.graph import Graph


@dataclass(frozen=True, eq=False)
class Parameters:
    """filter[M, C/groups, R, S] (fully connected: [M, C]) and bias[M] of one layer, float32."""

    filter: Tensor
    bias: Tensor


@dataclass(frozen=True, eq=False)
class Model:
    """A graph whose every layer has parameters. Raises WorkloadError where their shapes do not fit.

    norm_factors[m] by layer: what a batch norm folded into its filters multiplied each ofmap channel by.
    """

    graph: Graph
    parameters: dict[str, Parameters]
    norm_factors: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check shapes."""
        faults = []
        for layer in self.graph.layers:
            own = self.parameters[layer.name]
            for what, got, wanted in (
                ("filter", own.filter.shape, layer.filter_shape),
                ("bias", own.bias.shape, (layer.out_channels,)),
            ):
                if got != wanted:
                    faults.append(f"{self.graph.name}: {layer.name}.{what}: must be {list(wanted)}, got {list(got)}")
        if faults:
            raise WorkloadError("\n".join(faults))

    @property
    def name(self) -> str:
        """The name of the graph."""
        return self.graph.name
