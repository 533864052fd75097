"""A whole graph on the machine: each tensor's codes feed the next node, values those of PE, accumulator, lane.

encode(images) ─► layer: array ─► psum (+ bias) (+ residual) ─► ReLU ─► encoder ─► codes ─► next node
                  pool, add, concat, clip, pad, …: on codes (`lane.py`)
                  float ops: decode ─► linear arithmetic off the array ─► encode
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from logaccel.arch import Architecture
from logaccel.cost import load_profile, memory_prices
from logaccel.costed import Between, Prices
from logaccel.engine import fold_level, register_level
from logaccel.engine.direct import DirectLayer, LaneSpec, direct_layer
from logaccel.engine.factors import codes_of
from logaccel.engine.job import LayerJob, LayerRun
from logaccel.engine.kernels_lane import count_ends
from logaccel.engine.post import bias_words, channels_by_scale
from logaccel.engine.uses import count_live_products, weights_met
from logaccel.errors import ConfigError, TraceError
from logaccel.evaluation.channels import stored_parameters
from logaccel.evaluation.formats import GraphFormats, check_formats
from logaccel.evaluation.lane import Words, add_residual, add_terms, run_on_codes, words_of
from logaccel.evaluation.next_scales import rescaled
from logaccel.formats import Format
from logaccel.formats.encode import Codes, decode, encode
from logaccel.formats.hardware import encode_accumulators
from logaccel.model.model import Model
from logaccel.model.reference import float_op, schedule
from logaccel.pe import Datapath
from logaccel.planning import NetworkPlan, plan_network
from logaccel.quantization import LayerQuantization, layer_architectures
from logaccel.schedule.folds import plan_folds
from logaccel.trace import Tensor
from logaccel.workload.graph import INPUT, Add, FloatOp, LayerNode, Node
from logaccel.workload.layer import Layer

LARGEST_TABLE_BITS = 16  # a residual's words are looked up by code


@dataclass(frozen=True)
class ArrayRun:
    """What the array did for one layer. live_products: None where only values were wanted."""

    clipped: int
    array_cycles: int
    live_products: int | None
    backend: str


@dataclass(frozen=True, eq=False)
class NodeRun:
    """What one node did: its codes[N, …]; for a layer also what the array did, and how many codes are the largest."""

    node: Node
    codes: Codes
    number_format: Format
    array: ArrayRun | None
    saturated: int


def check_engine(engine: str, backend: str) -> None:
    """Raise ConfigError for a name that is none."""
    if engine not in ("fold", "register"):
        raise ConfigError(f"engine: must be fold or register, got {engine!r}")
    if backend not in ("kernel", "blas"):
        raise ConfigError(f"backend: must be kernel or blas, got {backend!r}")


class GraphRun:
    """A model on an architecture, ready for batches: filters are encoded once.

    model: the trained one, `rescaled` by the formats' next_scales: its tensors are those that the machine codes.
    """

    def __init__(
        self, model: Model, arch: Architecture, formats: GraphFormats, engine: str = "fold", backend: str = "blas"
    ) -> None:
        """Check that formats fit. Raises ConfigError, one line for every problem."""
        given, arch = arch, formats.architecture(arch)
        check_formats(formats, model.graph, arch)
        check_engine(engine, backend)
        self.model, self.arch, self.formats, self.engine = rescaled(model, formats.next_scales), arch, formats, engine
        self.lanes_widened = given.post != arch.post
        layers = model.graph.layers
        self.archs = dict(zip((layer.name for layer in layers), layer_architectures(arch, layers), strict=True))
        if any(own.dataflow == "auto" for own in self.archs.values()):
            self.archs = {own.layer.name: own.arch for own in self.plan().layers}
        self.stored = {name: stored_parameters(self.model, name, formats) for name in self.archs}
        self.filters = {name: encode(own.filter, formats.filters[name]) for name, own in self.stored.items()}
        self.direct = {
            node.name: self._direct(node) if (engine, backend) == ("fold", "blas") else None
            for node in model.graph.layer_nodes
        }
        self.met: dict[str, NDArray[np.int64]] = {}
        self.cycles: dict[tuple[str, int], int] = {}
        self.on_array: Callable[[LayerJob], LayerRun] = (
            register_level.run_layer if engine == "register" else partial(fold_level.run_layer, backend=backend)  # type: ignore[arg-type]
        )

    def run(self, images: Tensor, counts: bool = True) -> Iterator[NodeRun]:
        """Yield every node's run on images[N, …]; codes are let go once nothing reads them any more.

        counts: False leaves out what only energy needs, the live products.
        """
        live = {INPUT: encode(images, self.formats.tensors[INPUT])}
        for node, gone in schedule(self.model.graph):
            done = self._node(node, [live[name] for name in node.inputs], counts)
            live[node.name] = done.codes
            yield done
            for name in gone:
                del live[name]

    def plan(self) -> NetworkPlan:
        """Return how one image runs: each layer's dataflow and tiles, and the maps that stay on chip."""
        graph, tensors, profile = self.model.graph, self.formats.tensors, load_profile(self.arch.cost_profile)
        formats = [
            LayerQuantization(tensors[node.inputs[0]], self.formats.filters[node.name], tensors[node.name])
            for node in graph.layer_nodes
        ]
        archs = tuple(self.archs.values())
        prices = Prices(profile, memory_prices(profile, self.arch, archs))
        return plan_network(graph.network(1), archs, formats, prices, between=self.between)

    @property
    def between(self) -> Between:
        """The graph with what lies between its layers, for one image."""
        return Between(self.model.graph, 1, self.arch, self.formats.tensors)

    def _node(self, node: Node, inputs: list[Codes], counts: bool) -> NodeRun:
        own = self.formats.tensors[node.name]
        array, saturated = None, None
        if not isinstance(node, LayerNode):
            codes = self.off_array(node, inputs)
        elif (direct := self.direct[node.name]) is not None:
            codes, saturated = direct.run(*inputs)
            array = self._counted(node, direct, inputs[0], counts)
        else:
            array, codes = self._on_array(node, inputs)
        if saturated is None:
            saturated = count_ends(np.ascontiguousarray(codes).reshape(-1), 0, codes.size, own.min_code, own.max_code)
        return NodeRun(node, codes, own, array, saturated)

    def off_array(self, node: Node, inputs: list[Codes]) -> Codes:
        """Return the codes of a node that is no layer."""
        own, bits = self.formats.tensors[node.name], self.arch.post.round_bits
        sources = [self.formats.tensors[name] for name in node.inputs]
        match node:
            case Add():
                terms = [words_of(codes, source, node.name) for codes, source in zip(inputs, sources, strict=True)]
                return add_terms(node, terms, own, bits)
            case FloatOp():
                return encode(float_op(node, decode(inputs[0], sources[0])), own)
            case _:
                return run_on_codes(node, inputs, (sources[0], own), bits)

    def datapath(self, node: LayerNode) -> Datapath:
        """Return what a PE does for a layer."""
        pe = self.archs[node.name].pe
        return pe.datapath(self.formats.tensors[node.inputs[0]], self.formats.filters[node.name])

    def _direct(self, node: LayerNode) -> DirectLayer | None:
        """Prepare a layer for the shortest way, where its sums are proven and its channels have one LSB."""
        tensors = self.formats.tensors
        if node.name in self.formats.scales:
            return None
        residual = None
        if len(node.inputs) > 1:
            source = tensors[node.inputs[1]]
            if source.bits > LARGEST_TABLE_BITS:
                return None
            residual = (*words_of(codes_of(source), source, node.name), source)
        bias, bits = self.stored[node.name].bias, self.arch.post.round_bits
        spec = LaneSpec(bias, residual, node.layer.relu, tensors[node.name], bits)
        return direct_layer(node.layer, self.datapath(node), self.filters[node.name], spec)

    def _counted(self, node: LayerNode, direct: DirectLayer, ifmap: Codes, counts: bool) -> ArrayRun:
        """Return cycles and, if wanted, live products of a layer whose values came the shortest way: none clipped."""
        key = node.name, len(ifmap)
        if key not in self.cycles:
            arch = self.archs[node.name]
            self.cycles[key] = plan_folds(node.layer.matrix(len(ifmap)), arch.array, arch.one_dataflow).compute_cycles
        if counts and node.name not in self.met:
            self.met[node.name] = weights_met(node.layer, self.filters[node.name])
        live = count_live_products(ifmap, self.met[node.name]) if counts else None
        return ArrayRun(0, self.cycles[key], live, direct.backend)

    def _on_array(self, node: LayerNode, inputs: list[Codes]) -> tuple[ArrayRun, Codes]:
        """Run a layer on an engine, then through the lane."""
        run = self.on_array(self.job(node, inputs[0]))
        array = ArrayRun(run.clipped, run.array_cycles, run.activity.live_products, run.backend)
        return array, self.lane(node, run.psum, inputs)

    def job(self, node: LayerNode, ifmap: Codes) -> LayerJob:
        """Return what the array has to do for a layer."""
        arch = self.archs[node.name]
        return LayerJob(node.layer, self.datapath(node), arch.array, arch.one_dataflow, ifmap, self.filters[node.name])

    def lane(self, node: LayerNode, psum: Words, inputs: list[Codes]) -> Codes:
        """Return a layer's codes from psum[pixel, m]: bias, residual, ReLU, encoder, each at the LSB of its channel."""
        layer, own = node.layer, self.formats.tensors[node.name]
        bits, lsb = self.arch.post.round_bits, self.datapath(node).lsb_exponent
        try:
            bias = bias_words(self.stored[node.name].bias, lsb)
        except TraceError as error:
            raise TraceError(f"{node.name}: {error}") from None
        residual, residual_lsb = None, 0
        if len(inputs) > 1:
            words, residual_lsb = words_of(inputs[1], self.formats.tensors[node.inputs[1]], node.name)
            residual = _as_pixels(words, layer)
        codes = np.empty(psum.shape, own.code_dtype)
        for scale, m in channels_by_scale(self.formats.scales.get(node.name)):
            sums, fine, addend = psum[:, m], lsb - scale, bias[m]
            if residual is not None:
                sums, fine = add_residual(node.name, (sums, fine), addend, (residual[:, m], residual_lsb))
                addend = np.zeros_like(addend)
            codes[:, m] = encode_accumulators(sums, fine, own, bits, addend, layer.relu)
        return _as_ofmap(codes, layer, len(inputs[0]))


def run_graph(run: GraphRun, images: Tensor) -> Codes:
    """Return the codes of the graph's output: values alone, without counts and without the float network."""
    codes = None
    for done in run.run(images, counts=False):
        if done.node.name == run.model.graph.output:
            codes = done.codes
    assert codes is not None
    return codes


def _as_pixels(words: np.ndarray, layer: Layer) -> np.ndarray:
    """Return words[N, M, P, Q] (or [N, M]) as words[pixel, m]."""
    if layer.kind == "fc":
        return words
    return np.ascontiguousarray(words.transpose(0, 2, 3, 1)).reshape(-1, layer.out_channels)


def _as_ofmap(words: Codes, layer: Layer, batch: int) -> Codes:
    """Return words[pixel, m] with the axes of the ofmap."""
    if layer.kind == "fc":
        return words
    return np.ascontiguousarray(words.reshape(batch, *layer.out_size, layer.out_channels).transpose(0, 3, 1, 2))
