"""Compiled BLAKE2b-256 of one prefix byte and 64 bytes, four at a time in vector lanes, on any CPU. RFC 7693.

Import this module only where it is used: it loads numba.
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

LANES = 4
_MESSAGE_BYTES = 65

_START = (
    0x6A09E667F3BCC908,
    0xBB67AE8584CAA73B,
    0x3C6EF372FE94F82B,
    0xA54FF53A5F1D36F1,
    0x510E527FADE682D1,
    0x9B05688C2B3E6C1F,
    0x1F83D9ABFB41BD6B,
    0x5BE0CD19137E2179,
)
_SIGMA = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
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

_i8, _i64 = ir.IntType(8), ir.IntType(64)
_lanes = ir.VectorType(_i64, LANES)


def _splat(value: int) -> Any:
    return ir.Constant(_lanes, [value & (1 << 64) - 1] * LANES)


def _four_hashes(b: Any, source: Any, target: Any, prefix: Any) -> None:
    def at(address: Any, offset: int, kind: Any) -> Any:
        return b.inttoptr(b.add(address, ir.Constant(address.type, offset)), kind.as_pointer())

    def rotate(x: Any, n: int) -> Any:
        return b.or_(b.lshr(x, _splat(n)), b.shl(x, _splat(64 - n)))

    words: list[Any] = [ir.Constant(_lanes, ir.Undefined) for _ in range(9)]
    for lane in range(LANES):
        first = b.or_(b.shl(b.load(at(source, 64 * lane, _i64), align=1), ir.Constant(_i64, 8)), prefix)
        last = b.zext(b.load(at(source, 64 * lane + 63, _i8), align=1), _i64)
        middle = [b.load(at(source, 64 * lane + 8 * i - 1, _i64), align=1) for i in range(1, 8)]
        for i, value in enumerate([first, *middle, last]):
            words[i] = b.insert_element(words[i], value, ir.Constant(ir.IntType(32), lane))
    words += [_splat(0)] * 7

    parameters = _START[0] ^ 0x01010000 ^ 32
    state = [_splat(parameters), *map(_splat, _START[1:])]
    v = [*state, *map(_splat, _START)]
    v[12] = _splat(_START[4] ^ _MESSAGE_BYTES)
    v[14] = _splat(~_START[6])
    for turn in range(12):
        order = _SIGMA[turn % 10]
        for i, (p, q, r, s) in enumerate(_PLACES):
            v[p] = b.add(b.add(v[p], v[q]), words[order[2 * i]])
            v[s] = rotate(b.xor(v[s], v[p]), 32)
            v[r] = b.add(v[r], v[s])
            v[q] = rotate(b.xor(v[q], v[r]), 24)
            v[p] = b.add(b.add(v[p], v[q]), words[order[2 * i + 1]])
            v[s] = rotate(b.xor(v[s], v[p]), 16)
            v[r] = b.add(v[r], v[s])
            v[q] = rotate(b.xor(v[q], v[r]), 63)
    for i in range(4):
        word = b.xor(state[i], b.xor(v[i], v[i + 8]))
        for lane in range(LANES):
            value = b.extract_element(word, ir.Constant(ir.IntType(32), lane))
            b.store(value, at(target, 32 * lane + 8 * i, _i64), align=1)


@intrinsic  # type: ignore[untyped-decorator]
def _four(typing_context: Any, source: Any, target: Any, prefix: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _four_hashes(builder, *arguments)
        return context.get_dummy_value()

    return types.none(types.uintp, types.uintp, types.uint64), code


def _hashes(source: Any, target: Any, count: Any, prefix: Any) -> None:
    for i in range((count + types.uintp(3)) // types.uintp(4)):
        _four(source + types.uintp(i) * types.uintp(256), target + types.uintp(i) * types.uintp(128), prefix)


hashes = cast(
    Callable[[int, int, int, int], None],
    compiled("void(uintp, uintp, uintp, uint64)")(_hashes),
)
"""(source address, target address, count, prefix): `count` times 64 bytes to 32-byte hashes; target may be source.

It works on whole groups of LANES, so both places must have room for `count` rounded up to that.
"""
