"""Random layers, memories and DRAM channels for tests of tiles and mappings."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from logaccel.arch import ChannelDram, Dram, Memory, Order, PEArray, Scratchpad
from logaccel.memory.mapper import candidates
from logaccel.memory.tiles import Mapping, TiledLayer
from logaccel.memory.widths import WordWidths
from logaccel.workload import Layer

DRAMS = st.builds(
    ChannelDram, bits_per_cycle=st.integers(1, 40), latency_cycles=st.integers(0, 12), burst_bits=st.integers(1, 20)
)


@st.composite
def tiled_layers(draw: st.DrawFn) -> TiledLayer:
    groups = draw(st.integers(1, 2))
    kernel, dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 3))), draw(st.integers(1, 2))
    layer = Layer(
        name="random",
        in_channels=groups * draw(st.integers(1, 5)),
        out_channels=groups * draw(st.integers(1, 6)),
        in_size=(draw(st.integers(5, 8)), draw(st.integers(5, 7))),
        kernel=kernel,
        stride=(draw(st.integers(1, 3)), draw(st.integers(1, 2))),
        padding=tuple(draw(st.integers(0, 1)) for _ in range(4)),
        dilation=(dilation, draw(st.integers(1, 2))),
        groups=groups,
    )
    array = PEArray(rows=draw(st.integers(1, 4)), cols=draw(st.integers(1, 4)), overlap=draw(st.booleans()))
    widths = WordWidths(*(draw(st.integers(1, 9)) for _ in range(4)))
    return TiledLayer(layer, draw(st.integers(1, 3)), array, draw(st.sampled_from(["os", "ws", "is"])), widths)


@st.composite
def handed_layers(draw: st.DrawFn) -> TiledLayer:
    """The same, some of whose maps never leave the chip, or beside which others wait."""
    there = {"ifmap_on_chip": draw(st.booleans()), "ofmap_on_chip": draw(st.booleans())}
    return replace(draw(tiled_layers()), **there, waiting_bits=draw(st.sampled_from([0, 0, 100, 700])))


def some_mapping(tiled: TiledLayer, pick: int, space: list[Mapping] | None = None) -> Mapping:
    """Return a mapping of the space (or of what of it is given), one of those that cut columns, or one of any sizes."""
    pick, kind = divmod(pick, 3)
    space = list(candidates(tiled)) if space is None else space
    (height, width), (channels, depth) = tiled.layer.out_size, tiled.group_channels
    if kind == 2:
        sizes = []
        for bound in (2, tiled.batch, height, width, channels, 1 if tiled.dataflow == "os" else depth):
            pick, size = divmod(pick, bound)
            sizes.append(size + 1)
        order: Order = "pixels" if sizes[0] == 1 else "channels"
        return Mapping(*sizes[1:5], depth if tiled.dataflow == "os" else sizes[5], order)
    if kind == 1:
        space = [mapping for mapping in space if mapping.ofmap_columns < width] or space
    return space[pick % len(space)]


WAYS = st.tuples(  # port bits and banks of each scratchpad: what memory_of takes as `ways`
    *[st.tuples(st.one_of(st.none(), st.integers(1, 30)), st.one_of(st.none(), st.integers(1, 5)))] * 3
)
IDEAL = ((None, None),) * 3


def memory_of(sizes: tuple[int, int, int], dram: Dram, ways: Any = IDEAL, **more: Any) -> Memory:
    """Return a memory with scratchpads of these bytes (ifmap, filter, ofmap), port bits and banks."""
    pads = [
        Scratchpad(bytes=size, port_bits=bits, banks=banks) for size, (bits, banks) in zip(sizes, ways, strict=True)
    ]
    return Memory(**dict(zip(("ifmap", "filter", "ofmap"), pads, strict=True)), dram=dram, **more)
