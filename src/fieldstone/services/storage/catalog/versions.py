"""Versions of keys: write, find, delete, promote. Every function runs in the caller's transaction.

Invariants (tests bear their names): a key has at most one current row; the newest version is the current one; the null
version is unique; a version's segments are in use as long as its row stands.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, Select, bindparam, delete, insert, literal_column, select, update

from fieldstone.services.storage.catalog.buckets import hold_bucket
from fieldstone.services.storage.catalog.content import Content, held
from fieldstone.services.storage.catalog.faults import Replaced
from fieldstone.services.storage.catalog.locks import check_deletable
from fieldstone.services.storage.catalog.rows import (
    NULL_VERSION,
    Deleted,
    NewVersion,
    Version,
    Written,
    pack,
)
from fieldstone.services.storage.catalog.schema import content as contents
from fieldstone.services.storage.catalog.schema import version as versions
from fieldstone.services.storage.catalog.statements import Statement
from fieldstone.services.storage.catalog.store import Store, lock_key, lock_keys
from fieldstone.services.storage.pool import Stored

_OLDER, _CURRENT, _CURRENT_MARKER = 0, 1, 2


# Decides in the writing transaction whether to go on, given the key's current object (None: there is none); a deletion
# shows it the current delete marker too.
Check = Callable[[Version | None], None]


class Uses(Protocol):
    """The part of the pool that counts how often a segment is used, inside our transaction."""

    def adopt(self, connection: Connection, stored: Stored) -> None: ...
    def drop(self, connection: Connection, stored: Stored) -> None: ...


def put_version(
    connection: Connection,
    pool: Uses,
    bucket_id: int,
    key: bytes,
    new: NewVersion,
    check: Check | None = None,
    *,
    adopted: bool = False,
) -> Written:
    """Make `new` the current version of a key. `adopted`: its segments' use counts already count it.

    Raises CatalogFault NoSuchBucket, and what `check` raises.
    """
    versioning, _ = hold_bucket(connection, bucket_id)
    lock_key(connection, bucket_id, key)
    before = current_of(connection, bucket_id, key)
    if check is not None:
        check(_object(before))
    content = new.content
    if not adopted:
        # before the old version lets go: an object copied onto itself must not drop to no use in between
        adopt(connection, pool, content)
    version_id = _make_room(connection, pool, bucket_id, key, versioning, before)
    row = _row(bucket_id, key, version_id, _CURRENT, new)
    inserted = _INSERT.first(connection, row)
    assert inserted is not None
    parts = pack(new.parts) if new.parts else None
    _INSERT_CONTENT.run(connection, {"version": inserted[0], "extents": content.encode(), "parts": parts})
    return Written(version_id, new.etag, content.size_bytes, new.checksum, new.modified_ms, versioning == "Enabled")


def adopt(connection: Connection, pool: Uses, content: Content) -> None:
    """Count this content as one more user of its segments."""
    holdings = content.holdings()
    if holdings:
        pool.adopt(connection, held(holdings))


def drop(connection: Connection, pool: Uses, content: Content) -> None:
    """Count this content as one user less of its segments."""
    holdings = content.holdings()
    if holdings:
        pool.drop(connection, held(holdings))


def current_of(connection: Connection, bucket_id: int, key: bytes) -> Version | None:
    """Return the current row of a key without its content; it may be a delete marker."""
    row = _FIND["current", False, False].first(connection, {"bucket": bucket_id, "key": key})
    return Version(*row) if row else None


def find_version(
    connection: Connection,
    bucket_id: int,
    key: bytes,
    version_id: str | None = None,
    *,
    content: bool = False,
    lock: bool = False,
) -> Version | None:
    """Return the current row (no `version_id`) or a given version of a key; it may be a delete marker.

    `lock`: keep the row as it is until this transaction ends.
    """
    values: dict[str, Any] = {"bucket": bucket_id, "key": key}
    if version_id is None:
        which = "current"
    elif version_id == NULL_VERSION:
        which = "null"
    else:
        which = "given"
        values["version_id"] = version_id
    row = _FIND[which, content, lock].first(connection, values)
    return Version(*row) if row else None


async def look_up(
    store: Store, bucket_id: int, key: bytes, version_id: str | None = None, *, content: bool = False
) -> Version | None:
    """As `find_version`, on its own and quickly."""
    if version_id is None:
        row = await store.first(_FIND["current", content, False], bucket=bucket_id, key=key)
    else:
        return await store.read(lambda c: find_version(c, bucket_id, key, version_id, content=content))
    return Version(*row) if row else None


def delete_current(
    connection: Connection,
    pool: Uses,
    bucket_id: int,
    key: bytes,
    owner: str,
    now_ms: int,
    check: Check | None = None,
) -> Deleted:
    """Delete a key as a request without a version does: by a delete marker where the bucket is versioned.

    Raises CatalogFault NoSuchBucket, and what `check` raises.
    """
    versioning, _ = hold_bucket(connection, bucket_id)
    lock_key(connection, bucket_id, key)
    # held, as in `delete_version`: locks and tags must not change between the check and the deletion
    before = find_version(connection, bucket_id, key, lock=True)
    exists = before is not None and not before.marker
    if check is not None:
        check(before)
    if not versioning:
        if before is not None:
            check_deletable(before, now_ms, bypass=False)
            _remove(connection, pool, before.id)
        return Deleted(None, False, existed=exists)
    version_id = _make_room(connection, pool, bucket_id, key, versioning, before)
    marker = {
        **_NO_OBJECT,
        "bucket_id": bucket_id,
        "key": key,
        "version_id": version_id,
        "modified_ms": now_ms,
        "owner": owner,
    }
    _INSERT.first(connection, marker)
    return Deleted(version_id, True, existed=exists)


def delete_version(
    connection: Connection,
    pool: Uses,
    bucket_id: int,
    key: bytes,
    version_id: str,
    now_ms: int,
    *,
    bypass_governance: bool = False,
    check: Check | None = None,
) -> Deleted:
    """Delete one version for good and let the newest remaining one be current. A version that is not there is no error.

    Raises CatalogFault: NoSuchBucket, AccessDenied (locked), and what `check` raises.
    """
    hold_bucket(connection, bucket_id)
    lock_key(connection, bucket_id, key)
    # held: a legal hold or retention that is acknowledged meanwhile would not keep the version
    found = find_version(connection, bucket_id, key, version_id, lock=True)
    if found is None:
        return Deleted(version_id, False, existed=False)
    if check is not None:
        check(found)
    check_deletable(found, now_ms, bypass=bypass_governance)
    _remove(connection, pool, found.id)
    if found.is_current:
        newest = _NEWEST.first(connection, {"bucket": bucket_id, "key": key})
        if newest is not None:
            _set_state(connection, newest[0], _CURRENT_MARKER if newest[1] else _CURRENT)
    return Deleted(version_id, found.marker)


def hold_source(connection: Connection, source: Version, bucket_id: int, key: bytes) -> None:
    """Keep a version from being deleted until this transaction ends, which is to write a key: segments are about to be
    shared. Raises CatalogFault NoSuchBucket; Replaced when the version is gone already.
    """
    hold_bucket(connection, bucket_id)
    # who deletes the version locks its key; a lock of its row would be taken before the other key's, and others' after
    lock_keys(connection, (source.bucket_id, source.key), (bucket_id, key))
    if connection.execute(select(versions.c.id).where(versions.c.id == source.id)).first() is None:
        raise Replaced("NoSuchKey", "the source was deleted meanwhile")


def set_tags(connection: Connection, row_id: int, tags: dict[str, str] | None) -> None:
    """Replace a version's tags. Raises Replaced when the version is gone meanwhile."""
    _update(connection, row_id, {"tags": pack(tags) if tags else None})


