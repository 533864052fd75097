"""Nodes that only compare or move codes, against loops over plain lists."""

from itertools import product
from typing import Any

import numpy as np
import oracle
import pytest

from logaccel.evaluation.lane import run_on_codes
from logaccel.formats import Format, LinearWord, LogWord
from logaccel.workload.graph import Clip, Concat, Node, Pad, Pool, Slice, pool_size, shape_of

WORDS = [LinearWord(bits=8), LinearWord(bits=12), LogWord(bits=4), LogWord(bits=5, steps_per_octave=2)]
FORMATS = [word.at(1, signed) for word in WORDS for signed in (True, False)]


def some_codes(number_format: Format, *shape: int) -> np.ndarray:
    """Draw codes, the format's own limits among them, in the dtype that the encoder gives them."""
    codes = oracle.all_codes(number_format)
    drawn = np.random.default_rng(11).integers(min(codes), max(codes) + 1, shape)
    drawn.reshape(-1)[:2] = min(codes), max(codes)
    return drawn.astype(np.int8 if number_format.bits <= 8 and min(codes) >= -128 and max(codes) < 128 else np.int16)


def on_codes(node: Node, inputs: list[np.ndarray], number_format: Format) -> list[Any]:
    """Return the result as lists; it must keep the type of the codes."""
    got = run_on_codes(node, inputs, (number_format, number_format), 8)
    assert got.dtype == inputs[0].dtype
    return got.tolist()


@pytest.mark.parametrize("number_format", FORMATS, ids=str)
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "ceil"),
    [
        ((3, 2), (2, 3), (1, 0, 0, 1), (1, 1), False),
        ((3, 3), (2, 2), (0, 0, 0, 0), (1, 1), True),
        ((2, 3), (1, 2), (1, 1, 1, 2), (3, 2), True),
    ],
)
def test_max_pool(
    kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int, int, int], dilation: tuple[int, int],
    ceil: bool, number_format: Format,
) -> None:  # fmt: skip
    codes = some_codes(number_format, 2, 3, 8, 7)
    top, left, bottom, right = padding
    padded = [[[[None] * (left + 7 + right) for _ in range(top + 8 + bottom)] for _ in range(3)] for _ in range(2)]
    for n, c, h, w in np.ndindex(2, 3, 8, 7):
        padded[n][c][top + h][left + w] = codes.tolist()[n][c][h][w]

    def starts(size: int, before: int, after: int, axis: int) -> list[int]:
        """Where windows begin: as long as they fit, in ceil mode as long as they begin before the padding's end."""
        reach, end = dilation[axis] * (kernel[axis] - 1), before + size + after
        every = range(0, end, stride[axis])
        fitting = [start for start in every if start + reach < end]
        partial = [start for start in every if start not in fitting and start < before + size]
        return fitting + (partial[:1] if ceil and (fitting[-1] + reach != end - 1) else [])

    wanted = [
        [
            [
                [
                    max(
                        code
                        for r in range(kernel[0])
                        for s in range(kernel[1])
                        if top_row + r * dilation[0] < len(plane) and left_col + s * dilation[1] < len(plane[0])
                        and (code := plane[top_row + r * dilation[0]][left_col + s * dilation[1]]) is not None
                    )
                    for left_col in starts(7, left, right, 1)
                ]
                for top_row in starts(8, top, bottom, 0)
            ]
            for plane in image
        ]
        for image in padded
    ]  # fmt: skip
    node = Pool("p", ("x",), "max", kernel, stride, padding, dilation, ceil)
    assert on_codes(node, [codes], number_format) == wanted


def test_windows_that_hold_nothing_of_the_map_are_refused() -> None:
    refused = 0
    for size, kernel, stride, dilation, before, after in product(
        (1, 2, 5), (1, 2, 3), (1, 3), (1, 2, 4), *[(0, 1, 3)] * 2
    ):
        if size + before + after <= dilation * (kernel - 1):
            continue
        pool = Pool("p", ("x",), "max", (kernel, 1), (stride, 1), (before, 0, after, 0), (dilation, 1))
        count = pool_size(pool, (size, 1))[0]
        taps = [[p * stride - before + r * dilation for r in range(kernel)] for p in range(count)]
        if all(any(0 <= place < size for place in window) for window in taps):
            assert shape_of(pool, [(2, size, 1)]) == (2, count, 1)
        else:
            refused += 1
            with pytest.raises(ValueError, match="of axis 0 lies in the padding alone"):
                shape_of(pool, [(2, size, 1)])
    assert refused > 20


@pytest.mark.parametrize("number_format", FORMATS, ids=str)
def test_pad_is_with_the_code_of_zero(number_format: Format) -> None:
    codes = some_codes(number_format, 2, 2, 3, 4)
    zero = oracle.encode(0.0, number_format)
    wanted = [[[[zero] * 7 for _ in range(4)] for _ in range(5)] for _ in range(2)]
    for n, c, h, w in np.ndindex(2, 2, 3, 4):
        wanted[n][1 + c][0 + h][3 + w] = codes.tolist()[n][c][h][w]
    assert on_codes(Pad("p", ("x",), (1, 0, 3), (2, 1, 0)), [codes], number_format) == wanted


@pytest.mark.parametrize("number_format", FORMATS, ids=str)
def test_slice_takes_every_step(number_format: Format) -> None:
    codes = some_codes(number_format, 2, 5, 6, 7)
    rows = codes.tolist()
    wanted = [[[[rows[n][c][h][w] for w in (0, 3, 6)] for h in (2, 3)] for c in (1, 3)] for n in (0, 1)]
    assert on_codes(Slice("s", ("x",), (1, 2, 0), (5, 4, 7), (2, 1, 3)), [codes], number_format) == wanted


@pytest.mark.parametrize("number_format", FORMATS, ids=str)
def test_concat_joins_channels(number_format: Format) -> None:
    parts = [some_codes(number_format, 2, channels, 2, 3) for channels in (1, 3, 2)]
    wanted = [[plane for part in parts for plane in part.tolist()[n]] for n in (0, 1)]
    assert on_codes(Concat("c", ("x", "y", "z")), parts, number_format) == wanted


@pytest.mark.parametrize("number_format", FORMATS, ids=str)
@pytest.mark.parametrize(
    ("low", "high"), [(0.0, float("inf")), (0.0, 0.8), (0.0, 1e-9), (0.0, 99.0), (float("-inf"), 0.6)]
)
def test_clip_compares_with_the_codes_of_the_limits(low: float, high: float, number_format: Format) -> None:
    every = list(oracle.all_codes(number_format))
    codes = np.array(every, np.int16).reshape(1, -1)
    wanted = []
    for code in every:
        if low == 0.0 and code < 0:
            code = 0  # every format has 0 for 0
        wanted.append(min(code, oracle.encode(high, number_format)) if high < float("inf") else code)
    assert on_codes(Clip("c", ("x",), low, high), [codes], number_format) == [wanted]
    for code, clipped in zip(every, wanted, strict=True):  # values, not only codes: none passes a limit by a step
        value, limited = (float(oracle.decode(each, number_format)) for each in (code, clipped))
        if value < low:
            assert limited == 0.0
        elif value <= high and number_format.bits > 5:
            assert abs(limited - value) <= float(oracle.power_of_two(oracle.linear_lsb(number_format)))
