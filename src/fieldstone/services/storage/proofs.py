"""Read proof reports without copying the chunks: they are most of what an epoch's evidence weighs."""

from __future__ import annotations

import msgspec

from fieldstone.errors import Rejected
from fieldstone.reasons import reason
from fieldstone.services.storage.records import NotNegative, ShareId

__all__ = ["HEAD_BYTES", "ChunkView", "ProofView", "peek_number", "read"]

HEAD_BYTES = 10  # an array's first byte and the longest integer


class ChunkView(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """`records.ChunkProof`, its bytes views into the report. Their lengths are judged with the proof."""

    share: ShareId
    start: NotNegative
    chunk: memoryview
    siblings: memoryview


class ProofView(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """`records.ProofSet`, its chunks views into the report.

    A longer array is refused unread, as in `records`: what would be skipped may nest deeper than a decoder can follow."""

    number: NotNegative
    proofs: tuple[ChunkView, ...]


_DECODER = msgspec.msgpack.Decoder(ProofView)
_INTEGER_BYTES = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}


def read(body: bytes) -> ProofView:
    """Read the body of a `proof` report. Raises Rejected BAD_PAYLOAD, also for an encoding whose number `peek_number` misses:
    an answer is heard by everyone or by nobody."""
    try:
        found = _DECODER.decode(body)
    except msgspec.DecodeError as error:
        raise Rejected(reason("BAD_PAYLOAD"), "ProofSet", str(error)) from None
    if peek_number(body) != found.number:
        raise Rejected(reason("BAD_PAYLOAD"), "ProofSet", "not the shortest encoding")
    return found


def peek_number(head: bytes) -> int | None:
    """Return the round's number from the first HEAD_BYTES of a ProofSet or more; None when they are no such thing.

    Only the encoding that `records.encode` writes is read: an array of two, a number in its shortest form.
    """
    if len(head) < 2 or head[0] != 0x92:
        return None
    if head[1] < 0x80:
        return head[1]
    size = _INTEGER_BYTES.get(head[1], 0)
    return int.from_bytes(head[2 : 2 + size], "big") if size and len(head) >= 2 + size else None
