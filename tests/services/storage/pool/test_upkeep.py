"""What goes on behind the requests: use counts, sweeping, leases, watching, repair. The clock is moved by hand."""

from __future__ import annotations

import os

import msgspec
import pytest
from sqlalchemy import func, select

from fieldstone.errors import Retryable
from fieldstone.services.storage import records
from fieldstone.services.storage.pool import (
    LeaseReporter,
    Node,
    Repair,
    RepairRules,
    SegmentRef,
    Stored,
    Sweeper,
    Watch,
)
from fieldstone.services.storage.pool.repair import cost_so_far
from fieldstone.services.storage.pool.segments import SegmentGone
from fieldstone.services.storage.pool.tables import incident, repair, segment, share
from fieldstone.state.engine import writing
from tests.services.storage.pool.conftest import SMALL, MakeNet, Net, everything

BODY = os.urandom(300_000)
HOUR_MS = 3_600_000


def rows(n: Net) -> tuple[int, int]:
    with n.pool.parts.database.engine.connect() as connection:
        count = [connection.execute(select(func.count()).select_from(t)).scalar_one() for t in (segment, share)]
    return count[0], count[1]


def kept(n: Net) -> int:
    return sum(len(p.shares) for p in n.providers)


# ---- use counts ----


async def test_copies_share_segments_and_the_last_drop_frees_them(net: MakeNet) -> None:
    async with net() as n:
        stored = await n.put(BODY)
        n.adopt(stored)
        n.adopt(Stored(stored.size_bytes * 2, stored.segments * 2))  # a copy of a copy, in one object
        n.drop(stored)
        n.drop(stored)
        sweeper = Sweeper(n.pool.parts, dropped_ms=0)
        await sweeper.once()
        assert await n.get(stored) == BODY
        n.drop(stored)
        n.later(1)
        await sweeper.once()
        assert kept(n) == 0 and rows(n) == (0, 0)
        with pytest.raises(SegmentGone):
            n.drop(stored)


async def test_adopting_is_undone_with_the_callers_transaction(net: MakeNet) -> None:
    async with net() as n:
        stored = await n.put(BODY)
        with pytest.raises(RuntimeError), writing(n.pool.parts.database.engine) as connection:
            n.pool.adopt(connection, stored)
            raise RuntimeError("the catalogue could not write its row")
        with n.pool.parts.database.engine.connect() as connection:
            assert connection.execute(select(segment.c.state, segment.c.uses)).one() == ("pending", 0)


@pytest.mark.parametrize("kind", ["unknown", "dropped", "swept", "incomplete"])
async def test_what_may_not_be_adopted(net: MakeNet, kind: str) -> None:
    async with net() as n:
        stored = await n.put(BODY)
        if kind == "unknown":
            stored = Stored(1, (SegmentRef(os.urandom(16), 1),))
        elif kind == "dropped":
            n.adopt(stored)
            n.drop(stored)
        elif kind == "swept":
            n.later(25 * HOUR_MS)
            await Sweeper(n.pool.parts).once()
        else:
            with writing(n.pool.parts.database.engine) as connection:
                connection.execute(segment.update().values(complete=False))
        with pytest.raises(Retryable, match="write the object again"):
            n.adopt(stored)


# ---- sweeping ----


async def test_pending_segments_of_an_earlier_start_go_at_once_and_live_ones_stay(net: MakeNet) -> None:
    async with net() as n:
        live, orphan = await n.put(BODY), await n.put(BODY)
        n.adopt(live)
        again = n.again()
        assert (await Sweeper(again.parts).once()).abandoned == 0  # another process may be writing it
        assert kept(n) == 16
        assert (await Sweeper(again.parts, is_alone=True).once()).abandoned == 1
        assert kept(n) == 8
        assert await everything(again, live) == BODY
        with pytest.raises(SegmentGone):
            await everything(again, orphan)
        await again.close()


