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

    __slots__ = ("_form", "_nodes", "_texts", "commit", "network_id", "signature")

    def __init__(self, network_id: str, commit: Commit, key: DeviceKey) -> None:
        self.network_id = network_id
        self.commit = commit
        self.signature = key.sign(statement(network_id, commit.first, commit.count, commit.received_ms, commit.root))
        self._texts: list[bytes] = []
        self._nodes: list[list[bytes]] = []
        self._form = b""

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

        It costs a third: what the receipts of a commit share is written once.
        """
        if not self._texts:
            self._prepare_texts()
        position = self.commit.first + index
        text = self._texts[index]
        siblings = []
        for level in self._nodes:
            sibling = index ^ 1
            if sibling < len(level):
                siblings.append(level[sibling])
            index >>= 1
        return self._form % (position, position, text, b",".join(siblings))

    def _prepare_texts(self) -> None:
        commit = self.commit
        name = msgspec.json.encode(self.network_id).replace(b"%", b"%%")
        same = (commit.first, commit.count, commit.received_ms, _text(commit.root), _text(self.signature))
        form = b',"first":%d,"count":%d,"received_ms":%d,"digest":"%%s","path":[%%s],"root":"%s","signature":"%s"},"ok":true}'
        self._form = b'{"position":%d,"receipt":{"network_id":' + name + b',"position":%d' + form % same
        self._nodes = [[b'"%s"' % _text(node) for node in level] for level in commit.levels[:-1]]
        self._texts = [_text(digest) for digest in commit.digests]


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
