"""Results made by hand through the real constructors: the reports must show these numbers and no others."""

import numpy as np

from logaccel.arch import Architecture
from logaccel.comparison import Comparison
from logaccel.cost import array_area, bits_moved, layer_energy, load_profile
from logaccel.quantization import quantize_network
from logaccel.result import Accuracy, LayerResult, SimulationResult
from logaccel.schedule.activity import count_activity
from logaccel.schedule.folds import plan_folds
from logaccel.workload import Layer, Network

LINEAR, LOG = {"kind": "linear", "bits": 8}, {"kind": "log", "bits": 4}
ROOT2 = {"kind": "log", "bits": 5, "steps_per_octave": 2}
PES = {
    "multiply_16b_16x16": ({"kind": "multiply", "acc_bits": 48}, LINEAR | {"bits": 16}, LINEAR | {"bits": 16}),
    "multiply_8b_16x16": ({"kind": "multiply", "acc_bits": 32}, LINEAR, LINEAR),
    "multiply_4b_16x16": ({"kind": "multiply", "acc_bits": 24}, LINEAR | {"bits": 4}, LINEAR | {"bits": 4}),
    "shift_4b_16x16": ({"kind": "shift", "acc_bits": 40}, LOG, LINEAR),
    "decode_4b_16x16": ({"kind": "decode", "acc_bits": 44}, LOG, LOG),
    "decode_4b_sqrt2_bins_16x16": ({"kind": "decode", "acc_bits": 30}, LOG, ROOT2),
    "decode_4b_sqrt2_constant_16x16": ({"kind": "decode", "acc_bits": 44, "root": "constant"}, LOG, ROOT2),
    "logsum_4b_16x16": ({"kind": "logsum", "acc_bits": 24, "fraction_bits": 14}, LOG, LOG),
}


def architecture(name: str = "shift_4b_16x16", **changes: object) -> Architecture:
    pe, activation, weight = PES[name]
    tree = {"name": name, "pe": pe, "activation": activation, "weight": weight, "array": {"rows": 16, "cols": 16}}
    return Architecture.model_validate(tree).replace(**changes)


def network(names: tuple[str, ...] = ("conv1", "conv2", "fc1", "fc2"), batch: int = 3) -> Network:
    layers = [
        Layer(name=name, kind="fc", in_channels=40 + 30 * index, out_channels=20 + 25 * (index % 4))
        for index, name in enumerate(names)
    ]
    return Network(name="by_hand", batch=batch, layers=tuple(layers))


def result(
    arch: Architecture, shapes: Network | None = None, *, values: bool = True, chained: bool = False
) -> SimulationResult:
    """Return a result whose cycles, counts and prices are real; values (SNR, accuracy, clipped) are made up."""
    shapes = shapes or network()
    views = tuple(arch.for_layer(x.name, i, len(shapes.layers)) for i, x in enumerate(shapes.layers))
    profile = load_profile(arch.cost_profile)
    layers = []
    for index, (layer, formats) in enumerate(zip(shapes.layers, quantize_network(shapes, views), strict=True)):
        matrix = layer.matrix(shapes.batch)
        plan = plan_folds(matrix, arch.array, arch.dataflow)
        path = arch.pe.datapath(formats.ifmap, formats.filter)
        activity = count_activity(plan, matrix.macs // 3 if values else None)
        pes = arch.array.rows * arch.array.cols
        layers.append(
            LayerResult(
                name=layer.name,
                dataflow=arch.one_dataflow,
                macs=matrix.macs,
                folds=plan.count,
                compute_cycles=plan.compute_cycles,
                stall_cycles=0,
                spatial_utilization=float((plan.rows * plan.cols).sum()) / (plan.count * pes),
                utilization=matrix.macs / (pes * plan.compute_cycles),
                activity=activity,
                energy=layer_energy(profile, path, arch, activity, formats.ofmap, matrix),
                bits_moved=bits_moved(layer, shapes.batch, path, formats.ofmap),
                quantization=formats,
                acc_bits=path.acc_bits,
                exact_acc_bits=path.exact_acc_bits(matrix.reduction),
                backend="kernel",
                psum_lsb_exponent=path.lsb_exponent,
                clipped=1000 * index if values else None,
                snr_db=20.25 + index + len(arch.name) / 8 if values else None,
                psum=np.zeros(layer.ofmap_shape(shapes.batch), np.int64) if values else None,
                ofmap_codes=np.zeros(layer.ofmap_shape(shapes.batch), np.int8) if values else None,
            )
        )
    return SimulationResult(
        arch=arch,
        network=shapes.name,
        batch=shapes.batch,
        engine="fold",
        chained=chained,
        layers=tuple(layers),
        area=array_area(profile, arch, views),
        accuracy=Accuracy(300, 0.9 + len(arch.name) / 1000, 0.88 + len(arch.name) / 1000, 0.9725) if values else None,
        version="9.8.7",
        notes=("operands are always ready",),
    )


def comparison(
    names: tuple[str, ...] = tuple(PES), shapes: Network | None = None, *, values: bool = True, chained: bool = True
) -> Comparison:
    rows = tuple(result(architecture(name), shapes, values=values) for name in names)
    followers = (
        tuple(result(architecture(name), shapes, chained=True) for name in names) if chained and values else None
    )
    return Comparison(rows, followers)
