"""What two transactions at once may not undo: an acknowledged lock, a lifecycle's premise; on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest
from sqlalchemy import Connection, delete

from fieldstone.errors import Retryable
from fieldstone.services.storage.catalog.accounts import create_first_account, list_accounts
from fieldstone.services.storage.catalog.content import Content
from fieldstone.services.storage.catalog.faults import CatalogFault
from fieldstone.services.storage.catalog.locks import set_legal_hold
from fieldstone.services.storage.catalog.rows import Attributes, Version
from fieldstone.services.storage.catalog.schema import access_key, account, bucket
from fieldstone.services.storage.catalog.uploads import create_upload, find_upload, list_parts, put_part
from fieldstone.services.storage.catalog.versions import delete_current, delete_version, find_version, set_tags
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
