"""Trained networks: values beside onnxruntime in the same run, cycles and energy beside values, memory, import."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from logaccel import load_arch
from logaccel.evaluation import GraphRun, calibrate, evaluate, run_graph
from logaccel.model.onnx_import import load_onnx

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow

MEAN, SCALE = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
NETWORKS = {"resnet20": (256, 32), "squeezenet11": (32, 16)}  # images, batch


def pictures(shared_data: Path, network: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return normalised images [N, 3, H, W] and their classes."""
    sys.path.insert(0, str(shared_data))
    try:
        import load
    finally:
        sys.path.pop(0)
    images, labels = load.cifar10("test") if network == "resnet20" else load.imagenet()
    values = (images[:count] / np.float32(255) - MEAN) / SCALE
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2), np.float32), labels[:count].astype(np.int64)


def machine(shared_data: Path, network: str, images: np.ndarray) -> GraphRun:
    model, arch = load_onnx(shared_data / "networks" / f"{network}.onnx"), load_arch("shift_4b_16x16")
    return GraphRun(model, arch, calibrate(model, arch, images[:16]))


def alternately(rounds: int, *works: Callable[[], Any]) -> np.ndarray:
    """Return seconds[round, work], after a round that compiles.

    The pause lets the threads of the work before go to sleep: some spin for a while after they have finished.
    """
    seconds = np.empty((rounds + 1, len(works)))
    for turn in range(rounds + 1):
        for number, work in enumerate(works):
            time.sleep(0.1)
            start = time.perf_counter()
            work()
            seconds[turn, number] = time.perf_counter() - start
    return seconds[1:]


@pytest.mark.parametrize("network", NETWORKS)
def test_values_beside_onnxruntime(network: str, shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    count, batch = NETWORKS[network]
    images, labels = pictures(shared_data, network, count)
    run, options = machine(shared_data, network, images), ort.SessionOptions()
    options.intra_op_num_threads = 2
    session = ort.InferenceSession(str(shared_data / "networks" / f"{network}.onnx"), options)
    name = session.get_inputs()[0].name
    parts = [images[first : first + batch] for first in range(0, count, batch)]
    seconds = alternately(
        5,
        lambda: [session.run(None, {name: part}) for part in parts],
        lambda: [run_graph(run, part) for part in parts],
        lambda: evaluate(run, images, labels, batch=batch, float_network=False),
        lambda: evaluate(run, images, labels, batch=batch),
    )
    floats, values, counted, compared = seconds.min(axis=0) / count
    with capsys.disabled():
        print(f"\n{network}, batches of {batch}: ms per image, and ratios in the same run")
        print(f"  onnxruntime float32, 2 threads   {floats * 1e3:8.2f}")
        print(f"  values                           {values * 1e3:8.2f}  {values / floats:5.1f} × onnxruntime")
        print(f"  values, cycles, energy           {counted * 1e3:8.2f}  {counted / values:5.2f} × values")
        print(f"  … and the float network          {compared * 1e3:8.2f}  {compared / values:5.2f} × values")
        print(f"  10,000 images, all of it         {compared * 1e4:8.0f} s")
    # Wide margins: shared machines are noisy. Idle: below 4, below 2.
    assert values < 8 * floats and counted < 4 * values and compared < 8 * values
    if network == "resnet20":
        assert compared * 1e4 < 360  # idle: below 180


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from logaccel import load_arch
from logaccel.evaluation import GraphRun, calibrate, evaluate
from logaccel.model.onnx_import import load_onnx

def anonymous_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024

model, images = load_onnx(sys.argv[1]), np.load(sys.argv[2], mmap_mode="r")
arch = load_arch("shift_4b_16x16")
run = GraphRun(model, arch, calibrate(model, arch, np.array(images[:16])))
seen = []
evaluate(run, images[: int(sys.argv[3])], progress=lambda done, total: seen.append(anonymous_mb()))
print(max(seen))
"""


def test_memory_is_that_of_a_batch(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    images, _ = pictures(shared_data, "resnet20", 4000)
    np.save(tmp_path / "images.npy", images)
    model = str(shared_data / "networks" / "resnet20.onnx")

    def peak(count: int) -> float:
        command = [sys.executable, "-c", MEMORY, model, str(tmp_path / "images.npy"), str(count)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    few, many = peak(200), peak(4000)
    with capsys.disabled():
        print(f"\nmemory of its own: {few:.0f} MB for 200 images, {many:.0f} MB for 4000 ({images.nbytes >> 20} MB)")
    assert many < few + 16


def test_import_of_a_network_of_the_size_of_alexnet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Random weights in the shapes of AlexNet (Krizhevsky 2012, one column, as torchvision has it): 61 million."""
    from onnx import helper, numpy_helper

    rng, nodes, tensors, last = np.random.default_rng(1), [], [], "x"
    convolutions = [
        (3, 64, 11, 4, 2),
        (64, 192, 5, 1, 2),
        (192, 384, 3, 1, 1),
        (384, 256, 3, 1, 1),
        (256, 256, 3, 1, 1),
    ]
    for index, (depth, channels, size, stride, margin) in enumerate(convolutions):
        tensors += [
            numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), f"{kind}{index}")
            for kind, shape in (("w", (channels, depth, size, size)), ("b", (channels,)))
        ]
        nodes.append(
            helper.make_node("Conv", [last, f"w{index}", f"b{index}"], [f"c{index}"], name=f"conv{index}",
                             strides=[stride] * 2, pads=[margin] * 4)
        )  # fmt: skip
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        last = f"r{index}"
        if index in (0, 1, 4):
            nodes.append(helper.make_node("MaxPool", [last], [f"p{index}"], kernel_shape=[3, 3], strides=[2, 2]))
            last = f"p{index}"
    nodes.append(helper.make_node("Flatten", [last], ["flat"]))
    last = "flat"
    for index, (depth, channels) in enumerate([(9216, 4096), (4096, 4096), (4096, 1000)]):
        tensors += [
            numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), f"{kind}{index}")
            for kind, shape in (("v", (channels, depth)), ("a", (channels,)))
        ]
        out = "y" if index == 2 else f"f{index}"
        nodes.append(helper.make_node("Gemm", [last, f"v{index}", f"a{index}"], [out], name=f"fc{index}", transB=1))
        last = out
        if index < 2:
            nodes.append(helper.make_node("Relu", [out], [f"g{index}"]))
            last = f"g{index}"
    graph = helper.make_graph(
        nodes, "alexnet", [helper.make_tensor_value_info("x", 1, [1, 3, 224, 224])],
        [helper.make_tensor_value_info("y", 1, None)], tensors,
    )  # fmt: skip
    path = tmp_path / "alexnet.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        model = load_onnx(path)
        seconds.append(time.perf_counter() - start)
    weights = sum(own.filter.size + own.bias.size for own in model.parameters.values())
    assert weights == 61_100_840 and len(model.graph.layers) == 8
    with capsys.disabled():
        print(f"\nimport of {path.stat().st_size >> 20} MB: {min(seconds):.2f} s")
    assert min(seconds) < 6  # idle: below 3
