"""Where the bytes of a short read go: consecutive stripes in memory, as they lie in the segment, and the sinks that fill them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fieldstone.services.storage.codes import erasure
from fieldstone.services.storage.codes.stripes import Layout


class Window:
    """Consecutive stripes of a segment in memory: k blocks in a row per stripe, as in the (padded) segment."""

    def __init__(self, layout: Layout, first: int, last: int) -> None:
        self.layout = layout
        self.first, self.last = first, last  # half open
        self.start = first * layout.stripe_bytes
        self._k, self._block_bytes, self._full = layout.k, layout.block_bytes, layout.full_stripes
        size = (min(last, self._full) - first) * layout.stripe_bytes
        if last > self._full:
            size += layout.k * layout.last_block_bytes
        self.data: memoryview = memoryview(np.empty(size, np.uint8))  # type: ignore[arg-type]
        self._parity: dict[int, memoryview] = {}

    @classmethod
    def over(cls, layout: Layout, first: int, last: int) -> Window:
        """Make room for stripes `first` … `last`."""
        return cls(layout, first, last)

    def block(self, number: int, stripe: int) -> memoryview:
        """Return the place of block `stripe` of share `number`; room for a parity share is made when first asked for."""
        size = self._block_bytes if stripe < self._full else self.layout.last_block_bytes
        row = (stripe - self.first) * self._block_bytes
        if number < self._k:
            at = row * self._k + number * size
            return self.data[at : at + size]
        if number not in self._parity:
            self._parity[number] = memoryview(np.empty(len(self.data) // self._k, np.uint8))  # type: ignore[arg-type]
        return self._parity[number][row : row + size]


@dataclass(frozen=True, slots=True)
class Need:
    """Which bytes of which data shares a read needs: number → (start, end) in the share, and their hull."""

    by_share: Mapping[int, tuple[int, int]]
    hull: tuple[int, int]


def need_of(layout: Layout, start: int, end: int) -> Need:
    """Return what bytes `start` … `end` of the (sealed) segment need."""
    first, last = start // layout.stripe_bytes, (end - 1) // layout.stripe_bytes
    if last > first + 1:  # every share is needed, and all of them nearly from end to end
        hull = (first * layout.block_bytes, min(layout.share_bytes, (last + 1) * layout.block_bytes))
        return Need(dict.fromkeys(range(layout.k), hull), hull)
    ranges: dict[int, tuple[int, int]] = {}
    for piece in layout.pieces(start, end):
        low, high = ranges.get(piece.share, (piece.start, piece.end))
        ranges[piece.share] = (min(low, piece.start), max(high, piece.end))
    hull = (min(low for low, _ in ranges.values()), max(high for _, high in ranges.values()))
    return Need(ranges, hull)


class Scatter:
    """A sink that puts a share's bytes, from `start` to `end`, where they belong in a window."""

    waited_s = 0.0

    def __init__(self, window: Window, number: int, start: int, end: int) -> None:
        self._window, self._number = window, number
        self._left = end - start
        self._stripe = min(start // window.layout.block_bytes, window.layout.stripes - 1)
        self._room = window.block(number, self._stripe)[start - self._stripe * window.layout.block_bytes :]

    def buffer(self) -> memoryview:
        """See wire.Sink."""
        return self._room

    def buffers(self) -> list[memoryview]:
        """See wire.Sink."""
        return [self._room]

    def advance(self, count: int) -> None:
        """See wire.Sink."""
        self._left -= count
        if count < len(self._room):
            self._room = self._room[count:]
        elif self._left > 0:
            self._stripe += 1
            self._room = self._window.block(self._number, self._stripe)
        else:
            self._room = memoryview(b"")

    def wait(self, resume: Callable[[], None]) -> bool:
        """See wire.Sink."""
        return False


class Flat:
    """A sink that fills one piece of memory."""

    waited_s = 0.0

    def __init__(self, room: memoryview) -> None:
        self._room = room

    def buffer(self) -> memoryview:
        """See wire.Sink."""
        return self._room

    def buffers(self) -> list[memoryview]:
        """See wire.Sink."""
        return [self._room]

    def advance(self, count: int) -> None:
        """See wire.Sink."""
        self._room = self._room[count:]

    def wait(self, resume: Callable[[], None]) -> bool:
        """See wire.Sink."""
        return False


def rebuild(layout: Layout, window: Window, hull: tuple[int, int], have: Sequence[int], missing: Sequence[int]) -> None:
    """Compute the hull's bytes of the missing data shares, stripe by stripe, into the window."""
    code = erasure.code(layout.k, layout.n)
    low, high = hull
    at = low
    while at < high:
        stripe = min(at // layout.block_bytes, layout.stripes - 1)
        offset = at - share_offset(layout, stripe)
        until = min(_block(layout, stripe), offset + high - at)
        parts = {number: window.block(number, stripe)[offset:until] for number in have}
        for number, part in code.decode(parts, missing).items():
            window.block(number, stripe)[offset:until] = part
        at += until - offset


def share_offset(layout: Layout, stripe: int) -> int:
    """Return where block `stripe` begins in a share."""
    return layout.share_bytes if stripe == layout.stripes else stripe * layout.block_bytes


def _block(layout: Layout, stripe: int) -> int:
    return layout.block_bytes if stripe < layout.full_stripes else layout.last_block_bytes
