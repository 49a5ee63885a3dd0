"""Same-time challenges as verdicts: several operators, again and again; noisy and slow lines are nobody's fault."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest

from fieldstone.services.storage import records, service
from fieldstone.services.storage.directory import directory
from fieldstone.services.storage.lab_providers import Honest
from fieldstone.services.storage.lab_world import World
from fieldstone.services.storage.live_draw import challenge_seed, group
from fieldstone.services.storage.live_rounds import LIVE_SCHEMA, Suspicion, groups_of, weigh
from fieldstone.services.storage.rules.v1 import default_params
from tests.services.storage.worlds import named

PARAMS = default_params()


def measured(seed: int, *, liars: int = 0, customers: int = 2) -> World:
    world = World(seed, overrides={"live_every_rounds": 1, "questions_per_day": 48, "secret_every_rounds": 48})
    world.is_live = True
    for number in range(2):
        world.add(f"honest{number}", Honest())
    for number in range(2):
        one = world.add(f"same{number}", Honest())
        one.disk, one.seek_ms = "one", 8.0
    for number in range(customers):
        world.store(1, gateway=world.add_customer(f"customer{number}", lies=number < liars).key)
    for one in world.providers:
        told = records.Announcement(url="http://10.0.0.1:9000", capacity_bytes=10)
        world.report("announce", one.device, records.encode(told))
    return world


@pytest.fixture(scope="module")
def played() -> tuple:
    world = measured(61)
    whole = result = None
    for _ in range(2):
        whole, result = world.run(36.0)
    return world, whole, result


def test_two_names_on_one_disk_earn_once_and_count_as_one_operator(played: tuple) -> None:
    world, _, result = played
    rows = named(world, result)
    same = sorted(("same0", "same1"), key=lambda name: rows[name]["device"])
    assert "SHARED_DISK" in rows["same0"]["reasons"] and "SHARED_DISK" in rows["same1"]["reasons"]
    assert [rows[name]["quality_ppm"] for name in same] == [1_000_000, 0]
    assert rows[same[1]]["detail"]["shared_disk"]["earns"] == rows[same[0]]["device"]
    assert not any("SHARED_DISK" in rows[f"honest{number}"]["reasons"] for number in range(2))
    told = directory(world.input(world.now_ms, world.now_ms + 1, ()))
    assert {told[rows[name]["device"]]["shares_disk_with"] for name in same} == {rows[same[0]]["device"]}
    assert told[rows["honest0"]["device"]]["shares_disk_with"] == ""


def test_one_liar_accuses_nobody(played: tuple) -> None:
    world = measured(62, liars=1)
    _, result = world.run(48.0)
    rows = named(world, result)
    assert not any("SHARED_DISK" in rows[f"honest{number}"]["reasons"] for number in range(2))
    table = result.carry["suspicions"]
    assert table.filter(pl.col("is_up"))["operator"].n_unique() >= 1  # the liar's alarm is up, and alone


def test_the_owner_of_one_of_the_two_has_no_say() -> None:
    world = measured(63, liars=2)
    for number in range(2):
        world.providers[number].operator = world.customers[0].operator
    world.run(12.0)
    table = world.carry["suspicions"]
    mine = table.filter(pl.col("operator") == world.customers[0].operator.lower())
    owned = {one.device for one in world.providers[:2]}
    assert not {*mine["first"], *mine["second"]} & owned


def rejudged(played: tuple, change) -> pl.DataFrame:
    world, whole, _ = played
    rows = []
    for device, t_ms, received_ms, position, body in whole.evidence["live"].iter_rows():
        said = records.decode(body, records.LiveSet)
        rows.append((device, t_ms, received_ms, position, change(said)))
    table = pl.DataFrame(rows, schema=whole.evidence["live"].schema, orient="row")
    other = dataclasses.replace(whole, evidence={**whole.evidence, "live": table}, carry={**whole.carry})
    other.carry.pop("suspicions", None)  # type: ignore[attr-defined]
    result = service.check_fleet(other, world.stage_1(other))
    return result.carry["suspicions"], result


def with_measures(said: records.LiveSet, measures: tuple) -> bytes:
    return records.encode(records.LiveSet(number=said.number, measures=measures))


def test_reports_that_no_round_drew_or_nobody_signed_do_not_count(played: tuple) -> None:
    full, _ = rejudged(played, records.encode)
    assert full["measured"].sum() > 20
    for change in (
        lambda said: with_measures(said, said.measures[::-1]),  # another order of the three
        lambda said: with_measures(said, said.measures[:2]),
        lambda said: with_measures(said, (said.measures[0], said.measures[0], said.measures[2])),
        lambda said: b"junk",
        lambda said: with_measures(
            said,
            tuple(
                records.LiveMeasure(
                    provider=m.provider,
                    alone_us=1,
                    together_us=9_999,
                    beside_alone_us=1,
                    beside_together_us=1,
                    receipts=m.receipts[::-1],
                )
                for m in said.measures
            ),
        ),
    ):
        table, result = rejudged(played, change)
        assert table.height == 0
        reasons = {code for codes in result.verdicts["reasons"] for code in codes}
        assert reasons & {"UNASKED_CHECK", "BAD_REPORT"}


def test_chance_hits_raise_no_alarm_and_a_shared_disk_does() -> None:
    """One hit in ten by chance: no alarm in 200,000 measurements; one in two: within some tens."""
    dice = np.random.default_rng(1)
    one, alarms = Suspicion(), 0
    for is_hit in (dice.random(200_000) < 0.1).tolist():
        one = one.after(is_hit, PARAMS)
        alarms += one.is_up
    assert alarms == 0
    delays = []
    for seed in range(200):
        dice, one = np.random.default_rng(seed), Suspicion()
        while not one.is_up:
            one = one.after(bool(dice.random() < 0.5), PARAMS)
        delays.append(one.measured)
    assert np.mean(delays) < 40
    for _ in range(100):
        one = one.after(False, PARAMS)
    assert not one.is_up  # the disks were separated


@pytest.mark.parametrize(("jitter_ms", "jams"), [(4.0, 0.1), (40.0, 0.3), (200.0, 0.5)])
def test_honest_lines_hit_less_often_than_the_rule_assumes(jitter_ms: float, jams: float) -> None:
    dice = np.random.default_rng(7)

    def measure() -> str | None:
        jam = float(dice.gamma(2.0, 60.0)) if dice.random() < jams else 0.0
        times = [
            [base + jam * (phase % 2) + dice.gamma(2.0, jitter_ms / 2) for phase in range(4)]
            for base in dice.uniform(20, 300, 3)
        ]
        return weigh([measure_of(*one) for one in times], PARAMS)

    found = [what for _ in range(4_000) if (what := measure()) is not None]
    assert found.count("disk") / len(found) < 0.1 and found.count("line") / len(found) < 0.1


def measure_of(alone: float, together: float, beside_alone: float, beside_together: float) -> records.LiveMeasure:
    """Return a measurement in milliseconds."""
    times = [int(1_000 * one) for one in (alone, together, beside_alone, beside_together)]
    return records.LiveMeasure(
        provider="d", alone_us=times[0], together_us=times[1], beside_alone_us=times[2], beside_together_us=times[3],
        receipts=(b"", b"", b"", b""),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("seek_ms", "send_ms", "shares", "said"),
    [
        (8.0, 0.5, "disk", "disk"),
        (8.0, 54.0, "disk", "disk"),  # on slow lines of their own
        (0.3, 54.0, "line", "line"),  # 4 Mbit/s
        (8.0, 220.0, "line", "line"),  # hard disks of their own behind 1 Mbit/s
        (0.3, 0.5, "line", ""),
        (8.0, 54.0, "both", "disk"),
    ],
)
def test_seeks_tell_a_disk_from_a_line(seek_ms: float, send_ms: float, shares: str, said: str) -> None:
    def one(disks: int, lines: int) -> records.LiveMeasure:
        return measure_of(
            20 + 16 * seek_ms + send_ms, 20 + 16 * seek_ms * disks + send_ms * lines,
            20 + seek_ms + send_ms, 20 + seek_ms * disks + send_ms * lines,
        )  # fmt: skip

    suspect = one(1 + (shares in ("disk", "both")), 1 + (shares in ("line", "both")))
    assert weigh([suspect, suspect, one(1, 1)], PARAMS) == said


def test_two_disks_behind_one_slow_line_are_one_position_and_accused_of_nothing() -> None:
    world = measured(65)
    for one in world.providers[2:]:
        one.disk, one.seek_ms, one.line, one.send_ms = "", 0.3, "a village", 150.0
    _, result = world.run(60.0)
    rows = named(world, result)
    same = sorted(("same0", "same1"), key=lambda name: rows[name]["device"])
    assert not any("SHARED_DISK" in row["reasons"] for row in rows.values())
    assert {rows[name]["quality_ppm"] for name in same} == {1_000_000}
    assert sorted(rows[same[0]]["detail"]["shared_line"]["devices"]) == [rows[name]["device"] for name in same]
    told = directory(world.input(world.now_ms, world.now_ms + 1, ()))
    assert {told[rows[name]["device"]]["shares_disk_with"] for name in same} == {rows[same[0]]["device"]}


def test_groups_join_what_overlaps_and_need_several_operators() -> None:
    first_s = {"a": 5, "b": 1, "c": 0}
    rows = [("a", "b", "x"), ("a", "b", "y"), ("b", "c", "x")]

    def grouped(quorum: int, stake_ppm: int) -> dict[str, str]:
        full = [(*row, kind, 1, True, 9, 9, stake_ppm) for row in rows for kind in ("disk", "line")]
        table = pl.DataFrame(full, schema=LIVE_SCHEMA, orient="row")
        return groups_of(table, first_s, {**PARAMS, "live_quorum": quorum})

    assert grouped(2, 200_000) == {"a": "b", "b": "b"}
    assert grouped(1, 200_000) == {"a": "c", "b": "c", "c": "c"}
    assert grouped(2, 100_000) == {"a": "b", "b": "b"} and grouped(2, 99_999) == {}  # a stake in both kinds counts once


@pytest.fixture(scope="module")
def evaded() -> tuple:
    world = measured(67)
    for one in world.providers[2:]:
        one.is_evading = True
    whole, result = world.run(60.0)
    return world, whole, result


def test_who_refuses_to_be_measured_together_is_kept_apart_all_the_same(evaded: tuple) -> None:
    world, _, result = evaded
    rows = named(world, result)
    same = sorted(("same0", "same1"), key=lambda name: rows[name]["device"])
    told = directory(world.input(world.now_ms, world.now_ms + 1, ()))
    assert {told[rows[name]["device"]]["shares_disk_with"] for name in same} == {rows[same[0]]["device"]}
    assert {told[rows[f"honest{n}"]["device"]]["shares_disk_with"] for n in range(2)} == {""}
    assert not any("SHARED_DISK" in row["reasons"] for row in rows.values())  # silence alone takes nobody's income
    assert not any("BAD_REPORT" in row["reasons"] for row in rows.values())


def test_who_is_away_is_no_evader(evaded: tuple) -> None:
    """The same reports, of devices that did not answer the network either; and of a control that did not answer."""
    world, whole, _ = evaded
    silent = {world.providers[2].device}
    proofs = whole.evidence["proof"].filter(~pl.col("device").is_in(sorted(silent)))
    other = dataclasses.replace(whole, evidence={**whole.evidence, "proof": proofs})
    table = service.check_fleet(other, world.stage_1(other)).carry["suspicions"]
    pair = sorted(one.device for one in world.providers[2:])
    assert table.filter((pl.col("first") == pair[0]) & (pl.col("second") == pair[1])).height == 0

    def control_is_silent(said: records.LiveSet) -> bytes:
        nothing = records.LiveMeasure(said.measures[2].provider, 0, 0, 0, 0, (b"", b"", b"", b""))
        return with_measures(said, (*said.measures[:2], nothing))

    table, _ = rejudged(evaded, control_is_silent)
    assert table.height == 0


def test_wallets_with_a_few_bytes_accuse_nobody() -> None:
    """Two free wallets lease a share each from everybody and lie about all; who pays for the rest was not asked about this pair."""
    world = measured(66, liars=2)
    world.store(10)  # by a customer that measures nothing
    for _ in range(2):
        _, result = world.run(30.0)
    rows = named(world, result)
    table = result.carry["suspicions"]
    assert table.filter(pl.col("is_up"))["operator"].n_unique() == 2  # both have their alarms up
    assert table["stake_ppm"].max() < 100_000
    assert not any("SHARED_DISK" in row["reasons"] for row in rows.values())
    told = directory(world.input(world.now_ms, world.now_ms + 1, ()))
    assert {told[one.device]["shares_disk_with"] for one in world.providers} == {""}


def test_neighbours_are_asked_together_and_the_control_is_far() -> None:
    places = {f"d{n}": (f"10.0.{n % 3}.0/24", f"field {n % 5}") for n in range(15)}
    drawn = [one for n in range(200) if (one := group(n.to_bytes(32, "big"), "g", places, 2))]
    assert 60 < len(drawn) < 140
    for first, second, control in drawn:
        assert places[first][0] == places[second][0] or places[first][1] == places[second][1]
        assert places[first][0] != places[control][0] and places[first][1] != places[control][1]
    assert group(bytes(32), "g", dict(list(places.items())[:2]), 1) is None
    assert challenge_seed(b"s", "g", "p", b"a") != challenge_seed(b"s", "g", "p", b"t")
