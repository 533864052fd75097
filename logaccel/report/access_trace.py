"""Access traces: one file a level with every access of scratchpads and DRAM, CSV or Parquet, written as it is found.

Columns: cycle (of the run), layer (or node between layers), access (read, write), operand (ifmap, filter, psum, ofmap,
input, residual), address (word of the scratchpad; byte of DRAM), words (that follow one another from there), bits (of
all of them).
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from logaccel.costed import PostResult
from logaccel.errors import ConfigError
from logaccel.memory.access_trace import KINDS, LEVELS, Kind, Rows, trace_layer
from logaccel.memory.lane_trace import SweptMaps, trace_sweep
from logaccel.report.map_layout import ChipLayout, DramLayout, chip_layout, dram_layout
from logaccel.report.run_order import chosen_steps, sweep_starts
from logaccel.result import LayerResult, SimulationResult, whole_file

Counts = NDArray[np.int64]
Format = Literal["csv", "parquet"]
COLUMNS = ("cycle", "layer", "access", "operand", "address", "words", "bits")
MANIFEST = "trace.json"


@dataclass(frozen=True)
class Table:
    """Rows of one level of one layer or node, ready to be written."""

    level: str
    layer: str
    rows: Rows
    address: Any
    bits: Any


@dataclass(frozen=True)
class Places:
    """The bits of a word, and the first byte in DRAM, of every kind of access."""

    word_bits: Counts
    first_byte: Counts

    def table(self, level: str, layer: str, rows: Rows) -> Table:
        """Return rows with their bits and, in DRAM, the byte in which they start."""
        width, address = self.word_bits[rows.kind], rows.address
        if level == "dram":
            address = self.first_byte[rows.kind] + address * width // 8
        return Table(level, layer, rows, address, rows.words * width)


def access_tables(result: SimulationResult, layer: str | None = None) -> Iterator[Table]:
    """Yield tables level by level in the order of cycles, of layers and of the work between them."""
    dram, chip = dram_layout(result), chip_layout(result)
    for item, start in chosen_steps(result, layer):
        own = _layer_tables(item, dram, chip) if isinstance(item, LayerResult) else _work_tables(item, dram, chip)
        for table in own:
            rows = Rows(table.rows.cycle + start, table.rows.kind % len(KINDS), table.rows.address, table.rows.words)
            yield Table(table.level, table.layer, rows, table.address, table.bits)


def _layer_tables(item: LayerResult, dram: DramLayout, chip: ChipLayout) -> Iterator[Table]:
    memory, between = chip.result.arch.memory, chip.result.between
    assert item.tiled is not None and item.mapping is not None and memory is not None
    words = item.tiled.widths
    bits = {key: int(getattr(words, f"{key}_bits")) for key in ("ifmap", "filter", "psum", "ofmap")}
    if between is not None:
        work = between.works.get(item.name)
        bits["residual"] = between.tensors[work.inputs[0][0]].bits if work is not None else 0
    places = Places(
        word_bits=np.array([bits.get(kind.operand, 0) for kind in KINDS]),
        first_byte=np.array([dram.layers[item.name].get(kind.operand, 0) for kind in KINDS]),
    )
    for level, rows in trace_layer(item.tiled, item.mapping.mapping, memory, chip.layer(item)):
        yield places.table(level, item.name, rows)


def _work_tables(item: PostResult, dram: DramLayout, chip: ChipLayout) -> Iterator[Table]:
    """Yield what the lanes, the fills and the write-backs of a node move: of a concat part after part."""
    between, first_channel = chip.result.between, 0
    assert between is not None
    node, whole = between.works[item.name], between.graph.shapes[item.name]
    for (sweep, start), names in zip(sweep_starts(chip.result, item), node.inputs, strict=True):
        piece = sweep.piece
        size = (piece.channels, piece.rows.size, piece.columns.size)
        terms = tuple(chip.lane_map(item.name, name, size) for name in names)
        made = chip.lane_map(item.name, item.name, (whole[0], *piece.size))
        maps = SweptMaps(terms, replace(made, first_channel=first_channel), item.kind == "residual")
        own = [(dram.maps[between.maps[name]], bits) for name, bits in zip(names, sweep.port.term_bits, strict=True)]
        places = Places(
            word_bits=np.array([_of_work(kind, bits, sweep.port.result_bits) for _, bits in own for kind in KINDS]),
            first_byte=np.array([_of_work(kind, at, dram.maps[item.name]) for at, _ in own for kind in KINDS]),
        )
        for level, rows in trace_sweep(sweep, maps, between.surroundings):
            moved = Rows(rows.cycle + start, rows.kind, rows.address, rows.words)
            yield places.table(level, item.name, moved)
        first_channel += piece.channels


def _of_work(kind: Kind, term: int, result: int) -> int:
    return result if kind.operand == "ofmap" else term


def write_access_trace(
    result: SimulationResult, folder: str | Path, layer: str | None = None, form: Format = "csv"
) -> dict[Kind, tuple[int, int]]:
    """Write ifmap, filter, ofmap and dram files into a folder, all or none; return words and bits of every kind.

    `trace.json` beside them says what was run, and the sums.

    Raises ConfigError without a memory, for an unknown layer, or where Parquet's library is not installed.
    """
    chosen_steps(result, layer)
    opened = _opener(form)
    folder = Path(folder)
    made = not folder.exists()
    folder.mkdir(exist_ok=True)
    sums = dict.fromkeys(KINDS, (0, 0))
    with ExitStack() as stack:
        if made:
            stack.callback(_remove_if_empty, folder)
        manifest = stack.enter_context(whole_file(folder / MANIFEST))
        sinks = {}
        for level in LEVELS:
            file = stack.enter_context(whole_file(folder / f"{level}.{form}"))
            sinks[level] = stack.enter_context(opened(file))
        for table in access_tables(result, layer):
            sinks[table.level].write(table)
            for index in np.unique(table.rows.kind):
                own = table.rows.kind == index
                words, bits = sums[KINDS[index]]
                sums[KINDS[index]] = words + int(table.rows.words[own].sum()), bits + int(table.bits[own].sum())
        manifest.write((json.dumps(_manifest(result, layer, sums), indent=2) + "\n").encode())
    return sums


def _manifest(result: SimulationResult, layer: str | None, sums: dict[Kind, tuple[int, int]]) -> dict[str, Any]:
    items = [item for item, _ in chosen_steps(result, layer)]
    return {
        "logaccel_version": result.version,
        "network": result.network,
        "batch": result.batch,
        "layers": [item.name for item in items if isinstance(item, LayerResult)],
        "between": [{"name": item.name, "work": item.kind} for item in items if isinstance(item, PostResult)],
        "columns": list(COLUMNS),
        "sums": [
            {"level": kind.level, "access": kind.access, "operand": kind.operand, "words": words, "bits": bits}
            for kind, (words, bits) in sums.items()
        ],
        "cost_profile": result.arch.cost_profile,
        "architecture": result.arch.model_dump(),
    }


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):  # interrupted: nothing is left behind
        folder.rmdir()


def check_format(form: str) -> None:
    """Raise ConfigError unless traces can be written in this format."""
    if form not in ("csv", "parquet"):
        raise ConfigError(f"--trace-format: must be csv or parquet, got {form!r}")
    _opener(form)  # type: ignore[arg-type]


def _opener(form: Format) -> Callable[[BinaryIO], Any]:
    if form == "csv":
        return _CsvSink
    try:
        import pyarrow.parquet
    except ImportError:
        raise ConfigError("--trace-format parquet: needs pyarrow: pip install 'logaccel[trace]'") from None
    return lambda file: _ParquetSink(file, pyarrow)


class _CsvSink:
    """Lines of text."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __enter__(self) -> "_CsvSink":
        self._file.write((",".join(COLUMNS) + "\n").encode())
        return self

    def __exit__(self, *stopped: object) -> None:
        return None

    def write(self, table: Table) -> None:
        quoted = '"' + table.layer.replace('"', '""').replace("\n", " ") + '"'
        name = quoted if set(table.layer) & set(',"\n') else table.layer
        middle = [f",{name},{kind.access},{kind.operand}," for kind in KINDS]
        rows = table.rows
        columns = (rows.cycle, rows.kind, table.address, rows.words, table.bits)
        self._file.write(
            "".join(
                f"{cycle}{middle[kind]}{address},{words},{bits}\n"
                for cycle, kind, address, words, bits in zip(*(column.tolist() for column in columns), strict=True)
            ).encode()
        )


