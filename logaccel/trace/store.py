"""Trace files: one .npz with a JSON manifest, version 1; docs/traces.md describes the format."""

import json
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.errors import TraceError, WorkloadError
from logaccel.trace.check import checked_trace
from logaccel.trace.container import UNREADABLE, Container, write_container
from logaccel.trace.reference import reference_ofmap
from logaccel.trace.trace import LayerTensors, Tensor, Trace
from logaccel.workload import Layer, Network
from logaccel.workload.network import network_of

FORMAT, VERSION = "logaccel trace", 1
TENSORS = ("ifmap", "filter", "bias", "ofmap")
_KEYS = {"format", "version", "network", "licence", "labels", "tensors"}
_MOST_RECOMPUTED = 2**30  # elements, 4 GiB: a small file must not ask for all memory


def load_trace(path: str | Path | None = None) -> Trace:
    """Read a trace file; without a path the bundled one (real digits, see trace/digits/README.md).

    Tensors that a compact file leaves out are recomputed by the float reference. Nothing is ever unpickled.
    Raises TraceError naming file, layer, rule and value, one line for every problem.
    """
    if path is not None:
        return _load(Path(path))
    with as_file(files("logaccel") / "trace" / "digits" / "digits.npz") as bundled:
        return _load(bundled)


def save_trace(trace: Trace, path: str | Path, compact: bool = False) -> None:
    """Write a trace file: checked first, then written whole or not at all; equal traces give equal bytes.

    A compact file leaves out every ofmap that is bit for bit the float reference of its layer, and every ifmap
    that is bit for bit the ofmap before it; load_trace computes them again. Raises TraceError.
    """
    trace = checked_trace(trace.name, trace.layers, trace.labels, trace.source, trace.licence)
    kept = [
        tuple(name for name in TENSORS if not (compact and _follows(trace, i, name))) for i in range(len(trace.layers))
    ]
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "network": trace.network.model_dump(mode="json"),
        "licence": trace.licence,
        "labels": trace.labels is not None,
        "tensors": kept,
    }
    try:
        write_container(Path(path), _members(trace, manifest, kept))
    except OSError as error:
        raise TraceError(f"{path}: cannot be written: {error.strerror or error}") from None


