"""The share store: durable before acknowledged, nothing wrong handed out, room kept, recovery honest."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.errors import EnvironmentProblem, Rejected, UsageError
from fieldstone.services.storage.codes import fast_tree
from fieldstone.services.storage.codes.chunk_opening import Claim, chunk_of, verify_all
from fieldstone.services.storage.provider.commit import Change
from fieldstone.services.storage.provider.index import Row
from fieldstone.services.storage.provider.store import Store

GATEWAY = "did:key:zGateway"
MIB = 1_048_576


def digest(number: int) -> bytes:
    return number.to_bytes(32, "big")


def share_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def put(store: Store, share: bytes, data: bytes, order: int = 0, pieces: int = 1, gateway: str = GATEWAY) -> Row:
    incoming = store.begin(share, gateway, len(data), digest(order))
    try:
        step = max(1, -(-len(data) // pieces))
        for at in range(0, len(data), step):
            incoming.take(memoryview(data)[at : at + step])
        return incoming.finish()
    finally:
        incoming.abort()


def read(store: Store, share: bytes, start: int, end: int) -> bytes:
    opened = store.open(share)
    try:
        store.check(opened, start, end)
        return os.pread(opened.fd, end - start, start)
    finally:
        opened.close()


def code(error: pytest.ExceptionInfo[Rejected]) -> str:
    return error.value.reason.code


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "disk", 100 * MIB)
    yield made
    made.close()


def fail_to_write(*_: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")


def crash(store: Store) -> None:
    """Drop a store as a kill would: nothing is written any more, the lock is gone."""
    store.committer.close()
    store.index.close()
    os.close(store._lock_file)


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(1, 400_000),
    leaf=st.sampled_from([1_024, 16_384, 65_536]),
    pieces=st.integers(1, 5),
    seed=st.integers(0, 999),
)
def test_every_chunk_of_every_size_is_provable_with_any_leaf_that_was_ever_stored(
    tmp_path_factory: pytest.TempPathFactory, size: int, leaf: int, pieces: int, seed: int
) -> None:
    data = (seed.to_bytes(4, "big") * (size // 4 + 1))[:size]
    store = Store(tmp_path_factory.mktemp("disk"), 10 * MIB)
    store.leaf_bytes = leaf
    try:
        row = put(store, share_id(1), data, pieces=pieces)
        assert row.root == fast_tree.Tree.build(data, leaf).commitment
        asked = [(share_id(1), chunk_of(size, leaf, byte).start) for byte in {0, size // 2, size - 1}]
        proofs = store.prove_all(asked)
        assert [(p.share, p.start) for p in proofs] == asked
        claims = [Claim(row.root, size, leaf, p.start, p.chunk, p.siblings) for p in proofs]
        assert None not in verify_all(claims)
        assert store.prove(share_id(1), size) is None
        assert size < 2 or store.prove(share_id(1), 1) is None  # begins no chunk
        assert store.prove(share_id(2), 0) is None
        assert read(store, share_id(1), 0, size) == data
        store.leaf_bytes = fast_tree.LEAF_BYTES
        assert put(store, share_id(1), data, order=1) == row  # sent again to a later version: it is what it was
    finally:
        store.close()


def test_storing_the_same_again_gives_the_same_row(store: Store) -> None:
    data = os.urandom(300_000)
    first = put(store, share_id(1), data, order=1)
    used = store.used_bytes
    assert put(store, share_id(1), data, order=2) == first
    assert store.used_bytes == used


@pytest.mark.parametrize("other", [b"y" * 300_000, b"x" * 299_999])
def test_other_bytes_under_one_id_conflict_and_change_nothing(store: Store, other: bytes) -> None:
    put(store, share_id(1), b"x" * 300_000)
    with pytest.raises(Rejected) as error:
        put(store, share_id(1), other, order=2)
    assert code(error) == "SHARE_CONFLICT"
    assert read(store, share_id(1), 0, 300_000) == b"x" * 300_000
    with pytest.raises(Rejected):
        put(store, share_id(1), b"x" * 300_000, gateway="did:key:zOther")


def test_two_uploads_of_one_share_at_a_time_cannot_overwrite_each_other(store: Store) -> None:
    first = store.begin(share_id(1), GATEWAY, 3, digest(1))
    with pytest.raises(Rejected) as error:
        store.begin(share_id(1), GATEWAY, 3, digest(2))
    assert code(error) == "SHARE_BUSY"
    with pytest.raises(Rejected):
        store.delete(share_id(1), GATEWAY, digest(3))
    first.abort()
    put(store, share_id(1), b"abc")


def test_a_body_of_another_length_is_not_stored(store: Store) -> None:
    incoming = store.begin(share_id(1), GATEWAY, 10, digest(1))
    incoming.take(memoryview(b"nine byte"))
    with pytest.raises(Rejected) as error:
        incoming.finish()
    assert code(error) == "WRONG_LENGTH"
    incoming.abort()
    assert store.used_bytes == 0
    assert list(store.tmp.iterdir()) == []


def test_deleting_frees_room_and_orders_do_not_work_again(store: Store) -> None:
    put(store, share_id(1), b"x" * 1000, order=1)
    store.delete(share_id(1), GATEWAY, digest(2)).result(10)
    assert store.used_bytes == 0
    assert not store.path(share_id(1)).exists()
    store.delete(share_id(1), GATEWAY, digest(2)).result(10)  # nothing there: fine again
    with pytest.raises(Rejected) as error:
        put(store, share_id(1), b"x" * 1000, order=1)  # the replayed order would bring it back
    assert code(error) == "ORDER_USED"
    put(store, share_id(1), b"y" * 1000, order=3)
    with pytest.raises(Rejected) as error:
        store.delete(share_id(1), GATEWAY, digest(2))  # the replayed order would delete the new one
    assert code(error) == "ORDER_USED"
    with pytest.raises(Rejected) as error:
        store.delete(share_id(1), "did:key:zOther", digest(9))
    assert code(error) == "SHARE_CONFLICT"


def test_room_is_reserved_before_the_first_byte(tmp_path: Path) -> None:
    store = Store(tmp_path / "disk", 1 * MIB)
    first = store.begin(share_id(1), GATEWAY, 600_000, digest(1))
    with pytest.raises(Rejected) as error:
        store.begin(share_id(2), GATEWAY, 600_000, digest(2))
    assert code(error) == "DISK_FULL"
    first.abort()
    put(store, share_id(2), b"x" * 600_000)
    assert 0 < store.free_bytes() < 500_000
    store.close()


def test_fillers_make_room(tmp_path: Path) -> None:
    store = Store(tmp_path / "disk", 1 * MIB)
    fillers = [900_000]
    store.filler_bytes = lambda: fillers[0]
    asked: list[int] = []

    def make_room(wanted: int) -> None:
        asked.append(wanted)
        fillers[0] -= wanted

    store.make_room = make_room
    put(store, share_id(1), b"x" * 600_000)
    assert asked and store.used_bytes + fillers[0] <= 1 * MIB
    store.close()


def test_a_full_disk_is_said_and_leaves_nothing(store: Store) -> None:
    """RLIMIT_FSIZE makes write() fail with EFBIG, in the middle of a share."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    incoming = store.begin(share_id(1), GATEWAY, 3 * MIB, digest(1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, hard))
    try:
        with pytest.raises(Rejected) as error:
            for _ in range(3):
                incoming.take(memoryview(bytes(MIB)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code(error) == "DISK_FULL"
    incoming.abort()
    assert store.used_bytes == 0
    assert list(store.tmp.iterdir()) == []
    put(store, share_id(1), b"x" * 1000)


def test_a_share_is_held_without_the_index_and_entered_after_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "disk"
    store = Store(root, 100 * MIB)
    with monkeypatch.context() as patch:
        patch.setattr("fieldstone.services.storage.provider.index.put_row", fail_to_write)
        row = put(store, share_id(1), b"x" * 1000)
        assert store.index.get(share_id(1)) == row
        assert (store.totals().shares, store.totals().used_bytes) == (1, store.used_bytes)
        assert read(store, share_id(1), 0, 1000) == b"x" * 1000
        with pytest.raises(Rejected) as error:  # what has to be in the index at once waits for those before it
            store.delete(share_id(1), GATEWAY, digest(2)).result(10)
        assert code(error) == "DISK_FULL"
        assert store.path(share_id(1)).exists()
        store.close()
    again = Store(root, 100 * MIB)
    assert again.recovered.entered == 1
    assert again.index.get(share_id(1)) == row._replace(checked_ms=0)
    assert again.totals().shares == 1
    again.close()


def test_no_more_shares_than_a_start_can_read_wait_for_the_index(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fieldstone.services.storage.provider.store._MOST_ENTERED", 2)
    with monkeypatch.context() as patch:
        patch.setattr("fieldstone.services.storage.provider.index.put_row", fail_to_write)
        for number in (1, 2):
            put(store, share_id(number), b"x" * 1000)
        with pytest.raises(Rejected) as error:
            put(store, share_id(3), b"x" * 1000)
        assert code(error) == "STORE_UNAVAILABLE"
        assert not store.path(share_id(3)).exists()
    store.committer.submit(Change(lambda writer: None)).result(10)
    assert [row.share for row in store.index.rows()] == [share_id(1), share_id(2)]
    put(store, share_id(3), b"x" * 1000)


def test_what_was_deleted_before_is_in_the_index_before_it_is_acknowledged(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start after a crash removes files that are not newer than their deletion, by a clock that may have gone back."""
    put(store, share_id(1), b"x" * 1000, order=1)
    store.delete(share_id(1), GATEWAY, digest(2)).result(10)
    with monkeypatch.context() as patch:
        patch.setattr("fieldstone.services.storage.provider.index.put_row", fail_to_write)
        with pytest.raises(Rejected) as error:
            put(store, share_id(1), b"y" * 1000, order=3)
    assert code(error) == "DISK_FULL"
    assert not store.path(share_id(1)).exists()
    assert store.used_bytes == 0
    row = put(store, share_id(1), b"y" * 1000, order=4)
    assert list(store.index.rows()) == [row]


def test_a_folder_that_cannot_be_synced_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("fieldstone.services.storage.provider.incoming.sync_folder", fail)
        with pytest.raises(Rejected) as error:
            put(store, share_id(1), b"x" * 1000)
    assert code(error) == "STORE_UNAVAILABLE"
    assert not store.path(share_id(1)).exists()
    assert store.used_bytes == store.totals().shares == 0


@pytest.mark.parametrize("at", [0, 131_072 + 5, 299_999])
def test_wrong_bytes_are_refused_marked_and_healed_by_storing_again(store: Store, at: int) -> None:
    data = os.urandom(300_000)
    put(store, share_id(1), data, order=1)
    assert read(store, share_id(1), 0, 300_000) == data
    with store.path(share_id(1)).open("r+b") as file:
        file.seek(at)
        file.write(bytes([data[at] ^ 1]))
    with pytest.raises(Rejected) as error:
        read(store, share_id(1), 0, 300_000)
    assert code(error) == "SHARE_DAMAGED"
    store.committer.close()
    row = store.index.get(share_id(1))
    assert row is not None and row.state == "bad"
    assert store.prove(share_id(1), 0) is None


def test_a_damaged_share_can_be_stored_again(store: Store) -> None:
    put(store, share_id(1), b"x" * 1000, order=1)
    used = store.used_bytes
    store.path(share_id(1)).write_bytes(b"")
    with pytest.raises(Rejected):
        read(store, share_id(1), 0, 10)
    put(store, share_id(1), b"x" * 1000, order=2)
    assert read(store, share_id(1), 0, 1000) == b"x" * 1000
    assert store.used_bytes == used
    store.path(share_id(1)).unlink()
    with pytest.raises(Rejected):
        read(store, share_id(1), 0, 10)
    put(store, share_id(1), b"x" * 1000, order=3)
    assert store.used_bytes == used


def test_a_damaged_tree_proves_nothing(store: Store) -> None:
    put(store, share_id(1), os.urandom(300_000))
    path = store.path(share_id(1))
    with path.open("r+b") as file:
        file.seek(300_010)
        file.write(b"\xff\xff")
    assert store.prove(share_id(1), 3 * 16_384) is None


def test_another_shares_file_in_its_place_is_not_served(store: Store) -> None:
    put(store, share_id(1), b"x" * 1000)
    put(store, share_id(2), b"y" * 1000)
    os.replace(store.path(share_id(2)), store.path(share_id(1)))
    with pytest.raises(Rejected) as error:
        read(store, share_id(1), 0, 1000)
    assert code(error) == "SHARE_DAMAGED"


def test_a_killed_store_sweeps_and_reconciles(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    store = Store(root, 100 * MIB)
    rows = [put(store, share_id(n), bytes([n]) * 5_000, order=n) for n in range(6)]
    store.delete(share_id(5), GATEWAY, digest(50)).result(10)
    deleted = store.path(share_id(5))
    half = store.begin(share_id(9), GATEWAY, 10_000, digest(9))
    half.take(memoryview(b"z" * 5_000))
    crash(store)
    # what a kill can leave: a share in place that the index does not know, a deleted one that is still there, …
    writer = sqlite3.connect(root / "index.db")
    writer.execute("DELETE FROM shares WHERE share = ?", (share_id(2),))
    writer.commit()
    writer.close()
    deleted.write_bytes((root / "shares" / "00" / share_id(4).hex()).read_bytes())  # damaged on purpose: names another
    (root / "shares" / "00" / share_id(7).hex()).write_bytes(b"no share")
    (root / "shares" / "00" / share_id(1).hex()).unlink()
    again = Store(root, 100 * MIB)
    assert (again.recovered.swept, again.recovered.entered, again.recovered.lost) == (1, 1, 1)
    assert again.recovered.set_aside == 2
    assert again.index.get(share_id(2)) == rows[2]._replace(checked_ms=0)
    assert again.index.get(share_id(9)) is None
    for number in (0, 2, 3, 4):
        assert read(again, share_id(number), 0, 5_000) == bytes([number]) * 5_000
    totals = again.totals()
    assert (totals.shares, totals.lost) == (5, 1)
    assert again.used_bytes == sum(rows[n].disk_bytes for n in (0, 2, 3, 4))
    again.close()
    clean = Store(root, 100 * MIB)
    assert clean.recovered.entered == clean.recovered.lost == 0
    clean.close()


def test_a_deleted_share_does_not_come_back(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    store = Store(root, 100 * MIB)
    put(store, share_id(1), b"x" * 5_000, order=1)
    body = store.path(share_id(1)).read_bytes()
    store.delete(share_id(1), GATEWAY, digest(2)).result(10)
    crash(store)
    store.path(share_id(1)).write_bytes(body)  # the unlink was not durable
    again = Store(root, 100 * MIB)
    assert again.recovered.removed == 1
    assert again.index.get(share_id(1)) is None
    again.close()


def test_a_lost_index_is_made_again_from_the_files(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    store = Store(root, 100 * MIB)
    rows = [put(store, share_id(n), bytes([n]) * 200_000, order=n) for n in range(1, 4)]
    crash(store)
    for path in root.glob("index.db*"):
        path.unlink()
    again = Store(root, 100 * MIB)
    assert [row._replace(checked_ms=0) for row in rows] == list(again.index.rows())
    again.close()


def test_a_folder_belongs_to_one_process(store: Store) -> None:
    with pytest.raises(EnvironmentProblem, match="in use"):
        Store(store.root, MIB)


def test_a_bad_capacity_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        Store(tmp_path, 0)
