"""A segment being made: plain bytes in, sealed, cut into stripes, coded, hashed; every share readable as it grows.

    plain ─seal─▶ sealed (stripes of k blocks in a row) ─encode─▶ parity blocks per stripe
                                                └──────── audit tree per share ──────┘

Nothing is copied once sealed: the blocks that go to the nodes are views of the sealed bytes and of the coder's output.
All work of one step runs on a worker thread with the interpreter's lock released, stripe by stripe, so that what was
sealed is coded and hashed while the cache still has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import numpy as np

from fieldstone.services.storage.codes import cipher, erasure, fast_tree
from fieldstone.services.storage.codes.stripes import Layout
from fieldstone.services.storage.pool.wire import Blocks

STEP_BYTES = 96 * cipher.CHUNK_BYTES  # plain bytes that one step works on
# Sealed bytes lie in slabs of whole stripes: larger pieces of memory than 32 MiB go back to the system when they are
# freed, and every page of the next is mapped and zeroed anew.
_SLAB_BYTES = 16 * 2**20


class CodedSegment:
    """One segment of `size_bytes` plain bytes. `advance` in order, from one thread at a time."""

    def __init__(self, layout: Layout, size_bytes: int, leaf_bytes: int, seal: cipher.SegmentCipher) -> None:
        self.layout = layout
        self._size_bytes = size_bytes
        self._seal = seal
        self._code = erasure.code(layout.k, layout.n)
        self._slab_stripes = max(1, _SLAB_BYTES // layout.stripe_bytes)
        self._slab_bytes = self._slab_stripes * layout.stripe_bytes
        padded = layout.full_stripes * layout.stripe_bytes + layout.last_block_bytes * layout.k
        self._slabs: list[memoryview] = [
            memoryview(np.empty(min(self._slab_bytes, padded - at), np.uint8))  # type: ignore[arg-type]
            for at in range(0, padded, self._slab_bytes)
        ]
        self._parity: list[list[memoryview]] = []
        self._hashers = [fast_tree.Hasher(leaf_bytes) for _ in range(layout.n)]
        self._roots: list[bytes] = []
        self._leaf_bytes = leaf_bytes
        self._chunks = 0
        self._sealed_bytes = 0
        self.coded_stripes = 0
        self._more = asyncio.Event()

    @property
    def is_whole(self) -> bool:
        """Whether every stripe is coded."""
        return self.coded_stripes == self.layout.stripes

    def advance(self, plain: Sequence[memoryview]) -> int:
        """Seal and code the next bytes: whole chunks, or the rest of the segment. Returns how many stripes are coded."""
        last = cipher.chunk_count(self._size_bytes) - 1
        stripe_bytes = self.layout.stripe_bytes
        stripe = self.coded_stripes
        for chunk in _chunks(plain):
            self._seal_chunk(chunk, self._chunks == last)
            self._chunks += 1
            while stripe < self.layout.full_stripes and self._sealed_bytes >= (stripe + 1) * stripe_bytes:
                self._code_stripe(stripe)
                stripe += 1
        if self._sealed_bytes == self.layout.size_bytes:
            self._pad()
            for rest in range(stripe, self.layout.stripes):
                self._code_stripe(rest)
            self._roots = [hasher.finish().commitment for hasher in self._hashers]
            return self.layout.stripes
        return stripe

    def _seal_chunk(self, plain: memoryview, is_last: bool) -> None:
        slab, offset = divmod(self._sealed_bytes, self._slab_bytes)
        size = len(plain) + cipher.TAG_BYTES
        room = self._slabs[slab][offset:] if slab < len(self._slabs) else memoryview(b"")
        if len(room) >= size:
            self._seal.seal_chunk_into(plain, room, chunk=self._chunks, last=is_last)
        else:  # it crosses from one slab to the next
            part = memoryview(bytearray(size))
            self._seal.seal_chunk_into(plain, part, chunk=self._chunks, last=is_last)
            room[:] = part[: len(room)]
            self._slabs[slab + 1][: size - len(room)] = part[len(room) :]
        self._sealed_bytes += size

    def _code_stripe(self, stripe: int) -> None:
        data = [self._data_block(number, stripe) for number in range(self.layout.k)]
        parity = self._code.encode(data) if self.layout.n > self.layout.k else []
        self._parity.append(parity)
        for hasher, block in zip(self._hashers, (*data, *parity), strict=True):
            hasher.update(block)

    def _pad(self) -> None:
        """Fill the end of the last stripe with zeros."""
        slab = self._slabs[-1]
        used = self._sealed_bytes - (len(self._slabs) - 1) * self._slab_bytes
        slab[used:] = bytes(len(slab) - used)

    def publish(self, stripes: int) -> None:
        """Let the senders have stripes up to `stripes` (on the event loop)."""
        self.coded_stripes = stripes
        more, self._more = self._more, asyncio.Event()
        more.set()

    async def blocks(self, number: int) -> Blocks:
        """Yield the blocks of share `number` as they are coded."""
        at = 0
        while at < self.layout.stripes:
            if at == self.coded_stripes:
                await self._more.wait()
                continue
            until = self.coded_stripes
            yield [self.block(number, stripe) for stripe in range(at, until)]
            at = until

    def block(self, number: int, stripe: int) -> memoryview:
        """Return block `stripe` of share `number`."""
        k = self.layout.k
        return self._data_block(number, stripe) if number < k else self._parity[stripe][number - k]

    def share(self, number: int) -> Iterator[memoryview]:
        """Yield all blocks of a share of a whole segment."""
        for stripe in range(self.layout.stripes):
            yield self.block(number, stripe)

    def root(self, number: int, leaf_bytes: int) -> bytes:
        """Return the commitment of a share of a whole segment, for the leaf size that its receipt names."""
        if leaf_bytes == self._leaf_bytes:
            return self._roots[number]
        hasher = fast_tree.Hasher(leaf_bytes)
        for block in self.share(number):
            hasher.update(block)
        return hasher.finish().commitment

    def _data_block(self, number: int, stripe: int) -> memoryview:
        layout = self.layout
        size = layout.block_bytes if stripe < layout.full_stripes else layout.last_block_bytes
        slab, row = divmod(stripe, self._slab_stripes)
        start = row * layout.stripe_bytes + number * size
        return self._slabs[slab][start : start + size]


def _chunks(pieces: Sequence[memoryview]) -> Iterator[memoryview]:
    """Cut pieces into chunks of the cipher; only a chunk that lies in several pieces is copied."""
    size = cipher.CHUNK_BYTES
    part = bytearray()
    for piece in pieces:
        at = 0
        if part:
            at = min(size - len(part), len(piece))
            part += piece[:at]
            if len(part) < size:
                continue
            yield memoryview(part)
            part = bytearray()
        while len(piece) - at >= size:
            yield piece[at : at + size]
            at += size
        part += piece[at:]
    if part:
        yield memoryview(part)
