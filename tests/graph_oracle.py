"""A quantised graph in plain integers: nested loops over lists, nothing of the package but its records.

Tensors are numpy arrays of Python integers (dtype object), only for their indices.
"""

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import oracle

from logaccel.formats import Format, LinearFormat
from logaccel.workload.graph import Add, Clip, Concat, FloatOp, LayerNode, Node, Pad, Pool, Reshape, Slice, Transpose

CONSTANT_BITS = 12


def run_graph(run: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the codes of every tensor of a `GraphRun`, of which only the records are read."""
    formats, model = run.formats, run.model
    codes = {"input": _each(images, lambda value: oracle.encode(float(value), formats.tensors["input"]))}
    for node in model.graph.nodes:
        inputs = [codes[name] for name in node.inputs]
        sources = [formats.tensors[name] for name in node.inputs]
        own = formats.tensors[node.name]
        if isinstance(node, LayerNode):
            parameters = model.parameters[node.name]
            scales = formats.scales.get(node.name, (0,) * len(parameters.bias))
            stored = np.array([taps * 2.0**scale for taps, scale in zip(parameters.filter, scales, strict=True)])
            taps = _each(stored, lambda value, f=formats.filters[node.name]: oracle.encode(float(value), f))
            operands = [(taps, formats.filters[node.name], parameters.bias), *zip(inputs, sources, strict=True)]
            codes[node.name] = layer(node, run.archs[node.name], operands, (own, scales))
        else:
            codes[node.name] = other(node, inputs, [*sources, own], run.arch.post.round_bits)
    return codes


def word(code: int, number_format: Format) -> Fraction:
    """Return the value that a lane decodes: exact, but for log codes between the octaves."""
    if isinstance(number_format, LinearFormat):
        return code * oracle.power_of_two(oracle.linear_lsb(number_format))
    if code == 0:
        return Fraction(0)
    steps = number_format.steps_per_octave
    octave, step = divmod(oracle.log_exponent(number_format, abs(code)), steps)
    constant = Fraction(oracle.root_constant(step, steps, CONSTANT_BITS), 2**CONSTANT_BITS) if steps > 1 else 1
    return oracle.sign(code) * constant * oracle.power_of_two(octave)


def encoded(value: Fraction, number_format: Format, round_bits: int) -> int:
    """Encode an exact value as the hardware does, whose word has its LSB somewhere below: any low enough will do."""
    lsb = -(value.denominator.bit_length() - 1)
    assert value.denominator == 2**-lsb
    return oracle.hardware_encode(value.numerator, lsb, number_format, round_bits)


def layer(node: LayerNode, arch: Any, operands: list[Any], lane: tuple[Format, tuple[int, ...]]) -> np.ndarray:
    """Return the ofmap's codes; operands: filters with format and bias, ifmap, perhaps a residual.

    lane: the ofmap's format, and by how many powers of two the LSB of each channel's psum is finer.
    """
    (taps, weight, bias), (ifmap, source), *residual = operands
    own, scales = lane
    sums = oracle.run_layer(node.layer, arch.pe, source, weight, ifmap.tolist(), taps.tolist())
    lsbs = [oracle.power_of_two(arch.pe.datapath(source, weight).lsb_exponent - scale) for scale in scales]
    ofmap = np.empty(node.layer.ofmap_shape(len(ifmap)), object)
    pixels = [(n, p, q) for n in range(len(ifmap)) for p, q in np.ndindex(*node.layer.out_size)]
    for (n, p, q), row in zip(pixels, sums.psum, strict=True):
        for m, psum in enumerate(row):
            place = (n, m) if node.layer.kind == "fc" else (n, m, p, q)
            total = (psum + oracle.round_away(Fraction(float(bias[m])) / lsbs[m])) * lsbs[m]
            for added, added_format in residual:
                total += word(added[place], added_format)
            ofmap[place] = encoded(max(total, Fraction(0)) if node.layer.relu else total, own, arch.post.round_bits)
    return ofmap


def other(node: Node, inputs: list[np.ndarray], formats: list[Format], round_bits: int) -> np.ndarray:
    """Return the codes of a node that is no layer; formats: of its inputs, then its own."""
    first, own = inputs[0], formats[-1]
    match node:
        case Reshape(shape=shape):
            return first.reshape(len(first), *shape)
        case Transpose(axes=axes):
            return first.transpose(0, *(axis + 1 for axis in axes))
        case Slice():
            ranges = [range(*slice(*each).indices(2**30)) for each in zip(node.start, node.end, node.step, strict=True)]
            return first[np.ix_(range(len(first)), *ranges)]
        case Pad():
            sizes = [sum(each) for each in zip(node.before, first.shape[1:], node.after, strict=True)]
            made = np.full((len(first), *sizes), 0, object)
            for place in np.ndindex(*first.shape):
                made[(place[0], *(a + b for a, b in zip(place[1:], node.before, strict=True)))] = first[place]
            return made
        case Concat():
            return np.concatenate(inputs, axis=1)
        case Clip(low=low, high=high):
            top = oracle.encode(min(high, 1e30), own)
            bottom = oracle.encode(max(low, -1e30), own)
            return _each(first, lambda code: min(max(code, bottom), top))
        case Add(relu=relu):
            made = np.empty(first.shape, object)
            for place in np.ndindex(*first.shape):
                total = word(first[place], formats[0]) + word(inputs[1][place], formats[1])
                made[place] = encoded(max(total, Fraction(0)) if relu else total, own, round_bits)
            return made
        case FloatOp(kind="leaky_relu"):
            alpha = node.setting("alpha")

            def leaky(code: int) -> int:
                value = float(oracle.decode(code, formats[0]))
                return oracle.encode(value * alpha if value < 0 else value, own)

            return _each(first, leaky)
        case Pool():
            return pool(node, first, formats, round_bits)
    raise AssertionError(node)


def pool(node: Pool, codes: np.ndarray, formats: list[Format], round_bits: int) -> np.ndarray:
    """Return the codes of a pool by walking over every window; its size is what onnxruntime says (tested elsewhere)."""
    (top, left, bottom, right), (high, wide) = node.padding, codes.shape[2:]
    rows, columns = (
        _starts(size + before + after, before + size, node, axis)
        for axis, (size, before, after) in enumerate(((high, top, bottom), (wide, left, right)))
    )
    made = np.empty((*codes.shape[:2], len(rows), len(columns)), object)
    for (n, c), (p, row), (q, column) in product(np.ndindex(*codes.shape[:2]), enumerate(rows), enumerate(columns)):
        taps = [
            (row + r * node.dilation[0] - top, column + s * node.dilation[1] - left)
            for r, s in np.ndindex(*node.kernel)
        ]
        inside = [(h, w) for h, w in taps if 0 <= h < high and 0 <= w < wide]
        if node.kind == "max":
            made[n, c, p, q] = max(codes[n, c, h, w] for h, w in inside)
            continue
        padded = [(h, w) for h, w in taps if -top <= h < high + bottom and -left <= w < wide + right]
        count = len(padded if node.counts_padding else inside)
        made[n, c, p, q] = _average([codes[n, c, h, w] for h, w in inside], count, formats, round_bits)
    return made


def _average(codes: list[int], count: int, formats: list[Format], round_bits: int) -> int:
    """Return the code of Σ · round(2^16 / n) >> 16, nearest, ties away, at the LSB of the decoded words."""
    source, own = formats[0], formats[-1]
    if isinstance(source, LinearFormat):
        lsb = oracle.linear_lsb(source)
    else:
        lsb = oracle.log_exponent(source, 1) // source.steps_per_octave
        lsb -= CONSTANT_BITS if source.steps_per_octave > 1 else 0
    total = sum(word(code, source) for code in codes) / oracle.power_of_two(lsb)
    product_ = total * oracle.round_away(Fraction(2**16, count)) / 2**16
    return oracle.hardware_encode(oracle.round_away(product_), lsb, own, round_bits)


def _starts(padded: int, last: int, node: Pool, axis: int) -> list[int]:
    """Return where windows begin: while they fit; in ceil mode one more that begins before the far padding."""
    reach = node.dilation[axis] * (node.kernel[axis] - 1) + 1
    starts = [start for start in range(0, padded, node.stride[axis]) if start + reach <= padded]
    following = (starts[-1] if starts else -node.stride[axis]) + node.stride[axis]
    if node.ceil and following < last and (not starts or starts[-1] + reach < padded):
        starts.append(following)
    return starts


def _each(values: np.ndarray, function: Any) -> np.ndarray:
    made = np.empty(values.shape, object)
    for place in np.ndindex(*values.shape):
        made[place] = function(values[place])
    return made
