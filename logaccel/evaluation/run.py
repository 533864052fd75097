"""A whole graph on the machine: each tensor's codes feed the next node, values those of PE, accumulator, lane.

encode(images) ─► layer: array ─► psum (+ bias) (+ residual) ─► ReLU ─► encoder ─► codes ─► next node
                  pool, add, concat, clip, pad, …: on codes (`lane.py`)
                  float ops: decode ─► linear arithmetic off the array ─► encode
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from logaccel.arch import Architecture
from logaccel.engine import fold_level, register_level
from logaccel.engine.job import LayerJob, LayerRun
from logaccel.engine.post import post_process
from logaccel.errors import ConfigError, TraceError
from logaccel.evaluation.formats import GraphFormats, check_formats
from logaccel.evaluation.lane import add_residual, add_terms, run_on_codes, words_of
from logaccel.formats import Format
from logaccel.formats.encode import Codes, decode, encode
from logaccel.formats.hardware import encode_accumulators
from logaccel.model.model import Model
from logaccel.model.reference import float_op, schedule
from logaccel.quantization import layer_architectures
from logaccel.trace import Tensor
from logaccel.workload.graph import INPUT, Add, FloatOp, LayerNode, Node
from logaccel.workload.layer import Layer


@dataclass(frozen=True, eq=False)
class NodeRun:
    """What one node did: its codes[N, …]; for a layer also what the array did, and how many codes are the largest."""

    node: Node
    codes: Codes
    number_format: Format
    array: LayerRun | None
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
        self.on_array: Callable[[LayerJob], LayerRun] = (
            register_level.run_layer if engine == "register" else partial(fold_level.run_layer, backend=backend)  # type: ignore[arg-type]
        )

    def run(self, images: Tensor) -> Iterator[NodeRun]:
        """Yield every node's run on images[N, …]; codes are let go once nothing reads them any more."""
        live = {INPUT: encode(images, self.formats.tensors[INPUT])}
        for node, gone in schedule(self.model.graph):
            done = self._node(node, [live[name] for name in node.inputs])
            live[node.name] = done.codes
            yield done
            for name in gone:
                del live[name]

    def _node(self, node: Node, inputs: list[Codes]) -> NodeRun:
        own = self.formats.tensors[node.name]
        sources = [self.formats.tensors[name] for name in node.inputs]
        array = None
        match node:
            case LayerNode():
                array, codes = self._layer(node, inputs)
            case Add():
                terms = [words_of(codes, source) for codes, source in zip(inputs, sources, strict=True)]
                codes = add_terms(node, terms, own, self.arch.post.round_bits)
            case FloatOp():
                codes = encode(float_op(node, decode(inputs[0], sources[0])), own)
            case _:
                codes = run_on_codes(node, inputs, (sources[0], own), self.arch.post.round_bits)
        saturated = int(np.count_nonzero((codes >= own.max_code) | (own.signed & (codes <= own.min_code))))
        return NodeRun(node, codes, own, array, saturated)

    def _layer(self, node: LayerNode, inputs: list[Codes]) -> tuple[LayerRun, Codes]:
        layer, arch, own = node.layer, self.archs[node.name], self.formats.tensors[node.name]
        datapath = arch.pe.datapath(self.formats.tensors[node.inputs[0]], self.formats.filters[node.name])
        job = LayerJob(layer, datapath, arch.array, arch.dataflow, inputs[0], self.filters[node.name])
        run = self.on_array(job)
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
        return run, _as_ofmap(codes, layer, len(inputs[0]))


def run_graph(run: GraphRun, images: Tensor) -> Codes:
    """Return the codes of the graph's output."""
    codes = None
    for done in run.run(images):
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
