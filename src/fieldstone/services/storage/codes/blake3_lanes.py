"""Compiled BLAKE3 of audit trees: the leaves and nodes of many shares together, eight compressions at a time.

A leaf is a domain byte and its data, so all of a leaf's chunks lie one byte off and a last chunk has one byte. A library
hashes one such input at a time: it copies the leaf behind its byte, and the chunk of one byte and the tops of sixteen
chunks leave most vector lanes empty. Here leaves, tops and nodes of all shares fill them. Source: BLAKE3 specification
2.1-2.5, 5.3. Import this module only where it is used: it loads numba.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, cast

from fieldstone.services.storage.codes.blake3_inner import CHUNK_END, CHUNK_START, PARENT, ROOT, ROUNDS, START
from fieldstone.services.storage.codes.compiled import compiled

numba: Any = importlib.import_module("numba")
ir: Any = importlib.import_module("llvmlite.ir")
cgutils: Any = importlib.import_module("numba.core.cgutils")
intrinsic: Any = importlib.import_module("numba.extending").intrinsic
types: Any = numba.types

LANES = 8
CHUNK_BYTES = 1024
HASH_BYTES = 32
_BLOCK_BYTES = 64
_ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
_PLACES = (
    (0, 4, 8, 12),
    (1, 5, 9, 13),
    (2, 6, 10, 14),
    (3, 7, 11, 15),
    (0, 5, 10, 15),
    (1, 6, 11, 12),
    (2, 7, 8, 13),
    (3, 4, 9, 14),
)
_i8, _i32, _i64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_lanes = ir.VectorType(_i32, LANES)
_row = ir.VectorType(_i8, 4 * LANES)


def _splat(value: int) -> Any:
    return ir.Constant(_lanes, [value] * LANES)


def _spread(b: Any, value: Any) -> Any:
    """Return a vector with one 32-bit value in all lanes."""
    one = b.insert_element(ir.Constant(_lanes, ir.Undefined), value, ir.Constant(_i32, 0))
    return b.shuffle_vector(one, one, _splat(0))


def _at(b: Any, address: Any, offset: int, kind: Any) -> Any:
    return b.inttoptr(b.add(address, ir.Constant(address.type, offset)), kind.as_pointer())


def _load(b: Any, address: Any, offset: int) -> Any:
    return b.load(_at(b, address, offset, _lanes), align=1)


def _store(b: Any, value: Any, address: Any, offset: int) -> None:
    b.store(value, _at(b, address, offset, _lanes), align=1)


def _transposed(b: Any, rows: list[Any]) -> list[Any]:
    """Return the columns of eight vectors: of inputs' words, one vector per word, and back."""

    def joined(first: Any, second: Any, order: tuple[int, ...]) -> Any:
        return b.shuffle_vector(first, second, ir.Constant(_lanes, list(order)))

    for distance, low, high in (
        (1, (0, 8, 1, 9, 4, 12, 5, 13), (2, 10, 3, 11, 6, 14, 7, 15)),
        (2, (0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)),
        (4, (0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)),
    ):
        found = list(rows)
        for i in range(LANES):
            if not i & distance:
                found[i] = joined(rows[i], rows[i + distance], low)
                found[i + distance] = joined(rows[i], rows[i + distance], high)
        rows = found
    return [rows[i] for i in (0, 2, 1, 3, 4, 6, 5, 7)]


def _compress(b: Any, state: list[Any], words: list[Any], counter: Any, size: int, flags: Any) -> list[Any]:
    def rotate(x: Any, n: int) -> Any:
        return b.or_(b.lshr(x, _splat(n)), b.shl(x, _splat(32 - n)))

    v = [*state, *map(_splat, START[:4]), counter, _splat(0), _splat(size), flags]
    for turn in range(ROUNDS):
        for i, (p, q, r, s) in enumerate(_PLACES):
            v[p] = b.add(b.add(v[p], v[q]), words[2 * i])
            v[s] = rotate(b.xor(v[s], v[p]), 16)
            v[r] = b.add(v[r], v[s])
            v[q] = rotate(b.xor(v[q], v[r]), 12)
            v[p] = b.add(b.add(v[p], v[q]), words[2 * i + 1])
            v[s] = rotate(b.xor(v[s], v[p]), 8)
            v[r] = b.add(v[r], v[s])
            v[q] = rotate(b.xor(v[q], v[r]), 7)
        if turn < ROUNDS - 1:
            words = [words[i] for i in _ORDER]
    return [b.xor(v[i], v[i + 8]) for i in range(8)]


