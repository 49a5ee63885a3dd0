"""Share bytes straight between socket and file: a fast lane through uvicorn for plain PUT and GET of shares.

Through ASGI each byte of a body is copied four times before it is hashed, and each 64 KiB costs several turns of the
event loop. Here a PUT's bytes are read by the kernel into the buffer that is hashed and written (`lane_body`). A GET's
go out by `sendfile` where they are in memory; what is read from the disk for the first time goes past the page cache,
which costs less and pushes nothing else out. Only requests that are complete, plain and have nothing but well-known
headers go this way; everything else, and everything over TLS, is handed to httptools unchanged. Both ways ask the same
`Door`.

Slow clients: a request's head has 15 s and 64 KiB, a body the Door's patience, an answer 30 s without progress. Threads are
only for sockets that take something now: who does not read keeps no thread. Too many connections: `crowd`.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import os
import socket
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fieldstone.errors import Rejected
from fieldstone.services.storage.provider.crowd import Crowd
from fieldstone.services.storage.provider.door import Answer, Asked, Door, FileRange, stored
from fieldstone.services.storage.provider.lane_body import LaneBody
from fieldstone.services.storage.provider.lane_head import read_head
from fieldstone.services.storage.provider.reading import LEAST_DIRECT_BYTES
from fieldstone.services.storage.provider.sending import SEND_PATIENCE_S, is_writable, send_file, send_first, send_head
from fieldstone.services.storage.provider.taking import Coming, Gone

HEAD_PATIENCE_S = 15.0

_PUT, _GET = b"PUT /v1/shares/", b"GET /v1/shares/"
_LONGEST_HEAD = 8_192
_LONGEST_UNREAD_HEAD = 65_536
_MOST_DROPPED_BYTES = 16_777_216  # of a refused body: closing at once would destroy the answer on its way (RST)
_STATUS_LINE = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus}


def lane(door: Door, crowd: Crowd) -> type[asyncio.Protocol]:
    """Return the protocol class for uvicorn's `http=`."""
    senders = ThreadPoolExecutor(8, thread_name_prefix="send")

    class ShareLane(HttpToolsProtocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._busy = False  # a request is answered here, not by httptools
            self._partial = False  # httptools has seen part of a request
            self._closing = False
            self._backlog = b""
            self._head_timer: asyncio.TimerHandle | None = None
            self._unanswered = self._most_unanswered = 0  # bytes that came since the timer began, and how many may

        # what the transport and httptools call

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            try:
                descriptor = os.dup(transport.get_extra_info("socket").fileno())
            except OSError:  # no descriptors: better one connection less than one that cannot be served
                self.socket = socket.socket()
                transport.abort()
                return
            self.socket = socket.socket(fileno=descriptor)  # the loop's own stands for one that it alone may use
            self._start_head_timer()
            crowd.came(self)

        def connection_lost(self, exc: Exception | None) -> None:
            crowd.left(self)
            self._stop_head_timer()
            self._unset_keepalive_if_required()
            if not self._busy:
                self.socket.close()
            super().connection_lost(exc)

        @property
        def is_busy(self) -> bool:
            return self._busy

        def leave(self) -> None:
            """Close at once: there are too many of us."""
            self.transport.abort()

        def data_received(self, data: bytes) -> None:
            if self._busy:  # a pipelined request: wait for its turn
                self._backlog += data
                self.flow.pause_reading()
                return
            if self._is_plain(data):
                end = data.find(b"\r\n\r\n", 0, _LONGEST_HEAD)
                head = read_head(data[len(_PUT) : end]) if end > 0 else None
                rest = data[end + 4 :]
                if head is not None and self._fits(data, head[2], rest):
                    self._begin()
                    if data.startswith(_GET):
                        self._get(head[0], head[1])
                        return
                    self._put(*head, LaneBody(self, rest, head[2] or 0))  # it stops the reading before more comes
                    return
            self._unanswered += len(data)
            super().data_received(data)
            if self._head_timer is not None and self._unanswered > self._most_unanswered:
                self.transport.abort()  # a head without end, or a refused body: it would all be kept in memory

        def on_message_begin(self) -> None:
            self._partial = True
            if self._head_timer is None:
                self._start_head_timer()
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._stop_head_timer()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._partial = False
            self._stop_head_timer()
            super().on_message_complete()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self._partial and self._head_timer is None:  # refused: the rest of its body is dropped, for a while
                self._start_head_timer(_MOST_DROPPED_BYTES)

        def shutdown(self) -> None:
            if self._busy:
                self._closing = True
            else:
                super().shutdown()

        # the lane

        def _is_plain(self, data: bytes) -> bool:
            if not data.startswith((_PUT, _GET)) or self._partial or self.pipeline or self.scheme != "http":
                return False
            if self.cycle is not None and not self.cycle.response_complete:
                return False
            crowded = self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency
            return not crowded and self.transport.get_write_buffer_size() == 0

        def _fits(self, data: bytes, length: int | None, rest: bytes) -> bool:
            if data.startswith(_PUT):
                return length is not None and len(rest) <= length
            return not length and not rest

        def _begin(self) -> None:
            self._stop_head_timer()
            self._unset_keepalive_if_required()
            self._busy = True

        def _start(self, work: Coroutine[Any, Any, None]) -> None:
            task = self.loop.create_task(work)
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

        def _put(self, name: str, order: bytes | None, length: int | None, body: LaneBody) -> None:
            """Hand a store to a thread; what is refused at once never gets one."""
            try:
                coming = door.expect(name, order, length)
            except Rejected as error:
                self._start(self._put_stranger(error, name, order, length, body))
            except BaseException:
                self._leave()
                raise
            else:
                self._take(coming, body)

        async def _put_stranger(
            self, error: Rejected, name: str, order: bytes | None, length: int | None, body: LaneBody
        ) -> None:
            try:
                coming = await door.expect_stranger(error, name, order, length)
            except Rejected as refused:
                await self._refuse(refused, body)
            except BaseException:
                self._leave()
                raise
            else:
                self._take(coming, body)

        def _take(self, coming: Coming, body: LaneBody) -> None:
            gateway = coming.order.record.gateway
            crowd.known(self, gateway)

            def start() -> None:
                self._when_done(door.taking.receive(coming, body), self._taken, body, gateway)

            door.turns.begin(gateway, start)

        def _taken(self, future: Future[bytes], body: LaneBody, gateway: str) -> None:
            door.turns.end(gateway)
            error = future.exception()
            if isinstance(error, Rejected):
                self._start(self._refuse(error, body))
            elif error is not None:
                self._leave()
                if not isinstance(error, Gone):
                    raise error
            else:
                self._write(stored(future.result()))
                self._end()

        async def _refuse(self, error: Rejected, body: LaneBody) -> None:
            """Answer, and take what still comes of the body: closing at once would destroy the answer on its way."""
            if body.left > _MOST_DROPPED_BYTES:
                self._closing = True
            self._write(door.problem(error))
            if body.left and not self._closing and not await body.drop():
                self._closing = True
            self._end()

        def _get(self, name: str, order: bytes | None) -> None:
            """Answer a read in this turn of the loop, where nothing has to be waited for."""
            try:
                asked = door.ask(name, order)
                crowd.known(self, asked.order.record.gateway)
                if asked.needs_check:
                    self._start(self._check(asked))
                    return
                answer = door.hand_out(asked)
            except Rejected as error:
                self._write(door.problem(error))
                self._end()
                return
            except BaseException:
                self._leave()
                raise
            self._send(answer)

        async def _check(self, asked: Asked) -> None:
            try:
                await door.run(door.store.check, asked.opened, asked.start, asked.end)
                answer = door.hand_out(asked)
            except Rejected as error:
                asked.opened.close()
                self._write(door.problem(error))
                self._end()
                return
            except BaseException:
                asked.opened.close()
                self._leave()
                raise
            self._send(answer)

        def _send(self, answer: Answer) -> None:
            """Begin to send: what is short and in memory at once, anything else from a thread."""
            file = answer.file
            assert file is not None
            head = self._head(answer, file.end - file.start)
            is_short = file.end - file.start < LEAST_DIRECT_BYTES
            if is_short and is_writable(self.socket) and file.opened.is_cached(file.start):
                try:
                    offset = send_head(self.socket, head, file, 0)
                except BlockingIOError:  # nothing of the head went out
                    self._in_thread(file, send_head, self.socket, head, file)
                except OSError:
                    self._finish(file, None)
                else:
                    self._finish(file, offset)
            else:
                self._in_thread(file, send_first, door, self.socket, head, file)

        def _in_thread(self, file: FileRange, work: Callable[..., int], *arguments: Any) -> None:
            if is_writable(self.socket):
                self._when_done(senders.submit(work, *arguments), self._sent, file)
            else:
                self._start(self._when_writable(file, work, *arguments))

        async def _when_writable(self, file: FileRange, work: Callable[..., int], *arguments: Any) -> None:
            """Answer who has not read what came before: no thread waits for that."""
            try:
                await _writable(self.loop, self.socket)
            except (OSError, TimeoutError):
                self._finish(file, None)
            except BaseException:
                file.opened.close()
                self._leave()
                raise
            else:
                self._when_done(senders.submit(work, *arguments), self._sent, file)

        def _sent(self, future: Future[int], file: FileRange) -> None:
            self._finish(file, None if future.exception() else future.result())

        def _when_done(self, future: Future[Any], then: Callable[..., None], *arguments: Any) -> None:
            """Call `then` in the event loop with the future of what a thread does."""

            def done(future: Future[Any]) -> None:
                with contextlib.suppress(RuntimeError):  # the loop is gone
                    self.loop.call_soon_threadsafe(then, future, *arguments)

            future.add_done_callback(done)

        def _finish(self, file: FileRange, offset: int | None) -> None:
            """Go on behind what was sent; None: the connection or the file broke."""
            if offset is not None and offset < file.end:
                self._start(self._send_rest(file, offset))
                return
            file.opened.close()
            if offset is None:
                self._leave()
            else:
                self._end()

        async def _send_rest(self, file: FileRange, offset: int) -> None:
            """Send to a slow reader; no thread waits for it."""
            try:
                while offset < file.end:
                    await _writable(self.loop, self.socket)
                    offset = await self.loop.run_in_executor(senders, send_file, self.socket, file, offset)
            except (OSError, TimeoutError):
                self._leave()
                return
            except BaseException:
                self._leave()
                raise
            finally:
                file.opened.close()
            self._end()

        def _write(self, answer: Answer) -> None:
            if not self.transport.is_closing():
                self.transport.write(self._head(answer, len(answer.body)) + answer.body)

        def _head(self, answer: Answer, length: int) -> bytes:
            lines = [_STATUS_LINE[answer.status]]
            lines += [b"%s: %s\r\n" % header for header in self.server_state.default_headers]
            lines += [f"{name}: {value}\r\n".encode() for name, value in answer.headers]
            if self._closing:
                lines.append(b"connection: close\r\n")
            lines.append(b"content-type: %s\r\ncontent-length: %d\r\n\r\n" % (answer.media_type.encode(), length))
            return b"".join(lines)

        def _leave(self) -> None:
            self._busy = False
            if self.transport.is_closing():
                self.socket.close()
            self.transport.abort()

        def _end(self) -> None:
            self._busy = False
            self.server_state.total_requests += 1
            if self.transport.is_closing():
                self.socket.close()
                return
            if self._closing:
                self.transport.close()
                return
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
            self.flow.resume_reading()
            if self._backlog:
                backlog, self._backlog = self._backlog, b""
                self.data_received(backlog)

        def _start_head_timer(self, most_bytes: int = _LONGEST_UNREAD_HEAD) -> None:
            self._unanswered, self._most_unanswered = 0, most_bytes
            self._head_timer = self.loop.call_later(HEAD_PATIENCE_S, self.timeout_keep_alive_handler)

        def _stop_head_timer(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

    return ShareLane


async def _writable(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    """Wait until the socket takes more. Raises TimeoutError."""
    ready = loop.create_future()
    loop.add_writer(connection.fileno(), _set, ready)
    try:
        async with asyncio.timeout(SEND_PATIENCE_S):
            await ready
    finally:
        loop.remove_writer(connection.fileno())


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
