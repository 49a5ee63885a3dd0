"""Group commit: receipts after the fsync, groups under load, no promise on a broken disk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fieldstone.clock import SetClock
from fieldstone.errors import Retryable, UsageError
from fieldstone.identity.keys import Algorithm, DeviceKey
from fieldstone.journal import EntryKind, Journal, NewEntry
from fieldstone.journal.group_commit import GroupCommit
from fieldstone.journal.receipts import SignedCommit, verify_receipt

KEY = DeviceKey.from_secret(Algorithm.ED25519, b"\x01" * 32)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[GroupCommit]:
    journal = Journal.open(tmp_path / "j.sqlite", clock=SetClock(1_000))
    opened = GroupCommit(journal, KEY, network_id="net")
    yield opened
    opened.close()
    journal.close()


def entry(body: bytes) -> NewEntry:
    return NewEntry(EntryKind.METERING, "", body)


async def test_receipts_fit_their_entries_and_groups_form(group: GroupCommit) -> None:
    bodies = [b"%d" % number for number in range(400)]
    receipts = await asyncio.gather(*[group.submit([entry(body)]) for body in bodies])
    for body, (receipt,) in zip(bodies, receipts, strict=True):
        assert verify_receipt(receipt, body, KEY.public)
        stored = group.journal.entry(receipt.position)
        assert stored is not None and stored.body == body and stored.received_ms == receipt.received_ms
    assert group.stats.entries == 400 and group.stats.commits < 100
    assert await group.submit([]) == []


async def test_one_submission_stays_together(group: GroupCommit) -> None:
    many, other = await asyncio.gather(
        group.submit([entry(b"a%d" % n) for n in range(50)]), group.submit([entry(b"b%d" % n) for n in range(50)])
    )
    for receipts in (many, other):
        positions = [receipt.position for receipt in receipts]
        assert positions == list(range(positions[0], positions[0] + 50))


async def test_an_older_receipt_can_be_made_again(group: GroupCommit) -> None:
    (receipt,) = await group.submit([entry(b"a")])
    assert group.receipt_at(receipt.position) == receipt
    assert group.receipt_at(99) is None


async def test_a_full_disk_fails_every_waiter_and_heals(group: GroupCommit) -> None:
    await group.submit([entry(b"before")])
    group.journal._connection.execute("PRAGMA max_page_count = 1")
    big = entry(bytes(200_000))
    results = await asyncio.gather(*[group.submit([big]) for _ in range(5)], return_exceptions=True)
    assert any(isinstance(result, Retryable) for result in results)
    acknowledged = {result[0].position for result in results if isinstance(result, list)}
    async with asyncio.timeout(10):
        while not group.journal.healthy:  # by itself, about a second later
            await asyncio.sleep(0.05)
    (receipt,) = await group.submit([entry(b"after")])
    stored = {found.position for found in group.journal.read()}
    assert acknowledged | {1, receipt.position} <= stored == set(range(1, receipt.position + 1))
    assert group.stats.failures >= 1


async def test_a_full_queue_refuses_at_once(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j.sqlite", clock=SetClock(1)) as journal:
        group = GroupCommit(journal, KEY, network_id="net", max_queue=10)
        with journal.exclusive():  # holds the commit thread back
            first = [asyncio.create_task(group.submit([entry(b"x")] * 5)) for _ in range(3)]
            await asyncio.sleep(0.1)
            results = await asyncio.gather(*[group.submit([entry(b"y")] * 5) for _ in range(0)], return_exceptions=True)
            with pytest.raises(Retryable, match="wait for the disk"):
                for _ in range(5):
                    group.enqueue(_Nothing(), 5)
        done = await asyncio.gather(*first, return_exceptions=True)
        assert results == [] and all(isinstance(one, list | Retryable) for one in done)
        group.close()
        with pytest.raises(Retryable, match="closing"):
            await group.submit([entry(b"z")])


async def test_closing_commits_what_waits(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j.sqlite", clock=SetClock(1)) as journal:
        group = GroupCommit(journal, KEY, network_id="net", interval_ms=50)
        tasks = [asyncio.create_task(group.submit([entry(b"%d" % n)])) for n in range(20)]
        await asyncio.sleep(0)
        await asyncio.to_thread(group.close)
        receipts = await asyncio.gather(*tasks)
        assert sorted(receipt.position for (receipt,) in receipts) == list(range(1, 21))


class _Nothing:
    def prepare(self, received_ms: int) -> Sequence[NewEntry]:
        return []

    def abandon(self) -> None:
        raise AssertionError("nothing was prepared that could be abandoned")

    def finish(self, signed: SignedCommit | None, offset: int) -> str:
        return "nothing" if signed is None else "something"


class _Refusing(_Nothing):
    def prepare(self, received_ms: int) -> Sequence[NewEntry]:
        raise UsageError("no")


async def test_one_bad_work_does_not_hurt_its_neighbours(group: GroupCommit) -> None:
    good, bad, empty = await asyncio.gather(
        group.submit([entry(b"a")]),
        group.submit_work(_Refusing()),
        group.submit_work(_Nothing()),
        return_exceptions=True,
    )
    assert isinstance(good, list) and isinstance(bad, UsageError) and empty == "nothing"
    assert group.journal.head == 1
