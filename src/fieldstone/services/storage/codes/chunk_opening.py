"""Proof that a share's bytes are held, one KiB of it: a chunk of a leaf, and the way from it to the commitment.

The audit tree (`fast_tree`) stands over leaves of 64 KiB, which is what hashing likes. BLAKE3 is a tree itself, over chunks
of 1,024 bytes. So a proof needs not the leaf but

    chunk       the leaf's bytes in one of its chunks, the last of which may be short
    siblings    chaining values beside the chunk's way to the leaf's hash (BLAKE3's own tree: six in a leaf of 64 KiB),
                then hashes beside the leaf's way to the top (`fast_tree`), from below, 32 bytes each

A chunk is named by its first byte's place in the share.

Nothing can pose as a chunk that is none: the verifier takes length, counter and flags of each node from (share length,
leaf size, place) alone, never from the prover; how many siblings there are follows too. Whoever kept chaining values and
not the bytes has nothing to send: the chunk's value is computed from all of its bytes.
"""

from __future__ import annotations

import importlib
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldstone.errors import UsageError
from fieldstone.services.storage.codes.blake3_inner import CHUNK_BYTES, Words, chunk_values, parent_values
from fieldstone.services.storage.codes.buffer import Buffer
from fieldstone.services.storage.codes.fast_tree import HASH_BYTES, LEAF_KEY, commitment_of, node_hash

_MOST_BYTES = (1 << 62) - 1  # of a share: `records`
_MOST_SIBLINGS = 128  # more than any way has
_LOAD_FROM = 256  # proofs from which it pays to load the compiled code
_KERNEL = "fieldstone.services.storage.codes.blake3_kernel"
_BATCH = 512  # few enough that messages and siblings stay in the cache


class Claim(NamedTuple):
    """One proof to be verified. `start`: the chunk's first byte in the share; `siblings`: from below, one after another."""

    commitment: bytes
    size_bytes: int
    leaf_bytes: int
    start: int
    chunk: Buffer
    siblings: Buffer


class Chunk(NamedTuple):
    """A chunk's place: `leaf` of `leaves` in the share, `number` of `chunks` in the leaf, bytes start … end of the share."""

    leaf: int
    leaves: int
    number: int
    chunks: int
    start: int
    end: int


