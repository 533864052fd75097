"""A trace of a model: every layer's real tensors, as the float network has them."""

import numpy as np
from numpy.typing import NDArray

from logaccel.model.model import Model, Parameters
from logaccel.model.reference import run_float
from logaccel.trace import LayerTensors, Tensor, Trace
from logaccel.trace.reference import reference_ofmap
from logaccel.workload.layer import Layer


def capture_trace(model: Model, images: Tensor, labels: NDArray[np.integer] | None = None) -> Trace:
    """Return the trace of images[N, …]. A layer with a residual is recorded as its product and bias alone, no ReLU.

    Every layer is computed by the trace's own reference: where one layer feeds the next, the ifmap recorded there
    is, bit for bit, the ofmap before it, and the same file is made on every machine.
    """
    layers: list[LayerTensors] = []

    def record(layer: Layer, own: Parameters, ifmap: Tensor, residual: Tensor | None = None) -> Tensor:
        recorded = layer if residual is None else layer.model_copy(update={"relu": False})
        ofmap = reference_ofmap(recorded, ifmap, own.filter, own.bias)
        layers.append(LayerTensors(recorded, ifmap, own.filter, own.bias, ofmap))
        if residual is None:
            return ofmap
        return np.maximum(ofmap + residual, 0) if layer.relu else ofmap + residual

    for _ in run_float(model, images, record):
        pass
    return Trace.from_arrays(model.name, layers, labels, source=model.graph.source)
