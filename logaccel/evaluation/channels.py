"""Powers of two by ofmap channel, absorbed in the weights: no multiplier, one shift in the lane.

Channel m of a layer is stored as W[m] · 2^s[m], in the one format of the layer's filters. Its psum is 2^s[m] times
as large, that is, it counts LSBs 2^s[m] finer. Bias, residual add and encoder are exact shifts relative to the LSB
already; now the LSB is that of the channel.

    weights        every channel has the range of the least squared error of its own weights in the layer's word
    next_weights   no lane: the filters of the next layers take the powers back (`balance.py`, `next_scales.py`)
    batch_norm     the power of two that is nearest to the factor of the batch norm folded into the layer stays out of
                   the weights: what is coded are the trained weights times a factor of 1/√2 … √2
"""

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from logaccel.evaluation.formats import LARGEST_SCALE, GraphFormats
from logaccel.formats import LinearWord, LogWord
from logaccel.formats.encode import decode, encode
from logaccel.formats.number import FSR_MAX, FSR_MIN
from logaccel.model.model import Model, Parameters

ChannelScales = Literal["none", "weights", "batch_norm", "next_weights"]
MOST_VALUES = 2**22  # weights that ranges are tried on at a time
CHANNEL_SCALES: tuple[ChannelScales, ...] = get_args(ChannelScales)


def choose_scales(
    model: Model, kind: ChannelScales, words: Mapping[str, LinearWord | LogWord]
) -> dict[str, tuple[int, ...]]:
    """Return s[m] of every layer in which channels differ, at least 0, at most LARGEST_SCALE, the least of them 0.

    words: of every layer's weights. A channel without a weight has 0.
    """
    scales = {}
    for name, own in model.parameters.items():
        rows = own.filter.reshape(len(own.filter), -1)
        used = np.abs(rows).max(axis=1) > 0
        if kind in ("none", "next_weights") or not used.any():
            continue
        if kind == "weights":
            exponents = _best_ranges(rows, words[name])
        else:
            factors = np.abs(model.norm_factors.get(name, np.ones(len(rows))))
            exponents = np.rint(np.log2(np.where(factors > 0, factors, 1))).astype(np.int64)
        top = exponents[used].max()
        chosen = np.where(used, np.minimum(top - exponents, LARGEST_SCALE), 0)
        if chosen.any():
            scales[name] = tuple(int(value) for value in chosen)
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


def scaled(values: NDArray[np.float32], scales: tuple[int, ...] | None) -> NDArray[np.float32]:
    """Return values[m, …] · 2^s[m]; exact."""
    if scales is None:
        return values
    turned = np.array(scales, np.int32).reshape(-1, *[1] * (values.ndim - 1))
    return np.ldexp(values, turned).astype(np.float32)


def _best_ranges(rows: NDArray[np.float32], word: LinearWord | LogWord) -> NDArray[np.int64]:
    """Return for weights[m, k] the range of each channel with the least squared error; the larger wins a tie.

    Candidates reach down from where the largest weight of all does not saturate as far as a scale can.
    """
    largest = int(np.frexp(np.abs(rows).max())[1]) + 1
    candidates = np.arange(min(largest, FSR_MAX), max(largest - LARGEST_SCALE - 2, FSR_MIN) - 1, -1)
    best = np.empty(len(rows), np.int64)
    at_a_time = max(1, MOST_VALUES // rows.shape[1])
    for first in range(0, len(rows), at_a_time):
        part = np.ascontiguousarray(rows[first : first + at_a_time])
        errors = []
        for fsr in candidates.tolist():
            chosen = word.at(fsr, True)
            errors.append(np.square(part - decode(encode(part, chosen), chosen)).sum(axis=1))
        best[first : first + at_a_time] = candidates[np.argmin(errors, axis=0)]
    return best
