"""Bank conflicts against a scratchpad that is filled word by word and whose banks deliver one word a cycle each."""

from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_cases import handed_layers, some_mapping
from test_ports import PORT, demand

from logaccel.arch import Dataflow, PEArray
from logaccel.memory.banks import IfmapTile, bank_stalls, least_tap_stalls
from logaccel.memory.loops import flatten
from logaccel.memory.places import places
from logaccel.memory.port_tables import port_stalls
from logaccel.memory.ports import Port, Ports, TileFolds
from logaccel.memory.tiles import TiledLayer
from logaccel.memory.waits import ifmap_tile
from logaccel.memory.walk import tile_matrix
from logaccel.memory.widths import WordWidths
from logaccel.schedule.folds import plan_folds
from logaccel.workload import Layer, MatrixShape

Pixels = tuple[range, range]  # ofmap rows, ofmap columns


@st.composite
def ifmap_tiles(draw: st.DrawFn) -> tuple[Layer, Pixels, IfmapTile, int | None]:
    """Draw a layer, a block of its ofmap rows and columns, and the tile of that block."""
    layer = Layer(
        name="random",
        in_channels=draw(st.integers(1, 3)),
        out_channels=draw(st.integers(1, 9)),
        in_size=(draw(st.integers(5, 9)), draw(st.integers(5, 9))),
        kernel=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        stride=(draw(st.integers(1, 4)), draw(st.integers(1, 4))),
        padding=tuple(draw(st.integers(0, 2)) for _ in range(4)),
        dilation=(draw(st.integers(1, 2)), draw(st.integers(1, 2))),
    )
    pixels = []
    for axis in range(2):
        first = draw(st.integers(0, layer.out_size[axis] - 1))
        pixels.append(range(first, draw(st.integers(first, layer.out_size[axis] - 1)) + 1))
    if draw(st.booleans()):
        pixels[1] = range(layer.out_size[1])
    rows, columns = pixels
    kept = draw(st.one_of(st.none(), st.integers(0, 2)))  # other channels of a whole map; None: the tile alone
    stored = [held(layer, axis, pixels[axis]) for axis in range(2)]
    first_tap = [pixels[axis][0] * layer.stride[axis] - layer.padding[axis] for axis in range(2)]
    height, width = (len(stored[0]), len(stored[1])) if kept is None else layer.in_size
    tile = IfmapTile(
        images=draw(st.integers(1, 2)),
        channels=layer.in_channels,
        ofmap=(len(rows), len(columns)),
        stored=(len(stored[0]), len(stored[1])),
        before=(max(0, -first_tap[0]), max(0, -first_tap[1])),
        row_words=width,
        channel_words=height * width,
        image_words=(layer.in_channels + (kept or 0)) * height * width,
        kernel=layer.kernel,
        stride=layer.stride,
        dilation=layer.dilation,
        banks=draw(st.integers(2, 12)),
    )
    return layer, (rows, columns), tile, kept


def held(layer: Layer, axis: int, pixels: range) -> list[int]:
    """Return the ifmap rows or columns from the first to the last that is multiplied; of whole rows all columns."""
    taps = [pixel * layer.stride[axis] + tap * layer.dilation[axis] - layer.padding[axis]
            for pixel in pixels for tap in range(layer.kernel[axis])]  # fmt: skip
    whole = axis == 1 and len(pixels) == layer.out_size[1]
    return [at for at in range(layer.in_size[axis]) if whole or min(taps) <= at <= max(taps)]


