"""Powers of two by ofmap channel, absorbed in the weights: no multiplier, one shift in the lane.

Channel m of a layer is stored as W[m] · 2^s[m], in the one format of the layer's filters. Its psum is 2^s[m] times
as large, that is, it counts LSBs 2^s[m] finer. Bias, residual add and encoder are exact shifts relative to the LSB
already; now the LSB is that of the channel (`post.channel_shift_bits` of the architecture).

    weights        every channel has the range of the least squared error of its own weights in the layer's word
    next_weights   no lane: the filters of the next layers take the powers back (`balance.py`, `next_scales.py`)
    batch_norm     the power of two that is nearest to the factor of the batch norm folded into the layer stays out of
                   the weights: what is coded are the trained weights times a factor of 1/√2 … √2
"""

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np

from logaccel.evaluation.formats import LARGEST_SCALE, GraphFormats
from logaccel.formats import LinearWord, LogWord
from logaccel.formats.channels import best_scales, scaled, scales_below
from logaccel.model.model import Model, Parameters

ChannelScales = Literal["none", "weights", "batch_norm", "next_weights"]
CHANNEL_SCALES: tuple[ChannelScales, ...] = get_args(ChannelScales)


def choose_scales(
    model: Model, kind: ChannelScales, words: Mapping[str, LinearWord | LogWord], largest: int = LARGEST_SCALE
) -> dict[str, tuple[int, ...]]:
    """Return s[m] of every layer in which channels differ, at least 0, at most `largest`, the least of them 0.

    words: of every layer's weights. A channel without a weight has 0.
    """
    scales = {}
    for name, own in model.parameters.items():
        rows = own.filter.reshape(len(own.filter), -1)
        used = np.abs(rows).max(axis=1) > 0
        if kind in ("none", "next_weights") or not used.any():
            continue
        if kind == "weights":
            chosen = best_scales(own.filter, words[name], largest)
        else:
            factors = np.abs(model.norm_factors.get(name, np.ones(len(rows))))
            exponents = np.rint(np.log2(np.where(factors > 0, factors, 1))).astype(np.int64)
            chosen = scales_below(exponents, used, largest)
        if any(chosen):
            scales[name] = chosen
    return scales


def stored_parameters(model: Model, name: str, formats: GraphFormats) -> Parameters:
    """Return what the machine holds of a layer before coding: weights and (corrected) bias, times 2^s[m], float32.

    model: as `rescaled` by the formats' next_scales; corrected biases are in the units of the trained model.
    """
    own = model.parameters[name]
    bias = own.bias
    if name in formats.biases:
        bias = scaled(np.asarray(formats.biases[name], np.float32), formats.next_scales.get(name))
    return Parameters(scaled(own.filter, formats.scales.get(name)), scaled(bias, formats.scales.get(name)))
