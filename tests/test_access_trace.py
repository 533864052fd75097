"""Access traces: every access of every tile against plain loops, sums against the accounting, memory bounded."""

import csv
import itertools
import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import run
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_cases import some_mapping

from logaccel.arch import Memory, load_arch
from logaccel.errors import ConfigError
from logaccel.memory import accesses, transfers
from logaccel.memory.access_trace import KINDS, LEVELS, half_words, trace_layer
from logaccel.memory.mapper import candidates, fits
from logaccel.memory.tiles import Mapping, TiledLayer
from logaccel.memory.walk import PlacedTile, tile_matrix, walk
from logaccel.memory.widths import WordWidths
from logaccel.report.access_trace import write_access_trace
from logaccel.result import SimulationResult
from logaccel.schedule.folds import plan_folds
from logaccel.simulation import simulate
from logaccel.workload import Layer, Network

Word = tuple[int, str, str, str, int]  # cycle, level, access, operand, address


@st.composite
def tiled_layers(draw: st.DrawFn) -> TiledLayer:
    groups = draw(st.integers(1, 2))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 2)))
    layer = Layer(
        name="random", in_channels=groups * draw(st.integers(1, 4)), out_channels=groups * draw(st.integers(1, 5)),
        in_size=draw(st.tuples(st.integers(5, 6), st.integers(3, 5))), kernel=kernel,
        stride=draw(st.tuples(st.integers(1, 2), st.integers(1, 2))), padding=(draw(st.integers(0, 1)),) * 4,
        dilation=(draw(st.integers(1, 2)), 1), groups=groups,
    )  # fmt: skip
    array = {"rows": draw(st.integers(1, 4)), "cols": draw(st.integers(1, 4)), "overlap": draw(st.booleans()),
             "pipeline_stages": draw(st.integers(0, 2))}  # fmt: skip
    arch = load_arch("multiply_8b_16x16").replace(array=array)
    dataflow = draw(st.sampled_from(["os", "ws", "is"]))
    psum_bits = 8 if dataflow == "os" else draw(st.integers(8, 20))
    widths = WordWidths(draw(st.integers(1, 9)), draw(st.integers(1, 9)), psum_bits, 8)
    return TiledLayer(layer, draw(st.integers(1, 2)), arch.array, dataflow, widths)


def memory_of(size: int, ports: dict[str, Any] | None = None, **dram: Any) -> Memory:
    sections = {name: {"bytes": size} | (ports or {}) for name in ("ifmap", "filter", "ofmap")}
    return Memory.model_validate(sections | {"dram": {"bits_per_cycle": 16} | dram})


def across(layer: Layer, columns: range) -> list[int]:
    """Return the ifmap columns between the first and the last that are multiplied; of whole ofmap rows all."""
    taps = [q * layer.stride[1] + s * layer.dilation[1] - layer.padding[1] for q in columns
            for s in range(layer.kernel[1])]  # fmt: skip
    whole = len(columns) == layer.out_size[1]
    return [w for w in range(layer.in_size[1]) if whole or min(taps) <= w <= max(taps)]


