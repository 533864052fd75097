"""PyTorch modules to models: torch.export writes down what the module computes, as ATen operators on one example.

    module ─ torch.export ─► ATen operators ─ torch_operators ─► operators ─ importing ─► graph and parameters

Exporting runs the module's own Python code on tensors without values; logaccel runs no layer of it.
"""

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from math import prod
from operator import getitem
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.errors import ConfigError, WorkloadError
from logaccel.model.importing import import_operators
from logaccel.model.model import Model
from logaccel.model.operators import Operator, OperatorGraph, with_unique_names
from logaccel.model.torch_operators import GETITEM, PARTS, TRANSLATIONS, Call, TorchTensor
from logaccel.workload.graph import MOST_ELEMENTS


def from_torch(module: Any, example_input: Any, name: str | None = None) -> Model:
    """Import a PyTorch module in evaluation mode, as it computes an example input [N, C, H, W] or [N, C].

    name: of the model; default: the module's class. Raises WorkloadError, one line for every problem;
    ConfigError without the extra.
    """
    try:
        import torch
    except ImportError:
        raise ConfigError("from_torch: needs the extra: pip install 'logaccel[torch]'") from None
    subject = name or type(module).__name__
    if not isinstance(module, torch.nn.Module):
        raise WorkloadError(f"from_torch: module must be a torch.nn.Module, got {subject}")
    example = _checked_example(example_input, subject)
    training = [part or "the module itself" for part, own in module.named_modules() if own.training]
    if training:
        more = f" (and {len(training) - 1} more)" if len(training) > 1 else ""
        raise WorkloadError(f"{subject}: is in training mode: {training[0]}{more}; call its eval() first")
    return import_operators(_Reader(_exported(module, example, subject), subject).graph(tuple(example.shape)))


def _checked_example(example: Any, subject: str) -> Any:
    import torch

    if isinstance(example, tuple) and len(example) == 1:
        example = example[0]
    if not isinstance(example, torch.Tensor):
        raise WorkloadError(f"{subject}: example_input must be one tensor, got {type(example).__name__}")
    if not example.dtype.is_floating_point:
        raise WorkloadError(f"{subject}: example_input must hold floating-point numbers, got {example.dtype}")
    if example.ndim not in (2, 4) or not 0 < example.numel() <= MOST_ELEMENTS:
        raise WorkloadError(
            f"{subject}: example_input must have the axes N, C, H, W or N, C, got the shape {list(example.shape)}"
        )
    return example


