"""Multipart uploads: up to 10,000 parts, each durable when it is answered; completing one moves no bytes."""

from __future__ import annotations

import itertools
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from fieldstone.services.storage.catalog.buckets import hold_bucket
from fieldstone.services.storage.catalog.content import Content, held
from fieldstone.services.storage.catalog.faults import CatalogFault
from fieldstone.services.storage.catalog.rows import (
    NULL_VERSION,
    Attributes,
    NewVersion,
    Part,
    Upload,
    Written,
    pack,
)
from fieldstone.services.storage.catalog.schema import part as parts
from fieldstone.services.storage.catalog.schema import upload as uploads
from fieldstone.services.storage.catalog.store import lock_key
from fieldstone.services.storage.catalog.versions import (
    Check,
    Uses,
    adopt,
    current_of,
    drop,
    find_version,
    put_version,
)

PARTS_LIMIT = 10_000
SMALLEST_PART_BYTES = 5 << 20
LARGEST_OBJECT_BYTES = 5 << 40


@dataclass(frozen=True, slots=True)
class NamedPart:
    """A part as the Complete request names it; `checksum` is base64 or '' when the request does not state one."""

    number: int
    etag: str
    checksum: str = ""


@dataclass(frozen=True, slots=True)
class Whole:
    """What the parts make together, computed by the caller from their rows: an ETag and a checksum ('' for none)."""

    etag: str
    checksum: str


def create_upload(
    connection: Connection,
    bucket_id: int,
    key: bytes,
    initiator: str,
    attributes: Attributes,
    now_ms: int,
    *,
    checksum_algorithm: str = "",
    checksum_type: str = "",
) -> str:
    """Begin an upload and return its id. Raises CatalogFault NoSuchBucket."""
    hold_bucket(connection, bucket_id)
    upload_id = secrets.token_urlsafe(32)
    values = {
        "upload_id": upload_id,
        "bucket_id": bucket_id,
        "key": key,
        "initiator": initiator,
        "created_ms": now_ms,
        "attributes": pack(attributes),
        "checksum_algorithm": checksum_algorithm,
        "checksum_type": checksum_type,
    }
    connection.execute(insert(uploads).values(values))
    return upload_id


def find_upload(connection: Connection, bucket_id: int, key: bytes, upload_id: str) -> Upload:
    """Return an upload in progress. Raises CatalogFault NoSuchUpload."""
    row = _find(connection, bucket_id, key, upload_id)
    if row is None or row.completed is not None:
        raise CatalogFault("NoSuchUpload", upload_id)
    return _upload(row)


def find_completed(connection: Connection, bucket_id: int, key: bytes, upload_id: str, etag: str) -> Written | None:
    """Return what an upload became when it was completed, None when it is unknown or in progress.

    `etag`: of the whole that is asked for. Raises CatalogFault NoSuchUpload where the upload was completed from other
    parts, or nothing is left of what it became: a client that asks again must not take a deleted object for stored.
    """
    row = _find(connection, bucket_id, key, upload_id)
    return None if row is None or row.completed is None else _became(connection, row, etag)


def find_to_complete(connection: Connection, bucket_id: int, key: bytes, upload_id: str, etag: str) -> Upload | Written:
    """Return an upload in progress, or as `find_completed` what it became: in one look, as another request may complete
    it between two. Raises CatalogFault NoSuchUpload."""
    row = _find(connection, bucket_id, key, upload_id)
    if row is None:
        raise CatalogFault("NoSuchUpload", upload_id)
    return _upload(row) if row.completed is None else _became(connection, row, etag)


def _became(connection: Connection, row: Any, etag: str) -> Written:
    bucket_id, key, upload_id = row.bucket_id, row.key, row.upload_id
    written: Written = _WRITTEN.decode(row.completed)
    if written.etag != etag or not _stands(connection, bucket_id, key, written.version_id):
        raise CatalogFault("NoSuchUpload", upload_id)
    return written


