"""A small honest provider for the pool's tests, with switches to make it slow, full, forgetful or a liar.

It speaks the interface over a real socket: checks the gateway's signature, keeps shares in memory, signs receipts.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from fieldstone.clock import SystemClock
from fieldstone.errors import Rejected
from fieldstone.identity import cose
from fieldstone.identity.keys import DeviceKey
from fieldstone.services.storage import records
from fieldstone.services.storage.codes import fast_tree
from fieldstone.services.storage.pool import Directory, Node


@dataclass
class Provider:
    """`delay_s`: before each answer; `down`: refuses connections' requests; `full`; `lies`: flips a bit of what it sends;
    `gone`: answers reads with 410 and this body; `rot`: what it holds has changed; `wrong_root`: its receipts commit to something else."""

    key: DeviceKey = field(default_factory=DeviceKey.generate)
    delay_s: float = 0.0
    down: bool = False
    full: bool = False
    free_bytes: int = 10**12
    lies: bool = False
    lies_below: int = 0  # lies about shorter ranges only
    wrong_root: bool = False
    gone: Callable[[bytes], bytes] | None = None
    leaf_bytes: int = fast_tree.LEAF_BYTES
    shares: dict[bytes, bytearray] = field(default_factory=dict)
    orders: list[records.AccessOrder] = field(default_factory=list)
    url: str = ""
    egress_bytes: int = 0
    _server: asyncio.Server | None = None

    @property
    def did(self) -> str:
        return self.key.public.device_id

    async def __aenter__(self) -> Provider:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**16)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not self.down:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                if self.down:
                    break
                first, *lines = head.strip().split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines)
                method, path, _ = first.split(" ")
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self.down:
                    break
                status, answer = self._answer(method, path, headers, body)
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (status, len(answer)) + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if path == "/healthz":
            return 200, b"{}"
        if path == "/v1/capacity":
            return 200, b'{"free_bytes": %d}' % self.free_bytes
        share = bytes.fromhex(path.rpartition("/")[2])
        try:
            order = self._order(headers["authorization"], method, share)
        except Rejected as error:
            return 403, json.dumps({"code": error.reason.code}).encode()
        self.orders.append(order)
        if method == "PUT":
            return self._put(order, body)
        if self.gone is not None and method == "GET":
            return 410, self.gone(share)
        if share not in self.shares:
            return 404, b'{"code":"SHARE_UNKNOWN"}'
        if method == "DELETE":
            del self.shares[share]
            return 204, b""
        self.egress_bytes += order.end - order.start
        found = self.shares[share][order.start : order.end]
        if self.lies or len(found) < self.lies_below:
            found = bytearray(found)
            found[0] ^= 1
        return 206, bytes(found)

    def _order(self, header: str, method: str, share: bytes) -> records.AccessOrder:
        text = header.removeprefix("Fieldstone ")
        message = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        order = records.decode(cose.parse(message).payload, records.AccessOrder)
        records.open_signed(message, records.AccessOrder, order.gateway, records.ACCESS)
        assert (order.operation, order.provider, order.share) == (method.lower(), self.did, share)
        assert order.expires_ms > SystemClock().now_ms()
        return order

    def _put(self, order: records.AccessOrder, body: bytes) -> tuple[int, bytes]:
        if self.full:
            return 507, b'{"code":"DISK_FULL"}'
        assert len(body) == order.end
        self.shares[order.share] = bytearray(body)
        receipt = records.ShareReceipt(
            share=order.share,
            provider=self.did,
            gateway=order.gateway,
            size_bytes=len(body),
            leaf_bytes=self.leaf_bytes,
            root=bytes(32) if self.wrong_root else fast_tree.Tree.build(body, self.leaf_bytes).commitment,
            stored_ms=SystemClock().now_ms(),
        )
        return 201, records.sign(self.key, receipt, records.RECEIPT)


def directory_of(providers: list[Provider], operators: int = 0) -> Directory:
    """List providers, each its own operator, prefix and maker unless `operators` says how many share them."""
    count = operators or len(providers)
    return Directory(
        Node(
            did=p.did,
            url=p.url,
            operator=f"0x{i % count:040x}",
            maker=f"maker {i % count}",
            prefix=f"10.0.{i % count}.0/24",
            region=f"region {i % 7}",
        )
        for i, p in enumerate(providers)
    )
