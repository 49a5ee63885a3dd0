"""One run of the flywheel in plain Python: the method, to be read from top to bottom. The compiled engine equals it.

A step, with dt its length in months, k a cohort, g a region, j a segment; amounts are those of the step:
    1  coverage   c_g = 1 − e^(−N_g/N*_g) or N_g/(N_g + N*_g);   q_g = c_g^a · uptime / (1 + fraud);   q = Σ share_g · q_g
    2  demand     D_j += D_j · dt/12 · (growth_j · q · (1 − D_j/M_j) − churn_j);
                  elastic: D·(p/p_ref)^−ε·q;  logit: D / (1 + e^(κ((p − p_alt)/p_alt − ω(q − q_alt))));  times season, shock, e^(σε − σ²/2)
    3  sales      served_g = min(offered_g, capacity_g);  R = p · Σ served;  customers hold `credit_months` of use in credits
    4  burn       burn: share · bought / P;  buyback: the same through the pool;  vault: bought / P in, used / P minted back
    5  emission   schedule · scale + what the rule adds (demand first, net emissions, backstop, baseline, staking), all
                  of it below the cap; nothing is minted for nobody
    6  margin     ((coverage + data + direct tokens) · P + fiat) / dt − opex, per device and month
    7  joining    κ · dt · logistic((ROI − hurdle)/s) · (potential − N − ordered) · word of mouth, delivered after the lead
    8  leaving    h0/12 + failures + h1 (1 − e^(−λ/τ)) min(1, loss/opex) + competitor's pull; λ counts months of loss;
                  a loss is a negative margin after (1 − sunk) of the wear
    9  tokens     S += E − b;  L += locked rewards − released − unlocked;  C = S − L
   10  price      P = (F + X)/C,  F = burn dollars a year / (r + E/C a year) (+ credits in a vault),
                  X *= e^(bx·ΔlnN − δ dt/12 + σ√(dt/12) ε − σ² dt/24 + jump);   or the pool x·y = K after its flows
   11  treasury   T += take · R − spending, never below 0
Conversions in a step use the price that the step began with. F: a share of the supply earns its share of the burn; new
tokens dilute it at rate E/C, so its value is ∫ B/C · e^(−(r + E/C)t) dt (after Kalabić: Valuing burn-and-mint).
Structure after Multicoin: New Models for Utility Tokens (2018), and Cong, Li, Wang: RFS 34(3) 2021.
Invariants, tested each step: supply and devices ≥ 0, C ≤ S, C + L = S, what is paid = what is minted and bought,
the treasury's accounting closes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from fieldstone.economy.flywheel import draws, emission
from fieldstone.economy.flywheel.inputs import Now, Tables, by_step, tables
from fieldstone.economy.flywheel.parameters import Cohort, Scenario, Segment
from fieldstone.economy.flywheel.series import COHORT_NAMES, NAMES

HOURS_PER_MONTH = 730.5
MOST_BURNED = 0.5  # of what circulates, in one step: a market cannot be emptied
BANNED_LEAVE_MONTH = 0.5  # devices that may not work leave at this rate
TREND_LIMIT = 2.0
RETURN_LIMIT = 50.0
EXPONENT_LIMIT = 500.0
LOG_GROWTH_LIMIT = 1.0
SPECULATION_LIMIT = 1e30
PRICE_FLOOR = 1e-12


@dataclass(slots=True)
class State:
    """What a step hands to the next. Stocks in tokens, dollars, devices; rates as named."""

    devices: list[float]
    ordered: list[list[float]]  # per cohort, by step of delivery modulo its length
    loss_months: list[float]
    demand: list[float]
    prices: list[float]  # at the start of each step up to now: the oracle may be late
    supply: float
    unlocking: float
    reward_locked: float
    speculative: float
    pool_usd: float
    pool_tokens: float
    treasury: float
    realised: float
    inflation: float
    vault: float = 0.0
    credits: float = 0.0
    trend: float = 0.0
    burn_usd_year: float = 0.0
    emission_rate_year: float = 0.0
    smoothed_revenue: float = 0.0
    smoothed_burn: float = 0.0

    @property
    def circulating(self) -> float:
        """Tokens that are not locked."""
        return self.supply - self.unlocking - self.reward_locked


@dataclass(frozen=True, slots=True)
class Sales:
    """What was sold in a step. `unit_usd`: price of a unit; `fiat_unit_usd`: of it to operators in dollars."""

    quality: float
    coverage: float
    offered: float
    offered_in: list[float]
    capacity: float
    capacity_in: list[float]
    served: float
    served_in: list[float]
    unit_usd: float
    bought_usd: float
    used_usd: float
    uptime: float
    fraud: float


@dataclass(frozen=True, slots=True)
class Minted:
    """Tokens of a step by reason. `pool`: for coverage and data together; `direct_unit`: per unit sold."""

    pool: float
    direct_unit: float
    other: float
    settlement: float


@dataclass(frozen=True, slots=True)
class Run:
    """One run: series by name, and per cohort."""

    series: dict[str, list[float]]
    cohorts: dict[str, list[list[float]]] = field(default_factory=dict)  # name → steps × cohorts


def run(scenario: Scenario, seed: int = 0, number: int = 0, made: Tables | None = None) -> Run:
    """Simulate run `number` of a scenario. The same seed and number give the same run under every scenario."""
    state = start(scenario)
    rows: list[dict[str, float]] = []
    by_cohort: dict[str, list[list[float]]] = {name: [] for name in COHORT_NAMES}
    for t, now in enumerate(by_step(tables(scenario) if made is None else made)):
        row, cohort_row = step(scenario, now, state, t, seed, number)
        rows.append(row)
        for name in COHORT_NAMES:
            by_cohort[name].append(cohort_row[name])
    return Run({name: [row[name] for row in rows] for name in NAMES}, by_cohort)


def start(scenario: Scenario) -> State:
    """Return the state before the first step."""
    growth = math.log1p(scenario.emission.baseline_growth_year) / 12
    return State(
        devices=[cohort.initial_devices for cohort in scenario.cohorts],
        ordered=[[0.0] * (lead_steps(scenario, cohort) + 1) for cohort in scenario.cohorts],
        loss_months=[0.0] * len(scenario.cohorts),
        demand=[segment.units_month for segment in scenario.segments],
        prices=[scenario.price.initial_usd],
        supply=scenario.supply.initial_tokens,
        unlocking=scenario.supply.locked_tokens,
        reward_locked=0.0,
        speculative=0.0,
        pool_usd=scenario.price.pool_usd,
        pool_tokens=scenario.price.pool_usd / scenario.price.initial_usd,
        treasury=scenario.treasury.initial_usd,
        realised=scenario.emission.baseline_units_month
        * math.expm1(growth * scenario.emission.effective_months)
        / growth,
        inflation=scenario.emission.inflation_round,
    )


def lead_steps(scenario: Scenario, cohort: Cohort) -> int:
    """Return the steps from ordering to delivery."""
    return round(cohort.lead_months / scenario.step_months)


def step(
    s: Scenario, now: Now, state: State, t: int, seed: int, number: int
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Advance the state by one step; return the recorded series, and those of each cohort."""
    dt, price = s.step_months, state.prices[-1]
    working = [n * now.active[k] for k, n in enumerate(state.devices)]
    before = sum(state.devices)
    sales = sell(s, now, state, working, t, seed, number)
    late_price = state.prices[max(0, t - now.oracle_lag)]

    burned, burn_cost = burn(s, state, sales, price, late_price)
    room = max(0.0, s.supply.max_tokens - (state.supply - burned))
    minted = mint(s, now, state, sales, burned, price, late_price, room, t)
    share = s.burn.share if s.burn.mode in ("burn", "buyback") else 0.0
    keep = 1 - s.burn.take - share
    owed = sales.used_usd / late_price if s.burn.mode == "vault" else 0.0
    fiat = sales.used_usd * keep * (minted.settlement / owed if owed else 1.0)

    # 6 margin, per device: what one more device would get where there is none yet
    weights = sum(c.reward_weight * n for c, n in zip(s.cohorts, working, strict=True)) * (1 + sales.fraud)
    region_of = {region.name: g for g, region in enumerate(s.regions)}
    expected = price * expectation(s, state.trend)
    joins, margins, hazards = [], [], []
    opex_sum = wear_sum = paid_tokens = 0.0
    worst = math.inf
    for k, cohort in enumerate(s.cohorts):
        g = region_of[cohort.region]
        own = cohort.capacity_units_month * sales.uptime * s.service.usable_capacity * dt
        units = own * min(1.0, sales.offered_in[g] / max(sales.capacity_in[g], own)) if own > 0 else 0.0
        tokens = (
            (1 - s.emission.data_share) * minted.pool * cohort.reward_weight / max(weights, cohort.reward_weight)
            if cohort.reward_weight
            else 0.0
        )
        paid_tokens += tokens * working[k] * (1 + sales.fraud)
        if units > 0:
            tokens += s.emission.data_share * minted.pool * units / max(sales.served, units)
        tokens += minted.direct_unit * units
        power = cohort.power_w / 1000 * HOURS_PER_MONTH * s.regions[g].power_usd_kwh
        opex = cohort.opex_usd_month * now.opex[k] + power * now.power[k]
        wear = cohort.capex_usd / cohort.life_months
        fiat_month = units * sales.unit_usd * keep / dt
        margin = tokens * price / dt + fiat_month - opex

        # 7 joining
        life = min(s.behaviour.horizon_months, cohort.life_months)
        returns = (tokens * expected / dt + fiat_month - opex) * annuity(s.behaviour.discount_year, life)
        roi = clip((returns - cohort.capex_usd) / max(cohort.capex_usd, 1e-9), RETURN_LIMIT)
        waiting = sum(state.ordered[k])
        left = max(0.0, cohort.potential_devices - state.devices[k] - waiting)
        known = state.devices[k] / cohort.potential_devices if cohort.potential_devices else 0.0
        word = s.behaviour.first_movers + (1 - s.behaviour.first_movers) * known
        wish = min(1.0, s.behaviour.join_month * dt) * logistic((roi - cohort.hurdle) / s.behaviour.return_scale)
        joins.append(min(left, wish * left * word * now.join[k] * now.active[k]))

        # 8 leaving
        loss = max(0.0, (1 - s.behaviour.sunk) * wear - margin)
        memory = state.loss_months[k] + dt if loss > 0 else state.loss_months[k] - dt
        state.loss_months[k] = max(0.0, memory)
        running = max(opex, 1e-9)
        elsewhere = cohort.competitor_usd_month * now.competitor[k] + now.competitor_extra[k]
        pull = max(0.0, elsewhere - max(margin, 0.0)) / running
        hazard = (
            s.behaviour.leave_year / 12
            + cohort.failure_year / 12
            + s.behaviour.leave_month
            * -math.expm1(-state.loss_months[k] / s.behaviour.loss_memory_months)
            * min(1.0, loss / running)
            + s.behaviour.competitor_month * min(1.0, pull)
            + BANNED_LEAVE_MONTH * (1 - now.active[k])
        )
        hazards.append(-math.expm1(-hazard * dt))
        margins.append(margin)
        opex_sum += opex * state.devices[k] * dt
        wear_sum += wear * state.devices[k] * dt
        if state.devices[k] >= 1:
            worst = min(worst, margin - wear)
    if sales.served > 0:
        paid_tokens += s.emission.data_share * minted.pool + minted.direct_unit * sales.served

    exits = 0.0
    for k in range(len(s.cohorts)):
        ring = state.ordered[k]
        ring[(t + len(ring) - 1) % len(ring)] += joins[k]
        delivered, ring[t % len(ring)] = ring[t % len(ring)], 0.0
        gone = state.devices[k] * hazards[k]
        exits += gone
        state.devices[k] += delivered - gone
    after = sum(state.devices)

    # 9 tokens
    to_lock = s.supply.reward_lock_share * paid_tokens
    released = state.reward_locked * min(1.0, dt / s.supply.reward_lock_months)
    unlocked = min(now.unlock, state.unlocking)
    emitted = paid_tokens + minted.other + minted.settlement
    state.supply += emitted - burned
    state.unlocking -= unlocked
    state.reward_locked += to_lock - released
    if s.burn.mode == "vault":
        state.vault = max(0.0, state.vault + burned - minted.settlement)

    # 10 price
    sold = s.price.sell_share * (paid_tokens - to_lock + minted.other + released + unlocked) + minted.settlement
    new_price = reprice(s, now, state, t, seed, number, price, emitted, burned, burn_cost, sold, growth(before, after))
    rate = -math.expm1(-dt / s.behaviour.trend_memory_months)
    state.trend += rate * (math.log(new_price / price) / dt - state.trend)
    state.prices.append(new_price)

    # 11 treasury
    income = s.burn.take * sales.used_usd
    spent = min(s.treasury.spend_usd_month * dt, state.treasury + income)
    state.treasury += income - spent

    covered = state.vault * new_price / state.credits if s.burn.mode == "vault" and state.credits > 0 else 1.0
    row = {
        "devices": after,
        "joins": sum(joins),
        "exits": exits,
        "backlog": sum(sum(ring) for ring in state.ordered),
        "coverage": sales.coverage,
        "quality": sales.quality,
        "capacity": sales.capacity,
        "offered": sales.offered,
        "served": sales.served,
        "revenue_usd": sales.used_usd,
        "credits_usd": state.credits,
        "collateral": covered,
        "emission": emitted,
        "operator_tokens": paid_tokens,
        "burn": burned,
        "supply": state.supply,
        "circulating": state.circulating,
        "locked": state.unlocking + state.reward_locked,
        "price_usd": new_price,
        "fundamental_usd": state.pool_usd if s.price.model == "pool" else fundamental(s, state),
        "speculative_usd": state.speculative,
        "reward_usd": paid_tokens * price,
        "fiat_usd": fiat,
        "opex_usd": opex_sum,
        "depreciation_usd": wear_sum,
        "marginal_margin_usd": worst if math.isfinite(worst) else 0.0,
        "treasury_usd": state.treasury,
        "treasury_spend_usd": spent,
        "demand": sum(state.demand),
    }
    return row, {"devices": list(state.devices), "margin_usd": margins, "hazard": hazards}


