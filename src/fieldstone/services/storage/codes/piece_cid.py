"""Piece CIDs: names of Filecoin pieces. Version 2 (FRC-0069) also says how long the payload is and how high its tree.

    v1  01 81e203 9220 20 ‖ root
    v2  01 55 9120 ‖ uvarint(length of the rest) ‖ uvarint(padding) ‖ height u8 ‖ root

padding = 127 · 2^(height−2) − payload length, in bytes before fr32; payloads under 127 bytes count as padded up to 127.
Both are written in lower-case base32 after the letter `b`. Two payloads that differ only in zeros at the end may share a
v1 CID, so records keep v2.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from fieldstone.errors import UsageError

LEAST_HEIGHT = 2
MAX_HEIGHT = 50  # a PDP contract takes pieces of up to 2^50 leaves

_V1_PREFIX = bytes.fromhex("0181e203922020")
_V2_PREFIX = bytes.fromhex("01559120")
_ROOT_BYTES = 32
_FEWEST_V2_BYTES = 34
_LONGEST_TEXT = 128


def payload_capacity(height: int) -> int:
    """Return how many payload bytes a tree of `height` ≥ 2 takes."""
    return 127 << (height - LEAST_HEIGHT)


def height_of(payload_bytes: int) -> int:
    """Return the height of the smallest tree that takes the payload. Raises UsageError beyond 2^50 leaves."""
    blocks = max(1, -(-payload_bytes // 127))
    height = LEAST_HEIGHT + (blocks - 1).bit_length()
    if payload_bytes < 0 or height > MAX_HEIGHT:
        raise UsageError(f"a piece holds 0 to {payload_capacity(MAX_HEIGHT)} bytes, not {payload_bytes}")
    return height


@dataclass(frozen=True)
class PieceCid:
    """A piece: root, height of its tree, and bytes of zero padding. `str()` is the version-2 CID."""

    root: bytes
    height: int
    padding: int

    @classmethod
    def of_payload(cls, root: bytes, payload_bytes: int) -> PieceCid:
        """Return the CID of a payload whose tree has `root`. Raises UsageError for an impossible length."""
        height = height_of(payload_bytes)
        return cls(root, height, payload_capacity(height) - payload_bytes)

    @property
    def payload_bytes(self) -> int:
        """Length of the payload."""
        return payload_capacity(self.height) - self.padding

    @property
    def padded_bytes(self) -> int:
        """Size of the tree's bottom, 2^(height+5): what Filecoin calls the piece size."""
        return 1 << (self.height + 5)

    @property
    def data_leaves(self) -> int:
        """Leaves that hold payload: what a PDP contract numbers its challenges by."""
        return (1 << self.height) - (128 * self.padding // 127 >> 5)

    def __bytes__(self) -> bytes:
        rest = _uvarint(self.padding) + bytes([self.height]) + self.root
        return _V2_PREFIX + _uvarint(len(rest)) + rest

    def __str__(self) -> str:
        return _base32(bytes(self))

    @property
    def v1(self) -> str:
        """The old form: the root alone."""
        return _base32(_V1_PREFIX + self.root)


def parse(text: str, *, allow_empty: bool = False) -> PieceCid:
    """Read a version-2 piece CID. Raises UsageError saying which part is off.

    A piece without a single byte of payload is refused, as a PDP contract refuses it, unless `allow_empty`.
    """
    body = _from_base32(text)
    if body[: len(_V1_PREFIX)] == _V1_PREFIX:
        raise _refused(
            text, "is a version-1 CID, which does not say how long the payload is: give version 2 (bafkzcib…)"
        )
    if body[: len(_V2_PREFIX)] != _V2_PREFIX:
        raise _refused(text, "is not a piece CID: it does not begin with CIDv1, raw, fr32-sha256-trunc254-padbintree")
    length, at = _read_uvarint(text, body, len(_V2_PREFIX))
    if length < _FEWEST_V2_BYTES:
        raise _refused(text, f"says {length} bytes follow: a piece has at least {_FEWEST_V2_BYTES}")
    if len(body) - at != length:
        raise _refused(text, f"says {length} bytes follow, but {len(body) - at} do")
    padding, at = _read_uvarint(text, body, at)
    if len(body) - at != 1 + _ROOT_BYTES:
        raise _refused(
            text, f"has {len(body) - at} bytes after the padding instead of height and root, {1 + _ROOT_BYTES}"
        )
    height, root = body[at], body[at + 1 :]
    if not LEAST_HEIGHT <= height <= MAX_HEIGHT:
        raise _refused(text, f"has height {height}: trees are {LEAST_HEIGHT} to {MAX_HEIGHT} high")
    if root[-1] & 0xC0:
        raise _refused(text, "has a root of more than 254 bits")
    piece = PieceCid(root, height, padding)
    if 128 * padding // 127 >= piece.padded_bytes and not (allow_empty and piece.payload_bytes == 0):
        raise _refused(text, f"has {padding} bytes of padding: no payload is left in a tree of height {height}")
    if piece.payload_bytes < payload_capacity(height) / 2 and height > LEAST_HEIGHT:
        raise _refused(text, f"has {padding} bytes of padding: the payload would fit a smaller tree")
    return piece


def parse_v1(text: str) -> bytes:
    """Return the root in a version-1 piece CID. Raises UsageError."""
    body = _from_base32(text)
    if body[: len(_V1_PREFIX)] != _V1_PREFIX or len(body) != len(_V1_PREFIX) + _ROOT_BYTES:
        raise _refused(text, "is not a version-1 piece CID (baga6ea4seaq…)")
    if body[-1] & 0xC0:
        raise _refused(text, "has a root of more than 254 bits")
    return body[len(_V1_PREFIX) :]


def _refused(text: str, why: str) -> UsageError:
    return UsageError(f"piece CID {text[:_LONGEST_TEXT]!r} {why}")


def _base32(body: bytes) -> str:
    return "b" + base64.b32encode(body).decode("ascii").rstrip("=").lower()


def _from_base32(text: str) -> bytes:
    if not text.startswith("b") or text != text.lower() or len(text) > _LONGEST_TEXT:
        raise _refused(text, "is not written in lower-case base32 after the letter b")
    digits = text[1:]
    try:
        body = base64.b32decode(digits.upper() + "=" * (-len(digits) % 8))
    except ValueError:
        raise _refused(text, "is not written in lower-case base32 after the letter b") from None
    if _base32(body) != text:
        raise _refused(text, "has bits after its last byte: it is not the only way to write these bytes")
    return body


def _uvarint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_uvarint(text: str, body: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i in range(9):
        if at + i >= len(body):
            raise _refused(text, "ends in the middle of a number")
        byte = body[at + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            if byte == 0 and i:
                raise _refused(text, "has a number with needless zeros")
            return value, at + i + 1
    raise _refused(text, "has a number of more than nine bytes")
