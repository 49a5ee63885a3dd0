"""A long body read by a thread: what was sent arrives, and whoever stops does not leave a thread on a closed socket."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from fieldstone.services.storage.provider.lane_body import LaneBody
from fieldstone.services.storage.provider.orders import Order
from fieldstone.services.storage.provider.taking import Coming, Gone, Straight
from fieldstone.services.storage.records import AccessOrder
from tests.services.storage.provider.running import running, share_id

Pair = tuple[LaneBody, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A body of 400,000 bytes of which three came with the head, and the sender's end."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    owner = SimpleNamespace(socket=ours, transport=None, flow=SimpleNamespace(pause_reading=lambda: None))
    with ours, theirs:
        yield LaneBody(owner, b"abc", 400_000), theirs


def test_a_thread_reads_what_came_with_the_head_and_what_follows(pair: Pair) -> None:
    body, sender = pair
    straight: Straight = body  # as the Door takes it
    sent = bytes(range(250)) * 400
    threading.Thread(target=sender.sendall, args=(sent,)).start()
    room = bytearray(60_003)
    straight.receive(memoryview(room)[:2], 5)
    body.receive(memoryview(room)[2:], 5)
    assert bytes(room) == b"abc" + sent[:60_000]
    assert body.left == 400_000 - 60_003


def test_silence_ends_in_time_and_a_sender_who_leaves_at_once(pair: Pair) -> None:
    body, sender = pair
    with pytest.raises(TimeoutError):
        body.receive(memoryview(bytearray(100)), 0.02)
    sender.close()
    with pytest.raises(Gone):
        body.receive(memoryview(bytearray(100)), 5)


def test_closing_breaks_uploads_off_and_waits_for_their_threads(pair: Pair, tmp_path: Path) -> None:
    body, _ = pair
    with running(tmp_path / "disk") as provider:
        taking, store = provider.door.taking, provider.store
        record = AccessOrder(operation="put", gateway="did:key:x", provider="p", share=share_id(1), expires_ms=1)
        coming = Coming(share_id(1), Order(record, b""), 400_000)
        upload = taking.receive(coming, body)
        while not store.used_bytes:
            time.sleep(0.001)
        taking.close()
        assert isinstance(upload.exception(0), Gone)  # at once: its thread is done
        assert store.used_bytes == 0