def sell(s: Scenario, now: Now, state: State, working: list[float], t: int, seed: int, number: int) -> Sales:
    """Steps 1 to 3: coverage and quality, what is asked for, what is served and paid."""
    dt = s.step_months
    uptime = s.service.uptime * now.uptime
    if s.service.uptime_noise:
        uptime += s.service.uptime_noise * draws.normal(seed, number, draws.UPTIME, t)
    uptime = min(max(uptime, 0.0), 1.0)
    fraud = max(0.0, s.service.fraud * now.fraud + now.fraud_extra)
    coverage = quality = 0.0
    quality_in, capacity_in = [], []
    for region in s.regions:
        here = [k for k, cohort in enumerate(s.cohorts) if cohort.region == region.name]
        count = sum(working[k] for k in here)
        ratio = count / region.coverage_devices
        covered = -math.expm1(-ratio) if s.service.coverage_form == "exponential" else ratio / (1 + ratio)
        quality_in.append(covered**s.service.coverage_exponent * uptime / (1 + fraud) if covered > 0 else 0.0)
        coverage += region.demand_share * covered
        quality += region.demand_share * quality_in[-1]
        units = sum(working[k] * s.cohorts[k].capacity_units_month for k in here)
        capacity_in.append(units * uptime * s.service.usable_capacity * dt)

    unit_usd = max(s.service.price_usd * now.service_price, 1e-12)
    noise = draws.normal(seed, number, draws.DEMAND, t)
    offered = 0.0
    for j, segment in enumerate(s.segments):
        room = 1 - state.demand[j] / segment.market_units_month
        grown = 1 + dt / 12 * (segment.growth_year * quality * room - segment.churn_year)
        state.demand[j] = max(0.0, state.demand[j] * grown)
        spread = segment.noise_year * math.sqrt(dt / 12)
        weather = math.exp(spread * noise - spread**2 / 2)
        patched = max(0.0, now.season[j]) * now.demand[j] * weather
        answer = demand_answer(segment, unit_usd, quality, now.alternative_price[j])
        offered += state.demand[j] * answer * patched * dt

    offered_in = [
        offered * region.demand_share * q / quality if quality > 0 else 0.0
        for region, q in zip(s.regions, quality_in, strict=True)
    ]
    served_in = [min(asked, there) for asked, there in zip(offered_in, capacity_in, strict=True)]
    revenue = unit_usd * sum(served_in)
    bought, used = prepay(s, state, revenue)
    part = used / revenue if revenue > 0 else 1.0
    return Sales(
        quality, coverage, offered, [asked * part for asked in offered_in], sum(capacity_in), capacity_in,
        sum(served_in) * part, [units * part for units in served_in], unit_usd, bought, used, uptime, fraud,
    )  # fmt: skip


