"""Every word that crosses the DRAM channel for one tile, on both sides of it: tensor in DRAM, half of a scratchpad.

A transfer goes through its tensor in the order of addresses: ifmap [N, C, H, W], then filter [M, C/groups, R, S];
ofmap [N, M, P, Q]. Words are packed. A word counts in the cycle in which its last bit crosses; over a device with
banks the bits of a transfer are spread evenly, its pauses are not told apart. Long transfers are given in chunks, so
memory is bounded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from logaccel.arch import ChannelDram, Dram
from logaccel.memory.accesses import stored_parts
from logaccel.memory.places import Place
from logaccel.memory.tiles import TiledLayer
from logaccel.memory.timing import Span
from logaccel.memory.walk import PlacedTile

Counts = NDArray[np.int64]
CHUNK_WORDS = 16384


@dataclass(frozen=True)
class Moved:
    """Words of one tensor that cross the channel: when, where in the tensor, where in the tile."""

    tensor: str  # ifmap, filter, ofmap
    cycle: Counts
    in_dram: Counts  # word of the tensor
    in_tile: Counts  # word of the tile


def reads(tiled: TiledLayer, tile: PlacedTile, dram: Dram) -> Iterator[Moved]:
    """Yield what a tile brings in: a block of the ifmap, a block of the filters, or both, one after the other."""
    work, widths = tile.spans.work, tiled.widths
    latency = dram.latency_cycles if isinstance(dram, ChannelDram) else 0
    for tensor, bits, word_bits, before in (
        ("ifmap", work.ifmap_read_bits, widths.ifmap_bits, 0),
        ("filter", work.filter_read_bits, widths.filter_bits, work.ifmap_read_bits),
    ):
        for first in range(0, bits // word_bits, CHUNK_WORDS):
            word = np.arange(first, min(first + CHUNK_WORDS, bits // word_bits))
            cycle = arrivals(before + (word + 1) * word_bits, tile.spans.read, dram, work.read_bits, latency)
            if tensor == "ifmap":
                yield Moved(tensor, cycle, ifmap_word(tiled, tile.place, word), word)
            else:
                yield Moved(tensor, cycle, *_filter_words(tiled, tile.place, word))


def writes(tiled: TiledLayer, tile: PlacedTile, dram: Dram) -> Iterator[Moved]:
    """Yield what a tile writes back."""
    bits = tiled.widths.ofmap_bits
    words = tile.spans.work.write_bits // bits
    for first in range(0, words, CHUNK_WORDS):
        word = np.arange(first, min(first + CHUNK_WORDS, words))
        cycle = arrivals((word + 1) * bits, tile.spans.write, dram, tile.spans.work.write_bits, 0)
        yield Moved("ofmap", cycle, *_ofmap_words(tiled, tile.place, word))


def tensor_words(tiled: TiledLayer) -> dict[str, int]:
    """Return the size of each tensor of the layer."""
    layer = tiled.layer
    return {
        "ifmap": prod((tiled.batch, layer.in_channels, *layer.in_size)),
        "filter": prod((layer.out_channels, layer.in_channels // layer.groups, *layer.kernel)),
        "ofmap": prod((tiled.batch, layer.out_channels, *layer.out_size)),
    }


def arrivals(bits: Counts, span: Span, dram: Dram, all_bits: int, latency_cycles: int) -> Counts:
    """Return the cycle in which a transfer's first so many bits (of all_bits) have crossed."""
    if not isinstance(dram, ChannelDram):
        return span.start - (-bits * span.cycles // all_bits) - 1
    if dram.bits_per_cycle is None:
        return np.full_like(bits, max(span.start, span.end - 1))
    return span.start + latency_cycles + (bits - 1) // dram.bits_per_cycle


def ifmap_word(tiled: TiledLayer, place: Place, word: Counts) -> Counts:
    """Return which words of the whole ifmap a tile's words are."""
    layer = tiled.layer
    height, width = layer.in_size
    (top, bottom), (left, right) = stored_parts(tiled, place)
    depth = place.ifmap_channels[1] - place.ifmap_channels[0]
    line, column = np.divmod(word, right - left)
    plane, row = np.divmod(line, bottom - top)
    image, channel = np.divmod(plane, depth)
    channel += place.group * tiled.group_channels[1] + place.ifmap_channels[0]
    whole = (place.images[0] + image) * layer.in_channels + channel
    return (whole * height + top + row) * width + left + column


def ofmap_word(tiled: TiledLayer, place: Place, word: Counts) -> Counts:
    """Return which words of the whole ofmap a tile's words pixel·M + m are."""
    layer = tiled.layer
    height, width = layer.out_size
    pixel, number = np.divmod(word, place.ofmap_channels[1] - place.ofmap_channels[0])
    rows, columns = (end - first for first, end in (place.ofmap_rows, place.ofmap_columns))
    line, q = np.divmod(pixel, columns)
    image, p = np.divmod(line, rows)
    m = place.group * tiled.group_channels[0] + place.ofmap_channels[0] + number
    whole = (place.images[0] + image) * layer.out_channels + m
    return (whole * height + place.ofmap_rows[0] + p) * width + place.ofmap_columns[0] + q


def _filter_words(tiled: TiledLayer, place: Place, word: Counts) -> tuple[Counts, Counts]:
    channels, depth = tiled.group_channels
    taps = prod(tiled.layer.kernel)
    own = (place.ifmap_channels[1] - place.ifmap_channels[0]) * taps
    number, k = np.divmod(word, own)
    m = place.group * channels + place.ofmap_channels[0] + number
    in_dram = m * depth * taps + place.ifmap_channels[0] * taps + k
    return in_dram, k * (place.ofmap_channels[1] - place.ofmap_channels[0]) + number


def _ofmap_words(tiled: TiledLayer, place: Place, word: Counts) -> tuple[Counts, Counts]:
    own = place.ofmap_channels[1] - place.ofmap_channels[0]
    spots = (place.ofmap_rows[1] - place.ofmap_rows[0]) * (place.ofmap_columns[1] - place.ofmap_columns[0])
    plane, spot = np.divmod(word, spots)
    image, number = np.divmod(plane, own)
    in_tile = (image * spots + spot) * own + number
    return ofmap_word(tiled, place, in_tile), in_tile
