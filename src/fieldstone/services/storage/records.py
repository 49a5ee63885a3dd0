"""What gateway, provider, checker and network say to each other about shares: records, and how they are signed.

A record is one msgpack array in the order of its fields (a new version gets a new name), signed as COSE_Sign1 by a
device key of the network. The purpose in the signed context keeps one kind of record from posing as another.

    gateway  → provider   AccessOrder     "store this", "give me these bytes": authorises and meters one request
    provider → gateway    ShareReceipt    "I hold these bytes under this commitment": what a lease is made of
    gateway  → network    Lease           in a `lease` report: from now on I pay for these shares
    gateway  → network    Release         in a `release` report: from now on I do not
    gateway  → network    Cover           in a `cover` report: these segments are permanent, funds pay for them first
    provider → network    Announcement    in an `announce` report: where gateways reach me, and how much I can take
    provider → network    Deletion        in a `deleted` report: delete orders of gateways that had it asked all the same
    provider → network    EgressClaim     in an `egress` report: the newest cumulative voucher of each gateway
    provider → network    ProofSet        in a `proof` report: the answer to a round
    checker  → network    RetrievalCheck  in a `check` report: what an assigned test read gave
    gateway  → network    ReaderChain     in a `chain` report: what its secret test reads will be drawn from
    provider → gateway    LiveReceipt     "I answered this live challenge": in the header of the answer
    gateway  → network    LiveSet         in a `live` report: how long providers took, alone and at the same moment
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec

from fieldstone.errors import Rejected
from fieldstone.identity import cose
from fieldstone.identity.keys import PublicKey, Signer, verify
from fieldstone.reasons import reason

ShareId = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
NotNegative = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Positive = Annotated[int, msgspec.Meta(gt=0, le=2**62)]

RECEIPT, ACCESS = b"fieldstone/storage/receipt/v1\0", b"fieldstone/storage/access/v1\0"
LIVE_RECEIPT = b"fieldstone/storage/live-receipt/v1\0"
LIVE_HEADER = "fieldstone-live-receipt"  # of the answer to a live challenge: base64url of a signed LiveReceipt


class _Record(msgspec.Struct, array_like=True, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A longer array is refused unread: what would be skipped may nest deeper than a decoder can follow."""


class AccessOrder(_Record, frozen=True):
    """One request of a gateway to one provider. Bytes `start` … `end` of the share (`get`; half open).

    `egress_bytes`: all bytes this gateway has ordered from this provider so far, this order's included; it never
    falls. The newest order is the voucher that the provider is paid egress by. `expires_ms`: Unix ms.
    """

    operation: Literal["put", "get", "delete"]
    gateway: str
    provider: str
    share: ShareId
    expires_ms: Positive
    start: NotNegative = 0
    end: NotNegative = 0
    egress_bytes: NotNegative = 0


class ShareReceipt(_Record, frozen=True):
    """A provider holds `size_bytes` bytes durably. `root`: fast commitment over leaves of `leaf_bytes` (`codes.fast_tree`)."""

    share: ShareId
    provider: str
    gateway: str
    size_bytes: Positive
    leaf_bytes: Positive
    root: Hash
    stored_ms: NotNegative


class LeasedShare(_Record, frozen=True):
    """One line of a lease: the provider's receipt as it was signed, so neither side can invent a holding alone."""

    receipt: bytes  # COSE_Sign1 over ShareReceipt
    segment: ShareId  # the segment it is a share of: uniqueness and placement are judged by segment
    index: NotNegative


class Lease(_Record, frozen=True):
    """Body of a `lease` report, signed by the gateway as every report: it pays for these shares from the report's time."""

    shares: tuple[LeasedShare, ...]


class Release(_Record, frozen=True):
    """Body of a `release` report: (provider, share) that the gateway no longer pays for; the provider may drop them."""

    shares: tuple[tuple[str, ShareId], ...]


class Cover(_Record, frozen=True):
    """Body of a `cover` report: segments of the reporting gateway that belong to permanent objects, and of each how many
    shares restore it."""

    segments: tuple[ShareId, ...]
    needed: tuple[Annotated[int, msgspec.Meta(ge=1, le=255)], ...]

    def __post_init__(self) -> None:
        if len(self.segments) != len(self.needed):
            raise ValueError(f"{len(self.segments)} segments, but {len(self.needed)} numbers of shares")


class Announcement(_Record, frozen=True):
    """Body of an `announce` report: the newest one counts. `url`: http(s)://host:port; `capacity_bytes`: for shares in all.

    `is_leaving`: gateways move its shares elsewhere, from it while it answers, and pay until they have.
    """

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[A-Za-z0-9.:\[\]_-]{1,200}\Z")]
    capacity_bytes: NotNegative
    is_leaving: bool = False


