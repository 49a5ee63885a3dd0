"""The hash tree over one commit, as in RFC 9162 §2.1 (Certificate Transparency), so that any CT library can check it.

A leaf is SHA-256(0x00 ‖ data), a node SHA-256(0x01 ‖ left ‖ right). A lone last node of a level moves up unchanged,
which is the same tree as the RFC's recursive split at the largest power of two. Here `data` is the 32-byte digest of
an entry's body, so a path can be checked by someone who only holds the digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

_LEAF = b"\x00"
_NODE = b"\x01"
_sha256 = hashlib.sha256

EMPTY_ROOT = _sha256(b"").digest()
"""Root of the empty tree (RFC 9162 §2.1.1)."""


def levels(data: Sequence[bytes]) -> list[list[bytes]]:
    """Return all levels of the tree, leaves first, root last; `[[EMPTY_ROOT]]` for no data."""
    if not data:
        return [[EMPTY_ROOT]]
    level = [_sha256(_LEAF + item).digest() for item in data]
    built = [level]
    while len(level) > 1:
        above = [_sha256(_NODE + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)]
        if len(level) % 2:
            above.append(level[-1])
        level = above
        built.append(level)
    return built


def root(data: Sequence[bytes]) -> bytes:
    """Return the tree's 32-byte root."""
    return levels(data)[-1][0]


def path(built: Sequence[Sequence[bytes]], index: int) -> list[bytes]:
    """Return the audit path of leaf `index` (from 0), lowest sibling first. Raises IndexError outside the tree."""
    if not 0 <= index < len(built[0]):
        raise IndexError(f"leaf {index} of {len(built[0])}")
    siblings = []
    for level in built[:-1]:
        sibling = index ^ 1
        if sibling < len(level):
            siblings.append(level[sibling])
        index >>= 1
    return siblings


def root_from_path(data: bytes, index: int, size: int, siblings: Sequence[bytes]) -> bytes | None:
    """Recompute the root from one leaf (RFC 9162 §2.1.3.2); None when the path has the wrong length for the tree."""
    if not 0 <= index < size:
        return None
    node = _sha256(_LEAF + data).digest()
    last = size - 1
    for sibling in siblings:
        if last == 0:
            return None
        if index % 2 or index == last:
            node = _sha256(_NODE + sibling + node).digest()
            while index % 2 == 0 and index:
                index >>= 1
                last >>= 1
        else:
            node = _sha256(_NODE + node + sibling).digest()
        index >>= 1
        last >>= 1
    return node if last == 0 else None
