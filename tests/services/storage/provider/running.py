"""A provider served in a thread, and a plain client that can also misbehave."""

from __future__ import annotations

import http.client
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fieldstone.identity.keys import DeviceKey
from fieldstone.services.storage import records
from fieldstone.services.storage.provider.door import Door
from fieldstone.services.storage.provider.orders import Gateways, Listed, header
from fieldstone.services.storage.provider.server import Server
from fieldstone.services.storage.provider.store import Store
from fieldstone.services.storage.records import ACCESS, AccessOrder

MIB = 1_048_576


@dataclass(frozen=True)
class Got:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The refusal's code."""
        return str(msgspec.json.decode(self.body)["code"])


class Gateway:
    """Signs orders and sends them on one connection."""

    def __init__(self, port: int, provider: str, key: DeviceKey | None = None) -> None:
        self.key = key or DeviceKey.generate()
        self.name = self.key.public.device_id
        self.provider, self.port = provider, port
        self.egress_bytes = 0
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def order(self, operation: Any, share: bytes, **fields: Any) -> bytes:
        """Return a signed order."""
        filled: dict[str, Any] = {
            "operation": operation,
            "gateway": self.name,
            "provider": self.provider,
            "share": share,
            "expires_ms": time.time_ns() // 1_000_000 + 60_000,
            **fields,
        }
        return records.sign(self.key, AccessOrder(**filled), ACCESS)

    def ask(self, method: str, path: str, order: bytes | None = None, body: Any = None, **headers: str) -> Got:
        """Send one request."""
        if order is not None:
            headers["authorization"] = header(order)
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
        except (http.client.HTTPException, OSError):
            self._connection.close()
            raise
        got = Got(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        if got.headers.get("connection") == "close":
            self._connection.close()
        return got

    def put(self, share: bytes, data: bytes, order: bytes | None = None, **headers: str) -> Got:
        """Store a share."""
        return self.ask("PUT", f"/v1/shares/{share.hex()}", order or self.order("put", share), data, **headers)

    def get(self, share: bytes, start: int, end: int, **fields: Any) -> Got:
        """Read bytes."""
        if "egress_bytes" not in fields:
            self.egress_bytes += end - start
            fields["egress_bytes"] = self.egress_bytes
        order = self.order("get", share, start=start, end=end, **fields)
        return self.ask("GET", f"/v1/shares/{share.hex()}", order)

    def delete(self, share: bytes, order: bytes | None = None) -> Got:
        """Delete a share."""
        return self.ask("DELETE", f"/v1/shares/{share.hex()}", order or self.order("delete", share))

    def raw(self, data: bytes, wait_s: float = 5.0) -> bytes:
        """Send bytes on a connection of their own; return all that comes until it closes or nothing comes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait_s) as connection:
            connection.sendall(data)
            found = b""
            try:
                while part := connection.recv(65_536):
                    found += part
            except (TimeoutError, ConnectionResetError):
                pass
            return found


@dataclass
class Running:
    """A provider at work."""

    store: Store
    door: Door
    server: Server
    gateway: Gateway
    key: DeviceKey


@contextmanager
def running(
    folder: Path, capacity: int = 200 * MIB, *, use_lane: bool = True, gateways: Gateways | None = None, **options: Any
) -> Iterator[Running]:
    """Serve a provider that knows one gateway, or those that `gateways` knows."""
    store = Store(folder, capacity)
    key, gateway_key = DeviceKey.generate(), DeviceKey.generate()
    doors: list[Door] = []

    def make() -> Door:
        doors.append(Door(store, key, gateways or Listed([gateway_key.public.device_id]), **options))
        return doors[0]

    server = Server(make, "127.0.0.1", 0, use_lane=use_lane)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        assert server.ready.wait(10)
        gateway = Gateway(server.port, key.public.device_id, gateway_key)
        wait_until_up(server.port)
        yield Running(store, doors[0], server, gateway, key)
    finally:
        server.stop()
        thread.join(20)
        store.close()


def wait_until_up(port: int) -> None:
    """Wait until somebody answers."""
    for _ in range(500):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/healthz")
            if connection.getresponse().read():
                return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("the provider does not answer")


def share_id(number: int) -> bytes:
    """Return a share id."""
    return number.to_bytes(16, "big")


def some_bytes(size: int) -> bytes:
    """Return random bytes."""
    return os.urandom(size)
