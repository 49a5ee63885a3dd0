"""The audit tree of a share: BLAKE3 over leaves of 64 KiB, so that a few hundred bytes tie a KiB to its share.

    leaf       = BLAKE3(data)                        the last leaf may be short and is never padded
    node       = BLAKE3(left ‖ right)                an odd node moves up unchanged
    commitment = BLAKE3(version u32 ‖ leaf size u32 ‖ share length u64 ‖ top)     integers little-endian

each in BLAKE3's keyed mode under a public key of its own: the three are separate domains and the length is bound into the
commitment, so no inner node can pose as a leaf and no short tree as a long one. A byte in front would separate them too,
but then every leaf is copied to stand behind it and all of its chunks lie one byte off. The length of a path follows from
(length, index) alone. Proofs go on below: `chunk_opening`.

A provider keeps the levels from groups of leaves upward (`Kept`): one proof re-reads one group, not the share.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from blake3 import blake3

from fieldstone.errors import UsageError
from fieldstone.services.storage.codes.buffer import Buffer

VERSION = 2
LEAF_BYTES = 64 * 1024
HASH_BYTES = 32
LEAF_KEY = b"Fieldstone storage: a share leaf"
NODE_KEY = b"Fieldstone storage: a tree node."
SHARE_KEY = b"Fieldstone storage: a commitment"
_GROUP_BYTES = 128 * 1024


def leaf_hash(data: Buffer) -> bytes:
    """Return the hash of one leaf."""
    return blake3(data, key=LEAF_KEY).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash over two hashes."""
    return blake3(left + right, key=NODE_KEY).digest()


def commitment_of(size_bytes: int, leaf_bytes: int, top: bytes) -> bytes:
    """Return what a receipt commits to: the top of the tree together with the shape of the share."""
    return blake3(struct.pack("<IIQ", VERSION, leaf_bytes, size_bytes) + top, key=SHARE_KEY).digest()