class _ParquetSink:
    """Row groups of a Parquet file; texts are dictionaries."""

    def __init__(self, file: BinaryIO, arrow: Any) -> None:
        self._file, self._arrow = file, arrow

    def __enter__(self) -> "_ParquetSink":
        arrow = self._arrow
        text, number = arrow.dictionary(arrow.int32(), arrow.string()), arrow.int64()
        types = (number, text, text, text, number, number, number)
        self._schema = arrow.schema(list(zip(COLUMNS, types, strict=True)))
        self._writer = arrow.parquet.ParquetWriter(self._file, self._schema)
        self._waiting: list[Any] = []
        return self

    def __exit__(self, *stopped: object) -> None:
        self._flush()
        self._writer.close()

    def write(self, table: Table) -> None:
        arrow, rows = self._arrow, table.rows

        def texts(values: list[str], index: Any) -> Any:
            return arrow.DictionaryArray.from_arrays(arrow.array(index, arrow.int32()), arrow.array(values))

        operands = sorted({kind.operand for kind in KINDS})
        columns = [
            arrow.array(rows.cycle),
            texts([table.layer], np.zeros(len(rows.kind), dtype=np.int32)),
            texts(["read", "write"], np.array([kind.access == "write" for kind in KINDS])[rows.kind].astype(np.int32)),
            texts(operands, np.array([operands.index(kind.operand) for kind in KINDS], dtype=np.int32)[rows.kind]),
            arrow.array(table.address),
            arrow.array(rows.words),
            arrow.array(table.bits),
        ]
        self._waiting.append(arrow.table(columns, schema=self._schema))
        if sum(map(len, self._waiting)) >= 2**17:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            joined = self._arrow.concat_tables(self._waiting).unify_dictionaries().combine_chunks()
            self._writer.write_table(joined, row_group_size=len(joined))
        self._waiting = []
