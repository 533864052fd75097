"""From a trace and an architecture to one layer for the Verilog and for waveforms: quantised as `simulate` does."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from logaccel.arch import Architecture
from logaccel.engine.job import LayerJob
from logaccel.engine.post import bias_words
from logaccel.errors import ConfigError, TraceError
from logaccel.formats.calibrate import best_fsr
from logaccel.formats.channels import best_scales, scaled
from logaccel.formats.encode import encode
from logaccel.quantization import check_words, layer_architectures, quantize_trace
from logaccel.result import write_whole
from logaccel.rtl.bench import Simulator, SimulatorError
from logaccel.rtl.vcd import write_vcd
from logaccel.rtl.verify import SMALL_LAYER_UPDATES, RtlLayer, Verification, verify
from logaccel.rtl.waveform import Progress, fold_window, record
from logaccel.trace import Trace

BUILD_LOG = Path("logaccel-rtl.log")
EXACT_CYCLES = 100_000  # up to which a waveform follows the machine from reset


def rtl_layer(
    trace: Trace, arch: Architecture, name: str, images: int | None = None, channel_scales: bool = False
) -> RtlLayer:
    """Return one layer of a trace on its recorded ifmap; `images`: the first so many only.

    Formats are calibrated on the whole trace, as in `simulate`. channel_scales: store the weights of every ofmap
    channel times its own power of two (`--channel-scales weights` of `evaluate`), as far as the lanes shift; where
    the architecture leaves that shift out, lanes get the widest. Raises ConfigError or TraceError.
    """
    names = [item.layer.name for item in trace.layers]
    if name not in names:
        raise ConfigError(f"{trace.name}: {name}: no layer of that name; there are {', '.join(names)}")
    if images is not None and not 1 <= images <= trace.batch:
        raise ConfigError(f"images: must be 1…{trace.batch}, got {images}")
    index = names.index(name)
    if arch.for_layer(name, index, len(names)).dataflow == "auto":
        raise ConfigError(
            f"{arch.name}: dataflow: auto chooses by layer, but hardware is built for one: give os, ws or is "
            f"(`logaccel simulate` says which {name} takes)"
        )
    archs = layer_architectures(arch, tuple(item.layer for item in trace.layers))
    formats = quantize_trace(trace, archs, None)
    check_words(formats, archs, tuple(item.layer for item in trace.layers))
    tensors, chosen, own = trace.layers[index], formats[index], archs[index]
    filters, bias, scales = tensors.filter, tensors.bias, None
    if channel_scales:
        own = own.shifting_by_channel()
        scales = best_scales(filters, own.weight, own.post.largest_channel_shift)
        filters, bias = scaled(filters, scales), scaled(bias, scales)
        chosen = replace(chosen, filter=own.weight.at(best_fsr(filters, own.weight, True), True))
    datapath = own.pe.datapath(chosen.ifmap, chosen.filter)
    job = LayerJob(
        tensors.layer,
        datapath,
        own.array,
        own.one_dataflow,
        encode(tensors.ifmap[:images], chosen.ifmap),
        encode(filters, chosen.filter),
    )
    try:
        words = bias_words(bias, datapath.lsb_exponent)
    except TraceError as error:
        raise TraceError(f"{name}: {error}") from None
    finer = None if scales is None else np.array(scales)
    return RtlLayer(job, own, chosen.ofmap, words, tensors.layer.relu, scales=finer)


def verify_layer(
    layer: RtlLayer, simulator: str, registers: bool | None, progress: Progress | None = None
) -> Verification:
    """Hold a layer against the Verilog in `icarus`, `verilator` or `auto`: Icarus and every register if it is small.

    Where a simulator fails, all that it said goes to BUILD_LOG in the working folder, and nothing else is left.
    Raises ConfigError.
    """
    if simulator not in ("auto", "icarus", "verilator"):
        raise ConfigError(f"simulator: must be auto, icarus or verilator, got {simulator!r}")
    if registers and simulator == "verilator":
        raise ConfigError("registers: compared in icarus only, got simulator verilator")
    small = layer.register_updates <= SMALL_LAYER_UPDATES
    large = simulator == "auto" and not (small or registers)
    chosen: Simulator = "verilator" if simulator == "verilator" or large else "icarus"
    compared = chosen == "icarus" and (small if registers is None else registers)
    try:
        return verify(layer, chosen, compared, progress)
    except SimulatorError as error:
        write_whole(BUILD_LOG, error.log)
        raise ConfigError(f"{error}\nall that it said is in {BUILD_LOG}") from None


def write_waveform(layer: RtlLayer, fold: int, path: Path, progress: Progress | None = None) -> tuple[int, int]:
    """Write a VCD of one fold, every register of every PE; return its first cycle and the one after its last.

    In a long layer registers are followed from two folds before, and what was loaded earlier is unknown.
    """
    first, end = fold_window(layer.job, fold)
    known_from = 0 if end <= EXACT_CYCLES else fold_window(layer.job, max(0, fold - 2))[0]
    waveform = record(layer.job, layer.parameters, (first, end), known_from, progress)
    comment = f"logaccel {layer.arch.name} {layer.job.layer.name} fold {fold}: cycles {first} to {end - 1}"
    write_whole(path, write_vcd(waveform, " ".join(comment.split())))
    return first, end
