"""Put a live network's numbers in place of guesses: what sealed epochs tell, and a list of what they cannot.

The figures are those of `fieldstone.metrics`, over the same statements as the console and the assessment. A unit of service
is a dollar of it at today's prices, for a network may sell many products. Measured numbers are of grade A: anyone who
has the epochs gets the same. What is not in them stays at the scenario's value and is listed as assumed.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import polars as pl

from fieldstone import metrics
from fieldstone.economy.experiments.live import DAYS_PER_MONTH, Measured, Seen, figures, growth_year, seen_in
from fieldstone.economy.experiments.quantities import Quantity
from fieldstone.economy.experiments.scenario_file import PARTS, Input, ScenarioFile
from fieldstone.economy.flywheel import Cohort, Scenario
from fieldstone.economy.flywheel.inputs import by_step, tables
from fieldstone.economy.flywheel.parameters import BIG
from fieldstone.economy.flywheel.sales import sell
from fieldstone.economy.flywheel.state import start
from fieldstone.errors import UsageError
from fieldstone.market.payers import Sealed
from fieldstone.policy import Policy
from fieldstone.rewards.emission import schedule
from fieldstone.units import PPM, TOKEN_BASE, USD_MICRO

UNIT = "customers"  # name of the segment that stands for all of them

ASSUMED = (
    "what the hardware costs, draws and how long it lives (cohorts.*.capex_usd, opex_usd_month, power_w, life_months)",
    "how many operators might still join, and what return they want (potential_devices, hurdle)",
    "that the policy's full_coverage_cells, each at its target, serve 63 % of the demand; all devices count as one region",
    "how demand answers to price, and how it grows if it is not listed as measured (elasticity, growth_year, churn_year)",
    "what becomes of customers' dollars beyond the take: taken as buying and burning tokens (burn.share)",
    "tokens that are locked or were given out elsewhere than by epochs: taken as none (supply.locked_tokens)",
    "the market of the token (price.model, pool_usd, volatility_year, speculation)",
    "the treasury's dollars and spending (treasury.*)",
)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Which epochs were read, what they said, and what had to be assumed."""

    title: str
    days: float
    measured: tuple[Measured, ...]
    assumed: tuple[str, ...]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "epochs": self.title,
            "days": self.days,
            "measured": [
                {"name": one.name, "value": one.value, "unit": one.unit, "meaning": one.meaning}
                for one in self.measured
            ],
            "assumed": list(self.assumed),
            "warnings": list(self.warnings),
        }


def calibrated(file: ScenarioFile, epochs: Sequence[Sealed]) -> tuple[ScenarioFile, Calibration]:
    """Return the scenario with a network's numbers, and what was measured. `epochs`: oldest first.

    Raises UsageError without epochs, CheckFailed on a file that was changed after sealing.
    """
    if not epochs:
        raise UsageError("no epoch is sealed yet; a scenario is calibrated from sealed epochs")
    for sealed in epochs:
        sealed.check_files()
    first, last = epochs[0].manifest, epochs[-1].manifest
    state = json.loads((epochs[-1].folder / "state.json").read_bytes())
    policy = msgspec.convert(state["policy"], Policy)
    seen = seen_in(epochs, policy)
    title = f"sealed epochs {first.epoch} to {last.epoch} of {last.network_id}"
    date = np.datetime_as_string(np.datetime64(int(last.end_ms) - 1, "ms"), unit="D")
    book = _Book(file, title, str(date))
    active = set[str]().union(*seen.active)
    book.cohorts(epochs[-1].table("state-registry"), active)
    book.emission(policy, int(last.epoch), seen)
    book.coverage(policy)
    book.price(state["price_micro_usd"] / USD_MICRO, int(last.total_base) / TOKEN_BASE)
    book.demand(seen, len(active))
    named = replace(book.file().scenario, name=str(last.network_id))
    summary = f"Calibrated from {title}; what epochs cannot tell is that of the scenario “{file.scenario.name}”."
    return replace(book.file(), scenario=named, summary=summary), Calibration(
        title, seen.days, tuple(figures(seen, active)), ASSUMED, tuple(book.warnings)
    )


