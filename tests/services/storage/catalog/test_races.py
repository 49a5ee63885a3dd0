"""What two transactions at once may not undo: an acknowledged lock, a lifecycle's premise; on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import Connection, delete, text

from fieldstone.errors import Retryable
from fieldstone.services.storage.catalog.accounts import create_first_account, list_accounts
from fieldstone.services.storage.catalog.content import Content
from fieldstone.services.storage.catalog.faults import CatalogFault
from fieldstone.services.storage.catalog.locks import set_legal_hold
from fieldstone.services.storage.catalog.removal import delete_bucket
from fieldstone.services.storage.catalog.rows import Attributes, Part, Upload, Version
from fieldstone.services.storage.catalog.schema import access_key, account, bucket
from fieldstone.services.storage.catalog.uploads import (
    Whole,
    abort_upload,
    complete_upload,
    create_upload,
    find_upload,
    list_parts,
    put_part,
)
from fieldstone.services.storage.catalog.versions import (
    delete_current,
    delete_version,
    find_version,
    hold_source,
    put_version,
    set_tags,
)
from tests.services.storage.catalog.conftest import OWNER, Catalogue

# how long a transaction is given to overtake another one; it must not be able to
HEAD_START_S = 0.15


class Meanwhile:
    """A check that lets another transaction run in the middle of the one that asks it."""

    def __init__(self, catalogue: Catalogue, change: Callable[[Connection], None]) -> None:
        self._catalogue, self._change = catalogue, change
        self._threads = ThreadPoolExecutor(1)
        self._done: Future[None] | None = None

    def __call__(self, found: Version | None) -> None:
        self._done = self._threads.submit(self._catalogue.store.write_now, self._change)
        with suppress(TimeoutError):
            self._done.result(HEAD_START_S)

    def was_acknowledged(self) -> bool:
        assert self._done is not None
        try:
            self._done.result(20)
        except (CatalogFault, Retryable):
            return False
        return True


def held(c: Catalogue, version_id: str) -> Callable[[Connection], None]:
    def change(connection: Connection) -> None:
        found = find_version(connection, c.bucket, b"k", version_id, lock=True)
        if found is None:
            raise CatalogFault("NoSuchKey", "gone")
        set_legal_hold(connection, found, True)

    return change


def test_a_legal_hold_that_was_acknowledged_keeps_the_version(catalogue: Catalogue) -> None:
    catalogue.versioned()
    version = catalogue.put("k").version_id
    hold = Meanwhile(catalogue, held(catalogue, version))
    with suppress(CatalogFault):
        catalogue.do(delete_version, catalogue.pool, catalogue.bucket, b"k", version, 5, check=hold)
    left = catalogue.store.read_now(lambda c: find_version(c, catalogue.bucket, b"k", version))
    assert (left is not None) == hold.was_acknowledged()


@pytest.mark.parametrize("versioning", ["", "Enabled"])
def test_tags_that_were_acknowledged_are_weighed_by_a_check_before_the_deletion(
    catalogue: Catalogue, versioning: str
) -> None:
    """A lifecycle rule asks for tags: no object goes by tags that it has no more."""
    if versioning:
        catalogue.versioned(versioning)
    catalogue.put("k", tags={"keep": "no"})
    seen: list[Version | None] = []

    def change(connection: Connection) -> None:
        found = find_version(connection, catalogue.bucket, b"k", lock=True)
        if found is None or found.marker:
            raise CatalogFault("NoSuchKey", "gone")
        set_tags(connection, found.id, {"keep": "yes"})

    tagged = Meanwhile(catalogue, change)

    def check(found: Version | None) -> None:
        seen.append(found)
        tagged(found)

    catalogue.do(delete_current, catalogue.pool, catalogue.bucket, b"k", OWNER, 5, check)
    assert seen[0] is not None and seen[0].tag_map() == {"keep": "no"}
    assert not tagged.was_acknowledged() or versioning  # where it stays behind a marker, it may be tagged afterwards


def test_parts_of_one_number_sent_at_once_are_all_taken_and_one_stays(catalogue: Catalogue) -> None:
    """As a client does whose first attempt hangs: S3 answers both, the last one counts."""
    upload_id = catalogue.do(create_upload, catalogue.bucket, b"k", OWNER, Attributes(OWNER), 1)
    upload = catalogue.store.read_now(lambda c: find_upload(c, catalogue.bucket, b"k", upload_id))
    contents = [Content.of(catalogue.stored(6 << 20)) for _ in range(8)]

    def put(number: int) -> None:
        catalogue.do(put_part, catalogue.pool, upload, 1, f"e{number}", "", contents[number], number)

    with ThreadPoolExecutor(len(contents)) as threads:
        list(threads.map(put, range(len(contents))))
    (part,) = catalogue.store.read_now(lambda c: list_parts(c, upload))
    used = {segment for segment, uses in catalogue.pool.uses().items() if uses}
    assert used == {segment for segment, _ in contents[int(part.etag[1:])].holdings()}


def test_of_gateways_that_start_at_once_one_makes_the_first_account(catalogue: Catalogue) -> None:
    for table in (access_key, bucket, account):
        catalogue.do(lambda c, table=table: c.execute(delete(table)))

    def first(_: int) -> object:
        return catalogue.do(create_first_account, catalogue.box, "admin")

    with ThreadPoolExecutor(6) as threads:
        made = [each for each in threads.map(first, range(6)) if each is not None]
    assert len(made) == len(catalogue.store.read_now(list_accounts)) == 1


class Beside:
    """A check that lets another transaction run until it is done or waits for a lock of ours: no time decides."""

    def __init__(self, catalogue: Catalogue, change: Callable[[Connection], Any]) -> None:
        self._catalogue, self._change = catalogue, change
        self._threads = ThreadPoolExecutor(1)
        self._done: Future[Any] | None = None
        self.runs = 0

    def __call__(self, _: object = None) -> None:
        if self._done is not None:
            return  # the database asked for our transaction again
        self._done = self._threads.submit(self._catalogue.store.write_now, self._counted)
        if self._catalogue.store.is_sqlite:
            return  # it waits for the one writer, whatever it is about to do
        with self._catalogue.engine.connect() as connection:
            while not self._done.done() and not connection.execute(_WAITING).scalar_one():
                connection.rollback()

    def _counted(self, connection: Connection) -> Any:
        self.runs += 1
        return self._change(connection)

    def result(self) -> Any:
        """Return what it returned, or S3's code."""
        assert self._done is not None
        try:
            return self._done.result(20)
        except CatalogFault as fault:
            return fault.code


_WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")


def begun(c: Catalogue) -> tuple[Upload, list[Part]]:
    upload_id = c.do(create_upload, c.bucket, b"k", OWNER, Attributes(OWNER), 1)
    upload = c.store.read_now(lambda x: find_upload(x, c.bucket, b"k", upload_id))
    c.do(put_part, c.pool, upload, 1, "e1", "", Content.of(c.stored(6 << 20)), 1)
    return upload, c.store.read_now(lambda x: list_parts(x, upload))


def test_a_second_completion_waits_for_the_first_and_answers_the_same(catalogue: Catalogue) -> None:
    catalogue.versioned()
    upload, have = begun(catalogue)
    whole = Whole("w-1", "")
    other = Beside(catalogue, lambda c: complete_upload(c, catalogue.pool, upload, have, whole, 7))
    mine = catalogue.do(complete_upload, catalogue.pool, upload, have, whole, 5, other)
    assert (other.result(), other.runs) == (mine, 1)
    assert list(catalogue.pool.uses().values()) == [1]


def test_an_abort_waits_for_a_completion_and_takes_nothing_away(catalogue: Catalogue) -> None:
    upload, have = begun(catalogue)
    abort = Beside(catalogue, lambda c: abort_upload(c, catalogue.pool, upload))
    catalogue.do(complete_upload, catalogue.pool, upload, have, Whole("w-1", ""), 5, abort)
    assert abort.result() == "NoSuchUpload"
    assert list(catalogue.pool.uses().values()) == [1]


