"""Accumulation in the log domain (paper, §3.3), dual rail: positive and negative products apart.

P = u · 2^F / B. An empty rail takes P; otherwise s ← max(s, P) + (2^F >> |⌊s⌋ − ⌊P⌋|), floors by whole
octaves, limited to 2^acc_bits − 1. At drain each rail turns linear, 2^(i+f) ≈ (1 + f)·2^i, and they subtract.
"""

from typing import Annotated, Literal

from pydantic import Field

from logaccel.formats import Format, LogFormat
from logaccel.pe.datapath import Datapath, Product, log_offset
from logaccel.pe.decode import summed_exponents
from logaccel.pe.parts import Circuit, Part, Role, exponent_adder, gating_parts
from logaccel.pe.settings import PESettings


class LogsumPE(PESettings):
    """Adds exponents and keeps the running sum as a logarithm."""

    kind: Literal["logsum"] = "logsum"
    fraction_bits: Annotated[
        int, Field(ge=0, le=30, description="fraction bits F of a rail; corrections below one vanish: log2(K) + 4")
    ] = 16

    def operand_rule(self, activation_kind: str, weight_kind: str) -> str | None:
        """Return what is wrong with a pair of operand kinds, or None."""
        if (activation_kind, weight_kind) == ("log", "log"):
            return None
        return "a logsum PE takes log activations and log weights"

    def datapath(self, activation: Format, weight: Format) -> Datapath:
        """Derive widths and scales for one layer's formats."""
        assert isinstance(activation, LogFormat) and isinstance(weight, LogFormat)
        steps, activation_scale, weight_scale, smallest = summed_exponents(activation, weight)
        return Datapath(
            product=Product.LOGSUM,
            activation=activation,
            weight=weight,
            acc_bits=self.acc_bits,
            saturate=True,
            drop_bits=0,
            lanes=2,
            steps=steps,
            activation_scale=activation_scale,
            weight_scale=weight_scale,
            step_offset=log_offset(steps, smallest, activation_scale + weight_scale),
            constants=(1,),
            fraction_bits=self.fraction_bits,
            lsb_exponent=smallest // steps - self.fraction_bits,
            zero_gating=self.zero_gating,
        )

    def parts(self, path: Datapath) -> tuple[Part, ...]:
        """Return the arithmetic circuits: exponent adder, then on the rail that the sign selects a maximum,
        the distance in octaves, its correction (2^F shifted right: a decoder), an adder and a limiter.
        """
        bits = path.acc_bits
        octaves = max(1, bits - path.fraction_bits)
        rail = (
            Part("rail read", Circuit.MUX, (bits + 1, 2), Role.ACCUMULATE),
            Part("rail write", Circuit.MUX, (2 * (bits + 1), 2), Role.ACCUMULATE),
            Part("rail comparator", Circuit.ADDER, (bits,), Role.ACCUMULATE),
            Part("rail maximum", Circuit.MUX, (bits, 2), Role.ACCUMULATE),
            Part("octave distance", Circuit.ADDER, (octaves,), Role.ACCUMULATE),
            Part("distance magnitude", Circuit.GATE, (octaves,), Role.ACCUMULATE),
            Part("correction decoder", Circuit.DECODER, (path.fraction_bits + 1,), Role.ACCUMULATE),
            Part("rail adder", Circuit.ADDER, (bits,), Role.ACCUMULATE),
            Part("rail limiter", Circuit.MUX, (bits, 2), Role.ACCUMULATE),
            Part("empty rail bypass", Circuit.MUX, (bits, 2), Role.ACCUMULATE),
        )
        return (*gating_parts(path), *exponent_adder(path), *rail)
