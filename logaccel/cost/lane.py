"""The circuits of one post-processing lane: combine, bias, ReLU, encode. One lane stands below each column."""

from logaccel.arch import PostProcessing
from logaccel.arch.model import LONGEST_REDUCTION
from logaccel.formats import LinearWord, LogWord
from logaccel.pe import Datapath, Product
from logaccel.pe.parts import Circuit, Part, Role, constant_adders


def lane_parts(path: Datapath, output: LinearWord | LogWord, post: PostProcessing) -> tuple[Part, ...]:
    """Return the circuits of a lane; each works once for an ofmap word.

    The lane is as wide as the widest psum that any reduction can give. The ReLU masks; the encoder takes
    the magnitude first, for the same lane encodes signed words too. Each pipeline register holds a whole
    combined psum, which the later ones would not need: an upper bound. So it does s[m], where the lane shifts by
    channel: read beside the bias word, for every word anew.
    """
    bits = path.combined_bits(LONGEST_REDUCTION)
    shift_bits = post.channel_shift_bits
    return (
        *_combine(path, bits),
        lane_part("bias adder", Circuit.ADDER, bits),
        lane_part("relu", Circuit.GATE, bits),
        *encoder_parts(output, bits, post),
        lane_part("lane register", Circuit.REGISTER, bits + shift_bits, copies=post.stages),
        *((lane_part("channel shift word", Circuit.REGISTER, shift_bits),) if shift_bits else ()),
        lane_part("ofmap register", Circuit.REGISTER, output.bits),
    )


def encoder_parts(output: LinearWord | LogWord, bits: int, post: PostProcessing) -> tuple[Part, ...]:
    """Return what makes a code of a word: its magnitude first, for signed words are encoded too."""
    if isinstance(output, LinearWord):
        encoder = _linear_encoder(output, bits, post)
    else:
        encoder = _log_encoder(output, bits, post)
    return (
        lane_part("magnitude complement", Circuit.GATE, bits),
        lane_part("magnitude increment", Circuit.ADDER, bits),
        *encoder,
    )


def lane_part(name: str, circuit: Circuit, *widths: int, copies: int = 1) -> Part:
    """Return a circuit of a lane."""
    return Part(name, circuit, widths, Role.POST_PROCESSING, copies)


def _combine(path: Datapath, bits: int) -> tuple[Part, ...]:
    """Return what makes one word of bins (B − 1 constant multipliers, shift-and-add) or of two log rails."""
    if path.product is Product.LOGSUM:
        mantissa = path.fraction_bits + 1
        return (
            lane_part("rail shifter", Circuit.SHIFTER, mantissa, max(0, bits - mantissa - 1), copies=2),
            lane_part("rail subtractor", Circuit.ADDER, bits),
        )
    if not path.binned:
        return ()
    scaled = path.acc_bits + path.constants[0].bit_length()
    adders = sum(constant_adders(constant) for constant in path.constants[1:])
    return (
        lane_part("bin constant adders", Circuit.ADDER, scaled, copies=adders),
        lane_part("bin sum adders", Circuit.ADDER, bits, copies=path.steps - 1),
    )


def _log_encoder(output: LogWord, bits: int, post: PostProcessing) -> tuple[Part, ...]:
    """Leading one, the bits after it as a fraction, thresholds, code = B · position + count + offset, clip."""
    steps = output.steps_per_octave
    thresholds = steps if output.rounding == "nearest" else steps - 1
    octaves = bits + post.largest_channel_shift
    code = max(output.bits, (steps * octaves).bit_length() + 1)
    parts = [
        lane_part("leading one", Circuit.LEADING_ONE, bits),
        lane_part("log code adder", Circuit.ADDER, code),
        lane_part("log code clip", Circuit.MUX, output.bits, 3),
    ]
    if post.channel_shift_bits:
        parts.append(lane_part("channel exponent adder", Circuit.ADDER, code))  # offset − B·s[m]
    if thresholds:
        parts.append(lane_part("fraction shifter", Circuit.SHIFTER, post.round_bits, bits - 1))
        parts.append(lane_part("threshold comparators", Circuit.ADDER, post.round_bits, copies=thresholds))
    return tuple(parts)


def _linear_encoder(output: LinearWord, bits: int, post: PostProcessing) -> tuple[Part, ...]:
    """Shift to the ofmap's LSB (set per layer, and by channel), round, find what is too large, saturate, sign.

    By channel: the layer's amount + s[m]; one that passes the word leaves nothing of it, so the shifter stays as it is.
    """
    amount_bits = (bits - 1 + post.largest_channel_shift).bit_length()
    by_channel = (
        lane_part("channel shift adder", Circuit.ADDER, amount_bits),
        lane_part("channel shift clear", Circuit.GATE, output.bits + 1),
    )
    return (
        *(by_channel if post.channel_shift_bits else ()),
        lane_part("rescale shifter", Circuit.SHIFTER, output.bits + 1, bits - 1),
        lane_part("rounding adder", Circuit.ADDER, output.bits + 1),
        lane_part("overflow detect", Circuit.GATE, bits),
        lane_part("linear saturation", Circuit.MUX, output.bits, 2),
        lane_part("linear sign", Circuit.ADDER, output.bits),
    )
