"""Results with a memory: system energy from counts and prices, activity of tiles, and nothing where there is none."""

import csv
import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import yaml

from logaccel.arch import Architecture, load_arch
from logaccel.comparison import compare
from logaccel.cost import load_profile, memory_prices
from logaccel.report.csv import comparison_csv, layers_csv
from logaccel.report.plots import plot_comparison, plot_result
from logaccel.report.text import comparison_text, summary_text
from logaccel.result import SimulationResult
from logaccel.simulation import simulate
from logaccel.workload import Layer, Network

SHAPES = Network(
    name="small",
    batch=2,
    layers=(
        Layer(name="conv", in_channels=6, out_channels=20, in_size=(9, 7), kernel=(3, 3), padding=(1, 1, 1, 1)),
        Layer(name="fc", kind="fc", in_channels=500, out_channels=40),
    ),
)
PADS = {name: {"bytes": size} for name, size in (("ifmap", 1000), ("filter", 4000), ("ofmap", 3000))}
MEMORY = {**PADS, "dram": {"bits_per_cycle": 16, "latency_cycles": 20}}


def architecture(dataflow: str = "ws", profile: str = "aladdin_40nm", memory: object = MEMORY) -> Architecture:
    arch = load_arch("multiply_8b_16x16").replace(dataflow=dataflow, cost_profile=profile, **{"array.rows": 8})
    return arch if memory is None else arch.replace(memory=memory)


@pytest.fixture(scope="module", params=["os", "ws", "is"])
def result(request: pytest.FixtureRequest) -> SimulationResult:
    return simulate(SHAPES, architecture(request.param))


def test_system_energy_is_counts_times_prices(result: SimulationResult) -> None:
    prices = memory_prices(load_profile("aladdin_40nm"), result.arch)
    assert prices is not None
    assert result.energy_system_pj == pytest.approx(sum(layer.energy_system_pj or 0 for layer in result.layers))
    for layer in result.layers:
        moved = layer.traffic
        assert moved is not None and layer.energy.memory is not None and layer.energy_system_pj is not None
        pads = (
            moved.ifmap.read_bits * prices.ifmap.read_pj_per_bit
            + moved.ifmap.write_bits * prices.ifmap.write_pj_per_bit
        )
        pads += moved.filter.read_bits * prices.filter.read_pj_per_bit
        pads += moved.filter.write_bits * prices.filter.write_pj_per_bit
        pads += (moved.psum.read_bits + moved.ofmap.read_bits) * prices.ofmap.read_pj_per_bit
        pads += (moved.psum.write_bits + moved.ofmap.write_bits) * prices.ofmap.write_pj_per_bit
        dram = 8.0 * (moved.dram_ifmap.read_bits + moved.dram_filter.read_bits + moved.dram_ofmap.write_bits)
        leakage = prices.leakage_pj_per_cycle * (layer.compute_cycles + layer.stall_cycles)
        assert layer.energy.memory.pj == pytest.approx({"scratchpads": pads, "dram": dram, "leakage": leakage})
        assert layer.energy_system_pj == pytest.approx(layer.energy.array_pj + pads + dram + leakage)
        assert min(pads, dram, leakage) > 0
        assert layer.macs_per_dram_byte == pytest.approx(layer.macs / (moved.dram.bits / 8))


def test_activity_folds_and_array_energy_are_those_of_the_tiles(result: SimulationResult) -> None:
    bare = simulate(SHAPES, result.arch.replace(memory=None))
    differ = 0
    for layer, untiled in zip(result.layers, bare.layers, strict=True):
        assert layer.mapping is not None and layer.mapping.tiles > 1
        assert layer.activity.macs == untiled.activity.macs
        assert layer.energy.pj["product"] == pytest.approx(untiled.energy.pj["product"])
        assert layer.energy.pj["accumulate"] == pytest.approx(untiled.energy.pj["accumulate"])
        assert layer.folds >= untiled.folds
        assert layer.spatial_utilization <= untiled.spatial_utilization + 1e-12  # tiles have more ragged folds
        differ += layer.activity != untiled.activity
    assert differ


def test_without_a_memory_or_prices_there_is_no_system_figure(tmp_path: Path) -> None:
    bare = simulate(SHAPES, architecture(memory=None))
    assert bare.energy_system_pj is None and bare.traffic is None and bare.area.system_um2 is None
    assert "Energy by memory" not in summary_text(bare)
    tree = bare.to_dict()
    assert tree["energy_system_pj"] is None and tree["layers"][0]["traffic"] is None
    horowitz = simulate(SHAPES, architecture(profile="horowitz_45nm"))
    assert horowitz.energy_system_pj is not None and horowitz.area.system_um2 is None  # he gives no area
    assert horowitz.layers[0].energy.memory is not None and horowitz.layers[0].energy.memory.leakage_pj == 0.0
    heading = summary_text(horowitz).split("Energy by memory")[1].split("layer")[0]
    assert "DRAM" in heading and "leakage" not in heading  # no column of zeros that nobody measured


def test_every_report_has_the_three_figures_apart(result: SimulationResult) -> None:
    tree = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert tree["energy_alu_pj"] < tree["energy_array_pj"] < tree["energy_system_pj"]
    assert tree["area_alu_um2"] < tree["area_array_um2"] < tree["area_system_um2"]
    rows = list(csv.DictReader(StringIO(layers_csv(result))))
    for row, layer in zip(rows, result.layers, strict=True):
        assert layer.traffic is not None
        assert float(row["energy_system_pj"]) == layer.energy_system_pj
        assert int(row["dram_filter_read_bits"]) == layer.traffic.dram_filter.read_bits
        assert int(row["psum_write_words"]) == layer.traffic.psum.write_words
    text = summary_text(result)
    first = tree["layers"][0]
    assert (
        first["ifmap_reuse"] == first["traffic"]["ifmap"]["read_words"] / first["traffic"]["ifmap"]["write_words"] > 1
    )
    for word in ("system", "Bits by memory", "Energy by memory", "MACs per", "CACTI 7"):
        assert word in text


