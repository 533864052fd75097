"""How far codes are from the float reference: signal to noise, agreement, accuracy. Same bits on any machine."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.formats import Format, LinearFormat
from logaccel.formats.encode import Codes, decode
from logaccel.jit import kernel, parallel_kernel, parallel_range
from logaccel.trace import Tensor

_BLOCK, _LANES = 4096, 16


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


def error_powers(codes: Codes, number_format: Format, reference: Tensor) -> tuple[float, float]:
    """Return Σ reference² and Σ (reference − decoded)², the same bits for every number of threads.

    Blocks of elements are added up on their own, in sixteen sums each, and the blocks in their order.
    """
    linear = isinstance(number_format, LinearFormat)
    factor = 2.0**number_format.lsb_exponent if isinstance(number_format, LinearFormat) else 0.0
    table = (
        np.empty(0) if linear else decode(np.arange(number_format.min_code, number_format.max_code + 1), number_format)
    )
    sums = np.empty((-(-codes.size // _BLOCK), 2))
    kind = np.int16 if codes.dtype.itemsize <= 2 else np.int64
    own: Any = codes.astype(kind, copy=False).reshape(-1)
    _block_powers(own, table, number_format.min_code, factor, np.ascontiguousarray(reference).reshape(-1), sums)
    signal, noise = 0.0, 0.0
    for one, other in sums.tolist():
        signal, noise = signal + one, noise + other
    return signal, noise


@parallel_kernel
def _block_powers(
    codes: Codes,
    table: NDArray[np.float64],
    floor: int,
    factor: float,
    reference: NDArray[np.float32],
    sums: NDArray[np.float64],
) -> None:
    """Set sums[block] to the powers of reference[i] and of its difference from table[code − floor] or code · factor."""
    linear = table.size == 0
    for block in parallel_range(sums.shape[0]):
        decoded, lanes = np.empty(_BLOCK), np.zeros(2 * _LANES)
        first = block * _BLOCK
        size = min(_BLOCK, codes.size - first)
        start, count = np.uint64(first), np.uint64(size)
        if linear:
            for i in range(count):
                decoded[i] = np.float64(codes[start + i]) * factor
        else:
            for i in range(count):
                decoded[i] = table[np.uint64(np.int64(codes[start + i]) - floor)]
        whole = size // _LANES * _LANES
        for i in range(0, whole, _LANES):
            own, place = np.uint64(i), start + np.uint64(i)
            for lane in range(np.uint64(_LANES)):  # a fixed number of sums: vectors of any width add the same numbers
                value = np.float64(reference[place + lane])
                apart = value - decoded[own + lane]
                lanes[lane] += value * value
                lanes[np.uint64(_LANES) + lane] += apart * apart
        for i in range(whole, size):
            value = np.float64(reference[first + i])
            lanes[0] += value * value
            lanes[_LANES] += (value - decoded[i]) * (value - decoded[i])
        for lane in range(1, _LANES):
            lanes[0] += lanes[lane]
            lanes[_LANES] += lanes[_LANES + lane]
        sums[block, 0], sums[block, 1] = lanes[0], lanes[_LANES]


def top1(logits: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the class of the largest of logits[image, class]; the first of equal ones."""
    return np.argmax(logits.reshape(len(logits), -1), axis=1)
