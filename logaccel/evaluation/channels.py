"""Powers of two by ofmap channel, absorbed in the weights: no multiplier, one shift in the lane.

Channel m of a layer is stored as W[m] · 2^s[m], in the one format of the layer's filters. Its psum is 2^s[m] times
as large, that is, it counts LSBs 2^s[m] finer. Bias, residual add and encoder are exact shifts relative to the LSB
already; now the LSB is that of the channel.

    weights        every ofmap channel's largest weight is brought into the same octave
    batch_norm     the power of two that is nearest to the factor of the batch norm folded into the layer stays out of
                   the weights: what is coded are the trained weights times a factor of 1/√2 … √2
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from logaccel.evaluation.formats import LARGEST_SCALE, GraphFormats
from logaccel.model.model import Model, Parameters

ChannelScales = Literal["none", "weights", "batch_norm"]
CHANNEL_SCALES: tuple[ChannelScales, ...] = get_args(ChannelScales)


def choose_scales(model: Model, kind: ChannelScales) -> dict[str, tuple[int, ...]]:
    """Return s[m] of every layer in which channels differ, at least 0, at most LARGEST_SCALE, the least of them 0.

    A channel without a weight, or without a batch norm's factor, has 0.
    """
    scales = {}
    for name, own in model.parameters.items():
        sizes = np.abs(own.filter.reshape(len(own.filter), -1)).max(axis=1)
        exponents = _octaves(sizes)
        if kind == "batch_norm":
            factors = np.abs(model.norm_factors.get(name, np.ones(len(sizes))))
            exponents = np.zeros(len(sizes), np.int64)
            exponents[factors > 0] = np.rint(np.log2(factors[factors > 0])).astype(np.int64)
        seen = exponents[sizes > 0]
        if kind == "none" or not seen.size or seen.min() == seen.max():
            continue
        chosen = np.where(sizes > 0, np.minimum(seen.max() - exponents, LARGEST_SCALE), 0)
        scales[name] = tuple(int(value) for value in chosen)
    return scales


def stored_parameters(model: Model, name: str, formats: GraphFormats) -> Parameters:
    """Return what the machine holds of a layer before coding: weights and (corrected) bias, times 2^s[m], float32."""
    own = model.parameters[name]
    bias = np.asarray(formats.biases[name], np.float32) if name in formats.biases else own.bias
    return Parameters(scaled(own.filter, formats.scales.get(name)), scaled(bias, formats.scales.get(name)))


def scaled(values: NDArray[np.float32], scales: tuple[int, ...] | None) -> NDArray[np.float32]:
    """Return values[m, …] · 2^s[m]; exact."""
    if scales is None:
        return values
    turned = np.array(scales, np.int32).reshape(-1, *[1] * (values.ndim - 1))
    return np.ldexp(values, turned).astype(np.float32)


def _octaves(sizes: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the least e with size ≤ 2^e."""
    fractions, exponents = np.frexp(sizes)  # fraction in ½ … 1
    return exponents.astype(np.int64) - (fractions == 0.5)
