"""Which format each tensor of a graph has: words from the architecture, full-scale ranges from images.

Tensors that hold the same codes (before and after a max pool, a concat, a pad, …) share one format and form
a *set*. The word of a set is the activation word of the first layer that its values reach without passing
another layer, or the output word of the last layer where they reach none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from logaccel.arch import Architecture
from logaccel.errors import ConfigError, TraceError
from logaccel.formats import Format, LinearWord, LogWord
from logaccel.formats.calibrate import best_fsr
from logaccel.formats.number import FSR_MAX, FSR_MIN, AnyFormat
from logaccel.model.model import Model
from logaccel.model.reference import run_float
from logaccel.quantization import describe, format_sets, layer_architectures, non_negative, set_words
from logaccel.result import write_whole
from logaccel.section import Section, problems
from logaccel.trace import Tensor
from logaccel.workload.graph import INPUT, Graph

Method = Literal["max", "percentile", "least_squares"]
METHODS: tuple[Method, ...] = ("max", "percentile", "least_squares")
MOST_SAMPLES = 2**22  # values of one set that a calibration looks at


@dataclass(frozen=True)
class GraphFormats:
    """The format of every tensor of a graph (`input` and each node) and of every layer's filters."""

    tensors: dict[str, Format]
    filters: dict[str, Format]


def calibrate(
    model: Model, arch: Architecture, images: Tensor, method: Method = "least_squares", percentile: float = 99.99
) -> GraphFormats:
    """Choose the full-scale range of every set of tensors on a few images, and of every filter.

    max: the smallest range in which nothing saturates; percentile: in which that share of the magnitudes does
    not; least_squares: the least squared error. Filters take the same method, percentile the maximum.
    A set is signed where one of its tensors may hold a negative. Raises ConfigError for a wrong method.
    """
    if method not in METHODS:
        raise ConfigError(f"calibration: method must be one of {', '.join(METHODS)}, got {method!r}")
    if not 50.0 <= percentile <= 100.0:
        raise ConfigError(f"calibration: percentile must be 50 … 100, got {percentile}")
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
    chosen = {
        own: _format(words[own], np.concatenate(samples[own]), signed[own], method, percentile) for own in members
    }
    archs = layer_architectures(arch, graph.layers)
    filters = {
        layer.name: _format(
            layer_arch.weight,
            model.parameters[layer.name].filter,
            True,
            "max" if method == "percentile" else method,
            100.0,
        )
        for layer, layer_arch in zip(graph.layers, archs, strict=True)
    }
    return GraphFormats({name: chosen[own] for name, own in sets.items()}, filters)


def _all_tensors(model: Model, images: Tensor) -> Any:
    yield INPUT, images
    yield from ((node.name, value) for node, value in run_float(model, images))


def _format(
    word: LinearWord | LogWord, values: NDArray[np.float32], signed: bool, method: Method, percentile: float
) -> Format:
    signed = signed and word.bits > 1
    if method == "least_squares":
        return word.at(best_fsr(values, word, signed), signed)
    magnitudes = np.abs(values) if signed else np.maximum(values, 0)
    peak = float(magnitudes.max()) if method == "max" else float(np.percentile(magnitudes, percentile))
    for fsr in range(FSR_MIN, FSR_MAX + 1):
        made = word.at(fsr, signed)
        if _largest(made) >= peak:
            return made if peak > 0 else word.at(0, signed)
    return word.at(FSR_MAX, signed)


def _largest(number_format: Format) -> float:
    from logaccel.formats.encode import decode

    return float(decode(np.array([number_format.max_code]), number_format)[0])


class _FormatsFile(Section):
    network: str
    tensors: dict[str, AnyFormat] = Field(min_length=1)
    filters: dict[str, AnyFormat] = Field(min_length=1)


def save_formats(formats: GraphFormats, network: str, path: str | Path) -> None:
    """Write formats as YAML, whole or not at all."""
    tree = {
        "network": network,
        "tensors": {name: chosen.model_dump() for name, chosen in formats.tensors.items()},
        "filters": {name: chosen.model_dump() for name, chosen in formats.filters.items()},
    }
    write_whole(path, yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120))


def load_formats(path: str | Path) -> GraphFormats:
    """Read formats from YAML. Raises ConfigError, one line for every problem."""
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        if not isinstance(tree, dict):
            raise ConfigError(f"{path}: must be a mapping of keys, got {type(tree).__name__}")
        read = _FormatsFile.model_validate(tree)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise ConfigError(problems(error, str(path))) from None
    return GraphFormats(dict(read.tensors), dict(read.filters))


def check_formats(formats: GraphFormats, graph: Graph, arch: Architecture) -> None:
    """Refuse formats that do not fit graph and architecture. Raises ConfigError, one line for every problem."""
    sets, words = format_sets(graph), set_words(graph, arch)
    archs = dict(zip((node.name for node in graph.layer_nodes), layer_architectures(arch, graph.layers), strict=True))
    faults = []

    def check(
        what: str, names: list[str], given: dict[str, Format], word: Callable[[str], LinearWord | LogWord]
    ) -> None:
        for name in names:
            if name not in given:
                faults.append(f"formats: {what} {name}: is missing")
            elif given[name].model_dump(exclude={"fsr", "signed"}) != word(name).model_dump():
                faults.append(
                    f"formats: {what} {name}: {arch.name} has {word(name)} words there, got {describe(given[name])}"
                )
        faults.extend(f"formats: {what} {name}: {graph.name} has none of that name" for name in set(given) - set(names))

    check("tensor", list(sets), formats.tensors, lambda name: words[sets[name]])
    check("filter", list(archs), formats.filters, lambda name: archs[name].weight)
    if not faults:
        faults += [
            f"formats: tensor {name}: must be that of {own}, whose codes it holds"
            for name, own in sets.items()
            if formats.tensors[name] != formats.tensors[own]
        ]
        faults += [
            f"formats: filter {name}: weights are signed" for name, own in formats.filters.items() if not own.signed
        ]
    if faults:
        raise ConfigError("\n".join(faults))


def check_images(images: Any, shape: tuple[int, ...], subject: str = "images", first: int = 0) -> Tensor:
    """Return images[N, …] as float32; they are counted from `first`. Raises TraceError naming rule and value."""
    values = np.asarray(images)
    if values.dtype.kind not in "fiu":
        raise TraceError(f"{subject}: must hold real numbers, got {values.dtype}")
    if values.ndim != len(shape) + 1 or values.shape[1:] != shape or not len(values):
        raise TraceError(f"{subject}: must have the shape [N, {', '.join(map(str, shape))}], got {list(values.shape)}")
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(values, np.float32)
    finite = np.isfinite(single)
    if not finite.all():
        place = tuple(np.argwhere(~finite)[0].tolist())
        raise TraceError(f"{subject}: must be finite in float32, got {values[place]} in image {first + place[0]}")
    return single
