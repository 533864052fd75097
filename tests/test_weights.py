"""Weight statistics against loops over single weights and the oracle's codes; tables, files, figures, messages."""

import csv
import json
import math
from collections import Counter
from io import StringIO
from pathlib import Path

import numpy as np
import oracle
import pytest

import logaccel
from logaccel import ConfigError, Layer, LayerTensors, Trace, load_arch, load_trace, weight_statistics
from logaccel.cli import main
from logaccel.formats import LinearWord, LogWord
from logaccel.report.figure import save_figure
from logaccel.report.weight_plots import plot_weights
from logaccel.weights import STEPS, VALUE_BINS, LayerWeights, code_use

RNG = np.random.default_rng(3)
WORDS = [LinearWord(bits=4), LogWord(bits=4), LogWord(bits=5, steps_per_octave=2), LogWord(bits=4, rounding="floor")]


def trace_of(*filters: np.ndarray) -> Trace:
    layers = []
    for index, weights in enumerate(filters):
        layer = Layer(
            name=f"fc{index}", kind="fc", in_channels=weights.shape[1], out_channels=weights.shape[0], relu=False
        )
        ifmap = np.ones((1, weights.shape[1]), np.float32)
        bias = np.zeros(len(weights), np.float32)
        layers.append(LayerTensors(layer, ifmap, weights, bias, ifmap @ weights.T))
    return Trace.from_arrays("drawn", layers)


def drawn(*shape: int) -> np.ndarray:
    values = (RNG.normal(size=shape) * 2.0 ** RNG.integers(-8, 1, shape)).astype(np.float32)
    values.reshape(-1)[:5] = 0, 0.25, -0.5, 0, 2.0**-20  # zeros and bounds of bins
    return values


@pytest.mark.parametrize("word", WORDS, ids=str)
def test_codes_are_counted_one_by_one(word: LinearWord | LogWord) -> None:
    values = drawn(30, 11)
    use = code_use(values, word)
    flat = values.reshape(-1).tolist()
    codes = [oracle.encode(value, use.number_format) for value in flat]
    counts = Counter(codes)
    low = use.number_format.min_code
    assert {low + index: count for index, count in enumerate(use.counts.tolist()) if count} == counts
    assert len(use.counts) == use.number_format.max_code - low + 1
    shares = [count / len(flat) for count in counts.values()]
    assert use.entropy_bits == pytest.approx(-sum(share * math.log2(share) for share in shares))
    assert use.used_codes == len(counts) and use.zero_share == counts[0] / len(flat) > 0
    ends = counts[low] + counts[use.number_format.max_code]
    assert use.saturated_share == pytest.approx(ends / len(flat))
    shown = [float(oracle.decode(code, use.number_format)) for code in codes]
    noise = sum((own - value) ** 2 for own, value in zip(shown, flat, strict=True))
    assert use.snr_db == pytest.approx(10 * math.log10(sum(value**2 for value in flat) / noise), abs=1e-6)
    relative = [abs(own - value) / abs(value) for own, value in zip(shown, flat, strict=True) if value]
    assert use.relative_error == pytest.approx(sum(relative) / len(relative))
    for other in (-1, 1):  # no neighbouring range has less noise
        shifted = word.at(use.number_format.fsr + other, True)
        miss = (float(oracle.decode(oracle.encode(value, shifted), shifted)) - value for value in flat)
        assert sum(each**2 for each in miss) >= noise


