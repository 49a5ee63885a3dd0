"""Long bodies past the event loop's own reading: many sockets behind one descriptor, asked when it pays.

A loop reads a socket when anything has come, and to stop it costs as much as to read: two system calls to let go of the
socket and two to take it up again, a dozen times per share. Here every socket is watched from the first to the last byte,
edge by edge, so one that nobody reads from is simply left alone, and a socket is worth waking up for only when many
bytes have come. Linux only; elsewhere bodies come through the loop.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable
from contextlib import suppress

WAKE_BYTES = 262_144  # fewer wake nobody, unless they are the last
_EVENTS = 64  # asked for at a time


class Intake:
    """Sockets of which each has a function that is called when it may have bytes (or has broken off)."""

    def __init__(self) -> None:
        self._poll: select.epoll | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready: dict[int, Callable[[bool], None]] = {}

    def add(self, descriptor: socket.socket, left: int, ready: Callable[[bool], None]) -> bool:
        """Watch a socket of whose body `left` bytes are to come; False where that is not possible.

        `ready` has to read until less comes than it has room for, or again when it has room. It hears whether the other
        side has ended, which is said once: then it has to read to the end.
        """
        loop = asyncio.get_running_loop()
        if self._poll is None or self._loop is not loop:
            if not hasattr(select, "epoll"):
                return False
            self.close()
            self._poll, self._loop = select.epoll(), loop
            loop.add_reader(self._poll.fileno(), self._look)
        self._ready[descriptor.fileno()] = ready
        wake_at(descriptor, left)
        self._poll.register(descriptor.fileno(), select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
        return True

    def remove(self, descriptor: socket.socket) -> None:
        """Let a socket go, before it is closed: another descriptor of it may stay open."""
        if self._ready.pop(descriptor.fileno(), None) is not None and self._poll is not None:
            with suppress(OSError):
                self._poll.unregister(descriptor.fileno())
            wake_at(descriptor, 1)

    def close(self) -> None:
        """Stop watching."""
        if self._poll is None or self._loop is None:
            return
        if not self._loop.is_closed():
            self._loop.remove_reader(self._poll.fileno())
        self._poll.close()
        self._poll = None
        self._ready.clear()

    def _look(self) -> None:
        if self._poll is None:
            return
        for descriptor, events in self._poll.poll(0, _EVENTS):
            ready = self._ready.get(descriptor)
            if ready is not None:
                ready(events & ~select.EPOLLIN != 0)


def wake_at(descriptor: socket.socket, left: int) -> None:
    """Let the system wake us for a socket when WAKE_BYTES have come, or all that are `left`."""
    with suppress(OSError):  # only a hint
        descriptor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, min(left, WAKE_BYTES))
