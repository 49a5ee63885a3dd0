"""Scenarios refuse what cannot be, by key."""

from __future__ import annotations

from dataclasses import fields

import pytest

from fieldstone.economy.flywheel import Burn, Cohort, Price, Region, Scenario, Segment, Shock, Supply
from fieldstone.economy.flywheel import parameters as parts
from fieldstone.economy.flywheel.inputs import TARGETS, tables
from fieldstone.errors import UsageError


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"price": Price(initial_usd=-1.0)}, "price.initial_usd"),
        ({"price": Price(initial_usd=float("nan"))}, "price.initial_usd"),
        ({"price": Price(model="tarot")}, "price.model"),
        ({"cohorts": (Cohort(name="a", capex_usd=-5.0),)}, "cohorts.a.capex_usd"),
        ({"cohorts": (Cohort(name="a", region="moon"),)}, "moon"),
        ({"cohorts": (Cohort(name="a"), Cohort(name="a"))}, "twice"),
        ({"cohorts": ()}, "cohorts"),
        ({"cohorts": (Cohort(name="a", initial_devices=2, potential_devices=1),)}, "potential_devices"),
        ({"regions": (Region(demand_share=0.7),)}, "add up to 1"),
        ({"burn": Burn(share=0.9, take=0.2)}, "a dollar cannot be spent twice"),
        ({"supply": Supply(initial_tokens=5, locked_tokens=5)}, "locked_tokens"),
        ({"supply": Supply(initial_tokens=5, max_tokens=4)}, "max_tokens"),
        ({"months": 0}, "months"),
        ({"months": True}, "months"),
        ({"steps_per_year": 13}, "steps_per_year"),
        ({"segments": (Segment(name="a", top_customer_share=2.0),)}, "segments.a.top_customer_share"),
    ],
)
def test_impossible_numbers_are_named(given: dict[str, object], key: str) -> None:
    with pytest.raises(UsageError, match=key):
        Scenario(**given)  # type: ignore[arg-type]


def test_every_number_has_unit_limits_and_meaning() -> None:
    for name in (
        "Region",
        "Cohort",
        "Segment",
        "Service",
        "Supply",
        "Emission",
        "Burn",
        "Price",
        "Treasury",
        "Behaviour",
        "Shock",
    ):
        for item in fields(getattr(parts, name)):
            if item.type == "float":
                assert (
                    item.metadata["doc"] and "unit" in item.metadata and item.metadata["low"] < item.metadata["high"]
                ), item


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_every_target_changes_its_table(target: str) -> None:
    kind = "add" if target in ("unlock", "fraud", "oracle_lag") else "mul"
    base = Scenario(
        segments=(Segment(name="all", top_customer_share=0.4),), supply=Supply(locked_tokens=1e6, cliff_month=100)
    )
    hit = Scenario(
        segments=base.segments,
        supply=base.supply,
        shocks=(Shock(target=target, kind=kind, value=0.5 if kind == "mul" else 3.0),),
    )
    before, after = tables(base), tables(hit)
    changed = [item.name for item in fields(before) if (getattr(before, item.name) != getattr(after, item.name)).any()]
    assert len(changed) == 1, changed


def test_a_patch_on_all_joins_counts_once() -> None:
    cohorts = (Cohort(name="a", vendor="acme"), Cohort(name="b"))
    every = tables(Scenario(cohorts=cohorts, shocks=(Shock(target="join", value=0.5),)))
    assert every.join[0].tolist() == [0.5, 0.5]
    acme = tables(Scenario(cohorts=cohorts, shocks=(Shock(target="join.acme", value=0.0),)))
    assert acme.join[0].tolist() == [0.0, 1.0]
    both = tables(
        Scenario(cohorts=cohorts, shocks=(Shock(target="join", value=0.0), Shock(target="join.acme", value=0.5)))
    )
    assert both.join[0].tolist() == [0.0, 0.0]


def test_ramps_rise_and_fall() -> None:
    shocks = (Shock(target="demand", value=0.0, from_month=2, until_month=10, ramp_months=4),)
    assert tables(Scenario(months=12, shocks=shocks)).demand[:, 0].tolist() == pytest.approx(
        [1, 1, 0.75, 0.5, 0.25, 0, 0, 0.25, 0.5, 0.75, 1, 1]
    )


@pytest.mark.parametrize(
    ("target", "kind"), [("weather", "mul"), ("demand.nobody", "mul"), ("price", "add"), ("region.moon", "mul")]
)
def test_shocks_that_hit_nothing_are_refused(target: str, kind: str) -> None:
    with pytest.raises(UsageError, match=target):
        tables(Scenario(shocks=(Shock(target=target, kind=kind, value=0.5),)))
