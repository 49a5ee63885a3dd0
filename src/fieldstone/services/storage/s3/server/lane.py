"""The S3 door's way with sockets: large bodies go straight into memory, the head of an answer leaves with its body.

uvicorn reads 64 KiB at a time and copies every byte four times before an app has it, which costs more than the digests.
So when an app begins to read a body of known, large length, the rest of it is read here, past httptools, and httptools
goes on behind it with a fresh parser. Heads, small bodies, chunked bodies and everything over TLS stay uvicorn's.

An app finds the way in the scope: `scope["extensions"][EXTENSION]` is a `Straight`.

uvicorn writes head and body in two system calls. A process killed between them leaves a client with a status and no
body; botocore takes that for an empty answer: an error without a name, or a bucket listed as empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

EXTENSION = "fieldstone.straight"
LEAST_BYTES = 256 << 10
HEAD_PATIENCE_S = 30.0
LONGEST_HEAD = 64 << 10  # S3 takes 8 KiB of headers, and refuses more by name
_SCRATCH_BYTES = 256 << 10
_REFUSAL = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>BadRequest</Code><Message>An error occurred when parsing the HTTP request.</Message></Error>"""
_NO_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/xml\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
    % (len(_REFUSAL), _REFUSAL)
)
# above this, a second buffer in the same system call is cheaper than a copy
_JOINED_BYTES = 64 << 10


class Gone(Exception):
    """The client hung up before its body was complete."""


class BodyLane(HttpToolsProtocol):
    """uvicorn's protocol with `Straight` offered for large bodies, and heads sent `Together` with bodies.

    A head has 30 s and 64 KiB, and 64 KiB what stands between or behind the chunks of a body (their sizes, trailers): the
    parser itself would keep all that a stranger sends, for as long as he likes.
    """

    _head_bytes = 0
    _loose_bytes = 0  # that came since the last bytes of a body
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head, but not for long."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Hand on to the parser, and count what makes up a head that is not whole yet, or is no body behind one."""
        was_waiting = self._head_timer is not None
        self._loose_bytes += len(data)
        super().data_received(data)
        if self._head_timer is None:
            if self._loose_bytes > LONGEST_HEAD and self.cycle is not None and self.cycle.more_body:
                self.transport.abort()
        elif was_waiting:
            self._head_bytes += len(data)
            if self._head_bytes > LONGEST_HEAD:
                self.transport.abort()

    def on_body(self, body: bytes) -> None:
        """Hand on."""
        self._loose_bytes = 0
        super().on_body(body)

    def on_message_begin(self) -> None:
        """Wait for the rest of a head, unless that is done already."""
        super().on_message_begin()
        if self._head_timer is None:
            self._wait_for_head()

    def _wait_for_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_PATIENCE_S, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        self.transport.abort()

    def on_headers_complete(self) -> None:
        """Offer the way, where the body has a stated length and nothing of it has been read."""
        self._stop_waiting()
        super().on_headers_complete()
        # the app's task begins later, so nothing has been written yet
        together = Together(self.cycle)
        self.cycle.transport = together  # type: ignore[assignment]
        self.cycle.on_response = together.flushed_before(self.cycle.on_response)
        if self.scheme != "http":
            return
        lengths = [value for name, value in self.headers if name == b"content-length"]
        if len(lengths) == 1 and lengths[0].isdigit() and int(lengths[0]) >= LEAST_BYTES:
            extensions: dict[str, Any] = {EXTENSION: Straight(self, self.cycle, int(lengths[0]))}
            self.scope["extensions"] = extensions

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are no HTTP. Behind a whole request they cost the connection, not that request's answer: the
        client could take a refusal for it and believe that nothing was written."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete or cycle.more_body or self.pipeline:
            self.transport.write(_NO_HTTP)
            self.transport.close()
            return
        cycle.keep_alive = False
        self.flow.pause_reading()

    def go_on(self, cycle: Any) -> None:
        """Take the reading back behind a body that was read past the parser."""
        cycle.more_body = False
        if self.transport.is_closing():
            return
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.transport.set_protocol(self)
        self.flow.resume_reading()


