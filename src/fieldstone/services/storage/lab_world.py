"""The storage lab's world: gateways lease shares to providers, rounds are asked and answered; all from one seed.

No bytes are kept: a share's content follows from the seed, so a fleet of petabytes costs what its trees cost. What a
provider really has is its behaviour's business (`lab_providers`); every report it sends is judged by the real rules.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import numpy as np
import polars as pl
from blake3 import blake3

from fieldstone.identity.keys import Algorithm, DeviceKey
from fieldstone.services.contract import DOCUMENT_SCHEMA, REGISTRY_SCHEMA, EpochInput, FleetVerdicts, Round
from fieldstone.services.storage import records, service
from fieldstone.services.storage.challenge import Asked, LeafRead, decode_body
from fieldstone.services.storage.codes.chunk_opening import load_compiled
from fieldstone.services.storage.codes.fast_tree import Tree
from fieldstone.services.storage.lab_shares import Share, checked
from fieldstone.services.storage.live_draw import PHASES, challenge_seed, group
from fieldstone.services.storage.rules.v1 import default_params, with_overrides
from fieldstone.services.storage.schema import CHAIN, CHECK, DOCUMENTS, EGRESS_CLAIM, LEASE, LIVE, PROOF, RELEASE
from fieldstone.services.storage.secret_draw import Links, pair_is_drawn, reads_drawn
from fieldstone.units import DAY_MS

START_MS = 1_767_225_600_000  # 2026-01-01
SHARES_PER_LEASE = 250
READ_AFTER_MS = 300_000  # after the round, customers' gateways read in secret


class Behaviour(Protocol):
    """What a provider does. `world` gives time and dice; nothing else of it may decide what an adversary sends."""

    def answer(
        self, world: World, me: Provider, asked: Round, questions: Sequence[tuple[bytes, int]]
    ) -> list[tuple[int, bytes]]:
        """Return (delay in ms, body) of the proof reports to a round."""
        ...

    def read(self, world: World, me: Provider, share: bytes, leaf_index: int) -> tuple[int, bytes | None]:
        """Return (ms until the bytes were there, the bytes); no bytes: refused."""
        ...

    def check(
        self, world: World, me: Provider, asked: Round, tasks: Sequence[LeafRead]
    ) -> list[records.RetrievalCheck]:
        """Return what this device reports of the test reads that a round gave it."""
        ...

    def vouchers(self, world: World, me: Provider) -> list[bytes]:
        """Return the egress vouchers to redeem at the epoch's end."""
        ...


@dataclass
class Provider:
    """One device: key, operator, place in the world, what it was given to hold, how it behaves."""

    name: str
    key: DeviceKey
    operator: str
    behaviour: Behaviour
    latency_ms: int
    shares: dict[bytes, Share] = field(default_factory=dict)
    label: str = "honest"
    disk: str = ""  # who names the same one shares it
    jitter_ms: float = 4.0  # of its line: mean of the noise of an answer
    seek_ms: float = 0.3  # 8 for a hard disk
    line: str = ""  # who names the same one shares it
    is_evading: bool = False  # refuses to be measured together with who shares its disk
    send_ms: float = 0.5  # of an answer to a live challenge through the line: 27 KB, 0.5 ms at 400 Mbit/s, 54 at 4

    @property
    def device(self) -> str:
        """The device's id."""
        return self.key.public.device_id


@dataclass
class Customer:
    """A gateway of a customer of its own, that reads in secret. `lies`: denounces every provider; `withholds`: reports
    good reads only."""

    key: DeviceKey
    operator: str
    links: Links
    lies: bool = False
    withholds: bool = False

    @property
    def device(self) -> str:
        """The gateway's id."""
        return self.key.public.device_id


