"""A segment being made: plain bytes in, sealed, cut into stripes, coded, hashed; every share readable as it grows.

    plain ─seal─▶ sealed (one buffer, stripes of k blocks in a row) ─encode─▶ parity blocks per stripe
                                                             └──────── audit tree per share ──────┘

Nothing is copied once sealed: the blocks that go to the nodes are views of `sealed` and of the coder's output. All
work of one step runs on a worker thread with the interpreter's lock released.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np

from fieldstone.services.storage.codes import cipher, erasure, fast_tree
from fieldstone.services.storage.codes.stripes import Layout
from fieldstone.services.storage.pool.wire import Blocks

STEP_BYTES = 96 * cipher.CHUNK_BYTES  # plain bytes that one step works on


class CodedSegment:
    """One segment of `size_bytes` plain bytes. `advance` in order, from one thread at a time."""

    def __init__(self, layout: Layout, size_bytes: int, leaf_bytes: int, seal: cipher.SegmentCipher) -> None:
        self.layout = layout
        self._size_bytes = size_bytes
        self._seal = seal
        self._code = erasure.code(layout.k, layout.n)
        padded = layout.full_stripes * layout.stripe_bytes + layout.last_block_bytes * layout.k
        self._sealed: memoryview = memoryview(np.empty(padded, np.uint8))  # type: ignore[arg-type]
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

    def advance(self, plain: memoryview) -> int:
        """Seal and code the next bytes: whole chunks, or the rest of the segment. Returns how many stripes are coded."""
        size = cipher.CHUNK_BYTES
        total = cipher.chunk_count(self._size_bytes)
        for at in range(0, len(plain), size):
            part = self._seal.seal(plain[at : at + size], first_chunk=self._chunks, last=self._chunks == total - 1)
            self._sealed[self._sealed_bytes : self._sealed_bytes + len(part)] = part
            self._sealed_bytes += len(part)
            self._chunks += 1
        if self._sealed_bytes == self.layout.size_bytes:
            self._sealed[self._sealed_bytes :] = bytes(len(self._sealed) - self._sealed_bytes)
            stripes = self.layout.stripes
        else:
            stripes = self._sealed_bytes // self.layout.stripe_bytes
        for stripe in range(self.coded_stripes, stripes):
            data = [self._data_block(number, stripe) for number in range(self.layout.k)]
            parity = self._code.encode(data) if self.layout.n > self.layout.k else []
            self._parity.append(parity)
            for hasher, block in zip(self._hashers, (*data, *parity), strict=True):
                hasher.update(block)
        if stripes == self.layout.stripes:
            self._roots = [hasher.finish().commitment for hasher in self._hashers]
        return stripes

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
        start = stripe * layout.stripe_bytes + number * size
        return self._sealed[start : start + size]
