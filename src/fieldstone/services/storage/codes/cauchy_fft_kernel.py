"""The steps of `cauchy_fft`, compiled for x86 with AVX2: additions and products with a constant over strips of bytes.

A constant's product is two look-ups of 16 entries (low and high half byte), which AVX2 does for 32 bytes at a time.
Import this module only where it is used: it loads numba.
"""

from __future__ import annotations

import importlib
from typing import Any

from fieldstone.services.storage.codes.cauchy_fft_steps import DOWN, DOWN_FIRST, OUT, OUT_FIRST, SUM, UP
from fieldstone.services.storage.codes.compiled import compiled

numba: Any = importlib.import_module("numba")
ir: Any = importlib.import_module("llvmlite.ir")
cgutils: Any = importlib.import_module("numba.core.cgutils")
intrinsic: Any = importlib.import_module("numba.extending").intrinsic
types: Any = numba.types

VECTOR_BYTES = 32

_vector = ir.VectorType(ir.IntType(8), VECTOR_BYTES)


def available() -> bool:
    """Tell whether this CPU runs the kernel."""
    return bool(importlib.import_module("llvmlite.binding").get_host_cpu_features().get("avx2"))


def _step(kind: int) -> Any:
    def build(builder: Any, x: Any, y: Any, v: Any, w: Any, table: Any, scale: Any, vectors: Any) -> None:
        def pointer(address: Any, offset: Any) -> Any:
            return builder.inttoptr(builder.add(address, offset), _vector.as_pointer())

        def load(address: Any, offset: Any) -> Any:
            return builder.load(pointer(address, offset), align=1)

        def store(value: Any, address: Any, offset: Any) -> None:
            builder.store(value, pointer(address, offset), align=1)

        shuffle_type = ir.FunctionType(_vector, [_vector, _vector])
        shuffle = cgutils.get_or_insert_function(builder.module, shuffle_type, "llvm.x86.avx2.pshuf.b")
        words = ir.VectorType(ir.IntType(16), VECTOR_BYTES // 2)
        mask = ir.Constant(_vector, [15] * VECTOR_BYTES)
        four = ir.Constant(words, [4] * (VECTOR_BYTES // 2))
        halves = ir.Constant(x.type, 0), ir.Constant(x.type, VECTOR_BYTES)
        by_constant = [load(table, half) for half in halves]
        by_scale = [load(scale, half) for half in halves]

        def times(value: Any, tables: Any) -> Any:
            high = builder.bitcast(builder.lshr(builder.bitcast(value, words), four), _vector)
            low_part = builder.call(shuffle, [tables[0], builder.and_(value, mask)])
            return builder.xor(low_part, builder.call(shuffle, [tables[1], builder.and_(high, mask)]))

        with cgutils.for_range(builder, vectors) as loop:
            at = builder.mul(loop.index, ir.Constant(x.type, VECTOR_BYTES))
            first, second = load(x, at), load(y, at)
            if kind in (UP, SUM):
                second = builder.xor(first, second)
                store(second, w, at)
                store(first if kind == SUM else builder.xor(first, times(second, by_constant)), v, at)
                return
            first = builder.xor(first, times(second, by_constant))
            if kind in (OUT, OUT_FIRST):
                first = times(first, by_scale)
            store(first, v, at)
            if kind == DOWN:
                store(builder.xor(first, second), w, at)
            elif kind == OUT:
                store(builder.xor(first, times(second, by_scale)), w, at)

    @intrinsic  # type: ignore[untyped-decorator]
    def step(typing_context: Any, x: Any, y: Any, v: Any, w: Any, table: Any, scale: Any, vectors: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            build(builder, *arguments)
            return context.get_dummy_value()

        return types.none(*[types.uintp] * 7), code

    return step


_down, _down_first, _up, _sum, _out, _out_first = (_step(kind) for kind in (DOWN, DOWN_FIRST, UP, SUM, OUT, OUT_FIRST))


@compiled("void(int64[:, ::1], uintp[::1], uintp[::1], uintp, uintp, uintp)")
def run(program: Any, rows: Any, moves: Any, tables: Any, length: Any, strip: Any) -> None:
    """Run the steps over strips of `length` bytes; `rows` are addresses, `moves` 1 where they advance with the strips.

    A step is (kind, x, y, v, w, c, s, count): `count` rows one after another, which lie `strip` bytes apart.
    `strip` is a multiple of VECTOR_BYTES, at most `length`; the last strip overlaps the one before it.
    """
    vectors = strip // types.uintp(VECTOR_BYTES)
    start = types.uintp(0)
    while True:
        for i in range(program.shape[0]):
            kind = program[i, 0]
            x = rows[program[i, 1]] + moves[program[i, 1]] * start
            y = rows[program[i, 2]] + moves[program[i, 2]] * start
            v = rows[program[i, 3]] + moves[program[i, 3]] * start
            w = rows[program[i, 4]] + moves[program[i, 4]] * start
            table = tables + types.uintp(program[i, 5]) * types.uintp(2 * VECTOR_BYTES)
            scale = tables + types.uintp(program[i, 6]) * types.uintp(2 * VECTOR_BYTES)
            together = vectors * types.uintp(program[i, 7])
            if kind == DOWN:
                _down(x, y, v, w, table, scale, together)
            elif kind == UP:
                _up(x, y, v, w, table, scale, together)
            elif kind == SUM:
                _sum(x, y, v, w, table, scale, together)
            elif kind == OUT:
                _out(x, y, v, w, table, scale, together)
            elif kind == OUT_FIRST:
                _out_first(x, y, v, w, table, scale, together)
            else:
                _down_first(x, y, v, w, table, scale, together)
        if start + strip >= length:
            break
        start = min(start + strip, length - strip)
