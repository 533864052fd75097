"""Accumulation in the log domain (paper, §3.3), dual rail: positive and negative products apart.

P = u · 2^F / B. An empty rail takes P; otherwise s ← max(s, P) + (2^F >> |⌊s⌋ − ⌊P⌋|), floors by whole
octaves, limited to 2^acc_bits − 1. At drain each rail turns linear, 2^(i+f) ≈ (1 + f)·2^i, and they subtract.
"""

from typing import Annotated, Literal

from pydantic import Field

from logaccel.formats import Format, LogFormat
from logaccel.pe.datapath import Datapath, Product, log_offset
from logaccel.pe.decode import summed_exponents
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
