"""Scrubbing finds rotten and vanished shares, heals what is good again, and goes on where it stopped."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldstone.services.storage.provider.scrub import Scrub
from fieldstone.services.storage.provider.store import Store
from tests.services.storage.provider.test_store import put, share_id


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "disk", 50_000_000)
    for number in range(5):
        put(made, share_id(number), os.urandom(200_000 + number))
    yield made
    made.close()


def whole_pass(scrub: Scrub) -> int:
    read = 0
    while (size := scrub.step()) is not None:
        read += size
    return read


def test_rot_and_loss_are_found_and_said(store: Store) -> None:
    read: list[int] = []
    scrub = Scrub(store, count=read.append)
    assert whole_pass(scrub) == sum(read) == 5 * 200_000 + 10
    with store.path(share_id(1)).open("r+b") as file:
        file.seek(150_000)
        file.write(b"rotten")
    store.path(share_id(3)).unlink()
    whole_pass(scrub)
    assert [(row.share, row.state) for row in store.index.not_held()] == [(share_id(1), "bad"), (share_id(3), "lost")]
    totals = store.totals()
    assert (totals.bad, totals.lost) == (1, 1)


def test_what_is_good_again_is_held_again(store: Store) -> None:
    path = store.path(share_id(2))
    body = path.read_bytes()
    path.write_bytes(body[:1000] + b"x" + body[1001:])
    used = store.used_bytes
    scrub = Scrub(store)
    whole_pass(scrub)
    assert store.totals().bad == 1
    path.write_bytes(body)
    whole_pass(scrub)
    assert store.totals().bad == 0
    path.unlink()
    whole_pass(scrub)
    path.write_bytes(body)
    whole_pass(scrub)
    assert store.totals().lost == 0 and store.used_bytes == used


def test_a_restart_goes_on_where_the_last_pass_stopped(store: Store) -> None:
    first = Scrub(store)
    first.step()
    first.step()
    store.committer.close()
    second = Scrub(store)
    seen = [row.share for row in store.index.after(second._cursor, 10)]
    assert seen == [share_id(2), share_id(3), share_id(4)]


def test_it_keeps_to_its_rate_and_stops(store: Store) -> None:
    read: list[int] = []
    stop = threading.Event()
    scrub = Scrub(store, bytes_per_s=1_000, count=read.append)  # a share would take minutes
    thread = threading.Thread(target=scrub.run, args=(stop,))
    thread.start()
    stop.wait(0.5)
    stop.set()
    thread.join(5)
    assert not thread.is_alive() and len(read) == 1
