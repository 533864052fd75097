"""Processing elements: one file per kind. A new kind is one file here, one line below, one RTL module."""

from typing import Annotated

from pydantic import Field

from logaccel.pe.datapath import WORD_LIMIT_BITS, Datapath, Product
from logaccel.pe.decode import DecodePE
from logaccel.pe.logsum import LogsumPE
from logaccel.pe.multiply import MultiplyPE
from logaccel.pe.shift import ShiftPE

PE = MultiplyPE | ShiftPE | DecodePE | LogsumPE
AnyPE = Annotated[PE, Field(discriminator="kind")]

__all__ = [
    "PE", "AnyPE", "WORD_LIMIT_BITS", "Datapath", "Product", "DecodePE", "LogsumPE", "MultiplyPE", "ShiftPE",
]  # fmt: skip
