"""Memory images of one layer: what a host writes into the accelerator before it gives `start`.

One word an address and bank, in the order in which the array reads them:

    left feed   bank = row      OS: A[pixel, k], WS: A[pixel, k], IS: W[k, channel]; the moving operand
    top feed    bank = column   OS: W[k, channel] in stream order; WS, IS: stationary words, last row first
    bias        bank = column   OS, WS: one word a channel slice; IS: one a channel, the same in every bank;
                                {s, bias} where the lanes shift by channel
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from logaccel.engine.job import LayerJob
from logaccel.formats import Format
from logaccel.formats.encode import Codes
from logaccel.rtl.parameters import Addresses, Parameters, word_of
from logaccel.schedule.folds import FoldPlan, plan_folds

Words = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Fold:
    """One entry of the fold list."""

    rows: int
    cols: int
    continues: bool  # the raw psums of the K slice before re-enter at the top
    final: bool  # its psums go to post-processing
    left: int
    top: int
    ofmap: int
    bias: int


@dataclass(frozen=True, eq=False)
class LayerImage:
    """left[address, row], top[address, column], bias and scales[address, column], and the folds that read them.

    place[pixel, channel]: where the ofmap word of a psum lands, as (address, bank).
    """

    plan: FoldPlan
    left: Words
    top: Words
    bias: Words
    scales: Words
    folds: tuple[Fold, ...]
    place: NDArray[np.int64]

    @property
    def addresses(self) -> Addresses:
        """Words per bank of every memory."""
        return Addresses(
            left=len(self.left),
            top=len(self.top),
            psum=self.plan.stream_length,
            ofmap=int(self.place[..., 0].max()) + 1,
            bias=len(self.bias),
            folds=len(self.folds),
        )


def lower(job: LayerJob) -> tuple[Words, Words]:
    """Return A[group, pixel, k] and W[group, k, channel] as operand words; padding is the zero code."""
    layer = job.layer
    matrix = layer.matrix(job.batch)
    ifmap = _as_words(job.ifmap_codes, job.datapath.activation).reshape(job.batch, layer.in_channels, *layer.in_size)
    filters = _as_words(job.filter_codes, job.datapath.weight)
    top, left, bottom, right = layer.padding
    padded = np.pad(ifmap, ((0, 0), (0, 0), (top, bottom), (left, right)))
    p, q = layer.out_size
    taps = []
    for r in range(layer.kernel[0]):
        for s in range(layer.kernel[1]):
            y, x = r * layer.dilation[0], s * layer.dilation[1]
            rows = slice(y, y + (p - 1) * layer.stride[0] + 1, layer.stride[0])
            cols = slice(x, x + (q - 1) * layer.stride[1] + 1, layer.stride[1])
            taps.append(padded[:, :, rows, cols])
    # taps[tap, n, c, p, q] → A[group, (n, p, q), (c, tap)]
    stacked = np.stack(taps).reshape(len(taps), job.batch, matrix.groups, -1, p, q)
    activations = stacked.transpose(2, 1, 4, 5, 3, 0).reshape(matrix.groups, matrix.pixels, matrix.reduction)
    weights = filters.reshape(matrix.groups, matrix.channels, matrix.reduction).transpose(0, 2, 1)
    return activations, weights


def build_image(job: LayerJob, bias: Words, scales: Words | None = None) -> LayerImage:
    """Lay out one layer's operands; bias[channel] holds integers in LSBs of the psum, two's complement.

    scales[channel]: by how many powers of two those LSBs are finer than the layer's; None: by none.
    """
    activations, weights = lower(job)
    plan = plan_folds(job.layer.matrix(job.batch), job.array, job.dataflow)
    scales = np.zeros_like(bias) if scales is None else scales
    in_lanes = _by_channel(plan, bias), _by_channel(plan, scales)
    if job.dataflow == "os":
        return _output_stationary(plan, activations, weights, in_lanes)
    moving, stationary = (activations, weights.transpose(0, 2, 1))
    if job.dataflow == "is":
        moving, stationary = weights.transpose(0, 2, 1), activations
    return _stationary(plan, moving, stationary, in_lanes)


def render_fold(fold: Fold, parameters: Parameters) -> int:
    """Return the fold word {bias, ofmap, top, left, final, continues, cols, rows}."""
    fields = (
        (fold.rows, "ROW_BITS"), (fold.cols, "COL_BITS"), (int(fold.continues), ""), (int(fold.final), ""),
        (fold.left, "LEFT_ADDRESS_BITS"), (fold.top, "TOP_ADDRESS_BITS"),
        (fold.ofmap, "OFMAP_ADDRESS_BITS"), (fold.bias, "BIAS_ADDRESS_BITS"),
    )  # fmt: skip
    word, position = 0, 0
    for value, name in fields:
        word |= value << position
        position += int(parameters[name]) if name else 1
    return word


def _as_words(codes: Codes, number_format: Format) -> Words:
    return np.array([word_of(int(code), number_format) for code in codes.reshape(-1)], np.int64)


def _banks(words: Words, banks: int) -> Words:
    """Return words[slice, address, bank] of words[item, address]: items over the banks, zeros beyond."""
    items, length = words.shape
    slices = -(-items // banks)
    padded = np.zeros((slices * banks, length), np.int64)
    padded[:items] = words
    return padded.reshape(slices, banks, length).transpose(0, 2, 1)


def _by_channel(plan: FoldPlan, words: Words) -> Words:
    """Return words[channel] as the lanes hold them, [address, column]."""
    if plan.dataflow == "is":
        return np.repeat(words[:, None], plan.array.cols, axis=1)
    groups = words.reshape(plan.matrix.groups, -1)
    return _flat(np.concatenate([_banks(group[:, None], plan.array.cols) for group in groups]))


def _output_stationary(plan: FoldPlan, activations: Words, weights: Words, in_lanes: tuple[Words, Words]) -> LayerImage:
    rows, cols, matrix = plan.array.rows, plan.array.cols, plan.matrix
    left = np.concatenate([_banks(group, rows) for group in activations])  # [(group, pixel slice), k, row]
    top = np.concatenate([_banks(group.T, cols) for group in weights])
    pixel_slices, channel_slices = len(left) // matrix.groups, len(top) // matrix.groups
    folds = tuple(
        Fold(
            rows=int(plan.rows[f]),
            cols=int(plan.cols[f]),
            continues=False,
            final=True,
            left=int(plan.group[f] * pixel_slices + plan.slice_of_inner[f]) * matrix.reduction,
            top=int(plan.group[f] * channel_slices + plan.slice_of_outer[f]) * matrix.reduction,
            ofmap=int((plan.group[f] * channel_slices + plan.slice_of_outer[f]) * matrix.pixels)
            + int(plan.slice_of_inner[f]) * rows,
            bias=int(plan.group[f] * channel_slices + plan.slice_of_outer[f]),
        )
        for f in range(plan.count)
    )
    pixel, group, channel = np.ogrid[: matrix.pixels, : matrix.groups, : matrix.channels]
    address = (group * channel_slices + channel // cols) * matrix.pixels + pixel
    return LayerImage(plan, _flat(left), _flat(top), *in_lanes, folds, _place(address, channel % cols))


def _stationary(plan: FoldPlan, moving: Words, stationary: Words, in_lanes: tuple[Words, Words]) -> LayerImage:
    """Lay out WS and IS: moving[group, t, k], stationary[group, item, k], items over the columns."""
    rows, cols, matrix, length = plan.array.rows, plan.array.cols, plan.matrix, plan.stream_length
    left = np.concatenate([_banks(group.T, rows) for group in moving])  # [(group, K slice), t, row]
    k_slices = len(left) // matrix.groups
    item_slices = -(-stationary.shape[1] // cols)
    top: list[Words] = []
    folds: list[Fold] = []
    for f in range(plan.count):
        group, outer, inner = int(plan.group[f]), int(plan.slice_of_outer[f]), int(plan.slice_of_inner[f])
        r, c = int(plan.rows[f]), int(plan.cols[f])
        words = np.zeros((r, cols), np.int64)
        words[:, :c] = stationary[group, outer * cols : outer * cols + c, inner * rows : inner * rows + r].T[::-1]
        output = group * item_slices + outer
        folds.append(
            Fold(
                rows=r,
                cols=c,
                continues=bool(inner > 0),
                final=inner == k_slices - 1,
                left=(group * k_slices + inner) * length,
                top=sum(len(part) for part in top),
                ofmap=output * length,
                bias=output if plan.dataflow == "ws" else group * length,
            )
        )
        top.append(words)
    pixel, group_axis, channel = np.ogrid[: matrix.pixels, : matrix.groups, : matrix.channels]
    if plan.dataflow == "ws":
        address, bank = (group_axis * item_slices + channel // cols) * length + pixel, channel % cols
    else:
        address, bank = (group_axis * item_slices + pixel // cols) * length + channel, pixel % cols
    return LayerImage(plan, _flat(left), np.concatenate(top), *in_lanes, tuple(folds), _place(address, bank))


def _flat(words: Words) -> Words:
    return words.reshape(-1, words.shape[-1])


def _place(address: Words, bank: Words) -> NDArray[np.int64]:
    """Return place[pixel, m] = (address, bank) of address[pixel, group, channel]."""
    both = np.stack(np.broadcast_arrays(address, bank), axis=-1)
    return both.reshape(len(both), -1, 2)
