"""Repair under bad conditions: what nobody can save, our own line down, forged losses, clocks that were wrong, two at once."""

from __future__ import annotations

import asyncio
import os

import msgspec
import pytest
from sqlalchemy import func, select, update

from fieldstone.errors import Retryable
from fieldstone.services.storage.pool import Profile, Repair, RepairRules, Stored, Sweeper, Watch
from fieldstone.services.storage.pool.repair import cost_so_far
from fieldstone.services.storage.pool.segments import mark
from fieldstone.services.storage.pool.tables import node, segment, share, state
from fieldstone.state.engine import writing
from tests.services.storage.pool.conftest import SMALL, MakeNet, Net

BODY = os.urandom(60_000)
HOUR_MS = 3_600_000
RULES = RepairRules(grace_ms=HOUR_MS, lost_ms=24 * HOUR_MS, danger=1e-3, bytes_per_s=1e12)


async def live(n: Net, profile: Profile = SMALL) -> Stored:
    stored = await n.put(BODY, profile)
    n.adopt(stored)
    return stored


def lose(n: Net, stored: Stored, count: int) -> list[str]:
    """Mark shares as lost; return who held them."""
    here = (share.c.segment_id == stored.segments[0].id) & (share.c.state == "held")
    with writing(n.pool.parts.database.engine) as connection:
        rows = connection.execute(select(share.c.id, share.c.device).where(here).order_by(share.c.number)).all()[:count]
        for row in rows:
            assert mark(connection, row.id, "lost", n.clock.now_ms())
    n.pool.parts.forget(stored.segments[0].id)
    return [row.device for row in rows]


def held(n: Net, stored: Stored) -> list[int]:
    here = (share.c.segment_id == stored.segments[0].id) & (share.c.state == "held")
    with n.pool.parts.database.engine.connect() as connection:
        return sorted(connection.execute(select(share.c.number).where(here)).scalars())


def cost(n: Net) -> tuple[int, int, int]:
    with n.pool.parts.database.engine.connect() as connection:
        return cost_so_far(connection)


def egress(n: Net) -> int:
    return sum(p.egress_bytes for p in n.providers)


# ---- the queue ----


async def test_what_nobody_can_save_does_not_keep_the_repairer_from_the_others(net: MakeNet) -> None:
    """It is the most endangered: a hundred such segments came first in every pass, and nothing else was repaired."""
    async with net(12) as n:
        gone, hurt = [await live(n) for _ in range(3)], await live(n)
        for one in gone:
            lose(n, one, 5)
        lose(n, hurt, 3)
        mending, before = Repair(n.pool.parts, RULES), egress(n)
        [done] = await mending.once(await Watch(n.pool.parts).once(), most=1)
        assert (done.segment, done.problem, done.healthy_after) == (hurt.segments[0].id, "", 8)
        [hopeless] = await mending.once(await Watch(n.pool.parts).once(), most=1)
        assert "3 of the 4 shares" in hopeless.problem
        assert egress(n) - before == done.read_bytes  # nothing is read, and paid for, of what cannot be saved


async def test_what_could_not_be_repaired_lets_the_others_pass(net: MakeNet, monkeypatch: pytest.MonkeyPatch) -> None:
    async with net(12) as n:
        worse, hurt = await live(n), await live(n)
        lose(n, worse, 4)
        lose(n, hurt, 3)
        upload = Repair._upload

        async def failing(self: Repair, found, made, placement):  # type: ignore[no-untyped-def]
            if found.id == worse.segments[0].id:
                raise Retryable("nobody takes it")
            return await upload(self, found, made, placement)

        monkeypatch.setattr(Repair, "_upload", failing)
        mending, absences = Repair(n.pool.parts, RULES), await Watch(n.pool.parts).once()
        done = [(await mending.once(absences, most=1))[0] for _ in range(3)]
        order = [worse.segments[0].id, hurt.segments[0].id, worse.segments[0].id]
        assert [one.segment for one in done] == order
        assert [bool(one.problem) for one in done] == [True, False, True]


