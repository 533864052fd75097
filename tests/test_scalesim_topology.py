"""Topology files as SCALE-Sim 3.0.0 reads them, and the cycles that it reports for them, from plain numbers."""

from pathlib import Path

import pytest

from logaccel.arch import load_arch
from logaccel.errors import WorkloadError
from logaccel.simulation import simulate
from logaccel.workload import load_network

HEADING = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"

# name: (H, W, R, S, C, N, stride)
RESNET18 = {
    "conv1": (224, 224, 7, 7, 3, 64, 2), "2a": (56, 56, 3, 3, 64, 64, 1), "3a": (56, 56, 3, 3, 64, 128, 2),
    "3s": (56, 56, 1, 1, 64, 128, 2), "4a": (28, 28, 3, 3, 128, 256, 2), "4b": (14, 14, 3, 3, 256, 256, 1),
    "5s": (14, 14, 1, 1, 256, 512, 2), "5b": (7, 7, 3, 3, 512, 512, 1), "fc": (1, 1, 1, 1, 512, 1000, 1),
}  # fmt: skip
MOBILENET = {
    "conv1": (224, 224, 3, 3, 3, 32, 2), "dw": (112, 112, 3, 3, 1, 1, 1), "pw": (112, 112, 1, 1, 32, 64, 1),
    "dw2": (112, 112, 3, 3, 1, 1, 2), "pw2": (7, 7, 1, 1, 512, 1024, 1), "fc": (1, 1, 1, 1, 1024, 1000, 1),
}  # fmt: skip
ODD = {
    "stride beyond the filter": (31, 17, 2, 3, 5, 9, 4), "whole filter": (6, 9, 6, 9, 3, 7, 1),
    "last stride partial": (10, 11, 3, 2, 4, 33, 3), "one row": (1, 40, 1, 5, 2, 1, 1), "dot": (1, 1, 1, 1, 1, 1, 9),
}  # fmt: skip


def reported(row: tuple[int, ...], dataflow: str, array: tuple[int, int]) -> int:
    """What SCALE-Sim 3.0.0 prints: F · L − 1, by division and counting alone."""
    height, width, taps_high, taps_wide, channels, filters, stride = row
    pixels = len(range(0, height - taps_high + stride, stride)) * len(range(0, width - taps_wide + stride, stride))
    window = taps_high * taps_wide * channels
    high, wide, stream, loads = {
        "os": (pixels, filters, window, 1), "ws": (window, filters, pixels, 2), "is": (window, pixels, filters, 2)
    }[dataflow]  # fmt: skip
    folds = sum(1 for _ in range(0, high, array[0]) for _ in range(0, wide, array[1]))
    return folds * (stream + loads * array[0] + array[1] - 2) - 1


def cycles(path: Path, dataflow: str, array: tuple[int, int]) -> dict[str, int]:
    arch = load_arch("multiply_8b_16x16").replace(
        timing="scalesim", dataflow=dataflow, array={"rows": array[0], "cols": array[1]}
    )
    return {layer.name: layer.total_cycles for layer in simulate(load_network(path), arch).layers}


@pytest.mark.parametrize("array", [(16, 16), (32, 32), (8, 24)])
@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
@pytest.mark.parametrize("network", [RESNET18, MOBILENET, ODD], ids=["resnet18", "mobilenet", "odd"])
def test_other_networks(
    tmp_path: Path, network: dict[str, tuple[int, ...]], dataflow: str, array: tuple[int, int]
) -> None:
    path = tmp_path / "net.csv"
    path.write_text(HEADING + "".join(f"{name}, {', '.join(map(str, row))},\n" for name, row in network.items()))
    assert cycles(path, dataflow, array) == {name: reported(row, dataflow, array) for name, row in network.items()}


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_matrix_products(tmp_path: Path, dataflow: str) -> None:
    path = tmp_path / "products.csv"
    sizes = {"qkv": (128, 1536, 512), "one": (1, 1000, 77), "tall": (3000, 1, 5)}
    path.write_text("Layer, M, N, K,\n" + "".join(f"{name},{m},{n},{k},\n" for name, (m, n, k) in sizes.items()))
    expected = {name: reported((m, 1, 1, 1, k, n, 1), dataflow, (16, 8)) for name, (m, n, k) in sizes.items()}
    assert cycles(path, dataflow, (16, 8)) == expected


def test_a_row_may_end_as_the_files_of_scalesim_do(tmp_path: Path) -> None:
    path = tmp_path / "net.csv"
    ends = {"comma": ",", "none": "", "remark": ", NPU", "hash": ",#dw", "dense": ",1:1,", "spaces": " , "}
    path.write_text(HEADING + "\n" + "".join(f"{name}, 8, 8, 3, 3, 2, 4, 1{end}\n" for name, end in ends.items()))
    layers = load_network(path).layers
    assert [layer.name for layer in layers] == [*ends]
    assert {layer.model_copy(update={"name": ""}) for layer in layers} == {layers[0].model_copy(update={"name": ""})}


def test_a_depthwise_row_is_a_layer_for_each_channel(tmp_path: Path) -> None:
    path = tmp_path / "net.csv"
    path.write_text(HEADING + "convDP, 9, 9, 3, 3, 4, 1, 2,\n")
    one = reported((9, 9, 3, 3, 1, 1, 2), "ws", (8, 8))
    assert cycles(path, "ws", (8, 8)) == {f"convDPChannel_{channel}": one for channel in range(4)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADING + "a, 5, 5, 3, 3, 2, 4,\n", "line 2 (a): strides missing"),
        (HEADING + "a, 5, 5,\n", "line 2 (a): filter height, filter width, channels, num filter, strides missing"),
        (HEADING + "a, 5, 4, 3, 5, 2, 4, 4,\n", "line 2 (a): filter width must be at most the ifmap's 4, got 5"),
        (HEADING + "a, 5, 5, 3, 3, 2, 4, 1, 2:4,\n", "line 2 (a): sparsity must be 1:1 (dense), got '2:4'"),
        (HEADING + "a, 5, 5, 3, 3, 2, 4, 1, 1, 7,\n", "line 2 (a): must have at most 8 numbers, got 9"),
        (HEADING + "a, 5, 5, 3, , 2, 4, 1,\n", "line 2 (a): filter width must be a positive integer, got ''"),
        ("Layer, M, N, K,\n\nb, 4, 5,\n", "line 3 (b): K missing"),
        ("Layer, M, N, K,\nb, 4, 0, 2,\n", "line 2 (b): N must be a positive integer, got '0'"),
        ("Layer, M, N, K,\nb, 4, 1, 2, 8,\n", "line 2 (b): must have at most 3 numbers, got 4"),
        ("a, 5, 5, 3, 3, 2, 4, 1,\n", "line 1: must be a heading, got the layer 'a'"),
        (HEADING, "holds no layer"),
    ],
)
def test_wrong_rows(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "net.csv"
    path.write_text(text)
    with pytest.raises(WorkloadError) as caught:
        load_network(path)
    assert str(caught.value) == f"{path}: {message}"
