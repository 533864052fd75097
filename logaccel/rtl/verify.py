"""One layer on the Verilog and on the engines, word by word and cycle by cycle."""

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from logaccel.arch import Architecture
from logaccel.engine import fold_level
from logaccel.engine.job import LayerJob
from logaccel.engine.post import channels_by_scale, post_process
from logaccel.errors import ConfigError
from logaccel.formats import Format
from logaccel.rtl import bench
from logaccel.rtl.bench import RtlRun, Simulator
from logaccel.rtl.events import psum_cycles
from logaccel.rtl.export import export_layer
from logaccel.rtl.images import LayerImage, Words, build_image
from logaccel.rtl.parameters import Parameters
from logaccel.rtl.waveform import Progress, compare, dump_list, record, record_rtl
from logaccel.schedule.folds import FoldPlan, plan_folds

SMALL_LAYER_UPDATES = 100_000  # PE-cycles: a minute or two in Icarus, every register compared


@dataclass(frozen=True, eq=False)
class RtlLayer:
    """One layer as the hardware runs it; bias[m] in LSBs of the psum, which scales[m] make finer than the layer's."""

    job: LayerJob
    arch: Architecture
    output: Format
    bias: Words
    relu: bool
    increment: bool = False  # a decode PE adds ±2^p with half adders
    scales: Words | None = None

    @cached_property
    def image(self) -> LayerImage:
        """Memory images and fold list."""
        return build_image(self.job, self.bias, self.scales)

    @cached_property
    def parameters(self) -> Parameters:
        """Parameters of the Verilog."""
        return bench.job_parameters(
            self.job, self.arch, self.image, self.output, self.bias, self.relu, increment=self.increment
        )

    @property
    def plan(self) -> FoldPlan:
        """The layer's folds."""
        return plan_folds(self.job.layer.matrix(self.job.batch), self.job.array, self.job.dataflow)

    @cached_property
    def expected(self) -> RtlRun:
        """What the simulator says the hardware does: values from the fold-level engine, cycles from closed forms."""
        run = fold_level.run_layer(self.job)
        lsb = self.job.datapath.lsb_exponent
        real = np.ldexp(self.bias.astype(np.float64), lsb)
        codes = np.empty(run.psum.shape, self.output.code_dtype)
        for scale, m in channels_by_scale(None if self.scales is None else self.scales.tolist()):
            bias, bits = np.ldexp(real[m], -scale), self.arch.post.round_bits
            codes[:, m] = post_process(run.psum[:, m], lsb - scale, bias, self.relu, self.output, bits)
        stages = self.arch.post.stages
        psum = run.psum.astype(object)
        return RtlRun(psum, codes, psum_cycles(self.plan, stages), run.clipped, run.array_cycles + stages)

    @property
    def register_updates(self) -> int:
        """PE-cycles of the layer."""
        return self.plan.compute_cycles * self.job.array.rows * self.job.array.cols


@dataclass(frozen=True)
class Verification:
    """What was compared, and the first differences: none where hardware and simulator are equal."""

    layer: str
    simulator: Simulator
    words: int  # ofmap words, each with its psum and the psum's cycle
    cycles: int
    registers: int  # PE registers compared in every cycle, 0: not compared
    differences: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def __str__(self) -> str:
        """Say it in a few lines."""
        registers = f", {self.registers} registers in every cycle" if self.registers else ""
        what = f"{self.layer} ({self.simulator}): {self.words} ofmap words and psums, {self.cycles} cycles{registers}"
        if self.equal:
            return f"{what}: equal"
        return "\n".join((f"{what}: DIFFERENT", *(f"  first difference: {line}" for line in self.differences)))


def verify(layer: RtlLayer, simulator: Simulator, registers: bool, progress: Progress | None = None) -> Verification:
    """Build the hardware, run the layer, compare: ofmap words, psums and their cycles, clipped sums, total cycles.

    registers (Icarus): also every register of every PE in every cycle. Everything happens in a temporary
    folder. Raises ConfigError where a simulator is missing or too old, SimulatorError where it fails.
    """
    tool = bench.find_simulator("icarus" if registers else simulator)
    differences: list[str] = []
    compared = 0
    with tempfile.TemporaryDirectory(prefix="logaccel-rtl-") as name:
        folder = Path(name)
        bench.write_inputs(folder, layer.image, layer.parameters)
        if registers:
            theirs = record_rtl(folder, layer.job, layer.parameters)
            window = (0, layer.plan.compute_cycles)
            ours = record(layer.job, layer.parameters, window, 0, progress)
            first = compare(ours, theirs, window)
            differences += [str(first)] if first is not None else []
            compared = len(ours.bits) - 2  # clock and cycle counter are not the PEs'
        else:
            bench.simulate(folder, tool, simulator, bench.effort(layer.image, simulator))
        text = (folder / "result.txt").read_text(encoding="ascii")
    try:
        got = bench.read_result(text, layer.image, layer.parameters, layer.output)
        differences += word_differences(got, layer.expected)
    except ConfigError as error:  # it hung, or left words unwritten: the registers may say why
        differences.append(str(error))
    name, words, cycles = layer.job.layer.name, layer.expected.psum.size, layer.expected.total_cycles
    used: Simulator = "icarus" if registers else simulator
    return Verification(name, used, words, cycles, compared, tuple(differences))


def word_differences(got: RtlRun, expected: RtlRun) -> list[str]:
    """Return one line for the first difference of each kind."""
    lines = []
    for what, ours, theirs in (
        ("psum", expected.psum, got.psum),
        ("cycle of the psum", expected.psum_cycles, got.psum_cycles),
        ("ofmap code", expected.ofmap_codes, got.ofmap_codes),
    ):
        places = np.argwhere(np.asarray(ours != theirs, bool))
        if len(places):
            order = [int(expected.psum_cycles[tuple(place)]) for place in places]
            pixel, channel = (int(n) for n in places[int(np.argmin(order))])
            lines.append(
                f"cycle {min(order)}, pixel {pixel}, channel {channel}, {what}: RTL {theirs[pixel, channel]}, "
                f"engine {ours[pixel, channel]} ({len(places)} of {ours.size} differ)"
            )
    for what, ours_count, theirs_count in (
        ("clipped accumulations", expected.clipped, got.clipped),
        ("total cycles", expected.total_cycles, got.total_cycles),
    ):
        if ours_count != theirs_count:
            lines.append(f"{what}: RTL {theirs_count}, engine {ours_count}")
    return lines


def export(layer: RtlLayer, folder: Path) -> None:
    """Write a folder that stands alone. Raises ConfigError where it exists or cannot be written."""
    dumps = dump_list(layer.job, layer.parameters)
    export_layer(folder, layer.image, layer.parameters, layer.expected, layer.output, dumps)
