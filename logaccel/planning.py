"""From a network to what each layer runs as: its dataflow where the architecture leaves it open, tiles, maps on chip.

The part of the pipeline that decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from logaccel.arch import Architecture, Dataflow, Memory, Objective
from logaccel.costed import Between, PlannedLayer, PostResult, Prices, cost_between, layer_prices, tiled_layer
from logaccel.errors import ConfigError, LogaccelError, WorkloadError
from logaccel.memory.mapper import fits, map_layer
from logaccel.memory.stays import KeptMap, cheapest_stays
from logaccel.quantization import LayerQuantization
from logaccel.schedule.folds import plan_folds
from logaccel.schedule.scalesim import scalesim_cycles
from logaccel.schedule.steps import Step, Steps, chain_steps, graph_steps
from logaccel.workload import Layer, Network


@dataclass(frozen=True)
class OnChip:
    """Which of a layer's maps never leave the chip, and the bits of other maps that wait there while it runs."""

    ifmap: bool = False
    ofmap: bool = False
    waiting_bits: int = 0


NOTHING = OnChip()


@dataclass(frozen=True)
class NetworkPlan:
    """Every layer with its dataflow, folds and tiles, and the maps that stay on chip in the order of their making."""

    layers: tuple[PlannedLayer, ...]
    maps_on_chip: tuple[KeptMap, ...] = ()

    @property
    def kept(self) -> frozenset[str]:
        """Names of the maps that stay."""
        return frozenset(item.name for item in self.maps_on_chip)


def plan_network(
    network: Network,
    archs: Sequence[Architecture],
    formats: Sequence[LayerQuantization],
    prices: Prices,
    unfed: Sequence[str] = (),
    between: Between | None = None,
) -> NetworkPlan:
    """Plan every layer. unfed: layers that do not take the ofmap before them; between: a graph, which knows by itself.

    Maps stay on chip where that costs less, or as much: of all sets that could stay the one with the least sum of costs
    of the layers and of the work between them. Raises ConfigError for a layer that fits no tile, WorkloadError for one
    with too many folds.
    """
    check_prices(archs[0], prices)
    steps = chain_steps(network.layers, unfed) if between is None else graph_steps(between.graph)
    maps = _maps(steps, network.batch, archs[0].memory, [own.ofmap.bits for own in formats], between)
    costs = _Costs(_Plans(network, archs, formats, prices), maps, between)
    memory = archs[0].memory
    stays = cheapest_stays(steps, costs.map_bits, 8 * memory.ifmap.bytes if memory else 0, costs.of)
    layers = tuple(costs.planned(step, there & stays) for step, there in steps.with_maps() if step.layer is not None)
    return NetworkPlan(layers, tuple(maps[step.name] for step in steps.order if step.name in stays))


def _maps(
    steps: Steps, batch: int, memory: Memory | None, layer_bits: Sequence[int], between: Between | None
) -> dict[str, KeptMap]:
    """Return the maps that may stay and fit the ifmap scratchpad if nothing else is there."""
    found: dict[str, KeptMap] = {}
    if memory is None or not memory.handover or memory.tiling == "fill":
        return found
    for step in steps.order:
        if step.name in steps.may_stay:
            bits = layer_bits[step.layer] if step.layer is not None else between.tensors[step.name].bits  # type: ignore[union-attr]
            words = batch * step.words
            own = KeptMap(step.name, words, bits, steps.readers(step.name), steps.ifmap_of(step.name))
            if own.bits <= 8 * memory.ifmap.bytes:
                found[own.name] = own
    return found


class _Plans:
    """Plans of single layers, by what is on chip while they run; each is worked out once."""

    def __init__(
        self,
        network: Network,
        archs: Sequence[Architecture],
        formats: Sequence[LayerQuantization],
        prices: Prices,
    ) -> None:
        self._network, self._archs, self._formats, self.prices = network, archs, formats, prices
        self._known: dict[tuple[int, OnChip], PlannedLayer | ConfigError] = {}

    def get(self, index: int, on_chip: OnChip) -> PlannedLayer:
        """Return the plan of a layer. Raises ConfigError, WorkloadError."""
        key = index, on_chip
        if key not in self._known:
            try:
                self._known[key] = self._plan(index, on_chip)
            except ConfigError as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, ConfigError):
            raise found
        return found

    def _plan(self, index: int, on_chip: OnChip) -> PlannedLayer:
        if on_chip.waiting_bits:  # the best tiles of all are the best of those that fit beside, if they fit beside
            planned = self.get(index, replace(on_chip, waiting_bits=0))
            assert planned.tiled is not None and planned.mapped is not None and planned.arch.memory is not None
            tiled = replace(planned.tiled, waiting_bits=on_chip.waiting_bits)
            if fits(tiled, planned.mapped.mapping, planned.arch.memory):
                return replace(planned, tiled=tiled)
        layer, batch = self._network.layers[index], self._network.batch
        try:
            return plan_layer(layer, batch, self._archs[index], self._formats[index], self.prices, on_chip)
        except WorkloadError as error:
            raise WorkloadError(f"{self._network.name}: {error}") from None


