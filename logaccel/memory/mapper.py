"""The mapper: the best tiles of a layer among all whose sizes are powers of two or the whole axis.

The whole space is searched. logaccel.memory.space knows of every mapping, as arrays, exactly what it moves and
computes, and a bound of its cycles; mappings are timed in the order of what they cost at least, until none that is
left can be better.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from logaccel.arch import ChannelDram, Memory, Objective
from logaccel.errors import ConfigError
from logaccel.memory.fill import fill_choices, pooled
from logaccel.memory.loops import TileCycles, convert, time_loops, total
from logaccel.memory.space import Choices, Space, check_size, choices
from logaccel.memory.tiles import Mapping, Tile, TiledLayer
from logaccel.memory.timing import Stalls, TileWork, transfer_cycles
from logaccel.memory.waits import tile_work

Cost = tuple[float, float]  # what is minimised, and what decides between equals


@dataclass(frozen=True)
class MappedLayer:
    """A mapping and what it costs."""

    mapping: Mapping
    tiles: int
    compute_cycles: int
    stalls: Stalls
    dram_ifmap_bits: int
    dram_filter_bits: int
    dram_write_bits: int

    @property
    def stall_cycles(self) -> int:
        """Cycles in which the array waits, for whatever reason."""
        return self.stalls.total

    @property
    def dram_read_bits(self) -> int:
        """Bits of both operands."""
        return self.dram_ifmap_bits + self.dram_filter_bits

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, units in the keys."""
        return asdict(self) | {"stall_cycles": self.stall_cycles, "dram_read_bits": self.dram_read_bits}

    def cost(self, objective: Objective) -> Cost:
        """Return what is minimised (total cycles, DRAM bits, or their product: no energy yet), then the other."""
        cycles = self.compute_cycles + self.stall_cycles
        return _cost(objective, cycles, self.dram_read_bits + self.dram_write_bits)


def _cost(objective: Objective, cycles: int, bits: int) -> Cost:
    if objective == "cycles":
        return cycles, bits
    if objective == "traffic":
        return bits, cycles
    return float(cycles) * float(bits), cycles


def candidates(tiled: TiledLayer) -> Iterator[Mapping]:
    """Yield every mapping of the space."""
    chosen = choices(tiled)
    for where, *rest in product(chosen.maps, chosen.ofmap_channels, chosen.ifmap_channels, chosen.orders):
        yield Mapping(*where, *rest)  # type: ignore[arg-type]


def evaluate(tiled: TiledLayer, mapping: Mapping, memory: Memory) -> MappedLayer:
    """Return what a mapping costs; that it fits is the caller's business."""
    dram = channel_of(memory)
    loops = convert(tiled.loops(mapping), lambda tile: tile_work(tiled, tile, memory))
    elapsed = time_loops(convert(loops, lambda work: _in_cycles(work, dram)))
    compute = total(loops, lambda work: work.compute_cycles)
    return MappedLayer(
        mapping=mapping,
        tiles=total(loops, lambda work: 1),
        compute_cycles=compute,
        stalls=Stalls(
            port=total(loops, lambda work: work.port_stall_cycles),
            bank=total(loops, lambda work: work.bank_stall_cycles),
            dram=elapsed.dram,
            drain=elapsed.drain,
        ),
        dram_ifmap_bits=total(loops, lambda work: work.ifmap_read_bits),
        dram_filter_bits=total(loops, lambda work: work.filter_read_bits),
        dram_write_bits=total(loops, lambda work: work.write_bits),
    )


def fits(tiled: TiledLayer, mapping: Mapping, memory: Memory) -> bool:
    """Return whether two tiles fit each scratchpad."""
    need = tiled.footprint_bits(mapping)
    return all(need[name] <= 8 * size for name, size in memory.capacity_bytes.items())


def map_layer(tiled: TiledLayer, memory: Memory, chosen: Choices | None = None) -> MappedLayer:
    """Return the best mapping; of equals the one with less of the other quantity, then the first of the space.

    Raises ConfigError naming layer, scratchpad, need and capacity where no tile fits.
    """
    return rank_mappings(tiled, memory, chosen)[0]


