"""Which HTTP client costs least per byte? The same shares to and from providers with ours, aiohttp and httpx.

    python bench/storage_pool_clients.py [--shares 40] [--kib 3277] [--providers 4]

Prints the client process's CPU-seconds per GiB sent and received. The loop is uvloop for all three.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import httpx
import uvloop

from fieldstone.clock import SystemClock
from fieldstone.identity.keys import DeviceKey
from fieldstone.services.storage.pool.download import Flat
from fieldstone.services.storage.pool.memory import keep_freed_memory
from fieldstone.services.storage.pool.nodes import Nodes
from fieldstone.services.storage.pool.wire import Blocks

sys.path.insert(0, str(Path(__file__).parent))
from storage_pool import fork_providers

AT_ONCE = 16


async def compare(nodes: Nodes, listed: list, count: int, body: memoryview) -> None:  # type: ignore[type-arg]
    size = len(body)
    blocks = [body[at : at + 65_536] for at in range(0, size, 65_536)]
    for node in listed:
        while not await nodes.is_up(node):
            await asyncio.sleep(0.1)

    async def in_blocks() -> Blocks:
        for block in blocks:
            yield [block]

    async def plain_blocks():  # type: ignore[no-untyped-def]
        for block in blocks:
            yield block

    async def bytes_blocks():  # type: ignore[no-untyped-def]
        for block in blocks:
            yield bytes(block)

    spent = {node.did: 0 for node in listed}

    def headers(operation: str, node, share: bytes) -> dict[str, str]:  # type: ignore[no-untyped-def]
        if operation == "get":
            spent[node.did] += size
        order = nodes._order(operation, node, share, end=size, egress_bytes=spent[node.did] * (operation == "get"))  # type: ignore[arg-type]
        return {"authorization": order, "content-length": str(size)} if operation == "put" else {"authorization": order}

    async def ours_put(node, share):  # type: ignore[no-untyped-def]
        await nodes.put(node, share, size, in_blocks)

    async def ours_get(node, share):  # type: ignore[no-untyped-def]
        spent[node.did] += size
        await nodes.get(node, share, 0, size, spent[node.did], Flat(memoryview(bytearray(size))))

    async with aiohttp.ClientSession() as session, httpx.AsyncClient(timeout=60) as client:

        async def aiohttp_put(node, share):  # type: ignore[no-untyped-def]
            url = f"{node.url}/v1/shares/{share.hex()}"
            async with session.put(url, data=plain_blocks(), headers=headers("put", node, share)) as answer:
                assert answer.status == 201
                await answer.read()

        async def aiohttp_get(node, share):  # type: ignore[no-untyped-def]
            room, at = memoryview(bytearray(size)), 0
            url = f"{node.url}/v1/shares/{share.hex()}"
            async with session.get(url, headers=headers("get", node, share)) as answer:
                async for part in answer.content.iter_any():
                    room[at : at + len(part)] = part
                    at += len(part)
            assert at == size

        async def httpx_put(node, share):  # type: ignore[no-untyped-def]
            url = f"{node.url}/v1/shares/{share.hex()}"
            answer = await client.put(url, content=bytes_blocks(), headers=headers("put", node, share))
            assert answer.status_code == 201

        async def httpx_get(node, share):  # type: ignore[no-untyped-def]
            room, at = memoryview(bytearray(size)), 0
            url = f"{node.url}/v1/shares/{share.hex()}"
            async with client.stream("GET", url, headers=headers("get", node, share)) as answer:
                async for part in answer.aiter_raw():
                    room[at : at + len(part)] = part
                    at += len(part)
            assert at == size

        print(
            f"{count} shares of {size / 2**20:.2f} MiB, {len(listed)} providers\n{'':10}{'PUT':>8}{'GET':>8}   CPU-s per GiB"
        )
        for name, put, get in (
            ("ours", ours_put, ours_get), ("aiohttp", aiohttp_put, aiohttp_get), ("httpx", httpx_put, httpx_get),
        ):  # fmt: skip
            figures = []
            shares = [os.urandom(16) for _ in range(count)]
            for work in (put, get):
                cpu = time.process_time()
                await _all(work, listed, shares)
                figures.append((time.process_time() - cpu) / (count * size / 2**30))
            print(f"{name:10}{figures[0]:8.2f}{figures[1]:8.2f}")


async def _all(work: Callable[..., Awaitable[None]], listed: list, shares: list[bytes]) -> None:  # type: ignore[type-arg]
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(place: int, share: bytes) -> None:
        async with limit:
            await work(listed[place % len(listed)], share)

    await asyncio.gather(*(one(place, share) for place, share in enumerate(shares)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shares", type=int, default=80)
    parser.add_argument("--kib", type=int, default=3_277)
    parser.add_argument("--providers", type=int, default=4)
    options = parser.parse_args()
    keep_freed_memory()
    root, key = Path(tempfile.mkdtemp()), DeviceKey.generate()
    pids, directory = fork_providers(options.providers, root, key.public.device_id)
    try:
        nodes = Nodes(key, SystemClock())
        uvloop.run(compare(nodes, list(directory), options.shares, memoryview(os.urandom(options.kib * 1024))))
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        for pid in pids:
            os.waitpid(pid, 0)
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
