"""Cycles by SCALE-Sim's convention against what SCALE-Sim 3.0.0 itself reported."""

import csv
from pathlib import Path

import pytest

from logaccel.arch import load_arch
from logaccel.errors import ConfigError
from logaccel.simulation import SCALESIM_NOTE, simulate
from logaccel.workload import Layer, Network, load_network

MEASURED = ("scalesim_full_run", "scalesim_demand_matrix")


@pytest.mark.parametrize("overlap", [False, True])
def test_every_measured_row_is_met(shared_data: Path, overlap: bool) -> None:
    folder = shared_data / "peers"
    network = load_network(folder / "scalesim_alexnet_topology.csv")
    rows = list(csv.DictReader((folder / "scalesim_alexnet.csv").read_text().splitlines()))
    measured = [row for row in rows if row["source"] in MEASURED]
    assert len(measured) > 20
    for row in measured:
        size = int(row["array"].split("x")[0])
        arch = load_arch("multiply_8b_16x16").replace(
            timing="scalesim", dataflow=row["dataflow"], array={"rows": size, "cols": size, "overlap": overlap}
        )
        result = simulate(network, arch)
        layer = next(layer for layer in result.layers if layer.name == row["layer"])
        assert layer.total_cycles == int(row["cycles"]), row
        assert SCALESIM_NOTE in result.notes


def test_a_ragged_fold_pays_the_whole_array() -> None:
    """One output, one product, on an 8 × 4 array: T + 2·8 + 4 − 2, zero-based."""
    layer = Layer(name="dot", kind="fc", in_channels=1, out_channels=1)
    array = {"rows": 8, "cols": 4, "pipeline_stages": 3}
    arch = load_arch("multiply_8b_16x16").replace(timing="scalesim", dataflow="ws", array=array)
    assert simulate(Network(name="one", layers=(layer,)), arch).total_cycles == 1 + 16 + 4 - 2 - 1


def test_the_register_engine_refuses_the_convention() -> None:
    arch = load_arch("multiply_8b_16x16").replace(timing="scalesim")
    layer = Layer(name="dot", kind="fc", in_channels=1, out_channels=1)
    with pytest.raises(ConfigError) as caught:
        simulate(Network(name="one", layers=(layer,)), arch, engine="register")
    assert str(caught.value) == (
        "multiply_8b_16x16: timing: scalesim is a count, not a machine: the register engine cannot step it"
    )
