"""The pipeline: quantize → run → post-process → price → result, layer by layer. Readable in a minute."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from logaccel import __version__
from logaccel.arch import Architecture
from logaccel.cost import bits_moved, load_profile, memory_prices, memory_provenance
from logaccel.costed import (
    PlannedLayer,
    PostResult,
    Prices,
    area_between_layers,
    cost_between_layers,
    cost_layer,
    machine_area,
)
from logaccel.engine import fold_level, register_level
from logaccel.engine.job import LayerJob, LayerRun
from logaccel.engine.post import post_process
from logaccel.errors import ConfigError, TraceError
from logaccel.formats import Format
from logaccel.formats.encode import Codes, decode, encode
from logaccel.mapping import between_layers, layers_alone, unfed_layers
from logaccel.metrics import signal_to_noise_db, top1
from logaccel.planning import plan_network
from logaccel.quantization import (
    Given,
    LayerQuantization,
    check_words,
    graph_layers,
    layer_architectures,
    quantize_graph,
    quantize_network,
    quantize_trace,
)
from logaccel.result import Accuracy, LayerResult, SimulationResult
from logaccel.schedule.activity import Activity, count_activity
from logaccel.schedule.folds import FoldPlan
from logaccel.trace import LayerTensors, Trace
from logaccel.workload import Layer, Network
from logaccel.workload.graph import FloatOp, Graph

Engine = Literal["fold", "register"]
Backend = Literal["kernel", "blas"]
Progress = Callable[[int, int, str], None]  # MACs done, MACs in all, layer about to run

READY_NOTE = "operands are always ready: scratchpads and DRAM are not modelled, stall_cycles is 0"
MEMORY_NOTE = (
    "memory: tiles double-buffered over one DRAM channel; stalls are waits for scratchpad ports and banks, for reads "
    "and for write-backs; system energy is the array's, that of scratchpads and DRAM, and leakage where priced"
)
SCALESIM_NOTE = (
    "cycles by the convention of SCALE-Sim 3.0.0, not of this machine: edge folds pay the whole array, no overlap, "
    "no drain (OS), no pipeline or post-processing latency"
)
POST_NOTE = "between layers: one word a cycle and lane on the ofmap scratchpad; {}"
TIMING_NOTE = "values were not simulated: no tensors; energy is a mean value over assumed operands"


def simulate(
    workload: Trace | Network | Graph,
    arch: Architecture,
    *,
    batch: int | None = None,
    engine: Engine = "fold",
    chained: bool = False,
    quantization: Given | None = None,
    backend: Backend = "kernel",
    progress: Progress | None = None,
) -> SimulationResult:
    """Run a trace (values, cycles, energy) or a network without tensors (cycles, mean energy) on an array.

    A graph is a network with what lies between its layers: pooling, residual adds and concat take cycles and energy too
    (`post_work` of the result). batch: images of a graph (default 1); traces and networks have their own.
    engine: `fold` computes fold by fold, `register` steps every register in every cycle; they agree in
    every field. backend (fold only): `kernel` shifts and adds, `blas` uses floating-point matrix products
    wherever a bound proves them exact. chained: each layer takes the codes that the layer before it
    produced on the machine, instead of the recorded ifmap. quantization: full-scale ranges or formats by
    layer and tensor (`{"conv1": {"ifmap": 1}}`, or another result's `.quantization`); what is not given is
    calibrated by least squared error.

    Raises ConfigError, WorkloadError or TraceError for whatever is wrong in the input.
    """
    trace = workload if isinstance(workload, Trace) else None
    graph = workload if isinstance(workload, Graph) else None
    network = layers_alone(workload, batch)
    if arch.timing == "scalesim" and engine == "register":
        raise ConfigError(
            f"{arch.name}: timing: scalesim is a count, not a machine: the register engine cannot step it"
        )
    if arch.timing == "scalesim" and arch.memory is not None:
        raise ConfigError(f"{arch.name}: memory: timing: scalesim counts no memory, must be left out")
    archs = layer_architectures(arch, network.layers)
    tensors = None if graph is None else quantize_graph(graph, arch)
    formats = _formats(workload, network, archs, (chained, quantization), tensors)
    profile = load_profile(arch.cost_profile)
    prices = Prices(profile, memory_prices(profile, arch, archs))
    run_on_array = _engine(engine, backend)
    results: list[LayerResult] = []
    done = 0
    between = between_layers(workload, network.batch, arch, tensors)
    plan = plan_network(network, archs, formats, prices, unfed_layers(workload, arch), between)
    for index, planned in enumerate(plan.layers):
        if progress is not None:
            progress(done, network.macs, planned.layer.name)
        if trace is None:
            outcome = _time_layer(planned.folds)
        else:
            fed = results[-1].ofmap_codes if chained and results else None
            outcome = _run_layer(trace.layers[index], planned, run_on_array, fed)
        results.append(_layer_result(planned, outcome, prices))
        done += results[-1].macs
    if progress is not None:
        progress(done, network.macs, "")
    post_work: tuple[PostResult, ...] = ()
    lanes_more_um2 = 0.0
    if between is not None:
        post_work = cost_between_layers(between, prices, plan.kept)
        lanes_more_um2 = area_between_layers(between, profile)
    return SimulationResult(
        arch=arch,
        network=network.name,
        batch=network.batch,
        engine=engine,
        chained=chained,
        layers=tuple(results),
        area=machine_area(profile, arch, archs, lanes_more_um2),
        accuracy=_accuracy(trace, results[-1]) if trace is not None else None,
        version=__version__,
        notes=_notes(workload, chained, arch),
        post_work=post_work,
        maps_on_chip=plan.maps_on_chip,
        between=between,
        memory_provenance=memory_provenance(profile, arch),
    )


def _formats(
    workload: Trace | Network | Graph,
    network: Network,
    archs: tuple[Architecture, ...],
    chained_given: tuple[bool, Given | None],
    tensors: dict[str, Format] | None,
) -> tuple[LayerQuantization, ...]:
    chained, given = chained_given
    trace = workload if isinstance(workload, Trace) else None
    if trace is None:
        if given or chained:
            what = "quantization" if given else "chained"
            raise ConfigError(f"{what}: needs a trace; {network.name} has shapes only")
        if isinstance(workload, Graph) and tensors is not None:
            return graph_layers(workload, archs, tensors)
        formats = quantize_network(network, archs)
    else:
        if chained:
            _check_chain(network)
        formats = quantize_trace(trace, archs, given)
    check_words(formats, archs, network.layers)
    return formats


def _notes(workload: Trace | Network | Graph, chained: bool, arch: Architecture) -> tuple[str, ...]:
    timing: tuple[str, ...] = (READY_NOTE if arch.memory is None else MEMORY_NOTE,)
    if arch.timing == "scalesim":
        timing += (SCALESIM_NOTE,)
    elif isinstance(workload, Graph):
        off = ", ".join(node.name for node in workload.nodes if isinstance(node, FloatOp))
        timing += (POST_NOTE.format(f"off the array, not counted: {off}" if off else "nothing leaves the array"),)
    if not isinstance(workload, Trace):
        return *timing, TIMING_NOTE
    unfed = workload.unfed_layers() if chained else ()
    if not unfed:
        return timing
    what = "the recorded ifmap is not the ofmap of the layer before, so the reference tensors do not follow the chain"
    return *timing, f"chained: {', '.join(unfed)}: {what}"


def _check_chain(network: Network) -> None:
    broken = [
        f"{network.name}: {layer.name} does not feed {following.name} directly "
        f"({'×'.join(map(str, layer.ofmap_shape(1)[1:]))} → {'×'.join(map(str, following.ifmap_shape(1)[1:]))}): "
        "chained needs each ofmap to be the next ifmap"
        for layer, following in zip(network.layers, network.layers[1:], strict=False)
        if not layer.feeds(following)
    ]
    if broken:
        raise ConfigError("\n".join(broken))


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What one layer did: counts always, tensors where there were any."""

    array_cycles: int
    activity: Activity
    backend: str
    clipped: int | None = None
    snr_db: float | None = None
    psum: NDArray[np.int64] | None = None
    ofmap_codes: Codes | None = None


def _time_layer(plan: FoldPlan) -> _Outcome:
    """Take cycles and counts from closed forms alone."""
    return _Outcome(plan.compute_cycles, count_activity(plan, live_products=None), "closed form")


def _run_layer(
    tensors: LayerTensors,
    planned: PlannedLayer,
    run_on_array: Callable[[LayerJob], LayerRun],
    fed: Codes | None,
) -> _Outcome:
    """Encode (or take the codes fed on), run on the array, post-process, compare with the float reference."""
    layer, arch, datapath, formats = planned.layer, planned.arch, planned.datapath, planned.formats
    batch = len(tensors.ifmap)
    ifmap = encode(tensors.ifmap, formats.ifmap) if fed is None else fed.reshape(layer.ifmap_shape(batch))
    job = LayerJob(layer, datapath, arch.array, arch.one_dataflow, ifmap, encode(tensors.filter, formats.filter))
    run = run_on_array(job)
    try:
        words = post_process(
            run.psum, datapath.lsb_exponent, tensors.bias, layer.relu, formats.ofmap, arch.post.round_bits
        )
    except TraceError as error:
        raise TraceError(f"{layer.name}: {error}") from None
    codes = np.ascontiguousarray(_as_ofmap(words, layer, batch))
    return _Outcome(
        array_cycles=run.array_cycles,
        activity=run.activity,
        backend=run.backend,
        clipped=run.clipped,
        snr_db=signal_to_noise_db(codes, formats.ofmap, tensors.ofmap),
        psum=_as_ofmap(run.psum, layer, batch),
        ofmap_codes=codes,
    )


def _as_ofmap(words: NDArray[Any], layer: Layer, batch: int) -> NDArray[Any]:
    """Return words[pixel, m] with the axes of the ofmap: [N, M, P, Q], or [N, M]."""
    if layer.kind == "fc":
        return words
    p, q = layer.out_size
    return words.reshape(batch, p, q, layer.out_channels).transpose(0, 3, 1, 2)


def _engine(engine: Engine, backend: Backend) -> Callable[[LayerJob], LayerRun]:
    if engine == "fold" and backend in ("kernel", "blas"):
        return partial(fold_level.run_layer, backend=backend)
    if engine == "register" and backend == "kernel":
        return register_level.run_layer
    if engine not in ("fold", "register"):
        raise ConfigError(f"engine: must be fold or register, got {engine!r}")
    raise ConfigError(f"backend: must be kernel or (fold engine only) blas, got {backend!r} for engine {engine}")


def _layer_result(planned: PlannedLayer, outcome: _Outcome, prices: Prices) -> LayerResult:
    layer, datapath, formats = planned.layer, planned.datapath, planned.formats
    matrix = layer.matrix(planned.batch)
    pes = planned.arch.array.rows * planned.arch.array.cols
    cost = cost_layer(planned, outcome.array_cycles, outcome.activity, prices)
    return LayerResult(
        name=layer.name,
        dataflow=planned.arch.one_dataflow,
        macs=matrix.macs,
        folds=cost.folds,
        compute_cycles=cost.compute_cycles,
        stall_cycles=cost.stall_cycles,
        spatial_utilization=cost.used_pes / (cost.folds * pes),
        utilization=matrix.macs / (pes * cost.total_cycles),
        mapping=planned.mapped,
        tiled=planned.tiled,
        traffic=cost.traffic,
        activity=cost.activity,
        energy=cost.energy,
        bits_moved=bits_moved(layer, planned.batch, datapath, formats.ofmap),
        quantization=formats,
        acc_bits=datapath.acc_bits,
        exact_acc_bits=datapath.exact_acc_bits(matrix.reduction),
        backend=outcome.backend,
        psum_lsb_exponent=datapath.lsb_exponent,
        clipped=outcome.clipped,
        snr_db=outcome.snr_db,
        psum=outcome.psum,
        ofmap_codes=outcome.ofmap_codes,
    )


def _accuracy(trace: Trace, last: LayerResult) -> Accuracy | None:
    """Compare classes, where the last ofmap looks like logits: [N, classes], more than one class."""
    reference = trace.layers[-1].ofmap
    if reference.ndim != 2 or reference.shape[1] < 2 or last.ofmap_codes is None:
        return None
    machine, model = top1(decode(last.ofmap_codes, last.quantization.ofmap)), top1(reference)
    labels = trace.labels
    return Accuracy(
        images=trace.batch,
        top1_agreement=float((machine == model).mean()),
        top1_accuracy=None if labels is None else float((machine == labels).mean()),
        float_top1_accuracy=None if labels is None else float((model == labels).mean()),
    )
