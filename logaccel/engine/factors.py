"""A datapath's products as integer factors: product(a, w) = word[plane(a), w] · 2^amount(a), or · amount(a).

Every PE with linear accumulation fits this form, so that one kernel serves all of them. What depends on
the weight alone (its linear word, or the one-hot word of its log code, constants applied) is the *word*;
what depends on the activation alone is a shift by whole octaves or, where it is linear, the word it
multiplies. What depends on both, a fraction or a sign, chooses among a few *planes* of words.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from logaccel.formats import Format, LinearFormat
from logaccel.pe import Datapath, Product

Table = NDArray[np.int64]


class Factors(NamedTuple):
    """Factors as the kernels read them. A log operand's code c is looked up at c − (its smallest code).

    words[plane, weight code] (linear weights: words[plane, 0] times the code);
    planes[lane, activation code]: which plane feeds that accumulator, −1 for none (linear activations:
    planes[lane, 0], for any code but 0); amounts[activation code], not used where the activation is linear;
    scales[lane]: the psum is Σ_lane scales[lane] · accumulator[lane].
    """

    words: Table
    planes: Table
    amounts: Table
    scales: Table
    weight_is_linear: bool
    weight_floor: int  # smallest weight code
    activation_is_linear: bool
    activation_floor: int


@dataclass(frozen=True)
class _Plane:
    """What the activations of one plane share: the fraction that they add, their sign, the lane they feed."""

    steps: int  # added to the weight's steps: fraction, and the octaves that all of them have
    sign: int
    lane: int  # −1: one accumulator takes every product


def factors_of(datapath: Datapath, combined: bool) -> Factors:
    """Return the factors; `combined` puts the constants into the words even where bins would apply them later."""
    binned = datapath.binned and not combined
    constants = [1] * datapath.steps if binned else list(datapath.constants)
    lanes = range(datapath.lanes) if binned else (-1,)
    amounts, routes = _activations(datapath)
    planes: dict[_Plane, int] = {}
    table = np.full((len(lanes), len(amounts)), -1, np.int64)
    for lane_index, lane in enumerate(lanes):
        for place, route in enumerate(routes):
            if route is None:
                continue
            steps, sign = route
            if datapath.product is Product.SHIFT_BY_ACTIVATION and lane not in (-1, steps % datapath.steps):
                continue
            table[lane_index, place] = planes.setdefault(_Plane(steps, sign, lane), len(planes))
    return Factors(
        words=np.stack([_words(datapath, plane, constants) for plane in planes]),
        planes=table,
        amounts=amounts,
        scales=np.array(datapath.constants if binned else [1], np.int64),
        weight_is_linear=isinstance(datapath.weight, LinearFormat),
        weight_floor=datapath.weight.min_code,
        activation_is_linear=isinstance(datapath.activation, LinearFormat),
        activation_floor=datapath.activation.min_code,
    )


def _activations(datapath: Datapath) -> tuple[Table, list[tuple[int, int] | None]]:
    """Return the octaves each activation code shifts by, and the steps and sign that its plane must hold."""
    if isinstance(datapath.activation, LinearFormat):
        return np.zeros(1, np.int64), [(0, 1)]
    codes = codes_of(datapath.activation)
    offset = datapath.step_offset if datapath.product is Product.SHIFT_BY_ACTIVATION else 0
    steps = np.abs(codes) * datapath.activation_scale + offset
    octaves, fractions = steps >> datapath.step_shift, steps % datapath.steps
    # The plane of a fraction holds the octaves that all its activations have: words stay whole numbers.
    least = {int(f): int(octaves[(fractions == f) & (codes != 0)].min()) for f in np.unique(fractions[codes != 0])}
    if datapath.product is Product.SHIFT_BY_ACTIVATION:
        least = dict.fromkeys(least, 0)  # a linear word takes the whole shift
    routes = [
        None if code == 0 else (int(f) + least[int(f)] * datapath.steps, 1 if code > 0 else -1)
        for code, f in zip(codes, fractions, strict=True)
    ]
    amounts = [
        0 if route is None else int(octave) - (route[0] >> datapath.step_shift)
        for octave, route in zip(octaves, routes, strict=True)
    ]
    return np.array(amounts, np.int64), routes


def _words(datapath: Datapath, plane: _Plane, constants: list[int]) -> Table:
    """Return the words of a plane: by weight code, or what a linear weight is multiplied by."""
    if isinstance(datapath.weight, LinearFormat):
        return np.array([plane.sign * constants[plane.steps % datapath.steps]], np.int64)
    codes = codes_of(datapath.weight)
    steps = np.abs(codes) * datapath.weight_scale + plane.steps + datapath.step_offset
    live = codes != 0
    steps[~live] = 0
    fractions = steps % datapath.steps
    words = np.array(constants, np.int64)[fractions] << (steps >> datapath.step_shift)
    mine = live if plane.lane < 0 else live & (fractions == plane.lane)
    return np.asarray(np.where(mine, plane.sign * np.sign(codes) * words, 0))


def codes_of(number_format: Format) -> Table:
    """Return every code of a format, ascending."""
    return np.arange(number_format.min_code, number_format.max_code + 1, dtype=np.int64)
