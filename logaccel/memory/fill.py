"""Tiles grown until half of the scratchpads is full: the rule of Gemmini's C library for matrix products.

Source: `tiled_matmul_auto` of github.com/ucb-bar/gemmini-rocc-tests, include/gemmini.h, weight stationary. Sizes are
counted in blocks of the array's rows (pixels, K) and columns (channels). Half of every memory is for the tile on
its way; ifmap and filter share one scratchpad there, so their capacities count as one here.

    start    pixels = channels = ⌊√(blocks of psums that fit)⌋, K = what a quarter of the scratchpad leaves for them
    grow     channels, pixels, K in turn by one block, as long as any fits; none beyond its axis

Its loops are pixels, channels, K from the outside (`tiled_matmul_outer`): the order `pixels` here.
"""

from dataclasses import dataclass, replace
from math import isqrt

from logaccel.arch import Memory
from logaccel.memory.choices import Choices
from logaccel.memory.tiles import TiledLayer


@dataclass(frozen=True)
class _Blocks:
    """Sizes of a tile in blocks."""

    pixels: int
    channels: int
    reduction: int


def fill_choices(tiled: TiledLayer, memory: Memory) -> Choices | None:
    """Return the one mapping that the rule chooses, or None for a layer that is no plain matrix product."""
    layer, array = tiled.layer, tiled.array
    if tiled.dataflow != "ws" or not is_product(tiled):
        return None
    pixels = tiled.batch * layer.out_size[0]
    axes = _Blocks(-(-pixels // array.rows), -(-layer.out_channels // array.cols), -(-layer.in_channels // array.rows))
    tile = _grown(tiled, memory, axes)
    most_pixels = min(pixels, tile.pixels * array.rows)
    return Choices(
        maps=((most_pixels, 1, 1) if layer.out_size[0] == 1 else (1, most_pixels, 1),),
        ofmap_channels=(min(layer.out_channels, tile.channels * array.cols),),
        ifmap_channels=(min(layer.in_channels, tile.reduction * array.rows),),
        orders=("pixels",),
    )


def is_product(tiled: TiledLayer) -> bool:
    """Return whether a layer is a matrix product with its pixels along one axis: images, or rows of one image."""
    layer = tiled.layer
    plain = layer.groups == 1 and layer.kernel == (1, 1) and layer.stride == (1, 1) and not any(layer.padding)
    return plain and layer.in_size[1] == 1 and (tiled.batch == 1 or layer.in_size[0] == 1)


def pooled(memory: Memory) -> Memory:
    """Return the memory with one capacity for ifmap and filter together."""
    size = memory.ifmap.bytes + memory.filter.bytes
    both = {name: getattr(memory, name).model_copy(update={"bytes": size}) for name in ("ifmap", "filter")}
    return memory.model_copy(update=both)


def _grown(tiled: TiledLayer, memory: Memory, axes: _Blocks) -> _Blocks:
    rows, cols, widths = tiled.array.rows, tiled.array.cols, tiled.widths
    ifmap_block, filter_block = rows * rows * widths.ifmap_bits, rows * cols * widths.filter_bits
    operands = 8 * (memory.ifmap.bytes + memory.filter.bytes) // 2
    psums = 8 * memory.ofmap.bytes // 2 // (rows * cols * widths.psum_bits)

    def fits(tile: _Blocks) -> bool:
        within = tile.pixels <= axes.pixels and tile.channels <= axes.channels and tile.reduction <= axes.reduction
        need = tile.reduction * (tile.pixels * ifmap_block + tile.channels * filter_block)
        return within and need <= operands and tile.pixels * tile.channels <= psums

    side = max(1, isqrt(psums))
    deep = max(1, operands // 2 // max(ifmap_block, filter_block) // side)
    tile = _Blocks(min(axes.pixels, side), min(axes.channels, side), min(axes.reduction, deep))
    grew = True
    while grew:
        grew = False
        for axis in ("channels", "pixels", "reduction"):
            larger = replace(tile, **{axis: getattr(tile, axis) + 1})
            if fits(larger):
                tile, grew = larger, True
    return tile
