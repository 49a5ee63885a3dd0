"""Short reads and whole shares among nodes that keep us waiting, and that leave the list while they are asked."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from fieldstone.services.storage.pool import Stored, download
from fieldstone.services.storage.pool.nodes import NodeProblem, Nodes
from tests.services.storage.pool.conftest import MakeNet, Net
from tests.services.storage.pool.provider import Provider

BODY = os.urandom(900_000)


async def holder(n: Net, stored: Stored, number: int) -> Provider:
    found = await n.pool.parts.segment(stored.segments[0].id)
    return next(p for p in n.providers if p.did == found.shares[number].device)


def usual(n: Net) -> None:
    """Make every node that answers as quick as the others, whatever this machine is doing besides."""
    for provider in n.providers:
        health = n.pool.parts.nodes.health(provider.did)
        if not provider.delay_s:
            health.first_byte_s, health.bytes_per_s = 0.001, 1e9


@pytest.mark.parametrize(("start", "end"), [(0, 100), (0, 120_000), (0, 900_000)], ids=["range", "window", "stream"])
async def test_who_kept_one_read_waiting_does_not_keep_the_next(
    net: MakeNet, monkeypatch: pytest.MonkeyPatch, patience: float, start: int, end: int
) -> None:
    """It was asked first again, and waited for, in every read: nothing is learned of an answer that does not come."""
    asked: list[str] = []
    get = Nodes.get

    async def noted(self: Nodes, node: Any, *arguments: Any, **options: Any) -> None:
        asked.append(node.did)
        await get(self, node, *arguments, **options)

    monkeypatch.setattr(Nodes, "get", noted)
    async with net(8) as n:
        stored = await n.put(BODY)
        usual(n)
        slow = await holder(n, stored, 0)
        slow.delay_s = 3_600.0
        assert await asyncio.wait_for(n.get(stored, start, end), patience) == BODY[start:end]
        assert slow.did in asked
        asked.clear()
        usual(n)
        assert await n.get(stored, start, end) == BODY[start:end]
        assert asked and slow.did not in asked


async def test_whole_shares_are_asked_elsewhere_while_some_take_their_time(
    net: MakeNet, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    """One after the other, each could take half a minute: a repair took ten, and its turn was over."""
    monkeypatch.setattr(download, "WHOLE_PATIENCE_S", 0.05)
    async with net(8) as n:
        stored = await n.put(BODY)
        found = await n.pool.parts.segment(stored.segments[0].id)
        for number in range(4):
            (await holder(n, stored, number)).delay_s = 3_600.0
        made, good, wrong = await asyncio.wait_for(n.pool.parts.download(found).certain([0]), patience)
        assert len(made) == 1 and sorted(good) == [4, 5, 6, 7] and wrong == []


async def test_a_node_that_leaves_the_list_meanwhile_is_one_that_does_not_answer(net: MakeNet) -> None:
    async with net(8) as n:
        stored = await n.put(BODY)
        found = await n.pool.parts.segment(stored.segments[0].id)
        reading = n.pool.parts.download(found)
        gone = found.shares[0]
        n.pool.directory.renew([one for one in n.pool.directory if one.did != gone.device])
        assert isinstance(await reading.whole_share(gone), NodeProblem)
        assert await n.get(stored, 0, 100) == BODY[:100] and await n.get(stored) == BODY
