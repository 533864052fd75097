"""From arguments to workloads, architectures and arrays; what is wrong is one clear error."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from logaccel.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from logaccel.arch import Architecture
    from logaccel.trace import Trace
    from logaccel.workload import Network
    from logaccel.workload.graph import Graph


def load_workload(trace: Path | None, network: str | None, batch: int | None) -> "Trace | Network | Graph":
    if network is not None:
        from logaccel.workload import load_network

        if trace is not None:
            raise ConfigError("--trace and --network: give one of them")
        if is_graph(network):
            from logaccel.model.onnx_import import load_onnx

            return load_onnx(network).graph
        return load_network(network, batch)
    if batch is not None:
        raise ConfigError("--batch: goes with a network; a trace has its own batch")
    from logaccel.trace import load_trace

    return load_trace(trace)


def is_graph(network: str | None) -> bool:
    """Return whether a network is a file of a trained one, whose graph says what lies between the layers."""
    return network is not None and Path(network).suffix.lower() == ".onnx"


def load_architectures(names: list[str], settings: list[str] | None) -> "list[Architecture]":
    import yaml

    from logaccel.arch import load_arch

    changes: dict[str, Any] = {}
    for setting in settings or []:
        key, sign, text = setting.partition("=")
        if not sign or not key:
            raise ConfigError(f"--set: must be KEY=VALUE, got {setting!r}")
        try:
            changes[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--set {key}: not a YAML value: {text!r}") from None
    return [load_arch(name).replace(**changes) if changes else load_arch(name) for name in names]


def open_array(path: Path) -> "NDArray[Any]":
    """Open an array without reading it; nothing is unpickled."""
    import numpy as np

    from logaccel.errors import TraceError

    try:
        values = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError, SyntaxError, MemoryError) as error:
        raise TraceError(f"{path}: is no .npy array: {' '.join(str(error).split())}") from None
    if values.ndim == 0 or not len(values):
        raise TraceError(f"{path}: must hold at least one entry, got the shape {list(values.shape)}")
    return values
