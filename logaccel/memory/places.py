"""Where the tiles of a layer lie: their blocks of the layer."""

from collections.abc import Iterator
from typing import NamedTuple

from logaccel.memory.tiles import Block, Mapping, TiledLayer, blocks


class Place(NamedTuple):
    """The block of a layer that a tile computes: first and end along each axis."""

    group: int
    images: Block
    ofmap_rows: Block
    ofmap_columns: Block
    ofmap_channels: Block  # of the group
    ifmap_channels: Block  # of the group


def places(tiled: TiledLayer, mapping: Mapping) -> Iterator[Place]:
    """Yield the blocks of the tiles in the order in which logaccel.memory.tiles draws their loops."""
    ofmap_channels, ifmap_channels = tiled.group_channels
    slices = blocks(ofmap_channels, mapping.ofmap_channels)
    depths = blocks(ifmap_channels, mapping.ifmap_channels)
    outer = mapping.order == "channels"
    for group in range(tiled.layer.groups):
        for first in slices if outer else tiled.map_blocks(mapping):
            for second in tiled.map_blocks(mapping) if outer else slices:
                where, channels = (second, first) if outer else (first, second)
                for depth in depths:
                    yield Place(group, *where, channels, depth)  # type: ignore[call-arg]
