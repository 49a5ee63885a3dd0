"""What a gateway does once in a round: wait for the newest one, and do its part within the time that a report has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from fieldstone.errors import UsageError
from fieldstone.services.storage.pool.parts import Parts
from fieldstone.services.storage.pool.tables import share

__all__ = ["ACT_WITHIN", "RoundDuty", "Turn", "leased_before", "paid_devices"]

ACT_WITHIN = 0.6  # of the time that a report has


class Turn(NamedTuple):
    """A round whose part is to be done now. `left_s`: until it must be done; not above zero: found too late."""

    number: int
    seed: bytes
    issued_ms: int
    left_s: float


class RoundDuty:
    """Asks for the newest round and hands out each once. `get` asks the network, `send` hands a report over durably (both
    may block); `sleep` is the test's to replace."""

    def __init__(
        self,
        parts: Parts,
        params: Mapping[str, Any],
        get: Callable[[str], Any],
        send: Callable[[str, bytes], object],
        *,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        """`params`: the network's storage rules."""
        self.parts, self.sleep = parts, sleep
        self._get, self._send = get, send
        self._within_s = int(params["check_within_s"])
        self._done = -1

    async def newest(self) -> Turn | None:
        """Return the newest round; None when nothing is asked or its turn was taken. Raises Retryable."""
        try:
            latest = await asyncio.to_thread(self._get, "/v1/storage/rounds/latest")
        except UsageError:  # 404: nothing is asked
            return None
        number, issued_ms = int(latest["number"]), int(latest["issued_ms"])
        if number <= self._done:
            return None
        left_s = ACT_WITHIN * self._within_s - (self.parts.clock.now_ms() - issued_ms) / 1_000
        return Turn(number, bytes.fromhex(latest["seed"]), issued_ms, left_s)

    def take(self, turn: Turn) -> None:
        """Note that a round's turn is taken: it is not done again, whatever becomes of it."""
        self._done = max(self._done, turn.number)

    async def send(self, kind: str, body: bytes) -> None:
        """Hand a report over."""
        await asyncio.to_thread(self._send, kind, body)


def leased_before(issued_ms: int) -> Any:
    """Return the condition for shares that the network knew we paid when a round was asked."""
    return share.c.leased_ms.is_not(None) & share.c.released_ms.is_(None) & (share.c.leased_ms < issued_ms)


def paid_devices(connection: Connection, issued_ms: int) -> list[str]:
    """Return the providers that the network knew we paid when a round was asked, sorted."""
    return sorted(connection.execute(select(share.c.device).where(leased_before(issued_ms)).distinct()).scalars())