def _start() -> list[Any]:
    return list(map(_splat, START))


def _put(b: Any, state: list[Any], target: Any) -> None:
    for lane, row in enumerate(_transposed(b, state)):
        _store(b, row, target, HASH_BYTES * lane)


def _eight_chunks(b: Any, source: Any, target: Any, first: Any, chunks: Any, prefix: Any) -> None:
    """Hash chunks `first` … `first` + 7 of inputs that are `prefix` and `chunks` KiB, one input after another."""
    one, zeros = ir.Constant(_i64, 1), ir.Constant(_row, [0] * 32)
    counter = ir.Constant(_lanes, ir.Undefined)
    low, high = [], []
    for lane in range(LANES):
        base = b.add(source, ir.Constant(_i64, CHUNK_BYTES * lane))
        place = b.urem(b.add(first, ir.Constant(_i64, lane)), chunks)
        counter = b.insert_element(counter, b.trunc(place, _i32), ir.Constant(_i32, lane))
        is_first = b.icmp_unsigned("==", place, ir.Constant(_i64, 0))
        # nobody may look before the first byte of all
        before = b.load(b.inttoptr(b.select(is_first, base, b.sub(base, one)), _i8.as_pointer()))
        before = b.select(is_first, b.trunc(prefix, _i8), before)
        head = b.bitcast(_load(b, base, 0), _row)
        order = ir.Constant(ir.VectorType(_i32, 32), [32, *range(31)])
        shifted = b.shuffle_vector(head, zeros, order)
        low.append(b.bitcast(b.insert_element(shifted, before, ir.Constant(_i32, 0)), _lanes))
        high.append(_load(b, base, 31))
    words = [*_transposed(b, low), *_transposed(b, high)]
    state = _compress(b, _start(), words, counter, _BLOCK_BYTES, _splat(CHUNK_START))
    kept = [cgutils.alloca_once_value(b, value) for value in state]
    blocks = ir.Constant(_i64, CHUNK_BYTES // _BLOCK_BYTES - 1)
    with cgutils.for_range(b, blocks) as loop:
        number = b.add(loop.index, one)
        here = b.add(source, b.mul(number, ir.Constant(_i64, _BLOCK_BYTES)))
        halves = [
            _transposed(b, [_load(b, here, CHUNK_BYTES * lane - 1 + half) for lane in range(LANES)])
            for half in (0, 4 * LANES)
        ]
        is_last = b.icmp_unsigned("==", number, blocks)
        flags = b.select(is_last, ir.Constant(_i32, CHUNK_END), ir.Constant(_i32, 0))
        state = [b.load(value) for value in kept]
        state = _compress(b, state, [*halves[0], *halves[1]], counter, _BLOCK_BYTES, _spread(b, flags))
        for place, value in zip(kept, state, strict=True):
            b.store(value, place)
    _put(b, [b.load(value) for value in kept], target)


def _pair_words(b: Any, source: Any) -> list[Any]:
    rows = [[_load(b, source, _BLOCK_BYTES * lane + half) for lane in range(LANES)] for half in (0, 32)]
    return [*_transposed(b, rows[0]), *_transposed(b, rows[1])]


def _eight_parents(b: Any, source: Any, target: Any) -> None:
    _put(b, _compress(b, _start(), _pair_words(b, source), _splat(0), _BLOCK_BYTES, _splat(PARENT)), target)


def _eight_ends(b: Any, source: Any, target: Any, last: Any, chunks: Any) -> None:
    """Join eight inputs' values so far with their last chunks, which are one byte: a word of `last` for each."""
    words = [_load(b, last, 0), *[_splat(0)] * 15]
    counter = _spread(b, b.trunc(chunks, _i32))
    end = _compress(b, _start(), words, counter, 1, _splat(CHUNK_START | CHUNK_END))
    so_far = _transposed(b, [_load(b, source, HASH_BYTES * lane) for lane in range(LANES)])
    _put(b, _compress(b, _start(), [*so_far, *end], _splat(0), _BLOCK_BYTES, _splat(PARENT | ROOT)), target)


def _eight_nodes(b: Any, source: Any, target: Any, prefix: Any) -> None:
    """Hash eight times `prefix` and 64 bytes, which lie one after another."""
    pairs = _pair_words(b, source)
    eight, rest = _splat(8), _splat(24)
    first = _spread(b, b.trunc(prefix, _i32))
    words = [b.or_(b.shl(pairs[0], eight), first)]
    words += [b.or_(b.shl(pairs[i], eight), b.lshr(pairs[i - 1], rest)) for i in range(1, 16)]
    state = _compress(b, _start(), words, _splat(0), _BLOCK_BYTES, _splat(CHUNK_START))
    tail = [b.lshr(pairs[15], rest), *[_splat(0)] * 15]
    _put(b, _compress(b, state, tail, _splat(0), 1, _splat(CHUNK_END | ROOT)), target)


def _generated(generate: Callable[..., None], arguments: int) -> Any:
    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        generate(builder, *values)
        return context.get_dummy_value()

    signature = types.none(*[types.uintp] * arguments)
    if arguments == 2:
        return intrinsic(lambda typing_context, a, b: (signature, code))
    if arguments == 3:
        return intrinsic(lambda typing_context, a, b, c: (signature, code))
    if arguments == 4:
        return intrinsic(lambda typing_context, a, b, c, d: (signature, code))
    return intrinsic(lambda typing_context, a, b, c, d, e: (signature, code))


_chunks, _parents = _generated(_eight_chunks, 5), _generated(_eight_parents, 2)
_ends, _nodes = _generated(_eight_ends, 4), _generated(_eight_nodes, 3)


@intrinsic  # type: ignore[untyped-decorator]
def _byte(typing_context: Any, address: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.zext(builder.load(builder.inttoptr(arguments[0], _i8.as_pointer())), _i32)

    return types.uint32(types.uintp), code


@intrinsic  # type: ignore[untyped-decorator]
def _move(typing_context: Any, source: Any, target: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _store(builder, _load(builder, arguments[0], 0), arguments[1], 0)
        return context.get_dummy_value()

    return types.none(types.uintp, types.uintp), code


def _leaf_hashes(sources: Any, each: Any, chunks: Any, last: Any, scratch: Any, target: Any) -> None:
    lanes, one = types.uintp(LANES), types.uintp(1)
    of_source = each * chunks
    done = types.uintp(0)
    for i in range(len(sources)):
        for at in range(types.uintp(0), of_source, lanes):
            here = sources[i] + at * types.uintp(CHUNK_BYTES)
            _chunks(here, scratch + (done + at) * types.uintp(HASH_BYTES), at, chunks, types.uintp(0))
        done += of_source
        for leaf in range(types.uintp(0), each):
            end = (leaf + one) * chunks * types.uintp(CHUNK_BYTES) - one
            last[types.uintp(i) * each + leaf] = _byte(sources[i] + end)
    width = chunks
    while width > one:
        done >>= one
        for at in range(types.uintp(0), done, lanes):
            _parents(scratch + at * types.uintp(_BLOCK_BYTES), scratch + at * types.uintp(HASH_BYTES))
        width >>= one
    for at in range(types.uintp(0), done, lanes):
        row = at * types.uintp(HASH_BYTES)
        _ends(scratch + row, target + row, last.ctypes.data + at * types.uintp(4), chunks)


def _tops(leaves: Any, width: Any, shares: Any, scratch: Any, target: Any) -> None:
    lanes, one, row = types.uintp(LANES), types.uintp(1), types.uintp(HASH_BYTES)
    for i in range(types.uintp(0), shares):
        source, left, top = leaves + i * width * row, width, target + i * row
        while left > one:
            pairs = left >> one
            _move(source + (left - one) * row, top)  # an odd node goes up unchanged
            for at in range(types.uintp(0), pairs, lanes):
                _nodes(source + at * types.uintp(_BLOCK_BYTES), scratch + at * row, one)
            if left & one:
                _move(top, scratch + pairs * row)
            source, left = scratch, pairs + (left & one)
        _move(source, top)


leaf_hashes = cast(
    Callable[..., None], compiled("void(uintp[::1], uintp, uintp, uint32[::1], uintp, uintp)")(_leaf_hashes)
)
"""(sources, leaves of each, KiB of a leaf, last, scratch, target): hash all leaves behind the addresses `sources`.

KiB of a leaf: a power of two; leaves times KiB of a source: a multiple of LANES. Of L leaves together, rounded up to LANES:
`last` has room for L, `target` for the L hashes, `scratch` for L times KiB hashes and 16 more.
"""

tops = cast(Callable[..., None], compiled("void(uintp, uintp, uintp, uintp, uintp)")(_tops))
"""(leaves, width, shares, scratch, target): the top of each share's tree over its `width` leaf hashes.

The leaves of all shares lie one after another; 16 hashes more than those must be readable. `scratch` has room for `width`
hashes and 16 more, `target` for one per share.
"""
