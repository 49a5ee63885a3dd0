"""What sealed epochs tell about a live network's economy: sums over statements and metering, and the figures made of them.

Unknown is None. The figures are those of `fieldstone.metrics`, over the same rows as the console and the assessment.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fieldstone import metrics
from fieldstone.charts import number_text
from fieldstone.market.payers import Sealed, payers
from fieldstone.policy import Policy
from fieldstone.rewards.emission import fade, schedule
from fieldstone.units import DAY_MS, TOKEN_BASE, USD_MICRO

DAYS_PER_MONTH = 30.4375
LEAST_EPOCHS_FOR_GROWTH, LEAST_DAYS_FOR_GROWTH = 12, 28.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure of the live network; None is unknown."""

    name: str
    value: float | None
    unit: str
    meaning: str

    @property
    def shown(self) -> str:
        """The value as people read it."""
        return number_text(self.value, self.unit)


@dataclass(frozen=True, slots=True)
class Seen:
    """Sums over the epochs. Money in dollars, tokens whole."""

    days: float
    revenue_usd: float
    revenues_usd: tuple[float, ...]  # by epoch
    minted_tokens: float
    minted_usd: float
    bootstrap_tokens: float
    expected_bootstrap: float  # by schedule and fade
    rewards: Counter[str]  # operator → base units
    payers: Counter[str]  # customer → micro-dollars
    active: tuple[set[str], ...]  # by epoch
    sold: set[str]
    good_rows: int


def seen_in(epochs: Sequence[Sealed], policy: Policy) -> Seen:
    """Return the sums over epochs, oldest first."""
    rewards: Counter[str] = Counter()
    active: list[set[str]] = []
    revenues: list[float] = []
    sold: set[str] = set()
    minted = minted_usd = bootstrap = expected = 0.0
    good = 0
    rules = policy.rewards
    for sealed in epochs:
        state = json.loads((sealed.folder / "state.json").read_bytes())
        amount = int(sealed.manifest.minted_base) / TOKEN_BASE
        minted, minted_usd = minted + amount, minted_usd + amount * state["price_micro_usd"] / USD_MICRO
        planned = schedule(int(sealed.manifest.epoch), rules.bootstrap_base, rules.bootstrap_decay_ppm)
        expected += fade(planned, rules.r_half_micro_usd, int(state["smoothed_revenue_micro_usd"])) / TOKEN_BASE
        here: set[str] = set()
        earned = 0
        columns = ("device", "operator", "verdict", "revenue_micro_usd", "bootstrap_base", "total_base")
        for device, operator, verdict, revenue, boot, total in sealed.table("statements").select(columns).iter_rows():
            earned += revenue
            if not device:
                continue
            bootstrap += int(boot) / TOKEN_BASE
            rewards[operator] += int(total)
            if revenue > 0:
                sold.add(device)
            if verdict in ("accepted", "partial"):
                here.add(device)
        good += len(here)
        active.append(here)
        revenues.append(earned / USD_MICRO)
    days = (epochs[-1].manifest.end_ms - epochs[0].manifest.start_ms) / DAY_MS
    return Seen(
        days, math.fsum(revenues), tuple(revenues), minted, minted_usd, bootstrap, expected, rewards, payers(epochs),
        tuple(active), sold, good,
    )  # fmt: skip


def growth_year(seen: Seen) -> float | None:
    """Return the growth of revenue per year by least squares on logarithms; None when there are too few epochs."""
    values = np.array(seen.revenues_usd)
    if len(values) < LEAST_EPOCHS_FOR_GROWTH or seen.days < LEAST_DAYS_FOR_GROWTH or (values <= 0).any():
        return None
    at = np.arange(len(values)) * seen.days / len(values) / 365.25
    return float(np.polyfit(at, np.log(values), 1)[0])


def figures(seen: Seen, active: set[str]) -> list[Measured]:
    """Return what is shown of a live network; `active`: devices with verified work in the epochs."""
    month = DAYS_PER_MONTH / seen.days
    revenue, minted_usd = seen.revenue_usd * month, seen.minted_usd * month
    growth = growth_year(seen)
    rewards = [max(amount, 0) for amount in seen.rewards.values()]
    paying = [amount for amount in seen.payers.values() if amount > 0]
    return [
        Measured("devices", float(len(active)), "", "with verified work in these epochs"),
        Measured("revenue", revenue, "$", "a month, delivered and not refunded"),
        Measured("growth of revenue", growth, "%", "a year, by least squares"),
        Measured("minted", seen.minted_tokens * month, "", "tokens a month, every mint"),
        Measured("minted in dollars", minted_usd, "$", "a month, at each epoch's price"),
        Measured("subsidy ratio", metrics.subsidy_ratio(minted_usd, revenue), "%", "mints against mints and revenue"),
        Measured("revenue per dollar minted", metrics.issuance_coverage(minted_usd, revenue), "%", ""),
        Measured("revenue per device", metrics.revenue_per_device(revenue, len(active)), "$", "a month"),
        Measured(
            "utilisation", metrics.utilisation(len(seen.sold & active), len(active)), "%", "devices whose work was bought"
        ),
        Measured("Gini of rewards", metrics.gini(rewards), "", "over operators"),
        Measured("HHI of customers", metrics.hhi(paying), "", "10,000 is one customer"),
    ]  # fmt: skip
