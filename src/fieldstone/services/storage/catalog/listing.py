"""List keys, versions and uploads in byte order, page by page, by skip-scan.

With a delimiter, a common prefix may stand for a million keys: when a batch ends inside one, the next batch starts
behind the prefix instead of reading through it, so a page costs about as many rows as it has entries.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    bindparam,
    literal_column,
    or_,
    select,
    text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.selectable import TextualSelect

from fieldstone.services.storage.catalog.rows import Page, Version
from fieldstone.services.storage.catalog.schema import upload as uploads
from fieldstone.services.storage.catalog.schema import version as versions

_PROBE = 4  # rows of the batch after a skip: the next key may be a common prefix again


@dataclass(frozen=True, slots=True)
class _Place:
    """Where to go on: at `key` and above, above `key`, or behind the row `row` of `key`."""

    key: bytes
    inclusive: bool = False
    row: int | None = None


_Batch = Callable[[_Place, bytes | None, int], Sequence[Any]]


def successor(prefix: bytes) -> bytes | None:
    """Return the least byte string above every string with this prefix; None when there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None


def list_objects(
    connection: Connection,
    bucket_id: int,
    *,
    prefix: bytes = b"",
    delimiter: bytes = b"",
    after: bytes = b"",
    limit: int,
) -> Page:
    """Return a page of current objects (rows of `OBJECT_COLUMNS`) and common prefixes with keys above `after`.

    `after` may be a common prefix of the page before, or lie below one: everything below that is skipped.
    """
    queries: Mapping[tuple[bool, bool], Executable] = (
        _OBJECTS_SQLITE if connection.dialect.name == "sqlite" else _OBJECTS
    )

    def batch(place: _Place, high: bytes | None, count: int) -> Sequence[Any]:
        values = {"bucket": bucket_id, "low": place.key, "high": high, "count": count}
        return connection.execute(queries[place.inclusive, high is not None], values).all()

    return _scan(batch, _Place(after), prefix, delimiter, limit)


def list_versions(
    connection: Connection,
    bucket_id: int,
    *,
    prefix: bytes = b"",
    delimiter: bytes = b"",
    after: bytes = b"",
    after_version: str = "",
    after_row: int | None = None,
    limit: int,
) -> Page:
    """Return a page of versions and delete markers (`Version` without content), newest first within a key.

    With `after_version` (or the id of its row) the page starts behind that version of the key `after`, otherwise above
    the key. Who deletes what a page lists asks for the next one behind a version that is gone: it begins with the key.
    """
    behind = after_row
    if after_version and "\0" not in after_version:  # PostgreSQL's texts hold none
        query = select(versions.c.id).where(versions.c.bucket_id == bucket_id, versions.c.key == after)
        behind = connection.execute(query.where(versions.c.version_id == after_version)).scalar_one_or_none()
    again = bool(after_version) and behind is None

    def batch(place: _Place, high: bytes | None, count: int) -> Sequence[Any]:
        query = select(*versions.c).where(versions.c.bucket_id == bucket_id)
        query = _bounded(query, versions, place, high, operator.lt).limit(count)
        return [Version(*row) for row in connection.execute(query.order_by(versions.c.key, versions.c.id.desc()))]

    return _scan(batch, _Place(after, again, behind), prefix, delimiter, limit)


def list_uploads(
    connection: Connection,
    bucket_id: int,
    *,
    prefix: bytes = b"",
    delimiter: bytes = b"",
    after: bytes = b"",
    after_upload: str = "",
    limit: int,
) -> Page:
    """Return a page of unfinished uploads (rows of `UPLOAD_COLUMNS`), oldest first within a key.

    Behind an upload that is gone meanwhile the page begins with its key, as that of `list_versions`.
    """
    behind = None
    if after_upload and "\0" not in after_upload:
        query = select(uploads.c.id).where(uploads.c.upload_id == after_upload, uploads.c.bucket_id == bucket_id)
        behind = connection.execute(query).scalar_one_or_none()
    again = bool(after_upload) and behind is None

    def batch(place: _Place, high: bytes | None, count: int) -> Sequence[Any]:
        query = select(*UPLOAD_COLUMNS).where(uploads.c.bucket_id == bucket_id, uploads.c.completed.is_(None))
        query = _bounded(query, uploads, place, high, operator.gt).limit(count)
        return connection.execute(query.order_by(uploads.c.key, uploads.c.id)).all()

    return _scan(batch, _Place(after, again, behind), prefix, delimiter, limit)


