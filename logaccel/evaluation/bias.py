"""Bias correction: what coding shifts the mean of a channel by is taken back in its bias.

    bias'[m] = bias[m] + mean over images and pixels of (float sum − machine sum)[pixel, m]

Both sums are those before the ReLU: product, bias and, where there is one, the residual. Layers are corrected in the
order in which they run, each on what the machine makes of the images with all layers before it corrected. Source of
the idea: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019, section 4.2;
here the means are those of the calibration images.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.arch import Architecture
from logaccel.engine import fold_level
from logaccel.engine.post import bias_words
from logaccel.errors import TraceError
from logaccel.evaluation.formats import GraphFormats
from logaccel.evaluation.lane import words_of
from logaccel.evaluation.run import GraphRun
from logaccel.formats.channels import scaled
from logaccel.formats.encode import Codes, encode
from logaccel.model.model import Model, Parameters
from logaccel.model.reference import float_layer, run_float, schedule
from logaccel.trace import Tensor
from logaccel.workload.graph import INPUT, LayerNode
from logaccel.workload.layer import Layer

Floats = NDArray[np.float64]


def corrected_biases(
    model: Model, arch: Architecture, formats: GraphFormats, images: Tensor
) -> dict[str, tuple[float, ...]]:
    """Return the corrected bias of every layer, float32, in units of the trained model, few digits as tell it."""
    run = GraphRun(model, arch, formats, backend="kernel")  # prepares nothing that holds a bias
    model = run.model
    wanted = _float_means(model, images)
    live: dict[str, Codes] = {INPUT: encode(images, formats.tensors[INPUT])}
    biases = {}
    for node, gone in schedule(model.graph):
        inputs = [live[name] for name in node.inputs]
        if isinstance(node, LayerNode):
            job = run.job(node, inputs[0])
            psum = fold_level.run_layer(job, "blas").psum
            own, scales = run.stored[node.name], formats.scales.get(node.name)
            try:
                words = psum.mean(axis=0) + bias_words(own.bias, job.datapath.lsb_exponent)
            except TraceError as error:
                raise TraceError(f"{node.name}: {error}") from None
            found = np.ldexp(words, job.datapath.lsb_exponent - np.array(scales or 0))
            for name, codes in zip(node.inputs[1:], inputs[1:], strict=True):
                residual, lsb = words_of(codes, formats.tensors[name], node.name)
                found += np.ldexp(_channel_means(residual), lsb)
            bias = (model.parameters[node.name].bias + (wanted[node.name] - found)).astype(np.float32)
            run.stored[node.name] = Parameters(own.filter, scaled(bias, scales))
            turned = tuple(-scale for scale in formats.next_scales.get(node.name, ())) or None
            biases[node.name] = tuple(float(str(value)) for value in scaled(bias, turned))
            live[node.name] = run.lane(node, psum, inputs)
        else:
            live[node.name] = run.off_array(node, inputs)
        for name in gone:
            del live[name]
    return biases


def _float_means(model: Model, images: Tensor) -> dict[str, Floats]:
    """Return the mean sum of every channel of every layer of the float network, before the ReLU."""
    means: dict[str, Floats] = {}

    def measure(layer: Layer, own: Parameters, ifmap: Tensor, residual: Tensor | None = None) -> Tensor:
        total = float_layer(layer.model_copy(update={"relu": False}), own, ifmap, residual)
        means[layer.name] = _channel_means(total)
        return np.maximum(total, 0) if layer.relu else total

    for _ in run_float(model, images, measure):
        pass
    return means


def _channel_means(values: NDArray[Any]) -> Floats:
    """Return the mean of values[N, M, …] by channel."""
    return values.mean(axis=tuple(axis for axis in range(values.ndim) if axis != 1), dtype=np.float64)
