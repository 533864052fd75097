"""Choose the powers of two that the next filters take back: the least output error that they can bring about.

A power of two moves a channel against three ranges: that of its tensor, that of the filters that make it, that of
the filters that read it. Errors of codes count as noise without correlation, so in a layer with ifmap x, filters w,
ofmap y and perhaps a residual r, all as trained,

    error = ( Σ_c |x_c − x̂_c|² Σ_m |w_mc|²  +  Σ_m,c |w_mc − ŵ_mc|² |x_c|²  +  Σ_m |r_m − r̂_m|² ) / Σ_m |y_m|²

with |·|² of an activation its mean over images and pixels. ŵ_mc is 2^−k times what is coded of 2^k w_mc,
k = s_m − s_c; x̂_c and r̂_m likewise. Ties (`channel_ties.py`) take turns, each at the best of its exponents with the
others as they are, the smallest where several are, until none moves: the sum over the layers falls with every move.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.evaluation.channel_ties import FIXED, NONE, ChannelTies, channel_ties
from logaccel.evaluation.equalised import equalised
from logaccel.evaluation.float_network import FloatNetwork
from logaccel.evaluation.formats import GraphFormats
from logaccel.evaluation.next_scales import by_group, exponents_of_ties, rescaled
from logaccel.formats import Format
from logaccel.formats.encode import decode, encode
from logaccel.jit import one_thread
from logaccel.model.model import Model, Parameters
from logaccel.model.reference import run_float
from logaccel.trace import Tensor
from logaccel.workload.layer import Layer

MOST_IMAGES = 16
MOST_SAMPLES = 1024  # values of a channel that its error is measured on
MOST_SWEEPS = 6
MOST_ROUNDS = 3
REACH = 8  # a tie's exponents are −REACH … REACH
STEPS = np.array([0, -1, 1, -2, 2])  # what a tie tries in its turn; the first of the best wins
Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Scales = dict[str, tuple[int, ...]]


def choose_next_scales(model: Model, images: Tensor, ranges: Callable[[Model], GraphFormats]) -> Scales:
    """Return s of every ofmap channel by layer, where one is not 0.

    ranges: gives a model its formats. They are chosen anew for what the exponents have made of the model, and the
    exponents for them, MOST_ROUNDS times or until none moves. The search starts with the model as it is and with
    `equalised` channels; the end with less error is taken, on a tie the first.
    """
    ties = channel_ties(model.graph)
    ends = []
    for start in (np.zeros(ties.count + 1, np.int64), equalised(model, ties, REACH)):
        scales = scales_of(ties, start)
        for _ in range(MOST_ROUNDS):
            balance = Balance(model, ranges(rescaled(model, scales)), images[:MOST_IMAGES], scales)
            with one_thread():
                moved, error = balance.settle(), balance.total()
            if not moved:
                break
            scales = balance.scales()
        ends.append((error, scales))
    return min(ends, key=lambda end: end[0])[1]


def scales_of(ties: ChannelTies, exponents: Numbers) -> Scales:
    """Return s of every ofmap channel by layer, where one is not 0."""
    found = {name: exponents[made] for name, made in ties.made.items()}
    return {name: tuple(own.tolist()) for name, own in found.items() if own.any()}


class Balance:
    """The error as a function of the ties' exponents, and those found so far."""

    def __init__(self, model: Model, formats: GraphFormats, images: Tensor, scales: Scales) -> None:
        """Run the images through the float network and measure every layer's operands."""
        self.model, self.formats, self.ties = model, formats, channel_ties(model.graph)
        self.exponents = exponents_of_ties(self.ties, scales)
        self.of_activations = np.zeros((self.ties.count + 1, 2 * REACH + 1))  # of the exponents −REACH … REACH
        self.layers: dict[str, _Weights] = {}
        network, inputs = FloatNetwork(model), {node.layer.name: node.inputs for node in model.graph.layer_nodes}

        def measure(layer: Layer, own: Parameters, ifmap: Tensor, residual: Tensor | None = None) -> Tensor:
            ofmap = network.layers[layer.name].run(ifmap, residual)
            self._measure(layer, inputs[layer.name], (ifmap, residual, ofmap))
            return ofmap

        for _ in run_float(model, images, measure):
            pass
        self.blocks = self._blocks()

    def settle(self) -> bool:
        """Sweep until no tie moves, MOST_SWEEPS times at most; return whether one has moved."""
        sweeps = 0
        while sweeps < MOST_SWEEPS and self.sweep():
            sweeps += 1
        return sweeps > 0

    def scales(self) -> Scales:
        """Return s of every ofmap channel by layer, where one is not 0."""
        return scales_of(self.ties, self.exponents)

    def total(self) -> float:
        """Return the whole error: the sum over the layers."""
        places, every = (np.arange(len(self.exponents)), self.exponents + REACH), (FIXED, np.zeros(1, np.int64))
        of_weights = (
            own.errors(self.exponents, every, (np.array([row]), np.arange(own.read.shape[1]))).item()
            for own in self.layers.values()
            for row in range(len(own.made))
        )
        return float(self.of_activations[places].sum()) + sum(of_weights)

    def sweep(self) -> bool:
        """Let every tie take its turn; return whether one moved."""
        moved = False
        for tie in self.blocks:
            tried = self.exponents[tie] + STEPS
            tried = tried[np.abs(tried) <= REACH]
            best = int(tried[int(np.argmin(self.errors(tie, tried)))])
            moved |= best != self.exponents[tie]
            self.exponents[tie] = best
        return moved

    def errors(self, tie: int, tried: Numbers) -> Floats:
        """Return for some exponents of a tie the part of the error that it has a say in, less a constant."""
        total = self.of_activations[tie][tried + REACH]
        for name, rows, columns in self.blocks[tie]:
            total += self.layers[name].errors(self.exponents, (tie, tried), (rows, columns))
        return total

    def _measure(self, layer: Layer, inputs: tuple[str, ...], tensors: tuple[Tensor, Tensor | None, Tensor]) -> None:
        (ifmap, residual, ofmap), formats = tensors, self.formats.tensors
        energy = float(_mean_squares(ofmap).sum()) or 1.0
        weights = self.model.parameters[layer.name].filter
        weights = weights.reshape(layer.out_channels, weights.shape[1], -1)
        made, read = self.ties.made[layer.name], self.ties.read[layer.name]
        gains = np.square(weights, dtype=np.float64).sum(axis=2)
        gains = gains.reshape(layer.groups, -1, gains.shape[1]).sum(axis=1).reshape(-1, 1)
        np.add.at(self.of_activations, read, _channel_errors(ifmap, formats[inputs[0]]) * gains / energy)
        if residual is not None:
            np.add.at(self.of_activations, made, _channel_errors(residual, formats[inputs[1]]) / energy)
        self.layers[layer.name] = _Weights(
            weights, self.formats.filters[layer.name], made, by_group(layer, read),
            by_group(layer, _mean_squares(ifmap)) / energy,
        )  # fmt: skip

    def _blocks(self) -> dict[int, list[tuple[str, Numbers, Numbers]]]:
        """Return by tie the blocks of weights that it scales: layer, ofmap channels, ifmap channels of their group.

        A weight in two blocks has one tie on both sides and keeps its size: it adds the same to all exponents.
        """
        found: dict[int, list[tuple[str, Numbers, Numbers]]] = defaultdict(list)
        for layer in self.model.graph.layers:
            name, made, read = layer.name, self.ties.made[layer.name], self.ties.read[layer.name]
            every, of_group = np.arange(len(read) // layer.groups), len(made) // layer.groups
            for tie in np.unique(made).tolist():
                found[tie].append((name, np.nonzero(made == tie)[0], every))
            for group, own in enumerate(read.reshape(layer.groups, -1)):
                rows = np.arange(group * of_group, (group + 1) * of_group)
                for tie in np.unique(own).tolist():
                    found[tie].append((name, rows, np.nonzero(own == tie)[0]))
        return {tie: found[tie] for tie in sorted(found) if tie not in (FIXED, NONE)}


@dataclass(frozen=True, eq=False)
class _Weights:
    """Of one layer: weights[m, c, tap], ties of m and of [m, c], and |x_c|² of [m, c] over the layer's energy."""

    values: Tensor
    word: Format
    made: Numbers
    read: Numbers
    squares: Floats

    def errors(self, exponents: Numbers, trial: tuple[int, Numbers], block: tuple[Numbers, Numbers]) -> Floats:
        """Return the error of a block of weights for each exponent tried of one of its ties."""
        places = np.ix_(*block)
        made, read = self.made[block[0]][:, None], self.read[places]
        tie, tried = trial[0], trial[1][:, None, None]
        turned = np.where(made == tie, tried, exponents[made]) - np.where(read == tie, tried, exponents[read])
        missed = _missed(self.values[places], turned[..., None], self.word)
        return np.asarray((missed.sum(axis=3) * self.squares[places]).sum(axis=(1, 2)))


def _channel_errors(values: Tensor, word: Format) -> Floats:
    """Return for every channel of values[N, C, …] and every exponent the mean squared error of its codes."""
    rows = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
    rows = np.ascontiguousarray(rows[:, :: -(-rows.shape[1] // MOST_SAMPLES)])
    return np.stack([_missed(rows, exponent, word).mean(axis=1) for exponent in range(-REACH, REACH + 1)], axis=1)


def _missed(values: Tensor, exponents: Any, word: Format) -> Floats:
    """Return the squared errors of values that are coded 2^exponents times as large."""
    scaled = np.ldexp(values, exponents)
    return np.square(np.ldexp(decode(encode(scaled, word), word) - scaled, -exponents))


def _mean_squares(values: Tensor) -> Floats:
    return np.square(values, dtype=np.float64).mean(axis=tuple(axis for axis in range(values.ndim) if axis != 1))
