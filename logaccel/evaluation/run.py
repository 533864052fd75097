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
from logaccel.engine import fold_level, register_level
from logaccel.engine.direct import DirectLayer, LaneSpec, direct_layer
from logaccel.engine.factors import codes_of
from logaccel.engine.job import LayerJob, LayerRun
from logaccel.engine.post import post_process
from logaccel.engine.uses import count_live_products, weights_met
from logaccel.errors import ConfigError, TraceError
from logaccel.evaluation.formats import GraphFormats, check_formats
from logaccel.evaluation.lane import add_residual, add_terms, run_on_codes, words_of
from logaccel.formats import Format
from logaccel.formats.encode import Codes, decode, encode
from logaccel.formats.hardware import encode_accumulators
from logaccel.model.model import Model
from logaccel.model.reference import float_op, schedule
from logaccel.pe import Datapath
from logaccel.quantization import layer_architectures
from logaccel.schedule.folds import plan_folds
from logaccel.trace import Tensor
from logaccel.workload.graph import INPUT, Add, FloatOp, LayerNode, Node
from logaccel.workload.layer import Layer


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


class GraphRun:
    """A model on an architecture, ready for batches: filters are encoded once."""

    def __init__(
        self, model: Model, arch: Architecture, formats: GraphFormats, engine: str = "fold", backend: str = "blas"
    ) -> None:
        """Check that formats fit. Raises ConfigError, one line for every problem."""
        check_formats(formats, model.graph, arch)
        if engine not in ("fold", "register"):
            raise ConfigError(f"engine: must be fold or register, got {engine!r}")
        if backend not in ("kernel", "blas"):
            raise ConfigError(f"backend: must be kernel or blas, got {backend!r}")
        self.model, self.arch, self.formats = model, arch, formats
        layers = model.graph.layers
        self.archs = dict(zip((layer.name for layer in layers), layer_architectures(arch, layers), strict=True))
        self.filters = {name: encode(model.parameters[name].filter, formats.filters[name]) for name in self.archs}
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

    def _node(self, node: Node, inputs: list[Codes], counts: bool) -> NodeRun:
        own = self.formats.tensors[node.name]
        sources = [self.formats.tensors[name] for name in node.inputs]
        array, saturated = None, None
        match node:
            case LayerNode():
                direct = self.direct[node.name]
                if direct is None:
                    array, codes = self._on_array(node, inputs)
                else:
                    codes, saturated = direct.run(*inputs)
                    array = self._counted(node, direct, inputs[0], counts)
            case Add():
                terms = [words_of(codes, source) for codes, source in zip(inputs, sources, strict=True)]
                codes = add_terms(node, terms, own, self.arch.post.round_bits)
            case FloatOp():
                codes = encode(float_op(node, decode(inputs[0], sources[0])), own)
            case _:
                codes = run_on_codes(node, inputs, (sources[0], own), self.arch.post.round_bits)
        if saturated is None:
            saturated = int(np.count_nonzero((codes >= own.max_code) | (own.signed & (codes <= own.min_code))))
        return NodeRun(node, codes, own, array, saturated)

    def _datapath(self, node: LayerNode) -> Datapath:
        pe = self.archs[node.name].pe
        return pe.datapath(self.formats.tensors[node.inputs[0]], self.formats.filters[node.name])

    def _direct(self, node: LayerNode) -> DirectLayer | None:
        """Prepare a layer for the shortest way, where its sums are proven."""
        tensors = self.formats.tensors
        residual = None
        if len(node.inputs) > 1:
            source = tensors[node.inputs[1]]
            if source.code_dtype.itemsize > 2:
                return None
            residual = (*words_of(codes_of(source), source), source)
        spec = LaneSpec(
            self.model.parameters[node.name].bias, residual, node.layer.relu, tensors[node.name],
            self.arch.post.round_bits,
        )  # fmt: skip
        return direct_layer(node.layer, self._datapath(node), self.filters[node.name], spec)

    def _counted(self, node: LayerNode, direct: DirectLayer, ifmap: Codes, counts: bool) -> ArrayRun:
        """Return cycles and, if wanted, live products of a layer whose values came the shortest way: none clipped."""
        key = node.name, len(ifmap)
        if key not in self.cycles:
            arch = self.archs[node.name]
            self.cycles[key] = plan_folds(node.layer.matrix(len(ifmap)), arch.array, arch.dataflow).compute_cycles
        if counts and node.name not in self.met:
            self.met[node.name] = weights_met(node.layer, self.filters[node.name])
        live = count_live_products(ifmap, self.met[node.name]) if counts else None
        return ArrayRun(0, self.cycles[key], live, direct.backend)

    def _on_array(self, node: LayerNode, inputs: list[Codes]) -> tuple[ArrayRun, Codes]:
        """Run a layer on an engine, then through the lane."""
        layer, arch, own = node.layer, self.archs[node.name], self.formats.tensors[node.name]
        datapath = self._datapath(node)
        run = self.on_array(LayerJob(layer, datapath, arch.array, arch.dataflow, inputs[0], self.filters[node.name]))
        bias, bits = self.model.parameters[node.name].bias, arch.post.round_bits
        try:
            if len(inputs) == 1:
                codes = post_process(run.psum, datapath.lsb_exponent, bias, layer.relu, own, bits)
            else:
                words, lsb = words_of(inputs[1], self.formats.tensors[node.inputs[1]])
                residual = _as_pixels(words, layer), lsb
                sums, lsb = add_residual(node.name, (run.psum, datapath.lsb_exponent), bias, residual)
                codes = encode_accumulators(sums, lsb, own, bits, relu=layer.relu)
        except TraceError as error:
            raise TraceError(f"{node.name}: {error}") from None
        array = ArrayRun(run.clipped, run.array_cycles, run.activity.live_products, run.backend)
        return array, _as_ofmap(codes, layer, len(inputs[0]))


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
