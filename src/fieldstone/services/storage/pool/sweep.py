"""Delete what nobody uses: dropped segments, uploads that a crash or a hung-up client left behind, replaced shares.

A pending segment is swept when its writer is gone: at once after a restart of a gateway that is alone under its
identity, otherwise after a day. A slow client may take hours over an object, whose first segments wait that long to be
adopted, and another gateway on the same database cannot see it at work. A dropped one is kept for ten minutes, so that
reads under way can end, and for ten more each time a slow one says that it still reads (`readers`). A share is
deleted at its node once its release is with the network, if a lease was, and its row stays until then.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, exists, select, update

from fieldstone.services.storage.pool import segments
from fieldstone.services.storage.pool.nodes import NodeProblem
from fieldstone.services.storage.pool.parts import Parts
from fieldstone.services.storage.pool.tables import segment, share

PENDING_MS = 86_400_000
DROPPED_MS = 600_000
GIVE_UP_MS = 30 * 86_400_000  # a node that has not answered for so long keeps what it has
_PAGE = 1_000
_AT_ONCE = 8  # deletions at a time per node, and nodes at a time


@dataclass(frozen=True, slots=True)
class Swept:
    """What one pass did: segments given up, shares deleted at their nodes, shares whose node did not answer."""

    abandoned: int = 0
    deleted: int = 0
    waiting: int = 0


class Sweeper:
    """Run `once` every few minutes. `is_alone`: no other process writes under this gateway's identity now."""

    def __init__(
        self, parts: Parts, *, is_alone: bool = False, pending_ms: int = PENDING_MS, dropped_ms: int = DROPPED_MS
    ) -> None:
        self._parts = parts
        self._is_alone = is_alone
        self._pending_ms = pending_ms
        self._dropped_ms = dropped_ms

    async def once(self) -> Swept:
        """Do one pass. Raises Retryable when the database does not answer."""
        abandoned = await self._parts.database.write(self._give_up)
        leaving = await self._parts.database.read(_leaving)
        deleted, waiting = await self._delete(leaving)
        await self._parts.database.write(self._clear)
        return Swept(abandoned, deleted, waiting)

    def _give_up(self, connection: Connection) -> int:
        now_ms = self._parts.clock.now_ms()
        gateway = self._parts.writer.partition("/")[0]
        rows = connection.execute(
            select(segment.c.id, segment.c.writer, segment.c.created_ms).where(segment.c.state == "pending")
        )
        dead = [
            row.id
            for row in rows
            if row.id not in self._parts.writing
            and (
                row.created_ms < now_ms - self._pending_ms
                or (self._is_alone and row.writer != self._parts.writer and row.writer.startswith(gateway + "/"))
            )
        ]
        segments.abandon(connection, dead, now_ms)
        # what was abandoned never was an object: nobody reads it
        gone = (segment.c.state == "dropped") & (
            segment.c.id.in_(dead) | (segment.c.dropped_ms < now_ms - self._dropped_ms)
        )
        # held: a reader that says just now that it still reads comes before or after us, not in between
        ids = list(connection.execute(select(segment.c.id).where(gone).with_for_update()).scalars())
        for segment_id in ids:
            there = (share.c.segment_id == segment_id) & share.c.state.not_in(("leaving", "deleted"))
            connection.execute(update(share).where(there).values(state="leaving", changed_ms=now_ms))
        # uploads that were cut off after enough others had made their segment complete
        stray = (share.c.state == "planned") & (share.c.changed_ms < now_ms - self._pending_ms)
        for row in connection.execute(select(share.c.id, share.c.segment_id).where(stray)).all():
            if row.segment_id not in self._parts.writing:
                connection.execute(update(share).where(share.c.id == row.id).values(state="leaving", changed_ms=now_ms))
        return len(dead)

    async def _delete(self, leaving: Sequence[tuple[bytes, str, int]]) -> tuple[int, int]:
        by_device: dict[str, list[tuple[bytes, int]]] = defaultdict(list)
        for share_id, device, changed_ms in leaving:
            by_device[device].append((share_id, changed_ms))
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(device: str, shares: list[tuple[bytes, int]]) -> list[bytes]:
            async with limit:
                return await self._delete_from(device, shares)

        done = await asyncio.gather(*(one(device, shares) for device, shares in by_device.items()))
        gone = [share_id for ids in done for share_id in ids]
        if gone:
            await self._parts.database.write(
                lambda c: c.execute(update(share).where(share.c.id.in_(gone)).values(state="deleted"))
            )
        return len(gone), len(leaving) - len(gone)

    async def _delete_from(self, device: str, shares: list[tuple[bytes, int]]) -> list[bytes]:
        """Delete shares from one node; stop at its first failure, the rest would take as long to fail."""
        now_ms = self._parts.clock.now_ms()
        node = self._parts.directory.get(device)
        gone = []
        for share_id, changed_ms in shares:
            try:
                if node is not None:
                    await self._parts.nodes.delete(node, share_id)
                    gone.append(share_id)
                    continue
            except NodeProblem:
                node = None
            if now_ms - changed_ms > GIVE_UP_MS:
                gone.append(share_id)
        return gone

    def _clear(self, connection: Connection) -> None:
        """Remove the rows of deleted shares that no lease depends on, and of segments that have none left."""
        connection.execute(delete(share).where((share.c.state == "deleted") & _settled()))
        left = exists().where(share.c.segment_id == segment.c.id)
        connection.execute(delete(segment).where((segment.c.state == "dropped") & ~left))


def _settled() -> ColumnElement[bool]:
    return share.c.leased_ms.is_(None) | share.c.released_ms.is_not(None)


def _leaving(connection: Connection) -> list[tuple[bytes, str, int]]:
    # a share whose release the network does not have yet is still asked for: without its bytes its holder would fail
    due = (share.c.state == "leaving") & _settled()
    found = select(share.c.id, share.c.device, share.c.changed_ms).where(due)
    return [(row.id, row.device, row.changed_ms) for row in connection.execute(found.limit(_PAGE))]
