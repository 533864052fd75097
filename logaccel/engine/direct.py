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
from logaccel.engine.kernels_direct import CHANNELS, DEPTH, Walk, Weights, run_exact
from logaccel.engine.kernels_lane import Lane
from logaccel.engine.layout import lay_out
from logaccel.engine.lowering import group_filters
from logaccel.engine.post import bias_words
from logaccel.errors import TraceError
from logaccel.formats import Format, LinearFormat
from logaccel.formats.encode import MANTISSA_BITS, MOST_STEPS, Codes, Values
from logaccel.formats.thresholds import fraction_thresholds
from logaccel.pe import Datapath, Product
from logaccel.workload import Layer

Words = NDArray[np.int64]
MOST_WEIGHTS = 2**22  # factors of one layer: they stay in memory
_SHORTEST_SPAN = 8  # mean k: with shorter ones float64 is faster
_LOWEST = -(2**63)
_BIAS = 1023  # of a double's exponent


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
        self.tables = factors.tables()
        narrow = weights.packed.dtype == np.float32
        self.zero: NDArray[Any] = np.empty(0, np.int32 if narrow else np.int64)
        self.thresholds = _thresholds(spec.output, spec.round_bits)
        self.walks: dict[int, tuple[Walk, Weights]] = {}

    @property
    def backend(self) -> str:
        """What computes the values."""
        return f"direct {self.weights.packed.dtype.name}"

    def run(self, ifmap: Codes, residual: Codes | None = None) -> tuple[Codes, int]:
        """Return the ofmap's codes [N, M, P, Q] (or [N, M]) and how many of them are at the ends of the format."""
        layer, batch, own = self.layer, len(ifmap), self.spec.output
        walk, weights = self._walk(batch)
        maps = _in_16_bits(ifmap).reshape(batch, layer.in_channels, *layer.in_size)
        added = np.empty(0, np.int16) if residual is None else _in_16_bits(residual).reshape(-1)
        out = np.empty(batch * layer.out_channels * layer.out_size[0] * layer.out_size[1], np.int16)
        saturated = run_exact(maps, self.tables, walk, weights, self.lane, self.thresholds, self.zero, added, out)
        return out.astype(own.code_dtype, copy=False).reshape(layer.ofmap_shape(batch)), int(saturated)

    def _walk(self, batch: int) -> tuple[Walk, Weights]:
        if batch not in self.walks:
            walk, at = lay_out(self.layer, self.tables[0].shape[0], batch)
            at = np.concatenate([at, np.zeros(-at.size % DEPTH, np.int64)])
            self.walks = {batch: (walk, self.weights._replace(at=at))}  # the last alone: a batch more is a rest
        return self.walks[batch]


