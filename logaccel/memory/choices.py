"""Which mappings there are to choose from: the sizes of a tile along each axis, less what the user fixed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from logaccel.arch import FixedMapping, Memory, Order
from logaccel.errors import ConfigError
from logaccel.memory.tiles import TiledLayer

EVERY_LAYER = "all"


@dataclass(frozen=True)
class Choices:
    """The sizes that the mapper may choose from."""

    maps: tuple[tuple[int, int, int], ...]  # images, ofmap rows, ofmap columns
    ofmap_channels: tuple[int, ...]
    ifmap_channels: tuple[int, ...]
    orders: tuple[Order, ...]


def choices(tiled: TiledLayer, fixed: FixedMapping | None = None) -> Choices:
    """Return the whole space, or what of it is left. OS drains its psums once: its tiles hold whole reductions.

    A tile's pixels are a run of consecutive ones: several images share a tile only as whole maps, several rows only
    as whole ones. Fixed sizes may say otherwise; the size that they leave is free then.
    """
    fixed = FixedMapping() if fixed is None else fixed
    ofmap_channels, ifmap_channels = tiled.group_channels
    depths = (ifmap_channels,) if tiled.dataflow == "os" else steps(ifmap_channels)
    return Choices(
        maps=tuple(_maps(tiled, fixed)),
        ofmap_channels=even_steps(ofmap_channels) if fixed.ofmap_channels is None else (fixed.ofmap_channels,),
        ifmap_channels=depths if fixed.ifmap_channels is None else (fixed.ifmap_channels,),
        orders=get_args(Order) if fixed.order is None else (fixed.order,),
    )


def fixed_mapping(tiled: TiledLayer, memory: Memory) -> FixedMapping:
    """Return what is fixed for a layer: by its name, else for all layers, part by part.

    A size given for all layers is cut to the axis of a smaller layer; one given by name must fit it. Raises
    ConfigError, one line for every loop bound that is broken.
    """
    every, own = (memory.mapping.get(key, FixedMapping()) for key in (EVERY_LAYER, tiled.layer.name))
    faults, parts = [], {}
    for part, bound in _bounds(tiled).items():
        size, general = getattr(own, part), getattr(every, part)
        if size is not None and size > bound:
            faults.append(f"{part}: must be at most {bound}, the loop's bound, got {size}")
        size = min(general, bound) if size is None and general is not None else size
        if size is not None and size < bound and part == "ifmap_channels" and tiled.dataflow == "os":
            rule = f"must be {bound}: an output-stationary tile holds the whole reduction"
            faults.append(f"{part}: {rule}, got {size}")
        parts[part] = size
    if faults:
        place = f"{tiled.layer.name}: memory.mapping"
        raise ConfigError("\n".join(f"{place}.{fault}" for fault in faults))
    return FixedMapping(**parts, order=own.order or every.order)


def _bounds(tiled: TiledLayer) -> dict[str, int]:
    """Return the sizes of the loops."""
    ofmap_channels, ifmap_channels = tiled.group_channels
    return {
        "images": tiled.batch,
        "ofmap_rows": tiled.layer.out_size[0],
        "ofmap_columns": tiled.layer.out_size[1],
        "ofmap_channels": ofmap_channels,
        "ifmap_channels": ifmap_channels,
    }


def _maps(tiled: TiledLayer, fixed: FixedMapping) -> Iterator[tuple[int, int, int]]:
    """Yield blocks of images, ofmap rows and ofmap columns: runs of pixels, unless the fixed sizes already are none."""
    height, width = tiled.layer.out_size
    images = steps(tiled.batch) if fixed.images is None else (fixed.images,)
    heights = even_steps(height) if fixed.ofmap_rows is None else (fixed.ofmap_rows,)
    widths = even_steps(width) if fixed.ofmap_columns is None else (fixed.ofmap_columns,)
    cut_rows, cut_columns = (fixed.ofmap_rows or height) < height, (fixed.ofmap_columns or width) < width
    free = cut_columns and (fixed.ofmap_rows or 1) > 1
    free = free or ((fixed.images or 1) > 1 and (cut_rows or cut_columns))
    for number in images:
        for rows in heights:
            if free or number == 1 or rows == height:
                run = (columns for columns in widths if free or columns == width or number == rows == 1)
                yield from ((number, rows, columns) for columns in run)


def even_steps(size: int) -> tuple[int, ...]:
    """Return the least step for each number of blocks that an axis can be cut into: about 2 √size of them."""
    found = [size]
    while (step := found[-1]) > 1:
        blocks = -(-size // (step - 1))  # the fewest that a smaller step gives
        found.append(-(-size // blocks))
    return tuple(reversed(found))


def steps(size: int) -> tuple[int, ...]:
    """Return fewer steps for an axis: powers of two, and the least ones for 1, 2, 4, … blocks."""
    powers = [2**power for power in range(size.bit_length())]
    return tuple(sorted({power for power in powers if power < size} | {-(-size // power) for power in powers}))
