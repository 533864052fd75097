"""Vectors that the compiler does not find by itself: each kernel here emits the instructions of one small loop body.

A block holds C channels × V vectors of sums in registers while k runs: C·V multiply–adds for V loads of places and
C loads of weights.

    sum[0, 0…V)   += w[k, 0]   · x[at[k] + j …]            C = 8, V = 3 where there are 32 registers, else C = 4
       ⋮
    sum[C−1, 0…V) += w[k, C−1] · x[at[k] + j …]

Machines with narrower vectors than those written here get several instructions for one. What runs uncompiled
(NUMBA_DISABLE_JIT) stands beside each in plain Python. The order of k stays. Products may fuse with additions, which
changes no bit: sums of codes are exact, and products of real float32 values and weights are exact in float64.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from logaccel.jit import emitted_kernel, host_registers

VECTOR_BYTES, _REGISTERS = host_registers()
CHANNELS = 8 if _REGISTERS >= 32 else 4  # of a block of weights
VECTORS = 3  # of places that share a block of weights
TILE = 240  # places: whole blocks of three vectors, of floats and of doubles; their sums stay in the first-level cache
STEP = VECTOR_BYTES // 4  # places are computed in whole vectors
CHUNK = 16  # elements that a row is read and written at a time
_INDEX, _WORD = ir.IntType(64), ir.IntType(32)

Array = NDArray[Any]


def _number(kind: Any, value: int) -> Any:
    return ir.Constant(kind, value)


def _spread(builder: Any, scalar: Any, kind: Any) -> Any:
    """Return a vector with the scalar in every lane."""
    nothing, lanes = ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(_WORD, kind.count), [0] * kind.count)
    return builder.shuffle_vector(builder.insert_element(nothing, scalar, _number(_WORD, 0)), nothing, lanes)


def _place(builder: Any, array: Any, index: Any, kind: Any) -> Any:
    """Return a pointer to a vector at array[index]."""
    return builder.bitcast(builder.gep(array, [index]), kind.as_pointer())


def _bytes(array: Any) -> int:
    kind = array.type.pointee
    return int(kind.width // 8 if isinstance(kind, ir.IntType) else 4 if isinstance(kind, ir.FloatType) else 8)


def _load(builder: Any, array: Any, index: Any, count: int) -> Any:
    """Return array[index … index + count − 1], wherever it begins."""
    kind = ir.VectorType(array.type.pointee, count)
    return builder.load(_place(builder, array, index, kind), align=_bytes(array))


def _store(builder: Any, value: Any, array: Any, index: Any) -> None:
    builder.store(value, _place(builder, array, index, value.type), align=_bytes(array))


def _emit_block(vectors: int) -> Any:
    """Return what emits a block of so many vectors of places."""

    def emit(builder: Any, *arguments: Any) -> None:
        x, j, at, packed, start, first, end, totals, to = arguments
        lanes = VECTOR_BYTES // _bytes(x)
        kind = ir.VectorType(x.type.pointee, lanes)
        before = builder.block
        head, body, done = (builder.append_basic_block(name) for name in ("k.head", "k.body", "k.done"))
        builder.branch(head)
        builder.position_at_end(head)
        k = builder.phi(_INDEX)
        k.add_incoming(first, before)
        sums = [[builder.phi(kind) for _ in range(vectors)] for _ in range(CHANNELS)]
        builder.cbranch(builder.icmp_signed("<", k, end), body, done)
        builder.position_at_end(body)
        place = builder.add(builder.load(builder.gep(at, [k])), j)
        places = [_load(builder, x, builder.add(place, _number(_INDEX, v * lanes)), lanes) for v in range(vectors)]
        weight = builder.add(start, builder.mul(k, _number(_INDEX, CHANNELS)))
        for c, row in enumerate(sums):
            own = builder.load(builder.gep(packed, [builder.add(weight, _number(_INDEX, c))]))
            factor = _spread(builder, own, kind)
            for old, factors in zip(row, places, strict=True):
                product = builder.fmul(factor, factors, flags=("contract",))
                old.add_incoming(ir.Constant(kind, None), before)
                old.add_incoming(builder.fadd(old, product, flags=("contract",)), body)
        k.add_incoming(builder.add(k, _number(_INDEX, 1)), body)
        builder.branch(head)
        builder.position_at_end(done)
        _leave(builder, sums, first, totals, to)

    return emit


def _leave(builder: Any, sums: list[list[Any]], first: Any, totals: Any, to: Any) -> None:
    """Store sums, or add them to the totals where k did not begin at 0."""
    lanes, kind = sums[0][0].type.count, totals.type.pointee
    whole = ir.VectorType(kind, lanes)
    if isinstance(kind, ir.IntType):
        keep = _spread(builder, builder.sext(builder.icmp_signed("!=", first, _number(_INDEX, 0)), kind), whole)
    for c, row in enumerate(sums):
        for v, value in enumerate(row):
            index = builder.add(to, _number(_INDEX, c * TILE + v * lanes))
            if isinstance(kind, ir.IntType):
                old = builder.and_(_load(builder, totals, index, lanes), keep)
                value = builder.add(old, builder.fptosi(value, whole))
            _store(builder, value, totals, index)


def _plain_block(vectors: int) -> Any:
    def add(
        x: Array, j: int, at: Array, packed: Array, start: int, first: int, end: int, totals: Array, to: int
    ) -> None:
        places = vectors * VECTOR_BYTES // x.itemsize
        sums = np.zeros((CHANNELS, places))
        for k in range(first, end):
            weights = packed[start + k * CHANNELS : start + (k + 1) * CHANNELS]
            sums += weights[:, None].astype(np.float64) * x[at[k] + j : at[k] + j + places]
        for m in range(CHANNELS):
            own = totals[m * TILE + to : m * TILE + to + places]
            own[:] = sums[m].astype(own.dtype) + (own if first > 0 else own.dtype.type(0))

    return add


# add_one … add_three(x, j, at, packed, start, first, end, totals, to): totals[m, to + i] (+)= Σ_k packed[start + k, m]
# · x[at[k] + j + i], k = first … end − 1, for the places i of one, two or three vectors. Totals are integers, which
# the sums must be and to which they are added unless first is 0, or floats, which they replace.
add_one, add_two, add_three = (emitted_kernel(_emit_block(v), _plain_block(v)) for v in (1, 2, 3))


def _emit_narrow(builder: Any, totals: Any, source: Any, out: Any, target: Any) -> None:
    words, kind = _load(builder, totals, source, CHUNK), ir.VectorType(out.type.pointee, CHUNK)
    if out.type.pointee.width < totals.type.pointee.width:
        words = builder.trunc(words, kind)
    _store(builder, words, out, target)


def _plain_narrow(totals: Array, source: int, out: Array, target: int) -> None:
    out[target : target + CHUNK] = totals[source : source + CHUNK]


# narrow_chunk(totals, source, out, target): out[target + i] = totals[source + i], in the type of out.
narrow_chunk = emitted_kernel(_emit_narrow, _plain_narrow)


def _emit_convert(builder: Any, values: Any, source: Any, x: Any, to: Any) -> None:
    own, kind = _load(builder, values, source, CHUNK), ir.VectorType(x.type.pointee, CHUNK)
    if isinstance(values.type.pointee, ir.IntType):
        own = builder.sitofp(own, kind)
    elif _bytes(values) < _bytes(x):
        own = builder.fpext(own, kind)
    _store(builder, own, x, to)


def _plain_convert(values: Array, source: int, x: Array, to: int) -> None:
    x[to : to + CHUNK] = values[source : source + CHUNK]


# convert_chunk(values, source, x, to): x[to + i] = values[source + i], as floats.
convert_chunk = emitted_kernel(_emit_convert, _plain_convert)


def _emit_power(builder: Any, *arguments: Any) -> None:
    codes, source, x, to, added, shift, exponent, signed = arguments
    if not isinstance(codes.type.pointee, ir.IntType):
        return  # real values are their own factors
    width = _bytes(x) * 8
    kind = ir.VectorType(ir.IntType(width), CHUNK)
    one, fraction = ir.IntType(width), 23 if width == 32 else 52

    def every(value: Any) -> Any:
        return _spread(builder, builder.trunc(value, one) if width < 64 else value, kind)

    code = _load(builder, codes, source, CHUNK)
    code = builder.sext(code, kind) if codes.type.pointee.width < width else code
    zero = ir.Constant(kind, None)
    magnitude = builder.select(builder.icmp_signed("<", code, zero), builder.sub(zero, code), code)
    steps = builder.add(magnitude, every(added))
    mask = every(builder.sub(builder.shl(_number(_INDEX, 1), shift), _number(_INDEX, 1)))
    octaves = builder.add(builder.lshr(steps, every(shift)), every(exponent))
    bits = builder.shl(octaves, _spread(builder, _number(one, fraction), kind))
    sign = every(builder.shl(signed, _number(_INDEX, width - 1)))
    bits = builder.or_(bits, builder.and_(code, sign))
    live = builder.and_(
        builder.icmp_signed("!=", code, zero), builder.icmp_signed("==", builder.and_(steps, mask), zero)
    )
    bits = builder.select(live, bits, zero)
    _store(builder, builder.bitcast(bits, ir.VectorType(x.type.pointee, CHUNK)), x, to)


def plain_power(
    codes: Array, source: int, x: Array, to: int, added: int, shift: int, exponent: int, signed: int
) -> None:
    """See `power_chunk`."""
    own = codes[source : source + CHUNK].astype(np.int64)
    steps = np.abs(own) + added
    live = (own != 0) & (steps % 2**shift == 0)
    bias = 127 if x.dtype == np.float32 else 1023
    powers = np.ldexp(1.0, np.where(live, (steps >> shift) + exponent - bias, 0))
    x[to : to + CHUNK] = np.where(live, np.where((own < 0) & (signed > 0), -powers, powers), 0.0)


# power_chunk(codes, source, x, to, added, shift, exponent, signed): x[to + i] = ±2^((|c| + added) / 2^shift + exponent
# − bias) for the code c = codes[source + i]; 0 where c is 0 or the division leaves a rest. The sign is c's if `signed`.
power_chunk = emitted_kernel(_emit_power, plain_power)
