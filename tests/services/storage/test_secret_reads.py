"""Reads that cannot be told from paid ones: bound before the draw, unpredictable until reported, worked out again after."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import polars as pl
import pytest

from fieldstone.services.contract import EpochInput
from fieldstone.services.storage import records, service
from fieldstone.services.storage.challenge import decode_body
from fieldstone.services.storage.lab_providers import (
    CorruptReads,
    Honest,
    RefusesReads,
    ServesCheckers,
    ServesPublicDraw,
)
from fieldstone.services.storage.lab_world import World
from fieldstone.services.storage.secret_draw import (
    Links,
    is_drawn,
    leaves_drawn,
    link_before,
    pair_is_drawn,
    reads_drawn,
)
from fieldstone.services.storage.secret_reads import SECRET_READ_SCHEMA, Judgement, Paid, ReadRound, _Chain, judge
from fieldstone.units import DAY_MS
from tests.services.storage.worlds import named, played, usage_of

SEED, SECRET = b"r" * 32, b"s" * 32
NOW_MS = 1_767_225_600_000


def served(
    seed: int, *, honest: int = 5, customers: int = 4, liars: int = 0, withholds: int = 0, **others: Honest
) -> World:
    """Return a world whose providers hold shares of several customers, all of whom read in secret."""
    world = World(seed, overrides={"secret_every_rounds": 2, "read_start": 10})
    for number in range(honest):
        world.add(f"honest{number}", Honest())
    for name, behaviour in others.items():
        world.add(name, behaviour, label=name)
    for number in range(customers):
        one = world.add_customer(f"customer{number}", lies=number < liars, withholds=number < withholds)
        world.store(6, gateway=one.key)
    return world


def test_a_chain_gives_each_round_its_link() -> None:
    links = Links(b"x" * 32, 100, 5)
    assert [links.secret(number) is None for number in range(98, 107)] == [True, True, *[False] * 5, True, True]
    first = links.secret(100)
    assert first is not None and link_before(first) == links.tip
    assert link_before(links.secret(104) or b"") == links.secret(103)


def test_the_draw_is_even_and_depends_on_secret_and_seed() -> None:
    devices = [f"d{number}" for number in range(4_000)]
    drawn = {name for name in devices if pair_is_drawn(SECRET, SEED, name, 8)}
    assert 400 < len(drawn) < 600
    for other in ((b"t" * 32, SEED), (SECRET, b"q" * 32)):
        again = {name for name in devices if pair_is_drawn(*other, name, 8)}
        assert len(drawn & again) < 120  # an eighth of it, by chance
    shares = [os.urandom(16) for _ in range(6_000)]
    counts = [sum(is_drawn(SECRET, SEED, name, share, 60) for share in shares[:60]) for name in devices[:600]]
    assert 0.7 < np.mean(counts) < 1.2  # 60 shares: one in 64
    pairs = [leaves_drawn(SECRET, SEED, "d", share, 7) for share in shares]
    assert all(len(set(pair)) == 2 for pair in pairs) and {leaf for pair in pairs for leaf in pair} == set(range(7))
    assert {tuple(leaves_drawn(SECRET, SEED, "d", share, 1)) for share in shares} == {(0,)}


def test_each_age_and_each_size_is_read_as_often_as_any_other() -> None:
    """The 20 newest of 2,000 shares, and the 30 large ones, are a hundredth; tests find them all the same."""
    ages = np.array([0.5] * 20 + [2] * 80 + [90] * 1_900) * DAY_MS
    sizes = np.array([65_536] * 1_970 + [3_200_000] * 30)
    shares = [os.urandom(16) for _ in ages]
    read: list[int] = []
    for number in range(1_500):
        seed = number.to_bytes(32, "big")
        drawn = reads_drawn(SECRET, seed, "d", NOW_MS, shares, sizes, np.full(2_000, 16_384), NOW_MS - ages)
        read += {place for place, _ in drawn}
        assert all(leaf * 16_384 < sizes[place] for place, leaf in drawn)
    count = len(read)
    assert 0.08 < sum(place < 20 for place in read) / count < 0.18  # a third of one half
    assert 0.18 < sum(place >= 1_970 for place in read) / count < 0.38  # a half of the other
    assert 0.5 < count / 1_500 < 1.1
    assert reads_drawn(SECRET, SEED, "d", NOW_MS, [], [], [], []) == []


def test_one_share_more_or_less_draws_the_same() -> None:
    """A gateway may know of a lease an instant before the network does."""
    shares = [os.urandom(16) for _ in range(200)]
    drawn = [share for share in shares if is_drawn(SECRET, SEED, "d", share, 200)]
    assert drawn == [share for share in shares if is_drawn(SECRET, SEED, "d", share, 201)]


@pytest.fixture(scope="module")
def world() -> tuple[World, EpochInput, dict]:
    made = served(41, checkers=ServesCheckers(), public=ServesPublicDraw(), noise=CorruptReads())
    whole, _, rows = played(made, 12.0)
    return made, whole, rows


def test_who_serves_only_what_looks_like_a_test_is_found(world: tuple[World, EpochInput, dict]) -> None:
    _, _, rows = world
    for name in ("checkers", "public"):
        assert rows[name]["detail"]["test_reads"]["bad"] == 0 < rows[name]["detail"]["test_reads"]["good"]
        assert rows[name]["detail"]["secret_reads"]["share_good_ppm"] == 0
        assert {"SERVES_TESTS_ONLY", "RETRIEVAL_FAILING"} <= set(rows[name]["reasons"])
        assert rows[name]["quality_ppm"] in (0, 800_000)  # a fifth, and nothing once suspended
    assert "SERVES_TESTS_ONLY" not in rows["noise"]["reasons"]


def test_honest_providers_lose_nothing_and_gateways_are_not_blamed(world: tuple[World, EpochInput, dict]) -> None:
    made, _, rows = world
    for number in range(5):
        row = rows[f"honest{number}"]
        assert row["verdict"] == "accepted" and row["detail"]["secret_reads"]["bad"] == 0
        assert row["detail"]["secret_reads"]["operators"] == 4
    verdicts = {row["device"]: row for row in named_by_device(made).values()}
    for one in made.customers:
        assert verdicts[one.device]["reasons"] == ["GATEWAY"]


def named_by_device(made: World) -> dict[str, dict]:
    _, result = made.run(1.0)
    return {row["device"]: row for row in result.verdicts.iter_rows(named=True)}


def test_noise_is_found_by_the_proof_of_what_was_read(world: tuple[World, EpochInput, dict]) -> None:
    _, _, rows = world
    assert rows["noise"]["detail"]["secret_reads"]["good"] < rows["noise"]["detail"]["secret_reads"]["bad"]


def test_what_was_read_is_asked_in_the_next_round_as_it_is_judged(world: tuple[World, EpochInput, dict]) -> None:
    played, whole, _ = world
    asked = [decode_body(body).prove for one in whole.rounds[3:] for body in service.challenges(whole, one)["body"]]
    lines = [
        (check.share, check.leaf_index)
        for body in whole.evidence["check"]["body"]
        if (said := records.decode(body, records.CheckSet)).secret
        for check in said.checks
        if check.outcome == "ok"
    ]
    proven = {(share, start // played.leaf_bytes) for questions in asked for share, start in questions}
    hit = sum(line in proven for line in lines) / len(lines)
    assert hit > 0.8  # up to four a round, and few are read


def changed(world: tuple[World, EpochInput, dict], change) -> dict:
    """Judge the epoch again with other check reports of the first customer."""
    made, whole, _ = world
    first = made.customers[0].device
    rows = []
    for device, t_ms, received_ms, position, body in whole.evidence["check"].iter_rows():
        said = records.decode(body, records.CheckSet)
        if device == first and said.secret:
            new = change(said)
            if new is None:
                continue
            body = records.encode(new)
        rows.append((device, t_ms, received_ms, position, body))
    table = pl.DataFrame(rows, schema=whole.evidence["check"].schema, orient="row")
    other = dataclasses.replace(whole, evidence={**whole.evidence, "check": table})
    result = service.check_fleet(other, made.stage_1(other))
    return {"rows": named(made, result), "checker": checker_of(result, first), "result": result}


def checker_of(result, device: str) -> tuple[list[str], int]:
    (row,) = result.carry["reputation"].filter(pl.col("device") == device).iter_rows(named=True)
    (verdict,) = result.verdicts.filter(pl.col("device") == device).iter_rows(named=True)
    return verdict["reasons"], row["checker_alpha"] * 1_000_000 // (row["checker_alpha"] + row["checker_beta"])


def test_results_kept_back_are_void_and_cost_the_checker(world: tuple[World, EpochInput, dict]) -> None:
    before = changed(world, lambda said: said)
    kept = changed(
        world, lambda said: dataclasses_replace(said, checks=tuple(c for c in said.checks if c.outcome == "ok"))
    )
    assert "CHECK_NOT_DONE" in kept["checker"][0] and kept["checker"][1] < before["checker"][1]
    gone = changed(world, lambda said: None)
    assert "CHECK_NOT_DONE" in gone["checker"][0] and gone["checker"][1] < before["checker"][1]
    assert kept["rows"]["public"]["detail"]["secret_reads"]["share_good_ppm"] == 0


def dataclasses_replace(said: records.CheckSet, **more) -> records.CheckSet:
    return records.CheckSet(**{name: getattr(said, name) for name in said.__struct_fields__} | more)


def test_a_gateway_cannot_choose_whom_it_reads(world: tuple[World, EpochInput, dict]) -> None:
    made, _, _ = world
    victim = made.providers[0]
    share = next(iter(made.leased[made.customers[0].device, victim.device]))
    lie = records.RetrievalCheck(
        provider=victim.device,
        share=share,
        leaf_index=0,
        outcome="refused",
        first_byte_ms=1,
        total_ms=1,
        size_bytes=0,
        answer=bytes(32),
    )
    found = changed(world, lambda said: dataclasses_replace(said, checks=(*said.checks, lie)))
    assert "UNASKED_CHECK" in found["checker"][0]
    assert found["rows"]["honest0"]["detail"]["secret_reads"]["bad"] <= 1  # where it happened to be drawn


@pytest.mark.parametrize("wrong", [b"w" * 32, b"x", b"x" * 31])
def test_a_secret_that_is_not_in_the_chain_reveals_nothing(world: tuple[World, EpochInput, dict], wrong: bytes) -> None:
    found = changed(world, lambda said: dataclasses_replace(said, secret=wrong))
    assert found["rows"]["honest0"]["detail"]["secret_reads"]["operators"] == 3
    assert "CHECK_NOT_DONE" in found["checker"][0]


def test_a_link_of_another_round_is_refused(world: tuple[World, EpochInput, dict]) -> None:
    made, _, _ = world
    other = made.customers[0].links.secret(900)
    assert other is not None
    found = changed(world, lambda said: dataclasses_replace(said, secret=other))
    assert found["rows"]["honest0"]["detail"]["secret_reads"]["operators"] == 3


def test_a_chain_committed_after_the_seed_was_known_does_not_count() -> None:
    made = served(42, honest=3)
    late = Links(b"l" * 32, 1, 100)
    whole, _ = made.run(3.0)
    one = made.customers[0]
    body = records.encode(records.ReaderChain(tip=late.tip, first=1, length=100))
    position = whole.rounds[2].position + 1  # after the third round was asked
    row = (one.device, 0, 0, position, body)
    chains = pl.concat(
        [whole.evidence["chain"], pl.DataFrame([row], schema=whole.evidence["chain"].schema, orient="row")]
    )
    checks = []
    for device, t_ms, received_ms, at, report in whole.evidence["check"].iter_rows():
        said = records.decode(report, records.CheckSet)
        if device == one.device and said.secret:
            report = records.encode(dataclasses_replace(said, secret=late.secret(said.number) or b""))
        checks.append((device, t_ms, received_ms, at, report))
    evidence = {
        **whole.evidence,
        "chain": chains,
        "check": pl.DataFrame(checks, schema=whole.evidence["check"].schema, orient="row"),
    }
    result = service.check_fleet(other := dataclasses.replace(whole, evidence=evidence), made.stage_1(other))
    # the first three rounds fall back on the old chain, for which the new secrets are wrong
    assert "CHECK_NOT_DONE" in checker_of(result, one.device)[0]


def test_one_lying_gateway_of_four_changes_nothing_and_loses_its_weight() -> None:
    made = served(43, liars=1)
    for _ in range(2):
        _, result, rows = played(made, 12.0)
    assert all(rows[f"honest{n}"]["verdict"] == "accepted" for n in range(5))
    reasons, weight = checker_of(result, made.customers[0].device)
    assert "DISSENTING_CHECKER" in reasons and weight < 700_000


def test_a_single_customer_decides_nothing() -> None:
    made = served(44, honest=3, customers=1, liars=1)
    _, _, rows = played(made, 12.0)
    assert rows["honest0"]["detail"]["secret_reads"]["share_good_ppm"] is None
    assert rows["honest0"]["verdict"] == "accepted"


def test_a_refuser_is_suspended_for_what_gateways_find_alone() -> None:
    made = served(45, refuses=RefusesReads())
    for _ in range(2):
        _, result, rows = played(made, 8.0)
    assert "LOW_RETRIEVAL_SCORE" in rows["refuses"]["reasons"]
    assert usage_of(made, result, "refuses") == usage_of(made, result, "honest0") * 8 // 10


def test_epochs_may_be_cut_anywhere() -> None:
    def counts(hours: list[float]) -> dict[str, tuple[int, int]]:
        made = served(46, honest=3, noise=CorruptReads())
        total: dict[str, list[int]] = {}
        for length in hours:
            for name, row in played(made, length)[2].items():
                said = row["detail"].get("secret_reads", {"good": 0, "bad": 0})
                both = total.setdefault(name, [0, 0])
                both[0] += said["good"]
                both[1] += said["bad"]
        return {name: (good, bad) for name, (good, bad) in total.items()}

    assert counts([8.0]) == counts([2.1, 0.4, 5.5])


def test_the_median_is_weighted_and_in_doubt_for_the_accused() -> None:
    def said(*rows: tuple[str, int, int, int], quorum: int = 2) -> int | None:
        one = Judgement()
        one.reads["d"] = {gateway: [good, bad] for gateway, good, bad, _ in rows}
        found = one.good_ppm("d", {row[0]: row[0] for row in rows}, {row[0]: row[3] for row in rows}, quorum)
        return None if found is None else found[0]

    assert said(("a", 0, 9, 1), ("b", 9, 0, 1)) == 1_000_000
    assert said(("a", 0, 9, 3), ("b", 9, 0, 1)) == 0
    assert said(("a", 0, 9, 1), ("b", 9, 0, 1), ("c", 1, 1, 1)) == 500_000
    assert said(("a", 0, 9, 1), ("b", 9, 0, 1), quorum=3) is None
    assert said(("a", 0, 9, 0), ("b", 9, 0, 1)) is None  # who has no weight left has no say


def test_those_who_pay_little_do_not_decide_when_those_who_pay_most_had_nothing_to_read() -> None:
    one = Judgement()
    one.reads["d"] = {name: [0, 3] for name in ("a", "b", "c")}
    wallets = {name: name for name in "abcd"}
    tiny = dict.fromkeys("abc", 10)
    found = one.good_ppm("d", wallets, tiny, 3)
    assert found is not None and found[0] == 0
    assert one.good_ppm("d", wallets, {**tiny, "d": 31}, 3) is None


def test_what_was_leased_but_not_proven_weighs_nothing() -> None:
    """A refuser's own wallets lease petabytes that nobody stored, and release them, to outvote its customers."""

    class ServesFriends(Honest):
        def read(self, world, me, share, leaf_index):
            known = world.reader in {one.device for one in friends}
            return super().read(world, me, share, leaf_index) if known else (me.latency_ms, None)

    made = served(47, honest=2, customers=3, refuses=ServesFriends())
    refuser = made.providers[-1]
    friends = [made.add_customer(f"friend{number}") for number in range(3)]
    for friend in friends:
        made.lease(refuser, huge := [made.share(os.urandom(16), 1)], gateway=friend.key)
        fakes = [made.share(os.urandom(16), number) for number in range(60)]
        known = dict(refuser.shares)
        made.lease(refuser, fakes, gateway=friend.key)
        body = records.Release(shares=tuple((refuser.device, share.id) for share in fakes))
        made.report("release", friend.device, records.encode(body))
        refuser.shares = known
        made.leased[friend.device, refuser.device] = dict.fromkeys([huge[0].id], made.now_ms)
    _, _, rows = played(made, 12.0)
    assert rows["refuses"]["detail"]["secret_reads"]["operators"] == 6
    assert "RETRIEVAL_FAILING" in rows["refuses"]["reasons"]
    assert rows["refuses"]["detail"]["secret_reads"]["share_good_ppm"] == 0


