"""When a piece of hardware pays back: the operator's calculator.

Formula, month by month (dollars):
    sales      = revenue of the device · (1 − take) · growth^m                  worth dollars whatever the token does
    tokens     = bootstrap per epoch (faded schedule, split by need) · epochs per month
    running    = power · hours · price of a kWh + fees
    margin     = sales + tokens · price of the token − running,  0 after the hardware has failed
    payback    = first month in which Σ margin ≥ hardware + set-up;  discounted: Σ margin / (1 + r)^m
    break-even = (hardware + set-up + Σ running − Σ sales) / Σ tokens
Reason: the token's price is what nobody knows, so four views of the same hardware are always shown side by side: price
paths, the price staying where it is, the price 80 % lower, and customers' money alone ("utility only").
The bootstrap is computed by the functions that pay a network (`rewards.emission`, `rewards.need`), so what is promised
here is what the policy pays. All scenarios share the same failures and, where they use any, the same price shocks.
Invariants: `a_higher_price_never_delays_payback`, `utility_only_ignores_the_token`, `the_same_seed_gives_the_same_result`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from fieldstone.errors import UsageError
from fieldstone.policy import Policy, RewardPolicy
from fieldstone.rewards.emission import fade, schedule
from fieldstone.rewards.need import split_by_need
from fieldstone.units import PPM, TOKEN_BASE

MONTH_S = 2_629_800  # a twelfth of 365.25 days
HOURS_PER_MONTH = MONTH_S / 3600
CRASH = 0.2
QUARTILES = (25, 50, 75)
_MOST_CELLS = 6_000_000  # paths × months kept in memory, 50 MB an array


@dataclass(frozen=True, slots=True, kw_only=True)
class PaybackInput:
    """One device at one place in one network. Growth, drift and volatility are fractions; 0.1 is 10 %.

    `served_cells`: other cells of the network with enough devices. `devices_in_cell`: this one included.
    `smoothed_revenue_usd`: the network's revenue per month. `age_epochs`: epochs the network has run.
    Raises UsageError naming the key when a number is missing, not finite or impossible.
    """

    hardware_usd: float
    setup_usd: float = 0.0
    power_w: float = 5.0
    kwh_usd: float = 0.25
    fees_usd_month: float = 0.0
    revenue_usd_month: float = 0.0
    network_revenue_usd_month: float = 0.0
    revenue_growth_month: float = 0.0
    devices_in_cell: int = 1
    served_cells: int = 10
    network_growth_month: float = 0.0
    quality: float = 1.0
    age_epochs: int = 0
    token_price_usd: float | None = None
    price_drift_year: float = 0.0
    price_volatility_year: float = 1.0
    failure_per_year: float = 0.05
    discount_year: float = 0.10
    months: int = 60
    paths: int = 2_000
    seed: int = 1

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is None:
                continue
            if not math.isfinite(value):
                raise UsageError(f"{item.name} must be a finite number, not {value}")
            low = -1.0 if item.name in ("revenue_growth_month", "network_growth_month") else 0.0
            if item.name != "price_drift_year" and value < low:
                raise UsageError(f"{item.name} must be at least {low:g}, not {value}")
            if abs(value) > 1e12:
                raise UsageError(f"{item.name} {value} is out of range")
        limits = {"quality": 1.0, "months": 600, "paths": 100_000, "devices_in_cell": 10**6, "age_epochs": 10**6}
        limits |= {
            "served_cells": 10**9,
            "price_volatility_year": 10.0,
            "price_drift_year": 10.0,
            "discount_year": 10.0,
        }
        limits |= {"revenue_growth_month": 1.0, "network_growth_month": 1.0, "failure_per_year": 12.0}
        for name, most in limits.items():
            if abs(getattr(self, name)) > most:
                raise UsageError(f"{name} must be at most {most}, not {getattr(self, name)}")
        if self.paths * self.months > _MOST_CELLS:
            raise UsageError(f"paths · months must be at most {_MOST_CELLS:,}, not {self.paths * self.months:,}")
        for name in ("months", "paths", "devices_in_cell"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Scenario:
    """What one view of the token's price gives. Months are None when more paths than that never pay back.

    `histogram`: month → paths that pay back in it. `paid_back`: share of paths that do within the horizon.
    """

    name: str
    payback_months: dict[str, int | None]
    discounted_months: dict[str, int | None]
    paid_back: float
    first_month_margin_usd: float
    profit_usd: dict[str, float]
    histogram: dict[int, int]


@dataclass(frozen=True, slots=True)
class PaybackResult:
    """All scenarios, and what they share. `break_even_price_usd` None: no tokens are earned; 0: customers pay it all."""

    scenarios: tuple[Scenario, ...]
    tokens_first_month: float
    sales_first_month_usd: float
    running_usd_month: float
    break_even_price_usd: float | None
    token_price_usd: float
    inputs: dict[str, float | int | None]

    def as_dict(self) -> dict[str, object]:
        """Return plain data for JSON."""
        return asdict(self)


def payback(inp: PaybackInput, policy: Policy, service: str) -> PaybackResult:
    """Compute the payback of one device under a network's policy. Raises UsageError for a service it does not offer."""
    if service not in policy.services:
        raise UsageError(f"the network has no service {service!r}; it offers {', '.join(sorted(policy.services))}")
    price = inp.token_price_usd
    if price is None:
        price = policy.rewards.token_price_micro_usd / 1e6
    month = np.arange(inp.months)
    keep = 1 - policy.rewards.take_ppm / PPM
    sales = inp.revenue_usd_month * keep * (1 + inp.revenue_growth_month) ** month
    tokens = np.array([tokens_in_month(inp, policy, service, m) for m in range(inp.months)])
    running = inp.power_w / 1000 * HOURS_PER_MONTH * inp.kwh_usd + inp.fees_usd_month
    invested = inp.hardware_usd + inp.setup_usd

    alive = _alive(inp)
    paths = {
        "price_paths": price * _price_paths(inp),
        "zero_growth": np.full((1, inp.months), price),
        "price_down_80": np.full((1, inp.months), price * CRASH),
        "utility_only": np.zeros((1, inp.months)),
    }
    with np.errstate(over="ignore"):
        margins = {name: (sales + tokens * prices - running) * alive for name, prices in paths.items()}
    earned = float(tokens.sum())
    missing = invested + running * inp.months - float(sales.sum())
    return PaybackResult(
        scenarios=tuple(_scenario(name, margin, invested, inp) for name, margin in margins.items()),
        tokens_first_month=float(tokens[0]),
        sales_first_month_usd=float(sales[0]),
        running_usd_month=running,
        break_even_price_usd=max(0.0, missing) / earned if earned else None,
        token_price_usd=price,
        inputs=asdict(inp),
    )


