"""Requests as no client library would send them: headers left out, empty or false, yet signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

from tests.services.storage.s3.conftest import Account, Door


@dataclass(frozen=True)
class Reply:
    """An answer: `headers` in lower case, `code` the error document's."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        found = re.search(rb"<Code>(\w+)</Code>", self.body)
        return found[1].decode() if found else ""


def basic_now() -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def send(
    door: Door,
    method: str,
    path: str,
    changes: Mapping[str, str | None] | None = None,
    body: bytes = b"",
    *,
    account: str | None = "main",
    version: int = 4,
) -> Reply:
    """Send one request on a connection of its own. `changes` to the usual headers are made before it is signed; None
    takes a header away, `authorization` replaces the signature. `path` may hold a query, in canonical order."""
    headers: dict[str, str | None] = {"host": f"127.0.0.1:{door.port}", "content-length": str(len(body))}
    if account is not None:
        headers |= {"x-amz-date": basic_now(), "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    headers |= dict(changes or {})
    kept = {name: value for name, value in headers.items() if value is not None}
    if account is not None and "authorization" not in headers:
        sign = _version_4 if version == 4 else _version_2
        kept["authorization"] = sign(door.accounts[account], method, path, kept)
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in kept.items()), "", ""]
    with socket.create_connection(("127.0.0.1", door.port), timeout=20) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1") + body)
        return _reply(connection, method)


def _reply(connection: socket.socket, method: str) -> Reply:
    answer = http.client.HTTPResponse(connection, method=method)
    answer.begin()
    return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


def _version_4(account: Account, method: str, path: str, headers: Mapping[str, str]) -> str:
    plain, _, query = path.partition("?")
    signed = sorted(name for name in headers if name == "host" or name.startswith(("x-amz-", "content-md5")))
    canonical = [method, plain, query, *(f"{name}:{headers[name].strip()}" for name in signed)]
    canonical += ["", ";".join(signed), headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")]
    when = headers.get("x-amz-date") or basic_now()
    scope = f"{when[:8]}/us-east-1/s3/aws4_request"
    hashed = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
    key = b"AWS4" + account.secret.encode()
    for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{when}\n{scope}\n{hashed}"):
        key = hmac.digest(key, part.encode(), "sha256")
    return f"AWS4-HMAC-SHA256 Credential={account.key}/{scope},SignedHeaders={';'.join(signed)},Signature={key.hex()}"


def _version_2(account: Account, method: str, path: str, headers: Mapping[str, str]) -> str:
    date = "" if "x-amz-date" in headers else headers.get("date", "")
    amz = sorted(f"{name}:{value}" for name, value in headers.items() if name.startswith("x-amz-"))
    lines = [method, headers.get("content-md5", ""), headers.get("content-type", ""), date, *amz, path]
    digest = hmac.digest(account.secret.encode(), "\n".join(lines).encode(), "sha1")
    return f"AWS {account.key}:{base64.b64encode(digest).decode()}"
