"""Networks onto memories: dataflow by layer, fixed parts, the loop nest that is shown, `logaccel map`."""

import json
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import refused, run

import logaccel
from logaccel import ConfigError, Layer, Network, load_arch, load_network, map_network, simulate
from logaccel.arch import Architecture
from logaccel.cosimulation import rtl_layer
from logaccel.cost import array_area, load_profile
from logaccel.memory.explain import loop_nest, rooms
from logaccel.memory.mapper import MappedLayer
from logaccel.schedule.folds import plan_folds
from logaccel.trace import synthesize_trace

DATAFLOWS = ("os", "ws", "is")
MEMORY = {
    "ifmap": {"bytes": 3000}, "filter": {"bytes": 2000}, "ofmap": {"bytes": 6000},
    "dram": {"bits_per_cycle": 16, "latency_cycles": 20, "burst_bits": 64},
}  # fmt: skip
NETWORK = Network(
    name="three",
    batch=2,
    layers=(
        Layer(name="a", in_channels=3, out_channels=20, in_size=(12, 11), kernel=(3, 3), padding=(1, 1, 1, 1)),
        Layer(name="b", in_channels=20, out_channels=10, in_size=(12, 11), kernel=(3, 2), groups=2),
        Layer(name="c", kind="fc", in_channels=1000, out_channels=10),
    ),
)


def arch(**changes: Any) -> Architecture:
    return load_arch("shift_4b_16x16").replace(**({"memory": MEMORY} | changes))


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_the_loops_shown_are_the_tiles_and_folds_that_run(dataflow: str) -> None:
    for choice in map_network(NETWORK, arch(dataflow=dataflow)).layers:
        planned = choice.planned
        assert planned.tiled is not None and planned.mapped is not None and planned.arch.memory is not None
        loops = loop_nest(planned.tiled, planned.mapped.mapping)
        assert prod(loop.blocks for loop in loops if loop.level == "DRAM") == planned.mapped.tiles
        matrix = planned.layer.matrix(2)
        height, width = planned.layer.out_size
        sizes = {"groups": matrix.groups, "images": 2, "ofmap rows": height, "ofmap columns": width,
                 "ofmap channels": matrix.channels, "ifmap channels": planned.tiled.group_channels[1]}  # fmt: skip
        for loop in (loop for loop in loops if loop.level == "DRAM"):
            assert (loop.blocks - 1) * loop.size + (loop.ragged or loop.size) == sizes[loop.over]
        folds = plan_folds(
            planned.layer.model_copy(update={"groups": 1}).matrix(1), planned.arch.array, planned.arch.one_dataflow
        )
        assert loops[-1].level == "array" and folds.count
        for name, room in rooms(planned.tiled, planned.mapped.mapping, planned.arch.memory).items():
            bits = sum(held.copies * prod(held.words) * held.word_bits for held in room.contents)
            assert bits <= 8 * room.need_bytes < bits + 8
            assert room.need_bytes <= room.capacity_bytes == MEMORY[name]["bytes"]  # type: ignore[index]


@pytest.mark.parametrize("objective", ["cycles", "energy", "edp", "traffic"])
def test_the_runner_up_costs_more_and_the_difference_says_how(objective: str) -> None:
    mapped = map_network(NETWORK, arch(memory=MEMORY | {"objective": objective}))
    assert "runner-up" in mapped.summary()
    for layer in mapped.to_dict()["layers"]:
        other = layer["runner_up"]
        assert other["cost"] >= layer["cost"] and other["mapping"] != layer["mapping"]
        for key, difference in other["differences"].items():
            assert other[key] - layer[key] == difference


def test_the_energy_of_a_mapping_is_that_of_the_simulation() -> None:
    for dataflow in DATAFLOWS:
        machine = arch(dataflow=dataflow, cost_profile="aladdin_40nm")
        result = simulate(NETWORK, machine)
        for layer in result.layers:
            assert layer.mapping is not None and layer.mapping.energy_pj is not None
            leakage = layer.energy.memory.leakage_pj / layer.total_cycles  # type: ignore[union-attr]
            latency = machine.post.stages * leakage  # of post-processing, the same for all mappings
            assert layer.mapping.energy_pj + latency == pytest.approx(layer.energy_system_pj, rel=1e-12)


