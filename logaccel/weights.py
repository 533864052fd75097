"""How the weights of a network are spread, and what the codes of a word make of them: why logarithms fit.

    values   how large, how many are zero, over how many octaves: a histogram of log2 |w|
    codes    each word at the full-scale range with the least squared error: how often each code is used, its entropy,
             what becomes zero, what saturates, relative error, signal to noise

Trained weights lie over many octaves, most of them far below the largest. A linear word makes zeros of the small ones;
a log word keeps the same relative error in every octave it has. In return its large codes are coarse, and those alone
decide the signal to noise: which of the two counts more, a network's accuracy has to say.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel import __version__
from logaccel.arch import Architecture
from logaccel.errors import ConfigError
from logaccel.formats import Format, LinearWord, LogWord
from logaccel.formats.calibrate import best_fsr
from logaccel.formats.encode import decode, encode
from logaccel.model.model import Model
from logaccel.quantization import layer_architectures
from logaccel.result import write_whole
from logaccel.trace import Tensor, Trace
from logaccel.workload.layer import Layer

STEPS = 4  # bins of the histogram to an octave
VALUE_BINS = 64
MOST_BITS = 16  # of a word whose codes are counted one by one
DEFAULT_BITS = (4, 5)  # the paper's: fully connected layers, convolutions
_CHUNK = 2**20  # weights looked at together: the memory does not grow with the layer

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CodeUse:
    """How one word shows the weights of a layer. counts[i] weights have the code min_code + i."""

    word: LinearWord | LogWord
    number_format: Format
    counts: Counts
    snr_db: float | None  # None: nothing to show, or shown exactly
    relative_error: float  # mean of |ŵ − w| / |w| over the weights that are not zero; 1 for one that becomes zero

    @property
    def entropy_bits(self) -> float:
        """Information of a code: at most the bits of the word, fewer where few codes do all the work."""
        shares = self.counts[self.counts > 0] / self.counts.sum()
        return float(-(shares * np.log2(shares)).sum()) + 0.0

    @property
    def used_codes(self) -> int:
        """Codes that at least one weight has."""
        return int((self.counts > 0).sum())

    @property
    def zero_share(self) -> float:
        """Share of weights that become zero."""
        return float(self.counts[-self.number_format.min_code] / self.counts.sum())

    @property
    def saturated_share(self) -> float:
        """Share of weights at either end of the codes."""
        return float((self.counts[0] + self.counts[-1]) / self.counts.sum())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "word": str(self.word),
            "format": self.number_format.model_dump(),
            "first_code": self.number_format.min_code,
            "counts": self.counts.tolist(),
            "entropy_bits": self.entropy_bits,
            "used_codes": self.used_codes,
            "zero_share": self.zero_share,
            "saturated_share": self.saturated_share,
            "snr_db": self.snr_db,
            "relative_error": self.relative_error,
        }


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """The weights of one layer, without its bias. Magnitudes are those of the weights that are not zero."""

    layer: Layer
    minimum: float
    maximum: float
    mean: float
    deviation: float
    mean_magnitude: float  # zeros included
    smallest_magnitude: float  # 0 where all are zero
    zero_share: float
    octaves: float  # from the smallest magnitude to the largest
    octaves_98: float  # from the 1st to the 99th percentile
    first_bin: int  # log2_counts[i] weights have log2 |w| in [first_bin + i, first_bin + i + 1) / STEPS
    log2_counts: Counts
    value_counts: Counts  # VALUE_BINS of equal width between ∓ the largest magnitude
    uses: tuple[CodeUse, ...]

    @property
    def name(self) -> str:
        """The name of the layer."""
        return self.layer.name

    @property
    def weights(self) -> int:
        """How many there are."""
        return math.prod(self.layer.filter_shape)

    @property
    def largest_magnitude(self) -> float:
        """The larger end."""
        return max(self.maximum, -self.minimum)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        numbers = (
            "minimum", "maximum", "mean", "deviation", "mean_magnitude", "smallest_magnitude", "largest_magnitude",
            "zero_share", "octaves", "octaves_98",
        )  # fmt: skip
        return {
            "name": self.name,
            "kind": self.layer.kind,
            "shape": list(self.layer.filter_shape),
            "weights": self.weights,
            **{key: getattr(self, key) for key in numbers},
            "log2_magnitudes": {
                "steps_per_octave": STEPS, "first_bin": self.first_bin, "counts": self.log2_counts.tolist(),
            },
            "values": {"half_width": self.largest_magnitude, "counts": self.value_counts.tolist()},
            "words": [use.to_dict() for use in self.uses],
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class WeightStatistics:
    """The weights of every layer of a network."""

    network: str
    layers: tuple[LayerWeights, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        layers = [layer.to_dict() for layer in self.layers]
        return {"logaccel_version": __version__, "network": self.network, "layers": layers}

    def to_json(self, path: str | Path) -> None:
        """Write `to_dict()` to a file, whole or not at all."""
        write_whole(path, json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")

    def summary(self) -> str:
        """Return the tables as text."""
        from logaccel.report.text import plain_text
        from logaccel.report.weights import weight_renderables

        return plain_text(weight_renderables(self))


def weight_statistics(
    source: Model | Trace,
    bits: Sequence[int] = DEFAULT_BITS,
    arch: Architecture | None = None,
    layer: str | None = None,
) -> WeightStatistics:
    """Return how the weights are spread in each layer, or in one, and how words of these bits show them.

    The words are linear, log base 2 and log base √2, and that which the layer has in the architecture, if one is given.
    Weights of a model are those of the array: batch norm is folded into them. Raises ConfigError.
    """
    found = list(_filters(source))
    wrong = [given for given in bits if not 2 <= given <= 8]
    if wrong:
        raise ConfigError(f"bits: must be 2 … 8, got {', '.join(map(str, wrong))}")
    if not bits and arch is None:
        raise ConfigError("bits: give at least one, or an architecture")
    words = [word for given in bits for word in _words(given)]
    own_words = _own_words(arch, tuple(own for own, _ in found))
    chosen = [
        (own, values, list(dict.fromkeys([*words, *own_word])))
        for (own, values), own_word in zip(found, own_words, strict=True)
        if layer in (None, own.name)
    ]
    if not chosen:
        raise ConfigError(f"layer: {layer}: no layer of that name; there are {', '.join(own.name for own, _ in found)}")
    return WeightStatistics(source.name, tuple(_layer(*each) for each in chosen))


def _words(bits: int) -> list[LinearWord | LogWord]:
    return [LinearWord(bits=bits), LogWord(bits=bits), LogWord(bits=bits, steps_per_octave=2)]


def _own_words(arch: Architecture | None, layers: tuple[Layer, ...]) -> list[list[LinearWord | LogWord]]:
    """Return each layer's word in the architecture, in a list of its own; empty lists without one."""
    if arch is None:
        return [[] for _ in layers]
    seen = layer_architectures(arch, layers)
    for layer, own in zip(layers, seen, strict=True):
        if own.weight.bits > MOST_BITS:
            raise ConfigError(
                f"{arch.name}: weight.bits: must be at most {MOST_BITS} to count its codes, "
                f"got {own.weight.bits} in {layer.name}"
            )
    return [[own.weight] for own in seen]


