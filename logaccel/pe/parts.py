"""The circuits of one PE, as a hardware engineer would draw them: what the cost room prices.

A part is one circuit of a given width. Its *size* counts the cells that the circuit is a row or an array
of (full adders, 2:1 multiplexers, flip-flops, …); a cost profile gives prices per circuit and size.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import zip_longest

from logaccel.formats import LogFormat
from logaccel.pe.datapath import Datapath, Product, signed_bits


class Circuit(StrEnum):
    """The kinds of circuit, the widths that describe one, and the cells that its size counts."""

    MULTIPLIER = "multiplier"  # (a, b): a·b partial-product bits
    ADDER = "adder"  # (bits): full adders; subtractors and comparators too
    SHIFTER = "shifter"  # (word, longest shift): 2:1 multiplexers of all stages
    MUX = "mux"  # (bits, inputs): 2:1 multiplexers, bits · (inputs − 1)
    DECODER = "decoder"  # (lines): output lines of a one-hot decoder
    GATE = "gate"  # (bits): two-input gates
    LEADING_ONE = "leading_one"  # (bits): input bits of a leading-one detector
    REGISTER = "register"  # (bits): flip-flops


class Role(StrEnum):
    """What a part is there for: the components of an area or an energy."""

    PRODUCT = "product"
    ACCUMULATE = "accumulate"
    OPERAND_REGISTERS = "operand_registers"
    PSUM_REGISTERS = "psum_registers"
    PIPELINE_REGISTERS = "pipeline_registers"
    SHADOW_REGISTERS = "shadow_registers"
    POST_PROCESSING = "post_processing"


@dataclass(frozen=True)
class Part:
    """`copies` equal circuits. `gated` ones rest while an operand is zero, if the PE has zero gating."""

    name: str
    circuit: Circuit
    widths: tuple[int, ...]
    role: Role
    copies: int = 1
    gated: bool = True

    @property
    def size(self) -> int:
        """Cells of one copy."""
        return circuit_size(self.circuit, *self.widths)


def circuit_size(circuit: Circuit, *widths: int) -> int:
    """Return how many cells a circuit of these widths has (see Circuit).

    A barrel shifter that moves a word by 0…n is log2 stages of 2:1 multiplexers; the stage that shifts
    by 2^s need only be as wide as the word has grown by then, at most word + n. A right shifter that
    keeps the lowest `word` bits is its mirror image and has the same size.
    """
    match circuit:
        case Circuit.MULTIPLIER:
            return widths[0] * widths[1]
        case Circuit.MUX:
            return widths[0] * (widths[1] - 1)
        case Circuit.SHIFTER:
            word, longest = widths
            return sum(word + min(2 ** (s + 1) - 1, longest) for s in range(longest.bit_length()))
        case _:
            return widths[0]


def merged(part_lists: Iterable[Iterable[Part]]) -> tuple[Part, ...]:
    """Return the parts of one circuit board that can do what each list does.

    Parts of the same name are one circuit, built at the widest width of each kind; different names are
    different circuits, and all are built.
    """
    together: dict[str, Part] = {}
    for part in (part for parts in part_lists for part in parts):
        other = together.get(part.name)
        if other is not None:
            widths = tuple(max(pair) for pair in zip_longest(part.widths, other.widths, fillvalue=0))
            part = replace(part, widths=widths, copies=max(part.copies, other.copies))
        together[part.name] = part
    return tuple(together.values())


def gating_parts(path: Datapath) -> tuple[Part, ...]:
    """Return what finds zero operands and holds the inputs of product and adder while there is one.

    An OR tree over each operand and one hold multiplexer per operand bit; they work in every cycle. A
    zero *log* operand must be found in any case, for its code means 0: those OR trees are always there.
    """
    parts = []
    for name, operand in (("activation", path.activation), ("weight", path.weight)):
        if path.zero_gating or isinstance(operand, LogFormat):
            parts.append(Part(f"{name} zero detect", Circuit.GATE, (operand.bits,), Role.PRODUCT, gated=False))
        if path.zero_gating:
            parts.append(Part(f"{name} hold", Circuit.MUX, (operand.bits, 2), Role.PRODUCT, gated=False))
    return tuple(parts)


def accumulator_parts(path: Datapath) -> tuple[Part, ...]:
    """Return the adder of a linear accumulator, its limiter, and what leads the lanes to it.

    One adder serves all bins, for one product a cycle goes to one bin: a multiplexer reads the lane, and
    each lane's register takes either the sum or what it would hold (or pass on) otherwise.
    """
    bits = path.acc_bits
    parts = [Part("accumulator adder", Circuit.ADDER, (bits,), Role.ACCUMULATE)]
    if path.saturate:
        parts.append(Part("accumulator limiter", Circuit.MUX, (bits, 2), Role.ACCUMULATE))
    if path.lanes > 1:
        parts += [
            Part("lane read", Circuit.MUX, (bits, path.lanes), Role.ACCUMULATE),
            Part("lane write", Circuit.MUX, (bits * path.lanes, 2), Role.ACCUMULATE),
        ]
    return tuple(parts)


def exponent_adder(path: Datapath) -> tuple[Part, ...]:
    """Return the adder of two log codes and the gate that multiplies their signs."""
    return (
        Part("exponent adder", Circuit.ADDER, (exponent_bits(path),), Role.PRODUCT),
        Part("sign of product", Circuit.GATE, (1,), Role.PRODUCT),
    )


def exponent_bits(path: Datapath) -> int:
    """Return the width of the exponent sum u."""
    return max(1, path.largest_steps.bit_length())


def stage_bits(path: Datapath) -> int:
    """Return the width of one pipeline register between operands and accumulator.

    It stands where the word is narrowest: behind the exponent adder (sum, sign and a zero flag) of
    `decode` and `logsum`, else behind the product (and its bin number).
    """
    if path.product in (Product.DECODE, Product.LOGSUM):
        return exponent_bits(path) + 2
    return signed_bits(*path.kept_product_range) + (path.step_shift if path.binned else 0)


def accumulation_bits(path: Datapath, psum_stays: bool) -> int:
    """Return the flip-flops that one accumulation loads.

    OS: the one bin or rail (with its flag) that the product goes to. WS, IS: the whole raw psum, which
    moves on to the next row.
    """
    return path.psum_bits // path.lanes if psum_stays else path.psum_bits


def register_parts(path: Datapath, dataflow: str, pipeline_stages: int, overlap: bool) -> tuple[Part, ...]:
    """Return the registers of a PE: operands, pipeline, raw psum, and the shadow of what stays."""
    stays = {"os": path.psum_bits, "ws": path.weight.bits, "is": path.activation.bits}[dataflow]
    parts = [
        Part("activation register", Circuit.REGISTER, (path.activation.bits,), Role.OPERAND_REGISTERS),
        Part("weight register", Circuit.REGISTER, (path.weight.bits,), Role.OPERAND_REGISTERS),
        Part("psum register", Circuit.REGISTER, (path.psum_bits,), Role.PSUM_REGISTERS),
    ]
    if pipeline_stages:
        bits = stage_bits(path)
        parts.append(Part("stage register", Circuit.REGISTER, (bits,), Role.PIPELINE_REGISTERS, pipeline_stages))
    if overlap:
        parts.append(Part("shadow register", Circuit.REGISTER, (stays,), Role.SHADOW_REGISTERS))
    if dataflow == "os":  # what drains takes its word from itself or from the row above
        role = Role.SHADOW_REGISTERS if overlap else Role.PSUM_REGISTERS
        parts.append(Part("drain mux", Circuit.MUX, (path.psum_bits, 2), role))
    return tuple(parts)


def constant_adders(constant: int) -> int:
    """Return the adders of a multiplication by a constant: its non-zero signed digits, less one."""
    return (constant ^ (3 * constant)).bit_count() - 1
