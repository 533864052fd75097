"""Method 1 of the paper (§3.1): a barrel shifter moves a linear word by a log code.

product = ((±word) · K_j) << i, the word negated first where the log operand is negative; a zero code
gives 0. Either operand may be the log. For B > 1 the fraction j picks a bin (no K_j then) or a constant.
"""

from typing import Literal

from logaccel.formats import Format, LinearFormat, LogFormat
from logaccel.pe.datapath import Datapath, Product, log_offset
from logaccel.pe.parts import Circuit, Part, Role, accumulator_parts, constant_adders, gating_parts
from logaccel.pe.settings import FractionalExponents


class ShiftPE(FractionalExponents):
    """Shifts the linear operand by the log operand."""

    kind: Literal["shift"] = "shift"

    def operand_rule(self, activation_kind: str, weight_kind: str) -> str | None:
        """Return what is wrong with a pair of operand kinds, or None."""
        if {activation_kind, weight_kind} == {"linear", "log"}:
            return None
        return "a shift PE takes one log operand and one linear operand"

    def datapath(self, activation: Format, weight: Format) -> Datapath:
        """Derive widths and scales for one layer's formats."""
        if isinstance(activation, LogFormat):
            product, log, linear = Product.SHIFT_BY_ACTIVATION, activation, weight
        else:
            assert isinstance(weight, LogFormat)
            product, log, linear = Product.SHIFT_BY_WEIGHT, weight, activation
        assert isinstance(linear, LinearFormat)
        steps = log.steps_per_octave
        by_activation = product is Product.SHIFT_BY_ACTIVATION
        return Datapath(
            product=product,
            activation=activation,
            weight=weight,
            acc_bits=self.acc_bits,
            saturate=self.overflow == "saturate",
            drop_bits=self.drop_bits,
            lanes=self.lanes(steps),
            steps=steps,
            activation_scale=int(by_activation),
            weight_scale=int(not by_activation),
            step_offset=log_offset(steps, log.exponent_steps(1), 1),
            constants=self.constants(steps),
            fraction_bits=0,
            lsb_exponent=linear.lsb_exponent + log.exponent_steps(1) // steps + self.scale_exponent(steps),
            zero_gating=self.zero_gating,
        )

    def parts(self, path: Datapath) -> tuple[Part, ...]:
        """Return the arithmetic circuits: mask and negate the word, perhaps times K_j, shift, add.

        −word is its complement, shifted with ones coming in, and a carry into the accumulator's adder; a
        zero code masks the word. With K_j per product, base √2 takes one shift-and-add network and chooses
        word or word · K_1; finer bases take a small multiplier and a table of B constants.
        """
        by_activation = path.product is Product.SHIFT_BY_ACTIVATION
        word = (path.weight if by_activation else path.activation).bits
        parts = [
            *gating_parts(path),
            Part("word mask", Circuit.GATE, (word,), Role.PRODUCT),
            Part("word negate", Circuit.GATE, (word,), Role.PRODUCT),
        ]
        if path.steps > 1 and not path.binned:
            constant_bits = path.constants[0].bit_length()
            if path.steps == 2:
                adders = constant_adders(path.constants[1])
                bits = word + constant_bits
                parts.append(Part("root adders", Circuit.ADDER, (bits,), Role.PRODUCT, adders))
                parts.append(Part("root choice", Circuit.MUX, (bits, 2), Role.PRODUCT))
            else:
                parts.append(Part("root multiplier", Circuit.MULTIPLIER, (word, constant_bits), Role.PRODUCT))
                parts.append(Part("root table", Circuit.MUX, (constant_bits, path.steps), Role.PRODUCT))
            word += constant_bits
        if path.largest_shift:
            parts.append(Part("shifter", Circuit.SHIFTER, (word, path.largest_shift), Role.PRODUCT))
        return (*parts, *accumulator_parts(path))