def words_of(layer: Layer, pixels: Pixels, tile: IfmapTile, kept: int | None) -> dict[tuple[int, int], int | None]:
    """Fill the scratchpad in order and return the address of (pixel, k), None for padding."""
    stored = [held(layer, axis, pixels[axis]) if kept is None else range(layer.in_size[axis]) for axis in range(2)]
    address: dict[tuple[int, int, int, int], int] = {}
    for n in range(tile.images):
        for c in range(layer.in_channels + (kept or 0)):
            for h in stored[0]:
                for w in stored[1]:
                    address[n, c, h, w] = len(address)
    found: dict[tuple[int, int], int | None] = {}
    pixel = 0
    for n in range(tile.images):
        for p in pixels[0]:
            for q in pixels[1]:
                k = 0
                for c in range(layer.in_channels):
                    for r in range(layer.kernel[0]):
                        for s in range(layer.kernel[1]):
                            h = p * layer.stride[0] - layer.padding[0] + r * layer.dilation[0]
                            w = q * layer.stride[1] - layer.padding[1] + s * layer.dilation[1]
                            found[pixel, k] = address.get((n, c, h, w))
                            k += 1
                pixel += 1
    return found


def fetched(folds: TileFolds, words: dict[tuple[int, int], int | None]) -> dict[int, list[int]]:
    """Return the addresses that the array asks for in each of its cycles."""
    plan = plan_folds(folds.matrix, folds.array, folds.dataflow)
    asked: dict[int, list[int]] = defaultdict(list)
    before = None
    for fold in range(plan.count):
        start, rows, cols = int(plan.stream_starts[fold]), int(plan.rows[fold]), int(plan.cols[fold])
        inner = int(plan.slice_of_inner[fold]) * plan.array.rows
        outer = int(plan.slice_of_outer[fold]) * plan.array.cols
        if folds.dataflow == "os":
            cells = [(start + k, inner + i, k) for k in range(plan.stream_length) for i in range(rows)]
        elif folds.dataflow == "ws":
            cells = [(start + t, t, inner + i) for t in range(plan.stream_length) for i in range(rows)]
        else:
            load = before if before is not None and plan.array.overlap else start - rows
            cells = [(load + i, outer + j, inner + rows - 1 - i) for i in range(rows) for j in range(cols)]
        for cycle, pixel, k in cells:
            if words[pixel, k] is not None:
                asked[cycle].append(words[pixel, k])
        before = start
    return asked


def stepped(folds: TileFolds, ports: Ports, words: dict[tuple[int, int], int | None], banks: int) -> int:
    """Freeze the array until ports and banks have delivered what its cycle asks for; return the frozen cycles."""
    of = {"ifmap": ports.ifmap, "filter": ports.filter, "in": ports.ofmap, "out": ports.ofmap}
    addresses, frozen = fetched(folds, words), 0
    for cycle, asked in demand(folds, ports.widths).items():
        bits = {name: sum(widths) for name, widths in asked.items()}
        left = {name: len(widths) for name, widths in asked.items()}
        queue = [set(group) for group in _by_bank(addresses.get(cycle, []), banks)]
        spent = 0
        while any(bits.values()) or any(left.values()) or any(queue):
            for name in asked:
                bits[name] = max(0, bits[name] - of[name].port_bits) if of[name].port_bits else 0
                left[name] = max(0, left[name] - of[name].banks) if of[name].banks else 0
            for bank in queue:
                if bank:
                    bank.pop()
            spent += 1
        frozen += spent - 1
    return frozen


def _by_bank(addresses: list[int], banks: int) -> list[list[int]]:
    return [[address for address in addresses if address % banks == bank] for bank in range(banks)]


