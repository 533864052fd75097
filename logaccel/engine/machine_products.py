"""Products of all PEs in one cycle, from operand registers to the product wires. Callers validate.

Planes as in machine_passes. Flags out: those of the operands, LIVE, and the accumulator that takes the
product. A log operand's magnitude code c enters as u = scale·c + offset; shift u >> step_shift, fraction
u mod steps. PEs without a valid operand get a meaningless product and no flags. The kernels that form a
product return how many are live: valid, both operands non-zero.
"""

import numpy as np
from numpy.typing import NDArray

from logaccel.engine.machine_passes import LANE_SHIFT, LIVE_BIT, VALID, WITH_PRODUCT, Cells
from logaccel.jit import kernel, shift_left, shift_right


@kernel
def multiply(cells: Cells, x: int, y: int, flags: int, product: int, out: int, number: int) -> int:
    """Multiply two linear words."""
    narrow = cells.dtype.type
    x_, y_, flags_, product_, out_ = np.uint64(x), np.uint64(y), np.uint64(flags), np.uint64(product), np.uint64(out)
    found = narrow(0)
    for i in range(np.uint64(number)):
        a, b, flag = cells[x_ + i], cells[y_ + i], cells[flags_ + i]
        live = narrow(narrow(a != narrow(0)) & narrow(b != narrow(0)))
        cells[product_ + i] = narrow(a * b)
        marks = narrow(live << narrow(LIVE_BIT))
        valid = narrow(flag & narrow(VALID))
        cells[out_ + i] = narrow(narrow(narrow(flag & narrow(WITH_PRODUCT)) | marks) & narrow(-valid))
        found = narrow(found + narrow(live & valid))
    return int(found)


@kernel
def shift(
    cells: Cells, log: int, linear: int, flags: int, product: int, out: int, offset: int, step_shift: int, number: int
) -> int:
    """Shift the linear word by the log code; the fraction goes to the lane bits."""
    narrow = cells.dtype.type
    log_, linear_, flags_, product_, out_ = (
        np.uint64(log),
        np.uint64(linear),
        np.uint64(flags),
        np.uint64(product),
        np.uint64(out),
    )
    start, places, mask, zero = narrow(offset), narrow(step_shift), narrow((1 << step_shift) - 1), narrow(0)
    found = narrow(0)
    for i in range(np.uint64(number)):
        a, b, flag = cells[log_ + i], cells[linear_ + i], cells[flags_ + i]
        some = narrow(-narrow(a != zero))  # all bits set, or none: cheaper than a product
        live = narrow(narrow(a != zero) & narrow(b != zero))
        steps = narrow(narrow(max(a, narrow(-a)) + start) & some)
        word = narrow(narrow(narrow(-b) if a < zero else b) & some)
        cells[product_ + i] = shift_left(word, shift_right(steps, places))
        marks = narrow(narrow(live << narrow(LIVE_BIT)) | narrow(narrow(steps & mask) << narrow(LANE_SHIFT)))
        valid = narrow(flag & narrow(VALID))
        cells[out_ + i] = narrow(narrow(narrow(flag & narrow(WITH_PRODUCT)) | marks) & narrow(-valid))
        found = narrow(found + narrow(live & valid))
    return int(found)


