"""A gateway in this process, asked through its ASGI app by signed requests, so that a test decides what runs when."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from sqlalchemy import Connection, Engine

from fieldstone.services.storage.catalog.accounts import SecretBox, create_account, list_accounts
from fieldstone.services.storage.catalog.schema import create_tables
from fieldstone.services.storage.catalog.store import Store
from fieldstone.services.storage.pool import Profile
from fieldstone.services.storage.s3 import sigv4
from fieldstone.services.storage.s3.server.app import S3App
from fieldstone.services.storage.s3.server.gateway import Gateway, GatewayOptions
from fieldstone.services.storage.s3.wire import Request
from fieldstone.state.engine import connect_state
from tests.services.storage.folder_pool import FolderPool

BOX = SecretBox(b"\1" * 32)
Act = Callable[[], Awaitable[Any]]


@dataclass(frozen=True)
class Reply:
    """An answer: `headers` in lower case as they would go out, `code` the error document's."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def code(self) -> str:
        found = re.search(rb"<Code>(\w+)</Code>", self.body)
        return found[1].decode() if found else ""

    def header(self, name: str) -> str | None:
        return next((v.decode("latin-1") for n, v in self.headers if n == name.encode()), None)

    def value(self, element: str) -> str:
        found = re.search(f"<{element}>([^<]*)</{element}>".encode(), self.body)
        assert found is not None, self.body
        return found[1].decode().replace("&quot;", '"')


def account_id(name: str) -> str:
    return name[0] * 64


def headers_of(method: str, path: str, query: str, stated: Mapping[str, str], account: str | None) -> list[Any]:
    """Return the headers of a request, signed for an account (None: anonymous); every header is signed."""
    headers = {"host": "near.example", **stated}
    if account is not None:
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        headers |= {"x-amz-date": now, "x-amz-content-sha256": stated.get("x-amz-content-sha256", sigv4.UNSIGNED)}
        plain = [(n.encode(), v.encode()) for n, v in headers.items()]
        request, signed = Request(method, path.encode(), query.encode(), plain), tuple(sorted(headers))
        scope = f"{now[:8]}/us-east-1/s3/aws4_request"
        canonical = sigv4.canonical_request(request, signed, headers["x-amz-content-sha256"], exact=False)
        key = sigv4.signing_key(f"{account}-secret", now[:8], "us-east-1")
        signature = hmac.digest(key, sigv4.string_to_sign(now, scope, canonical), "sha256").hex()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={account.upper()}KEY/{scope},"
            f"SignedHeaders={';'.join(signed)},Signature={signature}"
        )
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def presigned(
    method: str, path: str, parameters: Mapping[str, str], account: str = "main", life_s: int = 60, *, age_s: int = 0
) -> str:
    """Return the query of a presigned URL with these parameters besides the signature's own."""
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() - age_s))
    scope = f"{now[:8]}/us-east-1/s3/aws4_request"
    named = {
        **parameters, "X-Amz-Algorithm": sigv4.ALGORITHM, "X-Amz-Credential": f"{account.upper()}KEY/{scope}",
        "X-Amz-Date": now, "X-Amz-Expires": str(life_s), "X-Amz-SignedHeaders": "host",
    }  # fmt: skip
    query = "&".join(f"{quote(n, safe='')}={quote(v, safe='')}" for n, v in sorted(named.items()))
    request = Request(method, path.encode(), query.encode(), [(b"host", b"near.example")])
    canonical = sigv4.canonical_request(request, ("host",), sigv4.UNSIGNED, exact=False)
    key = sigv4.signing_key(f"{account}-secret", now[:8], "us-east-1")
    signature = hmac.digest(key, sigv4.string_to_sign(now, scope, canonical), "sha256").hex()
    return f"{query}&X-Amz-Signature={signature}"


@dataclass
class Near:
    """One gateway."""

    gateway: Gateway
    pool: FolderPool
    app: S3App = field(init=False)

    def __post_init__(self) -> None:
        self.app = S3App(self.gateway)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        body: bytes = b"",
        account: str | None = "main",
        **headers: Any,
    ) -> Reply:
        """Ask; a header's name is written with `_` for `-`. `path` is what stands on the request line."""
        stated = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = headers_of(method, path, query, {"content-length": str(len(body)), **stated}, account)
        return await self.raw(method, path, query, sent, body)

    async def raw(self, method: str, path: str, query: str, headers: list[Any], body: bytes = b"") -> Reply:
        """Ask with these headers and no others."""
        scope = {
            "type": "http", "method": method, "raw_path": path.encode("latin-1"), "query_string": query.encode(),
            "headers": headers, "scheme": "https", "client": ("127.0.0.1", 1),
        }  # fmt: skip
        bodies = [body]
        answer: dict[str, Any] = {"body": b""}

        async def receive() -> dict[str, Any]:
            if bodies:
                return {"type": "http.request", "body": bodies.pop(), "more_body": False}
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer.update(status=message["status"], headers=message["headers"])
            else:
                answer["body"] += bytes(message["body"])

        await self.app(scope, receive, send)
        return Reply(answer["status"], answer["headers"], answer["body"])

    def before(self, what: Literal["read", "write"], number: int, meanwhile: Act) -> None:
        """Let something else happen, whole, right before the `number`th transaction from now begins."""
        self._around(what, number, meanwhile, first=True)

    def after(self, what: Literal["read", "write"], number: int, meanwhile: Act) -> None:
        """Let something else happen, whole, when the `number`th transaction has ended, before its result is known."""
        self._around(what, number, meanwhile, first=False)

    def _around(self, what: str, number: int, meanwhile: Act, *, first: bool) -> None:
        store: Any = self.gateway.store
        plain = getattr(store, what)
        left = number

        async def hooked(call: Callable[[Connection], Any]) -> Any:
            nonlocal left
            left -= 1
            if left:
                return await plain(call)
            setattr(store, what, plain)
            if first:
                await meanwhile()
            result = await plain(call)
            if not first:
                await meanwhile()
            return result

        setattr(store, what, hooked)

    async def put(self, path: str, body: bytes = b"x", **headers: Any) -> Reply:
        """Write, and expect that it is taken."""
        reply = await self.ask("PUT", path, body=body, **headers)
        assert reply.status == 200, reply
        return reply


def prepared(url: str) -> Engine:
    """Connect to a database with the catalogue's tables and three accounts."""
    engine = connect_state(url)
    create_tables(engine)
    with engine.begin() as connection:
        _accounts(connection)
    return engine


def near_of(engine: Engine, folder: Path) -> Near:
    """Return a gateway on a prepared database."""
    pool = FolderPool(engine, folder / "segments")
    return Near(Gateway(Store(engine), pool, BOX, GatewayOptions(Profile("1/1", 1, 1))), pool)


@asynccontextmanager
async def opened(url: str, folder: Path) -> AsyncIterator[Near]:
    """Open a gateway with the bucket `bkt` of the account main."""
    engine = prepared(url)
    near = near_of(engine, folder)
    try:
        await near.put("/bkt", b"")
        yield near
    finally:
        near.gateway.store.close()
        engine.dispose()


def _accounts(connection: Connection) -> None:
    if not list_accounts(connection):
        for name in ("main", "alt", "third"):
            create_account(
                connection, BOX, name, account_id=account_id(name), access_key=f"{name.upper()}KEY",
                secret=f"{name}-secret",
            )  # fmt: skip
