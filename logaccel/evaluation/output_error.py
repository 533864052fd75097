"""How much a layer's ofmap errs where one operand is coded: the measure of `least_output_error` and of the bit budget.

For a tensor T and a format f, over the layers l that read T as ifmap or residual, or whose filters T are:

    error(T, f) = Σ_l  Σ (y_l − ŷ_l)² / Σ y_l²

y_l is the ofmap of the float network (residual and ReLU included) on the images, ŷ_l the same with T coded and
decoded and everything else exact. One float product a layer and candidate, on at most MOST_IMAGES images.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from logaccel.formats import Format
from logaccel.formats.channels import scaled
from logaccel.formats.encode import decode, encode
from logaccel.model.model import Model, Parameters
from logaccel.model.reference import float_layer, run_float
from logaccel.quantization import format_sets
from logaccel.trace import Tensor
from logaccel.workload.layer import Layer

MOST_IMAGES = 16
Candidates = Mapping[str, list[Format]]
Errors = dict[str, list[float]]


def output_errors(
    model: Model, images: Tensor, tensors: Candidates, filters: Candidates, scales: Mapping[str, tuple[int, ...]]
) -> tuple[Errors, Errors]:
    """Return error(T, f) of every candidate, by the first tensor of its set and by layer."""
    sets = format_sets(model.graph)
    nodes = {node.layer.name: node for node in model.graph.layer_nodes}
    of_tensors = {name: [0.0] * len(formats) for name, formats in tensors.items()}
    of_filters = {name: [0.0] * len(formats) for name, formats in filters.items()}

    def measure(layer: Layer, own: Parameters, ifmap: Tensor, residual: Tensor | None = None) -> Tensor:
        name, sources = layer.name, [sets[source] for source in nodes[layer.name].inputs]
        linear = layer.model_copy(update={"relu": False})
        exact = float_layer(linear, own, ifmap)
        ofmap = _finished(layer, exact, residual)
        energy = float(np.square(ofmap, dtype=np.float64).sum()) or 1.0
        for index, chosen in enumerate(tensors.get(sources[0], ())):
            sums = float_layer(linear, own, _coded(ifmap, chosen))
            added = _coded(residual, chosen) if residual is not None and sources[1] == sources[0] else residual
            of_tensors[sources[0]][index] += _miss(ofmap, _finished(layer, sums, added)) / energy
        if residual is not None and sources[1] != sources[0]:
            for index, chosen in enumerate(tensors.get(sources[1], ())):
                coded = _finished(layer, exact, _coded(residual, chosen))
                of_tensors[sources[1]][index] += _miss(ofmap, coded) / energy
        for index, chosen in enumerate(filters.get(name, ())):
            weights = coded_filter(own.filter, chosen, scales.get(name))
            sums = float_layer(linear, Parameters(weights, own.bias), ifmap)
            of_filters[name][index] += _miss(ofmap, _finished(layer, sums, residual)) / energy
        return ofmap

    for _ in run_float(model, images[:MOST_IMAGES], measure):
        pass
    return of_tensors, of_filters


def coded_filter(weights: Tensor, chosen: Format, scales: tuple[int, ...] | None) -> Tensor:
    """Return the values that the machine has for weights[m, …] stored with their channels' powers of two."""
    coded = _coded(scaled(weights, scales), chosen)
    return coded if scales is None else scaled(coded, tuple(-value for value in scales))


def _coded(values: Tensor, chosen: Format) -> Tensor:
    return decode(encode(values, chosen), chosen).astype(np.float32)


def _finished(layer: Layer, sums: Tensor, residual: Tensor | None) -> Tensor:
    total = sums if residual is None else sums + residual
    return np.maximum(total, 0) if layer.relu else total


def _miss(exact: NDArray[np.float32], coded: NDArray[np.float32]) -> float:
    return float(np.square(exact.astype(np.float64) - coded).sum())
