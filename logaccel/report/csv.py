"""Results as CSV: full precision, units in the headers, every row names version, architecture and cost profile."""

import csv
from collections.abc import Iterable
from io import StringIO
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from logaccel.costed import PostResult
from logaccel.memory.accounting import Traffic
from logaccel.result import LayerResult, SimulationResult

if TYPE_CHECKING:  # reports read results; they need no engine
    from logaccel.comparison import Comparison


def layers_csv(result: SimulationResult) -> str:
    """Return one row a layer, and one for every node between the layers, where it runs."""
    rows = [(float(index), _layer_row(layer)) for index, layer in enumerate(result.layers)]
    rows += [(work.layers_before - 0.5, _work_row(work)) for work in result.post_work]
    return written(_origin(result) | row for _, row in sorted(rows, key=itemgetter(0)))


def comparison_csv(comparison: "Comparison") -> str:
    """Return one row an architecture; `chained_` columns are empty where the layers form no chain."""
    chained = comparison.chained_rows or (None,) * len(comparison.rows)
    return written(
        _origin(row) | _total_row(row) | _accuracy_row("", row) | _accuracy_row("chained_", follower)
        for row, follower in zip(comparison.rows, chained, strict=True)
    )


def _origin(result: SimulationResult) -> dict[str, Any]:
    return {
        "logaccel_version": result.version,
        "architecture": result.arch.name,
        "cost_profile": result.area.provenance.profile,
        "network": result.network,
        "batch": result.batch,
        "engine": result.engine,
        "chained": result.chained,
    }


def _layer_row(layer: LayerResult) -> dict[str, Any]:
    return {
        "layer": layer.name,
        "dataflow": layer.dataflow,
        "macs": layer.macs,
        "folds": layer.folds,
        "compute_cycles": layer.compute_cycles,
        "stall_cycles": layer.stall_cycles,
        **{f"stall_{reason}_cycles": cycles for reason, cycles in layer.stall_cycles_by_reason.items()},
        "total_cycles": layer.total_cycles,
        "spatial_utilization": layer.spatial_utilization,
        "utilization": layer.utilization,
        "energy_alu_pj": layer.energy.alu_pj,
        "energy_array_pj": layer.energy.array_pj,
        "energy_system_pj": layer.energy_system_pj,
        **{f"energy_{key}_pj": value for key, value in layer.energy_pj.items()},
        **_memory_columns(None if layer.energy.memory is None else layer.energy.memory.pj, layer.traffic),
        **{f"{key}_moved_bits": value for key, value in layer.bits_moved.items()},
        "snr_db": layer.snr_db,
        "clipped_accumulations": layer.clipped,
        "acc_bits": layer.acc_bits,
        "exact_acc_bits": layer.exact_acc_bits,
    }


def _work_row(work: PostResult) -> dict[str, Any]:
    return {
        "layer": work.name,
        "work": work.kind,
        "compute_cycles": work.compute_cycles,
        "stall_cycles": work.stall_cycles,
        "total_cycles": work.total_cycles,
        "energy_array_pj": work.energy_pj,
        "energy_system_pj": work.energy_system_pj,
        "energy_post_processing_pj": work.energy_pj,
        **_memory_columns(None if work.energy_of_memory is None else work.energy_of_memory.pj, work.traffic),
    }


def _total_row(result: SimulationResult) -> dict[str, Any]:
    return {
        "macs": result.macs,
        "total_cycles": result.total_cycles,
        "stall_cycles": result.stall_cycles,
        "time_us": result.time_us,
        "utilization": result.utilization,
        "energy_alu_pj": result.energy_alu_pj,
        "energy_array_pj": result.energy_array_pj,
        "energy_system_pj": result.energy_system_pj,
        **{f"energy_{key}_pj": value for key, value in result.energy_pj.items()},
        **_memory_columns(result.energy_of_memory_pj, result.traffic),
        "area_alu_um2": result.area.alu_um2,
        "area_array_um2": result.area_um2,
        "area_system_um2": result.area.system_um2,
        **{f"area_{key}_um2": value for key, value in result.area.um2.items()},
        "moved_bits": sum(result.bits_moved.values()),
        **{f"{key}_moved_bits": value for key, value in result.bits_moved.items()},
        "clipped_accumulations": result.clipped,
    }


def _memory_columns(energy_pj: dict[str, float] | None, traffic: Traffic | None) -> dict[str, Any]:
    """Energy and bits by memory; no columns where none was modelled."""
    columns: dict[str, Any] = {f"energy_{key}_pj": value for key, value in (energy_pj or {}).items()}
    if traffic is not None:
        for name, flow in traffic.to_dict().items():
            columns |= {f"{name}_{key}": value for key, value in flow.items()}
    return columns


def _accuracy_row(prefix: str, result: SimulationResult | None) -> dict[str, Any]:
    if result is None:
        return {}
    accuracy = {} if result.accuracy is None else result.accuracy.to_dict()
    return {
        **{f"{prefix}{key}": value for key, value in accuracy.items()},
        **{f"{prefix}snr_{layer.name}_db": layer.snr_db for layer in result.layers},
    }


def written(rows: Iterable[dict[str, Any]]) -> str:
    """Return rows under the union of their keys, in the order in which they first appear."""
    found = list(rows)
    keys = list(dict.fromkeys(key for row in found for key in row))
    text = StringIO()
    writer = csv.DictWriter(text, keys, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue()
