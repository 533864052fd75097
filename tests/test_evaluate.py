"""`logaccel evaluate` and `logaccel trace capture`: output, messages, exit codes, going on after Ctrl-C."""

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import graph_cases
import numpy as np
import pytest
import yaml
from graph_cases import AFTER, CONSTANTS, STEM, helper, normal, residual_net, save

import logaccel
from logaccel import load_arch, load_trace, simulate
from logaccel.cli import main
from logaccel.evaluation import Calibration, GraphRun, calibrate, evaluate, load_formats
from logaccel.evaluation.run import NodeRun
from logaccel.model.onnx_import import load_onnx

ort = pytest.importorskip("onnxruntime")

FLAT = [helper.make_node("Flatten", ["t"], ["f"], name="f"), helper.make_node("Gemm", ["f", "last"], ["y"], name="fc")]
PLAIN = [
    STEM, helper.make_node("Relu", ["c"], ["r"], name="r"),
    helper.make_node("Conv", ["r", "g2"], ["d"], name="/second/Conv", pads=[1, 1, 1, 1]),
    helper.make_node("Relu", ["d"], ["t"], name="t"), *FLAT,
]  # fmt: skip
RESIDUAL = [STEM, *AFTER["residual"][:-1], helper.make_node("Relu", ["s"], ["t"], name="t"), *FLAT]


@pytest.fixture(autouse=True)
def same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the same numbers whichever tests ran before."""
    monkeypatch.setattr(graph_cases, "RNG", np.random.default_rng(11))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a model, ten images and their labels."""
    save(tmp_path / "net.onnx", PLAIN, {**CONSTANTS, "last": normal(432, 7)}, ("n", 4, 9, 8))
    np.save(tmp_path / "images.npy", normal(10, 4, 9, 8))
    np.save(tmp_path / "labels.npy", np.arange(10) % 7)
    return tmp_path


