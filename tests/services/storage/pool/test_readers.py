"""Reads slower than the sweeper's patience: their segments stay while they are read, for a day at most, and no longer."""

from __future__ import annotations

import asyncio
import os

import pytest
from sqlalchemy import event, func, select

from fieldstone.services.storage.pool import Stored, Sweeper
from fieldstone.services.storage.pool.readers import LONGEST_MS, Readers
from fieldstone.services.storage.pool.tables import segment
from tests.services.storage.pool.conftest import MakeNet, Net

MINUTE_MS = 60_000
BODY = os.urandom(1_200_000)  # two segments


def ids(stored: Stored) -> list[bytes]:
    return [ref.id for ref in stored.segments]


def written(n: Net) -> list[str]:
    """Return a list that gets every statement that changes segments."""
    seen: list[str] = []

    def note(*words: object) -> None:
        if str(words[2]).startswith("UPDATE pool_segment"):
            seen.append(str(words[2]))

    event.listen(n.pool.parts.database.engine, "before_cursor_execute", note)
    return seen


async def renewed(n: Net) -> None:
    """Wait until every dropped segment is held from now on."""
    oldest = select(func.min(segment.c.dropped_ms)).where(segment.c.state == "dropped")
    async with asyncio.timeout(60):
        while await n.pool.parts.database.read(lambda c: c.execute(oldest).scalar()) != n.clock.now_ms():
            await asyncio.sleep(0.001)


async def swept(n: Net) -> int:
    """Let the sweeper of another gateway on the same database do a pass; return how many shares it deleted."""
    other = n.again()
    deleted = (await Sweeper(other.parts).once()).deleted
    await other.close()
    return deleted


async def test_a_slow_read_of_a_deleted_object_ends_well(net: MakeNet) -> None:
    async with net(8) as n:
        stored = await n.put(BODY)
        n.adopt(stored)
        readers = Readers(n.pool.parts.database, n.clock, renew_s=0.002)
        with readers.holding(ids(stored)):
            n.drop(stored)
            for _ in range(3):  # half an hour
                n.later(9 * MINUTE_MS)
                await renewed(n)
                n.later(MINUTE_MS)
                assert await swept(n) == 0
            assert await n.get(stored) == BODY
        n.later(11 * MINUTE_MS)
        assert await swept(n) == 16


async def test_a_slow_database_is_asked_one_thing_at_a_time(net: MakeNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renewals used to start by the clock: slower than it they piled up, and the oldest wrote their time last."""
    async with net(8) as n:
        stored = await n.put(BODY)
        running, most = 0, 0

        async def slow(_what: object) -> bool:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.02)
            running -= 1
            return False

        monkeypatch.setattr(n.pool.parts.database, "read", slow)
        with Readers(n.pool.parts.database, n.clock, renew_s=0.001).holding(ids(stored)):
            await asyncio.sleep(0.1)
        assert most == 1


async def test_a_quick_read_and_one_of_what_still_stands_write_nothing(net: MakeNet) -> None:
    async with net(8) as n:
        stored, gone = await n.put(BODY), await n.put(BODY)
        n.adopt(stored)
        n.adopt(gone)
        n.drop(gone)
        seen = written(n)
        with n.pool.holding(ids(gone)):
            await asyncio.sleep(0.01)
        with Readers(n.pool.parts.database, n.clock, renew_s=0.001).holding(ids(stored)):
            await asyncio.sleep(0.02)
        assert seen == []


async def test_nobody_holds_for_ever(net: MakeNet) -> None:
    async with net(8) as n:
        stored = await n.put(BODY)
        n.adopt(stored)
        with Readers(n.pool.parts.database, n.clock, renew_s=0.001).holding(ids(stored)):
            n.drop(stored)
            n.later(1)
            await renewed(n)  # so it has begun
            n.later(LONGEST_MS)
            async with asyncio.timeout(60):
                while any("_renew" in repr(task.get_coro()) for task in asyncio.all_tasks()):
                    await asyncio.sleep(0.001)
            seen = written(n)
            await asyncio.sleep(0.01)
            assert seen == []
            n.later(11 * MINUTE_MS)
            assert await swept(n) == 16
