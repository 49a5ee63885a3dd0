"""The operator's calculator: against a hand-worked device, the real allocation, and what must always hold."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.economy.calculator import MONTH_S, PaybackInput, PaybackResult, Scenario, payback, tokens_in_month
from fieldstone.errors import UsageError
from fieldstone.policy import Policy, RewardPolicy, ServicePolicy
from fieldstone.rewards import AllocationInput, allocate
from fieldstone.services.contract import REGISTRY_SCHEMA, VERDICT_SCHEMA

POLICY = Policy(network_id="test")
SURE = PaybackInput(hardware_usd=300, power_w=0, failure_per_year=0, paths=200, served_cells=0)


def scenario(result: PaybackResult, name: str) -> Scenario:
    return next(one for one in result.scenarios if one.name == name)


def test_a_device_that_only_sells_pays_back_by_division() -> None:
    no_bootstrap = Policy(network_id="x", rewards=RewardPolicy(bootstrap_per_epoch="0"))
    result = payback(replace(SURE, revenue_usd_month=20), no_bootstrap, "sensing")
    for one in result.scenarios:  # $20 less the take of 10 % is $18; 300 / 18 = 16.7
        assert one.payback_months == {"p25": 17, "p50": 17, "p75": 17}
        assert one.histogram == {17: 200} or one.name != "price_paths"
        assert one.profit_usd["p50"] == pytest.approx(18 * 60 - 300)
    assert result.break_even_price_usd is None
    # 10 % a year, 0.797 % a month: 18 · (1 − 1.00797^−n) / 0.00797 is 285 at n = 17 and 301 at n = 18
    assert scenario(result, "utility_only").discounted_months["p50"] == 18


def test_running_costs_are_power_and_fees() -> None:
    result = payback(replace(SURE, power_w=100, kwh_usd=0.3, fees_usd_month=2), POLICY, "sensing")
    assert result.running_usd_month == pytest.approx(0.1 * 730.5 * 0.3 + 2)


def test_break_even_is_the_price_at_which_it_just_pays_back() -> None:
    inp = replace(SURE, power_w=50, revenue_usd_month=1)
    price = payback(inp, POLICY, "sensing").break_even_price_usd
    assert price is not None
    at_it = scenario(payback(replace(inp, token_price_usd=price), POLICY, "sensing"), "zero_growth")
    assert at_it.profit_usd["p50"] == pytest.approx(0, abs=1e-6)


def test_utility_only_ignores_the_token() -> None:
    low, high = (
        payback(replace(SURE, token_price_usd=price, revenue_usd_month=9), POLICY, "sensing") for price in (0.001, 1000)
    )
    assert scenario(low, "utility_only") == scenario(high, "utility_only")
    assert scenario(low, "zero_growth") != scenario(high, "zero_growth")


@given(st.floats(0, 2), st.floats(0, 2))
@settings(max_examples=25, deadline=None)
def test_a_higher_price_never_delays_payback(one: float, two: float) -> None:
    inp = replace(SURE, failure_per_year=0.3, paths=50, months=36, power_w=20)
    results = [payback(replace(inp, token_price_usd=price), POLICY, "sensing") for price in sorted((one, two))]
    for before, after in pairwise(results):
        for slow, fast in zip(before.scenarios, after.scenarios, strict=True):
            assert fast.paid_back >= slow.paid_back
            for quartile, month in slow.payback_months.items():
                assert (fast.payback_months[quartile] or 999) <= (month or 999)


def test_the_same_seed_gives_the_same_result() -> None:
    inp = replace(SURE, failure_per_year=0.2)
    first, again, other = (payback(replace(inp, seed=seed), POLICY, "sensing") for seed in (7, 7, 8))
    assert first == again
    assert first.scenarios[0] != other.scenarios[0]
    json.dumps(first.as_dict())


def test_failure_makes_some_paths_never_pay_back() -> None:
    result = payback(replace(SURE, revenue_usd_month=20, failure_per_year=1.0, paths=2_000), POLICY, "sensing")
    alone = scenario(payback(replace(SURE, revenue_usd_month=20), POLICY, "sensing"), "utility_only")
    utility = scenario(result, "utility_only")
    assert alone.paid_back == 1
    # exp(−17/12) of the devices live long enough
    assert utility.paid_back == pytest.approx(0.2425, abs=0.03)
    assert utility.payback_months["p50"] is None


def test_a_free_device_has_paid_back_at_once() -> None:
    result = payback(replace(SURE, hardware_usd=0), POLICY, "sensing")
    assert scenario(result, "utility_only").payback_months["p50"] == 0


def test_price_paths_have_the_drift_they_are_given() -> None:
    bootstrap = replace(SURE, paths=20_000, months=13, price_volatility_year=0.5, price_drift_year=0.2)
    result = payback(bootstrap, POLICY, "sensing")
    # mean of the paths' profit against the flat price: Σ e^(0.2·m/12), by the median and quantiles only roughly
    assert scenario(result, "price_paths").profit_usd["p50"] > scenario(result, "zero_growth").profit_usd["p50"] * 0.9


@pytest.mark.parametrize(("devices", "quality"), [(1, 1.0), (3, 1.0), (1, 0.4), (5, 0.5)])
def test_the_promise_is_what_the_network_pays(devices: int, quality: float) -> None:
    """One cell, no sales: tokens of the first epoch by the calculator and by `allocate`."""
    names = [f"device-{i}" for i in range(devices)]
    registry = {
        "device": names,
        "operator": [f"0x{i + 1:040x}" for i in range(devices)],
        "model": [""] * devices,
        "lat": [47.0] * devices,
        "lon": [8.0] * devices,
        "elevation_m": [0.0] * devices,
        "enrolled_ms": [0] * devices,
    }
    verdicts = {
        "device": names,
        "service": ["sensing"] * devices,
        "epoch": [1] * devices,
        "quantity": [86_400] * devices,
        "quality_ppm": [int(quality * 1_000_000)] * devices,
        "verdict": ["accepted"] * devices,
        "reasons": [[]] * devices,
        "detail": ["{}"] * devices,
    }
    result = allocate(
        AllocationInput(
            epoch=1,
            epoch_length_s=86_400,
            policy=POLICY.rewards,
            services={"sensing": ServicePolicy()},
            verdicts=pl.DataFrame(verdicts, schema=VERDICT_SCHEMA),
            registry=pl.DataFrame(registry, schema=REGISTRY_SCHEMA),
            revenue=pl.DataFrame(schema={"device": pl.String, "service": pl.String, "revenue_micro_usd": pl.Int64}),
            price_micro_usd=50_000,
            smoothed_revenue_micro_usd=0,
            corrections=pl.DataFrame(schema=dict.fromkeys(("device", "operator", "amount_base", "cause"), pl.String())),
            pools={},
            previous={},
        )
    )
    paid = int(result.statements["bootstrap_base"][0]) / 1e18
    inp = replace(SURE, devices_in_cell=devices, quality=quality)
    assert tokens_in_month(inp, POLICY, "sensing", 0) / (MONTH_S / 86_400) == pytest.approx(paid, rel=1e-12)


def test_more_cells_and_more_revenue_leave_less_bootstrap() -> None:
    alone = tokens_in_month(SURE, POLICY, "sensing", 0)
    assert tokens_in_month(replace(SURE, served_cells=9), POLICY, "sensing", 0) == alone  # below full coverage
    assert tokens_in_month(replace(SURE, served_cells=99), POLICY, "sensing", 0) == pytest.approx(alone / 10)
    busy = replace(SURE, network_revenue_usd_month=100 * MONTH_S / 86_400)
    assert tokens_in_month(busy, POLICY, "sensing", 0) == pytest.approx(alone / 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hardware_usd": -1}, "hardware_usd"),
        ({"hardware_usd": float("nan")}, "finite"),
        ({"kwh_usd": float("inf")}, "finite"),
        ({"quality": 1.5}, "quality"),
        ({"months": 0}, "months"),
        ({"paths": 10**9}, "paths"),
        ({"paths": 100_000, "months": 600}, "paths · months"),
        ({"devices_in_cell": 0}, "devices_in_cell"),
        ({"network_growth_month": -2}, "network_growth_month"),
        ({"price_volatility_year": 50}, "price_volatility_year"),
        ({"token_price_usd": -0.1}, "token_price_usd"),
    ],
)
def test_impossible_numbers_are_refused_by_name(change: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        replace(SURE, **change)  # type: ignore[arg-type]


def test_an_unknown_service_is_refused() -> None:
    with pytest.raises(UsageError, match="it offers sensing"):
        payback(SURE, POLICY, "storage")