def demand_answer(segment: Segment, unit_usd: float, quality: float, alternative_factor: float) -> float:
    """Return the part of a segment's demand that comes at this price and quality."""
    if segment.form == "elastic":
        return float((unit_usd / segment.price_ref_usd) ** -segment.elasticity * quality)
    alternative = max(segment.price_alt_usd * alternative_factor, 1e-12)
    disadvantage = (unit_usd - alternative) / alternative - segment.quality_sensitivity * (
        quality - segment.quality_alt
    )
    return 1 / (1 + math.exp(clip(segment.price_sensitivity * disadvantage, EXPONENT_LIMIT)))


def prepay(s: Scenario, state: State, revenue: float) -> tuple[float, float]:
    """Return the dollars of credits bought and used; no more is used than was bought. Moves the credits outstanding."""
    wanted = max(0.0, revenue + s.burn.credit_months * revenue / s.step_months - state.credits)
    has_breaker = s.burn.mode == "vault" and s.burn.halt_ratio > 0 and state.credits > 0
    if has_breaker and state.vault * state.prices[-1] < s.burn.halt_ratio * state.credits:
        wanted = 0.0  # no new credits until the vault covers the old ones
    used = min(revenue, state.credits + wanted)
    state.credits = max(0.0, state.credits + wanted - used)
    return wanted, used


