"""Vouchers: every byte of a gateway's line is used once, the newest is kept, and reported once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.errors import Rejected
from fieldstone.services.storage.provider.orders import Order
from fieldstone.services.storage.provider.store import Store
from fieldstone.services.storage.provider.vouchers import Vouchers
from fieldstone.services.storage.records import AccessOrder

GATEWAY = "did:key:zGateway"


def order(egress_bytes: int, gateway: str = GATEWAY) -> Order:
    record = AccessOrder(
        operation="get",
        gateway=gateway,
        provider="did:key:zP",
        share=b"s" * 16,
        expires_ms=1,
        egress_bytes=egress_bytes,
    )
    return Order(record, b"signed %d" % egress_bytes)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "disk", 1_000_000)
    yield made
    made.close()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), max_size=40))
def test_no_byte_of_the_line_is_used_twice(asked: list[tuple[int, int]]) -> None:
    """Invariant: taken pieces are disjoint, so their lengths add up to at most the newest voucher."""

    class _Soon:
        def soon(self, key: object, apply: object) -> None: ...

    class _Empty:
        def vouchers(self) -> list[object]:
            return []

    vouchers = Vouchers(_Empty(), _Soon())  # type: ignore[arg-type]
    used: set[int] = set()
    newest = 0
    for egress, length in asked:
        piece = set(range(egress - length, egress))
        try:
            vouchers.take(order(egress), length)
        except Rejected:
            # refused only for a reason: below zero, or a byte of it is used
            assert piece & used or egress - length < 0
            continue
        assert not piece & used and min(piece) >= 0
        used |= piece
        newest = max(newest, egress)
    assert len(used) <= newest == vouchers.newest(GATEWAY)


def test_overtaken_orders_are_taken_once(store: Store) -> None:
    vouchers = Vouchers(store.index, store.committer)
    for egress in (300, 100, 200):
        vouchers.take(order(egress), 100)
    with pytest.raises(Rejected):
        vouchers.take(order(200), 100)
    vouchers.take(order(100, "did:key:zOther"), 100)  # each gateway has a line of its own


def test_the_newest_is_durable_and_reported_once(store: Store) -> None:
    vouchers = Vouchers(store.index, store.committer)
    vouchers.take(order(100), 100)
    vouchers.take(order(250), 100)
    store.committer.submit(_nothing()).result(5)
    again = Vouchers(store.index, store.committer)
    assert again.newest(GATEWAY) == 250
    with pytest.raises(Rejected):
        again.take(order(150), 50)  # a gap before the restart: only the newest counts now
    found = again.unreported()
    assert found == [(GATEWAY, 250, b"signed 250")]
    again.reported(found)
    assert again.unreported() == []
    again.take(order(260), 10)
    store.committer.submit(_nothing()).result(5)
    assert again.unreported() == [(GATEWAY, 260, b"signed 260")]


def _nothing():  # type: ignore[no-untyped-def]
    from fieldstone.services.storage.provider.commit import Change

    return Change(lambda writer: None)
