"""Many architectures, one workload: the same pipeline, side by side."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from logaccel.arch import Architecture
from logaccel.errors import ConfigError
from logaccel.kept import KeptRows
from logaccel.result import SCHEMA_VERSION, SimulationResult, write_whole
from logaccel.simulation import Backend, Engine, simulate
from logaccel.trace import Trace
from logaccel.workload import Network
from logaccel.workload.graph import Graph

STANDARD_ARCHITECTURES = (
    "multiply_16b_16x16",
    "multiply_8b_16x16",
    "multiply_4b_16x16",
    "shift_4b_16x16",
    "decode_4b_16x16",
    "decode_4b_sqrt2_bins_16x16",
    "decode_4b_sqrt2_constant_16x16",
    "logsum_4b_16x16",
)

Progress = Callable[[float, str], None]  # share done, what runs next


@dataclass(frozen=True, eq=False)
class Comparison:
    """One row an architecture: fed the recorded ifmaps, and (where the layers form a chain) chained."""

    rows: tuple[SimulationResult, ...]
    chained_rows: tuple[SimulationResult, ...] | None

    @property
    def modes(self) -> tuple[bool, ...]:
        """How every architecture ran: on the recorded ifmaps (False), and chained (True)."""
        return (False,) if self.chained_rows is None else (False, True)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, units in the keys."""
        return {
            "schema_version": SCHEMA_VERSION,
            "rows": [row.to_dict() for row in self.rows],
            "chained_rows": None if self.chained_rows is None else [row.to_dict() for row in self.chained_rows],
        }

    def to_json(self, path: str | Path) -> None:
        """Write `to_dict()` to a file, whole or not at all."""
        write_whole(path, json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")

    def summary(self) -> str:
        """Return the table as text."""
        from logaccel.report.text import comparison_text

        return comparison_text(self)

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(row.arch.name for row in self.rows)} on {self.rows[0].network}>"

    def _repr_html_(self) -> str:
        from logaccel.report.html import comparison_html

        return comparison_html(self)


def compare(
    workload: Trace | Network | Graph,
    archs: Sequence[Architecture],
    *,
    batch: int | None = None,
    engine: Engine = "fold",
    backend: Backend = "kernel",
    keep: str | Path | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Simulate a workload on several architectures; a trace that is a chain runs chained as well.

    batch: images of a graph, as for `simulate`. keep: a folder where finished rows are kept, without tensors, and
    found again by a later run of the same workload, architecture, engine and version: an interrupted comparison goes
    on where it stopped.

    Raises ConfigError where no architecture is given or two have the same name, and whatever `simulate` raises.
    """
    if not archs:
        raise ConfigError("compare: needs at least one architecture, got none")
    names = [arch.name for arch in archs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"compare: architectures need different names, got {', '.join(twice)} more than once")
    chain = isinstance(workload, Trace) and not workload.unfed_layers()
    modes = [False, True] if chain else [False]
    results: dict[bool, list[SimulationResult]] = {mode: [] for mode in modes}
    runs = [(arch, mode) for arch in archs for mode in modes]
    kept = None if keep is None else KeptRows(keep, workload, f"{engine} {batch}", backend)
    for number, (arch, mode) in enumerate(runs):
        row = None if kept is None else kept.find(arch, mode)
        if row is None:
            known = results[False][-1].quantization if mode else None  # calibrated a moment ago on the same tensors
            row = simulate(
                workload,
                arch,
                batch=batch,
                engine=engine,
                backend=backend,
                chained=mode,
                quantization=known,
                progress=_share_of(progress, number, len(runs), arch.name),
            )
            row = row if kept is None else kept.keep(row)
        results[mode].append(row)
    return Comparison(tuple(results[False]), tuple(results[True]) if True in results else None)


def _share_of(progress: Progress | None, number: int, count: int, name: str) -> Callable[[int, int, str], None] | None:
    if progress is None:
        return None

    def report(done: int, total: int, layer: str) -> None:
        progress((number + done / total) / count, f"{name} {layer}")

    return report
