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
    operands = Operands(model, images[:MOST_IMAGES])
    ties = operands.ties
    ends = []
    for start in (np.zeros(ties.count + 1, np.int64), equalised(model, ties, REACH)):
        scales = scales_of(ties, start)
        for _ in range(MOST_ROUNDS):
            formats = ranges(rescaled(model, scales))
            with one_thread():
                balance = Balance(operands, formats, scales)
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


class Operands:
    """What the layers of a float network read and add, measured once for all formats."""

    def __init__(self, model: Model, images: Tensor) -> None:
        """Run the images through the float network."""
        self.model, self.ties = model, channel_ties(model.graph)
        self.layers: dict[str, _Operands] = {}
        network, inputs = FloatNetwork(model), {node.layer.name: node.inputs for node in model.graph.layer_nodes}

        def measure(layer: Layer, own: Parameters, ifmap: Tensor, residual: Tensor | None = None) -> Tensor:
            ofmap = network.layers[layer.name].run(ifmap, residual)
            weights = own.filter.reshape(layer.out_channels, own.filter.shape[1], -1)
            gains = np.square(weights, dtype=np.float64).sum(axis=2)
            gains = gains.reshape(layer.groups, -1, gains.shape[1]).sum(axis=1).reshape(-1, 1)
            read = (ifmap,) if residual is None else (ifmap, residual)
            self.layers[layer.name] = _Operands(
                inputs[layer.name], tuple(_Samples(tensor) for tensor in read), weights, gains,
                by_group(layer, _mean_squares(ifmap)), float(_mean_squares(ofmap).sum()) or 1.0,
            )  # fmt: skip
            return ofmap

        for _ in run_float(model, images, measure):
            pass


class Balance:
    """The error as a function of the ties' exponents, and those found so far."""

    def __init__(self, operands: Operands, formats: GraphFormats, scales: Scales) -> None:
        """Code every layer's operands at every exponent."""
        self.model, self.ties = operands.model, operands.ties
        self.exponents = exponents_of_ties(self.ties, scales)
        self.of_activations = np.zeros((self.ties.count + 1, 2 * REACH + 1))  # of the exponents −REACH … REACH
        self.layers: dict[str, _Weights] = {}
        for layer in self.model.graph.layers:
            own, made, read = operands.layers[layer.name], self.ties.made[layer.name], self.ties.read[layer.name]
            missed = [samples.missed(formats.tensors[name]) for name, samples in zip(own.inputs, own.read, strict=True)]
            np.add.at(self.of_activations, read, missed[0] * own.gains / own.energy)
            for residual in missed[1:]:
                np.add.at(self.of_activations, made, residual / own.energy)
            word, squares = formats.filters[layer.name], own.squares / own.energy
            self.layers[layer.name] = _Weights(own.weights, word, made, by_group(layer, read), squares)
        self.blocks = self._blocks()
        self.turn = 0
        self.taken, self.changed = np.zeros_like(self.exponents), np.zeros_like(self.exponents)  # in which turn, last

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
        """Let every tie take its turn; return whether one moved. With nothing new since its last turn it would stay."""
        moved = False
        for tie in self.blocks:
            if not self._has_news(tie):
                continue
            tried = self.exponents[tie] + STEPS
            tried = tried[np.abs(tried) <= REACH]
            best = int(tried[int(np.argmin(self.errors(tie, tried)))])
            self.turn += 1
            self.taken[tie] = self.turn
            if best != self.exponents[tie]:
                self.exponents[tie], self.changed[tie], moved = best, self.turn, True
        return moved

    def _has_news(self, tie: int) -> bool:
        """Return whether a tie has had no turn yet, or it or one that it shares a weight with has moved since."""
        taken = self.taken[tie]
        return taken == 0 or any(
            self.changed[self.layers[name].made[rows]].max() >= taken
            or self.changed[self.layers[name].read[np.ix_(rows, columns)]].max() >= taken
            for name, rows, columns in self.blocks[tie]
        )

    def errors(self, tie: int, tried: Numbers) -> Floats:
        """Return for some exponents of a tie the part of the error that it has a say in, less a constant."""
        total = self.of_activations[tie][tried + REACH]
        for name, rows, columns in self.blocks[tie]:
            total += self.layers[name].errors(self.exponents, (tie, tried), (rows, columns))
        return total

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
class _Operands:
    """Of one layer: the tensors that it reads and adds, weights[m, c, tap] and what an error of them counts."""

    inputs: tuple[str, ...]  # ifmap, perhaps residual
    read: tuple["_Samples", ...]
    weights: Tensor
    gains: Floats  # Σ_m |w_mc|² of each group and channel
    squares: Floats  # |x_c|² of [m, c]
    energy: float  # Σ_m |y_m|²


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


class _Samples:
    """Some values of every channel of a tensor, and what codes make of them."""

    def __init__(self, values: Tensor) -> None:
        rows = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
        self._rows = np.ascontiguousarray(rows[:, :: -(-rows.shape[1] // MOST_SAMPLES)])
        self._found: dict[Format, Floats] = {}

    def missed(self, word: Format) -> Floats:
        """Return for every channel and every exponent the mean squared error of its codes.

        2^s times the values have the codes of the values in a range 2^−s times as large, and 2^s times the error.
        """
        words = (word.model_copy(update={"fsr": word.fsr - exponent}) for exponent in range(-REACH, REACH + 1))
        return np.stack([self._missed(own) for own in words], axis=1)

    def _missed(self, word: Format) -> Floats:
        if word not in self._found:
            self._found[word] = _missed(self._rows, 0, word).mean(axis=1)
        return self._found[word]


def _missed(values: Tensor, exponents: Any, word: Format) -> Floats:
    """Return the squared errors of values that are coded 2^exponents times as large."""
    scaled = np.ldexp(values, exponents)
    return np.square(np.ldexp(decode(encode(scaled, word), word) - scaled, -exponents))


def _mean_squares(values: Tensor) -> Floats:
    return np.square(values, dtype=np.float64).mean(axis=tuple(axis for axis in range(values.ndim) if axis != 1))
