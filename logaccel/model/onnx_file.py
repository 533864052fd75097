"""ONNX files as plain records: parsed, bounded, checked. Nothing in them is executed."""

from collections import Counter
from math import isinf, isnan
from pathlib import Path
from typing import Any

import numpy as np

from logaccel.errors import ConfigError, WorkloadError
from logaccel.model.onnx_tensors import LARGEST_FILE_BYTES, TensorReader
from logaccel.model.operators import Operator, OperatorGraph, with_unique_names
from logaccel.workload.graph import Shape

MOST_NODES = 100_000


def read_onnx(path: Path) -> OperatorGraph:
    """Read an ONNX file. Raises WorkloadError, one line for every problem; ConfigError without the extra."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise ConfigError(f"{path}: reading ONNX files needs the extra: pip install 'logaccel[onnx]'") from None
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE_BYTES:
            raise WorkloadError(f"{path}: must be at most {LARGEST_FILE_BYTES} bytes, got {size}")
        model = onnx.ModelProto.FromString(path.read_bytes())
    except OSError as error:
        raise WorkloadError(f"{path}: cannot be read: {error.strerror}") from None
    except (DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise WorkloadError(f"{path}: is no ONNX file, or a damaged one: {' '.join(str(error).split())}") from None
    faults: list[str] = []
    graph = model.graph
    if not graph.node:
        raise WorkloadError(f"{path}: is no ONNX file, or one without nodes")
    if len(graph.node) > MOST_NODES:
        raise WorkloadError(f"{path}: must have at most {MOST_NODES} nodes, got {len(graph.node)}")
    tensors = TensorReader(path, faults)
    constants = {
        tensor.name: array
        for tensor in graph.initializer
        if (array := tensors.array(tensor, f"{path}: initializer {_shown(tensor.name)}")) is not None
    }
    initialized = {tensor.name for tensor in graph.initializer}
    if graph.sparse_initializer:
        faults.append(f"{path}: sparse initializers are not supported")
    inputs = [value for value in graph.input if value.name not in initialized]
    if len(inputs) != 1 or len(graph.output) != 1:
        faults.append(f"{path}: must have one input and one output, got {len(inputs)} and {len(graph.output)}")
    shape = _image_shape(inputs[0], str(path), faults) if inputs else ()
    opset = next((known.version for known in model.opset_import if known.domain in ("", "ai.onnx")), 0)
    if opset < 1:  # a file that is cut off may still hold a whole graph
        faults.append(f"{path}: opset_import: names no version of the operators; is the file complete?")
    faults += _made_twice(graph, str(path))
    nodes = with_unique_names([_node(node, i, opset, str(path), tensors) for i, node in enumerate(graph.node)])
    if faults:
        raise WorkloadError("\n".join(faults))
    for node in nodes:
        if node.op == "Constant" and len(node.outputs) == 1:
            value = next((node.attributes[key] for key in _CONSTANTS if key in node.attributes), None)
            if value is not None:
                constants[node.outputs[0]] = np.asarray(value)
    first = inputs[0].type.tensor_type.shape.dim[0]
    batch = max(first.dim_value, 0)
    return OperatorGraph(str(path), path.stem, inputs[0].name, shape, graph.output[0].name, nodes, constants, batch)


_CONSTANTS = ("value", "value_float", "value_floats", "value_int", "value_ints")


def _floats(value: Any) -> list[float]:
    return [part for part in (value if isinstance(value, list) else [value]) if isinstance(part, float)]


def _made_twice(graph: Any, subject: str) -> list[str]:
    """Return a line for every tensor with two makers: which of them a reader means would be a guess."""
    makers = Counter(tensor.name for tensor in graph.initializer)
    makers.update(name for node in graph.node for name in node.output if name)
    return [f"{subject}: tensor {_shown(name)}: is made {count} times" for name, count in makers.items() if count > 1]


def _shown(name: str | bytes) -> str:
    """Return a name for messages and tables: of one line, without control characters. Bytes: what is no UTF-8."""
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
    return text if text.isprintable() else "".join(part if part.isprintable() else " " for part in text)


def _node(node: Any, index: int, opset: int, subject: str, tensors: TensorReader) -> Operator:
    name = _shown(node.name or (node.output[0] if node.output else f"node {index}"))
    place = f"{subject}: node {name} ({_shown(node.op_type)})"
    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        match attribute.type:
            case 1:
                attributes[attribute.name] = float(attribute.f)
            case 2:
                attributes[attribute.name] = int(attribute.i)
            case 3:
                attributes[attribute.name] = attribute.s.decode("utf-8", "replace")
            case 4:
                attributes[attribute.name] = tensors.array(attribute.t, f"{place}: {attribute.name}")
            case 6:
                attributes[attribute.name] = [float(value) for value in attribute.floats]
            case 7:
                attributes[attribute.name] = [int(value) for value in attribute.ints]
            case kind:
                attributes[attribute.name] = f"an attribute of type {kind}"
    for key, value in attributes.items():
        endless = (key, node.op_type) in (("min", "Clip"), ("max", "Clip"), ("value_float", "Constant"))
        if any(isnan(part) or (isinf(part) and not endless) for part in _floats(value)):
            tensors.faults.append(f"{place}: {key}: must be finite, got {value}")
    op = _shown(node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}")
    if op == "Softmax" and opset < 13:
        attributes.setdefault("axis", 1)  # since then the default is the last one
    return Operator(op, name, tuple(node.input), tuple(node.output), attributes)


def _image_shape(value: Any, subject: str, faults: list[str]) -> Shape:
    """Return the shape behind the batch axis, which alone may be open."""
    dims = list(value.type.tensor_type.shape.dim)
    if len(dims) not in (2, 4):
        faults.append(f"{subject}: input {value.name}: must have the axes N, C, H, W or N, C, got {len(dims)} axes")
        return ()
    sizes = []
    for axis, dim in enumerate(dims[1:], start=1):
        if not dim.HasField("dim_value") or not 1 <= dim.dim_value <= 2**24:
            got = repr(dim.dim_param) if dim.dim_param else dim.dim_value
            faults.append(f"{subject}: input {value.name}: axis {axis} must be a fixed size, got {got}")
        sizes.append(dim.dim_value)
    return tuple(sizes)
