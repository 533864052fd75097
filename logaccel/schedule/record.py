"""What the registers and circuits of the array did during one layer: the record of counts."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Activity:
    """Events of one layer, summed over all folds. A register write is a word loaded with its valid bit set.

    `live_products` (both operands non-zero) depends on the data: None where values were not simulated.
    """

    macs: int  # products and accumulations, padding zeros included
    live_products: int | None
    activation_writes: int  # operand registers, chain of shadow registers included
    weight_writes: int
    stage_writes: int  # the D pipeline registers between operands and accumulator
    psum_moves: int  # raw psums written to a PE's register without an accumulation: drain, shadow, pass-through
    ifmap_reads: int  # words that entered at an edge of the array
    filter_reads: int
    psum_reads: int  # raw psums that re-entered at the top
    psum_writes: int  # raw psums that left at the bottom
