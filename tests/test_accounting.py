"""Reads and writes of every level: closed forms against a walk over every fold of every tile, and conservation."""

from collections import Counter
from dataclasses import asdict, fields
from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_cases import some_mapping

from logaccel.arch import PEArray
from logaccel.memory.accounting import Flow, Traffic, count_work, taps_inside
from logaccel.memory.tiles import Mapping, TiledLayer
from logaccel.memory.widths import WordWidths
from logaccel.schedule.activity import count_activity
from logaccel.schedule.folds import plan_folds
from logaccel.workload import Layer


@st.composite
def tiled_layers(draw: st.DrawFn) -> TiledLayer:
    groups = draw(st.integers(1, 2))
    layer = Layer(
        name="random",
        in_channels=groups * draw(st.integers(1, 4)),
        out_channels=groups * draw(st.integers(1, 5)),
        in_size=(draw(st.integers(3, 6)), draw(st.integers(3, 5))),
        kernel=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        stride=(draw(st.integers(1, 3)), draw(st.integers(1, 2))),
        padding=(draw(st.integers(1, 2)), draw(st.integers(0, 2)), draw(st.integers(1, 2)), draw(st.integers(2, 3))),
        dilation=(draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        groups=groups,
    )
    array = PEArray(rows=draw(st.integers(1, 4)), cols=draw(st.integers(1, 4)), overlap=draw(st.booleans()))
    widths = WordWidths(*(draw(st.integers(1, 9)) for _ in range(4)))
    return TiledLayer(layer, draw(st.integers(1, 2)), array, draw(st.sampled_from(["os", "ws", "is"])), widths)


def parts(size: int, step: int) -> list[list[int]]:
    return [list(range(at, min(size, at + step))) for at in range(0, size, step)]


class Walk:
    """Runs a tiled layer word by word: scratchpads are sets and dictionaries of single words, nothing is multiplied."""

    def __init__(self, tiled: TiledLayer, mapping: Mapping) -> None:
        self.tiled, self.mapping = tiled, mapping
        self.count: Counter[str] = Counter()
        self.products: Counter[tuple[int, ...]] = Counter()
        self.held: dict[str, tuple[object, set[tuple[int, ...]]]] = {"ifmap": (None, set()), "filter": (None, set())}
        self.psums: set[tuple[int, ...]] = set()  # raw, in the ofmap scratchpad
        self.finished: Counter[tuple[int, ...]] = Counter()
        self.run()

    def run(self) -> None:
        layer, (channels, depth) = self.tiled.layer, self.tiled.group_channels
        maps = [
            (n, p, q)
            for n in parts(self.tiled.batch, self.mapping.images)
            for p in parts(layer.out_size[0], self.mapping.ofmap_rows)
            for q in parts(layer.out_size[1], self.mapping.ofmap_columns)
        ]
        slices = parts(channels, self.mapping.ofmap_channels)
        outer = [(m, where) for m in slices for where in maps]
        if self.mapping.order == "pixels":
            outer = [(m, where) for where in maps for m in slices]
        depths = parts(depth, self.mapping.ifmap_channels)
        for group in range(layer.groups):
            for ms, where in outer:
                for cs in depths:
                    self.fill(group, ms, where, cs)
                    self.tile(group, ms, list(product(*where)), cs, cs is depths[0], cs is depths[-1])
                written_back = sum(1 for _ in product(*where, ms))
                self.count["ofmap_reads"] += written_back
                self.count["dram_ofmap_writes"] += written_back

    def fill(self, group: int, ms: list[int], where: tuple[list[int], ...], cs: list[int]) -> None:
        layer, (ns, ps, qs) = self.tiled.layer, where
        lines = [
            p * layer.stride[0] + r * layer.dilation[0] - layer.padding[0] for p in ps for r in range(layer.kernel[0])
        ]
        stored = [h for h in range(min(lines), max(lines) + 1) if 0 <= h < layer.in_size[0]]
        spots = [
            q * layer.stride[1] + s * layer.dilation[1] - layer.padding[1] for q in qs for s in range(layer.kernel[1])
        ]
        across = range(layer.in_size[1])
        if len(qs) < layer.out_size[1]:
            across = range(max(0, min(spots)), min(layer.in_size[1], max(spots) + 1))
        ifmap = {(group, n, c, h, w) for n in ns for c in cs for h in stored for w in across}
        filters = {
            (group, m, c, r, s) for m in ms for c in cs for r in range(layer.kernel[0]) for s in range(layer.kernel[1])
        }
        for name, key, words in (
            ("ifmap", (group, tuple(ns), tuple(ps), tuple(qs), tuple(cs)), ifmap),
            ("filter", (group, tuple(ms), tuple(cs)), filters),
        ):
            if self.held[name][0] != key:
                self.count[f"dram_{name}_reads"] += len(words)
                self.count[f"{name}_writes"] += len(words)
                self.held[name] = (key, words)

    def tile(
        self, group: int, ms: list[int], pixels: list[tuple[int, ...]], cs: list[int], first: bool, last: bool
    ) -> None:
        layer, array = self.tiled.layer, self.tiled.array
        taps = [(c, r, s) for c in cs for r in range(layer.kernel[0]) for s in range(layer.kernel[1])]
        if self.tiled.dataflow == "os":
            for some in parts(len(ms), array.cols):
                for few in parts(len(pixels), array.rows):
                    for tap in taps:
                        for i in few:
                            self.fetch_ifmap(group, pixels[i], tap)
                        for j in some:
                            self.fetch_filter(group, ms[j], tap)
                        self.multiply(group, [pixels[i] for i in few], [ms[j] for j in some], [tap])
                    for i in few:
                        for j in some:
                            self.leave(group, pixels[i], ms[j], True)
            return
        columns, stream = (ms, pixels) if self.tiled.dataflow == "ws" else (pixels, ms)
        for some in parts(len(columns), array.cols):
            slices = parts(len(taps), array.rows)
            for number, few in enumerate(slices):
                self.load(group, [columns[j] for j in some], [taps[i] for i in few])
                for moving in stream:
                    for i in few:
                        self.stream_in(group, moving, taps[i])
                    for j in some:
                        pixel, m = (moving, columns[j]) if self.tiled.dataflow == "ws" else (columns[j], moving)
                        if number or not first:
                            assert (group, *pixel, m) in self.psums  # was written before
                            self.psums.remove((group, *pixel, m))
                            self.count["psum_reads"] += 1
                        self.multiply(group, [pixel], [m], [taps[i] for i in few])  # type: ignore[list-item]
                        self.leave(group, pixel, m, last and few is slices[-1])  # type: ignore[arg-type]

    def load(self, group: int, columns: list, taps: list) -> None:
        for column in columns:
            for tap in taps:
                if self.tiled.dataflow == "ws":
                    self.fetch_filter(group, column, tap)
                else:
                    self.fetch_ifmap(group, column, tap)

    def stream_in(self, group: int, moving: object, tap: tuple[int, int, int]) -> None:
        if self.tiled.dataflow == "ws":
            self.fetch_ifmap(group, moving, tap)  # type: ignore[arg-type]
        else:
            self.fetch_filter(group, moving, tap)  # type: ignore[arg-type]

    def fetch_ifmap(self, group: int, pixel: tuple[int, int, int], tap: tuple[int, int, int]) -> None:
        (n, p, q), (c, r, s), layer = pixel, tap, self.tiled.layer
        h = p * layer.stride[0] + r * layer.dilation[0] - layer.padding[0]
        w = q * layer.stride[1] + s * layer.dilation[1] - layer.padding[1]
        if 0 <= h < layer.in_size[0] and 0 <= w < layer.in_size[1]:  # padding is no word
            assert (group, n, c, h, w) in self.held["ifmap"][1]
            self.count["ifmap_reads"] += 1

    def fetch_filter(self, group: int, m: int, tap: tuple[int, int, int]) -> None:
        assert (group, m, *tap) in self.held["filter"][1]
        self.count["filter_reads"] += 1

    def multiply(self, group: int, pixels: list, ms: list, taps: list) -> None:
        for pixel in pixels:
            for m in ms:
                for tap in taps:
                    self.products[(group, *pixel, m, *tap)] += 1

    def leave(self, group: int, pixel: tuple[int, int, int], m: int, done: bool) -> None:
        if done:
            self.finished[(group, *pixel, m)] += 1
            self.count["ofmap_writes"] += 1
        else:
            self.psums.add((group, *pixel, m))
            self.count["psum_writes"] += 1


def words(traffic: Traffic) -> dict[str, int]:
    found = {}
    for field in fields(Traffic):
        flow: Flow = getattr(traffic, field.name)
        found[f"{field.name}_reads"], found[f"{field.name}_writes"] = flow.read_words, flow.write_words
    return found


@given(tiled=tiled_layers(), pick=st.integers(0, 10_000))
@settings(max_examples=300)
def test_every_word_is_counted_and_nothing_is_lost(tiled: TiledLayer, pick: int) -> None:
    mapping = some_mapping(tiled, pick)
    work = count_work(tiled, mapping)
    walk = Walk(tiled, mapping)
    traffic, layer = work.traffic, tiled.layer
    assert {key: count for key, count in words(traffic).items() if count} == dict(walk.count)

    outputs = tiled.batch * layer.out_channels * layer.out_size[0] * layer.out_size[1]
    assert set(walk.products.values()) == {1}  # every product once
    assert len(walk.products) == work.activity.macs == layer.matrix(tiled.batch).macs
    assert set(walk.finished.values()) == {1} and len(walk.finished) == outputs  # every ofmap word once
    assert not walk.psums and traffic.psum.read_words == traffic.psum.write_words
    assert traffic.psum.read_words == work.activity.psum_reads
    assert traffic.ifmap.write_words == traffic.dram_ifmap.read_words
    assert traffic.filter.write_words == traffic.dram_filter.read_words
    assert traffic.ofmap.read_words == traffic.dram_ofmap.write_words == outputs

    for name, bits in asdict(tiled.widths).items():
        for flow in (getattr(traffic, key) for key in (name.removesuffix("_bits"), f"dram_{name.removesuffix('_bits')}")
                     if hasattr(traffic, key)):  # fmt: skip
            assert (flow.read_bits, flow.write_bits) == (flow.read_words * bits, flow.write_words * bits)
    works = list(tiled.tiles(mapping))
    assert sum(tile.ifmap_read_bits for tile in works) == traffic.dram_ifmap.read_bits
    assert sum(tile.filter_read_bits for tile in works) == traffic.dram_filter.read_bits
    assert sum(tile.write_bits for tile in works) == traffic.dram_ofmap.write_bits


@given(tiled=tiled_layers(), pick=st.integers(0, 10_000))
@settings(max_examples=300)
def test_activity_is_that_of_the_tiles(tiled: TiledLayer, pick: int) -> None:
    """Tile by tile, fold by listed fold; psums taken up from the tile before are counted on top."""
    mapping = some_mapping(tiled, pick)
    layer, (channels, depth) = tiled.layer, tiled.group_channels
    total: Counter[str] = Counter()
    folds = used = 0
    maps = product(
        parts(tiled.batch, mapping.images),
        parts(layer.out_size[0], mapping.ofmap_rows),
        parts(layer.out_size[1], mapping.ofmap_columns),
    )
    for (n, p, q), m in product(maps, parts(channels, mapping.ofmap_channels)):
        for number, c in enumerate(parts(depth, mapping.ifmap_channels)):
            part = layer.model_copy(update={"groups": 1, "in_channels": len(c), "out_channels": len(m)})
            matrix = part.matrix(1)
            matrix = type(matrix)(1, len(n) * len(p) * len(q), len(m), matrix.reduction)
            plan = plan_folds(matrix, tiled.array, tiled.dataflow)
            counts = asdict(count_activity(plan, live_products=0))
            total.update(counts)
            if tiled.dataflow != "os" and number:
                total["psum_reads"] += matrix.pixels * matrix.channels
            folds += plan.count
            used += int(np.sum(plan.rows * plan.cols))
    work = count_work(tiled, mapping, live_products=7)
    expected = {key: layer.groups * value for key, value in total.items()} | {"live_products": 7}
    assert asdict(work.activity) == expected
    assert (work.folds, work.used_pes) == (layer.groups * folds, layer.groups * used)


@given(tiled=tiled_layers())
@settings(max_examples=100)
def test_padding_is_no_word(tiled: TiledLayer) -> None:
    layer = tiled.layer
    inside = []
    for axis in range(2):
        places = [
            p * layer.stride[axis] + r * layer.dilation[axis] - layer.padding[axis]
            for p in range(layer.out_size[axis])
            for r in range(layer.kernel[axis])
        ]
        inside.append(sum(0 <= place < layer.in_size[axis] for place in places))
    assert taps_inside(layer) == tuple(inside)
