"""One line of a price table: what a circuit costs against its size, by a written rule."""

from bisect import bisect_left
from itertools import pairwise
from math import exp, log
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from logaccel.section import Section

CircuitName = Literal["multiplier", "adder", "shifter", "mux", "decoder", "gate", "leading_one", "register"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Point(Section):
    """A published price at one size."""

    size: Annotated[int, Field(ge=1, description="cells of the circuit")]
    value: Annotated[Positive, Field(description="pJ or µm² of the whole circuit")]
    what: Annotated[str, Field(description="the circuit in words")] = ""


class Curve(Section):
    """Price against size: points and how to go between and beyond them, or a multiple of another circuit's cell.

    linear: straight lines between points, proportional to size outside them. power: straight lines in
    log-log, whose end segments go on outside (one point: proportional). derived: every cell costs `factor`
    cells of the circuit `of` when that has `at` cells; verified exactly if that is.
    """

    rule: Literal["linear", "power", "derived"]
    points: Annotated[tuple[Point, ...], Field(description="sizes and values increasing")] = ()
    of: CircuitName | None = None
    at: Annotated[int, Field(ge=1)] | None = None
    factor: Positive | None = None
    source: Annotated[str, Field(min_length=1, description="where the figures come from, or how they are derived")]
    note: str = ""
    verified: Annotated[bool | None, Field(description="figures compared with the source; not for derived ones")] = None

    @field_validator("points", mode="before")
    @classmethod
    def _as_tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _has_what_its_rule_needs(self) -> Self:
        needed, barred = ("points", "verified"), ("of", "at", "factor")
        if self.rule == "derived":
            needed, barred = barred, needed  # type: ignore[assignment]
        faults = [f"{key}: rule {self.rule} needs it" for key in needed if getattr(self, key) in (None, ())]
        faults += [f"{key}: not for rule {self.rule}" for key in barred if getattr(self, key) not in (None, ())]
        for before, after in pairwise(self.points):
            if after.size <= before.size or after.value < before.value:
                faults.append(
                    f"points: sizes must increase and values not decrease, got {before.size}: {before.value:g} "
                    f"before {after.size}: {after.value:g}"
                )
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def at_size(self, size: int) -> float:
        """Return the price of a circuit of that size (rules linear and power)."""
        sizes = [point.size for point in self.points]
        above = bisect_left(sizes, size)
        if above < len(sizes) and sizes[above] == size:
            return self.points[above].value
        if self.rule == "linear" or len(sizes) == 1:
            if above in (0, len(sizes)):
                end = self.points[min(above, len(sizes) - 1)]
                return end.value * size / end.size
            left, right = self.points[above - 1], self.points[above]
            return left.value + (right.value - left.value) * (size - left.size) / (right.size - left.size)
        right_index = min(max(above, 1), len(sizes) - 1)
        left, right = self.points[right_index - 1], self.points[right_index]
        slope = log(right.value / left.value) / log(right.size / left.size)
        return left.value * exp(slope * log(size / left.size))
