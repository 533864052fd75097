"""Which format each tensor of each layer has: calibrated on the recorded tensors, or given by the user."""

from collections.abc import Mapping
from dataclasses import dataclass

from logaccel.arch import Architecture
from logaccel.errors import ConfigError
from logaccel.formats import Format, LinearFormat, LinearWord, LogFormat, LogWord
from logaccel.formats.number import FSR_MAX, FSR_MIN
from logaccel.trace import LayerTensors, Trace
from logaccel.workload import Layer, Network
from logaccel.workload.graph import INPUT, Add, Clip, FloatOp, Graph, LayerNode, Pool

TENSORS = ("ifmap", "filter", "ofmap")


@dataclass(frozen=True)
class LayerQuantization:
    """The formats of one layer's tensors."""

    ifmap: Format
    filter: Format
    ofmap: Format


Given = Mapping[str, LayerQuantization | Mapping[str, int | Format]]


def layer_architectures(arch: Architecture, layers: tuple[Layer, ...]) -> tuple[Architecture, ...]:
    """Return the architecture as each layer sees it. Raises ConfigError for settings of layers that are not there."""
    names = [layer.name for layer in layers]
    faults = [
        f"{arch.name}: layers.{key}: no layer of that name; there are {', '.join(names)}"
        for key in arch.layers
        if key not in (*names, "first", "last")
    ]
    faults += [
        f"{arch.name}: layers.{key}.output: only the last layer has an output word; another layer's ofmap takes "
        f"the activation word of the layer that follows"
        for key, settings in arch.layers.items()
        if settings.output is not None and key not in (names[-1], "last") and not (key == "first" and len(names) == 1)
    ]
    fixed = () if arch.memory is None else arch.memory.mapping
    faults += [
        f"{arch.name}: memory.mapping.{key}: no layer of that name; there are {', '.join(names)}"
        for key in fixed
        if key not in (*names, "all")
    ]
    if faults:
        raise ConfigError("\n".join(faults))
    return tuple(arch.for_layer(name, index, len(names)) for index, name in enumerate(names))


def quantize_network(network: Network, archs: tuple[Architecture, ...]) -> tuple[LayerQuantization, ...]:
    """Return formats for shapes without tensors: full scale 1, a signed ifmap first and after a layer without ReLU."""
    layers = network.layers
    signed = [index == 0 or not layers[index - 1].relu for index in range(len(layers))]
    words = [arch.activation for arch in archs[1:]] + [archs[-1].output]
    return tuple(
        LayerQuantization(
            ifmap=arch.activation.at(0, _signed(arch.activation, sign)),
            filter=arch.weight.at(0, True),
            ofmap=word.at(0, _signed(word, not layer.relu)),
        )
        for layer, arch, word, sign in zip(layers, archs, words, signed, strict=True)
    )


def quantize_trace(trace: Trace, archs: tuple[Architecture, ...], given: Given | None) -> tuple[LayerQuantization, ...]:
    """Return formats calibrated on the tensors, except where they are given.

    An ifmap is signed where it holds a negative, or is the ofmap of a layer without ReLU; filters always are.
    The full-scale range is the one with the least squared error, the smaller on a tie. An ofmap that is the
    next layer's ifmap has that layer's format; another gets the next layer's activation word (the last layer
    of the trace: the output word) at its own range.
    """
    choices = _checked(given or {}, trace)
    ifmaps = [
        _format(arch.activation, tensors.ifmap, _has_sign(trace, index), choices[tensors.layer.name].get("ifmap"))
        for index, (tensors, arch) in enumerate(zip(trace.layers, archs, strict=True))
    ]
    chosen = []
    for index, (tensors, arch) in enumerate(zip(trace.layers, archs, strict=True)):
        choice = choices[tensors.layer.name]
        last = index == len(archs) - 1
        if not last and tensors.layer.feeds(trace.layers[index + 1].layer):
            ofmap = _agreed(ifmaps[index + 1], choice.get("ofmap"), tensors, trace.layers[index + 1])
        else:
            word = arch.output if last else archs[index + 1].activation
            ofmap = _format(word, tensors.ofmap, not tensors.layer.relu, choice.get("ofmap"))
        weights = _format(arch.weight, tensors.filter, True, choice.get("filter"))
        chosen.append(LayerQuantization(ifmap=ifmaps[index], filter=weights, ofmap=ofmap))
    return tuple(chosen)


