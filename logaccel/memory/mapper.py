"""The mapper: the best tiles of a layer among all that there are to choose from.

The whole space is searched. logaccel.memory.space knows of every mapping, as arrays, exactly what it moves and
computes, and a bound of its cycles; mappings are timed in the order of what they cost at least, until none that is
left can be better.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.arch import BankedDram, ChannelDram, FixedMapping, Memory, Objective
from logaccel.errors import ConfigError
from logaccel.memory.banked import RowCounts, least_transfers
from logaccel.memory.banked_bound import BankedBound
from logaccel.memory.banked_tiles import NO_LIMIT, BankedTiles
from logaccel.memory.choices import Choices, choices, fixed_mapping
from logaccel.memory.fill import fill_choices, pooled
from logaccel.memory.loops import Elapsed, TileCycles, convert, time_loops, total
from logaccel.memory.priced import energies_pj
from logaccel.memory.prices import LayerPrices
from logaccel.memory.space import Space, check_size
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
    energy_pj: float | None = None  # array, scratchpads, DRAM and leakage; None: no prices
    dram_rows: RowCounts | None = None  # None: a DRAM without banks

    @property
    def stall_cycles(self) -> int:
        """Cycles in which the array waits, for whatever reason."""
        return self.stalls.total

    @property
    def dram_read_bits(self) -> int:
        """Bits of both operands."""
        return self.dram_ifmap_bits + self.dram_filter_bits

    @property
    def total_cycles(self) -> int:
        """Compute and stalls."""
        return self.compute_cycles + self.stall_cycles

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, units in the keys."""
        return asdict(self) | {"stall_cycles": self.stall_cycles, "dram_read_bits": self.dram_read_bits}

    def cost(self, objective: Objective) -> Cost:
        """Return what is minimised; then, for equals, DRAM bits (cycles) or cycles (all others)."""
        bits = self.dram_read_bits + self.dram_write_bits
        return _cost(objective, self.total_cycles, bits, self.energy_pj or 0.0)


def candidates(tiled: TiledLayer) -> Iterator[Mapping]:
    """Yield every mapping of the space."""
    chosen = choices(tiled)
    for where, *rest in product(chosen.maps, chosen.ofmap_channels, chosen.ifmap_channels, chosen.orders):
        yield Mapping(*where, *rest)  # type: ignore[arg-type]


def fits(tiled: TiledLayer, mapping: Mapping, memory: Memory) -> bool:
    """Return whether two tiles fit each scratchpad."""
    need = tiled.footprint_bits(mapping)
    return all(need[name] <= 8 * size for name, size in memory.capacity_bytes.items())


def map_layer(tiled: TiledLayer, memory: Memory, prices: LayerPrices | None = None) -> MappedLayer:
    """Return the best mapping; of equals the one with less of the other quantity, then the first of the space.

    Parts that `memory.mapping` fixes stay as they are. Raises ConfigError naming layer, scratchpad, need and
    capacity where no tile fits, or the loop whose bound a fixed part breaks; and where the objective needs prices.
    """
    return rank_mappings(tiled, memory, prices)[0]


def rank_mappings(
    tiled: TiledLayer, memory: Memory, prices: LayerPrices | None = None, places: int = 1
) -> tuple[MappedLayer, ...]:
    """Return the best mappings, the best first; fewer if there are no more."""
    if prices is None and memory.objective in ("energy", "edp"):
        raise ConfigError(
            f"memory.objective: {memory.objective} needs prices of scratchpads and DRAM, which are missing"
        )
    chosen, memory = _allowed(tiled, memory)
    check_size(tiled, bounding_channel(tiled, memory))
    nameless = replace(tiled, layer=tiled.layer.model_copy(update={"name": "layer", "relu": True}))
    found = _searched(nameless, memory, prices, chosen, places)  # equal layers once
    if not found:
        raise ConfigError(_misfit(tiled, memory, chosen))
    return found


def as_mapped(tiled: TiledLayer, memory: Memory) -> Memory:
    """Return the memory as a layer's tiles see it: Gemmini's rule has one scratchpad for ifmap and filter."""
    return _allowed(tiled, memory)[1]