# ---- what it costs ----


async def test_nothing_is_read_where_there_is_no_place_for_the_result(net: MakeNet) -> None:
    """In a network of as many nodes as shares, every pass read the whole segment, and paid for it, for nothing."""
    async with net(8) as n:
        lost = lose(n, await live(n), 3)
        n.pool.directory.renew([one for one in n.pool.directory if one.did not in lost])
        before = egress(n)
        [done] = await Repair(n.pool.parts, RULES).once(await Watch(n.pool.parts).once())
        assert "no storage node can take a share now" in done.problem
        assert (egress(n), cost(n)) == (before, (0, 0, 0))


async def test_a_repair_that_fails_after_it_has_read_is_written_down(net: MakeNet) -> None:
    async with net(12) as n:
        stored = await live(n)
        lose(n, stored, 3)
        absences = await Watch(n.pool.parts).once()
        for provider in n.providers:
            provider.full = True
        before = egress(n)
        [done] = await Repair(n.pool.parts, RULES).once(absences)
        assert "DISK_FULL" in done.problem and done.read_bytes == egress(n) - before > 0
        assert cost(n) == (done.read_bytes, 0, done.cost_micro_usd) and done.cost_micro_usd > 0


# ---- our own line ----


async def test_when_everybody_is_away_it_is_we_who_are(net: MakeNet) -> None:
    """Three days without a line, and a gateway released every lease and forgot where every share was."""
    async with net(8) as n:
        stored = await live(n)
        watch, mending = Watch(n.pool.parts), Repair(n.pool.parts, RULES)
        for provider in n.providers:
            provider.down = True
        await watch.once()
        n.later(72 * HOUR_MS)
        absences = await watch.once()
        assert await mending.declare_lost(absences) == []
        await mending.once(absences)
        for provider in n.providers:
            provider.down = False
        assert held(n, stored) == list(range(8)) and await n.get(stored) == BODY


async def test_of_no_segment_more_is_given_up_than_can_be_missed(net: MakeNet) -> None:
    async with net(12) as n:
        stored = await live(n)
        watch, mending = Watch(n.pool.parts), Repair(n.pool.parts, RULES)
        away = n.holders()[:5]
        for provider in away:
            provider.down = True
        await watch.once()
        n.later(72 * HOUR_MS)
        assert len(await mending.declare_lost(await watch.once())) == 5
        assert len(held(n, stored)) == SMALL.least
        for provider in away:
            provider.down = False
        assert await n.get(stored) == BODY


async def test_a_profile_with_one_share_to_spare_heeds_an_audit(net: MakeNet) -> None:
    async with net(5) as n:
        stored = await live(n, Profile("2/3", 2, 3))
        found = await n.pool.parts.segment(stored.segments[0].id)
        named = {one.device: (one.id,) for one in found.shares.values()}
        n.pool.directory.renew([msgspec.structs.replace(d, failed=named.get(d.did, ())) for d in n.pool.directory])
        assert await Repair(n.pool.parts, RULES).heed_audits() == 1
        assert len(held(n, stored)) == 2 and await n.get(stored) == BODY


async def test_losses_that_anybody_on_the_line_could_claim_make_no_object_unreadable(net: MakeNet) -> None:
    """Nobody signs a 404: one proxy that answers so to every read lost every object that was read meanwhile."""
    async with net(8) as n:
        stored = await live(n)
        kept = {p.did: dict(p.shares) for p in n.providers}
        for provider in n.providers:
            provider.shares.clear()
        for _ in range(3):
            with pytest.raises(Retryable):
                await n.get(stored)
        assert len(held(n, stored)) == SMALL.k
        for provider in n.providers:
            provider.shares.update(kept[provider.did])
        assert await n.get(stored) == BODY


# ---- clocks ----


