"""A fast lane through uvicorn for the one request that matters most: a whole `POST /v1/reports` in one packet.

uvicorn's HTTP parser in Python (h11) and the ASGI machinery cost about three times what a signature costs. This
protocol looks at each new request: if it is complete, plain, and for `/v1/reports`, it is answered here; anything else
— other paths, chunked or partial bodies, pipelining, `Expect`, proxies' headers, any header not on the short list below
— is handed to h11 unchanged, byte for byte. So the lane never has to guess what an odd request means, and both ways
answer with the same function (`http.start_reports`).

Use: `uvicorn.Config(app, http=lane(intake), access_log=False)`.
"""

from __future__ import annotations

import asyncio
import http
from typing import Any, NamedTuple

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from fieldstone.intake.http import JSON, Answer, start_reports
from fieldstone.intake.pipeline import Intake

_REQUEST_LINE = b"POST /v1/reports HTTP/1.1\r\n"
_LONGEST_HEAD = 2_048
_MOST_HEADS = 2_048
_HARMLESS = frozenset({b"host", b"user-agent", b"accept-encoding"})
_STATUS_LINE = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus}


class _Head(NamedTuple):
    length: int
    media_type: str
    accept: str


def read_head(head: bytes) -> _Head | None:
    """Read the header lines of a report request (without the request line); None when h11 should judge them."""
    seen: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        name = name.lower()
        value = value.strip(b" \t")
        if not colon or name in seen or any(byte < 0x20 or byte > 0x7E for byte in value):
            return None
        seen[name] = value
    length = seen.pop(b"content-length", b"")
    media_type = seen.pop(b"content-type", b"")
    accept = seen.pop(b"accept", b"")
    if seen.pop(b"connection", b"keep-alive").lower() != b"keep-alive" or b"host" not in seen:
        return None
    if not length.isdigit() or len(length) > 9 or not seen.keys() <= _HARMLESS:
        return None
    return _Head(int(length), media_type.decode("ascii"), accept.decode("ascii"))


def lane(intake: Intake, *, head_timeout_s: float = 15.0) -> type[asyncio.Protocol]:
    """Return the protocol class for uvicorn's `http=`. `head_timeout_s`: how long a request's headers may take."""
    heads: dict[bytes, _Head | None] = {}
    defaults: tuple[Any, bytes, bytes] = (None, b"", b"")

    class ReportLane(H11Protocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._open = True  # h11 holds no unfinished request of this connection
            self._answering = False
            self._closing = False
            self._backlog = b""
            self._address = "local"
            self._last_head = b"\0"  # the last request's, with the blank line, and what it said
            self._last_reading: _Head | None = None
            self._idle_since = 0.0
            self._head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._address = self.client[0] if self.client else "local"
            self._head_timer = self.loop.call_later(head_timeout_s, self.timeout_keep_alive_handler)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_head_timer()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._answering:
                self._backlog += data
                self.flow.pause_reading()
                return
            if self._open and not self._is_crowded():
                if not data.startswith(self._last_head):  # usually the very head of the connection's request before
                    self._read_head(data)
                head, start = self._last_reading, len(self._last_head)
                if head is not None and len(data) == start + head.length:
                    if self._head_timer is not None:
                        self._stop_head_timer()
                    self._answering = True
                    start_reports(intake, data[start:], head.media_type, head.accept, self._address, self._reply)
                    return
            self._open = False
            super().data_received(data)
            self._watch_head()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            idle = self.conn.our_state is h11.IDLE and self.conn.their_state is h11.IDLE
            self._open = idle and not self.conn.trailing_data[0]

        def shutdown(self) -> None:
            if self._answering:
                self._closing = True
            else:
                super().shutdown()

        def _is_crowded(self) -> bool:
            return self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency

        def _read_head(self, data: bytes) -> None:
            """Note a report request's head and what it says; None in `_last_reading` for anything else."""
            self._last_head, self._last_reading = b"\0", None
            start = len(_REQUEST_LINE)
            if data.startswith(_REQUEST_LINE):
                end = data.find(b"\r\n\r\n", start, start + _LONGEST_HEAD)
                if end > 0:
                    self._last_head = data[: end + 4]
                    self._last_reading = _look_up(heads, data[start:end])

        def _reply(self, answer: Answer) -> None:
            self._answering = False
            self.server_state.total_requests += 1
            if self.transport.is_closing():
                return
            body = answer.body
            _, default_lines, usual = self._default_lines()
            if answer.status == 200 and answer.media_type is JSON and not self._closing:
                self.transport.write(b"%b%d\r\n\r\n%b" % (usual, len(body), body))
            else:
                lines = [_STATUS_LINE[answer.status], default_lines]
                if answer.retry_after_s:
                    lines.append(b"retry-after: %s\r\n" % answer.retry_after_s.encode())
                if self._closing:
                    lines.append(b"connection: close\r\n")
                lines.append(b"content-type: %s\r\n" % answer.media_type.encode())
                lines.append(b"content-length: %d\r\n\r\n" % len(body))
                self.transport.write(b"".join([*lines, body]))
            if self._closing:
                self.transport.close()
                return
            self._idle_since = self.loop.time()
            if self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)
            if self._backlog:
                backlog, self._backlog = self._backlog, b""
                self.flow.resume_reading()
                self.data_received(backlog)

        def _default_lines(self) -> tuple[Any, bytes, bytes]:
            """Return uvicorn's headers, the lines that every answer has, and the whole head of the usual answer up to its length."""
            nonlocal defaults
            headers = self.server_state.default_headers  # uvicorn makes a new list every second, for `date`
            if headers is not defaults[0]:
                lines = b"".join([b"%s: %s\r\n" % header for header in headers])
                usual = b"%bcontent-type: %b\r\ncontent-length: " % (_STATUS_LINE[200] + lines, JSON.encode())
                defaults = (headers, lines, usual)
            return defaults

        def _close_if_idle(self) -> None:
            """Close a connection that was idle for the keep-alive time; one timer per connection, not per request."""
            self.timeout_keep_alive_task = None
            left_s = self._idle_since + self.timeout_keep_alive - self.loop.time()
            if self._answering or left_s > 0:
                wait_s = max(left_s, 0.1)
                self.timeout_keep_alive_task = self.loop.call_later(wait_s, self._close_if_idle)
            elif self._open:
                self.timeout_keep_alive_handler()

        def _watch_head(self) -> None:
            """Close a connection that never finishes its headers; bodies have their own limit (`http.routes`)."""
            if self.conn.their_state is not h11.IDLE:
                self._stop_head_timer()
            elif self._head_timer is None and self.conn.trailing_data[0]:
                self._head_timer = self.loop.call_later(head_timeout_s, self.timeout_keep_alive_handler)

        def _stop_head_timer(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

    return ReportLane


def _look_up(heads: dict[bytes, _Head | None], head: bytes) -> _Head | None:
    """Read a head, remembering it: a device sends the same one with every report."""
    try:
        return heads[head]
    except KeyError:
        if len(heads) >= _MOST_HEADS:
            heads.clear()
        found = heads[head] = read_head(head)
        return found
