from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from fieldstone import metrics
from fieldstone.economy.experiments import Study
from fieldstone.economy.experiments.outcomes import (
    OUTCOMES,
    Paybacks,
    empty_treasury_months,
    outcomes,
    paybacks,
    quantiles,
    retained,
)


def test_every_outcome_is_one_number_per_run(small: Study) -> None:
    assert set(small.main.outcomes) == {"collapsed", *OUTCOMES}
    assert all(values.shape == (small.runs,) for values in small.main.outcomes.values())


def test_ratios_are_those_of_the_metrics(small: Study) -> None:
    """One run recomputed with the functions that the console and the assessment call, number by number."""
    result, found = small.main.result, small.main.outcomes
    run = 3
    year = slice(-12, None)

    def total(name: str) -> float:
        return math.fsum(result[name][run, year].tolist())

    minted_usd = math.fsum((result["emission"][run, year] * result["price_usd"][run, year]).tolist())
    assert found["subsidy_ratio"][run] == pytest.approx(metrics.subsidy_ratio(minted_usd, total("revenue_usd")))
    costs = total("opex_usd") + total("depreciation_usd")
    assert found["break_even_price_usd"][run] == pytest.approx(
        metrics.break_even_price(costs, total("fiat_usd"), total("operator_tokens"))
    )
    growth = metrics.net_inflation_year(
        total("emission"), total("burn"), float(result["supply"][run, -13]), periods_per_year=1
    )
    assert found["inflation_year"][run] == pytest.approx(growth)


def test_runway_is_the_shortest_of_all_months(small: Study) -> None:
    scenario, result = small.scenario, small.main.result
    for run in range(5):
        shortest = min(
            metrics.runway_months(float(held), scenario.treasury.spend_usd_month - scenario.burn.take * float(revenue))
            for held, revenue in zip(result["treasury_usd"][run], result["revenue_usd"][run], strict=True)
        )
        assert small.main.outcomes["runway_months"][run] == pytest.approx(shortest)


def test_an_empty_treasury_does_not_last_for_ever(small: Study) -> None:
    """Spending stops with the money: judged by what was spent, an empty treasury would have an infinite runway."""
    from dataclasses import replace

    from fieldstone.economy.experiments.outcomes import RECORD
    from fieldstone.economy.flywheel import prepare, simulate

    poor = replace(small.scenario, treasury=replace(small.scenario.treasury, initial_usd=1_000.0, spend_usd_month=2e6))
    prepared = prepare(poor)
    result = simulate(prepared, runs=2, record=RECORD)
    assert (outcomes(result, prepared, None)["runway_months"] == 0).all()
    assert (empty_treasury_months(result) == 1).all()


def test_payback_is_when_margins_have_paid_the_hardware(small: Study) -> None:
    found, margins = small.paybacks, small.main.result.cohorts["margin_usd"]
    run, k = 2, 0
    capex, lead = float(small.main.prepared.cohorts["capex_usd"][run, k]), 1
    sums = np.cumsum(margins[run, lead:, k])
    expected = lead + 1 + int(np.argmax(sums >= capex)) if (sums >= capex).any() else math.inf
    assert found.months[run, k] == expected
    assert (found.discounted >= found.months).all()
    assert 150 <= capex <= 300, "the cost is the one that this run drew"


def test_late_buyers_count_from_their_own_month(small: Study) -> None:
    later = paybacks(small.main.result, small.main.prepared, 6.0)
    assert later.cohorts == ("box", "kit")
    margins = small.main.result.cohorts["margin_usd"][0, 6:, 1]
    sums = np.cumsum(margins)
    expected = 1 + int(np.argmax(sums >= 120)) if (sums >= 120).any() else math.inf
    assert later.months[0, 1] == expected


def test_never_is_not_averaged_with_a_number() -> None:
    months = np.array([[10.0], [20.0], [np.inf], [np.inf]])
    found = Paybacks(0.0, ("x",), months, months, np.array([5.0]))
    assert found.quantiles((0.25, 0.5, 0.51, 1.0)) == [10.0, 20.0, math.inf, math.inf]
    heavy = Paybacks(0.0, ("x", "y"), np.array([[10.0, np.inf]]), np.array([[10.0, np.inf]]), np.array([9.0, 1.0]))
    assert heavy.quantiles((0.5, 0.89, 0.95)) == [10.0, 10.0, math.inf]
    assert quantiles(np.array([np.nan, np.nan])) == [None] * 5
    assert quantiles(np.array([1.0, np.inf, np.nan]), (0.5, 1.0)) == [1.0, math.inf]


def test_retention_never_rises_and_starts_whole(small: Study) -> None:
    found = retained(small.main.result)
    for row in found.kept:
        assert row[0] == pytest.approx(1.0)
        assert all(later <= earlier + 1e-12 for earlier, later in pairwise(row))
    initial = sum(cohort.initial_devices for cohort in small.scenario.cohorts)
    assert found.sizes[0] >= initial
