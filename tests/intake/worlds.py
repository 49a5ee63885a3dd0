"""A small network for the tests of the intake: a journal, enrolled devices, and a pipeline in front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fieldstone.clock import SetClock
from fieldstone.identity import cose, entries
from fieldstone.identity.entries import Place
from fieldstone.identity.keys import Algorithm, DeviceKey
from fieldstone.identity.report import Report, encode
from fieldstone.identity.wallet import Wallet
from fieldstone.intake.pipeline import Intake
from fieldstone.journal import Journal
from fieldstone.journal.group_commit import GroupCommit
from fieldstone.journal.receipts import Receipt
from fieldstone.policy import Policy

NOW_MS = 1_790_000_000_000
POLICY = Policy(network_id="test-net")
KINDS = {("sensing", "readings"): ("temperature_c", "humidity_pct", "pressure_hpa")}
AAD = cose.network_aad(POLICY.network_id, POLICY.chain_id, POLICY.schema_version)
NETWORK_KEY = DeviceKey.from_secret(Algorithm.ED25519, b"\x07" * 32)
WALLET = Wallet.from_secret(b"\x08" * 32)
PLACE = Place(47.0, 8.0, 400.0, 5.0)


def key(number: int, algorithm: Algorithm = Algorithm.ED25519) -> DeviceKey:
    return DeviceKey.from_secret(algorithm, number.to_bytes(32, "big"))


def payload(
    seq: int, *, start_ms: int = NOW_MS - 60_000, readings: int = 1, value: float = 20.5, **other: Any
) -> bytes:
    times = [start_ms + 1_000 * number for number in range(readings)]
    fields: dict[str, Any] = {
        "schema_version": 1,
        "service": "sensing",
        "kind": "readings",
        "seq": seq,
        "start_ms": start_ms,
        "end_ms": times[-1],
        "times_ms": times,
        "columns": {"temperature_c": [value] * readings, "humidity_pct": [None] * readings},
    }
    return encode(Report(**{**fields, **other}), KINDS)


def message(device: DeviceKey, seq: int, **other: Any) -> bytes:
    return cose.sign(device, payload(seq, **other), AAD)


@dataclass
class World:
    folder: Path
    policy: Policy = POLICY
    clock: SetClock = field(default_factory=lambda: SetClock(NOW_MS))
    options: dict[str, Any] = field(default_factory=dict)

    def open(self) -> World:
        self.journal = Journal.open(self.folder / "journal.sqlite", clock=self.clock)
        self.group = GroupCommit(self.journal, NETWORK_KEY, network_id=self.policy.network_id)
        self.intake = Intake(self.group, policy=self.policy, kinds=KINDS, clock=self.clock, **self.options)
        return self

    def close(self) -> None:
        self.group.close()
        self.intake.close()
        self.journal.close()

    def reopen(self) -> World:
        self.close()
        return self.open()

    def __enter__(self) -> World:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    async def enrol(self, *devices: DeviceKey) -> list[Receipt]:
        bodies = [entries.enrol(device, WALLET, self.policy, model="sim", place=PLACE) for device in devices]
        return [(await self.intake.submit_registry(body, address="operator"))[1] for body in bodies]

    async def send(self, *messages: bytes, address: str = "a", sequence: bool = True) -> list[str]:
        """Send a sequence; return "ok" or the reason's code for each message."""
        outcomes = await self.intake.submit(b"".join(messages), address=address, sequence=sequence)
        return ["ok" if outcome.reason is None else outcome.reason.code for outcome in outcomes]

    def counts(self) -> dict[tuple[str, str], int]:
        rows = self.journal.rejections(0, NOW_MS * 2)
        return {(row.reason, row.subject): row.count for row in rows}


def bodies(world: World, kinds: Sequence[Any] | None = None) -> list[bytes]:
    return [entry.body for entry in world.journal.read(kinds=kinds)]
