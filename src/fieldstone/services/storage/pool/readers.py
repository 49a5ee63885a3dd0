"""Keep what is being read from being swept: a slow reader of an object that is deleted meanwhile gets all of it.

The sweeper lets a dropped segment go ten minutes after `dropped_ms`. A read that lasts longer than `RENEW_S` looks, every
`RENEW_S`, which of its segments were dropped, and moves their `dropped_ms` to now: a lease of ten minutes that lives in
the segment's own row, so that every gateway's sweeper sees it, and that ends by itself when the reader's process does.
A read that is quicker, nearly every one, costs a timer; one of an object that still stands writes nothing.

No read holds longer than `LONGEST_MS`: who reads a byte a minute must not make deleted data stay, and be paid for, for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import structlog
from sqlalchemy import Connection, select, update

from fieldstone.clock import Clock
from fieldstone.errors import Retryable
from fieldstone.services.storage.pool.database import Database
from fieldstone.services.storage.pool.tables import segment

RENEW_S = 120.0
LONGEST_MS = 86_400_000
_BATCH = 500

_log = structlog.get_logger("storage.readers")


class Readers:
    """The long reads of one gateway. Use it from one event loop."""

    def __init__(
        self, database: Database, clock: Clock, *, renew_s: float = RENEW_S, longest_ms: int = LONGEST_MS
    ) -> None:
        self._database = database
        self._clock = clock
        self._renew_s = renew_s
        self._longest_ms = longest_ms

    @contextmanager
    def holding(self, segment_ids: Sequence[bytes]) -> Iterator[None]:
        """Keep segments for as long as this is open, a day at most; they must have been in use when it began."""
        if not segment_ids:
            yield
            return
        loop = asyncio.get_running_loop()
        renewing: asyncio.Task[None] | None = None

        def begin() -> None:  # a quick read costs a timer, not a task
            nonlocal renewing
            renewing = loop.create_task(self._renew(segment_ids, until_ms))

        until_ms = self._clock.now_ms() + self._longest_ms
        timer = loop.call_later(self._renew_s, begin)
        try:
            yield
        finally:
            timer.cancel()
            if renewing is not None:
                renewing.cancel()

    async def _renew(self, segment_ids: Sequence[bytes], until_ms: int) -> None:
        """Renew, wait, and again: never two at once, or a slow database would get more and more to do."""
        while self._clock.now_ms() < until_ms:
            await self._extend(segment_ids)
            await asyncio.sleep(self._renew_s)
        _log.warning("read_held_no_longer", segments=len(segment_ids))

    async def _extend(self, segment_ids: Sequence[bytes]) -> None:
        try:
            for at in range(0, len(segment_ids), _BATCH):
                batch = segment_ids[at : at + _BATCH]
                if await self._database.read(partial(_dropped, batch=batch)):
                    await self._database.write(partial(_keep, batch=batch, now_ms=self._clock.now_ms()))
        except Retryable as problem:
            _log.warning("read_not_held", why=str(problem))  # four more tries before the ten minutes are over


def _dropped(connection: Connection, batch: Sequence[bytes]) -> bool:
    here = segment.c.id.in_(batch) & (segment.c.state == "dropped")
    return connection.execute(select(segment.c.id).where(here).limit(1)).first() is not None


def _keep(connection: Connection, batch: Sequence[bytes], now_ms: int) -> None:
    here = segment.c.id.in_(batch) & (segment.c.state == "dropped")
    connection.execute(update(segment).where(here).values(dropped_ms=now_ms))
