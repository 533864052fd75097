"""Quantities as text: the one place that chooses SI prefixes, decimals and signs."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

NOTHING = "–"  # no value: not simulated, not known

_ENERGY = (("pJ", 1.0), ("nJ", 1e3), ("µJ", 1e6), ("mJ", 1e9), ("J", 1e12))  # in pJ
_AREA = (("µm²", 1.0), ("mm²", 1e6))  # in µm²
_TIME = (("µs", 1.0), ("ms", 1e3), ("s", 1e6))  # in µs
_BITS = (("b", 1), ("kb", 1e3), ("Mb", 1e6), ("Gb", 1e9), ("Tb", 1e12))
_COUNT = (("", 1), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12))


@dataclass(frozen=True)
class Scale:
    """One unit and one number of decimals for a whole column."""

    unit: str
    size: float  # of the unit, in the base unit
    decimals: int

    def text(self, value: float) -> str:
        """Return a value, given in the base unit, in this unit, without naming it."""
        return f"{value / self.size:,.{self.decimals}f}"

    def named(self, value: float) -> str:
        """Return the value with its unit."""
        return f"{self.text(value)} {self.unit}".rstrip()


def energy_scale(values_pj: Iterable[float]) -> Scale:
    """Return the unit for energies given in pJ."""
    return _scale(values_pj, _ENERGY)


def area_scale(values_um2: Iterable[float]) -> Scale:
    """Return the unit for areas given in µm²; small arrays stay in µm² up to 10,000."""
    return _scale(values_um2, _AREA, least=0.01)


def time_scale(values_us: Iterable[float]) -> Scale:
    """Return the unit for times given in µs."""
    return _scale(values_us, _TIME)


def bits_scale(values_bits: Iterable[float]) -> Scale:
    """Return the unit for bits, in powers of 1000."""
    return _scale(values_bits, _BITS)


def count_scale(values: Iterable[float]) -> Scale:
    """Return the prefix for plain counts."""
    return _scale(values, _COUNT)


def format_energy_pj(pj: float) -> str:
    """Return an energy given in pJ with the prefix that fits."""
    return energy_scale([pj]).named(pj)


def format_area_um2(um2: float) -> str:
    """Return an area given in µm²."""
    return area_scale([um2]).named(um2)


def format_time_us(us: float) -> str:
    """Return a time given in µs."""
    return time_scale([us]).named(us)


def format_bits(bits: float) -> str:
    """Return bits, prefixes in powers of 1000."""
    return bits_scale([bits]).named(bits)


def format_cycles(cycles: int) -> str:
    """Return a number of cycles, whole."""
    return f"{cycles:,}"


def format_percent(share: float | None) -> str:
    """Return a share 0…1 in percent with one decimal, without the sign; 100.0 and 0.0 only where exact."""
    if share is None:
        return NOTHING
    percent = 100 * share
    if 99.95 <= percent < 100:
        return "99.9"
    if 0 < percent < 0.05:
        return "0.1"
    return f"{percent:.1f}"


def format_db(decibels: float | None) -> str:
    """Return decibels with one decimal, without the unit."""
    if decibels is None:
        return NOTHING
    return f"{decibels:.1f}" if math.isfinite(decibels) else ("∞" if decibels > 0 else "−∞")


def _scale(values: Iterable[float], units: tuple[tuple[str, float], ...], least: float = 1.0) -> Scale:
    """Choose the unit by the largest value; decimals keep three digits of it and two of the smallest (up to 4)."""
    sizes = sorted(abs(value) for value in values if value)
    if not sizes:
        return Scale(units[0][0], units[0][1], 0)
    unit, size = next(((u, s) for u, s in reversed(units) if sizes[-1] >= least * s), units[0])
    if size == 1 and all(float(value).is_integer() for value in sizes):
        return Scale(unit, size, 0)
    largest, smallest = (math.floor(math.log10(value / size)) for value in (sizes[-1], sizes[0]))
    return Scale(unit, size, min(max(2 - largest, 1 - smallest, 0), 4))