async def test_pending_segments_of_an_upload_under_way_have_a_day(net: MakeNet) -> None:
    """A client with a slow line takes hours over an object; another gateway's sweeper must not take its beginning."""
    async with net() as n:
        stored, forgotten = await n.put(BODY), await n.put(BODY)
        other = n.again()
        sweeper = Sweeper(n.pool.parts, is_alone=True)
        n.later(20 * HOUR_MS)
        for each in (sweeper, Sweeper(other.parts)):
            assert (await each.once()).abandoned == 0
        await other.close()
        n.adopt(stored)
        n.later(5 * HOUR_MS)
        assert (await sweeper.once()).abandoned == 1
        assert await n.get(stored) == BODY
        with pytest.raises(SegmentGone):
            n.adopt(forgotten)


async def test_shares_on_nodes_that_are_away_are_deleted_when_they_are_back(net: MakeNet) -> None:
    async with net(8) as n:
        stored = await n.put(BODY)
        n.adopt(stored)
        n.drop(stored)
        n.later(HOUR_MS)
        n.providers[3].down = True
        sweeper = Sweeper(n.pool.parts)
        swept = await sweeper.once()
        assert (swept.deleted, swept.waiting, rows(n)) == (7, 1, (1, 1))
        n.providers[3].down = False
        assert (await sweeper.once()).deleted == 1
        assert rows(n) == (0, 0)


# ---- leases ----


def reported(sent: list[tuple[str, bytes]]) -> tuple[list[records.LeasedShare], list[tuple[str, bytes]]]:
    leases = [line for kind, body in sent if kind == "lease" for line in records.decode(body, records.Lease).shares]
    releases = [
        line for kind, body in sent if kind == "release" for line in records.decode(body, records.Release).shares
    ]
    return leases, releases


async def test_live_shares_are_leased_once_and_released_once(net: MakeNet) -> None:
    async with net(8) as n:
        stored, _pending = await n.put(BODY), await n.put(BODY)
        n.adopt(stored)
        sent: list[tuple[str, bytes]] = []
        reporter = LeaseReporter(n.pool.parts, lambda kind, body: sent.append((kind, body)), most_shares=5)
        assert (await reporter.once()).leased == 8
        assert (await reporter.once()).leased == 0
        leases, _ = reported(sent)
        assert len(sent) == 2
        assert {(line.segment, line.index) for line in leases} == {(stored.segments[0].id, i) for i in range(8)}
        by_did = {p.did: p for p in n.providers}
        for line in leases:
            claimed = records.decode(records.cose.parse(line.receipt).payload, records.ShareReceipt)
            receipt = records.open_signed(line.receipt, records.ShareReceipt, claimed.provider, records.RECEIPT)
            assert receipt.share in by_did[receipt.provider].shares
        n.drop(stored)
        assert (await reporter.once()).released == 8
        n.later(HOUR_MS)
        await Sweeper(n.pool.parts).once()
        assert (await reporter.once()).released == 0
        assert sorted(reported(sent)[1]) == sorted((p.did, share) for p in n.providers for share in _was(leases, p.did))


def _was(leases: list[records.LeasedShare], did: str) -> list[bytes]:
    found = [records.decode(records.cose.parse(line.receipt).payload, records.ShareReceipt) for line in leases]
    return [receipt.share for receipt in found if receipt.provider == did]


async def test_a_report_that_could_not_be_handed_over_is_due_again(net: MakeNet) -> None:
    async with net(8) as n:
        n.adopt(await n.put(BODY))

        def fails(kind: str, body: bytes) -> None:
            raise Retryable("the buffer's disk is full")

        with pytest.raises(Retryable):
            await LeaseReporter(n.pool.parts, fails).once()
        assert (await LeaseReporter(n.again().parts, lambda kind, body: None).once()).leased == 8


async def test_shares_and_rows_wait_for_their_release(net: MakeNet) -> None:
    async with net(8) as n:
        stored = await n.put(BODY)
        n.adopt(stored)
        reporter = LeaseReporter(n.pool.parts, lambda kind, body: None)
        await reporter.once()
        n.drop(stored)
        n.later(HOUR_MS)
        sweeper = Sweeper(n.pool.parts)
        await sweeper.once()
        assert (kept(n), rows(n)) == (8, (1, 8))  # the network still asks for them
        await reporter.once()
        await sweeper.once()
        assert (kept(n), rows(n)) == (0, (0, 0))


