"""Cycles, activity and energy of one layer: of its folds, or of its tiles where the architecture has a memory."""

from dataclasses import dataclass, replace

from logaccel.arch import Architecture
from logaccel.cost import CostProfile, Energy, layer_energy, memory_energy
from logaccel.memory.accounting import Traffic, count_work
from logaccel.memory.mapper import MappedLayer
from logaccel.memory.prices import MemoryPrices
from logaccel.memory.tiles import TiledLayer
from logaccel.memory.widths import WordWidths
from logaccel.pe import Datapath
from logaccel.quantization import LayerQuantization
from logaccel.schedule.activity import Activity
from logaccel.schedule.folds import FoldPlan
from logaccel.schedule.scalesim import scalesim_cycles
from logaccel.workload import Layer


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
    waiting_bits = formats.ofmap.bits if arch.dataflow == "os" else max(datapath.psum_bits, formats.ofmap.bits)
    widths = WordWidths(formats.ifmap.bits, formats.filter.bits, waiting_bits, formats.ofmap.bits)
    return TiledLayer(layer, batch, arch.array, arch.dataflow, widths)


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
