"""The memory part of a price table: scratchpads against capacity and width, DRAM against bits."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from logaccel.cost.curve import Curve, Point, Positive
from logaccel.section import Section

Power = Annotated[float, Field(ge=0, le=4)]


class Term(Section):
    """factor · bytes^bytes_power · bits^bits_power."""

    factor: Positive
    bytes_power: Power = 0.0
    bits_power: Power = 0.0


class ScratchpadCurve(Section):
    """A price of one single-bank scratchpad of some bytes whose word has some bits.

    power: points of published memories with words of `access_bits`, straight lines in log-log between and beyond;
    a word of other width costs in proportion. fit: a sum of terms fitted to many memories; powers are never
    negative, so a larger or wider memory never costs less.
    """

    rule: Literal["power", "fit"]
    access_bits: Annotated[int | None, Field(ge=1, description="bits of a word of the points")] = None
    points: Annotated[tuple[Point, ...], Field(description="bytes and values increasing")] = ()
    terms: Annotated[tuple[Term, ...], Field(description="their sum is the price")] = ()
    source: Annotated[str, Field(min_length=1)]
    note: str = ""
    verified: Annotated[bool, Field(description="figures compared with the source")]

    @field_validator("points", "terms", mode="before")
    @classmethod
    def _as_tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _has_what_its_rule_needs(self) -> Self:
        needed, barred = ("access_bits", "points"), ("terms",)
        if self.rule == "fit":
            needed, barred = barred, needed  # type: ignore[assignment]
        faults = [f"{key}: rule {self.rule} needs it" for key in needed if getattr(self, key) in (None, ())]
        faults += [f"{key}: not for rule {self.rule}" for key in barred if getattr(self, key) not in (None, ())]
        if faults:
            raise ValueError("; ".join(faults))
        if self.points:
            self._curve()
        return self

    def at(self, size_bytes: float, width_bits: float) -> float:
        """Return the price of a scratchpad of that capacity and word."""
        if self.rule == "fit":
            return sum(term.factor * size_bytes**term.bytes_power * width_bits**term.bits_power for term in self.terms)
        assert self.access_bits is not None
        return self._curve().at_size(max(1, round(size_bytes))) * width_bits / self.access_bits

    def _curve(self) -> Curve:
        return Curve(rule="power", points=self.points, source=self.source, verified=self.verified)


class DramPrice(Section):
    """Energy of a bit that crosses the DRAM's pins, reads and writes alike."""

    pj_per_bit: Positive
    source: Annotated[str, Field(min_length=1)]
    note: str = ""
    verified: bool


class MemoryTable(Section):
    """Prices of scratchpads and DRAM, with the technology that they hold for: not always that of the circuits."""

    description: Annotated[str, Field(min_length=1)]
    node_nm: Positive
    voltage_v: Annotated[Positive | None, Field(description="null: the source does not say")] = None
    read_pj: Annotated[ScratchpadCurve, Field(description="one word read")]
    write_pj: Annotated[ScratchpadCurve, Field(description="one word written")]
    leakage_mw: Annotated[ScratchpadCurve | None, Field(description="null: the source has none")] = None
    area_um2: Annotated[ScratchpadCurve | None, Field(description="null: the source has none")] = None
    dram: DramPrice

    @property
    def unverified(self) -> tuple[str, ...]:
        """Entries whose figures were not compared with their source."""
        entries = {
            "scratchpad read": self.read_pj,
            "scratchpad write": self.write_pj,
            "scratchpad leakage": self.leakage_mw,
            "scratchpad area": self.area_um2,
            "dram": self.dram,
        }
        return tuple(f"{name}: {entry.source}" for name, entry in entries.items() if entry and not entry.verified)
