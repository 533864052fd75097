"""Cycles, activity and energy of one layer (of its folds, or of its tiles where there is a memory) or other node."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any

from logaccel.arch import Architecture
from logaccel.cost import (
    Area,
    CostProfile,
    Energy,
    MemoryEnergy,
    array_area,
    layer_energy,
    memory_energy,
    scratchpad_area_um2,
)
from logaccel.cost.post import post_area_um2, post_energy_pj
from logaccel.formats import Format
from logaccel.memory.accounting import Traffic, count_work
from logaccel.memory.mapper import MappedLayer
from logaccel.memory.post_tiles import PostWidths, Surroundings, cost_post_work
from logaccel.memory.prices import LayerPrices, MemoryPrices
from logaccel.memory.tiles import TiledLayer
from logaccel.memory.widths import WordWidths
from logaccel.pe import Datapath
from logaccel.quantization import LayerQuantization
from logaccel.schedule.activity import Activity, count_activity
from logaccel.schedule.folds import FoldPlan
from logaccel.schedule.post_work import PostWork, post_work
from logaccel.schedule.scalesim import scalesim_cycles
from logaccel.schedule.steps import map_names
from logaccel.workload import Layer, MatrixShape
from logaccel.workload.graph import Graph, LayerNode


@dataclass(frozen=True)
class PlannedLayer:
    """One layer with everything that its costs depend on, but for the data."""

    layer: Layer
    batch: int
    arch: Architecture  # as the layer sees it
    datapath: Datapath
    formats: LayerQuantization
    folds: FoldPlan  # of the whole layer
    mapped: MappedLayer | None = None  # None: no memory
    tiled: TiledLayer | None = None  # what the mapping cuts


@dataclass(frozen=True)
class Prices:
    """What actions cost on an architecture; memory: None where it has none, or the profile has no prices for it."""

    profile: CostProfile
    memory: MemoryPrices | None


@dataclass(frozen=True)
class Between:
    """A graph with work between its layers, and what that depends on. tensors: the format of every tensor."""

    graph: Graph
    batch: int
    arch: Architecture
    tensors: dict[str, Format]

    @cached_property
    def maps(self) -> dict[str, str]:
        """The map that holds each tensor."""
        return map_names(self.graph)

    @cached_property
    def works(self) -> dict[str, PostWork]:
        """The work between the layers, by node."""
        found = ((node.name, post_work(self.graph, node)) for node in self.graph.nodes)
        return {name: work for name, work in found if work is not None}

    @cached_property
    def surroundings(self) -> Surroundings:
        """What the work of every node meets."""
        return Surroundings(self.batch, self.arch.array.cols, self.arch.memory, self.arch.clock_mhz)

    def widths(self, work: PostWork, kept: Collection[str]) -> PostWidths:
        """Return the words of a node's tensors, and which of their maps are on chip. kept: those that stay there."""
        return PostWidths(
            inputs=tuple(tuple(self.tensors[name].bits for name in names) for names in work.inputs),
            result=self.tensors[work.name].bits,
            inputs_on_chip=tuple(tuple(self.maps[name] in kept for name in names) for names in work.inputs),
            result_on_chip=work.kind != "residual" and work.name in kept,  # a residual's result is its layer's
        )


@dataclass(frozen=True)
class LayerCost:
    """What a layer takes. compute_cycles hold the post-processing latency; used_pes is summed over folds."""

    folds: int
    used_pes: int
    compute_cycles: int
    stall_cycles: int
    activity: Activity
    energy: Energy
    traffic: Traffic | None

    @property
    def total_cycles(self) -> int:
        """Compute and stalls."""
        return self.compute_cycles + self.stall_cycles


def tiled_layer(
    layer: Layer, batch: int, arch: Architecture, datapath: Datapath, formats: LayerQuantization
) -> TiledLayer:
    """Return what the tiles of a layer depend on. In WS and IS raw psums wait in the ofmap scratchpad."""
    waiting_bits = formats.ofmap.bits if arch.one_dataflow == "os" else max(datapath.psum_bits, formats.ofmap.bits)
    widths = WordWidths(formats.ifmap.bits, formats.filter.bits, waiting_bits, formats.ofmap.bits)
    return TiledLayer(layer, batch, arch.array, arch.one_dataflow, widths, clock_mhz=arch.clock_mhz)


def layer_prices(planned: PlannedLayer, prices: Prices) -> LayerPrices | None:
    """Return what the mapper needs of the prices of one layer; None without those of its memory.

    Array energy is linear in the counts of an activity, so prices of single actions are what single actions cost.
    """
    if prices.memory is None:
        return None
    arch, layer = planned.arch, planned.layer
    none = Activity(0, None, *[0] * (len(fields(Activity)) - 2))
    nothing = MatrixShape(0, 0, 0, 0)
    loads = {"os": None, "ws": "weight_writes", "is": "activation_writes"}[arch.one_dataflow]

    def energy_pj(activity: Activity, matrix: MatrixShape) -> float:
        ofmap = planned.formats.ofmap
        return layer_energy(prices.profile, planned.datapath, arch, activity, ofmap, matrix).array_pj

    whole = replace(count_activity(planned.folds, None), psum_moves=0)
    return LayerPrices(
        memory=prices.memory,
        fixed_pj=energy_pj(replace(whole, **({loads: 0} if loads else {})), layer.matrix(planned.batch)),
        load_pj=energy_pj(replace(none, **{loads: 1}), nothing) if loads else 0.0,
        psum_move_pj=energy_pj(replace(none, psum_moves=1), nothing),
    )


