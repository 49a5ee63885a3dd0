"""No record that a device, operator or founder can sign stops an epoch, whatever is in it.

Each example takes valid records of liars who are enrolled, distorts them anywhere inside, signs them properly and sends them
through the real doors. What the doors take is in an epoch that is then closed, sealed, replayed in other partitions, and
followed by another. FIELDSTONE_HOSTILE_EXAMPLES: how many examples (a few by default; thousands take hours).
"""

from __future__ import annotations

import asyncio
import math
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldstone.clock import SetClock
from fieldstone.epoch.compute import compute, epoch_randomness, service_input
from fieldstone.epoch.founders import check_founder_entry
from fieldstone.epoch.freeze import freeze
from fieldstone.epoch.runner import ExecutorRunner
from fieldstone.epoch.store import EpochStore
from fieldstone.errors import FieldstoneError, Rejected
from fieldstone.identity import cose, entries
from fieldstone.identity.keys import Algorithm, DeviceKey
from fieldstone.identity.wallet import Wallet
from fieldstone.intake.pipeline import Intake
from fieldstone.journal import EntryKind, Journal, NewEntry
from fieldstone.journal.group_commit import GroupCommit
from fieldstone.reasons import REASONS
from fieldstone.services import load_service
from fieldstone.services.storage.records import ACCESS, LIVE_RECEIPT, RECEIPT
from tests.epoch.distortion import (
    NUMBERS,
    POISON,
    Fields,
    Signed,
    distorted,
    everywhere,
    to_cbor,
    to_json,
    to_msgpack,
    tree_of,
)
from tests.epoch.hostile_world import (
    AAD,
    BLOCK_HASH,
    KINDS,
    LIARS,
    POLICY,
    SERVICES,
    Network,
    answers,
    build,
    copied,
    finish,
    replayed,
    verdicts,
)

EXAMPLES = int(os.environ.get("FIELDSTONE_HOSTILE_EXAMPLES", "3"))
FEWEST_RECORDS, MOST_RECORDS = 6, 20  # of one example
STATION = "liar-station"
SEQ = "the next number"
FINITE = [number for number in NUMBERS if math.isfinite(number)]


_FOLDER = tempfile.TemporaryDirectory(prefix="hostile-")  # kept while the module is, for all examples


@cache
def network() -> Network:
    return build(Path(_FOLDER.name))


@cache
def honest_verdicts() -> pl.DataFrame:
    """Return what the honest earn when the liars only say what is true."""
    return verdicts(close([])[0], network())


@cache
def strangers() -> tuple[Any, ...]:
    """Values that occur in other records: ids, shares, segments, seeds, moments, signed messages."""
    found: list[Any] = [key.public.device_id for key in network().keys.values()]
    found += [DeviceKey.from_secret(Algorithm.P256, b"\x01" * 32).public.device_id, "did:key:z6Mk" + "1" * 44]
    found += [*[*network().all_shares][:4], b"L" * 16, network().last.seed]
    return (*found, network().last.number, network().last.position, network().last.issued_ms, network().clock.now_ms())


