"""What each tile of a layer moves, computes and waits for inside the array: ports and banks of its scratchpads."""

from collections.abc import Iterator
from dataclasses import replace

from logaccel.arch import Memory
from logaccel.memory.banks import IfmapTile, bank_stalls
from logaccel.memory.loops import convert, flatten
from logaccel.memory.port_tables import port_stalls
from logaccel.memory.ports import TileFolds, ports_of
from logaccel.memory.tiles import Map, Mapping, Tile, TiledLayer
from logaccel.memory.timing import TileWork
from logaccel.workload import MatrixShape


def tile_work(tiled: TiledLayer, tile: Tile, memory: Memory) -> TileWork:
    """Return a tile's work with the cycles that ports and banks cost it."""
    work = tiled.work(tile)
    ports = ports_of(memory, tiled.widths)
    if memory.ifmap.banks is None and not ports.bind(tiled.array):
        return work
    taps = tiled.layer.kernel[0] * tiled.layer.kernel[1]
    matrix = MatrixShape(1, tile.map.pixels, tile.channels, tile.ifmap_channels * taps)
    folds = TileFolds(matrix, tiled.array, tiled.dataflow, continues=not tile.first, finishes=tile.last)
    banks = memory.ifmap.banks
    ifmap = None if banks is None else ifmap_tile(tiled, tile.map, tile.ifmap_channels, banks)
    return replace(
        work,
        port_stall_cycles=port_stalls(folds, ports.without_banks()),
        bank_stall_cycles=bank_stalls(folds, ports, ifmap),
    )


def tile_works(tiled: TiledLayer, mapping: Mapping, memory: Memory) -> Iterator[TileWork]:
    """Yield the same for every tile of a mapping, in the order in which they run."""
    return flatten(convert(tiled.loops(mapping), lambda tile: tile_work(tiled, tile, memory)))


def ifmap_tile(tiled: TiledLayer, where: Map, channels: int, banks: int) -> IfmapTile:
    """Return a tile's ifmap as its scratchpad stores it: packed, or a part of the whole map handed over."""
    layer, (images, rows, columns) = tiled.layer, where
    depth, height, width = channels, rows.stored, columns.stored
    if tiled.ifmap_on_chip:
        depth, height, width = layer.in_channels, *layer.in_size
    return IfmapTile(
        images=images,
        channels=channels,
        ofmap=(rows.size, columns.size),
        stored=(rows.stored, columns.stored),
        before=(rows.before, columns.before),
        row_words=width,
        channel_words=height * width,
        image_words=depth * height * width,
        kernel=layer.kernel,
        stride=layer.stride,
        dilation=layer.dilation,
        banks=banks,
    )