def set_acl(connection: Connection, row_id: int, acl: bytes | None) -> None:
    """Replace a version's ACL document. Raises Replaced when the version is gone meanwhile."""
    _update(connection, row_id, {"acl": acl})


def _object(current: Version | None) -> Version | None:
    return None if current is None or current.marker else current


def _make_room(
    connection: Connection, pool: Uses, bucket_id: int, key: bytes, versioning: str, before: Version | None
) -> str:
    """Return the id of the version to come and let `before` step back, or go where it is the null version."""
    if versioning == "Enabled":
        if before is not None:
            _set_state(connection, before.id, _OLDER)
        return secrets.token_urlsafe(24)
    # never versioned, or suspended: the new null version replaces the old one
    null = before
    if before is not None and before.version_id != NULL_VERSION:
        _set_state(connection, before.id, _OLDER)
        null = find_version(connection, bucket_id, key, NULL_VERSION)
    if null is not None:
        _remove(connection, pool, null.id)
    return NULL_VERSION


def _remove(connection: Connection, pool: Uses, row_id: int) -> None:
    gone = _DELETE_CONTENT.first(connection, {"row": row_id})
    if gone is not None:
        drop(connection, pool, Content.decode(gone[0]))
    _DELETE.run(connection, {"row": row_id})


def _set_state(connection: Connection, row_id: int, state: int) -> None:
    _UPDATE_STATE.run(connection, {"row": row_id, "new_state": state})


