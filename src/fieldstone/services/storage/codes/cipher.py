"""Encryption of a segment in chunks of 64 KiB, so that a range is read without the rest and every change is noticed.

AEGIS-256 per chunk under a key that is used for this segment alone. nonce = chunk number; bound to each chunk as associated
data: segment id, chunk number, and whether it is the last. So chunks cannot be changed, reordered, swapped
between segments, dropped from the end or added. Sealed chunk = ciphertext ‖ 32-byte tag.

A key seals one segment once: sealing other bytes under the same key and segment id would repeat nonces.
Source: `aegis`; the last-chunk flag as in STREAM (Hoang et al. 2015); keys are wrapped with RFC 8452.
"""

from __future__ import annotations

import struct
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from fieldstone.errors import CheckFailed, UsageError
from fieldstone.services.storage.codes import aegis
from fieldstone.services.storage.codes.buffer import Buffer

CHUNK_BYTES = 64 * 1024
TAG_BYTES = aegis.TAG_BYTES
KEY_BYTES = aegis.KEY_BYTES
WRAPPED_KEY_BYTES = KEY_BYTES + 16
_SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES
_WRAP_NONCE = bytes(12)


class NotAuthentic(CheckFailed):
    """Sealed bytes were changed, moved, cut or belong to another key. `chunk` is the first bad one."""

    def __init__(self, segment: bytes, chunk: int) -> None:
        self.segment = segment
        self.chunk = chunk
        super().__init__(
            f"chunk {chunk} of segment {segment.hex()} is not what was sealed under this key: "
            "rebuild the segment from other shares"
        )