def loops(tiled: TiledLayer, tile: PlacedTile) -> Iterator[Word]:
    """Walk every operand of every fold of a tile; addresses are counted, not worked out. Ports never bind."""
    layer, array, place = tiled.layer, tiled.array, tile.place
    images, rows, columns, channels, depth = (range(*axis) for axis in place[1:])
    taps = list(itertools.product(range(layer.kernel[0]), range(layer.kernel[1])))
    spots = list(itertools.product(images, rows, columns))
    places = list(itertools.product(depth, taps))

    def word(pixel: int, k: int) -> tuple[int, int, int, int] | None:
        (n, p, q), (c, (r, s)) = spots[pixel], places[k]
        h = p * layer.stride[0] + r * layer.dilation[0] - layer.padding[0]
        w = q * layer.stride[1] + s * layer.dilation[1] - layer.padding[1]
        return (n, c, h, w) if 0 <= h < layer.in_size[0] and 0 <= w < layer.in_size[1] else None

    lines = [
        p * layer.stride[0] + r * layer.dilation[0] - layer.padding[0] for p in rows for r in range(layer.kernel[0])
    ]
    held = [h for h in range(min(lines), max(lines) + 1) if 0 <= h < layer.in_size[0]]
    stored = {w: i for i, w in enumerate(itertools.product(images, depth, held, across(layer, columns)))}
    filters = {w: i for i, w in enumerate(itertools.product(range(len(places)), range(len(channels))))}
    outputs = {w: i for i, w in enumerate(itertools.product(range(len(spots)), range(len(channels))))}

    def ifmap(cycle: int, pixel: int, k: int) -> Iterator[Word]:
        if (found := word(pixel, k)) is not None:
            yield cycle, "ifmap", "read", "ifmap", stored[found]

    def kernel(cycle: int, k: int, m: int) -> Iterator[Word]:
        yield cycle, "filter", "read", "filter", filters[k, m]

    plan = plan_folds(tile_matrix(tiled, place), array, tiled.dataflow)
    d, high = array.pipeline_stages, array.rows
    before = None
    for fold in range(plan.count):
        s, r, c = int(plan.stream_starts[fold]), int(plan.rows[fold]), int(plan.cols[fold])
        top, left = int(plan.slice_of_inner[fold]) * high, int(plan.slice_of_outer[fold]) * array.cols
        length = plan.stream_length
        if tiled.dataflow == "os":
            for t, i in itertools.product(range(length), range(r)):
                yield from ifmap(s + t, top + i, t)
            for t, j in itertools.product(range(length), range(c)):
                yield from kernel(s + t, t, left + j)
            for i, j in itertools.product(range(r), range(c)):
                out = s + length + d + high - 1 + (r - 1 - i) + (j if array.overlap else c - 1)
                yield out, "ofmap", "write", "ofmap", outputs[top + i, left + j]
            continue
        load = s - r if before is None or not array.overlap else before
        before = s
        for i, j in itertools.product(range(r), range(c)):
            when = load + r - 1 - i
            yield from kernel(when, top + i, left + j) if tiled.dataflow == "ws" else ifmap(when, left + j, top + i)
        for t, i in itertools.product(range(length), range(r)):
            yield from ifmap(s + t, t, top + i) if tiled.dataflow == "ws" else kernel(s + t, top + i, t)
        begins = depth.start == 0 and top == 0
        ends = depth.stop == tiled.group_channels[1] and top + r == len(places)
        for t, j in itertools.product(range(length), range(c)):
            address = outputs[(t, left + j) if tiled.dataflow == "ws" else (left + j, t)]
            if not begins:
                yield s + d - 1 + j + t, "ofmap", "read", "psum", address
            yield s + d + high - 1 + j + t, "ofmap", "write", "ofmap" if ends else "psum", address


def crossing(tiled: TiledLayer, tile: PlacedTile, memory: Memory) -> Iterator[Word]:
    """Go through whole tensors word by word, take what belongs to the tile, and count bits on the channel."""
    layer, place, widths = tiled.layer, tile.place, tiled.widths
    m_all, c_all = tiled.group_channels
    images, rows, columns, channels, depth = (range(*axis) for axis in place[1:])
    lines = [
        p * layer.stride[0] + r * layer.dilation[0] - layer.padding[0] for p in rows for r in range(layer.kernel[0])
    ]
    held = range(min(lines), max(lines) + 1)
    taps = layer.kernel[0] * layer.kernel[1]

    def sent(
        tensor: str, access: str, bits: int, start: int, done: int, moved: list[tuple[int, int]]
    ) -> Iterator[Word]:
        for number, (dram, pad) in enumerate(moved, start=1):
            cycle = start + (done + number * bits - 1) // memory.dram.bits_per_cycle  # type: ignore[union-attr]
            yield cycle, "dram", access, tensor, dram
            yield cycle, tensor, "write" if access == "read" else "read", tensor, pad

    shape = (tiled.batch, layer.in_channels, *layer.in_size)
    block = [
        at for at, (n, c, h, w) in enumerate(itertools.product(*map(range, shape)))
        if n in images and c - place.group * c_all in depth and h in held and w in across(layer, columns)
    ]  # fmt: skip
    start = tile.spans.read.start + memory.dram.latency_cycles  # type: ignore[union-attr]
    new = tile.spans.work.ifmap_read_bits > 0
    yield from sent("ifmap", "read", widths.ifmap_bits, start, 0, [(at, i) for i, at in enumerate(block)] * new)
    if tile.spans.work.filter_read_bits:
        kernels = []
        for at, (m, c, tap) in enumerate(itertools.product(range(layer.out_channels), range(c_all), range(taps))):
            if m - place.group * m_all in channels and c in depth:
                number = m - place.group * m_all - channels.start
                kernels.append((at, ((c - depth.start) * taps + tap) * len(channels) + number))
        yield from sent("filter", "read", widths.filter_bits, start, new * len(block) * widths.ifmap_bits, kernels)
    if tile.spans.work.write_bits:
        spots = {spot: i for i, spot in enumerate(itertools.product(images, rows, columns, channels))}
        shape = (tiled.batch, layer.out_channels, *layer.out_size)
        back = [
            (at, spots[n, p, q, m - place.group * m_all])
            for at, (n, m, p, q) in enumerate(itertools.product(*map(range, shape)))
            if (n, p, q, m - place.group * m_all) in spots
        ]
        yield from sent("ofmap", "write", widths.ofmap_bits, tile.spans.write.start, 0, back)


