"""Tables of the catalogue: who may do what, which buckets there are, and which bytes every version of a key stands for.

Keys are bytes (UTF-8), so that both databases order them as S3 does. Times are Unix milliseconds. A version's row holds
what a listing shows; what only a read needs (its content) stands in a table of its own, so that listings stay small.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

from fieldstone.services.storage.pool.upgrade import Schema, upgrade

VERSION = 2
_LOCK_ID = 0x4673_7333_6361_7431  # any constant: two gateways that start together must not both create

# COMPLIANCE until the year 9999: a lock that nobody can lift, and that has no end. Written out, so that both databases
# see that the partial index below answers it.
PERMANENT_FROM_MS = 253_370_764_800_000
IS_PERMANENT = text(f"s3_version.retain_mode = 'COMPLIANCE' AND s3_version.retain_until_ms >= {PERMANENT_FROM_MS}")
_PERMANENT = text(f"retain_mode = 'COMPLIANCE' AND retain_until_ms >= {PERMANENT_FROM_MS}")

metadata = MetaData()

# SQLite counts up by itself only for a column typed exactly INTEGER.
_Serial = BigInteger().with_variant(Integer(), "sqlite")

# One row per name: `schema` is the version of these tables; `accounts` and `buckets` rise with every change of an
# account or key, of a bucket or its settings, so that every gateway notices what another one changed.
state = Table(
    "s3_state",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

account = Table(
    "s3_account",
    metadata,
    Column("id", Text, primary_key=True),  # the canonical user id: 64 hex digits, or as imported
    Column("name", Text, nullable=False, unique=True),  # display name
    Column("email", Text, nullable=False),  # may be empty; a grantee may be named by it
    Column("created_ms", BigInteger, nullable=False),
)

access_key = Table(
    "s3_access_key",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("s3_account.id"), nullable=False),
    # nonce ‖ AES-256-GCM(secret): SigV4 is an HMAC, so the secret itself is needed to check a signature
    Column("secret", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
    Index("ix_s3_access_key_account", "account_id"),
)

bucket = Table(
    "s3_bucket",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False, unique=True),
    Column("owner", Text, ForeignKey("s3_account.id"), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("versioning", Text, nullable=False),  # '' (never) | Enabled | Suspended
    Column("object_lock", Boolean, nullable=False),
    Index("ix_s3_bucket_owner", "owner", "name"),
    sqlite_autoincrement=True,  # ids are never used again: a late request must not meet another bucket
)

# acl, policy, cors, lifecycle, tagging, object-lock, … : the document as the protocol parts write it
bucket_setting = Table(
    "s3_bucket_setting",
    metadata,
    Column("bucket_id", BigInteger, ForeignKey("s3_bucket.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

version = Table(
    "s3_version",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),  # newest of a key = greatest
    Column("bucket_id", BigInteger, ForeignKey("s3_bucket.id"), nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("version_id", Text, nullable=False),  # 'null', or an opaque random text
    Column("state", Integer, nullable=False),  # 0 older version | 1 current object | 2 current delete marker
    Column("marker", Boolean, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("etag", Text, nullable=False),  # without quotes
    Column("modified_ms", BigInteger, nullable=False),
    Column("owner", Text, nullable=False),
    Column("storage_class", Text, nullable=False),
    Column("checksum", Text, nullable=False),  # '' or ALGORITHM:TYPE:base64
    Column("headers", LargeBinary, nullable=False),  # msgpack [[name, value], …], as they are answered
    Column("tags", LargeBinary),  # msgpack {key: value}
    Column("acl", LargeBinary),
    Column("retain_mode", Text),  # GOVERNANCE | COMPLIANCE
    Column("retain_until_ms", BigInteger),
    Column("legal_hold", Boolean, nullable=False),
    Index("ix_s3_version_order", "bucket_id", "key", "id"),
    Index(
        "ux_s3_version_current",
        "bucket_id",
        "key",
        unique=True,
        sqlite_where=text("state > 0"),
        postgresql_where=text("state > 0"),
    ),
    Index(
        "ux_s3_version_id",
        "version_id",
        unique=True,
        sqlite_where=text("version_id <> 'null'"),
        postgresql_where=text("version_id <> 'null'"),
    ),
    Index("ix_s3_version_permanent", "id", sqlite_where=_PERMANENT, postgresql_where=_PERMANENT),
    sqlite_autoincrement=True,
)

# Permanent versions whose segments the network was told, so that what was paid once pays for them.
permanent = Table(
    "s3_permanent",
    metadata,
    Column("version", BigInteger, ForeignKey("s3_version.id"), primary_key=True),
    Column("reported_ms", BigInteger, nullable=False),
)

content = Table(
    "s3_content",
    metadata,
    Column("version", BigInteger, ForeignKey("s3_version.id"), primary_key=True),
    Column("extents", LargeBinary, nullable=False),  # `content.encode`
    Column("parts", LargeBinary),  # msgpack [[number, size, checksum], …] of a multipart object
)

upload = Table(
    "s3_upload",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("upload_id", Text, nullable=False, unique=True),
    Column("bucket_id", BigInteger, ForeignKey("s3_bucket.id"), nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("initiator", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("attributes", LargeBinary, nullable=False),  # msgpack of rows.Attributes
    Column("checksum_algorithm", Text, nullable=False),  # '' or CRC32 …
    Column("checksum_type", Text, nullable=False),  # '' | COMPOSITE | FULL_OBJECT
    # msgpack of what Complete answered: a client that missed the answer may ask again
    Column("completed", LargeBinary),
    Column("completed_ms", BigInteger),
    Index("ix_s3_upload_key", "bucket_id", "key", "id"),
    Index("ix_s3_upload_completed", "completed_ms"),
    sqlite_autoincrement=True,
)

part = Table(
    "s3_part",
    metadata,
    Column("upload", BigInteger, ForeignKey("s3_upload.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("etag", Text, nullable=False),
    Column("checksum", Text, nullable=False),
    Column("modified_ms", BigInteger, nullable=False),
    Column("extents", LargeBinary, nullable=False),
)


def _permanent_versions(connection: Connection) -> None:
    permanent.create(connection, checkfirst=True)
    index = next(one for one in version.indexes if one.name == "ix_s3_version_permanent")
    index.create(connection, checkfirst=True)


SCHEMA = Schema(
    "the gateway's catalogue",
    metadata,
    state,
    VERSION,
    _LOCK_ID,
    steps={1: _permanent_versions},
    first={"accounts": 0, "buckets": 0},
)


def create_tables(engine: Engine) -> None:
    """Create the tables or bring them up to date. Raises EnvironmentProblem for those of a newer program."""
    upgrade(engine, SCHEMA)
