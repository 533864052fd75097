"""From a network to what each layer runs as: its dataflow where the architecture leaves it open, and its tiles.

`plan_network` is the part of the pipeline that decides; `map_network` shows what it decided, and the runners-up.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from logaccel.arch import Architecture, Dataflow
from logaccel.cost import load_profile, memory_prices
from logaccel.costed import PlannedLayer, Prices, layer_prices, tiled_layer
from logaccel.errors import ConfigError, LogaccelError, WorkloadError
from logaccel.memory.mapper import MappedLayer, map_layer, rank_mappings
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
from logaccel.schedule.folds import plan_folds
from logaccel.schedule.scalesim import scalesim_cycles
from logaccel.trace import Trace
from logaccel.workload import Layer, Network
from logaccel.workload.graph import Graph

NEIGHBOURS = 16  # mappings among which a runner-up that costs more is looked for


@dataclass(frozen=True)
class LayerChoice:
    """A layer in the dataflow that was chosen; runner_up: the best mapping in it that costs more, or an equal one."""

    planned: PlannedLayer
    runner_up: MappedLayer | None
    other_dataflows: dict[Dataflow, MappedLayer | str]  # what they would have cost, or why they cannot


@dataclass(frozen=True)
class NetworkMapping:
    """A network on an architecture with a memory: how each layer is tiled, and what else it could have been."""

    network: str
    batch: int
    arch: Architecture
    layers: tuple[LayerChoice, ...]

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


@dataclass(frozen=True)
class OnChip:
    """Which of a layer's maps never leave the chip."""

    ifmap: bool = False
    ofmap: bool = False


NOTHING = OnChip()


def plan_network(
    network: Network,
    archs: Sequence[Architecture],
    formats: Sequence[LayerQuantization],
    prices: Prices,
    unfed: Sequence[str] = (),
) -> tuple[PlannedLayer, ...]:
    """Return every layer with its dataflow, folds and tiles; unfed: layers that do not take the ofmap before them.

    An ofmap is handed over on chip where that costs the two layers less, or as much: the cheapest of all ways to
    choose, by the sum of the layers' costs. Raises ConfigError for a layer that fits no tile, WorkloadError for one
    with too many folds.
    """
    check_prices(archs[0], prices)
    plans = _Plans(network, archs, formats, prices)
    ways: dict[bool, tuple[float, tuple[PlannedLayer, ...]]] = {False: (0.0, ())}  # by whether the next ifmap is there
    for index, layer in enumerate(network.layers):
        following = network.layers[index + 1 : index + 2]
        handed = any(_may_stay(layer, after, network.batch, archs[index], formats[index]) and after.name not in unfed
                     for after in following)  # fmt: skip
        found: dict[bool, tuple[float, tuple[PlannedLayer, ...]]] = {}
        for leaves in (False, True) if handed else (False,):
            for there, (spent, before) in ways.items():
                planned = plans.get(index, OnChip(there, leaves))
                if planned is None:
                    continue
                cost = spent + _costs(planned)[0]
                if leaves not in found or cost <= found[leaves][0]:
                    found[leaves] = cost, (*before, planned)
        if not found:
            raise plans.faults[index]
        ways = found
    return ways[False][1]


class _Plans:
    """Plans of single layers, by what stays on chip; what is wrong with a layer is kept until nothing else is left."""

    def __init__(
        self,
        network: Network,
        archs: Sequence[Architecture],
        formats: Sequence[LayerQuantization],
        prices: Prices,
    ) -> None:
        self._network, self._archs, self._formats, self._prices = network, archs, formats, prices
        self.faults: dict[int, LogaccelError] = {}

    def get(self, index: int, on_chip: OnChip) -> PlannedLayer | None:
        layer, batch = self._network.layers[index], self._network.batch
        try:
            return plan_layer(layer, batch, self._archs[index], self._formats[index], self._prices, on_chip)
        except WorkloadError as error:
            raise WorkloadError(f"{self._network.name}: {error}") from None
        except ConfigError as error:
            self.faults.setdefault(index, error)
            return None


def _may_stay(layer: Layer, following: Layer, batch: int, arch: Architecture, formats: LayerQuantization) -> bool:
    """Return whether an ofmap could be the following ifmap, and fits the ifmap scratchpad if nothing else is there."""
    memory = arch.memory
    if memory is None or not memory.handover or memory.tiling == "fill" or not layer.feeds(following):
        return False
    return prod(layer.ofmap_shape(batch)) * formats.ofmap.bits <= 8 * memory.ifmap.bytes


