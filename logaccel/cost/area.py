"""Area of an array: the parts of every PE and lane, at the widest that any layer asks for."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from logaccel.arch import Architecture, Dataflow, PEArray, PostProcessing
from logaccel.cost.lane import lane_parts
from logaccel.cost.profile import CostProfile, Provenance
from logaccel.formats import LinearWord, LogWord
from logaccel.pe import PE, Datapath
from logaccel.pe.parts import Part, Role, merged, register_parts

ALU_ROLES = (Role.PRODUCT, Role.ACCUMULATE)


@dataclass(frozen=True)
class Area:
    """Area of a whole array by component, µm²: cells only, no wires or utilization of the floor plan."""

    um2: dict[str, float]
    provenance: Provenance
    scratchpad_um2: dict[str, float] | None = None  # None: no memory, or no prices for it

    @property
    def alu_um2(self) -> float:
        """What multiplies (or shifts, or decodes) and accumulates, in all PEs."""
        return sum(self.um2[role] for role in ALU_ROLES)

    @property
    def array_um2(self) -> float:
        """All PEs with their registers, and the post-processing lanes."""
        return sum(self.um2.values())

    @property
    def system_um2(self) -> float | None:
        """Array and scratchpads; None where the area of the scratchpads is not known."""
        return None if self.scratchpad_um2 is None else self.array_um2 + sum(self.scratchpad_um2.values())


def array_area(profile: CostProfile, arch: Architecture, layer_archs: Iterable[Architecture] = ()) -> Area:
    """Return the area of an array that can run every layer.

    layer_archs: the architecture as each layer of a workload sees it (`Architecture.for_layer`), in order;
    without them, the architecture itself and each entry of its `layers` stand for the workload. A PE holds
    the wider of both signednesses; circuits of the same name are shared by all layers, at the widest of
    each width, and all others are built side by side. A lane encodes into each layer's activation word but
    the first one's, and into the output word.
    """
    views = tuple(layer_archs) or _views_of(arch)
    pe = board_parts(arch, views)
    lane = _lane_board(arch, views)
    um2 = {str(role): 0.0 for role in Role}
    for part in pe:
        um2[part.role] += arch.array.rows * arch.array.cols * profile.part_area_um2(part)
    for part in lane:
        um2[part.role] += arch.array.cols * profile.part_area_um2(part)
    return Area(um2, profile.provenance((*pe, *lane)))


def array_leakage_mw(
    profile: CostProfile, arch: Architecture, layer_archs: Iterable[Architecture] = ()
) -> float | None:
    """Return what the array of `array_area` leaks; None where the profile does not know it of every part."""
    views = tuple(layer_archs) or _views_of(arch)
    rows, cols = arch.array.rows, arch.array.cols
    leaks = [(rows * cols, profile.part_leakage_mw(part)) for part in board_parts(arch, views)]
    leaks += [(cols, profile.part_leakage_mw(part)) for part in _lane_board(arch, views)]
    known = [copies * leak for copies, leak in leaks if leak is not None]
    return sum(known) if len(known) == len(leaks) else None


def board_parts(arch: Architecture, views: Iterable[Architecture] = ()) -> tuple[Part, ...]:
    """Return the parts of one PE that can run the architecture and each of its views."""
    asked = {
        (view.pe, view.activation, view.weight, dataflow): None
        for view in (arch, *views)
        for dataflow in view.dataflows
    }
    return merged(_pe_parts(*words, arch.array, dataflow) for *words, dataflow in asked)


def _lane_board(arch: Architecture, views: tuple[Architecture, ...]) -> tuple[Part, ...]:
    outputs = {word: None for view in (arch, *views) for word in (view.output,)}
    outputs |= {view.activation: None for view in (arch, *views[1:])}
    asked = {(view.pe, view.activation, view.weight): None for view in (arch, *views)}
    return merged(_lane_parts(*words, output, arch.post) for words in asked for output in outputs)


@lru_cache(maxsize=1024)
def _pe_parts(
    pe: PE, activation: LinearWord | LogWord, weight: LinearWord | LogWord, array: PEArray, dataflow: Dataflow
) -> tuple[Part, ...]:
    return merged(
        (*pe.parts(path), *register_parts(path, dataflow, array.pipeline_stages, array.overlap))
        for path in _datapaths(pe, activation, weight)
    )


@lru_cache(maxsize=1024)
def _lane_parts(
    pe: PE,
    activation: LinearWord | LogWord,
    weight: LinearWord | LogWord,
    output: LinearWord | LogWord,
    post: PostProcessing,
) -> tuple[Part, ...]:
    return merged(lane_parts(path, output, post) for path in _datapaths(pe, activation, weight))


def _datapaths(pe: PE, activation: LinearWord | LogWord, weight: LinearWord | LogWord) -> list[Datapath]:
    """Return the datapaths of unsigned and signed activations: both are modes of one PE."""
    modes = [False] if activation.bits < 2 else [False, True]
    return [pe.datapath(activation.at(0, signed), weight.at(0, True)) for signed in modes]


def _views_of(arch: Architecture) -> tuple[Architecture, ...]:
    """Return the first layer's view, a plain layer's, each named layer's, the last layer's."""
    first, last = arch.for_layer("", 0, 3), arch.for_layer("", 2, 3)
    named = [arch.for_layer(name, 1, 3) for name in arch.layers if name not in ("first", "last")]
    return (first, arch.for_layer("", 1, 3), *named, last)
