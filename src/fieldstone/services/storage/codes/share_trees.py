"""The audit trees of many shares that grow together, stripe by stripe: `fast_tree`, in half the time where it is compiled.

Loading compiled code takes a second (and the first time on a machine, ten), so it goes on in the background: until it is
there, and without numba, the trees come from `fast_tree` one by one. The commitments are the same.
"""

from __future__ import annotations

import functools
import importlib
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldstone.services.storage.codes import fast_tree
from fieldstone.services.storage.codes.buffer import Buffer

_KERNEL = "fieldstone.services.storage.codes.blake3_lanes"
_loaded: list[Any] = []


def load() -> bool:
    """Load the compiled code for the trees that are begun from now on; False where numba is not installed."""
    if not _loaded:
        try:
            _loaded.append(importlib.import_module(_KERNEL))
        except ImportError:
            return False
    return True


@functools.cache
def load_soon() -> threading.Thread:
    """Begin to `load`, once in a process."""
    thread = threading.Thread(target=load, name="load-blake3-lanes", daemon=True)
    thread.start()
    return thread


class Trees:
    """Build the trees of `count` shares in leaves of `leaf_bytes`. Not thread-safe; 32 bytes of memory per leaf."""

    def __init__(self, count: int, leaf_bytes: int = fast_tree.LEAF_BYTES) -> None:
        self._count, self._leaf_bytes = count, leaf_bytes
        self._kernel: Any = _loaded[0] if _loaded else None
        self._whole: list[NDArray[np.uint8]] = []  # leaf hashes of all shares, share by share, of each update
        self._size_bytes = 0  # of a share, in `_whole`
        self._rest: list[fast_tree.Hasher] = []  # from the first block on that is not whole leaves
        self._rooms: tuple[int, NDArray[np.uint32], NDArray[np.uint8]] | None = None

    def update(self, blocks: Sequence[Buffer]) -> None:
        """Take the next bytes of every share, as many of each."""
        size = len(blocks[0])
        if not self._rest and self._kernel is not None and self._has_shape(size):
            self._whole.append(self._hashed(blocks, size))
            self._size_bytes += size
            return
        if not self._rest:
            self._rest = [fast_tree.Hasher(self._leaf_bytes) for _ in range(self._count)]
        for hasher, block in zip(self._rest, blocks, strict=True):
            hasher.update(block)

    def commitments(self) -> list[bytes]:
        """Return what each share's receipt commits to."""
        rest = [hasher.finish() for hasher in self._rest]
        if not self._whole:
            empty = fast_tree.Hasher(self._leaf_bytes).finish()
            return [tree.commitment for tree in rest or [empty] * self._count]
        parts = [hashes.reshape(self._count, -1) for hashes in self._whole]
        if rest:
            parts.append(np.frombuffer(b"".join(tree.levels[0] for tree in rest), np.uint8).reshape(self._count, -1))
        row = self._kernel.HASH_BYTES
        width = sum(part.shape[1] for part in parts) // row
        leaves, slack = np.empty(self._count * width * row + 16 * row, np.uint8), np.empty((width + 16) * row, np.uint8)
        np.concatenate(parts, axis=1, out=leaves[: self._count * width * row].reshape(self._count, -1))
        tops = np.empty((self._count, row), np.uint8)
        self._kernel.tops(leaves.ctypes.data, width, self._count, slack.ctypes.data, tops.ctypes.data)
        size_bytes = self._size_bytes + (rest[0].size_bytes if rest else 0)
        return [fast_tree.commitment_of(size_bytes, self._leaf_bytes, top.tobytes()) for top in tops]

    def _has_shape(self, size: int) -> bool:
        """Say whether blocks are whole leaves, of 2^i KiB, and as many KiB as fill the lanes."""
        kernel, leaf = self._kernel, self._leaf_bytes
        return (
            size > 0
            and size % leaf == 0
            and leaf % kernel.CHUNK_BYTES == 0
            and leaf & (leaf - 1) == 0
            and size % (kernel.LANES * kernel.CHUNK_BYTES) == 0
        )

    def _hashed(self, blocks: Sequence[Buffer], size: int) -> NDArray[np.uint8]:
        kernel, leaf = self._kernel, self._leaf_bytes
        lanes, row = kernel.LANES, kernel.HASH_BYTES
        count = len(blocks) * (size // leaf)
        room = -(-count // lanes) * lanes
        kib = leaf // kernel.CHUNK_BYTES
        if self._rooms is None or self._rooms[0] != room:
            self._rooms = room, np.empty(room, np.uint32), np.empty((room * kib + 16) * row, np.uint8)
        views = [np.frombuffer(block, np.uint8) for block in blocks]
        sources = np.array([view.__array_interface__["data"][0] for view in views], np.uintp)
        found = np.empty(room * row, np.uint8)
        _, last, scratch = self._rooms
        kernel.leaf_hashes(sources, size // leaf, kib, last, scratch.ctypes.data, found.ctypes.data)
        return found[: count * row]
