"""A layer and its lane in one pass, codes to codes, where a bound proves that no sum clips or rounds.

Values alone: cycles do not depend on values, and live products are counted apart (`uses.py`). Weights are turned
into factors once, for all batches. A layer that is not proven this way is None: the engines of `LayerJob` run it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.engine.blas import FLOAT32_EXACT, FLOAT64_EXACT, FloatFactors
from logaccel.engine.factors import factors_of
from logaccel.engine.kernels_direct import CodeBytes, Weights, run_exact
from logaccel.engine.kernels_lane import Lane
from logaccel.engine.kernels_rows import Shape, Walk
from logaccel.engine.layout import kernel_factors, lay_out, pack_blocks
from logaccel.engine.lowering import group_filters
from logaccel.engine.post import bias_words
from logaccel.errors import TraceError
from logaccel.formats import Format, LinearFormat
from logaccel.formats.encode import MANTISSA_BITS, MOST_STEPS, Codes, Values
from logaccel.formats.thresholds import fraction_thresholds
from logaccel.jit import thread_count
from logaccel.pe import Datapath, Product
from logaccel.workload import Layer

Words = NDArray[np.int64]
MOST_WEIGHTS = 2**22  # factors of one layer: they stay in memory
_STEP = 4  # of the ends of spans
_SHORTEST_SPAN = 8  # mean k: with shorter ones float64 is faster
_FRACTION_BITS: dict[type, int] = {np.int32: 23, np.int64: MANTISSA_BITS}  # of the float as wide as a total
_EXPONENT_BIAS: dict[type, int] = {np.int32: 127, np.int64: 1023}


@dataclass(frozen=True, eq=False)
class LaneSpec:
    """What follows the array: bias, a residual's words by code (ascending) and their LSB, ReLU, encoder."""

    bias: Values
    residual: tuple[Words, int, Format] | None
    relu: bool
    output: Format
    round_bits: int


class DirectLayer:
    """One layer whose values are proven exact, ready for batches."""

    def __init__(self, layer: Layer, factors: FloatFactors, weights: Weights, lane: Lane, spec: LaneSpec) -> None:
        """Take what `direct_layer` prepared."""
        self.layer, self.factors, self.weights, self.lane, self.spec = layer, factors, weights, lane, spec
        self.tables = kernel_factors(*factors.tables())
        self.carries = _carries(spec, lane.fraction_bits)
        self.walks: dict[int, tuple[Walk, Weights]] = {}

    @property
    def backend(self) -> str:
        """What computes the values."""
        return f"direct {self.weights.packed.dtype.name}"

    def run(self, ifmap: Codes, residual: Codes | None = None) -> tuple[Codes, int]:
        """Return the ofmap's codes [N, M, P, Q] (or [N, M]) and how many of them are at the ends of the format."""
        layer, batch = self.layer, len(ifmap)
        shape = Shape(layer.in_channels, *layer.in_size, layer.groups)
        walk, weights = self._walk(batch)
        out: Codes = np.empty(layer.ofmap_shape(batch), self.spec.output.code_dtype)
        added = _bytes(out[:0] if residual is None else residual)
        saturated = run_exact(
            _bytes(ifmap), shape, self.tables, walk, weights, self.lane, self.carries, added, _bytes(out)
        )
        return out, int(saturated)

    def _walk(self, batch: int) -> tuple[Walk, Weights]:
        if batch not in self.walks or self.walks[batch][0].workers != thread_count():
            walk, at = lay_out(self.layer, len(self.tables.rules), batch)
            self.walks = {batch: (walk, self.weights._replace(at=at))}  # the last alone: a batch more is a rest
        return self.walks[batch]


