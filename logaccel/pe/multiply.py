"""The baseline: an integer multiplier (paper, Fig. 1a). product = q_a · q_w."""

from typing import Literal

from logaccel.formats import Format, LinearFormat
from logaccel.pe.datapath import Datapath, Product
from logaccel.pe.parts import Circuit, Part, Role, accumulator_parts, gating_parts
from logaccel.pe.settings import LinearAccumulation


class MultiplyPE(LinearAccumulation):
    """Multiplies two linear words; the product's LSB is the product of the two LSBs."""

    kind: Literal["multiply"] = "multiply"

    def operand_rule(self, activation_kind: str, weight_kind: str) -> str | None:
        """Return what is wrong with a pair of operand kinds, or None."""
        if (activation_kind, weight_kind) == ("linear", "linear"):
            return None
        return "a multiply PE takes linear activations and linear weights"

    def datapath(self, activation: Format, weight: Format) -> Datapath:
        """Derive widths and scales for one layer's formats."""
        assert isinstance(activation, LinearFormat) and isinstance(weight, LinearFormat)
        return Datapath(
            product=Product.MULTIPLY,
            activation=activation,
            weight=weight,
            acc_bits=self.acc_bits,
            saturate=self.overflow == "saturate",
            drop_bits=self.drop_bits,
            lanes=1,
            steps=1,
            activation_scale=0,
            weight_scale=0,
            step_offset=0,
            constants=(1,),
            fraction_bits=0,
            lsb_exponent=activation.lsb_exponent + weight.lsb_exponent + self.drop_bits,
            zero_gating=self.zero_gating,
        )

    def parts(self, path: Datapath) -> tuple[Part, ...]:
        """Return the arithmetic circuits: an array multiplier (signedness is a mode of it) and an adder."""
        widths = (path.activation.bits, path.weight.bits)
        multiplier = Part("multiplier", Circuit.MULTIPLIER, widths, Role.PRODUCT)
        return (*gating_parts(path), multiplier, *accumulator_parts(path))
