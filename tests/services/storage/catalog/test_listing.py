"""Listings against a plain sort in Python, and their cost in rows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, insert

from fieldstone.services.storage.catalog.listing import (
    _OBJECTS,
    _OBJECTS_SQLITE,
    list_objects,
    list_uploads,
    list_versions,
    successor,
)
from fieldstone.services.storage.catalog.rows import Attributes, pack
from fieldstone.services.storage.catalog.schema import version as version_table
from fieldstone.services.storage.catalog.uploads import create_upload
from tests.services.storage.catalog.conftest import OWNER, Catalogue

ODD = [
    "a",
    "a/",
    "a//b",
    "a/\U0001f600",
    "a/é",
    "a/e\u0301",
    "b\x01",
    "b",
    "\uffff",
    "é/x",
    "日本/語",
    " ",
    "a b",
    "/",
    "//",
    ".",
]


def fill(c: Catalogue, keys: list[bytes], state: int = 1) -> None:
    row = {
        "bucket_id": c.bucket, "version_id": "null", "state": state, "marker": state == 2, "size_bytes": 1, "etag": "e",
        "modified_ms": 1, "owner": OWNER, "storage_class": "STANDARD", "checksum": "", "headers": pack([]),
        "legal_hold": False,
    }  # fmt: skip
    c.do(lambda x: x.execute(insert(version_table), [{**row, "key": key} for key in keys]))


def listing(c: Catalogue, limit: int = 1000, **question: Any) -> tuple[list[bytes], list[bytes], int]:
    """Return keys, prefixes and the number of pages of a whole listing."""
    keys: list[bytes] = []
    prefixes: list[bytes] = []
    pages = 0
    after = question.pop("after", b"")
    while True:
        page = c.store.read_now(lambda x, a=after: list_objects(x, c.bucket, after=a, limit=limit, **question))
        keys += [row.key for row in page.entries]
        prefixes += page.prefixes
        pages += 1
        assert len(page.entries) + len(page.prefixes) <= limit
        if not page.truncated:
            return keys, prefixes, pages
        assert page.next_key > after
        after = page.next_key


def plain(keys: list[bytes], prefix: bytes = b"", delimiter: bytes = b"") -> tuple[list[bytes], list[bytes]]:
    left, common = [], set()
    for key in sorted(k for k in keys if k.startswith(prefix)):
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        if at < 0:
            left.append(key)
        else:
            common.add(key[: at + len(delimiter)])
    return left, sorted(common)


def test_pages_of_objects_come_by_the_partial_index(catalogue: Catalogue) -> None:
    """Its condition is written out, and SQLite's planner, to which another index looks as good, is told its name."""
    assert len(_OBJECTS) == 4
    for query in _OBJECTS.values():
        assert "state > 0" in str(query.compile(catalogue.engine))
    if catalogue.store.is_sqlite:
        for query in _OBJECTS_SQLITE.values():
            compiled = query.compile(catalogue.engine)
            asked, unbound = f"EXPLAIN QUERY PLAN {compiled}", (None,) * len(compiled.positiontup or ())
            plan = catalogue.store.read_now(lambda x, a=asked, u=unbound: x.exec_driver_sql(a, u).all())
            assert [row[3].split(" (")[0] for row in plan] == ["SEARCH s3_version USING INDEX ux_s3_version_current"]


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("prefix", "delimiter"), [("", ""), ("", "/"), ("a", "/"), ("a/", "/"), ("", "b"), ("x", ""), ("a", "é")]
)
def test_pages_of_odd_keys_join_to_the_sorted_whole(
    catalogue: Catalogue, limit: int, prefix: str, delimiter: str
) -> None:
    keys = [key.encode() for key in ODD]
    fill(catalogue, keys)
    question = {"prefix": prefix.encode(), "delimiter": delimiter.encode()}
    found_keys, found_prefixes, _ = listing(catalogue, limit, **question)
    assert (found_keys, found_prefixes) == plain(keys, **question)


