"""AlexNet and VGG16 as a user has them: imported quickly, equal to onnxruntime in float, run on the machine."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_networks
import pytest

from logaccel import load_arch, load_network
from logaccel.evaluation import GraphRun, calibrate, evaluate
from logaccel.model.model import Model
from logaccel.model.onnx_import import load_onnx
from logaccel.model.reference import run_float
from logaccel.workload.graph import FloatOp

ort = pytest.importorskip("onnxruntime")

IMPORT_SECONDS = 3.0  # of one core: what the machine does beside it does not count


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Model]]:
    path = onnx_networks.alexnet(tmp_path_factory.mktemp("alexnet") / "alexnet.onnx")
    yield path, load_onnx(path)
    path.unlink()  # a quarter of a gigabyte


def images_of(model: Model, count: int) -> np.ndarray:
    return np.random.default_rng(4).normal(size=(count, *model.graph.input_shape)).astype(np.float32)


def assert_float_path(path: Path, model: Model) -> None:
    images = images_of(model, 1)
    expected = ort.InferenceSession(str(path)).run(None, {"data": images})[0]
    result = {node.name: value for node, value in run_float(model, images)}[model.graph.output]
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-4 * float(np.abs(expected).max()))


def assert_layers_of(model: Model, name: str) -> None:
    """The file's layers are those of the shipped shapes, which come from the papers."""
    wanted = load_network(name).layers
    assert len(model.graph.layers) == len(wanted)
    for own, shape in zip(model.graph.layers, wanted, strict=True):
        assert own.matrix(1) == shape.matrix(1), own.name
        assert own.out_size == shape.out_size or shape.kind == "fc"


def test_alexnet(alexnet: tuple[Path, Model]) -> None:
    path, model = alexnet
    assert_layers_of(model, "alexnet")
    floats = [node.name for node in model.graph.nodes if isinstance(node, FloatOp)]
    assert floats == ["norm1", "norm2", "prob"]
    assert_float_path(path, model)


@pytest.mark.slow
def test_alexnet_is_imported_in_seconds(alexnet: tuple[Path, Model]) -> None:
    took = []
    for _ in range(3):
        start = time.process_time()
        load_onnx(alexnet[0])
        took.append(time.process_time() - start)
    print(f"\nimport of AlexNet, {alexnet[0].stat().st_size / 2**20:.0f} MiB: {min(took):.2f} s")
    assert min(took) < IMPORT_SECONDS


@pytest.mark.slow
def test_alexnet_runs_on_the_machine(alexnet: tuple[Path, Model]) -> None:
    model, arch = alexnet[1], load_arch("shift_4b_first_linear_16x16")
    images = images_of(model, 3)
    run = GraphRun(model, arch, calibrate(model, arch, images[:1]))
    result = evaluate(run, images, np.array([1, 2, 999]), batch=2).to_dict()
    assert result["images"] == 3 and result["off_array"] == ["norm1", "norm2", "prob"]
    noise = {node["name"]: node["snr_db"] for node in result["nodes"]}
    assert noise["conv1"] > 8 and noise["fc8"] > 3  # codes of noise in, but no garbage out
    assert result["cycles_per_image"] == sum(node.get("cycles", 0) for node in result["nodes"])


@pytest.mark.slow
def test_vgg16(tmp_path: Path) -> None:
    path = onnx_networks.vgg16(tmp_path / "vgg16.onnx")
    start = time.process_time()
    model = load_onnx(path)
    print(f"\nimport of VGG16, {path.stat().st_size / 2**20:.0f} MiB: {time.process_time() - start:.2f} s")
    assert_layers_of(model, "vgg16")
    assert_float_path(path, model)
    path.unlink()
    arch, images = load_arch("shift_4b_16x16"), images_of(model, 1)
    result = evaluate(GraphRun(model, arch, calibrate(model, arch, images)), images).to_dict()
    assert result["images"] == 1 and {node["name"]: node["snr_db"] for node in result["nodes"]}["conv1_1"] > 8
