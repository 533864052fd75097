"""What the reports say: tables and remarks as data, shared by text and HTML."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from logaccel.cost import Provenance
from logaccel.formats import Format
from logaccel.quantization import describe
from logaccel.report.system import stall_figures, system_areas, system_figures, system_remarks
from logaccel.report.table import Column, Grid, printable
from logaccel.result import LayerResult, SimulationResult
from logaccel.units import (
    NOTHING,
    Scale,
    area_scale,
    bits_scale,
    count_scale,
    energy_scale,
    format_area_um2,
    format_cycles,
    format_db,
    format_energy_pj,
    format_percent,
    format_time_us,
    time_scale,
)

if TYPE_CHECKING:  # reports read results; they need no engine
    from logaccel.comparison import Comparison

MOST_SNR_ROWS = 32  # with more layers, the tables show the lowest and the last; CSV and JSON hold all
SHORT_NAME = 20
BETWEEN = "(between)"  # the row of pooling, adds and concat


def summary_heading(result: SimulationResult) -> list[str]:
    """Return the totals in words."""
    lines = [
        f"{printable(result.network)} on {printable(result.arch.name)}: batch {result.batch}, "
        f"{result.arch.array.rows}×{result.arch.array.cols} PEs, dataflow {result.arch.dataflow}, "
        f"{result.engine} engine" + (", chained" if result.chained else ""),
        f"{format_cycles(result.total_cycles)} cycles = {format_time_us(result.time_us)} at "
        f"{result.arch.clock_mhz:g} MHz, utilization {format_percent(result.utilization)} %",
        f"energy {format_energy_pj(result.energy_alu_pj)} ALU only, {format_energy_pj(result.energy_array_pj)} array"
        f"{_system(result.energy_system_pj, format_energy_pj)}; area {format_area_um2(result.area.alu_um2)} ALU only, "
        f"{format_area_um2(result.area_um2)} array{_system(result.area.system_um2, format_area_um2)}",
    ]
    accuracy = result.accuracy
    if accuracy is not None:
        line = f"top-1 agreement with the float network {format_percent(accuracy.top1_agreement)} %"
        if accuracy.top1_accuracy is not None:
            line += (
                f", accuracy {format_percent(accuracy.top1_accuracy)} % "
                f"(float {format_percent(accuracy.float_top1_accuracy)} %)"
            )
        fed = "" if result.chained else "; each layer was fed its recorded ifmap"
        lines.append(f"{line}, {accuracy.images} images{fed}")
    return lines


def _system(value: float | None, text: Callable[[float], str]) -> str:
    return "" if value is None else f", {text(value)} system"


def layer_grid(result: SimulationResult) -> Grid:
    """Return the main table of one result: a row a layer, then the total."""
    layers = result.layers
    energy = energy_scale([layer.energy.array_pj for layer in layers] + [result.energy_array_pj])
    bits = bits_scale([sum(result.bits_moved.values()), *(sum(layer.bits_moved.values()) for layer in layers)])
    macs = count_scale([result.macs, *(layer.macs for layer in layers)])
    columns = [
        *_dataflow_column(result),
        Column(f"MACs\n{macs.unit}".rstrip(), (*(macs.text(x.macs) for x in layers), macs.text(result.macs)), "time"),
        Column(
            "cycles", (*(format_cycles(x.total_cycles) for x in layers), format_cycles(result.total_cycles)), "time"
        ),
        *_stall_columns(result),
        Column("folds", (*(f"{x.folds:,}" for x in layers), f"{sum(x.folds for x in layers):,}"), "time"),
        Column("spatial\nutil. %", (*(format_percent(x.spatial_utilization) for x in layers), ""), "time"),
        Column(
            "util.\n%", (*(format_percent(x.utilization) for x in layers), format_percent(result.utilization)), "time"
        ),
        Column(
            f"ALU\nenergy\n{energy.unit}",
            (*(energy.text(x.energy.alu_pj) for x in layers), energy.text(result.energy_alu_pj)),
            "energy",
        ),
        Column(
            f"array\nenergy\n{energy.unit}",
            (*(energy.text(x.energy.array_pj) for x in layers), energy.text(result.energy_array_pj)),
            "energy",
        ),
        *_system_columns(result),
        Column(
            f"bits\nmoved\n{bits.unit}",
            (*(bits.text(sum(x.bits_moved.values())) for x in layers), bits.text(sum(result.bits_moved.values()))),
            "energy",
        ),
        *_value_columns(result),
        Column("acc.\nbits", (*(str(x.acc_bits) for x in layers), ""), "values"),
        Column("exact\nneeds", (*(str(x.exact_acc_bits) for x in layers), ""), "values"),
    ]
    key = _layer_key(layers, total=True)
    if result.post_work:
        key, *columns = _with_work_between(result, energy, [key, *columns])
    return Grid("Layers", key, tuple(columns), has_total=True)


def _value_columns(result: SimulationResult) -> list[Column]:
    """What came of the values, where they were simulated."""
    if not result.values_simulated:
        return []
    return [
        Column("SNR\ndB", (*(format_db(x.snr_db) for x in result.layers), ""), "values"),
        Column("clipped", (*(_count(x.clipped) for x in result.layers), _count(result.clipped)), "values"),
    ]


def _with_work_between(result: SimulationResult, energy: Scale, columns: list[Column]) -> list[Column]:
    """Return the columns with a row above the total: what the nodes between the layers took together."""
    works, system = result.post_work, result.energy_system_pj
    cells = {
        "layer": BETWEEN,
        "cycles": format_cycles(sum(work.total_cycles for work in works)),
        "of them": format_cycles(sum(work.stall_cycles for work in works)),
        "array": energy.text(sum(work.energy_pj for work in works)),
    }
    if system is not None:
        layers = sum(layer.energy.system_pj or 0.0 for layer in result.layers)
        cells["system"] = _system_scale(result).text(system - layers)
    return [
        replace(column, cells=(*column.cells[:-1], cells.get(column.header.split("\n")[0], ""), column.cells[-1]))
        for column in columns
    ]


def _system_scale(result: SimulationResult) -> Scale:
    return energy_scale([result.energy_system_pj or 0.0, *(layer.energy.system_pj or 0.0 for layer in result.layers)])


def _dataflow_column(result: SimulationResult) -> list[Column]:
    """What stays in the PEs, where not all layers have the architecture's dataflow."""
    if all(layer.dataflow == result.arch.dataflow for layer in result.layers):
        return []
    return [Column("data-\nflow", (*(layer.dataflow for layer in result.layers), ""), "time", left=True)]


