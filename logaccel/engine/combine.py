"""The drain: raw psums (bins or rails) to one integer each, exact."""

import numpy as np
from numpy.typing import NDArray

from logaccel.pe import Datapath

Raw = NDArray[np.int64]


def combine_bins(bins: Raw, datapath: Datapath) -> Raw:
    """Return Σ_j bins[j, …] · K_j; a single accumulator is the psum already."""
    if not datapath.binned:
        return bins[0]
    psum = bins[0] * datapath.constants[0]
    for lane, constant in zip(bins[1:], datapath.constants[1:], strict=True):
        psum += lane * constant
    return psum


def combine_rails(rails: Raw, fraction_bits: int) -> Raw:
    """Return linear(rails[0]) − linear(rails[1]), 2^(i+f) ≈ (1 + f)·2^i; an empty rail (−1) is 0."""
    one = np.int64(1) << fraction_bits
    linear = np.where(rails < 0, 0, (one + (rails & (one - 1))) << (np.maximum(rails, 0) >> fraction_bits))
    return np.asarray(linear[0] - linear[1])
