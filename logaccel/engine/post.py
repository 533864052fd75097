"""The lane below each column of the array: bias, ReLU and the encoder into the next layer's format."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from logaccel.errors import TraceError
from logaccel.formats import Format
from logaccel.formats.encode import Codes, Values
from logaccel.formats.hardware import encode_accumulators
from logaccel.pe import WORD_LIMIT_BITS


def post_process(
    psum: NDArray[np.int64], lsb_exponent: int, bias: Values, relu: bool, output: Format, round_bits: int
) -> Codes:
    """Return codes[pixel, m] of psum[pixel, m] · 2^lsb_exponent + bias[m], after the ReLU if there is one.

    The psum is combined already (bins or rails) and fits 62 bits; the bias is rounded to its LSB. No
    word can overflow: the sum of both takes one bit more. Raises TraceError for a bias beyond 62 bits.
    """
    return encode_accumulators(psum, lsb_exponent, output, round_bits, bias_words(bias, lsb_exponent), relu)


def bias_words(bias: Values, lsb_exponent: int) -> NDArray[np.int64]:
    """Return bias[m] in units of 2^lsb_exponent, nearest, ties away from zero, decided exactly.

    Raises TraceError where a word would need more than 62 bits, or is not a number.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # infinities are refused below
        scaled = np.ldexp(np.asarray(bias, np.float64), -lsb_exponent)
        whole = np.trunc(scaled)
        words = whole + np.where(np.abs(scaled - whole) >= 0.5, np.copysign(1.0, scaled), 0.0)
    limit = 2.0 ** (WORD_LIMIT_BITS - 1)
    faults = np.flatnonzero(~((words >= -limit) & (words < limit)))
    if faults.size:
        first = int(faults[0])
        raise TraceError(
            f"bias[{first}]: must fit {WORD_LIMIT_BITS} bits in LSBs of the psum (2^{lsb_exponent}), "
            f"got {float(bias[first])!r}" + (f" (and {faults.size - 1} more)" if faults.size > 1 else "")
        )
    return words.astype(np.int64)


def channels_by_scale(scales: Sequence[int] | None) -> Iterator[tuple[int, slice | NDArray[np.int64]]]:
    """Yield each s with the channels m whose psum and bias count LSBs 2^s finer than the layer's; None: 0 with all."""
    if scales is None:
        yield 0, slice(None)
        return
    found = np.array(scales, np.int64)
    for scale in np.unique(found).tolist():
        yield scale, np.flatnonzero(found == scale)
