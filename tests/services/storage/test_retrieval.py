"""Committees: drawn by bytes, one seat an operator, never one's own; majorities, truth, and who has a say."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import polars as pl

from fieldstone.services.contract import Round
from fieldstone.services.storage import service
from fieldstone.services.storage.challenge import Posed, decode_body, leaf_to_read
from fieldstone.services.storage.lab_providers import CorruptReads, Drops, RefusesWithFriends, Slanders
from fieldstone.services.storage.retrieval import READ_SCHEMA, Committees, Task, decide
from fieldstone.services.storage.rules.v1 import default_params
from fieldstone.services.storage.shelf import Shelf
from tests.services.storage.worlds import fleet, played

PARAMS = default_params()
TASK = Task(1, "p", b"s" * 16, 3, ("a", "b", "c", "d", "e"))


def shelf(device: str, leaves: int) -> Shelf:
    leaf = np.array([1_024])
    return Shelf(
        device, [device.encode().ljust(16, b"-")], leaves * leaf, leaf, np.array([0]), np.array([2**62]), ["g"]
    )


def posed(number: int) -> Posed:
    return Posed(Round(number, number, 0, number.to_bytes(32, "big")), 10, 10, 4, frozenset(), frozenset())


def reads(*said: tuple[str, str, bytes], received_ms: int = 0, total_ms: int = 40) -> pl.DataFrame:
    rows = [
        (checker, 1, TASK.provider, TASK.share, TASK.leaf_index, outcome, total_ms, answer, received_ms, False)
        for checker, outcome, answer in said
    ]
    return pl.DataFrame(rows, schema=READ_SCHEMA, orient="row")


def ok(*checkers: str, answer: bytes = b"h" * 32) -> list[tuple[str, str, bytes]]:
    return [(checker, "ok", answer) for checker in checkers]


def refused(*checkers: str) -> list[tuple[str, str, bytes]]:
    return [(checker, "refused", bytes(32)) for checker in checkers]


def found(*said: tuple[str, str, bytes], weights=None, truths=None, **more):
    findings, unasked = decide([TASK], reads(*said, **more), {1: 1_000}, weights or {}, PARAMS, truths or {})
    return findings[0], unasked


def test_committees_are_of_other_operators_and_each_has_one_seat() -> None:
    operators = {f"d{i}": f"o{i // 2}" for i in range(12)}
    shelves = [shelf(name, 100) for name in sorted(operators)]
    committees = Committees(shelves, operators, PARAMS)
    tasks = [task for number in range(400) for task in committees.tasks(posed(number))]
    assert 0.2 * 4_800 < len(tasks) < 0.3 * 4_800  # about one in four
    for task in tasks:
        seats = [operators[checker] for checker in task.checkers]
        assert operators[task.provider] not in seats and len(set(seats)) == len(seats) == 5


def test_a_seat_costs_bytes_not_names() -> None:
    """A hundred identities with a tenth of the bytes get about a tenth of the seats, as one identity would."""
    operators = {**{f"big{i}": f"big{i}" for i in range(9)}, **{f"tiny{i:03}": f"tiny{i:03}" for i in range(100)}}
    shelves = [shelf(name, 1_000 if name.startswith("big") else 10) for name in sorted(operators)]
    committees = Committees(shelves, operators, {**PARAMS, "committee": 1})
    tasks = [t for number in range(300) for t in committees.tasks(posed(number)) if t.provider.startswith("big")]
    taken = Counter(task.checkers[0][:3] for task in tasks)
    assert 0.04 < taken["tin"] / len(tasks) < 0.2


def test_a_seat_costs_proven_bytes_not_leases() -> None:
    """Five wallets lease petabytes to devices of their own and store nothing of it; who proved has the seats."""
    operators = {**{f"good{i}": f"good{i}" for i in range(9)}, **{f"fake{i}": f"fake{i}" for i in range(5)}}
    shelves = [shelf(name, 10 if name.startswith("good") else 10**9) for name in sorted(operators)]
    committees = Committees(shelves, operators, PARAMS)
    seats = {name: 100 for name in operators if name.startswith("good")}
    tasks = [t for number in range(60) for t in committees.tasks(dataclasses.replace(posed(number), seats=seats))]
    assert tasks and {checker[:4] for task in tasks for checker in task.checkers} == {"good"}


def test_who_did_not_prove_what_he_leased_from_himself_has_no_seat_in_the_next_epoch() -> None:
    world = fleet(24, honest=6)
    owner = world.add_customer("owner")
    fakes = [world.add(f"fake{number}", Slanders(), label="fake") for number in range(5)]
    for one in fakes:
        world.lease(one, [world.share(bytes([number]) * 16, number) for number in range(60)], gateway=owner.key)
        one.shares.clear()
    for _ in range(2):
        world.run(3.0)
    whole, _, rows = played(world, 3.0)
    told = [service.challenges(whole, one) for one in whole.rounds]
    checkers = {device for table in told for device, body in table.iter_rows() if decode_body(body).read}
    assert checkers and not checkers & {one.device for one in fakes}
    assert all(rows[f"honest{number}"]["detail"]["test_reads"]["bad"] == 0 for number in range(6))


def test_what_is_read_is_a_leaf_of_the_device() -> None:
    one = shelf("d", 7)
    read = [leaf_to_read(one, posed(number)) for number in range(200)]
    hit = [leaf for leaf in read if leaf is not None]
    assert {place for place, _ in hit} == {0} and {leaf for _, leaf in hit} == set(range(7))


def test_the_majority_decides_and_dissent_is_noted() -> None:
    finding, _ = found(*ok("a", "b", "c"), *refused("d"))
    assert (finding.good, finding.agree, finding.dissent, finding.silent) == (True, ("a", "b", "c"), ("d",), ("e",))
    finding, _ = found(*ok("a"), *refused("b", "c", "d"))
    assert (finding.good, finding.outcome, finding.dissent) == (False, "refused", ("a",))


def test_too_few_reports_or_a_tie_decide_nothing() -> None:
    assert found(*ok("a", "b"))[0].good is None
    assert found(*ok("a", "b"), *refused("c", "d"))[0].good is None
    assert found()[0].silent == ()  # nobody at all reported: nobody alone is blamed
    assert found(*ok("a"))[0].silent == ("b", "c", "d", "e")


def test_late_foreign_and_second_reports_do_not_count() -> None:
    assert found(*ok("a", "b", "c"), received_ms=1_001)[0].good is None
    finding, unasked = found(*ok("a", "b", "c", "stranger", "stranger"))
    assert finding.good and unasked == {"stranger": 2}
    assert found(*refused("a", "b", "c"), *ok("a", "b", "c"))[0].good is False


def test_reports_of_other_bytes_do_not_agree_and_the_truth_decides() -> None:
    lie = b"x" * 32
    assert found(*ok("a", "b"), *ok("c", "d", answer=lie))[0].good is None
    assert found(*ok("a", "b", "c", "d", "e", answer=lie))[0].good is True  # all got the same: nothing to compare with
    known = {("p", 1): b"h" * 32}
    finding, _ = found(*ok("a", "b", "c", "d", "e", answer=lie), truths=known)
    assert (finding.good, finding.outcome) == (False, "wrong")
    assert found(*ok("a", "b", "c", "d", "e"), truths=known)[0].good is True


def test_a_read_that_takes_too_long_failed() -> None:
    finding, _ = found(*ok("a", "b", "c"), total_ms=15_001)
    assert (finding.good, finding.outcome) == (False, "slow")


def test_those_who_contradicted_majorities_weigh_less() -> None:
    weights = {"a": 300_000, "b": 300_000, "c": 300_000}
    assert found(*ok("d", "e"), *refused("a", "b", "c"))[0].good is False
    assert found(*ok("d", "e"), *refused("a", "b", "c"), weights=weights)[0].good is True


def test_a_slanderer_is_told_and_honest_providers_keep_their_income() -> None:
    world = fleet(21, honest=8, liar=Slanders())
    for _ in range(3):
        _, _, rows = played(world, 12.0)
    assert "DISSENTING_CHECKER" in rows["liar"]["reasons"]
    assert rows["liar"]["detail"]["scores_ppm"]["checker"] < 500_000
    assert all(rows[f"honest{number}"]["verdict"] == "accepted" for number in range(8))


def test_friends_in_a_minority_do_not_save_a_refuser() -> None:
    world = fleet(22, honest=8)
    ring = {world.add(f"friend{n}", RefusesWithFriends(ring=lambda w, d: d in ring)).device for n in range(2)}
    for one in world.providers[-2:]:
        world.lease(one, [world.share(bytes([n]) * 16, n) for n in range(20)])
    world.run(24.0)
    _, _, rows = played(world, 24.0)
    assert all("RETRIEVAL_FAILING" in rows[f"friend{n}"]["reasons"] for n in range(2))


def test_noise_that_is_the_same_for_everybody_is_found_by_the_proof_of_the_next_round() -> None:
    class Consistent(CorruptReads):
        def read(self, world, me, share, leaf_index):
            return 20, b"\0" * len(me.shares[share].leaf(leaf_index))

    world = fleet(23, honest=6, noise=Consistent(), dropped=Drops(share_dropped=0.9))
    _, _, rows = played(world, 24.0)
    assert rows["noise"]["detail"]["test_reads"]["good"] == 0 < rows["noise"]["detail"]["test_reads"]["bad"]
    assert rows["honest0"]["detail"]["test_reads"]["bad"] == 0
