"""Epochs as they are judged: what is paid, what is carried over the boundary, who is told what."""

from __future__ import annotations

import dataclasses

import msgspec
import polars as pl
import pytest

from fieldstone.services.contract import EpochInput
from fieldstone.services.storage import records, service
from fieldstone.services.storage.lab_providers import (
    Drops,
    Honest,
    InflatesEgress,
    RefusesReads,
    Replays,
    RootsOnly,
    Vanishes,
)
from fieldstone.services.storage.lab_world import START_MS, Provider, World
from fieldstone.services.storage.schema import EGRESS, STORAGE
from tests.services.storage.worlds import fleet, named, played, usage_of

SHARE_UNITS_PER_HOUR = 16 * 3_600  # a share of 16 KiB


def test_proven_time_is_paid_to_the_last_judged_round() -> None:
    """Six hours, rounds each half hour from 0:30 to 5:30, all judged: 5.5 hours of 20 shares, the rest next epoch."""
    world = fleet(1, honest=3)
    _, first, rows = played(world, 6.0)
    assert rows["honest0"]["quantity"] == 20 * SHARE_UNITS_PER_HOUR * 11 // 2 == usage_of(world, first, "honest0")
    assert rows["honest0"]["verdict"] == "accepted" and rows["honest0"]["quality_ppm"] == 1_000_000
    _, second = world.run(6.0)
    assert usage_of(world, second, "honest0") == 20 * SHARE_UNITS_PER_HOUR * 6


def test_cutting_the_epochs_elsewhere_pays_the_same() -> None:
    """Open rounds, answers on their way over the boundary, test reads: twelve hours pay what they pay, however cut."""

    def paid(hours: list[float]) -> dict[str, int]:
        world = fleet(6, honest=3, drops=Drops(share_dropped=0.2), gone=Vanishes(from_ms=START_MS + 4 * 3_600_000))
        total: dict[str, int] = {}
        for length in hours:
            _, result = world.run(length)
            for one in world.providers:
                total[one.name] = total.get(one.name, 0) + usage_of(world, result, one.name)
        return total

    whole = paid([12.0])
    for cut in ([6.0, 6.0], [0.51, 11.49], [3.6, 0.3, 8.1]):
        parts = paid(cut)
        for name, units in whole.items():
            # quality is taken per epoch, lost shares are found per epoch, and each share's floor is per epoch
            tolerance = 0 if name.startswith("honest") else units // 4
            assert abs(parts[name] - units) <= tolerance + 20 * len(cut), (cut, name)


def test_a_silent_provider_is_not_paid_and_told_so() -> None:
    world = fleet(2, honest=3, gone=Vanishes(from_ms=START_MS))
    _, result, rows = played(world)
    gone = rows["gone"]
    assert (gone["verdict"], gone["quantity"], usage_of(world, result, "gone")) == ("rejected", 0, 0)
    assert gone["reasons"][:2] == ["SILENT", "MISSED_ROUND"]
    assert gone["detail"]["rounds"] == {"silent": 11}
    assert len(gone["detail"]["unpaid_rounds"]) == 11


def test_wrong_leaves_are_named_with_their_shares() -> None:
    world = fleet(3, honest=3, roots=RootsOnly())
    _, result, rows = played(world)
    roots, shares = rows["roots"], {share.hex() for share in world.providers[-1].shares}
    assert usage_of(world, result, "roots") == 0 and roots["verdict"] == "rejected"
    assert {"WRONG_LEAF", "SUSPENDED", "DATA_LOSS"} <= set(roots["reasons"])
    failures = roots["detail"]["failures"]
    assert roots["detail"]["failures_count"] >= len(failures) > 0
    assert all(one["what"] == "wrong" and one["share"] in shares for one in failures)
    assert roots["detail"]["standing"]["disqualified_ms"] > world.now_ms


def test_a_replayed_proof_of_another_leaf_does_not_verify() -> None:
    world = fleet(4, honest=2, replays=Replays())
    world.run(13.0)
    _, result, rows = played(world, 12.0)
    assert "WRONG_LEAF" in rows["replays"]["reasons"]
    assert usage_of(world, result, "replays") == 0


def answers(whole: EpochInput, device: str) -> pl.DataFrame:
    return whole.evidence["proof"].filter(pl.col("device") == device)


def rejudged(world: World, whole: EpochInput, proofs: pl.DataFrame) -> dict:
    """Judge an epoch again with other proof reports."""
    other = dataclasses.replace(whole, evidence={**whole.evidence, "proof": proofs.sort("position")})
    return named(world, service.check_fleet(other, world.stage_1(other)))


