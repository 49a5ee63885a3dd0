"""Whatever one provider answers, announces or signs is that provider's failure: nobody else's read, write or watch ends by it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from fieldstone.clock import SystemClock
from fieldstone.identity.keys import DeviceKey
from fieldstone.services.storage import records
from fieldstone.services.storage.pool import Directory, Node, Watch
from fieldstone.services.storage.pool.nodes import NodeProblem, Nodes
from tests.services.storage.pool.conftest import MakeNet

BODY = os.urandom(300_000)
DEEP = b'{"x":' + b"[" * 60_000
UNREADABLE = [DEEP, b'{"code":"\xff\xfe"}', b"<html>", b"", b"{}"]
NAMES = ["deep", "text", "page", "nothing", "empty"]


@asynccontextmanager
async def answering(status: int, body: bytes) -> AsyncIterator[Node]:
    """Give every request the same answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (status, len(body)) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield Node(did=DeviceKey.generate().public.device_id, url=f"http://127.0.0.1:{port}")
    finally:
        server.close()


@asynccontextmanager
async def client() -> AsyncIterator[Nodes]:
    nodes = Nodes(DeviceKey.generate(), SystemClock())
    try:
        yield nodes
    finally:
        nodes.close()


@pytest.mark.parametrize("body", UNREADABLE, ids=NAMES)
@pytest.mark.parametrize("status", [404, 410, 409, 500])
async def test_a_refusal_that_cannot_be_read_is_a_refusal(status: int, body: bytes) -> None:
    """Also a 404: the page of a proxy or a captive portal is nobody's word that a share is lost."""
    async with answering(status, body) as node, client() as nodes:
        with pytest.raises(NodeProblem) as problem:
            await nodes.delete(node, bytes(16))
        assert problem.value.kind == "refused"


async def test_who_never_had_a_share_has_deleted_it_and_has_not_failed() -> None:
    async with answering(404, b'{"code":"SHARE_UNKNOWN"}') as node, client() as nodes:
        await nodes.delete(node, bytes(16))
        assert nodes.health(node.did).failures == 0


async def test_who_refuses_again_and_again_fails_again_and_again() -> None:
    async with answering(403, b'{"code":"UNKNOWN_GATEWAY"}') as node, client() as nodes:
        for _ in range(3):
            with pytest.raises(NodeProblem):
                await nodes.capacity(node)
        assert nodes.health(node.did).failures_in_row == 3
        assert nodes.health(node.did).offline_since_ms is None


@pytest.mark.parametrize("body", [*UNREADABLE, b'{"free_bytes":1' + b"0" * 400 + b"}"], ids=[*NAMES, "number"])
async def test_who_says_nothing_sensible_about_itself_is_away_and_hides_nobody_else(net: MakeNet, body: bytes) -> None:
    async with net(3) as n, answering(200, body) as hostile:
        n.pool.directory.renew([*n.pool.directory, hostile])
        absences = await Watch(n.pool.parts).once()
        assert [device for device, one in absences.items() if one.offline_since_ms is not None] == [hostile.did]
        assert [one.free_bytes for one in n.pool.directory] == [10**12] * 3 + [-1]


@pytest.mark.parametrize("host", ["a..b", "a" * 70, "."])
async def test_a_name_that_is_none_is_that_node_s_failure_only(host: str) -> None:
    node = Node(did=DeviceKey.generate().public.device_id, url=f"http://{host}:80")
    async with client() as nodes:
        with pytest.raises(NodeProblem) as problem:
            await nodes.capacity(node)
        assert problem.value.kind == "offline"


@pytest.mark.parametrize("leaf_bytes", [1, 1_023, 2**21, 2**40])
async def test_a_receipt_for_leaves_that_nobody_pays_for_is_none(leaf_bytes: int) -> None:
    """In leaves of one byte, to compare it took a minute, in which the gateway served nobody."""
    hostile, key = DeviceKey.generate(), DeviceKey.generate()
    receipt = records.ShareReceipt(
        share=bytes(16),
        provider=hostile.public.device_id,
        gateway=key.public.device_id,
        size_bytes=0x10,
        leaf_bytes=leaf_bytes,
        root=bytes(32),
        stored_ms=0,
    )
    async with answering(201, records.sign(hostile, receipt, records.RECEIPT)) as node:
        node = msgspec.structs.replace(node, did=hostile.public.device_id)
        nodes = Nodes(key, SystemClock())

        async def blocks() -> AsyncIterator[list[memoryview]]:
            yield [memoryview(bytes(16))]

        with pytest.raises(NodeProblem, match="leaves of"):
            await nodes.put(node, bytes(16), 16, blocks)
        nodes.close()


async def test_a_hostile_node_among_others_costs_no_write_and_no_read(net: MakeNet) -> None:
    async with net(9) as n, answering(201, b"\x93\x01\xa1x" + b"\x91" * 60_000) as hostile:
        n.pool.directory.renew([*list(n.pool.directory)[:8], hostile])
        stored = [await n.put(BODY) for _ in range(3)]
        for one in stored:
            assert await n.get(one) == BODY


async def test_who_moves_or_goes_leaves_no_connection_behind() -> None:
    async with answering(200, b"{}") as node, answering(200, b"{}") as elsewhere, client() as nodes:
        await nodes.capacity(node)
        line = nodes._lines[node.did]
        assert len(line._idle) == 1
        moved = msgspec.structs.replace(node, url=elsewhere.url)
        await nodes.capacity(moved)
        assert not line._idle and not line._busy and list(nodes._lines) == [node.did]
        nodes.keep_only([])
        assert not nodes._lines


async def test_a_body_that_was_long_in_the_making_does_not_make_a_node_slow(net: MakeNet) -> None:
    """One customer's slow line made every node look slow, and reads waited for the slowest."""

    async def slow() -> AsyncIterator[bytes]:
        yield BODY[:200_000]
        await asyncio.sleep(0.02)
        yield BODY[200_000:]

    async with net(8) as n:
        from tests.services.storage.pool.conftest import SMALL

        await n.pool.write(slow(), profile=SMALL, size_hint=len(BODY))
        assert not any(n.pool.parts.nodes.health(p.did).bytes_per_s for p in n.providers)


def test_one_unusable_address_or_place_hides_no_other_provider() -> None:
    dids = [DeviceKey.generate().public.device_id for _ in range(8)]
    bad = ["http://[", "http://[abc]", "http://a..b", "http://" + "a" * 70, "http://."]
    listing: list[dict[str, object]] = [{"key": did, "url": url} for did, url in zip(dids, bad, strict=False)]
    listing.append({"key": dids[5], "url": "http://10.0.0.1", "lat": float("nan"), "lon": 1.0})
    listing.append({"key": dids[6], "url": "http://10.0.0.1", "lat": float("inf"), "lon": 1.0})
    listing.append({"key": dids[7], "url": "http://10.0.0.1", "lat": 1.0, "lon": 1.0})
    directory, problems = Directory.from_listing({"devices": listing})
    assert [node.did for node in directory] == dids[7:] and len(problems) == 7
