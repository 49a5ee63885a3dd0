"""fr32: how Filecoin turns payload bytes into elements of a 254-bit field. 127 bytes become 128.

The 1,016 bits, read little-endian, are cut into four groups of 254; each is stored in a 32-byte little-endian word whose
two top bits are zero. Plain Python for a few blocks and for going back; whole payloads go through `commp`.
Source: rust-fil-proofs `fr32`; FRC-0069.
"""

from __future__ import annotations

from fieldstone.errors import UsageError
from fieldstone.services.storage.codes.buffer import Buffer

PAYLOAD_BLOCK_BYTES = 127
PADDED_BLOCK_BYTES = 128
_GROUP_BITS = 254
_GROUP_MASK = (1 << _GROUP_BITS) - 1


def pad(payload: Buffer) -> bytes:
    """Return the padded form of whole 127-byte blocks. Raises UsageError for another length."""
    blocks = _blocks(payload, PAYLOAD_BLOCK_BYTES)
    out = bytearray()
    for block in blocks:
        bits = int.from_bytes(block, "little")
        for group in range(4):
            out += (bits >> group * _GROUP_BITS & _GROUP_MASK).to_bytes(32, "little")
    return bytes(out)


def unpad(padded: Buffer) -> bytes:
    """Return the payload of whole 128-byte blocks. Raises UsageError for another length or a set top bit."""
    out = bytearray()
    for block in _blocks(padded, PADDED_BLOCK_BYTES):
        bits = 0
        for group in range(4):
            word = int.from_bytes(block[32 * group : 32 * group + 32], "little")
            if word > _GROUP_MASK:
                raise UsageError("these bytes are not fr32-padded: a word of 32 bytes uses more than 254 bits")
            bits |= word << group * _GROUP_BITS
        out += bits.to_bytes(PAYLOAD_BLOCK_BYTES, "little")
    return bytes(out)


def _blocks(data: Buffer, size: int) -> list[bytes]:
    if len(data) % size:
        raise UsageError(f"fr32 works on blocks of {size} bytes, not on {len(data)} bytes")
    return [bytes(data[i : i + size]) for i in range(0, len(data), size)]
