"""Send a share's bytes from its file to a socket: by `sendfile` what is in memory, past the page cache what is not.

Called in threads; whoever reads slowly is left to the event loop (`offset` says where to go on).
"""

from __future__ import annotations

import errno
import os
import select
import socket

from fieldstone.services.storage.provider.door import Door, FileRange
from fieldstone.services.storage.provider.reading import LEAST_DIRECT_BYTES

SEND_PATIENCE_S = 30.0

_SEND_BYTES = 1_048_576
_DIRECT_BYTES = 2_097_152
_PAGE_BYTES = 4_096
_POLL_MS = 50


def send_first(door: Door, connection: socket.socket, head: bytes, file: FileRange) -> int:
    """Begin an answer in a thread; return how far it came. Raises OSError."""
    is_direct = not file.again and file.end - file.start >= LEAST_DIRECT_BYTES and not file.opened.is_cached(file.start)
    if not is_direct or not file.opened.set_direct(True):
        return send_head(connection, head, file)
    buffer = door.buffers.take()
    try:
        return _send_direct(connection, head, file, memoryview(buffer))
    finally:
        door.buffers.give_back(buffer)
        file.opened.set_direct(False)


def _send_direct(connection: socket.socket, head: bytes, file: FileRange, room: memoryview) -> int:
    offset = file.start
    while offset < file.end:
        skipped = offset % _PAGE_BYTES
        count = os.preadv(file.opened.fd, [room[:_DIRECT_BYTES]], offset - skipped)
        piece = room[skipped : min(count, file.end - offset + skipped)]
        if not piece:
            raise OSError(errno.EIO, "the file ended early")
        while head or piece:
            try:
                sent = connection.sendmsg((head, piece))
            except BlockingIOError:
                if not _poll(connection, _POLL_MS if not head else int(SEND_PATIENCE_S * 1_000)):
                    if head:
                        raise TimeoutError from None
                    return offset  # a slow reader: the rest goes through the page cache
                continue
            from_head = min(sent, len(head))
            head = head[from_head:]
            piece = piece[sent - from_head :]
            offset += sent - from_head
    return offset


def send_head(
    connection: socket.socket, head: bytes, file: FileRange, wait_ms: int = int(SEND_PATIENCE_S * 1_000)
) -> int:
    """Send head and file; return how far it came. Raises OSError; BlockingIOError when not even the head began to go."""
    began = False
    while head:
        try:
            head = head[connection.send(head, socket.MSG_MORE) :]
            began = True
        except BlockingIOError:
            if not (began or wait_ms):
                raise
            if not _poll(connection, int(SEND_PATIENCE_S * 1_000) if wait_ms else _POLL_MS):
                raise TimeoutError from None
    return send_file(connection, file, file.start, _POLL_MS if wait_ms else 0)


def send_file(connection: socket.socket, file: FileRange, offset: int, wait_ms: int = _POLL_MS) -> int:
    """Send what the socket takes now, waiting for a moment at a time; return how far it came. Raises OSError."""
    while offset < file.end:
        try:
            sent = os.sendfile(connection.fileno(), file.opened.fd, offset, min(_SEND_BYTES, file.end - offset))
        except BlockingIOError:
            if not _poll(connection, wait_ms):
                return offset
            continue
        if sent == 0:
            raise OSError(errno.EIO, "the file ended early")
        offset += sent
    return offset


def is_writable(connection: socket.socket) -> bool:
    """Say whether a socket takes something now. Raises OSError when it is closed."""
    return _poll(connection, 0)


def _poll(connection: socket.socket, wait_ms: int) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    return bool(poll.poll(wait_ms))
