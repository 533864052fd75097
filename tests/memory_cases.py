"""Random layers, memories and DRAM channels for tests of tiles and mappings."""

from typing import Any

from hypothesis import strategies as st

from logaccel.arch import ChannelDram, Dram, Memory, PEArray, Scratchpad
from logaccel.memory.tiles import TiledLayer
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
        stride=(draw(st.integers(1, 3)), 1),
        padding=(draw(st.integers(0, 1)),) * 4,
        dilation=(dilation, 1),
        groups=groups,
    )
    array = PEArray(rows=draw(st.integers(1, 4)), cols=draw(st.integers(1, 4)), overlap=draw(st.booleans()))
    widths = WordWidths(*(draw(st.integers(1, 9)) for _ in range(4)))
    return TiledLayer(layer, draw(st.integers(1, 3)), array, draw(st.sampled_from(["os", "ws", "is"])), widths)


def memory_of(sizes: tuple[int, int, int], dram: Dram, **more: Any) -> Memory:
    """Return a memory with scratchpads of these bytes (ifmap, filter, ofmap)."""
    return Memory(**dict(zip(("ifmap", "filter", "ofmap"), (Scratchpad(bytes=b) for b in sizes), strict=True)),
                  dram=dram, **more)  # fmt: skip
