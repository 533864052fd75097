"""What an accelerator is, and how its file is read."""

from logaccel.arch.load import json_schema, load_arch, shipped_architectures
from logaccel.arch.memory import BankedDram, ChannelDram, Dram, FixedMapping, Memory, Objective, Order, Scratchpad
from logaccel.arch.model import (
    MOST_CHANNEL_SHIFT_BITS,
    Architecture,
    Dataflow,
    LayerSettings,
    PEArray,
    PostProcessing,
)

__all__ = [
    "Architecture", "BankedDram", "ChannelDram", "Dataflow", "Dram", "FixedMapping", "LayerSettings",
    "MOST_CHANNEL_SHIFT_BITS", "Memory", "Objective", "Order", "PEArray", "PostProcessing", "Scratchpad",
    "json_schema", "load_arch", "shipped_architectures",
]  # fmt: skip
