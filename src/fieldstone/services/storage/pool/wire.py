"""HTTP/1.1 to one provider with as few copies as asyncio allows: answers arrive in the caller's own memory.

One request at a time per connection; connections are kept open and used again. Bodies of answers go into a `Sink`
(share bytes, straight from the socket to their place in the stripe) or, up to 64 KiB, into `Answer.body`. Written
blocks are handed to the transport as they are. TLS works the same way. No redirects, no compression, no proxies.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from fieldstone.errors import Retryable
from fieldstone.services.storage.pool.chunked import dechunked
from fieldstone.services.storage.pool.intake import WAKE_BYTES, Intake, wake_at

_HEAD_BYTES = 16_384
_MOST_HEADS = 8  # interim ones before an answer
_SMALL_BODY_BYTES = 65_536
_WRITE_HIGH_BYTES = 1_048_576
_LONG_BODY_BYTES = 262_144
_MOST_BLOCKS = 512  # in one system call, which takes 1,024

Blocks = AsyncIterator[Sequence[memoryview]]


class WireProblem(Retryable):
    """The provider did not answer, broke off, or answered what is not HTTP. `kind`: offline | broken | protocol."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


class Sink(Protocol):
    """Where the bytes of an answer go. `buffer`: room for the next ones (empty: full); `advance`: so many came.

    `buffers`: all the room that there is for the next bytes, in order, in a few pieces. `wait`, asked when it is full:
    call `resume` once there is room again; False where there never will be. `waited_s`: for how long it was full.
    """

    waited_s: float

    def buffer(self) -> memoryview: ...

    def buffers(self) -> list[memoryview]: ...

    def advance(self, count: int) -> None: ...

    def wait(self, resume: Callable[[], None]) -> bool: ...


@dataclass(slots=True)
class Answer:
    """Status, headers (lower case) and length of an answer; `body` unless it went into a sink."""

    status: int
    headers: dict[bytes, bytes]
    length: int
    body: bytes = b""


