"""A trace of a model: every layer's real tensors, as the float network has them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.errors import TraceError
from logaccel.model.model import Model, Parameters
from logaccel.model.reference import run_float
from logaccel.trace import LayerTensors, Tensor, Trace
from logaccel.trace.check import checked_labels
from logaccel.trace.reference import reference_ofmap
from logaccel.workload.layer import Layer


@dataclass(frozen=True)
class _Recorder:
    """Where the tensors of a trace lie while they are made: in memory, or in files that are mapped."""

    images: int
    folder: Path | None

    def empty(self, name: str, shape: tuple[int, ...]) -> Tensor:
        if self.folder is None:
            return np.empty(shape, np.float32)
        return np.lib.format.open_memmap(self.folder / f"{name}.npy", mode="w+", dtype=np.float32, shape=shape)

    def closed(self, name: str, tensor: Tensor) -> Tensor:
        """Return a tensor read-only; one in a file is written out and opened anew, so that it takes no memory."""
        if self.folder is None:
            tensor.flags.writeable = False
            return tensor
        assert isinstance(tensor, np.memmap)
        tensor.flush()
        return np.lib.format.open_memmap(self.folder / f"{name}.npy", mode="r")


def capture_trace(
    model: Model,
    images: NDArray[Any],
    labels: NDArray[Any] | None = None,
    *,
    batch: int = 16,
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Trace:
    """Return the trace of images[N, …], `batch` of them at a time; the bits do not depend on it.

    A layer with a residual is recorded as its product and bias alone, without the ReLU that follows the sum. Every
    layer is computed by the trace's own reference: where one layer feeds the next, the ifmap recorded there is, bit
    for bit, the ofmap before it, and the same file is made on every machine.

    folder: the tensors lie in files there and are mapped, not held; the trace is good as long as they are. With it
    the memory is bounded by a batch, whatever the number of images. Raises TraceError for labels that do not fit.
    """
    faults: list[str] = []
    if labels is not None:
        checked_labels(labels, len(images), None, f"trace {model.name}: labels", faults)
    if faults:
        raise TraceError("\n".join(faults))
    recorder = _Recorder(len(images), folder)
    recorded: dict[str, tuple[Layer, Tensor, Tensor]] = {}
    for first in range(0, len(images), batch):
        if progress is not None:
            progress(first, len(images))
        _record(model, np.asarray(images[first : first + batch], np.float32), first, recorder, recorded)
    layers = [
        LayerTensors(
            layer, recorder.closed(f"{index}.ifmap", ifmap), model.parameters[layer.name].filter,
            model.parameters[layer.name].bias, recorder.closed(f"{index}.ofmap", ofmap),
        )
        for index, (layer, ifmap, ofmap) in enumerate(recorded.values())
    ]  # fmt: skip
    return Trace.from_arrays(model.name, layers, labels, source=model.graph.source)


def _record(
    model: Model, images: Tensor, first: int, recorder: _Recorder, recorded: dict[str, tuple[Layer, Tensor, Tensor]]
) -> None:
    """Run some images and put what each layer read and made in its place, from image `first` on."""
    place = slice(first, first + len(images))

    def record(layer: Layer, own: Parameters, ifmap: Tensor, residual: Tensor | None = None) -> Tensor:
        alone = layer if residual is None else layer.model_copy(update={"relu": False})
        ofmap = reference_ofmap(alone, ifmap, own.filter, own.bias)
        if layer.name not in recorded:
            index = len(recorded)
            recorded[layer.name] = (
                alone,
                recorder.empty(f"{index}.ifmap", layer.ifmap_shape(recorder.images)),
                recorder.empty(f"{index}.ofmap", layer.ofmap_shape(recorder.images)),
            )
        _, ifmaps, ofmaps = recorded[layer.name]
        ifmaps[place] = ifmap.reshape(ifmaps[place].shape)
        ofmaps[place] = ofmap
        if residual is None:
            return ofmap
        return np.maximum(ofmap + residual, 0) if layer.relu else ofmap + residual

    for _ in run_float(model, images, record):
        pass
