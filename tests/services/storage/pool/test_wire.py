"""What providers may answer, and what is done with answers that are none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from fieldstone.services.storage.pool.download import Flat
from fieldstone.services.storage.pool.line import Line
from fieldstone.services.storage.pool.wire import WireProblem

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


@asynccontextmanager
async def server(*answers: bytes, closes: bool = False) -> AsyncIterator[tuple[Line, list[bytes]]]:
    """Answer each request (head and body at once) with the next bytes; then say nothing more."""
    seen: list[bytes] = []
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while left:
                head = await reader.readuntil(b"\r\n\r\n")
                seen.append(head)
                writer.write(left.pop(0))
                await writer.drain()
                if closes:
                    break
            else:
                await asyncio.sleep(5)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    line = Line(f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}")
    try:
        yield line, seen
    finally:
        line.close()
        running.close()


async def test_a_connection_is_used_again() -> None:
    async with server(OK, OK) as (line, seen):
        assert [(await line.request("GET", "/a")).body for _ in range(2)] == [b"hello"] * 2
        assert len(line._idle) == 1 and len(seen) == 2


async def test_a_kept_connection_that_has_gone_is_replaced() -> None:
    async with server(OK, OK, OK, closes=True) as (line, seen):
        for _ in range(3):
            assert (await line.request("GET", "/a")).status == 200
        assert len(seen) == 3


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\n{}", 404, b"{}"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"hello"),
        (b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", 500, b"abcde"),
    ],
)
async def test_answers(answer: bytes, status: int, body: bytes) -> None:
    async with server(answer) as (line, _):
        found = await line.request("GET", "/a")
        assert (found.status, found.body) == (status, body)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 20\r\ncontent-length: 0\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 099 OK\r\ncontent-length: 0\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 100\r\n\r\n" * 800, "interim answers"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "without a content-length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n", "without a content-length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\nx", "where a short answer was due"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhello", "3 bytes more than it announced"),
        (b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", "as a header"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "chunked body that is none"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 300, "chunked body that is none"),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * 17_000, "of headers"),
    ],
)
async def test_nonsense_is_refused_by_name(answer: bytes, problem: str) -> None:
    async with server(answer) as (line, _):
        with pytest.raises(WireProblem, match=problem):
            await line.request("GET", "/a")


@pytest.mark.parametrize(("length", "sent"), [(10, 10), (12, 12), (10, 3)])
async def test_a_body_into_memory_is_exactly_that_long(length: int, sent: int) -> None:
    body = bytes(range(sent))
    answer = b"HTTP/1.1 206 X\r\ncontent-length: %d\r\n\r\n" % length + body
    async with server(answer, closes=True) as (line, _):
        room = memoryview(bytearray(10))
        if length == sent == 10:
            await line.request("GET", "/a", sink=Flat(room))
            assert bytes(room) == body
        else:
            with pytest.raises(WireProblem, match=r"more than were asked|broke off"):
                await line.request("GET", "/a", sink=Flat(room))


async def test_a_refusal_before_the_body_is_sent_ends_the_sending() -> None:
    sent = 0

    async def blocks() -> AsyncIterator[Sequence[memoryview]]:
        nonlocal sent
        for _ in range(10_000):
            sent += 1
            yield [memoryview(bytes(65_536))]
            await asyncio.sleep(0)

    async with server(b"HTTP/1.1 507 Full\r\ncontent-length: 0\r\n\r\n") as (line, _):
        async with asyncio.timeout(4):  # it neither reads nor closes for 5 s
            answer = await line.request("PUT", "/a", length=655_360_000, body=blocks)
        assert answer.status == 507 and sent < 10_000
        assert not line._idle  # what was on its way makes the connection unusable


async def test_nobody_there() -> None:
    with pytest.raises(WireProblem) as problem:
        await Line("http://127.0.0.1:1").request("GET", "/a")
    assert problem.value.kind == "offline"


async def test_a_header_cannot_be_smuggled_in() -> None:
    async with server(OK) as (line, seen):
        await line.request("GET", "/a", (("authorization", "x"),))
        assert seen[0].count(b"\r\n") == 4
