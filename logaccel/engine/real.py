"""A layer of real values by direct convolution: the bits of `trace.reference`, several times as fast."""

import numpy as np

from logaccel.engine.direct import MOST_WEIGHTS
from logaccel.engine.kernels_direct import RealLane, Weights, run_real
from logaccel.engine.kernels_rows import Shape
from logaccel.engine.layout import kernel_factors, lay_out, pack_blocks
from logaccel.trace import Tensor
from logaccel.trace.reference import reference_ofmap
from logaccel.workload import Layer

_FACTORS = kernel_factors(np.empty((1, 0)), 0)  # a value is its own


class RealLayer:
    """One layer with its filters, ready for batches."""

    def __init__(self, layer: Layer, filters: Tensor, bias: Tensor) -> None:
        """Lay out filter[M, C/groups, R, S] (fully connected: [M, C]) once; very large ones stay as they are."""
        self.layer, self.filters, self.bias = layer, filters, bias
        self.weights: Weights | None = None
        if filters.size <= MOST_WEIGHTS:
            planes = filters.reshape(layer.groups, layer.out_channels // layer.groups, -1)
            ends, packed = np.array([planes.shape[2]], np.int64), pack_blocks(planes, np.float64)
            self.weights = Weights(packed, ends, ends, layer.groups, planes.shape[1])

    def run(self, ifmap: Tensor, residual: Tensor | None = None) -> Tensor:
        """Return the ofmap: Σ_k + bias in float64, in the order of k, rounded once to float32; residual; ReLU."""
        layer, batch = self.layer, len(ifmap)
        if self.weights is None:
            plain = layer if residual is None else layer.model_copy(update={"relu": False})
            ofmap = reference_ofmap(plain, ifmap, self.filters, self.bias)
            total = ofmap if residual is None else ofmap + residual
            return np.maximum(total, 0) if layer.relu else total
        walk, at = lay_out(layer, 1, batch)
        values = np.ascontiguousarray(ifmap, np.float32).reshape(-1)
        shape = Shape(layer.in_channels, *layer.in_size, layer.groups)
        added = np.empty(0, np.float32) if residual is None else np.ascontiguousarray(residual, np.float32).reshape(-1)
        out = np.empty(layer.ofmap_shape(batch), np.float32)
        lane = RealLane(self.bias.astype(np.float64), layer.relu, added)
        run_real(values, shape, _FACTORS, walk, self.weights._replace(at=at), lane, out.reshape(-1))
        return out
