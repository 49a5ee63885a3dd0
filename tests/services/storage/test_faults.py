"""Which verdicts cost a bond: named once, for what was held when the trouble began, and not for slow reads."""

from __future__ import annotations

import dataclasses
from typing import Any

import polars as pl

from fieldstone.services.storage import service
from fieldstone.services.storage.directory import ANNOUNCED_SCHEMA, have_left
from fieldstone.services.storage.faults import at_risk, fault
from fieldstone.services.storage.holdings import FOREVER
from fieldstone.services.storage.lab_providers import Drops
from fieldstone.services.storage.lab_world import World
from fieldstone.services.storage.reputation import (
    DISQUALIFIED,
    GOOD,
    SUSPENDED,
    from_table,
    starting,
    to_table,
)
from fieldstone.services.storage.rules.v1 import default_params
from tests.services.storage.worlds import played


def verdict(**standing: Any) -> dict[str, Any]:
    import json

    told = {"state": DISQUALIFIED, "since_ms": 99, "causes": ["DATA_LOSS"], "at_risk_bytes": 2_049, **standing}
    return {"detail": json.dumps({"standing": told})}


def test_a_fault_is_named_by_the_epoch_that_disqualifies() -> None:
    assert fault(verdict(), 99) == 3  # KiB, rounded up
    assert fault(verdict(), 199) == 0  # later epochs repeat the standing
    assert fault(verdict(state=SUSPENDED), 99) == 0
    assert fault(verdict(causes=["LOW_AVAILABILITY"]), 99) == 3  # who stays away left a repair, too
    assert fault(verdict(causes=["LOW_RETRIEVAL_SCORE"]), 99) == 0  # the data is there
    for detail in ("", "{}", '{"check":"equivocation"}', "[]"):
        assert fault({"detail": detail}, 99) == 0


def test_what_was_held_when_the_suspension_began_is_answered_for() -> None:
    """By the time of the verdict gateways have moved it elsewhere."""
    good = starting("d", default_params())
    suspended = dataclasses.replace(good, state=SUSPENDED, since_ms=50, at_risk_bytes=700)
    out = dataclasses.replace(suspended, state=DISQUALIFIED, since_ms=100)
    assert at_risk(None, good, 0, 500) == 0
    assert at_risk(good, suspended, 0, 700) == 700
    assert at_risk(suspended, suspended, 60, 3) == 700
    assert at_risk(suspended, out, 60, 0) == 700
    assert at_risk(out, out, 100, 0) == 700
    again = dataclasses.replace(suspended, since_ms=70)
    assert at_risk(suspended, again, 60, 30) == 30  # recovered and suspended anew within the epoch
    assert at_risk(suspended, dataclasses.replace(suspended, state=GOOD), 60, 9) == 0
    assert from_table(to_table([suspended])) == {"d": suspended}


def test_a_device_that_dropped_its_data_answers_with_all_it_held() -> None:
    world = World(3, overrides={"appeal_s": 3_600})
    thief = world.add("thief", Drops(share_dropped=1.0), label="thief")
    world.add("honest", Drops(share_dropped=0.0))
    world.store(8)
    end_ms, named = [], []
    for _ in range(4):
        whole, result, rows = played(world, 3.0)
        end_ms.append(whole.end_ms)
        row = {**rows["thief"], "detail": result.verdicts.filter(pl.col("device") == thief.device)["detail"][0]}
        named.append(service.fault(row, whole.end_ms))
        assert service.fault({"detail": "{}"}, whole.end_ms) == 0
        honest = result.verdicts.filter(pl.col("device") != thief.device).to_dicts()
        assert all(service.fault(one, whole.end_ms) == 0 for one in honest)
    assert [one for one in named if one] == [8 * 16]  # eight shares of 16 KiB, once


def test_who_left_has_handed_over_and_who_is_silent_has_not() -> None:
    announced = pl.DataFrame(
        [
            (name, "http://a:1", 1, 1, leaving)
            for name, leaving in (("a", True), ("b", True), ("c", False), ("d", True))
        ],
        schema=ANNOUNCED_SCHEMA,
        orient="row",
    )
    holdings = pl.DataFrame({"device": ["a", "b"], "until_position": [5, FOREVER]})
    assert have_left(announced, holdings) == {"a", "d"}
    assert have_left(announced, holdings, silent=["d"]) == {"a"}
