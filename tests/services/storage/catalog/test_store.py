"""Group commit: one commit for many, failures apart, nobody answered early."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, text

from fieldstone.errors import Retryable
from fieldstone.services.storage.catalog.schema import create_tables
from fieldstone.services.storage.catalog.store import Store
from fieldstone.state.engine import connect_state


def insert(name: str, fail: bool = False):  # type: ignore[no-untyped-def]
    def work(connection: Connection) -> str:
        connection.execute(text("INSERT INTO s3_state VALUES (:n, 1)"), {"n": name})
        if fail:
            raise ValueError(name)
        return name

    return work


def names(store: Store) -> set[str]:
    return store.read_now(lambda c: set(c.execute(text("SELECT name FROM s3_state")).scalars()))


async def test_many_writes_share_a_commit_and_a_failure_undoes_only_itself(tmp_path: Path) -> None:
    engine = connect_state(tmp_path / "x.db")
    create_tables(engine)
    store = Store(engine)
    commits = []
    event.listen(engine, "commit", lambda c: commits.append(1))
    works = [store.write(insert(f"n{i}", fail=i % 10 == 3)) for i in range(100)]
    done = await asyncio.gather(*works, return_exceptions=True)
    assert [isinstance(d, ValueError) for d in done] == [i % 10 == 3 for i in range(100)]
    found = names(store)
    assert {f"n{i}" for i in range(100) if i % 10 != 3} <= found and "n3" not in found
    assert len(commits) < 50
    store.close()


async def test_nobody_is_answered_when_the_commit_fails(tmp_path: Path) -> None:
    engine = connect_state(tmp_path / "x.db")
    create_tables(engine)
    store = Store(engine)

    def refuse(connection: Connection) -> None:
        raise OSError("disk full")

    event.listen(engine, "commit", refuse)
    done = await asyncio.gather(*(store.write(insert(f"n{i}")) for i in range(5)), return_exceptions=True)
    assert all(isinstance(d, Retryable) for d in done)
    event.remove(engine, "commit", refuse)
    assert not {f"n{i}" for i in range(5)} & names(store)
    # and the writer lives on
    assert await store.write(insert("later")) == "later"
    store.close()


async def test_a_cancelled_caller_does_not_stop_the_write(tmp_path: Path) -> None:
    engine = connect_state(tmp_path / "x.db")
    create_tables(engine)
    store = Store(engine)
    task = asyncio.create_task(store.write(insert("kept")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    store.close()
    store = Store(engine)
    assert "kept" in names(store)
    store.close()


async def test_closing_finishes_what_is_queued(tmp_path: Path) -> None:
    engine = connect_state(tmp_path / "x.db")
    create_tables(engine)
    store = Store(engine)
    works = [asyncio.ensure_future(store.write(insert(f"n{i}"))) for i in range(20)]
    await asyncio.sleep(0)
    await asyncio.to_thread(store.close)
    assert await asyncio.gather(*works) == [f"n{i}" for i in range(20)]
    with pytest.raises(Retryable):
        await store.write(insert("late"))