def documents() -> dict[str, tuple[str, Any]]:
    """Return document kind → (liar, valid body as a tree): what the two could say, each of them believed."""
    net = network()
    gateway, provider = (net.keys[name] for name in LIARS[:2])
    its, whose = gateway.public.device_id, provider.public.device_id
    now, number = net.clock.now_ms(), net.last.number
    share = next(iter(net.leased[its, whose]))

    def signed(order: list[Any], key: DeviceKey = gateway, purpose: bytes = ACCESS) -> Signed:
        return Signed(order, key, purpose)

    def order(operation: str, key: DeviceKey, read: int) -> Signed:
        return signed([operation, key.public.device_id, whose, share, now + 60_000, 0, 100, read], key)

    receipt = [b"N" * 16, whose, its, 16_384, 4_096, b"r" * 32, now]
    said = {kind: (name, tree_of(msgspec.msgpack.decode(body))) for kind, (name, body) in answers(net).items()}
    for measure in said["live"][1][1]:  # the receipts of the liar himself can say anything
        for place, one in enumerate(measure[5]):
            content = msgspec.msgpack.decode(cose.parse(one).payload)
            signer = next(key for key in net.keys.values() if key.public.device_id == measure[0])
            measure[5][place] = Signed(content, signer, LIVE_RECEIPT) if signer is provider else one
    return {
        **said,
        "announce": ("liar-provider", ["http://10.0.0.1:80", 2**40, False]),
        "lease": ("liar-gateway", [[[signed(receipt, provider, RECEIPT), b"n" * 16, 1]]]),
        "release": ("liar-gateway", [[[whose, share]]]),
        "deleted": ("liar-provider", [[order("delete", gateway, 0)]]),
        "cover": ("liar-gateway", [[b"L" * 16, b"M" * 16], [1, 2]]),
        "egress": ("liar-provider", [[order("get", gateway, 10**6), order("get", provider, 10**6)]]),
        "chain": ("liar-gateway", [b"t" * 32, number + 1, 100]),
        "space": ("liar-provider", [number, 22, [[0, bytes(176)]]]),
    }


def readings(start_ms: int) -> Fields:
    return Fields(
        (
            *((1, 1), (2, "sensing"), (3, "readings"), (4, SEQ), (5, start_ms), (6, 120_000), (7, [60_000, 0, 1, 2])),
            (8, Fields(((0, [1, 150, 151, None]), ("humidity_pct", [0, 50.5, 51, 52.25]), (2, [1, b"\1\0\2\0\3\0"])))),
        )
    )


@st.composite
def odd_readings(draw: st.DrawFn) -> Fields:
    """Return a report in good form with numbers that no sensor gives, at any time that the door may take."""
    number = st.one_of(st.none(), st.sampled_from(FINITE), st.floats(allow_nan=False, allow_infinity=False))
    names = draw(st.lists(st.sampled_from(KINDS["sensing", "readings"]), min_size=1, unique=True))
    unit_ms, first = draw(st.sampled_from([1, 60_000, 3_600_000])), draw(st.sampled_from([0, 1, 7]))
    count = draw(st.integers(1, 12))
    span_ms = (first + count - 1) * unit_ms
    edges = [network().clock.now_ms(), network().state.next_start_ms, network().state.next_end_ms]
    end_ms = min(draw(st.sampled_from(edges)) + draw(st.integers(-2, 2)), edges[0])
    columns = tuple((name, [0, *draw(st.lists(number, min_size=count, max_size=count))]) for name in names)
    return Fields(
        (
            *((1, 1), (2, "sensing"), (3, "readings"), (4, SEQ), (5, end_ms - span_ms), (6, span_ms)),
            *((7, [unit_ms, [first, count]]), (8, Fields(columns))),
        )
    )


@st.composite
def reports(draw: st.DrawFn) -> Sent:
    """Return (what it was, liar, payload as a tree): a report distorted in its payload, or a document in its body."""
    net = network()
    kind = draw(st.sampled_from(["readings", *documents()]))
    if kind == "readings":
        name = STATION
        whole = readings(net.clock.now_ms() - 120_000)
        tree = draw(st.one_of(odd_readings(), odd_readings(), distorted(whole, strangers(), most=2)))
    else:
        name, body = documents()[kind]
        inner = to_msgpack(draw(distorted(body, strangers()))) if draw(st.integers(0, 9)) != 7 else to_msgpack(body)
        tree = Fields(((1, 1), (2, "storage"), (3, kind), (4, SEQ), (5, net.clock.now_ms()), (9, inner)))
        if draw(st.integers(0, 9)) == 7:
            tree = draw(distorted(tree, strangers(), most=1))
    return kind, name, Again(tree) if draw(st.integers(0, 19)) == 7 else tree


@dataclass(frozen=True)
class Again:
    """A report under the number of the one before: an equivocation."""

    tree: Any