def _stands(connection: Connection, bucket_id: int, key: bytes, version_id: str) -> bool:
    """Say whether a version is there, or, where overwriting leaves none behind, what took its place."""
    if version_id == NULL_VERSION:
        current = current_of(connection, bucket_id, key)
        if current is not None and not current.marker:
            return True
    found = find_version(connection, bucket_id, key, version_id)
    return found is not None and not found.marker


def put_part(
    connection: Connection,
    pool: Uses,
    upload: Upload,
    number: int,
    etag: str,
    checksum: str,
    content: Content,
    now_ms: int,
) -> None:
    """Write a part; a part of the same number is replaced. Raises CatalogFault NoSuchUpload."""
    _hold(connection, upload)
    # one number at a time: of two that find no part before them, the second's insert would fail (below 0 are no buckets)
    lock_key(connection, -upload.id, b"part %d" % number)
    where = (parts.c.upload == upload.id, parts.c.number == number)
    before = connection.execute(delete(parts).where(*where).returning(parts.c.extents)).scalar_one_or_none()
    values = {
        "upload": upload.id,
        "number": number,
        "size_bytes": content.size_bytes,
        "etag": etag,
        "checksum": checksum,
        "modified_ms": now_ms,
        "extents": content.encode(),
    }
    connection.execute(insert(parts), values)
    adopt(connection, pool, content)
    if before is not None:
        drop(connection, pool, Content.decode(before))


def list_parts(connection: Connection, upload: Upload, *, after: int = 0, limit: int = PARTS_LIMIT) -> list[Part]:
    """Return parts with numbers above `after`, in order."""
    query = select(*_PART_COLUMNS).where(parts.c.upload == upload.id, parts.c.number > after)
    return [Part(*row) for row in connection.execute(query.order_by(parts.c.number).limit(limit))]


def check_parts(named: Sequence[NamedPart], have: Sequence[Part]) -> list[Part]:
    """Match what Complete names with what was uploaded.

    Raises CatalogFault: MalformedXML (none, too many), InvalidPartOrder, InvalidPart, EntityTooSmall, EntityTooLarge.
    """
    if not 1 <= len(named) <= PARTS_LIMIT:
        raise CatalogFault("MalformedXML", f"name 1 to {PARTS_LIMIT} parts")
    if any(later.number <= earlier.number for earlier, later in itertools.pairwise(named)):
        raise CatalogFault("InvalidPartOrder", "part numbers must rise")
    rows = {part.number: part for part in have}
    chosen: list[Part] = []
    for entry in named:
        part = rows.get(entry.number)
        if part is None or part.etag != entry.etag:
            raise CatalogFault("InvalidPart", f"part {entry.number}", PartNumber=str(entry.number), ETag=entry.etag)
        if entry.checksum and entry.checksum != part.checksum:
            raise CatalogFault("InvalidPart", f"part {entry.number} has another checksum", PartNumber=str(entry.number))
        chosen.append(part)
    for part in chosen[:-1]:
        if part.size_bytes < SMALLEST_PART_BYTES:
            raise CatalogFault(
                "EntityTooSmall",
                f"part {part.number}",
                ProposedSize=str(part.size_bytes),
                MinSizeAllowed=str(SMALLEST_PART_BYTES),
                PartNumber=str(part.number),
                ETag=part.etag,
            )
    if sum(part.size_bytes for part in chosen) > LARGEST_OBJECT_BYTES:
        raise CatalogFault("EntityTooLarge", "an object has at most 5 TiB", MaxSizeAllowed=str(LARGEST_OBJECT_BYTES))
    return chosen


