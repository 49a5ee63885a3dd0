"""One request on its way through the gateway, and its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fieldstone.services.storage.catalog.rows import Account
from fieldstone.services.storage.s3 import versioning, xml
from fieldstone.services.storage.s3.addressing import Target
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.server.gateway import BucketView, Gateway
from fieldstone.services.storage.s3.server.lane import Gone, Straight
from fieldstone.services.storage.s3.sigv4 import Identity
from fieldstone.services.storage.s3.wire import Request

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Headers = list[tuple[bytes, bytes]]

XML_TYPE = (b"content-type", b"application/xml")
DOCUMENT_BYTES = 4 << 20
_HUNG_UP = "The connection was closed before the body was complete."


@dataclass(slots=True)
class Answer:
    """`body` is bytes, or a stream of exactly `length` bytes that begins when it is asked for."""

    status: int = 200
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    stream: AsyncIterator[bytes | memoryview] | None = None
    length: int | None = None

    @classmethod
    def document(cls, root: str, content: xml.Content, *, status: int = 200) -> Answer:
        """Answer with an XML document."""
        return cls(status, [XML_TYPE], xml.write(root, content))


class Body:
    """The request's body off the socket, with a limit on silence. Reading begins only here, so `100 Continue` is sent
    only to requests that got this far."""

    def __init__(self, receive: Receive, timeout_s: float, straight: Straight | None = None) -> None:
        self._receive = receive
        self._timeout_s = timeout_s
        self._straight = straight
        self.started = False
        self.ended = False
        self.received_bytes = 0

    async def blocks(self, size_bytes: int) -> AsyncIterator[bytes]:
        """Yield blocks of about `size_bytes`. Errors: IncompleteBody (hung up), RequestTimeout."""
        held: list[bytes] = []
        count = 0
        while not self.ended:
            piece = await self._next()
            if piece:
                held.append(piece)
                count += len(piece)
            if count >= size_bytes:
                yield held[0] if len(held) == 1 else b"".join(held)
                held, count = [], 0
        if held:
            yield held[0] if len(held) == 1 else b"".join(held)

    async def large_blocks(self, size_bytes: int) -> AsyncIterator[bytes | memoryview]:
        """As `blocks`, a large body's straight from the socket into memory that nobody else uses."""
        straight = self._straight
        first = await self._next() if straight is not None else b""
        if straight is None or self.ended or not straight.begin(self.received_bytes):
            if first:
                yield first
            async for piece in self.blocks(size_bytes):
                yield piece
            return
        while not self.ended:
            count = min(max(size_bytes, len(first) + 1), straight.left + len(first))
            block: memoryview = memoryview(np.empty(count, np.uint8))  # type: ignore[arg-type]
            block[: len(first)] = first
            try:
                await straight.fill(block[len(first) :], self._timeout_s)
            except TimeoutError:
                raise S3Error("RequestTimeout") from None
            except Gone:
                self.ended = True
                raise S3Error("IncompleteBody", _HUNG_UP) from None
            self.received_bytes += count - len(first)
            self.ended = not straight.left
            first = b""
            yield block

    def leave(self) -> None:
        """Drop what nobody has read. Call it before the answer goes out."""
        if self._straight is not None:
            self._straight.leave()

    async def all(self, limit_bytes: int = DOCUMENT_BYTES) -> bytes:
        """Return the whole of a small body. Errors: MaxMessageLengthExceeded, IncompleteBody, RequestTimeout."""
        held: list[bytes] = []
        while not self.ended:
            held.append(await self._next())
            if self.received_bytes > limit_bytes:
                raise S3Error("MaxMessageLengthExceeded", detail={"MaxMessageLengthBytes": str(limit_bytes)})
        return b"".join(held)

    async def _next(self) -> bytes:
        self.started = True
        try:
            async with asyncio.timeout(self._timeout_s):
                message = await self._receive()
        except TimeoutError:
            raise S3Error("RequestTimeout") from None
        if message["type"] == "http.disconnect":
            self.ended = True
            raise S3Error("IncompleteBody", _HUNG_UP)
        piece: bytes = message.get("body", b"")
        self.ended = not message.get("more_body", False)
        self.received_bytes += len(piece)
        return piece


@dataclass(slots=True)
class Call:
    """An authenticated request. `account` None: anonymous. `view` is set where the operation names a bucket."""

    gateway: Gateway
    request: Request
    target: Target
    identity: Identity
    account: Account | None
    body: Body
    request_id: str
    remote: str
    now_ms: int
    secure: bool = False
    view: BucketView | None = None
    # tags that the request states in a document; those of a header are looked for there
    stated_tags: Mapping[str, str] | None = None
    # what an operation found out for the access log
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def bucket(self) -> BucketView:
        assert self.view is not None
        return self.view

    @property
    def bucket_id(self) -> int:
        return self.bucket.row.id

    @property
    def key(self) -> bytes:
        assert self.target.key is not None
        return self.target.key.encode()

    @property
    def account_id(self) -> str:
        """The requester's canonical id; anonymous writers' objects belong to the bucket's owner, as nobody else could."""
        return self.account.id if self.account else self.bucket.row.owner

    @property
    def names_version(self) -> bool:
        """Whether the request names a version, which takes permissions of its own."""
        return bool(self.request.raw_query) and self.request.parameter("versionId") is not None

    def version_parameter(self) -> str | None:
        """Return the version asked for. Errors: InvalidArgument for an empty one."""
        value = self.request.parameter("versionId")
        if value == "":
            raise S3Error(
                "InvalidArgument",
                "Version id cannot be the empty string",
                detail={"ArgumentName": "versionId", "ArgumentValue": ""},
            )
        return None if value is None else versioning.check_id(value)

    def header(self, name: str) -> str | None:
        return self.request.header(name)


Handler = Callable[[Call], Awaitable[Answer]]
