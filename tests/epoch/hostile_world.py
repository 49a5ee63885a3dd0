"""A small network with sensing and storage whose honest devices work, and two enrolled liars who may sign anything.

`Network` plays the storage lab's world (`lab_world`) through a real journal: real enrolments, signed reports, rounds with
their seeds from the journal. What the liars could truly say at the end is in `valid`: the records that a test distorts.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from fieldstone.clock import SetClock
from fieldstone.epoch.compute import EpochResult, compute, epoch_randomness, service_input
from fieldstone.epoch.freeze import RoundBody, freeze
from fieldstone.epoch.replay import Replay, replay
from fieldstone.epoch.runner import Runner
from fieldstone.epoch.state import EpochState, genesis
from fieldstone.epoch.store import EpochStore
from fieldstone.identity import cose, entries
from fieldstone.identity.entries import Place
from fieldstone.identity.keys import DeviceKey
from fieldstone.identity.report import Report, encode, kind_table
from fieldstone.identity.wallet import Wallet
from fieldstone.journal import Entry, EntryKind, Journal, NewEntry
from fieldstone.journal.seal import seal
from fieldstone.policy import EpochPolicy, Policy, RewardPolicy, ServicePolicy
from fieldstone.services import load_service
from fieldstone.services.contract import EpochInput, Round
from fieldstone.services.storage import records, service
from fieldstone.services.storage.challenge import decode_body
from fieldstone.services.storage.lab_providers import Honest
from fieldstone.services.storage.lab_world import START_MS, World
from fieldstone.services.storage.schema import ANNOUNCE, CHECK, LIVE, PROOF
from fieldstone.units import HOUR_MS

HOURS = 3
BLOCK_HASH = b"\x11" * 32
SERVICES = ("sensing", "storage")
KINDS = kind_table([load_service(name) for name in SERVICES])
STORAGE_RULES = {
    "round_s": 3_600, "new_days": 0, "check_every_rounds": 1, "secret_every_rounds": 1, "live_every_rounds": 1,
    "questions_per_day": 48, "committee_quorum": 2, "answer_within_s": 3_500, "check_within_s": 3_550,
}  # fmt: skip
POLICY = Policy(
    network_id="hostile",
    epoch=EpochPolicy(length_s=HOURS * 3_600),
    rewards=RewardPolicy(bootstrap_per_epoch="1000", max_epoch_mint="100000"),
    services={
        "sensing": ServicePolicy(share_ppm=500_000),
        "storage": ServicePolicy(share_ppm=500_000, params=STORAGE_RULES),
    },
)
AAD = cose.network_aad(POLICY.network_id, POLICY.chain_id, POLICY.schema_version)
LIARS = ("liar-gateway", "liar-provider", "liar-station")
STATIONS = tuple(f"station{number}" for number in range(3))


def place_of(name: str) -> Place:
    """Return where a device stands: the liar's station far from the others, so that it is nobody's neighbour."""
    return Place(-30.0 if name == "liar-station" else 47.0, 8.0, 400.0, 10.0)


@dataclass
class Network(World):
    """The lab's world behind a journal. `folder`: of the journal's file."""

    folder: Path = field(default_factory=Path)

    def __post_init__(self) -> None:
        self.overrides = {name: value for name, value in STORAGE_RULES.items() if name != "new_days"}
        super().__post_init__()
        self.clock = SetClock(START_MS)
        self.journal = Journal.open(self.folder / "journal.db", clock=self.clock)
        self.state: EpochState = genesis(POLICY, START_MS)
        self.keys: dict[str, DeviceKey] = {}
        self.wallets: dict[str, Wallet] = {}
        self.seq: dict[str, int] = {}
        self.store_of_epochs = EpochStore(self.folder / "sealed")
        self.journal.append([NewEntry(EntryKind.POLICY, "", POLICY.to_json())])

    def enrol(self, name: str) -> DeviceKey:
        """Enrol the device of a name, owned by a wallet of its own (the liars' by one)."""
        key = self.keys[name] = self.key(name)
        whose = "liar" if name in LIARS else name
        self.wallets[name] = Wallet.from_secret(self.key(f"wallet/{whose}").public.raw)
        body = entries.enrol(key, self.wallets[name], POLICY, model="generic", place=place_of(name))
        self.journal.append([NewEntry(EntryKind.REGISTRY, key.public.device_id, body)])
        return key

    def report(self, kind: str, device: str, body: bytes, received_ms: int | None = None) -> None:
        """Sign a document with the device's key and put it into the journal at its time."""
        self.clock.set(max(self.clock.now_ms(), self.now_ms if received_ms is None else received_ms))
        name = next(name for name, key in self.keys.items() if key.public.device_id == device)
        self.send(name, "storage", kind, document=body)

    def send(self, name: str, service_name: str, kind: str, **fields: Any) -> None:
        """Sign a report and put it into the journal."""
        self.seq[name] = self.seq.get(name, 0) + 1
        now = self.clock.now_ms()
        body = {"start_ms": now, "end_ms": now, "times_ms": [], "columns": {}, **fields}
        payload = encode(Report(1, service_name, kind, self.seq[name], **body), KINDS)
        entry = NewEntry(EntryKind.REPORT, self.keys[name].public.device_id, cose.sign(self.keys[name], payload, AAD))
        self.position = self.journal.append([entry]).last

    def readings(self, name: str) -> None:
        """Report an hour of readings that ends now."""
        now, drift = self.clock.now_ms(), len(name) + int(name[-1], 36)
        times = [now - (59 - minute) * 60_000 for minute in range(60)]
        columns = {
            "temperature_c": [15.0 + 0.1 * ((minute * 7 + drift) % 11) for minute in range(60)],
            "humidity_pct": [55.0 + 0.5 * ((minute * 5 + drift) % 7) for minute in range(60)],
            "pressure_hpa": [968.0 + 0.1 * ((minute * 3 + drift) % 5) for minute in range(60)],
        }
        self.send(
            name, "sensing", "readings",
            start_ms=times[0], end_ms=times[-1], times_ms=times, columns=columns,
        )  # fmt: skip

    def pending(self) -> list[Entry]:
        """Return the entries of the epoch under way."""
        last = self.journal.position_at(self.state.next_end_ms)
        return list(self.journal.read(self.state.last_position + 1, last))

    def so_far(self) -> EpochInput:
        """Return what storage may look at now."""
        return service_input(service, freeze(self.pending(), self.state), self.state)

    def play(self, until_last: bool = False) -> Round:
        """Play an epoch; `until_last`: stop when its last round was asked, before the liars answer. Returns that round."""
        due: list[tuple[int, int, str, str, bytes]] = []
        liars = {self.key(name).public.device_id for name in LIARS}
        for hour in range(HOURS):
            self.now_ms = self.state.next_start_ms + hour * HOUR_MS
            self._deliver(due, self.now_ms)
            self.clock.set(max(self.clock.now_ms(), self.now_ms))
            body = RoundBody("storage", self.now_ms // HOUR_MS, 1, (b"%c" % (hour + 1) * 32).hex())
            self.journal.append([NewEntry(EntryKind.CHALLENGE, "", msgspec.json.encode(body))])
            whole = self.so_far()
            asked = whole.rounds[-1]
            self.wanted = {device: decode_body(body) for device, body in service.challenges(whole, asked).iter_rows()}
            for device, questions in self.wanted.items():
                self._ask(due, device, asked, questions)
            for customer in self.customers:
                self._read_in_secret(due, customer, asked)
                self._measure(due, customer, asked)
            is_last = until_last and hour == HOURS - 1
            if is_last:
                self.held_back = [one for one in due if one[3] in liars]
                due = [one for one in due if one[3] not in liars]
            self._deliver(due, self.now_ms + HOUR_MS - 60_000)
            self.clock.set(self.now_ms + HOUR_MS - (120_000 if is_last else 30_000))
            for name in STATIONS + (() if is_last else LIARS[2:]):
                self.readings(name)
        return asked

    def close_epoch(self) -> None:
        """Compute and seal the epoch, and go on."""
        self.state = finish(self.journal, self.store_of_epochs, self.state, self.pending()).state


def build(folder: Path) -> Network:
    """Return the network in the last hour of its second epoch: the liars have not answered the last round yet."""
    network = Network(7, folder=folder)
    for name in STATIONS + LIARS[2:]:
        network.enrol(name)
    network.gateway = network.enrol("gateway")
    providers = [network.add(f"provider{number}", Honest()) for number in range(3)]
    providers.append(network.add("liar-provider", Honest()))
    for one in providers:
        network.enrol(one.name)
    network.enrol("liar-gateway")
    network.store(3)
    customer = network.add_customer("liar-gateway")
    for one in providers:
        # all signed that they hold it; only what the two liars tell of each other is distorted
        network.lease(one, [network.share(b"L" * 16, providers.index(one))], gateway=customer.key)
        announced = records.Announcement(url="http://10.0.0.1:80", capacity_bytes=2**40)
        network.report(ANNOUNCE, one.device, records.encode(announced))
    network.play()
    network.close_epoch()
    network.last = network.play(until_last=True)
    network.journal.close()
    return network


def finish(
    journal: Journal, store: EpochStore, state: EpochState, found: list[Entry], runner: Runner | None = None
) -> EpochResult:
    """Compute the epoch of these entries and seal it."""
    frozen = freeze(found, state, check_signatures=True)
    result = compute(frozen, state, epoch_randomness(POLICY.network_id, frozen.epoch, BLOCK_HASH), runner)
    first, last = frozen.first_position, frozen.last_position
    store.write(result, lambda folder: seal(journal, first, last, folder), block_number=7, block_hash=BLOCK_HASH)
    return result


def answers(network: Network) -> Mapping[str, tuple[str, bytes]]:
    """Return kind → (liar, body) of what the liars truly have to say about the last round."""
    names = {key.public.device_id: name for name, key in network.keys.items()}
    return {
        kind: (names[device], body) for _, _, kind, device, body in network.held_back if kind in (PROOF, CHECK, LIVE)
    }


def copied(network: Network, folder: Path) -> tuple[Journal, EpochStore, SetClock]:
    """Return a copy of the network's journal and sealed epochs, its clock after the last round."""
    shutil.copytree(network.folder, folder, dirs_exist_ok=True)
    clock = SetClock(network.clock.now_ms() + 1_000)
    return Journal.open(folder / "journal.db", clock=clock), EpochStore(folder / "sealed"), clock


def replayed(store: EpochStore, epoch: int, runner: Runner | None = None) -> Replay:
    """Replay as a verifier does, who believes nothing."""
    return replay(store, epoch, runner=runner, check_signatures=True)


def verdicts(result: EpochResult, network: Network) -> pl.DataFrame:
    """Return what the honest devices' verdicts say, whatever the liars do."""
    liars = [network.key(name).public.device_id for name in LIARS]
    honest = [key.public.device_id for name, key in network.keys.items() if name not in LIARS]
    table = result.verdicts.filter(pl.col("device").is_in(honest) & ~pl.col("device").is_in(liars))
    return table.select("device", "service", "quantity", "quality_ppm", "verdict", "reasons").sort("device", "service")
