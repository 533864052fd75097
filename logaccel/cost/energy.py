"""Energy of a layer: what its circuits and registers did, times what each action costs."""

from dataclasses import dataclass

from logaccel.arch import Architecture
from logaccel.cost.lane import lane_parts
from logaccel.cost.memory import MemoryEnergy
from logaccel.cost.profile import CostProfile, Provenance
from logaccel.formats import LinearWord, LogWord
from logaccel.pe import Datapath
from logaccel.pe.parts import Circuit, Role, accumulation_bits, register_parts, stage_bits
from logaccel.schedule.activity import Activity
from logaccel.workload import MatrixShape

ASSUMED_LIVE_SHARE = 0.5  # of all products, where no values were simulated: about half of all ReLU outputs are 0
ALU_COMPONENTS = ("product", "accumulate")
COMPONENTS = (
    *ALU_COMPONENTS, "operand_registers", "pipeline_registers", "psum_registers", "drain", "post_processing"
)  # fmt: skip


@dataclass(frozen=True)
class Energy:
    """Dynamic energy of the array by component, pJ, and apart from it that of its memory, where there is one.

    `drain` is every raw psum that moved without being accumulated: drain, shadow copy, rows passed.
    `live_share` is the share of MACs that product and accumulate energy was paid for; `live_share_assumed`
    says that no values were simulated and zero gating made it a guess (ASSUMED_LIVE_SHARE).
    """

    pj: dict[str, float]
    live_share: float
    live_share_assumed: bool
    provenance: Provenance
    memory: MemoryEnergy | None = None  # None: no memory, or no prices for it

    @property
    def alu_pj(self) -> float:
        """Products and accumulations alone."""
        return sum(self.pj[component] for component in ALU_COMPONENTS)

    @property
    def array_pj(self) -> float:
        """ALUs, registers, drain and post-processing. No leakage, clock tree, wires, scratchpads or DRAM."""
        return sum(self.pj.values())

    @property
    def system_pj(self) -> float | None:
        """Array, scratchpads, DRAM and leakage; None without a memory."""
        return None if self.memory is None else self.array_pj + sum(self.memory.pj.values())


def layer_energy(
    profile: CostProfile,
    datapath: Datapath,
    layer_arch: Architecture,
    activity: Activity,
    output: LinearWord | LogWord,
    matrix: MatrixShape,
) -> Energy:
    """Price what one layer did.

    Circuits count at the widths of the layer's own words: bits that a mode leaves unused do not toggle.
    With zero gating, product and accumulation are paid for live products only, but registers always.
    output: the word of the ofmap, which each of the matrix's psums is encoded into, once.
    """
    share, assumed = _live_share(datapath, activity)
    array, dataflow = layer_arch.array, layer_arch.one_dataflow
    circuits = layer_arch.pe.parts(datapath)
    registers = register_parts(datapath, dataflow, array.pipeline_stages, array.overlap)
    lane = lane_parts(datapath, output, layer_arch.post)

    pj = dict.fromkeys(COMPONENTS, 0.0)
    for part in circuits:
        uses = activity.macs * share if part.gated else activity.macs
        pj[part.role] += uses * profile.part_energy_pj(part)
    pj |= _register_energy(profile, datapath, dataflow == "os", activity)
    if dataflow == "os":
        pj["drain"] += activity.psum_moves * profile.energy_pj(Circuit.MUX, datapath.psum_bits)
    words = matrix.groups * matrix.pixels * matrix.channels
    pj[Role.POST_PROCESSING] = words * sum(profile.part_energy_pj(part) for part in lane)
    return Energy(pj, share, assumed, profile.provenance((*circuits, *registers, *lane)))


def _live_share(path: Datapath, activity: Activity) -> tuple[float, bool]:
    """Return the share of MACs whose product and addition are paid for, and whether it was assumed."""
    if not path.zero_gating:
        return 1.0, False
    if activity.live_products is None:
        return ASSUMED_LIVE_SHARE, True
    return activity.live_products / activity.macs, False


def _register_energy(profile: CostProfile, path: Datapath, psum_stays: bool, activity: Activity) -> dict[str, float]:
    """Return the energy of every register write; a register that holds costs nothing here."""

    def writes(count: int, bits: int) -> float:
        return count * profile.energy_pj(Circuit.REGISTER, bits)

    operands = writes(activity.activation_writes, path.activation.bits)
    operands += writes(activity.weight_writes, path.weight.bits)
    return {
        "operand_registers": operands,
        "pipeline_registers": writes(activity.stage_writes, stage_bits(path)),
        "psum_registers": writes(activity.macs, accumulation_bits(path, psum_stays)),
        "drain": writes(activity.psum_moves, path.psum_bits),
    }
