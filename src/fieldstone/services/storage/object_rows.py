"""What the gateway's own database knows of one object: its segments, where it put their shares, what repair did.

This is the gateway's word. The network's word is the sealed epoch; `customer_report` puts the two side by side.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, func, inspect, select

from fieldstone.errors import Terminal, UsageError
from fieldstone.services.storage.catalog.buckets import find_bucket
from fieldstone.services.storage.catalog.versions import find_version
from fieldstone.services.storage.object_report import Segment
from fieldstone.services.storage.pool.tables import incident, repair, segment, share
from fieldstone.state.engine import reading

__all__ = ["StoredObject", "StoredSegment", "read_object"]

T = TypeVar("T")
_TABLES = ("s3_bucket", "s3_version", "s3_content", "pool_segment", "pool_share", "pool_repair", "pool_incident")
_AT_ONCE = 500  # SQLite takes 32,766 variables in one statement, PostgreSQL's driver about as many


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A segment in the gateway's books. `object_bytes`: how many of the object's bytes lie in it (more than `size_bytes`
    when the object repeats them); `states`: how many shares are planned, held, corrupt, lost, leaving; `uses`: by how
    many objects it is used; `repair_read_bytes`: what its repairs ordered from providers."""

    code: Segment
    size_bytes: int
    object_bytes: int
    created_ms: int
    uses: int
    relaxed: str
    states: dict[str, int]
    not_leased: int
    repairs: int
    repair_read_bytes: int
    incidents: int


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One version of one key. `inline_bytes` of it lie, encrypted, in the gateway's database and with no provider."""

    bucket: str
    key: str
    version_id: str
    etag: str
    size_bytes: int
    modified_ms: int
    inline_bytes: int
    segments: tuple[StoredSegment, ...]

    @property
    def name(self) -> str:
        """BUCKET/KEY, with the version where there are several."""
        return f"{self.bucket}/{self.key}" + ("" if self.version_id == "null" else f"?versionId={self.version_id}")


def read_object(engine: Engine, bucket: str, key: str, version_id: str | None = None) -> StoredObject:
    """Return what a gateway's database knows of an object. Nothing is written.

    Raises UsageError when there is no such database, bucket, key or version, Retryable when it does not answer.
    """
    with reading(engine) as connection:
        there = set(inspect(connection).get_table_names())
        if missing := [name for name in _TABLES if name not in there]:
            raise UsageError(f"this is no gateway's database: it has no table {missing[0]}; name the gateway's folder")
        return _read(connection, bucket, key, version_id)


def _read(connection: Connection, bucket: str, key: str, version_id: str | None) -> StoredObject:
    found_bucket = find_bucket(connection, bucket)
    if found_bucket is None:
        raise UsageError(f"the gateway has no bucket {bucket!r}")
    found = find_version(connection, found_bucket.id, key.encode(), version_id, content=True)
    if found is None:
        raise UsageError(f"bucket {bucket!r} has no object {key!r}" + (f" version {version_id}" if version_id else ""))
    if found.marker:
        raise UsageError(f"{bucket}/{key} is deleted; name an older version with --version-id")
    extents = found.content().extents
    covers: dict[bytes, int] = {}
    for extent in extents:
        if extent.inline is None:
            covers[extent.segment] = covers.get(extent.segment, 0) + extent.length
    return StoredObject(
        bucket,
        key,
        found.version_id,
        found.etag,
        found.size_bytes,
        found.modified_ms,
        sum(extent.length for extent in extents if extent.inline is not None),
        tuple(_segments(connection, covers)),
    )


def _segments(connection: Connection, covers: Mapping[bytes, int]) -> Iterator[StoredSegment]:
    states: dict[bytes, dict[str, int]] = defaultdict(dict)
    waiting: dict[bytes, int] = {}
    mended: dict[bytes, tuple[int, int]] = {}
    wrongs: dict[bytes, int] = {}
    rows: dict[bytes, Any] = {}
    for some in _batches(list(covers)):
        mine = share.c.segment_id.in_(some)
        rows |= {row.id: row for row in connection.execute(select(segment).where(segment.c.id.in_(some)))}
        counted = select(share.c.segment_id, share.c.state, func.count()).where(mine)
        for name, state, count in connection.execute(counted.group_by(share.c.segment_id, share.c.state)):
            states[name][state] = count
        not_leased = mine & (share.c.state == "held") & share.c.leased_ms.is_(None)
        waiting |= dict(_counts(connection, select(share.c.segment_id, func.count()).where(not_leased)))
        repaired = select(repair.c.segment_id, func.count(), func.sum(repair.c.read_bytes))
        for name, count, read_bytes in connection.execute(
            repaired.where(repair.c.segment_id.in_(some)).group_by(repair.c.segment_id)
        ):
            mended[name] = count, int(read_bytes)
        wrong = select(share.c.segment_id, func.count()).join(incident, incident.c.share_id == share.c.id).where(mine)
        wrongs |= dict(_counts(connection, wrong))
    for name, object_bytes in covers.items():
        row = rows.get(name)
        if row is None:
            raise Terminal(f"the object has a segment {name.hex()} that the gateway's books lack; restore a backup")
        repairs, read_bytes = mended.get(name, (0, 0))
        yield StoredSegment(
            Segment(name, row.k, row.n),
            row.size_bytes,
            object_bytes,
            row.created_ms,
            row.uses,
            row.relaxed,
            dict(sorted(states[name].items())),
            waiting.get(name, 0),
            repairs,
            read_bytes,
            wrongs.get(name, 0),
        )


def _counts(connection: Connection, query: Any) -> Iterable[tuple[bytes, int]]:
    return ((name, count) for name, count in connection.execute(query.group_by(share.c.segment_id)))


def _batches(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]