def check_prices(arch: Architecture, prices: Prices) -> None:
    """Refuse an objective that the cost profile cannot price. Raises ConfigError."""
    if arch.memory is not None and prices.memory is None and arch.memory.objective in ("energy", "edp"):
        raise ConfigError(
            f"{arch.name}: memory.objective: {arch.memory.objective} needs prices of scratchpads and DRAM, which the "
            f"profile {arch.cost_profile} lacks; cycles and traffic need none"
        )


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
    formats = _formats(workload, arch, archs)
    names = [entry.name for entry in network.layers]
    if layer is not None and layer not in names:
        raise ConfigError(f"{network.name}: {layer}: no layer of that name; there are {', '.join(names)}")
    profile = load_profile(arch.cost_profile)
    prices = Prices(profile, memory_prices(profile, arch, archs))
    planned = plan_network(network, archs, formats, prices, unfed_layers(workload, arch))
    chosen = tuple(
        _choice(entry, own, prices)
        for entry, own in zip(planned, archs, strict=True)
        if layer in (None, entry.layer.name)
    )
    return NetworkMapping(network.name, network.batch, arch, chosen)


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


def _formats(
    workload: Trace | Network | Graph, arch: Architecture, archs: tuple[Architecture, ...]
) -> tuple[LayerQuantization, ...]:
    if isinstance(workload, Graph):
        return graph_layers(workload, archs, quantize_graph(workload, arch))
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
                there = OnChip(planned.tiled.ifmap_on_chip, planned.tiled.ofmap_on_chip)
                own = _in(arch, dataflow)
                mapped = _planned(planned.layer, planned.batch, own, planned.formats, prices, there).mapped
                assert mapped is not None
                others[dataflow] = mapped
            except LogaccelError as error:
                others[dataflow] = str(error)
    objective = planned.arch.memory.objective
    behind = [other for other in ranked[1:] if other.cost(objective)[0] > ranked[0].cost(objective)[0]] or ranked[1:]
    return LayerChoice(planned, behind[0] if behind else None, others)


def plan_layer(
    layer: Layer,
    batch: int,
    arch: Architecture,
    formats: LayerQuantization,
    prices: Prices,
    on_chip: OnChip = NOTHING,
) -> PlannedLayer:
    """Return the layer in the dataflow that costs least: by the objective, or in cycles without a memory."""
    if arch.dataflow != "auto":
        return _planned(layer, batch, arch, formats, prices, on_chip)
    found: list[PlannedLayer] = []
    faults: dict[str, list[str]] = {}  # by message: the dataflows that meet it
    for dataflow in arch.dataflows:
        try:
            found.append(_planned(layer, batch, _in(arch, dataflow), formats, prices, on_chip))
        except LogaccelError as error:
            for line in str(error).split("\n"):
                faults.setdefault(line, []).append(dataflow)
    if not found:
        everywhere = list(arch.dataflows)
        raise ConfigError(
            "\n".join(line if who == everywhere else f"{line} ({', '.join(who)})" for line, who in faults.items())
        )
    return min(found, key=_costs)  # of equals the first


def _costs(planned: PlannedLayer) -> tuple[float, float]:
    """Return what is minimised, and what decides between equals: dataflows that move the same bits are common."""
    if planned.mapped is not None and planned.arch.memory is not None:
        return planned.mapped.cost(planned.arch.memory.objective)
    return scalesim_cycles(planned.folds) if planned.arch.timing == "scalesim" else planned.folds.compute_cycles, 0


def _in(arch: Architecture, dataflow: Dataflow) -> Architecture:
    return arch.model_copy(update={"dataflow": dataflow})


def _planned(
    layer: Layer, batch: int, arch: Architecture, formats: LayerQuantization, prices: Prices, on_chip: OnChip
) -> PlannedLayer:
    """Plan a layer in one dataflow; what is wrong names the layer."""
    datapath = arch.pe.datapath(formats.ifmap, formats.filter)
    try:
        folds = plan_folds(layer.matrix(batch), arch.array, arch.one_dataflow)
    except WorkloadError as error:
        raise WorkloadError(f"{layer.name}: {error}") from None
    planned = PlannedLayer(layer, batch, arch, datapath, formats, folds)
    if arch.memory is None:
        return planned
    tiled = tiled_layer(layer, batch, arch, datapath, formats)
    tiled = replace(tiled, ifmap_on_chip=on_chip.ifmap, ofmap_on_chip=on_chip.ofmap)
    return replace(planned, mapped=map_layer(tiled, arch.memory, layer_prices(planned, prices)), tiled=tiled)