def test_a_comparison_shows_system_energy_where_there_is_some(tmp_path: Path) -> None:
    archs = [architecture(memory=None).replace(name="bare"), architecture().replace(name="whole")]
    comparison = compare(SHAPES, archs, keep=tmp_path)
    again = compare(SHAPES, archs, keep=tmp_path)  # from the kept rows
    assert again.rows[1].energy_system_pj == comparison.rows[1].energy_system_pj
    assert again.rows[1].traffic == comparison.rows[1].traffic
    line = next(line for line in comparison_text(comparison).splitlines() if "energy system" in line)
    assert line.split()[-2] == "–" and line.split()[-1] != "–"
    areas = next(line for line in comparison_text(comparison).splitlines() if "area system" in line)
    assert areas.split()[-2] == "–" and float(areas.split()[-1]) == pytest.approx(
        (comparison.rows[1].area.system_um2 or 0) / 1e6, rel=0.01
    )
    rows = list(csv.DictReader(StringIO(comparison_csv(comparison))))
    assert rows[0]["energy_system_pj"] == "" and float(rows[1]["energy_system_pj"]) > 0


def test_the_figure_stacks_the_system_where_there_is_one(result: SimulationResult) -> None:
    panels = {axes.get_title(loc="left").split(" energy")[0]: axes for axes in plot_result(result).axes}
    assert len(panels) == 4
    tops = [0.0] * len(result.layers)
    for bars in panels["System"].containers:
        for index, bar in enumerate(bars):
            tops[index] = max(tops[index], bar.get_y() + bar.get_height())
    totals = [layer.energy_system_pj or 0.0 for layer in result.layers]
    np.testing.assert_allclose([top / tops[0] for top in tops], [total / totals[0] for total in totals])
    cycles = next(axes for title, axes in panels.items() if title.startswith("Cycles")).containers
    assert [str(bars.get_label()) for bars in cycles] == ["compute", "stalled"]
    tops = [bar.get_y() + bar.get_height() for bar in cycles[1]]  # type: ignore[attr-defined]
    np.testing.assert_allclose(
        np.array(tops) / tops[0], [x.total_cycles / result.layers[0].total_cycles for x in result.layers]
    )
    assert len(plot_result(simulate(SHAPES, architecture(memory=None))).axes) == 3


def test_a_comparison_draws_the_system_and_its_dram_traffic() -> None:
    comparison = compare(SHAPES, [architecture(memory=None).replace(name="bare"), architecture().replace(name="whole")])
    assert comparison.rows[1].stall_cycles > 0 and comparison.rows[0].stall_cycles == 0
    line = next(line for line in comparison_text(comparison).splitlines() if line.startswith("  stalled"))
    assert line.split()[1:] == ["–", f"{comparison.rows[1].stall_cycles:,}"]
    _, _, system, dram, _ = plot_comparison(comparison).axes
    for axes, total in ((system, comparison.rows[1].energy_system_pj), (dram, comparison.rows[1].traffic.dram.bits)):
        ends = [max(bars[row].get_x() + bars[row].get_width() for bars in axes.containers) for row in (0, 1)]
        assert ends[0] == 0 and axes.texts[0].get_text() == "no memory"
        unit = axes.get_title(loc="left").partition("(")[2]
        size = {"n": 1e3, "µ": 1e6, "m": 1e9, "k": 1e3, "M": 1e6}.get(unit[0], 1.0)
        assert ends[1] * size == pytest.approx(total)


def test_a_profile_of_ones_own_prices_the_memory(tmp_path: Path) -> None:
    """The section that docs/cost.md shows, in a copy of a shipped profile."""
    docs = (Path(__file__).parents[1] / "docs" / "cost.md").read_text(encoding="utf-8")
    shown = yaml.safe_load(docs.split("```yaml\n")[1].split("```")[0])
    shown["memory"]["dram"]["verified"] = False
    shipped = Path(__file__).parents[1] / "logaccel" / "cost" / "profiles" / "horowitz_45nm.yaml"
    tree = yaml.safe_load(shipped.read_text(encoding="utf-8")) | shown | {"name": "mine"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    arch = architecture(profile=str(tmp_path / "mine.yaml"), memory={**MEMORY, "ifmap": {"bytes": 4096}})
    result = simulate(SHAPES, arch)
    layer = result.layers[0]
    assert layer.traffic is not None and layer.energy.memory is not None
    read, written = 2.0 / 64, (0.02 * 4096**0.5 + 0.0004 * 4096**0.5 * 64) / 64
    assert layer.energy.memory.scratchpad_pj["ifmap"] == pytest.approx(
        layer.traffic.ifmap.read_bits * read + layer.traffic.ifmap.write_bits * written
    )
    tree = result.to_dict()["cost_of_memory"]
    assert (tree["profile"], tree["node_nm"], tree["unverified"]) == (
        "mine",
        28,
        ("dram: where the figure comes from",),
    )
    (tmp_path / "mine.yaml").unlink()  # a result tells where its prices come from without the file
    assert "unverified prices of memory: dram" in " ".join(summary_text(result).split())