# ---- watching and repair ----

RULES = RepairRules(grace_ms=HOUR_MS, lost_ms=24 * HOUR_MS, danger=1e-3, bytes_per_s=1e12)


async def test_an_outage_within_the_grace_is_not_a_loss(net: MakeNet) -> None:
    async with net(12) as n:
        n.adopt(await n.put(BODY))
        watch, mending = Watch(n.pool.parts), Repair(n.pool.parts, RULES)
        for provider in n.holders()[:3]:
            provider.down = True
        await watch.once()
        n.later(HOUR_MS - 1)
        assert await mending.once(await watch.once()) == []
        for provider in n.providers:
            provider.down = False
        n.later(HOUR_MS)
        assert await mending.once(await watch.once()) == []


async def test_shares_of_nodes_away_beyond_the_grace_are_made_anew_elsewhere(net: MakeNet) -> None:
    async with net(12) as n:
        stored = await n.put(BODY)
        n.adopt(stored)
        sent: list[tuple[str, bytes]] = []
        reporter = LeaseReporter(n.pool.parts, lambda kind, body: sent.append((kind, body)))
        await reporter.once()
        watch, mending = Watch(n.pool.parts), Repair(n.pool.parts, RULES)
        away = n.holders()[:4]
        for provider in away:
            provider.down = True
        await watch.once()
        n.later(HOUR_MS)
        await watch.once()
        [done] = await mending.once(await watch.once())
        assert (done.problem, done.healthy_before, done.healthy_after) == ("", 4, 8)
        share_bytes = (
            next(iter(len(s) for s in n.providers[5].shares.values() or [b""] if s), 0) or done.written_bytes // 4
        )
        assert (done.read_bytes, done.written_bytes) == (4 * share_bytes, 4 * share_bytes)
        assert done.cost_micro_usd == -(-done.read_bytes * RULES.price_micro_usd_per_gib // 2**30)
        with n.pool.parts.database.engine.connect() as connection:
            assert cost_so_far(connection) == (done.read_bytes, done.written_bytes, done.cost_micro_usd)
        assert await mending.once(await watch.once()) == []
        found = await n.pool.parts.segment(stored.segments[0].id)
        assert len({s.device for s in found.shares.values()}) == 8
        assert not {s.device for s in found.shares.values()} & {p.did for p in away}
        assert await n.get(stored) == BODY
        await reporter.once()
        leases, releases = reported(sent)
        assert len(leases) == 12 and {device for device, _ in releases} == {p.did for p in away}
        for provider in away:  # back again: what they hold is deleted, nobody holds two
            provider.down = False
        await Sweeper(n.pool.parts).once()
        assert kept(n) == 8


async def test_shares_with_trees_of_another_leaf_size_are_not_taken_for_rotten(net: MakeNet) -> None:
    """The leaf size is the provider's choice; taken for the gateway's own, every share looked corrupted."""
    async with net(12) as n:
        for number, provider in enumerate(n.providers):
            provider.leaf_bytes = (1_024, 4_096, 16_384)[number % 3]
        stored = await n.put(BODY)
        n.adopt(stored)
        watch, mending = Watch(n.pool.parts), Repair(n.pool.parts, RULES)
        for provider in n.holders()[:4]:
            provider.down = True
        await watch.once()
        n.later(HOUR_MS)
        [done] = await mending.once(await watch.once())
        assert (done.problem, done.healthy_before, done.healthy_after) == ("", 4, 8)
        assert await n.get(stored) == BODY


async def test_a_node_away_for_long_is_declared_lost(net: MakeNet) -> None:
    async with net(12) as n:
        n.adopt(await n.put(BODY))
        watch, mending = Watch(n.pool.parts), Repair(n.pool.parts, RULES)
        lost = n.holders()[0]
        lost.down = True
        await watch.once()
        n.later(24 * HOUR_MS)
        assert await mending.declare_lost(await watch.once()) == [lost.did]
        with n.pool.parts.database.engine.connect() as connection:
            assert connection.execute(select(share.c.device).where(share.c.state == "lost")).scalars().all() == [
                lost.did
            ]


async def test_the_most_endangered_segment_comes_first(net: MakeNet) -> None:
    async with net(16) as n:
        stored = [await n.put(os.urandom(50_000 + i)) for i in range(6)]
        for one in stored:
            n.adopt(one)
        mending = Repair(n.pool.parts, RULES)
        failed = {}
        for place, one in enumerate(stored[1:5]):
            found = await n.pool.parts.segment(one.segments[0].id)
            failed[one.segments[0].id] = (2, 4, 1, 3)[place]
            await mending.fail_audit([found.shares[i].id for i in range((2, 4, 1, 3)[place])], "epoch 7")
        patients = await mending.scan(await Watch(n.pool.parts).once())
        assert [failed[patient.segment] for patient in patients] == [4, 3, 2]  # one lost of eight can wait
        assert patients[0].loss > patients[1].loss > patients[2].loss
        with n.pool.parts.database.engine.connect() as connection:
            assert set(connection.execute(select(incident.c.kind)).scalars()) == {"failed_audit"}


async def test_repair_never_spreads_a_corrupted_share(net: MakeNet) -> None:
    async with net(14) as n:
        stored = await n.put(BODY)
        n.adopt(stored)
        found = await n.pool.parts.segment(stored.segments[0].id)
        by_did = {p.did: p for p in n.providers}
        mending = Repair(n.pool.parts, RULES)
        await mending.fail_audit([found.shares[i].id for i in range(3)], "")
        rotten = by_did[found.shares[3].device]  # a data share: read first
        next(iter(rotten.shares.values()))[5] ^= 1
        [done] = await mending.once(await Watch(n.pool.parts).once())
        assert done.problem == ""
        n.pool.parts.forget(found.id)
        now = await n.pool.parts.segment(found.id)
        assert rotten.did not in {s.device for s in now.shares.values()}
        assert sorted(now.shares) == [0, 1, 2, 4, 5, 6, 7]
        assert await n.get(stored) == BODY


async def test_too_few_nodes_for_repair_is_reported(net: MakeNet) -> None:
    async with net(8) as n:
        n.adopt(await n.put(BODY))
        found = n.holders()
        watch = Watch(n.pool.parts)
        for provider in found[:3]:
            provider.down = True
        await watch.once()
        n.later(2 * HOUR_MS)
        [done] = await Repair(n.pool.parts, RULES).once(await watch.once())
        assert "no storage node can take a share now" in done.problem
        with n.pool.parts.database.engine.connect() as connection:
            assert connection.execute(select(repair)).all() == []


async def test_one_process_repairs_at_a_time(net: MakeNet) -> None:
    async with net(12) as n:
        stored = await n.put(BODY)
        n.adopt(stored)
        found = await n.pool.parts.segment(stored.segments[0].id)
        first, second = Repair(n.pool.parts, RULES), Repair(n.again().parts, RULES)
        absences = await Watch(n.pool.parts).once()
        assert await first.once(absences) == []
        await first.fail_audit([found.shares[i].id for i in range(4)], "")
        assert await second.once(absences) == []  # the first has its turn
        n.later(11 * 60_000)
        assert len(await second.once(absences)) == 1


async def test_names_are_resolved_and_free_space_is_noted(net: MakeNet) -> None:
    async with net(2) as n:
        first, second = n.pool.directory
        port = first.url.rpartition(":")[2]
        named = Node(did=first.did, url=f"http://localhost:{port}")
        n.pool.directory.replace([named, second])
        assert next(iter(n.pool.directory)).prefix == "localhost"
        n.providers[1].free_bytes = 5
        await Watch(n.pool.parts).once()
        looked = {one.did: one for one in n.pool.directory}
        assert looked[first.did].prefix in ("127.0.0.0/24", "::/64")
        assert (looked[first.did].free_bytes, looked[second.did].free_bytes) == (10**12, 5)


async def test_a_gateway_finds_shares_that_another_one_has_moved(net: MakeNet) -> None:
    async with net(12) as n:
        stored = await n.put(BODY)
        n.adopt(stored)
        other = n.again()
        assert await everything(other, stored) == BODY  # it knows now where the shares are
        moved = n.holders()[:5]
        found = await n.pool.parts.segment(stored.segments[0].id)
        failed = [s.id for s in found.shares.values() if s.device in {p.did for p in moved[:4]}]
        mending = Repair(n.pool.parts, RULES)
        await mending.fail_audit(failed, "")
        assert len(await mending.once(await Watch(n.pool.parts).once())) == 1
        for provider in moved:
            provider.down = True
        assert await everything(other, stored) == BODY
        await other.close()


@pytest.mark.parametrize("spare", [4, 3])
async def test_who_lost_a_share_gets_it_back_only_where_there_is_nobody_else(net: MakeNet, spare: int) -> None:
    async with net(12) as n:
        stored = await n.put(BODY)
        n.adopt(stored)
        before = (await n.pool.parts.segment(stored.segments[0].id)).shares
        holders = {share.device for share in before.values()}
        others = [one for one in n.pool.directory if one.did not in holders]
        n.pool.directory.renew([one for one in n.pool.directory if one not in others[spare:]])
        failed = [before[number] for number in range(4)]
        mending = Repair(n.pool.parts, RULES)
        await mending.fail_audit([share.id for share in failed], "")
        (mended,) = await mending.once(await Watch(n.pool.parts).once())
        assert mended.healthy_after == 8
        after = (await n.pool.parts.segment(stored.segments[0].id)).shares
        again = {after[share.number].device for share in failed} & holders
        assert bool(again) == (spare < 4)


# ---- what the network's verdicts say ----


def said(n: Net, index: int, **facts: object) -> None:
    """Let the network's listing say something of a provider."""
    did = n.holders()[index].did
    n.pool.directory.renew(
        [msgspec.structs.replace(one, **facts) if one.did == did else one for one in n.pool.directory]
    )


async def test_a_share_that_failed_an_audit_is_made_anew_elsewhere(net: MakeNet) -> None:
    async with net(16) as n:
        stored = await n.put(BODY)
        n.adopt(stored)
        found = await n.pool.parts.segment(stored.segments[0].id)
        holder = {s.device: s for s in found.shares.values()}
        mending = Repair(n.pool.parts, RULES)
        for index in range(2):
            did = n.holders()[index].did
            said(n, index, failed=(holder[did].id, os.urandom(16)))
        foreign = holder[n.holders()[0].did].id
        said(n, 2, failed=(foreign,))  # another device's share: the list is about its own
        assert await mending.heed_audits() == 2
        assert await mending.heed_audits() == 0
        assert await n.get(stored) == BODY


async def test_no_list_of_failures_makes_an_object_unreadable(net: MakeNet) -> None:
    async with net(8) as n:
        stored = await n.put(BODY)
        n.adopt(stored)
        found = await n.pool.parts.segment(stored.segments[0].id)
        everything_failed = {s.device: (s.id,) for s in found.shares.values()}
        n.pool.directory.renew(
            [msgspec.structs.replace(one, failed=everything_failed[one.did]) for one in n.pool.directory]
        )
        assert await Repair(n.pool.parts, RULES).heed_audits() == 8 - SMALL.least
        assert await n.get(stored) == BODY


async def test_who_answers_us_but_not_the_network_is_away(net: MakeNet) -> None:
    async with net(12) as n:
        n.adopt(await n.put(BODY))
        heard_ms = n.clock.now_ms() - 25 * HOUR_MS
        said(n, 0, is_silent=True, heard_ms=heard_ms)
        did = n.holders()[0].did
        absences = await Watch(n.pool.parts).once()
        assert absences[did].offline_since_ms == heard_ms
        assert await Repair(n.pool.parts, RULES).declare_lost(absences) == [did]


async def test_disqualified_nodes_are_emptied_and_get_nothing_new(net: MakeNet) -> None:
    async with net(12) as n:
        stored = await n.put(BODY)
        n.adopt(stored)
        out = [p.did for p in n.holders()[:4]]
        for index in range(4):
            said(n, index, is_out=True, score=0.0)
        mending, watch = Repair(n.pool.parts, RULES), Watch(n.pool.parts)
        [done] = await mending.once(await watch.once())
        assert (done.problem, done.healthy_before, done.healthy_after) == ("", 4, 8)
        n.pool.parts.forget(stored.segments[0].id)
        now = await n.pool.parts.segment(stored.segments[0].id)
        assert len(now.shares) == 8 and not {s.device for s in now.shares.values()} & set(out)
        assert await n.get(stored) == BODY


async def test_placement_weighs_nodes_by_the_networks_score(net: MakeNet) -> None:
    async with net(12) as n:
        low = {p.did for p in n.providers[:4]}
        n.pool.directory.renew(
            [msgspec.structs.replace(one, score=0.0 if one.did in low else 1.0) for one in n.pool.directory]
        )
        await n.put(BODY)
        assert not low & {p.did for p in n.holders()}


async def test_a_new_listing_keeps_what_was_learned_about_nodes(net: MakeNet) -> None:
    async with net(2) as n:
        await Watch(n.pool.parts).once()
        fresh = [msgspec.structs.replace(one, free_bytes=-1) for one in n.pool.directory]
        moved = msgspec.structs.replace(fresh[1], url="http://127.0.0.1:9")
        n.pool.directory.renew([fresh[0], moved])
        assert [one.free_bytes for one in n.pool.directory] == [10**12, -1]


# ---- leaving ----


async def test_who_leaves_gives_its_shares_itself_and_one_read_does(net: MakeNet) -> None:
    async with net(12) as n:
        stored = await n.put(BODY)
        n.adopt(stored)
        sent: list[tuple[str, bytes]] = []
        reporter = LeaseReporter(n.pool.parts, lambda kind, body: sent.append((kind, body)))
        await reporter.once()
        leaver = n.holders()[0]
        before = {p.did: p.egress_bytes for p in n.providers}
        said(n, 0, is_leaving=True, score=0.0)
        mending, watch = Repair(n.pool.parts, RULES), Watch(n.pool.parts)
        [done] = await mending.once(await watch.once())
        assert (done.problem, done.healthy_before, done.healthy_after) == ("", 7, 8)
        read = {p.did: p.egress_bytes - before[p.did] for p in n.providers}
        assert read.pop(leaver.did) == done.read_bytes == done.written_bytes and not any(read.values())
        assert await mending.once(await watch.once()) == []
        await reporter.once()
        assert [device for device, _ in reported(sent)[1]] == [leaver.did]  # paid until the share is elsewhere
        await Sweeper(n.pool.parts).once()
        assert not leaver.shares and kept(n) == 8
        assert await n.get(stored) == BODY


@pytest.mark.parametrize("switch", ["lies", "down"])
async def test_who_leaves_and_gives_nothing_right_is_repaired_from_the_others(net: MakeNet, switch: str) -> None:
    async with net(12) as n:
        stored = await n.put(BODY)
        n.adopt(stored)
        leaver = n.holders()[0]
        said(n, 0, is_leaving=True, score=0.0)
        absences = await Watch(n.pool.parts).once()
        setattr(leaver, switch, True)
        [done] = await Repair(n.pool.parts, RULES).once(absences)
        assert (done.problem, done.healthy_after) == ("", 8)
        n.pool.parts.forget(stored.segments[0].id)
        now = await n.pool.parts.segment(stored.segments[0].id)
        assert leaver.did not in {s.device for s in now.shares.values()} and len(now.shares) == 8
        assert await n.get(stored) == BODY
