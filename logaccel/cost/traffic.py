"""Bits moved: how large each tensor of a layer is at its true word width."""

from math import prod

from logaccel.formats import LinearWord, LogWord
from logaccel.pe import Datapath
from logaccel.workload import Layer


def bits_moved(layer: Layer, batch: int, datapath: Datapath, output: LinearWord | LogWord) -> dict[str, int]:
    """Return the bits of ifmap, filter, psum and ofmap, every word touched once.

    Padding is not stored. A psum is one raw accumulator word per output: all bins, or both rails with
    their flags. This is the least that any dataflow moves; reuse and re-reads are not in it.
    """
    outputs = prod(layer.ofmap_shape(batch))
    return {
        "ifmap": prod(layer.ifmap_shape(batch)) * datapath.activation.bits,
        "filter": prod(layer.filter_shape) * datapath.weight.bits,
        "psum": outputs * datapath.psum_bits,
        "ofmap": outputs * output.bits,
    }