def _exported(module: Any, example: Any, subject: str) -> Any:
    """Return the exported program without in-place operators; what the module's code raises is the user's error."""
    import torch
    from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(module, (example,), strict=False).run_decompositions({})
    except GuardOnDataDependentSymNode:
        raise WorkloadError(f"{subject}: its forward branches on values of tensors, which no graph holds") from None
    except Exception as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise WorkloadError(
            f"{subject}: torch.export cannot follow it on an example of the shape {list(example.shape)}: {reason}"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what a failing export logs and prints: it repeats, at length, what the one error says."""
    before, printed = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stderr(printed):
            yield
    finally:
        logging.disable(before)
    sys.stderr.write(printed.getvalue())


class _Reader:
    """Turns the nodes of an exported program into operators and constants."""

    def __init__(self, program: Any, subject: str) -> None:
        self.program, self.subject = program, subject
        self.constants: dict[str, NDArray[Any]] = {}
        self.values: dict[str, Any] = {}  # torch tensors known now: parameters, buffers and what is made of them
        self.calls: dict[str, Call] = {}
        self.operators: list[Operator] = []
        self.faults: list[str] = []

    def graph(self, shape: tuple[int, ...]) -> OperatorGraph:
        """Return the operators. Raises WorkloadError, one line for every problem."""
        signature = self.program.graph_signature
        inputs, outputs = signature.user_inputs, signature.user_outputs
        if len(inputs) != 1 or len(outputs) != 1 or not isinstance(outputs[0], str):
            self.faults.append(
                f"{self.subject}: must take one tensor and return one, got {len(inputs)} and {len(outputs)}"
            )
        self.faults += [
            f"{self.subject}: its forward changes {target}, which a graph cannot"
            for target in {**signature.buffers_to_mutate, **signature.user_inputs_to_mutate}.values()
        ]
        self._name_constants()
        for node in self.program.graph.nodes:
            if node.op == "call_function":
                self._take(node)
            elif node.op == "get_attr":
                self.faults.append(f"{self.subject}: node {node.name}: control flow is not supported")
        if self.faults:
            raise WorkloadError("\n".join(self.faults))
        read = {name for operator in self.operators for name in operator.inputs}
        for name in read & set(self.values):
            self.constants[name] = self._array(name)
        if self.faults:
            raise WorkloadError("\n".join(self.faults))
        nodes = with_unique_names(self.operators)
        return OperatorGraph(self.subject, self.subject, inputs[0], shape[1:], outputs[0], nodes, self.constants)

    def _name_constants(self) -> None:
        signature, program = self.program.graph_signature, self.program
        for name, target in {**signature.inputs_to_parameters, **signature.inputs_to_buffers}.items():
            known = program.state_dict if target in program.state_dict else program.constants
            self.values[name] = known[target]
        for name, target in signature.inputs_to_lifted_tensor_constants.items():
            self.values[name] = program.constants[target]

    def _array(self, name: str) -> NDArray[Any]:
        """Return a constant as numpy has it; half precision becomes float32, exactly."""
        import torch

        value = self.values[name].detach().cpu()
        if value.dtype in (torch.float16, torch.bfloat16):
            value = value.to(torch.float32)
        array = np.asarray(value.numpy())
        bad = array[~np.isfinite(array)] if array.dtype.kind in "fiub" else np.array([array.dtype])
        if bad.size:
            self.faults.append(f"{self.subject}: {name}: must be finite real numbers, got {bad.flat[0]}")
        return array

    def _take(self, node: Any) -> None:
        """Translate one node."""
        kind = GETITEM if node.target is getitem else _kind(node.target)
        call = Call(
            kind, str(node.target) if kind != GETITEM else kind, _module_name(node), {}, _tensors(node), self.constants
        )
        try:
            call.arguments.update(self._arguments(node, kind))
            if self._fold(node, call):
                return
            self.calls[node.name] = call
            if kind in TRANSLATIONS:
                self.operators.append(TRANSLATIONS[kind](call))
            elif kind not in PARTS and node.users:  # what nobody reads is a check of the exporter's
                self.faults.append(f"{_place(call, self.subject)}: operator is not supported")
        except (ValueError, TypeError, KeyError, IndexError) as error:
            self.faults.append(f"{_place(call, self.subject)}: {error.args[0] if error.args else error}")

    def _arguments(self, node: Any, kind: str) -> dict[str, Any]:
        if kind == GETITEM:
            source, index = node.args
            if source.name not in self.calls:
                raise ValueError("takes a part of a constant")
            return {"call": self.calls[source.name], "index": index}
        schema = getattr(node.target, "_schema", None)
        if schema is None:  # a higher-order operator: control flow, …
            return {}
        given = {argument.name: argument.default_value for argument in schema.arguments}
        given |= dict(zip((argument.name for argument in schema.arguments), node.args, strict=False)) | dict(
            node.kwargs
        )
        return {key: self._plain(value) for key, value in given.items()}

    def _plain(self, value: Any) -> Any:
        """Return an argument with nodes as tensors of the graph."""
        if isinstance(value, list | tuple):
            return [self._plain(part) for part in value]
        if hasattr(value, "meta"):
            return TorchTensor(value.name, _tensors(value)[0].shape, value.name in self.values)
        return value

    def _fold(self, node: Any, call: Call) -> bool:
        """Compute what is made of parameters alone, such as a transposed matrix or a normed weight."""
        import torch

        sources = node.all_input_nodes
        if call.kind == GETITEM or not sources or not all(source.name in self.values for source in sources):
            return False
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) or len(call.results) != 1:
            return False
        if sum(prod(part.shape) for part in call.results) > MOST_ELEMENTS:
            raise ValueError(
                f"makes a constant of the shape {list(call.shape)}, must be at most {MOST_ELEMENTS} elements"
            )
        arguments, keywords = torch.fx.node.map_arg((node.args, node.kwargs), lambda source: self.values[source.name])
        with torch.no_grad():
            self.values[node.name] = node.target(*arguments, **keywords)
        return True


def _kind(target: Any) -> str:
    """Return the name of an operator without its namespace and overload; another library's keeps its own."""
    schema = getattr(target, "_schema", None)
    return str(target) if schema is None else str(schema.name).removeprefix("aten::")


def _tensors(node: Any) -> tuple[TorchTensor, ...]:
    """Return what a node makes: one tensor, or several that share its name until one is taken."""
    made = node.meta.get("val")
    parts = made if isinstance(made, list | tuple) else [made]
    return tuple(TorchTensor(node.name, tuple(int(size) for size in getattr(part, "shape", ()))) for part in parts)


def _module_name(node: Any) -> str:
    """Return the path of the module that a node comes from; with the node's own name where that is user code."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "")
    if path and str(kind).startswith("torch.nn.modules."):
        return str(path)
    return f"{path}.{node.name}" if path else str(node.name)


def _place(call: Call, subject: str) -> str:
    return f"{subject}: node {call.name} ({call.shown})"
