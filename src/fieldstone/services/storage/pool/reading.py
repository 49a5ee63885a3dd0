"""Plain bytes of a segment, window by window: fetch, open, and when something does not open, find out who lied.

Windows are cut between stripes, so no byte is asked for twice; the chunk that crosses a cut is put together from the
end of one window and the beginning of the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fieldstone.services.storage.codes import cipher, erasure
from fieldstone.services.storage.codes.stripes import Layout
from fieldstone.services.storage.pool.download import Download, NotReadable, Window, share_offset
from fieldstone.services.storage.pool.parts import Parts
from fieldstone.services.storage.pool.segments import Segment, Share

WINDOW_BYTES = 16 * 2**20
PIECE_BYTES = 2**20  # handed out at a time
_SEALED_CHUNK = cipher.CHUNK_BYTES + cipher.TAG_BYTES


@dataclass(frozen=True, slots=True)
class _Fetched:
    """Sealed bytes `start` … `end` in a window; `used`: which ranges of which shares they came from."""

    window: Window
    start: int
    end: int
    used: Mapping[int, tuple[int, int]]

    def sealed(self, start: int, end: int) -> memoryview:
        return self.window.data[start - self.window.start : end - self.window.start]


async def read_segment(parts: Parts, segment: Segment, start: int, end: int) -> AsyncIterator[bytes | memoryview]:
    """Yield plain bytes `start` … `end` of a segment; the next window is fetched while one is used.

    Raises NotReadable.
    """
    low, high = cipher.sealed_range(start, end, segment.size_bytes)
    cuts = _windows(segment.layout, low, high)
    download = parts.download(segment)
    opener = _Opener(parts, segment, start, end, low)
    ahead = asyncio.create_task(_fetch(parts, download, *cuts[0]))
    try:
        for following in (*cuts[1:], None):
            fetched = await ahead
            if following is not None:
                ahead = asyncio.create_task(_fetch(parts, download, *following))
            for piece in await opener.open(download, fetched, is_last=following is None):
                yield piece
    finally:
        ahead.cancel()
        await asyncio.gather(ahead, return_exceptions=True)


async def _fetch(parts: Parts, download: Download, low: int, high: int) -> _Fetched:
    layout = download.segment.layout
    window = Window.over(layout, low // layout.stripe_bytes, -(-high // layout.stripe_bytes))
    try:
        used = await download.fill(window, low, high)
    except NotReadable:
        # another gateway may have repaired the segment: its shares are elsewhere now
        known = {share.id for share in download.segment.shares.values()}
        parts.forget(download.segment.id)
        download.segment = await parts.segment(download.segment.id)
        if {share.id for share in download.segment.shares.values()} <= known:
            raise
        used = await download.fill(window, low, high)
    return _Fetched(window, low, high, used)


class _Opener:
    """Opens the chunks of consecutive windows. `at`: the sealed offset of the next chunk."""

    def __init__(self, parts: Parts, segment: Segment, start: int, end: int, at: int) -> None:
        self._parts = parts
        self._segment = segment
        self._cipher = parts.opener(segment)
        self._start, self._end = start, end
        self._at = at
        self._carried = b""  # sealed bytes from `at` to the end of the window before
        self._before: _Fetched | None = None

    async def open(self, download: Download, fetched: _Fetched, *, is_last: bool) -> list[bytes | memoryview]:
        """Return the plain pieces that are complete with this window. Raises NotReadable."""
        until = fetched.end if is_last else fetched.end // _SEALED_CHUNK * _SEALED_CHUNK
        run = asyncio.get_running_loop().run_in_executor
        try:
            plain = await run(self._parts.threads, self._chunks, fetched, until)
        except cipher.NotAuthentic:
            # what is wrong may have come with the window before
            fetched = await _read_certainly(self._parts, download, self._at, fetched, self._before)
            self._carried = b""
            plain = await run(self._parts.threads, self._chunks, fetched, until)
        self._at = until
        self._carried = bytes(fetched.sealed(until, fetched.end))
        self._before = fetched
        return plain

    def _chunks(self, fetched: _Fetched, until: int) -> list[bytes | memoryview]:
        """Open the chunks up to `until`; whole ones go straight to their place in memory that is handed out."""
        chunks = range(self._at // _SEALED_CHUNK, -(-until // _SEALED_CHUNK))
        start = max(chunks.start * cipher.CHUNK_BYTES, self._start)
        end = min(chunks.stop * cipher.CHUNK_BYTES, self._end)
        if len(chunks) == 1:
            sealed = self._sealed(fetched, self._at, until)
            return [self._cipher.open_range(sealed, start, end, self._segment.size_bytes)]
        plain: memoryview = memoryview(np.empty(max(end - start, 0), np.uint8))  # type: ignore[arg-type]
        final = cipher.chunk_count(self._segment.size_bytes) - 1
        for chunk in chunks:
            at = chunk * _SEALED_CHUNK
            sealed = self._sealed(fetched, at, min(at + _SEALED_CHUNK, until))
            first = chunk * cipher.CHUNK_BYTES
            behind = first + len(sealed) - cipher.TAG_BYTES
            if start <= first and behind <= end:
                self._cipher.open_chunk_into(sealed, plain[first - start :], chunk=chunk, last=chunk == final)
            else:
                low, high = max(first, start), min(behind, end)
                piece = self._cipher.open_range(sealed, low, high, self._segment.size_bytes)
                plain[low - start : high - start] = piece
        return [plain[at : at + PIECE_BYTES] for at in range(0, len(plain), PIECE_BYTES)]

    def _sealed(self, fetched: _Fetched, at: int, stop: int) -> memoryview:
        if at < fetched.start:
            return memoryview(self._carried + bytes(fetched.sealed(fetched.start, stop)))
        return fetched.sealed(at, stop)


async def _read_certainly(
    parts: Parts, download: Download, start: int, fetched: _Fetched, before: _Fetched | None
) -> _Fetched:
    """Return bytes `start` … of the window from shares that are what their providers committed to.

    Whose bytes differ from them is noted, and not asked again.
    """
    segment, layout = download.segment, download.segment.layout
    data, _, wrong = await download.certain(range(layout.k))
    found: dict[int, tuple[Share, str, tuple[int, int]]] = {
        share.number: (share, "wrong_root", (0, share.size_bytes)) for share in wrong
    }
    for part in (fetched, before):
        for number, (low, high) in part.used.items() if part is not None else ():
            if number in found or part is None:
                continue
            if number not in data:
                data = {**data, **await asyncio.to_thread(erasure.code(layout.k, layout.n).decode, data, [number])}
            if not _is_same(part.window, number, data[number], low, high):
                found[number] = (segment.shares[number], "wrong_bytes", (low, high))
    for share, kind, asked in found.values():
        parts.nodes.note_wrong_bytes(share.device)
        segment.shares.pop(share.number, None)  # the windows that follow do not ask it
        await parts.note_fault(segment, share, "corrupt", kind, {"range": asked})
    window = Window.over(layout, start // layout.stripe_bytes, fetched.window.last)
    for number in range(layout.k):
        for stripe in range(window.first, window.last):
            at = share_offset(layout, stripe)
            block = window.block(number, stripe)
            block[:] = data[number][at : at + len(block)]
    return _Fetched(window, start, fetched.end, {})


def _windows(layout: Layout, low: int, high: int) -> list[tuple[int, int]]:
    """Cut a sealed range between stripes, into windows of about WINDOW_BYTES."""
    step = max(1, WINDOW_BYTES // layout.stripe_bytes) * layout.stripe_bytes
    return list(pairwise([low, *range((low // layout.stripe_bytes) * layout.stripe_bytes + step, high, step), high]))


def _is_same(window: Window, number: int, true: memoryview, start: int, end: int) -> bool:
    """Say whether the window holds bytes `start` … `end` of a share as they should be."""
    layout = window.layout
    at = start
    while at < end:
        stripe = min(at // layout.block_bytes, layout.stripes - 1)
        block = window.block(number, stripe)
        offset = at - share_offset(layout, stripe)
        until = min(len(block), offset + end - at)
        if block[offset:until] != true[at : at + until - offset]:
            return False
        at += until - offset
    return True
