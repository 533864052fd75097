"""The rules that the tensors of a trace keep, and how a breach is worded."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from logaccel.errors import TraceError
from logaccel.trace.trace import LayerTensors, Tensor, Trace
from logaccel.workload import Layer

_PIECE = 2**20  # elements: a mapped tensor is looked at without holding it


def checked_trace(
    name: str,
    layers: Sequence[LayerTensors],
    labels: NDArray[np.integer] | None,
    source: str,
    licence: str = "",
    subject: str | None = None,
) -> Trace:
    """Return a trace whose arrays fit their layers, share one batch, are finite float32 and read-only.

    Messages begin with the subject (`trace NAME`, or the file). Raises TraceError, one line for every problem.
    """
    subject = f"trace {name}" if subject is None else subject
    faults: list[str] = []
    if not name:
        faults.append(f"{subject}: name: must not be empty")
    if not layers:
        raise TraceError("\n".join([*faults, f"{subject}: layers: must hold at least one layer"]))
    names = [item.layer.name for item in layers]
    faults += [
        f"{subject}: layers: names must be unique, got {twice} more than once"
        for twice in sorted({name for name in names if names.count(name) > 1})
    ]
    batch = batch_of(layers[0].ifmap)
    checked = tuple(_checked_layer(item, batch, f"{subject}: layer {item.layer.name}", faults) for item in layers)
    classes = layers[-1].layer.out_channels if layers[-1].layer.out_size == (1, 1) else None
    labels = None if labels is None else checked_labels(labels, batch, classes, f"{subject}: labels", faults)
    if faults:
        raise TraceError("\n".join(faults))
    return Trace(name=name, layers=checked, labels=labels, source=source, licence=licence)


def batch_of(ifmap: ArrayLike) -> int:
    """Return the images in an ifmap; 1 for what is no ifmap at all, so that its shape is reported."""
    shape = np.shape(ifmap)
    return max(1, shape[0]) if shape else 1


def checked_tensor(array: ArrayLike, shape: tuple[int, ...], place: str, faults: list[str]) -> Tensor:
    """Return an array as read-only, contiguous float32 of this shape; add a line for every rule it breaks."""
    values = np.asarray(array)
    if values.dtype.kind not in "fiu":
        faults.append(f"{place}: must hold real numbers, got {values.dtype}")
    elif values.shape != shape:
        faults.append(f"{place}: must have the shape {list(shape)}, got {list(values.shape)}")
    else:
        with np.errstate(over="ignore"):  # too large for float32 is infinite, and reported
            single = np.ascontiguousarray(values, dtype=np.float32)
        if single.flags.writeable:
            single = single.copy() if np.may_share_memory(single, values) else single
            single.flags.writeable = False
        flat = single.reshape(-1)
        if not all(np.isfinite(flat[i : i + _PIECE]).all() for i in range(0, flat.size, _PIECE)):
            finite = np.isfinite(single)
            first = np.argwhere(~finite)[0].tolist()
            count = int(single.size - np.count_nonzero(finite))
            faults.append(f"{place}: must be finite in float32, got {values[tuple(first)]} at {first} ({count} such)")
        return single
    return np.zeros(0, dtype=np.float32)


def _checked_layer(item: LayerTensors, batch: int, place: str, faults: list[str]) -> LayerTensors:
    layer = item.layer
    return LayerTensors(
        layer=layer,
        ifmap=checked_tensor(item.ifmap, layer.ifmap_shape(batch), f"{place}: ifmap", faults),
        filter=checked_tensor(item.filter, layer.filter_shape, f"{place}: filter", faults),
        bias=checked_tensor(item.bias, (layer.out_channels,), f"{place}: bias", faults),
        ofmap=checked_tensor(item.ofmap, layer.ofmap_shape(batch), f"{place}: ofmap", faults),
    )


def checked_labels(
    labels: ArrayLike, batch: int, classes: int | None, place: str, faults: list[str]
) -> NDArray[np.int64] | None:
    """Return the classes of the images; where the last ofmap is one value a class, they must name one of them."""
    values = np.asarray(labels)
    if values.dtype.kind not in "iu":
        faults.append(f"{place}: must hold integers, got {values.dtype}")
    elif values.shape != (batch,):
        faults.append(f"{place}: must have the shape {[batch]}, got {list(values.shape)}")
    elif values.min() < 0 or (classes is not None and values.max() >= classes):
        limit = "at least 0" if classes is None else f"0 … {classes - 1}"
        worst = values.min() if values.min() < 0 else values.max()
        faults.append(f"{place}: must be {limit}, got {worst}")
    else:
        whole = values.astype(np.int64)
        whole.flags.writeable = False
        return whole
    return None


def checked_feeding(layers: Sequence[Layer], subject: str) -> None:
    """Raise TraceError unless every layer's ofmap is the next layer's ifmap."""
    faults = [
        f"{subject}: layer {after.name}: its ifmap {list(after.ifmap_shape(1)[1:])} is not the ofmap "
        f"{list(before.ofmap_shape(1)[1:])} of layer {before.name}"
        for before, after in pairwise(layers)
        if not before.feeds(after)
    ]
    if faults:
        raise TraceError("\n".join(faults))