@pytest.fixture(scope="module")
def quiet() -> tuple[World, EpochInput]:
    world = fleet(8, honest=3, shares=30)
    return world, world.run(4.0)[0]


def test_another_devices_proof_proves_nothing(quiet: tuple[World, EpochInput]) -> None:
    world, whole = quiet
    first, second = world.providers[0].device, world.providers[1].device
    others = whole.evidence["proof"].filter(pl.col("device") != first)
    borrowed = answers(whole, second).with_columns(device=pl.lit(first), position=pl.col("position") + 10**6)
    row = rejudged(world, whole, pl.concat([others, borrowed]))["honest0"]
    assert row["quantity"] == 0 and "MISSING_LEAF" in row["reasons"]


def test_an_old_rounds_proof_is_no_answer_to_a_new_one(quiet: tuple[World, EpochInput]) -> None:
    world, whole = quiet
    first = world.providers[0].device
    mine = answers(whole, first)
    old = records.decode(mine["body"][0], records.ProofSet)
    bodies = [
        records.encode(records.ProofSet(number=records.decode(body, records.ProofSet).number, proofs=old.proofs))
        for body in mine["body"]
    ]
    rest = whole.evidence["proof"].filter(pl.col("device") != first)
    row = rejudged(world, whole, pl.concat([rest, mine.with_columns(body=pl.Series(bodies))]))["honest0"]
    assert row["detail"]["audit"]["right"] < 20 and row["detail"]["audit"]["missing"] > 40


def test_the_first_answer_counts_and_reports_may_be_split(quiet: tuple[World, EpochInput]) -> None:
    world, whole = quiet
    first = world.providers[0].device
    mine, rest = answers(whole, first), whole.evidence["proof"].filter(pl.col("device") != first)
    halves, spoiled = [], []
    for device, t_ms, received_ms, position, body in mine.iter_rows():
        one = records.decode(body, records.ProofSet)
        for shift, proofs in ((0, one.proofs[:3]), (10**6, one.proofs[3:])):
            part = records.encode(records.ProofSet(number=one.number, proofs=proofs))
            halves.append((device, t_ms, received_ms, position + shift, part))
        bad = tuple(msgspec.structs.replace(p, chunk=b"\0" * len(p.chunk)) for p in one.proofs)
        late_lie = records.encode(records.ProofSet(number=one.number, proofs=bad))
        spoiled += [
            (device, t_ms, received_ms, position, body),
            (device, t_ms, received_ms, position + 10**6, late_lie),
        ]
    before = rejudged(world, whole, whole.evidence["proof"])["honest0"]
    for changed in (halves, spoiled):
        table = pl.DataFrame(changed, schema=mine.schema, orient="row")
        assert rejudged(world, whole, pl.concat([rest, table]))["honest0"] == before
    turned = [(*row[:3], row[3] + (2 * 10**6 if place % 2 == 0 else 0), row[4]) for place, row in enumerate(spoiled)]
    table = pl.DataFrame(turned, schema=mine.schema, orient="row")
    assert rejudged(world, whole, pl.concat([rest, table]))["honest0"]["quantity"] == 0


def test_answers_to_rounds_that_never_were_are_bad_reports(quiet: tuple[World, EpochInput]) -> None:
    world, whole = quiet
    mine = answers(whole, world.providers[0].device)[:1]
    body = records.encode(records.ProofSet(number=999, proofs=()))
    extra = mine.with_columns(body=pl.lit(body), position=pl.lit(10**7, pl.Int64))
    row = rejudged(world, whole, pl.concat([whole.evidence["proof"], extra]))["honest0"]
    assert row["reasons"] == ["BAD_REPORT"] and row["verdict"] == "accepted"


def test_one_share_of_a_segment_per_operator_and_identical_bytes_once_earn_bootstrap() -> None:
    """Their customers pay for all of them: which segment a share is of, and what was leased before, is their word."""
    world = World(9)
    for name in ("a", "b"):
        world.add(name, Honest(), operator=world.operator("same"))
    world.add("c", Honest())
    a, b, c = world.providers
    content = b"x" * 32
    world.lease(a, [world.share(b"s" * 16, 0, content)])
    world.lease(b, [world.share(b"s" * 16, 1)])
    world.lease(c, [world.share(b"t" * 16, 0, content), world.share(b"u" * 16, 0)])
    _, result, rows = played(world)
    assert rows["a"]["verdict"] == "accepted"
    assert rows["b"]["reasons"] == ["DUPLICATE_SEGMENT"] and rows["b"]["quantity"] == 0
    assert "COPIED_SHARE" in rows["c"]["reasons"] and rows["c"]["quantity"] == rows["a"]["quantity"] > 0
    assert [usage_of(world, result, name) for name in "abc"] == [rows["a"]["quantity"] * n for n in (1, 1, 2)]
    world.release(a, list(a.shares))
    _, result, rows = played(world)
    assert rows["b"]["verdict"] == "accepted"  # the first claim is given up: the second counts