def tokens_in_month(inp: PaybackInput, policy: Policy, service: str, month: int) -> float:
    """Return the bootstrap tokens that the device earns in a month (0 is the first)."""
    rewards: RewardPolicy = policy.rewards
    epochs = MONTH_S / policy.epoch.length_s
    grown = (1 + inp.revenue_growth_month) ** month
    smoothed = int(min(inp.network_revenue_usd_month * grown / epochs, 1e15) * 1_000_000)
    epoch = inp.age_epochs + 1 + int((month + 0.5) * epochs)
    offered = fade(
        schedule(epoch, rewards.bootstrap_base, rewards.bootstrap_decay_ppm), rewards.r_half_micro_usd, smoothed
    )
    shares = max(PPM, sum(one.share_ppm for one in policy.services.values()))
    pool = offered * policy.services[service].share_ppm // shares
    own = int(policy.epoch.length_s * PPM * inp.quality)
    cells = 1 + int(min(inp.served_cells * (1 + inp.network_growth_month) ** month, 1e12))
    need = split_by_need(
        pool,
        0,
        {0: own * inp.devices_in_cell},
        {},
        target_work=policy.services[service].cell_target_rate * policy.epoch.length_s * PPM,
        # the other served cells count as full: the same divisor as if each were listed
        full_coverage_cells=max(rewards.full_coverage_cells, cells),
        need_demand_ppm=0,
    )
    return need.cells[0].pool_base / inp.devices_in_cell / TOKEN_BASE * epochs if own else 0.0


def _alive(inp: PaybackInput) -> NDArray[np.float64]:
    """Return paths × months of 1, 0 from the month in which the hardware fails."""
    draws = np.random.Generator(np.random.Philox(key=[inp.seed, 1])).random((inp.paths, inp.months))
    hazard = -math.expm1(-inp.failure_per_year / 12)
    return np.cumprod(draws >= hazard, axis=1).astype(np.float64)


def _price_paths(inp: PaybackInput) -> NDArray[np.float64]:
    """Return paths × months of the price relative to today's: geometric Brownian motion, mean growth `drift`."""
    shocks = np.random.Generator(np.random.Philox(key=[inp.seed, 2])).standard_normal((inp.paths, inp.months))
    sigma = inp.price_volatility_year / math.sqrt(12)
    steps = inp.price_drift_year / 12 - sigma**2 / 2 + sigma * shocks
    steps[:, 0] = 0.0  # the first month sells at today's price
    with np.errstate(over="ignore"):
        return np.minimum(np.exp(np.cumsum(steps, axis=1)), 1e12)


def _scenario(name: str, margin: NDArray[np.float64], invested: float, inp: PaybackInput) -> Scenario:
    rate = (1 + inp.discount_year) ** (1 / 12)
    discount = rate ** -np.arange(1, inp.months + 1, dtype=np.float64)
    total = np.cumsum(margin, axis=1)
    plain, discounted = _first_month(total, invested), _first_month(np.cumsum(margin * discount, axis=1), invested)
    profit = total[:, -1] - invested
    done, counts = np.unique(plain[plain <= inp.months], return_counts=True)
    return Scenario(
        name=name,
        payback_months=_quartiles(plain, inp.months),
        discounted_months=_quartiles(discounted, inp.months),
        paid_back=float(np.mean(plain <= inp.months)),
        first_month_margin_usd=float(np.median(margin[:, 0])),
        profit_usd={f"p{q}": float(np.percentile(profit, q)) for q in (10, 50, 90)},
        histogram={int(month): int(count) for month, count in zip(done, counts, strict=True)},
    )


def _first_month(total: NDArray[np.float64], invested: float) -> NDArray[np.int64]:
    """Return the 1-based month in which each path has paid back; months + 1 for never. 0 invested: month 0."""
    if invested == 0:
        return np.zeros(total.shape[0], dtype=np.int64)
    reached = total >= invested
    first: NDArray[np.int64] = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, total.shape[1] + 1)
    return first


def _quartiles(first: NDArray[np.int64], months: int) -> dict[str, int | None]:
    # a path that never pays back ranks last, so a quartile among them is "never" and not an average of the others
    ranked = np.sort(first)
    values = {f"p{q}": int(ranked[math.ceil(q / 100 * len(ranked)) - 1]) for q in QUARTILES}
    return {name: value if value <= months else None for name, value in values.items()}
