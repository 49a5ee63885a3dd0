"""Delete what nobody uses: dropped segments, uploads that a crash or a hung-up client left behind, replaced shares.

A pending segment is swept when its writer is gone: at once after a restart of a gateway that is alone under its
identity, otherwise after a day. A slow client may take hours over an object, whose first segments wait that long to be
adopted, and another gateway on the same database cannot see it at work. A dropped one is kept for ten minutes, so that
reads under way can end, and for ten more each time a slow one says that it still reads (`readers`). A share is
deleted at its node once its release is with the network, if a lease was, and its row stays until then.

A pass takes all there is, node by node: one that is away, or takes its time, holds up what is on no other. It works in
pages, since whoever writes waits while a page is being written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from sqlalchemy import ColumnElement, Connection, delete, exists, func, select, update

from fieldstone.services.storage.pool import segments
from fieldstone.services.storage.pool.directory import Node
from fieldstone.services.storage.pool.nodes import NodeProblem
from fieldstone.services.storage.pool.parts import Parts
from fieldstone.services.storage.pool.tables import segment, share

PENDING_MS = 86_400_000
DROPPED_MS = 600_000
GIVE_UP_MS = 30 * 86_400_000  # a node that has not answered for so long keeps what it has
NODE_S = 60.0  # of a pass, at most, for one node
_PAGE = 500
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
        database = self._parts.database
        abandoned = 0
        for page in _pages(await database.read(self._dead)):
            abandoned += await database.write(lambda c, page=page: self._abandon(c, page))  # type: ignore[misc]
        while page := await database.read(self._unused):
            await database.write(lambda c, page=page: self._give_up(c, page))  # type: ignore[misc]
        for page in _pages(await database.read(self._stray)):
            await database.write(lambda c, page=page: self._leave(c, page))  # type: ignore[misc]
        deleted, waiting = await self._delete(await database.read(_leaving))
        while page := await database.read(_empty):
            await database.write(lambda c, page=page: _clear(c, page))  # type: ignore[misc]
        return Swept(abandoned, deleted, waiting)

    # ---- what nobody uses any more ----

    def _dead(self, connection: Connection) -> list[bytes]:
        now_ms = self._parts.clock.now_ms()
        gateway = self._parts.writer.partition("/")[0]
        columns = (segment.c.id, segment.c.writer, segment.c.created_ms)
        rows = connection.execute(select(*columns).where(segment.c.state == "pending"))
        return [
            row.id
            for row in rows
            if row.id not in self._parts.writing
            and (
                row.created_ms < now_ms - self._pending_ms
                or (self._is_alone and row.writer != self._parts.writer and row.writer.startswith(gateway + "/"))
            )
        ]

    def _abandon(self, connection: Connection, dead: Sequence[bytes]) -> int:
        now_ms = self._parts.clock.now_ms()
        segments.abandon(connection, dead, now_ms)
        # what was abandoned never was an object: nobody reads it
        here = segment.c.id.in_(dead) & (segment.c.state == "dropped")
        gone = connection.execute(select(segment.c.id).where(here)).scalars().all()
        self._let_go(connection, gone)
        return len(gone)

    def _is_over(self) -> ColumnElement[bool]:
        now_ms, dropped_ms = self._parts.clock.now_ms(), segment.c.dropped_ms
        # a day ahead of now: dropped while the clock was wrong
        return (segment.c.state == "dropped") & (
            (dropped_ms < now_ms - self._dropped_ms) | (dropped_ms > now_ms + PENDING_MS)
        )

    def _unused(self, connection: Connection) -> Sequence[bytes]:
        """Return a page of segments whose time is over and that have shares which are not being deleted yet."""
        there = exists().where((share.c.segment_id == segment.c.id) & (share.c.state != "leaving"))
        return connection.execute(select(segment.c.id).where(self._is_over(), there).limit(_PAGE)).scalars().all()

    def _give_up(self, connection: Connection, page: Sequence[bytes]) -> None:
        # held: a reader that says just now that it still reads comes before or after us, not in between
        over = select(segment.c.id).where(segment.c.id.in_(page), self._is_over()).with_for_update()
        self._let_go(connection, connection.execute(over).scalars().all())

    def _let_go(self, connection: Connection, segment_ids: Sequence[bytes]) -> None:
        there = share.c.segment_id.in_(segment_ids) & (share.c.state != "leaving")
        now_ms = self._parts.clock.now_ms()
        connection.execute(update(share).where(there).values(state="leaving", changed_ms=now_ms))

    def _stray(self, connection: Connection) -> list[bytes]:
        """Return uploads that were cut off after enough others had made their segment complete."""
        old = (share.c.state == "planned") & (share.c.changed_ms < self._parts.clock.now_ms() - self._pending_ms)
        rows = connection.execute(select(share.c.id, share.c.segment_id).where(old))
        return [row.id for row in rows if row.segment_id not in self._parts.writing]

    def _leave(self, connection: Connection, page: Sequence[bytes]) -> None:
        planned = share.c.id.in_(page) & (share.c.state == "planned")
        now_ms = self._parts.clock.now_ms()
        connection.execute(update(share).where(planned).values(state="leaving", changed_ms=now_ms))

    # ---- at the nodes ----

    async def _delete(self, leaving: Sequence[tuple[str, int]]) -> tuple[int, int]:
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(device: str) -> int:
            async with limit:
                return await self._delete_from(device)

        deleted = sum(await asyncio.gather(*(one(device) for device, _ in leaving)))
        return deleted, sum(count for _, count in leaving) - deleted

    async def _delete_from(self, device: str) -> int:
        """Delete what is due at one node, until it fails or its time is over; give up what it has not let go for long."""
        deleted, after, until_s = 0, b"", monotonic() + NODE_S
        node = self._parts.directory.get(device)
        while node is not None and monotonic() < until_s:
            page = await self._parts.database.read(lambda c, after=after: _due(c, device, after))  # type: ignore[misc]
            if not page:
                return deleted
            gone = await self._asked(node, page, until_s)
            if gone:
                await self._forget(gone)
            deleted += len(gone)
            after = page[-1]
            if len(gone) < len(page):
                break
        old = _is_due(device) & (share.c.changed_ms < self._parts.clock.now_ms() - GIVE_UP_MS)
        while kept := await self._parts.database.read(
            lambda c: c.execute(select(share.c.id).where(old).limit(_PAGE)).scalars().all()
        ):
            await self._forget(kept)
            deleted += len(kept)
        return deleted

    async def _asked(self, node: Node, page: Sequence[bytes], until_s: float) -> list[bytes]:
        """Return those of a page that a node has deleted. What it refuses is passed over; the rest waits when it fails."""
        gone: list[bytes] = []
        refused = 0
        for at in range(0, len(page), _AT_ONCE):
            asked = page[at : at + _AT_ONCE]
            answers = await asyncio.gather(
                *(self._parts.nodes.delete(node, share_id) for share_id in asked), return_exceptions=True
            )
            gone += [share_id for share_id, answer in zip(asked, answers, strict=True) if answer is None]
            for answer in answers:
                if isinstance(answer, NodeProblem) and answer.kind == "refused":
                    refused += 1
                elif isinstance(answer, NodeProblem):
                    return gone
                elif answer is not None:
                    raise answer
            if refused > _AT_ONCE or monotonic() > until_s:
                return gone
        return gone

    async def _forget(self, share_ids: Sequence[bytes]) -> None:
        await self._parts.database.write(lambda c: c.execute(delete(share).where(share.c.id.in_(share_ids))))


def _pages(ids: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [ids[at : at + _PAGE] for at in range(0, len(ids), _PAGE)]


def _is_due(device: str | None = None) -> ColumnElement[bool]:
    # a share whose release the network does not have yet is still asked for: without its bytes its holder would fail
    settled = share.c.leased_ms.is_(None) | share.c.released_ms.is_not(None)
    due = (share.c.state == "leaving") & settled
    return due if device is None else due & (share.c.device == device)


def _leaving(connection: Connection) -> list[tuple[str, int]]:
    """Return the devices that are to delete something, and how many shares."""
    found = select(share.c.device, func.count()).where(_is_due()).group_by(share.c.device)
    return [(device, count) for device, count in connection.execute(found)]


def _due(connection: Connection, device: str, after: bytes) -> Sequence[bytes]:
    found = select(share.c.id).where(_is_due(device), share.c.id > after).order_by(share.c.id).limit(_PAGE)
    return connection.execute(found).scalars().all()


def _empty(connection: Connection) -> Sequence[bytes]:
    """Return a page of dropped segments without a share."""
    left = exists().where(share.c.segment_id == segment.c.id)
    dropped = (segment.c.state == "dropped") & ~left
    return connection.execute(select(segment.c.id).where(dropped).limit(_PAGE)).scalars().all()


def _clear(connection: Connection, page: Sequence[bytes]) -> None:
    left = exists().where(share.c.segment_id == segment.c.id)
    connection.execute(delete(segment).where(segment.c.id.in_(page), segment.c.state == "dropped", ~left))
