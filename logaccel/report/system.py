"""What reports say of a system beyond the array: energy, area, DRAM traffic and where the prices come from."""

from collections.abc import Iterable

from logaccel.cost import MemoryProvenance
from logaccel.report.table import Column, printable
from logaccel.result import SimulationResult
from logaccel.units import NOTHING, area_scale, bits_scale, energy_scale, format_cycles


def system_figures(rows: tuple[SimulationResult, ...]) -> list[Column]:
    """Energy with memory and leakage, and DRAM traffic; blank for an architecture without a memory."""
    energies, moved = [row.energy_system_pj for row in rows], [row.traffic for row in rows]
    figures = []
    if any(value is not None for value in energies):
        in_pj = energy_scale(value for value in energies if value is not None)
        cells = tuple(NOTHING if value is None else in_pj.text(value) for value in energies)
        figures.append(Column(f"energy system {in_pj.unit}", cells, "cost"))
    if any(traffic is not None for traffic in moved):
        in_bits = bits_scale(traffic.dram.bits for traffic in moved if traffic is not None)
        cells = tuple(NOTHING if traffic is None else in_bits.text(traffic.dram.bits) for traffic in moved)
        figures.append(Column(f"DRAM bits {in_bits.unit}", cells, "cost"))
    return figures


def stall_figures(rows: tuple[SimulationResult, ...]) -> list[Column]:
    """Cycles in which the array or its lanes wait; blank for an architecture without a memory."""
    if all(row.arch.memory is None for row in rows):
        return []
    cells = tuple(NOTHING if row.arch.memory is None else format_cycles(row.stall_cycles) for row in rows)
    return [Column("  stalled", cells, "time")]


def system_areas(rows: tuple[SimulationResult, ...]) -> list[Column]:
    """Array and scratchpads; blank where the area of the scratchpads is not known."""
    areas = [row.area.system_um2 for row in rows]
    if all(value is None for value in areas):
        return []
    scale = area_scale(value for value in areas if value is not None)
    cells = tuple(NOTHING if value is None else scale.text(value) for value in areas)
    return [Column(f"area system {scale.unit}", cells, "cost")]


def system_remarks(rows: tuple[SimulationResult, ...]) -> list[str]:
    """What the system column holds and where its prices come from."""
    if all(row.energy_system_pj is None for row in rows):
        return []
    return memory_remarks(row.memory_provenance for row in rows)


def memory_remarks(sources: Iterable[MemoryProvenance | None]) -> list[str]:
    """What a system figure holds and where the prices of memory come from, each source once."""
    remarks = ["system: array, scratchpads, DRAM, and leakage where the prices have it"]
    for behind in dict.fromkeys(sources):
        if behind is not None:
            voltage = "voltage not stated" if behind.voltage_v is None else f"{behind.voltage_v:g} V"
            what = printable(behind.description, 200)
            remarks.append(f"memory of {printable(behind.profile)}: {what}; {behind.node_nm:g} nm, {voltage}")
            if behind.unverified:
                remarks.append("unverified prices of memory: " + ", ".join(behind.unverified))
    return remarks