Sent = tuple[str, str, Any]


def sealed(sent: Sequence[Sent]) -> list[tuple[str, str, bytes]]:
    """Number and sign the reports in the order in which they are sent. A number that was distorted stays."""
    net, seq = network(), dict(network().seq)
    found = []
    for kind, name, body in sent:
        if not isinstance(body, bytes):
            tree = body.tree if isinstance(body, Again) else body
            if not isinstance(body, Again):
                seq[name] += 1
            if isinstance(tree, Fields):
                tree = Fields(
                    tuple((key, seq[name] if (key, value) == (4, SEQ) else value) for key, value in tree.pairs)
                )
            body = cose.sign(net.keys[name], to_cbor(tree), AAD)
        found.append((kind, name, body))
    return found


ENTRY = {
    "enrol": {6: "generic", 7: 0.0, 8: 180.0, 9: 0.0, 10: 5.0, 11: "one"},
    "move": {7: 90.0, 8: -180.0, 9: 0.0, 10: 5.0},
    "rotate": {13: "new"},
    "recover": {13: "new"},
    "revoke": {},
}


@st.composite
def registry_entries(draw: st.DrawFn) -> tuple[str, str, bytes]:
    """Return (action, liar, body): an entry with odd fields, signed by key and wallet over what it says."""
    net = network()
    action, name = draw(st.sampled_from(sorted(ENTRY))), draw(st.sampled_from(LIARS))
    wallet: Wallet = net.wallets[name]
    new = DeviceKey.from_secret(Algorithm.ED25519, draw(st.binary(min_size=32, max_size=32)))
    key = new if action == "enrol" else net.keys[name]
    fields = {1: 1, 2: action, 3: key.public.device_id, 4: 7, 5: wallet.address, **ENTRY[action]}
    if 13 in fields:
        fields[13] = new.public.device_id
    payload = to_cbor(draw(distorted(tree_of(fields), strangers(), most=1)))
    signers = {"enrol": [new], "move": [key], "rotate": [key, new], "recover": [new], "revoke": []}[action]
    signatures = [entries.device_signature(one, payload, POLICY) for one in signers]
    try:
        text = entries.parse(entries.assemble(payload, signatures, bytes(65))).text(POLICY)
    except Rejected:
        text = "whatever"
    return action, name, entries.assemble(payload, signatures, wallet.sign_text(text))


@st.composite
def founders_entries(draw: st.DrawFn) -> tuple[str, str, bytes]:
    """Return (kind, "", body) of a price or a correction with odd fields."""
    net = network()
    rows = [
        {"device": net.keys[STATION].public.device_id, "operator": net.wallets[STATION].address, "amount_base": "5"}
    ]
    kind, body = draw(
        st.sampled_from(
            [
                ("price", {"token_price_micro_usd": 1_000_000}),
                ("correction", {"epoch": 1, "cause": "test", "rows": rows}),
            ]
        )
    )
    return kind, "", to_json(draw(distorted(tree_of(body), strangers(), most=2)))


def admit(folder: Path, sent: list[tuple[str, str, bytes]]) -> list[str]:
    """Send records through the real doors into a copy of the journal; return what became of each."""
    net = network()
    journal, store, clock = copied(net, folder)
    state = store.state(1)
    found: list[str] = []

    async def go() -> None:
        group = GroupCommit(journal, DeviceKey.from_secret(Algorithm.ED25519, b"\x07" * 32), network_id="hostile")
        intake = Intake(group, policy=POLICY, kinds=KINDS, clock=clock, registry=state.registry.copy(),
                        registry_position=state.last_position, workers=1,
                        device_reports_per_minute=10**6)  # fmt: skip
        for kind, _, body in sent:
            if kind in ENTRY:
                try:
                    await intake.submit_registry(body, address=str(len(found)))
                    found.append("ok")
                except Rejected as refused:
                    found.append(refused.reason.code)
            elif kind in ("price", "correction"):
                entry = NewEntry(EntryKind(kind), "", body)
                try:
                    check_founder_entry(entry)
                except FieldstoneError as refused:
                    found.append(type(refused).__name__)
                else:
                    journal.append([entry])
                    found.append("ok")
            else:
                (outcome,) = await intake.submit(body, address=str(len(found)), sequence=False)
                found.append("ok" if outcome.reason is None else outcome.reason.code)
        group.close()
        intake.close()

    asyncio.run(go())
    journal.close()
    return found


