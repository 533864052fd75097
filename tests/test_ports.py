"""Scratchpad ports and banks against a machine that is stepped cycle by cycle, and moves words one by one."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from logaccel.arch import PEArray
from logaccel.memory.port_tables import Part, port_stalls, stalls_of_shapes
from logaccel.memory.ports import Port, Ports, TileFolds, profile
from logaccel.memory.widths import WordWidths
from logaccel.schedule.folds import plan_folds
from logaccel.workload import MatrixShape

Demand = dict[int, dict[str, list[int]]]  # array cycle → port → bits of each word


def demand(tile: TileFolds, widths: WordWidths) -> Demand:
    """List every access of every fold in loops, by where its word stands (docs/microarchitecture.md)."""
    plan = plan_folds(tile.matrix, tile.array, tile.dataflow)
    array, delay, length = tile.array, tile.array.pipeline_stages, plan.stream_length
    asked: Demand = defaultdict(lambda: defaultdict(list))
    word = {"ifmap": widths.ifmap_bits, "filter": widths.filter_bits, "in": widths.psum_bits}
    before = None
    for fold in range(plan.count):
        start, rows, cols = int(plan.stream_starts[fold]), int(plan.rows[fold]), int(plan.cols[fold])
        if tile.dataflow == "os":
            for step in range(length):
                asked[start + step]["ifmap"] += [word["ifmap"]] * rows
                asked[start + step]["filter"] += [word["filter"]] * cols
            for row in range(rows):
                for col in range(cols):
                    if array.overlap:  # the pulse of the column, then one row a cycle down to the bottom
                        leaves = start + length + rows - 1 + delay + col + (array.rows - 1 - row)
                    else:  # the drain starts when the last PE is done
                        leaves = start + length + rows + cols - 2 + delay + (array.rows - 1 - row)
                    asked[leaves]["out"] += [widths.ofmap_bits]
        else:
            final = tile.finishes and plan.slice_of_inner[fold] == max(plan.slice_of_inner)
            moving, fixed = ("ifmap", "filter") if tile.dataflow == "ws" else ("filter", "ifmap")
            load = before if before is not None and array.overlap else start - rows
            for row in range(rows):
                asked[load + row][fixed] += [word[fixed]] * cols
            for step in range(length):
                asked[start + step][moving] += [word[moving]] * rows
                for col in range(cols):
                    above = start + step + col + delay  # the cycle in which the psum stands above row 0
                    asked[above + array.rows - 1]["out"] += [widths.ofmap_bits if final else widths.psum_bits]
                    if tile.continues or plan.slice_of_inner[fold] > 0:
                        asked[above - 1]["in"] += [widths.psum_bits]
        before = start
    assert min(asked) >= 0 and max(asked) < plan.compute_cycles
    return asked


def stepped(tile: TileFolds, ports: Ports) -> int:
    """Freeze the array until every port has moved its words of the cycle; return the frozen cycles."""
    of = {"ifmap": ports.ifmap, "filter": ports.filter, "in": ports.ofmap, "out": ports.ofmap}
    frozen = 0
    for asked in demand(tile, ports.widths).values():
        bits = {name: sum(words) for name, words in asked.items()}
        words = {name: len(words) for name, words in asked.items()}
        cycles = 0
        while any(bits.values()) or any(words.values()):
            for name in asked:
                port = of[name]
                bits[name] = max(0, bits[name] - port.port_bits) if port.port_bits else 0
                words[name] = max(0, words[name] - port.banks) if port.banks else 0
            cycles += 1
        frozen += cycles - 1
    return frozen


PORT = st.builds(
    Port, port_bits=st.one_of(st.none(), st.integers(1, 40)), banks=st.one_of(st.none(), st.integers(1, 9))
)
PORTS = st.builds(Ports, PORT, PORT, PORT, st.builds(WordWidths, *[st.integers(1, 9)] * 4))
TILES = st.builds(
    TileFolds,
    matrix=st.builds(MatrixShape, st.just(1), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60)),
    array=st.builds(
        PEArray,
        rows=st.integers(1, 6),
        cols=st.integers(1, 6),
        overlap=st.booleans(),
        pipeline_stages=st.integers(0, 3),
    ),
    dataflow=st.sampled_from(["os", "ws", "is"]),
    continues=st.booleans(),
    finishes=st.booleans(),
)


@given(tile=TILES, ports=PORTS)
@settings(max_examples=120, deadline=None)
def test_port_stalls_equal_the_stepped_machine(tile: TileFolds, ports: Ports) -> None:
    assert port_stalls(tile, ports) == stepped(tile, ports)


@given(
    tile=TILES, ports=PORTS,
    sizes=st.tuples(*[st.lists(st.integers(1, 400), min_size=1, max_size=3)] * 3),
    scale=st.tuples(*[st.sampled_from([1, 4, 20])] * 3),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_tables_of_many_shapes_equal_all_folds_of_each(
    tile: TileFolds, ports: Ports, sizes: tuple[list[int], ...], scale: tuple[int, ...]
) -> None:
    """Long streams and long runs of folds along both axes, which the tables cut short."""
    axes = [np.array(axis) // by + 1 for axis, by in zip(sizes, scale, strict=True)]
    part = Part(tile.continues, tile.finishes)
    found = stalls_of_shapes(tuple(axes), part, tile.array, tile.dataflow, ports)
    for where in np.ndindex(found.shape):
        matrix = MatrixShape(1, *(int(axis[i]) for axis, i in zip(axes, where, strict=True)))
        if all(size < 60 for size in (matrix.pixels, matrix.channels, matrix.reduction)) or where == (0, 0, 0):
            assert found[where] == profile(replace(tile, matrix=matrix), ports).stall_cycles
