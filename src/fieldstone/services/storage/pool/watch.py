"""Ask every node now and then whether it lives, and remember since when it does not: repair tells offline from lost by it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select

from fieldstone.services.storage.pool.parts import Parts
from fieldstone.services.storage.pool.tables import node

_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Absence:
    """Since when a node does not answer (None: it does), and when it was declared lost (None: it was not)."""

    offline_since_ms: int | None = None
    lost_ms: int | None = None


class Watch:
    """Run `once` every minute."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._written: dict[str, tuple[int, int, int]] = {}  # counters as they were added to the database

    async def once(self) -> dict[str, Absence]:
        """Ask all nodes; return what is known of every node that ever was in the directory. Raises Retryable."""
        limit = asyncio.Semaphore(_AT_ONCE)

        async def ask(did: str) -> tuple[str, bool]:
            found = self._parts.directory.get(did)
            async with limit:
                return did, found is not None and await self._parts.nodes.is_up(found)

        up = dict(await asyncio.gather(*(ask(found.did) for found in self._parts.directory)))
        return await self._parts.database.write(lambda c: self._note(c, up))

    def _note(self, connection: Connection, up: Mapping[str, bool]) -> dict[str, Absence]:
        now_ms = self._parts.clock.now_ms()
        rows = {row.device: row for row in connection.execute(select(node))}
        known: dict[str, Absence] = {}
        for device in sorted({*up, *rows}):
            row = rows.get(device)
            since_ms = row.offline_since_ms if row else None
            lost_ms = row.lost_ms if row else None
            is_up = up.get(device, False)  # who is listed no more is away
            absence = Absence() if is_up else Absence(now_ms if since_ms is None else since_ms, lost_ms)
            known[device] = absence
            self._write(connection, device, row is not None, absence, now_ms if is_up else None)
        return known

    def _write(
        self, connection: Connection, device: str, is_there: bool, absence: Absence, answer_ms: int | None
    ) -> None:
        health = self._parts.nodes.health(device)
        counters = (health.answers, health.failures, health.wrong_bytes)
        before = self._written.get(device, (0, 0, 0))
        answers, failures, wrong = (now - then for now, then in zip(counters, before, strict=True))
        state = {"offline_since_ms": absence.offline_since_ms, "lost_ms": absence.lost_ms}
        if not is_there:
            counts = {"answers": answers, "failures": failures, "wrong_bytes": wrong}
            row = {"device": device, "egress_bytes": 0, "last_answer_ms": answer_ms, **counts, **state}
            connection.execute(node.insert(), row)
        else:
            grown = {
                "answers": node.c.answers + answers,
                "failures": node.c.failures + failures,
                "wrong_bytes": node.c.wrong_bytes + wrong,
            }
            seen = {"last_answer_ms": answer_ms} if answer_ms is not None else {}
            connection.execute(node.update().where(node.c.device == device).values(**grown, **state, **seen))
        self._written[device] = counters