def close(sent: Sequence[Sent]) -> tuple[Any, list[str]]:
    """Send, close, seal, replay in partitions, read what services tell, and close an epoch after it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outcomes = admit(folder, sealed(sent))
        journal = Journal.open(folder / "journal.db", clock=SetClock(network().clock.now_ms() + 2_000))
        store = EpochStore(folder / "sealed")
        try:
            state = store.state(1)
            last = journal.position_at(state.next_end_ms)
            result = finish(journal, store, state, list(journal.read(state.last_position + 1, last)))
            with ThreadPoolExecutor(1) as pool:
                again = replayed(store, 2, ExecutorRunner(pool, 3))
            assert again.agrees, [table for table, same in again.tables.items() if not same]
            after = store.state(2)
            empty = freeze([], after)
            for service in map(load_service, SERVICES):
                msgspec.json.encode(service.directory(service_input(service, empty, after)))
            compute(empty, after, epoch_randomness(POLICY.network_id, 3, BLOCK_HASH))
            store.statements(2, "")
        finally:
            journal.close()
    return result, outcomes


def test_the_records_are_good_before_they_are_distorted() -> None:
    """Otherwise distorting them would show how they are refused, and no more."""
    now_ms = network().clock.now_ms()
    sent: list[Sent] = [("readings", STATION, readings(now_ms - 120_000))]
    for kind, (name, body) in documents().items():
        head = ((1, 1), (2, "storage"), (3, kind), (4, SEQ), (5, now_ms), (9, to_msgpack(body)))
        sent.append((kind, name, Fields(head)))
    result, outcomes = close(sent)
    assert outcomes == ["ok"] * len(sent)
    liars = [network().keys[name].public.device_id for name in LIARS]
    told = result.verdicts.filter(pl.col("device").is_in(liars) & (pl.col("service") == "storage"))
    found = {reason for reasons in told["reasons"].to_list() for reason in reasons}
    assert found == {"OWN_GATEWAY", "CHECK_NOT_DONE", "GATEWAY", "NO_HOLDINGS"}  # nothing bad, nothing unreadable
    assert set(told["verdict"]) == {"accepted", "rejected"}


def test_no_document_with_poison_in_any_place_stops_an_epoch() -> None:
    """Values that have stopped decoders before, in each place of each document: what chance would find in hours."""
    now_ms = network().clock.now_ms()
    sent: list[Sent] = []
    for kind, (name, body) in documents().items():
        for tree in everywhere(body, POISON if EXAMPLES > 50 else POISON[:6]):
            head = ((1, 1), (2, "storage"), (3, kind), (4, SEQ), (5, now_ms), (9, to_msgpack(tree)))
            sent.append((kind, name, Fields(head)))
    result, outcomes = close(sent)
    assert set(outcomes) == {"ok"}
    assert verdicts(result, network()).equals(honest_verdicts())


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), derandomize=EXAMPLES < 50, database=None)
@given(st.lists(st.one_of(reports(), reports(), reports(), registry_entries(), founders_entries()),
                min_size=FEWEST_RECORDS, max_size=MOST_RECORDS))  # fmt: skip
def test_no_record_stops_an_epoch(sent: list[Sent]) -> None:
    result, outcomes = close(sent)
    assert {outcome for outcome in outcomes if outcome not in REASONS} <= {"ok", "UsageError"}
    assert verdicts(result, network()).equals(honest_verdicts())
