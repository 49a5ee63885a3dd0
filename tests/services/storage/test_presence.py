"""Silence: failure after the rule's time, never sooner, and undone by the first answer."""

from __future__ import annotations

import polars as pl
import pytest

from fieldstone.services.storage.directory import directory
from fieldstone.services.storage.lab_providers import Drops, Outage, Vanishes
from fieldstone.services.storage.lab_world import START_MS
from fieldstone.services.storage.presence import Presence
from tests.services.storage.worlds import fleet, played, usage_of

HOUR_MS = 3_600_000


def shares_of(result, world, name: str) -> pl.DataFrame:
    device = next(one.device for one in world.providers if one.name == name)
    return result.carry["holdings"].filter(pl.col("device") == device)


@pytest.mark.parametrize(
    ("heard", "expected"),
    [([0, 1, 1], 0), ([1, 0, 0], 0), ([1, 0, 0, 0], 4), ([1, 0, 0, 0, 0], 4), ([0, 0, 0, 0, 1], 0)],
)
def test_silence_fails_after_its_time_and_ends_with_an_answer(heard: list[int], expected: int) -> None:
    one = Presence()
    for hour, is_heard in enumerate(heard, start=1):
        one = one.after(hour, is_heard=bool(is_heard), silent_ms=3)
    assert one.silent_ms == expected


def test_who_vanishes_keeps_what_was_proven_and_then_counts_as_failed() -> None:
    world = fleet(31, honest=3, gone=Vanishes(from_ms=START_MS + 6 * HOUR_MS))
    _, result, rows = played(world, 12.0)
    assert rows["gone"]["detail"]["units"]["proven"] == 20 * 16 * 3_600 * 11 // 2  # the rounds up to 5:30
    mine = shares_of(result, world, "gone")
    assert (mine["failed_ms"] > mine["proven_ms"]).all()
    assert "SILENT" in rows["gone"]["reasons"]
    assert rows["gone"]["detail"]["standing"]["heard_ms"] == START_MS + 11 * HOUR_MS // 2
    assert (shares_of(result, world, "honest0")["failed_ms"] == 0).all()


def test_an_outage_within_the_time_fails_nothing_and_a_longer_one_ends_without_a_trace() -> None:
    world = fleet(32, honest=2, short=Outage(hours=3.5), long=Outage(hours=8))
    _, result, rows = played(world, 6.0)
    assert (shares_of(result, world, "short")["failed_ms"] == 0).all()
    assert (shares_of(result, world, "long")["failed_ms"] > 0).all()
    told = directory(world.input(world.now_ms, world.now_ms + 1, ()))
    assert told == {}  # nobody announced an address
    _, result, rows = played(world, 6.0)
    assert (shares_of(result, world, "long")["failed_ms"] == 0).all()
    assert "SILENT" not in rows["long"]["reasons"]
    before = usage_of(world, result, "long")
    assert before == usage_of(world, result, "honest0") * 8 // 12  # from 2:00 on, of the six hours


def test_silence_does_not_wash_off_a_failure() -> None:
    world = fleet(33, honest=2, both=Drops(share_dropped=0.3))
    _, result, _ = played(world, 6.0)
    failed = shares_of(result, world, "both").filter(pl.col("failed_ms") > pl.col("proven_ms"))["share"]
    assert 0 < len(failed) <= 20
    world.providers[-1].behaviour = Vanishes()
    played(world, 6.0)
    world.providers[-1].behaviour = Drops(share_dropped=1.0)
    _, result, _ = played(world, 1.0)
    still = shares_of(result, world, "both").filter(pl.col("failed_ms") > pl.col("proven_ms"))["share"]
    assert set(failed) <= set(still)


def test_the_directory_tells_gateways_what_verdicts_say() -> None:
    from fieldstone.services.storage import records

    world = fleet(34, honest=3, gone=Vanishes(from_ms=START_MS), drops=Drops(share_dropped=0.5))
    for one in world.providers:
        told = records.Announcement(url="http://10.0.0.1:9000", capacity_bytes=10)
        world.report("announce", one.device, records.encode(told))
    world.run(6.0)
    found = {
        world.provider(device).name: facts
        for device, facts in directory(world.input(world.now_ms, world.now_ms + 1, ())).items()
    }
    assert (found["honest0"]["state"], found["honest0"]["score_ppm"], found["honest0"]["failed"]) == (
        "good",
        1_000_000,
        [],
    )
    assert found["gone"]["score_ppm"] == 0 < found["gone"]["silent_ms"] and found["gone"]["failed"] == []
    assert found["drops"]["state"] == "suspended" and found["drops"]["score_ppm"] == 0
    assert 0 < found["drops"]["failed_count"] == len(found["drops"]["failed"])
    assert {bytes.fromhex(share) for share in found["drops"]["failed"]} <= set(world.providers[-1].shares)