@given(
    drawn=ifmap_tiles(),
    array=st.builds(
        PEArray,
        rows=st.integers(1, 8),
        cols=st.integers(1, 8),
        overlap=st.booleans(),
        pipeline_stages=st.integers(0, 2),
    ),
    dataflow=st.sampled_from(["os", "ws", "is"]),
    ports=st.builds(
        Ports,
        st.builds(Port, port_bits=st.one_of(st.none(), st.integers(1, 40))),
        PORT,
        PORT,
        st.builds(WordWidths, *[st.integers(1, 9)] * 4),
    ),
    narrow=st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_bank_stalls_equal_the_stepped_scratchpad(
    drawn: tuple[Layer, Pixels, IfmapTile, int | None], array: PEArray, dataflow: Dataflow, ports: Ports, narrow: bool
) -> None:
    layer, block, tile, kept = drawn
    if not narrow:
        ports = Ports(Port(), Port(), Port(), ports.widths)
    pixels = tile.images * len(block[0]) * len(block[1])
    reduction = layer.in_channels * tile.taps
    folds = TileFolds(MatrixShape(1, pixels, layer.out_channels, reduction), array, dataflow)
    words = words_of(layer, block, tile, kept)
    waits = port_stalls(folds, ports.without_banks()) + bank_stalls(folds, ports, tile)
    assert waits == stepped(folds, ports, words, tile.banks)


def test_a_stride_of_four_over_sixteen_banks_takes_four_cycles_a_step() -> None:
    """AlexNet's first layer, one row of 16 pixels whose words lie 4 apart: 4 banks hold them, 4 words each."""
    tile = IfmapTile(1, 3, (1, 16), (11, 71), (0, 0), 71, 781, 2343, (11, 11), (4, 4), (1, 1), 16)
    array = PEArray(rows=16, cols=16)
    folds = TileFolds(MatrixShape(1, 16, 16, 363), array, "os")
    ports = Ports(Port(), Port(), Port(), WordWidths(8, 8, 8, 8))
    assert bank_stalls(folds, ports, tile) == 363 * 3


@pytest.mark.parametrize("banks", [5, 7, 17])
def test_banks_prime_to_the_stride_never_conflict_within_their_number(banks: int) -> None:
    tile = IfmapTile(1, 2, (1, 5), (3, 24), (0, 0), 24, 72, 144, (3, 3), (4, 4), (1, 1), banks)
    folds = TileFolds(MatrixShape(1, 5, 4, 18), PEArray(rows=5, cols=4), "os")
    assert bank_stalls(folds, Ports(Port(), Port(), Port(), WordWidths(8, 8, 8, 8)), tile) == 0


@given(tiles=st.lists(ifmap_tiles(), min_size=2, max_size=4), lanes=st.integers(2, 8), banks=st.integers(2, 4))
def test_least_stalls_of_many_tiles_are_those_of_each(tiles: list[Any], lanes: int, banks: int) -> None:
    """Of the same layer and banks, that is: what differs are the parts that they store."""
    first = tiles[0][2]
    same = [
        replace(tile, kernel=first.kernel, stride=first.stride, dilation=first.dilation, banks=banks)
        for _, _, tile, _ in tiles
    ]
    together = least_tap_stalls(same, [1, 2], lanes)
    assert together.tolist() == [least_tap_stalls([tile], [1, 2], lanes)[0].tolist() for tile in same]


@given(tiled=handed_layers(), pick=st.integers(0, 10_000), banks=st.integers(2, 9))
@settings(max_examples=200, deadline=None)
def test_tiles_of_a_mapping_store_what_they_need(tiled: TiledLayer, pick: int, banks: int) -> None:
    mapping = some_mapping(tiled, pick)
    ports = Ports(Port(), Port(), Port(), tiled.widths)
    for place, tile in list(zip(places(tiled, mapping), flatten(tiled.loops(mapping)), strict=True))[:6]:
        alone = tiled.layer.model_copy(
            update={"groups": 1, "in_channels": tile.ifmap_channels, "out_channels": tile.channels}
        )
        stored = ifmap_tile(tiled, tile.map, tile.ifmap_channels, banks)
        others = tiled.layer.in_channels - tile.ifmap_channels if tiled.ifmap_on_chip else None
        words = words_of(alone, (range(*place.ofmap_rows), range(*place.ofmap_columns)), stored, others)
        folds = TileFolds(tile_matrix(tiled, place), tiled.array, tiled.dataflow)
        assert bank_stalls(folds, ports, stored) == stepped(folds, ports, words, banks)