@dataclass
class World:
    """Gateways, providers, a clock and a journal position. Build it, lease, then `run` epochs."""

    seed: int
    leaf_bytes: int = 4_096
    share_bytes: int = 16_384
    overrides: Mapping[str, Any] = field(default_factory=dict)
    providers: list[Provider] = field(default_factory=list)
    now_ms: int = START_MS
    position: int = 0
    epoch: int = 0
    number: int = 0

    def __post_init__(self) -> None:
        self.dice = np.random.default_rng(self.seed)
        self.params = with_overrides(default_params(), {"new_days": 0, **self.overrides})
        self.gateway = self.key("gateway")
        self.gateway_operator = self.operator("gateway")
        load_compiled()
        self.next_round_ms = START_MS + int(self.params["round_s"]) * 1_000
        self.egress_bytes: dict[str, int] = {}
        self.customers: list[Customer] = []
        self.leased: dict[tuple[str, str], dict[bytes, int]] = {}  # (gateway, provider) → shares, and since when
        self.is_live = False  # whether customers ask at the same moment
        self.jams = 0.1  # how often a customer's own line is jammed then
        self.reader = ""  # who signed the order of the read that a provider sees now
        self.open_tests: frozenset[tuple[str, bytes, int]] = frozenset()  # what anybody works out of the round's seed
        self.carry: Mapping[str, pl.DataFrame] = {}
        self.all_shares: dict[bytes, Share] = {}
        self._by_device: dict[str, Provider] = {}
        self._pending: dict[str, list[tuple[Any, ...]]] = {kind: [] for kind in DOCUMENTS}

    # building
    def key(self, name: str) -> DeviceKey:
        """Return the key of a name."""
        return DeviceKey.from_secret(Algorithm.ED25519, hashlib.sha256(f"{self.seed}/{name}".encode()).digest())

    def operator(self, name: str) -> str:
        """Return the operator address of a name."""
        return "0x" + hashlib.sha256(f"{self.seed}/operator/{name}".encode()).hexdigest()[:40]

    def add(self, name: str, behaviour: Behaviour, *, operator: str | None = None, label: str = "honest") -> Provider:
        """Add a provider; without `operator` it has its own."""
        latency = int(self.dice.integers(5, 80))
        one = Provider(name, self.key(name), operator or self.operator(name), behaviour, latency, label=label)
        self.providers.append(one)
        self._by_device[one.device] = one
        return one

    def add_customer(self, name: str, *, lies: bool = False, withholds: bool = False) -> Customer:
        """Add a gateway with an operator of its own that has committed to its secrets."""
        last = hashlib.sha256(f"{self.seed}/chain/{name}".encode()).digest()
        one = Customer(self.key(name), self.operator(name), Links(last, 1, 2_048), lies, withholds)
        self.customers.append(one)
        chain = records.ReaderChain(tip=one.links.tip, first=1, length=one.links.length)
        self.report(CHAIN, one.device, records.encode(chain))
        return one

    def provider(self, device: str) -> Provider:
        """Return the provider of a device id."""
        return self._by_device[device]

    def share(self, segment: bytes, index: int, content: bytes | None = None) -> Share:
        """Make a share. Its content follows from segment and index unless given."""
        content = content or hashlib.sha256(b"content" + segment + bytes([index])).digest()
        tree = Tree.build(blake3(content).digest(length=self.share_bytes), self.leaf_bytes)
        return Share(self.dice.bytes(16), segment, index, content, tree)

    def store(self, shares: int, *, gateway: DeviceKey | None = None) -> None:
        """Give every provider `shares` shares, each of another segment, and lease them."""
        for one in self.providers:
            mine = [self.share(self.dice.bytes(16), int(self.dice.integers(0, 40))) for _ in range(shares)]
            self.lease(one, mine, gateway=gateway)

    def lease(
        self,
        one: Provider,
        shares: Sequence[Share],
        *,
        gateway: DeviceKey | None = None,
        signer: DeviceKey | None = None,
    ) -> None:
        """Put shares into a provider and report the leases; `signer` forges the receipts."""
        gateway = gateway or self.gateway
        for start in range(0, len(shares), SHARES_PER_LEASE):
            lines = []
            for share in shares[start : start + SHARES_PER_LEASE]:
                receipt = records.ShareReceipt(
                    share=share.id,
                    provider=one.device,
                    gateway=gateway.public.device_id,
                    size_bytes=share.tree.size_bytes,
                    leaf_bytes=share.tree.leaf_bytes,
                    root=share.tree.commitment,
                    stored_ms=self.now_ms,
                )
                signed = records.sign(signer or one.key, receipt, records.RECEIPT)
                lines.append(records.LeasedShare(receipt=signed, segment=share.segment, index=share.index))
                one.shares[share.id] = share
                self.all_shares[share.id] = share
                self.leased.setdefault((gateway.public.device_id, one.device), {})[share.id] = self.now_ms
            self.report(LEASE, gateway.public.device_id, records.encode(records.Lease(shares=tuple(lines))))

    def release(self, one: Provider, shares: Sequence[bytes]) -> None:
        """Let the gateway release shares; the provider may drop them."""
        body = records.Release(shares=tuple((one.device, share) for share in shares))
        self.report(RELEASE, self.gateway.public.device_id, records.encode(body))
        for share in shares:
            one.shares.pop(share, None)
            self.leased.get((self.gateway.public.device_id, one.device), {}).pop(share, None)

    def voucher(self, one: Provider, read_bytes: int) -> bytes:
        """Let the gateway order `read_bytes` more from a provider; return its newest voucher."""
        total = self.egress_bytes[one.device] = self.egress_bytes.get(one.device, 0) + read_bytes
        order = records.AccessOrder(
            operation="get",
            gateway=self.gateway.public.device_id,
            provider=one.device,
            share=next(iter(one.shares), bytes(16)),
            expires_ms=self.now_ms + 60_000,
            egress_bytes=total,
        )
        return records.sign(self.gateway, order, records.ACCESS)

    # running
    def report(self, kind: str, device: str, body: bytes, received_ms: int | None = None) -> None:
        """Put a report into the journal."""
        self.position += 1
        moment = self.now_ms if received_ms is None else received_ms
        self._pending[kind].append((device, moment, moment, self.position, body))

    @property
    def registry(self) -> pl.DataFrame:
        """REGISTRY_SCHEMA: the gateway and all providers, enrolled before the world began."""
        rows = [(self.gateway.public.device_id, self.gateway_operator)]
        rows += [(one.device, one.operator) for one in self.customers]
        rows += [(one.device, one.operator) for one in self.providers]
        columns = [(device, operator, "disk", 52.0, 5.0, 0.0, START_MS - DAY_MS) for device, operator in rows]
        return pl.DataFrame(columns, schema=REGISTRY_SCHEMA, orient="row").sort("device")

    def input(self, start_ms: int, end_ms: int, rounds: Sequence[Round]) -> EpochInput:
        """Return the epoch's input from what was reported and received before `end_ms`."""
        evidence = {
            kind: pl.DataFrame([row for row in rows if row[2] < end_ms], schema=DOCUMENT_SCHEMA, orient="row").sort(
                "position"
            )
            for kind, rows in self._pending.items()
        }
        return EpochInput(
            self.epoch,
            start_ms,
            end_ms,
            self.registry,
            evidence,
            self.params,
            carry=self.carry,
            rounds=tuple(rounds),
        )

    def run(self, hours: float = 24.0) -> tuple[EpochInput, FleetVerdicts]:
        """Play one epoch: every round asked and answered, then the real verification. Returns its input and result."""
        self.epoch += 1
        start_ms = self.now_ms
        end_ms = start_ms + round(hours * 3_600_000)
        rounds: list[Round] = []
        step_ms = int(self.params["round_s"]) * 1_000
        due: list[tuple[int, int, str, str, bytes]] = []  # received, order, kind, device, body
        # rounds come at multiples of the step since the world began, wherever epochs are cut
        while max(start_ms, self.next_round_ms) < end_ms:
            self.now_ms = max(start_ms, self.next_round_ms)
            self.next_round_ms = START_MS + ((self.now_ms - START_MS) // step_ms + 1) * step_ms
            self._deliver(due, self.now_ms)
            self.position += 1
            self.number += 1
            asked = Round(self.number, self.position, self.now_ms, self.dice.bytes(32))
            so_far = self.input(start_ms, end_ms, rounds)
            wanted = {device: decode_body(body) for device, body in service.challenges(so_far, asked).iter_rows()}
            reads = (read for questions in wanted.values() for read in questions.read)
            self.open_tests = frozenset((read.provider, read.share, read.leaf_index) for read in reads)
            for device, questions in wanted.items():
                self._ask(due, device, asked, questions)
            for customer in self.customers:
                self._read_in_secret(due, customer, asked)
                if self.is_live:
                    self._measure(due, customer, asked)
            rounds.append(asked)
        self.now_ms = end_ms
        self._deliver(due, end_ms)
        for one in self.providers:
            claims = one.behaviour.vouchers(self, one)
            if claims:
                claim = records.EgressClaim(vouchers=tuple(claims))
                self.report(EGRESS_CLAIM, one.device, records.encode(claim), end_ms - 1)
        whole = self.input(start_ms, end_ms, rounds)
        result = service.check_fleet(whole, self.stage_1(whole))
        self.carry = result.carry
        self._pending = {kind: [] for kind in DOCUMENTS}
        for received_ms, _, kind, device, body in sorted(due):
            self.report(kind, device, body, received_ms)  # still on its way when the epoch ended
        return whole, result

    def stage_1(self, whole: EpochInput) -> pl.DataFrame:
        """Run stage 1 as the engine does."""
        return pl.concat([service.check_devices(part) for part in service.partitions(whole, 1)]).sort("device")

    def _ask(self, due: list[tuple[int, int, str, str, bytes]], device: str, asked: Round, wanted: Asked) -> None:
        one = self._by_device.get(device)
        if one is None:
            return
        if wanted.prove:
            for delay_ms, body in one.behaviour.answer(self, one, asked, wanted.prove):
                due.append((asked.issued_ms + delay_ms, len(due), PROOF, device, body))
        if wanted.read:
            checks = one.behaviour.check(self, one, asked, wanted.read)
            if checks:
                body = records.encode(records.CheckSet(number=asked.number, checks=tuple(checks)))
                due.append((asked.issued_ms + 60_000, len(due), CHECK, device, body))

    def _read_in_secret(self, due: list[tuple[int, int, str, str, bytes]], one: Customer, asked: Round) -> None:
        secret = one.links.secret(asked.number)
        if secret is None:
            return
        checks: list[records.RetrievalCheck] = []
        every = int(self.params["secret_every_rounds"])
        for (gateway, device), shares in self.leased.items():
            if gateway != one.device or not pair_is_drawn(secret, asked.seed, device, every):
                continue
            names = list(shares)
            trees = [self.all_shares[name].tree for name in names]
            sizes, leaf_bytes = [tree.size_bytes for tree in trees], [tree.leaf_bytes for tree in trees]
            columns = names, sizes, leaf_bytes, list(shares.values())
            drawn = reads_drawn(secret, asked.seed, device, asked.issued_ms, *columns)
            checks += [self._secret_read(one, asked, device, names[place], leaf) for place, leaf in drawn]
        if one.withholds:
            checks = [check for check in checks if check.outcome == "ok"]
        body = records.encode(records.CheckSet(number=asked.number, checks=tuple(checks), secret=secret))
        due.append((asked.issued_ms + 900_000, len(due), CHECK, one.device, body))

    def _measure(self, due: list[tuple[int, int, str, str, bytes]], one: Customer, asked: Round) -> None:
        """Let a customer ask two providers and a control alone and at once; times follow from lines and disks."""
        paid = sorted(device for gateway, device in self.leased if gateway == one.device)
        places = {device: ("", "+50+0") for device in paid}
        drawn = group(asked.seed, one.device, places, int(self.params["live_every_rounds"]))
        if drawn is None:
            return
        jam_ms = float(self.dice.gamma(2.0, 60.0)) if self.dice.random() < self.jams else 0.0
        three = [self.provider(device) for device in drawn]
        disks, lines = ([getattr(one, name) or one.name for one in three] for name in ("disk", "line"))
        measures = []
        for provider, disk, line in zip(three, disks, lines, strict=True):
            if provider.is_evading and disks.count(disk) > 1:
                measures.append(records.LiveMeasure(provider.device, 0, 0, 0, 0, (b"", b"", b"", b"")))
                continue
            took_us = []
            for phase in PHASES:
                seeks = 1 if phase.startswith(b"beside") else int(self.params["live_questions"])
                work_ms, noise_ms = seeks * provider.seek_ms, self.dice.gamma(2.0, provider.jitter_ms / 2)
                took_ms = provider.latency_ms + work_ms + provider.send_ms + noise_ms
                if phase.endswith(b"together"):
                    took_ms += jam_ms + work_ms * (disks.count(disk) - 1) + provider.send_ms * (lines.count(line) - 1)
                took_us.append(int(1_000 * took_ms))
            receipts = []
            for phase in PHASES:
                challenge = challenge_seed(asked.seed, one.device, provider.device, phase)
                said = records.LiveReceipt(provider=provider.device, seed=challenge, proofs=bytes(32))
                receipts.append(records.sign(provider.key, said, records.LIVE_RECEIPT))
            measures.append(
                records.LiveMeasure(
                    provider=provider.device,
                    alone_us=took_us[0],
                    together_us=took_us[1] if not one.lies else 9 * took_us[0],
                    beside_alone_us=took_us[2],
                    beside_together_us=took_us[3],
                    receipts=(receipts[0], receipts[1], receipts[2], receipts[3]),
                )
            )
        if one.lies:  # about the two, not about the control
            measures[2] = msgspec.structs.replace(measures[2], together_us=measures[2].alone_us)
        body = records.encode(records.LiveSet(number=asked.number, measures=tuple(measures)))
        due.append((asked.issued_ms + 300_000, len(due), LIVE, one.device, body))

    def _secret_read(self, one: Customer, asked: Round, device: str, share: bytes, leaf: int) -> records.RetrievalCheck:
        provider = self.provider(device)
        self.reader = one.device
        took_ms, data = provider.behaviour.read(self, provider, share, leaf)
        if one.lies:
            data = None
        return msgspec.structs.replace(
            checked(device, share, leaf, took_ms, data), at_ms=asked.issued_ms + READ_AFTER_MS
        )

    def _deliver(self, due: list[tuple[int, int, str, str, bytes]], until_ms: int) -> None:
        for message in sorted(one for one in due if one[0] < until_ms):
            received_ms, _, kind, device, body = message
            self.report(kind, device, body, received_ms)
        due[:] = [one for one in due if one[0] >= until_ms]
