"""Arweave's data_root: the Merkle root that a transaction signs over its data, and the data paths that prove chunks.

    leaf id   = H(H(data hash) ‖ H(note(end)))             H = SHA-256, note(x) = x as 32 bytes big-endian
    branch id = H(H(left) ‖ H(right) ‖ H(note(end of left)))     an odd node moves up unchanged
    path      = (left ‖ right ‖ note)* ‖ data hash ‖ note(end)

Chunks are 256 KiB; a rest shorter than 32 KiB is shared with the chunk before it, half and half; data of whole chunks
gets an empty chunk at the end, which is in the tree but never uploaded. Source: arweave-js `merkle.ts`, `ar_merkle.erl`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from fieldstone.errors import UsageError
from fieldstone.services.storage.codes.buffer import Buffer

CHUNK_BYTES = 256 * 1024
LEAST_CHUNK_BYTES = 32 * 1024
_HASH_BYTES = 32
_LEAF_PATH_BYTES = 64
_BRANCH_PATH_BYTES = 96


class Chunk(NamedTuple):
    """Bytes `start` … `end` of the data, hashed to `data_hash`."""

    data_hash: bytes
    start: int
    end: int


class _Node(NamedTuple):
    identity: bytes
    end: int


@dataclass(frozen=True)
class DataTree:
    """The chunks of some data and the levels of the tree over them, leaves first."""

    chunks: tuple[Chunk, ...]
    levels: tuple[tuple[_Node, ...], ...]

    @property
    def data_root(self) -> bytes:
        """What the transaction signs."""
        return self.levels[-1][0].identity

    @property
    def size_bytes(self) -> int:
        """Length of the data."""
        return self.chunks[-1].end

    def path(self, index: int) -> bytes:
        """Return the data path of chunk `index`. Raises UsageError for a chunk that does not exist."""
        if not 0 <= index < len(self.chunks):
            raise UsageError(f"chunk {index} is not one of {len(self.chunks)}")
        chunk = self.chunks[index]
        parts = [chunk.data_hash + _note(chunk.end)]
        for level in self.levels[:-1]:
            left = index & ~1
            if left + 1 < len(level):
                parts.append(level[left].identity + level[left + 1].identity + _note(level[left].end))
            index >>= 1
        return b"".join(reversed(parts))


class Hasher:
    """Build the tree as bytes arrive. Memory: one chunk and 100 bytes per chunk. Not thread-safe."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._chunks: list[Chunk] = []
        self._end = 0

    def update(self, data: Buffer) -> None:
        """Take the next bytes."""
        self._rest += data
        # a chunk is cut as soon as what follows cannot be too short a rest any more
        at = 0
        view = memoryview(self._rest)
        while len(view) - at >= CHUNK_BYTES + LEAST_CHUNK_BYTES:
            self._cut(view[at : at + CHUNK_BYTES])
            at += CHUNK_BYTES
        view.release()
        del self._rest[:at]

    def finish(self) -> DataTree:
        """Return the tree; nothing may follow. Raises UsageError when there was no byte: no data, no data_root."""
        rest = bytes(self._rest)
        if not self._end and not rest:
            raise UsageError("there are no bytes: an Arweave transaction without data has no data_root")
        at = 0
        while len(rest) - at >= CHUNK_BYTES:
            left = len(rest) - at
            length = -(-left // 2) if 0 < left - CHUNK_BYTES < LEAST_CHUNK_BYTES else CHUNK_BYTES
            self._cut(rest[at : at + length])
            at += length
        self._cut(rest[at:])
        level = [_Node(_hash(_hash(chunk.data_hash) + _hash(_note(chunk.end))), chunk.end) for chunk in self._chunks]
        levels = [tuple(level)]
        while len(levels[-1]) > 1:
            levels.append(_level_above(levels[-1]))
        return DataTree(tuple(self._chunks), tuple(levels))

    def _cut(self, data: Buffer) -> None:
        self._chunks.append(Chunk(_hash(data), self._end, self._end + len(data)))
        self._end += len(data)


def build(data: Buffer | Iterable[Buffer]) -> DataTree:
    """Return the tree of data given whole or in pieces. Raises UsageError when it is empty."""
    hasher = Hasher()
    for part in [data] if isinstance(data, bytes | bytearray | memoryview) else data:
        hasher.update(part)
    return hasher.finish()


def verify_path(data_root: bytes, size_bytes: int, offset: int, path: bytes) -> Chunk | None:
    """Return the chunk that holds byte `offset` of the data under `data_root`, if `path` proves it; None otherwise.

    Besides the hashes every border on the way must lie inside the borders before it, so a chunk's place and length are
    proved too. The caller compares the chunk's hash with the bytes at hand.
    """
    if not 0 <= offset < size_bytes or len(path) < _LEAF_PATH_BYTES:
        return None
    if (len(path) - _LEAF_PATH_BYTES) % _BRANCH_PATH_BYTES:
        return None
    expected, low, high, at = data_root, 0, size_bytes, 0
    while len(path) - at > _LEAF_PATH_BYTES:
        left, right, note = (path[at + i : at + i + _HASH_BYTES] for i in (0, 32, 64))
        if _hash(_hash(left) + _hash(right) + _hash(note)) != expected:
            return None
        border = int.from_bytes(note, "big")
        # a border at the very end has the empty last chunk on its right
        if not low < border <= high:
            return None
        if offset < border:
            expected, high = left, border
        else:
            expected, low = right, border
        at += _BRANCH_PATH_BYTES
    data_hash, note = path[at : at + _HASH_BYTES], path[at + _HASH_BYTES :]
    end = int.from_bytes(note, "big")
    if _hash(_hash(data_hash) + _hash(note)) != expected or end != high or end <= low:
        return None
    if end - low > CHUNK_BYTES:
        return None
    return Chunk(data_hash, low, end)


def text_of(data_root: bytes) -> str:
    """Return a root as Arweave writes it: base64url without padding."""
    return base64.urlsafe_b64encode(data_root).decode("ascii").rstrip("=")


def _level_above(level: tuple[_Node, ...]) -> tuple[_Node, ...]:
    above = []
    for i in range(0, len(level) - 1, 2):
        left, right = level[i], level[i + 1]
        identity = _hash(_hash(left.identity) + _hash(right.identity) + _hash(_note(left.end)))
        above.append(_Node(identity, right.end))
    if len(level) % 2:
        above.append(level[-1])
    return tuple(above)


def _hash(data: Buffer) -> bytes:
    return hashlib.sha256(data).digest()


def _note(number: int) -> bytes:
    return number.to_bytes(32, "big")
