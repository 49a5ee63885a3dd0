"""Answer challenges: a chunk and the hashes beside its way up.

One challenge reads one group of 128 KiB and the stored tree above it, hashes the group to see that it is still what was
stored, and the challenged leaf once more from within, for the values that the library does not give out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from fieldstone.errors import Rejected, UsageError
from fieldstone.services.storage.codes.chunk_opening import Chunk, chunk_of, inner_siblings
from fieldstone.services.storage.codes.fast_tree import Kept
from fieldstone.services.storage.provider.sharefile import GROUP_BYTES, Damaged
from fieldstone.services.storage.records import ChunkProof

if TYPE_CHECKING:
    from fieldstone.services.storage.provider.reading import OpenShare
    from fieldstone.services.storage.provider.store import Store

_AT_ONCE = 256  # leaves in memory: their insides are hashed side by side


def prove_all(store: Store, asked: Sequence[tuple[bytes, int]]) -> list[ChunkProof]:
    """Answer (share, first byte of a chunk) in the order asked.

    Left out, and marked: what is not held, begins no chunk, or is damaged.
    """
    found: dict[int, ChunkProof] = {}
    leaves: list[_Leaf] = []
    buffer = bytearray(GROUP_BYTES)
    opened: OpenShare | None = None
    kept: Kept | None = None
    try:
        for place in sorted(range(len(asked)), key=lambda place: asked[place]):  # by share: a file is opened once
            share, start = asked[place]
            try:
                if opened is None or opened.row.share != share:
                    if opened is not None:
                        opened.close()
                    opened, kept = None, None
                    opened = store.open(share)
                    kept = opened.kept()
                if kept is None:
                    continue
                chunk = chunk_of(opened.row.size_bytes, opened.row.leaf_bytes, start)
                if chunk.start != start:
                    continue
                leaf, path = opened.path(chunk.leaf, kept, buffer)
                low = chunk.leaf * opened.row.leaf_bytes
                leaves.append(_Leaf(place, share, chunk, low, bytes(leaf), b"".join(path)))
            except Damaged:
                store.mark(share, "bad")
            except (Rejected, UsageError, OSError):
                continue
            if len(leaves) == _AT_ONCE:
                found.update(_proofs(leaves))
                leaves.clear()
    finally:
        if opened is not None:
            opened.close()
    found.update(_proofs(leaves))
    return [found[place] for place in sorted(found)]


class _Leaf(NamedTuple):
    """A leaf that was read and is what was stored. `low`: its first byte in the share; `path`: from it to the top."""

    place: int
    share: bytes
    chunk: Chunk
    low: int
    data: bytes
    path: bytes


def _proofs(leaves: Sequence[_Leaf]) -> dict[int, ChunkProof]:
    inside = inner_siblings([one.data for one in leaves], [one.chunk.start - one.low for one in leaves])
    return {
        one.place: ChunkProof(
            share=one.share,
            start=one.chunk.start,
            chunk=one.data[one.chunk.start - one.low : one.chunk.end - one.low],
            siblings=siblings + one.path,
        )
        for one, siblings in zip(leaves, inside, strict=True)
    }
