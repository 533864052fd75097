"""Traces drawn from a seed, for networks whose real tensors are not at hand."""

import math

import numpy as np

from logaccel.errors import TraceError
from logaccel.trace.check import checked_trace
from logaccel.trace.reference import reference_ofmap
from logaccel.trace.trace import LayerTensors, Trace
from logaccel.workload import Layer, Network, load_network

_BIAS_DEVIATION = 0.05  # small beside sums of unit order


def synthesize_trace(network: Network | str, seed: int = 0, batch: int | None = None, zero_share: float = 0.5) -> Trace:
    """Draw tensors of realistic statistics for every layer of a network (or of the shipped network of that name).

    Filters are normal with variance 2/K (He), biases normal with deviation 0.05. The first ifmap is signed,
    standard normal; every other one is what ReLU leaves: zero with probability zero_share, else half-normal
    |N(0, 1)|. Ofmaps are the float reference of these tensors; they are not the next layer's ifmap.
    The stream of layer i is seeded by (seed, i) alone, filters first: a layer's filter depends neither on other
    layers nor on the batch. The batch is the network's unless given. Raises TraceError.
    """
    if not isinstance(network, Network):
        network = load_network(network)
    batch = network.batch if batch is None else batch
    faults = []
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        faults.append(f"synthesize_trace: seed: must be a whole number, at least 0, got {seed!r}")
    if isinstance(batch, bool) or not isinstance(batch, int | np.integer) or batch < 1:
        faults.append(f"synthesize_trace: batch: must be a whole number, at least 1, got {batch!r}")
    if not 0 <= zero_share < 1:
        faults.append(f"synthesize_trace: zero_share: must be at least 0 and below 1, got {zero_share!r}")
    if faults:
        raise TraceError("\n".join(faults))
    layers = [
        _drawn(layer, index == 0, batch, zero_share, np.random.default_rng([seed, index]))
        for index, layer in enumerate(network.layers)
    ]
    source = f"synthesised: seed {seed}, zero share {zero_share:g}" + (f"; {network.source}" if network.source else "")
    return checked_trace(network.name, layers, None, source)


def _drawn(layer: Layer, first: bool, batch: int, zero_share: float, stream: np.random.Generator) -> LayerTensors:
    """Draw one layer's tensors, in place where they are large, and compute its ofmap."""
    weights = stream.standard_normal(layer.filter_shape, dtype=np.float32)
    weights *= np.float32(math.sqrt(2 / layer.matrix(1).reduction))
    bias = stream.standard_normal(layer.out_channels, dtype=np.float32)
    bias *= np.float32(_BIAS_DEVIATION)
    ifmap = stream.standard_normal(layer.ifmap_shape(batch), dtype=np.float32)
    if not first:
        np.abs(ifmap, out=ifmap)
        ifmap[stream.random(ifmap.shape, dtype=np.float32) < zero_share] = 0
    ofmap = reference_ofmap(layer, ifmap, weights, bias)
    for array in (weights, bias, ifmap, ofmap):
        array.flags.writeable = False  # so that the check keeps them instead of copying
    return LayerTensors(layer, ifmap, weights, bias, ofmap)