def _filters(source: Model | Trace) -> Iterator[tuple[Layer, Tensor]]:
    if isinstance(source, Model):
        yield from ((layer, source.parameters[layer.name].filter) for layer in source.graph.layers)
    else:
        yield from ((item.layer, item.filter) for item in source.layers)


def _layer(layer: Layer, values: Tensor, words: list[LinearWord | LogWord]) -> LayerWeights:
    flat = np.ascontiguousarray(values).reshape(-1)
    magnitudes = np.abs(flat[flat != 0])
    count = flat.size
    mean = math.fsum(part.sum(dtype=np.float64) for part in _parts(flat)) / count
    spread = math.fsum(np.square(part.astype(np.float64) - mean).sum() for part in _parts(flat))
    peak = float(magnitudes.max(initial=0))
    low, high = np.percentile(magnitudes, (1, 99)) if magnitudes.size else (1.0, 1.0)
    first, log2_counts = _log2_histogram(magnitudes)
    return LayerWeights(
        layer, float(flat.min()), float(flat.max()), mean, math.sqrt(spread / count),
        mean_magnitude=math.fsum(part.sum(dtype=np.float64) for part in _parts(magnitudes)) / count,
        smallest_magnitude=float(magnitudes.min()) if magnitudes.size else 0.0,
        zero_share=1 - magnitudes.size / count,
        octaves=math.log2(peak / float(magnitudes.min())) if magnitudes.size else 0.0,
        octaves_98=math.log2(float(high) / float(low)),
        first_bin=first,
        log2_counts=log2_counts,
        value_counts=np.histogram(flat, VALUE_BINS, (-peak, peak) if peak else (-1.0, 1.0))[0].astype(np.int64),
        uses=tuple(code_use(flat, word) for word in words),
    )  # fmt: skip


def code_use(values: Tensor, word: LinearWord | LogWord) -> CodeUse:
    """Return how signed codes of a word show values, at the full-scale range with the least squared error."""
    flat = np.ascontiguousarray(values).reshape(-1)
    number_format = word.at(best_fsr(flat, word, True), True)
    low, high = number_format.min_code, number_format.max_code
    counts = np.zeros(high - low + 1, np.int64)
    signal, noise, relative = [], [], []
    for part in _parts(flat):
        codes = encode(part, number_format)
        counts += np.bincount(codes.astype(np.int64) - low, minlength=counts.size)
        exact = part.astype(np.float64)
        miss = np.abs(exact - decode(codes, number_format))
        signal.append(float(np.square(exact).sum()))
        noise.append(float(np.square(miss).sum()))
        relative.append(float((miss[exact != 0] / np.abs(exact[exact != 0])).sum()))
    powers = math.fsum(signal), math.fsum(noise)
    snr = 10 * math.log10(powers[0] / powers[1]) if min(powers) > 0 else None
    error = math.fsum(relative) / max(int(np.count_nonzero(flat)), 1)
    return CodeUse(word, number_format, counts, None if snr is None else round(snr, 6), error)


def _log2_histogram(magnitudes: Tensor) -> tuple[int, Counts]:
    """Return the first bin and the counts of log2 |w| in bins of 1/STEPS octaves, empty for no magnitudes."""
    if not magnitudes.size:
        return 0, np.zeros(0, np.int64)
    first = math.floor(STEPS * math.log2(float(magnitudes.min())))
    counts = np.zeros(math.floor(STEPS * math.log2(float(magnitudes.max()))) - first + 1, np.int64)
    for part in _parts(magnitudes):
        places = np.floor(STEPS * np.log2(part.astype(np.float64))).astype(np.int64) - first
        counts += np.bincount(np.clip(places, 0, counts.size - 1), minlength=counts.size)
    return first, counts


def _parts(flat: Tensor) -> Iterator[Tensor]:
    return (flat[start : start + _CHUNK] for start in range(0, flat.size, _CHUNK))
