"""One share on disk: its bytes, then what is needed to prove them, so that the file explains itself.

    data | zeros | nodes | meta | u32 length of nodes | u32 length of meta | blake3(nodes ‖ meta)[:16] | "FSshare1"

The zeros, less than a page of them, let a file be written past the page cache without cutting it to length afterwards.
`nodes` are the levels of the fast tree from groups of 128 KiB upward (`codes.fast_tree.Kept`): 0.05 % more disk, and a
challenge reads one group instead of the share. `meta` is msgpack of `Meta`. The index is therefore only a fast way to
find things: lost, it is made again from the files.
"""

from __future__ import annotations

import os
import struct

import msgspec
from blake3 import blake3

from fieldstone.errors import UsageError
from fieldstone.services.storage.codes.fast_tree import Kept
from fieldstone.services.storage.records import Hash, ShareId

GROUP_BYTES = 131_072

_MAGIC = b"FSshare1"
_TAIL = struct.Struct("<II16s8s")
_LONGEST_META = 1_024
_PAGE_BYTES = 4_096


class Meta(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """What a share's file says about itself. `height`: of the lowest kept nodes; `order`: BLAKE3 of the order to store."""

    share: ShareId
    gateway: str
    size_bytes: int
    leaf_bytes: int
    height: int
    root: Hash
    stored_ms: int
    order: Hash


class Damaged(Exception):
    """The bytes are not what they were when they were written."""


def trailer(meta: Meta, kept: Kept) -> bytes:
    """Return what follows the data."""
    head = msgspec.msgpack.encode(meta)
    check = blake3(kept.nodes + head).digest()[:16]
    return b"".join((kept.nodes, head, _TAIL.pack(len(kept.nodes), len(head), check, _MAGIC)))


def trailer_bytes(size_bytes: int, leaf_bytes: int) -> int:
    """Return an upper bound of the trailer's length for a share of `size_bytes`."""
    groups = -(-size_bytes // GROUP_BYTES)
    return 32 * (2 * groups + 64 + GROUP_BYTES // leaf_bytes) + _LONGEST_META + _TAIL.size + _PAGE_BYTES


def read_trailer(fd: int) -> tuple[Meta, Kept]:
    """Read the trailer of an open share file and check it against itself and the root it names. Raises Damaged, OSError."""
    end = os.fstat(fd).st_size
    tail = os.pread(fd, _TAIL.size, max(0, end - _TAIL.size))
    if len(tail) != _TAIL.size:
        raise Damaged("the file is too short")
    node_bytes, meta_bytes, check, magic = _TAIL.unpack(tail)
    start = end - _TAIL.size - node_bytes - meta_bytes
    if magic != _MAGIC or meta_bytes > _LONGEST_META or start < 0:
        raise Damaged("the file does not end as a share does")
    body = os.pread(fd, node_bytes + meta_bytes, start)
    if blake3(body).digest()[:16] != check:
        raise Damaged("the tree in the file is damaged")
    try:
        meta = msgspec.msgpack.decode(body[node_bytes:], type=Meta)
        kept = Kept(meta.size_bytes, meta.leaf_bytes, meta.height, body[:node_bytes])
    except (msgspec.DecodeError, UsageError) as error:
        raise Damaged(f"the file's description cannot be read: {error}") from None
    if not 0 <= start - meta.size_bytes < _PAGE_BYTES or kept.commitment != meta.root:
        raise Damaged("the file's description does not fit its tree")
    return meta, kept
