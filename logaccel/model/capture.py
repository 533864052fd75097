"""A trace of a model: every layer's real tensors, as the float network has them."""

import numpy as np
from numpy.typing import NDArray

from logaccel.model.model import Model
from logaccel.model.reference import run_float
from logaccel.trace import LayerTensors, Tensor, Trace
from logaccel.trace.reference import reference_ofmap
from logaccel.workload.graph import INPUT, LayerNode


def capture_trace(model: Model, images: Tensor, labels: NDArray[np.integer] | None = None) -> Trace:
    """Return the trace of images[N, …]. A layer with a residual is recorded as its product and bias alone, no ReLU."""
    live: dict[str, Tensor] = {INPUT: images}
    layers = []
    for node, value in run_float(model, images):
        live[node.name] = value
        if isinstance(node, LayerNode):
            alone = len(node.inputs) == 1
            layer = node.layer if alone else node.layer.model_copy(update={"relu": False})
            own = model.parameters[layer.name]
            ifmap = live[node.inputs[0]]
            ofmap = reference_ofmap(layer, ifmap, own.filter, own.bias)
            layers.append(LayerTensors(layer, ifmap, own.filter, own.bias, ofmap))
    return Trace.from_arrays(model.name, layers, labels, source=model.graph.source)
