"""How a segment lies on its shares: stripes of k blocks; share i is block i of every stripe, one after another.

Only the last stripe is shorter: its k blocks are ⌈rest / k⌉ bytes, the end padded with zeros. So a read of a few bytes
needs a few bytes of one data share, or the same few bytes of any k shares when that one is away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from fieldstone.errors import UsageError
from fieldstone.services.storage.codes import erasure
from fieldstone.services.storage.codes.buffer import Buffer


class Piece(NamedTuple):
    """Bytes `start` … `end` of data share `share` are the segment's bytes from `segment_start` on."""

    share: int
    start: int
    end: int
    segment_start: int


@dataclass(frozen=True)
class Layout:
    """A segment of `size_bytes` ≥ 1 over n shares of `share_bytes`, any k of which rebuild it."""

    size_bytes: int
    k: int
    n: int
    block_bytes: int

    def __post_init__(self) -> None:
        if self.size_bytes < 1 or self.block_bytes < 1:
            raise UsageError(f"a segment of {self.size_bytes} bytes in blocks of {self.block_bytes} cannot be laid out")
        erasure.code(self.k, self.n)

    @property
    def stripe_bytes(self) -> int:
        """Bytes of the segment in a full stripe."""
        return self.k * self.block_bytes

    @cached_property
    def full_stripes(self) -> int:
        """Stripes whose blocks are all `block_bytes` long."""
        return self.size_bytes // self.stripe_bytes

    @cached_property
    def last_block_bytes(self) -> int:
        """Length of the blocks of the shorter last stripe; 0 when there is none."""
        return -(-(self.size_bytes - self.full_stripes * self.stripe_bytes) // self.k)

    @property
    def stripes(self) -> int:
        """Number of stripes, the shorter last one included."""
        return self.full_stripes + (self.last_block_bytes > 0)

    @property
    def share_bytes(self) -> int:
        """Length of every share."""
        return self.full_stripes * self.block_bytes + self.last_block_bytes

    def ranges(self, start: int, end: int) -> tuple[int, int]:
        """Return the byte range (half open) that, taken from any k shares, gives bytes `start` … `end` of the segment."""
        pieces = self.pieces(start, end)
        return min(piece.start for piece in pieces), max(piece.end for piece in pieces)

    def pieces(self, start: int, end: int) -> list[Piece]:
        """Return where bytes `start` … `end` lie in the data shares, in the segment's order. Raises UsageError."""
        if not 0 <= start < end <= self.size_bytes:
            raise UsageError(f"bytes {start} … {end} are not inside a segment of {self.size_bytes} bytes")
        found = []
        at = start
        while at < end:
            stripe = at // self.stripe_bytes
            block = self.block_bytes if stripe < self.full_stripes else self.last_block_bytes
            share, offset = divmod(at - stripe * self.stripe_bytes, block)
            length = min(block - offset, end - at)
            first = stripe * self.block_bytes + offset
            found.append(Piece(share, first, first + length, at))
            at += length
        return found

    def encode_segment(self, data: Buffer) -> list[memoryview]:
        """Return the n shares of the segment. Raises UsageError for data of another length than `size_bytes`."""
        source = np.frombuffer(data, np.uint8)
        if len(source) != self.size_bytes:
            raise UsageError(f"the segment has {len(source)} bytes, its layout says {self.size_bytes}")
        shares = erasure.rows_apart(self.k, self.share_bytes)
        regular = self.full_stripes * self.stripe_bytes
        if self.full_stripes:
            blocks = source[:regular].reshape(self.full_stripes, self.k, self.block_bytes)
            by_share = shares[:, : self.full_stripes * self.block_bytes]
            for index in range(self.k):
                by_share[index].reshape(self.full_stripes, self.block_bytes)[:] = blocks[:, index]
        if self.last_block_bytes:
            padded = np.zeros((self.k, self.last_block_bytes), np.uint8)
            padded.reshape(-1)[: self.size_bytes - regular] = source[regular:]
            shares[:, self.full_stripes * self.block_bytes :] = padded
        stripe = [memoryview(share) for share in shares]
        return [*stripe, *erasure.code(self.k, self.n).encode(stripe)]

    def assemble(self, have: Mapping[int, Buffer], start: int = 0, end: int | None = None) -> bytearray:
        """Return bytes `start` … `end` of the segment from the `ranges(start, end)` of any k shares, by share number.

        Fewer than k shares do when every data share that holds a byte of the range is among them. Raises
        erasure.TooFewShares; UsageError for parts of another length than the range.
        """
        end = self.size_bytes if end is None else end
        low, high = self.ranges(start, end)
        for index, part in have.items():
            if memoryview(part).nbytes != high - low:
                raise UsageError(
                    f"share {index} brings {memoryview(part).nbytes} bytes, bytes {low} … {high} are {high - low}"
                )
        pieces = self.pieces(start, end)
        wanted = sorted({piece.share for piece in pieces})
        parts = erasure.code(self.k, self.n).decode(have, wanted)
        result = bytearray(end - start)
        out = memoryview(result)
        for piece in pieces:
            at = piece.segment_start - start
            out[at : at + piece.end - piece.start] = parts[piece.share][piece.start - low : piece.end - low]
        return result
