"""A share on its way in: hashed while it arrives, durable before it is acknowledged.

It is renamed before it is synced, so that one transaction of the file system's journal holds both; the folder is synced
after that. What a loss of power can leave under a share's name is therefore an incomplete file that nobody has a receipt
for: its trailer does not fit, or the first look at its groups finds it out.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from fieldstone.services.storage.codes.fast_tree import Hasher
from fieldstone.services.storage.provider import index as index_
from fieldstone.services.storage.provider import sharefile
from fieldstone.services.storage.provider.commit import Change
from fieldstone.services.storage.provider.index import Row
from fieldstone.services.storage.provider.reading import Checked, mark_whole
from fieldstone.services.storage.provider.refusals import disk_refusal, refuse

PAGE_BYTES = 4_096
_DIRECT = getattr(os, "O_DIRECT", 0)

if TYPE_CHECKING:
    from fieldstone.services.storage.provider.store import Store


class Incoming:
    """A share on its way in. Feed it by `take`, then `finish` or `abort`; one thread at a time."""

    def __init__(
        self,
        store: Store,
        share: bytes,
        gateway: str,
        size_bytes: int,
        leaf_bytes: int,
        order_digest: bytes,
        temporary: str | None,
        reserved: int,
        held: Row | None,
        is_new: bool,
    ) -> None:
        self._store = store
        self._share, self._gateway, self._size, self._leaf_bytes = share, gateway, size_bytes, leaf_bytes
        self._order_digest = order_digest
        self._temporary = temporary  # None: the share is held already, its bytes are only compared
        self._placed: str | None = None
        self._is_new = is_new  # the index knows nothing of it, so a start after a crash would enter it from its file
        self._fd, self._is_direct = -1, False
        self._hasher = Hasher(leaf_bytes)
        self._taken = self._disk_bytes = 0
        self._checked = Checked()
        self._is_over = False
        self._lock = threading.Lock()  # `abort` may come while a thread still writes: its descriptor must not be reused
        self.reserved = reserved
        self.held = held

    def take(self, piece: memoryview) -> None:
        """Hash and write the next bytes. Touches the disk.

        Raises Rejected DISK_FULL or STORE_UNAVAILABLE; then `abort`.
        """
        with self._lock:
            if self._is_over:
                return
            self._hasher.update(piece)
            self._taken += len(piece)
            if self._temporary is not None:
                self._write(piece)

    def finish(self, buffer: memoryview | None = None, last_bytes: int = 0) -> Row:
        """Take the first `last_bytes` of `buffer` as the last piece, make the share durable and enter it; return its row.

        The rest of `buffer` may be written over. Touches the disk.
        Raises Rejected: WRONG_LENGTH, SHARE_CONFLICT, SHARE_DAMAGED (send it again), DISK_FULL, STORE_UNAVAILABLE; then
        `abort`.
        """
        with self._lock:
            return self._finish(buffer, last_bytes)

    def _finish(self, buffer: memoryview | None, last_bytes: int) -> Row:
        subject = self._share.hex()
        if self._is_over:
            raise refuse("STORE_UNAVAILABLE", subject, "the upload was given up")
        last = buffer[:last_bytes] if buffer is not None else memoryview(b"")
        self._hasher.update(last)
        self._taken += last_bytes
        if self._taken != self._size:
            raise refuse("WRONG_LENGTH", subject, f"{self._taken} bytes came, {self._size} were announced")
        tree = self._hasher.finish()
        root, kept = tree.commitment, tree.keep(sharefile.GROUP_BYTES)
        if self.held is not None and self.held.root != root:
            raise refuse("SHARE_CONFLICT", subject)
        store = self._store
        if self._temporary is None and self.held is not None:
            opened = store.open(self._share)  # a receipt says "I hold it": look before saying so again
            try:
                store.check(opened, 0, self._size)
            finally:
                opened.close()
            self._is_over = True
            store.unclaim(self._share)
            return self.held
        stored_ms = self.held.stored_ms if self.held is not None else store.clock.now_ms()
        meta = sharefile.Meta(
            share=self._share, gateway=self._gateway, size_bytes=self._size, leaf_bytes=self._leaf_bytes,
            height=kept.height, root=root, stored_ms=stored_ms, order=self._order_digest,
        )  # fmt: skip
        try:
            self._write_end(buffer, last, sharefile.trailer(meta, kept))
            self._place()
        except OSError as error:
            raise disk_refusal(error, subject) from None
        row = Row(
            self._share, self._gateway, self._size, self._leaf_bytes, root, stored_ms, self._order_digest,
            self._checked.file_bytes, "held", stored_ms,
        )  # fmt: skip
        if self._is_new:
            store.committer.enter(row)
        else:
            store.committer.submit(Change(lambda writer: index_.put_row(writer, row))).result()
        self._is_over = True
        before = self.held.disk_bytes if self.held is not None and self.held.state == "bad" else 0
        store.release(self.reserved, row.disk_bytes - before)
        store.remember(self._share, self._checked)
        store.unclaim(self._share)
        return row

    def _place(self) -> None:
        """Give the file its name and make both durable."""
        assert self._temporary is not None
        name = self._store.file_name(self._share)
        os.rename(self._temporary, name)
        self._placed = name
        os.fdatasync(self._fd)
        mark_whole(self._checked, self._fd, self._size, self._store.clock.now_ms())
        os.close(self._fd)
        self._fd = -1
        sync_folder(name[: name.rindex(os.sep)])

    def _write(self, piece: memoryview) -> None:
        try:
            if self._fd < 0:
                assert self._temporary is not None
                self._fd, self._is_direct = _create(self._temporary)
            if self._is_direct and not _is_aligned(piece):
                self._is_direct = _set_direct(self._fd, False)
            _write_all(self._fd, piece)
        except OSError as error:
            raise disk_refusal(error, self._share.hex()) from None

    def _write_end(self, buffer: memoryview | None, last: memoryview, tail: bytes) -> None:
        """Write the last piece and the trailer, in one go past the page cache where that is possible."""
        start, padded = len(last), -(-(len(last) + len(tail)) // PAGE_BYTES) * PAGE_BYTES
        if buffer is not None and padded <= len(buffer):
            buffer[start : padded - len(tail)] = bytes(padded - len(tail) - start)
            buffer[padded - len(tail) : padded] = tail
            self._write(buffer[:padded])
        else:
            self._write(last)
            self._write(memoryview(tail))

    def abort(self) -> None:
        """Forget what came so far. Safe to call at any time."""
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        stray = self._placed if self._placed is not None and self.held is None else self._temporary
        if stray is not None:
            with suppress(OSError):  # recovery sweeps it, or enters it: it may be whole
                os.unlink(stray)
        self._store.release(self.reserved)
        self._store.unclaim(self._share)


def _create(path: str) -> tuple[int, bool]:
    """Create a file, past the page cache if its file system can: half the CPU time, and nobody reads a new share soon."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags | _DIRECT, 0o600), _DIRECT != 0
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    with suppress(FileNotFoundError):
        os.unlink(path)
    return os.open(path, flags, 0o600), False


def sync_folder(folder: str) -> None:
    """Make a folder's entries durable. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _set_direct(fd: int, wanted: bool) -> bool:
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags | _DIRECT if wanted else flags & ~_DIRECT)
    return wanted


def _is_aligned(piece: memoryview) -> bool:
    return isinstance(piece.obj, mmap.mmap) and len(piece) % PAGE_BYTES == 0


def _write_all(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]
