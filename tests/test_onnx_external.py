"""Weights in a file beside the model, as PyTorch writes them: read within bounds from the model's folder alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_cases import STEM, helper, normal, save

from logaccel.errors import WorkloadError
from logaccel.model import onnx_tensors
from logaccel.model.onnx_import import load_onnx

onnx = pytest.importorskip("onnx")
RELU = helper.make_node("Relu", ["c"], ["y"], name="n")
BYTES = 4 * 6 * 4 * 3 * 3


def written(folder: Path, weights: np.ndarray, before: int = 0, **entries: str) -> Path:
    """Write a network whose filter lies in net.onnx.data, behind some bytes; `entries` replace where it says so."""
    folder.mkdir(parents=True, exist_ok=True)
    path = save(folder / "net.onnx", [STEM, RELU], {"w": weights})
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    (folder / "net.onnx.data").write_bytes(b"\xff" * before + tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entries = {"location": "net.onnx.data", "offset": str(before), "length": str(weights.nbytes)} | entries
    tensor.external_data.extend(onnx.StringStringEntryProto(key=key, value=entries[key]) for key in entries)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("before", [0, 12])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_weights_beside_the_model_are_those_within(before: int, dtype: type, tmp_path: Path) -> None:
    weights = normal(6, 4, 3, 3).astype(dtype)
    outer = load_onnx(written(tmp_path / "outer", weights, before)).parameters["stem"].filter
    assert (outer == weights.astype(np.float32)).all()


def test_a_folder_below_the_model_is_its_folder(tmp_path: Path) -> None:
    weights = normal(6, 4, 3, 3)
    path = written(tmp_path, weights, location="weights/net.data")
    (tmp_path / "weights").mkdir()
    (tmp_path / "net.onnx.data").rename(tmp_path / "weights" / "net.data")
    assert (load_onnx(path).parameters["stem"].filter == weights).all()


def gone(path: Path) -> None:
    Path(f"{path}.data").unlink()


def linked(path: Path) -> None:
    """Let the file be a link to one outside of the folder."""
    data = Path(f"{path}.data")
    data.rename(path.parent.parent / "elsewhere")
    data.symlink_to(path.parent.parent / "elsewhere")


def looped(path: Path) -> None:
    gone(path)
    Path(f"{path}.data").symlink_to(f"{path}.data")


def folder(path: Path) -> None:
    gone(path)
    Path(f"{path}.data").mkdir()


def short(path: Path) -> None:
    Path(f"{path}.data").write_bytes(bytes(BYTES - 1))


IN_FOLDER = "external data: location: must be a file in the folder of the model, got "


@pytest.mark.parametrize(
    ("entries", "change", "message"),
    [
        ({}, gone, "its data lies in another file, which is missing: {folder}/net.onnx.data"),
        ({}, linked, IN_FOLDER + "'net.onnx.data'"),
        ({}, looped, "external data: location: 'net.onnx.data' is a link to itself"),
        ({}, folder, IN_FOLDER + "'net.onnx.data'"),
        ({}, short, f"external data: {BYTES} bytes at 0 do not fit 'net.onnx.data' of {BYTES - 1} bytes"),
        ({"location": "../net/net.onnx.data"}, None, IN_FOLDER + "'../net/net.onnx.data'"),
        ({"location": "/etc/passwd"}, None, IN_FOLDER + "'/etc/passwd'"),
        ({"location": "a\0b"}, None, IN_FOLDER + "'a\\x00b'"),
        ({"location": ""}, None, IN_FOLDER + "''"),
        ({"offset": "1"}, None, f"external data: {BYTES} bytes at 1 do not fit 'net.onnx.data' of {BYTES} bytes"),
        ({"offset": "-4"}, None, "external data: offset: must be a number of bytes, got '-4'"),
        ({"offset": "9" * 30}, None, f"external data: offset: must be a number of bytes, got '{'9' * 30}'"),
        ({"length": "4"}, None, f"external data: length: its shape and type take {BYTES} bytes, got 4"),
    ],
)  # fmt: skip
def test_what_may_not_be_read_is_one_error(
    entries: dict[str, str], change: Callable[[Path], None] | None, message: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "net", normal(6, 4, 3, 3), **entries)
    if change:
        change(path)
    with pytest.raises(WorkloadError) as caught:
        load_onnx(path)
    assert str(caught.value) == f"{path}: initializer w: {message.format(folder=path.parent)}"


def test_many_tensors_may_not_claim_one_file_again_and_again(tmp_path: Path, monkeypatch: Any) -> None:
    path = written(tmp_path, normal(6, 4, 3, 3))
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer.append(model.graph.initializer[0])
    model.graph.initializer[1].name = "again"
    path.write_bytes(model.SerializeToString())
    load_onnx(path)
    monkeypatch.setattr(onnx_tensors, "LARGEST_FILE_BYTES", 2 * BYTES - 1)
    with pytest.raises(
        WorkloadError, match=rf"initializer again: external data: must be at most {2 * BYTES - 1} bytes"
    ):
        load_onnx(path)
