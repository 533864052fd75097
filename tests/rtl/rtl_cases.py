"""Random layers on random machines for the Verilog, and what the oracle says about them."""

import random
from dataclasses import dataclass, replace

import numpy as np
import oracle
from pydantic import ValidationError

from logaccel.arch import Architecture, PEArray
from logaccel.arch.model import PostProcessing
from logaccel.engine.job import LayerJob
from logaccel.engine.post import channels_by_scale, post_process
from logaccel.errors import LogaccelError
from logaccel.formats import Format, LinearWord, LogWord
from logaccel.pe import PE, DecodePE, LogsumPE, MultiplyPE, ShiftPE
from logaccel.rtl import bench
from logaccel.schedule.folds import plan_folds
from logaccel.workload import Layer


@dataclass(frozen=True, eq=False)
class Case:
    """One layer on one machine."""

    arch: Architecture
    layer: Layer
    activation: Format
    weight: Format
    output: Format
    ifmap: np.ndarray
    filters: np.ndarray
    bias: np.ndarray  # integers in LSBs of the psum
    increment: bool = False
    scales: np.ndarray | None = None  # by so many powers of two the LSBs of a channel are finer than the layer's

    @property
    def finer(self) -> list[int]:
        """The powers of two of every channel."""
        return [0] * len(self.bias) if self.scales is None else self.scales.tolist()

    @property
    def job(self) -> LayerJob:
        """The layer as every engine takes it."""
        path = self.arch.pe.datapath(self.activation, self.weight)
        return LayerJob(self.layer, path, self.arch.array, self.arch.dataflow, self.ifmap, self.filters)


def run(case: Case, simulator: bench.Simulator = "icarus") -> bench.RtlRun:
    """Run a case on the hardware."""
    return bench.run_layer(
        case.job, case.arch, case.output, case.bias, case.layer.relu,
        scales=case.scales, simulator=simulator, increment=case.increment,
    )  # fmt: skip


def check(case: Case, simulator: bench.Simulator = "icarus") -> bench.RtlRun:
    """Run a case and hold it against the oracle: every psum, every ofmap word, clipped count, total cycles."""
    got = run(case, simulator)
    want = oracle.run_layer(
        case.layer, case.arch.pe, case.activation, case.weight, case.ifmap.tolist(), case.filters.tolist()
    )
    assert got.psum.tolist() == want.psum
    assert got.clipped == want.clipped
    lsb, round_bits = case.job.datapath.lsb_exponent, case.arch.post.round_bits
    codes = [
        [
            oracle.hardware_encode(rectified(word + int(bias), case.layer.relu), lsb - s, case.output, round_bits)
            for word, bias, s in zip(row, case.bias, case.finer, strict=True)
        ]
        for row in want.psum
    ]
    assert got.ofmap_codes.tolist() == codes
    plan = plan_folds(case.layer.matrix(case.job.batch), case.arch.array, case.arch.dataflow)
    assert got.total_cycles == plan.compute_cycles + case.arch.post.stages
    return got


def check_engine(case: Case, run_layer) -> None:
    """Run a case and hold it against an engine of the simulator."""
    got, want = run(case), run_layer(case.job)
    assert got.psum.tolist() == want.psum.tolist()
    assert got.clipped == want.clipped
    assert got.total_cycles == want.array_cycles + case.arch.post.stages
    lsb = case.job.datapath.lsb_exponent
    real = np.ldexp(case.bias.astype(np.float64), lsb)
    for s, m in channels_by_scale(case.finer):
        bias, bits = np.ldexp(real[m], -s), case.arch.post.round_bits
        codes = post_process(want.psum[:, m], lsb - s, bias, case.layer.relu, case.output, bits)
        assert got.ofmap_codes[:, m].tolist() == codes.tolist()


def rectified(value: int, relu: bool) -> int:
    """Apply the ReLU."""
    return max(0, value) if relu else value


def random_codes(rng: random.Random, number_format: Format, shape: tuple[int, ...]) -> np.ndarray:
    """Draw codes, about a third of them zero."""
    flat = [
        0 if rng.random() < 0.3 else rng.randint(number_format.min_code, number_format.max_code)
        for _ in range(int(np.prod(shape)))
    ]
    return np.array(flat, np.int64).reshape(shape)


