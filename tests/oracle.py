"""The machine's arithmetic in plain integers and fractions: slow, obvious, and independent of the engines.

Of the package it imports the records that describe formats, PEs and layers, and reads from them only what
a user sets (bits, fsr, signed, …): every width, scale, threshold and constant is worked out here again.
Codes are integers: linear q; log sign × magnitude code, 0 for zero. `//` and `%` floor.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Any

from logaccel.formats import Format, LinearFormat, LogFormat
from logaccel.pe import PE, DecodePE, LogsumPE, MultiplyPE, ShiftPE
from logaccel.workload import Layer


def linear_lsb(fmt: LinearFormat) -> int:
    """Return the exponent of a linear word's LSB."""
    return fmt.fsr - fmt.bits + (1 if fmt.signed else 0)


def linear_limits(fmt: LinearFormat) -> tuple[int, int]:
    """Return the smallest and the largest code."""
    return (-(2 ** (fmt.bits - 1)), 2 ** (fmt.bits - 1) - 1) if fmt.signed else (0, 2**fmt.bits - 1)


def largest_log_code(fmt: LogFormat) -> int:
    """Return the largest magnitude code."""
    return 2 ** (fmt.bits - fmt.signed) - 1


def log_exponent(fmt: LogFormat, magnitude_code: int) -> int:
    """Return e of a code: its magnitude is 2^(e/B)."""
    return fmt.steps_per_octave * fmt.fsr - 2 ** (fmt.bits - fmt.signed) + magnitude_code


def power_of_two(exponent: int) -> Fraction:
    """Return 2^exponent."""
    return Fraction(2**exponent) if exponent >= 0 else Fraction(1, 2**-exponent)


def floor_log2(value: Fraction) -> int:
    """Return the largest integer L with 2^L <= value."""
    guess = value.numerator.bit_length() - value.denominator.bit_length()
    return guess if power_of_two(guess) <= value else guess - 1


def round_away(value: Fraction) -> int:
    """Round to the nearest integer, ties away from zero."""
    magnitude = (abs(value) + Fraction(1, 2)).__floor__()
    return magnitude if value >= 0 else -magnitude


def sign(number: Fraction | int) -> int:
    """Return −1, 0 or 1."""
    return (number > 0) - (number < 0)


def encode(value: float | Fraction, fmt: Format) -> int:
    """Return the code of a finite value, every decision exact."""
    exact = Fraction(value)
    if isinstance(fmt, LinearFormat):
        low, high = linear_limits(fmt)
        return min(max(round_away(exact / power_of_two(linear_lsb(fmt))), low), high)
    if exact == 0:
        return 0
    # half_steps = floor(2B·log2|x|), decided on integers: |x|^(2B) against powers of two.
    half_steps = floor_log2(abs(exact) ** (2 * fmt.steps_per_octave))
    steps = (half_steps + 1) // 2 if fmt.rounding == "nearest" else half_steps // 2
    return limited_log_code(sign(exact), steps, fmt)


def limited_log_code(direction: int, exponent: int, fmt: LogFormat) -> int:
    """Return the code of ±2^(exponent/B): too small is zero, too large the largest, unsigned takes no negatives."""
    code = exponent - log_exponent(fmt, 0)
    if code < 1 or (direction < 0 and not fmt.signed):
        return 0
    return direction * min(code, largest_log_code(fmt))


def decode(code: int, fmt: Format) -> Fraction | float:
    """Return the value of a code; a Fraction wherever it is rational."""
    if isinstance(fmt, LinearFormat):
        return code * power_of_two(linear_lsb(fmt))
    if code == 0:
        return Fraction(0)
    octave, step = divmod(log_exponent(fmt, abs(code)), fmt.steps_per_octave)
    magnitude = power_of_two(octave)
    return sign(code) * (magnitude if step == 0 else float(magnitude) * 2.0 ** (step / fmt.steps_per_octave))