async def test_a_clock_that_was_ahead_keeps_nobody_from_repairing(net: MakeNet) -> None:
    async with net(12) as n:
        stored = await live(n)
        other = n.again()
        await Repair(other.parts, RULES).once({})  # takes its turn, and is gone
        await other.close()
        for provider in n.holders()[:3]:
            provider.down = True
        watch = Watch(n.pool.parts)
        await watch.once()
        ahead = 10_000 * HOUR_MS
        with writing(n.pool.parts.database.engine) as connection:  # as it would be, had the clock been ahead
            connection.execute(update(node).values(offline_since_ms=node.c.offline_since_ms + ahead))
            connection.execute(update(state).where(state.c.name != "schema").values(value=state.c.value + ahead))
        await watch.once()
        n.later(2 * HOUR_MS)
        [done] = await Repair(n.pool.parts, RULES).once(await watch.once())
        assert (done.segment, done.problem) == (stored.segments[0].id, "")


async def test_counts_of_a_watch_that_was_not_written_are_added_later(
    net: MakeNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with net(2) as n:
        watch, write = Watch(n.pool.parts), n.pool.parts.database.write

        async def failing(call):  # type: ignore[no-untyped-def]
            def undone(connection):  # type: ignore[no-untyped-def]
                call(connection)
                raise Retryable("the disk is full")

            return await write(undone)

        monkeypatch.setattr(n.pool.parts.database, "write", failing)
        with pytest.raises(Retryable):
            await watch.once()
        monkeypatch.undo()
        await watch.once()
        with n.pool.parts.database.engine.connect() as connection:
            assert connection.execute(select(node.c.answers)).scalars().all() == [2, 2]


# ---- two at once ----


async def test_what_two_made_anew_at_once_is_kept_and_paid_once(net: MakeNet, monkeypatch: pytest.MonkeyPatch) -> None:
    async with net(16) as n:
        stored = await live(n)
        lose(n, stored, 3)
        absences = await Watch(n.pool.parts).once()
        other = n.again()
        first, second = Repair(n.pool.parts, RULES), Repair(other.parts, RULES)
        [patient] = await first.scan(absences)
        both = await asyncio.gather(first.repair(patient, absences), second.repair(patient, absences))
        await other.close()
        assert [one is not None and one.problem for one in both] == ["", ""]
        assert held(n, stored) == list(range(8))
        n.pool.parts.forget(patient.segment)
        assert await first.repair(patient, absences) is None  # nothing is missing any more
        assert await n.get(stored) == BODY


async def test_an_object_deleted_during_its_repair_leaves_nothing(
    net: MakeNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with net(12) as n:
        stored = await live(n)
        lose(n, stored, 3)
        mending, absences = Repair(n.pool.parts, RULES), await Watch(n.pool.parts).once()
        made = Repair._made

        async def late(self: Repair, *arguments):  # type: ignore[no-untyped-def]
            found = await made(self, *arguments)
            n.drop(stored)
            n.later(HOUR_MS)
            await Sweeper(n.pool.parts).once()
            return found

        monkeypatch.setattr(Repair, "_made", late)
        [done] = await mending.once(absences)
        assert "deleted while it was repaired" in done.problem
        await Sweeper(n.pool.parts).once()
        with n.pool.parts.database.engine.connect() as connection:
            assert connection.execute(select(func.count()).select_from(segment)).scalar_one() == 0
        assert not any(p.shares for p in n.providers)


async def test_a_turn_that_was_lost_ends_the_pass(net: MakeNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fieldstone.services.storage.pool.repair._RENEW_S", -1.0)
    async with net(12) as n:
        for _ in range(2):
            lose(n, await live(n), 3)
        mending, absences = Repair(n.pool.parts, RULES), await Watch(n.pool.parts).once()
        repair = mending.repair

        async def slow(*arguments):  # type: ignore[no-untyped-def]
            done = await repair(*arguments)
            with writing(n.pool.parts.database.engine) as connection:
                taken = update(state).where(state.c.name.like("repair until, %"))
                connection.execute(taken.values(name="repair until, another"))
            return done

        monkeypatch.setattr(mending, "repair", slow)
        assert len(await mending.once(absences)) == 1
