"""The whole way: bytes in, shares over real sockets, bytes out, on both event loops."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
import uvloop

from fieldstone.errors import CheckFailed, UsageError
from fieldstone.services.storage.codes import cipher
from fieldstone.services.storage.pool import Pool, Profile, Stored
from fieldstone.services.storage.pool.placement import TooFewNodes
from fieldstone.services.storage.pool.upload import NotStored
from fieldstone.services.storage.pool.writing import Budget
from tests.services.storage.pool.conftest import SMALL, MakeNet, everything, pieces


@pytest.mark.parametrize("size", [0, 1, 4_096, 4_097, 65_536, 262_000, 999_999, 1_000_000, 2_500_001])
@pytest.mark.parametrize("hinted", [True, False])
async def test_what_was_written_is_read(net: MakeNet, size: int, hinted: bool) -> None:
    body = os.urandom(size)
    async with net() as n:
        stored = await n.pool.write(pieces(body), profile=SMALL, size_hint=size if hinted else None)
        assert stored.size_bytes == size
        assert (stored.inline is not None) == (size <= 4_096)
        assert await n.get(stored) == body
        for start, end in ((size // 2, size), (size // 3, size // 3 + 1), (size // 3, size // 2)):
            end = min(end, size)
            assert await n.get(stored, start, end) == body[start:end]


def test_the_same_on_uvloop(net: MakeNet) -> None:
    async def run() -> None:
        body = os.urandom(40_000_000)
        async with net() as n:
            stored = await n.put(body, Profile("4/8", 4, 8))
            assert await n.get(stored) == body
            assert await n.get(stored, 17_000_001, 17_000_900) == body[17_000_001:17_000_900]
            n.providers[0].down = True
            assert await n.get(stored) == body

    uvloop.run(run())


async def test_who_waits_for_memory_and_gives_up_keeps_nobody_out() -> None:
    memory = Budget(100)
    await memory.take(60)
    large = asyncio.create_task(memory.take(90))
    await asyncio.sleep(0)
    small = asyncio.create_task(memory.take(30))
    await asyncio.sleep(0)
    assert not small.done()  # in the order of asking
    large.cancel()
    async with asyncio.timeout(5):
        await small
    memory.give(30)
    memory.give(60)
    await memory.take(100)


async def test_a_small_range_asks_one_share(net: MakeNet) -> None:
    async with net() as n:
        stored = await n.put(os.urandom(900_000))
        before = sum(p.egress_bytes for p in n.providers)
        await n.get(stored, 500_000, 500_010)
        # a sealed chunk of 64 KiB over blocks of 16 KiB: five blocks at most
        assert sum(p.egress_bytes for p in n.providers) - before <= cipher.CHUNK_BYTES + cipher.TAG_BYTES


async def test_no_byte_of_a_large_read_is_ordered_twice(net: MakeNet) -> None:
    async with net() as n:
        stored = await n.put(os.urandom(40_000_000), Profile("4/8", 4, 8))
        await n.get(stored)
        assert sum(p.egress_bytes for p in n.providers) < 40_000_000 * 1.001


async def test_shares_are_what_nobody_can_read(net: MakeNet) -> None:
    body = b"secret! " * 100_000
    async with net() as n:
        await n.put(body)
        for provider in n.providers:
            for share in provider.shares.values():
                assert b"secret" not in share
        assert len({bytes(s) for p in n.providers for s in p.shares.values()}) == 8  # no share twice


async def test_inline_objects_are_sealed_under_the_master_key(net: MakeNet) -> None:
    async with net() as n:
        stored = await n.put(b"secret" * 100)
        assert stored.inline is not None and b"secret" not in stored.inline
        changed = Stored(stored.size_bytes, (), stored.inline[:-1] + bytes([stored.inline[-1] ^ 1]))
        with pytest.raises(CheckFailed):
            await n.get(changed)
        with pytest.raises(CheckFailed):
            other = Pool(n.pool.parts.database.engine, n.pool.directory, n.key, b"x" * 32)
            await everything(other, stored)
        await other.close()


@pytest.mark.parametrize("announced", [0, 3_000, 5_000, 99_999, 100_001, 3_000_000])
async def test_another_length_than_announced_is_refused_and_leaves_nothing(net: MakeNet, announced: int) -> None:
    async with net() as n:
        with pytest.raises(UsageError, match=r"announced|source"):
            await n.pool.write(pieces(os.urandom(100_000)), profile=SMALL, size_hint=announced)
        assert n.pool._memory._used == 0 and not n.pool.parts.writing


async def test_a_client_that_hangs_up_leaves_nothing_running(net: MakeNet) -> None:
    async def stalls() -> AsyncIterator[bytes]:
        yield os.urandom(300_000)
        await asyncio.sleep(3_600)

    async with net() as n:
        writing = asyncio.create_task(n.pool.write(stalls(), profile=SMALL, size_hint=900_000))
        await asyncio.sleep(0.2)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert n.pool._memory._used == 0 and not n.pool.parts.writing


async def test_clients_that_announce_bytes_and_do_not_send_them_hold_no_memory(net: MakeNet) -> None:
    body = os.urandom(900_000)

    async def stalls() -> AsyncIterator[bytes]:
        yield body[:300_000]
        await asyncio.sleep(3_600)

    async with net() as n:
        n.pool._memory._size = 1_500_000  # one at a time
        stalled = [asyncio.create_task(n.pool.write(stalls(), profile=SMALL, size_hint=900_000)) for _ in range(4)]
        await asyncio.sleep(0.1)
        async with asyncio.timeout(30):
            assert await n.get(await n.put(body)) == body
        for task in stalled:
            task.cancel()
        await asyncio.gather(*stalled, return_exceptions=True)
        assert n.pool._memory._used == 0 and not n.pool.parts.writing


async def test_parallel_writes_and_reads_within_a_small_memory(net: MakeNet) -> None:
    bodies = [os.urandom(200_000 + 31 * i) for i in range(24)]
    async with net() as n:
        n.pool._memory._size = 1_500_000  # three at a time
        stored = await asyncio.gather(*map(n.put, bodies))
        assert list(await asyncio.gather(*map(n.get, stored))) == bodies
        assert n.pool._memory._used == 0


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 4), (0, 100_001)])
async def test_ranges_outside_are_refused(net: MakeNet, start: int, end: int) -> None:
    async with net() as n:
        stored = await n.put(os.urandom(100_000))
        with pytest.raises(UsageError, match="not inside"):
            await n.get(stored, start, end)


async def test_the_automatic_profile_is_that_of_the_nodes_that_can_take_shares(net: MakeNet) -> None:
    body = os.urandom(50_000)
    async with net(9) as n:
        for provider in n.providers[:3]:
            provider.down = True
        with pytest.raises(NotStored):  # now it is known who is away
            await n.pool.write(pieces(body), profile=None, size_hint=len(body))
        assert n.pool.automatic_profile().name == "3/6"
        assert await n.get(await n.pool.write(pieces(body), profile=None, size_hint=len(body))) == body
        for node in n.pool.directory:
            n.pool.directory.update(node.did, free_bytes=0)
        # a line that is cut, or disks that are all full, must not end in objects without any redundancy
        assert n.pool.automatic_profile().name == "2/5"
        with pytest.raises(TooFewNodes):
            await n.pool.write(pieces(body), profile=None, size_hint=len(body))


async def test_without_any_node_there_is_no_profile_yet_and_small_objects_need_none(net: MakeNet) -> None:
    async with net(2) as n:
        n.pool.directory.replace([])
        with pytest.raises(TooFewNodes, match="no storage node"):
            await n.pool.write(pieces(b"x" * 5_000), profile=None, size_hint=5_000)
        assert (await n.pool.write(pieces(b"x"), profile=None, size_hint=1)).inline is not None