def test_no_order_of_reveals_makes_verification_walk_the_chain_again(monkeypatch: pytest.MonkeyPatch) -> None:
    links = Links(b"x" * 32, 1, 4_000)
    chain = _Chain(1, links.tip, 1, 4_000)
    walked = 0

    def counted(link: bytes) -> bytes:
        nonlocal walked
        walked += 1
        return link_before(link)

    monkeypatch.setattr("fieldstone.services.storage.secret_reads.link_before", counted)
    for _ in range(20):
        for number in (3_001, 3_000, 2_990):
            assert chain.takes(number, links.secret(number) or b"")
    assert not chain.takes(2_995, b"w" * 32)
    assert walked < 3_001 + 20 * 12 + 10


def judged(
    until_ms: int, *, at_ms: int | None, outcome: str = "refused"
) -> tuple[dict[str, dict[str, list[int]]], int]:
    """Judge a round with one share that was released at `until_ms`, and perhaps a line about it read at `at_ms`."""
    issued_ms, due_ms = 1_000_000, 2_500_000
    one = np.array([16_384]), np.array([16_384]), np.array([0]), np.array([0]), np.array([99]), np.array([until_ms])
    pair = Paid("g", "p", [b"x" * 16], *one)
    asked = ReadRound(7, 5, SEED, issued_ms, due_ms, frozenset())
    secret = b"t" * 32  # every provider is drawn, and of one share always that one
    line = [("g", 7, secret, "", b"", 0, "", 0, b"", 0, 6)]
    if at_ms is not None:
        line.append(("g", 7, secret, "p", b"x" * 16, 0, outcome, 5, bytes(32), at_ms, 6))
    lines = pl.DataFrame(line, schema=SECRET_READ_SCHEMA, orient="row")
    params = {"secret_every_rounds": 1, "slow_ms": 15_000}
    found = judge([asked], [pair], lines, {"g": [_Chain(1, SECRET, 1, 100)]}, {}, params)
    assert not found.unasked.get("g")
    return {device: dict(by_gateway) for device, by_gateway in found.reads.items()}, found.silent["g"]


def test_a_share_released_before_it_was_read_excuses_its_holder_and_one_released_after_does_not() -> None:
    refused = {"p": {"g": [0, 1]}}
    assert judged(2**62, at_ms=1_500_000) == (refused, 0)
    assert judged(1_500_000, at_ms=1_500_000) == ({}, 0)
    assert judged(1_400_000, at_ms=1_500_000) == ({}, 0)
    # who refuses has it made anew elsewhere and released: that comes after, and hides nothing
    assert judged(1_500_001, at_ms=1_500_000) == (refused, 0)
    # a moment outside the round is none: no gateway reads before it was asked, nor after it reported
    assert judged(2_400_000, at_ms=2**60) == ({}, 0)
    assert judged(1_000_001, at_ms=0) == (refused, 0)
    # kept back: void when the share was given up by then, the gateway's silence otherwise
    assert judged(2_400_000, at_ms=None) == ({}, 0)
    assert judged(2_600_000, at_ms=None) == ({}, 1)
