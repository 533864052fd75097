"""What moving a bit costs at each level: plain numbers, filled from a price table by logaccel.cost.memory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ScratchpadPrice:
    """Energy of a bit that goes into or out of one scratchpad, pJ."""

    read_pj_per_bit: float
    write_pj_per_bit: float


@dataclass(frozen=True)
class MemoryPrices:
    """Energy of a bit at every level, and what leaks in every cycle whether anything moves or not."""

    ifmap: ScratchpadPrice
    filter: ScratchpadPrice
    ofmap: ScratchpadPrice
    dram_pj_per_bit: float
    leakage_pj_per_cycle: float  # scratchpads and array; 0 where the price table has none


@dataclass(frozen=True)
class LayerPrices:
    """What one layer pays in one dataflow, as far as the mapper can change it; pJ.

    fixed_pj is what the array spends on the layer however it is tiled.
    """

    memory: MemoryPrices
    fixed_pj: float
    load_pj: float  # a word written into a register of the stationary operand's chain (WS, IS)
    psum_move_pj: float  # a raw psum that moves without being accumulated
