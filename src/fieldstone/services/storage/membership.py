"""A gateway as a member of its network: enrolled, knowing the providers, paying for shares, keeping them whole.

    join       enrol the gateway's key once, owned by its operator's wallet
    keep       until cancelled: look for providers, report leases, ask who lives, repair, sweep

Every loop goes on after a failure; nothing here is lost on kill -9, since what is due is a state in the gateway's database
(`pool.lease`) or a message in the agent's buffer.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from fieldstone.agent import Agent, Buffer, HttpTransport
from fieldstone.errors import FieldstoneError, Rejected, UsageError
from fieldstone.identity import entries
from fieldstone.identity.keys import Signer
from fieldstone.identity.wallet import Wallet
from fieldstone.services.storage.pool import Directory, LeaseReporter, Pool, Repair, RepairRules, Sweeper, Watch
from fieldstone.services.storage.pool.watch import Absence
from fieldstone.services.storage.schema import SERVICE

_log = structlog.get_logger("storage.membership")

MODEL = "storage-gateway"


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two looks."""

    directory_s: float = 30.0
    leases_s: float = 5.0
    watch_s: float = 60.0
    sweep_s: float = 300.0
    repair: RepairRules = field(default_factory=RepairRules)


def listing(door: HttpTransport) -> Directory:
    """Ask the network where its providers are. Raises Retryable, UsageError when it offers no storage."""
    return Directory.from_listing(door.get(f"/v1/{SERVICE}/directory"))


def join(door: HttpTransport, key: Signer, wallet: Wallet, place: entries.Place, name: str = "") -> bool:
    """Enrol the gateway's key unless it is; return whether it was new. Raises Retryable, Rejected."""
    device = key.public.device_id
    try:
        door.get(f"/v1/devices/{device}")
        return False
    except (UsageError, Rejected):
        pass  # not enrolled yet
    body = entries.enrol(key, wallet, door.network(), model=MODEL, place=place, name=name)
    answer = door.send_entry(body)
    if not answer.ok:
        raise UsageError(
            f"the network refused to enrol the gateway: {answer.code} {answer.detail or answer.remedy or ''}"
        )
    _log.info("gateway_enrolled", device=device, operator=wallet.address)
    return True


class Membership:
    """The loops beside a gateway's doors. `folder` keeps the agent's buffer."""

    def __init__(self, pool: Pool, network: str, key: Signer, folder: Path, pace: Pace | None = None) -> None:
        self._pool = pool
        self._pace = pace or Pace()
        self._door = HttpTransport(network)
        self._buffer = Buffer(folder / "reports.db", time.time_ns() // 1_000_000)
        self._agent = Agent(key, self._buffer, HttpTransport(network))
        self._absences: Mapping[str, Absence] = {}

    async def keep(self) -> None:
        """Run until cancelled."""
        pace, parts = self._pace, self._pool.parts
        reporter = LeaseReporter(parts, lambda kind, body: self._agent.send_document(SERVICE, kind, body))
        sweeper, watch, repair = Sweeper(parts), Watch(parts), Repair(parts, pace.repair)

        async def look() -> None:
            found = await asyncio.to_thread(listing, self._door)
            self._pool.directory.replace(found)

        async def watch_once() -> None:
            self._absences = await watch.once()

        async def repair_once() -> None:
            for done in await repair.once(self._absences):
                event = _log.warning if done.problem else _log.info
                event("segment_repaired", segment=done.segment.hex(), before=done.healthy_before,
                      after=done.healthy_after, cost_micro_usd=done.cost_micro_usd, problem=done.problem)  # fmt: skip

        stop = threading.Event()
        sending = threading.Thread(target=self._agent.run, args=(stop,), name="storage-agent", daemon=True)
        sending.start()
        try:
            await asyncio.gather(
                _again("directory", look, pace.directory_s),
                _again("leases", reporter.once, pace.leases_s),
                _again("watch", watch_once, pace.watch_s),
                _again("repair", repair_once, pace.repair.interval_s),
                _again("sweep", sweeper.once, pace.sweep_s),
            )
        finally:
            stop.set()
            await asyncio.to_thread(sending.join, 10.0)
            self._buffer.close()
            self._door.close()


async def _again(what: str, once: Callable[[], Awaitable[object]], every_s: float) -> None:
    while True:
        try:
            await once()
        except FieldstoneError as error:
            _log.warning("gateway_waits", what=what, why=str(error))
        await asyncio.sleep(every_s)
