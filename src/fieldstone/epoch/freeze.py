"""Freeze: journal entries of one epoch → typed tables. Pure; the first step of closing and of replaying an epoch.

The entries are walked once, in order, because a report is judged by the registry as it stood at its position.
A node trusts its own doors; a verifier passes `check_signatures=True` and believes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec
import polars as pl

from fieldstone.epoch.bonds import Snapshot, block_for, read_body, snapshot_of
from fieldstone.epoch.founders import CorrectionBody, PriceBody, Unreadable, read
from fieldstone.epoch.state import EpochState
from fieldstone.errors import CheckFailed, Rejected
from fieldstone.identity import cose, keys
from fieldstone.identity.registry import Device, Registry
from fieldstone.identity.report import Limits, Report, decode, kind_table
from fieldstone.journal import Entry, EntryKind
from fieldstone.policy import Policy
from fieldstone.services import load_service
from fieldstone.services.contract import DOCUMENT_SCHEMA, Round

CORRECTION_SCHEMA = {"device": pl.String(), "operator": pl.String(), "amount_base": pl.String(), "cause": pl.String()}


@dataclass(frozen=True)
class Frozen:
    """The complete, typed input of one epoch.

    `registry`: REGISTRY_SCHEMA and more, devices enrolled at any time in the epoch. `evidence`: service → kind → table
    sorted by (device, t_ms); documents sorted by position. `rounds`: service → what was asked. `equivocating`: devices that signed two different messages under one sequence number.
    `counts`: entries by kind. `bonds`: those that count in this epoch, its own snapshot or the last one before.
    `*_after`: what the next epoch starts with.
    """

    epoch: int
    start_ms: int
    end_ms: int
    first_position: int
    last_position: int
    policy: Policy
    registry: pl.DataFrame
    evidence: Mapping[str, Mapping[str, pl.DataFrame]]
    metering: tuple[Entry, ...]
    corrections: pl.DataFrame
    rounds: Mapping[str, tuple[Round, ...]]
    equivocating: frozenset[str]
    counts: Mapping[str, int]
    price_micro_usd: int
    bonds: Snapshot | None
    registry_after: Registry
    policy_after: Policy
    last_seq_after: Mapping[str, int]


def freeze(entries: Iterable[Entry], state: EpochState, *, check_signatures: bool = False) -> Frozen:
    """Fold the entries of the epoch after `state` into tables.

    Raises CheckFailed when the entries are not the gapless continuation of the journal, lie outside the epoch, or
    (with `check_signatures`) hold anything the doors should have refused.
    """
    walk = _Walk(state, check_signatures)
    for entry in entries:
        try:
            walk.take(entry)
        except _NOT_READ as error:  # the doors write no such entry: a node that gives it to a verifier lies
            raise CheckFailed(
                f"journal position {entry.position}: the {entry.kind} entry cannot be read: {error}"
            ) from error
    return walk.frozen()


_NOT_READ = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, ValueError, OverflowError)


class RoundBody(msgspec.Struct, frozen=True):
    """A challenge entry: round `number` of a service, seeded by the hash of the newest block of the chain."""

    service: str
    number: int
    block: int
    block_hash: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


def round_seed(network_id: str, service: str, number: int, block_hash: bytes) -> bytes:
    """Return the 32 bytes that draw a round's challenges."""
    text = f"fieldstone/round/v1\0{network_id}\0{service}\0{number}\0"
    return hashlib.sha256(text.encode() + block_hash).digest()


def round_interval_ms(policy: Policy, service: str) -> int:
    """Return the time between two rounds of a service under a policy; 0: it asks nothing or is not offered."""
    setting = policy.services.get(service)
    if setting is None:
        return 0
    offered = load_service(service)
    params = offered.with_overrides(offered.default_params(setting.rule_version), setting.params)
    return offered.round_s(params) * 1000