class _Costs:
    """What steps cost with some maps on chip."""

    def __init__(self, plans: _Plans, maps: dict[str, KeptMap], between: Between | None) -> None:
        self._plans, self._between = plans, between
        self.map_bits = {name: own.bits for name, own in maps.items()}
        self._works: dict[tuple[str, frozenset[str]], float] = {}

    def planned(self, step: Step, there: frozenset[str]) -> PlannedLayer:
        """Return the plan of a step that is a layer."""
        assert step.layer is not None
        own = {step.ifmap, step.name}
        waiting = sum(self.map_bits[name] for name in there if name not in own)
        return self._plans.get(step.layer, OnChip(step.ifmap in there, step.name in there, waiting))

    def of(self, step: Step, there: frozenset[str]) -> float:
        """Return the cost of a layer with its residual, or of work between layers where a map of it might stay."""
        cost = 0.0 if step.layer is None else layer_costs(self.planned(step, there))[0]
        own = frozenset((step.name, *step.reads))
        if own.isdisjoint(self.map_bits) or self._between is None or step.name not in self._between.works:
            return cost
        if (step.name, there & own) not in self._works:
            self._works[step.name, there & own] = self._of_work(self._between, step, there & own)
        return cost + self._works[step.name, there & own]

    def _of_work(self, between: Between, step: Step, there: frozenset[str]) -> float:
        assert between.arch.memory is not None
        work = cost_between(between, between.works[step.name], self._plans.prices, there)
        return _work_cost(work, between.arch.memory.objective)


def _work_cost(work: PostResult, objective: Objective) -> float:
    if objective == "cycles":
        return work.total_cycles
    if objective == "traffic":
        return work.traffic.dram.bits
    assert work.energy_system_pj is not None  # check_prices
    return work.energy_system_pj * (work.total_cycles if objective == "edp" else 1.0)


def check_prices(arch: Architecture, prices: Prices) -> None:
    """Refuse an objective that the cost profile cannot price. Raises ConfigError."""
    if arch.memory is not None and prices.memory is None and arch.memory.objective in ("energy", "edp"):
        raise ConfigError(
            f"{arch.name}: memory.objective: {arch.memory.objective} needs prices of scratchpads and DRAM, which the "
            f"profile {arch.cost_profile} lacks; cycles and traffic need none"
        )


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
        return plan_in_dataflow(layer, batch, arch, formats, prices, on_chip)
    found: list[PlannedLayer] = []
    faults: dict[str, list[str]] = {}  # by message: the dataflows that meet it
    for dataflow in arch.dataflows:
        try:
            found.append(plan_in_dataflow(layer, batch, in_dataflow(arch, dataflow), formats, prices, on_chip))
        except LogaccelError as error:
            for line in str(error).split("\n"):
                faults.setdefault(line, []).append(dataflow)
    if not found:
        everywhere = list(arch.dataflows)
        raise ConfigError(
            "\n".join(line if who == everywhere else f"{line} ({', '.join(who)})" for line, who in faults.items())
        )
    return min(found, key=layer_costs)  # of equals the first


def layer_costs(planned: PlannedLayer) -> tuple[float, float]:
    """Return what is minimised, and what decides between equals: dataflows that move the same bits are common."""
    if planned.mapped is not None and planned.arch.memory is not None:
        return planned.mapped.cost(planned.arch.memory.objective)
    return scalesim_cycles(planned.folds) if planned.arch.timing == "scalesim" else planned.folds.compute_cycles, 0


def in_dataflow(arch: Architecture, dataflow: Dataflow) -> Architecture:
    """Return the architecture in one dataflow."""
    return arch.model_copy(update={"dataflow": dataflow})


def plan_in_dataflow(
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
    tiled = replace(
        tiled_layer(layer, batch, arch, datapath, formats),
        ifmap_on_chip=on_chip.ifmap,
        ofmap_on_chip=on_chip.ofmap,
        waiting_bits=on_chip.waiting_bits,
    )
    return replace(planned, mapped=map_layer(tiled, arch.memory, layer_prices(planned, prices)), tiled=tiled)
