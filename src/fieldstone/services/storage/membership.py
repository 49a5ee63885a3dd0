"""A gateway as a member of its network: enrolled, knowing the providers, paying for shares, keeping them whole.

    join          enrol the gateway's key once, owned by its operator's wallet
    Upkeep        until cancelled: ask who lives, repair, sweep; in a network also look for providers, report leases, and
                  test-read in secret what is paid for, and ask providers at the same moment

Every loop goes on after a failure; nothing here is lost on kill -9, since what is due is a state in the gateway's database
(`pool.lease`) or a message in the agent's buffer.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from fieldstone.agent import Agent, Buffer, HttpTransport
from fieldstone.errors import FieldstoneError, Rejected, UsageError
from fieldstone.identity import entries
from fieldstone.identity.keys import Signer
from fieldstone.identity.wallet import Wallet
from fieldstone.services.storage.permanence import CoverReporter
from fieldstone.services.storage.pool import Directory, LeaseReporter, Pool, Repair, RepairRules, Sweeper, Watch
from fieldstone.services.storage.pool.live_checker import LiveChecker
from fieldstone.services.storage.pool.repair import MOST
from fieldstone.services.storage.pool.round_duty import RoundDuty
from fieldstone.services.storage.pool.secret_reader import SecretReader
from fieldstone.services.storage.pool.watch import Absence
from fieldstone.services.storage.rules.v1 import default_params, with_overrides
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
    rounds_s: float = 5.0
    repair: RepairRules = field(default_factory=RepairRules)


def listing(door: HttpTransport) -> Directory:
    """Ask the network where its providers are. Raises Retryable, UsageError when it offers no storage."""
    found, problems = Directory.from_listing(door.get(f"/v1/{SERVICE}/directory"))
    for problem in problems:
        _log.warning("provider_left_out", why=problem)
    return found


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


class Upkeep:
    """The loops beside a gateway's doors. `network`: the node's address (None: a fixed list of nodes, nobody to pay);
    `folder` keeps the agent's buffer."""

    def __init__(self, pool: Pool, network: str | None, key: Signer, folder: Path, pace: Pace | None = None) -> None:
        self._pool = pool
        self._network = network
        self._key = key
        self._folder = folder
        self._pace = pace or Pace()
        self._absences: dict[str, Absence] = {}  # changed in place: a repair under way sees what is new

    async def keep(self) -> None:
        """Run until cancelled."""
        parts, pace = self._pool.parts, self._pace
        sweeper, watch, repair = Sweeper(parts), Watch(parts), Repair(parts, pace.repair)

        async def watch_once() -> None:
            known = await watch.once()
            self._absences.clear()
            self._absences.update(known)

        async def repair_once() -> None:
            is_over = False
            while not is_over:  # a pass that was full is followed by the next at once, while it helps
                repaired = await repair.once(self._absences)
                for done in repaired:
                    event = _log.warning if done.problem else _log.info
                    event("segment_repaired", segment=done.segment.hex(), before=done.healthy_before,
                          after=done.healthy_after, cost_micro_usd=done.cost_micro_usd, problem=done.problem)  # fmt: skip
                is_over = len(repaired) < MOST or all(done.problem for done in repaired)

        loops = [
            _again("watch", watch_once, pace.watch_s),
            _again("repair", repair_once, pace.repair.interval_s),
            _again("sweep", sweeper.once, pace.sweep_s),
        ]
        if self._network is None:
            await asyncio.gather(*loops)
        else:
            with HttpTransport(self._network) as door:
                await self._in_network(door, self._network, loops, repair)

    async def _in_network(
        self, door: HttpTransport, network: str, loops: list[Coroutine[Any, Any, None]], repair: Repair
    ) -> None:
        buffer = Buffer(self._folder / "reports.db", time.time_ns() // 1_000_000)
        agent = Agent(self._key, buffer, HttpTransport(network))
        reporter = LeaseReporter(self._pool.parts, lambda kind, body: agent.send_document(SERVICE, kind, body))

        covers = CoverReporter(
            self._pool.parts.database,
            self._pool.parts.clock,
            lambda kind, body: agent.send_document(SERVICE, kind, body),
        )

        async def look() -> None:
            self._pool.directory.renew(await asyncio.to_thread(listing, door))
            await repair.heed_audits()

        params = await asyncio.to_thread(_rules, door)
        chain = self._folder / "reader-chain.json"
        secrets = SecretReader(
            self._pool.parts, chain, params, door.get, lambda kind, body: agent.send_document(SERVICE, kind, body)
        )
        rounds = RoundDuty(
            self._pool.parts, params, door.get, lambda kind, body: agent.send_document(SERVICE, kind, body)
        )
        live = LiveChecker(rounds, params)
        stop = threading.Event()
        sending = threading.Thread(target=agent.run, args=(stop,), name="storage-agent", daemon=True)
        sending.start()
        loops += [
            _again("directory", look, self._pace.directory_s),
            _again("leases", reporter.once, self._pace.leases_s),
            _again("covers", covers.once, self._pace.leases_s),
            _again("secret_reads", secrets.once, self._pace.rounds_s),
            _again("live", live.once, self._pace.rounds_s),
        ]
        try:
            await asyncio.gather(*loops)
        finally:
            stop.set()
            await asyncio.to_thread(sending.join, 10.0)
            buffer.close()


def _rules(door: HttpTransport) -> Mapping[str, Any]:
    """Return the network's storage rules: its policy's figures over the version's own. Away, or no storage: the latter."""
    try:
        found = door.get("/v1/network/policy")["services"][SERVICE]["params"]
        return with_overrides(default_params(), found)
    except (FieldstoneError, KeyError, TypeError) as problem:
        _log.warning("rules_unknown", why=str(problem))
        return default_params()


async def _again(what: str, once: Callable[[], Awaitable[object]], every_s: float) -> None:
    """Do `once` again and again; what fails is logged and tried again."""
    while True:
        try:
            await once()
        except FieldstoneError as error:
            _log.warning("gateway_waits", what=what, why=str(error))
        except Exception:  # a fault of ours in one upkeep must not end the others while the doors go on serving
            _log.exception("gateway_upkeep_failed", what=what)
        await asyncio.sleep(every_s)
