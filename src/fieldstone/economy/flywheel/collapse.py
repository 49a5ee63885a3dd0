"""When a simulated network is in trouble: eight conditions, each a truth per run with the step it began in.

    utility_npv        utility-only: the worst cohort's margin after wear, discounted, is below 0 over the run
    below_tipping      devices end below N_low (`tipping.equilibria`)
    subsidised_fall    subsidy ratio above 0.9 and a falling price, for `periods` steps on end
    operators_lose     more than half of the devices earn less than they cost to run
    below_break_even   the token trades below the price at which operators cover costs and wear, for `periods` steps
    runway             the treasury lasts for less time than new hardware takes to arrive
    collateral         credits in a vault covered by less than 0.90 of their worth (warn at 0.95)
    self_dealing       a dollar spent on one's own service brings back more than 1 − take
`collapsed`: the fleet ends below N_low, or below 30 % of its largest size. All figures are those of `fieldstone.metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldstone import metrics
from fieldstone.economy.flywheel import emission
from fieldstone.economy.flywheel.engine import Result
from fieldstone.errors import UsageError

FINAL_TO_PEAK = 0.30
SUBSIDY = 0.9
WARN_COLLATERAL, HALT_COLLATERAL = 0.95, 0.90
PERIODS = 3
NEEDED = (
    "devices", "revenue_usd", "collateral", "operator_tokens", "price_usd", "reward_usd", "fiat_usd", "opex_usd",
    "depreciation_usd", "marginal_margin_usd", "treasury_usd", "treasury_spend_usd", "emission",
)  # fmt: skip

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Condition:
    """`held`: in which runs it held. `first_step`: when it began, −1 where it never did; None for a whole-run figure."""

    held: Flags
    first_step: NDArray[np.int64] | None

    @property
    def probability(self) -> metrics.Interval:
        """Share of runs, with Wilson's 95 % interval."""
        found = metrics.collapse_probability(self.held)
        assert found is not None
        return found


def collapsed(result: Result, tipping_devices: float | None = None) -> Flags:
    """Return which runs end below the tipping point or below 30 % of their largest fleet."""
    devices = result["devices"]
    ends = devices[:, -1]
    gone: Flags = ends < FINAL_TO_PEAK * devices.max(axis=1)
    return gone | (ends < tipping_devices) if tipping_devices is not None else gone


def conditions(
    result: Result,
    *,
    utility: Result | None = None,
    tipping_devices: float | None = None,
    periods: int = PERIODS,
) -> dict[str, Condition]:
    """Return the conditions of a result. `utility`: the same runs with `price.speculation` 0; without it the first is left out.

    Raises UsageError if a needed series was not recorded (`NEEDED`).
    """
    missing = [name for name in NEEDED if name not in result.names]
    if missing:
        raise UsageError(f"collapse conditions need the series {', '.join(missing)} to be recorded")
    scenario, dt = result.scenario, result.scenario.step_months
    found: dict[str, Condition] = {}
    if utility is not None:
        rate = (1 + scenario.behaviour.discount_year) ** (-np.arange(1, scenario.steps + 1) / scenario.steps_per_year)
        found["utility_npv"] = Condition((utility["marginal_margin_usd"] * dt * rate).sum(axis=1) < 0, None)
    if tipping_devices is not None:
        below = result["devices"] < tipping_devices
        last_above = np.where(below.all(axis=1), -1, below.shape[1] - 1 - np.argmax(~below[:, ::-1], axis=1))
        found["below_tipping"] = Condition(below[:, -1], np.where(below[:, -1], last_above + 1, -1))
    price, emission_usd = result["price_usd"], result["emission"] * result["price_usd"]
    falling = np.diff(price, axis=1, prepend=price[:, :1]) < 0
    subsidised = np.nan_to_num(metrics.subsidy_ratio(emission_usd, result["revenue_usd"])) > SUBSIDY
    found["subsidised_fall"] = _lasting(subsidised & falling, periods)
    found["operators_lose"] = _lasting(_losing_share(result) > 0.5, 1)
    needed = metrics.break_even_price(
        result["opex_usd"] + result["depreciation_usd"], result["fiat_usd"], result["operator_tokens"]
    )
    found["below_break_even"] = _lasting(np.nan_to_num(needed, nan=0.0, posinf=np.inf) > price, periods)
    lead = max(cohort.lead_months for cohort in scenario.cohorts)
    outflow = result["treasury_spend_usd"] - scenario.burn.take * result["revenue_usd"]
    found["runway"] = _lasting((outflow > 0) & (result["treasury_usd"] < outflow / dt * lead), 1)
    found["collateral"] = _lasting(result["collateral"] < HALT_COLLATERAL, 1)
    found["self_dealing"] = _lasting(own_dollar_back(result) > 1 - scenario.burn.take + 1e-9, 1)
    return found


def own_dollar_back(result: Result) -> NDArray[np.float64]:
    """Return what a dollar of one's own demand brings back per dollar, in each run and step: runs × steps.

    The part paid in proportion to sold work (`data_share`), what is minted per dollar, and the fiat share.
    """
    scenario = result.scenario
    rule = emission.plan_of(scenario).rule
    minted = {emission.DEMAND_FIRST: 1 - scenario.burn.take, emission.REVENUE_SHARE: scenario.emission.revenue_share}
    direct = minted.get(rule, 0.0)
    revenue = result["revenue_usd"]
    pool = np.maximum(result["reward_usd"] - direct * revenue, 0.0)
    back: NDArray[np.float64] = metrics.issuance_coverage(
        revenue, scenario.emission.data_share * pool + result["fiat_usd"]
    )
    return np.where(revenue > 0, back, 0.0) + direct


def _losing_share(result: Result) -> NDArray[np.float64]:
    """Return the share of devices that earn less than they cost to run; all or none of them without cohort series."""
    if "margin_usd" in result.cohorts:
        devices, margin = result.cohorts["devices"], result.cohorts["margin_usd"]
        share: NDArray[np.float64] = np.nan_to_num(
            metrics.utilisation((devices * (margin < 0)).sum(axis=2), devices.sum(axis=2))
        )
        return share
    lost: NDArray[np.float64] = (result["reward_usd"] + result["fiat_usd"] < result["opex_usd"]).astype(np.float64)
    return lost


def _lasting(flags: Flags, periods: int) -> Condition:
    """Return where flags hold for `periods` steps on end, and the first step of the first such stretch."""
    if flags.shape[1] < periods:
        return Condition(np.zeros(len(flags), bool), np.full(len(flags), -1))
    windows: Flags = np.lib.stride_tricks.sliding_window_view(flags, periods, axis=1)
    stretch = np.logical_and.reduce(windows, axis=2)
    held: Flags = np.logical_or.reduce(stretch, axis=1)
    return Condition(held, np.where(held, stretch.argmax(axis=1), -1))
