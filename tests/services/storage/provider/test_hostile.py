"""What somebody without an order, or with a bad will and a good order, can do to a provider that serves others."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fieldstone.services.storage.provider.orders import header
from tests.services.storage.provider.running import Gateway, Running, running, share_id, some_bytes

SHARE = share_id(7)


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path / "disk") as made:
        yield made


def test_silent_connections_keep_no_gateway_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They cost nothing to open, need no order, and were all that 1,000 connections could be used for."""
    monkeypatch.setattr("fieldstone.services.storage.provider.server.most_connections", lambda: 20)
    with running(tmp_path / "disk") as provider, ExitStack() as stack:
        gateway = provider.gateway
        assert gateway.put(SHARE, b"x" * 1_000).status == 201
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port))) for _ in range(60)]
        assert gateway.get(SHARE, 0, 10).status == 206  # on the connection that it had
        other = Gateway(gateway.port, gateway.provider, gateway.key)
        assert other.get(SHARE, 0, 10, egress_bytes=20).status == 206  # and on a new one
        silent[0].settimeout(10)
        assert silent[0].recv(1) == b""


@pytest.mark.parametrize(
    "endless", [b"x: " + b"y" * 65_536, b"x" * 65_536, b"".join(b"a%d: b\r\n" % number for number in range(9_000))]
)
def test_a_head_without_end_is_not_kept_in_memory(provider: Running, endless: bytes) -> None:
    """It has 15 seconds: on a fast line, gigabytes of lines, each kept until the head is complete."""
    with socket.create_connection(("127.0.0.1", provider.server.port), timeout=10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            for _ in range(200):
                connection.sendall(endless)
            while connection.recv(65_536):
                pass
            raise ConnectionResetError  # closed in good order is as good
    assert provider.gateway.ask("GET", "/healthz").status == 200


def test_a_challenge_in_pieces_is_refused_before_its_body(provider: Running) -> None:
    answer = provider.gateway.raw(
        b"POST /v1/challenge HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n", wait_s=2
    )
    assert b" 411 " in answer and b"LENGTH_NEEDED" in answer


def test_what_anybody_may_ask_for_is_counted_rarely(provider: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A count reads the whole index: with ten million shares, a thousand questions would be a day of the disk's time."""
    index, counted = provider.store.index, []
    real = index.totals

    def totals() -> Any:
        counted.append(1)
        return real()

    monkeypatch.setattr(index, "totals", totals)
    for _ in range(20):
        assert provider.gateway.ask("GET", "/v1/capacity").status == 200
        assert provider.gateway.ask("GET", "/metrics").status == 200
    assert len(counted) <= 2


def test_a_disk_that_does_not_answer_is_said_in_words(provider: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> Any:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(provider.store, "free_bytes", fails)
    for path in ("/v1/capacity", "/metrics"):
        got = provider.gateway.ask("GET", path)
        assert (got.status, got.code) == (503, "STORE_UNAVAILABLE")


def served(provider: Running) -> float:
    return float(provider.door.metrics._gets._value.get())


def test_who_does_not_read_his_answers_takes_no_thread(tmp_path: Path) -> None:
    """Eight connections whose buffers are full would hold all eight threads that send, half a minute each time."""
    with running(tmp_path / "disk") as provider, ExitStack() as stack:
        gateway, data = provider.gateway, some_bytes(400_000)
        gateway.put(SHARE, data)
        assert gateway.get(SHARE, 0, 400_000).body == data  # checked, and in memory
        provider.server._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        for _ in range(10):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
            connection.connect(("127.0.0.1", gateway.port))
            for _ in range(200):
                gateway.egress_bytes += 1
                order = gateway.order("get", SHARE, start=0, end=1, egress_bytes=gateway.egress_bytes)
                before, deadline_s = served(provider), time.monotonic() + 0.1
                head = f"GET /v1/shares/{SHARE.hex()} HTTP/1.1\r\nhost: x\r\nauthorization: {header(order)}\r\n\r\n"
                connection.sendall(head.encode())
                while served(provider) == before and time.monotonic() < deadline_s:
                    pass
                if served(provider) == before:  # it waits behind one that cannot be sent
                    break
            else:
                raise AssertionError("the buffers never filled up")
        assert gateway.get(SHARE, 0, 400_000, egress_bytes=gateway.egress_bytes + 400_000).body == data
