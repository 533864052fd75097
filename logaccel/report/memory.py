"""Tables of what each memory moved and what it cost, and of the work between layers; none where there is none."""

from logaccel.cost import MemoryEnergy
from logaccel.costed import PostResult
from logaccel.memory.accounting import Flow, Traffic
from logaccel.report.content import BETWEEN, SHORT_NAME
from logaccel.report.table import Column, Grid, printable
from logaccel.result import SimulationResult
from logaccel.units import NOTHING, Scale, bits_scale, energy_scale, format_cycles

LEVELS = ("ifmap", "filter", "psum", "ofmap")  # of the scratchpads; psum and ofmap share one


def memory_grids(result: SimulationResult) -> list[Grid]:
    """Return bits by level and layer, then energy by level and layer."""
    traffic = result.traffic
    if traffic is None:
        return []
    rows = [layer.traffic for layer in result.layers if layer.traffic is not None]
    rows += [_sum([work.traffic for work in result.post_work])] if result.post_work else []
    return [_traffic_grid(result, [*rows, traffic]), *_energy_grid(result)]


def _sum(rows: list[Traffic]) -> Traffic:
    return sum(rows[1:], rows[0])


def between_grids(result: SimulationResult) -> list[Grid]:
    """Return the work between the layers, a row a node; nothing where there is none."""
    works = result.post_work
    if not works:
        return []
    energy = energy_scale(work.energy_pj for work in works)
    bits = bits_scale(flow for work in works for flow in (*_ways(_pads(work)), work.traffic.dram.bits))
    names = result.layers
    columns = [
        Column("work", tuple(work.kind for work in works), left=True),
        Column("after", tuple(printable(names[work.layers_before - 1].name, SHORT_NAME) if work.layers_before
                              else "input" for work in works), left=True),
        Column("cycles", tuple(format_cycles(work.total_cycles) for work in works)),
    ]  # fmt: skip
    if result.arch.memory is not None:
        columns.append(Column("of them\nstalled", tuple(format_cycles(work.stall_cycles) for work in works)))
    columns += [
        Column(f"read\n{bits.unit}", tuple(bits.text(_pads(work).read_bits) for work in works)),
        Column(f"written\n{bits.unit}", tuple(bits.text(_pads(work).write_bits) for work in works)),
    ]
    if result.arch.memory is not None:
        columns.append(Column(f"DRAM\n{bits.unit}", tuple(bits.text(work.traffic.dram.bits) for work in works)))
        if any(work.maps_on_chip for work in works):
            stay = (", ".join(printable(name, SHORT_NAME) for name in work.maps_on_chip) or NOTHING for work in works)
            columns.append(Column("maps that\nstay on chip", tuple(stay), left=True))
    columns.append(Column(f"array\nenergy\n{energy.unit}", tuple(energy.text(work.energy_pj) for work in works)))
    key = Column("node", tuple(printable(work.name, SHORT_NAME) for work in works), left=True)
    return [Grid("Between layers, by the post-processing lanes", key, tuple(columns))]


def _pads(work: PostResult) -> Flow:
    """Return what went into and out of the scratchpads: that of ofmaps, and that of maps that stay on chip."""
    return work.traffic.ofmap + work.traffic.handed


def _traffic_grid(result: SimulationResult, rows: list[Traffic]) -> Grid:
    """Return what crossed the channel by operand, and what went into and out of each scratchpad."""
    dram = bits_scale(flow.bits for row in rows for flow in (row.dram_ifmap, row.dram_filter, row.dram_ofmap, row.dram))
    pads = bits_scale(bits for row in rows for name in LEVELS for bits in _ways(getattr(row, name)))
    intensity = [layer.macs_per_dram_byte for layer in result.layers] + [None] * bool(result.post_work)
    total = 8 * result.macs / rows[-1].dram.bits if rows[-1].dram.bits else None
    columns = [
        _bits(f"DRAM\n{name}", dram, [getattr(row, f"dram_{name}").bits for row in rows], "dram")
        for name in ("ifmap", "filter", "ofmap")
    ]
    columns += [Column("MACs per\nDRAM byte", tuple(_intensity(value) for value in (*intensity, total)), "dram")]
    reuse = tuple(_intensity(row.ifmap_reuse) for row in rows)
    columns += [Column("reads per\nifmap word", reuse, "dram")]
    handed = [row.handed.write_bits for row in rows]
    if any(handed):
        columns.append(_bits("handed\nover", pads, handed))
    for name in LEVELS:
        for way, label in (("write", "in"), ("read", "out")):
            columns.append(
                _bits(f"{name}\n{label}", pads, [getattr(getattr(row, name), f"{way}_bits") for row in rows])
            )
    return Grid("Bits by memory (scratchpads: in, out)", _key(result), tuple(columns), has_total=True)


def _energy_grid(result: SimulationResult) -> list[Grid]:
    """Return energy by component; nothing where the profile has no prices of memory."""
    parts, total = [layer.energy.memory for layer in result.layers], result.energy_of_memory_pj
    array = [layer.energy.array_pj for layer in result.layers]
    if result.post_work:
        parts.append(_added([work.energy_of_memory for work in result.post_work]))
        array.append(sum(work.energy_pj for work in result.post_work))
    array.append(result.energy_array_pj)
    known = [part for part in parts if part is not None]
    if total is None or len(known) < len(parts):
        return []
    columns = {"array": array}
    for name in ("ifmap", "filter", "ofmap"):
        values = [part.scratchpad_pj[name] for part in known]
        columns[f"{name}\nscratchpad"] = [*values, sum(values)]
    columns["DRAM"] = [*(part.pj["dram"] for part in known), total["dram"]]
    if total["leakage"]:  # else the prices have none
        columns["leakage"] = [*(part.leakage_pj for part in known), total["leakage"]]
    columns["system"] = [sum(values) for values in zip(*columns.values(), strict=True)]
    scale = energy_scale(value for values in columns.values() for value in values)
    shown = tuple(
        Column(f"{name}\n{scale.unit}", tuple(scale.text(value) for value in values))
        for name, values in columns.items()
    )
    return [Grid("Energy by memory", _key(result), shown, has_total=True)]


def _added(parts: list[MemoryEnergy | None]) -> MemoryEnergy | None:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return MemoryEnergy(
        {name: sum(part.scratchpad_pj[name] for part in known) for name in known[0].scratchpad_pj},
        {name: sum(part.dram_pj[name] for part in known) for name in known[0].dram_pj},
        sum(part.leakage_pj for part in known),
    )


def _key(result: SimulationResult) -> Column:
    names = [printable(layer.name, SHORT_NAME) for layer in result.layers]
    names += [BETWEEN] if result.post_work else []
    return Column("layer", (*names, "total"), left=True)


def _bits(header: str, scale: Scale, values: list[int], group: str = "scratchpads") -> Column:
    return Column(f"{header}\n{scale.unit}", tuple(scale.text(value) for value in values), group)


def _ways(flow: Flow) -> tuple[int, int]:
    return flow.read_bits, flow.write_bits


def _intensity(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.1f}"
