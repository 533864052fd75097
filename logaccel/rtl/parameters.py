"""Parameters of the Verilog, derived from the records that the engines read: one include file a layer.

Every width is worked out from the datapath's own ranges; nothing here is typed in twice. The Verilog
modules take them as their parameter list (`logaccel_parameters.vh`).
"""

from dataclasses import dataclass

from logaccel.arch import Architecture, PostProcessing
from logaccel.errors import ConfigError
from logaccel.formats import Format, LinearFormat, LogFormat
from logaccel.formats.thresholds import fraction_thresholds
from logaccel.pe import Datapath, Product
from logaccel.pe.datapath import signed_bits

ROOT_SLOTS = 8  # the most steps per octave: packed tables are this long
_LARGEST_LEFT_SHIFT = 34  # any set bit shifted that far saturates the widest (32-bit) word
_DATAFLOWS = {"os": 0, "ws": 1, "is": 2}

Parameters = dict[str, int | str]


@dataclass(frozen=True)
class Lane:
    """What the post-processing lanes of one layer do."""

    output: Format
    lsb_exponent: int  # of the combined psum
    bias: tuple[int, int]  # smallest and largest bias word, in LSBs of the psum
    relu: bool


@dataclass(frozen=True)
class Addresses:
    """Words per bank of each memory, and folds."""

    left: int
    top: int
    psum: int
    ofmap: int
    bias: int
    folds: int


def datapath_parameters(path: Datapath, *, increment: bool = False) -> Parameters:
    """Return the parameters of one PE.

    `increment` adds the one-hot product of a decode PE by a chain of half adders instead of an adder.
    Raises ConfigError where the product is not one-hot.
    """
    uses_roots = path.steps > 1 and path.lanes == 1 and path.product is not Product.LOGSUM
    if increment and (path.product is not Product.DECODE or uses_roots):
        raise ConfigError("rtl: increment: needs a one-hot product: a decode PE, base 2 or with bins")
    root_bits = max(path.constants).bit_length()
    term_bits = _term_bits(path)
    return {
        "PRODUCT": int(path.product),
        "ACT_BITS": path.activation.bits,
        "ACT_SIGNED": int(path.activation.signed),
        "WGT_BITS": path.weight.bits,
        "WGT_SIGNED": int(path.weight.signed),
        "ACT_STEP_SHIFT": max(0, path.activation_scale.bit_length() - 1),
        "WGT_STEP_SHIFT": max(0, path.weight_scale.bit_length() - 1),
        "STEP_SHIFT": path.step_shift,
        "STEP_OFFSET": path.step_offset,
        "STEPS_BITS": _steps_bits(path),
        "USE_ROOTS": int(uses_roots),
        "ROOT_BITS": root_bits,
        "ROOTS": packed(path.constants, root_bits),
        "PRODUCT_BITS": _product_bits(path, term_bits, root_bits if uses_roots else 0),
        "DROP_BITS": path.drop_bits,
        "TERM_BITS": term_bits,
        "LANES": path.lanes,
        "LANE_BITS": max(1, path.step_shift),
        "ACC_BITS": path.acc_bits,
        "SATURATE": int(path.saturate),
        "FRACTION_BITS": path.fraction_bits,
        "PSUM_BITS": path.psum_bits,
        "INCREMENT": int(increment),
        "ZERO_GATING": int(path.zero_gating),
    }


def layer_parameters(
    arch: Architecture, path: Datapath, reduction: int, lane: Lane, addresses: Addresses, *, increment: bool = False
) -> Parameters:
    """Return all parameters of the accelerator for one layer; `reduction` is its K."""
    pe = datapath_parameters(path, increment=increment)
    stationary_activation = arch.dataflow == "is"
    left, top = (path.weight, path.activation) if stationary_activation else (path.activation, path.weight)
    row_bits, col_bits = arch.array.rows.bit_length(), arch.array.cols.bit_length()
    bits = {
        "LEFT_ADDRESS_BITS": address_bits(addresses.left),
        "TOP_ADDRESS_BITS": address_bits(addresses.top),
        "PSUM_ADDRESS_BITS": address_bits(addresses.psum),
        "OFMAP_ADDRESS_BITS": address_bits(addresses.ofmap),
        "BIAS_ADDRESS_BITS": address_bits(addresses.bias),
        "FOLD_ADDRESS_BITS": address_bits(addresses.folds + 1),  # the index after the last fold is read too
    }
    fold_bits = row_bits + col_bits + 2 + sum(
        bits[f"{name}_ADDRESS_BITS"] for name in ("LEFT", "TOP", "OFMAP", "BIAS")
    )  # fmt: skip
    array = {
        "DATAFLOW": _DATAFLOWS[arch.dataflow],
        "ROWS": arch.array.rows,
        "COLS": arch.array.cols,
        "OVERLAP": int(arch.array.overlap),
        "PIPELINE_STAGES": arch.array.pipeline_stages,
        "LEFT_BITS": left.bits,
        "TOP_BITS": top.bits,
        "ROW_BITS": row_bits,
        "COL_BITS": col_bits,
        "FOLD_BITS": fold_bits,
    }
    return pe | array | bits | lane_parameters(arch, path, reduction, lane)


