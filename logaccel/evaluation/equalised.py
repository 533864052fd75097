"""Powers of two that make the filters that write a channel and those that read it even: where a search starts.

Every tie gets s = ½ log₂ (reading range / making range), ranges the largest |w| of the channel over the largest of the
layer, repeated because each layer reads what the one before it makes, then rounded. Source: Nagel et al., Data-Free
Quantization Through Weight Equalization and Bias Correction, ICCV 2019, section 4.1, there with real factors. The
result hardly depends on how uneven the channels are to begin with.
"""

import numpy as np
from numpy.typing import NDArray

from logaccel.evaluation.channel_ties import FIXED, NONE, ChannelTies
from logaccel.evaluation.next_scales import by_group
from logaccel.model.model import Model

REPEATS = 24
SHARE = 0.5  # of the way in one repeat: neighbours move at the same time


def equalised(model: Model, ties: ChannelTies, reach: int) -> NDArray[np.int64]:
    """Return s of every tie, −reach … reach, 0 where nothing reads or nothing makes it."""
    exponents = np.zeros(ties.count + 1)
    octaves = {}
    for layer in model.graph.layers:
        weights = np.abs(model.parameters[layer.name].filter)
        largest = weights.reshape(*weights.shape[:2], -1).max(axis=2).astype(np.float64)
        octaves[layer.name] = np.log2(largest, out=np.full(largest.shape, -np.inf), where=largest > 0)
    for _ in range(REPEATS):
        making, reading = np.full(ties.count + 1, -np.inf), np.full(ties.count + 1, -np.inf)
        for layer in model.graph.layers:
            made, read = ties.made[layer.name], by_group(layer, ties.read[layer.name])
            own = octaves[layer.name] + exponents[made][:, None] - exponents[read]
            if np.isfinite(own.max()):
                own -= own.max()
            np.maximum.at(making, made, own.max(axis=1))
            np.maximum.at(reading, read, own)
        known = np.isfinite(making) & np.isfinite(reading)
        known[[FIXED, NONE]] = False
        exponents[known] += SHARE * (reading[known] - making[known]) / 2
    return np.clip(np.rint(exponents), -reach, reach).astype(np.int64)
