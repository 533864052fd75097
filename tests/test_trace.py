"""Traces: files, chains, and the bundled trace."""

import io
import json
import os
import random
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from trace_cases import CONV, FC, NAMES, failure, same, small_trace

from logaccel.errors import TraceError
from logaccel.trace import (
    LayerTensors,
    Trace,
    chain_trace,
    load_trace,
    save_trace,
    synthesize_trace,
)
from logaccel.workload import network_of


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("labels", [(0, 2), None])
def test_round_trip(tmp_path, compact, labels):
    trace = small_trace() if labels else replace(small_trace(), labels=None)
    path = tmp_path / "t.npz"
    save_trace(trace, path, compact=compact)
    same(trace, load_trace(path))
    first = path.read_bytes()
    save_trace(load_trace(path), str(path), compact=compact)
    assert path.read_bytes() == first
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.npz"]


def test_what_a_compact_file_leaves_out(tmp_path):
    trace = small_trace()
    save_trace(trace, tmp_path / "t.npz", compact=True)
    with np.load(tmp_path / "t.npz", allow_pickle=False) as archive:
        assert sorted(archive.files) == ["0.bias", "0.filter", "0.ifmap", "1.bias", "1.filter", "labels", "manifest"]
        manifest = json.loads(archive["manifest"].tobytes())
    assert manifest["tensors"] == [["ifmap", "filter", "bias"], ["filter", "bias"]]
    assert (manifest["format"], manifest["version"], manifest["licence"]) == ("logaccel trace", 1, "l")
    # one bit beside the reference: that ofmap, and the ifmap that no longer equals it, stay in the file
    other = trace.layers[0].ofmap.copy()
    other[0, 0, 0, 0] = np.nextafter(other[0, 0, 0, 0], np.float32(9))
    changed = replace(trace, layers=(replace(trace.layers[0], ofmap=other), trace.layers[1]))
    save_trace(changed, tmp_path / "t.npz", compact=True)
    same(changed, load_trace(tmp_path / "t.npz"))
    with np.load(tmp_path / "t.npz", allow_pickle=False) as archive:
        assert {"0.ofmap", "1.ifmap"} <= set(archive.files) and "1.ofmap" not in archive.files


def test_layers_that_do_not_feed_one_another_round_trip_compactly(tmp_path):
    trace = synthesize_trace(
        network_of({"name": "n", "layers": [CONV, CONV.model_copy(update={"name": "b"})]}, "n"), batch=2
    )
    save_trace(trace, tmp_path / "t.npz", compact=True)
    same(trace, load_trace(tmp_path / "t.npz"))