def test_own_gateways_shares_are_settled_but_earn_no_bootstrap() -> None:
    world = World(10)
    world.gateway_operator = world.operator("self")
    world.add("self", Honest(), operator=world.operator("self"))
    world.add("other", Honest())
    world.store(5)
    _, result, rows = played(world)
    assert (rows["self"]["quantity"], rows["self"]["reasons"]) == (0, ["OWN_GATEWAY"])
    assert usage_of(world, result, "self") == usage_of(world, result, "other") == rows["other"]["quantity"]


def test_refused_reads_cost_a_fifth_and_then_the_bootstrap() -> None:
    world = fleet(11, honest=5, refuses=RefusesReads())
    _, result, rows = played(world, 12.0)
    assert rows["refuses"]["quality_ppm"] == 800_000 and "RETRIEVAL_FAILING" in rows["refuses"]["reasons"]
    assert usage_of(world, result, "refuses") == usage_of(world, result, "honest0") * 8 // 10
    world.run(48.0)
    _, _, rows = played(world, 12.0)
    assert rows["refuses"]["quality_ppm"] == 0 and "LOW_RETRIEVAL_SCORE" in rows["refuses"]["reasons"]


def test_egress_is_paid_once_from_the_newest_voucher() -> None:
    world = fleet(12, honest=2, inflates=InflatesEgress())
    _, first, rows = played(world)
    true = world.egress_bytes[world.providers[-1].device]
    assert usage_of(world, first, "inflates", EGRESS) == true
    assert "BAD_VOUCHER" in rows["inflates"]["reasons"]
    _, second, _ = played(world)
    assert usage_of(world, second, "inflates", EGRESS) == world.egress_bytes[world.providers[-1].device] - true


def test_the_disqualified_earn_nothing_and_are_asked_nothing() -> None:
    world = World(13, overrides={"appeal_s": 3_600})
    for name, behaviour in (("roots", RootsOnly()), ("honest", Honest())):
        world.add(name, behaviour)
    world.store(10)
    world.run(6.0)
    whole, result, rows = played(world, 6.0)
    assert rows["roots"]["reasons"][0] == "DISQUALIFIED" and rows["roots"]["quantity"] == 0
    assert result.usage.filter(pl.col("device") == world.providers[0].device).is_empty()
    whole, result, rows = played(world, 6.0)
    asked = {device for one in whole.rounds for device in service.challenges(whole, one)["device"]}
    assert world.providers[0].device not in asked


def test_gateways_idle_providers_and_strangers_have_verdicts() -> None:
    world = fleet(14, honest=2)
    world.add("idle", Honest())
    world.report("lease", world.key("stranger").public.device_id, b"junk")
    _, result, rows = played(world, 2.0)
    assert rows["idle"]["reasons"] == ["NO_HOLDINGS"]
    assert len(rows) == 4
    reasons = dict(result.verdicts.select("device", "reasons").iter_rows())
    assert reasons[world.gateway.public.device_id] == ["GATEWAY"]
    assert reasons[world.key("stranger").public.device_id] == ["NOT_ENROLLED"]


def test_who_was_released_has_no_holdings_from_the_next_epoch_on() -> None:
    world = fleet(18, honest=2, shares=3)
    world.run(2.0)
    world.release(world.providers[0], list(world.providers[0].shares))
    played(world, 2.0)
    _, _, rows = played(world, 2.0)
    assert rows["honest0"]["reasons"] == ["NO_HOLDINGS"]
    assert rows["honest1"]["detail"]["shares"] == 3


def test_a_forged_lease_is_the_gateways_fault_only() -> None:
    world = fleet(15, honest=2)
    victim = world.providers[0]
    world.lease(victim, [world.share(b"f" * 16, 0)], signer=world.key("forger"))
    _, _, rows = played(world, 2.0)
    assert "BAD_LEASE" in rows["gateway"]["reasons"] and "BAD_LEASE" not in rows["honest0"]["reasons"]
    assert rows["honest0"]["detail"]["refused_leases"][0]["cause"] == "the provider did not sign the receipt"
    assert rows["honest0"]["verdict"] == "accepted"


def test_a_share_that_failed_is_unpaid_until_it_is_proven_again() -> None:
    world = fleet(16, honest=2, shares=2, drops=Drops(share_dropped=1.0))
    _, result, _ = played(world)
    assert usage_of(world, result, "drops") == 0
    world.providers[-1].behaviour = Honest()  # the disk is back
    _, result, _ = played(world)
    assert usage_of(world, result, "drops") > 0


