"""Captured traces: the same file whatever the batch, with labels, in bounded memory, nothing half-written."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from graph_cases import normal, residual_net
from test_evaluate import Commands, command, folder  # noqa: F401 - fixtures

from logaccel import TraceError, load_arch, load_trace, save_trace, simulate
from logaccel.model.capture import capture_trace


def test_the_file_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    model, images = residual_net(tmp_path), normal(7, 4, 9, 8)
    written = []
    for batch, folder_name in ((1, None), (3, "files"), (7, None), (16, "more")):
        files = None if folder_name is None else tmp_path / folder_name
        if files is not None:
            files.mkdir()
        seen: list[int] = []
        trace = capture_trace(
            model, images, np.arange(7), batch=batch, folder=files, progress=lambda done, total, s=seen: s.append(done)
        )
        assert seen == list(range(0, 7, batch))
        save_trace(trace, tmp_path / "net.npz")
        written.append((tmp_path / "net.npz").read_bytes())
    assert len(set(written)) == 1
    loaded = load_trace(tmp_path / "net.npz")
    assert loaded.labels is not None and loaded.labels.tolist() == list(range(7)) and loaded.batch == 7
    assert np.array_equal(loaded.layers[0].ifmap, images)
    for item in loaded.layers:
        own = model.parameters[item.layer.name]
        assert np.array_equal(item.filter, own.filter) and np.array_equal(item.bias, own.bias)


def test_captured_labels_become_accuracy(tmp_path: Path) -> None:
    model, images = residual_net(tmp_path), normal(12, 4, 9, 8)
    logits = capture_trace(model, images).layers[-1].ofmap
    trace = capture_trace(model, images, logits.argmax(axis=1))
    result = simulate(trace, load_arch("multiply_16b_16x16"))
    assert result.accuracy is not None and result.accuracy.float_top1_accuracy == 1.0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(6), r"trace net: labels: must have the shape \[7\], got \[6\]"),
        (np.zeros(7), "trace net: labels: must hold integers, got float64"),
        (np.arange(7) - 1, "trace net: labels: must be at least 0, got -1"),
        (np.arange(7) + 1, "trace net: labels: must be 0 … 6, got 7"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray, message: str, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=f"^{message}$"):
        capture_trace(residual_net(tmp_path), normal(7, 4, 9, 8), labels)


def test_command_takes_labels_and_leaves_nothing_behind(folder: Path, command: Commands) -> None:  # noqa: F811
    np.save(folder / "few.npy", np.arange(9))
    bad = normal(10, 4, 9, 8)
    bad[9, 0, 0, 0] = np.inf
    np.save(folder / "bad.npy", bad)
    before = {path.name for path in folder.iterdir()}
    call = ["trace", "capture", folder / "net.onnx"]
    for images, labels, message in (
        ("images.npy", "few.npy", "error: trace net: labels: must have the shape [10], got [9]"),
        ("bad.npy", "labels.npy", f"error: {folder}/bad.npy: must be finite in float32, got inf in image 9"),
    ):
        code, said, error = command(*call, folder / images, "-o", folder / "t.npz", "--labels", folder / labels)
        assert (code, said) == (2, "") and error.startswith(message), error
        assert {path.name for path in folder.iterdir()} == before
    code, said, _ = command(
        *call, folder / "images.npy", "-o", folder / "t.npz", "--labels", folder / "labels.npy", "-b", 3
    )
    assert (code, said) == (0, f"{folder / 't.npz'}: net, 3 layers, batch 10\n")
    assert {path.name for path in folder.iterdir()} == before | {"t.npz"}
    trace = load_trace(folder / "t.npz")
    assert trace.labels is not None and np.array_equal(trace.labels, np.load(folder / "labels.npy"))


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    """A thousand images more cost one tensor at most, which numpy writes in pieces of up to 16 MiB."""
    model, peaks = residual_net(tmp_path), []
    for count in (64, 1064):
        images = normal(count, 4, 9, 8)
        (tmp_path / str(count)).mkdir()
        tracemalloc.start()
        trace = capture_trace(model, images, batch=16, folder=tmp_path / str(count))
        save_trace(trace, tmp_path / "t.npz")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    sizes = [tensor.nbytes for item in trace.layers for tensor in (item.ifmap, item.ofmap)]
    assert peaks[1] - peaks[0] < 1.1 * max(sizes) < sum(sizes) / 3, (peaks, sizes)


@pytest.mark.slow
def test_a_real_trace_is_simulated(tmp_path: Path, shared_data: Path) -> None:
    """One image of SqueezeNet: every layer's tensors through a file, and through the array."""
    from logaccel.model.onnx_import import load_onnx

    model = load_onnx(shared_data / "networks" / "squeezenet11.onnx")
    trace = capture_trace(model, np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32))
    save_trace(trace, tmp_path / "s.npz")
    loaded = load_trace(tmp_path / "s.npz")
    for one, other in zip(loaded.layers, trace.layers, strict=True):
        assert one.layer == other.layer
        assert np.array_equal(one.ifmap, other.ifmap) and np.array_equal(one.ofmap, other.ofmap)
    result = simulate(loaded, load_arch("shift_4b_16x16"))
    assert len(result.layers) == 26 and all(layer.snr_db > 5 for layer in result.layers)
