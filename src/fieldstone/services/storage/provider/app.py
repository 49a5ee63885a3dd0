"""The provider's HTTP interface as a plain ASGI application.

    PUT    /v1/shares/{share}   store (Content-Length needed): 201, COSE ShareReceipt
    GET    /v1/shares/{share}   the order's bytes: 200 or 206
    DELETE /v1/shares/{share}   204
    POST   /v1/challenge        prove leaves now: COSE ProofSet
    GET    /v1/capacity         free and used bytes, signed
    GET    /healthz  /metrics

Every request but the last three lines' carries `authorization: Fieldstone <base64url of a signed AccessOrder>`. A refusal
is JSON: code, detail, remedy (`refusals`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fieldstone.errors import Rejected
from fieldstone.services.storage.provider.door import (
    LARGEST_CHALLENGE,
    Answer,
    Door,
    read_piece,
    send_pieces,
)
from fieldstone.services.storage.provider.refusals import refuse
from fieldstone.services.storage.provider.taking import Gone

_LOG = logging.getLogger("fieldstone.storage")
_SEND_BYTES = 262_144
_SEND_PATIENCE_S = 30.0
_SHARES = "/v1/shares/"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class App:
    """ASGI around a Door."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._sending = asyncio.Semaphore(64)  # a quarter MiB each: what reads may take in memory

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        body = _Body(receive)
        try:
            answer = await self._answer(scope, body)
        except Rejected as error:
            answer = self._door.problem(error)
        except Gone:
            return
        try:
            await self._send(answer, send)
        except (OSError, TimeoutError) as error:  # too late for a status: the client sees a short body
            _LOG.warning("an answer broke off: %s", error)
            raise

    async def _answer(self, scope: Message, body: _Body) -> Answer:
        path: str = scope["path"]
        method: str = scope["method"]
        door = self._door
        if path.startswith(_SHARES):
            name, headers = path[len(_SHARES) :], _headers(scope)
            order = headers.get(b"authorization")
            if method == "PUT":
                return await door.put(name, order, _length(headers), body)
            if method == "GET":
                return await door.get(name, order)
            if method == "DELETE":
                return await door.delete(name, order)
            raise refuse("BAD_METHOD", method)
        if path == "/v1/challenge" and method == "POST":
            headers = _headers(scope)
            length = _length(headers)
            if length is None:  # what comes in pieces ends with lines of any length and number, all kept in memory
                raise refuse("LENGTH_NEEDED")
            if length > LARGEST_CHALLENGE:
                raise refuse("BAD_CHALLENGE", "", f"more than {LARGEST_CHALLENGE} bytes")
            return await door.challenge(headers.get(b"authorization"), await body.whole(LARGEST_CHALLENGE))
        if method != "GET":
            raise refuse("BAD_METHOD" if path in ("/v1/challenge", "/v1/capacity") else "NO_SUCH_ADDRESS", path[:80])
        if path == "/v1/capacity":
            return await door.capacity()
        if path == "/healthz":
            return Answer(200, b'{"status":"ok"}')
        if path == "/metrics":
            return await door.counts()
        raise refuse("NO_SUCH_ADDRESS", path[:80])

    async def _send(self, answer: Answer, send: Send) -> None:
        file = answer.file
        length = len(answer.body) if file is None else file.end - file.start
        headers = [(b"content-type", answer.media_type.encode()), (b"content-length", b"%d" % length)]
        headers += [(name.encode(), value.encode()) for name, value in answer.headers]
        try:
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            if file is None:
                await send({"type": "http.response.body", "body": answer.body})
                return
            for offset, size in send_pieces(file, _SEND_BYTES):
                async with self._sending, asyncio.timeout(_SEND_PATIENCE_S):
                    data = await self._door.run(read_piece, file, offset, size)
                    more = offset + size < file.end
                    await send({"type": "http.response.body", "body": data, "more_body": more})
        finally:
            if file is not None:
                file.opened.close()


class _Body:
    """A request's body out of ASGI messages."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._rest = memoryview(b"")
        self._more = True

    async def fill(self, view: memoryview) -> None:
        """Fill `view`. Raises Gone."""
        at = 0
        while at < len(view):
            if not self._rest and not await self._next():
                raise Gone
            part = self._rest[: len(view) - at]
            view[at : at + len(part)] = part
            self._rest = self._rest[len(part) :]
            at += len(part)

    async def whole(self, most: int) -> bytes:
        """Return the whole body. Raises Gone, Rejected SHARE_TOO_LARGE or TOO_SLOW."""
        found = bytearray()
        try:
            async with asyncio.timeout(_SEND_PATIENCE_S):
                while self._rest or await self._next():
                    found += self._rest
                    self._rest = memoryview(b"")
                    if len(found) > most:
                        raise refuse("BAD_CHALLENGE", "", f"more than {most} bytes")
        except TimeoutError:
            raise refuse("TOO_SLOW") from None
        return bytes(found)

    async def _next(self) -> bool:
        while self._more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Gone
            self._more = message.get("more_body", False)
            if message.get("body"):
                self._rest = memoryview(message["body"])
                return True
        return False


def _headers(scope: Message) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name == b"authorization" and name in found:
            raise refuse("ORDER_MALFORMED", "", "two orders")
        found[name] = value
    return found


def _length(headers: dict[bytes, bytes]) -> int | None:
    text = headers.get(b"content-length", b"")
    if b"transfer-encoding" in headers or not text.isdigit() or len(text) > 18:
        return None
    return int(text)
