"""How many bytes this gateway has ordered from each provider: a number that never falls, not even after kill -9.

Every order to read names all bytes ordered so far, its own included; the newest order is what the provider is paid
by. Writing each order down before it is sent would cost a sync per read. Instead a ceiling is written down ahead, in
steps; orders count up to it. After a crash counting goes on from the ceiling, so at most one step per provider and
crash is paid for bytes that nobody ordered (16 MiB: a hundredth of a cent), and no number is ever given out twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select

from fieldstone.services.storage.pool.database import Database
from fieldstone.services.storage.pool.tables import node

STEP_BYTES = 16 * 2**20
MOST_CAUGHT_UP_BYTES = 2**30  # per provider and start: what a provider's word alone may cost (less than a cent)


@dataclass(slots=True)
class _Account:
    used: int = 0  # the newest order
    ceiling: int = 0  # in the database: no order says more


class VoucherBook:
    """The counters of one gateway identity. Several processes of one identity count in separate ranges of one row."""

    def __init__(self, database: Database, step_bytes: int = STEP_BYTES) -> None:
        self._database = database
        self._step_bytes = step_bytes
        self._accounts: dict[str, _Account] = {}
        self._caught_up: dict[str, int] = {}
        self._lock = asyncio.Lock()

    async def order(self, bytes_by_device: Mapping[str, int]) -> dict[str, int]:
        """Count bytes about to be ordered; return the new cumulative number per device. Raises Retryable.

        Nothing is counted when the ceiling cannot be written down. A caller that is cancelled does not undo a rise that
        has begun: forgotten here, it would be paid for, a step per provider each time that a customer hangs up then.
        """
        while self._lacking(bytes_by_device):  # others go on counting while we write
            rising = asyncio.ensure_future(self._rise(bytes_by_device))
            rising.add_done_callback(_heard)
            await asyncio.shield(rising)
        return self._count(bytes_by_device)

    async def catch_up(self, device: str, newest: int) -> bool:
        """Count on from a number that the provider says it has an order for: our database is older than that order.

        So after a restore from a backup reading goes on. The provider's word is taken for 1 GiB at most; False beyond.
        """
        used = self._accounts[device].used if device in self._accounts else 0
        rise = newest - used
        if rise > 0:
            caught_up = self._caught_up.get(device, 0) + rise
            if caught_up > MOST_CAUGHT_UP_BYTES:
                return False
            self._caught_up[device] = caught_up
            await self.order({device: rise})
        return True

    async def close(self) -> None:
        """Give back what was written down ahead and not used."""
        async with self._lock:
            # gone before the row is lowered: who orders meanwhile begins above it, not on what was given back
            before, self._accounts = self._accounts, {}
            accounts = {device: (a.used, a.ceiling) for device, a in before.items() if a.used < a.ceiling}

            def lower(connection: Connection) -> None:
                for device, (used, ceiling) in accounts.items():
                    # only when no other process has counted beyond it
                    own = (node.c.device == device) & (node.c.egress_bytes == ceiling)
                    connection.execute(node.update().where(own).values(egress_bytes=used))

            if accounts:
                await self._database.write(lower)

    def _lacking(self, wanted: Mapping[str, int]) -> dict[str, int]:
        found = {}
        for device, count in wanted.items():
            account = self._accounts.get(device)
            if account is None or account.used + count > account.ceiling:
                found[device] = count
        return found

    def _count(self, wanted: Mapping[str, int]) -> dict[str, int]:
        numbers = {}
        for device, count in wanted.items():
            account = self._accounts[device]
            account.used += count
            assert account.used <= account.ceiling
            numbers[device] = account.used
        return numbers

    async def _rise(self, bytes_by_device: Mapping[str, int]) -> None:
        async with self._lock:  # one after the other: an older ceiling noted after a newer would be used twice
            if lacking := self._lacking(bytes_by_device):
                await self._raise(lacking)

    async def _raise(self, lacking: Mapping[str, int]) -> None:
        steps = {device: self._step_bytes + count for device, count in lacking.items()}

        def run(connection: Connection) -> dict[str, int]:
            ceilings = {}
            for device in sorted(steps):  # one order for all processes: no deadlock
                raised = node.update().where(node.c.device == device)
                changed = connection.execute(raised.values(egress_bytes=node.c.egress_bytes + steps[device]))
                if changed.rowcount == 0:
                    connection.execute(
                        node.insert(),
                        {
                            "device": device,
                            "egress_bytes": steps[device],
                            "answers": 0,
                            "failures": 0,
                            "wrong_bytes": 0,
                        },
                    )
                ceilings[device] = int(
                    connection.execute(select(node.c.egress_bytes).where(node.c.device == device)).scalar_one()
                )
            return ceilings

        for device, ceiling in (await self._database.write(run)).items():
            account = self._accounts.setdefault(device, _Account())
            if ceiling - steps[device] != account.ceiling:  # a first time, or another process counted in between
                account.used = ceiling - steps[device]
            account.ceiling = ceiling


def _heard(rising: asyncio.Future[None]) -> None:
    """Take note of how a rise ended that nobody may wait for any more."""
    if not rising.cancelled():
        rising.exception()
