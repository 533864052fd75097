"""Timing tables of DRAM devices: one YAML file each, every figure with its source."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from importlib.resources import files
from math import ceil
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from logaccel.documents import mapping_of, read_text
from logaccel.errors import ConfigError
from logaccel.section import Section, no_such, problems

Source = Annotated[str, Field(min_length=1, description="standard or data sheet, and where in it")]


class Whole(Section):
    """A whole number and where it stands."""

    value: Annotated[int, Field(ge=1, le=2**30)]
    source: Source


class Time(Section):
    """A time in ns, or a frequency, and where it stands."""

    value: Annotated[float, Field(gt=0, le=1e9)]
    source: Source


class Device(Section):
    """One channel of DRAM devices side by side. Names are those of the JEDEC standards."""

    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    clock_mhz: Annotated[Time, Field(description="command clock; data moves on both edges")]
    bus_bits: Annotated[Whole, Field(description="data lines of the channel, all devices")]
    burst_length: Annotated[Whole, Field(description="beats of one column access")]
    banks: Annotated[Whole, Field(description="of a device, all bank groups")]
    bank_groups: Annotated[Whole, Field(description="consecutive bursts go round them; 1: none")]
    row_bytes: Annotated[Whole, Field(description="bytes of one row of one bank over all devices")]
    cl_clocks: Annotated[Whole, Field(description="read command to first data")]
    cwl_clocks: Annotated[Whole, Field(description="write command to first data")]
    trcd_ns: Annotated[Time, Field(description="activate to column command")]
    trp_ns: Annotated[Time, Field(description="precharge of one bank")]
    trp_all_ns: Annotated[Time, Field(description="precharge of all banks")]
    tras_ns: Annotated[Time, Field(description="activate to precharge")]
    twr_ns: Annotated[Time, Field(description="last written data to precharge")]
    twtr_ns: Annotated[Time, Field(description="last written data to read command")]
    trtp_ns: Annotated[Time, Field(description="read command to precharge")]
    trfc_ns: Annotated[Time, Field(description="refresh of all banks")]
    trefi_ns: Annotated[Time, Field(description="from one refresh to the next")]

    @model_validator(mode="after")
    def _can_work(self) -> Self:
        faults = []
        if self.banks.value % self.bank_groups.value:
            faults.append(f"bank_groups: must divide the {self.banks.value} banks evenly, got {self.bank_groups.value}")
        burst_bits = self.bus_bits.value * self.burst_length.value
        if self.burst_length.value % 2 or burst_bits % 8 or 8 * self.row_bytes.value % burst_bits:
            faults.append(
                f"row_bytes: must hold whole bursts of {burst_bits} bits in pairs of beats, got {self.row_bytes.value}"
            )
        clocks = self.clocks
        busy = clocks.trfc + clocks.trp_all + clocks.tras + clocks.cwl + clocks.burst + clocks.twr
        if clocks.trefi <= busy:
            faults.append(
                f"trefi_ns: must leave time between refreshes (more than {busy} clocks), got {self.trefi_ns.value}"
            )
        if faults:
            raise ValueError("\n".join(faults))
        return self

    @property
    def clocks(self) -> "Clocks":
        """Everything in whole clocks, times rounded up."""

        def clocks(time: Time) -> int:
            return ceil(Fraction(str(time.value)) * Fraction(str(self.clock_mhz.value)) / 1000)

        times = ("trcd", "trp", "trp_all", "tras", "twr", "twtr", "trtp", "trfc", "trefi")
        groups, burst_bits = self.bank_groups.value, self.bus_bits.value * self.burst_length.value
        return Clocks(
            burst=self.burst_length.value // 2,
            banks=self.banks.value // groups,
            row_bursts=groups * 8 * self.row_bytes.value // burst_bits,
            burst_bits=burst_bits,
            cl=self.cl_clocks.value,
            cwl=self.cwl_clocks.value,
            **{name: clocks(getattr(self, f"{name}_ns")) for name in times},
        )


@dataclass(frozen=True)
class Clocks:
    """A device as the timing sees it, in clocks. A bank is one bank of each group, a row one row of each of these."""

    burst: int  # clocks of data of one burst
    banks: int
    row_bursts: int
    burst_bits: int
    cl: int
    cwl: int
    trcd: int
    trp: int
    trp_all: int
    tras: int
    twr: int
    twtr: int
    trtp: int
    trfc: int
    trefi: int


@lru_cache(maxsize=1)
def shipped_devices() -> dict[str, str]:
    """Return the text of every timing table that ships with logaccel, by name."""
    folder = files("logaccel.dram") / "devices"
    found = {entry.name.removesuffix(".yaml"): entry for entry in folder.iterdir() if entry.name.endswith(".yaml")}
    return {name: found[name].read_text(encoding="utf-8") for name in sorted(found)}


def load_device(name: str) -> Device:
    """Read a timing table, by path or by the name of a shipped one.

    Raises ConfigError naming file, key, rule and value.
    """
    return _parsed(*_text_of(name))


@lru_cache(maxsize=64)
def _parsed(text: str, subject: str) -> Device:
    tree = {"name": Path(subject).stem} | mapping_of(text, subject)
    try:
        return Device.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(problems(error, subject, Device)) from None


def _text_of(name: str) -> tuple[str, str]:
    shipped = shipped_devices()
    if name in shipped:
        return shipped[name], f"DRAM device {name}"
    path = Path(name)
    if path.is_dir() or path.is_file():
        return read_text(path), str(path)
    raise ConfigError(no_such(name, "a DRAM device", shipped))