def chunk_count(plain_bytes: int) -> int:
    """Return the number of chunks of a plain text; an empty one has one, empty."""
    return max(1, -(-plain_bytes // CHUNK_BYTES))


def sealed_bytes(plain_bytes: int) -> int:
    """Return the sealed length of `plain_bytes` bytes."""
    return plain_bytes + TAG_BYTES * chunk_count(plain_bytes)


def plain_bytes(sealed: int) -> int:
    """Return the plain length behind `sealed` bytes. Raises UsageError for a length that nothing seals to."""
    chunks = max(1, -(-sealed // _SEALED_CHUNK_BYTES))
    plain = sealed - TAG_BYTES * chunks
    if plain < 0 or sealed_bytes(plain) != sealed:
        raise UsageError(f"{sealed} bytes are not the length of a sealed segment: bytes are missing or were added")
    return plain


def sealed_range(start: int, end: int, plain_size_bytes: int) -> tuple[int, int]:
    """Return the sealed bytes (half open, whole chunks) that opening plain bytes `start` … `end` needs. Raises UsageError."""
    if not 0 <= start <= end <= plain_size_bytes:
        raise UsageError(f"bytes {start} … {end} are not inside {plain_size_bytes} bytes")
    first = min(start // CHUNK_BYTES, chunk_count(plain_size_bytes) - 1)
    last = max(first + 1, -(-end // CHUNK_BYTES))
    return first * _SEALED_CHUNK_BYTES, min(last * _SEALED_CHUNK_BYTES, sealed_bytes(plain_size_bytes))


class SegmentCipher:
    """Seal and open the chunks of one segment under its own key. Thread-safe. Raises UsageError for a bad key or id."""

    def __init__(self, key: bytes, segment: bytes) -> None:
        if len(key) != KEY_BYTES or len(segment) != 16:
            raise UsageError(f"a segment has a key of 32 and an id of 16 bytes, not {len(key)} and {len(segment)}")
        self._key = bytes(key)
        self._segment = bytes(segment)

    def seal(self, data: Buffer, *, first_chunk: int = 0, last: bool = True) -> bytes:
        """Return the sealed form of a whole segment, or of a part of it that starts at chunk `first_chunk`.

        A part that is not the `last` must be whole chunks (UsageError otherwise); the last part carries the end mark.
        """
        view = memoryview(data).cast("B")
        if not last and (view.nbytes % CHUNK_BYTES or not view.nbytes):
            raise UsageError(
                f"{view.nbytes} bytes are not whole chunks of {CHUNK_BYTES}, and more of the segment follows"
            )
        if first_chunk and not view.nbytes:
            raise UsageError("the last part of a segment is empty: seal it together with the part before it")
        chunks = chunk_count(view.nbytes)
        sealed = memoryview(bytearray(view.nbytes + TAG_BYTES * chunks))
        for i in range(chunks):
            part = view[i * CHUNK_BYTES : (i + 1) * CHUNK_BYTES]
            room, number = sealed[i * _SEALED_CHUNK_BYTES :], first_chunk + i
            self.seal_chunk_into(part, room, chunk=number, last=last and i == chunks - 1)
        return bytes(sealed)

    def seal_chunk_into(self, data: Buffer, room: memoryview, *, chunk: int, last: bool) -> int:
        """Seal one chunk (whole, unless it is the last) to the start of `room`; return how many bytes it became.

        Raises UsageError for a short chunk that is not the last, an empty one behind others, or too little room.
        """
        size = len(data)
        if size > CHUNK_BYTES or (not last and size != CHUNK_BYTES) or (chunk and not size):
            raise UsageError(f"{size} bytes are not chunk {chunk} of a segment: chunks have {CHUNK_BYTES}")
        if len(room) < size + TAG_BYTES:
            raise UsageError(f"a chunk of {size} bytes does not fit {len(room)} bytes once it is sealed")
        aegis.seal_into(self._key, _nonce(chunk), data, self._bound(chunk, last), room[: size + TAG_BYTES])
        return size + TAG_BYTES

    def open_chunk_into(self, sealed: Buffer, room: memoryview, *, chunk: int, last: bool) -> int:
        """Open one sealed chunk to the start of `room`; return its plain length. Raises NotAuthentic, UsageError."""
        size = len(sealed) - TAG_BYTES
        if not 0 <= size <= min(CHUNK_BYTES, len(room)):
            raise UsageError(f"{len(sealed)} bytes are no sealed chunk that opens into {len(room)} bytes")
        if not aegis.open_into(self._key, _nonce(chunk), sealed, self._bound(chunk, last), room[:size]):
            raise NotAuthentic(self._segment, chunk)
        return size

    def open(self, sealed: Buffer) -> bytes:
        """Return the plain text of a whole sealed segment. Raises NotAuthentic; UsageError for an impossible length."""
        size = plain_bytes(memoryview(sealed).nbytes)
        return self.open_range(sealed, 0, size, size)

    def open_range(self, sealed: Buffer, start: int, end: int, plain_size_bytes: int) -> bytes:
        """Return plain bytes `start` … `end` from the sealed bytes of `sealed_range(start, end, plain_size_bytes)`.

        Raises NotAuthentic; UsageError when the sealed part has another length than that range.
        """
        low, high = sealed_range(start, end, plain_size_bytes)
        view = memoryview(sealed).cast("B")
        if view.nbytes != high - low:
            raise UsageError(f"sealed bytes {low} … {high} are {high - low} bytes, {view.nbytes} were given")
        first, final = low // _SEALED_CHUNK_BYTES, chunk_count(plain_size_bytes) - 1
        plain = memoryview(bytearray(plain_bytes(view.nbytes)))
        for i in range(-(-view.nbytes // _SEALED_CHUNK_BYTES)):
            part = view[i * _SEALED_CHUNK_BYTES : (i + 1) * _SEALED_CHUNK_BYTES]
            self.open_chunk_into(part, plain[i * CHUNK_BYTES :], chunk=first + i, last=first + i == final)
        return bytes(plain[start - first * CHUNK_BYTES : end - first * CHUNK_BYTES])

    def _bound(self, chunk: int, last: bool) -> bytes:
        return self._segment + struct.pack("<QB", chunk, last)


@lru_cache(maxsize=8)
def _wrapper(master: bytes) -> AESGCMSIV:
    """Set the master key up once: it costs more than to unwrap with it."""
    return AESGCMSIV(master)


def wrap_key(master: bytes, key: bytes, context: bytes) -> bytes:
    """Return `key` (32 bytes) encrypted under `master` (32 bytes) and bound to `context`: 48 bytes, always the same.

    AES-256-GCM-SIV with a fixed nonce: safe for keys, which are random and never repeat. Raises UsageError.
    """
    if len(master) != KEY_BYTES or len(key) != KEY_BYTES:
        raise UsageError(f"keys have 32 bytes, not {len(master)} and {len(key)}")
    return _wrapper(master).encrypt(_WRAP_NONCE, key, context)


def unwrap_key(master: bytes, wrapped: bytes, context: bytes) -> bytes:
    """Return the key that `wrap_key` wrapped. Raises CheckFailed for another master key, context or changed bytes."""
    if len(master) != KEY_BYTES or len(wrapped) != WRAPPED_KEY_BYTES:
        raise UsageError(f"a master key has 32 bytes and a wrapped key 48, not {len(master)} and {len(wrapped)}")
    try:
        return _wrapper(master).decrypt(_WRAP_NONCE, wrapped, context)
    except InvalidTag:
        raise CheckFailed(
            "a wrapped key does not open: it belongs to another master key or object, or was changed"
        ) from None


def _nonce(chunk: int) -> bytes:
    return chunk.to_bytes(aegis.NONCE_BYTES, "big")
