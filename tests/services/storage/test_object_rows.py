"""What a gateway's database says of an object, on both kinds of database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from fieldstone.errors import Terminal, UsageError
from fieldstone.services.storage.catalog.buckets import find_bucket, set_versioning
from fieldstone.services.storage.catalog.versions import delete_current
from fieldstone.services.storage.lab_shares import Share
from fieldstone.services.storage.lab_world import World
from fieldstone.services.storage.object_rows import read_object
from fieldstone.services.storage.pool import segments
from fieldstone.services.storage.pool.tables import repair, segment, share
from fieldstone.state.engine import connect_state, reading, writing
from tests.services.storage.sealed_object import OWNER, SEGMENT, SIZE, _Uses, fill, world


@pytest.fixture(scope="module")
def played() -> tuple[World, list[Share]]:
    return world()


@pytest.fixture
def engine(database_url: str, played: tuple[World, list[Share]]) -> Iterator[Engine]:
    made = connect_state(database_url)
    fill(made, *played)
    yield made
    made.dispose()


def test_an_object_names_its_segments_and_what_became_of_them(engine: Engine) -> None:
    with writing(engine) as connection:
        holder = connection.execute(share.select().where(share.c.segment_id == SEGMENT).limit(1)).one()
        segments.mark(connection, holder.id, "corrupt", 5)
        segments.note_incident(connection, holder.device, holder.id, "wrong_bytes", "{}", 5)
        row = {"at_ms": 6, "segment_id": SEGMENT, "healthy_before": 5, "healthy_after": 6, "written_bytes": 1}
        connection.execute(repair.insert(), [{**row, "read_bytes": count, "cost_micro_usd": 1} for count in (70, 8)])
    found = read_object(engine, "photos", "holiday/1.jpg")
    [one] = found.segments
    assert (found.name, found.size_bytes, found.inline_bytes) == ("photos/holiday/1.jpg", SIZE, 0)
    assert (one.code.id, one.code.k, one.code.n, one.size_bytes, one.object_bytes) == (SEGMENT, 4, 6, SIZE, SIZE)
    assert (one.states, one.incidents) == ({"corrupt": 1, "held": 5}, 1)
    assert (one.repairs, one.repair_read_bytes, one.uses, one.not_leased) == (2, 78, 2, 0)


def test_repeated_and_inline_bytes_are_counted_as_often_as_they_stand(engine: Engine) -> None:
    found = read_object(engine, "photos", "twice.jpg")
    assert (found.size_bytes, found.inline_bytes) == (SIZE + 105, 5)
    assert [(one.size_bytes, one.object_bytes) for one in found.segments] == [(SIZE, SIZE + 100)]


def test_versions_and_deletions_are_told_apart(engine: Engine) -> None:
    with writing(engine) as connection:
        bucket = find_bucket(connection, "photos")
        assert bucket is not None
        set_versioning(connection, bucket.id, "Enabled")
        delete_current(connection, _Uses(), bucket.id, b"note", OWNER, 9)
    with pytest.raises(UsageError, match="is deleted; name an older version"):
        read_object(engine, "photos", "note")
    assert read_object(engine, "photos", "note", "null").inline_bytes == 5


def test_a_segment_that_the_books_lack_is_an_alarm(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(share.delete())
        connection.execute(segment.delete())
    with pytest.raises(Terminal, match="the gateway's books lack"):
        read_object(engine, "photos", "fresh.jpg")


def test_another_database_is_not_taken_for_a_gateways(database_url: str) -> None:
    engine = connect_state(database_url)
    with pytest.raises(UsageError, match="no gateway's database"):
        read_object(engine, "photos", "note")
    with reading(engine) as connection:
        assert connection.dialect.has_table(connection, "s3_bucket") is False
    engine.dispose()
