"""How long a body may be silent, on either way in."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import uvicorn

from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.server.exchange import Body
from fieldstone.services.storage.s3.server.lane import EXTENSION, BodyLane

PATIENCE_S = 0.3


class Door:
    """A server whose app reads a body and notes how that ended."""

    def __init__(self) -> None:
        self.ends: asyncio.Queue[tuple[int, str, bool]] = asyncio.Queue()
        self.port = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        straight = scope.get("extensions", {}).get(EXTENSION)
        body, end = Body(receive, PATIENCE_S, straight), "whole"
        try:
            async for block in body.large_blocks(64 << 10):
                assert set(block) == {7}
        except S3Error as error:
            end = error.code
        body.leave()
        self.ends.put_nowait((body.received_bytes, end, straight is not None))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


@pytest_asyncio.fixture
async def door() -> AsyncIterator[Door]:
    door, listener = Door(), socket.create_server(("127.0.0.1", 0))
    door.port = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(door, http=BodyLane, lifespan="off", log_config=None))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = asyncio.create_task(server.serve([listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    yield door
    server.should_exit = True
    await serving


@pytest.mark.parametrize(("size", "straight"), [(1_000_000, True), (100_000, False)])
async def test_silence_ends_a_body_and_slowness_does_not(door: Door, size: int, straight: bool) -> None:
    for pieces, pause_s, end in ((6, PATIENCE_S / 3, "whole"), (2, PATIENCE_S * 3, "RequestTimeout")):
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size)
        for piece in range(pieces):
            await asyncio.sleep(pause_s)
            writer.write(b"\x07" * (size // pieces + (size % pieces if piece == 0 else 0)))
        received, found, was_straight = await door.ends.get()
        assert (found, was_straight) == (end, straight)
        assert received == size if end == "whole" else received < size
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
