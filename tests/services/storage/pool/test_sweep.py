"""Deleting keeps up whoever is away, slow or refuses, and however much there is."""

from __future__ import annotations

import asyncio
import os

import pytest
from sqlalchemy import event, func, select

from fieldstone.services.storage.pool import Stored, Sweeper, sweep
from fieldstone.services.storage.pool.directory import Node
from fieldstone.services.storage.pool.nodes import NodeProblem, Nodes
from fieldstone.services.storage.pool.tables import segment, share
from tests.services.storage.pool.conftest import MakeNet, Net
from tests.services.storage.pool.provider import Provider

BODY = os.urandom(20_000)
DAY_MS = 86_400_000


async def dropped(n: Net, count: int) -> list[Stored]:
    """Write objects and delete them, an hour ago."""
    found = [await n.put(BODY) for _ in range(count)]
    for one in found:
        n.adopt(one)
        n.drop(one)
    n.later(3_600_000)
    return found


def left(n: Net, column: object = share.c.id) -> int:
    with n.pool.parts.database.engine.connect() as connection:
        return int(connection.execute(select(func.count(column))).scalar_one())  # type: ignore[arg-type]


def holding(n: Net, provider: Provider) -> int:
    return len(provider.shares)


async def test_one_that_is_away_holds_up_what_is_on_no_other(net: MakeNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of the shares of nodes that were away came back in every pass, and nothing else was deleted for a month."""
    monkeypatch.setattr(sweep, "_PAGE", 3)
    async with net(8) as n:
        await dropped(n, 5)
        away = min(n.providers, key=lambda p: p.did)
        away.down = True
        swept = await Sweeper(n.pool.parts).once()
        assert (swept.deleted, swept.waiting) == (35, 5)
        assert [holding(n, p) for p in n.providers if p is not away] == [0] * 7
        away.down = False
        assert (await Sweeper(n.pool.parts).once()).deleted == 5
        assert (left(n), left(n, segment.c.id)) == (0, 0)


async def test_a_pass_deletes_all_there_is(net: MakeNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand shares every five minutes were 7,000 objects a day, whatever customers deleted."""
    monkeypatch.setattr(sweep, "_PAGE", 4)
    async with net(8) as n:
        await dropped(n, 13)
        assert (await Sweeper(n.pool.parts).once()).deleted == 13 * 8
        assert (left(n), left(n, segment.c.id)) == (0, 0)


async def test_one_that_takes_its_time_ends_the_pass_for_nobody(net: MakeNet, monkeypatch: pytest.MonkeyPatch) -> None:
    delete, slow = Nodes.delete, ""

    async def dawdling(self: Nodes, node: Node, share_id: bytes) -> None:
        if node.did == slow:
            monkeypatch.setattr(sweep, "monotonic", lambda: 10.0**12)  # much later
        await delete(self, node, share_id)

    monkeypatch.setattr(sweep, "_AT_ONCE", 1)
    monkeypatch.setattr(Nodes, "delete", dawdling)
    async with net(8) as n:
        await dropped(n, 3)
        n.pool.directory.renew([one for one in n.pool.directory if one.did == n.providers[0].did])
        slow = n.providers[0].did
        swept = await Sweeper(n.pool.parts).once()
        assert (swept.deleted, holding(n, n.providers[0])) == (1, 2)


async def test_what_one_refuses_to_delete_is_passed_over(net: MakeNet, monkeypatch: pytest.MonkeyPatch) -> None:
    delete, busy = Nodes.delete, b""

    async def refusing(self: Nodes, node: Node, share_id: bytes) -> None:
        if share_id == busy:
            raise NodeProblem(node, "refused", "it is busy", "SHARE_BUSY")
        await delete(self, node, share_id)

    monkeypatch.setattr(Nodes, "delete", refusing)
    async with net(8) as n:
        await dropped(n, 3)
        busy = min(n.providers[0].shares)
        swept = await Sweeper(n.pool.parts).once()
        assert (swept.deleted, swept.waiting) == (23, 1)


async def test_what_is_on_a_node_that_never_comes_back_is_given_up_after_a_month(net: MakeNet) -> None:
    async with net(8) as n:
        await dropped(n, 2)
        n.providers[0].down = True
        await Sweeper(n.pool.parts).once()
        assert left(n) == 2
        n.later(31 * DAY_MS)
        await Sweeper(n.pool.parts).once()
        assert (left(n), left(n, segment.c.id)) == (0, 0)


async def test_what_waits_for_a_node_is_not_written_again_in_every_pass(net: MakeNet) -> None:
    """A million deleted objects with one share on a node that is away held all writers up, every five minutes."""
    async with net(8) as n:
        await dropped(n, 2)
        n.providers[0].down = True
        sweeper = Sweeper(n.pool.parts)
        await sweeper.once()
        seen: list[str] = []
        engine = n.pool.parts.database.engine
        event.listen(engine, "before_cursor_execute", lambda *words: seen.append(str(words[2])))
        await sweeper.once()
        assert not [words for words in seen if not words.lstrip().startswith(("SELECT", "BEGIN"))]


async def test_two_sweepers_at_once_delete_everything_once(net: MakeNet) -> None:
    async with net(8) as n:
        await dropped(n, 4)
        other = n.again()
        await asyncio.gather(Sweeper(n.pool.parts).once(), Sweeper(other.parts).once())
        await other.close()
        assert (left(n), left(n, segment.c.id)) == (0, 0)
        assert not any(p.shares for p in n.providers)
