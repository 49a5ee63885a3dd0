"""Compiled BLAKE3 of the nodes that a proof of possession goes through, from chunk to commitment, one proof after another.

Each is so short that calling a library for it costs more than hashing it, and libraries give out no inner nodes. Sources:
BLAKE3 specification 2.1-2.5, `fast_tree`. Import this module only where it is used: it loads numba.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, cast

from fieldstone.services.storage.codes.blake3_inner import CHUNK_END, CHUNK_START, KEYED, PARENT, ROOT, ROUNDS, START
from fieldstone.services.storage.codes.compiled import compiled
from fieldstone.services.storage.codes.fast_tree import LEAF_KEY, NODE_KEY, SHARE_KEY, VERSION

np: Any = importlib.import_module("numpy")
u32: Any = np.uint32

_A, _B, _C, _D = START[:4]
_WHOLE = CHUNK_START | CHUNK_END | ROOT | KEYED  # of an input of one block
_KEYS = np.frombuffer(LEAF_KEY + NODE_KEY + SHARE_KEY, "<u4").reshape(3, 8).copy()
_LEAF, _NODE, _SHARE = range(3)


@compiled("UniTuple(u4, 4)(u4, u4, u4, u4, u4, u4)")
def _mix(a: Any, b: Any, c: Any, d: Any, first: Any, second: Any) -> Any:
    a = u32(a + b + first)
    d = u32(d ^ a)
    d = u32((d >> 16) | (d << 16))
    c = u32(c + d)
    b = u32(b ^ c)
    b = u32((b >> 12) | (b << 20))
    a = u32(a + b + second)
    d = u32(d ^ a)
    d = u32((d >> 8) | (d << 24))
    c = u32(c + d)
    b = u32(b ^ c)
    b = u32((b >> 7) | (b << 25))
    return a, b, c, d


@compiled("void(u4[::1], u4[::1], i8, i8, i8, i8)")
def _compress(value: Any, words: Any, at: Any, counter: Any, size: Any, flags: Any) -> None:
    """Compress words[at … at + 16] into `value`."""
    m0, m1, m2, m3 = words[at], words[at + 1], words[at + 2], words[at + 3]
    m4, m5, m6, m7 = words[at + 4], words[at + 5], words[at + 6], words[at + 7]
    m8, m9, m10, m11 = words[at + 8], words[at + 9], words[at + 10], words[at + 11]
    m12, m13, m14, m15 = words[at + 12], words[at + 13], words[at + 14], words[at + 15]
    a0, a1, a2, a3 = value[0], value[1], value[2], value[3]
    b0, b1, b2, b3 = value[4], value[5], value[6], value[7]
    c0, c1, c2, c3 = u32(_A), u32(_B), u32(_C), u32(_D)
    d0, d1, d2, d3 = u32(counter), u32(0), u32(size), u32(flags)
    for _ in range(ROUNDS):
        a0, b0, c0, d0 = _mix(a0, b0, c0, d0, m0, m1)
        a1, b1, c1, d1 = _mix(a1, b1, c1, d1, m2, m3)
        a2, b2, c2, d2 = _mix(a2, b2, c2, d2, m4, m5)
        a3, b3, c3, d3 = _mix(a3, b3, c3, d3, m6, m7)
        a0, b1, c2, d3 = _mix(a0, b1, c2, d3, m8, m9)
        a1, b2, c3, d0 = _mix(a1, b2, c3, d0, m10, m11)
        a2, b3, c0, d1 = _mix(a2, b3, c0, d1, m12, m13)
        a3, b0, c1, d2 = _mix(a3, b0, c1, d2, m14, m15)
        m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15 = (
            *(m2, m6, m3, m10, m7, m0, m4, m13),
            *(m1, m11, m12, m5, m9, m14, m15, m8),
        )
    value[0], value[1], value[2], value[3] = a0 ^ c0, a1 ^ c1, a2 ^ c2, a3 ^ c3
    value[4], value[5], value[6], value[7] = b0 ^ d0, b1 ^ d1, b2 ^ d2, b3 ^ d3


@compiled("void(u4[::1], i8)")
def _begin(value: Any, domain: Any) -> None:
    for i in range(8):
        value[i] = _KEYS[domain, i]


@compiled("void(u4[::1], u4[::1], u4[::1], i8, i8)")
def _pair(block: Any, value: Any, siblings: Any, at: Any, is_right: Any) -> None:
    """Put `value` and its sibling into `block`, left and right."""
    mine, other = (8, 0) if is_right else (0, 8)
    for i in range(8):
        block[mine + i] = value[i]
        block[other + i] = siblings[at + i]


@compiled("void(u4[::1], u4[::1], i8, i8)")
def _commit(value: Any, block: Any, size_bytes: Any, leaf_bytes: Any) -> None:
    """Hash version u32, leaf size u32, share length u64 and the top: 48 bytes."""
    block[0], block[1] = VERSION, leaf_bytes
    block[2], block[3] = size_bytes & 0xFFFFFFFF, size_bytes >> 32
    for i in range(8):
        block[4 + i] = value[i]
    for i in range(12, 16):
        block[i] = 0
    _begin(value, _SHARE)
    _compress(value, block, 0, 0, 48, _WHOLE)


@compiled("void(u4[::1], u4[::1], i8, i8, i8, i8)")
def _chunk(value: Any, messages: Any, at: Any, length: Any, number: Any, whole: Any) -> None:
    """Put the chaining value of a chunk of `length` bytes into `value`. `whole`: ROOT when it is the whole input."""
    last = max(length - 1, 0) // 64
    _begin(value, _LEAF)
    for block in range(last + 1):
        flags = KEYED | (CHUNK_START if block == 0 else 0) | (CHUNK_END | whole if block == last else 0)
        _compress(value, messages, at + 16 * block, number, min(length - 64 * block, 64), flags)


def _chunks(messages: Any, lengths: Any, numbers: Any, found: Any) -> None:
    for i in range(len(lengths)):
        _chunk(found[i], messages, 256 * i, lengths[i], numbers[i], 0)


def _parents(pairs: Any, found: Any) -> None:
    for i in range(len(found)):
        _begin(found[i], _LEAF)
        _compress(found[i], pairs, 16 * i, 0, 64, PARENT | KEYED)


def _verify(messages: Any, shapes: Any, siblings: Any, commitments: Any, leaves: Any, holds: Any) -> None:
    value, block = np.empty(8, np.uint32), np.empty(16, np.uint32)
    at = 0
    for i in range(len(shapes)):
        size_bytes, leaf_bytes, length, given = shapes[i, 0], shapes[i, 1], shapes[i, 2], shapes[i, 3]
        place, width = shapes[i, 4], shapes[i, 5]  # of the chunk in its leaf
        _chunk(value, messages, 256 * i, length, place, ROOT if width == 1 else 0)
        used = 0
        while width > 1 and used <= given:
            if place & 1 or place + 1 < width:
                if used < given:
                    _pair(block, value, siblings, at + 8 * used, place & 1)
                    _begin(value, _LEAF)
                    _compress(value, block, 0, 0, 64, PARENT | KEYED | (ROOT if width == 2 else 0))
                used += 1
            place, width = place >> 1, (width + 1) >> 1
        for word in range(8):
            leaves[i, word] = value[word]
        place, width = shapes[i, 6], shapes[i, 7]  # of the leaf in its share
        while width > 1 and used <= given:
            if place & 1 or place + 1 < width:
                if used < given:
                    _pair(block, value, siblings, at + 8 * used, place & 1)
                    _begin(value, _NODE)
                    _compress(value, block, 0, 0, 64, _WHOLE)
                used += 1
            place, width = place >> 1, (width + 1) >> 1
        _commit(value, block, size_bytes, leaf_bytes)
        holds[i] = used == given
        for word in range(8):
            holds[i] &= value[word] == commitments[i, word]
        at += 8 * given


chunks = cast(Callable[..., None], compiled("void(u4[::1], i8[::1], i8[::1], u4[:,::1])")(_chunks))
parents = cast(Callable[..., None], compiled("void(u4[::1], u4[:,::1])")(_parents))
"""Inner chaining values of leaves, none a whole leaf's: as in `blake3_inner`, written into the last argument."""

verify = cast(
    Callable[..., None], compiled("void(u4[::1], i8[:,::1], u4[::1], u4[:,::1], u4[:,::1], b1[::1])")(_verify)
)
"""(messages, shapes, siblings, commitments, leaves, holds): see `chunk_opening`, which fills and reads them."""
