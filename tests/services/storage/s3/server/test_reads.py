"""Streams of content hold what they read until they are closed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from fieldstone.services.storage.catalog.content import Content
from fieldstone.services.storage.pool import SegmentRef, Stored
from fieldstone.services.storage.s3.server.reads import stream


class Bytes:
    """A pool whose segments are zeros; `held` is what readers hold."""

    def __init__(self) -> None:
        self.held: list[bytes] = []

    @contextmanager
    def holding(self, segment_ids: Sequence[bytes]) -> Iterator[None]:
        self.held += segment_ids
        try:
            yield
        finally:
            self.held.clear()

    async def read(self, stored: Stored, start: int, end: int) -> AsyncIterator[bytes]:
        for _ in range(start, end):
            yield b"\0"


async def test_a_stream_holds_all_segments_that_it_has_yet_to_read() -> None:
    pool = Bytes()
    call: Any = SimpleNamespace(gateway=SimpleNamespace(pool=pool))
    refs = [SegmentRef(bytes([number]) * 16, 3) for number in range(4)]
    whole = Content.of(Stored(12, tuple(refs)))
    content = Content.joined([whole.slice(0, 4), Content.of(Stored(2, (), b"xy")), whole.slice(5, 12)])
    reading = stream(call, content, 0, 10)
    await anext(reading)
    assert pool.held == [refs[0].id, refs[1].id, refs[1].id, refs[2].id]
    await reading.aclose()  # type: ignore[attr-defined]
    assert pool.held == []
