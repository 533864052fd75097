"""Access traces of the work between layers: words against plain loops, sums against the report, maps where they lie."""

import csv
import itertools
import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_on_chip import FIRE, LENET, RESIDUAL, SLICED, arch, conv, full, graph

from logaccel.costed import PostResult
from logaccel.errors import ConfigError
from logaccel.memory import lane_accesses, lane_trace
from logaccel.memory.access_trace import KINDS, trace_layer
from logaccel.memory.post_tiles import Sweep
from logaccel.report.access_trace import access_tables, write_access_trace
from logaccel.report.map_layout import chip_layout, dram_layout
from logaccel.report.run_order import chosen_steps, sweep_starts
from logaccel.result import LayerResult, SimulationResult
from logaccel.simulation import simulate
from logaccel.workload.graph import Add, Clip, Concat, Graph, Pad, Pool, Reshape, Slice, Transpose

BATCH = 2
MOVED = graph(  # lanes that go through transposed, padded and sliced maps, and a layer that takes a transposed one
    conv("c1", "input", (3, 6), (8, 6)), Transpose("t", ("c1",), (2, 0, 1)), Pool("p", ("t",), "max", (3, 2), (2, 3),
    (1, 0, 1, 0), (1, 2)), Slice("s", ("c1",), (1, 0, 0), (4, 8, 2), (2, 3, 2)), Pad("z", ("s",), (2, 0, 0), (2, 0, 1)),
    Transpose("u", ("p",), (0, 1, 2)), Clip("k", ("z",), 0.0, 1.0), Concat("cat", ("z", "u", "k")),
    Transpose("v", ("cat",), (1, 2, 0)), conv("c2", "v", (3, 5), (2, 18)), Reshape("r", ("c2",), (180,)),
    Reshape("back", ("r",), (5, 36, 1)), Add("sum", ("back", "back")), full("fc", "r", (180, 4)), Reshape("w", ("sum",),
    (180,)), full("fd", "w", (180, 4)), Add("end", ("fc", "fd")),
)  # fmt: skip
GRAPHS = {"lenet": LENET, "residual": RESIDUAL, "fire": FIRE, "sliced": SLICED, "moved": MOVED}
Word = tuple[int, str, str, str, Any]  # cycle, level, access, operand, address; in DRAM map and word


def run(name: str, size: str, dataflow: str = "ws") -> SimulationResult:
    ifmap_bytes, memory = SIZES[size]
    wider = {"residual": "c5", "moved": "fc"}.get(name)  # so that words of terms and of results are not all as wide
    words = {wider: {"activation": {"kind": "log", "bits": 5}}} if wider else {}
    return simulate(GRAPHS[name], arch(ifmap_bytes, **memory).replace(dataflow=dataflow, layers=words), batch=BATCH)


def map_of(network: Graph, tensor: str) -> tuple[str, np.ndarray]:
    """Return the map that holds a tensor, and which word of the map each word of the tensor is; −1: a zero."""
    node = next((node for node in network.nodes if node.name == tensor), None)
    if not isinstance(node, Reshape | Transpose | Pad | Slice):
        shape = (BATCH, *network.shapes[tensor])
        return tensor, np.arange(np.prod(shape)).reshape(shape)
    name, words = map_of(network, node.inputs[0])
    if isinstance(node, Reshape):
        return name, words.reshape(BATCH, *node.shape)
    if isinstance(node, Transpose):
        return name, words.transpose(0, *(axis + 1 for axis in node.axes))
    if isinstance(node, Pad):
        margins = [(0, 0), *zip(node.before, node.after, strict=True)]
        return name, np.pad(words, margins, constant_values=-1)
    parts = [slice(*part) for part in zip(node.start, node.end, node.step, strict=True)]
    return name, words[:, *parts]