class Deletion(_Record, frozen=True):
    """Body of a `deleted` report: AccessOrders to delete that gateways signed for this provider. Each ends the gateway's
    lease of that share and voids its older receipts: nobody is asked for what he was told to delete."""

    orders: tuple[bytes, ...]


class EgressClaim(_Record, frozen=True):
    """Body of an `egress` report: per gateway the newest signed AccessOrder. Only the rise since the last counts."""

    vouchers: tuple[bytes, ...]


class ChunkProof(_Record, frozen=True):
    """One answered challenge: the chunk of a share that begins at byte `start`, and the hashes beside its way from the
    leaf's inside to the top, 32 bytes each (`codes.chunk_opening`)."""

    share: ShareId
    start: NotNegative
    chunk: bytes
    siblings: bytes


class ProofSet(_Record, frozen=True):
    """Body of a `proof` report: answers to round `number`, in the order in which they were asked. A challenge that cannot
    be answered is left out: an honest loss costs less than a lie."""

    number: NotNegative
    proofs: tuple[ChunkProof, ...]


class RetrievalCheck(_Record, frozen=True):
    """One test read that `number` assigned to the checker. `answer` is the hash of the bytes that came (zeros: none);
    `at_ms`: when they were asked for, Unix ms by the checker's clock."""

    provider: str
    share: ShareId
    leaf_index: NotNegative
    outcome: Literal["ok", "wrong", "refused", "timeout", "slow"]
    first_byte_ms: NotNegative
    total_ms: NotNegative
    size_bytes: NotNegative
    answer: Hash
    at_ms: NotNegative = 0


class CheckSet(_Record, frozen=True):
    """Body of a `check` report: what the reads that round `number` assigned to this checker gave.

    `secret`: of a gateway that reads in secret, its chain's link for the round (`secret_reads`); empty in open reads.
    """

    number: NotNegative
    checks: tuple[RetrievalCheck, ...]
    secret: Annotated[bytes, msgspec.Meta(max_length=32)] = b""


class ReaderChain(_Record, frozen=True):
    """Body of a `chain` report: a gateway commits to the secrets of rounds `first` … `first` + `length` − 1 (`secret_reads`)."""

    tip: Hash
    first: NotNegative
    length: Annotated[int, msgspec.Meta(gt=0, le=65_536)]


class LiveReceipt(_Record, frozen=True):
    """A provider answered a live challenge of `seed` with proofs of BLAKE3 `proofs`; signed for LIVE_RECEIPT."""

    provider: str
    seed: Hash
    proofs: Hash


class LiveMeasure(_Record, frozen=True):
    """How long a provider took for a challenge alone, and for one at the same moment as others: for chunks all over what it
    holds, and for as many side by side; its receipts of the four, in the order of `live_draw.PHASES`. One that did not
    answer them all, with proofs, has no receipts and no times."""

    provider: str
    alone_us: NotNegative
    together_us: NotNegative
    beside_alone_us: NotNegative
    beside_together_us: NotNegative
    receipts: tuple[bytes, bytes, bytes, bytes]

    @property
    def is_answered(self) -> bool:
        """Tell whether there is anything to look at."""
        return any(self.receipts)


class LiveSet(_Record, frozen=True):
    """Body of a `live` report: round `number` made this gateway ask these providers at the same moment (`live_draw`)."""

    number: NotNegative
    measures: tuple[LiveMeasure, ...]


R = TypeVar("R", bound=_Record)


def live_purpose(seed: bytes) -> bytes:
    """Return the signed context of an answer to a live challenge: it answers this seed only."""
    return b"fieldstone/storage/live/v1\0" + seed


def encode(record: _Record) -> bytes:
    """Return the record's bytes: msgpack, fields in order."""
    return msgspec.msgpack.encode(record)


def decode(body: bytes, kind: type[R]) -> R:
    """Read a record. Raises Rejected BAD_PAYLOAD, saying which field is off."""
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # the latter for text that is no UTF-8
        raise Rejected(reason("BAD_PAYLOAD"), kind.__name__, str(error)) from None


def sign(key: Signer, record: _Record, purpose: bytes) -> bytes:
    """Return the record as COSE_Sign1. `purpose` is RECEIPT or ACCESS."""
    return cose.sign(key, encode(record), purpose)


def open_signed(message: bytes, kind: type[R], signer: str, purpose: bytes) -> R:
    """Check that device `signer` (did:key) signed `message` for `purpose`, and return the record in it.

    Raises Rejected: BAD_CBOR, BAD_COSE, BAD_SIGNATURE, BAD_PAYLOAD.
    """
    envelope = cose.parse(message)
    public = PublicKey.from_device_id(signer)
    if envelope.kid != public.kid or not verify(public, envelope.signed_bytes(purpose), envelope.signature):
        raise Rejected(reason("BAD_SIGNATURE"), signer)
    return decode(envelope.payload, kind)
