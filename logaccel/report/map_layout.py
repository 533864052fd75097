"""Where every tensor of a run lies: in DRAM, and on chip in the ifmap scratchpad.

In DRAM tensors lie one after another, packed, each from a boundary of 64 bytes on. Of a graph every map lies there
once: who reads it finds it where it was written. Layers without a graph have ifmap, filter and ofmap of their own.
"""

from dataclasses import dataclass
from math import prod

from logaccel.costed import Between
from logaccel.memory.access_trace import layer_spots
from logaccel.memory.map_places import Gaps, LaneMap, Spot, Spots, lay_out
from logaccel.memory.tiles import TiledLayer
from logaccel.memory.transfers import tensor_words
from logaccel.report.run_order import chosen_steps
from logaccel.result import LayerResult, SimulationResult
from logaccel.schedule.map_words import map_words
from logaccel.workload.graph import INPUT, LayerNode

ALIGNED_BYTES = 64


@dataclass(frozen=True)
class DramLayout:
    """The first byte of each tensor: of a layer by operand, of a graph also by map."""

    layers: dict[str, dict[str, int]]
    maps: dict[str, int]


class _Room:
    """Hands out bytes of DRAM from 0 on."""

    def __init__(self) -> None:
        self._free = 0

    def take(self, bits: int) -> int:
        first = self._free
        self._free += -(-bits // (8 * ALIGNED_BYTES)) * ALIGNED_BYTES
        return first


def dram_layout(result: SimulationResult) -> DramLayout:
    """Return where everything lies in DRAM; maps that stay on chip have a place there too, which nobody uses."""
    room, layers, maps = _Room(), {item.name: _tensor_bits(item) for item in result.layers}, dict[str, int]()
    if result.between is None:
        places = {name: {key: room.take(own) for key, own in bits.items()} for name, bits in layers.items()}
        return DramLayout(places, maps)
    graph, names, places = result.between.graph, result.between.maps, {}
    maps[INPUT] = room.take(_map_bits(result.between, INPUT))
    for node in graph.nodes:
        filters = room.take(layers[node.name]["filter"]) if isinstance(node, LayerNode) else 0
        if names[node.name] == node.name:
            maps[node.name] = room.take(_map_bits(result.between, node.name))
        if isinstance(node, LayerNode):
            places[node.name] = {"ifmap": maps[names[node.inputs[0]]], "filter": filters, "ofmap": maps[node.name]}
    return DramLayout(places, maps)


def _tensor_bits(item: LayerResult) -> dict[str, int]:
    tiled = _tiled(item)
    return {key: words * int(getattr(tiled.widths, f"{key}_bits")) for key, words in tensor_words(tiled).items()}


def _map_bits(between: Between, name: str) -> int:
    return between.batch * prod(between.graph.shapes[name]) * between.tensors[name].bits


def _tiled(item: LayerResult) -> TiledLayer:
    assert item.tiled is not None
    return item.tiled


@dataclass(frozen=True)
class ChipLayout:
    """Where the maps lie that are on chip while a step runs, and what is free beside them."""

    result: SimulationResult
    steps: dict[str, tuple[dict[str, Spot], Gaps]]

    def lane_map(self, step: str, tensor: str, size: tuple[int, int, int]) -> LaneMap:
        """Return a tensor as the lanes go through it in a step."""
        between = self.result.between
        assert between is not None
        spot = self.steps[step][0].get(between.maps[tensor])
        return LaneMap(size, map_words(between.graph, tensor), spot)

    def layer(self, item: LayerResult) -> Spots:
        """Return where the ifmap and the ofmap of a layer lie, and what it adds if that is on chip."""
        tiled, between, (there, gaps) = _tiled(item), self.result.between, self.steps[item.name]
        assert item.mapping is not None
        ifmaps = {layer: own.name for own in self.result.maps_on_chip for layer in own.ifmap_of}
        maps = there.get(ifmaps.get(item.name, "")), there.get(item.name)
        spots = layer_spots(tiled, item.mapping.mapping, maps, gaps)
        if between is None:
            return spots
        node = next(node for node in between.graph.layer_nodes if node.name == item.name)
        residual = None
        for name in node.inputs[1:]:
            own = self.lane_map(item.name, name, (tiled.layer.out_channels, *tiled.layer.out_size))
            residual = own if own.spot is not None else None
        return Spots(spots.ifmap, spots.ofmap, map_words(between.graph, node.inputs[0]), residual)


def chip_layout(result: SimulationResult) -> ChipLayout:
    """Return where the maps lie that stay on chip, step by step."""
    assert result.arch.memory is not None
    steps = list(dict.fromkeys(step.name for step, _ in chosen_steps(result)))  # a residual belongs to its layer
    found = lay_out(steps, result.maps_on_chip, 8 * result.arch.memory.ifmap.bytes)
    return ChipLayout(result, {step: (there, gaps) for step, there, gaps in found})