def test_storage_usage_names_product_and_payer() -> None:
    world = fleet(17, honest=2)
    _, result, _ = played(world, 2.0)
    assert set(result.usage["product"]) == {STORAGE, EGRESS}
    assert set(result.usage["payer"]) == {world.gateway.public.device_id}


@pytest.mark.parametrize(
    ("round_s", "answer_s", "delay_ms", "hours"),
    [(600, 2_000, 1_500_000, 0.4), (20, 15, 4_000, 0.02), (60, 60, 59_000, 0.05)],
)
def test_several_open_rounds_and_epochs_of_a_minute_settle_everything(
    round_s: int, answer_s: int, delay_ms: int, hours: float
) -> None:
    """Answers that come epochs later, windows longer than rounds, demos' minute epochs: honest work is paid to the second."""
    times = {"round_s": round_s, "answer_within_s": answer_s, "check_within_s": answer_s}
    world = World(19, overrides=times)
    for number in range(3):
        world.add(f"honest{number}", Honest(delay_ms=delay_ms))
    world.store(8)
    paid, reasons = 0, set()
    for _ in range(12):
        _, result, rows = played(world, hours)
        paid += usage_of(world, result, "honest0")
        reasons |= set(rows["honest0"]["reasons"])
    judged_until_ms = max(
        number * round_s * 1_000
        for number in range(world.number + 1)
        if number * round_s + answer_s <= 12 * hours * 3_600
    )
    expected = 8 * 16 * judged_until_ms // 1_000
    assert expected - 12 * 8 <= paid <= expected
    assert reasons <= {"NOT_ASKED", "CHECK_NOT_DONE"}


def without(world: World, name: str) -> Provider:
    """Revoke a provider: it is in no registry from the next epoch on, until it is put back."""
    (one,) = (one for one in world.providers if one.name == name)
    world.providers.remove(one)
    return one


def test_a_device_that_was_revoked_and_recovered_is_not_paid_again_for_what_it_had_redeemed() -> None:
    """A voucher is the sum of all that was ever read: who forgets what was counted pays the whole sum once more."""
    world = fleet(20, honest=3)
    world.run(6.0)
    gone = without(world, "honest0")
    world.run(6.0)
    world.providers.append(gone)
    before = world.egress_bytes[gone.device]
    _, result, _ = played(world)
    assert usage_of(world, result, "honest0", EGRESS) == world.egress_bytes[gone.device] - before > 0


def test_no_absence_ends_a_disqualification() -> None:
    world = World(13, overrides={"appeal_s": 3_600})
    for name, behaviour in (("roots", RootsOnly()), ("honest", Honest())):
        world.add(name, behaviour)
    world.store(10)
    world.run(12.0)
    gone = without(world, "roots")
    world.run(2.0)
    world.providers.append(gone)
    _, _, rows = played(world, 2.0)
    assert rows["roots"]["reasons"][0] == "DISQUALIFIED"


def test_vouchers_of_keys_that_nobody_enrolled_are_not_carried() -> None:
    world = fleet(21, honest=1)
    one = world.providers[0].device
    vouchers = []
    for number in range(20):
        key = world.key(f"stranger{number}")
        order = records.AccessOrder(
            operation="get",
            gateway=key.public.device_id,
            provider=one,
            share=bytes(16),
            expires_ms=1,
            egress_bytes=10**9,
        )
        vouchers.append(records.sign(key, order, records.ACCESS))
    world.report("egress", one, records.encode(records.EgressClaim(vouchers=tuple(vouchers))))
    _, result, _ = played(world, 2.0)
    assert result.carry["egress"]["gateway"].to_list() == [world.gateway.public.device_id]
    world.run(2.0)
    assert world.carry["egress"]["redeemed_bytes"].to_list() == [world.egress_bytes[one]]


class HalfLost(Honest):
    """Every other KiB of every share is gone."""

    def has(self, world: World, me: Provider, share: bytes, kib: int) -> bool:
        return kib % 2 == 0 and super().has(world, me, share, kib)


def test_a_share_is_not_proven_by_a_round_in_which_another_chunk_of_it_was_missing() -> None:
    """Where few shares are held every round asks each several times: half a share was never named for repair."""
    world = fleet(22, honest=1, shares=1, half=HalfLost())
    _, result, _ = played(world, 4.0)
    named_half = pl.col("device") == world.providers[-1].device
    (row,) = result.carry["holdings"].filter(named_half).iter_rows(named=True)
    assert row["failed_ms"] > row["proven_ms"]
    assert 0 < usage_of(world, result, "half") < 0.6 * usage_of(world, result, "honest0")