def cost_layer(planned: PlannedLayer, array_cycles: int, activity: Activity, prices: Prices) -> LayerCost:
    """Return the costs of a layer. array_cycles, activity: of the whole layer; with a memory, those of its tiles count.

    Products are the same either way: live ones come from the activity given.
    """
    arch, folds, mapped = planned.arch, planned.folds, planned.mapped
    matrix = planned.layer.matrix(planned.batch)
    cycles = scalesim_cycles(folds) if arch.timing == "scalesim" else array_cycles + arch.post.stages
    count, used = folds.count, int((folds.rows * folds.cols).sum())
    stalls, traffic = 0, None
    if mapped is not None and planned.tiled is not None:
        cycles, stalls = mapped.compute_cycles + arch.post.stages, mapped.stall_cycles
        work = count_work(planned.tiled, mapped.mapping, activity.live_products)
        count, used, activity, traffic = work.folds, work.used_pes, work.activity, work.traffic
    energy = layer_energy(prices.profile, planned.datapath, arch, activity, planned.formats.ofmap, matrix)
    if traffic is not None and prices.memory is not None:
        energy = replace(energy, memory=memory_energy(prices.memory, traffic, cycles + stalls))
    return LayerCost(count, used, cycles, stalls, activity, energy, traffic)


@dataclass(frozen=True)
class PostResult:
    """Work of one node between the layers: on the lanes below the array and on the ofmap scratchpad.

    energy_pj: of the lanes' circuits, part of the array's energy. traffic: `ofmap` is the scratchpad; DRAM only with
    a memory; `handed` is what the lanes read and write of maps_on_chip, in the ifmap scratchpad.
    """

    name: str
    kind: str  # max pool, average pool, add, residual, concat, clip
    layers_before: int  # it runs after so many layers
    compute_cycles: int
    stall_cycles: int
    energy_pj: float
    traffic: Traffic
    energy_of_memory: MemoryEnergy | None = None
    maps_on_chip: tuple[str, ...] = ()  # those of its inputs, and its result, that never leave the chip

    @property
    def total_cycles(self) -> int:
        """Compute and stalls."""
        return self.compute_cycles + self.stall_cycles

    @property
    def energy_system_pj(self) -> float | None:
        """Lanes, scratchpad, DRAM and leakage; None without a memory or prices for it."""
        return None if self.energy_of_memory is None else self.energy_pj + sum(self.energy_of_memory.pj.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, units in the keys."""
        return asdict(self) | {"total_cycles": self.total_cycles, "energy_system_pj": self.energy_system_pj}


def cost_between_layers(between: Between, prices: Prices, kept: Collection[str] = ()) -> tuple[PostResult, ...]:
    """Return the work of every node that is no layer, and of the residuals that layers add, in the order of the graph.

    kept: the maps that stay on chip. Raises ConfigError where a block fits no scratchpad.
    """
    found, layers = [], 0
    for node in between.graph.nodes:
        layers += isinstance(node, LayerNode)
        if node.name in between.works:
            found.append(replace(cost_between(between, between.works[node.name], prices, kept), layers_before=layers))
    return tuple(found)


def cost_between(between: Between, work: PostWork, prices: Prices, kept: Collection[str]) -> PostResult:
    """Return the work of one node, as if it were the first (`layers_before`)."""
    arch, tensors, maps = between.arch, between.tensors, between.maps
    widths = between.widths(work, kept)
    cost = cost_post_work(work, widths, between.surroundings)
    cycles = cost.compute_cycles + (arch.post.stages if cost.compute_cycles else 0)
    sources = tuple(tensors[name] for names in work.inputs for name in names)
    memory = None
    if arch.memory is not None and prices.memory is not None:
        memory = memory_energy(prices.memory, cost.traffic, cycles + cost.stall_cycles)
    passed, formats = (cost.read, cost.results), (sources, tensors[work.name])
    read = dict.fromkeys(maps[name] for names in work.inputs for name in names if maps[name] in kept)
    return PostResult(
        name=work.name,
        kind=work.kind,
        layers_before=0,
        compute_cycles=cycles,
        stall_cycles=cost.stall_cycles,
        energy_pj=post_energy_pj(prices.profile, work.kind, passed, formats, arch.post),
        traffic=cost.traffic,
        energy_of_memory=memory,
        maps_on_chip=(*read, *((work.name,) if widths.result_on_chip else ())),
    )


def machine_area(
    profile: CostProfile, arch: Architecture, archs: Sequence[Architecture], lanes_more_um2: float = 0.0
) -> Area:
    """Return the area of an array that runs every layer, its lanes and its scratchpads.

    archs: as the layers see the architecture. lanes_more_um2: what lies in the lanes beside the layers' own parts.
    """
    area = array_area(profile, arch, archs)
    lanes = area.um2["post_processing"] + lanes_more_um2
    return replace(area, um2=area.um2 | {"post_processing": lanes}, scratchpad_um2=scratchpad_area_um2(profile, arch))


def area_between_layers(between: Between, profile: CostProfile) -> float:
    """Return the area of what the lanes need beyond the layers: comparators, adders, a multiplier by 1/n; µm²."""
    tensors, works = between.tensors, []
    for work in between.works.values():
        sources = tuple(tensors[name] for names in work.inputs for name in names)
        works.append((work.kind, max(piece.window for piece in work.pieces), sources, tensors[work.name]))
    return post_area_um2(profile, works, between.arch)