def all_codes(fmt: Format) -> range:
    """Return every code of a format, in order."""
    if isinstance(fmt, LinearFormat):
        low, high = linear_limits(fmt)
    else:
        high = largest_log_code(fmt)
        low = -high if fmt.signed else 0
    return range(low, high + 1)


@cache
def root_ceiling(numerator: int, denominator: int, bits: int) -> int:
    """Return ⌈2^(numerator/denominator)·2^bits⌉ by bisection: the least n with n^denominator >= 2^(…)."""
    target = 2 ** (numerator + bits * denominator)
    low, high = 0, 2 ** (numerator // denominator + 1 + bits)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if middle**denominator >= target else (middle, high)
    return high


@cache
def root_constant(step: int, steps: int, bits: int) -> int:
    """Return K_j = round(2^(j/B)·2^bits): K or K − 1 of the ceiling K, whichever is nearer."""
    ceiling = root_ceiling(step, steps, bits)
    reaches_half = (2 * ceiling - 1) ** steps <= 2 ** (step + (bits + 1) * steps)
    return ceiling if reaches_half else ceiling - 1


def hardware_encode(accumulator: int, lsb_exponent: int, fmt: Format, round_bits: int) -> int:
    """Return the code of accumulator·2^lsb_exponent as the encoder circuit forms it."""
    if isinstance(fmt, LinearFormat):
        return encode(accumulator * power_of_two(lsb_exponent), fmt)
    if accumulator == 0:
        return 0
    steps = fmt.steps_per_octave
    position = abs(accumulator).bit_length() - 1
    fraction = (abs(accumulator) * 2**round_bits // 2**position) - 2**round_bits
    if fmt.rounding == "nearest":
        ceilings = [root_ceiling(2 * j + 1, 2 * steps, round_bits) for j in range(steps)]
    else:
        ceilings = [root_ceiling(j, steps, round_bits) for j in range(1, steps)]
    count = sum(ceiling - 2**round_bits <= fraction for ceiling in ceilings)
    return limited_log_code(sign(accumulator), steps * (position + lsb_exponent) + count, fmt)


@dataclass
class Accumulation:
    """One PE with its accumulators: feed it pairs of codes in order, then drain it."""

    pe: PE
    activation: Format
    weight: Format
    clipped: int = 0
    live: int = 0
    bins: list[int] = field(default_factory=list)
    rails: list[int | None] = field(default_factory=lambda: [None, None])

    def __post_init__(self) -> None:
        self.steps = max(getattr(fmt, "steps_per_octave", 1) for fmt in (self.activation, self.weight))
        self.bins = [0] * self.steps

    @property
    def circuit(self) -> str:
        """What copes with fractional exponents: base 2 needs nothing."""
        return getattr(self.pe, "root", "plain") if self.steps > 1 else "plain"

    @property
    def base(self) -> int:
        """The exponent, in octaves, of the smallest product of log operands."""
        return self.exponent(1, 1) // self.steps

    @property
    def lsb_exponent(self) -> int:
        """Exponent of the drained psum's LSB."""
        if isinstance(self.pe, LogsumPE):
            return self.base - self.pe.fraction_bits
        constant = 0 if self.circuit == "plain" else self.pe.constant_bits
        return self.pe.drop_bits - constant + self.base + self.linear_scale

    @property
    def linear_scale(self) -> int:
        """LSB exponents of the linear operands."""
        return sum(linear_lsb(fmt) for fmt in (self.activation, self.weight) if isinstance(fmt, LinearFormat))

    def exponent(self, activation_code: int, weight_code: int) -> int:
        """Return E of two codes, in steps; a linear operand has no part in it."""
        pairs = ((self.activation, activation_code), (self.weight, weight_code))
        return sum(
            log_exponent(fmt, abs(code)) * self.steps // fmt.steps_per_octave
            for fmt, code in pairs
            if isinstance(fmt, LogFormat)
        )

    def add(self, activation_code: int, weight_code: int) -> None:
        """Accumulate one pair."""
        if activation_code and weight_code:
            self.live += 1
        if isinstance(self.pe, LogsumPE):
            self._add_logarithm(activation_code, weight_code)
            return
        bin_index, product = self._product(activation_code, weight_code)
        target = bin_index if self.circuit == "bins" else 0
        exact = self.bins[target] + product
        low, high = -(2 ** (self.pe.acc_bits - 1)), 2 ** (self.pe.acc_bits - 1) - 1
        if low <= exact <= high:
            self.bins[target] = exact
            return
        self.clipped += 1
        if self.pe.overflow == "saturate":
            self.bins[target] = low if exact < low else high
        else:
            self.bins[target] = (exact - low) % 2**self.pe.acc_bits + low

    def _product(self, activation_code: int, weight_code: int) -> tuple[int, int]:
        """Return the fractional exponent and the product, low bits dropped."""
        if isinstance(self.pe, MultiplyPE):
            return 0, activation_code * weight_code >> self.pe.drop_bits
        if activation_code == 0 or weight_code == 0:
            return 0, 0
        octave, step = divmod(self.exponent(activation_code, weight_code), self.steps)
        factor = 2 ** (octave - self.base)
        if self.circuit == "constant":
            factor *= root_constant(step, self.steps, self.pe.constant_bits)
        if isinstance(self.pe, ShiftPE):
            log, linear = (
                (activation_code, weight_code)
                if isinstance(self.activation, LogFormat)
                else (weight_code, activation_code)
            )
            return step, sign(log) * linear * factor >> self.pe.drop_bits
        assert isinstance(self.pe, DecodePE)
        return step, sign(activation_code) * sign(weight_code) * (factor >> self.pe.drop_bits)

    def _add_logarithm(self, activation_code: int, weight_code: int) -> None:
        direction = sign(activation_code) * sign(weight_code)
        if direction == 0:
            return
        one = 2**self.pe.fraction_bits
        rail = 0 if direction > 0 else 1
        term = (self.exponent(activation_code, weight_code) - self.steps * self.base) * one // self.steps
        before = self.rails[rail]
        if before is None:
            after = term
        else:
            after = max(before, term) + one // 2 ** abs(before // one - term // one)
        largest = 2**self.pe.acc_bits - 1
        self.clipped += after > largest
        self.rails[rail] = min(after, largest)

    def drain(self) -> int:
        """Return the combined psum."""
        if isinstance(self.pe, LogsumPE):
            one = 2**self.pe.fraction_bits
            positive, negative = (0 if s is None else (one + s % one) * 2 ** (s // one) for s in self.rails)
            return positive - negative
        if self.circuit == "bins":
            return sum(word * root_constant(j, self.steps, self.pe.constant_bits) for j, word in enumerate(self.bins))
        return self.bins[0]


def accumulate(
    pe: PE, activation: Format, weight: Format, activation_codes: Sequence[int], weight_codes: Sequence[int]
) -> Accumulation:
    """Accumulate pairs of codes in the given order."""
    unit = Accumulation(pe, activation, weight)
    for a, w in zip(activation_codes, weight_codes, strict=True):
        unit.add(int(a), int(w))
    return unit


@dataclass(frozen=True)
class LayerSum:
    """psum[pixel][m] of a layer, and the events of all accumulations."""

    psum: list[list[int]]
    clipped: int
    macs: int
    live: int


def run_layer(layer: Layer, pe: PE, activation: Format, weight: Format, ifmap: Any, filters: Any) -> LayerSum:
    """Run a layer by naive loops; ifmap[N][C][H][W] and filters[M][C/groups][R][S] (or [N][C], [M][C]) are codes."""
    psum, clipped, macs, live = [], 0, 0, 0
    for n in range(len(ifmap)):
        for p, q in _output_places(layer):
            row = []
            for m in range(layer.out_channels):
                unit = Accumulation(pe, activation, weight)
                for a, w in _operands(layer, ifmap[n], filters[m], m, p, q):
                    unit.add(a, w)
                    macs += 1
                row.append(unit.drain())
                clipped += unit.clipped
                live += unit.live
            psum.append(row)
    return LayerSum(psum, clipped, macs, live)


def output_size(layer: Layer) -> tuple[int, int]:
    """Return P and Q by trying every place of the window."""
    top, left, bottom, right = layer.padding

    def places(size: int, taps: int, stride: int, dilation: int) -> int:
        return sum(start + dilation * (taps - 1) < size for start in range(0, size, stride))

    return (
        places(layer.in_size[0] + top + bottom, layer.kernel[0], layer.stride[0], layer.dilation[0]),
        places(layer.in_size[1] + left + right, layer.kernel[1], layer.stride[1], layer.dilation[1]),
    )


def _output_places(layer: Layer) -> Iterator[tuple[int, int]]:
    high, wide = output_size(layer)
    return ((p, q) for p in range(high) for q in range(wide))


def _operands(layer: Layer, image: Any, taps: Any, m: int, p: int, q: int) -> Iterator[tuple[int, int]]:
    """Yield the pairs of one output in the order k = 0…K−1: channels, then rows, then columns of the filter."""
    depth = layer.in_channels // layer.groups
    first = m // (layer.out_channels // layer.groups) * depth
    if layer.kind == "fc":
        for c in range(depth):
            yield int(image[first + c]), int(taps[c])
        return
    for c in range(depth):
        for r in range(layer.kernel[0]):
            for s in range(layer.kernel[1]):
                h = p * layer.stride[0] + r * layer.dilation[0] - layer.padding[0]
                w = q * layer.stride[1] + s * layer.dilation[1] - layer.padding[1]
                inside = 0 <= h < layer.in_size[0] and 0 <= w < layer.in_size[1]
                yield (int(image[first + c][h][w]) if inside else 0), int(taps[c][r][s])


def post_process(psum: int, lsb_exponent: int, bias: float, relu: bool, fmt: Format, round_bits: int) -> int:
    """Return the code of one psum after bias, ReLU and encoder."""
    total = psum + round_away(Fraction(bias) / power_of_two(lsb_exponent))
    if relu:
        total = max(total, 0)
    return hardware_encode(total, lsb_exponent, fmt, round_bits)


@dataclass(frozen=True)
class Timing:
    """Folds (r, c, T) in order, the cycle in which each stream starts, and when the last psum has left."""

    folds: list[tuple[int, int, int]]
    stream_starts: list[int]
    cycles: int


def time_layer(
    dataflow: str,
    array: tuple[int, int],
    stages: int,
    overlap: bool,
    sizes: tuple[int, int, int],
    groups: int = 1,
) -> Timing:
    """Lay the folds of a layer on the time axis; `array` is rows, cols; `sizes` are pixels, channels and K."""
    pixels, channels, reduction = sizes
    rows, cols = array
    down, across, length = {
        "os": (pixels, channels, reduction),
        "ws": (reduction, channels, pixels),
        "is": (reduction, pixels, channels),
    }[dataflow]
    folds: list[tuple[int, int, int]] = []
    starts: list[int] = []
    cycles = 0
    loads = dataflow != "os"
    for _ in range(groups):
        for column in range(0, across, cols):
            for row in range(0, down, rows):
                r, c = min(rows, down - row), min(cols, across - column)
                if not starts:
                    start = r if loads else 0
                else:
                    previous_rows, previous_cols, previous_length = folds[-1]
                    if overlap:
                        start = starts[-1] + max(previous_length, r if loads else previous_rows)
                    else:
                        cost = previous_length + previous_cols - 2 + stages + rows + (0 if loads else previous_rows)
                        start = starts[-1] + cost + (r if loads else 0)
                    if loads and row > 0:
                        start = max(start, starts[-1] + rows + 2)
                folds.append((r, c, length))
                starts.append(start)
                cycles = max(cycles, start + length + c - 2 + stages + rows + (0 if loads else r))
    return Timing(folds, starts, cycles)
