"""Method 2 of the paper (§3.2): exponents add, and the sum decodes to a one-hot word that is accumulated.

magnitude = K_j << i, added or subtracted by the product of the signs. Base-2 operands meet base-√2 ones
at the finer of the two steps.
"""

from typing import Literal

from logaccel.formats import Format, LogFormat
from logaccel.pe.datapath import Datapath, Product, log_offset
from logaccel.pe.parts import Circuit, Part, Role, accumulator_parts, exponent_adder, gating_parts
from logaccel.pe.settings import FractionalExponents


class DecodePE(FractionalExponents):
    """Adds the codes of two log operands and decodes the sum."""

    kind: Literal["decode"] = "decode"

    def operand_rule(self, activation_kind: str, weight_kind: str) -> str | None:
        """Return what is wrong with a pair of operand kinds, or None."""
        if (activation_kind, weight_kind) == ("log", "log"):
            return None
        return "a decode PE takes log activations and log weights"

    def datapath(self, activation: Format, weight: Format) -> Datapath:
        """Derive widths and scales for one layer's formats."""
        assert isinstance(activation, LogFormat) and isinstance(weight, LogFormat)
        steps, activation_scale, weight_scale, smallest = summed_exponents(activation, weight)
        return Datapath(
            product=Product.DECODE,
            activation=activation,
            weight=weight,
            acc_bits=self.acc_bits,
            saturate=self.overflow == "saturate",
            drop_bits=self.drop_bits,
            lanes=self.lanes(steps),
            steps=steps,
            activation_scale=activation_scale,
            weight_scale=weight_scale,
            step_offset=log_offset(steps, smallest, activation_scale + weight_scale),
            constants=self.constants(steps),
            fraction_bits=0,
            lsb_exponent=smallest // steps + self.scale_exponent(steps),
            zero_gating=self.zero_gating,
        )

    def parts(self, path: Datapath) -> tuple[Part, ...]:
        """Return the arithmetic circuits: exponent adder, one-hot decoder, complement by sign, adder.

        A constant 1 is decoded, not shifted. With K_j per product the constant comes from a table of B and a
        barrel shifter moves it.
        """
        parts = [*gating_parts(path), *exponent_adder(path)]
        if path.steps > 1 and not path.binned:
            constant_bits = max(path.constants).bit_length()
            parts.append(Part("root table", Circuit.MUX, (constant_bits, path.steps), Role.PRODUCT))
            parts.append(Part("shifter", Circuit.SHIFTER, (constant_bits, path.largest_shift), Role.PRODUCT))
        else:
            lines = max(1, path.largest_shift + 1 - path.drop_bits)
            parts.append(Part("decoder", Circuit.DECODER, (lines,), Role.PRODUCT))
        parts.append(Part("product negate", Circuit.GATE, (path.acc_bits,), Role.ACCUMULATE))
        return (*parts, *accumulator_parts(path))


def summed_exponents(activation: LogFormat, weight: LogFormat) -> tuple[int, int, int, int]:
    """Return B of the sum, the steps per code of each operand, and E of the two smallest codes."""
    steps = max(activation.steps_per_octave, weight.steps_per_octave)
    activation_scale = steps // activation.steps_per_octave
    weight_scale = steps // weight.steps_per_octave
    smallest = activation.exponent_steps(1) * activation_scale + weight.exponent_steps(1) * weight_scale
    return steps, activation_scale, weight_scale, smallest
