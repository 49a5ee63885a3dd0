"""A long body is taken off its socket whatever the reader's pace, whoever breaks off, and where nothing can be watched."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable

import pytest

from fieldstone.services.storage.pool.intake import Intake
from fieldstone.services.storage.pool.wire import WireProblem
from tests.services.storage.pool.test_wire import OK, server

BODY = os.urandom(3_000_001)
HEAD = b"HTTP/1.1 206 X\r\ncontent-length: %d\r\n\r\n" % len(BODY)


class Sip:
    """A sink with room for `most` bytes in pieces of `piece`; more room comes when the loop has turned."""

    waited_s = 0.0

    def __init__(self, most: int, piece: int, size: int = len(BODY)) -> None:
        self.found = bytearray(size)
        self._view = memoryview(self.found)
        self._at, self._limit, self._most, self._piece = 0, most, most, piece
        self.waits = 0

    def buffer(self) -> memoryview:
        return self._view[self._at : min(self._limit, self._at + self._piece)]

    def buffers(self) -> list[memoryview]:
        limit = min(self._limit, len(self._view))
        return [self._view[at : min(limit, at + self._piece)] for at in range(self._at, limit, self._piece)]

    def advance(self, count: int) -> None:
        self._at += count
        assert self._at <= self._limit

    def wait(self, resume: Callable[[], None]) -> bool:
        if self._at >= len(self.found):
            return False
        self.waits += 1

        def more() -> None:
            self._limit = self._at + self._most
            resume()

        asyncio.get_running_loop().call_later(0.001, more)
        return True


@pytest.mark.parametrize("is_watched", [True, False])
@pytest.mark.parametrize(("most", "piece"), [(10**7, 10**7), (400_000, 65_536), (70_001, 1_000)])
async def test_a_long_body_comes_whole_at_any_pace(
    most: int, piece: int, is_watched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_watched:
        monkeypatch.delattr(select, "epoll", raising=False)
    async with server(HEAD + BODY, OK) as (line, seen):
        sink = Sip(most, piece)
        async with asyncio.timeout(60):
            await line.request("GET", "/a", sink=sink)
            assert sink.found == BODY and bool(sink.waits) == (most < len(BODY))
            assert (await line.request("GET", "/a")).body == b"hello"  # the loop reads that connection again
        assert len(seen) == 2 and len(line._idle) == 1


@pytest.mark.parametrize("sent", [400_000, len(BODY) - 1])
async def test_a_long_body_that_breaks_off_is_told(sent: int) -> None:
    async with server(HEAD + BODY[:sent], closes=True) as (line, _):
        with pytest.raises(WireProblem, match="broke off"):
            async with asyncio.timeout(60):
                await line.request("GET", "/a", sink=Sip(10**7, 65_536))


async def test_a_body_longer_than_its_sink_is_refused() -> None:
    async with server(HEAD + BODY) as (line, _):
        with pytest.raises(WireProblem, match="more than were asked"):
            async with asyncio.timeout(60):
                await line.request("GET", "/a", sink=Sip(10**7, 65_536, size=1_000_000))


async def test_a_reader_that_goes_away_is_watched_no_more() -> None:
    async with server(HEAD + BODY[:1_000_000]) as (line, _):
        sink = Sip(10**7, 65_536)
        reading = asyncio.create_task(line.request("GET", "/a", sink=sink))
        while not sink._at:
            await asyncio.sleep(0.001)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert not line.intake._ready
        before = sink._at
        await asyncio.sleep(0.01)
        assert sink._at == before


async def test_nobody_is_woken_while_the_sink_is_full() -> None:
    """What waits in the socket must not turn the loop round."""
    async with server(HEAD + BODY) as (line, _):
        sink = Sip(100_000, 65_536)
        sink.wait = lambda resume: True  # type: ignore[method-assign]  # room never comes
        looks = 0
        look = line.intake._look

        def counted() -> None:
            nonlocal looks
            looks += 1
            look()

        line.intake._look = counted  # type: ignore[method-assign]
        reading = asyncio.create_task(line.request("GET", "/a", sink=sink))
        await asyncio.sleep(0.2)
        assert looks < 50
        reading.cancel()


async def test_closed_intakes_start_again() -> None:
    intake = Intake()
    intake.close()
    async with server(HEAD + BODY, HEAD + BODY) as (line, _):
        for _ in range(2):
            sink = Sip(10**7, 65_536)
            await line.request("GET", "/a", sink=sink)
            assert sink.found == BODY
            line.intake.close()
