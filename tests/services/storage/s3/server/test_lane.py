"""Large bodies past the parser: same bytes, same refusals, and the connection is good for what follows."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import time
from collections.abc import Iterable
from typing import Any

import pytest
import uvicorn
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from uvicorn.server import ServerState

from fieldstone.services.storage.s3.server import lane as lane_module
from fieldstone.services.storage.s3.server.lane import BodyLane
from tests.services.storage.s3.server.conftest import Process, Refused

DATA = random.Random(7).randbytes(3 * 2**20 + 4321)


class Auth(S3SigV4Auth):
    """Signs the digest that the request states, whatever its body."""

    def payload(self, request: AWSRequest) -> str:
        return str(request.context["digest"])


def head(gateway: Process, method: str, path: str, length: int = 0, *more: str, **stated: str) -> bytes:
    digest = stated.pop("digest", "UNSIGNED-PAYLOAD")
    request = AWSRequest(method, gateway.endpoint + path, headers=stated)
    request.context["digest"] = digest
    Auth(Credentials("MAINKEY", "main-secret"), "s3", "us-east-1").add_auth(request)
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{gateway.port}", f"Content-Length: {length}", *more]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def connected(gateway: Process) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=20)


def answer(connection: socket.socket, method: str = "PUT") -> tuple[int, bytes]:
    """Read one answer and not a byte more."""
    got = b""
    while b"\r\n\r\n" not in got:
        byte = connection.recv(1)
        assert byte, f"the connection was closed after {got!r}"
        got += byte
    names = dict(line.lower().split(b": ", 1) for line in got.split(b"\r\n")[1:-2] if b": " in line)
    body = b""
    while len(body) < int(names.get(b"content-length", 0)):
        body += connection.recv(65_536)
    return int(got.split()[1]), body


@pytest.mark.parametrize("cut", [0, 1, 70_000, 400_000])
def test_the_next_request_follows_on_the_same_connection(gateway: Process, s3: Any, bucket: str, cut: int) -> None:
    """However the body's beginning arrives, and with the next request right behind its last byte."""
    with connected(gateway) as connection:
        connection.sendall(head(gateway, "PUT", f"/{bucket}/k", len(DATA)) + DATA[:cut])
        time.sleep(0.05)
        connection.sendall(DATA[cut:] + head(gateway, "GET", f"/{bucket}/k"))
        assert answer(connection) == (200, b"")
        assert answer(connection) == (200, DATA)
        connection.sendall(head(gateway, "PUT", f"/{bucket}/second", 2**20) + DATA[: 2**20])
        assert answer(connection) == (200, b"")
    assert s3.get_object(Bucket=bucket, Key="second")["Body"].read() == DATA[: 2**20]


def test_a_large_body_waits_for_its_continue(gateway: Process, s3: Any, bucket: str) -> None:
    with connected(gateway) as connection:
        connection.sendall(head(gateway, "PUT", f"/{bucket}/k", len(DATA), "Expect: 100-continue"))
        assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(DATA)
        assert answer(connection) == (200, b"")
    assert s3.head_object(Bucket=bucket, Key="k")["ETag"] == f'"{hashlib.md5(DATA).hexdigest()}"'


def test_a_refused_body_is_dropped_and_the_connection_goes_on(gateway: Process, s3: Any, bucket: str) -> None:
    """One digest is wrong, which shows at the end; one framing is broken, which shows at the beginning."""
    framed = {
        "digest": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-decoded-content-length": str(len(DATA)),
        "x-amz-trailer": "x-amz-checksum-crc32",
    }
    wrong = {"digest": hashlib.sha256(b"other").hexdigest()}
    with connected(gateway) as connection:
        for stated, code in ((wrong, b"XAmzContentSHA256Mismatch"), (framed, b"IncompleteBody")):
            connection.sendall(head(gateway, "PUT", f"/{bucket}/no", len(DATA), **stated) + DATA)
            status, body = answer(connection)
            assert status == 400 and code in body
        connection.sendall(head(gateway, "PUT", f"/{bucket}/yes", 2**20) + DATA[: 2**20])
        assert answer(connection) == (200, b"")
    with Refused("NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="no")
    assert s3.get_object(Bucket=bucket, Key="yes")["Body"].read() == DATA[: 2**20]


def test_a_body_before_any_right_to_send_it_is_not_read(gateway: Process, bucket: str) -> None:
    with connected(gateway) as connection:
        connection.sendall(head(gateway, "PUT", "/no-such-bucket-at-all/k", len(DATA)) + DATA)
        assert answer(connection)[0] == 404
        connection.sendall(head(gateway, "HEAD", f"/{bucket}"))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("half_close", [True, False])
def test_a_large_upload_cut_off_stores_nothing(gateway: Process, s3: Any, bucket: str, half_close: bool) -> None:
    with connected(gateway) as connection:
        connection.sendall(head(gateway, "PUT", f"/{bucket}/cut", len(DATA)) + DATA[:-1])
        if half_close:
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass
    time.sleep(0.2)
    with Refused("NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="cut")


class Wire(asyncio.Transport):
    """A connection that keeps what each system call sends."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data:
            self.sent.append(bytes(data))

    def writelines(self, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
        self.sent.append(b"".join(pieces))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def abort(self) -> None:
        self.closed = True


async def sent_for(requests: bytes, *pieces: bytes, read: bool = False) -> Wire:
    """Return what a gateway sends that answers each request with `pieces`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if read:
            await receive()
        length = str(sum(map(len, pieces))).encode()
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", length)]})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": piece is not pieces[-1]})

    wire = Wire()
    lane = BodyLane(uvicorn.Config(app, lifespan="off", log_config=None), ServerState(), {})
    lane.connection_made(wire)
    lane.data_received(requests)
    while lane.tasks:
        await asyncio.wait(lane.tasks)
        await asyncio.sleep(0)
    if lane.timeout_keep_alive_task is not None:
        lane.timeout_keep_alive_task.cancel()
    return wire


