"""Number formats: what a code means. Linear words and logarithmic words, exact throughout.

A *word* is what hardware is built for (kind and bits). A *format* is a word with the scale and the
signedness of one tensor: full scale is 2^fsr, so every scale in the machine is a power of two.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from logaccel.section import Section

FSR_MIN, FSR_MAX = -64, 64
Rounding = Literal["nearest", "floor"]
Fsr = Annotated[int, Field(ge=FSR_MIN, le=FSR_MAX, description="full-scale range: full scale is 2^fsr")]


def _code_dtype(largest: int, smallest: int) -> np.dtype[np.signedinteger]:
    for dtype in (np.int8, np.int16, np.int32):
        if np.iinfo(dtype).min <= smallest and largest <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    return np.dtype(np.int64)


class LinearWord(Section):
    """A linear word: unsigned, or two's complement where the layer needs a sign."""

    kind: Literal["linear"] = "linear"
    bits: Annotated[int, Field(ge=1, le=32, description="all bits of the word, sign included")]

    def at(self, fsr: int, signed: bool) -> "LinearFormat":
        """Return the format of one tensor in this word."""
        return LinearFormat(bits=self.bits, fsr=fsr, signed=signed)

    def __str__(self) -> str:
        return f"linear {self.bits} b"


class LinearFormat(LinearWord):
    """Linear codes q with value q · 2^lsb_exponent; nearest rounding, ties away from zero, saturating."""

    fsr: Fsr
    signed: bool

    @model_validator(mode="after")
    def _has_room_for_a_sign(self) -> "LinearFormat":
        if self.signed and self.bits < 2:
            raise ValueError(f"bits: a signed word needs at least 2, got {self.bits}")
        return self

    @property
    def lsb_exponent(self) -> int:
        """Exponent of the least significant bit's weight."""
        return self.fsr - self.bits + int(self.signed)

    @property
    def max_code(self) -> int:
        """Largest code."""
        return int(2 ** (self.bits - int(self.signed)) - 1)

    @property
    def min_code(self) -> int:
        """Smallest code: 0, or the two's-complement minimum."""
        return int(-(2 ** (self.bits - 1))) if self.signed else 0

    @property
    def code_dtype(self) -> np.dtype[np.signedinteger]:
        """Narrowest numpy integer that holds every code."""
        return _code_dtype(self.max_code, self.min_code)


class LogWord(Section):
    """A logarithmic word with B = steps_per_octave codes to the octave (1: base 2; 2: base √2)."""

    kind: Literal["log"] = "log"
    bits: Annotated[int, Field(ge=1, le=8, description="all bits of the word, sign included")]
    steps_per_octave: Annotated[
        Literal[1, 2, 4, 8], Field(description="codes per octave B: 1 is base 2, 2 is base √2")
    ] = 1
    rounding: Annotated[Rounding, Field(description="of the logarithm, in the encoder")] = "nearest"

    def at(self, fsr: int, signed: bool) -> "LogFormat":
        """Return the format of one tensor in this word."""
        return LogFormat(
            bits=self.bits, steps_per_octave=self.steps_per_octave, rounding=self.rounding, fsr=fsr, signed=signed
        )

    def __str__(self) -> str:
        base = {1: "base 2", 2: "base √2"}.get(self.steps_per_octave, f"base 2^(1/{self.steps_per_octave})")
        return f"log {self.bits} b {base}" + (" floor" if self.rounding == "floor" else "")


class LogFormat(LogWord):
    """Sign–magnitude log codes: 0 is zero, ±c is ±2^(exponent_steps(c) / B)."""

    fsr: Fsr
    signed: bool

    @model_validator(mode="after")
    def _has_room_for_a_sign(self) -> "LogFormat":
        if self.signed and self.bits < 2:
            raise ValueError(f"bits: a signed word needs at least 2, got {self.bits}")
        return self

    @property
    def magnitude_bits(self) -> int:
        """Bits of the magnitude code, m."""
        return self.bits - int(self.signed)

    @property
    def max_code(self) -> int:
        """Largest magnitude code."""
        return int(2**self.magnitude_bits - 1)

    @property
    def min_code(self) -> int:
        """Smallest code: 0, or minus the largest magnitude."""
        return -self.max_code if self.signed else 0

    def exponent_steps(self, magnitude_code: int) -> int:
        """Return e of a code c >= 1, in steps: its value is 2^(e/B), e = B·fsr − 2^m + c."""
        return self.steps_per_octave * self.fsr - 2**self.magnitude_bits + magnitude_code

    @property
    def code_dtype(self) -> np.dtype[np.signedinteger]:
        """Narrowest numpy integer that holds every code."""
        return _code_dtype(self.max_code, self.min_code)


Word = Annotated[LinearWord | LogWord, Field(discriminator="kind")]
Format = LinearFormat | LogFormat
AnyFormat = Annotated[LinearFormat | LogFormat, Field(discriminator="kind")]
