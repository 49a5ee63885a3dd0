"""Pay once, store for ever: Arweave's fee as it is computed there, and our own product with its assumptions in the open.

**Arweave** (`arweave_fee`, integers of the base unit, exact fraction to the end):
    first_year = size · p · 60·24·365          p: price of 1 GiB for 1 minute
    perpetual  = first_year · K · N · 10¹⁸ / (5012541823544286 · 2³⁰)     5012541823544286e-18 = −ln 0.995
    fee        = floor(perpetual · 21/20)

**Ours** (`permanent_price`): the fund pays, month after month, proven share time and repair at the network's own prices;
it never pays an unproven month. Assumed openly: costs fall by d a year (Kryder rate), the fund earns r a year in the unit
of cost, a share f of its purchasing power survives what it is held in. With g = −ln(1−d) + ln(1+r) the fund needs

    price = (storage + repair of the first year) · 1/(g · f) · (1 + margin)          perpetual, needs g > 0
    price of T years: (1 − e^(−gT))/g instead of 1/g
    repair of a year = reads a year · size · price of egress     one regeneration reads k shares, as much as one read

Half a read a year is assumed: `durability`'s rates (8 % of holders lost a year) and a repair when half of the parity is
gone give 0.27 at 20 of 40 and 0.50 at 4 of 6. Networks whose operators come and go faster repair more often, so every quote
and every review shows the years at twice and four times as many, too. Egress is assumed to get cheaper as storage does.

Token price, not disk price, is the risk: f = 0.5 halves everything. So the default holds the fund in dollars (f = 1),
earns nothing (r = 0) and assumes d = 2 % a year, a fifth of what disks have shown for decades; of 5,000 futures in which
costs fall by 5 ± 10 % a year, 0.6 % run out within 200 years; with no decline at all it lasts 52 years (`years_covered`).
At exhaustion nothing is hidden: the object's report counts the covered years down from the start;
from two years before, its owner (or anyone) can top it up; when the fund is empty the object is released like one whose
customer stopped paying. Arweave's rule in that case, going on paying by debt and doubling the price once, is `Latch`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from fieldstone.errors import UsageError
from fieldstone.services.storage.schema import EGRESS, GIB, PRODUCTS, STORAGE
from fieldstone.units import PPM

__all__ = [
    "ARWEAVE_LOG_DECLINE",
    "DEFAULT_ASSUMPTIONS",
    "MOST_REPAIR_READS_PPM",
    "Assumptions",
    "Fund",
    "Latch",
    "Stress",
    "arweave_fee",
    "multiplier",
    "permanent_price",
    "stress",
    "years_covered",
]

ARWEAVE_LOG_DECLINE = 5_012_541_823_544_286  # −ln(0.995) · 10¹⁸
MINUTES_PER_YEAR = 60 * 24 * 365
ARWEAVE_REPLICAS = 20
ARWEAVE_RESET_AT = 10**16
MOST_REPAIR_READS_PPM = 100_000_000
STRESS_YEARS = 200
_MOST_GROWTH = 40.0  # e^40 first years: beyond all money, and long before floats overflow


def arweave_fee(size_bytes: int, price_gib_minute: int, *, replicas: int = ARWEAVE_REPLICAS, k_factor: int = 1) -> int:
    """Return Arweave's fee in base units (Winston) for `size_bytes`, given the price of one GiB for one minute."""
    if size_bytes < 0 or price_gib_minute < 0 or replicas < 1 or k_factor < 1:
        raise UsageError(f"no fee for {size_bytes} bytes at {price_gib_minute}, {replicas} replicas, K {k_factor}")
    first_year = size_bytes * price_gib_minute * MINUTES_PER_YEAR
    perpetual = Fraction(first_year * k_factor * replicas * 10**18, ARWEAVE_LOG_DECLINE * 2**30)
    return int(perpetual * 21 / 20)


