"""The post-processing lane: bias, ReLU and encoder, against plain integers."""

import numpy as np
import oracle
import pytest

from logaccel.engine.post import bias_words, channels_by_scale, post_process
from logaccel.errors import TraceError
from logaccel.formats import LinearWord, LogWord

WORDS = [
    LinearWord(bits=8),
    LinearWord(bits=16),
    LogWord(bits=4),
    LogWord(bits=5, steps_per_octave=2, rounding="floor"),
]


@pytest.mark.parametrize("word", WORDS, ids=str)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_every_channel_has_its_own_bias(word: LinearWord | LogWord, relu: bool, signed: bool) -> None:
    rng = np.random.default_rng(3)
    psum = (rng.standard_normal((57, 5)) * 2.0 ** rng.integers(0, 40, (57, 5))).astype(np.int64)
    bias = rng.standard_normal(5).astype(np.float32)
    fmt = word.at(2, signed)
    for lsb in (-30, -11, 3):
        codes = post_process(psum, lsb, bias, relu, fmt, 8)
        expected = [
            [oracle.post_process(int(p), lsb, float(b), relu, fmt, 8) for p, b in zip(row, bias, strict=True)]
            for row in psum
        ]
        assert codes.dtype == fmt.code_dtype and codes.tolist() == expected


def test_channels_are_taken_by_their_scale() -> None:
    assert list(channels_by_scale(None)) == [(0, slice(None))]
    found = [(scale, m.tolist()) for scale, m in channels_by_scale((3, 0, 15, 0)) if not isinstance(m, slice)]
    assert found == [(0, [1, 3]), (3, [0]), (15, [2])]


def test_wide_layers_are_cut_into_tiles() -> None:
    psum = np.arange(3 * 40_000).reshape(3, 40_000)
    bias = np.arange(40_000.0)
    fmt = LinearWord(bits=32).at(32, signed=True)  # LSB 2
    assert np.array_equal(post_process(psum, 1, bias * 2, False, fmt, 8), psum + bias.astype(int))


def test_bias_is_rounded_to_the_lsb_ties_away() -> None:
    bias = np.array([0.5, 1.5, -0.5, -1.5, 0.49999999999999994, -0.0, 2.0**52 + 1, 1e-300])
    assert bias_words(bias, 0).tolist() == [1, 2, -1, -2, 0, 0, 2**52 + 1, 0]
    assert bias_words(np.array([3.0, 5.0, 6.0]), 2).tolist() == [1, 1, 2]
    assert bias_words(np.array([2.0**-600]), -600).tolist() == [1]
    assert bias_words(np.array([1.0]), 700).tolist() == [0]
    assert bias_words(np.array([0.1], np.float32), -40).tolist() == [round(float(np.float32(0.1)) * 2**40)]


def test_the_widest_bias() -> None:
    limit = 2.0**61
    assert bias_words(np.array([np.nextafter(limit, 0), -limit]), 0).tolist() == [2**61 - 256, -(2**61)]
    psum = np.array([[-(2**61)], [2**61 - 1]])
    fmt = LinearWord(bits=8).at(62, signed=True)  # LSB 2^55
    assert post_process(psum, 0, np.array([-limit]), False, fmt, 8).tolist() == [[-128], [0]]


@pytest.mark.parametrize(
    ("bias", "lsb", "message"),
    [
        ([0.0, 2.0**61], 0, r"bias\[1\]: must fit 62 bits in LSBs of the psum \(2\^0\), got 2\.305843009213694e\+18"),
        ([1.0, 1.0], -61, r"bias\[0\]: must fit 62 bits in LSBs of the psum \(2\^-61\), got 1\.0 \(and 1 more\)"),
        ([1e300], -700, r"bias\[0\]: must fit 62 bits in LSBs of the psum \(2\^-700\), got 1e\+300"),
        ([float("nan")], 0, r"bias\[0\]: must fit 62 bits in LSBs of the psum \(2\^0\), got nan"),
        ([0.0, -float("inf")], 0, r"bias\[1\]: must fit 62 bits in LSBs of the psum \(2\^0\), got -inf"),
    ],
)
def test_a_bias_too_wide_is_refused(bias: list[float], lsb: int, message: str) -> None:
    with pytest.raises(TraceError, match=f"^{message}$"):
        post_process(np.zeros((1, len(bias)), np.int64), lsb, np.array(bias), True, LogWord(bits=4).at(0, False), 8)
