"""The memory around the array: scratchpads and DRAM."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from logaccel.dram import load_device
from logaccel.errors import ConfigError
from logaccel.section import Section

Bytes = Annotated[int, Field(ge=1, le=2**40)]
Objective = Literal["cycles", "energy", "edp", "traffic"]
Order = Literal["channels", "pixels"]


class Scratchpad(Section):
    """One scratchpad. It holds two tiles: one in use, one on its way; each side has a read and a write port."""

    bytes: Annotated[Bytes, Field(description="capacity")]
    banks: Annotated[
        int | None, Field(ge=1, le=1024, description="each delivers one word a cycle; null: never a conflict")
    ] = None
    port_bits: Annotated[
        int | None, Field(ge=1, le=2**20, description="bits that a port moves in a cycle; null: as many as asked for")
    ] = None


class ChannelDram(Section):
    """One channel that reads and write-backs share, known by its bandwidth and latency alone."""

    kind: Literal["channel"] = "channel"
    bits_per_cycle: Annotated[
        int | None, Field(ge=1, le=2**20, description="bandwidth in array cycles; null: unlimited")
    ]
    latency_cycles: Annotated[int, Field(ge=0, le=2**20, description="before the first word of a tile's read")] = 0
    burst_bits: Annotated[int, Field(ge=1, le=2**20, description="transfers are rounded up to whole bursts")] = 1


class BankedDram(Section):
    """One channel of a DRAM device with banks, open rows and refresh; its clock runs beside the array's."""

    kind: Literal["banked"]
    device: Annotated[str, Field(min_length=1, description="name of a shipped timing table, or path of one")]

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, name: str) -> str:
        try:
            load_device(name)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return name


def _kind(value: Any) -> str:
    """Return which DRAM a section describes: `channel` unless it says otherwise."""
    return str(value.get("kind", "channel") if isinstance(value, dict) else getattr(value, "kind", "channel"))


Dram = Annotated[
    Annotated[ChannelDram, Tag("channel")] | Annotated[BankedDram, Tag("banked")],
    Discriminator(_kind),
]


class FixedMapping(Section):
    """What of a layer's mapping the user fixed; the rest is searched."""

    images: Annotated[int | None, Field(ge=1, description="images of a tile")] = None
    ofmap_rows: Annotated[int | None, Field(ge=1, description="ofmap rows of a tile")] = None
    ofmap_columns: Annotated[int | None, Field(ge=1, description="ofmap columns of a tile")] = None
    ofmap_channels: Annotated[int | None, Field(ge=1, description="ofmap channels of a tile")] = None
    ifmap_channels: Annotated[int | None, Field(ge=1, description="ifmap channels of a tile")] = None
    order: Annotated[Order | None, Field(description="the outer loop: ofmap channels, or pixels")] = None


class Memory(Section):
    """Scratchpads and DRAM, and what the mapper makes of them."""

    ifmap: Annotated[Scratchpad, Field(description="scratchpad of ifmaps")]
    filter: Annotated[Scratchpad, Field(description="scratchpad of filters")]
    ofmap: Annotated[Scratchpad, Field(description="scratchpad of psums and ofmaps")]
    dram: Annotated[Dram, Field(description="the channel behind the scratchpads")]
    objective: Annotated[
        Objective, Field(description="what the mapper minimises: cycles, energy, their product or DRAM bits")
    ] = "edp"
    tiling: Annotated[
        Literal["search", "fill"],
        Field(description="search: the best tiles; fill: matrix products as Gemmini's library cuts them"),
    ] = "search"
    handover: Annotated[
        bool, Field(description="maps that fit stay on chip until they are read, where that costs less")
    ] = True
    mapping: Annotated[
        dict[str, FixedMapping],
        Field(description="parts of mappings to keep, by layer or for `all`; the rest is searched"),
    ] = {}

    def __hash__(self) -> int:
        """Hash all but the fixed mappings: a dictionary has no hash. Equality compares them."""
        return hash(tuple(getattr(self, name) for name in type(self).model_fields if name != "mapping"))

    @property
    def scratchpads(self) -> dict[str, Scratchpad]:
        """Scratchpads by name."""
        return {"ifmap": self.ifmap, "filter": self.filter, "ofmap": self.ofmap}

    @property
    def capacity_bytes(self) -> dict[str, int]:
        """Capacity of each scratchpad by name."""
        return {name: scratchpad.bytes for name, scratchpad in self.scratchpads.items()}
