"""Builds the Verilog for one layer, runs it in a simulator and reads back what the machine did.

Everything happens in a temporary folder that is removed in the end, however the run ends.
"""

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from logaccel.arch import Architecture
from logaccel.engine.job import LayerJob
from logaccel.errors import ConfigError
from logaccel.formats import Format
from logaccel.rtl.images import LayerImage, Words, build_image, render_fold
from logaccel.rtl.parameters import Lane, Parameters, code_of, layer_parameters, render_parameters

Simulator = Literal["icarus", "verilator"]
COMMANDS: dict[Simulator, str] = {"icarus": "iverilog", "verilator": "verilator"}
_PACKAGES: dict[Simulator, str] = {"icarus": "iverilog (apt)", "verilator": "verilator (apt, 5.006 or newer)"}
_OLDEST: dict[Simulator, tuple[int, int]] = {"icarus": (11, 0), "verilator": (5, 6)}
_RUN_SECONDS = 1800
_SHORT_RUN_UPDATES = 20_000_000  # PE-cycles


class SimulatorError(ConfigError):
    """A simulator failed; `log` is all that it said."""

    def __init__(self, command: str, code: int, log: str) -> None:
        first = next((line for line in log.splitlines() if "rror" in line), log.strip()[:200])
        super().__init__(f"rtl: {command}: failed with exit code {code}: {first}")
        self.log = log


@dataclass(frozen=True, eq=False)
class RtlRun:
    """What the hardware did: psum[pixel, m] (combined), ofmap_codes[pixel, m], counts and cycles.

    psum_cycles[pixel, m]: the cycle in which the combined psum stands in its lane. `total_cycles` includes the
    latency of the post-processing lanes.
    """

    psum: NDArray[np.object_]
    ofmap_codes: NDArray[np.int64]
    psum_cycles: NDArray[np.int64]
    clipped: int
    total_cycles: int


def verilog_folder() -> Path:
    """Return the folder of the Verilog sources inside the package."""
    return Path(str(resources.files("logaccel.rtl") / "verilog"))


def find_simulator(simulator: Simulator) -> str:
    """Return the simulator's path. Raises ConfigError, saying what to install, where it is missing or too old."""
    path = shutil.which(COMMANDS[simulator])
    if path is None:
        raise ConfigError(f"rtl: {COMMANDS[simulator]}: not found on the path; install {_PACKAGES[simulator]}")
    flag = "-V" if simulator == "icarus" else "--version"
    text = subprocess.run([path, flag], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+)\.(\d+)", text)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    if version < _OLDEST[simulator]:
        oldest = ".".join(map(str, _OLDEST[simulator]))
        raise ConfigError(f"rtl: {path}: must be version {oldest} or newer, got {text.splitlines()[:1]}")
    return path


def run_layer(
    job: LayerJob,
    arch: Architecture,
    output: Format,
    bias: Words,
    relu: bool,
    *,
    scales: Words | None = None,
    simulator: Simulator = "icarus",
    increment: bool = False,
) -> RtlRun:
    """Run one layer on the hardware; bias[channel] holds integers in LSBs of the psum, scales[channel] refines them.

    `arch` gives what the job does not say: the post-processing lanes. Raises ConfigError where a tool is
    missing, the build fails or the machine never ends.
    """
    tool = find_simulator(simulator)
    image = build_image(job, bias, scales)
    parameters = job_parameters(job, arch, image, output, bias, relu, increment=increment)
    with tempfile.TemporaryDirectory(prefix="logaccel-rtl-") as name:
        folder = Path(name)
        write_inputs(folder, image, parameters)
        simulate(folder, tool, simulator, effort(image, simulator))
        text = (folder / "result.txt").read_text(encoding="ascii")
    return read_result(text, image, parameters, output)


def job_parameters(
    job: LayerJob,
    arch: Architecture,
    image: LayerImage,
    output: Format,
    bias: Words,
    relu: bool,
    *,
    increment: bool = False,
) -> Parameters:
    """Return the parameters of the hardware for one job; its array and dataflow overrule the architecture's."""
    arch = arch.model_copy(update={"array": job.array, "dataflow": job.dataflow})
    lane = Lane(output, job.datapath.lsb_exponent, (int(bias.min()), int(bias.max())), relu)
    return layer_parameters(arch, job.datapath, image.plan.matrix.reduction, lane, image.addresses, increment=increment)