def leaf_count(size_bytes: int, leaf_bytes: int) -> int:
    """Return the number of leaves; an empty share has one, empty. Raises UsageError for an impossible shape."""
    if size_bytes < 0 or size_bytes >= 2**64 or not 1 <= leaf_bytes < 2**32:
        raise UsageError(f"no audit tree over {size_bytes} bytes in leaves of {leaf_bytes}")
    return max(1, -(-size_bytes // leaf_bytes))


def leaf_range(size_bytes: int, leaf_bytes: int, index: int) -> tuple[int, int]:
    """Return the bytes (half open) of leaf `index`. Raises UsageError for an index that the share does not have."""
    if not 0 <= index < leaf_count(size_bytes, leaf_bytes):
        raise UsageError(f"leaf {index} is not in a share of {size_bytes} bytes in leaves of {leaf_bytes}")
    return index * leaf_bytes, min(size_bytes, (index + 1) * leaf_bytes)


@dataclass(frozen=True)
class Tree:
    """All levels of a share's tree: `levels[0]` the leaf hashes one after another, the last level the top."""

    size_bytes: int
    leaf_bytes: int
    levels: tuple[bytes, ...]

    @classmethod
    def build(cls, data: Buffer, leaf_bytes: int = LEAF_BYTES) -> Tree:
        """Hash a whole share."""
        hasher = Hasher(leaf_bytes)
        hasher.update(data)
        return hasher.finish()

    @property
    def top(self) -> bytes:
        """The hash over all leaves."""
        return self.levels[-1]

    @property
    def commitment(self) -> bytes:
        """What a receipt commits to."""
        return commitment_of(self.size_bytes, self.leaf_bytes, self.top)

    def proof(self, index: int) -> tuple[bytes, ...]:
        """Return the path of leaf `index`, from leaf to top. Raises UsageError for an index outside the share."""
        leaf_range(self.size_bytes, self.leaf_bytes, index)
        return tuple(_path(self.levels, index))

    def keep(self, group_bytes: int = _GROUP_BYTES) -> Kept:
        """Return the levels from groups of about `group_bytes` upward: what a provider stores beside the share."""
        height = max(0, (group_bytes // self.leaf_bytes).bit_length() - 1)
        height = min(height, len(self.levels) - 1)
        return Kept(self.size_bytes, self.leaf_bytes, height, b"".join(self.levels[height:]))


class Hasher:
    """Build a tree as bytes arrive. Not thread-safe; memory: 64 bytes per leaf plus at most one leaf."""

    def __init__(self, leaf_bytes: int = LEAF_BYTES) -> None:
        leaf_count(0, leaf_bytes)
        self._leaf_bytes = leaf_bytes
        self._size_bytes = 0
        self._leaves: list[bytes] = []
        self._open = blake3(key=LEAF_KEY)
        self._open_bytes = 0

    def update(self, data: Buffer) -> None:
        """Take the next bytes of the share."""
        view = memoryview(data).cast("B")
        self._size_bytes += view.nbytes
        at = 0
        if self._open_bytes:
            at = min(self._leaf_bytes - self._open_bytes, view.nbytes)
            self._feed(view[:at])
        leaf_bytes, append = self._leaf_bytes, self._leaves.append
        while view.nbytes - at >= leaf_bytes:
            append(blake3(view[at : at + leaf_bytes], key=LEAF_KEY).digest())
            at += leaf_bytes
        if at < view.nbytes:
            self._feed(view[at:])

    def finish(self) -> Tree:
        """Return the tree over everything so far; more may follow."""
        leaves = self._leaves
        if self._open_bytes or not leaves:
            leaves = [*leaves, self._open.digest()]
        return Tree(self._size_bytes, self._leaf_bytes, _levels(b"".join(leaves)))

    def _feed(self, part: memoryview) -> None:
        self._open.update(part)
        self._open_bytes += part.nbytes
        if self._open_bytes == self._leaf_bytes:
            self._leaves.append(self._open.digest())
            self._open = blake3(key=LEAF_KEY)
            self._open_bytes = 0


@dataclass(frozen=True)
class Kept:
    """The upper levels of a share's tree. `height`: level of the lowest kept nodes; each stands over 2^height leaves."""

    size_bytes: int
    leaf_bytes: int
    height: int
    nodes: bytes

    def __post_init__(self) -> None:
        if len(self.nodes) != HASH_BYTES * sum(self._widths()):
            raise UsageError(
                f"{len(self.nodes)} bytes of tree nodes do not fit a share of {self.size_bytes} bytes "
                f"in leaves of {self.leaf_bytes}: build the tree again from the share"
            )

    @property
    def commitment(self) -> bytes:
        """What the receipt of the share committed to, if the nodes are intact."""
        return commitment_of(self.size_bytes, self.leaf_bytes, self.nodes[-HASH_BYTES:])

    def group_range(self, index: int) -> tuple[int, int]:
        """Return the bytes (half open) of the share that a proof of leaf `index` re-reads. Raises UsageError."""
        leaf_range(self.size_bytes, self.leaf_bytes, index)
        group_bytes = self.leaf_bytes << self.height
        start = index * self.leaf_bytes // group_bytes * group_bytes
        return start, min(self.size_bytes, start + group_bytes)

    def path(self, index: int, group: Buffer) -> tuple[bytes, ...] | None:
        """Return the path of leaf `index` given the bytes of its `group_range`; None when they are not what was hashed.

        None means that the share or the nodes have rotted on disk: nothing could be proved with them. Raises UsageError
        for a group of another length.
        """
        start, end = self.group_range(index)
        view = memoryview(group).cast("B")
        if view.nbytes != end - start:
            raise UsageError(f"leaf {index} needs bytes {start} … {end} of the share, {view.nbytes} bytes were given")
        lower = Tree.build(view, self.leaf_bytes)
        first = start // self.leaf_bytes
        upper = self._levels()
        place = first >> self.height
        if lower.top != upper[0][place * HASH_BYTES : (place + 1) * HASH_BYTES]:
            return None
        return (*_path(lower.levels, index - first), *_path(upper, place))

    def _widths(self) -> list[int]:
        width, widths = leaf_count(self.size_bytes, self.leaf_bytes), []
        level = 0
        while True:
            if level >= self.height:
                widths.append(width)
            if width == 1:
                return widths
            width, level = (width + 1) >> 1, level + 1

    def _levels(self) -> list[bytes]:
        levels, at = [], 0
        for width in self._widths():
            levels.append(self.nodes[at : at + width * HASH_BYTES])
            at += width * HASH_BYTES
        return levels


def _levels(leaves: bytes) -> tuple[bytes, ...]:
    levels = [leaves]
    while len(levels[-1]) > HASH_BYTES:
        below = levels[-1]
        even = len(below) // 64 * 64
        level = b"".join([blake3(below[i : i + 64], key=NODE_KEY).digest() for i in range(0, even, 64)])
        levels.append(level + below[even:])
    return tuple(levels)


def _path(levels: Sequence[bytes], index: int) -> list[bytes]:
    path = []
    for level in levels[:-1]:
        at = (index ^ 1) * HASH_BYTES
        if at < len(level):
            path.append(level[at : at + HASH_BYTES])
        index >>= 1
    return path