def _system_columns(result: SimulationResult) -> list[Column]:
    """System energy, where the memory has prices."""
    total = result.energy_system_pj
    if total is None:
        return []
    scale = _system_scale(result)
    cells = tuple(scale.text(layer.energy.system_pj or 0.0) for layer in result.layers)
    return [Column(f"system\nenergy\n{scale.unit}", (*cells, scale.text(total)), "energy")]


def _stall_columns(result: SimulationResult) -> list[Column]:
    """Cycles in which the array waits, where there is a memory to wait for; `cycles` hold them."""
    if result.arch.memory is None:
        return []
    cells = tuple(format_cycles(layer.stall_cycles) for layer in result.layers)
    return [Column("of them\nstalled", (*cells, format_cycles(result.stall_cycles)), "time")]


def component_grid(result: SimulationResult) -> Grid:
    """Return energy and area by component, with their totals."""
    energy, area = result.energy_pj, result.area.um2
    names = [*energy, *(name for name in area if name not in energy)]
    in_pj, in_um2 = energy_scale([sum(energy.values())]), area_scale([sum(area.values())])

    def cells(parts: dict[str, float], text: object, share: bool) -> tuple[str, ...]:
        whole = sum(parts.values())
        shown = [
            NOTHING if name not in parts else format_percent(parts[name] / whole if whole else 0.0) if share
            else text.text(parts[name])  # type: ignore[attr-defined]
            for name in names
        ]  # fmt: skip
        return (*shown, "" if share else text.text(whole))  # type: ignore[attr-defined]

    columns = (
        Column(f"energy\n{in_pj.unit}", cells(energy, in_pj, False)),
        Column("share\n%", cells(energy, in_pj, True)),
        Column(f"area\n{in_um2.unit}", cells(area, in_um2, False)),
        Column("share\n%", cells(area, in_um2, True)),
    )
    key = Column("component", (*(component_label(name) for name in names), "array"), left=True)
    return Grid("Energy and area by component", key, columns, has_total=True)


def format_grid(result: SimulationResult) -> Grid:
    """Return the number formats of every layer and the bits of its operands."""
    layers = result.layers
    scale = bits_scale([bits for layer in layers for bits in layer.bits_moved.values()])
    formats = [
        Column(key, tuple(_short(getattr(layer.quantization, key)) for layer in layers), left=True)
        for key in ("ifmap", "filter", "ofmap")
    ]
    bits = [
        Column(f"{key}\n{scale.unit}", tuple(scale.text(layer.bits_moved[key]) for layer in layers), "bits")
        for key in layers[0].bits_moved
    ]
    return Grid("Formats (±: signed) and bits moved by operand", _layer_key(layers), (*formats, *bits))


