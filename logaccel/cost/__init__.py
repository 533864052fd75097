"""What actions and circuits cost: price tables with sources, energy and area by component, bits moved."""

from logaccel.cost.area import Area, array_area
from logaccel.cost.energy import ASSUMED_LIVE_SHARE, Energy, layer_energy
from logaccel.cost.memory import (
    MemoryEnergy,
    MemoryProvenance,
    memory_energy,
    memory_prices,
    memory_provenance,
    scratchpad_area_um2,
)
from logaccel.cost.profile import CostProfile, Provenance, load_profile, shipped_profiles
from logaccel.cost.traffic import bits_moved

__all__ = [
    "ASSUMED_LIVE_SHARE", "Area", "CostProfile", "Energy", "MemoryEnergy", "MemoryProvenance", "Provenance",
    "array_area", "bits_moved",
    "layer_energy", "load_profile", "memory_energy", "memory_prices", "memory_provenance", "scratchpad_area_um2",
    "shipped_profiles",
]  # fmt: skip