def rank_mappings(
    tiled: TiledLayer, memory: Memory, chosen: Choices | None = None, places: int = 1
) -> tuple[MappedLayer, ...]:
    """Return the best mappings, the best first; fewer if there are no more."""
    if memory.tiling == "fill" and chosen is None:
        chosen = fill_choices(tiled, memory)
        memory = memory if chosen is None else pooled(memory)
    check_size(tiled, channel_of(memory))
    nameless = replace(tiled, layer=tiled.layer.model_copy(update={"name": "layer", "relu": True}))
    found = _searched(nameless, memory, chosen, places)  # equal layers once
    if not found:
        raise ConfigError(_misfit(tiled, Space(tiled, memory, channel_of(memory), chosen)))
    return found


@lru_cache(maxsize=4096)
def _searched(tiled: TiledLayer, memory: Memory, chosen: Choices | None, places: int) -> tuple[MappedLayer, ...]:
    space = Space(tiled, memory, channel_of(memory), chosen)
    fitting = np.flatnonzero(space.fits)
    least = np.broadcast_to(space.least_cycles, space.shape).ravel()[fitting]
    ifmap, filters = space.dram_read_bits
    bits = np.broadcast_to(ifmap + filters + space.dram_write_bits, space.shape).ravel()[fitting]
    timer = _Timer(tiled, memory)
    ranked: list[tuple[Cost, int]] = []
    for where in _by_cost(memory.objective, least, bits):
        bound = _cost(memory.objective, int(least[where]), int(bits[where]))
        if len(ranked) == places and (bound, fitting[where]) > ranked[-1]:
            break  # nor can any that follows
        mapping = space.mapping(fitting[where])
        cost = _cost(memory.objective, timer.total_cycles(mapping), int(bits[where]))
        ranked = sorted([*ranked, (cost, fitting[where])])[:places]
    return tuple(evaluate(tiled, space.mapping(index), memory) for _, index in ranked)


def _by_cost(objective: Objective, cycles: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Return the order of costs, without ties: the place in the space decides."""
    if objective == "cycles":
        return np.lexsort((bits, cycles))
    if objective == "traffic":
        return np.lexsort((cycles, bits))
    return np.lexsort((cycles, cycles.astype(np.float64) * bits.astype(np.float64)))


class _Timer:
    """Times mappings of one layer; what a kind of tile takes is worked out once."""

    def __init__(self, tiled: TiledLayer, memory: Memory) -> None:
        self._tiled, self._memory, self._dram = tiled, memory, channel_of(memory)
        self._known: dict[Tile, TileCycles] = {}

    def total_cycles(self, mapping: Mapping) -> int:
        return time_loops(convert(self._tiled.loops(mapping), self._cycles)).total

    def _cycles(self, tile: Tile) -> TileCycles:
        if tile not in self._known:
            self._known[tile] = _in_cycles(tile_work(self._tiled, tile, self._memory), self._dram)
        return self._known[tile]


def _in_cycles(work: TileWork, dram: ChannelDram) -> TileCycles:
    read = transfer_cycles(work.read_bits, dram, dram.latency_cycles)
    return TileCycles(read, work.busy_cycles, transfer_cycles(work.write_bits, dram, 0))


def channel_of(memory: Memory) -> ChannelDram:
    """Return the DRAM of a memory whose tiles can be timed. Raises ConfigError."""
    if not isinstance(memory.dram, ChannelDram):
        raise ConfigError(f"memory.dram.kind: {memory.dram.kind} is not timed yet")
    return memory.dram


def _misfit(tiled: TiledLayer, space: Space) -> str:
    """Name each scratchpad that even its smallest tile overflows."""
    least = {name: -(-int(bits.min()) // 8) for name, bits in space.needs_bits.items()}
    return (
        "\n".join(
            f"{tiled.layer.name}: memory.{name}: two of the smallest tiles need {least[name]} bytes, it holds {size}"
            for name, size in space.memory.capacity_bytes.items()
            if least[name] > size
        )
        or f"{tiled.layer.name}: memory: no tile fits all scratchpads at once"
    )
