"""Price tables: one YAML file a profile, every entry with its source."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from logaccel.cost.curve import Curve, Positive
from logaccel.cost.memory_table import MemoryTable
from logaccel.documents import mapping_of, read_text
from logaccel.errors import ConfigError
from logaccel.pe.parts import Circuit, Part
from logaccel.section import Section, no_such, problems

Quantity = Literal["energy_pj", "area_um2", "leakage_mw"]
QUANTITIES: tuple[Quantity, ...] = ("energy_pj", "area_um2", "leakage_mw")


class Price(Section):
    """What one kind of circuit costs: energy of one operation, area, and what it leaks whether it works or not."""

    energy_pj: Curve
    area_um2: Curve
    leakage_mw: Annotated[Curve | None, Field(description="null: the source has none")] = None


class PriceTable(Section):
    """A price for every kind of circuit."""

    multiplier: Price
    adder: Price
    shifter: Price
    mux: Price
    decoder: Price
    gate: Price
    leading_one: Price
    register_: Annotated[Price, Field(alias="register")]  # pydantic's base class has a method `register`

    def of(self, circuit: str) -> Price:
        """Return the price of a circuit by its name."""
        price = getattr(self, "register_" if circuit == "register" else circuit)
        assert isinstance(price, Price)
        return price


class CostProfile(Section):
    """A price table, the technology it holds for, and what it leaves out."""

    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    node_nm: Positive
    voltage_v: Annotated[Positive | None, Field(description="null: the sources do not say")] = None
    clock_mhz: Annotated[Positive | None, Field(description="null: the sources do not say")] = None
    excluded: Annotated[tuple[str, ...], Field(description="what no figure of this profile contains")] = ()
    circuits: PriceTable
    memory: Annotated[MemoryTable | None, Field(description="null: no system energy")] = None

    @field_validator("excluded", mode="before")
    @classmethod
    def _as_tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _derives_from_points(self) -> Self:
        faults = []
        for circuit in Circuit:
            for quantity in QUANTITIES:
                curve = self._curve(circuit, quantity)
                if curve is None or curve.of is None:
                    continue
                base = self._curve(curve.of, quantity)
                if base is None or base.rule == "derived":
                    faults.append(f"circuits.{circuit}.{quantity}.of: must name a circuit with points, got {curve.of}")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def energy_pj(self, circuit: str, size: int) -> float:
        """Return the energy of one operation of a circuit with that many cells."""
        return self._price(circuit, "energy_pj", size)

    def area_um2(self, circuit: str, size: int) -> float:
        """Return the area of a circuit with that many cells."""
        return self._price(circuit, "area_um2", size)

    def part_energy_pj(self, part: Part) -> float:
        """Return the energy of one operation of all copies of a part."""
        return part.copies * self.energy_pj(part.circuit, part.size)

    def part_area_um2(self, part: Part) -> float:
        """Return the area of all copies of a part."""
        return part.copies * self.area_um2(part.circuit, part.size)

    def part_leakage_mw(self, part: Part) -> float | None:
        """Return what all copies of a part leak, None where the source does not say."""
        if self._curve(part.circuit, "leakage_mw") is None:
            return None
        return part.copies * self._price(part.circuit, "leakage_mw", part.size)

    def provenance(self, parts: Iterable[Part]) -> "Provenance":
        """Return what stands behind the prices of these parts."""
        used = {part.circuit for part in parts if part.copies * part.size > 0}
        entries = [
            (circuit, quantity, curve)
            for circuit in Circuit
            if circuit in used
            for quantity in QUANTITIES
            if (curve := self._curve(circuit, quantity)) is not None
        ]
        return Provenance(
            profile=self.name,
            node_nm=self.node_nm,
            voltage_v=self.voltage_v,
            clock_mhz=self.clock_mhz,
            unverified=tuple(f"{c} {q}: {self._origin(x, q)}" for c, q, x in entries if not self._base(x, q).verified),
            derived=tuple(f"{c} {q}: {x.source}" for c, q, x in entries if x.of),
            excluded=self.excluded,
        )

    def _price(self, circuit: str, quantity: Quantity, size: int) -> float:
        if size <= 0:
            return 0.0
        curve = self._curve(circuit, quantity)
        assert curve is not None
        if curve.of is None:
            return curve.at_size(size)
        assert curve.at is not None and curve.factor is not None
        return size * curve.factor * self._base(curve, quantity).at_size(curve.at) / curve.at

    def _curve(self, circuit: str, quantity: Quantity) -> Curve | None:
        price = self.circuits.of(circuit)
        return {"energy_pj": price.energy_pj, "area_um2": price.area_um2, "leakage_mw": price.leakage_mw}[quantity]

    def _base(self, curve: Curve, quantity: Quantity) -> Curve:
        base = curve if curve.of is None else self._curve(curve.of, quantity)
        assert base is not None
        return base

    def _origin(self, curve: Curve, quantity: Quantity) -> str:
        base = self._base(curve, quantity)
        return base.source if curve.of is None else f"derived from {curve.of}: {base.source}"


@dataclass(frozen=True)
class Provenance:
    """Where figures come from: profile, technology, entries not to be trusted blindly, what is not included."""

    profile: str
    node_nm: float
    voltage_v: float | None
    clock_mhz: float | None
    unverified: tuple[str, ...]  # entries whose figures were not compared with their source
    derived: tuple[str, ...]  # entries that no source gives
    excluded: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "profile": self.profile,
            "node_nm": self.node_nm,
            "voltage_v": self.voltage_v,
            "clock_mhz": self.clock_mhz,
            "unverified": list(self.unverified),
            "derived": list(self.derived),
            "excluded": list(self.excluded),
        }


def shipped_profiles() -> tuple[str, ...]:
    """Return the names of the price tables that ship with logaccel."""
    folder = files("logaccel") / "cost" / "profiles"
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def load_profile(name_or_path: str | Path) -> CostProfile:
    """Read a price table: a shipped one by name (`horowitz_45nm`) or any YAML file of the same schema.

    Raises ConfigError naming file, key, rule and value, one line for every problem in the file.
    """
    path, name = Path(name_or_path), str(name_or_path)
    if path.is_dir() or path.is_file():
        return _parsed(read_text(path), name)
    if name in shipped_profiles():
        file = files("logaccel") / "cost" / "profiles" / f"{name}.yaml"
        return _parsed(file.read_text(encoding="utf-8"), name)
    raise ConfigError(no_such(name, "a cost profile", shipped_profiles()))


@lru_cache(maxsize=32)  # reading YAML takes longer than pricing a network
def _parsed(text: str, subject: str) -> CostProfile:
    tree = {"name": Path(subject).stem} | mapping_of(text, subject)
    try:
        return CostProfile.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(problems(error, subject, CostProfile)) from None
