"""Compiled SHA-254: SHA-256 of 64-byte nodes with the two top bits of the last byte cleared, as Filecoin's trees use it.

A node is two compressions, and the second one hashes padding that is always the same, so its message schedule is a
table. Two kernels are generated as LLVM code and give the same bytes:

    `sha`    two nodes at a time through the CPU's SHA-256 instructions (x86), which hides their latency
    `lanes`  eight nodes at a time in vector lanes, on any CPU

Import this module only where it is used: it loads numba. Compiled code is cached on disk by numba (beside this file,
or in NUMBA_CACHE_DIR or the user's cache folder where that is not writable), per CPU model.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, cast

from fieldstone.services.storage.codes.compiled import compiled

numba: Any = importlib.import_module("numba")
ir: Any = importlib.import_module("llvmlite.ir")
intrinsic: Any = importlib.import_module("numba.extending").intrinsic
types: Any = numba.types

_LANES = 8

GROUP_NODES = _LANES
"""Kernels work on groups of at most this many nodes."""

Kernel = Callable[[int, int, int], None]

_START = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)


def _round_constants() -> list[int]:
    """Return SHA-256's constants: the first 32 fraction bits of the cube roots of the first 64 primes."""
    primes = [p for p in range(2, 312) if all(p % q for q in range(2, int(p**0.5) + 1))]
    constants = []
    for prime in primes:
        scaled, root = prime << 96, 1 << 36
        while root**3 > scaled or (root + 1) ** 3 <= scaled:
            root = (2 * root + scaled // root**2) // 3 if root**3 > scaled else root + 1
        constants.append(root & 0xFFFFFFFF)
    return constants


_K = _round_constants()


def _padding_schedule() -> list[int]:
    """Return K[t] + W[t] of the second block of a 64-byte message."""
    mask = 0xFFFFFFFF

    def rotate(x: int, n: int) -> int:
        return (x >> n | x << 32 - n) & mask

    words = [0x80000000, *[0] * 14, 512]
    for t in range(16, 64):
        a, b = words[t - 15], words[t - 2]
        small0 = rotate(a, 7) ^ rotate(a, 18) ^ a >> 3
        small1 = rotate(b, 17) ^ rotate(b, 19) ^ b >> 10
        words.append((words[t - 16] + small0 + words[t - 7] + small1) & mask)
    return [(k + w) & mask for k, w in zip(_K, words, strict=True)]


_KW = _padding_schedule()

_i8, _i32 = ir.IntType(8), ir.IntType(32)


def _vector(values: Any) -> Any:
    values = list(values)
    return ir.Constant(ir.VectorType(_i32, len(values)), values)


def _mask(values: Any) -> Any:
    return _vector(values)


class _ShaInstructions:
    """One stream of SHA-256 in the layout of the SHA instructions: (A, B, E, F) and (C, D, G, H), highest lane first."""

    def __init__(self, builder: Any) -> None:
        self.b = builder
        self.type = ir.VectorType(_i32, 4)
        self.rounds2 = self._declare("llvm.x86.sha256rnds2", 3)
        self.message1 = self._declare("llvm.x86.sha256msg1", 2)
        self.message2 = self._declare("llvm.x86.sha256msg2", 2)
        a, b, c, d, e, f, g, h = _START
        self.start = (_vector((f, e, b, a)), _vector((h, g, d, c)))
        self.abef, self.cdgh = self.start
        self.words: list[Any] = []

    def _declare(self, name: str, count: int) -> Any:
        module = self.b.module
        return module.globals.get(name) or ir.Function(module, ir.FunctionType(self.type, [self.type] * count), name)

    def swap(self, value: Any) -> Any:
        as_bytes = self.b.bitcast(value, ir.VectorType(_i8, 16))
        order = [i ^ 3 for i in range(16)]
        return self.b.bitcast(self.b.shuffle_vector(as_bytes, as_bytes, _mask(order)), self.type)

    def load(self, address: Any) -> None:
        for i in range(4):
            at = self.b.inttoptr(self.b.add(address, ir.Constant(address.type, 16 * i)), self.type.as_pointer())
            self.words.append(self.swap(self.b.load(at, align=1)))

    def four_rounds(self, kw: Any) -> None:
        self.cdgh = self.b.call(self.rounds2, [self.cdgh, self.abef, kw])
        high = self.b.shuffle_vector(kw, kw, _mask((2, 3, 0, 0)))
        self.abef = self.b.call(self.rounds2, [self.abef, self.cdgh, high])

    def first_block(self, quarter: int) -> None:
        if quarter >= 4:
            w0, w1, w2, w3 = self.words[-4:]
            mixed = self.b.call(self.message1, [w0, w1])
            mixed = self.b.add(mixed, self.b.shuffle_vector(w2, w3, _mask((1, 2, 3, 4))))
            self.words.append(self.b.call(self.message2, [mixed, w3]))
        self.four_rounds(self.b.add(self.words[quarter], _vector(_K[4 * quarter : 4 * quarter + 4])))

    def second_block(self, quarter: int) -> None:
        self.four_rounds(_vector(_KW[4 * quarter : 4 * quarter + 4]))

    def add(self, saved: tuple[Any, Any]) -> tuple[Any, Any]:
        self.abef, self.cdgh = self.b.add(self.abef, saved[0]), self.b.add(self.cdgh, saved[1])
        return self.abef, self.cdgh

    def store(self, address: Any) -> None:
        halves = ((3, 2, 7, 6), (1, 0, 5, 4))
        for i, half in enumerate(halves):
            value = self.swap(self.b.shuffle_vector(self.abef, self.cdgh, _mask(half)))
            if i == 1:
                value = self.b.and_(value, _vector((0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0x3FFFFFFF)))
            at = self.b.inttoptr(self.b.add(address, ir.Constant(address.type, 16 * i)), self.type.as_pointer())
            self.b.store(value, at, align=1)


def _two_nodes(builder: Any, source: Any, target: Any) -> None:
    streams = [_ShaInstructions(builder), _ShaInstructions(builder)]
    for i, stream in enumerate(streams):
        stream.load(builder.add(source, ir.Constant(source.type, 64 * i)))
    for quarter in range(16):
        for stream in streams:
            stream.first_block(quarter)
    middle = [stream.add(stream.start) for stream in streams]
    for quarter in range(16):
        for stream in streams:
            stream.second_block(quarter)
    for i, stream in enumerate(streams):
        stream.add(middle[i])
        stream.store(builder.add(target, ir.Constant(target.type, 32 * i)))


def _lane_nodes(builder: Any, source: Any, target: Any) -> None:
    kind = ir.VectorType(_i32, _LANES)

    def at(address: Any, offset: int) -> Any:
        return builder.inttoptr(builder.add(address, ir.Constant(address.type, offset)), _i32.as_pointer())

    def splat(value: int) -> Any:
        return _vector([value] * _LANES)

    swap32 = builder.module.globals.get("llvm.bswap.i32") or ir.Function(
        builder.module, ir.FunctionType(_i32, [_i32]), "llvm.bswap.i32"
    )

    def rotate(x: Any, n: int) -> Any:
        return builder.or_(builder.lshr(x, splat(n)), builder.shl(x, splat(32 - n)))

    def xor(*values: Any) -> Any:
        result = values[0]
        for value in values[1:]:
            result = builder.xor(result, value)
        return result

    def rounds(state: list[Any], kw_of: Any) -> list[Any]:
        a, b, c, d, e, f, g, h = state
        for t in range(64):
            choice = xor(g, builder.and_(e, xor(f, g)))
            one = builder.add(builder.add(h, kw_of(t)), choice)
            one = builder.add(one, xor(rotate(e, 6), rotate(e, 11), rotate(e, 25)))
            majority = builder.or_(builder.and_(a, b), builder.and_(c, builder.or_(a, b)))
            two = builder.add(xor(rotate(a, 2), rotate(a, 13), rotate(a, 22)), majority)
            a, b, c, d, e, f, g, h = builder.add(one, two), a, b, c, builder.add(d, one), e, f, g
        return [builder.add(old, new) for old, new in zip(state, (a, b, c, d, e, f, g, h), strict=True)]

    words = []
    for i in range(16):
        word = ir.Constant(kind, ir.Undefined)
        for lane in range(_LANES):
            value = builder.call(swap32, [builder.load(at(source, 64 * lane + 4 * i), align=1)])
            word = builder.insert_element(word, value, ir.Constant(_i32, lane))
        words.append(word)

    def first(t: int) -> Any:
        if t >= 16:
            a, b = words[t - 15], words[t - 2]
            small0 = xor(rotate(a, 7), rotate(a, 18), builder.lshr(a, splat(3)))
            small1 = xor(rotate(b, 17), rotate(b, 19), builder.lshr(b, splat(10)))
            words.append(builder.add(builder.add(words[t - 16], small0), builder.add(words[t - 7], small1)))
        return builder.add(words[t], splat(_K[t]))

    state = rounds([splat(value) for value in _START], first)
    state = rounds(state, lambda t: splat(_KW[t]))
    for i, word in enumerate(state):
        for lane in range(_LANES):
            value = builder.call(swap32, [builder.extract_element(word, ir.Constant(_i32, lane))])
            if i == 7:
                value = builder.and_(value, ir.Constant(_i32, 0x3FFFFFFF))
            builder.store(value, at(target, 32 * lane + 4 * i), align=1)


def _generated(generate: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        generate(builder, *arguments)
        return context.get_dummy_value()

    return code


@intrinsic  # type: ignore[untyped-decorator]
def _sha_two(typing_context: Any, source: Any, target: Any) -> Any:
    return types.none(types.uintp, types.uintp), _generated(_two_nodes)


@intrinsic  # type: ignore[untyped-decorator]
def _sha_lanes(typing_context: Any, source: Any, target: Any) -> Any:
    return types.none(types.uintp, types.uintp), _generated(_lane_nodes)


def _nodes_by_instructions(source: Any, target: Any, count: Any) -> None:
    for i in range((count + types.uintp(1)) // types.uintp(2)):
        _sha_two(source + types.uintp(i) * types.uintp(128), target + types.uintp(i) * types.uintp(64))


def _nodes_in_lanes(source: Any, target: Any, count: Any) -> None:
    for i in range((count + types.uintp(7)) // types.uintp(8)):
        _sha_lanes(source + types.uintp(i) * types.uintp(512), target + types.uintp(i) * types.uintp(256))


def has_instructions() -> bool:
    """Tell whether this CPU has SHA-256 instructions that the `sha` kernel can use."""
    return bool(importlib.import_module("llvmlite.binding").get_host_cpu_features().get("sha"))


@functools.cache
def kernel(name: str = "") -> Kernel:
    """Return a kernel by name (`sha`, `lanes`), or the faster one that this CPU has.

    It takes (source address, target address, count): `count` nodes of 64 bytes to hashes of 32. Target may be source.
    It works on whole groups of `GROUP_NODES`, so both places must have room for `count` rounded up to that.
    """
    name = name or ("sha" if has_instructions() else "lanes")
    return cast(
        Kernel, compiled("void(uintp, uintp, uintp)")(_nodes_by_instructions if name == "sha" else _nodes_in_lanes)
    )