@dataclass(frozen=True, slots=True)
class Latch:
    """Arweave's endowment between blocks: balance, debt, price factor K, and the latch that lets K double only once."""

    endowment: int
    debt: int = 0
    k_factor: int = 1
    is_set: bool = False

    def block(self, expected: int, inflation: int, fees: int) -> tuple[int, Latch]:
        """Return (reward, next state). 1/21 of `fees` goes to the miner, 20/21 to the endowment.

        Only a shortfall of inflation and fee share against `expected` is taken; what the endowment lacks is paid all
        the same, as debt, and doubles K once; the latch resets when the endowment exceeds 10¹⁶.
        """
        share = fees // 21
        endowment = self.endowment + fees - share
        shortfall = max(0, expected - inflation - share)
        taken = min(shortfall, endowment)
        debt = shortfall - taken
        endowment -= taken
        latched = self.is_set and endowment <= ARWEAVE_RESET_AT
        doubles = debt > 0 and not latched
        state = Latch(
            endowment,
            self.debt + debt,
            self.k_factor * 2 if doubles else self.k_factor,
            latched or doubles,
        )
        return inflation + share + shortfall, state


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a permanent price rests on. Shares are ppm a year: `cost_decline_ppm` d, `fund_return_ppm` r,
    `purchasing_power_ppm` f, `repair_reads_ppm` whole reads for repair, in millionths, `margin_ppm` on top."""

    k: int = 20
    n: int = 40
    cost_decline_ppm: int = 20_000
    fund_return_ppm: int = 0
    purchasing_power_ppm: int = 1_000_000
    repair_reads_ppm: int = 500_000
    margin_ppm: int = 50_000
    years: int | None = None  # None: for ever

    @property
    def log_decline(self) -> float:
        """g = −ln(1−d) + ln(1+r), per year."""
        return -math.log1p(-self.cost_decline_ppm / PPM) + math.log1p(self.fund_return_ppm / PPM)


DEFAULT_ASSUMPTIONS = Assumptions()


def multiplier(decline: float, years: float | None = None) -> float:
    """Return first-year costs that a fund needs: 1/(−ln(1−d)), or (1−(1−d)^T)/(−ln(1−d)) for T years."""
    if not 0 <= decline < 1 or (years is None and decline == 0):
        raise UsageError(f"a yearly decline of {decline} has no finite fund")
    rate = -math.log1p(-decline)
    if years is None:
        return 1 / rate
    return years if rate == 0 else -math.expm1(-rate * years) / rate


def _price(name: str) -> int:
    return next(product.price_micro_usd for product in PRODUCTS if product.name == name)


def first_year_micro_usd(
    size_bytes: int, assumed: Assumptions, storage_micro_usd: int | None = None, egress_micro_usd: int | None = None
) -> int:
    """Return the first year's storage and repair of an object in micro-dollars, rounded up."""
    price = _price(STORAGE) if storage_micro_usd is None else storage_micro_usd
    egress = _price(EGRESS) if egress_micro_usd is None else egress_micro_usd
    # a year is 365 days of a thirty-day month's price
    storage = Fraction(size_bytes * assumed.n * price * 365, assumed.k * GIB * 30)
    return math.ceil(storage + Fraction(size_bytes * egress * assumed.repair_reads_ppm, GIB * PPM))


def permanent_price(
    size_bytes: int,
    assumed: Assumptions = DEFAULT_ASSUMPTIONS,
    storage_micro_usd: int | None = None,
    egress_micro_usd: int | None = None,
) -> int:
    """Return what storing `size_bytes` for ever (or `assumed.years`) costs now, in micro-dollars, rounded up.

    Raises UsageError when costs are assumed not to fall against the fund's return: then no finite sum lasts for ever.
    """
    rate = assumed.log_decline
    if assumed.years is None and rate <= 0:
        raise UsageError("costs that do not fall and a fund that does not earn: no finite price lasts for ever")
    factor = _factor_ppm(rate, assumed.years)
    cost = first_year_micro_usd(size_bytes, assumed, storage_micro_usd, egress_micro_usd)
    whole = Fraction(cost * factor, PPM) * (PPM + assumed.margin_ppm) / assumed.purchasing_power_ppm
    return math.ceil(whole)


def _factor_ppm(rate: float, years: int | None) -> int:
    """Quantise the multiplier to ppm once, so that the price is an integer function of it."""
    if years is None:
        return round(1 / rate * PPM)
    if -rate * years > _MOST_GROWTH:
        raise UsageError(
            f"no fund lasts {years} years that loses so much more a year than costs fall: name fewer years or a better return"
        )
    return round((years if abs(rate) < 1e-12 else -math.expm1(-rate * years) / rate) * PPM)


