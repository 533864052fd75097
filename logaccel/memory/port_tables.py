"""Port stalls of many tile shapes at once: what the mapper asks for all kinds of tiles of a layer.

Long streams and long runs of folds are not gone through: from some length on each cycle of the stream, and each fold,
adds what the one before added (`settled_folds`). So a size along the stream or the rows stands for two shorter ones,
and few shapes are left.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from logaccel.arch import Dataflow, PEArray
from logaccel.memory.ports import Ports, TileFolds
from logaccel.schedule.folds import fold_axes
from logaccel.workload import MatrixShape

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """The place of a tile in its reduction: whether its psums continue those of a tile before, and are the last."""

    continues: bool
    finishes: bool


@lru_cache(maxsize=65536)
def port_stalls(tile: TileFolds, ports: Ports) -> int:
    """Return the cycles that a tile waits for its ports."""
    matrix, part = tile.matrix, Part(tile.continues, tile.finishes)
    sizes = np.array([[matrix.pixels], [matrix.channels], [matrix.reduction]])
    return int(stalls_of_shapes(tuple(sizes), part, tile.array, tile.dataflow, ports).item())


def stalls_of_shapes(
    sizes: tuple[Counts, Counts, Counts], part: Part, array: PEArray, dataflow: Dataflow, ports: Ports
) -> Counts:
    """Return the port stalls of tiles of so many pixels, channels and K: [pixels, channels, K]."""
    if not ports.bind(array):
        return np.zeros([len(size) for size in sizes], dtype=np.int64)
    from logaccel.schedule.port_kernel import settled_folds, stalls_of_tiles  # loads the compiler: where it is needed

    machine = ports.machine(array, dataflow)
    axes = fold_axes(MatrixShape(1, *sizes), dataflow)  # type: ignore[arg-type]
    outer, inner, length = (np.asarray(axis) for axis in axes)
    steady = 2 * array.rows + array.cols + array.pipeline_stages + 4  # a stream with a cycle that no end is felt in
    lengths, of_lengths = _shorter(length, 1, steady)
    least = max(int(lengths.min()), array.rows)
    inners, of_inners = _shorter(inner, array.rows, int(settled_folds(machine, least, least)))
    outers, of_outers = np.unique(outer, return_inverse=True)
    tiles = np.array(
        [(0, size, steps, part.continues, part.finishes) for steps in lengths for size in inners], dtype=np.int64
    )
    found = np.zeros((len(tiles), len(outers)), dtype=np.int64)
    stalls_of_tiles(machine, tiles, outers, found)
    stalls = found.reshape(len(lengths), len(inners), len(outers))
    stalls = np.tensordot(of_lengths, np.tensordot(of_inners, stalls, axes=(1, 1)), axes=(1, 1))  # [length, inner, …
    stalls = stalls[..., of_outers.ravel()]
    return np.transpose(stalls, {"os": (1, 2, 0), "ws": (0, 2, 1), "is": (2, 0, 1)}[dataflow])


def _shorter(sizes: Counts, lanes: int, settled: int) -> tuple[Counts, Counts]:
    """Return the sizes that stand for these, and with what weight: [size, shorter one].

    A size of more than settled + 1 whole slices is settled + 1 of them, and what the last of these adds for the rest.
    """
    beyond = np.maximum(0, sizes // lanes - settled - 1)
    last = sizes - beyond * lanes
    before = np.where(beyond > 0, last - lanes, last)
    found = np.unique(np.concatenate((last, before)))
    weights = np.zeros((len(sizes), len(found)), dtype=np.int64)
    every = np.arange(len(sizes))
    np.add.at(weights, (every, np.searchsorted(found, last)), beyond + 1)
    np.add.at(weights, (every, np.searchsorted(found, before)), -beyond)
    return found, weights
