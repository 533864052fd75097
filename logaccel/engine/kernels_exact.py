"""Sums that provably never clip, in any order: shift and add over cache-sized tiles of the psums.

Loop nest of one task, a tile of psum[pixel, m]:

    for k:                          # the weights of one k are read once a tile
      for pixel of the tile:        # a zero activation costs nothing
        for m of the tile:          # contiguous, vectorised
          psum[pixel, m] += ±(weight[k, m] << shift)
"""

import numpy as np
from numpy.typing import NDArray

from logaccel.engine.kernels_terms import (
    DECODE,
    MULTIPLY,
    SHIFT_BY_ACTIVATION,
    Terms,
    Work,
    activation_step,
    read_weights,
)
from logaccel.engine.lowering import Operands
from logaccel.formats.encode import Codes
from logaccel.jit import kernel, parallel_kernel, parallel_range


@parallel_kernel
def sum_products(
    operands: Operands, weights: Codes, terms: Terms, unit: Work, tile_pixels: int, tile_channels: int,
    psum: NDArray[np.int64],
) -> None:  # fmt: skip
    """Set psum[pixel, m] = Σ_k product(A[pixel, k], W[k, m]), constants included. `unit` lends its dtype."""
    pixels, channels = psum.shape
    across = (channels + tile_channels - 1) // tile_channels
    down = (pixels + tile_pixels - 1) // tile_pixels
    for task in parallel_range(across * down):
        row, column = divmod(np.int64(task), across)
        p0, m0 = row * tile_pixels, column * tile_channels
        p1, m1 = min(p0 + tile_pixels, pixels), min(m0 + tile_channels, channels)
        sums = np.zeros((p1 - p0, m1 - m0), unit.dtype)
        words, steps = np.zeros(m1 - m0, unit.dtype), np.zeros(m1 - m0, unit.dtype)
        for k in range(operands.shape[1]):
            if not np.any(operands[p0:p1, k]):
                continue
            read_weights(weights[k, m0:m1], terms, words, steps)
            for p in range(p0, p1):
                if operands[p, k] != 0:
                    _add_row(operands[p, k], terms, words, steps, sums[p - p0])
        for p in range(p0, p1):
            for m in range(m0, m1):
                psum[p, m] = sums[p - p0, m - m0]


@kernel
def _add_row(code: int, terms: Terms, words: Work, steps: Work, sums: Work) -> None:
    """Add the products of one activation with a row of weights."""
    unit = sums.dtype.type
    if terms.product == MULTIPLY:
        word = unit(code)
        for m in range(sums.size):
            sums[m] = unit(sums[m] + unit(words[m] * word))
    elif terms.product == SHIFT_BY_ACTIVATION:
        step = activation_step(code, terms)
        constant = unit(terms.constants[step & ((1 << terms.step_shift) - 1)])
        shift = unit(step >> terms.step_shift)
        if constant != 1:
            signed = constant if code > 0 else unit(-constant)
            for m in range(sums.size):
                sums[m] = unit(sums[m] + unit(unit(words[m] * signed) << shift))
        elif code > 0:
            for m in range(sums.size):
                sums[m] = unit(sums[m] + unit(words[m] << shift))
        else:
            for m in range(sums.size):
                sums[m] = unit(sums[m] - unit(words[m] << shift))
    elif terms.step_shift == 0:
        _add_whole_octaves(code, terms, words, steps, sums)
    else:
        _add_fractions(code, terms, words, steps, sums)


@kernel
def _add_whole_octaves(code: int, terms: Terms, words: Work, steps: Work, sums: Work) -> None:
    """Base 2: a signed word (SHIFT_BY_WEIGHT) or a signed one (DECODE) moves left by the sum of the steps."""
    unit = sums.dtype.type
    if terms.product == DECODE:
        start = unit(activation_step(code, terms))
        if code > 0:
            for m in range(sums.size):
                sums[m] = unit(sums[m] + unit(words[m] << unit(max(unit(0), unit(start + steps[m])))))
        else:
            for m in range(sums.size):
                sums[m] = unit(sums[m] - unit(words[m] << unit(max(unit(0), unit(start + steps[m])))))
        return
    word, start = unit(code), unit(terms.step_offset)
    for m in range(sums.size):
        sums[m] = unit(sums[m] + unit(unit(words[m] * word) << unit(max(unit(0), unit(start + steps[m])))))


@kernel
def _add_fractions(code: int, terms: Terms, words: Work, steps: Work, sums: Work) -> None:
    """Several steps an octave: the fraction of the sum chooses the constant."""
    unit = sums.dtype.type
    if terms.product == DECODE:
        word, start = (unit(1) if code > 0 else unit(-1)), unit(activation_step(code, terms))
    else:
        word, start = unit(code), unit(terms.step_offset)
    mask, step_shift = unit((1 << terms.step_shift) - 1), unit(terms.step_shift)
    for m in range(sums.size):
        step = unit(max(unit(0), unit(start + steps[m])))
        signed = unit(words[m] * unit(word * unit(terms.constants[step & mask])))
        sums[m] = unit(sums[m] + unit(signed << unit(step >> step_shift)))