class _Walk:
    """One pass over an epoch's entries. Mutable on purpose, and never seen outside `freeze`."""

    def __init__(self, state: EpochState, check_signatures: bool) -> None:
        self._state = state
        self._check = check_signatures
        self._registry = state.registry.copy()
        self._policy_after = state.policy
        self._price = state.price_micro_usd
        self._bonds = state.bonds
        self._boundary: tuple[int, str] | None = None  # block and hash that ended the epoch before
        self._position = state.last_position
        self._last_seq = dict(state.last_seq)
        self._columns: dict[tuple[str, str], _Columns] = {}
        self._documents: dict[tuple[str, str], list[tuple[str, int, int, int, bytes]]] = {}
        self._rounds: dict[str, list[Round]] = {}
        self._metering: list[Entry] = []
        self._corrections: list[dict[str, str]] = []
        self._equivocating: set[str] = set()
        self._counts: dict[str, int] = {}
        policy = state.policy
        services = [load_service(name) for name in sorted(policy.services)]
        self._kinds = kind_table(services)
        self._longest = {(s.name, kind): document.max_bytes for s in services for kind, document in s.documents.items()}
        self._limits = Limits.of(policy.intake)
        self._aad = cose.network_aad(policy.network_id, policy.chain_id, policy.schema_version)

    def take(self, entry: Entry) -> None:
        if entry.position != self._position + 1:
            raise CheckFailed(f"journal position {entry.position} follows {self._position}: an entry is missing")
        if entry.received_ms >= self._state.next_end_ms:
            raise CheckFailed(
                f"journal position {entry.position} was received after epoch {self._state.epoch + 1} ended"
            )
        self._position = entry.position
        self._count(entry.kind.value)
        match entry.kind:
            case EntryKind.REPORT:
                self._report(entry)
            case EntryKind.REGISTRY:
                self._apply(entry)
            case EntryKind.METERING:
                self._metering.append(entry)
            case EntryKind.PRICE:
                self._set_price(entry)
            case EntryKind.POLICY:
                self._policy_after = Policy.from_json(entry.body)
            case EntryKind.CORRECTION:
                self._correction(entry)
            case EntryKind.EQUIVOCATION:
                self._equivocation(entry)
            case EntryKind.CHALLENGE:
                self._round(entry)
            case EntryKind.EPOCH:
                self._mark(entry)
            case EntryKind.BOND:
                self._snapshot(entry)
            case EntryKind.CREDIT:
                pass  # it concerns the ledger; it pays nobody by itself

    def _apply(self, entry: Entry) -> None:
        """Apply a registry entry. One that this epoch's policy refuses is counted and passed over, by everyone alike.

        The doors change to a new policy moments after the epoch's boundary, so an entry of those moments may have been
        judged by the old one. It must not stop every later epoch.
        """
        try:
            self._registry.apply(entry.body, entry.received_ms, self._state.policy)
        except Rejected as refused:
            self._count(f"registry-{refused.reason.code}")

    def _report(self, entry: Entry) -> None:
        envelope = cose.parse(entry.body)
        device = self._registry.by_kid(envelope.kid)
        if device is None:
            self._count("report-UNKNOWN_DEVICE")  # its enrolment was passed over
            return
        self._check_signer(device, envelope, entry)
        try:
            report = decode(envelope.payload, self._kinds, self._limits)
        except Rejected as refused:
            self._count(f"report-{refused.reason.code}")
            return
        if report.seq <= self._last_seq.get(device.device, -1):
            if self._check:
                raise CheckFailed(f"position {entry.position}: {device.device} repeats seq {report.seq}")
            return
        self._last_seq[device.device] = report.seq
        key = (report.service, report.kind)
        if report.document:
            if len(report.document) > self._longest[key]:
                self._count("report-TOO_LARGE")
                return
            row = (device.device, report.start_ms, entry.received_ms, entry.position, report.document)
            self._documents.setdefault(key, []).append(row)
            return
        if key not in self._columns:
            self._columns[key] = _Columns()
        self._columns[key].add(device.device, entry.received_ms, report)

    def _round(self, entry: Entry) -> None:
        """Take a round at its own time and once; any other is counted and asks nothing.

        So a node cannot draw again until it likes the seed, nor ask when it suits somebody.
        """
        try:
            body = msgspec.json.decode(entry.body, type=RoundBody)
        except msgspec.DecodeError:
            self._count("challenge-unreadable")
            return
        interval_ms = round_interval_ms(self._state.policy, body.service)
        asked = self._rounds.setdefault(body.service, [])
        if (
            not interval_ms
            or body.number != entry.received_ms // interval_ms
            or body.number in [r.number for r in asked]
        ):
            self._count("challenge-out-of-turn")
            return
        seed = round_seed(self._state.policy.network_id, body.service, body.number, bytes.fromhex(body.block_hash))
        asked.append(Round(body.number, entry.position, entry.received_ms, seed))

    def _mark(self, entry: Entry) -> None:
        body = msgspec.json.decode(entry.body)
        if body["epoch"] == self._state.epoch:
            self._boundary = (int(body["block"]), str(body["block_hash"]))

    def _snapshot(self, entry: Entry) -> None:
        """Take the epoch's bonds, once, of the one block that counts; anything else is counted and changes nothing."""
        try:
            body = read_body(entry.body)
        except msgspec.DecodeError:
            self._count("bond-unreadable")
            return
        taken = self._bonds is not None and self._bonds.epoch == self._state.epoch + 1
        if taken or self._boundary is None or body.epoch != self._state.epoch + 1:
            self._count("bond-out-of-turn")
            return
        block, block_hash = self._boundary
        wanted = block_for(block, self._state.policy)
        if body.block != wanted or (wanted == block and body.block_hash != block_hash):
            self._count("bond-of-another-block")
            return
        self._bonds = snapshot_of(body)

    def _check_signer(self, device: Device, envelope: cose.Envelope, entry: Entry) -> None:
        if self._check and not keys.verify(device.public, envelope.signed_bytes(self._aad), envelope.signature):
            raise CheckFailed(f"position {entry.position}: the signature of {device.device} does not verify")

    def _count(self, what: str) -> None:
        self._counts[what] = self._counts.get(what, 0) + 1

    def _set_price(self, entry: Entry) -> None:
        try:
            self._price = read(entry.body, PriceBody).token_price_micro_usd
        except Unreadable:
            self._count("price-unreadable")

    def _correction(self, entry: Entry) -> None:
        """Take a correction's rows. One that no door of this version would take is counted and pays nobody."""
        try:
            body = read(entry.body, CorrectionBody)
        except Unreadable:
            self._count("correction-unreadable")
            return
        self._corrections += [
            {"device": row.device, "operator": row.operator, "amount_base": row.amount_base, "cause": body.cause}
            for row in body.rows
        ]

    def _equivocation(self, entry: Entry) -> None:
        """Believe an accusation only if both messages verify, share the sequence number and differ."""
        try:
            messages = msgspec.msgpack.decode(entry.body, type=tuple[bytes, bytes])
            envelopes = [cose.parse(message) for message in messages]
            seqs = {decode(envelope.payload, self._kinds, self._limits).seq for envelope in envelopes}
        except (Rejected, msgspec.DecodeError):
            self._count("equivocation-unreadable")
            return
        signers = [self._registry.by_kid(envelope.kid) for envelope in envelopes]
        device = signers[0]
        if device is None or signers[1] != device or len(seqs) != 1:
            self._count("equivocation-unproven")
            return
        for envelope in envelopes:
            self._check_signer(device, envelope, entry)
        if hashlib.sha256(messages[0]).digest() != hashlib.sha256(messages[1]).digest():
            self._equivocating.add(device.device)

    def frozen(self) -> Frozen:
        state = self._state
        evidence: dict[str, dict[str, pl.DataFrame]] = {}
        for (service, kind), columns in sorted(self._columns.items()):
            evidence.setdefault(service, {})[kind] = columns.table()
        for (service, kind), rows in sorted(self._documents.items()):
            evidence.setdefault(service, {})[kind] = pl.DataFrame(rows, schema=DOCUMENT_SCHEMA, orient="row")
        registry = self._registry.table()
        present = registry["revoked_ms"].is_null() | (registry["revoked_ms"] >= state.next_start_ms)
        return Frozen(
            epoch=state.epoch + 1,
            start_ms=state.next_start_ms,
            end_ms=state.next_end_ms,
            first_position=state.last_position + 1,
            last_position=self._position,
            policy=state.policy,
            registry=registry.filter(present),
            evidence=evidence,
            metering=tuple(self._metering),
            corrections=pl.DataFrame(self._corrections, schema=CORRECTION_SCHEMA),
            rounds={service: tuple(asked) for service, asked in sorted(self._rounds.items())},
            equivocating=frozenset(self._equivocating),
            counts=dict(sorted(self._counts.items())),
            price_micro_usd=self._price,
            bonds=self._bonds,
            registry_after=self._registry,
            policy_after=self._policy_after,
            last_seq_after=self._last_seq,
        )


