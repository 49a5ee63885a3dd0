"""What a founder decides and assumes: frozen parts of a scenario, each number with unit, limits and meaning.

Units: dollars, tokens, months, devices; `_year` rates are per year, fractions are fractions (0.1 is 10 %). A field's
metadata (`unit`, `low`, `high`, `doc`) is what scenario files are checked by and what the documentation is made of.
Formulas are in `flywheel.reference`. Raises UsageError that names the key (`cohorts.home.capex_usd`) on a bad value.
"""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from fieldstone.errors import UsageError

BIG = 1e15


def quantity(default: Any = MISSING, *, unit: str, doc: str, low: float = 0.0, high: float = BIG) -> Any:
    """Return a dataclass field for a number with its unit, limits and meaning."""
    return field(default=default, metadata={"unit": unit, "low": low, "high": high, "doc": doc})


def choice(*choices: str, doc: str) -> Any:
    """Return a dataclass field for one of a closed list of words; the first is the default."""
    return field(default=choices[0], metadata={"choices": choices, "doc": doc})


def check(part: Any, where: str) -> None:
    """Raise UsageError for the first field of a part that breaks its own limits; `where` is the part's dotted name."""
    for item in fields(part):
        value, rules = getattr(part, item.name), item.metadata
        key = f"{where}.{item.name}" if where else item.name
        if "choices" in rules and value not in rules["choices"]:
            raise UsageError(f"{key} must be one of {', '.join(rules['choices'])}, not {value!r}")
        if "low" not in rules:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise UsageError(f"{key} must be a finite number, not {value!r}")
        if not rules["low"] <= value <= rules["high"]:
            raise UsageError(f"{key} must lie between {rules['low']:g} and {rules['high']:g}, not {value:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A place with its own demand, coverage and price of electricity."""

    name: str = "world"
    demand_share: float = quantity(1.0, unit="fraction", high=1, doc="part of all demand that arises here")
    coverage_devices: float = quantity(
        1_000.0, unit="devices", low=1e-9, doc="N*: devices that cover 63 % (exponential) or half (hyperbolic)"
    )
    power_usd_kwh: float = quantity(0.20, unit="USD/kWh", high=100, doc="price of electricity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Operators of one hardware vintage in one region."""

    name: str
    region: str = "world"
    vendor: str = ""
    initial_devices: float = quantity(0.0, unit="devices", doc="active at the start")
    potential_devices: float = quantity(10_000.0, unit="devices", doc="the most that would ever join")
    capex_usd: float = quantity(500.0, unit="USD", doc="device delivered and mounted")
    opex_usd_month: float = quantity(5.0, unit="USD/month", doc="internet, rent, data; without electricity")
    power_w: float = quantity(5.0, unit="W", high=1e7, doc="power drawn")
    life_months: float = quantity(48.0, unit="months", low=1, high=1200, doc="over which the hardware is written off")
    failure_year: float = quantity(0.05, unit="1/year", high=12, doc="failures per device and year")
    lead_months: float = quantity(0.0, unit="months", high=120, doc="from ordering to working")
    available_from_month: float = quantity(0.0, unit="months", high=1200, doc="the vintage can be ordered from here")
    available_until_month: float = quantity(1200.0, unit="months", high=1200, doc="… and up to here")
    capacity_units_month: float = quantity(1.0, unit="units/month", doc="what a device can sell at full uptime")
    reward_weight: float = quantity(1.0, unit="weight", high=1e6, doc="its part in the reward for coverage")
    hurdle: float = quantity(
        0.25, unit="fraction", low=-1, high=50, doc="return on investment that half would join for"
    )
    competitor_usd_month: float = quantity(0.0, unit="USD/month", doc="what the hardware would earn elsewhere")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Customers of one kind. `elastic`: D·(p/p_ref)^−ε·q. `logit`: D·share against the centralised alternative."""

    name: str
    form: str = choice("elastic", "logit", doc="how demand answers to price and quality")
    units_month: float = quantity(1_000.0, unit="units/month", doc="D: demand at reference price and full quality")
    growth_year: float = quantity(0.2, unit="1/year", low=-5, high=20, doc="growth at full quality")
    churn_year: float = quantity(0.0, unit="1/year", high=20, doc="customers lost whatever the quality")
    market_units_month: float = quantity(BIG, unit="units/month", low=1e-9, doc="M: D at which growth ends")
    elasticity: float = quantity(1.0, unit="", high=20, doc="ε of the elastic form")
    price_ref_usd: float = quantity(1.0, unit="USD/unit", low=1e-12, doc="reference price of the elastic form")
    price_alt_usd: float = quantity(1.0, unit="USD/unit", low=1e-12, doc="price of the centralised alternative")
    quality_alt: float = quantity(1.0, unit="fraction", high=1, doc="quality of the alternative")
    price_sensitivity: float = quantity(4.0, unit="", high=100, doc="κ of the logit form")
    quality_sensitivity: float = quantity(1.0, unit="", high=100, doc="ω: price advantage that full quality is worth")
    season_amplitude: float = quantity(0.0, unit="fraction", high=1, doc="swing around the year's mean")
    season_peak_month: float = quantity(0.0, unit="months", high=12, doc="month of the year's peak")
    noise_year: float = quantity(0.0, unit="1/√year", high=5, doc="volatility of demand around its path")
    top_customer_share: float = quantity(0.0, unit="fraction", high=1, doc="part bought by the largest customer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What is sold and how well."""

    price_usd: float = quantity(1.0, unit="USD/unit", low=1e-12, doc="price of a unit of service")
    price_change_year: float = quantity(0.0, unit="1/year", low=-0.99, high=5, doc="growth of that price")
    coverage_form: str = choice("exponential", "hyperbolic", doc="1 − e^(−N/N*), or N/(N + N*)")
    coverage_exponent: float = quantity(1.0, unit="", high=10, doc="a in q = c^a · uptime · (1 − fraud)")
    uptime: float = quantity(0.97, unit="fraction", high=1, doc="part of the time that devices work")
    uptime_noise: float = quantity(0.0, unit="fraction", high=1, doc="standard deviation of uptime per step")
    usable_capacity: float = quantity(0.9, unit="fraction", high=1, doc="part of capacity that keeps the service level")
    fraud: float = quantity(0.0, unit="fraction", high=1, doc="fake devices that pass, per real one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """The token's stock at the start and what is locked."""

    initial_tokens: float = quantity(100_000_000.0, unit="tokens", low=1e-6, doc="all tokens at the start")
    locked_tokens: float = quantity(0.0, unit="tokens", doc="of them locked: team, investors, treasury")
    cliff_month: float = quantity(12.0, unit="months", high=1200, doc="nothing unlocks before")
    unlock_months: float = quantity(36.0, unit="months", high=1200, doc="linear unlock after the cliff; 0: all at once")
    max_tokens: float = quantity(BIG, unit="tokens", doc="no mint lifts the supply above it")
    reward_lock_share: float = quantity(0.0, unit="fraction", high=1, doc="part of rewards that is locked first")
    reward_lock_months: float = quantity(6.0, unit="months", low=0.01, high=1200, doc="… and released at 1/n a month")


@dataclass(frozen=True, slots=True, kw_only=True)
class Emission:
    """Who gets how many new tokens. `policy`: a name of `flywheel.emission.PLANS`; `start_month`: the network's age."""

    policy: str = "constant"
    tokens_month: float = quantity(1_000_000.0, unit="tokens/month", doc="constant and halving: at the start")
    halving_months: float = quantity(24.0, unit="months", low=0.1, high=1200, doc="halving: length of a level")
    decay_year: float = quantity(0.0, unit="1/year", high=1, doc="constant: fall per year")
    start_month: float = quantity(0.0, unit="months", high=1200, doc="age of the network at the start")
    scale: float = quantity(1.0, unit="factor", high=1000, doc="multiplies every scheduled mint")
    operator_share: float = quantity(1.0, unit="fraction", high=1, doc="part of scheduled mints paid to operators")
    data_share: float = quantity(0.0, unit="fraction", high=1, doc="of it by sold work; the rest by coverage weight")
    supplement_tokens_month: float = quantity(0.0, unit="tokens/month", doc="a mint outside the schedule, to one party")
    supplement_months: float = quantity(0.0, unit="months", high=1200, doc="… for this long")
    half_revenue_usd_month: float = quantity(
        3_000.0, unit="USD/month", low=1e-6, doc="demand first: revenue at which half the bootstrap is left"
    )
    revenue_memory_months: float = quantity(0.2, unit="months", low=0.001, high=120, doc="demand first: smoothing")
    revenue_share: float = quantity(0.5, unit="fraction", high=1, doc="revenue share: minted to operators per dollar")
    recycle_cap_tokens_month: float = quantity(0.0, unit="tokens/month", doc="net emissions: most that is re-emitted")
    burn_memory_months: float = quantity(0.213, unit="months", low=0.001, high=120, doc="net emissions: smoothing")
    floor_share: float = quantity(0.5, unit="fraction", high=10, doc="backstop: operators get this part of payments")
    baseline_units_month: float = quantity(
        1e12, unit="units/month", low=1e-9, doc="baseline: capacity target at network age 0"
    )
    baseline_growth_year: float = quantity(1.0, unit="1/year", low=1e-4, high=10, doc="baseline: growth of the target")
    baseline_pool_tokens: float = quantity(0.0, unit="tokens", doc="baseline: pool paid as the target is met")
    baseline_half_life_months: float = quantity(72.0, unit="months", low=0.1, doc="baseline: half of the pool")
    effective_months: float = quantity(0.0, unit="months", high=1200, doc="baseline: effective time at the start")
    bonded_share: float = quantity(0.5, unit="fraction", high=1, doc="staking: part of the supply that is bonded")
    bonded_target: float = quantity(0.5, unit="fraction", high=1, doc="staking: inflation falls above it")
    inflation_round: float = quantity(0.000137, unit="1/round", high=1, doc="staking: inflation per round at the start")
    inflation_change_round: float = quantity(0.000003, unit="1/round", high=1, doc="staking: its change per round")
    rounds_month: float = quantity(30.4375, unit="1/month", high=100_000, doc="staking: rounds per month")


@dataclass(frozen=True, slots=True, kw_only=True)
class Burn:
    """What happens with customers' money. `vault`: burned for credits at top-up, minted at settlement (AEP-76)."""

    mode: str = choice("burn", "none", "vault", "buyback", doc="how revenue reaches the token")
    share: float = quantity(1.0, unit="fraction", high=1, doc="part of revenue that is burned or buys back")
    take: float = quantity(0.0, unit="fraction", high=1, doc="part of revenue for the treasury")
    credit_months: float = quantity(0.0, unit="months", high=60, doc="usage that customers hold in credits")
    mint_spread: float = quantity(0.0, unit="fraction", high=1, doc="vault: paid on top at top-up")
    halt_ratio: float = quantity(0.0, unit="fraction", high=1, doc="vault: no new credits below; 0 turns it off")
    oracle_lag_months: float = quantity(0.0, unit="months", high=24, doc="age of the price that converts dollars")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Token price. `fundamental`: P = (F + X)/C. `pool`: constant product with the flows of the economy."""

    model: str = choice("fundamental", "pool", doc="which price model")
    initial_usd: float = quantity(1.0, unit="USD/token", low=1e-9, doc="at the start")
    speculation: float = quantity(1.0, unit="fraction", high=10, doc="scale of X; 0 is the utility-only run")
    discount_year: float = quantity(0.3, unit="1/year", low=0.01, high=10, doc="r in F = burn/(r + emission rate)")
    memory_months: float = quantity(6.0, unit="months", low=0.01, high=120, doc="smoothing of burn and emission rate")
    reflexivity: float = quantity(0.5, unit="", low=-10, high=10, doc="of speculation to growth of the fleet")
    fade_year: float = quantity(0.2, unit="1/year", low=-10, high=10, doc="δ: how fast speculation fades")
    volatility_year: float = quantity(0.9, unit="1/√year", high=5, doc="σ of speculation")
    jumps_year: float = quantity(0.5, unit="1/year", high=100, doc="jumps per year")
    jump_mean: float = quantity(-0.3, unit="log", low=-10, high=10, doc="mean of a jump")
    jump_sd: float = quantity(0.3, unit="log", high=10, doc="standard deviation of a jump")
    pool_usd: float = quantity(1_000_000.0, unit="USD", low=1e-6, doc="pool: dollars on its dollar side")
    pool_fee: float = quantity(0.003, unit="fraction", high=0.5, doc="pool: fee")
    sell_share: float = quantity(0.7, unit="fraction", high=1, doc="pool: part of new tokens that is sold at once")


@dataclass(frozen=True, slots=True, kw_only=True)
class Treasury:
    """Dollars of the network and what it spends."""

    initial_usd: float = quantity(0.0, unit="USD", doc="at the start")
    spend_usd_month: float = quantity(0.0, unit="USD/month", doc="salaries, servers, grants")


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How operators decide to join and to leave."""

    expectation: str = choice("naive", "adaptive", "pessimistic", doc="which token price joiners expect")
    join_month: float = quantity(0.1, unit="1/month", high=10, doc="κ: part of the remaining potential per month")
    return_scale: float = quantity(0.5, unit="fraction", low=1e-3, high=50, doc="s: spread of people's hurdles")
    horizon_months: float = quantity(24.0, unit="months", low=1, high=600, doc="over which joiners count rewards")
    discount_year: float = quantity(0.3, unit="1/year", high=10, doc="their discount rate")
    first_movers: float = quantity(0.1, unit="fraction", high=1, doc="joining without word of mouth")
    trend_memory_months: float = quantity(3.0, unit="months", low=0.01, high=60, doc="adaptive: price trend")
    haircut: float = quantity(0.5, unit="fraction", high=1, doc="pessimistic: expected fall of the price")
    leave_year: float = quantity(0.05, unit="1/year", high=12, doc="h0: leaving for no reason of money")
    leave_month: float = quantity(0.3, unit="1/month", high=10, doc="h1: leaving at a lasting total loss")
    loss_memory_months: float = quantity(3.0, unit="months", low=0.01, high=60, doc="τ: months of loss that count")
    sunk: float = quantity(1.0, unit="fraction", high=1, doc="1: hardware is sunk cost; 0: its wear counts as a loss")
    competitor_month: float = quantity(0.1, unit="1/month", high=10, doc="leaving for a better yield elsewhere")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shock:
    """A patch on one input from `from_month` to `until_month`, with linear ramps of `ramp_months` inside both ends.

    `target`: a name of `flywheel.inputs.TARGETS`, with `.NAME` of a cohort, vendor, region or segment where it has one.
    `mul` multiplies the input by `value`, `add` adds `value`. `until_month` 1200 means: for good.
    """

    target: str
    kind: str = choice("mul", "add", doc="multiply or add")
    value: float = quantity(unit="factor or input's unit", low=-BIG, doc="0.3 with mul is −70 %")
    from_month: float = quantity(0.0, unit="months", high=1200, doc="begin")
    until_month: float = quantity(1200.0, unit="months", high=1200, doc="end; 1200: for good")
    ramp_months: float = quantity(0.0, unit="months", high=600, doc="ramp at both ends")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A network's economy. Frozen and checked: whatever exists is valid."""

    name: str = "network"
    months: int = quantity(120, unit="months", low=1, high=600, doc="how far to look")
    steps_per_year: int = quantity(12, unit="1/year", low=12, high=366, doc="12 months, 52 weeks or 365 days")
    regions: tuple[Region, ...] = (Region(),)
    cohorts: tuple[Cohort, ...] = (Cohort(name="home", initial_devices=100.0),)
    segments: tuple[Segment, ...] = (Segment(name="all"),)
    service: Service = Service()
    supply: Supply = Supply()
    emission: Emission = Emission()
    burn: Burn = Burn()
    price: Price = Price()
    treasury: Treasury = Treasury()
    behaviour: Behaviour = Behaviour()
    shocks: tuple[Shock, ...] = ()

    def __post_init__(self) -> None:
        check(self, "")
        if not float(self.months).is_integer() or self.steps_per_year not in (12, 52, 365):
            raise UsageError("months must be a whole number and steps_per_year 12, 52 or 365")
        for part in ("service", "supply", "emission", "burn", "price", "treasury", "behaviour"):
            check(getattr(self, part), part)
        for group in ("regions", "cohorts", "segments"):
            _named(getattr(self, group), group)
        for number, shock in enumerate(self.shocks):
            check(shock, f"shocks[{number}]")
        self._consistent()

    def _consistent(self) -> None:
        known = {region.name for region in self.regions}
        for cohort in self.cohorts:
            if cohort.region not in known:
                raise UsageError(
                    f"cohorts.{cohort.name}.region {cohort.region!r} is not one of {', '.join(sorted(known))}"
                )
            if cohort.initial_devices > cohort.potential_devices:
                raise UsageError(f"cohorts.{cohort.name}.initial_devices exceeds its potential_devices")
        if abs(sum(region.demand_share for region in self.regions) - 1) > 1e-9:
            raise UsageError("the regions' demand_share must add up to 1")
        if self.burn.mode in ("burn", "buyback") and self.burn.share + self.burn.take > 1 + 1e-12:
            raise UsageError("burn.share and burn.take exceed 1 together: a dollar cannot be spent twice")
        if self.supply.locked_tokens >= self.supply.initial_tokens:
            raise UsageError("supply.locked_tokens must be below supply.initial_tokens: nothing would circulate")
        if self.supply.max_tokens < self.supply.initial_tokens:
            raise UsageError("supply.max_tokens is below supply.initial_tokens")

    @property
    def steps(self) -> int:
        """Number of steps."""
        return round(self.months * self.steps_per_year / 12)

    @property
    def step_months(self) -> float:
        """Length of a step in months."""
        return 12 / self.steps_per_year


def _named(parts: tuple[Any, ...], group: str) -> None:
    if not parts:
        raise UsageError(f"{group} must not be empty")
    seen = set()
    for part in parts:
        if not part.name or part.name in seen:
            raise UsageError(f"{group}: the name {part.name!r} is empty or used twice")
        seen.add(part.name)
        check(part, f"{group}.{part.name}")
