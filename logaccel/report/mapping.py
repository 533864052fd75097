"""How a network is mapped, as text and as plain values: loop nests, what lives where, what else there was."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from logaccel import __version__
from logaccel.memory.explain import OTHERS, Contents, Loop, Room, differences, loop_nest, relative_cost, rooms
from logaccel.memory.mapper import MappedLayer, as_mapped
from logaccel.report.table import printable
from logaccel.units import format_cycles, format_energy_pj

if TYPE_CHECKING:  # reports read results; they need no pipeline
    from logaccel.mapping import LayerChoice, NetworkMapping

OPERANDS = ("ifmap", "filter", "write")
NAMES = {
    "compute_cycles": "compute cycles", "stall_cycles": "stalled cycles", "dram_ifmap_bits": "of ifmap from DRAM",
    "dram_filter_bits": "of filters from DRAM", "dram_write_bits": "of ofmap to DRAM", "energy_pj": "energy",
}  # fmt: skip
INDENT = 2


def mapping_text(mapping: "NetworkMapping") -> str:
    """Return every layer's loop nest."""
    memory = mapping.arch.memory
    assert memory is not None
    pads = ", ".join(f"{name} {_bytes(8 * size)}" for name, size in memory.capacity_bytes.items())
    heading = (
        f"{printable(mapping.network)} on {printable(mapping.arch.name)}: batch {mapping.batch}, "
        f"{mapping.arch.array.rows}×{mapping.arch.array.cols} PEs, scratchpads {pads}; least {memory.objective}"
    )
    kept = [
        f"  {printable(own.name)}: {_bytes(own.bits)}, for {', '.join(map(printable, own.readers))}"
        for own in mapping.maps_on_chip
    ]
    stays = ["\n".join(["maps that stay on chip:", *kept])] if kept else []
    return "\n\n".join([heading, *(_layer_text(choice) for choice in mapping.layers), *stays])


def mapping_dict(mapping: "NetworkMapping") -> dict[str, Any]:
    """Return plain values, units in the keys."""
    assert mapping.arch.memory is not None
    return {
        "logaccel_version": __version__,
        "network": mapping.network,
        "arch": mapping.arch.name,
        "batch": mapping.batch,
        "objective": mapping.arch.memory.objective,
        "layers": [_layer_dict(choice) for choice in mapping.layers],
        "maps_on_chip": [own.to_dict() for own in mapping.maps_on_chip],
        "cost_profile": mapping.arch.cost_profile,
        "architecture": mapping.arch.model_dump(),
    }


def _layer_text(choice: "LayerChoice") -> str:
    planned, memory = choice.planned, choice.planned.arch.memory
    tiled, mapped = planned.tiled, planned.mapped
    assert tiled is not None and mapped is not None and memory is not None
    matrix = planned.layer.matrix(planned.batch)
    pixels = "1 pixel" if matrix.pixels == 1 else f"{matrix.pixels:,} pixels"
    groups = f" in {matrix.groups} groups of" if matrix.groups > 1 else ""
    lines = [
        f"{printable(planned.layer.name)}:{groups} {pixels} × {matrix.channels:,} ofmap channels × "
        f"K {matrix.reduction:,}, {planned.arch.one_dataflow.upper()}",
        *_nest_text(loop_nest(tiled, mapped.mapping)),
    ]
    for name, room in rooms(tiled, mapped.mapping, as_mapped(tiled, memory)).items():
        if not room.contents:
            lines.append(f"  {name:6} nothing: finished words go into the ifmap scratchpad")
            continue
        held = " + ".join(map(_contents_text, room.contents))
        need, share = _bytes(8 * room.need_bytes), room.need_bytes / room.capacity_bytes
        lines.append(f"  {name:6} {held}: {need}, {_share(share)} of the scratchpad")
    moved = ", ".join(
        f"{'ofmap' if name == 'write' else name} {_bytes(getattr(mapped, f'dram_{name}_bits'))}" for name in OPERANDS
    )
    whole = choice.whole(mapped)
    lines += [f"  DRAM   {moved}", f"  cycles {_cycles_text(whole)}"]
    if whole.energy_pj is not None:
        lines.append(f"  energy {format_energy_pj(whole.energy_pj)} of array, scratchpads, DRAM and leakage")
    lines.append(f"  {_runner_up_text(choice)}")
    for dataflow, other in choice.other_dataflows.items():
        said = f"cannot: {other}" if isinstance(other, str) else _lost_text(mapped, other, choice)
        lines.append(f"  {dataflow.upper()} instead: {said}")
    return "\n".join(lines)


