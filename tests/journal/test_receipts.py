"""Receipts: anyone can check one, nobody can bend one, and one proves a lost report."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.errors import CheckFailed
from fieldstone.identity.keys import Algorithm, DeviceKey
from fieldstone.journal import Commit, Entry, EntryKind, tree
from fieldstone.journal.receipts import Receipt, SignedCommit, check_kept, verify_receipt

KEY = DeviceKey.from_secret(Algorithm.ED25519, b"\x01" * 32)
OTHER_KEY = DeviceKey.from_secret(Algorithm.ED25519, b"\x02" * 32)


def signed(bodies: list[bytes], first: int = 1, network: str = "net", received_ms: int = 77) -> SignedCommit:
    digests = tuple(hashlib.sha256(body).digest() for body in bodies)
    return SignedCommit(
        network, Commit(first, first + len(bodies) - 1, received_ms, digests, tree.levels(digests)), KEY
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=20), min_size=1, max_size=20, unique=True), st.integers(1, 2**40), st.data())
def test_every_body_has_a_receipt_that_fits_only_it(bodies: list[bytes], first: int, data: st.DataObject) -> None:
    commit = signed(bodies, first)
    index = data.draw(st.integers(0, len(bodies) - 1))
    receipt = commit.receipt(index)
    assert receipt.position == first + index
    assert verify_receipt(receipt, bodies[index], KEY.public)
    assert not verify_receipt(receipt, bodies[index] + b"!", KEY.public)
    assert not verify_receipt(receipt, bodies[index], OTHER_KEY.public)
    for other in set(bodies) - {bodies[index]}:
        assert not verify_receipt(receipt, other, KEY.public)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=20), st.text(max_size=10).filter(lambda t: "\0" not in t))
@settings(max_examples=30, deadline=None)
def test_the_fast_json_is_the_json(bodies: list[bytes], network: str) -> None:
    commit = signed(bodies, network=network)
    for index in range(len(bodies)):
        position, text = commit.commit.first + index, commit.receipt(index).to_json()
        assert commit.answer_json(index) == b'{"position":%d,"receipt":%b,"ok":true}' % (position, text)
        assert Receipt.from_json(text) == commit.receipt(index)
    for start in range(len(bodies)):
        for count in range(1, len(bodies) - start + 1):
            one_by_one = [commit.answer_json(index) for index in range(start, start + count)]
            assert commit.answers_json(start, count) == b",".join(one_by_one)


@pytest.mark.parametrize(
    "change",
    [
        {"position": 4},
        {"position": 2},
        {"first": 2},
        {"count": 4},
        {"received_ms": 78},
        {"network_id": "other"},
        {"network_id": "net\0"},
        {"root": b"\0" * 32},
        {"path": ()},
        {"path": (b"short",)},
        {"signature": b"\0" * 64},
        {"signature": b""},
        {"position": -1},
        {"received_ms": 2**64},
    ],
)
def test_a_bent_receipt_does_not_verify(change: dict[str, object]) -> None:
    receipt = msgspec.structs.replace(signed([b"a", b"b", b"c"]).receipt(2), **change)
    assert not verify_receipt(receipt, b"c", KEY.public)


def test_a_receipt_proves_a_loss_and_nothing_else_does() -> None:
    receipt = signed([b"a", b"b"]).receipt(1)
    kept = Entry(2, 77, EntryKind.REPORT, "d", b"b")
    check_kept(receipt, b"b", KEY.public, kept)
    with pytest.raises(CheckFailed, match="missing although"):
        check_kept(receipt, b"b", KEY.public, None)
    with pytest.raises(CheckFailed, match="other bytes"):
        check_kept(receipt, b"b", KEY.public, replace(kept, body=b"x"))
    with pytest.raises(CheckFailed, match="another time"):
        check_kept(receipt, b"b", KEY.public, replace(kept, received_ms=78))
    with pytest.raises(CheckFailed, match="not valid"):
        check_kept(receipt, b"forged claim", KEY.public, None)


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"position": "x"}', b"\xff\xfe", b'{"extra":1}'])
def test_what_is_no_receipt_is_named_so(text: bytes) -> None:
    with pytest.raises(CheckFailed, match="not a receipt"):
        Receipt.from_json(text)
