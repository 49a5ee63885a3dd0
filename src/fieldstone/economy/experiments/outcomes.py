"""What a founder asks of each run: one number per run for devices, price, subsidy, break-even, payback, runway.

Ratios are those of `fieldstone.metrics`, taken over the run's last year. An infinite payback or runway means "never"
within the horizon. Quantiles are values that occurred (nearest rank), so "never" is not averaged with a number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldstone import metrics
from fieldstone.economy.flywheel import Prepared, Result
from fieldstone.economy.flywheel.collapse import NEEDED, collapsed

Array = NDArray[np.float64]

RECORD: tuple[str, ...] = tuple(
    dict.fromkeys((*NEEDED, "burn", "supply", "circulating", "offered", "served", "quality", "joins"))
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A figure of one run: its unit as charts write it, its meaning, and which direction is good (1, −1, 0: neither)."""

    unit: str
    meaning: str
    good: int


OUTCOMES: dict[str, Outcome] = {
    "devices_end": Outcome("devices", "devices at the end", 1),
    "revenue_usd_year": Outcome("$", "revenue of the last year", 1),
    "quality_end": Outcome("%", "quality of service at the end", 1),
    "margin_usd_month": Outcome("$", "what a device earns a month after running costs, last year", 1),
    "price_usd_end": Outcome("$", "token price at the end", 1),
    "subsidy_ratio": Outcome("%", "subsidy ratio, last year", -1),
    "issuance_coverage": Outcome("%", "revenue per dollar minted, last year", 1),
    "burn_to_emission": Outcome("", "tokens burned per token minted, last year", 1),
    "inflation_year": Outcome("%", "growth of the token supply, last year", -1),
    "break_even_price_usd": Outcome("$", "token price at which operators cover costs and wear, last year", -1),
    "runway_months": Outcome("months", "shortest time that the treasury would have lasted", 1),
}


def outcomes(result: Result, prepared: Prepared, tipping_devices: float | None) -> dict[str, Array]:
    """Return name → one value per run; `collapsed` is 1 or 0. NaN: unknown (nothing minted and nothing earned …)."""
    steps, dt = result.scenario.steps, result.scenario.step_months
    last = slice(max(0, steps - result.scenario.steps_per_year), steps)

    def total(name: str) -> Array:
        summed: Array = result[name][:, last].sum(axis=1)
        return summed

    emission_usd = (result["emission"] * result["price_usd"])[:, last].sum(axis=1)
    device_months = total("devices") * dt
    costs = total("opex_usd") + total("depreciation_usd")
    earned = total("reward_usd") + total("fiat_usd") - total("opex_usd")
    before = (
        result["supply"][:, last.start - 1]
        if last.start
        else np.full(result.runs, result.scenario.supply.initial_tokens)
    )
    years = (last.stop - last.start) * dt / 12
    return {
        "collapsed": collapsed(result, tipping_devices).astype(np.float64),
        "devices_end": result["devices"][:, -1],
        "revenue_usd_year": total("revenue_usd") / years,
        "quality_end": result["quality"][:, -1],
        "margin_usd_month": metrics.revenue_per_device(earned, device_months),
        "price_usd_end": result["price_usd"][:, -1],
        "subsidy_ratio": metrics.subsidy_ratio(emission_usd, total("revenue_usd")),
        "issuance_coverage": metrics.issuance_coverage(emission_usd, total("revenue_usd")),
        "burn_to_emission": metrics.burn_to_emission(total("burn"), total("emission")),
        "inflation_year": metrics.net_inflation_year(total("emission"), total("burn"), before, periods_per_year=1 / years),
        "break_even_price_usd": metrics.break_even_price(costs, total("fiat_usd"), total("operator_tokens")),
        "runway_months": runways(result, prepared),
    }  # fmt: skip


def runways(result: Result, prepared: Prepared) -> Array:
    """Return, per run, the shortest runway of any month in which the treasury still held something.

    Outflow is what the scenario plans to spend, less the take of that step: an empty treasury spends nothing more, and
    would look as if it lasted for ever. Infinite: income covers the spending.
    """
    scenario = result.scenario
    planned = np.broadcast_to(prepared.parameters["treasury_spend_usd_month"], (result.runs,))[:, None]
    take = np.broadcast_to(prepared.parameters["burn_take"], (result.runs,))[:, None]
    outflow = planned - take * result["revenue_usd"] / scenario.step_months
    lasting = np.where(outflow > 0, result["treasury_usd"] / np.where(outflow > 0, outflow, 1.0), np.inf)
    worst = lasting.argmin(axis=1)
    rows = np.arange(result.runs)
    pairs = zip(result["treasury_usd"][rows, worst], outflow[rows, worst], strict=True)
    return np.array([metrics.runway_months(float(held), float(net)) for held, net in pairs])