def _members(
    trace: Trace, manifest: dict[str, Any], kept: list[tuple[str, ...]]
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    yield "manifest", np.frombuffer(json.dumps(manifest, indent=1, ensure_ascii=False).encode(), dtype=np.uint8)
    if trace.labels is not None:
        yield "labels", trace.labels.astype("<i8")
    for index, (item, names) in enumerate(zip(trace.layers, kept, strict=True)):
        for name in names:
            yield f"{index}.{name}", getattr(item, name).astype("<f4", copy=False)


def _follows(trace: Trace, index: int, name: str) -> bool:
    """Return whether a tensor can be computed, bit for bit, from what stands before it in the file."""
    item = trace.layers[index]
    if name == "ofmap":
        return _same_bits(reference_ofmap(item.layer, item.ifmap, item.filter, item.bias), item.ofmap)
    before = trace.layers[index - 1]
    return name == "ifmap" and index > 0 and before.layer.feeds(item.layer) and _same_bits(before.ofmap, item.ifmap)


def _same_bits(left: Tensor, right: Tensor) -> bool:
    return np.array_equal(left.reshape(-1).view(np.uint32), right.reshape(-1).view(np.uint32))


def _load(path: Path) -> Trace:
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise TraceError(f"{path}: is empty")
            return _read(Container(file), str(path))
    except FileNotFoundError:
        raise TraceError(f"{path}: no such file") from None
    except UNREADABLE as error:
        raise TraceError(f"{path}: is not a readable .npz file: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(reason.split()) or type(error).__name__


def _read(container: Container, subject: str) -> Trace:
    manifest = _read_manifest(container, subject)
    network, tensors = manifest["network"], manifest["tensors"]
    _refuse_gaps(network, tensors, subject)
    expected = {
        f"{index}.{name}": (f"layer {layer.name}: {name}", "<f4", _shape(layer, name, network.batch))
        for index, (layer, names) in enumerate(zip(network.layers, tensors, strict=True))
        for name in names
    }
    if manifest["labels"]:
        expected["labels"] = ("labels", "<i8", (network.batch,))
    faults = [
        f"{subject}: member {name!r}: unknown to the manifest"
        for name in container.members
        if name not in expected and name != "manifest"
    ]
    arrays: dict[str, Any] = {}
    for name, (place, descr, shape) in expected.items():
        if name not in container.members:
            faults.append(f"{subject}: {place}: missing, the file has no member {name}.npy")
            continue
        try:
            arrays[name] = container.read(name, descr, shape)
        except UNREADABLE as error:
            faults.append(f"{subject}: {place}: {_reason(error)}")
    if faults:
        raise TraceError("\n".join(faults))
    layers = _completed(network, arrays)
    return checked_trace(
        network.name, layers, arrays.get("labels"), network.source, manifest["licence"], subject=subject
    )


def _read_manifest(container: Container, subject: str) -> dict[str, Any]:
    """Return the manifest with its network validated."""
    if "manifest" not in container.members:
        raise TraceError(f"{subject}: is not a trace: it has no member manifest.npy")
    try:
        text = container.read("manifest", "|u1", None).tobytes().decode("utf-8")
        tree = json.loads(text)
    except (*UNREADABLE, RecursionError) as error:
        raise TraceError(f"{subject}: manifest: {_reason(error)}") from None
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise TraceError(f"{subject}: manifest: format: must be {FORMAT!r}, got {_format_of(tree)!r}")
    version = tree.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise TraceError(f"{subject}: manifest: version: must be a whole number, at least 1, got {version!r}")
    if version > VERSION:
        raise TraceError(
            f"{subject}: manifest: version: written for a newer logaccel, this one reads {VERSION}, got {version}"
        )
    faults = [f"{subject}: manifest: {key}: required, but missing" for key in sorted(_KEYS - tree.keys())]
    faults += [f"{subject}: manifest: {key}: unknown key" for key in sorted(tree.keys() - _KEYS)]
    for key, kind, article in (("licence", str, "a text"), ("labels", bool, "true or false")):
        if key in tree and not isinstance(tree[key], kind):
            faults.append(f"{subject}: manifest: {key}: must be {article}, got {tree[key]!r}")
    if "network" in tree:
        try:
            tree["network"] = network_of(tree["network"], f"{subject}: manifest: network")
        except WorkloadError as error:
            faults.append(str(error))
        else:
            faults += _tensor_faults(tree, f"{subject}: manifest: tensors")
    if faults:
        raise TraceError("\n".join(faults))
    return tree


def _format_of(tree: object) -> object:
    return tree.get("format") if isinstance(tree, dict) else type(tree).__name__


def _tensor_faults(tree: dict[str, Any], place: str) -> list[str]:
    """Return what is wrong with the manifest's lists of tensors, one list a layer."""
    lists = tree.get("tensors")
    layers = tree["network"].layers
    if not isinstance(lists, list) or len(lists) != len(layers):
        return [f"{place}: must be {len(layers)} lists of tensor names, one a layer, got {lists!r}"]
    return [
        f"{place}: layer {layer.name}: must list some of {', '.join(TENSORS)}, each once, got {names!r}"
        for layer, names in zip(layers, lists, strict=True)
        if not isinstance(names, list) or any(n not in TENSORS for n in names) or len(set(names)) < len(names)
    ]


def _refuse_gaps(network: Network, tensors: list[list[str]], subject: str) -> None:
    """Raise TraceError if a tensor that the file leaves out cannot be computed from the others."""
    faults, recomputed = [], 0
    for index, (layer, names) in enumerate(zip(network.layers, tensors, strict=True)):
        place = f"{subject}: layer {layer.name}"
        faults += [f"{place}: {name}: may not be left out" for name in ("filter", "bias") if name not in names]
        before = network.layers[index - 1] if index else None
        if "ifmap" not in names and (before is None or not before.feeds(layer)):
            faults.append(f"{place}: ifmap: may not be left out, no layer feeds this one")
        if "ofmap" not in names:
            recomputed += layer.matrix(network.batch).pixels * layer.out_channels
    if recomputed > _MOST_RECOMPUTED:
        faults.append(f"{subject}: leaves out {recomputed} ofmap elements, at most {_MOST_RECOMPUTED} are recomputed")
    if faults:
        raise TraceError("\n".join(faults))


def _shape(layer: Layer, name: str, batch: int) -> tuple[int, ...]:
    match name:
        case "ifmap":
            return layer.ifmap_shape(batch)
        case "filter":
            return layer.filter_shape
        case "bias":
            return (layer.out_channels,)
        case _:
            return layer.ofmap_shape(batch)


def _completed(network: Network, arrays: dict[str, Any]) -> list[LayerTensors]:
    """Return all tensors; those that the file leaves out follow from the ones before."""
    layers: list[LayerTensors] = []
    for index, layer in enumerate(network.layers):
        ifmap = arrays.get(f"{index}.ifmap")
        if ifmap is None:
            ifmap = layers[-1].ofmap.reshape(layer.ifmap_shape(network.batch))
        weights, bias = arrays[f"{index}.filter"], arrays[f"{index}.bias"]
        ofmap = arrays.get(f"{index}.ofmap")
        if ofmap is None:
            ofmap = reference_ofmap(layer, ifmap, weights, bias)
            ofmap.flags.writeable = False
        layers.append(LayerTensors(layer, ifmap, weights, bias, ofmap))
    return layers
