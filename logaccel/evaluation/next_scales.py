"""Powers of two by channel that the filters of the next layers take back: nothing on the machine knows of them.

    filter'[m, c, …] = filter[m, c, …] · 2^(s_made[m] − s_read[c])      bias'[m] = bias[m] · 2^s_made[m]

s_made are those of the layer's ofmap channels, s_read those of the layers that make its ifmap's channels.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.errors import ConfigError
from logaccel.evaluation.channel_ties import FIXED, ChannelTies, channel_ties
from logaccel.model.model import Model, Parameters
from logaccel.workload.layer import Layer

Exponents = NDArray[np.int64]
Scales = Mapping[str, tuple[int, ...]]


def rescaled(model: Model, scales: Scales) -> Model:
    """Return the same function with other weights: channels as large as `scales`, by layer, say.

    Exact in float32 but where a number leaves its range. Raises ConfigError for scales that change the function
    or a weight that float32 cannot hold.
    """
    if not scales:
        return model
    ties = channel_ties(model.graph)
    of_ties = exponents_of_ties(ties, scales)
    parameters = {}
    for layer in model.graph.layers:
        own, made, read = model.parameters[layer.name], of_ties[ties.made[layer.name]], of_ties[ties.read[layer.name]]
        turned = made[:, None] - by_group(layer, read)
        with np.errstate(over="ignore"):
            scaled = Parameters(
                np.ldexp(own.filter, turned.reshape(*turned.shape, *[1] * (own.filter.ndim - 2))),
                np.ldexp(own.bias, made),
            )
        if not (np.isfinite(scaled.filter).all() and np.isfinite(scaled.bias).all()):
            raise ConfigError(f"formats: next_scales {layer.name}: weights leave float32")
        parameters[layer.name] = scaled
    return replace(model, parameters=parameters)


def by_group(layer: Layer, values: NDArray[Any]) -> NDArray[Any]:
    """Return values[c] of the ifmap's channels as [m, c], c among those of the group of m."""
    return values.reshape(layer.groups, -1).repeat(layer.out_channels // layer.groups, axis=0)


def exponents_of_ties(ties: ChannelTies, scales: Scales) -> Exponents:
    """Return s of every tie, 0 for NONE. Raises ConfigError, one line for every layer whose scales do not fit."""
    found: dict[int, tuple[int, str]] = {FIXED: (0, "")}
    faults = []
    for name, made in ties.made.items():
        for channel, (tie, own) in enumerate(zip(made.tolist(), scales.get(name, (0,) * len(made)), strict=True)):
            wanted, place = found.setdefault(tie, (own, f"{name} channel {channel}"))
            if own == wanted:
                continue
            rule = f"must be {wanted}, as in {place}, to which it is added or with which it shares a weight"
            if tie == FIXED:
                rule = "must be 0: it reaches the output, a limit, LRN or softmax, or is added to what has no scale"
            faults.append(f"formats: next_scales {name}: channel {channel}: {rule}, got {own}")
            break
    if faults:
        raise ConfigError("\n".join(faults))
    exponents = np.zeros(ties.count + 1, np.int64)
    for tie, (own, _) in found.items():
        exponents[tie] = own
    return exponents