@kernel
def decode(
    cells: Cells, x: int, y: int, flags: int, product: int, out: int, x_scale: int, y_scale: int, offset: int,
    step_shift: int, number: int,
) -> int:  # fmt: skip
    """Add the exponents and decode to a one-hot word with the sign of the product."""
    narrow = cells.dtype.type
    x_, y_, flags_, product_, out_ = np.uint64(x), np.uint64(y), np.uint64(flags), np.uint64(product), np.uint64(out)
    start, places, mask, zero = narrow(offset), narrow(step_shift), narrow((1 << step_shift) - 1), narrow(0)
    xs, ys = narrow(x_scale), narrow(y_scale)
    found = narrow(0)
    for i in range(np.uint64(number)):
        a, b, flag = cells[x_ + i], cells[y_ + i], cells[flags_ + i]
        live = narrow(narrow(a != zero) & narrow(b != zero))
        exponents = narrow(narrow(max(a, narrow(-a)) * xs) + narrow(max(b, narrow(-b)) * ys))
        steps = narrow(narrow(exponents + start) & narrow(-live))
        word = shift_left(live, shift_right(steps, places))
        cells[product_ + i] = narrow(-word) if narrow(a ^ b) < zero else word
        marks = narrow(narrow(live << narrow(LIVE_BIT)) | narrow(narrow(steps & mask) << narrow(LANE_SHIFT)))
        valid = narrow(flag & narrow(VALID))
        cells[out_ + i] = narrow(narrow(narrow(flag & narrow(WITH_PRODUCT)) | marks) & narrow(-valid))
        found = narrow(found + narrow(live & valid))
    return int(found)


@kernel
def add_exponents(
    cells: Cells, x: int, y: int, flags: int, product: int, out: int, x_scale: int, y_scale: int, offset: int,
    fraction_shift: int, number: int,
) -> int:  # fmt: skip
    """Add the exponents: P = u · 2^fraction_shift, fraction_shift = F − log2(B); lane 1 takes negative products."""
    narrow = cells.dtype.type
    x_, y_, flags_, product_, out_ = np.uint64(x), np.uint64(y), np.uint64(flags), np.uint64(product), np.uint64(out)
    start, places, zero = narrow(offset), narrow(fraction_shift), narrow(0)
    xs, ys = narrow(x_scale), narrow(y_scale)
    found = narrow(0)
    for i in range(np.uint64(number)):
        a, b, flag = cells[x_ + i], cells[y_ + i], cells[flags_ + i]
        live = narrow(narrow(a != zero) & narrow(b != zero))
        exponents = narrow(narrow(max(a, narrow(-a)) * xs) + narrow(max(b, narrow(-b)) * ys))
        steps = narrow(narrow(exponents + start) & narrow(-live))
        cells[product_ + i] = shift_left(steps, places)
        negative = narrow(narrow(a ^ b) < zero)
        marks = narrow(narrow(live << narrow(LIVE_BIT)) | narrow(negative << narrow(LANE_SHIFT)))
        valid = narrow(flag & narrow(VALID))
        cells[out_ + i] = narrow(narrow(narrow(flag & narrow(WITH_PRODUCT)) | marks) & narrow(-valid))
        found = narrow(found + narrow(live & valid))
    return int(found)


@kernel
def scale(cells: Cells, product: int, flags: int, constants: NDArray[np.int64], number: int) -> None:
    """Multiply every product by the constant of its fraction; one accumulator takes them all."""
    narrow = cells.dtype.type
    product_, flags_ = np.uint64(product), np.uint64(flags)
    for step in range(constants.size):
        factor, wanted = narrow(constants[step]), narrow(step)
        for i in range(np.uint64(number)):
            hit = narrow(cells[flags_ + i] >> narrow(LANE_SHIFT)) == wanted
            cells[product_ + i] = narrow(cells[product_ + i] * (factor if hit else narrow(1)))
    keep = narrow((1 << LANE_SHIFT) - 1)
    for i in range(np.uint64(number)):
        cells[flags_ + i] = narrow(cells[flags_ + i] & keep)


@kernel
def drop_low_bits(cells: Cells, product: int, bits: int, truncate: bool, number: int) -> None:
    """Drop low bits: two's complement is floored, sign–magnitude words are truncated."""
    narrow = cells.dtype.type
    product_ = np.uint64(product)
    places, zero = narrow(bits), narrow(0)
    rounding = narrow(narrow(narrow(1) << places) - narrow(1)) if truncate else zero
    for i in range(np.uint64(number)):
        word = cells[product_ + i]
        cells[product_ + i] = shift_right(narrow(word + (rounding if word < zero else zero)), places)
