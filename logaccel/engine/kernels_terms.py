"""One row of products: the weights of one k against one activation. Integers in, integers out; callers validate.

A log operand enters as sign and *step* (scaled magnitude code); steps u add up, i = u >> step_shift is the
shift and j = u mod B the fraction. Working arrays are int32 where the caller proved that enough, else int64.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from logaccel.formats.encode import Codes
from logaccel.jit import kernel
from logaccel.pe import Datapath, Product

Work = NDArray[np.signedinteger[Any]]

MULTIPLY, SHIFT_BY_ACTIVATION, SHIFT_BY_WEIGHT, DECODE, LOGSUM = (int(product) for product in Product)


class Terms(NamedTuple):
    """A datapath as the kernels read it."""

    product: int
    activation_scale: int
    weight_scale: int
    step_offset: int
    step_shift: int
    constants: NDArray[np.int64]  # what multiplies a product of fraction j: K_j, or 1 where bins take it
    binned: bool
    lanes: int
    drop_bits: int
    fraction_bits: int
    acc_bits: int
    saturate: bool


def terms_of(datapath: Datapath, combined: bool) -> Terms:
    """Return the kernels' view; `combined` applies the constants per product even where bins would later."""
    keep_bins = datapath.binned and not combined
    constants = [1] * datapath.steps if keep_bins else list(datapath.constants)
    return Terms(
        int(datapath.product), datapath.activation_scale, datapath.weight_scale, datapath.step_offset,
        datapath.step_shift, np.array(constants, np.int64), keep_bins, datapath.lanes if keep_bins else 1,
        datapath.drop_bits, datapath.fraction_bits, datapath.acc_bits, datapath.saturate,
    )  # fmt: skip


@kernel
def read_weights(codes: Codes, terms: Terms, words: Work, steps: Work) -> None:
    """Split a row of weight codes[m] into words (linear words, or signs −1, 0, 1) and steps."""
    unit = words.dtype.type
    if terms.product == MULTIPLY or terms.product == SHIFT_BY_ACTIVATION:
        for m in range(codes.size):
            words[m] = unit(codes[m])
        return
    scale = unit(terms.weight_scale)
    for m in range(codes.size):
        code = unit(codes[m])
        words[m] = unit(unit(code > 0) - unit(code < 0))
        steps[m] = unit(unit(abs(code)) * scale)


@kernel
def activation_step(code: int, terms: Terms) -> int:
    """Return u of an activation code, the offset included: the weight's step is still to be added."""
    return abs(code) * terms.activation_scale + terms.step_offset


@kernel
def write_terms(code: int, terms: Terms, words: Work, steps: Work, products: Work, bins: Work) -> int:
    """Write products[m] of one activation code (not 0) with a row of weights; return the bin of all of them.

    A bin of −1 says that each product has its own: bins[m].
    """
    unit = products.dtype.type
    drop = unit(terms.drop_bits)
    mask = (1 << terms.step_shift) - 1
    if terms.product == MULTIPLY:
        word = unit(code)
        for m in range(words.size):
            products[m] = unit(unit(word * words[m]) >> drop)
        return 0
    if terms.product == SHIFT_BY_ACTIVATION:
        step = activation_step(code, terms)
        constant = unit(terms.constants[step & mask] if code > 0 else -terms.constants[step & mask])
        shift = unit(step >> terms.step_shift)
        for m in range(words.size):
            products[m] = unit(unit(unit(words[m] * constant) << shift) >> drop)
        return step & mask if terms.binned else 0
    if terms.step_shift == 0 and terms.drop_bits == 0:
        _shift_signed(code, terms, words, steps, products)
    elif terms.product == SHIFT_BY_WEIGHT:
        _shift_by_weights(code, terms, words, steps, products, bins)
    else:
        _decode_sums(code, terms, words, steps, products, bins)
    return -1 if terms.binned else 0


@kernel
def _shift_signed(code: int, terms: Terms, words: Work, steps: Work, products: Work) -> None:
    """Base 2, all bits kept: a signed word, or a signed one (decode), moves left. The common case, and the fast one."""
    unit = products.dtype.type
    if terms.product == DECODE:
        start = unit(activation_step(code, terms))
        if code > 0:
            for m in range(words.size):
                products[m] = unit(words[m] << unit(max(unit(start + steps[m]), unit(0))))
        else:
            for m in range(words.size):
                products[m] = unit(unit(-words[m]) << unit(max(unit(start + steps[m]), unit(0))))
        return
    word, start = unit(code), unit(terms.step_offset)
    for m in range(words.size):
        products[m] = unit(unit(words[m] * word) << unit(max(unit(start + steps[m]), unit(0))))


@kernel
def _shift_by_weights(code: int, terms: Terms, words: Work, steps: Work, products: Work, bins: Work) -> None:
    unit = products.dtype.type
    word, drop, offset = unit(code), unit(terms.drop_bits), unit(terms.step_offset)
    mask, step_shift = unit((1 << terms.step_shift) - 1), unit(terms.step_shift)
    for m in range(words.size):
        step = unit(max(unit(0), unit(steps[m] + offset)))  # a zero weight has no step; its word is 0
        bins[m] = unit(step & mask)
        signed = unit(words[m] * unit(word * unit(terms.constants[step & mask])))
        products[m] = unit(unit(signed << unit(step >> step_shift)) >> drop)


@kernel
def _decode_sums(code: int, terms: Terms, words: Work, steps: Work, products: Work, bins: Work) -> None:
    unit = products.dtype.type
    drop, start = unit(terms.drop_bits), unit(activation_step(code, terms))
    sign = unit(1) if code > 0 else unit(-1)
    mask, step_shift = unit((1 << terms.step_shift) - 1), unit(terms.step_shift)
    for m in range(words.size):
        step = unit(max(unit(0), unit(start + steps[m])))
        bins[m] = unit(step & mask)
        magnitude = unit(unit(unit(terms.constants[step & mask]) << unit(step >> step_shift)) >> drop)
        products[m] = unit(unit(words[m] * sign) * magnitude)
