"""Products of all PEs in one cycle, from operand registers to the first pipeline stage. Callers validate.

Planes as in machine_passes. Flags out: those of the operands, LIVE, and the accumulator that takes the
product. A log operand's magnitude code c enters as u = scale·c + offset; shift u >> step_shift, fraction
u mod steps. Cells without a valid operand get a meaningless product and no flags.
"""

import numpy as np
from numpy.typing import NDArray

from logaccel.engine.machine_passes import LANE_SHIFT, LIVE, WITH_PRODUCT, Plane
from logaccel.jit import kernel


@kernel
def multiply(x: Plane, y: Plane, flags: Plane, product: Plane, out: Plane) -> None:
    """Multiply two linear words."""
    narrow = product.dtype.type
    for cell in range(product.size):
        a, b, flag = x[cell], y[cell], flags[cell]
        live = narrow(narrow(a != 0) & narrow(b != 0))
        product[cell] = narrow(a * b)
        out[cell] = narrow(narrow(narrow(flag & WITH_PRODUCT) | narrow(live * narrow(LIVE))) * narrow(flag & 1))


@kernel
def shift(
    log: Plane, linear: Plane, flags: Plane, product: Plane, out: Plane, offset: int, step_shift: int
) -> None:
    """Shift the linear word by the log code; the fraction goes to the lane bits."""
    narrow = product.dtype.type
    start, places, mask = narrow(offset), narrow(step_shift), narrow((1 << step_shift) - 1)
    for cell in range(product.size):
        a, b, flag = log[cell], linear[cell], flags[cell]
        some = narrow(a != 0)
        live = narrow(some & narrow(b != 0))
        steps = narrow(narrow(narrow(abs(a)) + start) * some)
        word = narrow(narrow(-b) if a < 0 else b)
        product[cell] = narrow(narrow(word * some) << narrow(steps >> places))
        marks = narrow(narrow(live * narrow(LIVE)) | narrow(narrow(steps & mask) << LANE_SHIFT))
        out[cell] = narrow(narrow(narrow(flag & WITH_PRODUCT) | marks) * narrow(flag & 1))


@kernel
def decode(
    x: Plane, y: Plane, flags: Plane, product: Plane, out: Plane, x_scale: int, y_scale: int, offset: int,
    step_shift: int,
) -> None:  # fmt: skip
    """Add the exponents and decode to a one-hot word with the sign of the product."""
    narrow = product.dtype.type
    start, places, mask = narrow(offset), narrow(step_shift), narrow((1 << step_shift) - 1)
    xs, ys = narrow(x_scale), narrow(y_scale)
    for cell in range(product.size):
        a, b, flag = x[cell], y[cell], flags[cell]
        live = narrow(narrow(a != 0) & narrow(b != 0))
        steps = narrow(narrow(narrow(narrow(narrow(abs(a)) * xs) + narrow(narrow(abs(b)) * ys)) + start) * live)
        word = narrow(live << narrow(steps >> places))
        product[cell] = narrow(-word) if narrow(a ^ b) < 0 else word
        marks = narrow(narrow(live * narrow(LIVE)) | narrow(narrow(steps & mask) << LANE_SHIFT))
        out[cell] = narrow(narrow(narrow(flag & WITH_PRODUCT) | marks) * narrow(flag & 1))


@kernel
def add_exponents(
    x: Plane, y: Plane, flags: Plane, product: Plane, out: Plane, x_scale: int, y_scale: int, offset: int,
    fraction_shift: int,
) -> None:  # fmt: skip
    """Add the exponents: P = u · 2^fraction_shift, fraction_shift = F − log2(B); lane 1 takes negative products."""
    narrow = product.dtype.type
    start, places = narrow(offset), narrow(fraction_shift)
    xs, ys = narrow(x_scale), narrow(y_scale)
    for cell in range(product.size):
        a, b, flag = x[cell], y[cell], flags[cell]
        live = narrow(narrow(a != 0) & narrow(b != 0))
        steps = narrow(narrow(narrow(narrow(narrow(abs(a)) * xs) + narrow(narrow(abs(b)) * ys)) + start) * live)
        product[cell] = narrow(steps << places)
        negative = narrow(narrow(a ^ b) < 0)
        marks = narrow(narrow(live * narrow(LIVE)) | narrow(negative << LANE_SHIFT))
        out[cell] = narrow(narrow(narrow(flag & WITH_PRODUCT) | marks) * narrow(flag & 1))


@kernel
def scale(product: Plane, flags: Plane, constants: NDArray[np.int64]) -> None:
    """Multiply every product by the constant of its fraction; one accumulator takes them all."""
    narrow = product.dtype.type
    for step in range(constants.size):
        factor, number = narrow(constants[step]), narrow(step)
        for cell in range(product.size):
            hit = narrow(flags[cell] >> LANE_SHIFT) == number
            product[cell] = narrow(product[cell] * (factor if hit else narrow(1)))
    keep = narrow((1 << LANE_SHIFT) - 1)
    for cell in range(product.size):
        flags[cell] = narrow(flags[cell] & keep)


@kernel
def drop_low_bits(product: Plane, bits: int, truncate: bool) -> None:
    """Drop low bits: two's complement is floored, sign–magnitude words are truncated."""
    narrow = product.dtype.type
    places = narrow(bits)
    least = narrow(narrow(narrow(1) << places) - narrow(1)) if truncate else narrow(0)
    for cell in range(product.size):
        word = product[cell]
        product[cell] = narrow(narrow(word + (least if word < 0 else narrow(0))) >> places)
