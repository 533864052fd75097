"""Widths of the words that the memory system moves."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WordWidths:
    """Bits of a word of each tensor; psum_bits is the word that waits in the ofmap scratchpad."""

    ifmap_bits: int
    filter_bits: int
    psum_bits: int
    ofmap_bits: int
