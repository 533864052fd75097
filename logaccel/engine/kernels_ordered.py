"""Sums whose order matters: accumulators that saturate or wrap, and the log domain. k = 0…K−1, as the machine does."""

import numpy as np
from numpy.typing import NDArray

from logaccel.engine.kernels_terms import Terms, Work, activation_step, read_weights, write_terms
from logaccel.engine.lowering import Operands
from logaccel.formats.encode import Codes
from logaccel.jit import kernel, parallel_kernel, parallel_range


@parallel_kernel
def accumulate_products(
    operands: Operands, weights: Codes, terms: Terms, unit: Work, tile_pixels: int, tile_channels: int,
    lanes: NDArray[np.int64],
) -> int:  # fmt: skip
    """Fill lanes[lane, pixel, m] with the accumulators after all k; return how many accumulations clipped."""
    pixels, channels = lanes.shape[1], lanes.shape[2]
    across = (channels + tile_channels - 1) // tile_channels
    down = (pixels + tile_pixels - 1) // tile_pixels
    clipped = 0
    for task in parallel_range(across * down):
        row, column = divmod(np.int64(task), across)
        p0, m0 = row * tile_pixels, column * tile_channels
        p1, m1 = min(p0 + tile_pixels, pixels), min(m0 + tile_channels, channels)
        sums = np.zeros((p1 - p0, terms.lanes, m1 - m0), unit.dtype)
        rows = np.zeros((4, m1 - m0), unit.dtype)
        words, steps, products, bins = rows[0], rows[1], rows[2], rows[3]
        for k in range(operands.shape[1]):
            read_weights(weights[k, m0:m1], terms, words, steps)
            for p in range(p0, p1):
                if operands[p, k] != 0:  # a zero product changes no accumulator, full or not
                    lane = write_terms(operands[p, k], terms, words, steps, products, bins)
                    if lane >= 0:
                        clipped += _accumulate(products, terms, sums[p - p0, lane])
                    else:
                        clipped += _accumulate_binned(products, bins, terms, sums[p - p0])
        for p in range(p0, p1):
            for lane in range(terms.lanes):
                for m in range(m0, m1):
                    lanes[lane, p, m] = sums[p - p0, lane, m - m0]
    return clipped


@kernel
def _accumulate(products: Work, terms: Terms, sums: Work) -> int:
    """Add products[m] to sums[m] and limit each; return how many were changed by the limit."""
    unit = sums.dtype.type
    high = unit((np.int64(1) << (terms.acc_bits - 1)) - 1)
    low = unit(-high - 1)
    clipped = unit(0)
    if terms.saturate:
        for m in range(sums.size):
            exact = unit(sums[m] + products[m])
            sums[m] = unit(min(max(exact, low), high))
            clipped = unit(clipped + unit(sums[m] != exact))
    else:
        mask = unit((np.int64(1) << terms.acc_bits) - 1)
        for m in range(sums.size):
            exact = unit(sums[m] + products[m])
            sums[m] = unit(unit(unit(exact - low) & mask) + low)
            clipped = unit(clipped + unit(sums[m] != exact))
    return int(clipped)


@kernel
def _accumulate_binned(products: Work, bins: Work, terms: Terms, sums: Work) -> int:
    """Add products[m] to sums[bins[m], m]; the other bins take a zero, which never clips."""
    unit = sums.dtype.type
    clipped = 0
    mine = np.empty_like(products)
    for lane in range(sums.shape[0]):
        for m in range(products.size):
            mine[m] = unit(products[m] * unit(bins[m] == lane))
        clipped += _accumulate(mine, terms, sums[lane])
    return clipped


@parallel_kernel
def accumulate_logs(
    operands: Operands, weights: Codes, terms: Terms, unit: Work, tile_pixels: int, tile_channels: int,
    rails: NDArray[np.int64],
) -> int:  # fmt: skip
    """Fill rails[sign, pixel, m] (0: positive, 1: negative; −1: empty); return how many values were limited."""
    pixels, channels = rails.shape[1], rails.shape[2]
    across = (channels + tile_channels - 1) // tile_channels
    down = (pixels + tile_pixels - 1) // tile_pixels
    empty = -(np.int64(64) << terms.fraction_bits)  # so far below that every correction vanishes
    clipped = 0
    for task in parallel_range(across * down):
        row, column = divmod(np.int64(task), across)
        p0, m0 = row * tile_pixels, column * tile_channels
        p1, m1 = min(p0 + tile_pixels, pixels), min(m0 + tile_channels, channels)
        sums = np.full((p1 - p0, 2, m1 - m0), empty, np.int64).astype(unit.dtype)
        rows = np.zeros((2, m1 - m0), unit.dtype)
        for k in range(operands.shape[1]):
            read_weights(weights[k, m0:m1], terms, rows[0], rows[1])
            for p in range(p0, p1):
                if operands[p, k] != 0:
                    rails_here = sums[p - p0]
                    clipped += _accumulate_log(operands[p, k], terms, rows[0], rows[1], rails_here[0], rails_here[1])
        for p in range(p0, p1):
            for m in range(m0, m1):
                rails[0, p, m] = max(np.int64(-1), np.int64(sums[p - p0, 0, m - m0]))
                rails[1, p, m] = max(np.int64(-1), np.int64(sums[p - p0, 1, m - m0]))
    return clipped


@kernel
def _accumulate_log(code: int, terms: Terms, signs: Work, steps: Work, positive: Work, negative: Work) -> int:
    """Take one activation's products into both rails: s ← max(s, P) + (2^F >> |⌊s⌋ − ⌊P⌋|), limited.

    Branch-free: both rails are read and written at every m; the one that the product does not meet keeps its word.
    """
    unit = positive.dtype.type
    one = unit(np.int64(1) << terms.fraction_bits)
    fraction = unit(terms.fraction_bits)
    top = unit((np.int64(1) << terms.acc_bits) - 1)
    farthest = unit(31)  # fraction_bits <= 30: the correction is gone by then
    up = unit(terms.fraction_bits - terms.step_shift)
    start = unit(activation_step(code, terms))
    sign = unit(1) if code > 0 else unit(-1)
    clipped = unit(0)
    for m in range(signs.size):
        side = unit(signs[m] * sign)  # −1, 0, 1
        above, below = positive[m], negative[m]
        product = unit(unit(start + steps[m]) << up)
        old = below if side < 0 else above
        distance = unit(unit(old >> fraction) - unit(product >> fraction))
        distance = unit(-distance) if distance < 0 else distance
        distance = farthest if distance > farthest else distance
        new = unit((old if old > product else product) + unit(one >> distance))
        kept = top if new > top else new
        clipped = unit(clipped + unit(unit(kept != new) & unit(side != 0)))
        positive[m] = kept if side > 0 else above
        negative[m] = kept if side < 0 else below
    return int(clipped)
