"""Nodes that are away, full, slow, forgetful or lie: writes end with enough receipts or fail, reads never give a wrong byte."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

import pytest
from sqlalchemy import select

from fieldstone.services.storage.pool import Profile, segments
from fieldstone.services.storage.pool.download import NotReadable
from fieldstone.services.storage.pool.placement import TooFewNodes
from fieldstone.services.storage.pool.tables import incident, segment, share
from fieldstone.services.storage.pool.upload import NotStored
from tests.services.storage.pool.conftest import SMALL, MakeNet, Net

BODY = os.urandom(900_000)


def states(n: Net) -> list[tuple[str, int]]:
    with n.pool.parts.database.engine.connect() as connection:
        rows = connection.execute(select(share.c.state, share.c.number)).all()
    return sorted((row.state, row.number) for row in rows)


def incidents(n: Net) -> list[tuple[str, str]]:
    with n.pool.parts.database.engine.connect() as connection:
        return [(row.device, row.kind) for row in connection.execute(select(incident)).all()]


@pytest.mark.parametrize("fault", ["down", "full", "wrong_root"])
async def test_nodes_that_fail_an_upload_are_replaced(net: MakeNet, fault: str) -> None:
    async with net(12) as n:
        for provider in n.providers[:4]:
            setattr(provider, fault, True)
        stored = await n.put(BODY)
        held = [number for state, number in states(n) if state == "held"]
        assert held == list(range(8))
        for provider in n.providers[:4]:
            provider.wrong_root = provider.down = provider.full = False
        assert await n.get(stored) == BODY
        assert {number for state, number in states(n) if state == "planned"} == set()


async def test_with_nobody_to_replace_them_k_and_margin_will_do(net: MakeNet) -> None:
    async with net(8) as n:
        for provider in n.providers[:2]:
            provider.down = True
        stored = await n.put(BODY)
        assert sum(state == "held" for state, _ in states(n)) == 6 == SMALL.least
        assert await n.get(stored) == BODY


async def test_with_fewer_the_write_fails_and_says_so(net: MakeNet) -> None:
    async with net(8) as n:
        for provider in n.providers[:3]:
            provider.full = True
        with pytest.raises(NotStored, match=r"5 shares .* 6 are needed.*DISK_FULL") as refused:
            await n.put(BODY)
        assert (refused.value.have, refused.value.need) == (5, 6)
        with n.pool.parts.database.engine.connect() as connection:
            assert connection.execute(select(segment.c.state)).scalars().all() == ["dropped"]
        assert n.pool._memory._used == 0


@pytest.mark.parametrize("delay_s", [0.0, 0.05])
async def test_nothing_is_sent_before_it_is_written_down(
    net: MakeNet, monkeypatch: pytest.MonkeyPatch, delay_s: float
) -> None:
    async with net(8) as n:
        plan = segments.plan
        known: list[list[int]] = []

        def late(*arguments: Any, **fields: Any) -> None:
            time.sleep(delay_s)
            known.append([len(provider.orders) for provider in n.providers])
            if delay_s == 0.0:
                raise NotStored(0, 1, [])
            plan(*arguments, **fields)

        monkeypatch.setattr(segments, "plan", late)
        if delay_s:
            assert await n.get(await n.put(BODY)) == BODY
        else:
            with pytest.raises(NotStored):
                await n.put(BODY)
            assert not any(provider.orders for provider in n.providers)
        assert known == [[0] * 8]


async def test_too_few_nodes(net: MakeNet) -> None:
    async with net(5) as n:
        with pytest.raises(TooFewNodes, match="8 shares need as many storage nodes, 5 can take one"):
            await n.put(BODY)


async def test_the_slowest_are_not_waited_for(net: MakeNet, patience: float) -> None:
    async with net(20) as n:
        wide = Profile("5/20", 5, 20, block_bytes=16_384)
        for provider in n.providers[:2]:
            provider.delay_s = 3_600.0
        stored = await asyncio.wait_for(n.put(BODY, wide), patience)
        assert sum(state == "held" for state, _ in states(n)) == 18 == wide.n - wide.spare
        assert await n.get(stored) == BODY
        for tail in n.pool._tails:
            tail.cancel()


async def test_slow_nodes_are_doubled_by_spare_ones(net: MakeNet, patience: float) -> None:
    async with net(14) as n:
        for provider in n.providers[:4]:
            provider.delay_s = 3_600.0
        await asyncio.wait_for(n.put(BODY), patience)
        assert [number for state, number in states(n) if state == "held"] == list(range(8))


async def test_any_four_of_eight_give_the_bytes_back(net: MakeNet) -> None:
    async with net(8) as n:
        stored = await n.put(BODY)
        for provider in n.providers[2:6]:
            provider.down = True
        assert await n.get(stored) == BODY
        assert await n.get(stored, 100_000, 100_100) == BODY[100_000:100_100]
        n.providers[0].down = True
        with pytest.raises(NotReadable, match=r"3 of the 4 shares|2 of the 4 shares"):
            await n.get(stored)


async def test_a_slow_node_is_cut_off(net: MakeNet, patience: float) -> None:
    async with net(8) as n:
        stored = await n.put(BODY)
        n.providers[0].delay_s = n.providers[1].delay_s = 3_600.0
        assert await asyncio.wait_for(n.get(stored), patience) == BODY
        assert await asyncio.wait_for(n.get(stored, 1, 2), patience) == BODY[1:2]


@pytest.mark.parametrize("late", [(0, 4), (1, 2, 3, 4)], ids=["one", "most"])
async def test_a_spare_that_is_slow_too_is_not_the_last_one_asked(
    net: MakeNet, patience: float, late: tuple[int, ...]
) -> None:
    async with net(8) as n:
        stored = await n.put(BODY)
        found = await n.pool.parts.segment(stored.segments[0].id)
        for number, share in found.shares.items():
            provider = next(p for p in n.providers if p.did == share.device)
            health = n.pool.parts.nodes.health(provider.did)
            health.first_byte_s, health.bytes_per_s = 0.001, 0.0
            if number in late:
                provider.delay_s = 3_600.0
            else:  # so that the slow spare is asked before these
                health.first_byte_s = 0.002
        assert await asyncio.wait_for(n.get(stored, 0, 300_000), patience) == BODY[:300_000]


async def test_a_stall_of_the_past_does_not_make_a_read_wait(net: MakeNet, patience: float) -> None:
    async with net(8) as n:
        stored = await n.put(BODY)
        for provider in n.providers:  # as when this machine stood still while it wrote
            n.pool.parts.nodes.health(provider.did).first_byte_s = 20.0
        n.providers[0].delay_s = n.providers[1].delay_s = 3_600.0
        assert await asyncio.wait_for(n.get(stored, 0, 300_000), patience) == BODY[:300_000]


@pytest.mark.parametrize("liars", [1, 2, 4])
@pytest.mark.parametrize("how", ["lies", "rots"])
async def test_wrong_bytes_never_come_out_and_are_traced_to_who_sent_them(net: MakeNet, liars: int, how: str) -> None:
    async with net(8) as n:
        stored = await n.put(BODY)
        found = await n.pool.parts.segment(stored.segments[0].id)
        by_did = {p.did: p for p in n.providers}
        bad = [by_did[found.shares[number].device] for number in range(liars)]
        for provider in bad:
            if how == "lies":
                provider.lies = True
            else:
                next(iter(provider.shares.values()))[70_000] ^= 4
        assert await n.get(stored) == BODY
        assert {device for device, _ in incidents(n)} == {p.did for p in bad}
        assert {kind for _, kind in incidents(n)} <= {"wrong_root", "wrong_bytes"}
        assert sum(state == "corrupt" for state, _ in states(n)) == liars
        assert await n.get(stored) == BODY  # without asking them again
        assert len(incidents(n)) == liars
        assert await n.get(stored, 5, 500_000) == BODY[5:500_000]


async def test_a_liar_about_a_range_only_is_found_too(net: MakeNet) -> None:
    """It sends right bytes when the whole share is asked for: its root is right, its answer was not."""
    async with net(8) as n:
        stored = await n.put(BODY)
        found = await n.pool.parts.segment(stored.segments[0].id)
        liar = next(p for p in n.providers if p.did == found.shares[0].device)
        liar.lies_below = found.layout.share_bytes
        assert await n.get(stored, 0, 10) == BODY[:10]
        assert incidents(n) == [(liar.did, "wrong_bytes")]


async def test_five_wrong_of_eight_is_a_refusal_not_a_guess(net: MakeNet) -> None:
    async with net(8) as n:
        stored = await n.put(BODY)
        for provider in n.providers[:5]:
            provider.lies = True
        with pytest.raises(NotReadable):
            await n.get(stored)


async def test_a_share_that_a_node_admits_to_have_lost_is_noted(net: MakeNet) -> None:
    async with net(8) as n:
        stored = await n.put(BODY)
        found = await n.pool.parts.segment(stored.segments[0].id)
        loser = next(p for p in n.providers if p.did == found.shares[0].device)
        loser.shares.clear()
        assert await n.get(stored) == BODY
        assert incidents(n) == [(loser.did, "missing")]
        assert ("lost", 0) in states(n)
        with n.pool.parts.database.engine.connect() as connection:
            detail = json.loads(connection.execute(select(incident.c.detail)).scalar_one())
        assert detail["segment"] == stored.segments[0].id.hex() and detail["number"] == 0