def random_layer(rng: random.Random) -> Layer:
    """Draw a small layer: fully connected, convolution, grouped or depthwise."""
    kind = rng.choice(["fc", "conv", "conv", "grouped"])
    relu = rng.random() < 0.5
    if kind == "fc":
        return Layer(name="fc", kind="fc", in_channels=rng.randint(1, 24), out_channels=rng.randint(1, 12), relu=relu)
    groups = rng.choice([2, 3]) if kind == "grouped" else 1
    per_group = rng.choice([(1, 1), (2, 2), (1, 3)])
    return Layer(
        name="conv",
        in_channels=groups * per_group[0] if groups > 1 else rng.randint(1, 4),
        out_channels=groups * per_group[1] if groups > 1 else rng.randint(1, 7),
        in_size=(rng.randint(2, 4), rng.randint(2, 5)),
        kernel=(rng.randint(1, 2), rng.randint(1, 2)),
        stride=rng.choice([1, 2]),
        padding=(rng.randint(0, 1), rng.randint(0, 1), rng.randint(0, 1), 0),
        groups=groups,
        relu=relu,
    )


def random_case(seed: int) -> Case:
    """Draw one case; the seed alone decides it. Words that no machine could hold are drawn again."""
    rng = random.Random(f"logaccel rtl {seed}")
    while True:
        try:
            return _draw(rng)
        except (LogaccelError, ValidationError):
            continue


def _draw(rng: random.Random) -> Case:
    steps = lambda: rng.choice([1, 1, 2, 4, 8])  # noqa: E731
    log = lambda: LogWord(bits=rng.randint(2, 5), steps_per_octave=steps(), rounding=rng.choice(["nearest", "floor"]))  # noqa: E731
    linear = lambda: LinearWord(bits=rng.randint(2, 8))  # noqa: E731
    pe, activation_word, weight_word = _draw_pe(rng, log, linear)
    output_word = rng.choice([log, linear])()
    arch = Architecture(
        name="case",
        pe=pe,
        activation=activation_word,
        weight=weight_word,
        array=PEArray(
            rows=rng.randint(1, 6), cols=rng.randint(1, 5), overlap=rng.random() < 0.6,
            pipeline_stages=rng.choice([0, 1, 1, 2, 4]),
        ),
        dataflow=rng.choice(["os", "ws", "is"]),
        post=PostProcessing(stages=rng.randint(0, 5), round_bits=rng.choice([1, 3, 8, 20])),
    )  # fmt: skip
    layer = random_layer(rng)
    activation = activation_word.at(rng.randint(-3, 3), rng.random() < 0.4)
    weight = weight_word.at(rng.randint(-3, 3), True)
    path = pe.datapath(activation, weight)
    output = output_word.at(path.lsb_exponent + rng.randint(-2, path.acc_bits + 2), not layer.relu)
    reach = rng.choice([1, 2 ** (path.acc_bits // 2)])
    roots = isinstance(pe, DecodePE) and pe.root == "constant" and path.steps > 1
    return _shifted_by_channel(rng, Case(
        arch, layer, activation, weight, output,
        ifmap=random_codes(rng, activation, layer.ifmap_shape(rng.randint(1, 2))),
        filters=random_codes(rng, weight, layer.filter_shape),
        bias=np.array([rng.randint(-reach, reach) for _ in range(layer.out_channels)]),
        increment=isinstance(pe, DecodePE) and not roots and rng.random() < 0.5,
    ))  # fmt: skip


def _shifted_by_channel(rng: random.Random, case: Case) -> Case:
    """Give every other machine lanes that shift by channel; a linear word then lies up to 2^15 LSBs higher."""
    bits = rng.choice([0, 0, 1, 4])
    if not bits:
        return case
    scales = np.array([rng.randint(0, 2**bits - 1) for _ in case.bias])
    output = case.output.model_copy(update={"fsr": case.output.fsr - rng.choice([0, 2**bits - 1])})
    return replace(case, arch=case.arch.replace(**{"post.channel_shift_bits": bits}), scales=scales, output=output)


def _draw_pe(rng: random.Random, log, linear) -> tuple[PE, LogWord | LinearWord, LogWord | LinearWord]:
    common = {"acc_bits": rng.randint(4, 26), "zero_gating": rng.random() < 0.4}
    sums = {"overflow": rng.choice(["saturate", "wrap"]), "drop_bits": rng.choice([0, 0, 1, 3, 9])}
    roots = {"root": rng.choice(["bins", "constant"]), "constant_bits": rng.randint(1, 8)}
    kind = rng.choice(["multiply", "shift", "mirrored", "decode", "logsum"])
    if kind == "multiply":
        return MultiplyPE(**common, **sums), linear(), linear()
    if kind == "logsum":
        return LogsumPE(**common | {"acc_bits": rng.randint(4, 14)}, fraction_bits=rng.randint(3, 9)), log(), log()
    if kind == "decode":
        return DecodePE(**common, **sums, **roots), log(), log()
    words = (log(), linear()) if kind == "shift" else (linear(), log())
    return ShiftPE(**common, **sums, **roots), *words
