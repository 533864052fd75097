"""From a layer's tensors to operand memories and a fold list, and from raw psums back. Workload, no cycles."""

import numpy as np
from numpy.typing import NDArray

from logaccel.engine.combine import combine_bins, combine_rails
from logaccel.engine.job import LayerJob
from logaccel.engine.machine_passes import Cells
from logaccel.engine.machine_state import Numbers
from logaccel.pe import Datapath, Product
from logaccel.workload import MatrixShape

NARROW_BITS = 31  # two's-complement words up to here add without leaving an int32


def word_dtype(datapath: Datapath) -> np.dtype[np.signedinteger]:
    """Return int32 where every operand, product and sum of the datapath fits, else int64."""
    widest = max(datapath.product_bits, datapath.acc_bits, datapath.activation.bits + 1, datapath.weight.bits + 1)
    if datapath.product is Product.LOGSUM:
        widest = max(widest, datapath.fraction_bits + 1) + 1  # a sum is limited after it was formed; −1: empty
    fits = widest <= NARROW_BITS and datapath.drop_bits < NARROW_BITS
    return np.dtype(np.int32 if fits else np.int64)


def activation_matrix(job: LayerJob, dtype: np.dtype[np.signedinteger]) -> Cells:
    """Return activation codes [group, pixel, k], pixel = (n·P + p)·Q + q, k = (c·R + r)·S + s; padding is 0."""
    layer, batch = job.layer, job.batch
    shape = layer.matrix(batch)
    if layer.kind == "fc":
        codes = job.ifmap_codes.reshape(batch, layer.groups, shape.reduction)
        return np.ascontiguousarray(codes.transpose(1, 0, 2), dtype)
    top, left, bottom, right = layer.padding
    padded = np.pad(job.ifmap_codes.astype(dtype), ((0, 0), (0, 0), (top, bottom), (left, right)))
    rows, cols = (
        stride * np.arange(size)[:, None] + dilation * np.arange(taps)[None, :]
        for stride, size, dilation, taps in zip(layer.stride, layer.out_size, layer.dilation, layer.kernel, strict=True)
    )
    windows = padded[:, :, rows[:, None, :, None], cols[None, :, None, :]]  # [N, C, P, Q, R, S]
    p, q = layer.out_size
    grouped = windows.reshape(batch, layer.groups, -1, p, q, *layer.kernel)
    return np.ascontiguousarray(grouped.transpose(1, 0, 3, 4, 2, 5, 6)).reshape(
        shape.groups, shape.pixels, shape.reduction
    )


def weight_matrix(job: LayerJob, dtype: np.dtype[np.signedinteger]) -> Cells:
    """Return weight codes [group, k, channel]."""
    shape = job.layer.matrix(job.batch)
    codes = job.filter_codes.reshape(shape.groups, shape.channels, shape.reduction)
    return np.ascontiguousarray(codes.transpose(0, 2, 1), dtype)


def fold_list(shape: MatrixShape, job: LayerJob) -> Numbers:
    """Return folds[fold, (rows, cols, row base, column base, group, K slice)] in the order in which they run.

    OS: rows are pixels, columns channels, pixels innermost. WS, IS: rows are k, K slices innermost, and
    columns are channels (WS) or pixels (IS). Groups outermost, the ragged slice last.
    """
    lines = shape.pixels if job.dataflow == "os" else shape.reduction
    positions = shape.pixels if job.dataflow == "is" else shape.channels
    high, wide = job.array.rows, job.array.cols
    return np.array(
        [
            (min(high, lines - row), min(wide, positions - col), row, col, group, row // high)
            for group in range(shape.groups)
            for col in range(0, positions, wide)
            for row in range(0, lines, high)
        ],
        np.int64,
    )


def combined(raw: Cells, datapath: Datapath) -> NDArray[np.int64]:
    """Return psums from raw accumulators [..., lane]: bins times their constants, or rails turned linear."""
    lanes = np.moveaxis(raw.astype(np.int64), -1, 0)
    if datapath.product is Product.LOGSUM:
        return combine_rails(lanes, datapath.fraction_bits)
    return combine_bins(lanes, datapath)