def expected(tiled: TiledLayer, mapping: Mapping, memory: Memory) -> Counter[Word]:
    found: Counter[Word] = Counter()
    half = half_words(tiled, mapping)
    turn = {"ifmap": 1, "filter": 1, "ofmap": 1, "dram": 0}
    for tile in walk(tiled, mapping, memory):
        turn["ifmap"] ^= tile.spans.work.ifmap_read_bits > 0
        turn["filter"] ^= tile.spans.work.filter_read_bits > 0
        turn["ofmap"] ^= tile.place.ifmap_channels[0] == 0
        words = [(tile.spans.busy.start + cycle, *rest) for cycle, *rest in loops(tiled, tile)]
        for cycle, level, access, operand, address in [*words, *crossing(tiled, tile, memory)]:
            found[cycle, level, access, operand, address + turn[level] * half.get(level, 0)] += 1
    return found


def traced(tiled: TiledLayer, mapping: Mapping, memory: Memory) -> Counter[Word]:
    found: Counter[Word] = Counter()
    latest = dict.fromkeys(LEVELS, -1)
    for level, rows in trace_layer(tiled, mapping, memory):
        for cycle, kind, address, words in zip(
            rows.cycle.tolist(), rows.kind.tolist(), rows.address.tolist(), rows.words.tolist(), strict=True
        ):
            assert KINDS[kind].level == level and latest[level] <= cycle
            latest[level] = cycle
            for word in range(words):
                found[cycle, level, KINDS[kind].access, KINDS[kind].operand, address + word] += 1
    return found


def fitting_mapping(tiled: TiledLayer, memory: Memory, pick: int) -> Mapping | None:
    fitting = [mapping for mapping in candidates(tiled) if fits(tiled, mapping, memory)]
    mapping = some_mapping(tiled, pick, fitting) if fitting else None
    return mapping if mapping is None or fits(tiled, mapping, memory) else fitting[0]


@given(
    tiled=tiled_layers(), pick=st.integers(0, 9999), latency=st.integers(0, 5), small=st.booleans(),
    width=st.integers(3, 40),
)  # fmt: skip
@settings(max_examples=30)
def test_every_access_is_where_plain_loops_find_it(
    tiled: TiledLayer, pick: int, latency: int, small: bool, width: int
) -> None:
    memory = memory_of(400, bits_per_cycle=width, latency_cycles=latency)
    mapping = fitting_mapping(tiled, memory, pick)
    if mapping is None:
        return
    with pytest.MonkeyPatch.context() as patch:
        if small:  # windows and chunks that cut everything into pieces change nothing
            patch.setattr(accesses, "WINDOW_WORDS", 149)
            patch.setattr(transfers, "CHUNK_WORDS", 5)
        assert traced(tiled, mapping, memory) == expected(tiled, mapping, memory)


