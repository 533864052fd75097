"""Operators to nodes of a graph, shared by all importers. It builds records; of the network it runs nothing."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from pydantic import ValidationError

from logaccel.errors import WorkloadError
from logaccel.model import translate_layers as layers
from logaccel.model import translate_others as others
from logaccel.model.build import Builder
from logaccel.model.constants import is_known, shape_of_batch, work_out
from logaccel.model.model import Model
from logaccel.model.operators import Operator, OperatorGraph
from logaccel.model.translation import Translation
from logaccel.section import problems
from logaccel.workload.graph import MOST_ELEMENTS


def import_operators(graph: OperatorGraph) -> Model:
    """Build a model of operators. Raises WorkloadError naming node and attribute, one line for every problem."""
    return _Importer(graph).model()


class _Importer:
    def __init__(self, graph: OperatorGraph) -> None:
        graph = self.graph = replace(graph, nodes=_needed(graph))
        readers = [node for node in graph.nodes if node.op != "Shape"]  # which reads no value
        uses = Counter(name for node in readers for name in node.inputs) + Counter([graph.output_name])
        self.build = Builder(graph.input_shape, uses)
        self.net = Translation(graph, self.build)
        self.constants, self.worked_out = self.net.constants, 0
        self.computed = {graph.input_name}  # by the network, also where a faulty node is on the way
        self.faults: list[str] = []

    def model(self) -> Model:
        self.build.start(self.graph.input_name)
        for node in self.graph.nodes:
            self._take(node)
        if not self.faults and self.graph.output_name not in self.build.tensors:
            self.faults.append(f"{self.graph.subject}: output {self.graph.output_name}: no node makes it")
        if self.faults:
            raise WorkloadError("\n".join(self.faults))
        return self.build.model(self.graph.name, self.build.tensors[self.graph.output_name], self.graph.subject)

    def _take(self, node: Operator) -> None:
        """Translate one node; what depends on a faulty node is passed over, its own op is still checked."""
        place = node.place(self.graph.subject)
        if node.op != "Shape" and self.computed.intersection(node.inputs):
            self.computed.update(node.outputs)
        if node.op == "Constant":
            if not all(name in self.constants for name in node.outputs):
                self.faults.append(f"{place}: holds no value that is supported")
            return
        if is_known(node.op) and node.inputs and all(not name or name in self.constants for name in node.inputs):
            self._guard(place, lambda: self._work_out(node))
            return
        known = _OPERATORS.get(node.op)
        if known is None:
            self.faults.append(f"{place}: operator is not supported")
            return
        translate, attributes = known
        odd = [f"{key}: attribute is not supported" for key in sorted(set(node.attributes) - set(attributes.split()))]
        odd = odd or _odd_kinds(node)
        if odd:
            self.faults += [f"{place}: {fault}" for fault in odd]
            return
        source = next((name for name in node.inputs if name not in self.constants), None)
        if source is None or not node.outputs or not node.inputs:
            self.faults.append(f"{place}: must read a tensor and make one")
            return
        tensors = [self.build.tensors.get(name) for name in node.inputs if name and name not in self.constants]
        if node.op in ("Sub", "Mul", "Div") and self.computed.issuperset(node.inputs):
            self.faults.append(f"{place}: one of the two must be a constant")
            return
        if None in tensors:
            if not self.faults:
                self.faults.append(f"{place}: reads a tensor that no node before it makes")
            return
        self._guard(place, lambda: translate(self.net, node))

    def _guard(self, place: str, act: Callable[[], None]) -> None:
        """Do something about a node; what is wrong with it becomes a fault."""
        try:
            act()
        except ValidationError as error:
            self.faults.append(problems(error, place))
        except (ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError) as error:
            self.faults.append(f"{place}: {' '.join(str(error).split()) or 'cannot be read'}")

    def _work_out(self, node: Operator) -> None:
        value = work_out(node, [self.constants[name] if name else None for name in node.inputs])
        self.worked_out += 0 if node.op == "Identity" else value.size
        if self.worked_out > MOST_ELEMENTS:
            raise ValueError(f"constants made of constants hold more than {MOST_ELEMENTS} elements")
        self.constants[node.outputs[0]] = value


def _odd_kinds(node: Operator) -> list[str]:
    """Return what is wrong with the types of an operator's attributes: a file may give any of them any type."""
    faults = []
    for key, value in node.attributes.items():
        wanted = "a whole number"
        fits = isinstance(value, int)
        if key in _LISTS:
            wanted = "a list of whole numbers"
            fits = isinstance(value, list | tuple) and all(isinstance(part, int) for part in value)
        elif key in _NUMBERS:
            wanted, fits = "a number", isinstance(value, int | float)
        elif key in _TEXTS:
            wanted, fits = "text", isinstance(value, str)
        if not fits:
            faults.append(f"{key}: must be {wanted}, got {value!r:.60}")
    return faults


def _needed(graph: OperatorGraph) -> tuple[Operator, ...]:
    """Return the operators that the output depends on: what else a file holds is not the network."""
    wanted, kept = {graph.output_name}, list[Operator]()
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            kept.append(node)
            wanted.update(node.inputs)
    return tuple(reversed(kept))


def _shape(net: Translation, node: Operator) -> None:
    net.constants[node.outputs[0]] = shape_of_batch(node, net.build.shapes[net.tensor(node)])


_LISTS = frozenset(("axes", "dilations", "ends", "kernel_shape", "pads", "perm", "shape", "split", "starts", "strides"))
_NUMBERS = frozenset(("alpha", "beta", "bias", "epsilon", "max", "min", "momentum", "ratio", "value"))
_TEXTS = frozenset(("auto_pad", "mode"))
_WINDOW = "kernel_shape strides dilations pads auto_pad"
_OPERATORS: dict[str, tuple[Callable[[Translation, Operator], None], str]] = {
    "Conv": (layers.conv, f"{_WINDOW} group"),
    "Gemm": (layers.gemm, "alpha beta transA transB"),
    "MatMul": (layers.matmul, ""),
    "BatchNormalization": (layers.batch_norm, "epsilon momentum training_mode spatial"),
    "Add": (layers.affine, ""),
    "Sub": (layers.affine, ""),
    "Mul": (layers.affine, ""),
    "Div": (layers.affine, ""),
    "Sum": (layers.total, ""),
    "Relu": (others.relu, ""),
    "Clip": (others.clip, "min max"),
    "MaxPool": (others.pool, f"{_WINDOW} ceil_mode storage_order"),
    "AveragePool": (others.pool, f"{_WINDOW} ceil_mode count_include_pad"),
    "GlobalAveragePool": (others.global_pool, ""),
    "GlobalMaxPool": (others.global_pool, ""),
    "ReduceMean": (others.global_pool, "axes keepdims noop_with_empty_axes"),
    "Concat": (others.concat, "axis"),
    "Flatten": (others.reshape, "axis"),
    "Reshape": (others.reshape, "shape allowzero"),
    "Transpose": (others.transpose, "perm"),
    "Pad": (others.pad, "mode pads value"),
    "Slice": (others.cut, "starts ends axes"),
    "Dropout": (others.dropout, "ratio seed is_test"),
    "Identity": (others.identity, ""),
    "Cast": (others.cast, "to saturate"),
    "Shape": (_shape, "start end"),
    "Squeeze": (others.reshape, "axes"),
    "Unsqueeze": (others.reshape, "axes"),
    "Split": (others.split, "axis split num_outputs"),
    "LeakyRelu": (others.float_op, "alpha"),
    "LRN": (others.float_op, "size alpha beta bias"),
    "Softmax": (others.float_op, "axis"),
}  # fmt: skip
