"""Answer challenges: a leaf and its path. One challenge reads one group of 128 KiB and the stored tree above it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fieldstone.errors import Rejected
from fieldstone.services.storage.codes.fast_tree import Kept
from fieldstone.services.storage.provider.sharefile import GROUP_BYTES, Damaged
from fieldstone.services.storage.records import LeafProof

if TYPE_CHECKING:
    from fieldstone.services.storage.provider.reading import OpenShare
    from fieldstone.services.storage.provider.store import Store


def prove_all(store: Store, asked: Sequence[tuple[bytes, int]]) -> list[LeafProof]:
    """Answer in the order asked. Left out, and marked: what is not held, has no such leaf, or is damaged."""
    found: dict[int, LeafProof] = {}
    buffer = bytearray(GROUP_BYTES)
    opened: OpenShare | None = None
    kept: Kept | None = None
    try:
        for place in sorted(range(len(asked)), key=lambda place: asked[place]):  # by share: a file is opened once
            share, leaf_index = asked[place]
            try:
                if opened is None or opened.row.share != share:
                    if opened is not None:
                        opened.close()
                    opened, kept = None, None
                    opened = store.open(share)
                    kept = opened.kept()
                row = opened.row
                if kept is None or not 0 <= leaf_index < -(-row.size_bytes // row.leaf_bytes):
                    continue
                leaf, path = opened.path(leaf_index, kept, buffer)
                found[place] = LeafProof(share=share, leaf_index=leaf_index, leaf=bytes(leaf), path=path)
            except Damaged:
                store.mark(share, "bad")
            except (Rejected, OSError):
                continue
    finally:
        if opened is not None:
            opened.close()
    return [found[place] for place in sorted(found)]
