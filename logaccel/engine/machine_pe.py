"""The part of every PE that all dataflows share: product, pipeline stages, accumulation.

`now` and `after` are where the planes of this cycle and of the next begin in `cells`.
"""

from logaccel.engine import machine_passes as passes
from logaccel.engine import machine_products as products
from logaccel.engine import machine_state as at
from logaccel.engine.machine_passes import VALID, Cells
from logaccel.engine.machine_state import Numbers
from logaccel.jit import inlined_kernel
from logaccel.pe import Product

_MULTIPLY = int(Product.MULTIPLY)
_SHIFT_BY_ACTIVATION = int(Product.SHIFT_BY_ACTIVATION)
_SHIFT_BY_WEIGHT = int(Product.SHIFT_BY_WEIGHT)
_DECODE = int(Product.DECODE)
_LOGSUM = int(Product.LOGSUM)


@inlined_kernel
def plane(settings: Numbers, base: int, number: int) -> int:
    """Return where PE(0, 0) lies in a plane."""
    return base + number * settings[at.SIZE] + settings[at.WIDTH]


@inlined_kernel
def wire(settings: Numbers, number: int) -> int:
    """Return where PE(0, 0) lies in a plane of wires."""
    return (2 * settings[at.PLANES] + number) * settings[at.SIZE] + settings[at.WIDTH]


@inlined_kernel
def form_products(
    cells: Cells, settings: Numbers, counts: Numbers, constants: Numbers, now: int, after: int, second: int
) -> None:
    """Form the product of every PE from LEFT and the plane `second`: into the first pipeline register, if any."""
    left, other = plane(settings, now, at.LEFT), plane(settings, now, second)
    flags, number = plane(settings, now, at.FLAGS), settings[at.NUMBER]
    product = stage(settings, after, min(settings[at.STAGES], 1))
    out = product + settings[at.SIZE]
    activation, weight = (other, left) if settings[at.LEFT_IS_WEIGHT] else (left, other)
    kind, offset, step_shift = settings[at.PRODUCT], settings[at.STEP_OFFSET], settings[at.STEP_SHIFT]
    x_scale, y_scale = settings[at.ACTIVATION_SCALE], settings[at.WEIGHT_SCALE]
    if kind == _MULTIPLY:
        live = products.multiply(cells, activation, weight, flags, product, out, number)
    elif kind == _DECODE:
        live = products.decode(
            cells, activation, weight, flags, product, out, x_scale, y_scale, offset, step_shift, number
        )
    elif kind == _LOGSUM:
        places = settings[at.FRACTION_BITS] - step_shift
        live = products.add_exponents(
            cells, activation, weight, flags, product, out, x_scale, y_scale, offset, places, number
        )
    else:
        log, linear = (activation, weight) if kind == _SHIFT_BY_ACTIVATION else (weight, activation)
        live = products.shift(cells, log, linear, flags, product, out, offset, step_shift, number)
    counts[at.LIVE_PRODUCTS] += live
    if kind != _LOGSUM and step_shift > 0 and not settings[at.STEPS_BINNED]:
        products.scale(cells, product, out, constants, number)
    if settings[at.DROP_BITS] > 0:
        products.drop_low_bits(cells, product, settings[at.DROP_BITS], kind == _DECODE, number)


@inlined_kernel
def stage(settings: Numbers, base: int, depth: int) -> int:
    """Return where the product lies `depth` registers behind the operands; 0 is the wire. Flags: one plane on."""
    if depth == 0:
        return wire(settings, at.PRODUCTS)
    return plane(settings, base, settings[at.STAGE_PLANE] + 2 * depth - 2)


@inlined_kernel
def advance_stages(cells: Cells, settings: Numbers, counts: Numbers, now: int, after: int) -> None:
    """Clock the pipeline registers between operands and accumulator."""
    size, number = settings[at.SIZE], settings[at.NUMBER]
    for depth in range(1, settings[at.STAGES] + 1):
        target = stage(settings, after, depth)
        if depth > 1:  # the first was loaded as the products were formed
            source = stage(settings, now, depth - 1)
            passes.move(cells, source, target, number)
            passes.move(cells, source + size, target + size, number)
        counts[at.STAGE_WRITES] += passes.count(cells, target + size, VALID, number)


@inlined_kernel
def finished_flags(settings: Numbers, now: int) -> int:
    """Return where the flags lie of the products that are accumulated at the end of this cycle."""
    return stage(settings, now, settings[at.STAGES]) + settings[at.SIZE]


@inlined_kernel
def accumulate(cells: Cells, settings: Numbers, counts: Numbers, now: int, after: int) -> None:
    """Clock the accumulators (OS) or the psum registers (WS, IS): one adder per lane."""
    product = stage(settings, now, settings[at.STAGES])
    flags, number = finished_flags(settings, now), settings[at.NUMBER]
    distance = settings[at.WIDTH] if settings[at.STATIONARY] else 0
    for lane in range(settings[at.LANES]):
        source = plane(settings, now, settings[at.SUM_PLANE] + lane) - distance
        target = plane(settings, after, settings[at.SUM_PLANE] + lane)
        if settings[at.PRODUCT] == _LOGSUM:
            counts[at.CLIPPED] += passes.accumulate_log(
                cells, product, flags, source, target, lane, settings[at.FRACTION_BITS], settings[at.HIGH], number
            )
        else:
            counts[at.CLIPPED] += passes.accumulate(
                cells, product, flags, source, target, lane, settings[at.SATURATES] != 0,
                settings[at.LOW], settings[at.HIGH], number,
            )  # fmt: skip
