"""Words by layer within a budget of bits: greedy, most output error saved for a bit first.

Words are chosen for every tensor that layers read (one word for all its readers) and, after them, for the filters
of every layer. A word is of the kind (linear or log) that the layer has in the architecture; bits and, for logs,
steps per octave vary. It must be legal: the PE takes the pair, no word passes its limit, and the accumulator holds
every sum, or at least no longer ones than the architecture's own words ask of it.

The greedy search starts with the fewest bits everywhere. Again and again it takes the step, to any wider word of any
tensor, that saves most `output_error` for a bit and still fits. Where the best single word for all tensors, at
those bits, errs less in sum, that is taken.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from logaccel.arch import Architecture, LayerSettings
from logaccel.errors import ConfigError
from logaccel.evaluation.output_error import MOST_IMAGES, output_errors
from logaccel.formats import Format, LinearWord, LogWord
from logaccel.formats.calibrate import best_fsr
from logaccel.formats.channels import scaled
from logaccel.model.model import Model
from logaccel.model.reference import run_float
from logaccel.quantization import format_sets, layer_architectures, non_negative
from logaccel.section import Section
from logaccel.trace import Tensor
from logaccel.workload.graph import INPUT, LayerNode

Word = LinearWord | LogWord
BITS = range(2, 9)
STEPS: tuple[Literal[1, 2], ...] = (1, 2)  # per octave: base 2, base √2
MOST_SAMPLES = 2**18  # values of one set that ranges are chosen on


@dataclass(frozen=True)
class Choice:
    """One tensor: how many values it has, and its words, ascending in bits, each of less error than those before."""

    name: str
    values: int
    options: tuple[tuple[Word, float], ...]


def choose_words(
    model: Model,
    arch: Architecture,
    images: Tensor,
    budgets: tuple[float | None, float | None],
    scales: Mapping[str, tuple[int, ...]],
) -> dict[str, LayerSettings]:
    """Return settings of layers whose mean bits a weight and an ifmap's value are within the budgets (None: kept).

    Means are over the weights of the network and over the values of the ifmaps of all its layers, for one image.
    Raises ConfigError where the fewest legal bits pass a budget.
    """
    weight_bits, activation_bits = budgets
    layers = model.graph.layers
    archs = dict(zip((layer.name for layer in layers), layer_architectures(arch, layers), strict=True))
    sets = format_sets(model.graph)
    reading = {node.name: sets[node.inputs[0]] for node in model.graph.layer_nodes}
    activations = {name: archs[name].activation for name in archs}
    weights = {name: archs[name].weight for name in archs}
    if activation_bits is not None:
        chosen = within_budget(_activation_choices(model, archs, images), activation_bits, "activation_bits")
        activations = {name: chosen[own] for name, own in reading.items()}
    if weight_bits is not None:
        weights = within_budget(_weight_choices(model, archs, activations, images, scales), weight_bits, "weight_bits")
    settings = {}
    for name, own in archs.items():
        parts: dict[str, Section] = {"pe": own.pe, "activation": activations[name], "weight": weights[name]}
        if parts != {key: getattr(own, key) for key in parts}:
            # Each stands alone: what `first` or `last` say of the layer is in it.
            settings[name] = LayerSettings.model_validate(
                {key: part for key, part in parts.items() if part != getattr(arch, key) or part != getattr(own, key)}
            )
    return settings


def within_budget(choices: list[Choice], bits: float, key: str) -> dict[str, Word]:
    """Return a word for every tensor, of at most so many bits in the mean over their values."""
    limit = bits * sum(choice.values for choice in choices)
    places = [0] * len(choices)
    used = sum(choice.values * choice.options[0][0].bits for choice in choices)
    if used > limit:
        least = used / sum(choice.values for choice in choices)
        raise ConfigError(
            f"calibration: {key} must be at least {least:.3f}, the fewest that are legal here, got {bits}"
        )
    while True:
        steps = [
            (saved / added, -index, place, added)
            for index, choice in enumerate(choices)
            for place in range(places[index] + 1, len(choice.options))
            for added in [choice.values * (choice.options[place][0].bits - choice.options[places[index]][0].bits)]
            for saved in [choice.options[places[index]][1] - choice.options[place][1]]
            if used + added <= limit
        ]
        if not steps:
            break
        _, index, place, added = max(steps)
        places[-index], used = place, used + added
    chosen = {choice.name: choice.options[place] for choice, place in zip(choices, places, strict=True)}
    uniform = min(_uniform(choices, limit), key=_error, default=chosen)
    return {name: word for name, (word, _) in min(chosen, uniform, key=_error).items()}


def _error(chosen: Mapping[str, tuple[Word, float]]) -> float:
    return sum(error for _, error in chosen.values())


def _uniform(choices: list[Choice], limit: float) -> Iterable[dict[str, tuple[Word, float]]]:
    """Yield what the same bits for all tensors give, or the next fewer where a tensor has none of them."""
    for bits in BITS:
        found = {choice.name: [option for option in choice.options if option[0].bits <= bits] for choice in choices}
        if all(found.values()):
            chosen = {name: options[-1] for name, options in found.items()}
            if sum(choice.values * chosen[choice.name][0].bits for choice in choices) <= limit:
                yield chosen


def _activation_choices(model: Model, archs: Mapping[str, Architecture], images: Tensor) -> list[Choice]:
    graph, sets = model.graph, format_sets(model.graph)
    readers: dict[str, list[LayerNode]] = {}
    for node in graph.layer_nodes:
        readers.setdefault(sets[node.inputs[0]], []).append(node)
    words = {
        own: _legal(
            [archs[node.name] for node in nodes], [node.layer.matrix(1).reduction for node in nodes],
            archs[nodes[0].name].activation, lambda view, word: (word, view.weight),
        )
        for own, nodes in readers.items()
    }  # fmt: skip
    sure = non_negative(graph, input_too=bool(images.min() >= 0))
    signed = {own: any(name not in sure for name, first in sets.items() if first == own) for own in words}
    samples: dict[str, list[Tensor]] = {own: [] for own in words}
    for name, value in [
        (INPUT, images),
        *((node.name, value) for node, value in run_float(model, images[:MOST_IMAGES])),
    ]:
        if sets[name] in samples:
            samples[sets[name]].append(np.ravel(value)[:: max(1, -(-value.size // MOST_SAMPLES))])
    formats = {own: _at_best(words[own], np.concatenate(samples[own]), signed[own]) for own in words}
    errors, _ = output_errors(model, images, formats, {}, {})
    values = {own: sum(prod(node.layer.ifmap_shape(1)) for node in nodes) for own, nodes in readers.items()}
    return [Choice(own, values[own], _rising(words[own], errors[own])) for own in words]


def _weight_choices(
    model: Model,
    archs: Mapping[str, Architecture],
    activations: Mapping[str, Word],
    images: Tensor,
    scales: Mapping[str, tuple[int, ...]],
) -> list[Choice]:
    words, formats = {}, {}
    for layer in model.graph.layers:
        view = archs[layer.name].model_copy(update={"activation": activations[layer.name]})
        words[layer.name] = _legal(
            [view], [layer.matrix(1).reduction], view.weight, lambda view, word: (view.activation, word)
        )
        weights = scaled(model.parameters[layer.name].filter, scales.get(layer.name))
        formats[layer.name] = _at_best(words[layer.name], weights, True)
    _, errors = output_errors(model, images, {}, formats, scales)
    return [
        Choice(name, model.parameters[name].filter.size, _rising(words[name], errors[name])) for name in archs
    ]  # fmt: skip


def _legal(
    views: list[Architecture], reductions: list[int], own: Word, pair: Callable[[Architecture, Word], tuple[Word, Word]]
) -> list[Word]:
    """Return the words of one kind that every layer's PE can take, fewest bits first; the layers' own among them."""
    words = [own]
    for bits in BITS:
        if isinstance(own, LinearWord):
            words.append(LinearWord(bits=bits))
        else:
            words += [LogWord(bits=bits, steps_per_octave=steps, rounding=own.rounding) for steps in STEPS]
    return sorted(
        {
            word: None
            for word in words
            if all(
                _takes(view, pair(view, word), pair(view, own), k) for view, k in zip(views, reductions, strict=True)
            )
        },
        key=lambda word: (word.bits, getattr(word, "steps_per_octave", 1)),
    )


def _takes(view: Architecture, words: tuple[Word, Word], own: tuple[Word, Word], reduction: int) -> bool:
    if words == own:
        return True
    if view.model_copy(update={"activation": words[0], "weight": words[1]}).faults():
        return False

    def needed(pair: tuple[Word, Word]) -> int:
        modes = [False, True] if pair[0].bits > 1 else [False]
        return max(
            view.pe.datapath(pair[0].at(0, mode), pair[1].at(0, True)).exact_acc_bits(reduction) for mode in modes
        )

    return needed(words) <= max(view.pe.acc_bits, needed(own))


def _at_best(words: list[Word], values: Tensor, signed: bool) -> list[Format]:
    return [word.at(best_fsr(values, word, signed and word.bits > 1), signed and word.bits > 1) for word in words]


def _rising(words: list[Word], errors: list[float]) -> tuple[tuple[Word, float], ...]:
    """Return the words that err less than all of no more bits before them; of equal bits the best."""
    options: list[tuple[Word, float]] = []
    for word, error in zip(words, errors, strict=True):
        if options and error >= options[-1][1]:
            continue
        if options and options[-1][0].bits == word.bits:
            options.pop()
        options.append((word, error))
    return tuple(options)
