"""How far codes are from the float reference: signal to noise, agreement, accuracy. Same bits on any machine."""

import math

import numpy as np
from numpy.typing import NDArray

from logaccel.formats import Format
from logaccel.formats.encode import Codes, decode
from logaccel.jit import kernel
from logaccel.trace import Tensor


def signal_to_noise_db(codes: Codes, number_format: Format, reference: Tensor) -> float:
    """Return 10·log10(Σ reference² / Σ (reference − decoded)²) in dB, to 6 decimals; inf where they are equal."""
    signal, noise = _powers(reference.reshape(-1), decode(codes, number_format).reshape(-1))
    if noise == 0.0:
        return math.inf
    return round(10.0 * math.log10(signal / noise), 6) if signal > 0.0 else -math.inf


@kernel
def _powers(reference: NDArray[np.float32], decoded: NDArray[np.float64]) -> tuple[float, float]:
    """Sum in the order of the elements: no vector width or thread count enters."""
    signal, noise = 0.0, 0.0
    for i in range(reference.size):
        value = np.float64(reference[i])
        signal += value * value
        noise += (value - decoded[i]) * (value - decoded[i])
    return signal, noise


def top1(logits: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the class of the largest of logits[image, class]; the first of equal ones."""
    return np.argmax(logits.reshape(len(logits), -1), axis=1)
