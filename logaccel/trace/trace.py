"""A trace: the real tensors of a network's layers, in float32."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from logaccel.errors import TraceError
from logaccel.workload import Layer, Network

Tensor = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LayerTensors:
    """One layer with what went in and what came out.

    Axes: ifmap[N, C, H, W], filter[M, C/groups, R, S], bias[M], ofmap[N, M, P, Q] (fully connected
    layers: ifmap[N, C], filter[M, C], ofmap[N, M]). The ofmap is the float reference after bias and ReLU.
    """

    layer: Layer
    ifmap: Tensor
    filter: Tensor
    bias: Tensor
    ofmap: Tensor


@dataclass(frozen=True, eq=False)
class Trace:
    """The tensors of every layer of a network, in order; `labels[N]` where the classes are known.

    The arrays of a trace that was loaded, synthesised or built by `from_arrays` are checked and read-only.
    """

    name: str
    layers: tuple[LayerTensors, ...]
    labels: NDArray[np.int64] | None = None
    source: str = ""
    licence: str = ""

    @classmethod
    def from_arrays(
        cls,
        name: str,
        layers: Sequence[LayerTensors],
        labels: NDArray[np.integer] | None = None,
        source: str = "",
        licence: str = "",
    ) -> "Trace":
        """Build a trace from arrays, checked: shapes fit the layers, one batch, finite in float32.

        Other real numbers are rounded to float32. Writable arrays are copied, read-only ones may be kept.
        Raises TraceError, one line for every problem.
        """
        from logaccel.trace.check import checked_trace

        return checked_trace(name, layers, labels, source, licence)

    @property
    def batch(self) -> int:
        """Images in the trace, N."""
        return int(self.layers[0].ifmap.shape[0])

    def unfed_layers(self) -> tuple[str, ...]:
        """Return the layers after the first whose ifmap is not, value by value, the ofmap before them.

        Equal shapes alone may hide a pooling or a residual add between two layers, or independently drawn tensors.
        """
        return tuple(
            after.layer.name
            for before, after in zip(self.layers, self.layers[1:], strict=False)
            if not (
                before.layer.feeds(after.layer) and np.array_equal(before.ofmap.reshape(-1), after.ifmap.reshape(-1))
            )
        )

    @property
    def network(self) -> Network:
        """The shapes alone."""
        return Network(
            name=self.name, source=self.source, batch=self.batch, layers=tuple(item.layer for item in self.layers)
        )


__all__ = ["LayerTensors", "Tensor", "Trace", "TraceError"]