def test_keys_come_in_the_order_of_their_bytes(catalogue: Catalogue) -> None:
    # UTF-16 order would put U+FFFF behind the emoji
    keys = ["\uffff".encode(), "\U0001f600".encode(), "é".encode(), b"z"]
    fill(catalogue, keys)
    assert listing(catalogue)[0] == sorted(keys)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=st.lists(st.text(alphabet="ab/\uffff", min_size=1, max_size=6), unique=True, max_size=30),
    prefix=st.text(alphabet="ab/", max_size=3),
    delimiter=st.sampled_from(["", "/", "b", "/a"]),
    after=st.text(alphabet="ab/", max_size=3),
    limit=st.integers(1, 7),
)
def test_any_listing_equals_the_plain_one(
    catalogue: Catalogue, keys: list[str], prefix: str, delimiter: str, after: str, limit: int
) -> None:
    from fieldstone.services.storage.catalog.buckets import create_bucket

    name = f"b{catalogue.clock}"
    catalogue.clock += 1
    catalogue.bucket = catalogue.do(lambda c: create_bucket(c, name, OWNER, 1, object_lock=False, documents={}))
    encoded = [key.encode() for key in keys]
    if encoded:
        fill(catalogue, encoded)
    question = {"prefix": prefix.encode(), "delimiter": delimiter.encode()}
    left, common = plain([key for key in encoded if key > after.encode()], **question)
    common = [p for p in common if p > after.encode()]  # S3 names no common prefix that is not above the marker
    found = listing(catalogue, limit, after=after.encode(), **question)
    assert found[:2] == (left, common)


def test_delete_markers_are_not_listed(catalogue: Catalogue) -> None:
    fill(catalogue, [b"gone"], state=2)
    fill(catalogue, [b"here"])
    assert listing(catalogue)[0] == [b"here"]


class Rows:
    """Counts the rows that statements return."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.statements = 0
        event.listen(catalogue.engine, "after_cursor_execute", self._count)

    def _count(self, *_: object) -> None:
        self.statements += 1


def test_a_hundred_thousand_keys_behind_few_prefixes_cost_few_statements(catalogue: Catalogue) -> None:
    each = 10_000 if catalogue.store.is_sqlite else 2_000
    keys = [b"%d/%05d" % (folder, i) for folder in range(10) for i in range(each)]
    for start in range(0, len(keys), 20_000):
        fill(catalogue, keys[start : start + 20_000])
    rows = Rows(catalogue)
    found = listing(catalogue, delimiter=b"/")
    assert found == ([], [b"%d/" % folder for folder in range(10)], 1)
    assert rows.statements <= 30  # not one per thousand keys
    rows.statements = 0
    all_keys, _, pages = listing(catalogue)
    assert all_keys == keys and pages == each // 100
    assert rows.statements <= pages * 4
    # a page deep inside costs as much as the first
    rows.statements = 0
    page = catalogue.store.read_now(lambda x: list_objects(x, catalogue.bucket, after=b"7/01000", limit=10))
    assert [row.key for row in page.entries] == [b"7/%05d" % i for i in range(1001, 1011)]
    assert rows.statements <= 3


def test_versions_go_on_inside_a_key(catalogue: Catalogue) -> None:
    catalogue.versioned()
    for etag in range(5):
        catalogue.put("k", str(etag))
        catalogue.put("l", str(etag))
    found = []
    key, version = b"", ""
    while True:
        page = catalogue.store.read_now(
            lambda x, k=key, v=version: list_versions(x, catalogue.bucket, after=k, after_version=v, limit=3)
        )
        found += [(row.key, row.etag) for row in page.entries]
        if not page.truncated:
            break
        key, version = page.next_key, page.next_entry.version_id
    assert found == [(key, str(etag)) for key in (b"k", b"l") for etag in (4, 3, 2, 1, 0)]


def test_uploads_go_on_inside_a_key(catalogue: Catalogue) -> None:
    attributes = Attributes(OWNER)
    ids = [
        catalogue.do(create_upload, catalogue.bucket, key, OWNER, attributes, 1)
        for key in (b"a/1", b"k", b"k", b"k", b"z/1")
    ]
    found = []
    key, upload = b"", ""
    while True:
        page = catalogue.store.read_now(
            lambda x, k=key, u=upload: list_uploads(x, catalogue.bucket, after=k, after_upload=u, limit=2)
        )
        found += [row.upload_id for row in page.entries]
        if not page.truncated:
            break
        key, upload = page.next_key, page.next_entry.upload_id
    assert found == ids
    page = catalogue.store.read_now(lambda x: list_uploads(x, catalogue.bucket, delimiter=b"/", limit=10))
    assert page.prefixes == [b"a/", b"z/"] and len(page.entries) == 3


def test_the_successor_of_a_prefix_is_above_all_that_begin_with_it() -> None:
    assert successor(b"a") == b"b"
    assert successor(b"a\xff") == b"b"
    assert successor(b"\xff\xff") is None
