"""A real uvicorn in the test's own event loop, and a client that can be rude."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette

from fieldstone.intake.http import routes
from fieldstone.intake.lane import lane

from .worlds import World


@asynccontextmanager
async def serve(
    world: World, kind: str = "lane", limit_concurrency: int | None = None, **options: Any
) -> AsyncIterator[int]:
    app = Starlette(routes=routes(world.intake, **options))
    protocol = lane(world.intake, head_timeout_s=options.get("body_timeout_s", 15.0)) if kind == "lane" else "h11"
    config = uvicorn.Config(
        app, port=0, log_level="critical", access_log=False, limit_concurrency=limit_concurrency, http=protocol
    )  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


def post(body: bytes, media_type: str = "application/cbor-seq", path: str = "/v1/reports", **headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-type: {media_type}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers.get("content-length", "0")))


async def ask(port: int, *chunks: bytes, pause_s: float = 0.0) -> tuple[int, dict[str, str], bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
            if pause_s:
                await asyncio.sleep(pause_s)
        async with asyncio.timeout(20):
            return await read_answer(reader)
    finally:
        writer.close()