def comparison_caption(comparison: "Comparison") -> list[str]:
    """Return what all rows share, and the float network's accuracy."""
    first = comparison.rows[0]
    lines = [f"{printable(first.network)}, batch {first.batch}, {count_scale([first.macs]).named(first.macs)} MACs, "
             f"{len(first.layers)} layers, {first.engine} engine"]  # fmt: skip
    accuracy = (comparison.chained_rows or comparison.rows)[0].accuracy
    if accuracy is not None:
        line = f"top-1 on {accuracy.images} images"
        if accuracy.float_top1_accuracy is not None:
            line += f"; float network {format_percent(accuracy.float_top1_accuracy)} %"
        lines.append(line)
    return lines


def comparison_grid(comparison: "Comparison") -> Grid:
    """Return the one table: a column an architecture, a row a figure."""
    rows = comparison.rows
    time = time_scale(row.time_us for row in rows)
    energy = energy_scale([value for row in rows for value in (row.energy_alu_pj, row.energy_array_pj)])
    area = area_scale([value for row in rows for value in (row.area.alu_um2, row.area_um2)])
    bits = bits_scale([bits for row in rows for bits in (sum(row.bits_moved.values()), *row.bits_moved.values())])
    figures = [
        Column("cycles", tuple(format_cycles(row.total_cycles) for row in rows), "time"),
        *stall_figures(rows),
        Column(f"time {time.unit}", tuple(time.text(row.time_us) for row in rows), "time"),
        Column("utilization %", tuple(format_percent(row.utilization) for row in rows), "time"),
        Column(f"energy ALU only {energy.unit}", tuple(energy.text(row.energy_alu_pj) for row in rows), "cost"),
        Column(f"energy array {energy.unit}", tuple(energy.text(row.energy_array_pj) for row in rows), "cost"),
        *system_figures(rows),
        Column(f"area ALU only {area.unit}", tuple(area.text(row.area.alu_um2) for row in rows), "cost"),
        Column(f"area array {area.unit}", tuple(area.text(row.area_um2) for row in rows), "cost"),
        *system_areas(rows),
        Column(f"bits moved {bits.unit}", tuple(bits.text(sum(row.bits_moved.values())) for row in rows), "bits"),
        *(
            Column(f"  {key} {bits.unit}", tuple(bits.text(row.bits_moved[key]) for row in rows), "bits")
            for key in rows[0].bits_moved
        ),
        *_snr_figures(rows),
    ]
    if rows[0].values_simulated:
        figures.append(Column("clipped", tuple(_count(row.clipped) for row in rows), "snr"))
    figures += _accuracy_figures(comparison)
    names = Column("architecture", tuple(printable(row.arch.name) for row in rows))
    return Grid("Comparison", names, tuple(figures)).flipped()


def _accuracy_figures(comparison: "Comparison") -> list[Column]:
    """Logits and classes: chained where the layers form a chain."""
    chained = comparison.chained_rows
    rows, how = (chained, "chained ") if chained is not None else (comparison.rows, "")
    figures = []
    if chained is not None:
        logits = tuple(format_db(row.layers[-1].snr_db) for row in rows)
        figures.append(Column("chained logits dB", logits, "top1"))
    known = [row.accuracy for row in rows]
    if any(item is not None for item in known):
        agreement = tuple(format_percent(item.top1_agreement if item else None) for item in known)
        figures.append(Column(f"{how}agreement %", agreement, "top1"))
    if any(item is not None and item.top1_accuracy is not None for item in known):
        accuracy = tuple(format_percent(item.top1_accuracy if item else None) for item in known)
        figures.append(Column(f"{how}accuracy %", accuracy, "top1"))
    return figures


def _snr_figures(rows: tuple[SimulationResult, ...]) -> list[Column]:
    """Every layer's output on recorded ifmaps; of a very deep network the lowest and the last."""
    if not rows[0].values_simulated:
        return []
    names = [layer.name for layer in rows[0].layers]
    if len(names) <= MOST_SNR_ROWS:
        return [
            Column(f"SNR {printable(name, 12)} dB", tuple(format_db(row.layers[i].snr_db) for row in rows), "snr")
            for i, name in enumerate(names)
        ]
    lowest = tuple(format_db(min(x.snr_db for x in row.layers if x.snr_db is not None)) for row in rows)
    last = tuple(format_db(row.layers[-1].snr_db) for row in rows)
    return [
        Column("SNR lowest dB", lowest, "snr"),
        Column(f"SNR {printable(names[-1], 12)} dB", last, "snr"),
    ]