def test_values_are_those_of_a_loop() -> None:
    values = drawn(40, 9)
    layer = weight_statistics(trace_of(values)).layers[0]
    flat = [float(value) for value in values.reshape(-1)]
    magnitudes = sorted(abs(value) for value in flat if value)
    mean = math.fsum(flat) / len(flat)
    assert (layer.weights, layer.minimum, layer.maximum) == (360, min(flat), max(flat))
    assert layer.mean == pytest.approx(mean)
    assert layer.deviation == pytest.approx(math.sqrt(math.fsum((value - mean) ** 2 for value in flat) / len(flat)))
    assert layer.mean_magnitude == pytest.approx(math.fsum(magnitudes) / len(flat))
    assert layer.zero_share == pytest.approx(1 - len(magnitudes) / len(flat)) and layer.zero_share > 0
    assert (layer.smallest_magnitude, layer.largest_magnitude) == (magnitudes[0], magnitudes[-1])
    assert layer.octaves == pytest.approx(math.log2(magnitudes[-1] / magnitudes[0]))
    assert 0 < layer.octaves_98 < layer.octaves
    bins = Counter(math.floor(STEPS * math.log2(magnitude)) for magnitude in magnitudes)
    found = {layer.first_bin + index: count for index, count in enumerate(layer.log2_counts.tolist()) if count}
    assert found == bins and layer.log2_counts[0] and layer.log2_counts[-1]
    assert layer.value_counts.sum() == len(flat) and layer.value_counts.size == VALUE_BINS
    half = layer.value_counts.size // 2
    assert layer.value_counts[:half].sum() == sum(value < 0 for value in flat)


def test_large_layers_are_looked_at_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = drawn(40, 9)
    whole = weight_statistics(trace_of(values)).layers[0].to_dict()
    monkeypatch.setattr("logaccel.weights._CHUNK", 7)
    parts = weight_statistics(trace_of(values)).layers[0].to_dict()
    for one, other in zip(parts.pop("words"), whole.pop("words"), strict=True):
        assert one.pop("relative_error") == pytest.approx(other.pop("relative_error")) and one == other
    for key in ("mean", "deviation", "mean_magnitude"):
        assert parts.pop(key) == pytest.approx(whole.pop(key))
    assert parts == whole


def test_a_layer_of_zeros_has_statistics_too() -> None:
    layer = weight_statistics(trace_of(np.zeros((2, 3), np.float32))).layers[0]
    assert (layer.octaves, layer.octaves_98, layer.zero_share, layer.smallest_magnitude) == (0, 0, 1, 0)
    for use in layer.uses:
        assert (use.entropy_bits, use.zero_share, use.snr_db, use.relative_error) == (0, 1, None, 0)


def test_log_codes_keep_small_weights() -> None:
    """Of magnitudes spread evenly over octaves, log codes are used evenly, linear ones are not."""
    values = 2.0 ** RNG.uniform(-7, 0, 20_000) * RNG.choice([-1, 1], 20_000)
    linear, log = (code_use(values.astype(np.float32), word) for word in (LinearWord(bits=4), LogWord(bits=4)))
    assert log.entropy_bits > 3.7 > 3.0 > linear.entropy_bits
    assert log.zero_share < 0.1 < 0.4 < linear.zero_share
    assert log.relative_error < 0.3 < 0.5 < linear.relative_error


def test_words_of_an_architecture_stand_beside_the_others() -> None:
    trace = load_trace()
    arch = load_arch("decode_4b_16x16").replace(layers={"last": {"weight": {"kind": "log", "bits": 3}}})
    layers = weight_statistics(trace, bits=(5,), arch=arch).layers
    words = [[str(use.word) for use in layer.uses] for layer in layers]
    standard = ["linear 5 b", "log 5 b base 2", "log 5 b base √2"]
    assert words[0] == [*standard, "log 4 b base 2"] and words[-1] == [*standard, "log 3 b base 2"]
    assert [layer.name for layer in layers] == [item.layer.name for item in trace.layers]
    one = weight_statistics(trace, layer="conv2").layers
    assert len(one) == 1 and isinstance(one[0], LayerWeights) and one[0].name == "conv2"


def test_wrong_requests_are_refused() -> None:
    trace = load_trace()
    with pytest.raises(ConfigError, match=r"^bits: must be 2 … 8, got 1, 9$"):
        weight_statistics(trace, bits=(1, 4, 9))
    with pytest.raises(ConfigError, match=r"^bits: give at least one, or an architecture$"):
        weight_statistics(trace, bits=())
    with pytest.raises(ConfigError, match=r"^layer: x: no layer of that name; there are conv1, "):
        weight_statistics(trace, layer="x")
    wide = load_arch("multiply_16b_16x16").replace(weight={"bits": 20})
    with pytest.raises(ConfigError, match=r"weight.bits: must be at most 16 to count its codes, got 20 in conv1"):
        weight_statistics(trace, arch=wide)


