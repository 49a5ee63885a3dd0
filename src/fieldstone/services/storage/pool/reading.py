"""Plain bytes of a segment: fetch, open, and when something does not open, find out who lied.

A range of up to two stripes comes in one window of memory, asked for exactly; a longer one runs through a `Stream`. Each
chunk is opened with the segment's key when it has come, which is all the checking a right byte needs: the shares' trees
are only looked at when a chunk does not open.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

import numpy as np

from fieldstone.services.storage.codes import cipher, erasure
from fieldstone.services.storage.pool.download import Download, NotReadable, Window, share_offset
from fieldstone.services.storage.pool.parts import Parts
from fieldstone.services.storage.pool.segments import Segment, Share
from fieldstone.services.storage.pool.stream import Stream, differing

PIECE_BYTES = 2**20  # handed out at a time
_SHORT_STRIPES = 2
_INLINE_CHUNKS = 4  # opened in the loop's own turn
_SEALED_CHUNK = cipher.CHUNK_BYTES + cipher.TAG_BYTES


async def read_segment(
    parts: Parts, segment: Segment, start: int, end: int
) -> AsyncGenerator[bytes | memoryview, None]:
    """Yield plain bytes `start` … `end` of a segment. Raises NotReadable."""
    low, high = cipher.sealed_range(start, end, segment.size_bytes)
    stripe = segment.layout.stripe_bytes
    if (high - 1) // stripe - low // stripe < _SHORT_STRIPES:
        yield await _short(parts, segment, start, end)
        return
    async with aclosing(_long(parts, segment, start, end)) as pieces:
        async for piece in pieces:
            yield piece


# ---- long: through a stream ----


async def _long(parts: Parts, segment: Segment, start: int, end: int) -> AsyncGenerator[memoryview, None]:
    """Yield a long range in pieces; begin anew at the piece where shares turn out wrong or too few."""
    at, mended_at = start, -1
    while at < end:
        low, high = cipher.sealed_range(at, end, segment.size_bytes)
        stripe = segment.layout.stripe_bytes
        opener, download = _Opener(parts, segment, end), parts.download(segment)
        stream = download.stream(parts.rooms, low // stripe, -(-high // stripe))
        try:
            while at < end:
                until, piece = await opener.open(download, stream, at)
                yield piece
                at = until
        except NotReadable as problem:
            segment = await _reloaded(parts, segment, problem)
        except cipher.NotAuthentic:
            await stream.close()
            if not await _note_liars(parts, download, stream, opener.stripes) and mended_at == at:
                raise  # the shares are what was stored, twice: it does not belong to this key
            mended_at = at
        finally:
            await stream.close()
            stream.give_back()


class _Opener:
    """Opens the chunks of a stream up to `end`. `stripes`: that the last piece lies in."""

    def __init__(self, parts: Parts, segment: Segment, end: int) -> None:
        self._cipher = parts.opener(segment)
        self._segment, self._end = segment, end
        self.stripes = range(0)

    async def open(self, download: Download, stream: Stream, at: int) -> tuple[int, memoryview]:
        """Return plain bytes from `at` on, a piece of them, and where they end. Raises NotReadable, NotAuthentic."""
        stripe = stream.layout.stripe_bytes
        most = min(PIECE_BYTES // cipher.CHUNK_BYTES, (stream.span - 1) * stripe // _SEALED_CHUNK)
        first = at // cipher.CHUNK_BYTES
        stop = min(first + max(most, 1), -(-self._end // cipher.CHUNK_BYTES))
        low, high = first * _SEALED_CHUNK, min(stop * _SEALED_CHUNK, stream.layout.size_bytes)
        self.stripes = range(low // stripe, (high - 1) // stripe + 1)
        if not await stream.ready(self.stripes[-1]):
            raise download.not_readable(stream.most_brought())
        room: memoryview = memoryview(np.empty((stop - first) * cipher.CHUNK_BYTES, np.uint8))  # type: ignore[arg-type]
        self._chunks(stream, range(first, stop), high, room)
        stream.release(high // stripe)
        until = min(stop * cipher.CHUNK_BYTES, self._end)
        return until, room[at - first * cipher.CHUNK_BYTES : until - first * cipher.CHUNK_BYTES]

    def _chunks(self, stream: Stream, chunks: range, high: int, room: memoryview) -> None:
        final = cipher.chunk_count(self._segment.size_bytes) - 1
        for place, chunk in enumerate(chunks):
            at = chunk * _SEALED_CHUNK
            sealed = stream.sealed(at, min(at + _SEALED_CHUNK, high))
            self._cipher.open_chunk_into(sealed, room[place * cipher.CHUNK_BYTES :], chunk=chunk, last=chunk == final)


async def _reloaded(parts: Parts, segment: Segment, problem: NotReadable) -> Segment:
    """Return the segment with other shares: another gateway may have repaired it. Raises `problem` when there are none."""
    known = {share.id for share in segment.shares.values()}
    parts.forget(segment.id)
    found = await parts.segment(segment.id)
    if {share.id for share in found.shares.values()} <= known:
        raise problem
    return found


async def _note_liars(parts: Parts, download: Download, stream: Stream, stripes: range) -> bool:
    """Find out whose bytes of `stripes` in the (closed) stream are wrong and ask them no more; say whether anybody's are.

    Raises NotReadable when too few shares are what their providers committed to.
    """
    layout = download.segment.layout
    true, _, wrong = await download.certain(range(layout.k))
    found = {share.number: (share, "wrong_root", (0, share.size_bytes)) for share in wrong}
    feeds = [feed for feed in (*stream.feeds, *stream.past) if feed.number not in found]
    parity = sorted({feed.number for feed in feeds} - true.keys())
    if parity:
        code = erasure.code(layout.k, layout.n)
        true = {**true, **await asyncio.to_thread(code.decode, true, parity)}
    for feed in differing(stream, stripes, true, feeds):
        found[feed.number] = (feed.share, "wrong_bytes", feed.range())
    await _note(parts, download.segment, list(found.values()))
    return bool(found)


async def _note(parts: Parts, segment: Segment, found: Sequence[tuple[Share, str, tuple[int, int]]]) -> None:
    for share, kind, asked in found:
        parts.nodes.note_wrong_bytes(share.device)
        segment.shares.pop(share.number, None)  # it is not asked again
        await parts.note_fault(segment, share, "corrupt", kind, {"range": asked})


# ---- short: one window ----


async def _short(parts: Parts, segment: Segment, start: int, end: int) -> bytes:
    """Return a range that lies in a stripe or two. Raises NotReadable."""
    low, high = cipher.sealed_range(start, end, segment.size_bytes)
    download, opener = parts.download(segment), parts.opener(segment)
    try:
        window, used = await _filled(download, low, high)
    except NotReadable as problem:
        download = parts.download(await _reloaded(parts, segment, problem))
        window, used = await _filled(download, low, high)

    def opened() -> bytes:
        sealed = window.data[low - window.start : high - window.start]
        return opener.open_range(sealed, start, end, segment.size_bytes)

    async def plain() -> bytes:
        if high - low <= _INLINE_CHUNKS * _SEALED_CHUNK:
            return opened()
        return await asyncio.get_running_loop().run_in_executor(parts.threads, opened)

    try:
        return await plain()
    except cipher.NotAuthentic:
        window = await _certain_window(parts, download, window, used)
        return await plain()


async def _filled(download: Download, low: int, high: int) -> tuple[Window, Mapping[int, tuple[int, int]]]:
    stripe = download.segment.layout.stripe_bytes
    window = Window.over(download.segment.layout, low // stripe, -(-high // stripe))
    return window, await download.fill(window, low, high)


async def _certain_window(
    parts: Parts, download: Download, window: Window, used: Mapping[int, tuple[int, int]]
) -> Window:
    """Return the window from shares that are what their providers committed to.

    Whose bytes differ from them is noted, and not asked again. Raises NotReadable.
    """
    segment, layout = download.segment, download.segment.layout
    data, _, wrong = await download.certain(range(layout.k))
    found = {share.number: (share, "wrong_root", (0, share.size_bytes)) for share in wrong}
    for number, (low, high) in used.items():
        if number in found:
            continue
        if number not in data:
            data = {**data, **await asyncio.to_thread(erasure.code(layout.k, layout.n).decode, data, [number])}
        if not _is_same(window, number, data[number], low, high):
            found[number] = (segment.shares[number], "wrong_bytes", (low, high))
    await _note(parts, segment, list(found.values()))
    true = Window.over(layout, window.first, window.last)
    for number in range(layout.k):
        for stripe in range(true.first, true.last):
            at = share_offset(layout, stripe)
            block = true.block(number, stripe)
            block[:] = data[number][at : at + len(block)]
    return true


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
