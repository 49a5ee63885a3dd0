"""Buckets and their settings."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, Select, bindparam, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from fieldstone.services.storage.catalog.accounts import touch
from fieldstone.services.storage.catalog.faults import CatalogFault
from fieldstone.services.storage.catalog.rows import Bucket, Versioning
from fieldstone.services.storage.catalog.schema import bucket as buckets
from fieldstone.services.storage.catalog.schema import bucket_setting as settings
from fieldstone.services.storage.catalog.statements import Statement

BUCKETS_PER_ACCOUNT = 1_000


def create_bucket(
    connection: Connection, name: str, owner: str, now_ms: int, *, object_lock: bool, documents: dict[str, bytes]
) -> int:
    """Create a bucket with its first settings and return its id.

    Raises CatalogFault: BucketAlreadyExists (someone else's), BucketAlreadyOwnedByYou, TooManyBuckets.
    """
    found = connection.execute(select(buckets.c.owner).where(buckets.c.name == name)).scalar_one_or_none()
    if found is not None:
        raise _exists(name, found == owner)
    mine = connection.execute(select(buckets.c.id).where(buckets.c.owner == owner).limit(BUCKETS_PER_ACCOUNT)).all()
    if len(mine) == BUCKETS_PER_ACCOUNT:
        raise CatalogFault("TooManyBuckets", f"an account owns at most {BUCKETS_PER_ACCOUNT} buckets")
    values = {
        "name": name,
        "owner": owner,
        "created_ms": now_ms,
        "versioning": "Enabled" if object_lock else "",
        "object_lock": object_lock,
    }
    try:
        with connection.begin_nested():
            bucket_id: int = connection.execute(buckets.insert().values(values).returning(buckets.c.id)).scalar_one()
    except IntegrityError:  # another gateway was faster
        found = connection.execute(select(buckets.c.owner).where(buckets.c.name == name)).scalar_one_or_none()
        raise _exists(name, found == owner) from None
    rows = [{"bucket_id": bucket_id, "name": key, "body": body} for key, body in documents.items()]
    if rows:
        connection.execute(settings.insert(), rows)
    touch(connection, "buckets")
    return bucket_id


def _exists(name: str, yours: bool) -> CatalogFault:
    return CatalogFault("BucketAlreadyOwnedByYou" if yours else "BucketAlreadyExists", name)


def find_bucket(connection: Connection, name: str) -> Bucket | None:
    """Return a bucket with its settings."""
    if "\0" in name:  # PostgreSQL's texts hold none
        return None
    row = connection.execute(_COLUMNS.where(buckets.c.name == name)).first()
    if row is None:
        return None
    documents = connection.execute(select(settings.c.name, settings.c.body).where(settings.c.bucket_id == row[0])).all()
    return Bucket(
        row.id,
        row.name,
        row.owner,
        row.created_ms,
        row.versioning,
        row.object_lock,
        {name: body for name, body in documents},
    )


def list_buckets(
    connection: Connection, owner: str, *, prefix: str = "", after: str = "", limit: int = 10_000
) -> list[tuple[str, int]]:
    """Return (name, created in Unix ms) of an account's buckets by name, in the order of bytes on each database."""
    if "\0" in prefix:
        return []
    name: ColumnElement[str] = buckets.c.name
    if connection.dialect.name == "postgresql":
        name = name.collate("C")  # the database's own order may pass over dots and dashes
    query = select(buckets.c.name, buckets.c.created_ms).where(buckets.c.owner == owner)
    if prefix:  # LIKE would not mind the case on SQLite
        query = query.where(func.substr(name, 1, len(prefix)) == prefix)
    if after:
        query = query.where(name > after.partition("\0")[0])
    return [(row[0], row[1]) for row in connection.execute(query.order_by(name).limit(limit))]


def buckets_with(connection: Connection, setting: str) -> list[str]:
    """Return the names of all buckets that have a setting (the lifecycle worker asks)."""
    query = select(buckets.c.name).join(settings, settings.c.bucket_id == buckets.c.id)
    return list(connection.execute(query.where(settings.c.name == setting).order_by(buckets.c.name)).scalars())


def hold_bucket(connection: Connection, bucket_id: int, *, alone: bool = False) -> tuple[Versioning, bool]:
    """Return (versioning, object lock) and keep the bucket from being deleted until this transaction ends.

    `alone`: also keep others from writing to it. Raises CatalogFault NoSuchBucket.
    """
    row = (_HOLD_ALONE if alone else _HOLD).first(connection, {"bucket": bucket_id})
    if row is None:
        raise CatalogFault("NoSuchBucket", "the bucket was deleted")
    return row[0], bool(row[1])


def set_versioning(connection: Connection, bucket_id: int, status: Versioning) -> None:
    """Switch versioning on or off. Raises CatalogFault InvalidBucketState for a bucket with object lock."""
    _, object_lock = hold_bucket(connection, bucket_id, alone=True)
    if object_lock and status != "Enabled":
        raise CatalogFault("InvalidBucketState", "a bucket with object lock keeps its versions; it cannot be suspended")
    connection.execute(update(buckets).where(buckets.c.id == bucket_id).values(versioning=status))
    touch(connection, "buckets")


def enable_object_lock(connection: Connection, bucket_id: int) -> None:
    """Let versions be locked. Raises CatalogFault InvalidBucketState when the bucket is not versioned."""
    versioning, _ = hold_bucket(connection, bucket_id, alone=True)
    if versioning != "Enabled":
        raise CatalogFault("InvalidBucketState", "versioning must be 'Enabled' on the bucket for object lock")
    connection.execute(update(buckets).where(buckets.c.id == bucket_id).values(object_lock=True))
    touch(connection, "buckets")


def put_setting(connection: Connection, bucket_id: int, name: str, body: bytes | None) -> None:
    """Replace a setting's document; None removes it. Raises CatalogFault NoSuchBucket."""
    hold_bucket(connection, bucket_id, alone=True)
    connection.execute(delete(settings).where(settings.c.bucket_id == bucket_id, settings.c.name == name))
    if body is not None:
        connection.execute(settings.insert().values(bucket_id=bucket_id, name=name, body=body))
    touch(connection, "buckets")


_COLUMNS: Select[tuple[int, str, str, int, str, bool]] = select(
    buckets.c.id, buckets.c.name, buckets.c.owner, buckets.c.created_ms, buckets.c.versioning, buckets.c.object_lock
)
# PostgreSQL: writers share the row, a deletion or a change of versioning takes it alone. SQLite ignores both.
_STATUS = select(buckets.c.versioning, buckets.c.object_lock).where(buckets.c.id == bindparam("bucket"))
_HOLD, _HOLD_ALONE = Statement(_STATUS.with_for_update(read=True)), Statement(_STATUS.with_for_update())