def write_inputs(folder: Path, image: LayerImage, parameters: Parameters) -> None:
    """Write the two include files and the four memory images."""
    (folder / "logaccel_parameters.vh").write_text(render_parameters(parameters), encoding="ascii")
    counts = {
        "FOLD_COUNT": len(image.folds),
        "STREAM_LENGTH": image.plan.stream_length,
        "LEFT_WORDS": len(image.left),
        "TOP_WORDS": len(image.top),
        "BIAS_WORDS": len(image.bias),
        "OFMAP_WORDS": image.addresses.ofmap,
        # Far above any schedule: a machine that hangs must end the run, not be told how long it may take.
        "LIMIT_CYCLES": 1000 + 4 * sum(_bound(image, fold.rows) for fold in image.folds),
    }
    counts["LONGEST_IMAGE"] = max(counts[f"{name}_WORDS"] for name in ("LEFT", "TOP", "BIAS"))
    counts["LONGEST_IMAGE"] = max(counts["LONGEST_IMAGE"], counts["FOLD_COUNT"])
    lines = "".join(f"localparam [31:0] {name} = {value};\n" for name, value in counts.items())
    (folder / "logaccel_layer.vh").write_text(f"// Generated: the size of one layer.\n{lines}", encoding="ascii")
    _write_hex(folder / "left.hex", image.left, int(parameters["LEFT_BITS"]))
    _write_hex(folder / "top.hex", image.top, int(parameters["TOP_BITS"]))
    bias_bits = int(parameters["BIAS_BITS"])
    mask = (1 << bias_bits) - 1
    lanes = (image.scales.astype(object) << bias_bits) | (image.bias.astype(object) & mask)
    _write_hex(folder / "bias.hex", lanes, int(parameters["BIAS_WORD_BITS"]))
    folds = "".join(f"{render_fold(fold, parameters):x}\n" for fold in image.folds)
    (folder / "fold.hex").write_text(folds, encoding="ascii")


def simulate(folder: Path, tool: str, simulator: Simulator, options: tuple[str, ...] = ()) -> None:
    """Build the bench in a folder that holds the inputs, with options of the simulator's own, and run it there."""
    sources = sorted(str(path) for path in verilog_folder().glob("*.v"))
    if simulator == "icarus":
        build = [tool, "-g2005", "-Wall", "-Wno-timescale", "-I", str(folder), "-s", "bench", "-o", "bench.vvp"]
        run = ["vvp", "-n", "bench.vvp"]
    else:
        build = [
            tool, "--binary", "--top-module", "bench", "-Wno-fatal", f"-I{folder}", "-Mdir", "build", "-o", "bench",
        ]  # fmt: skip
        run = ["build/bench"]
    build += options
    for command in (build + sources, run):
        outcome = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=_RUN_SECONDS)
        if outcome.returncode:
            raise SimulatorError(command[0], outcome.returncode, outcome.stdout + outcome.stderr)


def effort(image: LayerImage, simulator: Simulator) -> tuple[str, ...]:
    """Return how hard the compiler behind Verilator tries: a short run is not worth a long build."""
    if simulator == "icarus":
        return ()
    updates = image.plan.compute_cycles * image.plan.array.rows * image.plan.array.cols
    return ("-CFLAGS", "-O1" if updates > _SHORT_RUN_UPDATES else "-O0")


def read_result(text: str, image: LayerImage, parameters: Parameters, output: Format) -> RtlRun:
    """Turn the bench's output into tensors. Raises ConfigError where the machine hung or left a word unwritten."""
    if "hung" in text:
        raise ConfigError("rtl: the machine did not end")
    psums: dict[tuple[int, int], tuple[int, int]] = {}  # word, cycle
    codes: dict[tuple[int, int], int] = {}
    numbers = {"psums": -1, "clipped": -1, "cycles": -1}
    combined_bits = int(parameters["COMBINED_BITS"])
    for line in text.splitlines():
        what, *fields = line.split()
        if what in numbers:
            numbers[what] = int(fields[0]) if fields[0].isdigit() else -1  # unknown: no word was written
            continue
        place = (int(fields[1]), int(fields[0]))
        if set(fields[2]) <= {"0", "1"}:  # else unknown: never written
            word = int(fields[2], 2)
            if what == "psum":
                psums[place] = word - ((word >> (combined_bits - 1)) << combined_bits), int(fields[3])
            else:
                codes[place] = code_of(word, output)
    places = [[(int(a), int(b)) for a, b in row] for row in image.place]
    missing = [place for row in places for place in row if place not in psums or place not in codes]
    if missing:
        raise ConfigError(f"rtl: ofmap words never written, (address, column): {missing[:8]}")
    count = image.place.shape[0] * image.place.shape[1]
    if numbers["psums"] != count:
        raise ConfigError(f"rtl: {numbers['psums']} psums left the array, must be {count}")
    return RtlRun(
        psum=np.array([[psums[place][0] for place in row] for row in places], dtype=object),
        psum_cycles=np.array([[psums[place][1] for place in row] for row in places], dtype=np.int64),
        ofmap_codes=np.array([[codes[place] for place in row] for row in places], dtype=np.int64),
        clipped=numbers["clipped"],
        total_cycles=numbers["cycles"],
    )


def _bound(image: LayerImage, rows: int) -> int:
    array = image.plan.array
    return image.plan.stream_length + rows + 2 * array.rows + array.cols + array.pipeline_stages + 2


def _write_hex(path: Path, words: Words | NDArray[np.object_], bits: int) -> None:
    """Write words[address, bank] as one line an address, bank 0 in the low bits."""
    mask = (1 << bits) - 1
    lines = (sum((int(word) & mask) << (n * bits) for n, word in enumerate(row)) for row in words)
    path.write_text("".join(f"{line:x}\n" for line in lines), encoding="ascii")