class Commands:
    """Runs the command line in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Return exit code, output, messages."""
        self.monkeypatch.setattr("sys.argv", ["logaccel", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        said = self.capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, said.out, said.err


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(monkeypatch, capsys)


@pytest.mark.parametrize("nodes", [PLAIN, RESIDUAL], ids=["plain", "residual"])
def test_captured_trace_is_simulated(nodes: list[Any], folder: Path, command: Commands) -> None:
    """Ifmaps and ofmaps are held against onnxruntime, which is asked for the tensors inside."""
    used = {name for node in nodes for name in node.input}
    weights = {key: value for key, value in {**CONSTANTS, "last": normal(432, 7)}.items() if key in used}
    path = save(folder / "net.onnx", nodes, weights, ("n", 4, 9, 8))
    code, said, _ = command("trace", "capture", path, folder / "images.npy", "-o", folder / "net.npz")
    assert code == 0 and said == f"{folder / 'net.npz'}: net, 3 layers, batch 10\n"
    trace = load_trace(folder / "net.npz")
    opened = helper.make_tensor_value_info
    inner = ["c", "r", "e" if nodes is RESIDUAL else "d", "t", "y"]
    images = np.load(folder / "images.npy")
    graph = helper.make_graph(
        list(nodes), "net", [opened("x", 1, ["n", 4, 9, 8])], [opened(name, 1, None) for name in inner],
        [onnx_tensor(value, name) for name, value in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    tensors = dict(zip(inner, ort.InferenceSession(model.SerializeToString()).run(None, {"x": images}), strict=True))
    second = tensors["e"] if nodes is RESIDUAL else tensors["t"]
    for item, ifmap, ofmap in zip(
        trace.layers, (images, tensors["r"], tensors["t"].reshape(10, -1)), (tensors["r"], second, tensors["y"]),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_allclose(item.ifmap, ifmap, rtol=1e-4, atol=1e-4, err_msg=item.layer.name)
        np.testing.assert_allclose(item.ofmap, ofmap, rtol=1e-4, atol=1e-4, err_msg=item.layer.name)
    assert trace.unfed_layers() == (("fc",) if nodes is RESIDUAL else ())
    result = simulate(trace, load_arch("shift_4b_16x16"))
    assert [layer.name for layer in result.layers] == [item.layer.name for item in trace.layers]
    code, said, _ = command("simulate", "--trace", folder / "net.npz", "--json")
    assert code == 0 and json.loads(said) == result.to_dict()


def onnx_tensor(value: np.ndarray, name: str) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(value, name)


def test_capture_refuses_without_writing(folder: Path, command: Commands) -> None:
    np.save(folder / "wrong.npy", normal(2, 4, 9, 9))
    for images, message in (
        ("wrong.npy", "wrong.npy: must have the shape [N, 4, 9, 8], got [2, 4, 9, 9]"),
        ("none.npy", "none.npy: No such file or directory"),
        ("net.onnx", "net.onnx: is no .npy array: "),
    ):
        code, said, error = command("trace", "capture", folder / "net.onnx", folder / images, "-o", folder / "made.npz")
        assert (code, said) == (2, "") and error.startswith(f"error: {folder / message}"), error
    assert not (folder / "made.npz").exists()
    before = (folder / "images.npy").read_bytes()
    target = folder / "." / "images.npy"
    code, said, error = command("trace", "capture", folder / "net.onnx", folder / "images.npy", "-o", target)
    assert (code, said) == (2, "") and "images.npy: is read by this command or written twice" in error
    assert (folder / "images.npy").read_bytes() == before


def test_evaluate_prints_what_the_library_returns(folder: Path, command: Commands) -> None:
    files = folder / "net.onnx", folder / "images.npy", folder / "labels.npy"
    code, said, _ = command("evaluate", *files, "--json", "--save-formats", folder / "f.yaml")
    model, arch = load_onnx(files[0]), load_arch("shift_4b_16x16")
    images, labels = np.load(files[1]), np.load(files[2])
    wanted = evaluate(GraphRun(model, arch, calibrate(model, arch, images)), images, labels).to_dict()
    own = "shift_4b_16x16, least_squares on 10 images of those evaluated"
    assert code == 0 and json.loads(said) == wanted | {"formats_origin": own}
    logits = ort.InferenceSession(str(files[0])).run(None, {"x": images})[0]
    assert wanted["float_top1"] == (logits.argmax(axis=1) == labels).mean()
    code, said, _ = command(
        "evaluate", *files, "--json", "--formats", folder / "f.yaml", "-b", 3, "-o", folder / "r.json"
    )
    assert (code, said) == (0, "")
    again = json.loads((folder / "r.json").read_text())
    for one, other in zip(again.pop("nodes"), wanted.pop("nodes"), strict=True):
        # Sums over images are those of batches, whose order of addition differs.
        assert one.pop("snr_db") == pytest.approx(other.pop("snr_db"), rel=1e-6) and one == other
    assert again == wanted | {"formats_origin": "shift_4b_16x16, from f.yaml"}
    code, said, _ = command("evaluate", *files)
    assert code == 0 and "10 images" in said and "float" in said and "/second/Conv" in said and "difference" in said
    row = next(line for line in said.splitlines() if line.startswith("top-1  "))
    shares = [100 * wanted[key] for key in ("top1", "top1_error", "float_top1", "float_top1_error")]
    assert "{:.1f} ± {:.1f} {:.1f} ± {:.1f}".format(*shares) in " ".join(row.split())
    code, said, _ = command("evaluate", *files, "--csv")
    rows = list(csv.DictReader(said.splitlines()))
    assert code == 0 and [row["node"] for row in rows] == [
        node["name"] for node in json.loads((folder / "r.json").read_text())["nodes"]
    ]
    assert {row["architecture"] for row in rows} == {"shift_4b_16x16"} and rows[0]["images"] == "10"


def test_a_result_names_version_configuration_formats_and_prices(folder: Path, command: Commands) -> None:
    model, images = folder / "net.onnx", folder / "images.npy"
    arch = load_arch("shift_4b_16x16_memory")
    code, said, _ = command("evaluate", model, images, "-a", arch.name, "--json", "--save-formats", folder / "f.yaml")
    tree = json.loads(said)
    assert code == 0 and tree["logaccel_version"] == logaccel.__version__ and tree["engine"] == "fold"
    assert tree["architecture"] == json.loads(json.dumps(arch.model_dump()))
    assert tree["cost"]["profile"] == arch.cost_profile and tree["cost_of_memory"]["profile"] == arch.cost_profile
    text = (folder / "f.yaml").read_text()
    origin = f"# logaccel {logaccel.__version__}: {arch.name}, least_squares on 10 images of those evaluated"
    assert text.splitlines()[0] == origin
    assert tree["formats"] == {key: value for key, value in yaml.safe_load(text).items() if key != "network"}
    # An array without a network between its layers is smaller; scratchpads are in the area of the system alone.
    alone = simulate(load_onnx(model).graph.network(1), arch).area
    assert tree["area_array_um2"] >= alone.array_um2 and (tree["area_system_um2"] is None) == (alone.system_um2 is None)
    whole = simulate(load_onnx(model).graph, arch).area
    assert (tree["area_array_um2"], tree["area_system_um2"]) == (whole.array_um2, whole.system_um2)


def test_differences_are_paired(folder: Path) -> None:
    """Image by image, by sorting scores as a person would; the error is that of a mean of −1, 0 and 1."""
    model, arch = load_onnx(folder / "net.onnx"), load_arch("shift_3b_16x16")
    images, labels = normal(400, 4, 9, 8), np.arange(400) % 7
    run = GraphRun(model, arch, calibrate(model, arch, images[:4]))
    floats = ort.InferenceSession(str(folder / "net.onnx")).run(None, {"x": images})[0].tolist()
    last = list(run.run(images))[-1]
    tree = evaluate(run, images, labels, batch=37).to_dict()
    for key, places in (("top1", 1), ("top5", 5)):
        differences = [
            (label in sorted(range(7), key=lambda c: -own[c])[:places])
            - (label in sorted(range(7), key=lambda c: -wanted[c])[:places])
            for own, wanted, label in zip(last.codes.tolist(), floats, labels.tolist(), strict=True)
        ]
        assert {-1, 1} <= set(differences)
        assert tree[f"{key}_difference"] == pytest.approx(np.mean(differences))
        assert tree[f"{key}_difference_error"] == pytest.approx(np.std(differences) / 400**0.5)
        assert tree[key] - tree[f"float_{key}"] == pytest.approx(np.mean(differences))


def test_evaluate_without_the_float_network(folder: Path, command: Commands) -> None:
    files = folder / "net.onnx", folder / "images.npy", folder / "labels.npy"
    whole = json.loads(command("evaluate", *files, "--json")[1])
    code, said, _ = command("evaluate", *files, "--json", "--no-float", "--state", folder / "s")
    assert code == 0
    for key in [key for key in whole if key.startswith(("float_", "top1_agreement")) or "_difference" in key]:
        del whole[key]
    for node in whole["nodes"]:
        node["snr_db"] = None
    assert json.loads(said) == whole
    code, said, error = command("evaluate", *files, "--state", folder / "s")
    assert (code, said) == (2, "") and error.startswith(f"error: {folder / 's'}: belongs to another evaluation")
    code, said, _ = command("evaluate", *files, "--no-float")
    assert code == 0 and "top-1 " in said and "difference" not in said and "agreement" not in said


def test_evaluate_goes_on_after_an_interruption(
    folder: Path, command: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ["evaluate", folder / "net.onnx", folder / "images.npy", folder / "labels.npy", "--json", "-b", 4]
    whole, state = json.loads(command(*call)[1]), folder / "sums.json"
    batches: list[int] = []
    original = GraphRun.run

    def run(self: GraphRun, images: np.ndarray) -> Iterator[NodeRun]:
        batches.append(len(images))
        if stopping and len(batches) == 3:
            raise KeyboardInterrupt
        return original(self, images)

    monkeypatch.setattr(GraphRun, "run", run)
    stopping = True
    code, said, error = command(*call, "--state", state)
    assert (code, said) == (130, "") and str(state) in error and "goes on" in error
    assert json.loads(state.read_text())["sums"]["images"] == 8
    stopping = False
    batches.clear()
    code, said, _ = command(*call, "--state", state)
    assert code == 0 and batches == [2] and json.loads(said) == whole
    images = np.load(folder / "images.npy")
    images[9, 0, 0, 0] += 1
    np.save(folder / "images.npy", images)
    code, said, error = command(*call, "--state", state, "--calibration", folder / "images.npy")
    assert (code, said) == (2, "") and error.startswith(f"error: {state}: belongs to another evaluation")


def test_a_state_of_more_images_than_there_are_is_refused(folder: Path, command: Commands) -> None:
    call = ["evaluate", folder / "net.onnx", folder / "images.npy", "--json", "--state", folder / "sums.json"]
    assert command(*call)[0] == 0
    tree = json.loads((folder / "sums.json").read_text())
    for count in (11, -1):
        tree["sums"]["images"] = count
        (folder / "sums.json").write_text(json.dumps(tree))
        code, said, error = command(*call)
        assert (code, said) == (2, "")
        assert f"sums.json: is no state of an evaluation: images: must be 0 … 10, got {count}" in error


def test_evaluate_refuses_wrong_files(folder: Path, command: Commands) -> None:
    hole = normal(40, 4, 9, 8)
    hole[35, 1, 2, 3] = np.nan
    for name, values in (
        ("shape", normal(2, 4, 9, 7)), ("nan", hole), ("complex", np.zeros((2, 4, 9, 8), complex)),
        ("bytes", np.zeros((2, 4, 9, 8), np.uint8)),
        ("none", np.zeros((0, 4, 9, 8), np.float32)), ("few", np.arange(9)), ("float", np.arange(10.0)),
        ("large", np.arange(10)),
    ):  # fmt: skip
        np.save(folder / f"{name}.npy", values)
    np.save(folder / "objects.npy", np.array([{}, 1], object), allow_pickle=True)
    for name in ("text.npy", "text.onnx", "text.json"):
        (folder / name).write_text("hello\n")
    (folder / "twice.yaml").write_text("network: a\nnetwork: b\n")
    model, images, labels = (folder / name for name in ("net.onnx", "images.npy", "labels.npy"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for arguments, message in (
        ((model, folder / "shape.npy"), "shape.npy: must have the shape [N, 4, 9, 8], got [2, 4, 9, 7]"),
        ((model, folder / "nan.npy"), "nan.npy: must be finite in float32, got nan in image 35"),
        (
            (model, folder / "complex.npy"),
            "complex.npy: must hold floating-point numbers, normalised as in training, got complex128",
        ),
        (
            (model, folder / "bytes.npy"),
            "bytes.npy: must hold floating-point numbers, normalised as in training, got uint8",
        ),
        ((model, folder / "none.npy"), "none.npy: must hold at least one entry, got the shape [0, 4, 9, 8]"),
        ((model, folder / "objects.npy"), "objects.npy: is no .npy array: "),
        ((model, folder / "text.npy"), "text.npy: is no .npy array: "),
        ((model, folder / "gone.npy"), "gone.npy: No such file or directory"),
        ((model, images, folder / "few.npy"), "few.npy: must have the shape [10], one for each image, got [9]"),
        ((model, images, folder / "float.npy"), "float.npy: must hold integers, got float64"),
        ((model, images, folder / "large.npy"), "large.npy: must be 0 … 6, got 0 … 9"),
        ((folder / "text.onnx", images), "text.onnx: is no ONNX file, or a damaged one: "),
        ((folder / "gone.onnx", images), "gone.onnx: cannot be read: No such file or directory"),
        ((model, images, labels, "--state", folder / "text.json"), "text.json: is no state of an evaluation: "),
        (
            (model, images, labels, "--formats", folder / "text.json"),
            "text.json: must be a mapping of keys, got 'hello'",
        ),
        (
            (model, images, labels, "--formats", folder / "twice.yaml"),
            "twice.yaml: not valid YAML: line 2: key 'network' is ",
        ),
        ((model, images, labels, "-o", folder / "no" / "r.json"), "no/r.json: no such folder: "),
        ((model, images, labels, "-o", images), "images.npy: is read by this command or written twice; "),
        ((model, images, labels, "--save-formats", model), "net.onnx: is read by this command or written twice; "),
        ((model, images, "--state", "s.json", "-o", "s.json"), "s.json: is read by this command or written twice; "),
        ((model, images, folder / "few.npy", "--save-formats", folder / "made.yaml"), "few.npy: must have the shape "),
        ((model, images, labels, "--calibration", folder / "shape.npy"), "shape.npy: must have the shape "),
    ):
        code, said, error = command("evaluate", *arguments)
        assert (code, said) == (2, "") and error.replace(f"{folder}/", "").startswith(f"error: {message}"), error
        assert len(error.splitlines()) == 1
    # Labels are looked at before formats are chosen and written.
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("with_memory", [False, True])
def test_an_image_costs_what_its_graph_costs(folder: Path, command: Commands, with_memory: bool) -> None:
    """Cycles beside a simulation of the shapes alone: layers, pooling, residual and concat."""
    model = residual_net(folder)
    arch = load_arch("shift_4b_16x16").replace(**{"pe.zero_gating": False})
    if with_memory:
        pads = {name: {"bytes": 4096} for name in ("ifmap", "filter", "ofmap")}
        arch = arch.replace(memory={**pads, "dram": {"bits_per_cycle": 16, "latency_cycles": 10}})
    images = normal(3, 4, 9, 8)
    tree = evaluate(GraphRun(model, arch, calibrate(model, arch, images)), images).to_dict()
    shapes = simulate(model.graph, arch)
    assert [work.kind for work in shapes.post_work] == ["residual", "average pool", "max pool", "concat"]
    assert tree["cycles_per_image"] == shapes.total_cycles
    costs = {node["name"]: node["cycles"] for node in tree["nodes"] if "cycles" in node}
    assert sum(costs.values()) == shapes.total_cycles
    for work in shapes.post_work:
        if work.kind != "residual":
            assert costs[work.name] == work.total_cycles > 0
    assert ("energy_system_pj_per_image" in tree) == with_memory
    if with_memory:
        assert tree["energy_system_pj_per_image"] > tree["energy_array_pj_per_image"]
    code, said, _ = command("simulate", "shift_4b_16x16", "--network", folder / "net.onnx", "--batch", 2, "--json")
    assert code == 0
    told = json.loads(said)
    assert told["batch"] == 2 and [work["kind"] for work in told["post_work"]][-1] == "concat"


@pytest.mark.parametrize("profile", ["horowitz_45nm", "aladdin_40nm"])
def test_lanes_that_shift_by_channel_are_paid_for(folder: Path, profile: str) -> None:
    """Area and energy are those of an architecture that has such lanes; only that one says nothing of it."""
    model, images = load_onnx(folder / "net.onnx"), np.load(folder / "images.npy")
    plain = load_arch("multiply_4b_16x16_memory").replace(cost_profile=profile)
    shifting = plain.replace(**{"post.channel_shift_bits": 4})
    formats = calibrate(model, plain, images, Calibration(channel_scales="weights"))
    assert formats.scales
    runs = ((plain, replace(formats, scales={})), (plain, formats), (shifting, formats))
    without, brought, has = (evaluate(GraphRun(model, *own), images[:1], float_network=False).to_dict() for own in runs)
    assert len(without["notes"]) == len(has["notes"]) == 1 and len(brought["notes"]) == 2
    assert {**brought, "notes": has["notes"]} == has
    assert has["architecture"]["post"]["channel_shift_bits"] == 4
    for key in ("area_array_um2", "area_system_um2", "energy_array_pj_per_image", "energy_system_pj_per_image"):
        assert (has[key] is None and profile == "horowitz_45nm") or has[key] > without[key], key
    assert has["cycles_per_image"] == without["cycles_per_image"]


def test_calibrate_writes_what_evaluate_takes(folder: Path, command: Commands) -> None:
    model, images, formats = folder / "net.onnx", folder / "images.npy", folder / "f.yaml"
    how = [
        "--method",
        "least_output_error",
        "--channel-scales",
        "weights",
        "--weight-bits",
        5,
        "--activation-bits",
        4.5,
    ]
    code, said, _ = command("calibrate", model, images, "-o", formats, *how, "--correct-bias")
    assert code == 0 and said.startswith(f"{formats}: net on shift_4b_16x16, 10 images\n")
    assert "/second/Conv" in said and "corrected biases: all layers" in said
    network, arch, values = load_onnx(model), load_arch("shift_4b_16x16"), np.load(images)
    wanted = Calibration(
        "least_output_error", channel_scales="weights", weight_bits=5, activation_bits=4.5, correct_bias=True
    )
    chosen = calibrate(network, arch, values, wanted)
    assert load_formats(formats) == chosen
    code, said, _ = command("evaluate", model, images, "--json", "--formats", formats)
    result = evaluate(GraphRun(network, arch, chosen), values).to_dict()
    assert code == 0 and json.loads(said) == result | {"formats_origin": "shift_4b_16x16, from f.yaml"}
    assert json.loads(said)["notes"][1:] == [
        "powers of two by ofmap channel need post.channel_shift_bits, which shift_4b_16x16 leaves out: its lanes "
        "have 4 here, and area and energy hold them"
    ]
    code, other, _ = command("evaluate", model, images, "--json", *how, "--correct-bias")
    assert code == 0 and json.loads(other) == result | {"formats_origin": json.loads(other)["formats_origin"]}
    for arguments, message in (
        (
            ("evaluate", model, images, "--formats", formats, "--correct-bias"),
            f"--formats {formats}: holds what a calib",
        ),
        (
            ("evaluate", model, images, "--formats", formats, "--calibration", images),
            f"--formats {formats}: holds what a calib",
        ),
        (("calibrate", model, images, "-o", model), f"{model}: is read by this command or written twice"),
        (("calibrate", model, images, "-o", formats, "--method", "best"), "calibration: method must be one of max, "),
        (
            ("calibrate", model, images, "-o", formats, "--weight-bits", 1),
            "calibration: weight_bits must be at least 2",
        ),
        (("calibrate", model, images, "-o", folder / "no" / "f.yaml"), f"{folder}/no/f.yaml: no such folder"),
    ):
        code, said, error = command(*arguments)
        assert (code, said) == (2, "") and error.startswith(f"error: {message}"), error
    assert load_formats(formats) == chosen


@pytest.mark.parametrize("nodes", [PLAIN, RESIDUAL], ids=["plain", "residual"])
@pytest.mark.parametrize("with_memory", [False, True])
def test_each_layer_of_an_evaluation_takes_the_dataflow_of_the_simulation(
    nodes: list[Any], with_memory: bool, folder: Path
) -> None:
    """And keeps the same maps on chip, those that a residual add reads too; values do not depend on it."""
    used = {name for node in nodes for name in node.input}
    weights = {key: value for key, value in {**CONSTANTS, "last": normal(432, 7)}.items() if key in used}
    model = load_onnx(save(folder / "auto.onnx", nodes, weights, ("n", 4, 9, 8)))
    pad = {"bytes": 4096}
    memory = {"ifmap": pad, "filter": pad, "ofmap": pad, "dram": {"bits_per_cycle": 16}} if with_memory else None
    arch = load_arch("shift_4b_16x16").replace(dataflow="auto", memory=memory, array={"rows": 4, "cols": 8})
    images = np.load(folder / "images.npy")[:4]
    run = GraphRun(model, arch, calibrate(model, arch, images))
    simulated = simulate(model.graph, arch)
    assert [own.dataflow for own in run.archs.values()] == [layer.dataflow for layer in simulated.layers]
    cycles = {node["name"]: node["cycles"] for node in evaluate(run, images).to_dict()["nodes"] if "cycles" in node}
    for layer in simulated.layers:
        between = sum(work.total_cycles for work in simulated.post_work if work.name == layer.name)
        assert cycles[layer.name] == layer.total_cycles + between
    if with_memory:
        handed = [layer.tiled.ifmap_on_chip for layer in simulated.layers]  # type: ignore[union-attr]
        assert handed == [False, True, True]
        apart = GraphRun(model, arch.replace(**{"memory.handover": False}), run.formats)
        for one, other in zip(run.run(images), apart.run(images), strict=True):
            assert np.array_equal(one.codes, other.codes)
