"""What an accelerator is, and how its file is read."""

from logaccel.arch.load import json_schema, load_arch, shipped_architectures
from logaccel.arch.memory import Dram, Memory
from logaccel.arch.model import Architecture, Dataflow, LayerSettings, PEArray, PostProcessing

__all__ = [
    "Architecture", "Dataflow", "Dram", "LayerSettings", "Memory", "PEArray", "PostProcessing",
    "json_schema", "load_arch", "shipped_architectures",
]  # fmt: skip
