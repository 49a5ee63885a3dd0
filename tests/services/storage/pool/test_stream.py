"""A long read goes round a small ring of memory, and who fails, lies or dawdles midway is replaced midway."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

import pytest

from fieldstone.services.storage.codes import erasure
from fieldstone.services.storage.codes.stripes import Layout
from fieldstone.services.storage.pool.profile import Profile
from fieldstone.services.storage.pool.segments import Share
from fieldstone.services.storage.pool.stream import Feed, Rooms, Stream, differing
from tests.services.storage.pool.conftest import RING_BYTES, SMALL, MakeNet
from tests.services.storage.pool.test_faults import incidents

BODY = os.urandom(950_000)
BLOCK = 1_024
STRIPE = 4 * BLOCK  # a page


class Providers:
    """Shares of one segment, handed to feeds as the test says."""

    def __init__(self, size_bytes: int, k: int = 4, n: int = 8) -> None:
        self.layout = Layout(size_bytes, k, n, BLOCK)
        self.data = os.urandom(size_bytes)
        self.bodies = self.layout.encode_segment(self.data)
        self.shares = [Share(bytes([i]) * 16, i, f"node {i}", self.layout.share_bytes) for i in range(n)]
        self.asked: list[int] = []
        self.asked_s: list[float] = []
        self.silent: set[int] = set()  # never send anything
        self.fails_at: dict[int, int] = {}  # number → stripe
        self.late: list[int] = []
        self.patience_s, self.pause_s = 1.0, 0.0

    def stream(self, rows: int, first: int = 0, shares: Sequence[Share] | None = None) -> Stream:
        rooms = Rooms(largest_bytes=rows * self.layout.stripe_bytes, smallest_bytes=1)
        last, shares = self.layout.stripes, self.shares if shares is None else shares
        return Stream(
            self.layout,
            first,
            last,
            shares,
            rooms,
            self.fetch,
            lambda _: self.patience_s,
            lambda s: self.late.append(s.number),
        )

    async def fetch(self, feeds: Sequence[Feed]) -> dict[Feed, asyncio.Task[None]]:
        return {feed: asyncio.create_task(self.send(feed)) for feed in feeds}

    async def send(self, feed: Feed) -> None:
        self.asked.append(feed.number)
        self.asked_s.append(asyncio.get_running_loop().time())
        start, end = feed.range()
        while feed.number in self.silent:
            await asyncio.sleep(10)
        while start < end:
            room = feed.buffer()
            if not room:
                free = asyncio.Event()
                assert feed.wait(free.set)
                await free.wait()
                continue
            if feed.stripe >= self.fails_at.get(feed.number, 10**9):
                return
            count = min(len(room), end - start, 640)
            room[:count] = self.bodies[feed.number][start : start + count]
            start += count
            feed.advance(count)
            await asyncio.sleep(self.pause_s)

    async def read(self, stream: Stream, first: int = 0) -> bytes:
        found = b""
        for stripe in range(first, self.layout.stripes):
            low = stripe * self.layout.stripe_bytes
            assert await stream.ready(stripe)
            found += stream.sealed(low, min(low + self.layout.stripe_bytes, self.layout.size_bytes))
            stream.release(stripe + 1)
        await stream.close()
        stream.give_back()
        return found


@pytest.mark.parametrize("size_bytes", [1, STRIPE - 1, STRIPE, STRIPE + 1, 80_000, STRIPE * 9])
@pytest.mark.parametrize("rows", [1, 3, 50])
async def test_the_segment_comes_out_whatever_the_ring(size_bytes: int, rows: int) -> None:
    providers = Providers(size_bytes)
    assert await providers.read(providers.stream(rows)) == providers.data
    assert sorted(providers.asked) == [0, 1, 2, 3]


async def test_nobody_runs_further_ahead_than_the_ring() -> None:
    providers = Providers(STRIPE * 20)
    stream = providers.stream(3)
    assert await stream.ready(0)
    async with asyncio.timeout(60):
        while not all(feed.is_full for feed in stream.feeds):
            await asyncio.sleep(0)
    assert {feed.stripe for feed in stream.feeds} == {3} and all(feed.is_full for feed in stream.feeds)
    assert all(feed.waited_s == 0 for feed in stream.feeds)
    assert await providers.read(stream) == providers.data
    assert all(feed.waited_s > 0 for feed in stream.feeds)  # and the node's speed is not judged by it


async def test_a_range_is_read_at_the_ring_s_seam() -> None:
    providers = Providers(STRIPE * 8)
    stream = providers.stream(3, first=2)
    assert await stream.ready(4)
    stream.release(4)
    assert await stream.ready(6)
    assert stream.sealed(STRIPE * 4 + 200, STRIPE * 5 + 100) == providers.data[STRIPE * 4 + 200 : STRIPE * 5 + 100]
    await stream.close()


@pytest.mark.parametrize("failing", [{0: 0}, {3: 5}, {0: 2, 1: 2, 2: 7}, {1: 3, 4: 4, 5: 8}])
async def test_shares_that_break_off_are_replaced_from_there_on(failing: dict[int, int]) -> None:
    providers = Providers(80_000)
    providers.fails_at = failing
    assert await providers.read(providers.stream(3)) == providers.data


async def test_a_silent_share_is_doubled_and_then_left() -> None:
    providers = Providers(80_000)
    providers.silent, providers.patience_s = {1}, 0.5
    stream = providers.stream(3)
    assert await providers.read(stream) == providers.data
    assert sorted(providers.asked) == [0, 1, 2, 3, 4]
    assert [feed.number for feed in stream.past] == [1]


async def test_impatience_alone_uses_no_share_up() -> None:
    """On a busy machine every share looks slow now and then; that must not end a read."""
    providers = Providers(STRIPE * 60)
    providers.patience_s, providers.pause_s = 0.0005, 0.001
    assert await providers.read(providers.stream(3)) == providers.data
    assert len(providers.asked) > 8


async def test_when_all_are_slow_together_they_are_given_more_time() -> None:
    providers = Providers(32_000)
    providers.silent, providers.patience_s = {0, 1, 2, 3}, 0.05
    began = asyncio.get_running_loop().time()
    assert await providers.read(providers.stream(3)) == providers.data
    assert providers.asked_s[4] - began > 4 * 0.05


async def test_too_few_shares_is_said() -> None:
    providers = Providers(80_000)
    providers.fails_at = {0: 4}
    stream = providers.stream(3, shares=providers.shares[:4])
    for stripe in range(4):
        assert await stream.ready(stripe)
        stream.release(stripe)
    assert not await stream.ready(4)
    assert stream.most_brought() == 3
    await stream.close()


async def test_who_sent_wrong_bytes_is_known_even_after_it_broke_off() -> None:
    providers = Providers(32_000)
    true = dict(enumerate(providers.bodies))
    true |= erasure.code(4, 8).decode({i: true[i] for i in range(4)}, [4, 5])
    providers.bodies[2] = memoryview(bytearray(providers.bodies[2]))
    providers.bodies[2][3 * BLOCK] ^= 1
    providers.fails_at = {2: 4}
    stream = providers.stream(8)
    assert await stream.ready(4)
    await stream.close()
    found = differing(stream, range(2, 5), true, [*stream.feeds, *stream.past])
    assert [feed.number for feed in found] == [2]
    assert differing(stream, range(0, 3), true, [*stream.feeds, *stream.past]) == []


def test_many_readers_share_the_memory() -> None:
    rooms = Rooms(memory_bytes=64 << 20)
    taken = [rooms.take(1 << 20, 64 << 20) for _ in range(100)]
    assert [len(taken[0]), len(taken[4]), len(taken[8]), len(taken[99])] == [16 << 20, 8 << 20, 4 << 20, 4 << 20]
    for memory in taken:
        rooms.give_back(memory)
    assert rooms.readers == 0
    assert rooms._kept_bytes <= 64 << 20
    assert len(rooms.take(1 << 20, 2 << 20)) == 4 << 20  # a short read does not take the largest
    assert len(rooms.take(30 << 20, 64 << 20)) == 30 << 20  # what a wide code needs at least it gets


async def test_objects_larger_than_the_ring(net: MakeNet) -> None:
    async with net(8) as n:
        stored = await n.put(BODY)
        assert await n.get(stored) == BODY
        for start, end in ((0, 400_000), (123_456, 950_000), (65_535, 65_537 + 200_000), (700_000, 949_999)):
            assert await n.get(stored, start, end) == BODY[start:end]
        assert n.pool.parts.rooms.readers == 0
        requests = [order for p in n.providers for order in p.orders if order.operation == "get"]
        assert len(requests) == 5 * SMALL.k  # each read asks each share once


async def test_a_liar_midway_is_traced_and_the_rest_read_without_it(net: MakeNet) -> None:
    async with net(8) as n:
        stored = await n.put(BODY)
        found = await n.pool.parts.segment(stored.segments[0].id)
        liar = next(p for p in n.providers if p.did == found.shares[1].device)
        body = next(iter(liar.shares.values()))
        body[-20_000] ^= 1  # behind several rounds of the ring
        assert await n.get(stored) == BODY
        assert incidents(n) == [(liar.did, "wrong_root")]
        assert await n.get(stored, 1, 900_000) == BODY[1:900_000]
        assert len(incidents(n)) == 1


async def test_a_reader_that_goes_away_frees_everything(net: MakeNet) -> None:
    async with net(8) as n:
        stored = await n.put(BODY)
        pieces = n.pool.read(stored)
        assert len(await anext(pieces)) > 0
        await pieces.aclose()  # type: ignore[attr-defined]
        assert n.pool.parts.rooms.readers == 0
        assert await n.get(stored) == BODY


async def test_a_reader_who_takes_its_time_is_not_the_nodes_fault(net: MakeNet) -> None:
    async with net(8) as n:
        stored = await n.put(BODY)
        found = b""
        async for piece in n.pool.read(stored):
            found += piece
            await asyncio.sleep(0.05)
        assert found == BODY
        assert all(n.pool.parts.nodes.health(p.did).failures == 0 for p in n.providers)


async def test_segments_follow_each_other(net: MakeNet) -> None:
    async with net(8) as n:
        profile = Profile("4/8", 4, 8, block_bytes=16_384, segment_bytes=RING_BYTES * 2)
        stored = await n.put(BODY, profile)
        assert len(stored.segments) == 2
        assert await n.get(stored) == BODY
        assert await n.get(stored, 500_000, 900_000) == BODY[500_000:900_000]