def empty_treasury_months(result: Result) -> Array:
    """Return the month in which each run's treasury is empty; infinite: never, or there was none to begin with."""
    if result.scenario.treasury.initial_usd <= 0:
        return np.full(result.runs, np.inf)
    # what is left after the last dollar is spent may be a rounding of it
    empty = result["treasury_usd"] <= 1e-9 * result.scenario.treasury.initial_usd
    month = (empty.argmax(axis=1) + 1) * result.scenario.step_months
    return np.where(empty.any(axis=1), month, np.inf)


@dataclass(frozen=True, slots=True)
class Paybacks:
    """Months until a device bought at `start_month` has paid back: runs × cohorts, infinite for never in the horizon.

    `weights`: how much each cohort counts (its part of all device-months). Margins are those of a device that works on.
    """

    start_month: float
    cohorts: tuple[str, ...]
    months: Array
    discounted: Array
    weights: Array

    def quantiles(self, shares: Sequence[float], *, discounted: bool = False) -> list[float]:
        """Return weighted quantiles over runs and cohorts; infinite: never."""
        values = self.discounted if discounted else self.months
        if not values.size:
            return [math.inf] * len(shares)
        weights = np.broadcast_to(self.weights, values.shape).ravel()
        order = np.argsort(values, axis=None, kind="stable")
        reached = np.cumsum(weights[order]) / weights.sum()
        places = np.minimum(np.searchsorted(reached, np.asarray(shares) - 1e-12), order.size - 1)
        return [float(values.ravel()[order[place]]) for place in places]


def paybacks(result: Result, prepared: Prepared, start_month: float = 0.0) -> Paybacks:
    """Return the paybacks of devices bought at a month, of the cohorts that can be bought then."""
    scenario, dt = result.scenario, result.scenario.step_months
    can = [
        k
        for k, cohort in enumerate(scenario.cohorts)
        if cohort.available_from_month <= start_month <= cohort.available_until_month
    ]
    rate = (1 + scenario.behaviour.discount_year) ** (dt / 12) - 1
    months = np.full((result.runs, len(can)), np.inf)
    discounted = months.copy()
    for column, k in enumerate(can):
        lead = scenario.cohorts[k].lead_months
        first = round((start_month + lead) / dt)
        capex = np.broadcast_to(prepared.cohorts["capex_usd"][:, k], (result.runs,))
        margins = result.cohorts["margin_usd"][:, first:, k] * dt
        for run in range(result.runs):
            own = margins[run].tolist()
            cost = float(capex[run])
            months[run, column] = lead + dt * metrics.discounted_payback_months(cost, own, 0.0)
            discounted[run, column] = lead + dt * metrics.discounted_payback_months(cost, own, rate)
    devices = result.cohorts["devices"].sum(axis=(0, 1))[can]
    weights = devices if devices.sum() > 0 else np.ones(len(can))
    return Paybacks(start_month, tuple(scenario.cohorts[k].name for k in can), months, discounted, weights)


@dataclass(frozen=True, slots=True)
class Retained:
    """Part of the devices that joined in a month still active later: `kept[row][n]` after n × `every_months`."""

    joined_month: tuple[float, ...]
    sizes: tuple[int, ...]
    every_months: float
    kept: tuple[tuple[float, ...], ...]


def retained(result: Result, *, rows: int = 8, columns: int = 10) -> Retained:
    """Return retention by month of joining: the median over runs of Π (1 − hazard) from there on."""
    scenario, dt = result.scenario, result.scenario.step_months
    every = max(1, math.ceil(scenario.steps / columns))
    devices, hazard = result.cohorts["devices"], result.cohorts["hazard"]
    there = devices.sum(axis=2)
    weighted = (devices * hazard).sum(axis=2)
    left = np.divide(weighted, there, out=hazard.mean(axis=2), where=there > 0)
    log_kept = np.cumsum(np.log1p(-np.minimum(left, 1 - 1e-12)), axis=1)
    log_kept = np.concatenate([np.zeros((result.runs, 1)), log_kept], axis=1)
    between = max(1, math.ceil(scenario.steps / rows))
    starts = list(range(0, scenario.steps, between))
    initial = sum(cohort.initial_devices for cohort in scenario.cohorts)
    kept, sizes = [], []
    for start in starts:
        joined = float(result["joins"][:, start : start + between].sum(axis=1).mean()) + (initial if start == 0 else 0)
        ends = list(range(start, scenario.steps + 1, every))
        active = [float(np.median(np.exp(log_kept[:, end] - log_kept[:, start]))) * joined for end in ends]
        kept.append(tuple(metrics.retention(active, joined)))
        sizes.append(round(joined))
    return Retained(tuple(start * dt for start in starts), tuple(sizes), every * dt, tuple(kept))


def quantiles(values: Array, shares: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95)) -> list[float | None]:
    """Return nearest-rank quantiles of what is known; None when nothing is."""
    known = values[~np.isnan(values)]
    if not known.size:
        return [None] * len(shares)
    return [float(value) for value in np.quantile(known, shares, method="inverted_cdf")]