OBJECT_COLUMNS: tuple[Column[Any], ...] = (
    versions.c.id,
    versions.c.key,
    versions.c.size_bytes,
    versions.c.etag,
    versions.c.modified_ms,
    versions.c.owner,
    versions.c.storage_class,
    versions.c.checksum,
)
UPLOAD_COLUMNS: tuple[Column[Any], ...] = (
    uploads.c.id,
    uploads.c.key,
    uploads.c.upload_id,
    uploads.c.initiator,
    uploads.c.created_ms,
    uploads.c.attributes,
    uploads.c.checksum_algorithm,
    uploads.c.checksum_type,
)


def _scan(batch: _Batch, place: _Place, prefix: bytes, delimiter: bytes, limit: int) -> Page:
    if limit <= 0:
        return Page()
    high = successor(prefix) if prefix else None
    done = _common_prefix(place.key, prefix, delimiter)
    if done is not None:
        # S3 leaves out common prefixes that are not above the marker: the page before named this one, or began inside
        behind = successor(done)
        if behind is None:
            return Page()
        place = _Place(behind, inclusive=True)
    if place.key < prefix:
        place = _Place(prefix, inclusive=True)
    entries: list[Any] = []
    prefixes: list[bytes] = []
    last: Any = None
    count = limit + 1
    while True:
        rows = batch(place, high, count)
        current: bytes | None = None
        for row in rows:
            if current is not None and row.key.startswith(current):
                continue
            if len(entries) + len(prefixes) == limit:
                if isinstance(last, bytes):
                    return Page(entries, prefixes, truncated=True, next_key=last)
                return Page(entries, prefixes, truncated=True, next_key=last.key, next_entry=last)
            current = _common_prefix(row.key, prefix, delimiter)
            if current is None:
                last = row
                entries.append(row)
            else:
                last = current
                prefixes.append(current)
        if len(rows) < count:
            return Page(entries, prefixes)
        if current is None:
            place = _Place(rows[-1].key, row=rows[-1].id)
            count = min(max(2 * count, _PROBE), limit + 1)
        else:
            behind = successor(current)
            if behind is None:
                return Page(entries, prefixes)
            place, count = _Place(behind, inclusive=True), _PROBE


def _common_prefix(key: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    if not delimiter or not key.startswith(prefix):
        return None
    end = key.find(delimiter, len(prefix))
    return None if end < 0 else key[: end + len(delimiter)]


def _bounded(
    query: Select[Any], table: Table, place: _Place, high: bytes | None, behind: Callable[[Any, Any], Any]
) -> Select[Any]:
    key = table.c.key
    if place.row is not None:
        query = query.where(
            key >= place.key, or_(key > place.key, and_(key == place.key, behind(table.c.id, place.row)))
        )
    else:
        query = query.where(key >= place.key if place.inclusive else key > place.key)
    return query if high is None else query.where(key < high)


_NO_STATE: ColumnElement[int] = literal_column("0")
_OBJECT: ColumnElement[int] = literal_column("1")


def _objects(inclusive: bool, bounded: bool) -> Select[Any]:
    low = versions.c.key >= bindparam("low") if inclusive else versions.c.key > bindparam("low")
    # `state > 0` names the partial index, `state = 1` leaves delete markers out. Both are written out: with parameters
    # SQLite prepares the statement anew at each run, and PostgreSQL's generic plan cannot take the index.
    query = select(*OBJECT_COLUMNS).where(versions.c.bucket_id == bindparam("bucket"), low)
    query = query.where(versions.c.state > _NO_STATE, versions.c.state == _OBJECT)
    if bounded:
        query = query.where(versions.c.key < bindparam("high"))
    return query.order_by(versions.c.key).limit(bindparam("count"))


_OBJECTS = {
    (inclusive, bounded): _objects(inclusive, bounded) for inclusive in (True, False) for bounded in (True, False)
}


def _by_index(query: Select[Any]) -> TextualSelect:
    """Return the query as SQLite's text, with its index by name: that of all versions looks as good to the planner."""
    compiled = query.compile(dialect=sqlite.dialect(paramstyle="named"))
    named = str(compiled).replace("FROM s3_version", "FROM s3_version INDEXED BY ux_s3_version_current", 1)
    fixed = {name: value for name, value in compiled.params.items() if value is not None}
    return text(named).bindparams(**fixed).columns(*OBJECT_COLUMNS)


_OBJECTS_SQLITE = {case: _by_index(query) for case, query in _OBJECTS.items()}
