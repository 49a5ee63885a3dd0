"""Which bytes an object is made of: extents of encrypted segments, so that copies and parts share segments.

The pool knows whole segments; a copied range of a part may begin and end inside one. An extent is a segment (or a
small object's inline bytes) with the range of it that counts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import msgspec
from msgspec import structs

from fieldstone.services.storage.pool import SegmentRef, Stored


class Seal(msgspec.Struct, array_like=True, frozen=True):
    """These bytes are encrypted under a customer's key: from `position` on in the keystream of `salt`."""

    salt: bytes
    position: int = 0


class Extent(msgspec.Struct, array_like=True, frozen=True):
    """`length` bytes from `start` of a segment of `size_bytes` bytes; `segment` is its id, or '' with `inline` bytes.

    `seal` speaks of the segment's first byte.
    """

    segment: bytes
    size_bytes: int
    start: int
    length: int
    inline: bytes | None = None
    seal: Seal | None = None


@dataclass(frozen=True)
class Piece:
    """Bytes `start` … `end` (half open) of something stored. `seal` speaks of the byte at `start`."""

    stored: Stored
    start: int
    end: int
    seal: Seal | None = None


@dataclass(frozen=True)
class Content:
    """The extents of an object in order."""

    extents: tuple[Extent, ...] = ()

    @classmethod
    def of(cls, stored: Stored, salt: bytes | None = None) -> Content:
        """Take over what the pool has written. `salt`: of the customer's key under which it was encrypted before."""
        if stored.inline is not None:
            return cls((Extent(b"", stored.size_bytes, 0, stored.size_bytes, stored.inline, _seal(salt, 0)),))
        starts = accumulate((s.size_bytes for s in stored.segments), initial=0)
        segments = zip(stored.segments, starts, strict=False)
        return cls(tuple(Extent(s.id, s.size_bytes, 0, s.size_bytes, None, _seal(salt, p)) for s, p in segments))

    @classmethod
    def decode(cls, packed: bytes) -> Content:
        """Read what `encode` wrote."""
        return cls(_DECODER.decode(packed))

    @classmethod
    def joined(cls, contents: Iterable[Content]) -> Content:
        """Return contents one after another."""
        return cls(tuple(extent for content in contents for extent in content.extents))

    def encode(self) -> bytes:
        """Return the bytes of the row."""
        return _ENCODER.encode(self.extents)

    @cached_property
    def ends(self) -> list[int]:
        """Return where every extent ends in the object."""
        return list(accumulate(e.length for e in self.extents))

    @property
    def size_bytes(self) -> int:
        return self.ends[-1] if self.extents else 0

    def slice(self, start: int, end: int) -> Content:
        """Return the content of bytes `start` … `end` (half open)."""
        return Content(tuple(self._cut(start, end)))

    def pieces(self, start: int, end: int) -> Iterator[Piece]:
        """Yield what to read for bytes `start` … `end`; runs of whole segments come as one piece, so that the pool can
        read ahead over their borders."""
        run: list[Extent] = []
        for extent in self._cut(start, end):
            if extent.inline is not None:
                yield from _whole(run)
                run = []
                inline = Stored(extent.size_bytes, (), extent.inline)
                yield Piece(inline, extent.start, extent.start + extent.length, _sealed_at(extent))
            elif run and (
                extent.start or _tail(run[-1]) or not _continues(run[-1].seal, extent.seal, run[-1].size_bytes)
            ):
                # A run may begin inside its first segment and end inside its last one, nothing else.
                yield from _whole(run)
                run = [extent]
            else:
                run.append(extent)
        yield from _whole(run)

    def segments(self, start: int, end: int) -> tuple[bytes, ...]:
        """Return the segments that bytes `start` … `end` lie in; none for what lies in the row itself."""
        return tuple(extent.segment for extent in self._cut(start, end) if extent.inline is None)

    def holdings(self) -> Counter[tuple[bytes, int]]:
        """Return every segment once, as the use count sees this content."""
        return Counter({(e.segment, e.size_bytes): 1 for e in self.extents if e.inline is None})

    def _cut(self, start: int, end: int) -> Iterator[Extent]:
        if start >= end:
            return
        index = bisect_right(self.ends, start)
        position = self.ends[index - 1] if index else 0
        while index < len(self.extents) and position < end:
            extent = self.extents[index]
            first, last = max(start - position, 0), min(end - position, extent.length)
            if (first, last) == (0, extent.length):
                yield extent
            else:
                yield structs.replace(extent, start=extent.start + first, length=last - first)
            position += extent.length
            index += 1


def held(holdings: Counter[tuple[bytes, int]]) -> Stored:
    """Return segments as the pool counts their uses: whole, and as often as they are held."""
    refs = tuple(SegmentRef(segment, size) for segment, size in holdings.elements())
    return Stored(sum(ref.size_bytes for ref in refs), refs, None)


def _tail(extent: Extent) -> int:
    return extent.size_bytes - extent.start - extent.length


def _whole(run: list[Extent]) -> Iterator[Piece]:
    if run:
        refs = tuple(SegmentRef(e.segment, e.size_bytes) for e in run)
        size = sum(e.size_bytes for e in run)
        yield Piece(Stored(size, refs, None), run[0].start, size - _tail(run[-1]), _sealed_at(run[0]))


def _seal(salt: bytes | None, position: int) -> Seal | None:
    return None if salt is None else Seal(salt, position)


def _sealed_at(extent: Extent) -> Seal | None:
    return None if extent.seal is None else Seal(extent.seal.salt, extent.seal.position + extent.start)


def _continues(before: Seal | None, seal: Seal | None, size_bytes: int) -> bool:
    if before is None or seal is None:
        return before is seal
    return seal == Seal(before.salt, before.position + size_bytes)


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(tuple[Extent, ...])