def burn(s: Scenario, state: State, sales: Sales, price: float, late_price: float) -> tuple[float, float]:
    """Step 4: return the tokens burned and the dollars that bought them."""
    most = MOST_BURNED * state.circulating
    if s.burn.mode == "burn":
        tokens = min(s.burn.share * sales.bought_usd / late_price, most)
        return tokens, tokens * price
    if s.burn.mode == "vault":
        tokens = min(sales.bought_usd * (1 + s.burn.mint_spread) / late_price, most)
        return tokens, tokens * price
    if s.burn.mode == "buyback":
        dollars = s.burn.share * sales.bought_usd
        if s.price.model == "pool":
            paid_in = dollars * (1 - s.price.pool_fee)
            return min(state.pool_tokens * paid_in / (state.pool_usd + paid_in), most), dollars
        return min(dollars / price, most), dollars
    return 0.0, 0.0


def mint(
    s: Scenario,
    now: Now,
    state: State,
    sales: Sales,
    burned: float,
    price: float,
    late_price: float,
    room: float,
    t: int,
) -> Minted:
    """Step 5: return what the policy mints, below the cap; settlement first, for it was paid in advance."""
    e, dt = s.emission, s.step_months
    rule = emission.PLANS[e.policy].rule
    scheduled = now.schedule * e.scale
    top_up = direct_usd = 0.0
    if rule == emission.DEMAND_FIRST:
        weight = -math.expm1(-dt / e.revenue_memory_months)
        state.smoothed_revenue += weight * (sales.used_usd / dt - state.smoothed_revenue)
        scheduled *= e.half_revenue_usd_month / (e.half_revenue_usd_month + state.smoothed_revenue)
        direct_usd = 1 - s.burn.take
    elif rule == emission.REVENUE_SHARE:
        direct_usd = e.revenue_share
    elif rule in (emission.NET_EMISSIONS, emission.BACKSTOP):
        weight = -math.expm1(-dt / e.burn_memory_months)
        state.smoothed_burn += weight * (burned / dt - state.smoothed_burn)
        scheduled += min(state.smoothed_burn, e.recycle_cap_tokens_month) * dt
        if rule == emission.BACKSTOP and e.operator_share > 0:
            missing = max(0.0, e.floor_share * sales.used_usd / price - e.operator_share * scheduled)
            top_up = min(missing / e.operator_share, max(0.0, state.smoothed_burn - e.recycle_cap_tokens_month) * dt)
    elif rule == emission.BASELINE:
        scheduled += e.scale * baseline_mint(s, state, sales, t)
    elif rule == emission.STAKING:
        change = e.inflation_change_round * e.rounds_month * dt
        moved = state.inflation + (change if e.bonded_share < e.bonded_target else -change)
        moved = state.inflation if e.bonded_share == e.bonded_target else max(0.0, moved)
        mean, state.inflation = (state.inflation + moved) / 2, moved
        scheduled += e.scale * state.supply * math.expm1(e.rounds_month * dt * math.log1p(mean))

    settlement = min(sales.used_usd / late_price, room) if s.burn.mode == "vault" else 0.0
    pool = e.operator_share * (scheduled + top_up)
    other = (1 - e.operator_share) * (scheduled + top_up) + now.supplement
    direct_unit = direct_usd * sales.unit_usd / price
    total = pool + other + direct_unit * sales.served
    fit = min(1.0, (room - settlement) / total) if total > 0 else 1.0
    return Minted(pool * fit, direct_unit * fit, other * fit, settlement)


