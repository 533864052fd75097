"""The float network beside the machine: layers by direct convolution, the same bits in every batch."""

from collections.abc import Iterator

from logaccel.engine.real import RealLayer
from logaccel.model.model import Model, Parameters
from logaccel.model.reference import run_float
from logaccel.trace import Tensor
from logaccel.workload.graph import Node
from logaccel.workload.layer import Layer


class FloatNetwork:
    """A model in float32, ready for batches. Layer by layer it equals what `capture_trace` records."""

    def __init__(self, model: Model) -> None:
        """Lay out the filters once."""
        self.model = model
        self.layers = {
            layer.name: RealLayer(layer, model.parameters[layer.name].filter, model.parameters[layer.name].bias)
            for layer in model.graph.layers
        }

    def run(self, images: Tensor) -> Iterator[tuple[Node, Tensor]]:
        """Yield every node with its tensor [N, …]; a tensor is let go once nothing reads it any more."""

        def direct(layer: Layer, own: Parameters, ifmap: Tensor, residual: Tensor | None = None) -> Tensor:
            return self.layers[layer.name].run(ifmap, residual)

        return run_float(self.model, images, direct)
