"""What every mapping of a layer spends, as an array: the array's own energy, scratchpads and DRAM, without leakage.

The counts are those of logaccel.memory.accounting, which tests hold this against; here for all mappings at once.
"""

import numpy as np
from numpy.typing import NDArray

from logaccel.memory.accounting import taps_inside
from logaccel.memory.prices import LayerPrices
from logaccel.memory.space import Counts, Space
from logaccel.schedule.activity import matrix_activity
from logaccel.workload import MatrixShape

Energies = NDArray[np.float64]


def energies_pj(space: Space, prices: LayerPrices) -> Energies:
    """Return the energy of every mapping, [m, b, d, o]."""
    tiled, memory = space.tiled, prices.memory
    widths, outputs = tiled.widths, _outputs(space)
    shapes = MatrixShape(1, *space.busy.shapes)  # type: ignore[arg-type]
    tile = matrix_activity(shapes, tiled.array, tiled.dataflow)
    ifmap_fills, filter_fills = space.dram_read_bits

    found = prices.fixed_pj + prices.psum_move_pj * _total(space, tile.psum_moves)
    if tiled.dataflow != "os":
        loads = tile.weight_writes if tiled.dataflow == "ws" else tile.activation_writes
        found = found + prices.load_pj * _total(space, loads)
        continued = outputs * (space.depths.blocks - 1)[:, None]  # first K slices of a later block of ifmap channels
        read = _total(space, tile.psum_reads) + continued
        written = _total(space, tile.psum_writes) - outputs
        found = found + widths.psum_bits * (
            memory.ofmap.read_pj_per_bit * read + memory.ofmap.write_pj_per_bit * written
        )
    ofmap_bits = outputs * widths.ofmap_bits
    if tiled.ofmap_on_chip:
        found = found + ofmap_bits * memory.ifmap.write_pj_per_bit
    else:
        found = found + ofmap_bits * (memory.ofmap.read_pj_per_bit + memory.ofmap.write_pj_per_bit)
    found = found + memory.ifmap.read_pj_per_bit * widths.ifmap_bits * _ifmap_words(space)
    found = found + memory.filter.read_pj_per_bit * widths.filter_bits * _total(space, tile.filter_reads)
    found = found + memory.ifmap.write_pj_per_bit * ifmap_fills + memory.filter.write_pj_per_bit * filter_fills
    return found + memory.dram_pj_per_bit * (ifmap_fills + filter_fills + space.dram_write_bits)


def _total(space: Space, table: int | Counts) -> Counts:
    """Sum a count of single tiles over all tiles of every mapping."""
    shape = np.broadcast_shapes(*(size.shape for size in space.busy.shapes))
    return space.tiled.layer.groups * space.summed(np.broadcast_to(table, shape))[..., None]


def _outputs(space: Space) -> int:
    layer = space.tiled.layer
    return space.tiled.batch * layer.out_size[0] * layer.out_size[1] * layer.out_channels


def _ifmap_words(space: Space) -> Counts:
    """Return the ifmap words that the array fetches, [b, 1, 1]: no padding, once a pass over the channels of a tile."""
    tiled = space.tiled
    rows, columns = taps_inside(tiled.layer)
    words = tiled.layer.groups * tiled.batch * tiled.group_channels[1] * rows * columns
    lengths = space.channels.lengths
    passes = np.ones_like(lengths) if tiled.dataflow == "is" else -(-lengths // tiled.array.cols)
    return words * (space.channels.counts @ passes)[:, None, None]