@pytest.mark.parametrize("dataflow", [*DATAFLOWS, "auto"])
@pytest.mark.parametrize("workload", [NETWORK, synthesize_trace(NETWORK, seed=1)], ids=["network", "trace"])
def test_layers_take_what_they_take_in_a_simulation(workload: Any, dataflow: str) -> None:
    machine = arch(dataflow=dataflow, cost_profile="aladdin_40nm", post={"stages": 7})
    mapped = map_network(workload, machine)
    for choice, told, layer in zip(
        mapped.layers, mapped.to_dict()["layers"], simulate(workload, machine).layers, strict=True
    ):
        for key in ("compute_cycles", "stall_cycles"):
            assert told[key] == getattr(layer, key)
        assert f"cycles {layer.total_cycles:,}: {layer.compute_cycles:,} compute" in mapped.summary()
        if isinstance(workload, Network):  # live products of a trace are known only once it has run
            assert told["energy_pj"] == pytest.approx(layer.energy_system_pj, rel=1e-12)
        for other in (told["runner_up"], *told["other_dataflows"].values()):
            assert other["compute_cycles"] - told["compute_cycles"] == other["differences"]["compute_cycles"]
        assert choice.runner_up is not None
        assert told["runner_up"]["compute_cycles"] == choice.runner_up.compute_cycles + 7


@pytest.mark.parametrize("objective", ["cycles", "energy", "edp", "traffic"])
def test_auto_takes_the_best_dataflow_of_each_layer(objective: str) -> None:
    memory = MEMORY | {"objective": objective, "handover": False}  # with it, layers depend on each other
    one = [map_network(NETWORK, arch(memory=memory, dataflow=dataflow)).layers for dataflow in DATAFLOWS]
    auto = map_network(NETWORK, arch(memory=memory, dataflow="auto"))
    for choice, *own in zip(auto.layers, *one, strict=True):
        mapped = [entry.planned.mapped for entry in own]
        costs = [(one.cost(objective)[0], _second(one, objective)) for one in mapped]  # type: ignore[union-attr, arg-type]
        assert choice.planned.arch.dataflow == DATAFLOWS[costs.index(min(costs))]  # of equals the first
        assert set(choice.other_dataflows) == set(DATAFLOWS) - {choice.planned.arch.dataflow}
    result = simulate(NETWORK, arch(memory=memory, dataflow="auto"))
    assert [layer.dataflow for layer in result.layers] == [c.planned.arch.dataflow for c in auto.layers]


def _second(mapped: MappedLayer, objective: str) -> int:
    """Return what decides where the objective is equal."""
    return mapped.dram_read_bits + mapped.dram_write_bits if objective == "cycles" else mapped.total_cycles


def test_dataflows_that_move_the_same_bits_are_told_apart_by_their_cycles() -> None:
    memory = MEMORY | {"objective": "traffic", "handover": False, "mapping": {"all": {"order": "pixels"}}}
    took = {
        dataflow: [
            (choice.planned.mapped.cost("traffic")[0], choice.planned.mapped.total_cycles)  # type: ignore[union-attr]
            for choice in map_network(NETWORK, arch(memory=memory, dataflow=dataflow)).layers
        ]
        for dataflow in (*DATAFLOWS, "auto")
    }
    slower = 0
    for *own, auto in zip(*took.values(), strict=True):
        assert auto == min(own)
        slower += own[0] > auto and own[0][0] == auto[0]
    assert slower  # somewhere the first dataflow moves no more bits, but takes longer


def test_auto_without_a_memory_counts_cycles() -> None:
    for timing in ("physical", "scalesim"):
        own = [simulate(NETWORK, arch(memory=None, dataflow=dataflow, timing=timing)) for dataflow in DATAFLOWS]
        auto = simulate(NETWORK, arch(memory=None, dataflow="auto", timing=timing))
        for layer, *others in zip(auto.layers, *(result.layers for result in own), strict=True):
            cycles = [other.total_cycles for other in others]
            assert (layer.total_cycles, layer.dataflow) == (min(cycles), DATAFLOWS[int(np.argmin(cycles))])
    assert (
        len({layer.dataflow for layer in simulate(load_network("alexnet"), arch(memory=None, dataflow="auto")).layers})
        > 1
    )


