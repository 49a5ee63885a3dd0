"""Ask every node now and then whether it lives and what is free, and remember since when it does not answer.

Repair tells offline from lost by it. What a node says about its space only weighs the draw (at most 10 TiB of it).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Connection, select

from fieldstone.services.storage.pool.directory import Node, prefix_of_address
from fieldstone.services.storage.pool.nodes import NodeProblem
from fieldstone.services.storage.pool.parts import Parts
from fieldstone.services.storage.pool.tables import node

_AT_ONCE = 32
_RESOLVE_S = 5.0


_Counters = tuple[int, int, int]  # answers, failures, wrong bytes


class _Capacity(msgspec.Struct, frozen=True):
    free_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**62)]


@dataclass(frozen=True, slots=True)
class Absence:
    """Since when a node does not answer us, or the network (None: it does), and when it was declared lost (None: it was
    not). `is_going`: its shares are to be placed elsewhere though they may still be read."""

    offline_since_ms: int | None = None
    lost_ms: int | None = None
    is_going: bool = False


class Watch:
    """Run `once` every minute."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._written: dict[str, _Counters] = {}  # as they were added to the database

    async def once(self) -> dict[str, Absence]:
        """Ask all nodes; return what is known of every node that ever was in the directory. Raises Retryable."""
        limit = asyncio.Semaphore(_AT_ONCE)

        async def ask(found: Node) -> tuple[str, bool]:
            async with limit:
                await self._resolve(found)
                return found.did, await self._look(found)

        up = dict(await asyncio.gather(*(ask(found) for found in self._parts.directory)))
        self._parts.nodes.keep_only([found.did for found in self._parts.directory])
        counted = {device: self._counted(device) for device in up}
        known = await self._parts.database.write(lambda c: self._note(c, up, counted))
        self._written |= counted  # only now: what was not committed is added the next time
        return known

    def _counted(self, device: str) -> _Counters:
        health = self._parts.nodes.health(device)
        return health.answers, health.failures, health.wrong_bytes

    async def _look(self, found: Node) -> bool:
        """Say whether a node lives, and take note of its free space."""
        try:
            said = msgspec.json.decode(await self._parts.nodes.capacity(found), type=_Capacity)
        except NodeProblem as problem:
            return problem.kind == "refused" and bool(problem.code)  # a proxy's page is nobody's answer
        except (msgspec.DecodeError, ValueError, RecursionError):
            return False
        self._parts.directory.update(found.did, free_bytes=said.free_bytes)
        return True

    async def _resolve(self, found: Node) -> None:
        """Find the network prefix behind a host name: many names for one machine are one place all the same."""
        parts = urlsplit(found.url)
        host = parts.hostname or ""
        if found.prefix != host or prefix_of_address(host) is not None:
            return
        with suppress(OSError, ValueError, TimeoutError):
            async with asyncio.timeout(_RESOLVE_S):
                answers = await asyncio.get_running_loop().getaddrinfo(host, parts.port or 80, type=socket.SOCK_STREAM)
            prefixes = sorted({prefix for *_, where in answers if (prefix := prefix_of_address(str(where[0])))})
            if prefixes:
                self._parts.directory.update(found.did, prefix=prefixes[0])

    def _note(
        self, connection: Connection, up: Mapping[str, bool], counted: Mapping[str, _Counters]
    ) -> dict[str, Absence]:
        now_ms = self._parts.clock.now_ms()
        rows = {row.device: row for row in connection.execute(select(node))}
        known: dict[str, Absence] = {}
        for device in sorted({*up, *rows}):
            row = rows.get(device)
            since_ms = row.offline_since_ms if row else None
            lost_ms = row.lost_ms if row else None
            is_up = up.get(device, False)  # who is listed no more is away
            listed = self._parts.directory.get(device)
            is_going = listed is not None and (listed.is_out or listed.is_leaving)
            if listed is not None and listed.is_silent:  # it may serve us; what it holds is proven to nobody
                absence = Absence(_earliest(since_ms, min(listed.heard_ms, now_ms)), lost_ms, is_going)
            elif is_up:
                absence = Absence(is_going=is_going)
            else:
                # not later than now: noted while the clock was ahead, it would count as a short absence for years
                absence = Absence(_earliest(since_ms, now_ms), lost_ms, is_going)
            known[device] = absence
            before = self._written.get(device, (0, 0, 0))
            now = counted.get(device, before)
            grown = now[0] - before[0], now[1] - before[1], now[2] - before[2]
            self._write(connection, device, row is not None, absence, now_ms if is_up else None, grown)
        return known

    def _write(
        self,
        connection: Connection,
        device: str,
        is_there: bool,
        absence: Absence,
        answer_ms: int | None,
        more: _Counters,
    ) -> None:
        answers, failures, wrong = more
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


def _earliest(first_ms: int | None, second_ms: int) -> int:
    return second_ms if first_ms is None else min(first_ms, second_ms)
