"""What each tile of a layer moves, computes and waits for inside the array: ports and banks of its scratchpads."""

from collections.abc import Iterator
from dataclasses import replace

from logaccel.arch import Memory
from logaccel.memory.banks import IfmapTile, bank_stalls
from logaccel.memory.loops import convert, flatten
from logaccel.memory.ports import TileFolds, port_stalls, ports_of
from logaccel.memory.tiles import Mapping, Tile, TiledLayer
from logaccel.memory.timing import TileWork
from logaccel.workload import MatrixShape


def tile_work(tiled: TiledLayer, tile: Tile, memory: Memory) -> TileWork:
    """Return a tile's work with the cycles that ports and banks cost it."""
    work = tiled.work(tile)
    ports = ports_of(memory, tiled.widths)
    if memory.ifmap.banks is None and not ports.bind(tiled.array):
        return work
    images, block = tile.map
    taps = tiled.layer.kernel[0] * tiled.layer.kernel[1]
    matrix = MatrixShape(1, images * block.rows * tiled.layer.out_size[1], tile.channels, tile.ifmap_channels * taps)
    folds = TileFolds(matrix, tiled.array, tiled.dataflow, continues=not tile.first, finishes=tile.last)
    return replace(
        work,
        port_stall_cycles=port_stalls(folds, ports.without_banks()),
        bank_stall_cycles=bank_stalls(folds, ports, _ifmap_tile(tiled, tile, memory.ifmap.banks)),
    )


def tile_works(tiled: TiledLayer, mapping: Mapping, memory: Memory) -> Iterator[TileWork]:
    """Yield the same for every tile of a mapping, in the order in which they run."""
    return flatten(convert(tiled.loops(mapping), lambda tile: tile_work(tiled, tile, memory)))


def _ifmap_tile(tiled: TiledLayer, tile: Tile, banks: int | None) -> IfmapTile | None:
    """Return the tile's ifmap as its scratchpad stores it, or None where banks are ideal."""
    if banks is None:
        return None
    layer, (images, block) = tiled.layer, tile.map
    return IfmapTile(
        images=images,
        channels=tile.ifmap_channels,
        ofmap=(block.rows, layer.out_size[1]),
        stored=(block.stored, layer.in_size[1]),
        before=(block.above, layer.padding[1]),
        kernel=layer.kernel,
        stride=layer.stride,
        dilation=layer.dilation,
        banks=banks,
    )