def test_deflated_files_load(tmp_path):
    save_trace(small_trace(), tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz", allow_pickle=False) as archive:
        np.savez_compressed(tmp_path / "z.npz", **dict(archive))
    same(small_trace(), load_trace(tmp_path / "z.npz"))


def test_nothing_half_written(tmp_path, monkeypatch):
    path = tmp_path / "t.npz"
    path.write_bytes(b"before")
    bad = small_trace()
    layer = replace(bad.layers[0], bias=np.full(4, np.nan, np.float32))
    assert "must be finite" in failure(save_trace, replace(bad, layers=(layer, bad.layers[1])), path)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    for owner, name in ((os, "replace"), (np.lib.format, "write_array")):
        monkeypatch.setattr(owner, name, full)
        assert failure(save_trace, small_trace(), path) == f"{path}: cannot be written: No space left on device"
    assert path.read_bytes() == b"before" and [entry.name for entry in tmp_path.iterdir()] == ["t.npz"]
    there = tmp_path / "none" / "t.npz"
    assert failure(save_trace, small_trace(), there) == f"{there}: cannot be written: No such file or directory"


def edited(tmp_path, change):
    """Save the small trace with its members changed by `change(members, manifest)`."""
    save_trace(small_trace(), tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz", allow_pickle=False) as archive:
        members = dict(archive)
    manifest = json.loads(members["manifest"].tobytes())
    change(members, manifest)
    if "manifest" in members:
        members["manifest"] = np.frombuffer(json.dumps(manifest).encode(), dtype=np.uint8)
    np.savez(tmp_path / "t.npz", **members)
    return tmp_path / "t.npz"


def drop(*names):
    return lambda members, manifest: [members.pop(name) for name in names]


def put(name, value):
    return lambda members, manifest: members.__setitem__(name, value)


def declare(key, value):
    return lambda members, manifest: manifest.__setitem__(key, value)


SPOILED = np.zeros((3, 16), np.float32)
SPOILED[1, 2] = np.nan
SPOILED[2, 0] = np.inf


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (drop("manifest"), ["is not a trace: it has no member manifest.npy"]),
        (
            drop("0.filter", "1.ofmap", "labels"),
            [
                "layer conv: filter: missing, the file has no member 0.filter.npy",
                "layer fc: ofmap: missing, the file has no member 1.ofmap.npy",
                "labels: missing, the file has no member labels.npy",
            ],
        ),
        (put("0.bias", np.zeros(4)), ["layer conv: bias: must be of type float32, got float64"]),
        (put("0.bias", np.zeros(5, np.float32)), ["layer conv: bias: must have the shape [4], got [5]"]),
        (
            put("1.filter", np.asfortranarray(np.ones((3, 16), np.float32))),
            ["layer fc: filter: must be in C order, got Fortran order"],
        ),
        (put("1.filter", SPOILED), ["layer fc: filter: must be finite in float32, got nan at [1, 2] (2 such)"]),
        (put("labels", np.array([0, 3])), ["labels: must be 0 … 2, got 3"]),
        (put("labels", np.array([-1, 3])), ["labels: must be 0 … 2, got -1"]),
        (put("extra", np.zeros(1)), ["member 'extra': unknown to the manifest"]),
        (put("0.bias", np.array([None] * 4)), ["layer conv: bias: must be of type float32, got object"]),
        (declare("format", "other"), ["manifest: format: must be 'logaccel trace', got 'other'"]),
        (
            declare("version", 2),
            ["manifest: version: written for a newer logaccel, this one reads 1, got 2"],
        ),
        (declare("version", "1"), ["manifest: version: must be a whole number, at least 1, got '1'"]),
        (declare("licence", 3), ["manifest: licence: must be a text, got 3"]),
        (declare("more", 3), ["manifest: more: unknown key"]),
        (declare("network", 3), ["manifest: network: must be a mapping of keys, got 3"]),
        (
            declare("network", {"name": "n", "layers": [{"name": "a", "in_channels": 0, "out_channels": 1}]}),
            ["manifest: network: layer a: in_channels: must be at least 1, got 0"],
        ),
        (
            declare("tensors", [["filter", "bias"], ["ifmap", "bias", "bias"]]),
            [
                "manifest: tensors: layer fc: must list some of ifmap, filter, bias, ofmap, each once, "
                "got ['ifmap', 'bias', 'bias']"
            ],
        ),
        (
            declare("tensors", [["filter", "bias"], ["ifmap", "filter"]]),
            ["layer conv: ifmap: may not be left out, no layer feeds this one", "layer fc: bias: may not be left out"],
        ),
        (declare("tensors", [[{}], [1]]), None),
        (declare("tensors", 4), ["manifest: tensors: must be 2 lists of tensor names, one a layer, got 4"]),
    ],
)
def test_bad_files(tmp_path, change, lines):
    path = edited(tmp_path, change)
    message = failure(load_trace, path)
    if lines is not None:
        assert message.splitlines() == [f"{path}: {line}" for line in lines]


