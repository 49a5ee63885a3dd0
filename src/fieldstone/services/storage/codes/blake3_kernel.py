"""Compiled BLAKE3 of one prefix byte and 64 bytes, eight at a time in vector lanes, on any CPU.

Nodes of audit trees are that short, and calling a library for each costs more than hashing it. Source: BLAKE3
specification 2.2-2.4. Import this module only where it is used: it loads numba.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, cast

from fieldstone.services.storage.codes.compiled import compiled

numba: Any = importlib.import_module("numba")
ir: Any = importlib.import_module("llvmlite.ir")
intrinsic: Any = importlib.import_module("numba.extending").intrinsic
types: Any = numba.types

LANES = 8
_BLOCK_BYTES = 64
_CHUNK_START, _CHUNK_END, _ROOT = 1, 2, 8

_START = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
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

_i8, _i32 = ir.IntType(8), ir.IntType(32)
_lanes = ir.VectorType(_i32, LANES)


def _splat(value: int) -> Any:
    return ir.Constant(_lanes, [value] * LANES)


def _compress(b: Any, state: list[Any], words: list[Any], length: int, flags: int) -> list[Any]:
    def rotate(x: Any, n: int) -> Any:
        return b.or_(b.lshr(x, _splat(n)), b.shl(x, _splat(32 - n)))

    v = [*state, *map(_splat, _START[:4]), _splat(0), _splat(0), _splat(length), _splat(flags)]
    for turn in range(7):
        for i, (p, q, r, s) in enumerate(_PLACES):
            v[p] = b.add(b.add(v[p], v[q]), words[2 * i])
            v[s] = rotate(b.xor(v[s], v[p]), 16)
            v[r] = b.add(v[r], v[s])
            v[q] = rotate(b.xor(v[q], v[r]), 12)
            v[p] = b.add(b.add(v[p], v[q]), words[2 * i + 1])
            v[s] = rotate(b.xor(v[s], v[p]), 8)
            v[r] = b.add(v[r], v[s])
            v[q] = rotate(b.xor(v[q], v[r]), 7)
        if turn < 6:
            words = [words[i] for i in _ORDER]
    return [b.xor(v[i], v[i + 8]) for i in range(8)]


def _eight_hashes(b: Any, source: Any, target: Any, prefix: Any) -> None:
    def at(address: Any, offset: int, kind: Any) -> Any:
        return b.inttoptr(b.add(address, ir.Constant(address.type, offset)), kind.as_pointer())

    def lane_of(lane: int) -> Any:
        return ir.Constant(_i32, lane)

    words: list[Any] = [ir.Constant(_lanes, ir.Undefined) for _ in range(17)]
    for lane in range(LANES):
        base = _BLOCK_BYTES * lane
        first = b.or_(b.shl(b.load(at(source, base, _i32), align=1), ir.Constant(_i32, 8)), prefix)
        middle = [b.load(at(source, base + 4 * i - 1, _i32), align=1) for i in range(1, 16)]
        last = b.zext(b.load(at(source, base + 63, _i8), align=1), _i32)
        for i, value in enumerate([first, *middle, last]):
            words[i] = b.insert_element(words[i], value, lane_of(lane))
    state = _compress(b, list(map(_splat, _START)), words[:16], _BLOCK_BYTES, _CHUNK_START)
    tail = [words[16], *[_splat(0)] * 15]
    state = _compress(b, state, tail, 1, _CHUNK_END | _ROOT)
    for i, word in enumerate(state):
        for lane in range(LANES):
            b.store(b.extract_element(word, lane_of(lane)), at(target, 32 * lane + 4 * i, _i32), align=1)


@intrinsic  # type: ignore[untyped-decorator]
def _eight(typing_context: Any, source: Any, target: Any, prefix: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _eight_hashes(builder, *arguments)
        return context.get_dummy_value()

    return types.none(types.uintp, types.uintp, types.uint32), code


def _hashes(source: Any, target: Any, count: Any, prefix: Any) -> None:
    for i in range((count + types.uintp(7)) // types.uintp(8)):
        _eight(source + types.uintp(i) * types.uintp(512), target + types.uintp(i) * types.uintp(256), prefix)


hashes = cast(
    Callable[[int, int, int, int], None],
    compiled("void(uintp, uintp, uintp, uint32)")(_hashes),
)
"""(source address, target address, count, prefix): `count` times 64 bytes to 32-byte hashes; target may be source.

It works on whole groups of LANES, so both places must have room for `count` rounded up to that.
"""
