"""The real tensors of a network's layers: load, save, synthesise, build from arrays."""

from logaccel.trace.chain import chain_trace
from logaccel.trace.reference import reference_ofmap
from logaccel.trace.store import load_trace, save_trace
from logaccel.trace.synthesize import synthesize_trace
from logaccel.trace.trace import LayerTensors, Tensor, Trace

__all__ = [
    "LayerTensors",
    "Tensor",
    "Trace",
    "chain_trace",
    "load_trace",
    "reference_ofmap",
    "save_trace",
    "synthesize_trace",
]
