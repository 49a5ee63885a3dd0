"""What a run reads besides its parameters: tables over time, made once from the scenario's schedule and shocks.

A shock patches an input: `factor` tables hold its multiplier (1 without shocks), `extra` what is added. Both engines
read the same tables.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldstone.economy.flywheel.emission import scheduled
from fieldstone.economy.flywheel.parameters import Cohort, Scenario, Shock
from fieldstone.errors import UsageError

Table = NDArray[np.float64]

# target → (what it patches, what a name after the dot may be)
TARGETS: dict[str, tuple[str, str]] = {
    "demand": ("demand", "segment"),
    "top_customer": ("presence of the largest customer; mul 0: lost", "segment"),
    "alternative_price": ("price of the centralised alternative", "segment"),
    "service_price": ("price of the service", ""),
    "price": ("token price", ""),
    "liquidity": ("both sides of the pool", ""),
    "opex": ("running costs without electricity", "cohort"),
    "power_price": ("price of electricity", "region"),
    "competitor": ("what the hardware earns elsewhere; add is USD/month", "cohort"),
    "emission": ("scheduled mints", ""),
    "unlock": ("unlocked tokens; add is tokens per month", ""),
    "fraud": ("fake devices per real one", ""),
    "uptime": ("uptime", ""),
    "join": ("joining, of a cohort or of all of a vendor's", "cohort or vendor"),
    "region": ("part of a region's devices that may work; mul 0: banned", "region"),
    "oracle_lag": ("age of the price that converts dollars; add is months", ""),
}


@dataclass(frozen=True, slots=True)
class Tables:
    """Inputs over time: (steps,), (steps, cohorts) or (steps, segments)."""

    schedule: Table  # tokens per step, before `emission.scale`
    supplement: Table  # tokens per step
    unlock: Table  # tokens per step
    season: Table  # steps × segments, factor
    demand: Table  # steps × segments, factor
    alternative_price: Table  # steps × segments, factor
    service_price: Table  # factor, growth of the price included
    price: Table  # factor
    liquidity: Table  # factor
    opex: Table  # steps × cohorts, factor
    power: Table  # steps × cohorts, factor
    competitor: Table  # steps × cohorts, factor
    competitor_extra: Table  # steps × cohorts, USD/month
    fraud: Table  # factor
    fraud_extra: Table  # fake per real device
    uptime: Table  # factor
    join: Table  # steps × cohorts, factor; 0 outside the vintage's months
    active: Table  # steps × cohorts, fraction
    oracle_lag: NDArray[np.int64]  # steps


@dataclass(frozen=True, slots=True)
class Now:
    """The tables' row of one step as plain numbers; `deeper` and `pushed`: liquidity and price relative to the step before."""

    schedule: float
    supplement: float
    unlock: float
    season: list[float]
    demand: list[float]
    alternative_price: list[float]
    service_price: float
    price: float
    deeper: float
    pushed: float
    opex: list[float]
    power: list[float]
    competitor: list[float]
    competitor_extra: list[float]
    fraud: float
    fraud_extra: float
    uptime: float
    join: list[float]
    active: list[float]
    oracle_lag: int


def by_step(made: Tables) -> list[Now]:
    """Return the rows of the tables, one for each step."""
    changes = {"deeper": _change(made.liquidity), "pushed": _change(made.price)}
    columns = {name: changes[name] if name in changes else getattr(made, name) for name in Now.__slots__}
    return [Now(*row) for row in zip(*(column.tolist() for column in columns.values()), strict=True)]


def _change(factor: Table) -> Table:
    """Return a factor relative to the step before; before the first it was 1, and what was 0 does not come back."""
    before = np.concatenate([np.ones_like(factor[:1]), factor[:-1]])
    change: Table = np.divide(factor, before, out=np.ones_like(before), where=before != 0)
    return change