class _Columns:
    """Readings of one report kind, gathered column by column."""

    def __init__(self) -> None:
        self._devices: list[str] = []
        self._lengths: list[int] = []
        self._received: list[int] = []
        self._times: list[int] = []
        self._values: dict[str, list[float | None]] = {}

    def add(self, device: str, received_ms: int, report: Report) -> None:
        count, before = len(report.times_ms), len(self._times)
        self._devices.append(device)
        self._lengths.append(count)
        self._received.append(received_ms)
        self._times.extend(report.times_ms)
        for name, values in report.columns.items():
            column = self._values.setdefault(name, [])
            if len(column) < before:
                column.extend([None] * (before - len(column)))
            column.extend(values)

    def table(self) -> pl.DataFrame:
        total = len(self._times)
        repeated = pl.DataFrame(
            {"device": self._devices, "received_ms": self._received, "n": self._lengths},
            schema={"device": pl.String(), "received_ms": pl.Int64(), "n": pl.Int64()},
        )
        repeated = (
            repeated.filter(pl.col("n") > 0).select(pl.exclude("n").repeat_by("n")).explode("device", "received_ms")
        )
        columns = [pl.Series("t_ms", self._times, dtype=pl.Int64())]
        for name in sorted(self._values):
            values = self._values[name]
            columns.append(pl.Series(name, values + [None] * (total - len(values)), dtype=pl.Float64(), strict=False))
        table = (
            repeated.select("device").hstack([columns[0]]).hstack(repeated.select("received_ms")).hstack(columns[1:])
        )
        return table.sort("device", "t_ms", "received_ms", maintain_order=True)
