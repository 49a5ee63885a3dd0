"""Receipts: the network's signed promise that one message is durable at one position.

The network signs one statement per commit, not one per report (an Ed25519 signature costs 25–40 µs):

    "fieldstone-receipt-v1" ‖ 0 ‖ network id ‖ 0 ‖ first u64 ‖ count u64 ‖ received_ms u64 ‖ root[32]     (big-endian)

`root` is the RFC 9162 tree over the SHA-256 of the bodies of positions first … first + count − 1. A receipt adds the
audit path of its own body, so its holder needs nothing but the network's public key to check it, and a sealed epoch in
which that position is missing or holds other bytes is proof that the network lost a report it had promised to keep.
"""

from __future__ import annotations

import binascii
import hashlib
import struct
from collections.abc import Sequence
from operator import add

import msgspec

from fieldstone.errors import CheckFailed
from fieldstone.identity.keys import DeviceKey, PublicKey, verify
from fieldstone.journal import tree
from fieldstone.journal.entries import Commit, Entry

_TITLE = b"fieldstone-receipt-v1\0"
_U64 = 2**64
_HASH_BYTES = 32


class Receipt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Proof of acceptance. In JSON, byte strings are standard base64.

    `position` of the entry; `first`, `count`, `received_ms` (Unix ms) and `root` of its commit; `digest` is the
    SHA-256 of the body, `path` its audit path, `signature` the network key's over the statement.
    """

    network_id: str
    position: int
    first: int
    count: int
    received_ms: int
    digest: bytes
    path: tuple[bytes, ...]
    root: bytes
    signature: bytes

    def to_json(self) -> bytes:
        """Return the receipt as a device keeps it."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, text: bytes | str) -> Receipt:
        """Read `to_json`. Raises CheckFailed when it is no receipt."""
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CheckFailed(f"not a receipt: {error}") from None


def statement(network_id: str, first: int, count: int, received_ms: int, root: bytes) -> bytes:
    """Return the bytes that the network signs for a commit."""
    numbers = b"".join(number.to_bytes(8, "big") for number in (first, count, received_ms))
    return b"".join((_TITLE, network_id.encode(), b"\0", numbers, root))


class SignedCommit:
    """A commit with the network's signature, from which the receipt of any of its entries is cut. Pure but for the key."""

    __slots__ = ("_answers", "commit", "network_id", "signature")

    def __init__(self, network_id: str, commit: Commit, key: DeviceKey) -> None:
        self.network_id = network_id
        self.commit = commit
        self.signature = key.sign(statement(network_id, commit.first, commit.count, commit.received_ms, commit.root))
        self._answers: _Answers | None = None

    def receipt(self, index: int) -> Receipt:
        """Return the receipt of entry `index` (from 0) of the commit."""
        commit = self.commit
        return Receipt(
            network_id=self.network_id,
            position=commit.first + index,
            first=commit.first,
            count=commit.count,
            received_ms=commit.received_ms,
            digest=commit.digests[index],
            path=tuple(tree.path(commit.levels, index)),
            root=commit.root,
            signature=self.signature,
        )

    def answer_json(self, index: int) -> bytes:
        """Return `{"position":…,"receipt":…,"ok":true}` with the receipt as `to_json` writes it, byte for byte.

        It costs a fifth: what the receipts of a commit share is written once.
        """
        return self._written().one(index)

    def answers_json(self, index: int, count: int) -> bytes:
        """Return the answers of the `count` ≥ 1 entries from `index` on, with commas between them."""
        return self._written().several(index, count)

    def _written(self) -> _Answers:
        if self._answers is None:
            self._answers = _Answers(self)
        return self._answers


