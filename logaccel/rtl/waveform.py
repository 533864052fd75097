"""Every register of every PE over time: recorded from the engine, recorded from the Verilog, and compared.

Time 0 is the clock edge that begins cycle 0, a cycle lasts CYCLE_NS; the clock is high in its first half.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from logaccel.engine.job import LayerJob
from logaccel.errors import ConfigError
from logaccel.rtl.bench import find_simulator, simulate
from logaccel.rtl.parameters import Parameters
from logaccel.rtl.registers import RegisterView
from logaccel.rtl.vcd import Name, Waveform, first_difference, read_vcd
from logaccel.schedule.folds import plan_folds

CYCLE_NS = 10
CLOCK: Name = ("bench", "clock")
CYCLE: Name = ("bench", "dut", "cycle")
_CYCLE_BITS = 32
WAVEFORM_FILE = "waveform.vcd"
WAVEFORM_MACRO = "LOGACCEL_WAVEFORM"

Progress = Callable[[int, int], None]  # cycles done, cycles in all


@dataclass(frozen=True)
class Difference:
    """The first register that differs: where, when, and both words."""

    cycle: int
    signal: str
    pe: tuple[int, int]
    rtl: str
    engine: str

    def __str__(self) -> str:
        """Say it in one line."""
        return (
            f"cycle {self.cycle}, PE({self.pe[0]}, {self.pe[1]}), {self.signal}: "
            f"RTL {_readable(self.rtl)}, engine {_readable(self.engine)}"
        )


def fold_window(job: LayerJob, fold: int) -> tuple[int, int]:
    """Return the first cycle of a fold (its load, if it has one) and the cycle after its last psum has left.

    Raises ConfigError where the layer has no such fold.
    """
    plan = plan_folds(job.layer.matrix(job.batch), job.array, job.dataflow)
    if not 0 <= fold < plan.count:
        raise ConfigError(f"{job.layer.name}: fold: must be 0…{plan.count - 1}, got {fold}")
    start, rows, cols = int(plan.stream_starts[fold]), int(plan.rows[fold]), int(plan.cols[fold])
    array = job.array
    tail = array.rows + cols - 2 + array.pipeline_stages + (rows if job.dataflow == "os" else 0)
    first = start if job.dataflow == "os" else start - rows
    return max(0, first), start + plan.stream_length + tail + 1


def record(
    job: LayerJob, parameters: Parameters, window: tuple[int, int], known_from: int, progress: Progress | None = None
) -> Waveform:
    """Step the engine and return its registers in the cycles window[0] … window[1] − 1.

    Registers are followed from cycle `known_from` on: one that was loaded before and not since is unknown.
    """
    view = RegisterView(job, parameters)
    waveform = Waveform()
    for name, bits in ((CLOCK, 1), (CYCLE, _CYCLE_BITS)):
        waveform.add(name, bits)
    signals = list(view.signals())
    for name, register, _, _ in signals:
        waveform.add(name, register.bits)
    if known_from > 0:
        view.skip(known_from - 1)
    for cycle in range(known_from, window[1]):
        view.advance()
        if progress is not None:
            progress(cycle, window[1])
        if cycle < window[0]:
            continue
        now = cycle * CYCLE_NS
        waveform.set(CLOCK, now, "1")
        waveform.set(CLOCK, now + CYCLE_NS // 2, "0")
        waveform.set(CYCLE, now, f"{cycle:0{_CYCLE_BITS}b}")
        for name, register, row, col in signals:
            waveform.set(name, now, register.text(row, col))
    return waveform


def dump_list(job: LayerJob, parameters: Parameters) -> str:
    """Return the Verilog include file that makes the bench dump the same registers."""
    names = [CLOCK, CYCLE, *(name for name, _, _, _ in RegisterView(job, parameters).signals())]
    lines = "".join(f"$dumpvars(0, {'.'.join(name[1:])});\n" for name in names)
    return f"// Generated: the registers of every PE.\n{lines}"


def record_rtl(folder: Path, job: LayerJob, parameters: Parameters) -> Waveform:
    """Run the bench in a folder that holds its inputs (Icarus) and return its dump, time 0 at cycle 0."""
    (folder / "logaccel_waveform.vh").write_text(dump_list(job, parameters), encoding="ascii")
    simulate(folder, find_simulator("icarus"), "icarus", (f"-D{WAVEFORM_MACRO}",))
    waveform = read_vcd(folder / WAVEFORM_FILE)
    counted = (time for time, value in waveform.changes[CYCLE] if set(value) == {"0"})
    begin = next(counted, None)
    if begin is None:
        raise ConfigError("rtl: the machine never began: cycle 0 is not in its waveform")
    return waveform.shifted(-begin)


def compare(engine: Waveform, rtl: Waveform, cycles: tuple[int, int]) -> Difference | None:
    """Return the first difference in the cycles cycles[0] … cycles[1] − 1, None: the dumps are equal.

    Every signal of either must be in the other. Raises ConfigError where one is missing.
    """
    lacking = sorted(set(engine.bits.items()) ^ set(rtl.bits.items()))
    if lacking:
        shown = ", ".join(f"{'.'.join(name)} ({bits} bits)" for name, bits in lacking[:4])
        raise ConfigError(f"rtl: signals of one dump only: {shown}")
    first_ns, end_ns = cycles[0] * CYCLE_NS, cycles[1] * CYCLE_NS
    ours, theirs = engine.window(first_ns, end_ns), rtl.window(first_ns, end_ns)
    found = first_difference(ours, theirs)
    if found is None:
        return None
    time, name = found
    row, col = (int(part[4:-1]) for part in name[4:6]) if len(name) > 5 else (-1, -1)
    signal = ".".join(name[7:] if len(name) > 7 else name)
    return Difference(time // CYCLE_NS, signal, (row, col), theirs.at(name, time), ours.at(name, time))


def _readable(bits: str) -> str:
    return f"{len(bits)}'b{bits}" if "x" in bits or len(bits) < 5 else f"{len(bits)}'h{int(bits, 2):x}"