@given(
    tiled=tiled_layers(), pick=st.integers(0, 9999), widths=st.tuples(*[st.integers(3, 40)] * 3),
    banks=st.tuples(*[st.sampled_from([None, 1, 2, 3, 4])] * 3), whole=st.booleans(),
)  # fmt: skip
@settings(max_examples=60)
def test_cycles_found_access_by_access_are_those_of_the_timing(
    tiled: TiledLayer, pick: int, widths: tuple[int, ...], banks: tuple[int | None, ...], whole: bool
) -> None:
    """What each port is asked for in each cycle, counted from addresses, adds up to the closed form's stalls."""
    tiled = replace(tiled, ifmap_on_chip=whole)  # handed over: the tile's words lie in a larger map
    memory = memory_of(400)
    names = ("ifmap", "filter", "ofmap")
    ports = zip(names, widths, banks, strict=True)
    pads = {name: memory.ifmap.model_copy(update={"port_bits": bits, "banks": bank}) for name, bits, bank in ports}
    memory = memory.model_copy(update=pads)
    mapping = fitting_mapping(tiled, memory, pick)
    if mapping is None:
        return
    for tile in walk(tiled, mapping, memory):
        elapsed = [after for _, after in accesses.TileAccesses(tiled, tile.place, memory).windows()]
        assert elapsed[-1] == tile.spans.busy.cycles


@given(tiled=tiled_layers(), pick=st.integers(0, 9999))
@settings(max_examples=15)
def test_a_device_with_banks_moves_the_same_words(tiled: TiledLayer, pick: int) -> None:
    """Same rows of addresses as over a plain channel; cycles within the transfers, the last word in the last cycle."""
    plain = memory_of(400)
    banked = Memory.model_validate(plain.model_dump() | {"dram": {"kind": "banked", "device": "ddr4_2400"}})
    mapping = fitting_mapping(tiled, plain, pick)
    if mapping is None:
        return
    moved = [
        Counter((level, KINDS[k].operand, a + i) for level, rows in trace_layer(tiled, mapping, memory)
                for k, a, n in zip(rows.kind.tolist(), rows.address.tolist(), rows.words.tolist(), strict=True)
                for i in range(n))
        for memory in (plain, banked)
    ]  # fmt: skip
    assert moved[0] == moved[1]
    for tile in walk(tiled, mapping, banked):
        for found, span in (
            (transfers.reads(tiled, tile, banked.dram), tile.spans.read),
            (transfers.writes(tiled, tile, banked.dram), tile.spans.write),
        ):
            cycles = [cycle for part in found for cycle in part.cycle.tolist()]
            assert cycles == sorted(cycles)
            assert not cycles or (span.start <= cycles[0] and cycles[-1] == span.end - 1)


LAYERS = (
    Layer(name="conv", in_channels=8, out_channels=12, in_size=13, kernel=3, stride=2, padding=1, groups=2),
    Layer(name='a "fc", deep', kind="fc", in_channels=300, out_channels=70),
)


def result_of(dataflow: str, **changes: Any) -> SimulationResult:
    memory = {"ifmap": {"bytes": 2400}, "filter": {"bytes": 3000}, "ofmap": {"bytes": 700},
              "dram": {"bits_per_cycle": 32, "latency_cycles": 20, "burst_bits": 128}}  # fmt: skip
    arch = load_arch("multiply_8b_16x16").replace(
        memory=memory, dataflow=dataflow, array={"rows": 8, "cols": 8}, **changes
    )
    return simulate(Network(name="net", batch=2, layers=LAYERS), arch)


