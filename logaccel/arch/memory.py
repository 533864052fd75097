"""The memory around the array: scratchpads and DRAM."""

from typing import Annotated, Literal

from pydantic import Field

from logaccel.section import Section

Bytes = Annotated[int, Field(ge=1, le=2**40)]


class Dram(Section):
    """One channel that reads and write-backs share."""

    bits_per_cycle: Annotated[
        int | None, Field(ge=1, le=2**20, description="bandwidth in array cycles; null: unlimited")
    ]
    latency_cycles: Annotated[int, Field(ge=0, le=2**20, description="before the first word of a tile's read")] = 0
    burst_bits: Annotated[int, Field(ge=1, le=2**20, description="transfers are rounded up to whole bursts")] = 1


class Memory(Section):
    """Scratchpads (each holds two tiles: one in use, one on its way) and DRAM."""

    ifmap_bytes: Annotated[Bytes, Field(description="capacity of the ifmap scratchpad")]
    filter_bytes: Annotated[Bytes, Field(description="capacity of the filter scratchpad")]
    ofmap_bytes: Annotated[Bytes, Field(description="capacity of the scratchpad of psums and ofmaps")]
    dram: Annotated[Dram, Field(description="the channel behind the scratchpads")]
    objective: Annotated[
        Literal["cycles", "traffic", "product"],
        Field(description="what the mapper minimises: total cycles, DRAM bits, or their product"),
    ] = "product"

    @property
    def capacity_bytes(self) -> dict[str, int]:
        """Capacity of each scratchpad by name."""
        return {"ifmap": self.ifmap_bytes, "filter": self.filter_bytes, "ofmap": self.ofmap_bytes}
