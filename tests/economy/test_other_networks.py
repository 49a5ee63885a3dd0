"""Arweave, Akash, Livepeer, Render and Fieldstone: their invariants."""

from __future__ import annotations

from decimal import Decimal, localcontext
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.economy.policies import arweave, evaluate, render
from fieldstone.economy.policies.demand_first import POLICIES as DEMAND_FIRST
from fieldstone.policy import RewardPolicy, ServicePolicy
from fieldstone.rewards import AllocationInput, allocate
from fieldstone.services.contract import REGISTRY_SCHEMA, VERDICT_SCHEMA

AMOUNT = st.integers(0, 10**24)


@pytest.mark.parametrize("height", [0, 1, 95_001, 262_800, 812_970, 2_000_000])
def test_the_block_rule_is_the_curve(height: int) -> None:
    with localcontext() as context:
        context.prec = 50
        ln2 = Decimal("0.6931471805599453")
        exact = 11_000_000 * 10**12 * (-height * ln2 / 262_800).exp() * ln2 / 262_800
        # the Taylor series is cut after 24 terms: exact in the first four years, 5e-10 off after eight
        assert arweave.base_inflation(height) == (
            int(exact) if height < 1_000_000 else pytest.approx(float(exact), rel=1e-9)
        )


def test_the_first_year_repairs_the_earlier_schedule() -> None:
    assert arweave.block_inflation(95_000) is None
    assert arweave.block_inflation(262_800) == arweave.base_inflation(262_800) + 13_275_279_633_337
    assert arweave.block_inflation(262_801) == arweave.base_inflation(262_801)


def test_the_closed_year_sum_is_the_sum_of_its_blocks() -> None:
    """Every 1,000th block with the trapezium rule: exact to 1e-7 for so smooth a curve."""
    heights = range(0, 262_800 + 1, 600)
    values = [arweave.base_inflation(height) / 10**12 for height in heights]
    integral = 600 * (sum(values) - (values[0] + values[-1]) / 2)
    summed = integral + (values[0] - values[-1]) / 2  # a sum over [0, 262,800) beside its integral
    assert evaluate("arweave.inflation", {"year": 1})["ar"] == pytest.approx(summed, rel=1e-6)


def test_year_sums_halve() -> None:
    years = [evaluate("arweave.inflation", {"year": year})["ar"] for year in range(1, 30)]
    assert all(later == pytest.approx(earlier / 2, rel=1e-12) for earlier, later in pairwise(years))


@given(st.integers(0, 10**15), st.integers(0, 10**9), st.integers(1, 64))
@settings(max_examples=100, deadline=None)
def test_miner_and_endowment_share_the_whole_fee(size: int, price: int, kryder: int) -> None:
    fee = evaluate("arweave.upload_fee", {"size_bytes": size, "price_gib_minute": price, "kryder": kryder})
    assert fee["miner_winston"] + fee["endowment_winston"] == fee["fee_winston"]
    assert fee["miner_winston"] * 21 <= fee["fee_winston"]


@given(AMOUNT, AMOUNT, st.integers(0, 10**18), st.integers(0, 10**9), AMOUNT, AMOUNT, st.integers(0, 1))
@settings(max_examples=100, deadline=None)
def test_endowment_is_never_negative(
    inflation: int, fees: int, weave: int, price: int, endowment: int, debt: int, latch: int
) -> None:
    keys = {"inflation_winston": inflation, "miner_fees_winston": fees, "weave_bytes": weave, "price_gib_minute": price}
    result = evaluate("arweave.payout", {**keys, "endowment_winston": endowment, "debt_winston": debt, "latch": latch})
    drawn = endowment - result["endowment_winston"]
    assert result["endowment_winston"] >= 0 <= drawn
    assert result["paid_winston"] == inflation + fees + drawn + result["debt_winston"] - debt


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 10**12), st.integers(1, 10**4)), max_size=12))
@settings(max_examples=100, deadline=None)
def test_vault_is_never_negative(steps: list[tuple[bool, int, int]]) -> None:
    credits = burned = minted = 0
    for is_top_up, act, cents in steps:
        keys = {"act_micro": act, "price": f"{cents / 100:.2f}"}
        if is_top_up:
            step = evaluate("akash.top_up", keys)
            credits += step["credits_uakt"]
            burned += step["burned_uakt"]
        else:
            step = evaluate("akash.settle", {**keys, "credits_uakt": credits})
            assert step["from_vault_uakt"] + step["minted_uakt"] == step["paid_uakt"]
            credits = step["credits_after_uakt"]
            minted += step["paid_uakt"]
        assert credits >= max(0, burned - minted)


@given(AMOUNT.filter(bool), st.integers(1, 10**4))
@settings(max_examples=100, deadline=None)
def test_a_round_trip_never_gains(act: int, cents: int) -> None:
    keys = {"act_micro": act, "price": f"{cents / 100:.2f}", "spread_bps": 0}
    assert (
        evaluate("akash.settle", {**keys, "credits_uakt": 0})["paid_uakt"]
        <= evaluate("akash.top_up", keys)["burned_uakt"]
    )


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=6), st.integers(0, 1000), st.integers(0, 10**9))
@settings(max_examples=100, deadline=None)
def test_escrow_never_pays_more_than_it_holds(rates: list[int], blocks: int, funds: int) -> None:
    keys = {"rates": ",".join(map(str, rates)), "settled_at": 5, "height": 5 + blocks, "funds": funds}
    result = evaluate("akash.escrow", keys)
    assert sum(result["transfers"]) + result["left"] == funds
    assert result["left"] >= 0


