"""The whole way: bytes in, shares on real sockets, bytes out; adopted, dropped, and what goes wrong in between."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from fieldstone.identity.keys import DeviceKey
from fieldstone.services.storage.pool import Pool, Profile, Stored
from fieldstone.state.engine import connect_state
from tests.services.storage.pool.provider import Provider, directory_of

SMALL = Profile("4/8", 4, 8, block_bytes=16_384, segment_bytes=1_000_000)


@asynccontextmanager
async def pool_of(tmp_path: Path, count: int = 10) -> AsyncIterator[tuple[Pool, list[Provider]]]:
    async with AsyncExitStack() as stack:
        providers = [await stack.enter_async_context(Provider()) for _ in range(count)]
        pool = Pool(connect_state(tmp_path / "gateway.db"), directory_of(providers), DeviceKey.generate(), bytes(32))
        stack.push_async_callback(pool.close)
        yield pool, providers


async def pieces(body: bytes, size: int = 70_000) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


async def everything(pool: Pool, stored: Stored, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([part async for part in pool.read(stored, start, end)])


@pytest.mark.parametrize("size", [0, 1, 4_096, 4_097, 65_536, 262_000, 999_999, 1_000_000, 2_500_001])
@pytest.mark.parametrize("hinted", [True, False])
async def test_what_was_written_is_read(tmp_path: Path, size: int, hinted: bool) -> None:
    body = os.urandom(size)
    async with pool_of(tmp_path) as (pool, _):
        stored = await pool.write(pieces(body), profile=SMALL, size_hint=size if hinted else None)
        assert stored.size_bytes == size
        assert (stored.inline is not None) == (size <= 4_096)
        assert await everything(pool, stored) == body
        for start, end in ((0, size), (size // 2, size), (size // 3, size // 3 + 1), (size // 3, size // 2)):
            end = min(end, size)
            assert await everything(pool, stored, start, end) == body[start:end]
