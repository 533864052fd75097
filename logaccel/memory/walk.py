"""The tiles of a mapped layer one by one: which block of the layer each is, and when it moves, runs and drains."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from logaccel.arch import ChannelDram, Dataflow, Memory, PEArray
from logaccel.memory.banked import BankedChannel
from logaccel.memory.places import Place, places
from logaccel.memory.tiles import Mapping, TiledLayer
from logaccel.memory.timing import Channel, Span, SteadyChannel, TileSpans, tile_spans
from logaccel.memory.waits import tile_works
from logaccel.schedule.folds import plan_folds
from logaccel.workload import MatrixShape


@dataclass(frozen=True)
class PlacedTile:
    """One tile. Its psums drain from the end of its last stream to the end of `spans.busy`."""

    index: int
    place: Place
    spans: TileSpans
    drain: Span


def tile_matrix(tiled: TiledLayer, place: Place) -> MatrixShape:
    """Return the matrix product of a tile."""
    images, rows, columns, channels, depth = (end - first for first, end in place[1:])
    taps = tiled.layer.kernel[0] * tiled.layer.kernel[1]
    return MatrixShape(1, images * rows * columns, channels, depth * taps)


def walk(tiled: TiledLayer, mapping: Mapping, memory: Memory) -> Iterator[PlacedTile]:
    """Yield every tile of a layer with its times, in cycles after the layer's start; holds a few at a time."""
    channel = _channel(tiled, mapping, memory)
    timed = tile_spans(tile_works(tiled, mapping, memory), channel)
    for index, (place, spans) in enumerate(zip(places(tiled, mapping), timed, strict=True)):
        end = spans.busy.end
        drain = drain_cycles(tile_matrix(tiled, place), tiled.array, tiled.dataflow)
        yield PlacedTile(index, place, spans, Span(end - drain, end))


def _channel(tiled: TiledLayer, mapping: Mapping, memory: Memory) -> Channel:
    if isinstance(memory.dram, ChannelDram):
        return SteadyChannel(memory.dram)
    return BankedChannel(tiled, mapping, memory.dram)


@lru_cache(maxsize=4096)
def drain_cycles(matrix: MatrixShape, array: PEArray, dataflow: Dataflow) -> int:
    """Return the cycles from the last operand's entry of a tile's last fold until its last psum has left."""
    plan = plan_folds(matrix, array, dataflow)
    return plan.compute_cycles - int(plan.stream_starts[-1]) - plan.stream_length
