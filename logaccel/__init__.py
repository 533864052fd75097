"""logaccel: a cycle-accurate, bit-exact simulator of log-domain CNN accelerators.

The names below load on first use, so that importing the package stays cheap.
"""

TYPE_CHECKING = False  # as in typing, which takes longer to import than the rest

if TYPE_CHECKING:
    from typing import Any

    from logaccel.arch import Architecture, load_arch
    from logaccel.comparison import Comparison, compare
    from logaccel.errors import ConfigError, LogaccelError, TraceError, WorkloadError
    from logaccel.mapping import NetworkMapping, map_network
    from logaccel.model.torch_import import from_torch
    from logaccel.result import LayerResult, SimulationResult
    from logaccel.simulation import simulate
    from logaccel.trace import LayerTensors, Trace, load_trace, save_trace, synthesize_trace
    from logaccel.weights import WeightStatistics, weight_statistics
    from logaccel.workload import Layer, Network, load_network

__version__ = "0.1.0"

_HOMES = {
    "Architecture": "arch",
    "Comparison": "comparison",
    "ConfigError": "errors",
    "Layer": "workload",
    "LayerResult": "result",
    "LayerTensors": "trace",
    "LogaccelError": "errors",
    "Network": "workload",
    "NetworkMapping": "mapping",
    "SimulationResult": "result",
    "Trace": "trace",
    "TraceError": "errors",
    "WeightStatistics": "weights",
    "WorkloadError": "errors",
    "compare": "comparison",
    "from_torch": "model.torch_import",
    "load_arch": "arch",
    "load_network": "workload",
    "load_trace": "trace",
    "map_network": "mapping",
    "save_trace": "trace",
    "simulate": "simulation",
    "synthesize_trace": "trace",
    "weight_statistics": "weights",
}

__all__ = [
    "Architecture", "Comparison", "ConfigError", "Layer", "LayerResult", "LayerTensors", "LogaccelError", "Network",
    "NetworkMapping", "SimulationResult", "Trace", "TraceError", "WeightStatistics", "WorkloadError", "__version__",
    "compare", "from_torch", "load_arch", "load_network", "load_trace", "map_network", "save_trace", "simulate",
    "synthesize_trace", "weight_statistics",
]  # fmt: skip


def __getattr__(name: str) -> "Any":
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'logaccel' has no attribute {name!r}")
    value = getattr(import_module(f"logaccel.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
