"""Reading a share: what is handed out has been checked against the share's tree."""

from __future__ import annotations

import mmap
import os

from fieldstone.services.storage.codes.fast_tree import Kept
from fieldstone.services.storage.provider import sharefile
from fieldstone.services.storage.provider.index import Row
from fieldstone.services.storage.provider.sharefile import GROUP_BYTES, Damaged

RECHECK_MS = 86_400_000
_PAGE_BYTES = 4_096


class Checked:
    """Which groups of a share were found good (a bit each), in which state of its file, since when (Unix ms)."""

    __slots__ = ("file", "groups", "since_ms")

    def __init__(self) -> None:
        self.file: tuple[int, int, int] = (0, 0, 0)
        self.groups = 0
        self.since_ms = 0

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
            checked.file, checked.groups, checked.since_ms = file, 0, now_ms
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
    checked.file, checked.since_ms, checked.groups = _file(fd), now_ms, _bits(0, size_bytes)


def _bits(start: int, end: int) -> int:
    first, last = start // GROUP_BYTES, -(-end // GROUP_BYTES)
    return ((1 << (last - first)) - 1) << first


def _file(fd: int) -> tuple[int, int, int]:
    state = os.fstat(fd)
    return state.st_ino, state.st_mtime_ns, state.st_size
