"""The float reference: bit for bit the definition, in the order of k."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import logaccel.trace.reference as reference
from logaccel.trace import reference_ofmap
from logaccel.workload import Layer


def naive_ofmap(layer, ifmap, filters, bias):
    """Follow the definition with Python floats, one element at a time."""
    batch, (p_size, q_size), (taps_high, taps_wide) = ifmap.shape[0], layer.out_size, layer.kernel
    maps = ifmap.reshape(batch, layer.in_channels, *layer.in_size).astype(float)
    weights = filters.reshape(layer.out_channels, -1, taps_high, taps_wide).astype(float)
    depth, width = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    ofmap = np.zeros((batch, layer.out_channels, p_size, q_size), dtype=np.float32)
    for n, m, p, q in np.ndindex(ofmap.shape):
        total = 0.0
        for c, r, s in np.ndindex(depth, taps_high, taps_wide):
            row = p * layer.stride[0] + r * layer.dilation[0] - layer.padding[0]
            col = q * layer.stride[1] + s * layer.dilation[1] - layer.padding[1]
            if 0 <= row < layer.in_size[0] and 0 <= col < layer.in_size[1]:
                total += maps[n, m // width * depth + c, row, col] * weights[m, c, r, s]
        total += float(bias[m])
        ofmap[n, m, p, q] = np.float32(max(total, 0.0) if layer.relu else total)
    return ofmap.reshape(layer.ofmap_shape(batch))


@st.composite
def convolutions(draw):
    groups, few, small = draw(st.sampled_from((1, 1, 2, 3))), st.integers(1, 3), st.integers(0, 2)
    return Layer(
        name="random",
        in_channels=groups * draw(few),
        out_channels=groups * draw(few),
        in_size=(draw(st.integers(5, 8)), draw(st.integers(5, 8))),
        kernel=(draw(few), draw(few)),
        stride=(draw(few), draw(few)),
        dilation=(draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        padding=(draw(small), draw(small), draw(small), draw(small)),
        groups=groups,
        relu=draw(st.booleans()),
    )


def tensors_for(layer, batch, seed):
    rng = np.random.default_rng(seed)
    ifmap = rng.normal(size=layer.ifmap_shape(batch)).astype(np.float32)
    ifmap[rng.random(ifmap.shape) < 0.3] = 0
    return ifmap, *(rng.normal(size=s).astype(np.float32) for s in (layer.filter_shape, layer.out_channels))


@given(layer=convolutions(), batch=st.integers(1, 3), seed=st.integers(0, 2**20))
def test_reference_follows_the_definition_bit_for_bit(layer, batch, seed):
    tensors = tensors_for(layer, batch, seed)
    assert reference_ofmap(layer, *tensors).tobytes() == naive_ofmap(layer, *tensors).tobytes()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_reference_spans_tiles_slices_and_threads(threads, monkeypatch):
    monkeypatch.setattr(reference, "thread_count", lambda: threads)
    layer = Layer(name="big", in_channels=16, out_channels=70, in_size=12, kernel=3, padding=1)  # K = 144, 144 pixels
    ifmap, filters, bias = tensors_for(layer, 1, 3)
    ofmap = reference_ofmap(layer, ifmap, filters, bias)
    chosen = [(m, p, q) for m in (0, 63, 64, 69) for p in (0, 10, 11) for q in (0, 7, 8, 11)]
    padded = np.pad(ifmap[0], ((0, 0), (1, 1), (1, 1))).astype(float)
    for m, p, q in chosen:
        total = 0.0
        for a, w in zip(padded[:, p : p + 3, q : q + 3].ravel(), filters[m].ravel().astype(float), strict=True):
            total += a * w
        assert ofmap[0, m, p, q] == np.float32(max(total + float(bias[m]), 0.0))


def test_reference_agrees_with_einsum():
    layer = Layer(name="a", in_channels=20, out_channels=70, in_size=14, kernel=3, stride=2)
    ifmap, filters, bias = tensors_for(layer, 3, 1)
    windows = np.lib.stride_tricks.sliding_window_view(ifmap.astype(float), (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    expected = np.einsum("ncpqrs,mcrs->nmpq", windows, filters.astype(float)) + bias[:, None, None]
    np.testing.assert_allclose(
        reference_ofmap(layer, ifmap, filters, bias), np.maximum(expected, 0), rtol=1e-6, atol=1e-6
    )
    fc = Layer(name="b", kind="fc", in_channels=300, out_channels=130, relu=False)
    ifmap, filters, bias = tensors_for(fc, 2, 2)
    expected = ifmap.astype(float) @ filters.T.astype(float) + bias
    np.testing.assert_allclose(reference_ofmap(fc, ifmap, filters, bias), expected, rtol=1e-5, atol=1e-6)


def test_the_order_of_accumulation_is_k():
    big, one = np.float32(2.0**60), np.ones((1, 300), np.float32)
    layer = Layer(name="a", kind="fc", in_channels=300, out_channels=1, relu=False)
    for places in ((0, 1, 2, 3), (0, 130, 200, 299)):  # within a slice of k, and over three of them
        for order, total in (([big, 1, -big, 1], 1.0), ([big, -big, 1, 1], 2.0), ([1, big, 1, -big], 0.0)):
            ifmap = np.zeros((1, 300), np.float32)
            ifmap[0, places] = order
            assert reference_ofmap(layer, ifmap, one, np.zeros(1, np.float32))[0, 0] == total
