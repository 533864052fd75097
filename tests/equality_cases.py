"""Random layers on random machines, and the classes of case that a run of examples must have met."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from numpy.typing import NDArray

from logaccel.arch import PEArray
from logaccel.arch.model import LONGEST_REDUCTION
from logaccel.engine.job import LayerJob
from logaccel.formats import Format, LinearFormat, LogFormat
from logaccel.pe import PE, WORD_LIMIT_BITS, Datapath, DecodePE, LogsumPE, MultiplyPE, ShiftPE
from logaccel.schedule.folds import plan_folds
from logaccel.workload import Layer

SMALL = 3  # largest extent of most axes: the oracle is plain Python
CIRCUITS = (
    ("multiply", ""),
    ("logsum", ""),
    *((kind, root) for kind in ("shift", "mirrored shift", "decode") for root in ("bins", "constant")),
)


@dataclass(frozen=True, eq=False)
class Case:
    """A layer with codes on a machine, and what follows the array."""

    pe: PE
    job: LayerJob
    bias: NDArray[np.float64]
    output: Format
    round_bits: int
    threads: int

    def __repr__(self) -> str:
        job = self.job
        return (
            f"Case({self.pe!r}, {job.datapath.activation!r}, {job.datapath.weight!r}, {job.layer!r}, {job.array!r}, "
            f"{job.dataflow!r}, {job.ifmap_codes.tolist()}, {job.filter_codes.tolist()}, "
            f"{self.bias.tolist()}, {self.output!r}, {self.round_bits}, {self.threads})"
        )


def linear_formats(signed: bool, bits: int = 7) -> st.SearchStrategy[LinearFormat]:
    return st.builds(
        LinearFormat, bits=st.integers(2 if signed else 1, bits), fsr=st.integers(-6, 6), signed=st.just(signed)
    )


def log_formats(signed: bool, bits: int = 6) -> st.SearchStrategy[LogFormat]:
    return st.builds(
        LogFormat,
        bits=st.integers(2 if signed else 1, bits),
        steps_per_octave=st.sampled_from((1, 1, 2, 4, 8)),
        rounding=st.sampled_from(("nearest", "floor")),
        fsr=st.integers(-6, 6),
        signed=st.just(signed),
    )


@st.composite
def machines(draw: st.DrawFn, reduction: int, circuits: Sequence[tuple[str, str]]) -> tuple[PE, Datapath]:
    """Draw a PE with formats that it takes and no word beyond the limit; often a tight accumulator."""
    signed = draw(st.booleans())
    kind, root = draw(st.sampled_from(circuits))
    log_activation, log_weight = kind in ("shift", "decode", "logsum"), kind in ("mirrored shift", "decode", "logsum")
    activation = draw(log_formats(signed) if log_activation else linear_formats(signed))
    weight = draw(log_formats(True) if log_weight else linear_formats(True))
    if kind == "logsum":
        settings: dict[str, Any] = {"fraction_bits": draw(st.integers(3, 14))}
    else:
        settings = {
            "overflow": draw(st.sampled_from(("saturate", "wrap"))),
            "drop_bits": draw(st.one_of(st.just(0), st.just(0), st.integers(1, 9))),
        }
    if root:
        settings |= {"root": root, "constant_bits": draw(st.integers(1, 10))}
    build = {"multiply": MultiplyPE, "decode": DecodePE, "logsum": LogsumPE}.get(kind, ShiftPE)
    probe = build(acc_bits=2, **settings).datapath(activation, weight)
    exact = min(probe.exact_acc_bits(reduction), WORD_LIMIT_BITS)
    width = draw(st.one_of(st.integers(exact - 4, exact - 1), st.integers(2, 12), st.integers(exact, WORD_LIMIT_BITS)))
    pe = build(acc_bits=min(max(width, 2), WORD_LIMIT_BITS), **settings)
    path = pe.datapath(activation, weight)
    assume(path.product_bits <= WORD_LIMIT_BITS and path.combined_bits(LONGEST_REDUCTION) <= WORD_LIMIT_BITS)
    return pe, path


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    """Draw a small layer: dense, grouped, depthwise or fully connected."""
    shape = draw(st.sampled_from(("conv", "conv", "grouped", "depthwise", "fc")))
    if shape == "fc":
        return Layer(
            name="fc", kind="fc", in_channels=draw(st.integers(1, 30)), out_channels=draw(st.integers(1, 7)),
            relu=draw(st.booleans()),
        )  # fmt: skip
    groups = {"conv": 1, "grouped": 2}.get(shape, draw(st.integers(2, 4)))
    depth = 1 if shape == "depthwise" else draw(st.integers(1, SMALL))
    width = draw(st.integers(1, 2)) if groups > 1 else draw(st.integers(1, 2 * SMALL))
    pairs = st.tuples(st.integers(1, SMALL), st.integers(1, SMALL))
    kernel, dilation, stride = draw(pairs), draw(st.sampled_from(((1, 1), (1, 1), (2, 1), (1, 2)))), draw(pairs)
    margins = draw(st.one_of(st.just((0, 0, 0, 0)), st.tuples(*[st.integers(0, 2)] * 4)))  # zeros hide much
    span = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    least = [max(1, s - margins[i] - margins[i + 2]) for i, s in enumerate(span)]
    size = tuple(low + draw(st.integers(0, SMALL)) for low in least)
    return Layer(
        name=shape, in_channels=groups * depth, out_channels=groups * width, in_size=size, kernel=kernel,
        stride=stride, padding=margins, dilation=dilation, groups=groups, relu=draw(st.booleans()),
    )  # fmt: skip


def random_codes(rng: np.random.Generator, fmt: Format, shape: tuple[int, ...], style: str) -> NDArray[Any]:
    """Return codes: uniform over the word with many zeros, or crowded at its positive or at either end."""
    low = fmt.max_code - 1 if style == "large" else fmt.min_code
    codes = rng.integers(max(low, fmt.min_code), fmt.max_code, shape, endpoint=True)
    if style == "ends":
        codes = np.where(rng.random(shape) < 0.5, fmt.min_code, fmt.max_code)
    return np.where(rng.random(shape) < (0.3 if style == "uniform" else 0.05), 0, codes).astype(fmt.code_dtype)


@st.composite
def cases(draw: st.DrawFn, circuits: Sequence[tuple[str, str]] = CIRCUITS) -> Case:
    """Draw a whole case, with one of the given PE kinds and circuits for fractional exponents."""
    layer, batch = draw(layers()), draw(st.integers(1, 2))
    reduction = layer.matrix(batch).reduction
    pe, path = draw(machines(reduction, circuits))
    array = PEArray(
        rows=draw(st.integers(1, 7)), cols=draw(st.integers(1, 18)), overlap=draw(st.booleans()),
        pipeline_stages=draw(st.integers(0, 3)),
    )  # fmt: skip
    style = draw(st.sampled_from(("uniform", "large", "ends")))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    job = LayerJob(
        layer=layer,
        datapath=path,
        array=array,
        dataflow=draw(st.sampled_from(("os", "ws", "is"))),
        ifmap_codes=random_codes(rng, path.activation, layer.ifmap_shape(batch), style),
        filter_codes=random_codes(rng, path.weight, layer.filter_shape, style),
    )
    output = draw(st.one_of(*[make(signed) for make in (linear_formats, log_formats) for signed in (False, True)]))
    near = np.ldexp(1.0, path.lsb_exponent + min(path.acc_bits, 24))  # bias of the psum's own size
    bias = rng.normal(size=layer.out_channels) * near
    threads = draw(st.sampled_from((1,) * 7 + (2,)))  # waking threads takes longer than these layers
    return Case(pe, job, bias, output, draw(st.integers(1, 12)), threads)


CLASSES = {
    *(f"{kind}" for kind in ("multiply", "shift by activation", "shift by weight", "decode", "logsum")),
    *(f"{root} of {kind}" for root in ("bins", "constant") for kind in ("shift", "decode")),
    *("saturated", "wrapped", "limited rail", "exact", "dropped bits", "blas"),
    *("os", "ws", "is", "overlap on", "overlap off", "signed activation", "unsigned activation"),
    *("ragged rows", "ragged columns", "three or more K slices", "T = 1", "single PE", "no pipeline", "deep pipeline"),
    *("depthwise", "groups", "fc", "padding", "stride", "dilation", "batch", "relu", "to log", "to linear"),
    "two threads",
}


def classes_of(case: Case, clipped: int, backend: str) -> set[str]:
    """Return the classes that a case belongs to, given what the machine did with it."""
    job, path, layer = case.job, case.job.datapath, case.job.layer
    plan = plan_folds(layer.matrix(job.batch), job.array, job.dataflow)
    linear_sum = not isinstance(case.pe, LogsumPE)
    facts = {
        path.product.name.lower().replace("_", " "): True,
        f"{getattr(case.pe, 'root', '')} of {case.pe.kind}": path.steps > 1 and hasattr(case.pe, "root"),
        "saturated": clipped and linear_sum and path.saturate,
        "wrapped": clipped and linear_sum and not path.saturate,
        "limited rail": clipped and not linear_sum,
        "exact": not clipped,
        "dropped bits": path.drop_bits > 0,
        "blas": backend.startswith("blas"),
        job.dataflow: True,
        f"overlap {'on' if job.array.overlap else 'off'}": plan.count > 1,
        f"{'signed' if path.activation.signed else 'unsigned'} activation": True,
        "ragged rows": plan.count > 1 and plan.rows.min() < plan.rows.max(),
        "ragged columns": plan.count > 1 and plan.cols.min() < plan.cols.max(),
        "three or more K slices": job.dataflow != "os" and plan.slice_of_inner.max() >= 2,
        "T = 1": plan.stream_length == 1,
        "single PE": job.array.rows == job.array.cols == 1,
        "no pipeline": job.array.pipeline_stages == 0,
        "deep pipeline": job.array.pipeline_stages > 1,
        "depthwise": layer.groups == layer.in_channels > 1,
        "groups": 1 < layer.groups < layer.in_channels,
        "fc": layer.kind == "fc",
        "padding": any(layer.padding),
        "stride": max(layer.stride) > 1,
        "dilation": max(layer.dilation) > 1 and max(layer.kernel) > 1,
        "batch": job.batch > 1,
        "relu": layer.relu,
        f"to {case.output.kind}": True,
        "two threads": case.threads > 1,
    }
    return {name for name, holds in facts.items() if holds}
