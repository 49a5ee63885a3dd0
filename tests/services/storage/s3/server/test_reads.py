"""Streams of content hold what they read until they are closed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from fieldstone.services.storage.catalog.content import Content
from fieldstone.services.storage.pool import SegmentRef, Stored
from fieldstone.services.storage.s3.server.reads import stream


class Bytes:
    """A pool whose segments are zeros; `held` is what readers hold."""

    def __init__(self) -> None:
        self.held: list[bytes] = []
        self.ordered: list[tuple[int, int]] = []

    @contextmanager
    def holding(self, segment_ids: Sequence[bytes]) -> Iterator[None]:
        self.held += segment_ids
        try:
            yield
        finally:
            self.held.clear()

    async def read(self, stored: Stored, start: int, end: int) -> AsyncIterator[bytes]:
        self.ordered.append((start, end))
        for at in range(start, end, 1 << 20):
            yield bytes(min(1 << 20, end - at))


def called(pool: Bytes, kind: str = "v4") -> Any:
    return SimpleNamespace(gateway=SimpleNamespace(pool=pool), identity=SimpleNamespace(kind=kind))


@pytest.mark.parametrize("kind", ["anonymous", "v4-presigned", "v2-presigned"])
async def test_a_stranger_who_hangs_up_costs_little_more_than_he_took(kind: str) -> None:
    size = 64 << 20
    content = Content.of(Stored(size, (SegmentRef(bytes(16), size),)))
    for taken in (1, 5 << 20, 20 << 20, size):
        pool = Bytes()
        reading = stream(called(pool, kind), content, 0, size)
        got = 0
        while got < taken:
            got += len(await anext(reading))
        await reading.aclose()  # type: ignore[attr-defined]
        ordered = sum(end - start for start, end in pool.ordered)
        assert got <= ordered <= max(4 << 20, 2 * got)


async def test_an_owner_orders_a_segment_at_once() -> None:
    pool, size = Bytes(), 64 << 20
    content = Content.of(Stored(size, (SegmentRef(bytes(16), size),)))
    assert sum([len(chunk) async for chunk in stream(called(pool), content, 5, size)]) == size - 5
    assert pool.ordered == [(5, size)]


async def test_a_stream_holds_all_segments_that_it_has_yet_to_read() -> None:
    pool = Bytes()
    call = called(pool)
    refs = [SegmentRef(bytes([number]) * 16, 3) for number in range(4)]
    whole = Content.of(Stored(12, tuple(refs)))
    content = Content.joined([whole.slice(0, 4), Content.of(Stored(2, (), b"xy")), whole.slice(5, 12)])
    reading = stream(call, content, 0, 10)
    await anext(reading)
    assert pool.held == [refs[0].id, refs[1].id, refs[1].id, refs[2].id]
    await reading.aclose()  # type: ignore[attr-defined]
    assert pool.held == []
