"""Log-domain accumulation, product by product in the order of the machine: k = 0…K−1, two rails an output."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from logaccel.formats.encode import Codes
from logaccel.jit import kernel, parallel_kernel, parallel_range, shift_right

Work = NDArray[np.signedinteger[Any]]


class LogSteps(NamedTuple):
    """A logsum datapath as the kernels read it: P = (Σ scale · magnitude code + offset) · 2^up."""

    activation_scale: int
    weight_scale: int
    step_offset: int
    up: int
    fraction_bits: int
    acc_bits: int


@parallel_kernel
def accumulate_logs(
    operands: Codes, weights: Codes, steps: LogSteps, unit: Work, tiling: tuple[int, int], rails: NDArray[np.int64]
) -> int:
    """Fill rails[sign, pixel, m] (0: positive, 1: negative; −1: empty); return how many values were limited.

    A[pixel, k], W[k, m]; tiling: pixels and channels of a task. `unit` lends its dtype.
    """
    pixels, channels = rails.shape[1], rails.shape[2]
    tile_pixels, tile_channels = tiling
    across = (channels + tile_channels - 1) // tile_channels
    down = (pixels + tile_pixels - 1) // tile_pixels
    empty = -(np.int64(64) << steps.fraction_bits)  # so far below that every correction vanishes
    clipped = 0
    for task in parallel_range(across * down):
        row, column = divmod(np.int64(task), across)
        p0, m0 = row * tile_pixels, column * tile_channels
        p1, m1 = min(p0 + tile_pixels, pixels), min(m0 + tile_channels, channels)
        sums = np.full((p1 - p0, 2, m1 - m0), empty, np.int64).astype(unit.dtype)
        rows = np.zeros((2, m1 - m0), unit.dtype)
        for k in range(operands.shape[1]):
            _read_weights(weights[k, m0:m1], steps, rows[0], rows[1])
            for p in range(p0, p1):
                if operands[p, k] != 0:
                    rails_here = sums[p - p0]
                    clipped += _accumulate_log(operands[p, k], steps, rows[0], rows[1], rails_here[0], rails_here[1])
        for p in range(p0, p1):
            for m in range(m0, m1):
                rails[0, p, m] = max(np.int64(-1), np.int64(sums[p - p0, 0, m - m0]))
                rails[1, p, m] = max(np.int64(-1), np.int64(sums[p - p0, 1, m - m0]))
    return clipped


@kernel
def _read_weights(codes: Codes, steps: LogSteps, signs: Work, exponents: Work) -> None:
    """Split a row of weight codes[m] into signs −1, 0, 1 and their share of P."""
    unit = signs.dtype.type
    scale = unit(steps.weight_scale << steps.up)
    for m in range(codes.size):
        code = unit(codes[m])
        signs[m] = unit(unit(code > 0) - unit(code < 0))
        exponents[m] = unit(unit(abs(code)) * scale)


@kernel
def _accumulate_log(code: int, steps: LogSteps, signs: Work, exponents: Work, positive: Work, negative: Work) -> int:
    """Take one activation's products into both rails: s ← max(s, P) + (2^F >> |⌊s⌋ − ⌊P⌋|), limited.

    Branch-free: both rails are read and written at every m; the one that the product does not meet keeps its word.
    """
    unit = positive.dtype.type
    one = unit(np.int64(1) << steps.fraction_bits)
    fraction = unit(steps.fraction_bits)
    top = unit((np.int64(1) << steps.acc_bits) - 1)
    farthest = unit(31)  # fraction_bits <= 30: the correction is gone by then
    start = unit((abs(np.int64(code)) * steps.activation_scale + steps.step_offset) << steps.up)
    sign = unit(1) if code > 0 else unit(-1)
    clipped = unit(0)
    for m in range(signs.size):
        side = unit(signs[m] * sign)  # −1, 0, 1
        above, below = positive[m], negative[m]
        product = unit(start + exponents[m])
        old = below if side < 0 else above
        distance = unit(shift_right(old, fraction) - shift_right(product, fraction))
        distance = unit(-distance) if distance < 0 else distance
        distance = farthest if distance > farthest else distance
        new = unit((old if old > product else product) + shift_right(one, distance))
        kept = top if new > top else new
        clipped = unit(clipped + unit(unit(kept != new) & unit(side != 0)))
        positive[m] = kept if side > 0 else above
        negative[m] = kept if side < 0 else below
    return int(clipped)