def _allowed(tiled: TiledLayer, memory: Memory) -> tuple[Choices, Memory]:
    """Return what there is to choose from. Fixed parts come before `tiling: fill`."""
    fixed = fixed_mapping(tiled, memory)
    filled = fill_choices(tiled, memory) if memory.tiling == "fill" and fixed == FixedMapping() else None
    return (choices(tiled, fixed), memory) if filled is None else (filled, pooled(memory))


def evaluate(tiled: TiledLayer, mapping: Mapping, memory: Memory, prices: LayerPrices | None = None) -> MappedLayer:
    """Return what a mapping costs; that it fits is the caller's business."""
    one = Choices(
        maps=((mapping.images, mapping.ofmap_rows, mapping.ofmap_columns),),
        ofmap_channels=(mapping.ofmap_channels,),
        ifmap_channels=(mapping.ifmap_channels,),
        orders=(mapping.order,),
    )
    space = Space(tiled, memory, bounding_channel(tiled, memory), one)
    return _mapped(space, mapping, prices, 0.0 if prices is None else float(energies_pj(space, prices).ravel()[0]))


@lru_cache(maxsize=4096)
def _searched(
    tiled: TiledLayer, memory: Memory, prices: LayerPrices | None, chosen: Choices, places: int
) -> tuple[MappedLayer, ...]:
    space = Space(tiled, memory, bounding_channel(tiled, memory), chosen)
    fitting = np.flatnonzero(space.fits)

    def of_fitting(array: NDArray[Any]) -> NDArray[Any]:
        return np.broadcast_to(array, space.shape).ravel()[fitting]

    ifmap, filters = space.dram_read_bits
    least, bits = of_fitting(space.least_cycles), of_fitting(ifmap + filters + space.dram_write_bits)
    energy = np.zeros(len(fitting)) if prices is None else of_fitting(energies_pj(space, prices))
    timer = _Timer(tiled, memory)
    ranked: list[tuple[Cost, int, float]] = []
    for where in _by_cost(memory.objective, least, bits, _leaked(energy, least, prices)):
        index, own, moved = int(fitting[where]), float(energy[where]), int(bits[where])

        def rank(cycles: int, index: int = index, own: float = own, moved: int = moved) -> tuple[Cost, int]:
            return _cost(memory.objective, cycles, moved, _leaked(own, cycles, prices)), index

        least_cycles, most = int(least[where]), NO_LIMIT
        if len(ranked) == places:
            if rank(least_cycles) > ranked[-1][:2]:
                break  # nor can any that follows
            most = _most(rank, least_cycles, ranked[-1][:2])
        cycles = timer.elapsed(space.mapping(index), most)[0].total
        ranked = sorted([*ranked, (*rank(cycles), own)])[:places]
    return tuple(_mapped(space, space.mapping(index), prices, own) for _, index, own in ranked)


def _most(rank: Callable[[int], tuple[Cost, int]], least: int, last: tuple[Cost, int]) -> int:
    """Return the most cycles with which a mapping still ranks before the last one, as it does with `least`."""
    step = 1
    while rank(least + step) <= last:
        least, step = least + step, 2 * step
        if least > NO_LIMIT:
            return NO_LIMIT
    while step > 1:
        step //= 2
        least += step if rank(least + step) <= last else 0
    return least


def _cost(objective: Objective, cycles: int, bits: int, energy_pj: float) -> Cost:
    if objective == "cycles":
        return cycles, bits
    if objective == "traffic":
        return bits, cycles
    return energy_pj * (cycles if objective == "edp" else 1.0), cycles


def _leaked(energy_pj: Any, cycles: Any, prices: LayerPrices | None) -> Any:
    """Return an energy, or many, with what leaks in the meantime."""
    return energy_pj if prices is None else energy_pj + prices.memory.leakage_pj_per_cycle * cycles


