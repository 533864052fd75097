"""What the memory of an architecture costs: energy of a bit at every level, leakage, area."""

from collections.abc import Iterable
from dataclasses import dataclass

from logaccel.arch import Architecture, Scratchpad
from logaccel.cost.area import array_leakage_mw
from logaccel.cost.memory_table import MemoryTable, ScratchpadCurve
from logaccel.cost.profile import CostProfile
from logaccel.memory.accounting import Traffic
from logaccel.memory.prices import MemoryPrices, ScratchpadPrice

DEFAULT_ACCESS_BITS = 64  # of a scratchpad whose port never binds: macros of this width side by side
PJ_PER_MW_AND_MHZ = 1000.0  # 1 mW for one cycle of 1 MHz


def memory_prices(
    profile: CostProfile, arch: Architecture, layer_archs: Iterable[Architecture] = ()
) -> MemoryPrices | None:
    """Return the prices of an architecture's memory; None where it has none, or the profile has no prices for it.

    A bit costs its share of an access as wide as the port, in a bank of its share of the capacity. Leakage is that of
    all banks and of the array that can run every layer (see `array_area`), for one cycle of the architecture's clock.
    """
    memory, table = arch.memory, profile.memory
    if memory is None or table is None:
        return None
    pads = memory.scratchpads
    leaks = [leakage_mw(table, pad) for pad in pads.values()] + [array_leakage_mw(profile, arch, layer_archs)]
    return MemoryPrices(
        **{name: _price(table, pad) for name, pad in pads.items()},
        dram_pj_per_bit=table.dram.pj_per_bit,
        leakage_pj_per_cycle=sum(leak or 0.0 for leak in leaks) * PJ_PER_MW_AND_MHZ / arch.clock_mhz,
    )


@dataclass(frozen=True)
class MemoryProvenance:
    """Where the prices of a memory come from: not always the technology of the circuits."""

    profile: str
    description: str
    node_nm: float
    voltage_v: float | None
    unverified: tuple[str, ...]  # entries whose figures were not compared with their source


def memory_provenance(profile: CostProfile, arch: Architecture) -> MemoryProvenance | None:
    """Return what stands behind the system figures; None where there are none."""
    table = profile.memory
    if arch.memory is None or table is None:
        return None
    return MemoryProvenance(profile.name, table.description, table.node_nm, table.voltage_v, table.unverified)


@dataclass(frozen=True)
class MemoryEnergy:
    """Energy outside of the array by component, pJ: each scratchpad, DRAM by operand, leakage of array and scratchpads.

    leakage_pj is 0 where the price table has none; the profile's `excluded` then says so.
    """

    scratchpad_pj: dict[str, float]
    dram_pj: dict[str, float]
    leakage_pj: float

    @property
    def pj(self) -> dict[str, float]:
        """The three components."""
        return {
            "scratchpads": sum(self.scratchpad_pj.values()),
            "dram": sum(self.dram_pj.values()),
            "leakage": self.leakage_pj,
        }


def memory_energy(prices: MemoryPrices, traffic: Traffic, total_cycles: int) -> MemoryEnergy:
    """Price what a layer moved at every level, and the cycles that it took."""
    flows = {"ifmap": traffic.ifmap + traffic.handed, "filter": traffic.filter, "ofmap": traffic.psum + traffic.ofmap}
    pads = {"ifmap": prices.ifmap, "filter": prices.filter, "ofmap": prices.ofmap}
    dram = {"ifmap": traffic.dram_ifmap, "filter": traffic.dram_filter, "ofmap": traffic.dram_ofmap}
    return MemoryEnergy(
        scratchpad_pj={
            name: flow.read_bits * pads[name].read_pj_per_bit + flow.write_bits * pads[name].write_pj_per_bit
            for name, flow in flows.items()
        },
        dram_pj={name: flow.bits * prices.dram_pj_per_bit for name, flow in dram.items()},
        leakage_pj=total_cycles * prices.leakage_pj_per_cycle,
    )


def leakage_mw(table: MemoryTable, pad: Scratchpad) -> float | None:
    """Return what all banks of a scratchpad leak, None where the source does not say."""
    return None if table.leakage_mw is None else (pad.banks or 1) * _of_bank(table.leakage_mw, pad)


def area_um2(table: MemoryTable, pad: Scratchpad) -> float | None:
    """Return the area of all banks of a scratchpad, None where the source does not say."""
    return None if table.area_um2 is None else (pad.banks or 1) * _of_bank(table.area_um2, pad)


def scratchpad_area_um2(profile: CostProfile, arch: Architecture) -> dict[str, float] | None:
    """Return the area of each scratchpad; None where there is no memory or no price of it."""
    if arch.memory is None or profile.memory is None or profile.memory.area_um2 is None:
        return None
    found = {name: area_um2(profile.memory, pad) for name, pad in arch.memory.scratchpads.items()}
    return {name: area for name, area in found.items() if area is not None}


@dataclass(frozen=True)
class _Bank:
    size_bytes: float
    width_bits: float


def _bank(pad: Scratchpad) -> _Bank:
    """Return one of the banks that share capacity and port: it delivers its part of every access."""
    banks = pad.banks or 1
    width = DEFAULT_ACCESS_BITS if pad.port_bits is None else max(1.0, pad.port_bits / banks)
    return _Bank(pad.bytes / banks, width)


def _of_bank(curve: ScratchpadCurve, pad: Scratchpad) -> float:
    bank = _bank(pad)
    return curve.at(bank.size_bytes, bank.width_bits)


def _price(table: MemoryTable, pad: Scratchpad) -> ScratchpadPrice:
    width = _bank(pad).width_bits
    return ScratchpadPrice(_of_bank(table.read_pj, pad) / width, _of_bank(table.write_pj, pad) / width)