async def closed_by(*pieces: bytes, wait_s: float = 0.0) -> bool:
    """Say whether a connection on which these bytes come one after the other is closed `wait_s` later."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    wire = Wire()
    lane = BodyLane(uvicorn.Config(app, lifespan="off", log_config=None), ServerState(), {})
    lane.connection_made(wire)
    for piece in pieces:
        lane.data_received(piece)
        while lane.tasks:
            await asyncio.wait(lane.tasks)
            await asyncio.sleep(0)
    await asyncio.sleep(wait_s)
    is_closed = wire.closed
    lane.connection_lost(None)
    return is_closed


@pytest.mark.parametrize(
    "begun", [b"GET /", b"GET / HTTP/1.1\r\nhost: a\r\nx-", b"GET / HTTP/1.1\r\nx: a\r\n\r\nGET /"]
)
def test_a_head_without_end_is_not_kept(begun: bytes) -> None:
    assert not asyncio.run(closed_by(begun, *[b"a" * 8_192] * 7))
    assert asyncio.run(closed_by(begun, *[b"a" * 8_192] * 9))


CHUNKED = b"PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("begun", [b"3\r\nabc\r\n0\r\nx-trailer: ", b"0\r\nx-", b"3;name="])
def test_trailers_and_chunk_sizes_without_end_are_not_kept(begun: bytes) -> None:
    assert not asyncio.run(closed_by(CHUNKED + begun, *[b"a" * 8_192] * 7))
    assert asyncio.run(closed_by(CHUNKED + begun, *[b"a" * 8_192] * 9))


def test_a_long_body_in_small_chunks_is_taken() -> None:
    assert not asyncio.run(closed_by(CHUNKED, *[b"1\r\na\r\n" * 4_000] * 20, b"0\r\n\r\n"))


def test_who_sends_no_head_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "HEAD_PATIENCE_S", 0.0)
    for begun in ((), (b"GET / HT",), (b"GET / HTTP/1.1\r\nx: a\r\n\r\n", b"G")):
        assert asyncio.run(closed_by(*begun, wait_s=0.01))
    assert not asyncio.run(closed_by(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", wait_s=0.01))  # kept alive


def parts(sent: bytes) -> tuple[bytes, bytes]:
    head, _, body = sent.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404")
    return head, body


@pytest.mark.parametrize("body", [b"<Error/>", bytes(1 << 20)])
def test_no_head_leaves_without_its_body(body: bytes) -> None:
    """Whatever the moment at which the process dies, no client sees a status with an empty body."""
    wire = asyncio.run(sent_for(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", body))
    assert [parts(sent)[1] for sent in wire.sent] == [body]


def test_a_stream_begins_with_its_head() -> None:
    wire = asyncio.run(sent_for(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"one", b"two"))
    assert parts(wire.sent[0])[1] == b"one"
    assert wire.sent[1:] == [b"two"]


def test_pipelined_heads_without_bodies_all_leave() -> None:
    one = b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n"
    wire = asyncio.run(sent_for(one * 3, b"<Error/>"))
    assert [parts(sent)[1] for sent in wire.sent] == [b""] * 3


def test_the_last_answer_leaves_before_the_connection_is_closed() -> None:
    wire = asyncio.run(sent_for(b"HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", b"<Error/>"))
    assert [parts(sent)[1] for sent in wire.sent] == [b""]
    assert wire.closed


def test_a_continue_is_not_held_back() -> None:
    request = b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\nexpect: 100-continue\r\n\r\nx"
    wire = asyncio.run(sent_for(request, b"<Error/>", read=True))
    assert wire.sent[0] == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert [parts(sent)[1] for sent in wire.sent[1:]] == [b"<Error/>"]
