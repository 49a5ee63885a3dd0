"""The order of checks, sequence numbers, equivocation, budgets, restarts and a failing disk."""

from __future__ import annotations

import asyncio
from pathlib import Path

import cbor2
import msgspec
import pytest

from fieldstone.errors import Rejected
from fieldstone.identity import cose, entries
from fieldstone.identity.keys import Algorithm
from fieldstone.identity.registry import Registry
from fieldstone.intake import conflict, marks
from fieldstone.journal import EntryKind, NewEntry
from fieldstone.journal.receipts import verify_receipt

from .worlds import AAD, NETWORK_KEY, NOW_MS, PLACE, POLICY, WALLET, World, bodies, key, message, payload

DEVICE = key(1)
NAME = DEVICE.public.device_id


@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_accepted_reports_are_in_the_journal_with_receipts(tmp_path: Path, algorithm: Algorithm) -> None:
    device = key(5, algorithm)
    with World(tmp_path) as world:
        await world.enrol(device)
        sent = [message(device, seq, readings=seq) for seq in range(1, 6)]
        outcomes = await world.intake.submit(b"".join(sent), address="a")
        for body, outcome in zip(sent, outcomes, strict=True):
            answer = outcome.answer()
            assert answer.ok and verify_receipt(answer.receipt, body, NETWORK_KEY.public)
            stored = world.journal.entry(answer.position)
            assert stored is not None
            assert (stored.body, stored.subject, stored.kind) == (body, device.public.device_id, EntryKind.REPORT)
        assert world.intake.metrics.accepted_reports == 5


def forge(good: bytes) -> bytes:
    """Spoil a signature without making it malformed."""
    return good[:-64] + bytes([good[-64] ^ 1]) + good[-63:]


REFUSALS = {
    "BAD_CBOR": b"\xff",
    "BAD_COSE": cbor2.dumps([1, 2, 3]),
    "UNKNOWN_DEVICE": message(key(99), 1),
    "ALGORITHM_MISMATCH": None,
    "BAD_SIGNATURE": forge(message(DEVICE, 1)),
    "TIME_FUTURE": message(DEVICE, 1, start_ms=NOW_MS + 121_000),
    "TIME_STALE": message(DEVICE, 1, start_ms=NOW_MS - 8 * 86_400_000),
    "BAD_TIME_SPAN": cose.sign(DEVICE, payload(1, end_ms=NOW_MS + 10**12), AAD),
    "TOO_MANY_READINGS": message(DEVICE, 1, readings=2_001),
    "UNKNOWN_KIND": None,
    "BAD_PAYLOAD": cose.sign(DEVICE, cbor2.dumps({1: 1}), AAD),
    "BAD_NUMBER": cose.sign(
        DEVICE, cbor2.dumps({1: 1, 2: "sensing", 3: "readings", 4: 1, 5: NOW_MS, 8: {0: [0, float("nan")]}}), AAD
    ),
}
REFUSALS["UNKNOWN_KIND"] = cose.sign(
    DEVICE, cbor2.dumps({1: 1, 2: "storage", 3: "proofs", 4: 1, 5: NOW_MS, 8: {0: [0, 1]}}), AAD
)
_header = cbor2.dumps({1: -7, 4: DEVICE.public.kid})
REFUSALS["ALGORITHM_MISMATCH"] = (
    b"\xd2\x84" + cbor2.dumps(_header) + b"\xa0" + cbor2.dumps(payload(1)) + b"\x58\x40" + bytes(64)
)


@pytest.mark.parametrize("code", list(REFUSALS))
async def test_each_refusal_has_its_name_and_is_counted(tmp_path: Path, code: str) -> None:
    body = REFUSALS[code]
    assert body is not None
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        for sequence in (True, False):
            assert await world.send(body, sequence=sequence) == [code]
        subjects = {subject for counted, subject in world.counts() if counted == code}
        known = code not in ("BAD_CBOR", "BAD_COSE", "UNKNOWN_DEVICE")
        assert subjects == ({NAME} if known else {""})
        assert bodies(world, [EntryKind.REPORT]) == []
        assert await world.send(message(DEVICE, 1)) == ["ok"], "a refused message uses up no sequence number"