class Loops:
    """Plain loops over one sweep of a node: addresses are counted, not worked out."""

    def __init__(self, result: SimulationResult, work: PostResult, part: int, sweep: Sweep) -> None:
        between, piece = result.between, sweep.piece
        assert between is not None
        self.result, self.sweep, self.piece, self.around = result, sweep, piece, between.surroundings
        node = between.works[work.name]
        self.residual = work.kind == "residual"
        self.spots = chip_layout(result).steps[work.name][0]
        found = [map_of(between.graph, tensor) for tensor in node.inputs[part]]
        sizes = (BATCH, piece.channels, piece.rows.size, piece.columns.size)
        self.terms = [(name, words.reshape(sizes)) for name, words in found]
        whole = between.graph.shapes[work.name][0]
        first = sum(other.channels for other in node.pieces[:part])
        words = np.arange(BATCH * whole * piece.size[0] * piece.size[1]).reshape(BATCH, whole, *piece.size)
        self.made = work.name, words[:, first : first + piece.channels]

    def spot(self, term: int) -> Any:
        if term < 0:
            return self.spots[self.made[0]] if self.sweep.result_on_chip else None
        return self.spots[self.terms[term][0]] if self.sweep.terms_on_chip[term] else None

    def bits(self, term: int) -> int:
        return self.sweep.port.result_bits if term < 0 else self.sweep.port.term_bits[term]

    def in_map(self, term: int, image: int, *place: int) -> int:
        name, words = self.made if term < 0 else self.terms[term]
        assert name
        return int(words[(image, *place)])

    def is_word(self, term: int, *place: int) -> bool:
        """Is it no zero of a pad?"""
        return self.in_map(term, 0, *place) >= 0

    def held(self, term: int, block: Any) -> list[tuple[int, int, int]]:
        """Return the words that a block holds of a term, or of the result, in order."""
        rows, width = range(*block.rows), self.piece.size[1]
        if term >= 0:
            taps = [p * self.piece.rows.stride - self.piece.rows.before + tap * self.piece.rows.dilation
                    for p in rows for tap in range(self.piece.rows.taps)]  # fmt: skip
            rows = range(max(0, min(taps)), min(self.piece.rows.size, max(taps) + 1))
            width = self.piece.columns.size
        places = itertools.product(range(*block.channels), rows, range(width))
        return [place for place in places if self.is_word(term, *place)]

    def words(self) -> Iterator[Word]:
        operand, dram = "residual" if self.residual else "input", self.around.channel
        count = len(self.terms)
        apart = [term for term in (*range(count), -1) if self.spot(term) is None and (term >= 0 or self.piece.writes)]
        blocks = list(self.sweep.placed(self.around))
        need = max(sum(len(self.held(term, p.block)) * self.bits(term) for term in apart) for p in blocks)
        for placed in blocks:
            at, pads = placed.number % 2 * need, dict[tuple[int, tuple[int, int, int]], int]()
            for term in apart:
                for place in self.held(term, placed.block):
                    pads[term, place] = at // self.bits(term)
                    at += self.bits(term)

            def crossed(
                term: int, start: int, done: int, placed: Any = placed, pads: Any = pads
            ) -> Iterator[tuple[int, int, int]]:
                for place in self.held(term, placed.block):
                    done += self.bits(term)
                    cycle = start + (done - 1) // dram.bits_per_cycle  # type: ignore[operator]
                    yield cycle, self.in_map(term, placed.image, *place), pads[term, place]

            done = 0
            for term in [term for term in apart if term >= 0]:
                for cycle, word, pad in crossed(term, placed.spans.read.start + dram.latency_cycles, done):
                    yield cycle, "dram", "read", operand, (self.terms[term][0], word)
                    yield cycle, "ofmap", "write", operand, pad
                    if self.residual:
                        yield cycle, "ofmap", "read", operand, pad
                    done += self.bits(term)
            for cycle, word, pad in crossed(-1, placed.spans.write.start, 0) if -1 in apart else ():
                yield cycle, "dram", "write", "ofmap", (self.made[0], word)
                yield cycle, "ofmap", "read", "ofmap", pad
            if not self.residual:
                yield from self.lanes(placed, pads)

    def lanes(self, placed: Any, pads: dict[Any, int]) -> Iterator[Word]:
        cycle, lanes, piece = placed.spans.busy.start, self.around.lanes, self.piece
        port = self.result.arch.memory.ofmap.port_bits or 10**9  # type: ignore[union-attr]
        first, end = placed.block.channels

        def accessed(term: int, channel: int, row: int, column: int) -> tuple[str, int]:
            if (spot := self.spot(term)) is None:
                return "ofmap", pads[term, (channel, row, column)]
            word = self.in_map(term, placed.image, channel, row, column)
            return "ifmap", int(spot.address(np.array([word]))[0])

        for low in range(first, end, lanes):
            channels = range(low, min(low + lanes, end))
            for p, q in itertools.product(range(*placed.block.rows), range(piece.size[1])):
                steps = [
                    (row, column, term)
                    for r, s, term in itertools.product(
                        range(piece.rows.taps), range(piece.columns.taps), range(len(self.terms)))
                    if 0 <= (row := p * piece.rows.stride - piece.rows.before + r * piece.rows.dilation)
                    < piece.rows.size
                    and 0 <= (column := q * piece.columns.stride - piece.columns.before + s * piece.columns.dilation)
                    < piece.columns.size
                ]  # fmt: skip
                for step, (row, column, term) in enumerate(steps, start=1):
                    for channel in channels:
                        if self.is_word(term, channel, row, column):
                            level, address = accessed(term, channel, row, column)
                            yield cycle, level, "read", "input", address
                        if step == len(steps):
                            level, address = accessed(-1, channel, p, q)
                            yield cycle, level, "write", "ofmap", address
                    asked = [self.bits(term)] + [self.bits(-1)] * (step == len(steps))
                    cycle += max(-(-len(channels) * bits // port) for bits in asked)
        assert cycle == placed.spans.busy.end


def traced(result: SimulationResult, layer: str | None = None) -> Counter[tuple[str, Word]]:
    """Return every traced word; rows of each level are in the order of cycles, bytes of DRAM those of the map."""
    found: Counter[tuple[str, Word]] = Counter()
    layout = dram_layout(result)
    bases = {base: name for name, base in layout.maps.items()}
    bases |= {own["filter"]: f"{name} filters" for name, own in layout.layers.items()}
    latest: Counter[str] = Counter()
    for table in access_tables(result, layer):
        rows = table.rows
        columns = (rows.cycle, rows.kind, rows.address, rows.words, table.bits, table.address)
        for cycle, kind, first, words, bits, byte in zip(*(column.tolist() for column in columns), strict=True):
            assert latest[table.level] <= cycle and KINDS[kind].level == table.level
            latest[table.level] = cycle
            base = max(base for base in bases if base <= byte)
            assert byte == (base + first * (bits // words) // 8 if table.level == "dram" else first)
            for word in range(first, first + words):
                place = (bases[base], word) if table.level == "dram" else word
                found[table.layer, (cycle, *KINDS[kind], place)] += 1
    return found


SIZES = {  # bytes of the ifmap scratchpad, what else is small
    "little": (310, {}), "more": (650, {"ofmap": {"bytes": 300, "port_bits": 6}}), "room": (50_000, {}),
    "none": (900, {"handover": False}),
    "blocks": (900, {"handover": False, "ofmap": {"bytes": 200, "port_bits": 6}}),
}  # fmt: skip


def cases(*fast: tuple[str, ...], **axes: Any) -> Any:
    """Parametrise by graph and more; all but a few are slow."""
    every = itertools.product(GRAPHS, *axes.values())
    marked = [pytest.param(*case, marks=[] if case in fast else pytest.mark.slow) for case in every]
    return pytest.mark.parametrize(("name", *axes), marked)


FAST = (("moved", "more"), ("residual", "blocks"), ("fire", "more"), ("sliced", "little"), ("lenet", "room"))


@cases(*FAST, size=SIZES)
def test_every_word_between_layers_is_where_plain_loops_find_it(
    name: str, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if size in ("little", "more"):  # windows and chunks that cut everything into pieces change nothing
        monkeypatch.setattr(lane_accesses, "WINDOW_WORDS", 11)
        monkeypatch.setattr(lane_trace, "CHUNK_WORDS", 6)
    result = run(name, size)
    found = traced(result)
    steps = chosen_steps(result)
    assert sum(isinstance(item, PostResult) for item, _ in steps) >= 2
    layers = {item.name for item, _ in steps if isinstance(item, LayerResult)}
    for item, start in steps:
        if isinstance(item, PostResult) and not (item.kind == "residual" and item.maps_on_chip):
            wanted: Counter[Word] = Counter()
            for part, (sweep, own) in enumerate(sweep_starts(result, item)):
                for cycle, *rest in Loops(result, item, part, sweep).words():
                    wanted[start + own + cycle, *rest] += 1  # type: ignore[index]
            mine = Counter(
                {word: count for (layer, word), count in found.items()
                 if layer == item.name and (layer not in layers or word[3] == "residual")}
            )  # fmt: skip
            assert mine == wanted, item.name


def counted(result: SimulationResult) -> Counter[tuple[str, str, str]]:
    """Return the report's bits, by (layer or node, level, access)."""
    found: Counter[tuple[str, str, str]] = Counter()
    for item in (*result.layers, *result.post_work):
        own = item.traffic
        assert own is not None
        for level, flows in (("ifmap", (own.ifmap, own.handed)), ("filter", (own.filter,)),
                             ("ofmap", (own.psum, own.ofmap)), ("dram", (own.dram,))):  # fmt: skip
            for flow in flows:
                found[item.name, level, "read"] += flow.read_bits
                found[item.name, level, "write"] += flow.write_bits
    return found


@cases(("moved", "room", "os"), ("fire", "blocks", "ws"), size=SIZES, dataflow=("os", "ws"))
def test_files_hold_every_access_of_the_report(name: str, size: str, dataflow: str, tmp_path: Path) -> None:
    """Of each layer and node at each level, and in total; each within the cycles of its layer or node."""
    result = run(name, size, dataflow)
    sums = write_access_trace(result, tmp_path / "trace")
    found: Counter[tuple[str, str, str]] = Counter()
    spans: dict[str, tuple[int, int]] = {}
    for item, start in chosen_steps(result):
        spans[item.name] = spans.get(item.name, (start, 0))[0], start + item.total_cycles
    for level in ("ifmap", "filter", "ofmap", "dram"):
        with (tmp_path / "trace" / f"{level}.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                found[row["layer"], level, row["access"]] += int(row["bits"])
                assert spans[row["layer"]][0] <= int(row["cycle"]) < spans[row["layer"]][1]
    assert found == +counted(result)
    traffic = result.traffic
    assert traffic is not None
    for level, flow in (("ifmap", traffic.ifmap + traffic.handed), ("filter", traffic.filter),
                        ("ofmap", traffic.psum + traffic.ofmap), ("dram", traffic.dram)):  # fmt: skip
        for access, words, bits in (
            ("read", flow.read_words, flow.read_bits), ("write", flow.write_words, flow.write_bits),
        ):  # fmt: skip
            own = [counts for kind, counts in sums.items() if (kind.level, kind.access) == (level, access)]
            assert (sum(own_words for own_words, _ in own), sum(own_bits for _, own_bits in own)) == (words, bits)
    told = json.loads((tmp_path / "trace" / "trace.json").read_text())
    assert told["layers"] == [layer.name for layer in result.layers]
    assert told["between"] == [{"name": work.name, "work": work.kind} for work in result.post_work]


@cases(("fire", "more"), ("sliced", "more"), size=SIZES)
def test_nothing_is_read_that_was_not_written(name: str, size: str) -> None:
    """Input and filters are in DRAM from the beginning; on chip and in DRAM all else is written before it is read."""
    result = run(name, size)
    written: set[tuple[str, Any]] = set()
    # A residual comes from DRAM behind its layer, as the report times it; a word is written before it is read.
    for (_, (_, level, access, _, place)), _ in sorted(traced(result).items(), key=lambda item: order(item[0][1])):
        if access == "write":
            written.add((level, place))
        elif level != "dram" or (place[0] != "input" and not place[0].endswith(" filters")):
            assert (level, place) in written, (level, place)


def order(word: Word) -> tuple[int, bool]:
    return word[0], word[2] == "read"


def test_a_residual_on_chip_is_read_beside_the_words_that_it_is_added_to() -> None:
    """c3 adds c1, which stays: one word read in the cycle in which the lane writes that of the same place."""
    result = run("residual", "room")
    own = [word for layer, word in traced(result, "c3") if layer == "c3"]
    spots = chip_layout(result).steps["c3"][0]
    for which, operand, access in (("c1", "residual", "read"), ("c3", "ofmap", "write")):
        places = spots[which].address(np.arange(BATCH * 6 * 8 * 6)).tolist()
        mine = {
            place: cycle for cycle, level, how, what, place in own if (level, how, what) == ("ifmap", access, operand)
        }
        assert sorted(mine) == sorted(places)
        if operand == "residual":
            read = [mine[place] for place in places]
    assert read == [mine[place] for place in places] and len(set(read)) > 100


def test_a_layer_takes_a_transposed_map_where_it_lies() -> None:
    """c2 reads v, which is cat with other axes: its words, each in the cycle in which v's would cross."""
    result = run("moved", "little")
    layer = next(layer for layer in result.layers if layer.name == "c2")
    start = next(start for item, start in chosen_steps(result, "c2"))
    assert layer.tiled is not None and layer.mapping is not None and result.arch.memory is not None
    name, words = map_of(MOVED, "v")
    wanted: Counter[tuple[int, Any]] = Counter()
    for level, rows in trace_layer(layer.tiled, layer.mapping.mapping, result.arch.memory):
        for cycle, kind, first, count in zip(rows.cycle, rows.kind, rows.address, rows.words, strict=True):
            for word in range(first, first + count) if level == "dram" and KINDS[kind].operand == "ifmap" else ():
                wanted[start + int(cycle), (name, int(words.reshape(-1)[word]))] += 1
    mine = Counter({(word[0], word[4]): count for (_, word), count in traced(result, "c2").items()
                    if word[1:4] == ("dram", "read", "ifmap")})  # fmt: skip
    assert mine == wanted and len({word for _, word in wanted}) == words.size


def test_one_node_keeps_its_place_and_unknown_ones_are_named(tmp_path: Path) -> None:
    result = run("residual", "little")
    whole = traced(result)
    for name in ("sum", "c3"):
        assert traced(result, name) == {key: count for key, count in whole.items() if key[0] == name}
    with pytest.raises(ConfigError, match="--layer: no layer 'x'; there are c1, c2, c3, c4, sum, p, c5"):
        write_access_trace(result, tmp_path / "trace", layer="x")
    kept = replace(result, between=None)
    with pytest.raises(ConfigError, match="small on shift_4b_16x16: a kept row has no graph: simulate it again"):
        write_access_trace(kept, tmp_path / "trace")
    assert not list(tmp_path.iterdir())


def test_parquet_holds_the_same(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    result = run("sliced", "little")
    sums = write_access_trace(result, tmp_path / "csv")
    assert write_access_trace(result, tmp_path / "parquet", form="parquet") == sums
    for level in ("ifmap", "ofmap", "dram"):
        rows = [{key: str(value) for key, value in row.items()} for row in parquet.read_table(
            tmp_path / "parquet" / f"{level}.parquet").to_pylist()]  # fmt: skip
        with (tmp_path / "csv" / f"{level}.csv").open(newline="") as file:
            assert rows == list(csv.DictReader(file))
        assert {"residual", "input", "ofmap"} <= {row["operand"] for row in rows} or level == "ifmap"


def test_memory_does_not_grow_with_the_maps(tmp_path: Path) -> None:
    """Four times the images, four times the rows, the same peak."""
    pool = Pool("p", ("c",), "max", (3, 3), (1, 1), (1, 1, 1, 1))
    network = Graph("net", (4, 9, 8), (conv("c", "input", (4, 8), (9, 8)), pool), "p")
    peaks, sizes = [], []
    for batch in (1, 4):
        result = simulate(network, arch(4000), batch=batch)
        tracemalloc.start()
        write_access_trace(result, tmp_path / str(batch), layer="p")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        sizes.append(sum(path.stat().st_size for path in (tmp_path / str(batch)).iterdir()))
    assert sizes[1] > 3.7 * sizes[0]
    assert peaks[1] < 2 * peaks[0]