class Together:
    """One answer's transport: holds the head back until the first bytes of the body are written, and sends both at once."""

    def __init__(self, cycle: Any) -> None:
        self._cycle = cycle
        self._transport: asyncio.Transport = cycle.transport
        self._head: bytes | None = b""

    def write(self, data: bytes | memoryview) -> None:
        """Write. What comes before the answer has begun (`100 Continue`) is not held."""
        if self._head:
            head, self._head = self._head, None
            if len(data) <= _JOINED_BYTES:
                self._transport.write(head + data)
            else:
                self._transport.writelines((head, data))
        elif self._head is not None and self._cycle.response_started:
            self._head = bytes(data)
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Send what is held."""
        if self._head:
            head, self._head = self._head, None
            self._transport.write(head)

    def flushed_before(self, then: Callable[[], None]) -> Callable[[], None]:
        """Return what to call at the answer's end: it sends a head that no body followed, then calls `then`."""

        def end() -> None:
            self.flush()
            then()

        return end

    def close(self) -> None:
        """Send what is held and close."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Say whether it is being closed."""
        return self._transport.is_closing()


class Straight(asyncio.BufferedProtocol):
    """The rest of one body, read straight into the reader's memory.

    `begin` right after a piece came from `receive`, then `fill`; `leave` at the end, whatever happened.
    """

    def __init__(self, owner: Any, cycle: Any, length: int) -> None:
        self._owner, self._cycle = owner, cycle
        self._view = memoryview(b"")
        self._at = 0
        self._filled: asyncio.Future[None] | None = None
        self._scratch: memoryview | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._is_lost = False
        self.length = length
        self.left = 0

    def begin(self, received: int) -> bool:
        """Take the reading over when `received` bytes have come; False where that cannot be: read on as before."""
        cycle, owner = self._cycle, self._owner
        late = owner.cycle is not cycle or cycle.disconnected or cycle.response_complete or cycle.body
        if late or owner.transport.is_closing() or not received < self.length:
            return False
        self.left = self.length - received
        owner.flow.pause_reading()
        owner.transport.set_protocol(self)
        return True

    async def fill(self, view: memoryview, patience_s: float) -> None:
        """Fill `view`, at most `left` bytes. Raises Gone; TimeoutError when nothing comes for `patience_s`."""
        if self._is_lost or self._owner.transport.is_closing():
            raise Gone
        loop = asyncio.get_running_loop()
        self._view, self._at = view, 0
        self._filled = loop.create_future()
        self._silence = loop.call_later(patience_s, self._look, patience_s, 0)
        self._owner.flow.resume_reading()
        try:
            await self._filled
        finally:
            if self._silence is not None:
                self._silence.cancel()
            self._view, self._filled = memoryview(b""), None
            if self.left and not self._owner.transport.is_closing():
                self._owner.flow.pause_reading()
        if not self.left:
            self._owner.go_on(self._cycle)

    def leave(self) -> None:
        """Give the connection back. What nobody wants to read any more is dropped as it comes, as uvicorn does."""
        if self.left and self._scratch is None and not self._owner.transport.is_closing():
            self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
            self._owner.flow.resume_reading()

    def _look(self, patience_s: float, before: int) -> None:
        if self._filled is None or self._filled.done():
            return
        if self._at == before:
            self._filled.set_exception(TimeoutError())
        else:
            self._silence = asyncio.get_running_loop().call_later(patience_s, self._look, patience_s, self._at)

    # what the transport calls

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go: never more than the body has, so a next request stays in the socket."""
        if self._scratch is not None:
            return self._scratch[: min(self.left, _SCRATCH_BYTES)]
        return self._view[self._at :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take note of bytes that came."""
        self.left -= nbytes
        if self._scratch is not None:
            if not self.left:
                self._owner.go_on(self._cycle)
            return
        self._at += nbytes
        if self._at == len(self._view):
            self._owner.flow.pause_reading()
            if self._filled is not None and not self._filled.done():
                self._filled.set_result(None)

    def eof_received(self) -> bool:
        """The client will send no more: the body is short."""
        self._lose()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever fills, and the protocol that owns the connection."""
        self._lose()
        self._owner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Hand on."""
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        """Hand on."""
        self._owner.resume_writing()

    def _lose(self) -> None:
        self._is_lost = True
        if self._filled is not None and not self._filled.done():
            self._filled.set_exception(Gone())
