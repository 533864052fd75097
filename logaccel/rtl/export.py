"""A folder that stands alone: the Verilog, its parameters, one layer's operands and results, and a Makefile."""

import shutil
from pathlib import Path

from logaccel.errors import ConfigError
from logaccel.formats import Format
from logaccel.rtl.bench import RtlRun, verilog_folder, write_inputs
from logaccel.rtl.images import LayerImage
from logaccel.rtl.parameters import Parameters, word_of

_MAKEFILE = """\
# make icarus | make verilator: build the bench, run the layer and compare it with what the simulator computed.
SOURCES := $(wildcard verilog/*.v)

all: icarus

icarus:
\tiverilog -g2005 -I . -s bench -o bench.vvp $(SOURCES)
\tvvp -n bench.vvp
\t@$(MAKE) --no-print-directory check

verilator:
\tverilator --binary --top-module bench -Wno-fatal -I. -CFLAGS -O1 -Mdir build -o bench $(SOURCES)
\tbuild/bench
\t@$(MAKE) --no-print-directory check

# Every expected line must be among the results: psums, ofmap words, their number, clipped sums, cycles.
check:
\t@LC_ALL=C sort -u result.txt > result.sorted
\t@LC_ALL=C comm -23 expected.txt result.sorted > missing.txt
\t@if [ -s missing.txt ]; then echo "FAILED, expected:"; head missing.txt; exit 1; fi
\t@echo "PASSED: `wc -l < expected.txt` lines"

clean:
\trm -rf build bench.vvp result.txt result.sorted missing.txt

.PHONY: all icarus verilator check clean
"""


def export_layer(folder: Path, image: LayerImage, parameters: Parameters, expected: RtlRun, output: Format) -> None:
    """Write the folder, which must not exist yet; `expected` is what an engine computed.

    Raises ConfigError where the folder exists or cannot be made; nothing half-written is left behind.
    """
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made: {error.strerror}") from None
    try:
        shutil.copytree(verilog_folder(), folder / "verilog", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        write_inputs(folder, image, parameters)
        (folder / "expected.txt").write_text(_expected(image, parameters, expected, output), encoding="ascii")
        (folder / "Makefile").write_text(_MAKEFILE, encoding="ascii")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ConfigError(f"{folder}: cannot be written: {error.strerror}") from None


def _expected(image: LayerImage, parameters: Parameters, run: RtlRun, output: Format) -> str:
    """Return the lines that the bench must write, sorted as `sort` in the C locale does."""
    bits = int(parameters["COMBINED_BITS"])
    lines = [f"psums {run.psum.size}", f"clipped {run.clipped}", f"cycles {run.total_cycles}"]
    for index, psum in enumerate(run.psum.reshape(-1)):
        address, bank = (int(part) for part in image.place.reshape(-1, 2)[index])
        code = word_of(int(run.ofmap_codes.reshape(-1)[index]), output)
        lines.append(f"psum {bank} {address} {int(psum) & ((1 << bits) - 1):0{bits}b}")
        lines.append(f"ofmap {bank} {address} {code:0{output.bits}b}")
    return "".join(f"{line}\n" for line in sorted(lines))
