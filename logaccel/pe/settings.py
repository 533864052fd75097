"""Settings that several PE kinds share."""

from typing import Annotated, Literal

from pydantic import Field

from logaccel.formats.thresholds import root_constants
from logaccel.section import Section


class PESettings(Section):
    """What every PE kind has."""

    acc_bits: Annotated[
        int, Field(ge=2, le=62, description="accumulator width; of each bin, of each rail (without its flag)")
    ]
    zero_gating: Annotated[
        bool, Field(description="hold the inputs of product and adder while an operand is zero (saves energy)")
    ] = False


class LinearAccumulation(PESettings):
    """A PE that accumulates linear integers."""

    overflow: Annotated[Literal["saturate", "wrap"], Field(description="what a full accumulator does")] = "saturate"
    drop_bits: Annotated[int, Field(ge=0, le=32, description="low bits of each product that are not kept")] = 0


class FractionalExponents(LinearAccumulation):
    """A PE whose log operand may have several steps per octave."""

    root: Annotated[
        Literal["bins", "constant"],
        Field(description="for B > 1: one accumulator per fractional exponent, or a constant per product"),
    ] = "bins"
    constant_bits: Annotated[int, Field(ge=1, le=24, description="fraction bits of the constants 2^(j/B)")] = 8

    def lanes(self, steps: int) -> int:
        """Return how many accumulators the PE has."""
        return steps if self.root == "bins" else 1

    def constants(self, steps: int) -> tuple[int, ...]:
        """Return K_j; base 2 needs none."""
        return root_constants(steps, self.constant_bits) if steps > 1 else (1,)

    def scale_exponent(self, steps: int) -> int:
        """Return the exponent that constants and dropped bits add to the LSB."""
        return self.drop_bits - (self.constant_bits if steps > 1 else 0)
