"""A long body leaves whole however slowly it is taken, and whoever stops taking it ends the sending."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from fieldstone.services.storage.pool.line import Line
from fieldstone.services.storage.pool.wire import Blocks, WireProblem
from tests.services.storage.pool.test_wire import OK

BODY = os.urandom(9_000_001)


def in_blocks(size: int, together: int) -> Callable[[], Blocks]:
    async def blocks() -> Blocks:
        view = memoryview(BODY)
        for start in range(0, len(view), size * together):
            yield [view[at : at + size] for at in range(start, min(start + size * together, len(view)), size)]

    return blocks


@asynccontextmanager
async def taker(take: int, pause_s: float = 0.0) -> AsyncIterator[tuple[Line, bytearray]]:
    """Read `take` bytes of a body, slowly, and answer; with fewer than there are, hang up."""
    found = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            while len(found) < take:
                part = await reader.read(min(100_000, take - len(found)))
                if not part:
                    return
                found.extend(part)
                await asyncio.sleep(pause_s)
            if take == len(BODY):
                writer.write(OK)
                await writer.drain()
        finally:
            writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    line = Line(f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}")
    try:
        yield line, found
    finally:
        line.close()
        running.close()


@pytest.mark.parametrize(("size", "together"), [(65_536, 5), (10_000_000, 1), (4_096, 1_500)])
async def test_a_slow_taker_gets_every_byte(size: int, together: int) -> None:
    async with taker(len(BODY), 0.0005) as (line, found), asyncio.timeout(60):
        answer = await line.request("PUT", "/a", length=len(BODY), body=in_blocks(size, together))
        assert answer.status == 200 and found == BODY


async def test_a_taker_that_hangs_up_ends_the_sending() -> None:
    async with taker(300_000) as (line, _), asyncio.timeout(60):
        with pytest.raises(WireProblem, match="broke off"):
            await line.request("PUT", "/a", length=len(BODY), body=in_blocks(65_536, 5))


async def test_a_sender_that_is_called_off_lets_go() -> None:
    async with taker(len(BODY), 10.0) as (line, _), asyncio.timeout(60):
        sending = asyncio.create_task(line.request("PUT", "/a", length=len(BODY), body=in_blocks(65_536, 200)))
        while not line._busy:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)  # until it waits for the taker, as a rule: called off earlier it has to let go too
        [connection] = line._busy
        assert not sending.done()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await connection.closed
        assert connection._socket is None and not line._busy and not line._idle
