"""Fill the kernel cache before workers start: each would compile the same kernels for itself.

python tests/compile_kernels.py fold|register|networks

Parts run beside each other: what two of them need would be compiled twice. They take about equally long.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import logaccel
from logaccel.comparison import STANDARD_ARCHITECTURES
from logaccel.engine import fold_level, register_level
from logaccel.engine.job import LayerJob
from logaccel.formats import Format, LinearFormat, LinearWord, LogFormat, LogWord
from logaccel.formats.calibrate import best_fsr
from logaccel.formats.encode import encode
from logaccel.pe import PE, LogsumPE, MultiplyPE


def compile_fold_level() -> None:
    """Run what most tests run, every standard architecture on the bundled trace; then words that these do not have."""
    from test_fold_level import LARGE_MACHINES, SIGNED

    unsigned = LinearFormat(bits=16, fsr=0, signed=False)  # codes wider than 16 bits beside narrow sums
    logaccel.compare(logaccel.load_trace(), [logaccel.load_arch(name) for name in STANDARD_ARCHITECTURES])
    run_fold_level({**LARGE_MACHINES, "wide codes": (MultiplyPE(acc_bits=24), unsigned, SIGNED)})


def run_fold_level(machines: dict[str, tuple[PE, Format, Format]]) -> None:
    """Run a small layer by every way of adding up."""
    from test_fold_level import job_of

    layer = logaccel.Layer(name="conv", in_channels=20, out_channels=20, in_size=6, kernel=3, padding=1)
    for machine in machines.values():
        for few in (16, 1000):
            fold_level.FEW = few
            for backend in ("kernel", "blas"):
                fold_level.run_layer(job_of(layer, machine), backend)  # type: ignore[arg-type]


def compile_register_level() -> None:
    """Run one small layer in words of 32 and of 64 bits; one kernel holds all dataflows and PE kinds."""
    linear, log = LinearFormat(bits=4, fsr=0, signed=True), LogFormat(bits=4, fsr=0, signed=True)
    layer = logaccel.Layer(name="fc", kind="fc", in_channels=3, out_channels=2)
    run_fold_level({"narrow": (LogsumPE(acc_bits=24), log, log), "wide": (LogsumPE(acc_bits=40), log, log)})
    ifmap, filters = np.ones((2, 3), np.int8), np.ones((2, 3), np.int8)
    for pe, word in (
        (MultiplyPE(acc_bits=16), linear),
        (MultiplyPE(acc_bits=40), linear),
        (LogsumPE(acc_bits=24), log),
    ):
        array = logaccel.load_arch("shift_4b_16x16").array
        register_level.run_layer(LayerJob(layer, pe.datapath(word, word), array, "os", ifmap, filters))


def compile_networks() -> None:
    """Evaluate one small network in sums of 32 and of 64 bits, beside the float network; then encode float64."""
    from graph_cases import normal, residual_net

    from logaccel.evaluation import GraphRun, calibrate, evaluate

    with TemporaryDirectory() as folder:
        model = residual_net(Path(folder))
    images = normal(2, *model.graph.input_shape)
    for name in ("multiply_4b_16x16", "multiply_16b_16x16"):
        arch = logaccel.load_arch(name)
        evaluate(GraphRun(model, arch, calibrate(model, arch, images)), images)
    compile_formats()
    compile_memory()


def compile_memory() -> None:
    """Map one layer with ports, banks and a DRAM device."""
    pads = {"bytes": 2**16, "banks": 16, "port_bits": 64}
    device = {"kind": "banked", "device": "ddr4_2400"}
    arch = logaccel.load_arch("shift_4b_16x16").replace(
        memory={"ifmap": pads, "filter": pads, "ofmap": pads, "dram": device}
    )
    layer = logaccel.Layer(name="conv", in_channels=20, out_channels=40, in_size=8, kernel=3, padding=1)
    logaccel.map_network(logaccel.Network(name="one", layers=(layer,)), arch)


def compile_formats() -> None:
    """Encode and calibrate numbers of either type in codes of every width."""
    words = [LinearWord(bits=bits) for bits in (8, 12, 24, 32)] + [LogWord(bits=bits) for bits in (4, 8)]
    for values in (np.linspace(-1, 1, 99, dtype=np.float32), np.linspace(-1, 1, 99)):
        for word in words:
            for signed in (False, True):
                encode(values, word.at(best_fsr(values, word, signed), signed))


if __name__ == "__main__":
    {"fold": compile_fold_level, "register": compile_register_level, "networks": compile_networks}[sys.argv[1]]()
