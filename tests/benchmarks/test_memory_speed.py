"""How much processor time it takes to map whole networks onto a memory, and to time them once mapped."""

import time

import pytest

from logaccel.arch import Architecture, load_arch
from logaccel.cost import load_profile, memory_prices
from logaccel.costed import Prices, layer_prices
from logaccel.memory import mapper
from logaccel.memory.mapper import evaluate
from logaccel.planning import plan_network
from logaccel.quantization import layer_architectures, quantize_network
from logaccel.workload import load_network

pytestmark = pytest.mark.slow
DATAFLOWS = ["os", "ws", "is", "auto"]
SIZE = {"bytes": 2**18}
MEMORY = {
    "ifmap": SIZE, "filter": SIZE, "ofmap": SIZE,
    "dram": {"bits_per_cycle": 64, "latency_cycles": 50, "burst_bits": 512},
}  # fmt: skip


def seconds(arch: Architecture) -> tuple[float, float]:
    """Return how long AlexNet and VGG16 took to map, and VGG16 to time once mapped. One thread: processor time."""
    assert arch.memory is not None
    profile = load_profile(arch.cost_profile)
    mapper._searched.cache_clear()
    searched = 0.0
    for name in ("alexnet", "vgg16"):
        network = load_network(name)
        archs = layer_architectures(arch, network.layers)
        formats = quantize_network(network, archs)
        prices = Prices(profile, memory_prices(profile, arch, archs))
        start = time.process_time()
        planned = plan_network(network, archs, formats, prices).layers
        searched += time.process_time() - start
    layers = [(own.tiled, own.mapped.mapping, arch.memory, layer_prices(own, prices)) for own in planned]
    start = time.process_time()
    timed = [evaluate(*layer) for layer in layers]
    again = time.process_time() - start
    assert timed == [own.mapped for own in planned]
    return searched, again


# On an idle machine the aims are 1 s in one dataflow, and 0.05 s. A busy one has three times that, more on devices.
@pytest.mark.parametrize("objective", ["cycles", "energy", "edp", "traffic"])
@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_mapping_alexnet_and_vgg16(dataflow: str, objective: str, capsys: pytest.CaptureFixture[str]) -> None:
    memory = MEMORY | {"objective": objective}
    searched, again = seconds(load_arch("multiply_8b_16x16").replace(memory=memory, dataflow=dataflow))
    with capsys.disabled():
        print(f"\n{dataflow:4} {objective:7} AlexNet + VGG16 mapped in {searched:.3f} s, VGG16 timed in {again:.4f} s")
    assert searched < (3 if dataflow != "auto" else 9)
    assert again < 0.15


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("device", ["ddr4_2400", "lpddr4_3200"])
def test_mapping_on_dram_with_banks(
    device: str, dataflow: str, narrow: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    size = SIZE | ({"banks": 16, "port_bits": 64} if narrow else {})
    memory = {"ifmap": size, "filter": size, "ofmap": size, "dram": {"kind": "banked", "device": device}}
    arch = load_arch("multiply_8b_16x16").replace(memory=memory, dataflow=dataflow)
    searched, again = min(seconds(arch) for _ in range(2))  # the first compiles
    with capsys.disabled():
        print(f"\n{device} {dataflow:4} {'16 banks, 64-bit ports' if narrow else 'wide ports':22} ", end="")
        print(f"AlexNet + VGG16 mapped in {searched:.2f} s, VGG16 timed in {again:.3f} s")
    assert searched < (12 if dataflow != "auto" else 30)
