"""The customer's report: true to the tables, signed, worked out again by anybody, and found out when it lies."""

from __future__ import annotations

import dataclasses

import polars as pl
import pytest

from fieldstone.errors import CheckFailed, Rejected
from fieldstone.services.storage.lab_providers import Drops, Honest
from fieldstone.services.storage.lab_world import World
from fieldstone.services.storage.object_report import ObjectFacts, Segment, check, open_report, report, sign


@pytest.fixture(scope="module")
def played() -> tuple[World, ObjectFacts, dict]:
    """A 4-of-6 object on six operators, one of which dropped it; six hours."""
    world = World(31)
    for number in range(5):
        world.add(f"honest{number}", Honest())
    world.add("drops", Drops(share_dropped=1.0))
    segment = b"S" * 16
    for index, one in enumerate(world.providers):
        world.lease(one, [world.share(segment, index)])
    world.run(6.0)
    facts = ObjectFacts(
        "photos/1.jpg", 65_536, world.gateway.public.device_id, (Segment(segment, 4, 6),), 2_000_000_000
    )
    tables = {
        "epoch": world.epoch,
        "end_ms": world.now_ms,
        "holdings": world.carry["holdings"],
        "registry": world.registry,
    }
    return world, facts, tables


def test_the_report_says_who_holds_what_and_how_safe_it_is(played: tuple[World, ObjectFacts, dict]) -> None:
    world, facts, tables = played
    found = report(facts, **tables)
    (segment,) = found["segments"]
    assert (segment["alive"], segment["margin"], found["margin"]) == (5, 1, 1)
    by_index = {share["index"]: share for share in segment["shares"]}
    assert [by_index[index]["device"] for index in range(6)] == [one.device for one in world.providers]
    assert all(by_index[index]["last_proof_ms"] for index in range(5))
    assert by_index[5]["last_proof_ms"] is None and by_index[5]["last_failed_ms"] and not by_index[5]["alive"]
    assert found["p_loss_1y_independent"] == pytest.approx(5.41068e-6, rel=1e-4)
    # by hand: 10 p² to lose two of the five before the first repair, then 20 p³ in each of 121 intervals, p = 0.083 · 3/365
    p = 0.083 * 3 / 365
    assert found["p_loss_1y_independent"] == pytest.approx(10 * p**2 + 121 * 20 * p**3, rel=0.01)
    assert 0 < found["p_loss_1y_correlated"] <= found["p_loss_1y_correlated_high"] < 0.1
    assert (found["stored_bytes"], found["expansion_ppm"]) == (6 * 16_384, 1_500_000)


