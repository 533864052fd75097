"""Plain chains: networks in which every layer's ofmap is the next layer's ifmap."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from logaccel.errors import TraceError
from logaccel.trace.check import batch_of, checked_feeding, checked_tensor, checked_trace
from logaccel.trace.reference import reference_ofmap
from logaccel.trace.trace import LayerTensors, Trace
from logaccel.workload import Layer


def chain_trace(
    name: str,
    ifmap: ArrayLike,
    layers: Sequence[tuple[Layer, ArrayLike, ArrayLike]],
    *,
    labels: NDArray[np.integer] | None = None,
    source: str = "",
    licence: str = "",
) -> Trace:
    """Run images through (layer, filter, bias) after (layer, filter, bias) in float and return the trace of it.

    Raises TraceError, one line for every problem: layers that do not feed one another, tensors of a wrong
    shape, values that are not finite.
    """
    subject = f"trace {name}"
    if not layers:
        raise TraceError(f"{subject}: layers: must hold at least one layer")
    checked_feeding([layer for layer, _, _ in layers], subject)
    faults: list[str] = []
    first = layers[0][0]
    values = checked_tensor(ifmap, first.ifmap_shape(batch_of(ifmap)), f"{subject}: layer {first.name}: ifmap", faults)
    parameters = [
        (
            layer,
            checked_tensor(weights, layer.filter_shape, f"{subject}: layer {layer.name}: filter", faults),
            checked_tensor(bias, (layer.out_channels,), f"{subject}: layer {layer.name}: bias", faults),
        )
        for layer, weights, bias in layers
    ]
    if faults:
        raise TraceError("\n".join(faults))
    tensors = []
    for layer, weights, bias in parameters:
        values = values.reshape(layer.ifmap_shape(len(values)))
        ofmap = reference_ofmap(layer, values, weights, bias)
        tensors.append(LayerTensors(layer, values, weights, bias, ofmap))
        values = ofmap
    return checked_trace(name, tensors, labels, source, licence)