class _Answers:
    """The parts of a commit's answers, written for all its entries at once, column by column.

    An answer is ⟨0⟩ position ⟨1⟩ position ⟨2⟩ digest ⟨3⟩ path ⟨4⟩, where ⟨…⟩ are the same bytes for all entries.
    """

    __slots__ = ("_digests", "_fixed", "_paths", "_positions")

    def __init__(self, signed: SignedCommit) -> None:
        commit = signed.commit
        self._fixed = (
            b'{"position":',
            b',"receipt":{"network_id":%b,"position":' % msgspec.json.encode(signed.network_id),
            b',"first":%d,"count":%d,"received_ms":%d,"digest":"' % (commit.first, commit.count, commit.received_ms),
            b'=","path":[',
            b'],"root":"%b","signature":"%b"},"ok":true}' % (_text(commit.root), _text(signed.signature)),
        )
        self._positions = str(list(range(commit.first, commit.last + 1)))[1:-1].encode().split(b", ")
        self._digests = _texts(commit.digests)
        self._paths = _path_texts(commit.levels)

    def one(self, index: int) -> bytes:
        fixed, position = self._fixed, self._positions[index]
        parts = (fixed[0], position, fixed[1], position, fixed[2], self._digests[index], fixed[3], self._paths[index])
        return b"".join((*parts, fixed[4]))

    def several(self, index: int, count: int) -> bytes:
        start, between, before_digest, before_path, end = self._fixed
        run = slice(index, index + count)
        parts = [start, b"", between, b"", before_digest, b"", before_path, b"", end + b","] * count
        parts[1::9] = parts[3::9] = self._positions[run]
        parts[5::9] = self._digests[run]
        parts[7::9] = self._paths[run]
        parts[-1] = end
        return b"".join(parts)


def verify_receipt(receipt: Receipt, body: bytes, network_public_key: PublicKey) -> bool:
    """Say whether the network promised to keep `body` at `receipt.position`. Needs nothing else; never raises."""
    numbers = (receipt.position, receipt.first, receipt.count, receipt.received_ms)
    if not all(0 <= number < _U64 for number in numbers) or "\0" in receipt.network_id:
        return False
    if any(len(item) != _HASH_BYTES for item in (receipt.digest, receipt.root, *receipt.path)):
        return False
    if hashlib.sha256(body).digest() != receipt.digest:
        return False
    index = receipt.position - receipt.first
    if tree.root_from_path(receipt.digest, index, receipt.count, receipt.path) != receipt.root:
        return False
    promised = statement(receipt.network_id, receipt.first, receipt.count, receipt.received_ms, receipt.root)
    return verify(network_public_key, promised, receipt.signature)


def check_kept(receipt: Receipt, body: bytes, network_public_key: PublicKey, found: Entry | None) -> None:
    """Compare a promise with the entry `found` at its position in the journal or a sealed epoch.

    Raises CheckFailed when the receipt is not the network's (no claim), or when it is and the entry is not there or
    differs: then receipt and body together prove the loss to anyone.
    """
    if not verify_receipt(receipt, body, network_public_key):
        raise CheckFailed(f"the receipt for position {receipt.position} is not valid for this body and network key")
    if found is None or found.position != receipt.position:
        raise CheckFailed(f"position {receipt.position} is missing although the network signed a receipt for it")
    if hashlib.sha256(found.body).digest() != receipt.digest:
        raise CheckFailed(f"position {receipt.position} holds other bytes than the network signed a receipt for")
    if found.received_ms != receipt.received_ms:
        raise CheckFailed(f"position {receipt.position} states another time of receipt than the signed receipt")


def _text(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False)


def _texts(hashes: Sequence[bytes]) -> Sequence[bytes]:
    """Return the standard base64 of hashes of 32 bytes, each without the `=` at its end.

    One call encodes them all: a zero byte behind each makes it 33 bytes, eleven groups of four letters, of which the
    last letter alone stands for zeros only.
    """
    encoded = binascii.b2a_base64(b"\0".join(hashes) + b"\0", newline=False)
    return struct.unpack("43sx" * len(hashes), encoded)


def _path_texts(levels: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Return the audit path of every leaf as the items of a JSON list. `levels` as `tree.levels` returns them.

    From the root down: the path of a node is its sibling, then the path of its parent. So what paths have in common is
    put together once.
    """
    paths = [b""]
    for level in reversed(levels[:-1]):
        nodes = (b'"' + b'=",\n"'.join(_texts(level)) + b'=",').split(b"\n")
        below = [b""] * len(level)
        below[1::2] = map(add, nodes[::2], paths[: len(level) // 2])
        below[: len(level) // 2 * 2 : 2] = map(add, nodes[1::2], paths)
        if len(level) % 2:
            below[-1] = paths[-1]  # a lone node has no sibling, and its parent is itself
        paths = below
    return [path[:-1] for path in paths]