def _nest_text(nest: tuple[Loop, ...]) -> list[str]:
    """Return the loops, each further in; a rule where a level ends."""
    lines, depth, level = [], 1, "DRAM"
    for loop in nest:
        while loop.level != level:
            level, boundary = {
                "DRAM": ("scratchpads", "DRAM │ scratchpads"),
                "scratchpads": ("array", "scratchpads │ array"),
            }[level]
            lines.append(f"{' ' * INDENT * depth}──── {boundary} ────")
        ragged = f", the last {loop.ragged:,}" if loop.ragged is not None else ""
        keeps = f"   {loop.keeps}" if loop.keeps else ""
        if loop.level == "array":
            what = f"stream {loop.size:,} {loop.over}"
        else:
            what = f"for {loop.blocks:,} × {loop.size:,} {loop.over}{ragged}"
        lines.append(f"{' ' * INDENT * depth}{what}{keeps}")
        depth += 1
    return lines


def _runner_up_text(choice: "LayerChoice") -> str:
    mapped, other = choice.planned.mapped, choice.runner_up
    assert mapped is not None
    if other is None:
        return "no other mapping is left to choose from"
    return f"runner-up: {other.mapping}: {_lost_text(mapped, other, choice)}"


def _lost_text(best: MappedLayer, other: MappedLayer, choice: "LayerChoice") -> str:
    memory = choice.planned.arch.memory
    assert memory is not None
    more = relative_cost(best, other, memory.objective)
    parts = [
        _difference_text(key, value)
        for key, value in differences(choice.whole(best), choice.whole(other)).items()
        if value
    ]
    if not parts:
        return "costs the same; the first of the space wins"
    if more == 0:
        return f"the same {memory.objective}, but {', '.join(parts)}"
    size = f"{more:.1%}" if more >= 0.01 else f"{100 * more:.2g}%"
    return f"{size} more {memory.objective}: {', '.join(parts)}"


def _difference_text(key: str, value: float) -> str:
    sign = "+" if value > 0 else "−"
    size = abs(value)
    text = (
        _bytes(int(size)) if key.endswith("bits") else format_energy_pj(size) if key == "energy_pj" else f"{size:,.0f}"
    )
    return f"{sign}{text} {NAMES[key]}"


def _cycles_text(mapped: MappedLayer) -> str:
    share = mapped.stall_cycles / mapped.total_cycles
    return (
        f"{format_cycles(mapped.total_cycles)}: {format_cycles(mapped.compute_cycles)} compute + "
        f"{format_cycles(mapped.stall_cycles)} stalled ({share:.1%}{_reasons(mapped)}), {mapped.tiles:,} tiles"
    )


def _reasons(mapped: MappedLayer) -> str:
    """Return what the array waits for, in cycles."""
    waits = {"reads": mapped.stalls.dram, "write-backs": mapped.stalls.drain, "ports": mapped.stalls.port,
             "banks": mapped.stalls.bank}  # fmt: skip
    found = [f"{format_cycles(cycles)} for {what}" for what, cycles in waits.items() if cycles]
    return f": {', '.join(found)}" if found else ""


def _contents_text(contents: Contents) -> str:
    if contents.what == OTHERS:
        return f"{OTHERS}: {_bytes(*contents.words)}"
    what = f"{contents.copies} {contents.what} of" if contents.copies > 1 else f"{contents.what}:"
    return f"{what} {'×'.join(map(str, contents.words))} words of {contents.word_bits} bits"


def _share(share: float) -> str:
    return "under 1%" if share < 0.01 else f"{share:.0%}"


def _bytes(bits: int) -> str:
    """Return bits as bytes, prefixes in powers of 1024."""
    size = bits / 8
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if size >= 100 or size == int(size) else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _layer_dict(choice: "LayerChoice") -> dict[str, Any]:
    planned, memory = choice.planned, choice.planned.arch.memory
    tiled, mapped = planned.tiled, planned.mapped
    assert tiled is not None and mapped is not None and memory is not None

    def other_dict(other: MappedLayer) -> dict[str, Any]:
        cost = {"cost": other.cost(memory.objective)[0], "more": relative_cost(mapped, other, memory.objective)}
        whole = choice.whole(other)
        return whole.to_dict() | cost | {"differences": differences(choice.whole(mapped), whole)}

    return {
        "name": planned.layer.name,
        "dataflow": planned.arch.one_dataflow,
        **choice.whole(mapped).to_dict(),
        "cost": mapped.cost(memory.objective)[0],
        "loops": [asdict(loop) for loop in loop_nest(tiled, mapped.mapping)],
        "ifmap_on_chip": tiled.ifmap_on_chip,
        "ofmap_on_chip": tiled.ofmap_on_chip,
        "waiting_bits": tiled.waiting_bits,
        "scratchpads": {
            name: _room_dict(room) for name, room in rooms(tiled, mapped.mapping, as_mapped(tiled, memory)).items()
        },
        "runner_up": None if choice.runner_up is None else other_dict(choice.runner_up),
        "other_dataflows": {
            name: {"fault": other} if isinstance(other, str) else other_dict(other)
            for name, other in choice.other_dataflows.items()
        },
    }


def _room_dict(room: Room) -> dict[str, Any]:
    return asdict(room) | {"contents": [asdict(held) | {"words": list(held.words)} for held in room.contents]}
