from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fieldstone.clock import SetClock, SystemClock
from fieldstone.identity.keys import DeviceKey
from fieldstone.services.storage.pool import Pool, Profile, Stored, nodes, stream
from fieldstone.services.storage.pool.stream import Rooms
from fieldstone.state.engine import connect_state, writing
from tests.services.storage.pool.provider import Provider, directory_of

RING_BYTES = 4 * 65_536  # four stripes of SMALL: bytes go round it several times
SMALL = Profile("4/8", 4, 8, block_bytes=16_384, segment_bytes=1_000_000)


@dataclass
class Net:
    """A pool with its providers. The clock stands still until it is moved."""

    pool: Pool
    providers: list[Provider]
    clock: SetClock
    path: Path
    key: DeviceKey

    def again(self) -> Pool:
        """Start the gateway anew on the same database, as after a crash: the old pool just stops."""
        return Pool(connect_state(self.path), self.pool.directory, self.key, bytes(32), clock=self.clock)

    def adopt(self, stored: Stored) -> None:
        with writing(self.pool.parts.database.engine) as connection:
            self.pool.adopt(connection, stored)

    def drop(self, stored: Stored) -> None:
        with writing(self.pool.parts.database.engine) as connection:
            self.pool.drop(connection, stored)

    def holders(self) -> list[Provider]:
        return [p for p in self.providers if p.shares]

    def later(self, ms: int) -> None:
        self.clock.set(self.clock.now_ms() + ms)

    async def put(self, body: bytes, profile: Profile = SMALL) -> Stored:
        return await self.pool.write(pieces(body), profile=profile, size_hint=len(body))

    async def get(self, stored: Stored, start: int = 0, end: int | None = None) -> bytes:
        return await everything(self.pool, stored, start, end)


async def pieces(body: bytes, size: int = 70_000) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


async def everything(pool: Pool, stored: Stored, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([part async for part in pool.read(stored, start, end)])


MakeNet = Callable[..., AbstractAsyncContextManager[Net]]


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> float:
    """Let no node fail by the clock, so that only what asks others helps; return how long a test may wait, seconds."""
    for module in (nodes, stream):
        monkeypatch.setattr(module, "LEAST_TIME_S", 3_600.0)
    return 60.0


@pytest.fixture
def net(tmp_path: Path) -> MakeNet:
    @asynccontextmanager
    async def make(count: int = 10, operators: int = 0) -> AsyncIterator[Net]:
        async with AsyncExitStack() as stack:
            providers = [await stack.enter_async_context(Provider()) for _ in range(count)]
            clock, key, path = SetClock(SystemClock().now_ms()), DeviceKey.generate(), tmp_path / "gateway.db"
            pool = Pool(connect_state(path), directory_of(providers, operators), key, bytes(32), clock=clock)
            pool.parts.rooms = Rooms(largest_bytes=RING_BYTES, smallest_bytes=RING_BYTES)
            stack.push_async_callback(pool.close)
            yield Net(pool, providers, clock, path, key)

    return make
