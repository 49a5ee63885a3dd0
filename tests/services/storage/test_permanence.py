"""A lock without end is what permanent means, and the network is told once, when the shares are leased."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from fieldstone.clock import SetClock
from fieldstone.errors import Retryable
from fieldstone.services.storage import records
from fieldstone.services.storage.catalog import schema
from fieldstone.services.storage.catalog.content import Content, Extent
from fieldstone.services.storage.permanence import CoverReporter
from fieldstone.services.storage.pool import tables
from fieldstone.services.storage.pool.database import ThreadDatabase
from fieldstone.services.storage.s3.dates import parse_iso_date
from fieldstone.state.engine import connect_state, reading, writing

FOREVER_MS = parse_iso_date("9999-12-31T00:00:00Z")
A_CENTURY_MS = parse_iso_date("2126-01-01T00:00:00Z")


class Outbox:
    def __init__(self) -> None:
        self.sent: list[tuple[str, tuple[bytes, ...]]] = []
        self.fails = False

    def send(self, kind: str, body: bytes) -> None:
        if self.fails:
            raise Retryable("no disk")
        self.sent.append((kind, records.decode(body, records.Cover).segments))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = connect_state(tmp_path / "gateway.sqlite")
    schema.create_tables(made)
    tables.create_tables(made)
    with writing(made) as connection:
        connection.execute(schema.account.insert(), {"id": "a", "name": "a", "email": "", "created_ms": 1})
        row = {"id": 1, "name": "b", "owner": "a", "created_ms": 1, "versioning": "Enabled", "object_lock": True}
        connection.execute(schema.bucket.insert(), row)
    yield made
    made.dispose()


def put(
    engine: Engine, number: int, *segments: int, mode: str | None, until_ms: int | None, leased: bool = True
) -> None:
    extents = tuple(Extent(n.to_bytes(16, "big"), 100, 0, 100) for n in segments)
    row: dict[str, Any] = {
        "id": number, "bucket_id": 1, "key": b"k%d" % number, "version_id": f"v{number}", "state": 1, "marker": False,
        "size_bytes": 100, "etag": "e", "modified_ms": 1, "owner": "a", "storage_class": "STANDARD", "checksum": "",
        "headers": b"", "retain_mode": mode, "retain_until_ms": until_ms, "legal_hold": False,
    }  # fmt: skip
    with writing(engine) as connection:
        connection.execute(schema.version.insert(), row)
        connection.execute(schema.content.insert(), {"version": number, "extents": Content(extents).encode()})
        for n in segments:
            connection.execute(tables.segment.insert(), {
                "id": n.to_bytes(16, "big"), "k": 1, "n": 1, "block_bytes": 1, "size_bytes": 100, "sealed_bytes": 100,
                "wrapped_key": b"", "state": "live", "complete": True, "uses": 1, "writer": "", "created_ms": 1, "relaxed": "",
            })  # fmt: skip
            connection.execute(tables.share.insert(), {
                "id": n.to_bytes(16, "little"), "segment_id": n.to_bytes(16, "big"), "number": 0, "device": "d",
                "size_bytes": 100, "state": "held", "leased_ms": 5 if leased else None, "changed_ms": 1,
            })  # fmt: skip


def once(engine: Engine, outbox: Outbox, most: int = 10_000) -> int:
    database = ThreadDatabase(engine)
    try:
        return asyncio.run(CoverReporter(database, SetClock(9), outbox.send, most).once())
    finally:
        database.close()


def ids(*numbers: int) -> tuple[bytes, ...]:
    return tuple(n.to_bytes(16, "big") for n in numbers)


def test_only_a_lock_without_end_is_permanent_and_it_is_told_once(engine: Engine) -> None:
    put(engine, 1, 10, 11, mode="COMPLIANCE", until_ms=FOREVER_MS)
    put(engine, 2, 20, mode="COMPLIANCE", until_ms=A_CENTURY_MS)
    put(engine, 3, 30, mode="GOVERNANCE", until_ms=FOREVER_MS)
    put(engine, 4, 40, mode=None, until_ms=None)
    put(engine, 5, mode="COMPLIANCE", until_ms=FOREVER_MS)  # inline: nobody holds it
    outbox = Outbox()
    assert once(engine, outbox) == 2
    assert outbox.sent == [("cover", ids(10, 11))]
    assert once(engine, outbox) == 0 and len(outbox.sent) == 1


def test_it_waits_for_leases_and_for_a_network_that_takes_reports(engine: Engine) -> None:
    put(engine, 1, 10, mode="COMPLIANCE", until_ms=FOREVER_MS, leased=False)
    outbox = Outbox()
    assert once(engine, outbox) == 0
    with writing(engine) as connection:
        connection.execute(tables.share.update().values(leased_ms=7))
    outbox.fails = True
    with pytest.raises(Retryable):
        once(engine, outbox)
    outbox.fails = False
    assert once(engine, outbox) == 1


def test_long_objects_are_told_in_several_reports(engine: Engine) -> None:
    put(engine, 1, 10, 11, 12, mode="COMPLIANCE", until_ms=FOREVER_MS)
    outbox = Outbox()
    assert once(engine, outbox, most=2) == 1
    assert [segments for _, segments in outbox.sent] == [ids(10, 11), ids(12)]


def test_a_catalogue_of_the_version_before_is_brought_up_to_date(engine: Engine) -> None:
    with writing(engine) as connection:
        schema.permanent.drop(connection)
        connection.execute(text("DROP INDEX ix_s3_version_permanent"))
        connection.execute(schema.state.update().where(schema.state.c.name == "schema").values(value=1))
    schema.create_tables(engine)
    put(engine, 1, 10, mode="COMPLIANCE", until_ms=FOREVER_MS)
    assert once(engine, Outbox()) == 1
    with reading(engine) as connection:
        plan = connection.execute(
            text(f"EXPLAIN QUERY PLAN SELECT id FROM s3_version WHERE {schema.IS_PERMANENT.text}")
        )
        assert "ix_s3_version_permanent" in str(plan.all())
