"""The part of every PE that all dataflows share: product, pipeline stages, accumulation."""

from logaccel.engine import machine_passes as passes
from logaccel.engine import machine_products as products
from logaccel.engine.machine_passes import LIVE, VALID, Plane
from logaccel.engine.machine_state import (
    CLIPPED,
    LIVE_PRODUCTS,
    MACS,
    PRODUCT,
    PRODUCT_FLAGS,
    STAGE_WRITES,
    Machine,
    Settings,
    Words,
)
from logaccel.jit import kernel
from logaccel.pe import Product

_MULTIPLY = int(Product.MULTIPLY)
_SHIFT_BY_ACTIVATION = int(Product.SHIFT_BY_ACTIVATION)
_SHIFT_BY_WEIGHT = int(Product.SHIFT_BY_WEIGHT)
_DECODE = int(Product.DECODE)
_LOGSUM = int(Product.LOGSUM)


@kernel
def form_products(machine: Machine, settings: Settings, left: Plane, other: Plane, flags: Plane) -> None:
    """Drive the product wires of every PE from its operand registers."""
    s = settings
    product, out = machine.wires[PRODUCT], machine.wires[PRODUCT_FLAGS]
    activation, weight = (other, left) if s.left_is_weight else (left, other)
    if s.product == _MULTIPLY:
        products.multiply(activation, weight, flags, product, out)
    elif s.product == _SHIFT_BY_ACTIVATION:
        products.shift(activation, weight, flags, product, out, s.step_offset, s.step_shift)
    elif s.product == _SHIFT_BY_WEIGHT:
        products.shift(weight, activation, flags, product, out, s.step_offset, s.step_shift)
    elif s.product == _DECODE:
        products.decode(
            activation, weight, flags, product, out,
            s.activation_scale, s.weight_scale, s.step_offset, s.step_shift,
        )  # fmt: skip
    else:
        products.add_exponents(
            activation, weight, flags, product, out,
            s.activation_scale, s.weight_scale, s.step_offset, s.fraction_bits - s.step_shift,
        )  # fmt: skip
    if s.product != _LOGSUM and s.step_shift > 0 and not s.binned:
        products.scale(product, out, machine.constants)
    if s.drop_bits > 0:
        products.drop_low_bits(product, s.drop_bits, s.product == _DECODE)


@kernel
def advance_stages(machine: Machine, settings: Settings, now: Words, after: Words) -> None:
    """Clock the pipeline registers between operands and accumulator."""
    first, width = settings.stage_plane, settings.width
    for stage in range(settings.stages):
        source = machine.wires[PRODUCT] if stage == 0 else now[first + 2 * stage - 2]
        source_flags = machine.wires[PRODUCT_FLAGS] if stage == 0 else now[first + 2 * stage - 1]
        passes.copy(source, after[first + 2 * stage])
        passes.copy(source_flags, after[first + 2 * stage + 1])
        machine.counts[STAGE_WRITES] += passes.count(source_flags, VALID, width)


@kernel
def accumulated_flags(machine: Machine, settings: Settings, now: Words) -> Plane:
    """Return the flags of the products that are accumulated at the end of this cycle."""
    if settings.stages == 0:
        return machine.wires[PRODUCT_FLAGS]
    return now[settings.stage_plane + 2 * settings.stages - 1]


@kernel
def accumulate(machine: Machine, settings: Settings, now: Words, after: Words) -> None:
    """Clock the accumulators (OS) or the psum registers (WS, IS): one adder per lane."""
    s = settings
    product = machine.wires[PRODUCT] if s.stages == 0 else now[s.stage_plane + 2 * s.stages - 2]
    flags = accumulated_flags(machine, settings, now)
    distance = s.width if s.stationary else 0
    clipped = 0
    for lane in range(s.lanes):
        before, result = now[s.sum_plane + lane], after[s.sum_plane + lane]
        if s.product == _LOGSUM:
            clipped += passes.accumulate_log(
                product, flags, before, result, distance, lane, s.fraction_bits, s.high, s.width
            )
        else:
            clipped += passes.accumulate(
                product, flags, before, result, distance, lane, s.saturate, s.low, s.high, s.width
            )
    counts = machine.counts
    counts[CLIPPED] += clipped
    counts[MACS] += passes.count(flags, VALID, s.width)
    counts[LIVE_PRODUCTS] += passes.count(flags, VALID | LIVE, s.width)
