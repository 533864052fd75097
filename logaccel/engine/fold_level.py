"""The fold-level engine: the bits of the machine, its cycles and its counts, without stepping its registers.

Accumulation runs k = 0…K−1 in every dataflow, so the values of a layer do not depend on how it is folded;
the folds give cycles and activity. Where a bound proves that no accumulation can clip, sums run in any
order (exact); otherwise product by product in the order of the machine (ordered).
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from logaccel.engine import blas
from logaccel.engine.bounds import Bound, data_bound, format_bound, separable
from logaccel.engine.combine import combine_bins, combine_rails
from logaccel.engine.job import LayerJob, LayerRun
from logaccel.engine.kernels_exact import sum_products
from logaccel.engine.kernels_ordered import accumulate_logs, accumulate_products
from logaccel.engine.kernels_terms import Terms, Work, terms_of
from logaccel.engine.lowering import (
    Operands,
    count_live_products,
    lower_filter,
    lower_ifmap,
    operand_dtype,
    pixel_chunks,
)
from logaccel.formats.encode import Codes
from logaccel.pe import Datapath, Product
from logaccel.schedule.activity import count_activity
from logaccel.schedule.folds import plan_folds

Backend = Literal["kernel", "blas"]
Psum = NDArray[np.int64]

TILE_PIXELS = 32
TILE_CHANNELS = 256  # tile of 32-bit psums: 32 kB, the first-level cache
MANY_WEIGHTS = 2**18
MANY_PIXELS = 32  # from here on a tighter bound from the data costs less than it saves


def run_layer(job: LayerJob, backend: Backend = "kernel") -> LayerRun:
    """Run one layer; `blas` uses floating-point products where they are exact, and kernels elsewhere."""
    layer, matrix = job.layer, job.layer.matrix(job.batch)
    plan = plan_folds(matrix, job.array, job.dataflow)
    weights = lower_filter(layer, job.filter_codes)
    adder = _adder(job, weights, matrix.reduction, matrix.pixels, backend)
    psum = np.empty((matrix.pixels, matrix.groups * matrix.channels), np.int64)
    clipped = live = 0
    for group in range(matrix.groups):
        columns = slice(group * matrix.channels, (group + 1) * matrix.channels)
        adder.take(weights[group])
        for first, end in pixel_chunks(matrix.pixels, matrix.reduction):
            operands = lower_ifmap(layer, job.ifmap_codes, group, first, end)
            psum[first:end, columns], over = adder.add(operands)
            clipped += over
            live += count_live_products(operands, weights[group])
    return LayerRun(psum, clipped, plan.compute_cycles, count_activity(plan, live), adder.name)


def accumulate(datapath: Datapath, activation_codes: Codes, weight_codes: Codes) -> tuple[int, int]:
    """Return (psum, clipped) of pairs accumulated in the given order by one PE."""
    codes = np.asarray(activation_codes, datapath.activation.code_dtype)
    operands = codes.astype(operand_dtype(codes)).reshape(1, -1)
    adder = _LogSums(datapath) if datapath.product is Product.LOGSUM else _OrderedSums(datapath)
    adder.take(np.asarray(weight_codes, datapath.weight.code_dtype).reshape(-1, 1))
    psum, clipped = adder.add(operands)
    return int(psum[0, 0]), clipped


class _Sums:
    """One way to add up the products of A[pixel, k] and W[k, m]: takes the weights of a group, then pixels."""

    name: str
    weights: Codes

    def take(self, weights: Codes) -> None:
        """Set the weights W[k, m]."""
        self.weights = weights

    def add(self, operands: Operands) -> tuple[Psum, int]:
        """Return psum[pixel, m] and how many accumulations clipped."""
        raise AssertionError("each way adds in its own")

    def tile(self, pixels: int) -> tuple[int, int]:
        """Return pixels and channels of a tile; few pixels leave room for longer rows, read as a stream."""
        return (TILE_PIXELS, TILE_CHANNELS) if pixels >= TILE_PIXELS else (pixels, 4 * TILE_CHANNELS)


class _ExactSums(_Sums):
    name = "kernel"

    def __init__(self, datapath: Datapath, bound: Bound) -> None:
        self.terms = terms_of(datapath, combined=True)
        # Wrapped 32-bit sums of in-range totals are right, but a single product must be representable, too.
        low, high = datapath.product_range
        narrow = bound.combined < 2**31 and max(-low, high) * max(datapath.constants) < 2**31
        self.unit = _working_type(narrow)

    def add(self, operands: Operands) -> tuple[Psum, int]:
        psum = np.empty((operands.shape[0], self.weights.shape[1]), np.int64)
        sum_products(operands, self.weights, self.terms, self.unit, *self.tile(operands.shape[0]), psum)
        return psum, 0


class _BlasSums(_Sums):
    def __init__(self, datapath: Datapath, dtype: type[np.floating[Any]]) -> None:
        self.datapath, self.dtype = datapath, dtype
        self.name = f"blas {np.dtype(dtype).name}"

    def take(self, weights: Codes) -> None:
        self.factors = blas.weight_factors(self.datapath, weights, self.dtype)

    def add(self, operands: Operands) -> tuple[Psum, int]:
        return blas.matrix_sums(self.datapath, operands, self.factors), 0


class _OrderedSums(_Sums):
    name = "kernel ordered"

    def __init__(self, datapath: Datapath) -> None:
        self.datapath = datapath
        self.terms = terms_of(datapath, combined=False)
        narrow = max(datapath.acc_bits, datapath.product_bits) <= 30  # their sum stays below 2^31
        self.unit = _working_type(narrow)

    def add(self, operands: Operands) -> tuple[Psum, int]:
        lanes = np.empty((self.terms.lanes, operands.shape[0], self.weights.shape[1]), np.int64)
        clipped = accumulate_products(
            operands, self.weights, self.terms, self.unit, *self.tile(operands.shape[0]), lanes
        )
        return combine_bins(lanes, self.datapath), int(clipped)


class _LogSums(_Sums):
    name = "kernel ordered"

    def __init__(self, datapath: Datapath) -> None:
        self.fraction_bits = datapath.fraction_bits
        self.terms: Terms = terms_of(datapath, combined=False)
        narrow = max(datapath.acc_bits, datapath.product_bits, datapath.fraction_bits + 7) <= 30
        self.unit = _working_type(narrow)

    def add(self, operands: Operands) -> tuple[Psum, int]:
        rails = np.empty((2, operands.shape[0], self.weights.shape[1]), np.int64)
        clipped = accumulate_logs(operands, self.weights, self.terms, self.unit, *self.tile(operands.shape[0]), rails)
        return combine_rails(rails, self.fraction_bits), int(clipped)


def _working_type(narrow: bool) -> Work:
    """Return an empty array that lends the kernels its dtype."""
    return np.empty(0, np.int32) if narrow else np.empty(0, np.int64)


def _adder(job: LayerJob, weights: Codes, reduction: int, pixels: int, backend: Backend) -> _Sums:
    """Choose how to add: exact where nothing can clip, in order elsewhere."""
    datapath = job.datapath
    if datapath.product is Product.LOGSUM:
        return _LogSums(datapath)
    bound = format_bound(datapath, reduction)
    limit = 2 ** (datapath.acc_bits - 1) - 1
    tightens = pixels >= MANY_PIXELS and separable(datapath)
    if tightens and (bound.lane > limit or bound.combined >= 2**31):
        bound = data_bound(datapath, job.ifmap_codes, weights)
    if datapath.drop_bits or bound.lane > limit:
        return _OrderedSums(datapath)
    # With few pixels a product is a stream over the weights: turning many into floats costs more than it saves.
    streams = pixels < MANY_PIXELS and weights.size > MANY_WEIGHTS
    dtype = blas.float_type(datapath, bound) if backend == "blas" and not streams else None
    return _ExactSums(datapath, bound) if dtype is None else _BlasSums(datapath, dtype)
