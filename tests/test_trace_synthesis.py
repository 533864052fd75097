"""Synthesised traces: reproducible, layer by layer independent, with the statistics they name."""

import numpy as np
import pytest
from trace_cases import CONV, FC, NAMES, failure, same

from logaccel.errors import WorkloadError
from logaccel.trace import synthesize_trace
from logaccel.workload import network_of


def test_synthesis_is_reproducible_and_layers_are_independent():
    wide = CONV.model_copy(update={"name": "b", "in_channels": 4})
    network = network_of({"name": "n", "batch": 2, "layers": [CONV, wide, FC]}, "n")
    trace = synthesize_trace(network, seed=3)
    same(trace, synthesize_trace(network, seed=3))
    assert trace.batch == 2 and trace.source == "synthesised: seed 3, zero share 0.5"
    assert (synthesize_trace(network, seed=4).layers[1].filter != trace.layers[1].filter).any()
    changed = network_of(
        {"name": "n", "batch": 2, "layers": [CONV, wide.model_copy(update={"kernel": (1, 1)}), FC]}, "n"
    )
    other = synthesize_trace(changed, seed=3)
    for name in NAMES:
        assert getattr(other.layers[0], name).tobytes() == getattr(trace.layers[0], name).tobytes()
        assert getattr(other.layers[2], name).tobytes() == getattr(trace.layers[2], name).tobytes()
    assert synthesize_trace(network, seed=3, batch=5).layers[2].filter.tobytes() == trace.layers[2].filter.tobytes()
    assert (trace.layers[0].filter[:, :2] != trace.layers[1].filter[:, :2]).any()


@pytest.mark.parametrize("zero_share", [0.0, 0.3, 0.5, 0.9])
def test_synthesised_statistics(zero_share):
    layer = {"name": "a", "in_channels": 64, "out_channels": 64, "in_size": 40, "kernel": 3, "padding": 1}
    network = network_of({"name": "n", "layers": [layer, layer | {"name": "b"}]}, "n")
    first, second = synthesize_trace(network, seed=0, zero_share=zero_share).layers
    count = second.ifmap.size
    # five standard errors of each estimate
    assert abs((second.ifmap == 0).mean() - zero_share) <= 5 * np.sqrt(zero_share * (1 - zero_share) / count)
    live = second.ifmap[second.ifmap > 0]
    assert (second.ifmap >= 0).all()
    assert abs(live.mean() - np.sqrt(2 / np.pi)) < 5 / np.sqrt(live.size)
    assert abs((live**2).mean() - 1) < 5 * np.sqrt(2 / live.size)
    assert abs(first.ifmap.mean()) < 5 / np.sqrt(count) and abs(first.ifmap.std() - 1) < 5 / np.sqrt(count)
    assert (first.ifmap == 0).mean() < 1e-3
    spread = np.sqrt(2 / 576)
    assert abs(first.filter.std() / spread - 1) < 5 / np.sqrt(first.filter.size)
    assert 2.5 < (first.filter.astype(float) ** 4).mean() / spread**4 < 3.5  # bell-shaped: kurtosis 3
    assert 0.02 < first.bias.std() < 0.08
    assert not np.array_equal(first.filter, second.filter)


def test_synthesis_takes_names_and_refuses_nonsense():
    assert failure(synthesize_trace, "alexnet", seed=-1, batch=0, zero_share=1.0).splitlines() == [
        "synthesize_trace: seed: must be a whole number, at least 0, got -1",
        "synthesize_trace: batch: must be a whole number, at least 1, got 0",
        "synthesize_trace: zero_share: must be at least 0 and below 1, got 1.0",
    ]
    with pytest.raises(WorkloadError, match="no_such: no such file, nor a network of that name"):
        synthesize_trace("no_such")
