"""Which format each tensor of a graph has, in memory and as YAML: words from the architecture, ranges of its own.

Tensors that hold the same codes (before and after a max pool, a concat, a pad, …) share one format and form
a *set*. The word of a set is the activation word of the first layer that its values reach without passing
another layer, or the output word of the last layer where they reach none.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from logaccel import __version__
from logaccel.arch import MOST_CHANNEL_SHIFT_BITS, Architecture, LayerSettings
from logaccel.documents import mapping_of, read_text
from logaccel.errors import ConfigError, TraceError
from logaccel.formats import Format, LinearWord, LogWord
from logaccel.formats.number import AnyFormat
from logaccel.quantization import describe, format_sets, layer_architectures, set_words
from logaccel.result import write_whole
from logaccel.section import Section, problems
from logaccel.trace import Tensor
from logaccel.workload.graph import Graph

LARGEST_SCALE = 2**MOST_CHANNEL_SHIFT_BITS - 1
LARGEST_NEXT_SCALE = 31  # only weights change; far inside float32


@dataclass(frozen=True)
class GraphFormats:
    """The format of every tensor of a graph (`input` and each node) and of every layer's filters.

    scales: by layer, for every ofmap channel the s ≥ 0 of the 2^s that its weights are stored with; the channel's
    psum has an LSB 2^s finer. next_scales: the same, s of either sign, where the filters of the next layers take the
    power back (`next_scales.py`): all formats are those of the model so rescaled. biases: by layer, what the lane
    adds instead of the trained bias, in the units of the trained model. layers: settings of layers beside those of the
    architecture, in whose words the formats are.
    """

    tensors: dict[str, Format]
    filters: dict[str, Format]
    scales: dict[str, tuple[int, ...]] = field(default_factory=dict)
    biases: dict[str, tuple[float, ...]] = field(default_factory=dict)
    layers: dict[str, LayerSettings] = field(default_factory=dict)
    next_scales: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def architecture(self, arch: Architecture) -> Architecture:
        """Return the architecture with what these formats need: settings of layers, lanes that shift by channel.

        Where the architecture leaves the shift by channel out, lanes get the widest. Raises ConfigError where no PE
        can do the settings.
        """
        if self.scales:
            arch = arch.shifting_by_channel()
        if not self.layers:
            return arch
        settings = {name: own.model_dump(exclude_none=True) for name, own in arch.layers.items()}
        for name, own in self.layers.items():
            settings[name] = settings.get(name, {}) | own.model_dump(exclude_none=True)
        return arch.replace(layers=settings)


Exponents = tuple[Annotated[int, Field(ge=0, le=LARGEST_SCALE)], ...]
NextExponents = tuple[Annotated[int, Field(ge=-LARGEST_NEXT_SCALE, le=LARGEST_NEXT_SCALE)], ...]
Numbers = tuple[Annotated[float, Field(allow_inf_nan=False)], ...]


class _FormatsFile(Section):
    network: str
    layers: dict[str, LayerSettings] = {}
    tensors: dict[str, AnyFormat] = Field(min_length=1)
    filters: dict[str, AnyFormat] = Field(min_length=1)
    scales: dict[str, Annotated[Exponents, Field(strict=False)]] = {}
    next_scales: dict[str, Annotated[NextExponents, Field(strict=False)]] = {}
    biases: dict[str, Annotated[Numbers, Field(strict=False)]] = {}


def save_formats(formats: GraphFormats, network: str, path: str | Path, origin: str = "") -> None:
    """Write formats as YAML, whole or not at all, below a comment that names the version, and where they come from."""
    tree = {"network": network} | formats_tree(formats)
    text = yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)
    head = f"logaccel {__version__}" + (f": {origin}" if origin else "")
    write_whole(path, f"# {' '.join(head.split())}\n{text}")


def formats_tree(formats: GraphFormats) -> dict[str, Any]:
    """Return formats as plain values; what is the same as without calibration is left out."""
    tree: dict[str, Any] = {}
    if formats.layers:
        tree["layers"] = {name: own.model_dump(exclude_none=True) for name, own in formats.layers.items()}
    tree["tensors"] = {name: chosen.model_dump() for name, chosen in formats.tensors.items()}
    tree["filters"] = {name: chosen.model_dump() for name, chosen in formats.filters.items()}
    for key in ("scales", "next_scales", "biases"):
        if own := getattr(formats, key):
            tree[key] = {name: list(values) for name, values in own.items()}
    return tree


def load_formats(path: str | Path) -> GraphFormats:
    """Read formats from YAML. Raises ConfigError, one line for every problem."""
    try:
        read = _FormatsFile.model_validate(mapping_of(read_text(Path(path)), str(path)))
    except ValidationError as error:
        raise ConfigError(problems(error, str(path), _FormatsFile)) from None
    return GraphFormats(**{key: dict(getattr(read, key)) for key in _FormatsFile.model_fields if key != "network"})


def check_formats(formats: GraphFormats, graph: Graph, arch: Architecture) -> None:
    """Refuse formats that do not fit graph and architecture, as `formats.architecture` returns it.

    Raises ConfigError, one line for every problem.
    """
    sets, words = format_sets(graph), set_words(graph, arch)
    archs = dict(zip((node.name for node in graph.layer_nodes), layer_architectures(arch, graph.layers), strict=True))
    channels = {layer.name: layer.out_channels for layer in graph.layers}
    by_channel = [(key, *item) for key in ("scales", "next_scales", "biases") for item in getattr(formats, key).items()]
    faults = [
        f"formats: {key} {name}: must be {channels[name]} numbers, one an ofmap channel, got {len(values)}"
        if name in channels
        else f"formats: {key} {name}: {graph.name} has no layer of that name"
        for key, name, values in by_channel
        if channels.get(name) != len(values)
    ]
    bits, largest = arch.post.channel_shift_bits, arch.post.largest_channel_shift
    faults += [
        f"formats: scales {name}: must be at most {largest} (post.channel_shift_bits: {bits}), got {max(values)}"
        for name, values in formats.scales.items()
        if max(values, default=0) > largest
    ]

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


def formats_summary(formats: GraphFormats, graph: Graph) -> str:
    """Return each layer's formats as text, and the mean bits over all weights and over the values of all ifmaps."""
    lines = [f"{'layer':32} {'ifmap':>36} {'filter':>36} {'ofmap':>36} {'scales':>7}"]
    bits, counts = [0, 0], [0, 0]
    for node in graph.layer_nodes:
        own = (formats.tensors[node.inputs[0]], formats.filters[node.name], formats.tensors[node.name])
        scales = formats.scales.get(node.name)
        shown = "" if scales is None else f"0…{max(scales)}"
        lines.append(f"{node.name[-32:]:32} " + " ".join(f"{describe(part):>36}" for part in own) + f" {shown:>7}")
        for place, count in enumerate((prod(node.layer.ifmap_shape(1)), prod(node.layer.filter_shape))):
            bits[place] += own[place].bits * count
            counts[place] += count
    lines.append(f"mean bits of an ifmap's value {bits[0] / counts[0]:.3f}, of a weight {bits[1] / counts[1]:.3f}")
    passed = [value for own in formats.next_scales.values() for value in own]
    if passed:
        moved = f"{sum(map(bool, passed))} channels, s = {min(passed)} … {max(passed)}"
        lines.append(f"powers of two taken back in the next filters: {moved}")
    return "\n".join([*lines, f"corrected biases: {'all layers' if formats.biases else 'none'}"])


def check_image_array(values: NDArray[Any], shape: tuple[int, ...], subject: str = "images") -> None:
    """Check type and shape of images[N, …], of which none is read. Raises TraceError."""
    if values.dtype.kind != "f":
        raise TraceError(f"{subject}: must hold floating-point numbers, normalised as in training, got {values.dtype}")
    if values.ndim != len(shape) + 1 or values.shape[1:] != shape or not len(values):
        raise TraceError(f"{subject}: must have the shape [N, {', '.join(map(str, shape))}], got {list(values.shape)}")


def check_images(images: Any, shape: tuple[int, ...], subject: str = "images", first: int = 0) -> Tensor:
    """Return images[N, …] as float32; they are counted from `first`. Raises TraceError naming rule and value."""
    values = np.asarray(images)
    check_image_array(values, shape, subject)
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(values, np.float32)
    finite = np.isfinite(single)
    if not finite.all():
        place = tuple(np.argwhere(~finite)[0].tolist())
        raise TraceError(f"{subject}: must be finite in float32, got {values[place]} in image {first + place[0]}")
    return single
