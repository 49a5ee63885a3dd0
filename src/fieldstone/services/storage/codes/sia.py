"""Sia's sector roots: BLAKE2b-256 trees over 4 MiB sectors of 65,536 leaves of 64 bytes, and the root over sectors.

leaf = BLAKE2b-256(0x00 ‖ 64 bytes), node = BLAKE2b-256(0x01 ‖ left ‖ right). The root over several sector roots splits
at the largest power of two below their number. Source: SiaFoundation/core `rhp/v2/merkle.go`, `blake2b`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from fieldstone.errors import UsageError
from fieldstone.services.storage.codes.buffer import Buffer

SECTOR_BYTES = 4 * 1024 * 1024
LEAF_BYTES = 64


def sector_root(sector: Buffer) -> bytes:
    """Return the root of one sector of exactly 4 MiB. Raises UsageError for another length."""
    if memoryview(sector).nbytes != SECTOR_BYTES:
        raise UsageError(f"a Sia sector has {SECTOR_BYTES} bytes, not {memoryview(sector).nbytes}: pad it with zeros")
    try:
        from fieldstone.services.storage.codes.blake2b_kernel import hashes
    except ImportError:
        return _root_by_hashlib(bytes(sector))
    room = np.frombuffer(sector, np.uint8).copy()
    address, count = room.ctypes.data, SECTOR_BYTES // LEAF_BYTES
    hashes(address, address, count, 0)
    while count > 1:
        count //= 2
        hashes(address, address, count, 1)
    return room[:32].tobytes()


def meta_root(roots: Sequence[bytes]) -> bytes:
    """Return the root over one or more sector roots. Raises UsageError for none."""
    if not roots:
        raise UsageError("there is no sector to take a root of")
    if len(roots) == 1:
        return roots[0]
    split = 1 << (len(roots) - 1).bit_length() - 1
    return _hash(1, meta_root(roots[:split]) + meta_root(roots[split:]))


class Hasher:
    """Collect sector roots as bytes arrive; the last sector is padded with zeros. Memory: one sector."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._size_bytes = 0
        self.roots: list[bytes] = []

    def update(self, data: Buffer) -> None:
        """Take the next bytes."""
        self._size_bytes += memoryview(data).nbytes
        self._rest += data
        while len(self._rest) >= SECTOR_BYTES:
            self.roots.append(sector_root(bytes(self._rest[:SECTOR_BYTES])))
            del self._rest[:SECTOR_BYTES]

    def finish(self) -> bytes:
        """Return the root over all sectors, the padded rest included. Raises UsageError when there was no byte."""
        if self._rest:
            self.roots.append(sector_root(bytes(self._rest).ljust(SECTOR_BYTES, b"\0")))
            self._rest.clear()
        if not self.roots:
            raise UsageError("there are no bytes: a Sia root needs at least one sector")
        return meta_root(self.roots)

    @property
    def padding_bytes(self) -> int:
        """Zeros added to the last sector; known after `finish`."""
        return len(self.roots) * SECTOR_BYTES - self._size_bytes


def _hash(prefix: int, data: bytes) -> bytes:
    return hashlib.blake2b(bytes([prefix]) + data, digest_size=32).digest()


def _root_by_hashlib(sector: bytes) -> bytes:
    level = [_hash(0, sector[i : i + LEAF_BYTES]) for i in range(0, len(sector), LEAF_BYTES)]
    while len(level) > 1:
        level = [_hash(1, level[i] + level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]