def lane_parameters(arch: Architecture, path: Datapath, reduction: int, lane: Lane) -> Parameters:
    """Return the parameters of the post-processing lanes."""
    combined_bits = max(path.combined_bits(reduction), path.acc_bits if path.product is not Product.LOGSUM else 0)
    bias_bits = signed_bits(*lane.bias)
    post_bits = max(combined_bits, bias_bits) + 1
    common: Parameters = {
        "COMBINED_BITS": combined_bits,
        "BIAS_BITS": bias_bits,
        "CHANNEL_SHIFT_BITS": arch.post.channel_shift_bits,
        "BIAS_WORD_BITS": bias_bits + arch.post.channel_shift_bits,
        "POST_BITS": post_bits,
        "RELU": int(lane.relu),
        "POST_STAGES": arch.post.stages,
    }
    return common | encoder_parameters(lane.output, lane.lsb_exponent, arch.post, post_bits)


def encoder_parameters(output: Format, lsb_exponent: int, post: PostProcessing, value_bits: int) -> Parameters:
    """Return the parameters of the encoder from integers of `value_bits` bits to codes of a format."""
    shared: Parameters = {"OUT_BITS": output.bits, "OUT_SIGNED": int(output.signed)}
    if isinstance(output, LinearFormat):
        lowest = -_LARGEST_LEFT_SHIFT - post.largest_channel_shift  # which a channel takes back
        shift = min(max(output.lsb_exponent - lsb_exponent, lowest), value_bits + 1)
        return shared | {
            "OUT_LOG": 0, "OUT_STEP_SHIFT": 0, "ENCODE_SHIFT": shift, "ENCODE_OFFSET": 0,
            "ROUND_BITS": 1, "THRESHOLD_COUNT": 1, "THRESHOLDS": packed((0,), 2),
        }  # fmt: skip
    steps, round_bits = output.steps_per_octave, post.round_bits
    thresholds = tuple(int(value) for value in fraction_thresholds(steps, output.rounding, round_bits))
    return shared | {
        "OUT_LOG": 1,
        "OUT_STEP_SHIFT": steps.bit_length() - 1,
        "ENCODE_SHIFT": 0,
        "ENCODE_OFFSET": steps * lsb_exponent - output.exponent_steps(0),
        "ROUND_BITS": round_bits,
        "THRESHOLD_COUNT": len(thresholds),
        "THRESHOLDS": packed(thresholds, round_bits + 1),
    }


def render_parameters(parameters: Parameters) -> str:
    """Return the parameters as the include file that the modules take as their parameter list."""
    lines = ",\n".join(f"    parameter {name} = {value}" for name, value in parameters.items())
    return (
        "// Generated from the architecture: the parameter list of every module that includes it.\n"
        f"/* verilator lint_off UNUSED */\n{lines}\n/* verilator lint_on UNUSED */\n"
    )


def packed(values: tuple[int, ...], bits: int) -> str:
    """Return a table as one Verilog constant of ROOT_SLOTS words, the first in the low bits."""
    word = sum(value << (n * bits) for n, value in enumerate(values))
    return f"{ROOT_SLOTS * bits}'h{word:x}"


def address_bits(words: int) -> int:
    """Return the address width of a memory of that many words."""
    return max(1, (words - 1).bit_length())


def word_of(code: int, number_format: Format) -> int:
    """Return the bits of a code in memory: two's complement, or sign and magnitude for a log word."""
    if isinstance(number_format, LogFormat):
        return (1 << (number_format.bits - 1)) - code if code < 0 else code
    return code & ((1 << number_format.bits) - 1)


def code_of(word: int, number_format: Format) -> int:
    """Return the code whose bits stand in memory."""
    if not number_format.signed or not word >> (number_format.bits - 1):
        return word
    if isinstance(number_format, LogFormat):
        return (1 << (number_format.bits - 1)) - word
    return word - (1 << number_format.bits)


def _term_bits(path: Datapath) -> int:
    """Return the width of a term: two's complement (multiply, shift), or a sign beside a magnitude."""
    low, high = path.kept_product_range
    if path.product in (Product.DECODE, Product.LOGSUM):
        return max(1, high.bit_length()) + 1
    return signed_bits(low, high)


def _steps_bits(path: Datapath) -> int:
    """Return the width in which codes are scaled and added to steps."""
    codes = [
        operand.bits + scale.bit_length() - 1
        for operand, scale in ((path.activation, path.activation_scale), (path.weight, path.weight_scale))
        if scale
    ]
    return max([path.largest_steps.bit_length(), path.step_shift, *codes]) + 1


def _product_bits(path: Datapath, term_bits: int, root_bits: int) -> int:
    """Return the width in which a product is formed before its low bits are dropped."""
    if path.product is Product.MULTIPLY:
        return max(path.activation.bits + 1, path.weight.bits + 1, path.drop_bits + term_bits)
    if path.product in (Product.DECODE, Product.LOGSUM):
        return max(max(path.constants).bit_length(), path.drop_bits + term_bits - 1)
    linear = path.weight if path.product is Product.SHIFT_BY_ACTIVATION else path.activation
    return max(linear.bits + 2 + root_bits, path.drop_bits + term_bits)
