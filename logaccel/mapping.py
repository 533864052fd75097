"""How a network is mapped: what logaccel.planning decided for each layer, and the runners-up."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from logaccel.arch import Architecture, Dataflow
from logaccel.cost import load_profile, memory_prices
from logaccel.costed import Between, PlannedLayer, Prices, layer_prices
from logaccel.errors import ConfigError, LogaccelError
from logaccel.formats import Format
from logaccel.memory.mapper import MappedLayer, rank_mappings
from logaccel.memory.stays import KeptMap
from logaccel.planning import OnChip, in_dataflow, plan_in_dataflow, plan_network
from logaccel.quantization import (
    LayerQuantization,
    check_words,
    graph_layers,
    layer_architectures,
    quantize_graph,
    quantize_network,
    quantize_trace,
)
from logaccel.result import write_whole
from logaccel.trace import Trace
from logaccel.workload import Network
from logaccel.workload.graph import Graph

NEIGHBOURS = 16  # mappings among which a runner-up that costs more is looked for


@dataclass(frozen=True)
class LayerChoice:
    """A layer in the dataflow that was chosen; runner_up: the best mapping in it that costs more, or an equal one.

    Each as the mapper weighs it: its tiles. `whole` adds what the layer pays once, whatever the mapping.
    """

    planned: PlannedLayer
    runner_up: MappedLayer | None
    other_dataflows: dict[Dataflow, MappedLayer | str]  # what they would have cost, or why they cannot
    leakage_pj_per_cycle: float = 0.0

    def whole(self, mapped: MappedLayer) -> MappedLayer:
        """Return a mapping with the post-processing latency, and what leaks meanwhile: the layer as it is simulated."""
        stages, energy_pj = self.planned.arch.post.stages, mapped.energy_pj
        if energy_pj is not None:
            energy_pj += stages * self.leakage_pj_per_cycle
        return replace(mapped, compute_cycles=mapped.compute_cycles + stages, energy_pj=energy_pj)


@dataclass(frozen=True)
class NetworkMapping:
    """A network on an architecture with a memory: how each layer is tiled, and what else it could have been."""

    network: str
    batch: int
    arch: Architecture
    layers: tuple[LayerChoice, ...]
    maps_on_chip: tuple[KeptMap, ...] = ()  # of one layer alone: those that it makes or reads

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, units in the keys."""
        from logaccel.report.mapping import mapping_dict

        return mapping_dict(self)

    def to_json(self, path: str | Path) -> None:
        """Write `to_dict()` to a file, whole or not at all."""
        write_whole(path, json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")

    def summary(self) -> str:
        """Return the loop nests as text."""
        from logaccel.report.mapping import mapping_text

        return mapping_text(self)


def map_network(
    workload: Trace | Network | Graph, arch: Architecture, layer: str | None = None, batch: int | None = None
) -> NetworkMapping:
    """Map a network, or one layer of it, onto an architecture with a memory, and say what else there was.

    Formats are those of `simulate`: calibrated on a trace, full scale 1 for shapes alone. batch: images of a graph.
    Raises ConfigError, WorkloadError or TraceError for whatever is wrong in the input.
    """
    network = layers_alone(workload, batch)
    if arch.memory is None:
        raise ConfigError(f"{arch.name}: memory: must be given: without scratchpads there is nothing to map")
    if arch.timing == "scalesim":
        raise ConfigError(f"{arch.name}: memory: timing: scalesim counts no memory, must be left out")
    archs = layer_architectures(arch, network.layers)
    tensors = quantize_graph(workload, arch) if isinstance(workload, Graph) else None
    formats = _formats(workload, archs, tensors)
    names = [entry.name for entry in network.layers]
    if layer is not None and layer not in names:
        raise ConfigError(f"{network.name}: {layer}: no layer of that name; there are {', '.join(names)}")
    profile = load_profile(arch.cost_profile)
    prices = Prices(profile, memory_prices(profile, arch, archs))
    between = between_layers(workload, network.batch, arch, tensors)
    plan = plan_network(network, archs, formats, prices, unfed_layers(workload, arch), between)
    chosen = tuple(
        _choice(entry, own, prices)
        for entry, own in zip(plan.layers, archs, strict=True)
        if layer in (None, entry.layer.name)
    )
    kept = tuple(own for own in plan.maps_on_chip if layer is None or layer in (own.name, *own.readers))
    return NetworkMapping(network.name, network.batch, arch, chosen, kept)


def layers_alone(workload: Trace | Network | Graph, batch: int | None) -> Network:
    """Return the layers of a workload. batch: images of a graph; the others have their own."""
    if isinstance(workload, Graph):
        if batch is not None and batch < 1:
            raise ConfigError(f"batch: must be at least 1, got {batch}")
        return workload.network(batch or 1)
    if batch is not None:
        raise ConfigError("batch: goes with a graph; a trace or a network has its own")
    return workload.network if isinstance(workload, Trace) else workload


def unfed_layers(workload: Trace | Network | Graph, arch: Architecture) -> tuple[str, ...]:
    """Return the layers that do not take the ofmap before them, as far as hand-over on chip has to know.

    A trace and a graph say so; of a network without tensors only shapes are known.
    """
    if isinstance(workload, Network) or arch.memory is None or not arch.memory.handover:
        return ()
    return workload.unfed_layers()


def between_layers(
    workload: Trace | Network | Graph, batch: int, arch: Architecture, tensors: dict[str, Format] | None
) -> Between | None:
    """Return what a graph has between its layers; None for other workloads."""
    if not isinstance(workload, Graph) or tensors is None or arch.timing != "physical":
        return None
    return Between(workload, batch, arch, tensors)


def _formats(
    workload: Trace | Network | Graph, archs: tuple[Architecture, ...], tensors: dict[str, Format] | None
) -> tuple[LayerQuantization, ...]:
    if isinstance(workload, Graph) and tensors is not None:
        return graph_layers(workload, archs, tensors)
    assert not isinstance(workload, Graph)
    if isinstance(workload, Trace):
        network, formats = workload.network, quantize_trace(workload, archs, None)
    else:
        network, formats = workload, quantize_network(workload, archs)
    check_words(formats, archs, network.layers)
    return formats


def _choice(planned: PlannedLayer, arch: Architecture, prices: Prices) -> LayerChoice:
    """Look at what else there was."""
    assert planned.arch.memory is not None and planned.tiled is not None
    ranked = rank_mappings(planned.tiled, planned.arch.memory, layer_prices(planned, prices), places=NEIGHBOURS)
    others: dict[Dataflow, MappedLayer | str] = {}
    for dataflow in arch.dataflows:
        if dataflow != planned.arch.dataflow:
            try:
                tiled = planned.tiled
                there = OnChip(tiled.ifmap_on_chip, tiled.ofmap_on_chip, tiled.waiting_bits)
                own = in_dataflow(arch, dataflow)
                mapped = plan_in_dataflow(planned.layer, planned.batch, own, planned.formats, prices, there).mapped
                assert mapped is not None
                others[dataflow] = mapped
            except LogaccelError as error:
                others[dataflow] = str(error)
    objective = planned.arch.memory.objective
    behind = [other for other in ranked[1:] if other.cost(objective)[0] > ranked[0].cost(objective)[0]] or ranked[1:]
    leakage = 0.0 if prices.memory is None else prices.memory.leakage_pj_per_cycle
    return LayerChoice(planned, behind[0] if behind else None, others, leakage)