def complete_upload(
    connection: Connection,
    pool: Uses,
    upload: Upload,
    chosen: Sequence[Part],
    whole: Whole,
    now_ms: int,
    check: Check | None = None,
) -> Written:
    """Turn parts into the key's current version; the segments' uses pass from the parts to the object.

    `chosen` was checked before this transaction, so it is compared again. Raises CatalogFault: NoSuchUpload,
    InvalidPart (a part was replaced meanwhile), NoSuchBucket; and what `check` raises.
    """
    # in the order in which put_version takes them: bucket, key, upload
    hold_bucket(connection, upload.bucket_id)
    lock_key(connection, upload.bucket_id, upload.key)
    done = find_completed(connection, upload.bucket_id, upload.key, upload.upload_id, whole.etag)
    if done is not None:
        return done
    _hold(connection, upload, alone=True)
    query = select(parts.c.number, parts.c.etag, parts.c.modified_ms, parts.c.extents).where(
        parts.c.upload == upload.id
    )
    contents: dict[int, Content] = {}
    stamps: dict[int, tuple[str, int]] = {}
    for number, etag, modified_ms, extents in connection.execute(query):
        contents[number] = Content.decode(extents)
        stamps[number] = (etag, modified_ms)
    for part in chosen:
        if stamps.get(part.number) != (part.etag, part.modified_ms):
            raise CatalogFault("InvalidPart", f"part {part.number} was replaced meanwhile", PartNumber=str(part.number))
    content = Content.joined(contents[part.number] for part in chosen)
    new = NewVersion(
        upload.attributes,
        content,
        whole.etag,
        now_ms,
        whole.checksum,
        tuple((part.number, part.size_bytes, part.checksum, part.etag) for part in chosen),
    )
    written = put_version(connection, pool, upload.bucket_id, upload.key, new, check, adopted=True)
    before: Counter[tuple[bytes, int]] = Counter()
    for part_content in contents.values():
        before.update(part_content.holdings())
    _release(connection, pool, before - content.holdings())
    connection.execute(delete(parts).where(parts.c.upload == upload.id))
    values = {"completed": pack(written), "completed_ms": now_ms}
    connection.execute(update(uploads).where(uploads.c.id == upload.id).values(values))
    return written


def abort_upload(connection: Connection, pool: Uses, upload: Upload) -> None:
    """Forget an upload and its parts. Raises CatalogFault NoSuchUpload."""
    _hold(connection, upload, alone=True)
    drop_parts(connection, pool, upload.id)
    connection.execute(delete(uploads).where(uploads.c.id == upload.id))


def drop_parts(connection: Connection, pool: Uses, upload_row: int) -> None:
    """Delete the parts of an upload and give their segments back."""
    gone: Counter[tuple[bytes, int]] = Counter()
    for extents in connection.execute(
        delete(parts).where(parts.c.upload == upload_row).returning(parts.c.extents)
    ).scalars():
        gone.update(Content.decode(extents).holdings())
    _release(connection, pool, gone)


def forget_completed(connection: Connection, before_ms: int) -> int:
    """Drop what was kept for clients that ask for a completion again; return how many rows went."""
    return connection.execute(delete(uploads).where(uploads.c.completed_ms < before_ms)).rowcount


def _release(connection: Connection, pool: Uses, gone: Counter[tuple[bytes, int]]) -> None:
    # a segment that several parts used is given back once for each, in one call
    if gone:
        pool.drop(connection, held(gone))


def _hold(connection: Connection, upload: Upload, *, alone: bool = False) -> None:
    query = select(uploads.c.completed).where(uploads.c.id == upload.id).with_for_update(read=not alone)
    row = connection.execute(query).first()
    if row is None or row[0] is not None:
        raise CatalogFault("NoSuchUpload", upload.upload_id)


def _find(connection: Connection, bucket_id: int, key: bytes, upload_id: str) -> Any:
    if "\0" in upload_id:  # PostgreSQL's texts hold none
        return None
    query = select(uploads).where(uploads.c.upload_id == upload_id)
    return connection.execute(query.where(uploads.c.bucket_id == bucket_id, uploads.c.key == key)).first()


def _upload(row: Any) -> Upload:
    return Upload(
        row.id,
        row.upload_id,
        row.bucket_id,
        row.key,
        row.initiator,
        row.created_ms,
        decode_attributes(row.attributes),
        row.checksum_algorithm,
        row.checksum_type,
    )


_PART_COLUMNS = (parts.c.number, parts.c.size_bytes, parts.c.etag, parts.c.checksum, parts.c.modified_ms)
_WRITTEN = msgspec.msgpack.Decoder(Written)
decode_attributes = msgspec.msgpack.Decoder(Attributes).decode
