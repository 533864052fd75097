"""Whole layers at full array size in Verilator: the bundled digits network, chained, and slices of AlexNet."""

import dataclasses

import numpy as np
import pytest

from logaccel import Layer, Network, load_arch, load_trace, simulate, synthesize_trace
from logaccel.cosimulation import rtl_layer
from logaccel.rtl import bench
from logaccel.rtl.verify import word_differences

pytestmark = [pytest.mark.rtl, pytest.mark.usefixtures("verilator")]

IMAGES = 2
# Layer shapes of AlexNet (kernels, strides, padding, groups), fewer channels and pixels: every fold ragged somewhere.
SLICES = Network(
    name="alexnet slices",
    batch=1,
    layers=(
        Layer(name="conv1", in_channels=3, out_channels=24, in_size=35, kernel=11, stride=4),
        Layer(name="conv2", in_channels=24, out_channels=40, in_size=7, kernel=5, padding=2, groups=2),
        Layer(name="conv3", in_channels=37, out_channels=50, in_size=7, kernel=3, padding=1),
    ),
)


def run(layer):
    return bench.run_layer(layer.job, layer.arch, layer.output, layer.bias, layer.relu, simulator="verilator")


def test_the_whole_digits_network_is_equal_layer_after_layer():
    """The hardware feeds itself: the codes it wrote are the next layer's ifmap; `simulate` says the same."""
    trace, arch = load_trace(), load_arch("shift_4b_16x16")
    result = simulate(trace, arch, chained=True)
    fed = None
    for tensors, wanted in zip(trace.layers, result.layers, strict=True):
        layer = rtl_layer(trace, arch, tensors.layer.name, IMAGES)
        if fed is not None:
            shape = tensors.layer.ifmap_shape(IMAGES)
            layer = dataclasses.replace(layer, job=dataclasses.replace(layer.job, ifmap_codes=fed.reshape(shape)))
        got = run(layer)
        assert word_differences(got, layer.expected) == [], tensors.layer.name
        fed = as_ofmap(got.ofmap_codes, tensors.layer)
        np.testing.assert_array_equal(fed.reshape(-1), wanted.ofmap_codes[:IMAGES].reshape(-1))


@pytest.mark.parametrize(
    ("arch", "changes", "name"),
    [
        ("decode_4b_16x16", {"array.overlap": True}, "conv1"),
        ("shift_4b_ws_16x16", {"array.overlap": True, "pe.acc_bits": 11}, "conv2"),
        ("logsum_4b_16x16", {"dataflow": "is"}, "conv3"),
    ],
)
def test_a_slice_of_alexnet_is_equal(arch, changes, name):
    trace = synthesize_trace(SLICES, seed=1)
    layer = rtl_layer(trace, load_arch(arch).replace(**changes), name)
    got = run(layer)
    assert word_differences(got, layer.expected) == []
    assert len(np.unique(got.ofmap_codes)) > 4
    assert (got.clipped > 0) == ("pe.acc_bits" in changes)


def as_ofmap(codes, layer):
    """Return codes[pixel, m] as [N, M, P, Q]."""
    if layer.kind == "fc":
        return codes
    return codes.reshape(IMAGES, *layer.out_size, -1).transpose(0, 3, 1, 2)
