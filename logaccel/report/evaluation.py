"""How accurate a network is on the machine, as tables and CSV."""

from typing import Any

from rich.console import RenderableType
from rich.text import Text

from logaccel.evaluation import Evaluation
from logaccel.report.content import SHORT_NAME, provenance_lines
from logaccel.report.csv import written
from logaccel.report.system import memory_remarks
from logaccel.report.table import Column, Grid, printable
from logaccel.report.text import remarks
from logaccel.units import (
    NOTHING,
    energy_scale,
    format_area_um2,
    format_cycles,
    format_db,
    format_energy_pj,
    format_percent,
    format_time_us,
)

ACCURACIES = {"top1": "top-1", "top5": "top-5"}


def evaluation_renderables(evaluation: Evaluation) -> list[RenderableType]:
    """Return what rich prints: totals, accuracies, a row a node, and what the figures rest on."""
    tree = evaluation.to_dict()
    shown: list[RenderableType] = [*(Text(line) for line in _heading(evaluation, tree)), Text("")]
    if evaluation.labelled:
        shown.append(_accuracy_grid(tree))
    return [*shown, _node_grid(tree), *remarks(_notes(evaluation, tree))]


def evaluation_csv(evaluation: Evaluation) -> str:
    """Return one row a node."""
    tree = evaluation.to_dict()
    origin = {
        "logaccel_version": tree["logaccel_version"],
        "architecture": tree["arch"],
        "cost_profile": tree["cost"]["profile"],
        "network": tree["network"],
        "images": tree["images"],
        "engine": tree["engine"],
    }
    keys = ["name", "snr_db", "saturated_share", "clipped_accumulations", "cycles", "energy_array_pj"]
    keys += ["energy_system_pj"] * ("energy_system_pj_per_image" in tree)
    return written(origin | {"node" if key == "name" else key: node.get(key) for key in keys} for node in tree["nodes"])


def _heading(evaluation: Evaluation, tree: dict[str, Any]) -> list[str]:
    arch, cycles, area = evaluation.arch, tree["cycles_per_image"], evaluation.costs.area
    energy = f"energy {format_energy_pj(tree['energy_array_pj_per_image'])} array"
    if "energy_system_pj_per_image" in tree:
        energy += f", {format_energy_pj(tree['energy_system_pj_per_image'])} system"
    size = f"area {format_area_um2(area.array_um2)} array"
    if area.system_um2 is not None:
        size += f", {format_area_um2(area.system_um2)} system"
    lines = [
        f"{printable(evaluation.network)} on {printable(arch.name)}: {tree['images']:,} images, "
        f"{arch.array.rows}×{arch.array.cols} PEs, dataflow {arch.dataflow}, {evaluation.engine} engine",
        f"an image: {format_cycles(cycles)} cycles = {format_time_us(cycles / arch.clock_mhz)} at "
        f"{arch.clock_mhz:g} MHz",
        f"{energy} an image; {size}",
    ]
    if evaluation.compared:
        error = 100 * tree["top1_agreement_error"]
        lines.append(f"top-1 agreement with the float network {format_percent(tree['top1_agreement'])} ± {error:.1f} %")
    return lines


def _accuracy_grid(tree: dict[str, Any]) -> Grid:
    """Return top-1 and top-5 of the machine and of the float network, and the difference."""
    columns = [Column("machine\n%", tuple(_share(tree, key) for key in ACCURACIES))]
    if "top1_difference" in tree:
        columns += [
            Column("float\n%", tuple(_share(tree, f"float_{key}") for key in ACCURACIES)),
            Column("difference\npoints", tuple(_difference(tree, key) for key in ACCURACIES)),
        ]
    return Grid("Accuracy ± standard error", Column("", tuple(ACCURACIES.values()), left=True), tuple(columns))


def _share(tree: dict[str, Any], key: str) -> str:
    return f"{format_percent(tree[key])} ± {100 * tree[f'{key}_error']:.1f}"


def _difference(tree: dict[str, Any], key: str) -> str:
    mean, error = tree[f"{key}_difference"], tree[f"{key}_difference_error"]
    return f"{100 * mean:+.1f} ± {100 * error:.1f}".replace("-", "−")


def _node_grid(tree: dict[str, Any]) -> Grid:
    nodes = tree["nodes"]
    energy = energy_scale(node["energy_array_pj"] for node in nodes if "energy_array_pj" in node)
    columns = [
        Column("SNR\ndB", tuple(format_db(node["snr_db"]) for node in nodes)),
        Column("saturated\n%", tuple(format_percent(node["saturated_share"]) for node in nodes)),
        Column("clipped", tuple(_counted(node["clipped_accumulations"]) for node in nodes)),
        Column("cycles", tuple(_counted(node.get("cycles")) for node in nodes)),
    ]
    for key, name in (("energy_array_pj", "array"), ("energy_system_pj", "system")):
        if f"{key}_per_image" not in tree:
            continue
        scale = energy if name == "array" else energy_scale(node[key] for node in nodes if key in node)
        cells = tuple(NOTHING if key not in node else scale.text(node[key]) for node in nodes)
        columns.append(Column(f"{name}\nenergy\n{scale.unit}", cells))
    names = tuple(printable(node["name"], SHORT_NAME) for node in nodes)
    return Grid(
        "Nodes: values of all images, cycles and energy of one", Column("node", names, left=True), tuple(columns)
    )


def _counted(number: int | None) -> str:
    return NOTHING if number is None else format_cycles(number)


def _notes(evaluation: Evaluation, tree: dict[str, Any]) -> list[str]:
    lines = [
        "saturated: codes at the largest magnitude; clipped: accumulations that saturated or wrapped",
        *tree["notes"],
        "off the array, in float: " + (", ".join(map(printable, evaluation.off_array)) or "nothing"),
        *([f"formats: {printable(evaluation.formats_origin, 200)}"] if evaluation.formats_origin else []),
        *provenance_lines(evaluation.costs.sources),
    ]
    if evaluation.labelled and evaluation.compared:
        lines.insert(0, "difference: machine less float on the same images; its standard error is that of the pairs")
    if evaluation.costs.source_of_memory is not None:
        lines += memory_remarks([evaluation.costs.source_of_memory])
    return [*lines, f"logaccel {evaluation.version}"]
