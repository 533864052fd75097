"""Arithmetic on codes around the array: exact integers, as the lane and the pooling unit do it.

A code of a linear format is an integer of its LSBs. A log code is K_j << i of its smallest code's octave, with
the constants K_j = round(2^(j/B) · 2^CONSTANT_BITS) for B > 1, 1 for base 2: exact shifts then.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from logaccel.engine.factors import codes_of
from logaccel.errors import ConfigError
from logaccel.formats import Format, LinearFormat
from logaccel.formats.encode import Codes, encode
from logaccel.formats.hardware import encode_accumulators
from logaccel.formats.thresholds import root_constants
from logaccel.model.reference import largest_of_pool, pool_counts, sums_of_pool
from logaccel.pe import WORD_LIMIT_BITS
from logaccel.workload.graph import Add, Clip, Concat, Node, Pool
from logaccel.workload.moves import move

Words = NDArray[np.int64]

CONSTANT_BITS = 12  # of 2^(j/B) where a lane decodes log codes with B > 1
RECIPROCAL_BITS = 16


@cache
def _table(number_format: Format) -> tuple[tuple[int, ...], int]:
    """Return the word of every magnitude code of a log format, and the exponent of its LSB."""
    assert not isinstance(number_format, LinearFormat)
    steps = number_format.steps_per_octave
    base = number_format.exponent_steps(1) // steps
    constants = root_constants(steps, CONSTANT_BITS) if steps > 1 else (1,)
    words = [0]
    for code in range(1, number_format.max_code + 1):
        octave, step = divmod(number_format.exponent_steps(code), steps)
        words.append(constants[step] << (octave - base))
    if words[-1].bit_length() >= WORD_LIMIT_BITS:
        raise ConfigError(
            f"a decoded {number_format} word has {words[-1].bit_length() + 1} bits, must be at most {WORD_LIMIT_BITS}: "
            "too wide to be added or averaged"
        )
    return tuple(words), base - (CONSTANT_BITS if steps > 1 else 0)


def words_of(codes: Codes, number_format: Format, place: str) -> tuple[Words, int]:
    """Return the integers that codes stand for and the exponent of their LSB. Raises ConfigError past 62 bits."""
    if isinstance(number_format, LinearFormat):
        return codes.astype(np.int64), number_format.lsb_exponent
    try:
        table, lsb = _table(number_format)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from None
    magnitudes = np.array(table, np.int64)[np.abs(codes)]
    return np.where(codes < 0, -magnitudes, magnitudes), lsb


def aligned(place: str, *terms: tuple[Words, int]) -> tuple[list[Words], int]:
    """Return terms in the finest of their LSBs. Raises ConfigError where their sum would pass the widest word."""
    lsb = min(exponent for _, exponent in terms)
    for words, exponent in terms:
        widest = max(int(words.max(initial=0)), -int(words.min(initial=0))).bit_length() + exponent - lsb
        if widest >= WORD_LIMIT_BITS - 1:
            raise ConfigError(
                f"{place}: a term has {widest + 1} bits in LSBs of 2^{lsb}, must be below {WORD_LIMIT_BITS}"
            )
    return [words << (exponent - lsb) for words, exponent in terms], lsb


def add_residual(place: str, psum: tuple[Words, int], bias: Words, residual: tuple[Words, int]) -> tuple[Words, int]:
    """Return psum[pixel, m] + bias[m] (in its LSBs) + residual[pixel, m] and the finer LSB's exponent."""
    words, exponent = psum
    (left, right), lsb = aligned(place, (words + bias, exponent), residual)
    return left + right, lsb


def reciprocal(count: int) -> int:
    """Return round(2^16 / n), ties up."""
    return (2 ** (RECIPROCAL_BITS + 1) + count) // (2 * count)


def average(pool: Pool, codes: Codes, source: Format, target: Format, round_bits: int) -> Codes:
    """Return codes[n, c, p, q]: sums of decoded values, times round(2^16/n) >> 16 (nearest, ties away), encoded."""
    extremes, lsb = words_of(np.array([codes.min(initial=0), codes.max(initial=0)]), source, pool.name)
    counts = pool_counts(pool, codes.shape[2:])
    taps = pool.kernel[0] * pool.kernel[1]
    widest = int(np.abs(extremes).max()) * taps
    if widest.bit_length() + RECIPROCAL_BITS + 1 > 63:
        raise ConfigError(
            f"{pool.name}: "
            f"sums of {taps} have {widest.bit_length()} bits, must leave {RECIPROCAL_BITS + 1} of 63 for 1/n"
        )
    linear = isinstance(source, LinearFormat)
    table = np.empty(0, np.int64) if linear else words_of(codes_of(source), source, pool.name)[0]
    sums = sums_of_pool(pool, codes, table, source.min_code)
    factors = np.array([reciprocal(max(int(count), 1)) for count in counts.reshape(-1)], np.int64).reshape(counts.shape)
    products = sums * factors
    magnitudes = (np.abs(products) + (1 << (RECIPROCAL_BITS - 1))) >> RECIPROCAL_BITS
    return encode_accumulators(np.where(products < 0, -magnitudes, magnitudes), lsb, target, round_bits)


def run_on_codes(node: Node, inputs: list[Codes], formats: tuple[Format, Format], round_bits: int) -> Codes:
    """Return the codes of a node that is neither layer nor float; formats: those of its inputs' first and its own.

    An add with terms of different formats goes through `add_terms`.
    """
    first = inputs[0]
    moved = move(node, first)
    if moved is not None:
        return moved
    match node:
        case Pool(kind="max"):
            return largest_of_pool(node, first)
        case Pool():
            return average(node, first, *formats, round_bits)
        case Concat():
            return np.concatenate(inputs, axis=1)
        case Clip(low=low, high=high):
            limits = encode(np.array([max(low, -1e30), min(high, 1e30)]), formats[1])
            return np.clip(first, limits[0], limits[1])
        case _:
            raise AssertionError(f"no arithmetic on codes for {type(node).__name__}")


def add_terms(node: Add, terms: list[tuple[Words, int]], target: Format, round_bits: int) -> Codes:
    """Return the codes of a sum of decoded terms, after its ReLU."""
    (left, right), lsb = aligned(node.name, *terms)
    return encode_accumulators(left + right, lsb, target, round_bits, relu=node.relu)
