"""The roofline: points and roof are those of the counts, every layer is named, what cannot be drawn is refused."""

from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Path2D
from matplotlib.text import Text
from typer.testing import CliRunner

from logaccel.arch import Architecture, load_arch
from logaccel.cli import app
from logaccel.errors import ConfigError
from logaccel.report.roofline import plot_roofline
from logaccel.result import SimulationResult
from logaccel.simulation import simulate
from logaccel.workload import Layer, Network, load_network


def architecture(bits_per_cycle: int | None = 64) -> Architecture:
    pads = {name: {"bytes": 65536} for name in ("ifmap", "filter", "ofmap")}
    memory = {**pads, "dram": {"bits_per_cycle": bits_per_cycle, "latency_cycles": 20}}
    return load_arch("shift_4b_16x16").replace(memory=memory)


def drawn(result: SimulationResult) -> tuple[dict[str, np.ndarray], list[str]]:
    axes = plot_roofline(result).axes[0]
    lines = {str(line.get_label()): np.array(line.get_xydata()) for line in axes.lines}
    return lines, [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("network", ["alexnet", "mobilenet_v1"])
def test_points_are_the_counts_and_lie_under_the_roof(network: str) -> None:
    shapes = load_network(network)
    result = simulate(shapes.model_copy(update={"layers": shapes.layers[:15]}), architecture())
    lines, texts = drawn(result)
    for (x, y), (_, alone), layer in zip(lines["reached"], lines["without stalls"], result.layers, strict=True):
        assert layer.traffic is not None
        moved = layer.traffic.dram_ifmap.read_bits + layer.traffic.dram_filter.read_bits
        moved += layer.traffic.dram_ofmap.write_bits
        assert x == pytest.approx(8 * layer.macs / moved)
        assert y == pytest.approx(layer.macs / layer.total_cycles)
        assert alone == pytest.approx(layer.macs / layer.compute_cycles)
        assert y <= min(256, 8 * x)  # no layer beats the array or the channel
    roof = lines["roof"]
    assert roof[:, 1].max() == 256
    np.testing.assert_allclose(roof[:, 1], np.minimum(256, 8 * roof[:, 0]))
    assert any(np.isclose(x, 32) for x in roof[:, 0])  # the ridge: 256 MACs a cycle from 8 bytes
    named = "\n".join(texts)
    for layer in result.layers:
        assert layer.name in named or "…" in named  # many layers on one spot are named by the first and the last


def test_labels_keep_off_the_roof_and_one_another() -> None:
    layers = [
        Layer(name=f"stage{n}.convolution", in_channels=16 * n, out_channels=64, in_size=14, kernel=3, padding=1)
        for n in range(1, 9)
    ]
    figure = plot_roofline(simulate(Network(name="net", layers=tuple(layers)), architecture()))
    figure.canvas.draw()
    axes = figure.axes[0]
    boxes = [Text.get_window_extent(text) for text in axes.texts]  # without the arrow of an annotation
    assert len(boxes) > 4
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    roof = axes.transData.transform(axes.lines[0].get_xydata())
    assert not any(Path2D([start, end]).intersects_bbox(box) for start, end in pairwise(roof) for box in boxes)


def test_without_a_limit_the_roof_is_flat() -> None:
    lines, _ = drawn(simulate(load_network("alexnet"), architecture(None)))
    assert set(lines["roof"][:, 1]) == {256.0}


def test_without_memory_there_is_no_roof() -> None:
    bare = load_arch("shift_4b_16x16")
    with pytest.raises(ConfigError) as caught:
        plot_roofline(simulate(load_network("alexnet"), bare))
    assert str(caught.value) == "shift_4b_16x16: memory: a roofline needs one, and there is none"


def test_the_command_line_draws_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bare = ["simulate", "shift_4b_16x16", "--network", "alexnet"]
    pads = "{ifmap: {bytes: 65536}, filter: {bytes: 65536}, ofmap: {bytes: 65536}, dram: {bits_per_cycle: 64}}"
    runner = CliRunner()
    done = runner.invoke(app, [*bare, "--set", f"memory={pads}", "--plot", "roofline"])
    assert done.exit_code == 0 and (tmp_path / "roofline.png").read_bytes().startswith(b"\x89PNG")
    done = runner.invoke(app, [*bare, "--set", f"memory={pads}", "--plot", "roofline=other.svg"])
    assert done.exit_code == 0 and "MACs per DRAM byte" in (tmp_path / "other.svg").read_text(encoding="utf-8")
    for plot, message in (
        ("roofline", "--plot roofline: shift_4b_16x16 has no memory, so nothing bounds the bandwidth"),
        ("roofline=x.gif", "x.gif: suffix: must be one of .png, .svg, .pdf, got '.gif'"),
    ):
        with pytest.raises(ConfigError) as caught:
            runner.invoke(app, [*bare, "--plot", plot], catch_exceptions=False)
        assert str(caught.value) == message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.svg", "roofline.png"]
