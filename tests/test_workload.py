"""Layers, network files and SCALE-Sim topologies."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logaccel.errors import WorkloadError
from logaccel.workload import Layer, load_network, network_of, shipped_networks

CONV = {"name": "a", "in_channels": 3, "out_channels": 4}


def weights_of(network, kind):
    return sum(int(np.prod(layer.filter_shape)) for layer in network.layers if layer.kind == kind)


def macs_of(network, kind):
    return sum(layer.matrix(1).macs for layer in network.layers if layer.kind == kind)


def failure(tree):
    with pytest.raises(WorkloadError) as caught:
        network_of(tree, "net.yaml")
    return str(caught.value)


def test_shipped_names():
    assert shipped_networks() == ("alexnet", "mobilenet_v1", "resnet18", "vgg16")


# Y.-H. Chen, T. Krishna, J. Emer, V. Sze, "Eyeriss", ISSCC 2016, section 14.5, on the convolutions: AlexNet 2.3 million
# weights and 666 million MACs, VGG16 14.7 million weights and 15.3 billion MACs. Fully connected layers: V. Sze et al.,
# "Efficient Processing of Deep Neural Networks", Proc. IEEE 2017, table II: 58.6 million and 124 million MACs.
@pytest.mark.parametrize(
    ("name", "conv_weights", "conv_macs", "fc_macs"),
    [("alexnet", 2.3e6, 666e6, 58.6e6), ("vgg16", 14.7e6, 15.3e9, 124e6)],
)
def test_published_macs_of_alexnet_and_vgg16(name, conv_weights, conv_macs, fc_macs):
    network = load_network(name)
    assert weights_of(network, "conv") == pytest.approx(conv_weights, rel=0.02)
    assert macs_of(network, "conv") == pytest.approx(conv_macs, rel=0.005)
    assert macs_of(network, "fc") == weights_of(network, "fc") == pytest.approx(fc_macs, rel=0.005)


# torchvision's model page of resnet18: 1.81 GFLOPS (multiply-adds) and 11 689 512 parameters, of which 9600 are batch
# norm's and 1000 the last bias. Howard et al., arXiv 1704.04861, table 4: 569 million mult-adds, 4.2 million
# parameters.
@pytest.mark.parametrize(
    ("name", "macs", "weights", "tolerance"),
    [("resnet18", 1.81e9, 11_689_512 - 9600 - 1000, 0.0), ("mobilenet_v1", 569e6, 4.2e6, 0.005)],
)
def test_published_macs_of_resnet18_and_mobilenet(name, macs, weights, tolerance):
    network = load_network(name)
    assert network.macs == pytest.approx(macs, rel=0.005)
    assert weights_of(network, "conv") + weights_of(network, "fc") == pytest.approx(weights, rel=tolerance)


# Layer by layer, MACs in millions: Eyeriss, JSSC 2017, AlexNet's published layer shapes (55², 27², 13² ofmaps).
def test_alexnet_layer_by_layer():
    network = load_network("alexnet")
    assert [layer.out_size for layer in network.layers[:5]] == [(55, 55), (27, 27), (13, 13), (13, 13), (13, 13)]
    assert [layer.matrix(1).reduction for layer in network.layers] == [363, 1200, 2304, 1728, 1728, 9216, 4096, 4096]
    assert [round(layer.matrix(1).macs / 1e6) for layer in network.layers[:5]] == [105, 224, 150, 112, 75]
    assert [layer.groups for layer in network.layers[:5]] == [1, 2, 1, 2, 2]


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "resnet18", "mobilenet_v1"])
def test_shipped_networks_end_in_logits_and_name_their_source(name):
    network = load_network(name, batch=3)
    assert network.name == name and network.source and network.batch == 3
    assert network.layers[-1].out_channels == 1000
    assert not network.layers[-1].relu
    assert network.macs == 3 * load_network(name).macs


def test_resnet_and_mobilenet_structure():
    resnet = {layer.name: layer for layer in load_network("resnet18").layers}
    assert len(resnet) == 21 and sum("downsample" in name for name in resnet) == 3
    assert all(resnet[f"layer{i}.0.downsample"].out_size == resnet[f"layer{i}.0.conv2"].out_size for i in (2, 3, 4))
    mobilenet = load_network("mobilenet_v1").layers
    assert sum(layer.groups == layer.in_channels > 1 for layer in mobilenet) == 13
    assert all(before.feeds(after) for before, after in pairwise(mobilenet[:-1]))


@given(
    size=st.integers(1, 9),
    taps=st.integers(1, 4),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 3),
    before=st.integers(0, 3),
    after=st.integers(0, 3),
)
def test_out_size_counts_the_places_of_the_kernel(size, taps, stride, dilation, before, after):
    reach = dilation * (taps - 1)
    places = len([start for start in range(0, before + size + after, stride) if start + reach < before + size + after])
    tree = CONV | {"in_size": size, "kernel": taps, "stride": stride, "dilation": dilation}
    tree |= {"padding": (before, before, after, after)}
    if not places:
        assert "the kernel does not fit into the padded ifmap" in failure({"name": "n", "layers": [tree]})
    else:
        assert Layer(**tree).out_size == (places, places)


def test_pairs_and_margins_may_be_short():
    layer = Layer(**CONV, in_size=9, kernel=[3, 1], padding=[1, 2])
    assert (layer.in_size, layer.kernel, layer.padding) == ((9, 9), (3, 1), (1, 2, 1, 2))
    assert Layer(**CONV, in_size=4, padding=1).padding == (1, 1, 1, 1)


def test_all_problems_of_all_layers_are_named_and_nothing_else():
    layers = [
        CONV | {"name": "conv2", "stride": 0},
        {"in_channels": "x", "out_channels": 3, "foo": 1},
        CONV | {"name": "b", "groups": 2},
        CONV | {"name": "c", "kernel": [1, 2, 3], "padding": None, "in_size": True},
        CONV | {"name": "d", "kind": "fc", "kernel": 3},
        7,
        CONV | {"name": "fine"},
    ]
    assert failure({"name": "n", "batch": 0, "layers": layers}).splitlines() == [
        "net.yaml: batch: must be at least 1, got 0",
        "net.yaml: layer conv2: stride: must be 1 … 65536, got 0",
        "net.yaml: layer 2: name: required, but missing",
        "net.yaml: layer 2: in_channels: input should be a valid integer, got 'x'",
        "net.yaml: layer 2: foo: unknown key",
        "net.yaml: layer b: in_channels: must be a multiple of groups (2), got 3",
        "net.yaml: layer c: in_size: must be a whole number or a pair of them, got True",
        "net.yaml: layer c: kernel: must be a whole number or a pair of them, got [1, 2, 3]",
        "net.yaml: layer c: padding: must be a whole number, a pair (rows, columns) or four (all sides), got None",
        "net.yaml: layer d: a layer of kind fc has no in_size, kernel or padding",
        "net.yaml: layer 6: must be a mapping of keys, got 7",
    ]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"name": "n", "layers": []}, "net.yaml: layers: must hold at least one layer"),
        ({"name": "n"}, "net.yaml: layers: required, but missing"),
        ({"name": "n", "layers": {"a": 1}}, "net.yaml: layers: must be a list of layers, got {'a': 1}"),
        ([1], "net.yaml: must be a mapping of keys, got [1]"),
        (
            {"name": "n", "layers": [CONV, CONV]},
            "net.yaml: layers: names must be unique, got a more than once",
        ),
        ({"name": "n", "layers": [CONV], "more": 1}, "net.yaml: more: unknown key"),
    ],
)
def test_wrong_networks(tree, message):
    assert failure(tree) == message


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(WorkloadError) as caught:
        load_network("no_such_net")
    assert str(caught.value) == (
        "no_such_net: no such file, nor a network of that name; shipped are alexnet, mobilenet_v1, resnet18, vgg16"
    )
    for content, rule in (
        (b"layers: [", "not valid YAML: line 1: expected the node content, but found '<stream end>'"),
        (b"\xff\xfe\x00", "not a text file in UTF-8"),
        (b"[1, 2]", "must be a mapping of keys, got a list"),
        (b"", "must be a mapping of keys, got nothing (the file is empty)"),
        (b"name: a\nname: b\n", "not valid YAML: line 2: key 'name' is given twice"),
    ):
        path = tmp_path / "bad.yaml"
        path.write_bytes(content)
        with pytest.raises(WorkloadError) as caught:
            load_network(path)
        assert str(caught.value) == f"{path}: {rule}"
    for folder in (tmp_path, tmp_path / "topology.csv"):
        folder.mkdir(exist_ok=True)
        with pytest.raises(WorkloadError) as caught:
            load_network(folder)
        assert str(caught.value) == f"{folder}: is a folder, must be a file"


def test_a_file_names_its_network(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("layers:\n  - {name: a, in_channels: 2, out_channels: 3, in_size: 4, kernel: 3}\n")
    network = load_network(path)
    assert (network.name, network.macs) == ("mine", 2 * 3 * 9 * 4)


def test_scalesim_topology(tmp_path):
    path = tmp_path / "topology.csv"
    path.write_text(
        "Layer name, H, W, R, S, C, N, stride,\nconv1, 227, 227, 11, 11, 3, 96, 4,\nodd, 6, 7, 3, 2, 2, 5, 2,\n"
    )
    first, second = load_network(path).layers
    assert first.out_size == (55, 55) and first.padding == (0, 0, 0, 0)
    # ⌈(6 − 3 + 2) / 2⌉ and ⌈(7 − 2 + 2) / 2⌉: the partial last stride counts
    assert second.out_size == (3, 4)


def test_wrong_topologies(tmp_path):
    path = tmp_path / "topology.csv"
    path.write_text("head\nconv1, 5, x, 3, 3, 1, 0, 1\nconv2, 5, 5\n")
    with pytest.raises(WorkloadError) as caught:
        load_network(path)
    assert str(caught.value).splitlines() == [
        f"{path}: line 2 (conv1): ifmap width must be a positive integer, got 'x'",
        f"{path}: line 2 (conv1): num filter must be a positive integer, got '0'",
        f"{path}: line 3 (conv2): filter height, filter width, channels, num filter, strides missing",
    ]
    path.write_text("")
    with pytest.raises(WorkloadError, match="holds no layer"):
        load_network(path)


def test_peers_topology_has_alexnets_layers(shared_data: Path):
    network = load_network(shared_data / "peers" / "scalesim_alexnet_topology.csv")
    assert len(network.layers) >= 5 and network.macs > 0