def test_figures_are_drawn(tmp_path: Path) -> None:
    zeros = np.zeros((2, 3), np.float32)
    for source, layer in (
        (load_trace(), None),
        (load_trace(), "fc4"),
        (trace_of(zeros, drawn(4, 2)), None),
        (trace_of(zeros), None),
    ):
        if layer is not None:
            layer = source.layers[-2].layer.name
        save_figure(plot_weights(weight_statistics(source, layer=layer)), tmp_path / "w.png")
        assert (tmp_path / "w.png").stat().st_size > 10_000
    figure = plot_weights(weight_statistics(load_trace()))
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == [item.layer.name for item in load_trace().layers]
    assert [axes.get_title(loc="left") for axes in figure.axes[1:]] == [
        "Entropy of the codes (bits)", "Mean relative error (%)", "Signal to noise (dB)",
    ]  # fmt: skip


def run(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["logaccel", "weights", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr()
    assert isinstance(left.value.code, int)
    return left.value.code, said.out, said.err


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    statistics = weight_statistics(load_trace(), bits=(4,))
    code, said, _ = run(["--bits", "4", "--json"], monkeypatch, capsys)
    assert code == 0 and json.loads(said) == statistics.to_dict()
    code, said, _ = run(["--bits", "4", "--csv"], monkeypatch, capsys)
    rows = list(csv.DictReader(StringIO(said)))
    assert code == 0 and len(rows) == 3 * len(statistics.layers)
    use = statistics.layers[1].uses[2]
    assert rows[5]["word"] == str(use.word) and float(rows[5]["entropy_bits"]) == use.entropy_bits
    code, said, _ = run(["--bits", "4", "--plot", str(tmp_path / "w.svg")], monkeypatch, capsys)
    assert code == 0 and "octaves" in said and "entropy" in said and (tmp_path / "w.svg").exists()
    code, said, error = run(["-l", "conv1", "-o", str(tmp_path / "t.txt")], monkeypatch, capsys)
    assert (code, said) == (0, "") and "t.txt" in error
    assert (tmp_path / "t.txt").read_text() == weight_statistics(load_trace(), layer="conv1").summary() + "\n"
    for arguments, message in (
        ([str(tmp_path / "none.onnx")], "none.onnx: cannot be read: No such file or directory"),
        ([str(tmp_path / "none.npz")], "none.npz: no such file"),
        (["--set", "weight.bits=3"], "--set: goes with --arch"),
        (["--plot", str(tmp_path / "w.txt")], "w.txt: suffix: must be one of .png, .svg, .pdf, got '.txt'"),
    ):
        code, said, error = run(arguments, monkeypatch, capsys)
        assert (code, said) == (2, "") and error.startswith("error: ") and error.endswith(message + "\n"), error


def test_weights_of_a_model_are_those_of_the_array(tmp_path: Path) -> None:
    """Batch norm is folded before the weights are looked at."""
    pytest.importorskip("onnx")
    from graph_cases import CONSTANTS, STEM, helper, save

    from logaccel.model.onnx_import import load_onnx

    norm = helper.make_node("BatchNormalization", ["c", "a", "b", "m", "v"], ["y"], name="n", epsilon=0.0)
    constants = {key: CONSTANTS[key] for key in ("w", "a", "b", "m", "v")}
    model = load_onnx(save(tmp_path / "net.onnx", [STEM, norm], constants))
    layer = weight_statistics(model).layers[0]
    factor = constants["a"] / np.sqrt(constants["v"])
    folded = constants["w"] * factor[:, None, None, None]
    assert layer.name == "stem" and layer.maximum == pytest.approx(folded.max(), rel=1e-5)
    assert logaccel.WeightStatistics.__name__ == type(weight_statistics(model)).__name__