def _has_sign(trace: Trace, index: int) -> bool:
    before = trace.layers[index - 1].layer if index else None
    fed = before is not None and before.feeds(trace.layers[index].layer)
    return (fed and before is not None and not before.relu) or bool(trace.layers[index].ifmap.min() < 0)


def _signed(word: LinearWord | LogWord, wanted: bool) -> bool:
    """A word of one bit has no room for a sign."""
    return wanted and word.bits > 1


def _format(word: LinearWord | LogWord, values: object, signed: bool, choice: int | Format | None) -> Format:
    from logaccel.formats.calibrate import best_fsr

    signed = _signed(word, signed)
    if isinstance(choice, int):
        return word.at(choice, signed)
    if choice is not None:
        return choice
    return word.at(best_fsr(values, word, signed), signed)  # type: ignore[arg-type]


def _agreed(ifmap: Format, choice: int | Format | None, layer: LayerTensors, following: LayerTensors) -> Format:
    """An ofmap handed on has one format; a given one must be that of the following ifmap."""
    if choice is not None and choice != (ifmap.fsr if isinstance(choice, int) else ifmap):
        raise ConfigError(
            f"quantization: {layer.layer.name}.ofmap: feeds {following.layer.name}, so it must equal "
            f"{following.layer.name}.ifmap ({describe(ifmap)}), got "
            f"{choice if isinstance(choice, int) else describe(choice)}"
        )
    return ifmap


def _checked(given: Given, trace: Trace) -> dict[str, dict[str, int | Format]]:
    """Return the given ranges and formats by layer and tensor; every problem is reported at once."""
    names = [tensors.layer.name for tensors in trace.layers]
    faults = [
        f"quantization: {key}: no layer of that name; there are {', '.join(names)}" for key in given if key not in names
    ]
    choices: dict[str, dict[str, int | Format]] = {name: {} for name in names}
    for name in (key for key in given if key in names):
        entry = given[name]
        items = {key: getattr(entry, key) for key in TENSORS} if isinstance(entry, LayerQuantization) else entry
        for key, value in items.items():
            if key not in TENSORS:
                faults.append(f"quantization: {name}.{key}: unknown key; must be one of {', '.join(TENSORS)}")
            elif isinstance(value, bool) or not isinstance(value, int | LinearFormat | LogFormat):
                faults.append(f"quantization: {name}.{key}: must be a full-scale range or a format, got {value!r}")
            elif isinstance(value, int) and not FSR_MIN <= value <= FSR_MAX:
                faults.append(f"quantization: {name}.{key}: fsr must be {FSR_MIN}…{FSR_MAX}, got {value}")
            else:
                choices[name][key] = value
    if faults:
        raise ConfigError("\n".join(faults))
    return choices


def check_words(
    formats: tuple[LayerQuantization, ...], archs: tuple[Architecture, ...], layers: tuple[Layer, ...]
) -> None:
    """Refuse formats whose words the array does not have. Raises ConfigError, one line for every problem."""
    faults = []
    for index, (chosen, arch, layer) in enumerate(zip(formats, archs, layers, strict=True)):
        output = archs[index + 1].activation if index + 1 < len(archs) else arch.output
        for key, word in (("ifmap", arch.activation), ("filter", arch.weight), ("ofmap", output)):
            own: Format = getattr(chosen, key)
            if own.model_dump(exclude={"fsr", "signed"}) != word.model_dump():
                faults.append(
                    f"quantization: {layer.name}.{key}: {arch.name} has {word} words there, got {describe(own)}"
                )
        if not chosen.filter.signed:
            faults.append(f"quantization: {layer.name}.filter: weights are signed, got {describe(chosen.filter)}")
    if faults:
        raise ConfigError("\n".join(faults))


