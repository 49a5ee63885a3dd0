"""Disks that go away, fail for a moment or for good, clocks that jump: nothing good is called bad, nothing is counted twice."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fieldstone.errors import EnvironmentProblem, Rejected
from fieldstone.services.storage.provider import recovery
from fieldstone.services.storage.provider.commit import Change
from fieldstone.services.storage.provider.scrub import Scrub
from fieldstone.services.storage.provider.store import Store
from tests.services.storage.provider.test_store import GATEWAY, MIB, code, crash, digest, put, read, share_id

DAY_MS = 86_400_000
DATA = os.urandom(200_000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "disk", 100 * MIB)
    yield made
    made.close()


def flush(store: Store) -> None:
    store.committer.submit(Change(lambda writer: None)).result(10)


def failing(number: int) -> Callable[..., Any]:
    def fails(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number))

    return fails


# ---- what cannot be read now -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES])
def test_no_descriptors_or_memory_is_no_damage(store: Store, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A thousand connections would otherwise make the scrub call every share bad, and each would stay so for weeks."""
    row = put(store, share_id(1), DATA)
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", failing(number))
        with pytest.raises(OSError, match=os.strerror(number)):
            Scrub(store).step()
    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patched:  # the second descriptor of a look is the one too many
        patched.setattr("fieldstone.services.storage.provider.scrub._open_direct", failing(number))
        with pytest.raises(OSError, match=os.strerror(number)):
            Scrub(store).look(row)
    assert len(os.listdir("/proc/self/fd")) == before
    assert store.index.not_held() == [] and read(store, share_id(1), 0, 10) == DATA[:10]