def large(c: Catalogue, key: bytes) -> Version:
    c.do(put_version, c.pool, c.bucket, key, c.new())
    found = c.store.read_now(lambda x: find_version(x, c.bucket, key, content=True))
    assert found is not None
    return found


def test_copies_to_and_fro_do_not_wait_for_each_other(catalogue: Catalogue) -> None:
    """The second would hold the row that the first must replace, and the first the second's."""
    a, b = large(catalogue, b"a"), large(catalogue, b"b")

    def copy(connection: Connection, source: Version, key: bytes, check: Any = None) -> str:
        hold_source(connection, source, catalogue.bucket, key)
        new = catalogue.new(source.etag, content=source.content())
        return put_version(connection, catalogue.pool, catalogue.bucket, key, new, check).version_id

    other = Beside(catalogue, lambda c: copy(c, b, b"a"))
    runs = []

    def mine(connection: Connection) -> None:
        runs.append(1)
        copy(connection, a, b"b", other)

    catalogue.store.write_now(mine)
    assert other.result() == "NoSuchKey"  # b was replaced: it looks again
    assert (len(runs), other.runs) == (1, 1)
    assert sorted(catalogue.pool.uses().values()) == [0, 2]


def test_a_copy_that_waits_for_a_deletion_finds_nothing(catalogue: Catalogue) -> None:
    source = large(catalogue, b"k")

    def copy(connection: Connection) -> None:
        hold_source(connection, source, catalogue.bucket, b"c")
        new = catalogue.new(content=source.content())
        put_version(connection, catalogue.pool, catalogue.bucket, b"c", new)

    other = Beside(catalogue, copy)
    catalogue.do(delete_current, catalogue.pool, catalogue.bucket, b"k", OWNER, 5, other)
    assert other.result() == "NoSuchKey"
    assert list(catalogue.pool.uses().values()) == [0]


def test_a_deletion_waits_for_a_copy_of_what_it_deletes(catalogue: Catalogue) -> None:
    source = large(catalogue, b"k")
    gone = Beside(catalogue, lambda c: delete_current(c, catalogue.pool, catalogue.bucket, b"k", OWNER, 5).existed)

    def copy(connection: Connection) -> None:
        hold_source(connection, source, catalogue.bucket, b"c")
        new = catalogue.new(content=source.content())
        put_version(connection, catalogue.pool, catalogue.bucket, b"c", new, gone)

    catalogue.store.write_now(copy)
    assert (gone.result(), gone.runs) == (True, 1)
    assert list(catalogue.pool.uses().values()) == [1]


def test_a_bucket_goes_with_the_part_that_was_being_written(catalogue: Catalogue) -> None:
    upload, _ = begun(catalogue)
    content = Content.of(catalogue.stored(6 << 20))
    gone = Beside(catalogue, lambda c: delete_bucket(c, catalogue.pool, catalogue.bucket))

    def put(connection: Connection) -> None:
        put_part(connection, catalogue.pool, upload, 2, "e2", "", content, 2)
        gone()

    catalogue.store.write_now(put)
    assert (gone.result(), gone.runs) == (None, 1)
    assert set(catalogue.pool.uses().values()) == {0}


@pytest.mark.parametrize("write", ["put", "part", "begin"])
def test_who_writes_while_a_bucket_is_deleted_is_told_that_it_is_gone(catalogue: Catalogue, write: str) -> None:
    upload, _ = begun(catalogue)
    new, content = catalogue.new(), Content.of(catalogue.stored(6 << 20))
    other = Beside(
        catalogue,
        {
            "put": lambda c: put_version(c, catalogue.pool, catalogue.bucket, b"k", new),
            "part": lambda c: put_part(c, catalogue.pool, upload, 2, "e2", "", content, 2),
            "begin": lambda c: create_upload(c, catalogue.bucket, b"k", OWNER, Attributes(OWNER), 1),
        }[write],
    )

    def gone(connection: Connection) -> None:
        delete_bucket(connection, catalogue.pool, catalogue.bucket)
        other()

    catalogue.store.write_now(gone)
    assert other.result() == ("NoSuchUpload" if write == "part" else "NoSuchBucket")
    assert set(catalogue.pool.uses().values()) == {0}