@given(AMOUNT, AMOUNT, st.integers(0, 10**6))
@settings(max_examples=100, deadline=None)
def test_inflation_moves_towards_the_target(bonded: int, more: int, inflation: int) -> None:
    supply = bonded + more
    result = evaluate("livepeer.inflation", {"bonded": bonded, "supply": supply, "inflation": inflation})
    change = result["inflation"] - inflation
    assert change == 3 if result["bonding_rate"] < 500_000 else change <= 0
    assert result["mintable"] == supply * result["inflation"] // 10**6


def test_render_never_passes_its_extra_supply() -> None:
    months = [evaluate("render.emission", {"month": month}) for month in range(1, 700)]
    assert sum(month["render"] for month in months) <= render.EXTRA_SUPPLY
    assert months[-1]["render"] == 0 and months[200]["render"] > 0
    for before, after in pairwise(months):
        assert after["emitted_before"] == min(before["emitted_before"] + before["render"], render.EXTRA_SUPPLY)


def paid_by_the_network(policy: RewardPolicy, epoch: int, revenue: int, before: int) -> dict[str, int]:
    """Return what `allocate` pays to one device that works and sells."""
    registry = {
        "device": ["d"],
        "operator": ["0x" + "1" * 40],
        "model": [""],
        "lat": [10.0],
        "lon": [20.0],
        "elevation_m": [0.0],
        "enrolled_ms": [0],
    }
    result = allocate(
        AllocationInput(
            epoch=epoch,
            epoch_length_s=86_400,
            policy=policy,
            services={"sensing": ServicePolicy()},
            verdicts=pl.DataFrame(schema=VERDICT_SCHEMA),
            registry=pl.DataFrame(registry, schema=REGISTRY_SCHEMA),
            revenue=pl.DataFrame(
                {"device": ["d"], "service": ["sensing"], "revenue_micro_usd": [revenue]},
                schema={"device": pl.String, "service": pl.String, "revenue_micro_usd": pl.Int64},
            ),
            price_micro_usd=policy.token_price_micro_usd,
            smoothed_revenue_micro_usd=before,
            corrections=pl.DataFrame(schema=dict.fromkeys(("device", "operator", "amount_base", "cause"), pl.String())),
            pools={},
            previous={},
            treasury="0x" + "2" * 40,
        )
    )
    return {
        "paid_base": int(result.statements["paid_base"][0]),
        "bootstrap_offered": result.totals["bootstrap_offered"],
        "schedule_base": result.totals["schedule"],
        "smoothed_micro_usd": result.smoothed_revenue_micro_usd,
        "balance_sum": sum(result.balances.values()),
    }


@given(st.integers(1, 60), st.integers(0, 2_000_000_000), st.integers(0, 10**9), st.integers(0, 200_000))
@settings(max_examples=40, deadline=None)
def test_the_simulated_and_the_paid_schedule_are_one(epoch: int, revenue: int, before: int, decay: int) -> None:
    policy = RewardPolicy(bootstrap_decay_ppm=decay)
    paid = paid_by_the_network(policy, epoch, revenue, before)
    keys = {"epoch": epoch, "revenue_micro_usd": revenue, "smoothed_before_micro_usd": before, "decay_ppm": decay}
    model = evaluate("fieldstone.demand_first", keys)
    assert model["paid_base"] == paid["paid_base"]
    assert model["schedule_base"] == paid["schedule_base"]
    assert model["smoothed_micro_usd"] == paid["smoothed_micro_usd"]
    assert abs(model["paid_base"] + model["treasury_base"] - paid["balance_sum"]) <= 1  # the cap floors each line
    room = policy.max_epoch_mint_base - model["paid_base"] - model["treasury_base"]
    assert model["bootstrap_base"] == min(paid["bootstrap_offered"], room)


def test_the_defaults_are_those_of_network_toml() -> None:
    policy = RewardPolicy()
    defaults = {key.name: key.default for key in DEMAND_FIRST[0].keys if key.default}
    assert defaults == {
        "price_micro_usd": str(policy.token_price_micro_usd),
        "smoothed_before_micro_usd": "0",
        "take_ppm": str(policy.take_ppm),
        "bootstrap_per_epoch_base": str(policy.bootstrap_base),
        "decay_ppm": str(policy.bootstrap_decay_ppm),
        "r_half_micro_usd": str(policy.r_half_micro_usd),
        "smoothing_ppm": str(policy.revenue_smoothing_ppm),
        "max_epoch_mint_base": str(policy.max_epoch_mint_base),
    }


@given(st.integers(0, 10**15), st.integers(1, 10**9), st.integers(0, 10**6))
@settings(max_examples=100, deadline=None)
def test_never_more_than_the_customer_paid(revenue: int, price: int, take: int) -> None:
    keys = {"epoch": 1, "revenue_micro_usd": revenue, "price_micro_usd": price, "take_ppm": take}
    result = evaluate("fieldstone.demand_first", {**keys, "max_epoch_mint_base": 10**40})
    assert result["paid_base"] * price <= revenue * 10**18
    assert result["paid_base"] + result["treasury_base"] == revenue * 10**18 // price