def describe(number_format: Format) -> str:
    """Return a format in a few words: kind, bits, sign, full scale."""
    word = (
        LinearWord(bits=number_format.bits)
        if isinstance(number_format, LinearFormat)
        else LogWord(
            bits=number_format.bits,
            steps_per_octave=number_format.steps_per_octave,
            rounding=number_format.rounding,
        )
    )
    return f"{word} {'signed' if number_format.signed else 'unsigned'}, fsr {number_format.fsr}"


def format_sets(graph: Graph) -> dict[str, str]:
    """Return for every tensor the first tensor of its set."""
    parent = {name: name for name in (INPUT, *(node.name for node in graph.nodes))}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for node in graph.nodes:
        computes = isinstance(node, LayerNode | Add | FloatOp) or (isinstance(node, Pool) and node.kind != "max")
        if not computes:
            for name in node.inputs:
                own, other = root(name), root(node.name)
                early, late = sorted((own, other), key=list(parent).index)
                parent[late] = early
    return {name: root(name) for name in parent}


def set_words(graph: Graph, arch: Architecture) -> dict[str, LinearWord | LogWord]:
    """Return the word of every set. Raises ConfigError where one tensor would need two words."""
    archs = dict(zip((node.name for node in graph.layer_nodes), layer_architectures(arch, graph.layers), strict=True))
    sets = format_sets(graph)
    last = list(archs.values())[-1]
    wanted: dict[str, list[tuple[str, LinearWord | LogWord]]] = {}
    for node in graph.layer_nodes:
        wanted.setdefault(sets[node.inputs[0]], []).append((node.name, archs[node.name].activation))
    faults = []
    for name, words in wanted.items():
        others = [f"{reader} {word}" for reader, word in words if word != words[0][1]]
        if others:
            faults.append(f"{graph.name}: {name}: read as {words[0][1]} by {words[0][0]}, but by {', '.join(others)}")
    if faults:
        raise ConfigError("\n".join(faults))
    found = {name: words[0][1] for name, words in wanted.items()}
    for below in reversed(graph.nodes):  # sets that no layer reads: the word of what they flow into
        own = sets[below.name]
        if not isinstance(below, LayerNode):
            following = found.get(own)
            for name in below.inputs:
                if following is not None:
                    found.setdefault(sets[name], following)
        elif own not in found and len(below.inputs) > 1:
            found.setdefault(own, last.output)
    return {name: found.get(name, last.output) for name in set(sets.values())}


def non_negative(graph: Graph, input_too: bool) -> set[str]:
    """Return the tensors that cannot hold a negative value, given that the input does not (`input_too`) or may."""
    sure = {INPUT} if input_too else set[str]()
    for node in graph.nodes:
        match node:
            case LayerNode(layer=layer):
                holds = layer.relu
            case Add(relu=True) | Clip(low=0.0):
                holds = True
            case FloatOp(kind=kind):
                holds = kind == "softmax" or node.inputs[0] in sure
            case _:
                holds = all(name in sure for name in node.inputs)
        if holds:
            sure.add(node.name)
    return sure


def graph_layers(
    graph: Graph, archs: tuple[Architecture, ...], tensors: dict[str, Format]
) -> tuple[LayerQuantization, ...]:
    """Return the formats of a graph's layers, given those of its tensors."""
    return tuple(
        LayerQuantization(tensors[node.inputs[0]], own.weight.at(0, True), tensors[node.name])
        for node, own in zip(graph.layer_nodes, archs, strict=True)
    )


def quantize_graph(graph: Graph, arch: Architecture) -> dict[str, Format]:
    """Return the format of every tensor of a graph without values: full scale 1, signed where it may be negative."""
    words, sets = set_words(graph, arch), format_sets(graph)
    sure = non_negative(graph, input_too=False)
    signed = {sets[name] for name in sets if name not in sure}
    return {name: words[own].at(0, _signed(words[own], own in signed)) for name, own in sets.items()}