def test_money_spent_is_what_was_proven(played: tuple[World, ObjectFacts, dict]) -> None:
    """5 shares of 16 KiB for 5.5 hours at $2,000 a GiB-month (so that cents show); ahead: 6 shares for a month."""
    _, facts, tables = played
    found = report(facts, **tables)
    units = 5 * 16 * 5.5 * 3_600
    assert found["spent_micro_usd"] == int(units * 2_000_000_000 / (2**20 * 2_592_000))
    assert found["ahead_micro_usd_30_days"] == -(-6 * 16_384 * 2_000_000_000 // 2**30)


def test_anybody_can_check_it_and_a_lie_is_named(played: tuple[World, ObjectFacts, dict]) -> None:
    world, facts, tables = played
    key = world.gateway
    message = sign(key, report(facts, **tables))
    signer = key.public.device_id
    assert check(message, signer, facts, **tables) == open_report(message, signer)
    with pytest.raises(CheckFailed, match="margin = 3"):
        check(sign(key, {**report(facts, **tables), "margin": 3}), signer, facts, **tables)
    with pytest.raises(Rejected, match="BAD_SIGNATURE"):
        check(message, world.providers[0].device, facts, **tables)
    fewer = {**tables, "holdings": tables["holdings"].filter(pl.col("index") != 0)}
    with pytest.raises(CheckFailed, match=r"photos/1\.jpg"):
        check(message, signer, facts, **fewer)


def test_two_holders_of_one_index_are_one_share(played: tuple[World, ObjectFacts, dict]) -> None:
    _, facts, tables = played
    copied = tables["holdings"].with_columns(index=pl.when(pl.col("index") == 1).then(0).otherwise("index"))
    assert report(facts, **{**tables, "holdings": copied})["segments"][0]["alive"] == 4


def test_of_many_segments_the_most_endangered_are_simulated(played: tuple[World, ObjectFacts, dict]) -> None:
    _, facts, tables = played
    held = tables["holdings"]
    ids = [bytes([number]) * 16 for number in range(10)]
    many = pl.concat([held.with_columns(segment=pl.lit(name)) for name in ids[:9]])
    worst = held.filter(pl.col("index") < 4).with_columns(segment=pl.lit(ids[9]))
    of_ten = dataclasses.replace(facts, segments=tuple(Segment(name, 4, 6) for name in ids))
    found = report(of_ten, **{**tables, "holdings": pl.concat([many, worst])})
    by_name = {segment["segment"]: segment for segment in found["segments"]}
    assert list(by_name) == [name.hex() for name in ids] and found["margin"] == 0
    assert by_name[ids[9].hex()]["p_loss_1y_correlated"] > by_name[ids[8].hex()]["p_loss_1y_correlated"] > 0


def test_an_object_that_nobody_holds_is_lost(played: tuple[World, ObjectFacts, dict]) -> None:
    _, facts, tables = played
    gone = dataclasses.replace(facts, segments=(Segment(b"?" * 16, 4, 6),))
    found = report(gone, **tables)
    assert (found["margin"], found["p_loss_1y_correlated"], found["p_loss_1y_independent"]) == (-4, 1.0, 1.0)
    empty = report(dataclasses.replace(facts, segments=(), size_bytes=0), **tables)
    assert (empty["margin"], empty["p_loss_1y_independent"], empty["expansion_ppm"]) == (None, 0.0, 0)


def test_an_intact_segment_in_one_place_is_not_taken_for_safe(played: tuple[World, ObjectFacts, dict]) -> None:
    """Ten segments lack a share but stand apart, one lacks none but stands with one operator: that one is the danger."""
    world, facts, tables = played
    held = tables["holdings"].with_columns(failed_ms=pl.lit(0, dtype=pl.Int64))
    devices = [one.device for one in world.providers]
    operators = dict(tables["registry"].select("device", "operator").iter_rows())
    assert len({operators[device] for device in devices}) == 6
    apart = [bytes([number]) * 16 for number in range(10)]
    heaped = b"~" * 16
    spread = [held.filter(pl.col("index") < 5).with_columns(segment=pl.lit(name)) for name in apart]
    alone = held.with_columns(segment=pl.lit(heaped), device=pl.lit(devices[0]))
    of_all = dataclasses.replace(facts, segments=tuple(Segment(name, 4, 6) for name in [*apart, heaped]))
    # five regions and makers, so that nothing but the operator is shared
    registry = tables["registry"].with_columns(
        lon=pl.int_range(pl.len()).cast(pl.Float64) * 10, model=pl.int_range(pl.len()).cast(pl.String)
    )
    found = report(of_all, **{**tables, "holdings": pl.concat([*spread, alone]), "registry": registry})
    by_name = {segment["segment"]: segment for segment in found["segments"]}
    assert by_name[heaped.hex()]["margin"] > by_name[apart[0].hex()]["margin"]
    assert by_name[heaped.hex()]["p_loss_1y_correlated"] == pytest.approx(0.05, abs=0.02)  # its operator's end
    assert by_name[apart[0].hex()]["p_loss_1y_correlated"] < 0.01


def test_a_device_whose_place_is_not_known_is_a_region_of_its_own(played: tuple[World, ObjectFacts, dict]) -> None:
    _, facts, tables = played
    registry = tables["registry"].with_columns(lat=pl.lit(None, dtype=pl.Float64))
    assert report(facts, **{**tables, "registry": registry})["segments"][0]["alive"] == 5
