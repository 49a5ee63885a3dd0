"""The nodes inside BLAKE3: chaining values of its chunks and parents, many side by side in NumPy.

Libraries give out the hash of a whole input only. Source: BLAKE3 specification 2.1-2.5.

    chunk   up to 1,024 bytes of the input in blocks of 64, compressed one after another; counter: its number
    parent  64 bytes: the chaining values of left and right; counter 0
    flags   CHUNK_START and CHUNK_END mark a chunk's first and last block, PARENT a parent, ROOT the last node of all,
            KEYED all of a keyed hash, which begins with its key where the others begin with a constant

Flags and counter enter every compression, so a parent cannot pose as a chunk, a chunk not as another, a part not as the
whole. The tree pairs level by level, and an odd node moves up unchanged (2.5: the left side is the largest power of two).

Chaining values are arrays of eight little-endian words, lanes first: shape (lanes, 8).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES = 1_024
BLOCK_BYTES = 64
START = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED = 1, 2, 4, 8, 16
ROUNDS = 7

Words = NDArray[np.uint32]


def _schedule() -> NDArray[np.intp]:
    """Return which message word is mixed in where, for all rounds: columns' first, second, diagonals' first, second."""
    order, found = list(range(16)), []
    for _ in range(ROUNDS):
        found += [order[0:8:2], order[1:8:2], order[8::2], order[9::2]]
        order = [order[i] for i in ORDER]
    return np.array(found)


_SCHEDULE = _schedule()
_START = np.array(START, np.uint32)
_LEFT, _HALF, _RIGHT = np.array([1, 2, 3, 0]), np.array([2, 3, 0, 1]), np.array([3, 0, 1, 2])
_TURNS = [(np.uint32(n), np.uint32(32 - n)) for n in (16, 12, 8, 7)]


def chunk_values(
    messages: Words,
    lengths: NDArray[np.int64],
    counters: NDArray[np.int64],
    is_root: bool | NDArray[np.bool_],
    key: bytes = b"",
) -> Words:
    """Return the chaining values of chunks: messages (lanes, 256), zeros behind the end; 0 … 1,024 bytes long.

    `is_root`: of each lane or of all, whether the chunk is the whole input; its value is then the hash. `key`: of a keyed hash.
    """
    start, mode = _start(key)
    lanes = len(messages)
    blocks = messages.reshape(lanes, 16, 16).transpose(1, 2, 0)
    last = np.maximum(lengths - 1, 0) // BLOCK_BYTES
    end = CHUNK_END | np.where(is_root, ROOT, 0).astype(np.uint32)
    value = np.repeat(start[:, None], lanes, axis=1)
    for number in range(int(last.max(initial=0)) + 1):
        flags = np.where(number == last, end, 0) | mode | (CHUNK_START if number == 0 else 0)
        size = np.clip(lengths - number * BLOCK_BYTES, 0, BLOCK_BYTES)
        value = np.where(number <= last, _compress(value, blocks[number], counters, size, flags), value)
    return np.ascontiguousarray(value.T)


def parent_values(left: Words, right: Words, is_root: bool | NDArray[np.bool_], key: bytes = b"") -> Words:
    """Return the chaining values over pairs. `is_root`: whether the pair is the whole input's. `key`: of a keyed hash."""
    start, mode = _start(key)
    lanes = len(left)
    block = np.concatenate((left.T, right.T))
    flags = np.broadcast_to(PARENT | mode | np.where(is_root, ROOT, 0), (lanes,))
    nothing = np.zeros(lanes, np.int64)
    value = _compress(np.repeat(start[:, None], lanes, axis=1), block, nothing, nothing + BLOCK_BYTES, flags)
    return np.ascontiguousarray(value.T)


def _start(key: bytes) -> tuple[Words, int]:
    return (np.frombuffer(key, "<u4"), KEYED) if key else (_START, 0)


def _compress(
    value: Words, block: Words, counters: NDArray[np.int64], sizes: NDArray[np.int64], flags: NDArray[np.integer]
) -> Words:
    """Compress one block per lane; words first here: shapes (8, lanes) and (16, lanes)."""
    words = block[_SCHEDULE]
    a, b = value[:4].copy(), value[4:].copy()
    c = np.repeat(_START[:4, None], value.shape[1], axis=1)
    d = np.stack((counters & 0xFFFFFFFF, counters >> 32, sizes, flags)).astype(np.uint32)
    for number in range(0, 4 * ROUNDS, 4):
        _mix(a, b, c, d, words[number], words[number + 1])
        b, c, d = b.take(_LEFT, 0), c.take(_HALF, 0), d.take(_RIGHT, 0)  # diagonals become columns, and back
        _mix(a, b, c, d, words[number + 2], words[number + 3])
        b, c, d = b.take(_RIGHT, 0), c.take(_HALF, 0), d.take(_LEFT, 0)
    return np.concatenate((a ^ c, b ^ d))


def _mix(a: Words, b: Words, c: Words, d: Words, first: Words, second: Words) -> None:
    """Mix four columns in place, one quarter round each."""
    for word, ((d_right, d_left), (b_right, b_left)) in ((first, _TURNS[:2]), (second, _TURNS[2:])):
        a += b
        a += word
        d ^= a
        np.bitwise_or(d >> d_right, d << d_left, out=d)
        c += d
        b ^= c
        np.bitwise_or(b >> b_right, b << b_left, out=b)