def tables(scenario: Scenario) -> Tables:
    """Return the tables of a scenario. Raises UsageError naming the shock whose target or name does not exist."""
    steps = scenario.steps
    month: Table = np.arange(steps, dtype=np.float64) * scenario.step_months
    patches = _Patches(scenario, month)
    cohorts, segments = scenario.cohorts, scenario.segments
    top = [1 - segment.top_customer_share for segment in segments]
    present = [patches.factor("top_customer", segment.name) for segment in segments]
    lag_months = scenario.burn.oracle_lag_months * patches.factor("oracle_lag") + patches.extra("oracle_lag")
    schedule, supplement = scheduled(scenario)
    change = 1 + scenario.service.price_change_year
    made = Tables(
        schedule=schedule * np.maximum(patches.factor("emission"), 0),
        supplement=supplement,
        unlock=_unlock(scenario, month, patches.extra("unlock")),
        season=_columns(
            steps,
            [1 + s.season_amplitude * np.cos((month - s.season_peak_month) / 12 * 2 * np.pi) for s in segments],
        ),
        demand=_columns(
            steps,
            [
                patches.factor("demand", segment.name) * (rest + (1 - rest) * there)
                for segment, rest, there in zip(segments, top, present, strict=True)
            ],
        ),
        alternative_price=_columns(steps, [patches.factor("alternative_price", s.name) for s in segments]),
        service_price=patches.factor("service_price") * change ** (month / 12),
        price=patches.factor("price"),
        liquidity=patches.factor("liquidity"),
        opex=_columns(steps, [patches.factor("opex", cohort.name) for cohort in cohorts]),
        power=_columns(steps, [patches.factor("power_price", cohort.region) for cohort in cohorts]),
        competitor=_columns(steps, [patches.factor("competitor", cohort.name) for cohort in cohorts]),
        competitor_extra=_columns(steps, [patches.extra("competitor", cohort.name) for cohort in cohorts]),
        fraud=patches.factor("fraud"),
        fraud_extra=patches.extra("fraud"),
        uptime=patches.factor("uptime"),
        join=_columns(steps, [_joinable(cohort, month) * patches.joining(cohort) for cohort in cohorts]),
        active=_columns(steps, [np.clip(patches.factor("region", cohort.region), 0, 1) for cohort in cohorts]),
        oracle_lag=np.maximum(np.rint(lag_months / scenario.step_months), 0).astype(np.int64),
    )
    patches.finish()
    return made


def _columns(steps: int, columns: list[Table]) -> Table:
    return np.ascontiguousarray(np.stack([np.broadcast_to(column, steps) for column in columns], axis=1))


def _joinable(cohort: Cohort, month: Table) -> Table:
    return ((month >= cohort.available_from_month) & (month <= cohort.available_until_month)).astype(np.float64)


def _unlock(scenario: Scenario, month: Table, extra: Table) -> Table:
    """Return the tokens unlocked in each step: linear after the cliff, and never more than is locked."""
    supply, ends = scenario.supply, month + scenario.step_months
    if supply.unlock_months:
        free = np.clip((ends - supply.cliff_month) / supply.unlock_months, 0, 1)
    else:
        free = (ends > supply.cliff_month).astype(np.float64)
    total = free * supply.locked_tokens + np.cumsum(np.maximum(extra, 0) * scenario.step_months)
    return np.diff(np.minimum(total, supply.locked_tokens), prepend=0.0)


class _Patches:
    """The shocks of a scenario as factors and additions over its steps."""

    def __init__(self, scenario: Scenario, month: Table) -> None:
        self._month = month
        self._step = scenario.step_months
        self._shocks = scenario.shocks
        self._used: set[int] = set()
        for number, shock in enumerate(scenario.shocks):
            target = shock.target.partition(".")[0]
            if target not in TARGETS:
                raise UsageError(
                    f"shocks[{number}].target {shock.target!r}: there is no input {target!r}; they are {', '.join(TARGETS)}"
                )

    def factor(self, target: str, name: str = "") -> Table:
        """Return the product of the multipliers on an input; never negative."""
        value = np.ones_like(self._month)
        for shock in self._of(target, "mul", name):
            value = value * (1 + (max(shock.value, 0.0) - 1) * self._window(shock))
        return value

    def extra(self, target: str, name: str = "") -> Table:
        """Return the sum of what is added to an input."""
        value = np.zeros_like(self._month)
        for shock in self._of(target, "add", name):
            value = value + shock.value * self._window(shock)
        return value

    def joining(self, cohort: Cohort) -> Table:
        """Return the factor on a cohort's joining: its own patches and its vendor's."""
        by_vendor = self.factor("join", cohort.vendor) if cohort.vendor else 1.0
        plain = self.factor("join", cohort.name)
        # a patch on all joins counts once, not for the cohort and again for its vendor
        return plain * by_vendor / np.maximum(self.factor("join"), 1e-300) if cohort.vendor else plain

    def finish(self) -> None:
        """Raise UsageError for a shock that patched nothing: its name is wrong or its kind cannot be used there."""
        for number, shock in enumerate(self._shocks):
            if number not in self._used:
                raise UsageError(
                    f"shocks[{number}]: {shock.target!r} with kind {shock.kind!r} changes nothing in this scenario"
                )

    def _of(self, target: str, kind: str, name: str) -> list[Shock]:
        found = []
        for number, shock in enumerate(self._shocks):
            if shock.kind == kind and shock.target in (target, f"{target}.{name}" if name else target):
                self._used.add(number)
                found.append(shock)
        return found

    def _window(self, shock: Shock) -> Table:
        """Return 0 … 1: how far the shock is on in each step."""
        on = (self._month >= shock.from_month - 1e-9) & (self._month < shock.until_month - 1e-9)
        if not shock.ramp_months:
            return on.astype(np.float64)
        rising = (self._month - shock.from_month + self._step) / shock.ramp_months
        falling = (shock.until_month - self._month) / shock.ramp_months if shock.until_month < 1200 else np.inf
        ramped: Table = on * np.clip(np.minimum(rising, falling), 0, 1)
        return ramped