def chunk_of(size_bytes: int, leaf_bytes: int, byte: int) -> Chunk:
    """Return the chunk that holds a byte of a share. Raises UsageError for a byte or shape that cannot be."""
    if not _is_byte(size_bytes, leaf_bytes, byte):
        raise UsageError(f"byte {byte} is not in a share of {size_bytes} bytes in leaves of {leaf_bytes}")
    leaf = byte // leaf_bytes
    low = leaf * leaf_bytes
    number = (byte - low) // CHUNK_BYTES
    high = min(low + leaf_bytes, size_bytes)
    start = low + number * CHUNK_BYTES
    chunks, leaves = -(-(high - low) // CHUNK_BYTES) or 1, -(-size_bytes // leaf_bytes) or 1
    return Chunk(leaf, leaves, number, chunks, start, min(start + CHUNK_BYTES, high))


def _is_byte(size_bytes: int, leaf_bytes: int, byte: int) -> bool:
    return 0 <= byte < (size_bytes or 1) <= _MOST_BYTES and 0 < leaf_bytes < 1 << 32


def starts_of(bytes_: NDArray[np.int64], leaf_bytes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first bytes of the chunks that hold these bytes of shares with leaves of these sizes."""
    starts: NDArray[np.int64] = bytes_ - bytes_ % leaf_bytes % CHUNK_BYTES
    return starts


def inner_siblings(leaves: Sequence[Buffer], bytes_: Sequence[int]) -> list[bytes]:
    """Return, for one byte of each leaf, the siblings of its chunk up to the leaf's hash. Raises UsageError."""
    found: list[bytes] = [b""] * len(leaves)
    by_chunks: dict[int, list[int]] = defaultdict(list)
    for place, leaf in enumerate(leaves):
        by_chunks[-(-len(leaf) // CHUNK_BYTES) or 1].append(place)
    for chunks, places in by_chunks.items():
        values = _values([leaves[place] for place in places], chunks).reshape(len(places), chunks, 8)
        index = [chunk_of(len(leaves[place]), max(1, len(leaves[place])), bytes_[place]).number for place in places]
        while (width := values.shape[1]) > 1:
            for row, place in enumerate(places):
                if index[row] ^ 1 < width:
                    found[place] += values[row, index[row] ^ 1].tobytes()
                index[row] >>= 1
            if width == 2:
                break
            pairs = values[:, : width // 2 * 2].reshape(-1, 16)
            above = _above(pairs).reshape(len(places), width // 2, 8)
            values = np.concatenate((above, values[:, width // 2 * 2 :]), axis=1)
    return found


def _values(leaves: Sequence[Buffer], chunks: int) -> Words:
    """Return the chaining values of the chunks of leaves that have so many of them each."""
    room = bytearray(len(leaves) * chunks * CHUNK_BYTES)
    for place, leaf in enumerate(leaves):
        at = place * chunks * CHUNK_BYTES
        room[at : at + len(leaf)] = leaf
    lengths = np.full((len(leaves), chunks), CHUNK_BYTES, np.int64)
    lengths[:, -1] = [len(leaf) - (chunks - 1) * CHUNK_BYTES for leaf in leaves]
    messages, numbers = np.frombuffer(room, "<u4"), np.tile(np.arange(chunks), len(leaves))
    kernel = _kernel(0)
    if kernel is None:
        return chunk_values(messages.reshape(-1, CHUNK_BYTES // 4), lengths.reshape(-1), numbers, False, LEAF_KEY)
    found = np.empty((len(numbers), 8), np.uint32)
    kernel.chunks(messages, lengths.reshape(-1), numbers, found)
    return found


def _above(pairs: Words) -> Words:
    """Return the chaining values over pairs that are not whole leaves (`inner_siblings` needs no leaf's hash)."""
    kernel = _kernel(0)
    if kernel is None:
        return parent_values(pairs[:, :8], pairs[:, 8:], False, LEAF_KEY)
    found = np.empty((len(pairs), 8), np.uint32)
    kernel.parents(np.ascontiguousarray(pairs).reshape(-1), found)
    return found


def verify(claim: Claim) -> bytes | None:
    """Return the hash of the leaf that a proof goes through, None when it does not hold."""
    return verify_all([claim])[0]


def verify_all(claims: Sequence[Claim]) -> list[bytes | None]:
    """Return of every claim the hash of the leaf that it goes through, None when it does not hold.

    None for everything else that a prover can send: another length, siblings too few or too many or cut, a place that is
    no chunk's first byte or outside the share. Many are verified by compiled code where numba is installed.
    """
    kernel = _kernel(len(claims))
    verdicts: list[bytes | None] = []
    for at in range(0, len(claims), _BATCH):
        part = claims[at : at + _BATCH]
        places = [_place(claim) for claim in part]
        rows = [row for row, place in enumerate(places) if place is not None]
        found: list[bytes | None] = [None] * len(part)
        if rows:
            lot = _Lot([part[row] for row in rows], [one for one in places if one is not None])
            for row, leaf in zip(rows, lot.plain() if kernel is None else lot.compiled(kernel), strict=True):
                found[row] = leaf
        verdicts += found
    return verdicts


def _kernel(count: int) -> Any:
    """Return `blake3_kernel`, None where numba is not installed or `count` proofs are not worth loading it for.

    That takes a second and 150 MB; whoever has it loaded uses it for a single proof too. A provider never loads it.
    """
    if _KERNEL not in sys.modules and count >= _LOAD_FROM:
        load_compiled()
    module = sys.modules.get(_KERNEL)
    # another thread may be importing it: its last name says that it is whole
    return module if hasattr(module, "verify") else None


def load_compiled() -> bool:
    """Load the compiled code where numba is installed; return whether it is. For who opens or verifies many, few at a time."""
    with suppress(ImportError):
        importlib.import_module(_KERNEL)
    return sys.modules.get(_KERNEL) is not None


def _place(claim: Claim) -> Chunk | None:
    """Return the chunk that a claim is about, None when it cannot be one."""
    if not _is_byte(claim.size_bytes, claim.leaf_bytes, claim.start):
        return None
    place = chunk_of(claim.size_bytes, claim.leaf_bytes, claim.start)
    siblings, rest = divmod(len(claim.siblings), HASH_BYTES)
    fits = place.start == claim.start and len(claim.chunk) == place.end - place.start
    return place if fits and not rest and siblings <= _MOST_SIBLINGS and len(claim.commitment) == HASH_BYTES else None


class _Lot:
    """Claims that have the right shape, as arrays."""

    def __init__(self, claims: Sequence[Claim], places: Sequence[Chunk]) -> None:
        self._claims, self._places = claims, places
        parts: list[Buffer] = []
        shapes = []
        for claim, place in zip(claims, places, strict=True):
            length = len(claim.chunk)
            parts.append(claim.chunk)
            if length < CHUNK_BYTES:
                parts.append(bytes(CHUNK_BYTES - length))
            given = len(claim.siblings) // HASH_BYTES
            where = (place.number, place.chunks, place.leaf, place.leaves)
            shapes.append((claim.size_bytes, claim.leaf_bytes, length, given, *where))
        self._messages = np.frombuffer(bytearray().join(parts), "<u4")
        self._shapes = np.array(shapes, np.int64)
        self._siblings = np.frombuffer(bytearray().join([claim.siblings for claim in claims]) or bytearray(32), "<u4")

    def compiled(self, kernel: Any) -> list[bytes | None]:
        """Verify by compiled code."""
        count = len(self._claims)
        expected = bytearray().join([claim.commitment for claim in self._claims])
        commitments = np.frombuffer(expected, "<u4").reshape(count, 8)
        leaves, holds = np.empty((count, 8), np.uint32), np.empty(count, np.bool_)
        kernel.verify(self._messages, self._shapes, self._siblings, commitments, leaves, holds)
        hashes = leaves.tobytes()
        return [hashes[32 * at : 32 * at + 32] if good else None for at, good in enumerate(holds.tolist())]

    def plain(self) -> list[bytes | None]:
        """Verify by NumPy and the library: chunks and parents side by side, nodes one by one."""
        siblings = self._siblings.reshape(-1, 8)
        length, given, index, width = self._shapes[:, 2], self._shapes[:, 3], self._shapes[:, 4], self._shapes[:, 5]
        first = np.cumsum(given) - given
        used = np.zeros_like(given)
        values = chunk_values(self._messages.reshape(-1, CHUNK_BYTES // 4), length, index, width == 1, LEAF_KEY)
        while (width > 1).any():
            joined = (width > 1) & ((index & 1 == 1) | (index + 1 < width))
            rows = np.flatnonzero(joined & (used < given))  # too short: counted as used beyond what was given
            if len(rows):
                is_right = (index[rows] & 1 == 1)[:, None]
                other = siblings[first[rows] + used[rows]]
                left, right = np.where(is_right, other, values[rows]), np.where(is_right, values[rows], other)
                values[rows] = parent_values(left, right, width[rows] == 2, LEAF_KEY)
            used += joined
            index, width = index >> 1, (width + 1) >> 1
        hashes = values.tobytes()
        leaves = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
        return [
            leaf if _leads_up(claim, place, leaf, count) else None
            for claim, place, leaf, count in zip(self._claims, self._places, leaves, used.tolist(), strict=True)
        ]


def _leads_up(claim: Claim, place: Chunk, leaf_hash: bytes, used: int) -> bool:
    """Tell whether a leaf's hash and the siblings behind the first `used` lead to the commitment."""
    top, index, width, path = leaf_hash, place.leaf, place.leaves, bytes(claim.siblings)
    at = used * HASH_BYTES
    while width > 1 and at <= len(path):
        if index & 1 or index + 1 < width:
            sibling = path[at : at + HASH_BYTES]
            top = node_hash(sibling, top) if index & 1 else node_hash(top, sibling)
            at += HASH_BYTES
        index, width = index >> 1, (width + 1) >> 1
    return at == len(path) and commitment_of(claim.size_bytes, claim.leaf_bytes, top) == claim.commitment