def test_a_layer_may_have_its_own_dataflow_and_engines_agree() -> None:
    trace = synthesize_trace(NETWORK, seed=1)
    machine = arch(dataflow="auto", layers={"b": {"dataflow": "is"}})
    fold, register = (simulate(trace, machine, engine=engine) for engine in ("fold", "register"))  # type: ignore[arg-type]
    assert fold.layers[1].dataflow == "is"
    for one, other in zip(fold.layers, register.layers, strict=True):
        assert one.dataflow == other.dataflow and one.total_cycles == other.total_cycles
        assert np.array_equal(one.psum, other.psum) and one.activity == other.activity  # type: ignore[arg-type]
    plain = simulate(trace, arch())
    for one, other in zip(fold.layers, plain.layers, strict=True):
        assert np.array_equal(one.ofmap_codes, other.ofmap_codes)  # type: ignore[arg-type]
    assert "data-" in fold.summary() and "data-" not in plain.summary()


def test_an_auto_array_has_the_parts_of_every_dataflow() -> None:
    profile = load_profile("horowitz_45nm")
    array = {"rows": 8, "cols": 8, "overlap": True}
    areas = {name: array_area(profile, arch(dataflow=name, array=array)) for name in (*DATAFLOWS, "auto")}
    for component, area in areas["auto"].um2.items():
        assert area == max(areas[name].um2[component] for name in DATAFLOWS)


def test_fixed_parts_hold_in_a_simulation() -> None:
    mapping = {"all": {"order": "pixels", "ofmap_rows": 5}, "b": {"ofmap_rows": 3, "ofmap_channels": 4}}
    layers = simulate(NETWORK, arch(memory=MEMORY | {"mapping": mapping})).layers
    a, b, c = (layer.mapping.mapping for layer in layers)  # type: ignore[union-attr]
    assert (a.ofmap_rows, a.order) == (5, "pixels")
    assert (b.ofmap_rows, b.ofmap_channels, b.order) == (3, 4, "pixels")
    assert c.ofmap_rows == 1  # cut to the layer's own bound


CONV1_2 = Layer(name="conv1_2", in_channels=64, out_channels=64, in_size=224, kernel=3, padding=1)  # of VGG16
WIDE = {name: {"bytes": 2**16} for name in ("ifmap", "filter", "ofmap")} | {"dram": {"bits_per_cycle": 64}}