def baseline_mint(s: Scenario, state: State, sales: Sales, t: int) -> float:
    """Return the baseline pool's tokens: capacity up to a growing target moves effective time (Filecoin)."""
    e, dt = s.emission, s.step_months
    growth = math.log1p(e.baseline_growth_year) / 12

    def paid() -> float:
        effective = math.log1p(growth * state.realised / e.baseline_units_month) / growth
        return e.baseline_pool_tokens * -math.expm1(-effective * math.log(2) / e.baseline_half_life_months)

    before = paid()
    target = e.baseline_units_month * math.exp(growth * (e.start_month + t * dt))
    state.realised += min(target, sales.capacity / dt) * dt
    return paid() - before


def expectation(s: Scenario, trend: float) -> float:
    """Return the price joiners expect over their horizon, relative to today's."""
    if s.behaviour.expectation == "adaptive":
        return math.exp(clip(trend * s.behaviour.horizon_months / 2, TREND_LIMIT))
    return 1 - s.behaviour.haircut if s.behaviour.expectation == "pessimistic" else 1.0


def fundamental(s: Scenario, state: State) -> float:
    """Return F in dollars: discounted burn, diluted by emission, and the credits that a vault holds for."""
    float_usd = state.credits if s.burn.mode == "vault" else 0.0
    return state.burn_usd_year / (s.price.discount_year + state.emission_rate_year) + float_usd


