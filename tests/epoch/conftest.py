"""A small real network in a folder: signed reports of lab stations in a journal, ready to be closed epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fieldstone.clock import SetClock
from fieldstone.epoch.compute import EpochResult, compute, epoch_randomness
from fieldstone.epoch.freeze import freeze
from fieldstone.epoch.runner import Runner
from fieldstone.epoch.state import EpochState, genesis
from fieldstone.epoch.store import EpochStore, SealedEpoch
from fieldstone.identity import cose
from fieldstone.identity.entries import Place, enrol
from fieldstone.identity.keys import Algorithm, DeviceKey
from fieldstone.identity.report import Report, encode, kind_table
from fieldstone.identity.wallet import Wallet
from fieldstone.journal import Entry, EntryKind, Journal, NewEntry
from fieldstone.journal.seal import seal
from fieldstone.policy import EpochPolicy, Policy, RewardPolicy
from fieldstone.services import load_service
from fieldstone.units import HOUR_MS

START_MS = 1_782_000_000_000
BLOCK_HASH = b"\x11" * 32


class SmallNetwork:
    """Stations that report what they are told, a journal, and the steps of an epoch without any server."""

    def __init__(self, folder: Path, stations: int = 4, policy: Policy | None = None) -> None:
        self.clock = SetClock(START_MS)
        self.journal = Journal.open(folder / "journal.db", clock=self.clock)
        self.store = EpochStore(folder / "sealed")
        self.policy = policy or Policy(
            network_id="test",
            epoch=EpochPolicy(length_s=6 * 3600),
            rewards=RewardPolicy(bootstrap_per_epoch="1000", max_epoch_mint="100000"),
        )
        self.keys = [DeviceKey.from_secret(Algorithm.ED25519, bytes([i + 1]) * 32) for i in range(stations)]
        self.wallets = [Wallet.from_secret(bytes([i + 101]) * 32) for i in range(stations)]
        self._seq = [0] * stations
        self.kinds = kind_table([load_service("sensing")])
        self.append(NewEntry(EntryKind.POLICY, "", self.policy.to_json()))
        for i, key in enumerate(self.keys):
            place = Place(47.0 + i * 0.01, 8.0, 400.0, 10.0)
            body = enrol(key, self.wallets[i], self.policy, model="generic", place=place)
            self.append(NewEntry(EntryKind.REGISTRY, key.public.device_id, body))
        self.state: EpochState = genesis(self.policy, START_MS)

    def append(self, *entries: NewEntry) -> None:
        self.journal.append(list(entries))

    def signed_report(self, station: int, temperature: float, *, seq: int | None = None, minutes: int = 60) -> bytes:
        """Return a report of one hour, a reading a minute, that ends now."""
        if seq is None:
            self._seq[station] += 1
            seq = self._seq[station]
        end = self.clock.now_ms()
        times = [end - (minutes - 1 - m) * 60_000 for m in range(minutes)]
        wave = [temperature + 0.1 * ((m * 7 + station) % 11) for m in range(minutes)]
        humidity = [55.0 + 0.5 * ((m * 5 + station) % 7) for m in range(minutes)]
        pressure = [968.0 + 0.1 * ((m * 3 + station) % 5) for m in range(minutes)]
        columns = {"temperature_c": wave, "humidity_pct": humidity, "pressure_hpa": pressure}
        report = Report(1, "sensing", "readings", seq, times[0], times[-1], times, columns)
        payload = encode(report, self.kinds)
        aad = cose.network_aad(self.policy.network_id, self.policy.chain_id, self.policy.schema_version)
        return cose.sign(self.keys[station], payload, aad)

    def report(self, station: int, temperature: float) -> None:
        body = self.signed_report(station, temperature)
        self.append(NewEntry(EntryKind.REPORT, self.keys[station].public.device_id, body))

    def run_hours(self, hours: int = 6) -> None:
        """Let every station report for some hours; the clock ends in the last minute of the last hour."""
        for _ in range(hours):
            self.clock.set(self.clock.now_ms() + HOUR_MS - 1)
            for station in range(len(self.keys)):
                self.report(station, 15.0)
            self.clock.set(self.clock.now_ms() + 1)

    def pay(self, station: int, price_micro_usd: int, order: str = "o1") -> None:
        body = {
            "order": order,
            "customer": "c1",
            "service": "sensing",
            "product": "observations",
            "price_micro_usd": price_micro_usd,
            "delivered_ms": self.clock.now_ms(),
            "devices": {self.keys[station].public.device_id: 100},
            "refund_micro_usd": 0,
        }
        self.append(NewEntry(EntryKind.METERING, "c1", msgspec.json.encode(body, order="sorted")))

    def entries(self) -> list[Entry]:
        last = self.journal.position_at(self.state.next_end_ms)
        return list(self.journal.read(self.state.last_position + 1, last))

    def compute(self, runner: Runner | None = None) -> EpochResult:
        frozen = freeze(self.entries(), self.state, check_signatures=True)
        return compute(frozen, self.state, epoch_randomness("test", frozen.epoch, BLOCK_HASH), runner)

    def close(self) -> SealedEpoch:
        """Compute and seal the next epoch, and move on to its state."""
        result = self.compute()
        first, last = result.frozen.first_position, result.frozen.last_position
        sealed = self.store.write(
            result, lambda folder: seal(self.journal, first, last, folder), block_number=7, block_hash=BLOCK_HASH
        )
        self.state = result.state
        return sealed


@pytest.fixture
def network(tmp_path: Path) -> Iterator[SmallNetwork]:
    small = SmallNetwork(tmp_path)
    yield small
    small.journal.close()
