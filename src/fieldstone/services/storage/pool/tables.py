"""The pool's tables: segments, shares, nodes, incidents, repairs. In the gateway's database, beside the catalogue.

    segment   pending ──adopt──▶ live ──drop (last use)──▶ dropped ──shares deleted──▶ (row gone)
    share     planned ──receipt──▶ held ──▶ corrupt | lost ──▶ leaving ──deleted──▶ (row gone)

A segment is written down before its first byte leaves, so a crash leaves rows that the sweeper finds, never shares
that nobody knows. Times are Unix milliseconds. `VERSION` rises with every change, and a step of `SCHEMA`
leads to it.
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
_LOCK_ID = 0x4673_706F_6F6C_0001  # any constant: two gateways that start together must not both create

metadata = MetaData()
_Serial = BigInteger().with_variant(Integer(), "sqlite")

state = Table(
    "pool_state",
    metadata,
    Column("name", Text, primary_key=True),  # schema
    Column("value", BigInteger, nullable=False),
)

segment = Table(
    "pool_segment",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("k", Integer, nullable=False),
    Column("n", Integer, nullable=False),
    Column("block_bytes", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),  # plain
    Column("sealed_bytes", BigInteger, nullable=False),  # encrypted: what is coded
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),  # pending | live | dropped
    Column("complete", Boolean, nullable=False),  # enough receipts are written down
    Column("uses", BigInteger, nullable=False),
    Column("writer", Text, nullable=False),  # which start of which gateway is or was writing it
    Column("created_ms", BigInteger, nullable=False),
    Column("dropped_ms", BigInteger),
    Column("relaxed", Text, nullable=False),  # '' or which placement caps could not be kept
    Index("ix_pool_segment_state", "state", "created_ms"),
)

share = Table(
    "pool_share",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("segment_id", LargeBinary, ForeignKey("pool_segment.id"), nullable=False),
    Column("number", Integer, nullable=False),  # 0 … n − 1; below k: the data itself
    Column("device", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("state", Text, nullable=False),  # planned | held | corrupt | lost | leaving
    Column("leaf_bytes", Integer),  # of the tree that `root` commits to: the provider's choice
    Column("root", LargeBinary),  # fast commitment, equal in our own hash and the receipt
    Column("receipt", LargeBinary),  # COSE_Sign1 over ShareReceipt
    Column("leased_ms", BigInteger),  # when the lease report was handed over
    Column("released_ms", BigInteger),
    Column("changed_ms", BigInteger, nullable=False),
    Index("ix_pool_share_segment", "segment_id", "number"),
    Index("ix_pool_share_device", "device", "state"),
    Index(
        "ix_pool_share_unleased",
        "segment_id",
        sqlite_where=text("state = 'held' AND leased_ms IS NULL"),
        postgresql_where=text("state = 'held' AND leased_ms IS NULL"),
    ),
    Index(
        "ix_pool_share_leaving",
        "device",
        sqlite_where=text("state = 'leaving'"),
        postgresql_where=text("state = 'leaving'"),
    ),
    Index(
        "ix_pool_share_unwanted",
        "state",
        sqlite_where=text("state NOT IN ('held', 'planned')"),
        postgresql_where=text("state NOT IN ('held', 'planned')"),
    ),
)

# Said in a query beside the states that it wants, this makes SQLite take the index: it must read as the index does.
UNWANTED = text("pool_share.state NOT IN ('held', 'planned')")

node = Table(
    "pool_node",
    metadata,
    Column("device", Text, primary_key=True),
    Column("egress_bytes", BigInteger, nullable=False),  # no order that was ever signed says more
    Column("answers", BigInteger, nullable=False),
    Column("failures", BigInteger, nullable=False),
    Column("wrong_bytes", BigInteger, nullable=False),
    Column("last_answer_ms", BigInteger),
    Column("offline_since_ms", BigInteger),  # first failure after the last answer
    Column("lost_ms", BigInteger),  # declared lost: its shares are regenerated elsewhere
)

# What a node did wrong, with what we hold as evidence: an operator may ask.
incident = Table(
    "pool_incident",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("device", Text, nullable=False),
    Column("share_id", LargeBinary, nullable=False),
    Column("kind", Text, nullable=False),  # wrong_bytes | wrong_root | missing | bad_receipt
    Column("detail", Text, nullable=False),  # canonical JSON
    Index("ix_pool_incident_device", "device", "at_ms"),
)

repair = Table(
    "pool_repair",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("segment_id", LargeBinary, nullable=False),
    Column("healthy_before", Integer, nullable=False),
    Column("healthy_after", Integer, nullable=False),
    Column("read_bytes", BigInteger, nullable=False),
    Column("written_bytes", BigInteger, nullable=False),
    Column("cost_micro_usd", BigInteger, nullable=False),
    Index("ix_pool_repair_at", "at_ms"),
)


def _index_unwanted(connection: Connection) -> None:
    index = next(one for one in share.indexes if one.name == "ix_pool_share_unwanted")
    index.create(connection, checkfirst=True)


SCHEMA = Schema("the gateway's pool", metadata, state, VERSION, _LOCK_ID, steps={1: _index_unwanted})


def create_tables(engine: Engine) -> None:
    """Create the tables or bring them up to date. Raises EnvironmentProblem for those of a newer program."""
    upgrade(engine, SCHEMA)
