"""Shares of the storage lab: true content that follows from a name, its tree, its proofs, and what a reader reports."""

from __future__ import annotations

from dataclasses import dataclass

from blake3 import blake3

from fieldstone.services.storage import records
from fieldstone.services.storage.codes.chunk_opening import chunk_of, inner_siblings
from fieldstone.services.storage.codes.fast_tree import Tree, leaf_hash, leaf_range


@dataclass(frozen=True)
class Share:
    """One share of the world: what it should hold, and its tree."""

    id: bytes
    segment: bytes
    index: int
    content: bytes  # 32 bytes that the content follows from
    tree: Tree

    def leaf(self, index: int) -> bytes:
        """Return one leaf of the true content."""
        low, high = leaf_range(self.tree.size_bytes, self.tree.leaf_bytes, index)
        return blake3(self.content).digest(length=high - low, seek=low)

    def proof(self, start: int) -> records.ChunkProof:
        """Return the true proof of the chunk that begins at byte `start`."""
        place = chunk_of(self.tree.size_bytes, self.tree.leaf_bytes, start)
        low = start - place.leaf * self.tree.leaf_bytes
        leaf = self.leaf(place.leaf)
        siblings = inner_siblings([leaf], [low])[0] + b"".join(self.tree.proof(place.leaf))
        chunk = leaf[low : low + place.end - place.start]
        return records.ChunkProof(share=self.id, start=start, chunk=chunk, siblings=siblings)


def answer_of(data: bytes | None) -> bytes:
    """Return what a checker reports as the hash of the bytes that came."""
    return bytes(32) if data is None else leaf_hash(data)


def checked(provider: str, share: bytes, leaf: int, took_ms: int, data: bytes | None) -> records.RetrievalCheck:
    """Return what a checker reports of one read; `data` None: nothing came."""
    return records.RetrievalCheck(
        provider=provider,
        share=share,
        leaf_index=leaf,
        outcome="refused" if data is None else "ok",
        first_byte_ms=took_ms,
        total_ms=took_ms,
        size_bytes=len(data or b""),
        answer=answer_of(data),
    )
