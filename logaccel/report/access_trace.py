"""Access traces: one file a level with every access of scratchpads and DRAM, CSV or Parquet, written as it is found.

Columns: cycle (of the run), layer, access (read, write), operand (ifmap, filter, psum, ofmap), address (word of the
scratchpad; byte of DRAM), words (that follow one another from there), bits (of all of them).
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from logaccel.errors import ConfigError
from logaccel.memory.access_trace import KINDS, LEVELS, Kind, Rows, layer_spots, trace_layer
from logaccel.memory.map_places import Spots, lay_out
from logaccel.memory.tiles import TiledLayer
from logaccel.memory.transfers import tensor_words
from logaccel.report.timeline import chosen_layers
from logaccel.result import SimulationResult, whole_file

Format = Literal["csv", "parquet"]
COLUMNS = ("cycle", "layer", "access", "operand", "address", "words", "bits")
MANIFEST = "trace.json"
ALIGNED_BYTES = 64  # every tensor starts on such a boundary of DRAM


@dataclass(frozen=True)
class Table:
    """Rows of one level of one layer, ready to be written."""

    level: str
    layer: str
    rows: Rows
    address: Any
    bits: Any


def access_tables(result: SimulationResult, layer: str | None = None) -> Iterator[Table]:
    """Yield tables level by level in the order of cycles. Tensors of all layers lie one after another in DRAM."""
    base, spots = 0, _layer_spots(result)
    chosen = {item.name: start for item, start in chosen_layers(result, layer)}
    for item in result.layers:
        assert item.tiled is not None and item.mapping is not None and result.arch.memory is not None
        places, base = _bases(item.tiled, base)
        if item.name not in chosen:
            continue
        width = np.array([_bits(item.tiled, kind) for kind in KINDS])
        first = np.array([places[kind.operand] if kind.level == "dram" else 0 for kind in KINDS])
        for level, rows in trace_layer(item.tiled, item.mapping.mapping, result.arch.memory, spots[item.name]):
            address = rows.address
            if level == "dram":
                address = first[rows.kind] + rows.address * width[rows.kind] // 8
            moved = Rows(rows.cycle + chosen[item.name], rows.kind, rows.address, rows.words)
            yield Table(level, item.name, moved, address, rows.words * width[rows.kind])


def _layer_spots(result: SimulationResult) -> dict[str, Spots]:
    """Return where the ifmap and the ofmap of every layer lie beside all maps that stay on chip."""
    assert result.arch.memory is not None
    steps: list[str] = []
    for index, item in enumerate((*result.layers, None)):
        own = [work.name for work in result.post_work if work.layers_before == index and work.kind != "residual"]
        steps += own + ([item.name] if item is not None else [])
    layers = {item.name: item for item in result.layers}
    ifmaps = {layer: own.name for own in result.maps_on_chip for layer in own.ifmap_of}
    found = {}
    for step, there, gaps in lay_out(steps, result.maps_on_chip, 8 * result.arch.memory.ifmap.bytes):
        if step in layers:
            item = layers[step]
            assert item.tiled is not None and item.mapping is not None
            maps = there.get(ifmaps.get(step, "")), there.get(step)
            found[step] = layer_spots(item.tiled, item.mapping.mapping, maps, gaps)
    return found


def write_access_trace(
    result: SimulationResult, folder: str | Path, layer: str | None = None, form: Format = "csv"
) -> dict[Kind, tuple[int, int]]:
    """Write ifmap, filter, ofmap and dram files into a folder, all or none; return words and bits of every kind.

    `trace.json` beside them says what was run, and the sums.

    Raises ConfigError without a memory, for an unknown layer, or where Parquet's library is not installed.
    """
    chosen_layers(result, layer)
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
    return {
        "logaccel_version": result.version,
        "network": result.network,
        "batch": result.batch,
        "layers": [item.name for item, _ in chosen_layers(result, layer)],
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


def _bases(tiled: TiledLayer, base: int) -> tuple[dict[str, int], int]:
    """Return the first byte of each tensor of a layer, and the first byte behind them."""
    places = {}
    widths = tiled.widths
    bits = {"ifmap": widths.ifmap_bits, "filter": widths.filter_bits, "ofmap": widths.ofmap_bits}
    for tensor, words in tensor_words(tiled).items():
        places[tensor] = base
        base += -(-words * bits[tensor] // (8 * ALIGNED_BYTES)) * ALIGNED_BYTES
    return places, base


def _bits(tiled: TiledLayer, kind: Kind) -> int:
    return int(getattr(tiled.widths, f"{kind.operand}_bits"))


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
