"""Which objects are permanent, and how the network learns which segments funds pay for first.

An object version is permanent when object lock retains it in COMPLIANCE mode until the year 9999: a lock that S3 clients
know, that nobody can lift or shorten, with no end. Such a version cannot be deleted, overwritten (its bucket is versioned)
or expired; nothing is paid back for it. `CoverReporter` tells the network its segments in `cover` reports, once their
shares are leased. As with leases, what is due is a state and not a queue: a permanent version without a row in
`s3_permanent`; a crash between report and row sends the same segments twice, which the network takes as once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, exists, select

from fieldstone.clock import Clock
from fieldstone.services.storage import records
from fieldstone.services.storage.catalog.content import Content
from fieldstone.services.storage.catalog.schema import IS_PERMANENT, content, permanent, version
from fieldstone.services.storage.pool.database import Database
from fieldstone.services.storage.pool.tables import segment, share

MOST_SEGMENTS = 10_000  # in one report: about 180 kB
_PAGE = 200  # versions looked at in one transaction

Send = Callable[[str, bytes], object]
"""`send(kind, body)`: sign a document report of `storage` and keep it durably until the network has it (the agent)."""


@dataclass(frozen=True, slots=True)
class _Due:
    version: int
    segments: Mapping[bytes, int]  # → how many shares restore it


class CoverReporter:
    """Run `once` every few seconds. `send` may block; it is called on a thread and must be durable when it returns."""

    def __init__(self, database: Database, clock: Clock, send: Send, most_segments: int = MOST_SEGMENTS) -> None:
        self._database = database
        self._clock = clock
        self._send = send
        self._most = most_segments

    async def once(self) -> int:
        """Report every permanent version whose shares are leased and that was not reported; return how many versions.

        Raises what `send` raises, and Retryable; then the rest is due again.
        """
        count = after = 0
        while True:
            after, due = await self._database.read(partial(_page, after=after))
            if due:
                await self._report(due)
                count += len(due)
            if not after:
                return count

    async def _report(self, due: list[_Due]) -> None:
        needed = {segment: k for one in due for segment, k in one.segments.items()}
        segments = sorted(needed)
        for at in range(0, len(segments), self._most):
            part = tuple(segments[at : at + self._most])
            body = records.encode(records.Cover(segments=part, needed=tuple(needed[name] for name in part)))
            await asyncio.to_thread(self._send, "cover", body)
        now_ms = self._clock.now_ms()
        rows = [{"version": one.version, "reported_ms": now_ms} for one in due]

        def mark(connection: Connection) -> None:
            # `call` may be run again, and another gateway of the same identity may have been faster
            there = select(permanent.c.version).where(permanent.c.version.in_([row["version"] for row in rows]))
            known = set(connection.execute(there).scalars())
            new = [row for row in rows if row["version"] not in known]
            if new:
                connection.execute(permanent.insert(), new)

        await self._database.write(mark)


def _page(connection: Connection, after: int) -> tuple[int, list[_Due]]:
    """Return the last version looked at (0: there are no more) and what of the page can be reported."""
    found = (
        select(version.c.id, content.c.extents)
        .join(content, content.c.version == version.c.id)
        .where(IS_PERMANENT, version.c.id > after, ~exists().where(permanent.c.version == version.c.id))
        .order_by(version.c.id)
        .limit(_PAGE)
    )
    rows = connection.execute(found).all()
    due = []
    for row in rows:
        segments = tuple(sorted({segment for segment, _ in Content.decode(row.extents).holdings()}))
        if _all_leased(connection, segments):
            due.append(_Due(row.id, _needed(connection, segments)))
    return (rows[-1].id if len(rows) == _PAGE else 0), due


def _needed(connection: Connection, segments: tuple[bytes, ...]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for at in range(0, len(segments), 500):
        rows = connection.execute(select(segment.c.id, segment.c.k).where(segment.c.id.in_(segments[at : at + 500])))
        found |= {row.id: row.k for row in rows}
    return found


def _all_leased(connection: Connection, segments: tuple[bytes, ...]) -> bool:
    for at in range(0, len(segments), 500):
        part = segments[at : at + 500]
        leased = (
            select(share.c.segment_id).where(share.c.segment_id.in_(part), share.c.leased_ms.is_not(None)).distinct()
        )
        if len(connection.execute(leased).all()) < len(part):
            return False
    return True