class _Book:
    """A scenario being filled with measured numbers."""

    def __init__(self, file: ScenarioFile, source: str, date: str) -> None:
        self._file, self._source, self._date = file, source, date
        scenario = file.scenario
        self._parts: dict[str, dict[str, Any]] = {name: {} for name in PARTS}
        self._region = replace(scenario.regions[0], demand_share=1.0)
        self._cohorts: tuple[Cohort, ...] = ()
        self._segment = replace(scenario.segments[0], name=UNIT)
        self._inputs: dict[str, Input] = {
            key: one
            for key, one in file.inputs.items()
            if key.split(".")[0] in PARTS or key.startswith(f"regions.{self._region.name}.")
        }
        self._copy(f"segments.{scenario.segments[0].name}", f"segments.{UNIT}")
        self.warnings: list[str] = []

    def cohorts(self, registry: pl.DataFrame, active: set[str]) -> None:
        """Make one cohort of each hardware model that was verified in the epochs."""
        base = {cohort.name: cohort for cohort in self._file.scenario.cohorts}
        template = next(iter(base.values()))
        counts = Counter(
            re.sub(r"[^A-Za-z0-9_ -]", " ", str(model)).strip()[:40] or "unnamed"
            for device, model in registry.select("device", "model").iter_rows()
            if device in active
        )
        if not counts:
            self.warnings.append("No device was verified in these epochs; the scenario's fleet is kept.")
            counts = Counter({cohort.name: int(cohort.initial_devices) for cohort in base.values()})
        made = []
        for model, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            like = base.get(model, template)
            self._copy(f"cohorts.{like.name}", f"cohorts.{model}")
            potential = max(like.potential_devices, 10.0 * count)
            made.append(
                replace(
                    like, name=model, region=self._region.name, initial_devices=float(count),
                    potential_devices=potential, available_from_month=0.0,
                )
            )  # fmt: skip
            if active:
                self._measure(f"cohorts.{model}.initial_devices", float(count))
            self._assume(f"cohorts.{model}.potential_devices", potential)
            self._assume(f"cohorts.{model}.available_from_month", 0.0)
        self._cohorts = tuple(made)

    def emission(self, policy: Policy, epoch: int, seen: Seen) -> None:
        """Set the reward policy that pays the network, in the model's units."""
        rewards = policy.rewards
        per_month = DAYS_PER_MONTH * 86_400 / policy.epoch.length_s
        now = schedule(epoch + 1, rewards.bootstrap_base, rewards.bootstrap_decay_ppm) / TOKEN_BASE
        weight = rewards.revenue_smoothing_ppm / PPM
        memory = 1 / per_month / -math.log1p(-weight) if 0 < weight < 1 else 0.001
        self._set("emission", "policy", "fieldstone.demand_first")
        self._set("emission", "tokens_month", now * per_month)
        self._set("emission", "decay_year", 1 - (1 - rewards.bootstrap_decay_ppm / PPM) ** (12 * per_month))
        self._set("emission", "half_revenue_usd_month", max(rewards.r_half_micro_usd / USD_MICRO * per_month, 1e-6))
        self._set("emission", "revenue_memory_months", min(max(memory, 0.001), 120.0))
        self._set("emission", "operator_share", 1.0)
        self._set("emission", "data_share", 0.0)
        if seen.expected_bootstrap > 0:
            self._set("emission", "scale", min(seen.bootstrap_tokens / seen.expected_bootstrap, 1000.0))
        take = rewards.take_ppm / PPM
        self._parts["burn"] |= {"mode": "burn", "share": 1 - take}
        self._set("burn", "take", take)
        self._assume("burn.share", 1 - take)

    def coverage(self, policy: Policy) -> None:
        """Set the devices that cover the region: the policy's cells, each with the work that makes its pool whole."""
        target = min((service.cell_target_rate for service in policy.services.values()), default=1)
        devices = float(policy.rewards.full_coverage_cells * target)
        self._region = replace(self._region, coverage_devices=devices)
        self._measure(f"regions.{self._region.name}.coverage_devices", devices)
        self._assume(f"regions.{self._region.name}.demand_share", 1.0)

    def price(self, price_usd: float, tokens: float) -> None:
        """Set the token's price and how many there are."""
        self._set("price", "initial_usd", max(price_usd, 1e-9))
        self._parts["supply"] |= {"locked_tokens": 0.0, "max_tokens": BIG}
        self._assume("supply.locked_tokens", 0.0)
        self._assume("supply.max_tokens", BIG)
        if tokens > 0:
            self._set("supply", "initial_tokens", tokens)
        else:
            self.warnings.append("Nothing was minted yet; the scenario's token supply is kept.")

    def demand(self, seen: Seen, active: int) -> None:
        """Set demand so that the model sells today what the network sold; a unit is a dollar at today's prices."""
        service, segment = self._file.scenario.service, self._segment
        revenue_month = seen.revenue_usd / seen.days * DAYS_PER_MONTH
        self._segment = replace(
            segment, price_ref_usd=1.0, price_alt_usd=segment.price_alt_usd / service.price_usd, units_month=1.0,
            market_units_month=BIG,
        )  # fmt: skip
        self._assume(f"segments.{UNIT}.price_ref_usd", 1.0)
        self._assume(f"segments.{UNIT}.price_alt_usd", self._segment.price_alt_usd)
        self._set("service", "price_usd", 1.0)
        if active and seen.good_rows:
            self._set("service", "uptime", min(1.0, seen.good_rows / (active * len(seen.active))))
        capacity = self._file.scenario.cohorts[0].capacity_units_month * service.price_usd
        if revenue_month > 0 and active:
            used = metrics.utilisation(len(seen.sold & set[str]().union(*seen.active)), active) or 1.0
            works = self._parts["service"].get("uptime", service.uptime) * service.usable_capacity
            capacity = max(revenue_month / (active * used * max(works, 1e-9)), 1e-9)
        self._cohorts = tuple(replace(cohort, capacity_units_month=capacity) for cohort in self._cohorts)
        for cohort in self._cohorts:
            (self._measure if revenue_month > 0 else self._assume)(
                f"cohorts.{cohort.name}.capacity_units_month", capacity
            )
        if revenue_month <= 0:
            self.warnings.append("No customer paid in these epochs; the scenario's demand is kept.")
            self._segment = replace(
                self._segment,
                units_month=segment.units_month * service.price_usd,
                market_units_month=min(segment.market_units_month * service.price_usd, BIG),
            )
            self._assume(f"segments.{UNIT}.market_units_month", self._segment.market_units_month)
            self._assume(f"segments.{UNIT}.units_month", self._segment.units_month)
            return
        offered, quality = _offered_per_unit(self._scenario())
        if offered <= 0:
            raise UsageError("with the scenario's coverage no demand can be met by the network's devices")
        units = min(revenue_month / offered, BIG / 2)
        # the market stays as many times larger than today's demand as the scenario says
        market = min(segment.market_units_month / max(segment.units_month, 1e-9) * units, BIG)
        self._segment = replace(self._segment, units_month=units, market_units_month=max(market, 1e-9))
        self._assume(f"segments.{UNIT}.market_units_month", self._segment.market_units_month)
        self._measure(f"segments.{UNIT}.units_month", self._segment.units_month)
        if quality < 0.2:
            self.warnings.append(
                f"Today's fleet offers {quality:.0%} of full quality, so the demand that better coverage would find is "
                f"extrapolated {1 / max(quality, 1e-9):,.0f}-fold; check segments.{UNIT}.units_month.".replace(
                    "%", " %", 1
                )
            )
        growth = growth_year(seen)
        if growth is None:
            self.warnings.append(
                f"{len(seen.revenues_usd)} epochs in {seen.days:.1f} days are too few for a trend; growth of demand is assumed."
            )
        else:
            value = min(max((growth + self._segment.churn_year) / max(quality, 1e-9), -5.0), 20.0)
            self._segment = replace(self._segment, growth_year=value)
            self._measure(f"segments.{UNIT}.growth_year", value)

    def file(self) -> ScenarioFile:
        """Return the scenario with what was measured."""
        return replace(self._file, scenario=self._scenario(), inputs=self._inputs)

    def _scenario(self) -> Scenario:
        base = self._file.scenario
        parts = {name: replace(getattr(base, name), **values) for name, values in self._parts.items()}
        known = {self._region.name, UNIT, *(cohort.name for cohort in self._cohorts)}
        kept = tuple(shock for shock in base.shocks if shock.target.partition(".")[2] in ("", *known))
        dropped = len(base.shocks) - len(kept)
        text = f"{dropped} shocks of the scenario name parts that the network has not; they are left out."
        if dropped and text not in self.warnings:
            self.warnings.append(text)
        return replace(
            base, regions=(self._region,), cohorts=self._cohorts, segments=(self._segment,), shocks=kept, **parts
        )

    def _set(self, part: str, name: str, value: float | str) -> None:
        self._parts[part][name] = value
        if not isinstance(value, str):
            self._measure(f"{part}.{name}", value)

    def _measure(self, key: str, value: float) -> None:
        self._put(key, value, Quantity(value, self._unit(key), self._source, self._date, "A"), "measured")

    def _assume(self, key: str, value: float) -> None:
        self._put(key, value, Quantity(value, self._unit(key), "follows from the calibration"), "file")

    def _put(self, key: str, value: float, quantity: Quantity, origin: str) -> None:
        meaning = self._inputs[key].meaning if key in self._inputs else ""
        self._inputs[key] = Input(key, quantity, origin, meaning)

    def _unit(self, key: str) -> str:
        return self._inputs[key].quantity.unit if key in self._inputs else ""

    def _copy(self, old: str, new: str) -> None:
        for key, one in self._file.inputs.items():
            if key.startswith(f"{old}."):
                renamed = new + key[len(old) :]
                self._inputs[renamed] = replace(one, key=renamed)


def _offered_per_unit(scenario: Scenario) -> tuple[float, float]:
    """Return what is asked for in a month at a demand of one unit, and the quality, at the start without noise."""
    from fieldstone.economy.experiments.sobol import still

    calm = replace(still(scenario), months=1, steps_per_year=12, shocks=())
    (now,), state = by_step(tables(calm)), start(calm)
    segment = calm.segments[0]
    state.demand = [1.0]
    sales = sell(calm, now, state, [cohort.initial_devices for cohort in calm.cohorts], 0, 0, 0)
    # the first step's growth and season belong to the model, not to what was measured
    grown = 1 + (segment.growth_year * sales.quality - segment.churn_year) / 12
    return sales.offered / max(grown * now.season[0], 1e-9), sales.quality
