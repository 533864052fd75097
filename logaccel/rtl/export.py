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
# make waveform: the same in Icarus, and every register of every PE in waveform.vcd.
SOURCES := $(wildcard verilog/*.v)

all: icarus

icarus:
\tiverilog -g2005 -I . -s bench -o bench.vvp $(SOURCES)
\tvvp -n bench.vvp
\t@$(MAKE) --no-print-directory check

verilator:
\tverilator --binary --top-module bench -Wno-fatal -Wno-TIMESCALEMOD -I. -CFLAGS -O1 -Mdir build -o bench $(SOURCES)
\tbuild/bench
\t@$(MAKE) --no-print-directory check

waveform:
	iverilog -g2005 -D LOGACCEL_WAVEFORM -I . -s bench -o bench.vvp $(SOURCES)
	vvp -n bench.vvp
	@$(MAKE) --no-print-directory check

# Every expected line must be among the results: psums, ofmap words, their number, clipped sums, cycles.
check:
\t@LC_ALL=C sort -u result.txt > result.sorted
\t@LC_ALL=C comm -23 expected.txt result.sorted > missing.txt
\t@if [ -s missing.txt ]; then echo "FAILED, expected:"; head missing.txt; exit 1; fi
\t@echo "PASSED: `wc -l < expected.txt` lines"

clean:
\trm -rf build bench.vvp result.txt result.sorted missing.txt waveform.vcd

.PHONY: all icarus verilator waveform check clean
"""

_README = """\
# One layer on the accelerator, in Verilog

`make icarus` or `make verilator` builds the test bench, runs the layer and compares every psum with its cycle, every
ofmap word, the clipped accumulations and the total of cycles with `expected.txt`; it prints PASSED, or what is missing.
`make waveform` also writes `waveform.vcd`. It needs make and Icarus Verilog 11 or Verilator 5.006, or newer.

| file | what |
|---|---|
| `verilog/` | the synthesisable sources, `bench.v` beside them; `verilog/README.md` describes every module |
| `logaccel_parameters.vh` | parameters derived from the architecture, the layer's formats and its shape |
| `logaccel_layer.vh` | the size of the layer's memories, for the bench |
| `fold.hex`, `left.hex`, `top.hex`, `bias.hex` | what the host writes: fold list, operands in streaming order, biases |
| `expected.txt` | sorted lines of the result: `psum column address bits cycle`, `ofmap column address bits`, counts |
"""


def export_layer(
    folder: Path, image: LayerImage, parameters: Parameters, expected: RtlRun, output: Format, dumps: str
) -> None:
    """Write the folder, which must not exist yet; `expected` is what an engine computed, `dumps` $dumpvars lines.

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
        (folder / "logaccel_waveform.vh").write_text(dumps, encoding="ascii")
        (folder / "Makefile").write_text(_MAKEFILE, encoding="ascii")
        (folder / "README.md").write_text(_README, encoding="utf-8")
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
        cycle = int(run.psum_cycles.reshape(-1)[index])
        lines.append(f"psum {bank} {address} {int(psum) & ((1 << bits) - 1):0{bits}b} {cycle}")
        lines.append(f"ofmap {bank} {address} {code:0{output.bits}b}")
    return "".join(f"{line}\n" for line in sorted(lines))
