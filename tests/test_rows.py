"""Rows in and out of the direct convolution: every factor and every code where the layout says, by counting loops."""

from typing import Any

import numpy as np
import pytest
from equality_cases import random_codes
from test_direct import LINEAR_8, LOG_4, LOG_W, SHAPES, SQRT_4

from logaccel.engine.blas import FloatFactors
from logaccel.engine.factors import factors_of
from logaccel.engine.kernels_lane import Lane
from logaccel.engine.kernels_rows import STRETCH, Shape, find_stretches, spread, write_rows
from logaccel.engine.layout import kernel_factors, lay_out
from logaccel.engine.vectors import CHANNELS, TILE
from logaccel.formats import Format
from logaccel.pe import DecodePE, MultiplyPE, ShiftPE
from logaccel.workload import Layer

MAPS = SHAPES | {
    "short rows": Layer(name="s", in_channels=2, out_channels=3, in_size=(9, 5), kernel=(3, 3), padding=(1, 1, 1, 1)),
    "wide margins": Layer(name="w", in_channels=2, out_channels=3, in_size=(7, 3), kernel=(5, 7), padding=(2, 6, 4, 5)),
    "long rows": Layer(name="r", in_channels=1, out_channels=2, in_size=(4, 37), kernel=(1, 3), padding=(0, 2, 0, 0)),
    "only rows step": Layer(name="o", in_channels=2, out_channels=2, in_size=(11, 18), kernel=(3, 2), stride=(2, 1),
                            padding=(1, 1, 0, 0)),
}  # fmt: skip
FACTORS = {
    "log": (ShiftPE(acc_bits=44), LOG_4, LINEAR_8),
    "planes": (DecodePE(acc_bits=50, root="constant"), SQRT_4, LOG_W),
    "signed": (DecodePE(acc_bits=44), LOG_W, LOG_W),
    "linear": (MultiplyPE(acc_bits=40), LINEAR_8, LINEAR_8),
}


@pytest.mark.parametrize("real", [np.float32, np.float64])
@pytest.mark.parametrize("kind", FACTORS)
@pytest.mark.parametrize("shape", MAPS)
def test_factors_lie_where_the_layout_says(shape: str, kind: str, real: Any) -> None:
    layer, (pe, activation, weight), batch = MAPS[shape], FACTORS[kind], 3
    table, floor = FloatFactors(factors_of(pe.datapath(activation, weight), combined=True), real).tables()
    codes = random_codes(np.random.default_rng(7), activation, layer.ifmap_shape(batch), "uniform")
    walk, at = lay_out(layer, len(table), batch)
    x, maps = np.zeros(walk.size, real), codes.reshape(batch, layer.in_channels, *layer.in_size)
    size, factors = Shape(layer.in_channels, *layer.in_size, layer.groups), kernel_factors(table, floor)
    top, left, bottom, right = layer.padding
    for _ in range(2):  # margins stay zero from task to task
        for first in range(0, batch, walk.images):
            images = min(walk.images, batch - first)
            for group in range(layer.groups):
                spread(codes.reshape(-1), size, (first, images, group), factors, walk, x)
                depth = layer.in_channels // layer.groups
                part = maps[first : first + images, group * depth : (group + 1) * depth]
                values = part[None] if table.shape[1] == 0 else table[:, part - floor]
                padded = np.pad(values, ((0, 0), (0, 0), (0, 0), (top, bottom), (left, right)))
                check(layer, walk, at.reshape(len(table), depth, *layer.kernel), padded, x)


def check(layer: Layer, walk: Any, at: np.ndarray, padded: np.ndarray, x: np.ndarray) -> None:
    """Look up what every tap of every channel meets at every place of the ofmap."""
    (high, wide), (down, along), (apart_down, apart_along) = layer.out_size, layer.stride, layer.dilation
    n, p, q = np.ogrid[: padded.shape[1], :high, :wide]
    places = (n * walk.rows + p) * walk.pitch + q
    for plane, c, r, s in np.ndindex(*at.shape):
        met = padded[plane, n, c, p * down + r * apart_down, q * along + s * apart_along]
        assert np.array_equal(x[at[plane, c, r, s] + places], met), (plane, c, r, s)


@pytest.mark.parametrize("output", [LOG_4, LOG_W, LINEAR_8], ids=str)
@pytest.mark.parametrize("shape", MAPS)
def test_codes_come_out_where_they_belong(shape: str, output: Format) -> None:
    layer, batch = MAPS[shape], 3
    walk, _ = lay_out(layer, 1, batch)
    rng, (high, wide), channels = np.random.default_rng(8), layer.out_size, layer.out_channels
    wanted = rng.integers(output.min_code, output.max_code, (batch, channels, high, wide), endpoint=True)
    out = np.full(wanted.size + 2, 77, output.code_dtype)  # an element before and one behind
    lane = Lane(np.zeros(0, np.int64), 0, np.zeros(0, np.int32), 0, 0, True, 23, 1, 0, 0, 0,
                output.min_code, output.max_code)  # fmt: skip
    found, saturated = np.zeros((TILE, STRETCH), np.int64), 0
    for first in range(0, batch, walk.images):
        images = min(walk.images, batch - first)
        places = images * walk.rows * walk.pitch
        for j in range(0, places, TILE):
            held = find_stretches(first, j, min(TILE, places - j), walk, found)
            for m in range(0, channels, CHANNELS):
                totals = np.full(CHANNELS * TILE, 99, np.int32)
                for own in range(min(CHANNELS, channels - m)):
                    for place in range(j, min(j + TILE, places)):
                        n, rest = divmod(place, walk.rows * walk.pitch)
                        p, q = divmod(rest, walk.pitch)
                        if p < high and q < wide:
                            totals[own * TILE + place - j] = wanted[first + n, m + own, p, q]
                spot = channels, m, min(CHANNELS, channels - m)
                saturated += write_rows(totals, found, held, spot, high * wide, lane, out[1:-1])
    assert np.array_equal(out[1:-1], wanted.reshape(-1)) and out[0] == out[-1] == 77
    ends = [output.max_code] + ([output.min_code] if output.min_code else [])
    assert saturated == np.isin(wanted, ends).sum()
