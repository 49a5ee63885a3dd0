"""A body on the fast lane: from the socket into the memory that is hashed and written, with few wake-ups and no copies.

A thread reads it (`receive`); the event loop reads only what is left of a refused one (`drop`), so that strangers take
nobody's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import time
from typing import Any

from fieldstone.services.storage.provider.taking import Gone

_DROP_PATIENCE_S = 15.0
_WAKE_BYTES = 262_144


class LaneBody(asyncio.BufferedProtocol):
    """A request's body: takes the connection's reading over while a buffer is filled."""

    def __init__(self, owner: Any, first: bytes, length: int) -> None:
        self._owner, self._transport = owner, owner.transport
        self._first = memoryview(first)
        self._view = memoryview(b"")
        self._at = 0
        self._has_mark = False
        self._mark = 1
        self._filled: asyncio.Future[None] | None = None
        self._poll: select.poll | None = None
        self.left = length
        if length > len(first):
            owner.flow.pause_reading()

    async def fill(self, view: memoryview) -> None:
        """Fill `view`. Raises Gone."""
        part = self._first[: len(view)]
        view[: len(part)] = part
        self._first = self._first[len(part) :]
        self._at = len(part)
        if self._at < len(view):
            self._view = view
            self._filled = asyncio.get_running_loop().create_future()
            self._has_mark = len(view) - self._at > _WAKE_BYTES
            if self._has_mark:
                self._wake_at(_WAKE_BYTES)
            self._transport.set_protocol(self)
            self._owner.flow.resume_reading()
            try:
                await self._filled
            finally:
                self._owner.flow.pause_reading()
                self._transport.set_protocol(self._owner)
                self._view, self._filled = memoryview(b""), None
                if self._has_mark and not self._transport.is_closing():
                    self._wake_at(1)
        self.left -= len(view)

    def receive(self, view: memoryview, patience_s: float) -> None:
        """Fill `view` in the calling thread, which alone reads meanwhile. Raises Gone, TimeoutError.

        Call `received` afterwards, whatever happened.
        """
        deadline_s = time.monotonic() + patience_s
        part = self._first[: len(view)]
        at = len(part)
        view[:at] = part
        self._first = self._first[at:]
        self.left -= at
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._owner.socket, select.POLLIN)
        while at < len(view):
            self._wake_at(len(view) - at)
            if not self._poll.poll(max(0.0, deadline_s - time.monotonic()) * 1_000):
                raise TimeoutError
            try:
                count = self._owner.socket.recv_into(view[at:])
            except BlockingIOError:
                continue
            except OSError:
                raise Gone from None
            if not count:
                raise Gone
            at += count
            self.left -= count

    def received(self) -> None:
        """Give the reading back to the event loop."""
        self._wake_at(1)

    def stop(self) -> None:
        """Make `receive` end now, from another thread; the connection is lost."""
        with contextlib.suppress(OSError):
            self._owner.socket.shutdown(socket.SHUT_RDWR)

    async def drop(self) -> bool:
        """Read the rest and forget it; say whether it came in time."""
        scratch = memoryview(bytearray(min(self.left, _WAKE_BYTES)))
        try:
            async with asyncio.timeout(_DROP_PATIENCE_S):
                while self.left:
                    await self.fill(scratch[: min(self.left, len(scratch))])
        except (Gone, TimeoutError):
            return False
        return True

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go: never more than is asked for, so a next request stays in the socket."""
        return self._view[self._at :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take note of bytes that came."""
        self._at += nbytes
        left = len(self._view) - self._at
        if left == 0:
            self._owner.flow.pause_reading()
            if self._filled is not None and not self._filled.done():
                self._filled.set_result(None)
        elif self._has_mark and left < _WAKE_BYTES:
            self._wake_at(left)

    def eof_received(self) -> bool:
        """The client will send no more: the body is short."""
        self._fail()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever fills, and the protocol that owns the connection."""
        self._fail()
        self._owner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Hand on."""
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        """Hand on."""
        self._owner.resume_writing()

    def shutdown(self) -> None:
        """Hand on."""
        self._owner.shutdown()

    def _fail(self) -> None:
        if self._filled is not None and not self._filled.done():
            self._filled.set_exception(Gone())

    def _wake_at(self, count: int) -> None:
        """Be woken when so many bytes have come, not for each packet; only a hint, so failures do not matter."""
        if count == self._mark:
            return
        with contextlib.suppress(OSError):
            self._owner.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
            self._mark = count