def _by_cost(
    objective: Objective, cycles: NDArray[np.int64], bits: NDArray[np.int64], energy_pj: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the order of costs; of equals the first of the space."""
    if objective == "cycles":
        return np.lexsort((bits, cycles))
    if objective == "traffic":
        return np.lexsort((cycles, bits))
    return np.lexsort((cycles, energy_pj * cycles if objective == "edp" else energy_pj))


def _mapped(space: Space, mapping: Mapping, prices: LayerPrices | None, energy_pj: float) -> MappedLayer:
    """Time a mapping and add up its tiles; energy_pj: what it spends without leakage."""
    timer = _Timer(space.tiled, space.memory)
    loops = convert(space.tiled.loops(mapping), timer.work)
    elapsed, rows = timer.elapsed(mapping)
    return MappedLayer(
        mapping=mapping,
        tiles=total(loops, lambda work: 1),
        compute_cycles=total(loops, lambda work: work.compute_cycles),
        stalls=Stalls(
            port=total(loops, lambda work: work.port_stall_cycles),
            bank=total(loops, lambda work: work.bank_stall_cycles),
            dram=elapsed.dram,
            drain=elapsed.drain,
        ),
        dram_ifmap_bits=total(loops, lambda work: work.ifmap_read_bits),
        dram_filter_bits=total(loops, lambda work: work.filter_read_bits),
        dram_write_bits=total(loops, lambda work: work.write_bits),
        energy_pj=None if prices is None else _leaked(energy_pj, elapsed.total, prices),
        dram_rows=rows,
    )


class _Timer:
    """Times mappings of one layer; what a kind of tile takes is worked out once."""

    def __init__(self, tiled: TiledLayer, memory: Memory) -> None:
        self._tiled, self._memory = tiled, memory
        self._works: dict[Tile, TileWork] = {}
        self._cycles: dict[Tile, TileCycles] = {}
        self._banked: BankedTiles | None = None

    def elapsed(self, mapping: Mapping, most: int = NO_LIMIT) -> tuple[Elapsed, RowCounts | None]:
        """Return the array's cycles and what the DRAM's rows met: there every address counts, so every tile runs.

        Of a mapping that takes more than `most` cycles perhaps only that it takes more.
        """
        loops, dram = self._tiled.loops(mapping), self._memory.dram
        if isinstance(dram, BankedDram):
            self._banked = self._banked or BankedTiles(self._tiled, dram)
            return self._banked.elapsed(mapping, convert(loops, self.work), most)
        return time_loops(convert(loops, lambda tile: self._in_cycles(tile, dram))), None

    def work(self, tile: Tile) -> TileWork:
        """Return what a tile moves, computes and waits for."""
        if tile not in self._works:
            self._works[tile] = tile_work(self._tiled, tile, self._memory)
        return self._works[tile]

    def _in_cycles(self, tile: Tile, dram: ChannelDram) -> TileCycles:
        if tile not in self._cycles:
            work = self.work(tile)
            read = transfer_cycles(work.read_bits, dram, dram.latency_cycles)
            self._cycles[tile] = TileCycles(read, work.busy_cycles, transfer_cycles(work.write_bits, dram, 0))
        return self._cycles[tile]


def bounding_channel(tiled: TiledLayer, memory: Memory) -> ChannelDram | BankedBound:
    """Return the memory's channel, or what transfers on its banks take at least."""
    if isinstance(memory.dram, BankedDram):
        return least_transfers(memory.dram, tiled.clock_mhz)
    return memory.dram


def _misfit(tiled: TiledLayer, memory: Memory, chosen: Choices) -> str:
    """Name each scratchpad that even its smallest tile overflows."""
    what = "the smallest tiles" if chosen == choices(tiled) else "the smallest tiles that memory.mapping allows"
    needs = Space(tiled, memory, bounding_channel(tiled, memory), chosen).needs_bits
    least = {name: -(-int(bits.min()) // 8) for name, bits in needs.items()}
    return (
        "\n".join(
            f"{tiled.layer.name}: memory.{name}: two of {what} need {least[name]} bytes, it holds {size}"
            for name, size in memory.capacity_bytes.items()
            if least[name] > size
        )
        or f"{tiled.layer.name}: memory: no tile fits all scratchpads at once"
    )
