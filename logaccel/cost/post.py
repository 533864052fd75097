"""What post-processing work costs: the circuits of a lane that pools, adds or clips, for every word that passes."""

from collections.abc import Iterable

from logaccel.arch import Architecture, PostProcessing
from logaccel.cost.lane import encoder_parts, lane_part
from logaccel.cost.profile import CostProfile
from logaccel.formats import Format, LinearFormat
from logaccel.pe.parts import Circuit, Part, merged

CONSTANT_BITS = 12  # of 2^(j/B) where a lane decodes log codes with B > 1
RECIPROCAL_BITS = 17  # round(2^16 / n), n from 1


def post_energy_pj(
    profile: CostProfile,
    kind: str,
    words: tuple[tuple[int, ...], int],
    formats: tuple[tuple[Format, ...], Format],
    post: PostProcessing,
) -> float:
    """Return the energy of the lanes' circuits.

    kind: that of `PostWork`; words: read (of each input) and written by the lanes; formats: of the inputs and of the
    result. Max and clip compare codes; averages and sums are decoded first, and encoded last (the residual of a
    layer is encoded with its psum, which the layer pays for). A concat only moves words.
    """
    (read_words, written_words), (sources, result) = words, formats
    energy = 0.0
    taps = -(-sum(read_words) // max(1, written_words))  # of a window, on the mean
    for read, source in zip(read_words, sources, strict=True):
        read_parts, write_parts = _parts(kind, source, result, (taps, post))
        energy += read * sum(profile.part_energy_pj(part) for part in read_parts)
    return energy + written_words * sum(profile.part_energy_pj(part) for part in write_parts)


def post_area_um2(
    profile: CostProfile, works: Iterable[tuple[str, int, tuple[Format, ...], Format]], arch: Architecture
) -> float:
    """Return the area of the circuits that a lane needs for all of this work, in every lane.

    works: kind, taps of a window, formats of the inputs and of the result. Circuits of one name are one, at its widest;
    ReLU and encoder are those that the lane has for the layers anyway.
    """
    needed = []
    for kind, taps, sources, result in works:
        has = {"relu", *(part.name for part in encoder_parts(result, 1, arch.post))}
        for source in sources:
            parts = _parts(kind, source, result, (taps, arch.post))
            needed.append([part for group in parts for part in group if part.name not in has])
    return arch.array.cols * sum(profile.part_area_um2(part) for part in merged(needed))


def decoded_bits(own: Format) -> int:
    """Return the bits of the integer that a code stands for."""
    if isinstance(own, LinearFormat):
        return own.bits
    steps = own.steps_per_octave
    octaves = own.exponent_steps(own.max_code) // steps - own.exponent_steps(1) // steps
    return octaves + 1 + (CONSTANT_BITS if steps > 1 else 0) + int(own.signed)


def _parts(
    kind: str, source: Format, result: Format, taps_post: tuple[int, PostProcessing]
) -> tuple[list[Part], list[Part]]:
    """Return the parts that work for every word read, and for every word written."""
    bits, (taps, post) = decoded_bits(source), taps_post
    if kind in ("max pool", "clip"):
        compare = lane_part("comparator", Circuit.ADDER, source.bits)
        keep = lane_part("kept word", Circuit.REGISTER, source.bits)
        return [compare, keep], []
    if kind == "average pool":
        wide = bits + (taps - 1).bit_length()
        mean = lane_part("reciprocal multiplier", Circuit.MULTIPLIER, RECIPROCAL_BITS, wide)
        return [
            *_decoder(source),
            lane_part("sum adder", Circuit.ADDER, wide),
            lane_part("sum register", Circuit.REGISTER, wide),
        ], [mean, lane_part("mean rounding adder", Circuit.ADDER, wide), *encoder_parts(result, wide, post)]
    if kind == "residual":
        longest = decoded_bits(result) + post.largest_channel_shift  # to the LSB of the channel
        amount = [lane_part("alignment adder", Circuit.ADDER, longest.bit_length())]
        return [
            *_decoder(source),
            *(amount if post.channel_shift_bits else []),
            lane_part("aligning shifter", Circuit.SHIFTER, bits, longest),
            lane_part("residual adder", Circuit.ADDER, bits + longest),
        ], []
    if kind == "add":
        wide = bits + decoded_bits(result)
        aligned = [*_decoder(source), lane_part("aligning shifter", Circuit.SHIFTER, bits, wide - bits)]
        relu = lane_part("relu", Circuit.GATE, wide)
        return aligned, [lane_part("residual adder", Circuit.ADDER, wide), relu, *encoder_parts(result, wide, post)]
    return [], []


def _decoder(source: Format) -> list[Part]:
    """Return what makes an integer of a code: nothing, a one-hot decoder, or one of B constants and a shifter."""
    if isinstance(source, LinearFormat):
        return []
    bits = decoded_bits(source)
    if source.steps_per_octave == 1:
        return [lane_part("code decoder", Circuit.DECODER, bits)]
    constant = CONSTANT_BITS + 1
    return [
        lane_part("code constants", Circuit.MUX, constant, source.steps_per_octave),
        lane_part("code shifter", Circuit.SHIFTER, constant, max(0, bits - constant)),
    ]