def years_covered(fund: float, yearly_cost: float, decline: float, fund_return: float = 0.0) -> float:
    """Return how many years a fund that earns `fund_return` a year lasts when costs fall by `decline`; math.inf: for ever.

    T = −ln(1 − F·g/C)/g with g = −ln(1−decline) + ln(1+return), which may be negative; at g = 0 it is F/C.
    """
    if yearly_cost <= 0:
        return math.inf
    rate = -math.log1p(-decline) + math.log1p(fund_return)
    if abs(rate) < 1e-12:
        return fund / yearly_cost
    part = fund * rate / yearly_cost
    return math.inf if part >= 1 else -math.log1p(-part) / rate


@dataclass(frozen=True, slots=True)
class Fund:
    """One object's fund in micro-dollars. It pays for proven time only and never goes below zero."""

    balance: int
    paid: int = 0

    def pay(self, due: int, proven_ppm: int) -> tuple[int, Fund]:
        """Pay a period's `due` in proportion to what was proven of it; return (paid, fund). At 0 the object is released."""
        if due < 0 or not 0 <= proven_ppm <= PPM:
            raise UsageError(f"a fund pays for proven time: due {due}, proven {proven_ppm} ppm")
        amount = min(self.balance, due * proven_ppm // PPM)
        return amount, replace(self, balance=self.balance - amount, paid=self.paid + amount)

    @property
    def is_exhausted(self) -> bool:
        """Tell whether nothing is left."""
        return self.balance == 0


@dataclass(frozen=True, slots=True)
class Stress:
    """How a permanent price fares in `trials` futures: share that is exhausted by each year, and the 5th percentile of
    years (None: fewer than 5 % are exhausted within `horizon_years`). `seed` and the ranges drawn from make it repeatable."""

    exhausted_by: dict[int, float]
    years_5th_percentile: float | None
    horizon_years: int
    trials: int
    seed: int
    mean_decline: float
    decline_volatility: float
    purchasing_power_volatility: float


def stress(
    assumed: Assumptions = DEFAULT_ASSUMPTIONS,
    *,
    mean_decline: float = 0.10,
    decline_volatility: float = 0.10,
    purchasing_power_volatility: float = 0.0,
    horizon: int = STRESS_YEARS,
    trials: int = 5_000,
    seed: int = 1,
) -> Stress:
    """Try a permanent price in futures whose costs do not follow the plan.

    Each year log costs move by −normal(mean, volatility) and the fund's purchasing power by normal(0, volatility); both
    walks are independent. What the price assumed stays fixed, also that only a share f of the fund's worth survives: who
    assumes the worse pays more, and must not look safer for it. A fund held in dollars has purchasing-power volatility 0;
    a token's has been near 0.8 a year. A fund for T years is tried for T years at least, with a mark at T.
    """
    dice = np.random.default_rng(seed)
    horizon = max(horizon, assumed.years or 0)
    worth = permanent_price(GIB, assumed) * assumed.purchasing_power_ppm / PPM
    fund = np.full(trials, worth / first_year_micro_usd(GIB, assumed))
    cost = np.ones(trials)
    ended = np.full(trials, np.inf)
    drift = -math.log1p(-mean_decline)
    growth = math.log1p(assumed.fund_return_ppm / PPM)
    for year in range(horizon):
        due = cost
        short = (fund < due) & np.isinf(ended)
        ended[short] = year + fund[short] / due[short]
        fund = np.where(np.isinf(ended), fund - due, 0.0)
        walk = dice.normal(0.0, 1.0, trials) * purchasing_power_volatility - purchasing_power_volatility**2 / 2
        with np.errstate(over="ignore"):  # a fund that doubles every year for 1,000 years: infinite is right
            fund *= np.exp(growth + walk)
        cost *= np.exp(-dice.normal(drift, decline_volatility, trials))
    years = sorted({5, 10, 20, 50, 100, 200} | ({assumed.years} if assumed.years else set()))
    marks = {year: float((ended <= year).mean()) for year in years if year <= horizon}
    # an order statistic, not a mean of two: half way to infinity is nowhere
    fifth = float(np.quantile(ended, 0.05, method="inverted_cdf"))
    return Stress(
        marks,
        None if math.isinf(fifth) else round(fifth, 2),
        horizon,
        trials,
        seed,
        mean_decline,
        decline_volatility,
        purchasing_power_volatility,
    )