class Connection(asyncio.BufferedProtocol):
    """One connection. `exchange` sends a request and waits for its answer. `intake` takes long ones in."""

    def __init__(self, intake: Intake | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._intake = intake
        self._transport: asyncio.Transport | None = None
        self._head = bytearray(_HEAD_BYTES)
        self._head_view = memoryview(self._head)
        self._have = 0
        self._answer: asyncio.Future[Answer] | None = None
        self._current: Answer | None = None
        self._left = 0
        self._sink: Sink | None = None
        self._into_sink = False
        self._socket: socket.socket | None = None  # for long bodies: read past the transport
        self._is_pulling = self._has_ended = False
        self._small = bytearray()
        self._is_chunked = False
        self._keep = True
        self._writable = asyncio.Event()
        self._writable.set()
        self.closed = self._loop.create_future()  # done when the transport has let go of every buffer

    # ---- what the event loop calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._current is None:
            return self._head_view[self._have :]
        if self._into_sink and self._left and self._sink is not None:
            room = self._sink.buffer()
            return room[: self._left] if len(room) > self._left else room
        return self._head_view  # uvloop asks for room even when nothing is due

    def buffer_updated(self, nbytes: int) -> None:
        if self._answer is None or self._answer.done():
            self._fail("protocol", "sent bytes that nobody asked for")
        elif self._current is None:
            self._have += nbytes
            self._read_head()
        elif self._into_sink:
            self._fill(nbytes)
        else:
            self._gather(self._head_view[:nbytes])
        if self._into_sink and self._left >= _LONG_BODY_BYTES and self._can_pull():
            self._pull()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._keep = False
        self._stop_pulling()
        if self._socket is not None:
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self._writable.set()
        if not self.closed.done():
            self.closed.set_result(None)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(WireProblem("broken", f"the connection broke off: {error or 'closed'}"))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # ---- what the pool calls ----

    @property
    def is_free(self) -> bool:
        """Whether another request can be sent."""
        return self._keep and self._transport is not None and not self._transport.is_closing()

    @property
    def has_answer(self) -> bool:
        """Whether the head of an answer to the last request has come."""
        return self._current is not None

    def abort(self) -> None:
        """Break the connection off now: nothing is written to a sink any more."""
        self._keep = False
        self._stop_pulling()
        if self._transport is not None:
            self._transport.abort()

    async def exchange(self, head: bytes, body: Blocks | None, sink: Sink | None) -> Answer:
        """Send a request and return the answer; a 2xx answer's bytes go into `sink`, which they must fit.

        Raises WireProblem. After an exception or a cancellation the connection is broken off.
        """
        assert self._transport is not None
        self._have, self._current, self._sink, self._small = 0, None, sink, bytearray()
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._answer = answer
        finished = False
        try:
            if body is None:
                self._transport.write(head)
                finished = True
            elif self._is_plain():
                finished = await self._send_past(head, body, answer)
            else:
                self._transport.write(head)
                async for blocks in body:
                    if answer.done() or not self.is_free:
                        break
                    self._transport.writelines(blocks)  # one system call, not one per block
                    if not self._writable.is_set():
                        await self._writable.wait()
                else:
                    finished = True
            return await answer
        finally:
            # an answer before the whole body was sent leaves bytes of it on the line
            if not finished or not answer.done() or answer.cancelled() or answer.exception() or not self._keep:
                self.abort()
            self._answer = self._sink = None

    # ---- reading an answer ----

    def _read_head(self) -> None:
        for _ in range(_MOST_HEADS):
            if not self._is_interim():
                return
        self._fail("protocol", f"sent {_MOST_HEADS} interim answers")

    def _is_interim(self) -> bool:
        """Read a head, if all of it is there; say whether it was an interim one (1xx) and another follows."""
        end = self._head.find(b"\r\n\r\n", 0, self._have)
        if end < 0:
            if self._have == _HEAD_BYTES:
                self._fail("protocol", f"sent more than {_HEAD_BYTES} bytes of headers")
            return False
        lines = bytes(self._head_view[:end]).split(b"\r\n")
        version, _, rest = lines[0].partition(b" ")
        code = rest[:3]
        if version not in (b"HTTP/1.1", b"HTTP/1.0") or len(code) < 3 or not code.isdigit() or code < b"100":
            self._fail("protocol", f"answered {lines[0][:80]!r}, which is not HTTP/1.1")
            return False
        headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(b":")
            if not colon:
                self._fail("protocol", f"sent {line[:80]!r} as a header")
                return False
            headers[name.lower()] = value.strip()
        status = int(code)
        over = self._have - end - 4
        if 100 <= status < 200:
            self._head_view[:over] = bytes(self._head_view[end + 4 : self._have])
            self._have = over
            return True
        self._begin_body(Answer(status, headers, 0), over, bytes(self._head_view[end + 4 : self._have]))
        return False

    def _begin_body(self, answer: Answer, over: int, rest: bytes) -> None:
        self._keep = answer.headers.get(b"connection", b"").lower() != b"close"
        self._is_chunked = answer.headers.get(b"transfer-encoding", b"").lower() == b"chunked"
        length = answer.headers.get(b"content-length", b"0" if answer.status == 204 else b"")
        self._into_sink = self._sink is not None and 200 <= answer.status < 300
        if self._is_chunked and not self._into_sink:
            self._left = _SMALL_BODY_BYTES
        elif length.isdigit() and len(length) < 16 and not self._is_chunked:
            self._left = answer.length = int(length)
            if over > self._left:
                return self._fail("protocol", f"sent {over - self._left} bytes more than it announced")
        else:
            return self._fail("protocol", "sent an answer without a content-length")
        if not self._into_sink and self._left > _SMALL_BODY_BYTES:
            return self._fail("protocol", f"sent {self._left} bytes where a short answer was due")
        self._current = answer
        if self._left == 0 and not self._is_chunked:
            return self._finish()
        if not rest:
            return None
        if not self._into_sink:
            return self._gather(memoryview(rest))
        at = 0
        while at < len(rest):
            room = self.get_buffer(0)
            part = min(len(room), len(rest) - at)
            if part == 0:
                return self._fail("protocol", f"sent {self._left} bytes more than were asked for")
            room[:part] = rest[at : at + part]
            at += part
            self._fill(part)
        return None

    def _fill(self, count: int) -> None:
        assert self._sink is not None and self._transport is not None
        self._sink.advance(count)
        self._left -= count
        if self._left == 0:
            self._finish()
        elif not len(self._sink.buffer()):
            self._pause()

    def _pause(self) -> None:
        assert self._sink is not None and self._transport is not None
        if self._sink.wait(self._resume):
            self._transport.pause_reading()
        else:
            self._fail("protocol", f"sent {self._left} bytes more than were asked for")

    def _resume(self) -> None:
        if self._is_pulling:
            self._pull()
        elif self._transport is not None and not self._transport.is_closing() and self._answer is not None:
            self._transport.resume_reading()

    # ---- long bodies: many blocks a system call, and one wake-up for many packets ----

    def _can_pull(self) -> bool:
        """Have the socket watched, and the loop leave it alone."""
        if self._intake is None or not self.is_free or not self._is_plain():
            return False
        assert self._socket is not None and self._transport is not None
        self._has_ended = False
        self._is_pulling = self._intake.add(self._socket, self._left, self._readable)
        if self._is_pulling:
            self._transport.pause_reading()
        return self._is_pulling

    def _is_plain(self) -> bool:
        """Open a second descriptor of the socket; not where TLS, or what the transport still has to write, stands between."""
        transport = self._transport
        if transport is None or transport.get_extra_info("sslcontext") or transport.get_write_buffer_size():
            return False
        if self._socket is None:
            try:
                self._socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
            except OSError:  # no descriptor is free: the transport does it, more slowly
                return False
        return True

    def _stop_pulling(self) -> None:
        if self._is_pulling and self._intake is not None and self._socket is not None:
            self._is_pulling = False
            self._intake.remove(self._socket)

    def _readable(self, has_ended: bool) -> None:
        self._has_ended |= has_ended
        self._pull()

    def _pull(self) -> None:
        """Take what has come, as far as the sink has room."""
        while self._is_pulling and self._sink is not None and self._socket is not None:
            rooms, count = self._rooms(self._sink)
            if not count:
                if not self._sink.wait(self._pull):
                    self._fail("protocol", f"sent {self._left} bytes more than were asked for")
                return
            try:
                taken = self._socket.recvmsg_into(rooms)[0]
            except BlockingIOError:
                return
            except OSError as error:
                return self._fail("broken", f"the connection broke off: {error}")
            if taken == 0:
                return self._fail("broken", "the connection broke off: closed")
            self._sink.advance(taken)
            self._left -= taken
            if self._left == 0:
                self._stop_pulling()
                assert self._transport is not None
                self._transport.resume_reading()
                return self._finish()
            if self._left < WAKE_BYTES:
                wake_at(self._socket, self._left)
            if taken < count and not self._has_ended:  # more will wake us
                return

    async def _send_past(self, head: bytes, body: Blocks, answer: asyncio.Future[Answer]) -> bool:
        """Send head and body past the transport; False when the other side wants no more.

        uvloop writes with the interpreter's lock held, so that whoever codes the next blocks would have to wait.
        """
        waiting: list[bytes | memoryview] = [head]
        async for blocks in body:
            waiting += blocks
            while waiting:
                if answer.done() or not self.is_free or self._socket is None:
                    return False
                try:
                    _drop(waiting, self._socket.sendmsg(waiting[:_MOST_BLOCKS]))
                except BlockingIOError:
                    self._writable.clear()
                    self._loop.add_writer(self._socket.fileno(), self._writable.set)
                    try:
                        await self._writable.wait()
                    finally:
                        if self._socket is not None:
                            self._loop.remove_writer(self._socket.fileno())
                except OSError:  # an answer may have come before: the transport tells
                    return False
        return True

    def _rooms(self, sink: Sink) -> tuple[list[memoryview], int]:
        """Return the sink's room for what is left, and how much it is."""
        rooms, count = sink.buffers(), 0
        for place, room in enumerate(rooms):
            count += len(room)
            if count >= self._left:
                rooms[place:] = [room[: len(room) + self._left - count]]
                return rooms, self._left
        return rooms, count

    def _gather(self, part: memoryview) -> None:
        self._small += part
        if self._is_chunked:
            if len(self._small) > _SMALL_BODY_BYTES:
                return self._fail("protocol", "sent a long answer where a short one was due")
            try:
                body = dechunked(bytes(self._small), _SMALL_BODY_BYTES)
            except ValueError:
                return self._fail("protocol", "sent a chunked body that is none")
            if body is None:
                return None
            self._small = bytearray(body)
            return self._finish()
        self._left -= len(part)
        if self._left < 0:
            return self._fail("protocol", f"sent {-self._left} bytes more than it announced")
        if self._left == 0:
            return self._finish()
        return None

    def _finish(self) -> None:
        assert self._current is not None and self._answer is not None
        self._writable.set()  # who still sends has to see that there is an answer
        self._current.body = bytes(self._small)
        if not self._answer.done():
            self._answer.set_result(self._current)

    def _fail(self, kind: str, message: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(WireProblem(kind, message))
        self.abort()


def _drop(waiting: list[bytes | memoryview], count: int) -> None:
    """Take the first `count` bytes out of a list of pieces."""
    place = 0
    while place < len(waiting) and count >= len(waiting[place]):
        count -= len(waiting[place])
        place += 1
    del waiting[:place]
    if count:
        waiting[0] = memoryview(waiting[0])[count:]
