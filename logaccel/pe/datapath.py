"""What one PE does to one layer's operands, as integers: the record both engines, the RTL and the cost read."""

from dataclasses import dataclass
from enum import IntEnum

from logaccel.formats import Format, LinearFormat, LogFormat

WORD_LIMIT_BITS = 62


class Product(IntEnum):
    """How a product is formed. The kernels branch on these numbers."""

    MULTIPLY = 0
    SHIFT_BY_ACTIVATION = 1  # the activation is the log operand
    SHIFT_BY_WEIGHT = 2
    DECODE = 3
    LOGSUM = 4


@dataclass(frozen=True)
class Datapath:
    """Widths, scales and constants of a PE for one pair of formats.

    Log operands enter as *steps*: u = Σ scale · magnitude code + step_offset (both operands where both
    are logs), so that i = u >> log2(steps) is the shift and j = u mod steps the fractional exponent.
    Neither depends on a full-scale range; `lsb_exponent` alone does.
    """

    product: Product
    activation: Format
    weight: Format
    acc_bits: int
    saturate: bool  # otherwise wrap; meaningless for logsum
    drop_bits: int
    lanes: int  # accumulators per PE: 1, one bin per fractional exponent, or 2 rails
    steps: int  # B of the product
    activation_scale: int  # steps per magnitude code; 0 for a linear operand
    weight_scale: int
    step_offset: int
    constants: tuple[int, ...]  # K_j; (1,) where steps == 1
    fraction_bits: int  # F of logsum, else 0
    lsb_exponent: int  # of the combined psum
    zero_gating: bool

    @property
    def binned(self) -> bool:
        """Whether products go to one accumulator per fractional exponent."""
        return self.product is not Product.LOGSUM and self.lanes > 1

    @property
    def step_shift(self) -> int:
        """log2 of the steps per octave."""
        return self.steps.bit_length() - 1

    @property
    def largest_steps(self) -> int:
        """The largest u."""
        return (
            self.step_offset
            + self.activation_scale * _largest_log_code(self.activation)
            + self.weight_scale * _largest_log_code(self.weight)
        )

    @property
    def largest_shift(self) -> int:
        """The longest shift i of a product."""
        return self.largest_steps >> self.step_shift

    @property
    def product_range(self) -> tuple[int, int]:
        """Smallest and largest product, before low bits are dropped (logsum: of the log-domain P)."""
        if self.product is Product.LOGSUM:
            return 0, (self.largest_steps << self.fraction_bits) >> self.step_shift
        factor = max(
            (1 if self.binned else self.constants[u % self.steps]) << (u >> self.step_shift)
            for u in range(max(0, self.largest_steps - self.steps + 1), self.largest_steps + 1)
        )
        if self.product is Product.MULTIPLY:
            corners = [
                a * w
                for a in (self.activation.min_code, self.activation.max_code)
                for w in (self.weight.min_code, self.weight.max_code)
            ]
            return min(corners), max(corners)
        linear, log = (
            (self.weight, self.activation)
            if self.product is Product.SHIFT_BY_ACTIVATION
            else (self.activation, self.weight)
        )
        if self.product is Product.DECODE:
            signed = self.activation.signed or self.weight.signed
            return (-factor if signed else 0), factor
        words = [linear.min_code, linear.max_code]
        if log.signed:
            words += [-word for word in words]
        return factor * min(words), factor * max(words)

    @property
    def kept_product_range(self) -> tuple[int, int]:
        """Smallest and largest product as accumulated: two's complement is floored, magnitudes truncated."""
        low, high = self.product_range
        if self.product is Product.DECODE:
            return -(-low >> self.drop_bits), high >> self.drop_bits
        return low >> self.drop_bits, high >> self.drop_bits

    @property
    def product_bits(self) -> int:
        """Two's-complement width of a product before dropping (logsum: unsigned width of P)."""
        low, high = self.product_range
        if self.product is Product.LOGSUM:
            return max(1, high.bit_length())
        return signed_bits(low, high)

    def exact_acc_bits(self, reduction: int) -> int:
        """Return the accumulator width that no sum of `reduction` products can overflow.

        Logsum: the unsigned width that no rail of that length can reach (each step adds at most one
        octave's worth once the rail is as large as the product: log2(reduction) + 1 octaves in all).
        """
        low, high = self.kept_product_range
        if self.product is Product.LOGSUM:
            return (high + ((reduction.bit_length() + 1) << self.fraction_bits)).bit_length()
        return signed_bits(low * reduction, high * reduction)

    def combined_bits(self, reduction: int) -> int:
        """Return the width of the psum after bins or rails are combined, for sums of that length."""
        if self.product is Product.LOGSUM:
            top = (1 << self.acc_bits) - 1
            reach = min(top, self.kept_product_range[1] + ((reduction.bit_length() + 1) << self.fraction_bits))
            return (reach >> self.fraction_bits) + self.fraction_bits + 2
        if not self.binned:
            return self.acc_bits
        return self.acc_bits + sum(self.constants).bit_length()

    @property
    def psum_bits(self) -> int:
        """Bits of one raw psum as it moves and is stored: all bins, or both rails with their empty flags."""
        if self.product is Product.LOGSUM:
            return self.lanes * (self.acc_bits + 1)
        return self.lanes * self.acc_bits


def signed_bits(low: int, high: int) -> int:
    """Return the two's-complement width that holds low…high."""
    return max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + 1


def log_offset(steps: int, smallest_exponent_steps: int, smallest_scaled_codes: int) -> int:
    """Return the step offset that makes u = E − B·base, given E of the two smallest codes."""
    return smallest_exponent_steps % steps - smallest_scaled_codes


def _largest_log_code(number_format: Format) -> int:
    return number_format.max_code if isinstance(number_format, LogFormat) else 0


__all__ = ["WORD_LIMIT_BITS", "Datapath", "LinearFormat", "Product", "log_offset", "signed_bits"]
