"""Proofs that sums cannot clip, and how narrow a word holds them: from formats first, from the data where that pays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from logaccel.formats import Format, LinearFormat, LogFormat
from logaccel.formats.encode import Codes
from logaccel.pe import Datapath, Product


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


def data_bound(datapath: Datapath, ifmap: Codes, weights: Codes) -> Bound:
    """Bound sums by max|a| · max over channels of Σ_k |w[k, m]|, for separable products; weights[group, k, m]."""
    largest = int(magnitudes(datapath, datapath.activation, ifmap).max(initial=0))
    columns = magnitudes(datapath, datapath.weight, weights).sum(axis=-2, dtype=np.float64)
    combined = largest * int(columns.max(initial=0.0))  # a float64 sum is exact wherever it proves anything
    # Every constant K_j is at least K_0, so a bin's plain words sum to no more than this.
    return Bound(combined, combined // datapath.constants[0] if datapath.binned else combined)


def separable(datapath: Datapath) -> bool:
    """Whether each product is (value of a) · (value of w), both integers."""
    if datapath.product is Product.LOGSUM or datapath.drop_bits:
        return False
    return datapath.product is not Product.DECODE or datapath.steps == 1


def magnitudes(datapath: Datapath, operand: Format, codes: Codes) -> NDArray[np.int64]:
    """Return the integer magnitudes of an operand's codes: their product is the magnitude of the machine's product."""
    if isinstance(operand, LinearFormat):
        return np.abs(codes.astype(np.int64))
    return log_integers(datapath, operand)[np.abs(codes)]


def log_integers(datapath: Datapath, operand: LogFormat) -> NDArray[np.int64]:
    """Return the integer of each magnitude code of the log operand of a separable product."""
    codes = np.arange(operand.max_code + 1)
    # Decode, base 2: u = c_a + c_w − 2, so each operand is 2^(c − 1).
    offset = -1 if datapath.product is Product.DECODE else datapath.step_offset
    steps = np.maximum(codes + offset, 0)
    values = np.array(datapath.constants, np.int64)[steps % datapath.steps] << (steps >> datapath.step_shift)
    values[0] = 0
    return np.asarray(values)
