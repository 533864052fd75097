"""Calibration: from a trained network and a few images to the formats of every tensor, in up to six steps.

balance    powers of two by channel that the next filters take back (`balance.py`); the rest sees the rescaled model
words      by layer within a budget of bits (`budget.py`), or the architecture's
scales     powers of two by ofmap channel (`channels.py`)
ranges     max, percentile or least squared error of the tensor itself
ranges     least output error: the best of a few around those of least squares
biases     corrected by the mean error of each channel (`bias.py`)
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from logaccel.arch import Architecture
from logaccel.errors import ConfigError, TraceError
from logaccel.evaluation.balance import choose_next_scales
from logaccel.evaluation.bias import corrected_biases
from logaccel.evaluation.budget import choose_words
from logaccel.evaluation.channels import CHANNEL_SCALES, ChannelScales, choose_scales
from logaccel.evaluation.float_network import FloatNetwork
from logaccel.evaluation.formats import LARGEST_SCALE, GraphFormats
from logaccel.evaluation.next_scales import rescaled
from logaccel.evaluation.output_error import output_errors
from logaccel.formats import Format, LinearWord, LogWord
from logaccel.formats.calibrate import best_fsr
from logaccel.formats.channels import scaled
from logaccel.formats.number import FSR_MAX, FSR_MIN
from logaccel.model.model import Model
from logaccel.quantization import format_sets, layer_architectures, non_negative, set_words
from logaccel.trace import Tensor
from logaccel.workload.graph import INPUT

Method = Literal["max", "percentile", "least_squares", "least_output_error"]
METHODS: tuple[Method, ...] = get_args(Method)
MOST_SAMPLES = 2**22  # values of one set that a calibration looks at
RANGES_AROUND = 2  # octaves on either side of the range of least squares that the output error decides among


@dataclass(frozen=True)
class Calibration:
    """How formats are chosen. Raises ConfigError for a wrong setting.

    method: max, the smallest range in which nothing saturates; percentile, in which that share of the magnitudes
    does not; least_squares, the least squared error of the tensor; least_output_error, that of the ofmaps of the
    layers that read it. Filters take the same method, percentile the maximum.
    weight_bits, activation_bits: mean bits a weight and an ifmap's value may have; None keeps the architecture's words.
    """

    method: Method = "least_squares"
    percentile: float = 99.99
    channel_scales: ChannelScales = "none"
    weight_bits: float | None = None
    activation_bits: float | None = None
    correct_bias: bool = False

    def summary(self) -> str:
        """Return the choices in a line; defaults are left out, but for the method."""
        parts = [f"percentile {self.percentile:g}" if self.method == "percentile" else self.method]
        parts += [f"channel scales {self.channel_scales}"] * (self.channel_scales != "none")
        budgets = ((self.weight_bits, "a weight"), (self.activation_bits, "an ifmap's value"))
        parts += [f"{bits:g} bits {what}" for bits, what in budgets if bits is not None]
        return ", ".join(parts + ["corrected biases"] * self.correct_bias)

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.method not in METHODS:
            raise ConfigError(f"calibration: method must be one of {', '.join(METHODS)}, got {self.method!r}")
        if not 50.0 <= self.percentile <= 100.0:
            raise ConfigError(f"calibration: percentile must be 50 … 100, got {self.percentile}")
        if self.channel_scales not in CHANNEL_SCALES:
            raise ConfigError(
                f"calibration: channel_scales must be one of {', '.join(CHANNEL_SCALES)}, got {self.channel_scales!r}"
            )
        for key in ("weight_bits", "activation_bits"):
            bits = getattr(self, key)
            if bits is not None and not 1 <= bits <= 32:
                raise ConfigError(f"calibration: {key} must be 1 … 32 bits, got {bits}")


def calibrate(
    model: Model,
    arch: Architecture,
    images: Tensor,
    method: Method | Calibration = "least_squares",
    percentile: float = 99.99,
) -> GraphFormats:
    """Choose formats on a few images: the full-scale range of every set of tensors and of every filter, and more.

    method: one of the four, or a whole `Calibration`. A set is signed where one of its tensors may hold a negative.
    Powers of two by ofmap channel reach as far as the architecture's lanes shift, to LARGEST_SCALE where they do not.
    """
    chosen = method if isinstance(method, Calibration) else Calibration(method, percentile)
    trained, next_scales = model, dict[str, tuple[int, ...]]()
    if chosen.channel_scales == "next_weights":
        next_scales = choose_next_scales(trained, images, lambda made: _ranges(made, arch, images, chosen, {}))
        model = rescaled(trained, next_scales)

    def scales_for(arch: Architecture) -> dict[str, tuple[int, ...]]:
        views = layer_architectures(arch, model.graph.layers)
        words = {layer.name: view.weight for layer, view in zip(model.graph.layers, views, strict=True)}
        return choose_scales(model, chosen.channel_scales, words, arch.post.largest_channel_shift or LARGEST_SCALE)

    budgets = (chosen.weight_bits, chosen.activation_bits)
    layers = choose_words(model, arch, images, budgets, scales_for(arch)) if any(budgets) else {}
    own = GraphFormats({}, {}, layers=layers).architecture(arch)
    scales = scales_for(own)
    formats = replace(_ranges(model, own, images, chosen, scales), scales=scales, layers=layers)
    if chosen.method == "least_output_error":
        formats = _least_output_error(model, images, formats)
    formats = replace(formats, next_scales=next_scales)
    if chosen.correct_bias:
        formats = replace(formats, biases=corrected_biases(trained, arch, formats, images))
    return formats


def _ranges(
    model: Model, arch: Architecture, images: Tensor, chosen: Calibration, scales: dict[str, tuple[int, ...]]
) -> GraphFormats:
    """Return formats whose ranges follow from the tensors themselves."""
    graph = model.graph
    sets, words = format_sets(graph), set_words(graph, arch)
    sure = non_negative(graph, input_too=bool(images.min() >= 0))
    members: dict[str, list[str]] = {}
    for name, own in sets.items():
        members.setdefault(own, []).append(name)
    signed = {own: any(name not in sure for name in names) for own, names in members.items()}
    samples: dict[str, list[NDArray[np.float32]]] = {own: [] for own in members}
    for name, value in _all_tensors(model, images):
        share = MOST_SAMPLES // max(len(members[sets[name]]), 1)
        samples[sets[name]].append(np.ravel(value)[:: max(1, -(-value.size // share))])
    found = {own: _format(words[own], np.concatenate(samples[own]), signed[own], chosen) for own in members}
    whole = replace(chosen, method="max") if chosen.method == "percentile" else chosen
    filters = {
        layer.name: _format(
            own.weight, scaled(model.parameters[layer.name].filter, scales.get(layer.name)), True, whole
        )
        for layer, own in zip(graph.layers, layer_architectures(arch, graph.layers), strict=True)
    }
    return GraphFormats({name: found[own] for name, own in sets.items()}, filters)


def _least_output_error(model: Model, images: Tensor, formats: GraphFormats) -> GraphFormats:
    """Return formats with the ranges, around those given, of the least output error; the smaller wins a tie.

    A set that no layer reads keeps its range.
    """
    sets = format_sets(model.graph)
    read = {sets[name] for node in model.graph.layer_nodes for name in node.inputs}
    tensors = {own: _around(formats.tensors[own]) for own in sets.values() if own in read}
    filters = {name: _around(own) for name, own in formats.filters.items()}
    of_tensors, of_filters = output_errors(model, images, tensors, filters, formats.scales)
    best = {own: tensors[own][int(np.argmin(errors))] for own, errors in of_tensors.items()}
    return replace(
        formats,
        tensors={name: best.get(sets[name], own) for name, own in formats.tensors.items()},
        filters={name: filters[name][int(np.argmin(errors))] for name, errors in of_filters.items()},
    )


def _around(chosen: Format) -> list[Format]:
    ranges = range(max(chosen.fsr - RANGES_AROUND, FSR_MIN), min(chosen.fsr + RANGES_AROUND, FSR_MAX) + 1)
    return [chosen.model_copy(update={"fsr": fsr}) for fsr in ranges]


def _all_tensors(model: Model, images: Tensor) -> Any:
    """Yield every tensor of the float network. Raises TraceError for one that leaves float32."""
    yield INPUT, images
    for node, value in FloatNetwork(model).run(images):
        if not np.isfinite(value).all():
            worst = value[~np.isfinite(value)].flat[0]
            raise TraceError(f"{model.name}: {node.name}: must be finite in float32, got {worst}: weights too large")
        yield node.name, value


def _format(word: LinearWord | LogWord, values: NDArray[np.float32], signed: bool, chosen: Calibration) -> Format:
    signed = signed and word.bits > 1
    if chosen.method in ("least_squares", "least_output_error"):
        return word.at(best_fsr(values, word, signed), signed)
    magnitudes = np.abs(values) if signed else np.maximum(values, 0)
    whole = chosen.method == "max"
    peak = float(magnitudes.max()) if whole else float(np.percentile(magnitudes, chosen.percentile))
    for fsr in range(FSR_MIN, FSR_MAX + 1):
        made = word.at(fsr, signed)
        if _largest(made) >= peak:
            return made if peak > 0 else word.at(0, signed)
    return word.at(FSR_MAX, signed)


def _largest(number_format: Format) -> float:
    from logaccel.formats.encode import decode

    return float(decode(np.array([number_format.max_code]), number_format)[0])
