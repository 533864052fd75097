"""Proofs that sums cannot clip, and how narrow a word holds them: from formats first, from the data where that pays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from logaccel.engine.factors import Factors, codes_of
from logaccel.formats.encode import Codes
from logaccel.jit import parallel_kernel, parallel_range
from logaccel.pe import Datapath


@dataclass(frozen=True)
class Bound:
    """|Σ products| of any subset of k stays at or below `combined` (constants applied) and `lane` (not applied)."""

    combined: int
    lane: int


def format_bound(datapath: Datapath, reduction: int) -> Bound:
    """Bound sums of `reduction` products by the formats alone."""
    low, high = datapath.product_range
    lane = reduction * max(-low, high)
    return Bound(lane * (max(datapath.constants) if datapath.binned else 1), lane)


def largest_product(datapath: Datapath) -> int:
    """Return the largest magnitude of a product, constants applied."""
    return format_bound(datapath, 1).combined


def data_bound(datapath: Datapath, factors: Factors, ifmap: Codes, weights: Codes) -> Bound:
    """Bound sums by the largest amount · the largest Σ_k |word| of a channel; weights[group, m, k]."""
    largest = max(int(ifmap.max(initial=0)), -int(ifmap.min(initial=0)))
    if not factors.activation_is_linear:
        in_reach = np.abs(codes_of(datapath.activation)) <= largest
        largest = 1 << int(factors.amounts[in_reach].max(initial=0))
    words = np.abs(factors.words).max(axis=0)
    combined = largest * int(_largest_sum(weights, words, factors.weight_is_linear, factors.weight_floor))
    # Every constant K_j is at least K_0, so a bin's plain words sum to no more than this.
    return Bound(combined, combined // datapath.constants[0] if datapath.binned else combined)


@parallel_kernel
def _largest_sum(weights: Codes, words: NDArray[np.int64], linear: bool, floor: int) -> int:
    """Return the largest Σ_k |word| over weights[group, m, k]."""
    groups, channels, reduction = weights.shape
    sums = np.zeros(groups * channels, np.int64)
    for row in parallel_range(groups * channels):
        group, m = divmod(np.int64(row), channels)
        total = np.int64(0)
        for k in range(reduction):
            code = np.int64(weights[group, m, k])
            total += abs(code) * words[0] if linear else words[code - floor]
        sums[row] = total
    return sums.max()