def test_what_could_not_be_read_is_looked_at_again_soon(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        put(store, share_id(number), DATA)
    scrub = Scrub(store)
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", failing(errno.EIO))
        while scrub.step() is not None:
            pass
    store.path(share_id(3)).unlink()
    store.mark(share_id(3), "lost")
    flush(store)
    assert len(store.index.not_held()) == 5
    assert [scrub.look_again(2) for _ in range(4)] == [2, 1, 1, 0]  # some at a time, all in turn
    assert [row.share for row in store.index.not_held()] == [share_id(3)]
    assert store.used_bytes == store.totals().used_bytes


def test_a_disk_that_is_unplugged_loses_nothing(store: Store) -> None:
    """Its folder is empty for a while: every share would be called lost as fast as files can be looked for."""
    row = put(store, share_id(1), DATA)
    away = store.root / "away"
    store.shares.rename(away)
    store.shares.mkdir()
    assert not store.is_there()
    with pytest.raises(Rejected) as error:
        store.open(share_id(1))
    assert code(error) == "STORE_UNAVAILABLE"
    assert store.prove(share_id(1), 0) is None
    with pytest.raises(FileNotFoundError):
        Scrub(store).look(row)
    store.shares.rmdir()
    away.rename(store.shares)
    assert store.is_there() and store.index.not_held() == []
    assert read(store, share_id(1), 0, 10) == DATA[:10]


def test_a_start_without_the_disk_is_refused_and_loses_nothing(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    store = Store(root, 100 * MIB)
    put(store, share_id(1), DATA)
    store.close()
    store.shares.rename(root / "away")
    with pytest.raises(EnvironmentProblem, match="mounted"):
        Store(root, 100 * MIB)
    store.shares.rmdir()
    (root / "away").rename(store.shares)
    again = Store(root, 100 * MIB)  # the lock was let go
    assert read(again, share_id(1), 0, 10) == DATA[:10]
    again.close()


def test_what_was_lost_and_is_back_is_held_again(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    store = Store(root, 100 * MIB)
    for number in (1, 2):
        put(store, share_id(number), DATA)
    used = store.used_bytes
    for number in (1, 2):
        store.path(share_id(number)).rename(root / str(number))
        with pytest.raises(Rejected):
            store.open(share_id(number))
    assert store.used_bytes == 0
    (root / "1").rename(store.path(share_id(1)))
    store.path(share_id(2)).write_bytes(b"something else")
    crash(store)
    again = Store(root, 100 * MIB)
    assert [(row.share, row.state) for row in again.index.rows()] == [(share_id(1), "held"), (share_id(2), "lost")]
    assert read(again, share_id(1), 0, 10) == DATA[:10]
    assert again.used_bytes == used // 2
    again.close()


def test_one_sector_that_cannot_be_read_does_not_keep_a_provider_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "disk"
    store = Store(root, 100 * MIB)
    put(store, share_id(1), DATA)
    flush(store)
    shutil.copy(store.path(share_id(1)), store.path(share_id(2)))
    crash(store)
    monkeypatch.setattr(recovery.sharefile, "read_trailer", failing(errno.EIO))
    again = Store(root, 100 * MIB)
    assert (again.recovered.set_aside, again.totals().shares) == (1, 1)
    again.close()


@pytest.mark.parametrize("part", ["get", "look_up", "delete_order"])
def test_an_index_that_cannot_be_read_is_a_refusal(store: Store, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    put(store, share_id(1), DATA)

    def fails(*_: object) -> Any:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(store.index, part, fails)
        asked: dict[str, Callable[[], Any]] = {
            "get": lambda: store.open(share_id(1)),
            "delete_order": lambda: store.open(share_id(2)),
            "look_up": lambda: store.begin(share_id(2), GATEWAY, 10, digest(2)),
        }
        with pytest.raises(Rejected) as error:
            asked[part]()
        assert code(error) == "STORE_UNAVAILABLE"
        if part == "look_up":
            with pytest.raises(Rejected) as error:
                store.delete(share_id(1), GATEWAY, digest(9))
            assert code(error) == "STORE_UNAVAILABLE"
        store.mark(share_id(1), "bad")  # nothing is raised: the next look finds the same
    store.begin(share_id(2), GATEWAY, 10, digest(2)).abort()  # and no share stays busy
    store.delete(share_id(1), GATEWAY, digest(9)).result(10)


def test_a_disk_that_does_not_say_how_full_it_is_is_a_refusal(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "statvfs", failing(errno.EIO))
        with pytest.raises(Rejected) as error:
            store.begin(share_id(1), GATEWAY, 10, digest(1))
    assert code(error) == "STORE_UNAVAILABLE"
    store.begin(share_id(1), GATEWAY, 10, digest(1)).abort()
    assert store.used_bytes == 0


def test_room_that_cannot_be_made_is_given_back(store: Store) -> None:
    """A plot that the disk does not remove would otherwise cost its size in capacity each time that somebody stores."""
    store.filler_bytes = lambda: 100 * MIB
    store.make_room = failing(errno.EIO)
    with pytest.raises(Rejected) as error:
        store.begin(share_id(1), GATEWAY, 1_000_000, digest(1))
    assert code(error) == "STORE_UNAVAILABLE"
    assert store.used_bytes == 0


# ---- the committer ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OverflowError("too large"), TypeError(), MemoryError()])
def test_nothing_ends_the_committer(store: Store, error: Exception) -> None:
    def fails(writer: sqlite3.Connection) -> None:
        raise error

    store.committer.soon("poison", fails)
    for _ in range(2):
        change = store.committer.submit(Change(fails))
        with pytest.raises(Rejected):
            change.result(10)
    flush(store)
    assert put(store, share_id(1), DATA).share == share_id(1)


def test_what_comes_after_the_end_is_refused_and_waits_for_nobody(tmp_path: Path) -> None:
    store = Store(tmp_path / "disk", MIB)
    store.close()
    with pytest.raises(Rejected):
        store.committer.submit(Change(lambda writer: None)).result(10)


# ---- nothing is counted twice ----------------------------------------------------------------------------------------


def test_what_several_find_lost_at_once_is_counted_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    row = put(store, share_id(1), DATA)
    other = put(store, share_id(2), DATA)
    with monkeypatch.context() as patched:
        patched.setattr(store.index, "get", lambda share: row)  # as both saw it
        store.mark(share_id(1), "lost")
        store.mark(share_id(1), "lost")
    assert store.used_bytes == other.disk_bytes == store.totals().used_bytes


def test_a_share_that_is_lost_while_it_is_deleted_is_counted_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, share_id(1), DATA)
    other = put(store, share_id(2), DATA)
    real = store.index.look_up

    def meanwhile(share: bytes, order: bytes) -> Any:
        found = real(share, order)
        store.mark(share, "lost")
        return found

    monkeypatch.setattr(store.index, "look_up", meanwhile)
    store.delete(share_id(1), GATEWAY, digest(9)).result(10)
    assert store.used_bytes == other.disk_bytes == store.totals().used_bytes


def test_a_share_is_known_also_while_it_is_written_to_the_index(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else another gateway's bytes could take its place in that moment, and its own order to delete would be forgotten."""
    row = put(store, share_id(1), DATA)
    real, asker = store.index._connection, threading.current_thread()

    def execute(query: str, values: Any) -> Any:
        found = real().execute(query, values).fetchone()
        flush(store)
        return SimpleNamespace(fetchone=lambda: found)

    def connection() -> Any:
        return SimpleNamespace(execute=execute) if threading.current_thread() is asker else real()

    monkeypatch.setattr(store.index, "_connection", connection)
    assert store.index.look_up(share_id(1), digest(5))[0] == row


# ---- clocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [-400, 0, 8, 100])
def test_a_deleted_share_stays_deleted_whatever_the_clock_did(tmp_path: Path, days: int) -> None:
    """Its file may come back: the removal was not on disk when the power failed, or could not be done."""
    now_ms = [1_700_000_000_000]
    clock, root = SimpleNamespace(now_ms=lambda: now_ms[0]), tmp_path / "disk"
    store = Store(root, 100 * MIB, clock=clock)
    put(store, share_id(1), DATA)
    shutil.copy(store.path(share_id(1)), root / "copy")
    if days < 0:
        now_ms[0] += days * DAY_MS
    store.delete(share_id(1), GATEWAY, digest(9)).result(10)
    (root / "copy").rename(store.path(share_id(1)))
    crash(store)
    now_ms[0] += max(0, days) * DAY_MS
    again = Store(root, 100 * MIB, clock=clock)
    assert (again.recovered.removed, again.totals().shares, again.used_bytes) == (1, 0, 0)
    again.close()
