"""Rows of a comparison kept in a folder, one JSON file each, so that an interrupted one goes on where it stopped.

A file's name carries a hash of everything that the row depends on: version and sources, workload with all its
tensors, architecture, engine, backend. What does not match is not found; nothing is ever taken on trust.
"""

import hashlib
import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from logaccel import __version__
from logaccel.arch import Architecture
from logaccel.cost import load_profile
from logaccel.errors import ConfigError
from logaccel.jit import sources_digest
from logaccel.result import SimulationResult, write_whole
from logaccel.trace import Trace
from logaccel.workload import Network
from logaccel.workload.graph import Graph

_ROWS = TypeAdapter(SimulationResult)


class KeptRows:
    """The folder of one comparison: finds a row that was finished before, keeps one that has just been.

    Rows are kept without their tensors and their graph. Raises ConfigError where the folder cannot be one, or a file
    in it has the name of a row and is none.
    """

    def __init__(self, folder: str | Path, workload: Trace | Network | Graph, engine: str, backend: str) -> None:
        self.folder, self.workload = Path(folder), workload
        self.engine, self.backend = engine, backend
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{folder}: cannot keep rows there: {error.strerror}") from None

    def find(self, arch: Architecture, chained: bool) -> SimulationResult | None:
        """Return the row of an architecture if it was finished before."""
        path = self._path(arch, chained)
        try:
            return _ROWS.validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            raise ConfigError(f"{path}: not a finished row of a comparison; delete it to run it again") from None

    def keep(self, row: SimulationResult) -> SimulationResult:
        """Write a finished row, whole or not at all, and return it as a later run will find it."""
        layers = tuple(replace(layer, psum=None, ofmap_codes=None) for layer in row.layers)
        light = replace(row, layers=layers, between=None)
        write_whole(self._path(row.arch, row.chained), _ROWS.dump_json(light, indent=2))
        return light

    def _path(self, arch: Architecture, chained: bool) -> Path:
        digest = hashlib.sha256(self._run.encode())
        digest.update(arch.model_dump_json().encode())
        digest.update(load_profile(arch.cost_profile).model_dump_json().encode())
        how = "chained" if chained else "recorded"
        name = re.sub(r"[^\w.-]+", "_", arch.name)[:64]
        return self.folder / f"{name}-{how}-{digest.hexdigest()[:16]}.json"

    @cached_property
    def _run(self) -> str:
        """Everything that all rows share."""
        digest = hashlib.sha256()
        if isinstance(self.workload, Trace):
            digest.update(self.workload.network.model_dump_json().encode())  # its name too: the row shows it
            digest.update(repr(self.workload.labels is not None).encode())
            for tensors in self.workload.layers:
                for values in (tensors.ifmap, tensors.filter, tensors.bias, tensors.ofmap):
                    digest.update(repr(values.shape).encode() + values.tobytes())
            if self.workload.labels is not None:
                digest.update(self.workload.labels.tobytes())
        elif isinstance(self.workload, Graph):
            digest.update(repr(self.workload).encode())
        else:
            digest.update(self.workload.model_dump_json().encode())
        return f"{__version__} {sources_digest()} {self.engine} {self.backend} {digest.hexdigest()}"
