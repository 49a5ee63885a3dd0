"""The flywheel's method: accounts that close in every step, and each mechanism against its closed form."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from fieldstone import metrics
from fieldstone.economy.flywheel import (
    Behaviour,
    Burn,
    Cohort,
    Emission,
    Price,
    Region,
    Scenario,
    Segment,
    Service,
    Shock,
    Supply,
    Treasury,
)
from fieldstone.economy.flywheel.inputs import by_step, tables
from fieldstone.economy.flywheel.reference import annuity, run, step
from fieldstone.economy.flywheel.state import State, start
from tests.economy.flywheel.scenarios import scenarios

CLOSE = 1e-7


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(scenarios(months=18))
def test_accounts_close_in_every_step(s: Scenario) -> None:
    """S ≥ 0, N ≥ 0, C ≤ S, C + L = S; supply moves by mint less burn; devices by what came and went; dollars add up."""
    made, state = by_step(tables(s)), start(s)
    for t in range(s.steps):
        supply, devices, treasury = state.supply, sum(state.devices), state.treasury
        waiting = sum(sum(ring) for ring in state.ordered)
        row, by_cohort = step(s, made[t], state, t, 11, 0)
        assert all(math.isfinite(value) for value in row.values())
        assert row["supply"] > 0 and row["circulating"] > 0 and min(by_cohort["devices"]) >= 0
        assert row["circulating"] + row["locked"] == pytest.approx(row["supply"], rel=CLOSE)
        assert row["supply"] == pytest.approx(supply + row["emission"] - row["burn"], rel=CLOSE)
        assert row["supply"] <= s.supply.max_tokens * (1 + CLOSE)
        assert row["operator_tokens"] <= row["emission"] * (1 + CLOSE) + CLOSE
        delivered = waiting + row["joins"] - row["backlog"]
        assert row["devices"] == pytest.approx(devices + delivered - row["exits"], rel=CLOSE, abs=CLOSE)
        assert row["served"] <= min(row["offered"], row["capacity"]) * (1 + CLOSE) + CLOSE
        income = s.burn.take * row["revenue_usd"]
        assert row["treasury_usd"] == pytest.approx(treasury + income - row["treasury_spend_usd"], rel=CLOSE, abs=CLOSE)
        assert row["treasury_usd"] >= -CLOSE and row["credits_usd"] >= 0
        if s.burn.mode != "vault":  # every dollar goes to burn, treasury or operators
            burned = s.burn.share if s.burn.mode != "none" else 0.0
            assert row["fiat_usd"] + income + burned * row["revenue_usd"] == pytest.approx(
                row["revenue_usd"], abs=CLOSE
            )
        for k, cohort in enumerate(s.cohorts):
            assert by_cohort["devices"][k] <= cohort.potential_devices * (1 + CLOSE)


def calm(**changes: object) -> Scenario:
    """Return a small network without chance: one cohort, no speculation, steady demand."""
    base = Scenario(
        months=24,
        regions=(Region(coverage_devices=100.0),),
        cohorts=(Cohort(name="a", initial_devices=100.0, potential_devices=100.0, failure_year=0.0),),
        segments=(Segment(name="all", units_month=1_000.0, growth_year=0.0),),
        service=Service(uptime=1.0, usable_capacity=1.0),
        supply=Supply(initial_tokens=1e6),
        emission=Emission(tokens_month=0.0),
        price=Price(speculation=0.0, volatility_year=0.0, jumps_year=0.0),
        behaviour=Behaviour(leave_year=0.0),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_coverage_and_quality() -> None:
    """100 devices on N* = 100 cover 1 − 1/e."""
    one = run(replace(calm(), months=1)).series
    assert one["coverage"][0] == pytest.approx(1 - math.exp(-1))
    hyper = run(
        calm(months=1, service=Service(coverage_form="hyperbolic", uptime=0.5, coverage_exponent=2.0, fraud=0.25))
    )
    assert hyper.series["quality"][0] == pytest.approx(0.5**2 * 0.5 / 1.25)


def test_elastic_demand_answers_to_price() -> None:
    def offered(price: float) -> float:
        segments = (Segment(name="all", elasticity=2.0, growth_year=0.0),)
        return run(calm(months=1, segments=segments, service=Service(price_usd=price))).series["offered"][0]

    assert offered(2.0) == pytest.approx(offered(1.0) / 4)


def test_logit_demand_is_half_where_nobody_has_an_advantage() -> None:
    quality = 1 - math.exp(-1)
    segments = (Segment(name="all", form="logit", units_month=500, quality_alt=quality, growth_year=0.0),)
    assert run(calm(months=1, segments=segments)).series["offered"][0] == pytest.approx(250)


def test_short_supply_leaves_demand_unmet() -> None:
    one = run(calm(months=1)).series
    assert one["served"][0] == pytest.approx(100)
    assert metrics.unmet_share(one["served"][0], one["offered"][0]) == pytest.approx(1 - 100 / one["offered"][0])


def test_burn_takes_what_customers_paid_out_of_the_supply() -> None:
    one = run(calm(months=1, burn=Burn(share=0.4), price=Price(initial_usd=0.5, speculation=0.0))).series
    assert one["burn"][0] == pytest.approx(0.4 * one["revenue_usd"][0] / 0.5)
    assert one["fiat_usd"][0] == pytest.approx(0.6 * one["revenue_usd"][0])


def test_vault_reproduces_the_akash_example() -> None:
    """AEP-76: $1,000 topped up at 1.14 burns 877.192982 AKT; used at another price it mints usd / price."""
    scenario = calm(
        cohorts=(Cohort(name="a", initial_devices=1_000.0, potential_devices=1_000.0, failure_year=0.0),),
        regions=(Region(coverage_devices=1e-3),),
        burn=Burn(mode="vault", credit_months=0.0),
        price=Price(initial_usd=1.14, speculation=1.0, volatility_year=0.0, jumps_year=0.0, fade_year=0.0),
        months=1,
    )
    one = run(scenario).series
    assert one["revenue_usd"][0] == pytest.approx(1_000)
    assert one["burn"][0] == pytest.approx(877.192982, abs=1e-6)
    assert one["emission"][0] == pytest.approx(877.192982, abs=1e-6)


def test_vault_mints_the_difference_when_the_price_falls() -> None:
    """Net supply per dollar = 1/P_settle − 1/P_mint."""
    falling = calm(
        months=2,
        burn=Burn(mode="vault", credit_months=1.0),
        price=Price(initial_usd=1.0, speculation=1.0, volatility_year=0.0, jumps_year=0.0, fade_year=6.0),
    )
    series = run(falling).series
    used, price = series["revenue_usd"], [1.0, *series["price_usd"]]
    assert series["emission"][1] == pytest.approx(used[1] / price[1])
    assert series["collateral"][1] < 1


def test_breaker_stops_new_credits() -> None:
    base = calm(
        cohorts=(Cohort(name="a", initial_devices=100, potential_devices=100, opex_usd_month=0.1, power_w=0.0),),
        months=6,
        burn=Burn(mode="vault", credit_months=2.0, halt_ratio=0.9),
        price=Price(initial_usd=1.0, speculation=1.0, volatility_year=0.0, jumps_year=0.0, fade_year=0.0),
    )
    crash = replace(base, shocks=(Shock(target="price", value=0.5, from_month=2),))
    stopped = run(crash).series
    assert stopped["burn"][3:5] == [0, 0]
    assert stopped["revenue_usd"][3] > 0, "credits that were bought before can be used"
    assert min(run(base).series["burn"]) > 0


def test_fundamental_price_is_diluted_discounted_burn() -> None:
    """A steady burn of B dollars a year and no emission is worth B / r."""
    series = run(calm(months=120, price=Price(initial_usd=1.0, speculation=0.0, discount_year=0.3))).series
    year = series["revenue_usd"][-2] * 12
    assert series["price_usd"][-1] * series["circulating"][-1] == pytest.approx(year / 0.3, rel=0.02)


def test_pool_price_falls_by_what_is_sold() -> None:
    """x·y = K: selling Z tokens into (x, y) moves the price by (y / (y + Z (1 − fee)))²."""
    scenario = calm(
        months=1,
        emission=Emission(tokens_month=1_000.0),
        burn=Burn(mode="none"),
        price=Price(model="pool", initial_usd=1.0, pool_usd=10_000.0, pool_fee=0.0, sell_share=1.0, speculation=0.0),
    )
    assert run(scenario).series["price_usd"][0] == pytest.approx((10_000 / 11_000) ** 2)


def test_a_price_from_outside_is_traded_into_the_pool_and_goes_on_from_there() -> None:
    """A fall to a fifth for three months: what later flows do to the pool starts from the fallen price, and comes back with it."""
    scenario = calm(
        months=9,
        emission=Emission(tokens_month=100.0),
        burn=Burn(mode="none"),
        price=Price(model="pool", initial_usd=1.0, pool_usd=10_000.0, pool_fee=0.0, sell_share=1.0, speculation=0.0),
    )
    shock = Shock(target="price", value=0.2, from_month=3, until_month=6)
    calm_price = run(scenario).series["price_usd"]
    price = run(replace(scenario, shocks=(shock,))).series["price_usd"]
    root = 5**0.5
    x, y = 10_000.0, 10_000.0
    for month, found in enumerate(price):
        factor = {3: 1 / root, 6: root}.get(month, 1.0)
        x, y = x * factor, y / factor + 100.0
        x = 10_000.0 * 10_000.0 / y
        assert found == pytest.approx(x / y), month
    assert price[3] == pytest.approx(0.2 * calm_price[3], rel=0.02)


def test_hardware_arrives_after_its_lead_time() -> None:
    cohort = Cohort(name="a", initial_devices=10, potential_devices=1_000, lead_months=3, failure_year=0, capex_usd=1)
    series = run(calm(cohorts=(cohort,), emission=Emission(tokens_month=1e4), price=Price(speculation=1.0))).series
    assert series["devices"][:3] == [10, 10, 10]
    assert series["devices"][3] > 10
    assert series["backlog"][1] == pytest.approx(series["joins"][0] + series["joins"][1])


def test_sunk_cost_keeps_people_who_cover_their_running_costs() -> None:
    """A device that earns its electricity and not its wear stays if hardware is sunk, and leaves if it is not."""

    def left(sunk: float) -> float:
        cohort = Cohort(
            name="a", initial_devices=100, potential_devices=100, failure_year=0, capex_usd=600, opex_usd_month=0.5,
            power_w=0, life_months=12,
        )  # fmt: skip
        scenario = calm(
            cohorts=(cohort,), burn=Burn(mode="none"), behaviour=Behaviour(leave_year=0, sunk=sunk, join_month=0)
        )
        return run(scenario).series["devices"][-1]

    assert left(1.0) == pytest.approx(100)
    assert left(0.0) < 60


def test_demand_first_never_pays_more_than_the_customer() -> None:
    scenario = calm(
        emission=Emission(policy="fieldstone.demand_first", tokens_month=0.0),
        burn=Burn(share=0.9, take=0.1),
        price=Price(initial_usd=0.5, speculation=1.0, volatility_year=0.0),
    )
    series = run(scenario).series
    for reward, revenue in zip(series["reward_usd"], series["revenue_usd"], strict=True):
        assert reward == pytest.approx(0.9 * revenue)


def test_bootstrap_fades_with_revenue() -> None:
    busy = Emission(policy="fieldstone.demand_first", tokens_month=1_000.0, half_revenue_usd_month=50.0)
    quiet = replace(busy, half_revenue_usd_month=1e9)

    def bootstrap(emission: Emission) -> float:
        series = run(calm(emission=emission, burn=Burn(share=0.9, take=0.1), price=Price(initial_usd=1.0))).series
        return series["emission"][0] - 0.9 * series["revenue_usd"][0]

    assert bootstrap(quiet) == pytest.approx(1_000, rel=1e-6)
    assert bootstrap(busy) < 400


def test_supply_never_passes_its_cap() -> None:
    scenario = calm(
        supply=Supply(initial_tokens=1e6, max_tokens=1.05e6),
        emission=Emission(tokens_month=1e4),
        burn=Burn(mode="none"),
    )
    series = run(scenario).series
    assert max(series["supply"]) == pytest.approx(1.05e6)
    assert series["emission"][-1] == pytest.approx(0, abs=1e-6)


def test_unlock_cliff_frees_everything_at_once() -> None:
    scenario = calm(
        supply=Supply(initial_tokens=1e6, locked_tokens=9e5, cliff_month=6, unlock_months=0), burn=Burn(mode="none")
    )
    series = run(scenario).series
    assert series["circulating"][5] == pytest.approx(1e5)
    assert series["circulating"][6] == pytest.approx(1e6)


def test_a_banned_region_sells_nothing_and_empties() -> None:
    scenario = calm(shocks=(Shock(target="region.world", value=0.0, from_month=6),))
    series = run(scenario).series
    assert series["served"][5] > 0 and series["served"][6] == 0
    assert series["devices"][-1] < series["devices"][5] / 100


def test_treasury_spends_no_more_than_it_has() -> None:
    series = run(calm(treasury=Treasury(initial_usd=100, spend_usd_month=60), burn=Burn(mode="none"))).series
    assert series["treasury_spend_usd"][:3] == pytest.approx([60, 40, 0])
    assert series["treasury_usd"][-1] == 0


def test_common_random_numbers_survive_a_change_of_policy() -> None:
    """Two policies under one seed see the same demand noise and the same price shocks."""
    a = Scenario(months=6, emission=Emission(tokens_month=0.0), segments=(Segment(name="all", noise_year=0.5),))
    b = replace(a, price=replace(a.price, volatility_year=0.0, jumps_year=0.0))
    first, second = run(a, seed=4).series, run(b, seed=4).series
    assert first["demand"] == pytest.approx(second["demand"], rel=0.2)
    assert run(a, seed=4).series == first
    assert run(a, seed=5).series != first


def test_annuity() -> None:
    assert annuity(0.0, 12) == 12
    assert annuity(0.12, 12) == pytest.approx((1 - 1.01**-12) / 0.01)


def test_state_starts_with_what_circulates() -> None:
    state: State = start(calm(supply=Supply(initial_tokens=10.0, locked_tokens=4.0)))
    assert state.circulating == 6


def test_demand_grows_towards_its_market() -> None:
    """D' = D + D · g · q · (1 − D/M) / 12."""
    segments = (Segment(name="all", units_month=1_000.0, growth_year=6.0, market_units_month=4_000.0),)
    scenario = calm(months=120, segments=segments, regions=(Region(coverage_devices=1e-6),))
    series = run(replace(scenario, behaviour=Behaviour(leave_year=0.0, leave_month=0.0))).series
    assert series["demand"][0] == pytest.approx(1_000 * (1 + 6 / 12 * (1 - 1 / 4)))
    assert series["demand"][-1] == pytest.approx(4_000, rel=1e-3)
    assert max(series["demand"]) <= 4_000
