"""What is due is found without reading all shares: the reporter looks every few seconds."""

from __future__ import annotations

import os

from sqlalchemy import event, inspect, text

from fieldstone.services.storage.pool import LeaseReporter
from fieldstone.services.storage.pool.tables import create_tables
from fieldstone.state.engine import connect_state
from tests.services.storage.pool.conftest import MakeNet


async def test_looking_for_what_is_due_reads_no_table_whole(net: MakeNet) -> None:
    """It took seven seconds of CPU for a terabyte of objects, every five seconds."""
    async with net(8) as n:
        n.adopt(await n.put(os.urandom(20_000)))
        reporter, engine = LeaseReporter(n.pool.parts, lambda kind, body: None), n.pool.parts.database.engine
        await reporter.once()
        asked: list[tuple[str, object]] = []
        event.listen(engine, "before_cursor_execute", lambda *words: asked.append((str(words[2]), words[3])))
        await reporter.once()
        queries = [one for one in asked if one[0].startswith("SELECT")]
        assert len(queries) == 3
        with engine.connect() as connection:
            for words, values in queries:
                plan = connection.exec_driver_sql("EXPLAIN QUERY PLAN " + words, values).all()  # type: ignore[arg-type]
                steps = [str(row[3]) for row in plan]
                assert steps and not [step for step in steps if step.startswith("SCAN") and "INDEX" not in step], steps


def test_tables_of_the_first_version_get_the_index(tmp_path) -> None:  # type: ignore[no-untyped-def]
    engine = connect_state(tmp_path / "gateway.db")
    create_tables(engine)
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX ix_pool_share_unwanted"))
        connection.execute(text("UPDATE pool_state SET value = 1 WHERE name = 'schema'"))
    create_tables(engine)
    assert "ix_pool_share_unwanted" in {one["name"] for one in inspect(engine).get_indexes("pool_share")}