def reprice(
    s: Scenario, now: Now, state: State, t: int, seed: int, number: int,
    price: float, emitted: float, burned: float, burn_cost: float, sold: float, log_growth: float,
) -> float:  # fmt: skip
    """Step 10: return the price at the end of the step."""
    dt, year = s.step_months, s.step_months / 12
    weight = -math.expm1(-dt / s.price.memory_months) if t else 1.0
    state.burn_usd_year += weight * (burned * price / year - state.burn_usd_year)
    state.emission_rate_year += weight * (emitted / state.circulating / year - state.emission_rate_year)

    spread = s.price.volatility_year * math.sqrt(year)
    move = s.price.reflexivity * log_growth - s.price.fade_year * year - spread**2 / 2
    move += spread * draws.normal(seed, number, draws.PRICE, t)
    if draws.uniform(seed, number, draws.JUMP, t) <= -math.expm1(-s.price.jumps_year * year):
        move += s.price.jump_mean + s.price.jump_sd * draws.normal(seed, number, draws.JUMP_SIZE, t)

    if s.price.model == "pool":
        state.pool_usd *= max(now.deeper, 1e-9)
        state.pool_tokens *= max(now.deeper, 1e-9)
        constant = state.pool_usd * state.pool_tokens
        state.pool_usd = constant / (state.pool_tokens + sold * (1 - s.price.pool_fee))
        state.pool_usd += burn_cost * (1 - s.price.pool_fee)
        if s.price.speculation:
            pushed = state.pool_usd * math.exp(clip(s.price.speculation * move, EXPONENT_LIMIT / 10) / 2)
            state.speculative += pushed - state.pool_usd
            state.pool_usd = pushed
        state.pool_usd = min(max(state.pool_usd, 1e-9), SPECULATION_LIMIT)
        state.pool_tokens = constant / state.pool_usd
        raw = state.pool_usd / state.pool_tokens
    else:
        value = fundamental(s, state)
        if t == 0:  # today's price is known: what F does not explain is speculation
            state.speculative = s.price.speculation * max(0.0, s.price.initial_usd * state.circulating - value)
        else:
            grown = state.speculative * math.exp(clip(move, EXPONENT_LIMIT / 10))
            state.speculative = min(grown, SPECULATION_LIMIT)
        raw = (value + state.speculative) / state.circulating
    return max(raw * now.price, PRICE_FLOOR)


def growth(before: float, after: float) -> float:
    """Return ΔlnN of the fleet, limited; an empty fleet shrinks as fast as the limit allows."""
    if before <= 0 or after <= 0:
        return -LOG_GROWTH_LIMIT if after < before else 0.0
    return clip(math.log(after / before), LOG_GROWTH_LIMIT)


def annuity(discount_year: float, months: float) -> float:
    """Return what a dollar a month for some months is worth today."""
    rate = discount_year / 12
    return -math.expm1(-months * math.log1p(rate)) / rate if rate else months


def logistic(value: float) -> float:
    """Return 1 / (1 + e^−value)."""
    return 1 / (1 + math.exp(clip(-value, EXPONENT_LIMIT)))


def clip(value: float, limit: float) -> float:
    """Return the value held between −limit and limit."""
    return min(max(value, -limit), limit)