def comparison_notes(comparison: "Comparison") -> list[str]:
    """Return the footnotes: how to read the columns, where the prices come from, what is left out."""
    lines = [
        "ALU: products and accumulations alone; array: all PEs with their registers, drain and post-processing",
        *system_remarks(comparison.rows),
        "bits moved: every word of a tensor touched once at its true width; no re-reads",
    ]
    if comparison.rows[0].values_simulated:
        lines.append(
            "SNR of a layer's output, cycles, energy and clipped: each layer fed its recorded ifmap, quantised"
        )
        if comparison.chained_rows is not None:
            lines.append("chained: each layer fed the codes that the layer before it produced on the machine")
        lines.append("agreement: same top-1 class as the float network; accuracy: same class as the label")
    return [*lines, *provenance_lines(_provenance(comparison.rows)), *notes_of(comparison.rows)]


def summary_notes(result: SimulationResult) -> list[str]:
    """Return the footnotes of one result."""
    lines = [
        "ALU: products and accumulations alone; array: all PEs with their registers, drain and post-processing",
        *system_remarks((result,)),
        "exact needs: accumulator bits that can never overflow"
        + ("; clipped: accumulations that saturated or wrapped" if result.values_simulated else ""),
    ]
    return [*lines, *provenance_lines(_provenance((result,))), *notes_of((result,))]


def _provenance(rows: tuple[SimulationResult, ...]) -> list[Provenance]:
    return [own for row in rows for own in (row.area.provenance, *(layer.energy.provenance for layer in row.layers))]


def provenance_lines(behind: Iterable[Provenance]) -> list[str]:
    """Return one block a cost profile: technology, unverified and derived entries, what is not included."""
    profiles: dict[str, list[Provenance]] = {}
    for own in behind:
        profiles.setdefault(own.profile, []).append(own)
    lines = []
    for profile, sources in profiles.items():
        first = sources[0]
        voltage = "voltage not stated" if first.voltage_v is None else f"{first.voltage_v:g} V"
        clock = "" if first.clock_mhz is None else f", {first.clock_mhz:g} MHz"
        lines.append(f"cost profile {printable(profile)}: {first.node_nm:g} nm, {voltage}{clock}")
        for what, entries in (
            ("unverified (figures not checked against their source)", _union(x.unverified for x in sources)),
            ("derived (no source gives them)", _union(x.derived for x in sources)),
        ):
            if entries:
                lines.append(f"{what}: " + ", ".join(entry.partition(":")[0] for entry in entries))
        excluded = _union(source.excluded for source in sources)
        if excluded:
            lines.append("not included: " + "; ".join(excluded))
    return lines


def has_unverified(rows: tuple[SimulationResult, ...]) -> bool:
    """Return whether any price behind these results was never compared with its source."""
    return any(
        row.area.provenance.unverified
        or (row.memory_provenance is not None and row.memory_provenance.unverified)
        or any(layer.energy.provenance.unverified for layer in row.layers)
        for row in rows
    )


def notes_of(rows: tuple[SimulationResult, ...]) -> list[str]:
    """Return the notes of all results, each once, and where energies rest on an assumed share of zeros."""
    notes = _union(row.notes for row in rows)
    assumed = {layer.energy.live_share for row in rows for layer in row.layers if layer.energy.live_share_assumed}
    notes += [f"zero gating: {format_percent(share)} % of the products assumed live" for share in sorted(assumed)]
    return [*notes, f"logaccel {rows[0].version}"]


def component_label(name: str) -> str:
    """Return a component as a reader calls it."""
    return "DRAM" if name == "dram" else name.replace("_", " ")


def _union(groups: object) -> list[str]:
    return list(dict.fromkeys(item for group in groups for item in group))  # type: ignore[attr-defined]


def _layer_key(layers: tuple[LayerResult, ...], total: bool = False) -> Column:
    names = tuple(printable(layer.name, SHORT_NAME) for layer in layers)
    return Column("layer", (*names, "total") if total else names, left=True)


def _count(number: int | None) -> str:
    return NOTHING if number is None else f"{number:,}"


def _short(number_format: Format) -> str:
    text = describe(number_format)
    return text.replace(" signed", " ±").replace(" unsigned", "").replace(",", "")