def direct_layer(layer: Layer, datapath: Datapath, filters: Codes, spec: LaneSpec) -> DirectLayer | None:
    """Return a layer ready to run, or None where formats and weights do not prove every sum exact."""
    formats = [datapath.activation, spec.output] + ([spec.residual[2]] if spec.residual else [])
    if datapath.product is Product.LOGSUM or datapath.drop_bits or any(f.code_dtype.itemsize > 4 for f in formats):
        return None
    exact = factors_of(datapath, combined=True)
    factors = FloatFactors(exact, np.float64)
    if len(factors.kept) * filters.size > MOST_WEIGHTS:
        return None
    planes = factors.weights(group_filters(layer, filters))
    reach = _reach(planes, factors, datapath)
    sums = reach.sum(axis=2)
    # Every constant K_j is at least K_0, so a bin's plain words sum to no more than this.
    lane_sum = float(sums.max()) / (datapath.constants[0] if datapath.binned else 1)
    if lane_sum > 2 ** (datapath.acc_bits - 1) - 1:
        return None
    try:
        bias = bias_words(spec.bias, datapath.lsb_exponent)
    except TraceError:  # told by whoever runs the layer
        return None
    way = _way(reach, datapath.lsb_exponent, bias, spec)
    if way is None:
        return None
    dtype, ends, lane = way
    packed = pack_blocks(np.concatenate(planes, axis=2), dtype)
    weights = Weights(packed, np.empty(0, np.int64), ends, layer.groups, layer.out_channels // layer.groups)
    return DirectLayer(layer, FloatFactors(exact, dtype), weights, lane, spec)


def _reach(planes: list[NDArray[Any]], factors: FloatFactors, datapath: Datapath) -> NDArray[np.float64]:
    """Return reach[group, row, k]: whatever the activations, |Σ products| of any k of a channel stays below a row's.

    A channel has one row, or one for its positive and one for its negative weights where no activation is negative:
    a sum lies between the two.
    """
    tops = factors.largest(datapath.activation)
    products = np.concatenate([own * top for own, top in zip(planes, tops, strict=True)], axis=2)
    if datapath.activation.signed or factors.tables()[0].min(initial=0) < 0:
        return np.abs(products)
    return np.concatenate([np.maximum(products, 0), np.maximum(-products, 0)], axis=1)


def _way(
    reach: NDArray[np.float64], lsb: int, bias: Words, spec: LaneSpec
) -> tuple[type[np.floating[Any]], Words, Lane] | None:
    """Choose floats, spans of k in which they hold every sum, and the lane; reach[group, m, k] bounds the products."""
    words, own, _ = spec.residual or (np.zeros(1, np.int64), lsb, None)
    fine = min(lsb, own)
    largest = [int(reach.sum(axis=2).max()) << (lsb - fine)]
    largest += [int(np.abs(bias).max()) << (lsb - fine), int(np.abs(words).max()) << (own - fine)]
    left = max(fine - spec.output.lsb_exponent, 0) if isinstance(spec.output, LinearFormat) else 0
    if sum(largest) > FLOAT64_EXACT // 2 or left + sum(largest).bit_length() > 62:
        return None
    if sum(largest) < 2**31 and spec.round_bits <= 23:
        ends = _spans(reach, FLOAT32_EXACT)
        if ends is not None and len(ends) * _SHORTEST_SPAN <= reach.shape[2] + _SHORTEST_SPAN:
            return np.float32, ends, _lane(np.int32, lsb, bias, spec)
    ends = _spans(reach, FLOAT64_EXACT)
    return None if ends is None else (np.float64, ends, _lane(np.int64, lsb, bias, spec))


def _lane(total: type[np.signedinteger[Any]], lsb: int, bias: Words, spec: LaneSpec) -> Lane:
    """Return the lane for totals of a type, in the finer LSB of psum and residual."""
    words, own, floor = np.empty(0, np.int64), lsb, 0
    if spec.residual is not None:
        words, own, floor = spec.residual[0], spec.residual[1], spec.residual[2].min_code
    fine, output = min(lsb, own), spec.output
    left = right = steps = offset = 0
    if isinstance(output, LinearFormat):
        apart = output.lsb_exponent - fine
        left, right = max(-apart, 0), min(max(apart, 0), 62)
    else:
        steps = output.steps_per_octave
        offset = steps * (fine - _EXPONENT_BIAS[total]) - output.exponent_steps(0)
    return Lane(
        bias << (lsb - fine), lsb - fine, (words << (own - fine)).astype(total), floor,
        0 if spec.relu else int(np.iinfo(total).min) + 1, not isinstance(output, LinearFormat), _FRACTION_BITS[total],
        steps, offset, left, right, output.min_code, output.max_code,
    )  # fmt: skip


def _carries(spec: LaneSpec, fraction_bits: int) -> tuple[int, ...]:
    """Return 2^fraction_bits less each of the encoder's thresholds, always eight: those added carry nothing."""
    output, carries = spec.output, []
    if not isinstance(output, LinearFormat):
        found = fraction_thresholds(output.steps_per_octave, output.rounding, spec.round_bits)
        carries = [2**fraction_bits - (int(own) << (fraction_bits - spec.round_bits)) for own in found]
    return (*carries, *[0] * (MOST_STEPS - len(carries)))


def _spans(reach: NDArray[np.float64], limit: int) -> Words | None:
    """Return the ends of spans of k, in steps of four, whose sums all stay below the limit; reach[group, m, k]."""
    reduction = reach.shape[2]
    padded = np.pad(reach, ((0, 0), (0, 0), (0, -reduction % _STEP)))
    steps = padded.reshape(-1, padded.shape[2] // _STEP, _STEP).sum(axis=2)
    if float(steps.max()) > limit:
        return None
    ends, sums = [], np.zeros(len(steps))
    for step in range(steps.shape[1]):
        sums = sums + steps[:, step]
        if float(sums.max()) > limit:
            ends.append(step * _STEP)
            sums = steps[:, step]
    return np.array([*ends, reduction], np.int64)


def _bytes(codes: Codes) -> CodeBytes:
    """Return codes as the kernels read them: bytes, whose width is told apart there."""
    flat = np.ascontiguousarray(codes, np.int32 if codes.dtype.itemsize > 4 else None).reshape(-1)
    return CodeBytes(flat.view(np.int8), flat.itemsize)
