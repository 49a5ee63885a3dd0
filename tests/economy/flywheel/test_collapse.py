"""Conditions of collapse, each on a network made to meet it, and on one that does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fieldstone.economy.flywheel import (
    Burn,
    Cohort,
    Emission,
    Price,
    Result,
    Scenario,
    Segment,
    Service,
    Shock,
    Treasury,
    simulate,
)
from fieldstone.economy.flywheel.collapse import collapsed, conditions
from fieldstone.economy.flywheel.tipping import equilibria
from fieldstone.errors import UsageError

# customers pay dollars to operators who live on them: nothing to collapse
SOUND = Scenario(
    months=36,
    cohorts=(Cohort(name="a", initial_devices=900.0, potential_devices=1_000.0, capex_usd=60.0, opex_usd_month=2.0, capacity_units_month=50.0),),
    segments=(Segment(name="all", units_month=20_000.0, growth_year=0.1),),
    emission=Emission(tokens_month=10.0),
    burn=Burn(mode="none", take=0.1),
    price=Price(volatility_year=0.1, jumps_year=0.0),
    treasury=Treasury(initial_usd=1e5, spend_usd_month=100.0),
)  # fmt: skip


def found(scenario: Scenario, **given: object) -> dict[str, float]:
    result = simulate(scenario, runs=20, cohorts=True)
    return {name: one.probability.value for name, one in conditions(result, **given).items()}  # type: ignore[arg-type]


def test_a_sound_network_meets_none() -> None:
    utility = simulate(replace(SOUND, price=replace(SOUND.price, speculation=0.0)), runs=20)
    tipping = equilibria(SOUND).low
    values = found(SOUND, utility=utility, tipping_devices=tipping)
    assert set(values.values()) == {0.0}, values
    assert not collapsed(simulate(SOUND, runs=20), tipping).any()


def test_demand_that_leaves_collapses_it() -> None:
    lost = replace(SOUND, shocks=(Shock(target="demand", value=0.0, from_month=3),))
    values = found(lost, tipping_devices=equilibria(SOUND).low)
    assert values["operators_lose"] == 1 and values["below_tipping"] == 1
    assert collapsed(simulate(lost, runs=20)).all()


def test_a_fixed_pool_by_data_pays_self_dealers() -> None:
    """The case before HIP-10: a pool shared by data bought, far above what customers pay."""
    pool = replace(SOUND, emission=Emission(tokens_month=1e6, data_share=1.0))
    assert found(pool)["self_dealing"] == 1


def test_subsidy_with_a_falling_price() -> None:
    fed = replace(
        SOUND, emission=Emission(tokens_month=1e7), price=Price(volatility_year=0.0, jumps_year=0.0, fade_year=3.0)
    )
    assert found(fed)["subsidised_fall"] == 1


def test_an_empty_treasury_before_the_hardware_arrives() -> None:
    broke = replace(
        SOUND,
        cohorts=(replace(SOUND.cohorts[0], lead_months=6.0),),
        burn=Burn(mode="none"),
        treasury=Treasury(initial_usd=1_000, spend_usd_month=100),
    )
    result = simulate(broke, runs=5)
    runway = conditions(result)["runway"]
    assert runway.held.all()
    assert runway.first_step is not None and (runway.first_step == 4).all()


def test_an_uncovered_vault() -> None:
    vault = replace(
        SOUND, burn=Burn(mode="vault", credit_months=3.0), shocks=(Shock(target="price", value=0.5, from_month=6),)
    )
    assert found(vault)["collateral"] == 1


def test_needed_series_are_named() -> None:
    few: Result = simulate(SOUND, runs=2, record=("devices",))
    with pytest.raises(UsageError, match="treasury_usd"):
        conditions(few)


def test_fleet_of_nothing_is_not_an_error() -> None:
    nobody = replace(SOUND, cohorts=(Cohort(name="a", potential_devices=0.0),), service=Service())
    assert all(np.isfinite(value) for value in found(nobody).values())