def rows_of(folder: Path, level: str) -> list[dict[str, str]]:
    with (folder / f"{level}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_files_hold_what_the_report_counts(tmp_path: Path, dataflow: str) -> None:
    result = result_of(dataflow)
    sums = write_access_trace(result, tmp_path / "trace")
    assert sorted(path.name for path in (tmp_path / "trace").iterdir()) == sorted(
        ["trace.json", *(f"{name}.csv" for name in LEVELS)]
    )
    told = json.loads((tmp_path / "trace" / "trace.json").read_text())
    assert told["architecture"]["name"] == result.arch.name and told["logaccel_version"] == result.version
    counted = {(own["level"], own["access"], own["operand"]): (own["words"], own["bits"]) for own in told["sums"]}
    assert counted == {(kind.level, kind.access, kind.operand): own for kind, own in sums.items()}
    found: Counter[tuple[str, str, str, str]] = Counter()
    start = {
        layer.name: sum(other.total_cycles for other in result.layers[:i]) for i, layer in enumerate(result.layers)
    }
    for level in LEVELS:
        for row in rows_of(tmp_path / "trace", level):
            found[row["layer"], level, row["access"], row["operand"]] += int(row["bits"])
            layer = next(item for item in result.layers if item.name == row["layer"])
            assert 0 <= int(row["cycle"]) - start[layer.name] < layer.total_cycles
    for layer in result.layers:
        traffic = layer.traffic
        assert traffic is not None and layer.mapping is not None

        def bits(level: str, access: str, operand: str, name: str = layer.name) -> int:
            return found[name, level, access, operand]

        for operand in ("ifmap", "filter"):
            assert bits(operand, "read", operand) == getattr(traffic, operand).read_bits
            assert bits(operand, "write", operand) == getattr(traffic, operand).write_bits
        for operand in ("psum", "ofmap"):
            assert bits("ofmap", "read", operand) == getattr(traffic, operand).read_bits
            assert bits("ofmap", "write", operand) == getattr(traffic, operand).write_bits
        assert bits("ifmap", "write", "ofmap") == 0 == traffic.handed.write_bits
        assert bits("dram", "read", "ifmap") + bits("dram", "read", "filter") == layer.mapping.dram_read_bits
        assert bits("dram", "write", "ofmap") == layer.mapping.dram_write_bits
        assert bits("filter", "read", "filter") == 8 * layer.activity.filter_reads
        assert bits("ofmap", "read", "psum") == layer.activity.psum_reads * (0 if dataflow == "os" else 32)
    total: Counter[tuple[str, str, str]] = Counter()
    for (_, *kind), count in found.items():
        total[tuple(kind)] += count  # type: ignore[index]
    assert {tuple(kind): count for kind, (_, count) in sums.items() if count} == dict(total)


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_a_map_handed_over_is_read_where_it_was_written(tmp_path: Path, dataflow: str) -> None:
    first = Layer(name="first", in_channels=4, out_channels=6, in_size=9, kernel=3, padding=1)
    layers = [first] + [first.model_copy(update={"name": name, "in_channels": 6}) for name in ("second", "third")]
    arch = load_arch("multiply_8b_16x16").replace(
        memory={name: {"bytes": 6000} for name in ("ifmap", "filter", "ofmap")} | {"dram": {"bits_per_cycle": 16}},
        dataflow=dataflow, array={"rows": 8, "cols": 8},
    )  # fmt: skip
    result = simulate(Network(name="chain", batch=2, layers=tuple(layers)), arch)
    assert [layer.tiled is not None and layer.tiled.ofmap_on_chip for layer in result.layers] == [True, True, False]
    write_access_trace(result, tmp_path / "trace")

    def words(level: str, layer: str, access: str, operand: str) -> Counter[int]:
        rows = [row for row in rows_of(tmp_path / "trace", level) if row["layer"] == layer]
        return Counter(
            int(row["address"]) + word for row in rows if (row["access"], row["operand"]) == (access, operand)
            for word in range(int(row["words"]))
        )  # fmt: skip

    for before, after in itertools.pairwise(result.layers):
        written = words("ifmap", before.name, "write", "ofmap")
        read = words("ifmap", after.name, "read", "ifmap")
        assert len(written) == 2 * 6 * 81 and set(written.values()) == {1} and set(read) == set(written)
        assert before.traffic is not None and before.traffic.handed.write_words == len(written)
        assert not words("dram", before.name, "write", "ofmap") and not words("dram", after.name, "read", "ifmap")
        own = set(words("ifmap", before.name, "read", "ifmap"))
        assert not own & set(written) and max(own | set(written)) < 6000


def test_tensors_in_dram_never_meet(tmp_path: Path) -> None:
    write_access_trace(result_of("ws"), tmp_path / "trace")
    owner: dict[int, tuple[str, str]] = {}
    for row in rows_of(tmp_path / "trace", "dram"):
        for byte in range(int(row["address"]), int(row["address"]) + int(row["bits"]) // 8):
            assert owner.setdefault(byte, (row["layer"], row["operand"])) == (row["layer"], row["operand"])
    sizes = Counter(owner.values())
    assert sizes["conv", "filter"] == 12 * 4 * 9 and sizes['a "fc", deep', "ofmap"] == 2 * 70 * 2  # 16 b logits


def test_one_layer_keeps_its_place(tmp_path: Path) -> None:
    result = result_of("os")
    write_access_trace(result, tmp_path / "all")
    write_access_trace(result, tmp_path / "one", layer=LAYERS[1].name)
    for level in LEVELS:
        whole = [row for row in rows_of(tmp_path / "all", level) if row["layer"] == LAYERS[1].name]
        assert rows_of(tmp_path / "one", level) == whole


def test_parquet_holds_the_same(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    result = result_of("ws")
    sums = write_access_trace(result, tmp_path / "csv")
    assert write_access_trace(result, tmp_path / "parquet", form="parquet") == sums
    for level in LEVELS:
        rows = [{key: str(value) for key, value in row.items()} for row in parquet.read_table(
            tmp_path / "parquet" / f"{level}.parquet").to_pylist()]  # fmt: skip
        assert rows == rows_of(tmp_path / "csv", level)


def test_memory_does_not_grow_with_the_layer(tmp_path: Path) -> None:
    """Eight times the images, eight times the rows, the same peak."""
    layer = Layer(name="conv", in_channels=8, out_channels=16, in_size=16, kernel=3, padding=1)
    arch = load_arch("multiply_8b_16x16").replace(
        memory={name: {"bytes": 4096} for name in ("ifmap", "filter", "ofmap")} | {"dram": {"bits_per_cycle": 64}}
    )
    peaks, sizes = [], []
    for batch in (1, 8):
        result = simulate(Network(name="net", batch=batch, layers=(layer,)), arch)
        tracemalloc.start()
        write_access_trace(result, tmp_path / str(batch))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        sizes.append(sum(path.stat().st_size for path in (tmp_path / str(batch)).iterdir()))
    assert sizes[1] > 7 * sizes[0]
    assert peaks[1] < 1.2 * peaks[0] and peaks[1] < 30e6


def test_from_the_command_line(tmp_path: Path) -> None:
    network = tmp_path / "products.csv"
    network.write_text("Layer, M, N, K,\na, 40, 30, 20,\nb, 64, 64, 64,\n")
    args = ("simulate", "gemmini_16x16", "--network", network, "--layer", "b", "--csv")
    done = run(*args, "--access-trace", tmp_path / "a")
    assert done.returncode == 0 and "dram read filter: 4,096 words, 32,768 bits" in done.stderr
    assert sum(int(row["words"]) for row in rows_of(tmp_path / "a", "dram")) == 3 * 4096
    bare = run("simulate", "multiply_8b_16x16", "--network", network, "--access-trace", tmp_path / "b")
    assert bare.returncode == 2 and "multiply_8b_16x16 has no memory" in bare.stderr and not (tmp_path / "b").exists()
    wrong = run(*args, "--access-trace", tmp_path / "c", "--trace-format", "xml")
    assert wrong.returncode == 2 and "--trace-format: must be csv or parquet, got 'xml'" in wrong.stderr
    (tmp_path / "file").write_text("")
    assert run(*args, "--access-trace", tmp_path / "file").returncode == 2
    assert run(*args, "--access-trace", tmp_path / "none" / "d").returncode == 2


def test_a_failure_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Iterator[None]:
        raise OSError("no space left")
        yield

    monkeypatch.setattr("logaccel.memory.transfers.writes", broken)
    with pytest.raises(OSError, match="no space left"):
        write_access_trace(result_of("os"), tmp_path / "trace")
    (tmp_path / "there").mkdir()
    with pytest.raises(OSError, match="no space left"):
        write_access_trace(result_of("os"), tmp_path / "there")
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_an_unknown_layer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no layer 'x'; there are conv"):
        write_access_trace(result_of("os"), tmp_path / "trace", layer="x")
    assert not (tmp_path / "trace").exists()