def test_files_that_are_no_traces(tmp_path):
    path = tmp_path / "t.npz"
    assert failure(load_trace, path) == f"{path}: no such file"
    assert failure(load_trace, tmp_path) == f"{tmp_path}: is not a readable .npz file: Is a directory"
    path.write_bytes(b"")
    assert failure(load_trace, path) == f"{path}: is empty"
    path.write_bytes(b"PNG or whatever")
    assert failure(load_trace, path) == f"{path}: is not a readable .npz file: File is not a zip file"
    np.savez(path, x=np.zeros(3))
    assert failure(load_trace, path) == f"{path}: is not a trace: it has no member manifest.npy"


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (np.zeros((2, 2), np.uint8), "must have one axis, got the shape [2, 2]"),
        (np.zeros(2), "must be of type uint8, got float64"),
        (
            np.frombuffer(b"\xff\xfe", np.uint8),
            "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        ),
        (np.frombuffer(b"{", np.uint8), "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (np.frombuffer(b"[" * 100_000, np.uint8), None),
        (np.frombuffer(b'{"format": ' + b"9" * 5000 + b"}", np.uint8), None),
        (np.frombuffer(b"[]", np.uint8), "format: must be 'logaccel trace', got 'list'"),
    ],
)
def test_bad_manifests(tmp_path, manifest, reason):
    path = tmp_path / "t.npz"
    np.savez(path, manifest=manifest)
    message = failure(load_trace, path)
    assert message.startswith(f"{path}: manifest: ")
    assert reason is None or message == f"{path}: manifest: {reason}"


def test_a_small_file_cannot_ask_for_much_memory(tmp_path):
    def grow(members, manifest):
        manifest["network"]["layers"][0]["padding"] = 60000
        manifest["network"]["layers"] = manifest["network"]["layers"][:1]
        manifest["tensors"] = [["ifmap", "filter", "bias"]]
        for name in ("0.ofmap", "1.ifmap", "1.filter", "1.bias", "1.ofmap", "labels"):
            members.pop(name)
        manifest["labels"] = False

    path = edited(tmp_path, grow)
    assert failure(load_trace, path) == (
        f"{path}: leaves out 28800960008 ofmap elements, at most 1073741824 are recomputed"
    )
    # a header that claims 4 TB, in a member that claims the same, in a file of some hundred bytes
    save_trace(small_trace(), path)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**42,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.npy", header.getvalue())
    assert failure(load_trace, path) == f"{path}: manifest: must hold {2**42} bytes of data, got 0"
    data = path.read_bytes().replace(len(header.getvalue()).to_bytes(4, "little"), (2**31).to_bytes(4, "little"))
    path.write_bytes(data)
    assert str(path) in failure(load_trace, path)


def test_pickles_are_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    path = tmp_path / "t.npz"
    np.savez(path, manifest=np.array([Trap()], dtype=object))
    assert failure(load_trace, path) == f"{path}: manifest: must be of type uint8, got object"


@pytest.mark.parametrize("compact", [False, True])
def test_damaged_files_never_raise_anything_else(tmp_path, compact):
    trace = small_trace()
    path = tmp_path / "t.npz"
    save_trace(trace, path, compact=compact)
    whole = path.read_bytes()
    rng = random.Random(7)
    messages = []
    for turn in range(600):
        damaged = bytearray(whole)
        if turn % 3 == 0:
            del damaged[rng.randrange(len(damaged)) :]
        else:
            for _ in range(rng.choice((1, 1, 3, 20))):
                damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            same(trace, load_trace(path))  # damage in dates and attributes changes no tensor
        except TraceError as error:
            messages.append(str(error))
    assert len(messages) > 400
    assert all(line.startswith(str(path)) for message in messages for line in message.splitlines())


def test_from_arrays_converts_copies_and_freezes():
    rng = np.random.default_rng(0)
    arrays = [rng.random(s) for s in (FC.ifmap_shape(2), FC.filter_shape, (3,), FC.ofmap_shape(2))]
    arrays[2] = arrays[2].astype(np.float32)
    trace = Trace.from_arrays("t", [LayerTensors(FC, *arrays)], labels=np.array([1, 2], np.int8), licence="x")
    item = trace.layers[0]
    assert trace.batch == 2 and trace.licence == "x" and trace.labels.dtype == np.int64
    for name, array in zip(NAMES, arrays, strict=True):
        found = getattr(item, name)
        assert found.dtype == np.float32 and not found.flags.writeable
        assert (found == array.astype(np.float32)).all()
    before = item.bias[0]
    arrays[2][0] += 1
    assert item.bias[0] == before


def test_from_arrays_reports_every_problem():
    zeros = {name: np.zeros(s) for name, s in zip(NAMES, ((2, 16), (3, 16), (3,), (2, 3)), strict=True)}
    wrong = [
        LayerTensors(FC, **zeros | {"ifmap": np.zeros((2, 15)), "bias": np.array([0, 1e39, 0])}),
        LayerTensors(FC, **zeros | {"ifmap": np.zeros((3, 16)), "filter": np.zeros((3, 16), complex)}),
    ]
    assert failure(Trace.from_arrays, "t", wrong, labels=np.zeros(2)).splitlines() == [
        "trace t: layers: names must be unique, got fc more than once",
        "trace t: layer fc: ifmap: must have the shape [2, 16], got [2, 15]",
        "trace t: layer fc: bias: must be finite in float32, got 1e+39 at [1] (1 such)",
        "trace t: layer fc: ifmap: must have the shape [2, 16], got [3, 16]",
        "trace t: layer fc: filter: must hold real numbers, got complex128",
        "trace t: labels: must hold integers, got float64",
    ]
    assert failure(Trace.from_arrays, "t", []) == "trace t: layers: must hold at least one layer"
    empty = LayerTensors(FC, **zeros | {"ifmap": np.zeros((0, 16)), "ofmap": np.zeros((0, 3))})
    assert failure(Trace.from_arrays, "", [empty]).splitlines() == [
        "trace : name: must not be empty",
        "trace : layer fc: ifmap: must have the shape [1, 16], got [0, 16]",
        "trace : layer fc: ofmap: must have the shape [1, 3], got [0, 3]",
    ]


def test_chains_are_checked():
    parameters = [(CONV, np.zeros(CONV.filter_shape), np.zeros(4)), (FC, np.zeros(FC.filter_shape), np.zeros(2))]
    assert failure(chain_trace, "c", np.zeros((1, 2, 4, 4)), parameters) == (
        "trace c: layer fc: bias: must have the shape [3], got [2]"
    )
    assert failure(chain_trace, "c", np.zeros((1, 2, 4, 4)), parameters[::-1]) == (
        "trace c: layer conv: its ifmap [2, 4, 4] is not the ofmap [3] of layer fc"
    )
    assert failure(chain_trace, "c", np.zeros(1), []) == "trace c: layers: must hold at least one layer"


def test_bundled_trace():
    trace = load_trace()
    assert trace.name == "digits" and trace.batch == 360 and len(trace.layers) == 5
    layers = [item.layer for item in trace.layers]
    assert all(before.feeds(after) for before, after in pairwise(layers))
    assert any(layer.matrix(1).reduction > 200 and layer.matrix(1).channels > 32 for layer in layers)
    assert [layer.relu for layer in layers] == [True] * 4 + [False]
    images = trace.layers[0].ifmap * 16
    assert (images == np.round(images)).all() and images.min() == 0 and images.max() == 16
    assert np.bincount(trace.labels).min() >= 25
    assert (trace.layers[-1].ofmap.argmax(axis=1) == trace.labels).sum() == 358  # as docs/traces.md says
    assert "10.24432/C50P49" in trace.source and "CC BY 4.0" in trace.licence and "Alpaydin" in trace.licence


def test_bundled_file_is_small_and_compact(tmp_path):
    shipped = (files("logaccel") / "trace" / "digits" / "digits.npz").read_bytes()
    assert len(shipped) < 300_000
    save_trace(load_trace(), tmp_path / "again.npz", compact=True)
    assert (tmp_path / "again.npz").read_bytes() == shipped


@pytest.mark.slow
def test_trainer_runs_and_the_shipped_images_are_scikit_learns(tmp_path):
    sklearn_datasets = pytest.importorskip("sklearn.datasets", reason="the extra `train` is not installed")
    pytest.importorskip("jax", reason="the extra `train` is not installed")
    digits = sklearn_datasets.load_digits()
    shipped = load_trace()
    assert (shipped.layers[0].ifmap[:, 0] == digits.images[::5] / 16).all()
    assert (shipped.labels == digits.target[::5]).all()
    path = tmp_path / "short.npz"
    command = [sys.executable, "-m", "logaccel.trace.digits.train", "--epochs", "3", "-o", str(path)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    trace = load_trace(path)
    right = int((trace.layers[-1].ofmap.argmax(axis=1) == trace.labels).sum())
    assert printed == f"{right} of 360 images right ({right / 360:.2%})\n"
    assert right > 180  # learns at all
    assert trace.layers[0].ifmap.tobytes() == shipped.layers[0].ifmap.tobytes()
    assert [item.layer for item in trace.layers] == [item.layer for item in shipped.layers]


def test_the_documented_examples_run(tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[1] / "docs" / "traces.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(block, "docs/traces.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == [
        "digits 360 ['conv1', 'conv2', 'conv3', 'fc4', 'fc5']",
        "358 of 360 right in float",
        "(5, 4)",
        "1800",
    ]
