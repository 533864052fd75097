"""Published cycles of Gemmini's RTL (16 × 16, weight stationary, int8) beside the shipped configuration.

Verilator cycles of whole products M × K × N, DMA included. Every parameter of arch_configs/gemmini_16x16.yaml was
written down from its source before the first comparison, and none has been changed since. Large products must be met
within 8 %. The small one is half missed, and stays recorded: its cycles are mostly the start of a program on the host
(commands, cold caches, address translation), which a model of the accelerator alone does not have.
`pytest -s` prints the error of each point.
"""

import pytest

from logaccel.arch import load_arch
from logaccel.memory.fill import fill_choices, is_product
from logaccel.memory.tiles import TiledLayer
from logaccel.memory.widths import WordWidths
from logaccel.result import LayerResult
from logaccel.simulation import simulate
from logaccel.workload import Layer, Network

CYCLES = {(64, 64, 64): 3_810, (128, 128, 128): 10_530, (512, 512, 64): 74_413}  # M, K, N
LARGE = [size for size in CYCLES if size[0] * size[1] * size[2] >= 128**3]
WIDTHS = WordWidths(ifmap_bits=8, filter_bits=8, psum_bits=32, ofmap_bits=8)


def product(rows: int, reduction: int, columns: int) -> LayerResult:
    layer = Layer(name="product", kind="fc", in_channels=reduction, out_channels=columns)
    return simulate(Network(name="gemm", batch=rows, layers=(layer,)), load_arch("gemmini_16x16")).layers[0]


def error(size: tuple[int, int, int]) -> float:
    found = product(*size).total_cycles
    print(f"{'×'.join(map(str, size))}: {found:,} cycles, published {CYCLES[size]:,}: {found / CYCLES[size] - 1:+.1%}")
    return found / CYCLES[size] - 1


@pytest.mark.parametrize("size", LARGE, ids=str)
def test_large_products_are_met_within_8_percent(size: tuple[int, int, int]) -> None:
    assert abs(error(size)) < 0.08


def test_the_start_of_a_small_product_is_not_modelled() -> None:
    """Recorded, not reproduced: should this ever come within 20 %, the documents must be corrected."""
    assert -0.60 < error((64, 64, 64)) < -0.20


@pytest.mark.parametrize("size", [*CYCLES, (300, 700, 90), (1, 4096, 1000), (2048, 16, 2048)], ids=str)
def test_no_machine_of_these_parts_could_be_faster(size: tuple[int, int, int]) -> None:
    """256 multipliers, 16 bytes a cycle over the bus, every matrix moved at least once."""
    rows, reduction, columns = size
    layer = product(*size)
    moved = rows * reduction + reduction * columns + rows * columns
    assert layer.total_cycles >= max(-(-rows * reduction * columns // 256), -(-moved // 16))
    assert layer.macs == rows * reduction * columns


def tiles(rows: int, reduction: int, columns: int) -> tuple[int, int, int]:
    """Blocks of a full tile: I, J, K of the library."""
    arch = load_arch("gemmini_16x16")
    assert arch.memory is not None
    layer = Layer(name="product", kind="fc", in_channels=reduction, out_channels=columns)
    chosen = fill_choices(TiledLayer(layer, rows, arch.array, "ws", WIDTHS), arch.memory)
    assert chosen is not None and chosen.orders == ("pixels",)
    sizes = (chosen.maps[0][0], chosen.ofmap_channels[0], chosen.ifmap_channels[0])
    return tuple(-(-size // 16) for size in sizes)  # type: ignore[return-value]


def test_the_tiles_are_those_that_the_library_is_reported_to_choose() -> None:
    """5 × 6 × 32 for 512³ in half of the default memories: github.com/buddy-compiler/buddy-mlir, pull request 933."""
    assert tiles(512, 512, 512) == (5, 6, 32)


def library(rows: int, reduction: int, columns: int) -> tuple[int, int, int]:
    """Step the library's rule in its own units: rows of 16 words, halves of 16384 and of 1024 rows."""
    most_i, most_k, most_j = (-(-size // 16) for size in (rows, reduction, columns))
    i, j, k = min(most_i, 5), min(most_j, 5), min(most_k, 51)  # ⌊√32⌋, ⌊256 / 5⌋
    while True:
        before = i, j, k
        if (i * k + k * (j + 1)) * 16 <= 8192 and i * (j + 1) * 16 <= 512 and j < most_j:
            j += 1
        if ((i + 1) * k + k * j) * 16 <= 8192 and (i + 1) * j * 16 <= 512 and i < most_i:
            i += 1
        if (i * (k + 1) + (k + 1) * j) * 16 <= 8192 and k < most_k:
            k += 1
        if before == (i, j, k):
            return i, j, k


@pytest.mark.parametrize("rows", [1, 16, 100, 512, 4096])
@pytest.mark.parametrize("reduction", [1, 17, 512, 9216])
@pytest.mark.parametrize("columns", [1, 33, 64, 1000])
def test_tiles_follow_the_rule_step_by_step(rows: int, reduction: int, columns: int) -> None:
    assert tiles(rows, reduction, columns) == library(rows, reduction, columns)


def test_rows_of_a_map_are_pixels_too() -> None:
    """A product as a 1 × 1 convolution of an M × 1 map (so SCALE-Sim's files write it) takes the same cycles."""
    layer = Layer(name="product", in_channels=100, out_channels=90, in_size=(300, 1))
    result = simulate(Network(name="gemm", layers=(layer,)), load_arch("gemmini_16x16"))
    assert result.total_cycles == product(300, 100, 90).total_cycles


def test_convolutions_are_searched() -> None:
    arch = load_arch("gemmini_16x16")
    layer = Layer(name="conv", in_channels=8, out_channels=16, in_size=14, kernel=3, padding=1)
    assert not is_product(TiledLayer(layer, 1, arch.array, "ws", WIDTHS))
    network = Network(name="net", layers=(layer,))
    searched = simulate(network, arch.replace(**{"memory.tiling": "search"}))
    assert simulate(network, arch).layers[0].mapping == searched.layers[0].mapping
