"""The mapper: the best tiles of a layer among all whose sizes are powers of two or the whole axis.

Exhaustive over that space. A candidate is timed unless a bound proves that it cannot win: its DRAM words and
compute cycles are known exactly, and its total is at least the busier of array and channel (see _least).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from operator import itemgetter
from typing import get_args

from logaccel.arch import ChannelDram, Memory, Objective
from logaccel.errors import ConfigError
from logaccel.memory.tiles import Mapping, Order, TiledLayer
from logaccel.memory.timing import TileWork, time_tiles, transfer_cycles


@dataclass(frozen=True)
class MappedLayer:
    """A mapping and what it costs."""

    mapping: Mapping
    tiles: int
    compute_cycles: int
    stall_cycles: int
    dram_read_bits: int
    dram_write_bits: int

    def cost(self, objective: Objective) -> int:
        """Return what is minimised: total cycles, DRAM bits, or their product (no energy yet)."""
        cycles = self.compute_cycles + self.stall_cycles
        bits = self.dram_read_bits + self.dram_write_bits
        return {"cycles": cycles, "traffic": bits}.get(objective, cycles * bits)


def candidates(tiled: TiledLayer) -> Iterator[Mapping]:
    """Yield every mapping of the space. OS drains its psums once: its tiles hold the whole reduction."""
    ofmap_channels, ifmap_channels = tiled.group_channels
    rows = tiled.layer.out_size[0]
    depths = [ifmap_channels] if tiled.dataflow == "os" else _sizes(ifmap_channels)
    maps = [(1, height) for height in _sizes(rows) if height < rows]
    maps += [(images, rows) for images in _sizes(tiled.batch)]
    for (images, height), channels, depth in product(maps, _sizes(ofmap_channels), depths):
        for order in get_args(Order):
            yield Mapping(images, height, channels, depth, order)


def evaluate(tiled: TiledLayer, mapping: Mapping, memory: Memory) -> MappedLayer:
    """Return what a mapping costs; that it fits is the caller's business."""
    works = list(tiled.tiles(mapping))
    return _costed(mapping, works, memory)


def fits(tiled: TiledLayer, mapping: Mapping, memory: Memory) -> bool:
    """Return whether two tiles fit each scratchpad."""
    need = tiled.footprint_bits(mapping)
    return all(need[name] <= 8 * size for name, size in memory.capacity_bytes.items())


@lru_cache(maxsize=4096)
def map_layer(tiled: TiledLayer, memory: Memory) -> MappedLayer:
    """Return the best mapping; of equals, the one with the least bound, then the first of the space.

    Raises ConfigError naming layer, scratchpad, need and capacity where no tile fits.
    """
    fitting = [mapping for mapping in candidates(tiled) if fits(tiled, mapping, memory)]
    if not fitting:
        raise ConfigError(_misfit(tiled, memory))
    bounded = sorted(
        ((_least(tiled, mapping, memory).cost(memory.objective), mapping) for mapping in fitting),
        key=itemgetter(0),
    )
    best = evaluate(tiled, bounded[0][1], memory)
    for bound, mapping in bounded[1:]:
        if bound >= best.cost(memory.objective):
            break  # nor can any that follows
        found = evaluate(tiled, mapping, memory)
        if found.cost(memory.objective) < best.cost(memory.objective):
            best = found
    return best


def _costed(mapping: Mapping, works: list[TileWork], memory: Memory) -> MappedLayer:
    timing = time_tiles(works, _channel(memory))
    return MappedLayer(
        mapping=mapping,
        tiles=len(works),
        compute_cycles=sum(work.compute_cycles for work in works),
        stall_cycles=timing.stall_cycles(works),
        dram_read_bits=sum(work.read_bits for work in works),
        dram_write_bits=sum(work.write_bits for work in works),
    )


def _channel(memory: Memory) -> ChannelDram:
    if not isinstance(memory.dram, ChannelDram):
        raise ConfigError(f"memory.dram.kind: {memory.dram.kind} is not timed yet")
    return memory.dram


def _least(tiled: TiledLayer, mapping: Mapping, memory: Memory) -> MappedLayer:
    """Return a bound in the shape of a result: exact words and computation, and the least that it can wait.

    The array cannot start before the first tile's read nor the total end before the last tile's write; and the
    channel needs its time for all words.
    """
    totals, dram = tiled.totals(mapping), _channel(memory)
    read, write = tiled.edge_bits(mapping)
    waits = transfer_cycles(read, dram, dram.latency_cycles) + transfer_cycles(write, dram, 0)
    channel = 0
    if dram.bits_per_cycle is not None:
        channel = -(-(totals.read_bits + totals.write_bits) // dram.bits_per_cycle)
        channel += tiled.reads(mapping) * dram.latency_cycles
    stalls = max(waits, channel - totals.compute_cycles)
    return MappedLayer(mapping, 0, totals.compute_cycles, stalls, totals.read_bits, totals.write_bits)


def _misfit(tiled: TiledLayer, memory: Memory) -> str:
    """Name each scratchpad that even its smallest tile overflows."""
    needs = [tiled.footprint_bits(mapping) for mapping in candidates(tiled)]
    return (
        "\n".join(
            f"{tiled.layer.name}: memory.{name}: two of the smallest tiles need {-(-min(n[name] for n in needs) // 8)} "
            f"bytes, it holds {size}"
            for name, size in memory.capacity_bytes.items()
            if min(need[name] for need in needs) > 8 * size
        )
        or f"{tiled.layer.name}: memory: no tile fits all scratchpads at once"
    )


def _sizes(size: int) -> list[int]:
    """Return the powers of two below a size, and the size."""
    return [2**power for power in range(size.bit_length()) if 2**power < size] + [size]
