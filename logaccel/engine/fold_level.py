"""The fold-level engine: the bits of the machine, its cycles and its counts, without stepping its registers.

Accumulation runs k = 0…K−1 in every dataflow, so the values of a layer do not depend on how it is folded;
the folds give cycles and activity. Where a bound proves that no accumulation can clip, sums run in any
order (exact); otherwise product by product in the order of the machine (ordered).
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from logaccel.engine import blas
from logaccel.engine.bounds import Bound, data_bound, format_bound, largest_product
from logaccel.engine.combine import combine_rails
from logaccel.engine.factors import factors_of
from logaccel.engine.job import LayerJob, LayerRun
from logaccel.engine.kernels_logs import LogSteps, accumulate_logs
from logaccel.engine.kernels_sums import BLOCK, pack_words, sum_few, sum_products, working_type
from logaccel.engine.kernels_tile import LANES, Limits
from logaccel.engine.lowering import count_kept, count_live, group_filters, lowered_ifmap, turn_weights
from logaccel.formats.encode import Codes
from logaccel.pe import Datapath, Product
from logaccel.schedule.activity import count_activity
from logaccel.schedule.folds import plan_folds

Backend = Literal["kernel", "blas"]
Psum = NDArray[np.int64]
Operands = NDArray[Any]

FEW = 16  # pixels or channels: below, sums run along k
MANY_WEIGHTS = 2**18
TILE_PIXELS = 64  # at most
FEWEST_TASKS = 8  # that keep two to four threads about equally busy
PACKED_WORDS = 2**23  # weight words unpacked at a time: memory stays bounded whatever the layer
LOG_TILES = ((32, 256), (1, 1024))  # pixels and channels of a task: many pixels, or few and longer rows
INT32_SUM = 2**31 - 1


def run_layer(job: LayerJob, backend: Backend = "kernel") -> LayerRun:
    """Run one layer; `blas` uses floating-point products where they are exact, and kernels elsewhere."""
    layer, matrix = job.layer, job.layer.matrix(job.batch)
    plan = plan_folds(matrix, job.array, job.dataflow)
    weights = group_filters(layer, job.filter_codes)
    adder = _adder(job, weights, backend)
    codes, maps = _kernel_codes(job.ifmap_codes), adder.read(job.ifmap_codes)
    psum = np.empty((matrix.pixels, matrix.groups * matrix.channels), np.int64)
    clipped = live = 0
    for group in range(matrix.groups):
        columns = slice(group * matrix.channels, (group + 1) * matrix.channels)
        adder.take(weights[group])
        kept = np.empty(matrix.reduction, np.int64)
        count_kept(weights[group], kept)
        live += int(count_live(layer, codes, group) @ kept)
        for chunks in zip(*(lowered_ifmap(layer, one, group, adder.chunk_words) for one in maps), strict=True):
            operands = [lowered for _, lowered in chunks]
            pixels = slice(chunks[0][0], chunks[0][0] + len(operands[0]))
            part = psum[pixels] if matrix.groups == 1 else np.empty((len(operands[0]), matrix.channels), np.int64)
            clipped += adder.add(operands, part)
            if matrix.groups > 1:
                psum[pixels, columns] = part
    return LayerRun(psum, clipped, plan.compute_cycles, count_activity(plan, live), adder.name)


def accumulate(datapath: Datapath, activation_codes: Codes, weight_codes: Codes) -> tuple[int, int]:
    """Return (psum, clipped) of pairs accumulated in the given order by one PE."""
    codes = np.asarray(activation_codes, datapath.activation.code_dtype).reshape(1, -1)
    adder = _LogSums(datapath) if datapath.product is Product.LOGSUM else _OrderedSums(datapath)
    adder.take(np.asarray(weight_codes, datapath.weight.code_dtype).reshape(1, -1))
    psum = np.empty((1, 1), np.int64)
    clipped = adder.add(adder.read(codes), psum)
    return int(psum[0, 0]), clipped


class _Sums:
    """One way to add up the products of A[pixel, k] and W[m, k]: takes the weights of a group, then pixels."""

    name: str
    weights: Codes
    narrow = True  # products and sums are taken in 32 bits
    chunk_words = 2**21  # words of A made at a time: they stay in the last-level cache, and memory stays bounded

    def read(self, ifmap: Codes) -> list[Operands]:
        """Return the ifmap as this way reads it, as one map or several."""
        return [_kernel_codes(ifmap) if self.narrow else ifmap.astype(np.int64)]

    def take(self, weights: Codes) -> None:
        """Set the weights W[m, k]."""
        self.weights = weights if self.narrow else _kernel_codes(weights)

    def add(self, operands: list[Operands], psum: Psum) -> int:
        """Set psum[pixel, m]; return how many accumulations clipped."""
        raise AssertionError("each way adds in its own")


class _PackedSums(_Sums):
    """Sums over packed words, in any order or in the machine's; channels are packed a bounded number at a time."""

    def __init__(self, datapath: Datapath, combined: bool, narrow: bool, flush_blocks: int) -> None:
        self.factors = factors_of(datapath, combined)
        self.limits = _limits(datapath)
        self.unit, self.narrow, self.flush_blocks = working_type(narrow), narrow, flush_blocks
        self.packed: NDArray[np.signedinteger[Any]] | None = None

    def take(self, weights: Codes) -> None:
        super().take(weights)
        words_per_tile = LANES * weights.shape[1] * len(self.factors.words)
        self.channels = max(1, PACKED_WORDS // words_per_tile) * LANES
        self.packed = self._pack(self.weights) if weights.shape[0] <= self.channels else None

    def _pack(self, weights: Codes) -> NDArray[np.signedinteger[Any]]:
        tiles = -(-weights.shape[0] // LANES)
        packed = np.empty(tiles * len(self.factors.words) * weights.shape[1] * LANES, self.unit)
        pack_words(weights, self.factors, packed)
        return packed

    def add(self, operands: list[Operands], psum: Psum) -> int:
        clipped = 0
        for first in range(0, psum.shape[1], self.channels):
            own = slice(first, min(first + self.channels, psum.shape[1]))
            packed = self._pack(self.weights[own]) if self.packed is None else self.packed
            part = psum if self.packed is not None else np.empty((len(psum), own.stop - own.start), np.int64)
            tiling = (*_even_tiles(*part.shape), self.flush_blocks)
            clipped += sum_products(operands[0], packed, self.factors, self.limits, tiling, part)
            if part is not psum:
                psum[:, own] = part
        return int(clipped)


def _even_tiles(pixels: int, channels: int) -> tuple[int, int]:
    """Return pixels and tiles of channels of a task: tasks of about one size, for threads get equal shares of them."""
    down, tiles = -(-pixels // TILE_PIXELS), -(-channels // LANES)
    across = min(tiles, -(-FEWEST_TASKS // down))
    return -(-pixels // down), -(-tiles // across)


class _ExactSums(_PackedSums):
    name = "kernel"

    def __init__(self, datapath: Datapath, reduction: int) -> None:
        blocks = INT32_SUM // largest_product(datapath) // BLOCK  # so many stay within an int32
        every = blocks if blocks else -(-reduction // BLOCK)
        super().__init__(datapath, combined=True, narrow=blocks > 0, flush_blocks=every)


class _OrderedSums(_PackedSums):
    name = "kernel ordered"

    def __init__(self, datapath: Datapath) -> None:
        # The sum of an accumulator and a product stays below 2^31, and so does what truncating adds.
        narrow = max(datapath.acc_bits, datapath.product_bits, datapath.drop_bits) <= 30
        super().__init__(datapath, combined=False, narrow=narrow, flush_blocks=0)


class _FewSums(_Sums):
    """Exact sums along k, straight from the codes."""

    name = "kernel"

    def __init__(self, datapath: Datapath, reduction: int) -> None:
        self.factors, self.limits = factors_of(datapath, combined=True), _limits(datapath)
        span = INT32_SUM // largest_product(datapath)
        self.narrow = span >= min(BLOCK, reduction)
        self.unit, self.span = np.empty(0, working_type(self.narrow)), span if self.narrow else reduction

    def add(self, operands: list[Operands], psum: Psum) -> int:
        sum_few(operands[0], self.weights, self.factors, self.limits, self.unit, self.span, psum)
        return 0


class _BlasSums(_Sums):
    chunk_words = 2**24  # few and large products: the library's threads wait busily, in the way of ours

    def __init__(self, datapath: Datapath, plan: blas.FloatPlan) -> None:
        self.factors = blas.FloatFactors(factors_of(datapath, combined=True), plan.dtype)
        self.span = plan.span
        self.name = f"blas {np.dtype(plan.dtype).name}"

    def read(self, ifmap: Codes) -> list[Operands]:
        return list(self.factors.activations(ifmap))

    def take(self, weights: Codes) -> None:
        self.matrices = self.factors.weights(weights)

    def add(self, operands: list[Operands], psum: Psum) -> int:
        blas.add_matrix_products(list(zip(operands, self.matrices, strict=True)), self.span, psum)
        return 0


class _LogSums(_Sums):
    name = "kernel ordered"

    def __init__(self, datapath: Datapath) -> None:
        self.steps = LogSteps(
            datapath.activation_scale, datapath.weight_scale, datapath.step_offset,
            datapath.fraction_bits - datapath.step_shift, datapath.fraction_bits, datapath.acc_bits,
        )  # fmt: skip
        self.narrow = max(datapath.acc_bits, datapath.product_bits, datapath.fraction_bits + 7) <= 30
        self.unit = np.empty(0, working_type(self.narrow))

    def take(self, weights: Codes) -> None:
        self.weights = turn_weights(weights)

    def add(self, operands: list[Operands], psum: Psum) -> int:
        many, few = LOG_TILES
        rails = np.empty((2, *psum.shape), np.int64)
        tiling = many if psum.shape[0] >= many[0] else few
        clipped = accumulate_logs(operands[0], self.weights, self.steps, self.unit, tiling, rails)
        psum[...] = combine_rails(rails, self.steps.fraction_bits)
        return int(clipped)


def _kernel_codes(codes: Codes) -> Codes:
    """Return codes in 16 bits, or in 64: kernels read these two, each further type would be compiled for itself."""
    return codes.astype(np.int16 if codes.dtype in (np.int8, np.int16) else np.int64, copy=False)


def _limits(datapath: Datapath) -> Limits:
    shifts = datapath.activation_scale > 0
    truncates = datapath.product is Product.DECODE
    return Limits(shifts, datapath.drop_bits, truncates, datapath.acc_bits, datapath.saturate)


def _adder(job: LayerJob, weights: Codes, backend: Backend) -> _Sums:
    """Choose how to add: exact where nothing can clip, in order elsewhere."""
    datapath, matrix = job.datapath, job.layer.matrix(job.batch)
    if datapath.product is Product.LOGSUM:
        return _LogSums(datapath)
    bound = _bound(job, weights)
    if datapath.drop_bits or bound.lane > 2 ** (datapath.acc_bits - 1) - 1:
        return _OrderedSums(datapath)
    # With few pixels a product is a stream over the weights: turning many into floats costs more than it saves.
    streams = matrix.pixels < FEW and job.filter_codes.size > MANY_WEIGHTS
    plan = blas.float_plan(datapath, matrix.reduction, bound.combined) if backend == "blas" and not streams else None
    if plan is not None:
        return _BlasSums(datapath, plan)
    few = min(matrix.pixels, matrix.channels) < FEW
    return (_FewSums if few else _ExactSums)(datapath, matrix.reduction)


def _bound(job: LayerJob, weights: Codes) -> Bound:
    """Bound the sums by the formats or, where those do not prove enough, by the data."""
    matrix, datapath = job.layer.matrix(job.batch), job.datapath
    bound = format_bound(datapath, matrix.reduction)
    if datapath.drop_bits or bound.lane <= 2 ** (datapath.acc_bits - 1) - 1 or matrix.pixels < FEW:
        return bound
    return data_bound(datapath, factors_of(datapath, combined=True), job.ifmap_codes, weights)
