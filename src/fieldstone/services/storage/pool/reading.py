"""Plain bytes of a segment, window by window: fetch, open, and when something does not open, find out who lied."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from itertools import pairwise

from fieldstone.services.storage.codes import cipher, erasure
from fieldstone.services.storage.pool.download import Download, Window, share_offset
from fieldstone.services.storage.pool.parts import Parts
from fieldstone.services.storage.pool.segments import Segment, Share

WINDOW_BYTES = 16 * 2**20


async def read_segment(parts: Parts, segment: Segment, start: int, end: int) -> AsyncIterator[bytes]:
    """Yield plain bytes `start` … `end` of a segment; the next window is fetched while one is used.

    Raises NotReadable.
    """
    cuts = _windows(start, end)
    ahead = asyncio.create_task(_read_window(parts, segment, *cuts[0]))
    try:
        for following in (*cuts[1:], None):
            plain = await ahead
            if following is not None:
                ahead = asyncio.create_task(_read_window(parts, segment, *following))
            for piece in plain:
                yield piece
    finally:
        ahead.cancel()
        await asyncio.gather(ahead, return_exceptions=True)


async def _read_window(parts: Parts, segment: Segment, start: int, end: int) -> list[bytes]:
    low, high = cipher.sealed_range(start, end, segment.size_bytes)
    layout = segment.layout
    download = parts.download(segment)
    window = Window.over(layout, low // layout.stripe_bytes, -(-high // layout.stripe_bytes))
    sealed = window.data[low - window.start : high - window.start]
    opener = parts.opener(segment)
    run = asyncio.get_running_loop().run_in_executor
    used = await download.fill(window, low, high)
    try:
        return await run(parts.threads, _open, opener, sealed, start, end, segment.size_bytes)
    except cipher.NotAuthentic:
        await _read_certainly(parts, download, window, used)
    return await run(parts.threads, _open, opener, sealed, start, end, segment.size_bytes)


async def _read_certainly(
    parts: Parts, download: Download, window: Window, used: Mapping[int, tuple[int, int]]
) -> None:
    """Fill the window from shares that are what their providers committed to, and note whose bytes differ from them."""
    segment, layout = download.segment, window.layout
    data, _, wrong = await download.certain(range(layout.k))
    found: dict[int, tuple[Share, str]] = {share.number: (share, "wrong_root") for share in wrong}
    parity = [number for number in used if number >= layout.k]
    true = {**data, **await asyncio.to_thread(erasure.code(layout.k, layout.n).decode, data, parity)}
    for number, (start, end) in used.items():
        if number not in found and not _is_same(window, number, true[number], start, end):
            found[number] = (segment.shares[number], "wrong_bytes")
    for number in range(layout.k):
        for stripe in range(window.first, window.last):
            at = share_offset(layout, stripe)
            block = window.block(number, stripe)
            block[:] = data[number][at : at + len(block)]
    for share, kind in found.values():
        parts.nodes.note_wrong_bytes(share.device)
        asked = used.get(share.number, (0, share.size_bytes))
        await parts.note_fault(segment, share, "corrupt", kind, {"range": asked})


def _windows(start: int, end: int) -> list[tuple[int, int]]:
    """Cut a range at multiples of WINDOW_BYTES."""
    return list(pairwise([start, *range((start // WINDOW_BYTES + 1) * WINDOW_BYTES, end, WINDOW_BYTES), end]))


def _open(opener: cipher.SegmentCipher, sealed: memoryview, start: int, end: int, size_bytes: int) -> list[bytes]:
    """Return the plain bytes of a range, a piece per chunk: nothing is joined."""
    low, _ = cipher.sealed_range(start, end, size_bytes)
    pieces = []
    at = start
    while at < end:
        until = min(end, (at // cipher.CHUNK_BYTES + 1) * cipher.CHUNK_BYTES)
        first, last = cipher.sealed_range(at, until, size_bytes)
        pieces.append(opener.open_range(sealed[first - low : last - low], at, until, size_bytes))
        at = until
    return pieces


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
