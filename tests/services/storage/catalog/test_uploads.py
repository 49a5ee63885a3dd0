"""Multipart uploads: what is accepted, what a completion leaves in use, what may be asked twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import Connection, insert, update

from fieldstone.services.storage.catalog.content import Content
from fieldstone.services.storage.catalog.faults import CatalogFault
from fieldstone.services.storage.catalog.removal import delete_bucket
from fieldstone.services.storage.catalog.rows import Attributes, Upload, Written, pack
from fieldstone.services.storage.catalog.schema import part as part_table
from fieldstone.services.storage.catalog.uploads import (
    LARGEST_OBJECT_BYTES,
    PARTS_LIMIT,
    NamedPart,
    Part,
    Whole,
    abort_upload,
    check_parts,
    complete_upload,
    create_upload,
    find_completed,
    find_upload,
    forget_completed,
    list_parts,
    put_part,
)
from fieldstone.services.storage.catalog.versions import delete_current, delete_version, find_version
from fieldstone.services.storage.pool import Stored
from tests.services.storage.catalog.conftest import OWNER, Catalogue
from tests.services.storage.folder_pool import segment

MIB = 1 << 20


def begin(c: Catalogue, key: bytes = b"k") -> Upload:
    upload_id = c.do(create_upload, c.bucket, key, OWNER, Attributes(OWNER), 1)
    return c.store.read_now(lambda x: find_upload(x, c.bucket, key, upload_id))


def part(c: Catalogue, upload: Upload, number: int, size: int = 5 * MIB, content: Content | None = None) -> NamedPart:
    c.clock += 1
    content = content or Content.of(c.stored(size))
    c.do(put_part, c.pool, upload, number, f"e{number}-{c.clock}", "", content, c.clock)
    return NamedPart(number, f"e{number}-{c.clock}")


def complete(c: Catalogue, upload: Upload, named: list[NamedPart]) -> Written:
    have = c.store.read_now(lambda x: list_parts(x, upload))
    return c.do(complete_upload, c.pool, upload, check_parts(named, have), Whole("whole-1", ""), c.clock)


def test_completion_hands_the_uses_over_and_drops_what_was_not_named(catalogue: Catalogue) -> None:
    upload = begin(catalogue)
    shared = catalogue.stored(6 * MIB)
    one, two = (part(catalogue, upload, n, content=Content.of(shared)) for n in (1, 2))
    part(catalogue, upload, 3)  # replaced …
    three = part(catalogue, upload, 3, size=100)
    part(catalogue, upload, 9)  # … and never named
    written = complete(catalogue, upload, [one, two, three])
    assert written.size_bytes == 12 * MIB + 100
    assert sorted(catalogue.pool.uses().values()) == [0, 0, 1, 1]
    found = catalogue.store.read_now(lambda c: find_version(c, catalogue.bucket, b"k", content=True))
    assert found is not None
    assert [n for n, _, _ in found.parts()] == [1, 2, 3]
    assert found.content().size_bytes == written.size_bytes
    with pytest.raises(CatalogFault, match="NoSuchUpload"):
        begin_again = catalogue.store.read_now(lambda c: find_upload(c, catalogue.bucket, b"k", upload.upload_id))
        assert begin_again is None


def asked_again(c: Catalogue, upload: Upload, etag: str = "whole-1") -> Written | None:
    return c.store.read_now(lambda x: find_completed(x, c.bucket, b"k", upload.upload_id, etag))


def test_a_completion_asked_again_answers_as_before(catalogue: Catalogue) -> None:
    upload = begin(catalogue)
    named = [part(catalogue, upload, 1)]
    have = catalogue.store.read_now(lambda x: list_parts(x, upload))
    written = complete(catalogue, upload, named)
    again = catalogue.do(complete_upload, catalogue.pool, upload, have, Whole("whole-1", ""), 99)
    assert again == written
    assert asked_again(catalogue, upload) == written
    assert list(catalogue.pool.uses().values()) == [1]
    assert catalogue.do(forget_completed, catalogue.clock + 1) == 1
    assert asked_again(catalogue, upload) is None


def test_a_completion_asked_again_from_other_parts_is_refused(catalogue: Catalogue) -> None:
    """The two requests cannot both have made the object, also when they arrive at the same instant."""
    upload = begin(catalogue)
    named = [part(catalogue, upload, number) for number in (1, 2)]
    have = catalogue.store.read_now(lambda x: list_parts(x, upload))
    complete(catalogue, upload, named)
    with pytest.raises(CatalogFault, match="NoSuchUpload"):
        asked_again(catalogue, upload, "whole-2")
    with pytest.raises(CatalogFault, match="NoSuchUpload"):
        catalogue.do(complete_upload, catalogue.pool, upload, have[:1], Whole("whole-2", ""), 99)


@pytest.mark.parametrize("versioning", ["", "Enabled"])
def test_a_completion_asked_again_does_not_speak_of_what_was_deleted(catalogue: Catalogue, versioning: str) -> None:
    if versioning:
        catalogue.versioned(versioning)
    upload = begin(catalogue)
    written = complete(catalogue, upload, [part(catalogue, upload, 1)])
    catalogue.do(delete_current, catalogue.pool, catalogue.bucket, b"k", OWNER, 9)
    if versioning:  # the version stands behind the marker
        assert asked_again(catalogue, upload) == written
        catalogue.do(delete_version, catalogue.pool, catalogue.bucket, b"k", written.version_id, 9)
    with pytest.raises(CatalogFault, match="NoSuchUpload"):
        asked_again(catalogue, upload)


def test_a_completion_asked_again_after_an_overwrite_was_done_all_the_same(catalogue: Catalogue) -> None:
    upload = begin(catalogue)
    written = complete(catalogue, upload, [part(catalogue, upload, 1)])
    catalogue.put("k")
    assert asked_again(catalogue, upload) == written


async def test_two_completions_at_once_make_one_version(catalogue: Catalogue) -> None:
    catalogue.versioned()
    upload = begin(catalogue)
    part(catalogue, upload, 1)
    have = catalogue.store.read_now(lambda x: list_parts(x, upload))
    done = await asyncio.gather(
        *(
            catalogue.store.write(
                lambda c: complete_upload(c, catalogue.pool, upload, have, Whole("w-1", ""), catalogue.clock)
            )
            for _ in range(6)
        )
    )
    assert len({d.version_id for d in done}) == 1


def test_abort_gives_everything_back(catalogue: Catalogue) -> None:
    upload = begin(catalogue)
    shared = Content.of(catalogue.stored())
    for number in (1, 2):
        part(catalogue, upload, number, content=shared)
    part(catalogue, upload, 3)
    catalogue.do(abort_upload, catalogue.pool, upload)
    assert set(catalogue.pool.uses().values()) == {0}
    for act in (lambda: part(catalogue, upload, 4), lambda: catalogue.do(abort_upload, catalogue.pool, upload)):
        with pytest.raises(CatalogFault, match="NoSuchUpload"):
            act()


def test_a_bucket_with_unfinished_uploads_can_go(catalogue: Catalogue) -> None:
    part(catalogue, begin(catalogue), 1)
    catalogue.do(delete_bucket, catalogue.pool, catalogue.bucket)
    assert set(catalogue.pool.uses().values()) == {0}


def test_ten_thousand_parts(catalogue: Catalogue) -> None:
    upload = begin(catalogue)
    stored = catalogue.stored(5 * MIB)
    content = Content.of(stored)

    row = {"upload": upload.id, "size_bytes": 5 * MIB, "checksum": "", "modified_ms": 1, "extents": content.encode()}
    rows = [{**row, "number": number, "etag": f"{number:032x}"} for number in range(1, PARTS_LIMIT + 1)]

    def fill(connection: Connection) -> None:
        connection.execute(insert(part_table), rows)
        connection.execute(update(segment).values(state="live", uses=PARTS_LIMIT))

    catalogue.do(fill)
    named = [NamedPart(number, f"{number:032x}") for number in range(1, PARTS_LIMIT + 1)]
    written = complete(catalogue, upload, named)
    assert written.size_bytes == PARTS_LIMIT * 5 * MIB
    assert list(catalogue.pool.uses().values()) == [1]
    found = catalogue.store.read_now(lambda c: find_version(c, catalogue.bucket, b"k", content=True))
    assert found is not None and len(found.parts()) == PARTS_LIMIT
    start = 7_777 * 5 * MIB
    (piece,) = found.content().pieces(start + 1, start + 11)
    assert (piece.start, piece.end) == (1, 11)


def test_the_largest_object_is_five_tebibytes() -> None:
    gib5 = 5 << 30
    have = [Part(n, gib5, "e", "", 1) for n in range(1, 1026)]
    named = [NamedPart(n, "e") for n in range(1, 1026)]
    assert sum(p.size_bytes for p in check_parts(named[:1024], have)) == LARGEST_OBJECT_BYTES
    with pytest.raises(CatalogFault, match="EntityTooLarge"):
        check_parts(named, have)


@pytest.mark.parametrize(
    ("named", "code"),
    [
        ([], "MalformedXML"),
        ([NamedPart(2, "b"), NamedPart(1, "a")], "InvalidPartOrder"),
        ([NamedPart(1, "a"), NamedPart(1, "a")], "InvalidPartOrder"),
        ([NamedPart(1, "x")], "InvalidPart"),
        ([NamedPart(3, "a")], "InvalidPart"),
        ([NamedPart(1, "a", "sum")], "InvalidPart"),
        ([NamedPart(1, "a"), NamedPart(2, "b")], "EntityTooSmall"),
    ],
)
def test_wrong_completions_are_named(named: list[NamedPart], code: str) -> None:
    have = [Part(1, 10, "a", "", 1), Part(2, 10, "b", "", 1)]
    with pytest.raises(CatalogFault) as caught:
        check_parts(named, have)
    assert caught.value.code == code
    # the last part may be small
    assert check_parts([NamedPart(2, "b")], have) == [have[1]]


def test_a_part_replaced_between_check_and_commit_is_refused(catalogue: Catalogue) -> None:
    upload = begin(catalogue)
    part(catalogue, upload, 1)
    have = catalogue.store.read_now(lambda x: list_parts(x, upload))
    part(catalogue, upload, 1)
    with pytest.raises(CatalogFault, match="InvalidPart"):
        catalogue.do(complete_upload, catalogue.pool, upload, have, Whole("w-1", ""), 1)
    assert sorted(catalogue.pool.uses().values()) == [0, 1]


def test_a_part_of_a_whole_is_known_by_its_etag(catalogue: Catalogue) -> None:
    upload = begin(catalogue)
    named = [part(catalogue, upload, 3), part(catalogue, upload, 7, size=10)]
    complete(catalogue, upload, named)
    found = catalogue.store.read_now(lambda c: find_version(c, catalogue.bucket, b"k", content=True))
    assert found is not None
    ranges = [(0, 5 * MIB), (5 * MIB, 5 * MIB + 10), (0, 5 * MIB + 10), (1, 5 * MIB), (5 * MIB, 5 * MIB + 9)]
    assert [found.part_etag(*each) for each in ranges] == [named[0].etag, named[1].etag, "", "", ""]
    earlier = replace(found, parts_packed=pack([(3, 5 * MIB, ""), (7, 10, "")]))
    assert earlier.parts() == found.parts() and earlier.part_etag(0, 5 * MIB) == ""


def test_small_parts_lie_inline(catalogue: Catalogue) -> None:
    upload = begin(catalogue)
    named = part(catalogue, upload, 1, content=Content.of(Stored(3, (), b"abc")))
    assert complete(catalogue, upload, [named]).size_bytes == 3
