"""Reading a share: what is handed out has been checked against the share's tree."""

from __future__ import annotations

import fcntl
import mmap
import os
from contextlib import suppress

from fieldstone.services.storage.codes.fast_tree import Kept
from fieldstone.services.storage.provider import sharefile
from fieldstone.services.storage.provider.index import Row
from fieldstone.services.storage.provider.sharefile import GROUP_BYTES, Damaged

RECHECK_MS = 86_400_000
LEAST_DIRECT_BYTES = 262_144  # shorter ranges always go through the page cache
_PAGE_BYTES = 4_096
_DIRECT = getattr(os, "O_DIRECT", 0)
_NO_WAIT: int | None = getattr(os, "RWF_NOWAIT", None)


class Checked:
    """Which groups of a share were found good (a bit each), in which state of its file, since when (Unix ms).

    `read`: which groups were handed out since then.
    """

    __slots__ = ("file", "groups", "read", "since_ms")

    def __init__(self) -> None:
        self.file: tuple[int, int, int] = (0, 0, 0)
        self.groups = self.read = 0
        self.since_ms = 0

    @property
    def file_bytes(self) -> int:
        """How long the file was."""
        return self.file[2]

    def is_current(self, file: tuple[int, int, int], now_ms: int) -> bool:
        """Say whether it still speaks of this file."""
        return self.file == file and 0 <= now_ms - self.since_ms < RECHECK_MS


class OpenShare:
    """An open share file."""

    def __init__(self, fd: int, row: Row, checked: Checked) -> None:
        self.fd, self.row = fd, row
        self._checked = checked

    def close(self) -> None:
        """Close the file."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def needs_check(self, start: int, end: int, now_ms: int) -> bool:
        """Say whether bytes start … end lie in a group that is not known to be good."""
        return not self._checked.is_current(_file(self.fd), now_ms) or _bits(start, end) & ~self._checked.groups != 0

    def check(self, start: int, end: int, now_ms: int) -> None:
        """Hash the groups that hold bytes start … end, unless they are known to be good. Raises Damaged, OSError."""
        checked, file = self._checked, _file(self.fd)
        if not checked.is_current(file, now_ms):
            checked.file, checked.groups, checked.read, checked.since_ms = file, 0, 0, now_ms
        missing = _bits(start, end) & ~checked.groups
        if not missing:
            return
        kept = self.kept()
        buffer = bytearray(GROUP_BYTES)
        while missing:
            number = (missing & -missing).bit_length() - 1
            self.path(number * GROUP_BYTES // self.row.leaf_bytes, kept, buffer)
            checked.groups |= 1 << number
            missing &= missing - 1

    def note_read(self, start: int, end: int) -> bool:
        """Note that bytes start … end go out; say whether most of them did lately, so that caching them pays."""
        wanted, checked = _bits(start, end), self._checked
        before = (wanted & checked.read).bit_count()
        checked.read |= wanted
        return 2 * before > wanted.bit_count()

    def is_cached(self, offset: int) -> bool:
        """Say whether the page at `offset` is in memory."""
        try:
            return _NO_WAIT is not None and os.preadv(self.fd, [bytearray(1)], offset, _NO_WAIT) == 1
        except OSError:  # it is not (BlockingIOError), or this file system cannot tell
            return False

    def set_direct(self, wanted: bool) -> bool:
        """Read past the page cache from now on, or through it; say whether reads go past it."""
        flags = fcntl.fcntl(self.fd, fcntl.F_GETFL)
        with suppress(OSError):  # a file system without: tmpfs, some network ones
            fcntl.fcntl(self.fd, fcntl.F_SETFL, flags | _DIRECT if wanted else flags & ~_DIRECT)
            return wanted and bool(_DIRECT)
        return False

    def kept(self) -> Kept:
        """Return the stored levels of the tree. Raises Damaged when they are not the acknowledged ones."""
        meta, kept = sharefile.read_trailer(self.fd)
        if (meta.share, meta.root, meta.size_bytes) != (self.row.share, self.row.root, self.row.size_bytes):
            raise Damaged("the file is another share's")
        return kept

    def path(self, leaf_index: int, kept: Kept, buffer: bytearray | mmap.mmap) -> tuple[memoryview, tuple[bytes, ...]]:
        """Read and check the group of a leaf; return (the leaf, its path). Raises Damaged, OSError."""
        start, end = kept.group_range(leaf_index)
        whole = memoryview(buffer)
        view = whole[: end - start]
        wanted = -(-len(view) // _PAGE_BYTES) * _PAGE_BYTES  # whole pages: reading past the page cache wants it
        if os.preadv(self.fd, [whole[:wanted]], start) < len(view):
            raise Damaged(f"the file ends before byte {end}")
        path = kept.path(leaf_index, view)
        if path is None:
            raise Damaged(f"bytes {start} … {end} are not what was stored")
        at = leaf_index * kept.leaf_bytes - start
        return view[at : at + kept.leaf_bytes], path


def mark_whole(checked: Checked, fd: int, size_bytes: int, now_ms: int) -> None:
    """Note that all bytes of a file just written are good: they were hashed on their way in."""
    checked.file, checked.since_ms, checked.read = _file(fd), now_ms, 0
    checked.groups = _bits(0, size_bytes)


def _bits(start: int, end: int) -> int:
    first, last = start // GROUP_BYTES, -(-end // GROUP_BYTES)
    return ((1 << (last - first)) - 1) << first


def _file(fd: int) -> tuple[int, int, int]:
    state = os.fstat(fd)
    return state.st_ino, state.st_mtime_ns, state.st_size
