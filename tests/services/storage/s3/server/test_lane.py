"""Large bodies past the parser: same bytes, same refusals, and the connection is good for what follows."""

from __future__ import annotations

import hashlib
import random
import socket
import time
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

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