def _update(connection: Connection, row_id: int, values: dict[str, Any]) -> None:
    changed = connection.execute(update(versions).where(versions.c.id == row_id).values(values))
    if not changed.rowcount:
        raise Replaced("NoSuchKey", "the object was deleted meanwhile")


def _row(bucket_id: int, key: bytes, version_id: str, state: int, new: NewVersion) -> dict[str, Any]:
    attributes = new.attributes
    return {
        "bucket_id": bucket_id,
        "key": key,
        "version_id": version_id,
        "state": state,
        "marker": False,
        "size_bytes": new.content.size_bytes,
        "etag": new.etag,
        "modified_ms": new.modified_ms,
        "owner": attributes.owner,
        "storage_class": attributes.storage_class,
        "checksum": new.checksum,
        "headers": pack(attributes.headers),
        "tags": pack(attributes.tags) if attributes.tags else None,
        "acl": attributes.acl,
        "retain_mode": attributes.retain_mode,
        "retain_until_ms": attributes.retain_until_ms,
        "legal_hold": attributes.legal_hold,
    }


_NO_OBJECT: dict[str, Any] = {
    "state": _CURRENT_MARKER,
    "marker": True,
    "size_bytes": 0,
    "etag": "",
    "storage_class": "STANDARD",
    "checksum": "",
    "headers": pack([]),
    "tags": None,
    "acl": None,
    "retain_mode": None,
    "retain_until_ms": None,
    "legal_hold": False,
}

# Built once: constructing a statement costs more than running it.
_COLUMNS = list(versions.c)
_CONTENT_COLUMNS = [contents.c.extents, contents.c.parts]
_OF_KEY = (versions.c.bucket_id == bindparam("bucket"), versions.c.key == bindparam("key"))
_PLAIN = select(*_COLUMNS).where(*_OF_KEY)
_JOINED = (
    select(*_COLUMNS, *_CONTENT_COLUMNS)
    .select_from(versions.outerjoin(contents, contents.c.version == versions.c.id))
    .where(*_OF_KEY)
)


# What a partial index hangs on is written out: for a parameter there SQLite prepares the statement anew at each run.
_NO_STATE: ColumnElement[int] = literal_column("0")
_NULL_NAME: ColumnElement[str] = literal_column(f"'{NULL_VERSION}'")


def _current(query: Select[Any]) -> Select[Any]:
    return query.where(versions.c.state > _NO_STATE)


def _null(query: Select[Any]) -> Select[Any]:
    return query.where(versions.c.version_id == _NULL_NAME)


def _given(query: Select[Any]) -> Select[Any]:
    # the second condition lets the planner take the partial index
    return query.where(versions.c.version_id == bindparam("version_id"), versions.c.version_id != _NULL_NAME)


# (which version, with its content, locked until the transaction ends) → how to find it
_FIND: dict[tuple[str, bool, bool], Statement] = {}
for _content, _query in ((False, _PLAIN), (True, _JOINED)):
    for _which, _narrowed in (("current", _current), ("null", _null), ("given", _given)):
        _FIND[_which, _content, False] = Statement(_narrowed(_query))
        # of the outer join, the version only: PostgreSQL locks no rows that may be missing
        _FIND[_which, _content, True] = Statement(_narrowed(_query).with_for_update(of=versions))
_NEWEST = Statement(select(versions.c.id, versions.c.marker).where(*_OF_KEY).order_by(versions.c.id.desc()).limit(1))
_INSERT = Statement(insert(versions).returning(versions.c.id), [c.name for c in versions.c if c.name != "id"])
_INSERT_CONTENT = Statement(insert(contents), ["version", "extents", "parts"])
_DELETE = Statement(delete(versions).where(versions.c.id == bindparam("row")))
_DELETE_CONTENT = Statement(
    delete(contents).where(contents.c.version == bindparam("row")).returning(contents.c.extents)
)
_UPDATE_STATE = Statement(
    update(versions).where(versions.c.id == bindparam("row")).values(state=bindparam("new_state"))
)
