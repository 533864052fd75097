"""Fill the kernel cache before workers start: each would compile the same kernels for itself.

python tests/compile_kernels.py fold|register|networks
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import logaccel
from logaccel.comparison import STANDARD_ARCHITECTURES
from logaccel.engine import register_level
from logaccel.engine.job import LayerJob
from logaccel.formats import LinearFormat, LogFormat
from logaccel.pe import LogsumPE, MultiplyPE


def compile_fold_level() -> None:
    """Run what most tests run: every standard architecture on the bundled trace."""
    logaccel.compare(logaccel.load_trace(), [logaccel.load_arch(name) for name in STANDARD_ARCHITECTURES])


def compile_register_level() -> None:
    """Run one small layer in words of 32 and of 64 bits; one kernel holds all dataflows and PE kinds."""
    import numpy as np

    linear, log = LinearFormat(bits=4, fsr=0, signed=True), LogFormat(bits=4, fsr=0, signed=True)
    layer = logaccel.Layer(name="fc", kind="fc", in_channels=3, out_channels=2)
    ifmap, filters = np.ones((2, 3), np.int8), np.ones((2, 3), np.int8)
    for pe, word in (
        (MultiplyPE(acc_bits=16), linear),
        (MultiplyPE(acc_bits=40), linear),
        (LogsumPE(acc_bits=24), log),
    ):
        array = logaccel.load_arch("shift_4b_16x16").array
        register_level.run_layer(LayerJob(layer, pe.datapath(word, word), array, "os", ifmap, filters))


def compile_networks() -> None:
    """Evaluate one small network in sums of 32 and of 64 bits, beside the float network."""
    from graph_cases import normal, residual_net

    from logaccel.evaluation import GraphRun, calibrate, evaluate

    with TemporaryDirectory() as folder:
        model = residual_net(Path(folder))
    images = normal(2, *model.graph.input_shape)
    for name in ("multiply_4b_16x16", "multiply_16b_16x16"):
        arch = logaccel.load_arch(name)
        evaluate(GraphRun(model, arch, calibrate(model, arch, images)), images)


if __name__ == "__main__":
    {"fold": compile_fold_level, "register": compile_register_level, "networks": compile_networks}[sys.argv[1]]()
