"""Two layers, a small trace of them, and what tests of traces compare."""

import numpy as np
import pytest

from logaccel.errors import TraceError
from logaccel.trace import chain_trace
from logaccel.workload import Layer

CONV = Layer(name="conv", in_channels=2, out_channels=4, in_size=4, kernel=3, stride=2, padding=1)
FC = Layer(name="fc", kind="fc", in_channels=16, out_channels=3, relu=False)
NAMES = ("ifmap", "filter", "bias", "ofmap")


def small_trace(labels=(0, 2)):
    rng = np.random.default_rng(5)
    parameters = [
        (layer, rng.normal(size=layer.filter_shape), rng.normal(size=layer.out_channels)) for layer in (CONV, FC)
    ]
    return chain_trace("small", rng.random((2, 2, 4, 4)), parameters, labels=np.array(labels), source="s", licence="l")


def same(left, right):
    assert (left.name, left.source, left.licence) == (right.name, right.source, right.licence)
    assert [item.layer for item in left.layers] == [item.layer for item in right.layers]
    for one, other in zip(left.layers, right.layers, strict=True):
        for name in NAMES:
            a, b = getattr(one, name), getattr(other, name)
            assert a.dtype == b.dtype == np.float32 and a.shape == b.shape and a.tobytes() == b.tobytes()
            assert not b.flags.writeable
    assert (left.labels is None) == (right.labels is None)
    assert left.labels is None or (left.labels == right.labels).all()


def failure(call, *args, **more):
    with pytest.raises(TraceError) as caught:
        call(*args, **more)
    return str(caught.value)
