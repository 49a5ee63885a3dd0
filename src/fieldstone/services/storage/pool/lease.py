"""Tell the network which shares this gateway pays for: leases of live segments' shares, releases of those given up.

What is to be reported is not a queue but a state: a held share of a live segment without `leased_ms`, a share with it
that is wanted no more. So nothing is lost on kill -9. A report is handed over before it is marked; a crash in between
sends the same lines twice, which the network must take as once: a lease names the provider's signed receipt, a
release the share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select, update

from fieldstone.services.storage import records
from fieldstone.services.storage.pool.parts import Parts
from fieldstone.services.storage.pool.tables import UNWANTED, segment, share

MOST_SHARES = 500  # in one report: about 200 kB
_UNWANTED = ("lost", "corrupt", "leaving")

Send = Callable[[str, bytes], object]
"""`send(kind, body)`: sign a document report of `storage` and keep it durably until the network has it (the agent)."""


@dataclass(frozen=True, slots=True)
class Reported:
    """How many shares one pass reported."""

    leased: int = 0
    released: int = 0


class LeaseReporter:
    """Run `once` every few seconds. `send` may block; it is called on a thread and must be durable when it returns."""

    def __init__(self, parts: Parts, send: Send, most_shares: int = MOST_SHARES) -> None:
        self._parts = parts
        self._send = send
        self._most = most_shares

    async def once(self) -> Reported:
        """Report everything that is due. Raises what `send` raises, and Retryable; then the rest is due again."""
        leased = released = 0
        while count := await self._lease():
            leased += count
        while count := await self._release():
            released += count
        return Reported(leased, released)

    async def _lease(self) -> int:
        def due(connection: Connection) -> list[tuple[bytes, records.LeasedShare]]:
            found = (
                select(share.c.id, share.c.receipt, share.c.segment_id, share.c.number)
                .join(segment, segment.c.id == share.c.segment_id)
                .where(share.c.state == "held", share.c.leased_ms.is_(None), segment.c.state == "live")
                .order_by(share.c.segment_id, share.c.number)
                .limit(self._most)
            )
            return [
                (row.id, records.LeasedShare(receipt=row.receipt, segment=row.segment_id, index=row.number))
                for row in connection.execute(found)
            ]

        rows = await self._parts.database.read(due)
        if rows:
            body = records.encode(records.Lease(shares=tuple(line for _, line in rows)))
            await asyncio.to_thread(self._send, "lease", body)
            await self._mark([i for i, _ in rows], "leased_ms")
        return len(rows)

    async def _release(self) -> int:
        def due(connection: Connection) -> list[tuple[bytes, str]]:
            leased = share.c.leased_ms.is_not(None) & share.c.released_ms.is_(None)
            columns = select(share.c.id, share.c.device).where(leased).limit(self._most)
            # two questions, each with an index: as one it reads all shares, seven seconds for a terabyte of objects
            unwanted = columns.where(UNWANTED, share.c.state.in_(_UNWANTED))
            found = [(row.id, row.device) for row in connection.execute(unwanted)]
            if not found:
                dropped = columns.join(segment, segment.c.id == share.c.segment_id).where(segment.c.state == "dropped")
                found = [(row.id, row.device) for row in connection.execute(dropped)]
            return found

        rows = await self._parts.database.read(due)
        if rows:
            body = records.encode(records.Release(shares=tuple((device, i) for i, device in rows)))
            await asyncio.to_thread(self._send, "release", body)
            await self._mark([i for i, _ in rows], "released_ms")
        return len(rows)

    async def _mark(self, ids: list[bytes], column: str) -> None:
        now_ms = self._parts.clock.now_ms()
        marked = update(share).where(share.c.id == bindparam("share_id")).values({column: bindparam("now")})
        rows = [{"share_id": i, "now": now_ms} for i in ids]
        await self._parts.database.write(lambda c: c.execute(marked, rows))