def test_a_layer_whose_rows_fit_no_scratchpad_is_cut_into_columns() -> None:
    """Two tiles of one ofmap row: 2 × 64 × 3 × 224 words of 16 bits, 168 KiB. Blocks of 82 columns need 63 KiB."""
    machine = load_arch("multiply_16b_16x16").replace(memory=WIDE, dataflow="os")
    network = Network(name="vgg16", layers=(CONV1_2,))
    mapped = map_network(network, machine)
    planned = mapped.layers[0].planned
    assert planned.tiled is not None and planned.mapped is not None
    mapping, tiles = planned.mapped.mapping, list(planned.tiled.tiles(planned.mapped.mapping))
    assert (mapping.images, mapping.ofmap_rows) == (1, 1) and 1 < mapping.ofmap_columns <= 83
    blocks = -(-224 // mapping.ofmap_columns)
    assert f"for {blocks} × {mapping.ofmap_columns} ofmap columns" in mapped.summary()
    assert mapped.to_dict()["layers"][0]["mapping"]["ofmap_columns"] == mapping.ofmap_columns
    # Each pass reads 3 rows (2 at the edges) of 224 columns and, at every cut, 2 columns twice.
    rows, columns = 3 * 224 - 2, 224 + 2 * (blocks - 1)
    once = 16 * 64 * rows * columns
    passes = -(-64 // mapping.ofmap_channels) if mapping.order == "channels" else 1
    assert sum(tile.ifmap_read_bits for tile in tiles) == planned.mapped.dram_ifmap_bits == passes * once
    with pytest.raises(ConfigError) as caught:
        map_network(network, machine.replace(memory=WIDE | {"mapping": {"conv1_2": {"ofmap_columns": 112}}}))
    assert str(caught.value) == (  # 2 × 64 × 3 × 113 words of 16 bits, padding at one side
        "conv1_2: memory.ifmap: two of the smallest tiles that memory.mapping allows need 86784 bytes, it holds 65536"
    )
    with pytest.raises(ConfigError) as caught:
        map_network(network, machine.replace(memory=WIDE | {"mapping": {"conv1_2": {"ofmap_columns": 225}}}))
    assert str(caught.value) == "conv1_2: memory.mapping.ofmap_columns: must be at most 224, the loop's bound, got 225"


def test_fixed_rows_and_columns_cut_both() -> None:
    mapping = {"all": {"ofmap_rows": 4, "ofmap_columns": 5}}
    layers = simulate(NETWORK, arch(memory=MEMORY | {"mapping": mapping, "handover": False})).layers
    a, b, c = (layer.mapping for layer in layers)
    assert a is not None and b is not None and c is not None
    assert [(m.mapping.ofmap_rows, m.mapping.ofmap_columns) for m in (a, b, c)] == [(4, 5), (4, 5), (1, 1)]
    shown = map_network(NETWORK, arch(memory=MEMORY | {"mapping": mapping, "handover": False})).summary()
    assert "for 3 × 4 ofmap rows" in shown and "for 3 × 5 ofmap columns, the last 1" in shown


def test_what_is_wrong_with_a_mapping_is_one_error() -> None:
    with pytest.raises(ConfigError) as caught:
        simulate(NETWORK, arch(memory=MEMORY | {"mapping": {"d": {"order": "pixels"}}}))
    assert str(caught.value) == "shift_4b_16x16: memory.mapping.d: no layer of that name; there are a, b, c"
    with pytest.raises(ConfigError) as caught:
        arch(memory=MEMORY | {"mapping": {"a": {"ofmap_rows": 0, "rows": 1}}})
    assert str(caught.value) == (
        "shift_4b_16x16: memory.mapping.a.ofmap_rows: must be at least 1, got 0\n"
        "shift_4b_16x16: memory.mapping.a.rows: unknown key"
    )
    with pytest.raises(ConfigError) as caught:
        map_network(NETWORK, arch(memory=MEMORY | {"ifmap": {"bytes": 8}}, dataflow="auto"))
    needs = (("os", 27), ("ws, is", 9))  # 3 × 3 words of 4 bits, twice; os: of all 3 channels
    assert str(caught.value).split("\n") == [
        f"a: memory.ifmap: two of the smallest tiles need {need} bytes, it holds 8 ({name})" for name, need in needs
    ]
    with pytest.raises(ConfigError) as caught:  # what every dataflow meets is said once
        map_network(NETWORK, arch(memory=MEMORY | {"mapping": {"a": {"ofmap_rows": 13}}}, dataflow="auto"))
    assert str(caught.value) == "a: memory.mapping.ofmap_rows: must be at most 12, the loop's bound, got 13"
    with pytest.raises(ConfigError, match="shift_4b_16x16: memory: must be given"):
        map_network(NETWORK, arch(memory=None))
    with pytest.raises(ConfigError, match="three: d: no layer of that name; there are a, b, c"):
        map_network(NETWORK, arch(), "d")


def test_hardware_is_built_for_one_dataflow() -> None:
    trace = synthesize_trace(NETWORK, seed=1)
    with pytest.raises(
        ConfigError, match="shift_4b_16x16: dataflow: auto chooses by layer, but hardware is built for one"
    ):
        rtl_layer(trace, arch(dataflow="auto"), "a")


def test_the_command_prints_and_writes_the_same(tmp_path: Path) -> None:
    file = tmp_path / "arch.yaml"
    file.write_text(json.dumps(arch().model_dump()))  # JSON is YAML
    trace = tmp_path / "trace.npz"
    logaccel.save_trace(synthesize_trace(NETWORK, seed=1), trace)
    done = run("map", trace, "--arch", file, "--json", tmp_path / "m.json")
    assert done.returncode == 0, done.stderr
    mapped = map_network(logaccel.load_trace(trace), logaccel.load_arch(file))
    assert done.stdout == mapped.summary() + "\n"
    written = json.loads((tmp_path / "m.json").read_text())
    assert written == mapped.to_dict()
    assert written["logaccel_version"] == logaccel.__version__ and written["cost_profile"] == "horowitz_45nm"
    assert logaccel.arch.Architecture.model_validate(written["architecture"]) == mapped.arch
    one = run(
        "map",
        "alexnet",
        "-a",
        file,
        "--set",
        "memory.ifmap.bytes=100000",
        "--set",
        "memory.filter.bytes=100000",
        "-l",
        "fc8",
    )
    assert one.returncode == 0 and "fc8: 1 pixel × 1,000 ofmap channels" in one.stdout and "conv1" not in one.stdout
    assert "memory: must be given" in refused("map", "alexnet", "-a", "shift_4b_16x16")
    assert "no such folder" in refused("map", "alexnet", "-a", file, "--json", tmp_path / "no" / "m.json")