def direct_layer(layer: Layer, datapath: Datapath, filters: Codes, spec: LaneSpec) -> DirectLayer | None:
    """Return a layer ready to run, or None where formats and weights do not prove every sum exact."""
    formats = [datapath.activation, spec.output] + ([spec.residual[2]] if spec.residual else [])
    if datapath.product is Product.LOGSUM or datapath.drop_bits or any(f.code_dtype.itemsize > 2 for f in formats):
        return None
    exact = factors_of(datapath, combined=True)
    factors = FloatFactors(exact, np.float64)
    if len(factors.kept) * filters.size > MOST_WEIGHTS:
        return None
    planes = factors.weights(group_filters(layer, filters))
    reach = np.concatenate(
        [np.abs(w) * top for w, top in zip(planes, factors.largest(datapath.activation), strict=True)], axis=2
    )
    sums = reach.sum(axis=2)
    # Every constant K_j is at least K_0, so a bin's plain words sum to no more than this.
    lane_sum = float(sums.max()) / (datapath.constants[0] if datapath.binned else 1)
    if lane_sum > 2 ** (datapath.acc_bits - 1) - 1:
        return None
    try:
        bias = bias_words(spec.bias, datapath.lsb_exponent)
    except TraceError:  # told by whoever runs the layer
        return None
    lane, limit = _lane(bias, datapath.lsb_exponent, spec)
    reached = (int(sums.max()) << lane.shift) + int(np.abs(lane.bias).max()) + limit
    if reached > FLOAT64_EXACT // 2 or lane.left + reached.bit_length() > 62:
        return None
    narrow = _spans(reach, FLOAT32_EXACT) if reached < 2**31 else None
    ends = _spans(reach, FLOAT64_EXACT) if narrow is None or len(narrow) * _SHORTEST_SPAN > reach.shape[2] else narrow
    if ends is None:
        return None
    dtype = np.float32 if ends is narrow else np.float64
    packed = _packed(np.concatenate(planes, axis=2), dtype)
    weights = Weights(packed, np.empty(0, np.int64), ends, layer.groups, layer.out_channels // layer.groups)
    return DirectLayer(layer, FloatFactors(exact, dtype), weights, lane, spec)


def _lane(bias: Words, lsb: int, spec: LaneSpec) -> tuple[Lane, int]:
    """Return the lane in the finer LSB of psum and residual, and the largest magnitude of a residual word there."""
    words, own, floor, largest = np.empty(0, np.int64), lsb, 0, 0
    if spec.residual is not None:
        words, own, source = spec.residual
        floor, largest = source.min_code, max(abs(int(words.max())), abs(int(words.min()))) << max(own - lsb, 0)
        words = words << max(own - lsb, 0) if largest < FLOAT64_EXACT else words
    fine, output = min(lsb, own), spec.output
    shift = lsb - fine
    left = right = steps = offset = 0
    if isinstance(output, LinearFormat):
        apart = output.lsb_exponent - fine
        left, right = max(-apart, 0), min(max(apart, 0), 62)
    else:
        steps = output.steps_per_octave
        offset = steps * (fine - _BIAS) - output.exponent_steps(0)
    lowest = 0 if spec.relu else _LOWEST
    if int(np.abs(bias).max(initial=0)).bit_length() + shift > 60:
        return Lane(bias, shift, words, floor, lowest, False, 0, 0, 63, 0, 0, 0), largest  # refused
    return Lane(
        bias << shift, shift, words, floor, lowest, not isinstance(output, LinearFormat), steps, offset,
        left, right, output.min_code, output.max_code,
    ), largest  # fmt: skip


def _thresholds(output: Format, round_bits: int) -> tuple[int, ...]:
    """Return the encoder's thresholds in 52 fraction bits, always eight: those added are out of reach."""
    if isinstance(output, LinearFormat):
        return (2**MANTISSA_BITS,) * MOST_STEPS
    found = fraction_thresholds(output.steps_per_octave, output.rounding, round_bits)
    scaled = [int(threshold) << (MANTISSA_BITS - round_bits) for threshold in found]
    return (*scaled, *[2**MANTISSA_BITS] * (MOST_STEPS - len(scaled)))


def _spans(reach: NDArray[np.float64], limit: int) -> Words | None:
    """Return the ends of spans of k, multiples of four, whose sums all stay below the limit; reach[group, m, k]."""
    padded = np.pad(reach, ((0, 0), (0, 0), (0, -reach.shape[2] % DEPTH)))
    steps = padded.reshape(-1, padded.shape[2] // DEPTH, DEPTH).sum(axis=2)
    if float(steps.max()) > limit:
        return None
    ends, sums = [], np.zeros(len(steps))
    for step in range(steps.shape[1]):
        sums = sums + steps[:, step]
        if float(sums.max()) > limit:
            ends.append(step * DEPTH)
            sums = steps[:, step]
    return np.array([*ends, padded.shape[2]], np.int64)


def _packed(weights: NDArray[np.float64], dtype: Any) -> NDArray[Any]:
    """Return [group, block of channels, k, 4 channels] flat, of W[group, m, k]; zeros fill up."""
    groups, channels, reduction = weights.shape
    padded = np.pad(weights.astype(dtype), ((0, 0), (0, -channels % CHANNELS), (0, -reduction % DEPTH)))
    blocks = padded.reshape(groups, -1, CHANNELS, padded.shape[2])
    return np.ascontiguousarray(blocks.transpose(0, 1, 3, 2)).reshape(-1)


def _in_16_bits(codes: Codes) -> Codes:
    """Return codes in the type that the kernel reads: each further one would be compiled for itself."""
    return np.ascontiguousarray(codes, np.int16)