async def test_wrong_network_is_a_bad_signature(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        for aad in (cose.network_aad("other", 31_337, 1), cose.network_aad("test-net", 1, 1), b""):
            assert await world.send(cose.sign(DEVICE, payload(1), aad)) == ["BAD_SIGNATURE"]


async def test_one_message_means_one(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        two = message(DEVICE, 1) + message(DEVICE, 2)
        assert await world.send(two, sequence=False) == ["BAD_COSE"]
        assert await world.send(two) == ["ok", "ok"]


async def test_a_bad_message_in_a_sequence_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        await world.enrol(DEVICE, key(2))
        mixed = [message(DEVICE, 1), b"\x01", message(key(2), 1), message(key(3), 1), message(DEVICE, 2), b"\xff\xff"]
        assert await world.send(*mixed) == ["ok", "BAD_COSE", "ok", "UNKNOWN_DEVICE", "ok", "BAD_CBOR"]


async def test_repeats_name_the_first_position(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        sent = [message(DEVICE, seq) for seq in (1, 2, 3)]
        await world.send(*sent)
        outcomes = await world.intake.submit(b"".join(sent), address="a")
        assert [(o.reason.code, o.position) for o in outcomes if o.reason] == [("REPLAYED", n) for n in (2, 3, 4)]
        assert len(bodies(world)) == 4


async def test_a_skipped_number_cannot_be_used_later(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        assert await world.send(message(DEVICE, 1), message(DEVICE, 5), message(DEVICE, 3)) == [
            "ok",
            "ok",
            "SEQ_TOO_LOW",
        ]


async def test_equivocation_is_kept_once_with_both_messages(tmp_path: Path) -> None:
    first, second = message(DEVICE, 4), message(DEVICE, 4, value=99.0)
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        assert await world.send(first) == ["ok"]
        assert await world.send(second, second) == ["EQUIVOCATION"] * 2
        world.reopen()
        assert await world.send(second) == ["EQUIVOCATION"]
        (evidence,) = world.journal.read(kinds=[EntryKind.EQUIVOCATION])
        assert msgspec.msgpack.decode(evidence.body) == [first, second] and evidence.subject == NAME


async def test_equivocation_inside_one_body_and_in_a_race(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        fates = await world.send(message(DEVICE, 1), message(DEVICE, 1, value=1.0), message(DEVICE, 2))
        assert fates == ["ok", "EQUIVOCATION", "ok"]
        racing = [message(DEVICE, 3, value=float(number)) for number in range(8)]
        results = await asyncio.gather(*[world.send(one) for one in racing])
        assert sorted(results) == [["EQUIVOCATION"]] * 7 + [["ok"]]
        assert len(bodies(world, [EntryKind.EQUIVOCATION])) == 2, "one piece of evidence per sequence number"


async def test_nobody_else_can_make_a_device_look_like_a_liar(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        await world.send(message(DEVICE, 1))
        forged = forge(message(DEVICE, 1, value=9.0))
        assert await world.send(forged) == ["BAD_SIGNATURE"]
        assert bodies(world, [EntryKind.EQUIVOCATION]) == []


async def test_signing_the_same_bytes_twice_is_no_equivocation(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    from fieldstone.identity.strict_v1 import low_s_p256

    device = key(3, Algorithm.P256)
    first = message(device, 1)
    envelope = cose.parse(first)
    secret = ec.derive_private_key(3, ec.SECP256R1())
    r, s = utils.decode_dss_signature(secret.sign(envelope.signed_bytes(AAD), ec.ECDSA(hashes.SHA256())))
    second = first[:-64] + low_s_p256(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    assert second != first
    with World(tmp_path) as world:
        await world.enrol(device)
        assert await world.send(first) == ["ok"]
        (outcome,) = await world.intake.submit(second, address="a")
        assert outcome.reason is not None and outcome.reason.code == "REPLAYED" and outcome.position == 2


async def test_evidence_is_bounded_per_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conflict, "MAX_EVIDENCE", 3)
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        await world.send(*[message(DEVICE, seq) for seq in range(1, 7)])
        fates = await world.send(*[message(DEVICE, seq, value=1.0) for seq in range(1, 7)])
        assert fates == ["EQUIVOCATION"] * 6
        assert len(bodies(world, [EntryKind.EQUIVOCATION])) == 3


@pytest.mark.parametrize("with_checkpoint", [True, False])
async def test_sequence_numbers_survive_a_restart(tmp_path: Path, with_checkpoint: bool) -> None:
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        await world.send(message(DEVICE, 1), message(DEVICE, 2), message(DEVICE, 9))
        world.close()
        if not with_checkpoint:
            (tmp_path / "journal.side.sqlite").unlink()
        world.open()
        fates = await world.send(
            message(DEVICE, 2),
            message(DEVICE, 9),
            message(DEVICE, 9, value=1.0),
            message(DEVICE, 5),
            message(DEVICE, 10),
        )
        assert fates == ["REPLAYED", "REPLAYED", "EQUIVOCATION", "SEQ_TOO_LOW", "ok"]


async def test_a_damaged_checkpoint_is_only_a_slower_start(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        await world.send(message(DEVICE, 5))
        world.close()
        world.open()
        world.journal.save_checkpoint(marks.CHECKPOINT, 2, b"\xc1 damaged")
        world.group.close()
        world.journal.close()
        world.open()
        assert await world.send(message(DEVICE, 5)) == ["REPLAYED"]


async def test_a_failed_commit_burns_no_sequence_number(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        await world.send(message(DEVICE, 1))
        report = message(DEVICE, 2)
        world.group._recover_at = float("inf")
        world.journal._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(Rejected, match="UNAVAILABLE"):
            await world.send(report)
        assert not world.intake.ready
        with pytest.raises(Rejected, match="UNAVAILABLE"):
            await world.send(report)
        world.group._recover_at = 0.0
        async with asyncio.timeout(10):
            while not world.intake.ready:
                await asyncio.sleep(0.05)
        assert await world.send(report, message(DEVICE, 3)) == ["ok", "ok"]
        assert [cose_seq(body) for body in bodies(world, [EntryKind.REPORT])] == [1, 2, 3]
        assert world.counts()["UNAVAILABLE", ""] == 2


async def test_what_a_failed_commit_left_behind_is_known_after_recovery(tmp_path: Path) -> None:
    """The write reached the disk, its acknowledgement did not: then the report is a repeat, and its position is told."""
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        report = message(DEVICE, 1)
        world.journal.append([NewEntry(EntryKind.REPORT, NAME, report)])  # behind the pipeline's back
        world.journal._failure = "SQLITE_IOERR_FSYNC: made up by the test"
        async with asyncio.timeout(10):
            while not world.intake.ready:
                await asyncio.sleep(0.05)
        (outcome,) = await world.intake.submit(report, address="a")
        assert outcome.reason is not None and outcome.reason.code == "REPLAYED" and outcome.position == 2


def cose_seq(body: bytes) -> int:
    return int(cbor2.loads(cose.parse(body).payload)[4])


async def test_a_device_has_a_budget_and_others_cannot_spend_it(tmp_path: Path) -> None:
    with World(tmp_path, options={"device_reports_per_minute": 5}) as world:
        await world.enrol(DEVICE, key(2))
        forged = [forge(message(DEVICE, seq)) for seq in range(1, 40)]
        assert set(await world.send(*forged[:9])) == {"BAD_SIGNATURE"}
        fates = await world.send(*[message(DEVICE, seq) for seq in range(1, 13)])
        assert fates == ["ok"] * 10 + ["RATE_LIMITED"] * 2
        assert await world.send(message(key(2), 1)) == ["ok"]
        world.clock.set(NOW_MS + 60_000)
        later = [message(DEVICE, seq) for seq in range(11, 18)]
        assert (await world.send(*later)).count("ok") == 5


async def test_an_address_that_sends_rubbish_runs_dry(tmp_path: Path) -> None:
    with World(tmp_path, options={"address_refusals_per_minute": 10}) as world:
        await world.enrol(DEVICE)
        await world.send(*[message(key(50), seq) for seq in range(25)], address="bad")
        with pytest.raises(Rejected, match="RATE_LIMITED"):
            await world.send(message(DEVICE, 1), address="bad")
        assert await world.send(message(DEVICE, 1), address="good") == ["ok"]
        world.clock.set(NOW_MS + 120_000)
        assert await world.send(message(DEVICE, 2), address="bad") == ["ok"]


async def test_honest_traffic_never_uses_up_an_address(tmp_path: Path) -> None:
    with World(tmp_path, options={"address_refusals_per_minute": 1}) as world:
        await world.enrol(DEVICE)
        for start in range(1, 200, 20):
            assert await world.send(*[message(DEVICE, seq) for seq in range(start, start + 20)]) == ["ok"] * 20


async def test_bodies_are_bounded(tmp_path: Path) -> None:
    small = msgspec.structs.replace(
        POLICY, intake=msgspec.structs.replace(POLICY.intake, max_body_bytes=1_000, max_report_bytes=300)
    )
    with World(tmp_path, policy=small) as world:
        await world.enrol(DEVICE)
        assert await world.send(message(DEVICE, 1, readings=200)) == ["TOO_LARGE"]
        with pytest.raises(Rejected, match="TOO_LARGE"):
            await world.send(b"\0" * 1_001)


async def test_millions_of_tiny_items_cost_a_handful_of_refusals(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        assert len(await world.send(b"\x01" * 1_000_000)) < 20


async def test_enrolments_rotations_and_revocations_rule_the_door(tmp_path: Path) -> None:
    old, new = key(1), key(2)
    with World(tmp_path) as world:
        await world.enrol(old)
        await world.send(message(old, 1))
        body = entries.rotate(NAME, old, new, WALLET, POLICY, nonce=2)
        device, receipt = await world.intake.submit_registry(body, address="operator")
        assert device.device == NAME and verify_receipt(receipt, body, NETWORK_KEY.public)
        assert await world.send(message(old, 2), message(new, 1), message(new, 2)) == [
            "DEVICE_REVOKED",
            "SEQ_TOO_LOW",
            "ok",
        ]
        await world.intake.submit_registry(entries.revoke(NAME, WALLET, POLICY, nonce=3), address="operator")
        assert await world.send(message(new, 3)) == ["DEVICE_REVOKED"]
        world.reopen()
        assert await world.send(message(new, 3)) == ["DEVICE_REVOKED"]
        with pytest.raises(Rejected, match="ENTRY_REPLAYED"):
            await world.intake.submit_registry(body, address="operator")


async def test_the_journal_replays_to_the_same_registry(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        results = await asyncio.gather(
            *[world.enrol(key(number)) for number in range(1, 30)],
            *[world.enrol(key(number)) for number in range(1, 30)],
            return_exceptions=True,
        )
        refused = [result for result in results if isinstance(result, Rejected)]
        assert {error.reason.code for error in refused} == {"ALREADY_ENROLLED"} and len(refused) == 29
        replayed = Registry()
        for entry in world.journal.read(kinds=[EntryKind.REGISTRY]):
            replayed.apply(entry.body, entry.received_ms, POLICY)
        assert replayed.devices() == world.intake.registry.devices()


async def test_a_failed_enrolment_is_taken_back(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        await world.enrol(key(1))
        world.group._recover_at = float("inf")
        world.journal._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(Rejected, match="UNAVAILABLE"):
            await world.enrol(key(2))
        assert [device.public for device in world.intake.registry.devices()] == [key(1).public]
        world.group._recover_at = 0.0
        async with asyncio.timeout(10):
            while not world.intake.ready:
                await asyncio.sleep(0.05)
        await world.enrol(key(2))
        assert len(world.intake.registry) == 2


async def test_a_moved_device_keeps_reporting(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        await world.send(message(DEVICE, 1))
        world.clock.set(NOW_MS + 2 * 86_400_000)
        await world.intake.submit_registry(
            entries.move(NAME, DEVICE, WALLET, POLICY, place=PLACE, nonce=2), address="operator"
        )
        assert await world.send(message(DEVICE, 2, start_ms=world.clock.now_ms())) == ["ok"]


async def test_the_threads_of_a_pool_decide_alike(tmp_path: Path) -> None:
    with World(tmp_path, options={"workers": 3}) as world:
        devices = [key(number) for number in range(1, 6)]
        await world.enrol(*devices)
        sent = [message(device, seq) for seq in range(1, 80) for device in devices]
        sent[17] = forge(sent[17])
        fates = await world.send(*sent)
        assert fates.count("ok") == len(sent) - 1 and fates[17] == "BAD_SIGNATURE"


async def test_metrics_tell_the_story(tmp_path: Path) -> None:
    from prometheus_client import generate_latest

    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        await world.send(message(DEVICE, 1), message(DEVICE, 1), b"\xff")
        page = generate_latest(world.intake.metrics.registry).decode()
    for line in (
        "fieldstone_intake_accepted_total 1.0",
        'fieldstone_intake_refused_total{reason="REPLAYED"} 1.0',
        'fieldstone_intake_refused_total{reason="BAD_CBOR"} 1.0',
        "fieldstone_journal_commit_entries_count 2.0",
        "fieldstone_journal_head 2.0",
        "fieldstone_intake_queue 0.0",
    ):
        assert line in page
