"""What a simulation returns: frozen records, plain numbers with units, ready for JSON and for notebooks."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, InstanceOf

from logaccel.arch import Architecture
from logaccel.cost import Area, Energy, MemoryProvenance
from logaccel.costed import Between, PostResult
from logaccel.errors import ConfigError
from logaccel.formats.encode import Codes
from logaccel.memory.accounting import Traffic
from logaccel.memory.mapper import MappedLayer
from logaccel.memory.stays import KeptMap
from logaccel.memory.tiles import TiledLayer
from logaccel.quantization import LayerQuantization
from logaccel.schedule.activity import Activity

SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class LayerResult:
    """One layer on one array. Tensors are None where values were not simulated.

    `compute_cycles + stall_cycles = total_cycles`. spatial_utilization: share of PEs that the folds use;
    utilization: MACs / (PEs · total cycles). psum and ofmap_codes have the axes of the ofmap: [N, M, P, Q]
    or [N, M]; psum holds the combined accumulator integers, worth psum · 2^psum_lsb_exponent, before bias.
    """

    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True, ser_json_inf_nan="constants")

    name: str
    dataflow: str
    macs: int
    folds: int
    compute_cycles: int
    stall_cycles: int
    spatial_utilization: float
    utilization: float
    activity: Activity
    energy: Energy
    bits_moved: dict[str, int]
    quantization: LayerQuantization
    acc_bits: int
    exact_acc_bits: int
    backend: str
    psum_lsb_exponent: int
    mapping: MappedLayer | None = None  # None: no memory modelled
    tiled: TiledLayer | None = None  # what the mapping cuts
    traffic: Traffic | None = None
    clipped: int | None = None
    snr_db: float | None = None
    psum: NDArray[np.int64] | None = None
    ofmap_codes: Codes | None = None

    @property
    def total_cycles(self) -> int:
        """Compute and stalls."""
        return self.compute_cycles + self.stall_cycles

    @property
    def stall_cycles_by_reason(self) -> dict[str, int]:
        """Stalls by what the array waited for: port, bank, dram, drain; empty without a memory."""
        return {} if self.mapping is None else asdict(self.mapping.stalls)

    @property
    def energy_pj(self) -> dict[str, float]:
        """Energy of the array by component."""
        return self.energy.pj

    @property
    def energy_system_pj(self) -> float | None:
        """Array, scratchpads, DRAM and leakage; None without a memory or prices for it."""
        return self.energy.system_pj

    @property
    def macs_per_dram_byte(self) -> float | None:
        """Arithmetic intensity; None without a memory, or where nothing crosses the channel."""
        if self.traffic is None or self.traffic.dram.bits == 0:
            return None
        return 8 * self.macs / self.traffic.dram.bits

    def to_dict(self) -> dict[str, Any]:
        """Return plain values with units in the keys (no tensors)."""
        formats = {key: getattr(self.quantization, key).model_dump() for key in ("ifmap", "filter", "ofmap")}
        return {
            "name": self.name,
            "dataflow": self.dataflow,
            "macs": self.macs,
            "folds": self.folds,
            "compute_cycles": self.compute_cycles,
            "stall_cycles": self.stall_cycles,
            "stall_cycles_by_reason": self.stall_cycles_by_reason,
            "total_cycles": self.total_cycles,
            "spatial_utilization": self.spatial_utilization,
            "utilization": self.utilization,
            "energy_alu_pj": self.energy.alu_pj,
            "energy_array_pj": self.energy.array_pj,
            "energy_system_pj": self.energy_system_pj,
            "energy_by_component_pj": dict(self.energy.pj),
            "energy_of_memory_pj": None if self.energy.memory is None else asdict(self.energy.memory),
            "traffic": None if self.traffic is None else self.traffic.to_dict(),
            "macs_per_dram_byte": self.macs_per_dram_byte,
            "ifmap_reuse": None if self.traffic is None else self.traffic.ifmap_reuse,
            "bits_moved": dict(self.bits_moved),
            "activity": {key: getattr(self.activity, key) for key in self.activity.__dataclass_fields__},
            "acc_bits": self.acc_bits,
            "exact_acc_bits": self.exact_acc_bits,
            "clipped_accumulations": self.clipped,
            "snr_db": None if self.snr_db is None or not np.isfinite(self.snr_db) else self.snr_db,
            "formats": formats,
            "psum_lsb_exponent": self.psum_lsb_exponent,
            "backend": self.backend,
            "mapping": None if self.mapping is None else self.mapping.to_dict(),
        }


@dataclass(frozen=True, eq=False)
class Accuracy:
    """Classes of the last layer's ofmap against the float network's, and against the labels where there are any."""

    images: int
    top1_agreement: float
    top1_accuracy: float | None
    float_top1_accuracy: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {key: getattr(self, key) for key in self.__dataclass_fields__}


@dataclass(frozen=True, eq=False)
class SimulationResult:
    """One workload on one architecture."""

    arch: Architecture
    network: str
    batch: int
    engine: str
    chained: bool
    layers: tuple[LayerResult, ...]
    area: Area
    accuracy: Accuracy | None
    version: str
    notes: tuple[str, ...]
    post_work: tuple[PostResult, ...] = ()  # between the layers of a graph
    memory_provenance: MemoryProvenance | None = None  # None: no system figures
    maps_on_chip: tuple[KeptMap, ...] = ()  # in the order in which they are made
    between: InstanceOf[Between] | None = None  # what `post_work` is the work of; None: nothing, or a kept row

    @property
    def values_simulated(self) -> bool:
        """Whether there were tensors."""
        return self.layers[0].clipped is not None

    @property
    def quantization(self) -> dict[str, LayerQuantization]:
        """Formats of every layer; `simulate(…, quantization=…)` takes them again."""
        return {layer.name: layer.quantization for layer in self.layers}

    @property
    def macs(self) -> int:
        """Multiply–accumulates."""
        return sum(layer.macs for layer in self.layers)

    @property
    def total_cycles(self) -> int:
        """Layers, and the work between them, follow one another."""
        return sum(layer.total_cycles for layer in self.layers) + sum(work.total_cycles for work in self.post_work)

    @property
    def stall_cycles(self) -> int:
        """Those of them in which the array, or the lanes between the layers, wait for the memory."""
        return sum(part.stall_cycles for parts in (self.layers, self.post_work) for part in parts)

    @property
    def time_us(self) -> float:
        """Time at the clock of the architecture."""
        return self.total_cycles / self.arch.clock_mhz

    @property
    def utilization(self) -> float:
        """MACs / (PEs · cycles)."""
        return self.macs / (self.arch.array.rows * self.arch.array.cols * self.total_cycles)

    @property
    def energy_pj(self) -> dict[str, float]:
        """Energy of the array by component, all layers and the work between them."""
        sums = {key: sum(layer.energy.pj[key] for layer in self.layers) for key in self.layers[0].energy.pj}
        return sums | {"post_processing": sums["post_processing"] + sum(work.energy_pj for work in self.post_work)}

    @property
    def energy_of_memory_pj(self) -> dict[str, float] | None:
        """Energy of scratchpads, DRAM and leakage, all layers; None without a memory or prices for it."""
        parts = [layer.energy.memory.pj for layer in self.layers if layer.energy.memory is not None]
        parts += [work.energy_of_memory.pj for work in self.post_work if work.energy_of_memory is not None]
        return {key: sum(part[key] for part in parts) for key in parts[0]} if parts else None

    @property
    def energy_alu_pj(self) -> float:
        """Products and accumulations alone."""
        return sum(layer.energy.alu_pj for layer in self.layers)

    @property
    def energy_array_pj(self) -> float:
        """The whole array: ALUs, registers, drain, post-processing."""
        return sum(layer.energy.array_pj for layer in self.layers) + sum(work.energy_pj for work in self.post_work)

    @property
    def energy_system_pj(self) -> float | None:
        """Array, scratchpads, DRAM and leakage; None without a memory or prices for it."""
        memory = self.energy_of_memory_pj
        return None if memory is None else self.energy_array_pj + sum(memory.values())

    @property
    def traffic(self) -> Traffic | None:
        """What each memory moved, all layers and the work between them; None without a memory."""
        found = [layer.traffic for layer in self.layers if layer.traffic is not None]
        found += [work.traffic for work in self.post_work] if found else []
        return sum(found[1:], found[0]) if found else None

    @property
    def area_um2(self) -> float:
        """Area of the array with its post-processing lanes."""
        return self.area.array_um2

    @property
    def bits_moved(self) -> dict[str, int]:
        """Bits of each kind of operand, every tensor touched once."""
        return {key: sum(layer.bits_moved[key] for layer in self.layers) for key in self.layers[0].bits_moved}

    @property
    def clipped(self) -> int | None:
        """Accumulations that saturated or wrapped; None where values were not simulated."""
        counts = [layer.clipped for layer in self.layers if layer.clipped is not None]
        return sum(counts) if counts else None

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the tensors as plain values, units in the keys."""
        return {
            "schema_version": SCHEMA_VERSION,
            "logaccel_version": self.version,
            "network": self.network,
            "batch": self.batch,
            "engine": self.engine,
            "chained": self.chained,
            "values_simulated": self.values_simulated,
            "notes": list(self.notes),
            "macs": self.macs,
            "total_cycles": self.total_cycles,
            "stall_cycles": self.stall_cycles,
            "time_us": self.time_us,
            "utilization": self.utilization,
            "energy_alu_pj": self.energy_alu_pj,
            "energy_array_pj": self.energy_array_pj,
            "energy_system_pj": self.energy_system_pj,
            "energy_by_component_pj": self.energy_pj,
            "energy_of_memory_pj": self.energy_of_memory_pj,
            "traffic": None if (traffic := self.traffic) is None else traffic.to_dict(),
            "area_alu_um2": self.area.alu_um2,
            "area_array_um2": self.area.array_um2,
            "area_system_um2": self.area.system_um2,
            "area_of_scratchpads_um2": self.area.scratchpad_um2,
            "area_by_component_um2": dict(self.area.um2),
            "bits_moved": self.bits_moved,
            "clipped_accumulations": self.clipped,
            "accuracy": None if self.accuracy is None else self.accuracy.to_dict(),
            "layers": [layer.to_dict() for layer in self.layers],
            "post_work": [work.to_dict() for work in self.post_work],
            "maps_on_chip": [own.to_dict() for own in self.maps_on_chip],
            "cost": self.area.provenance.to_dict(),
            "cost_of_memory": None if self.memory_provenance is None else asdict(self.memory_provenance),
            "architecture": self.arch.model_dump(),
        }

    def to_json(self, path: str | Path) -> None:
        """Write `to_dict()` to a file, whole or not at all."""
        write_whole(path, json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")

    def summary(self) -> str:
        """Return the result as text."""
        from logaccel.report.text import summary_text

        return summary_text(self)

    def __repr__(self) -> str:
        return (
            f"<SimulationResult {self.network} on {self.arch.name}: {self.total_cycles:,} cycles, "
            f"utilization {self.utilization:.1%}>"
        )

    def _repr_html_(self) -> str:
        from logaccel.report.html import summary_html

        return summary_html(self)


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write a file (text as UTF-8) under a temporary name and rename it: a reader never meets half of it."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_file(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file to be written piece by piece under a temporary name; it is renamed once all went well.

    Raises ConfigError for a device, pipe or folder: renaming would put a file in its place.
    """
    target = Path(path)
    if target.is_dir():
        raise ConfigError(f"{target}: is a folder, must be a file")
    if target.exists() and not target.is_file():
        raise ConfigError(f"{target}: is a device or a pipe, must be a file")
    try:
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:  # name the file that the user asked for
        raise type(error)(error.errno, error.strerror, str(target)) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError) and error.filename is None and error.errno in _NO_ROOM:  # name the file
            raise OSError(error.errno, error.strerror, str(target)) from None
        raise


_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
