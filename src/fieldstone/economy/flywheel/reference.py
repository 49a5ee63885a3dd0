"""One run of the flywheel in plain Python: the method, step by step. The compiled engine equals it.

Steps 1 to 3 are in `sales`, 4, 5 and 10 in `money`, the rest is here; bounds are in `limits`. With dt the step's length in months, k a cohort, g a region, j a segment; amounts are those of the step:
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

from fieldstone.economy.flywheel.inputs import Now, Tables, by_step, tables
from fieldstone.economy.flywheel.limits import (
    BANNED_LEAVE_MONTH,
    EXPONENT_LIMIT,
    HOURS_PER_MONTH,
    LOG_GROWTH_LIMIT,
    RETURN_LIMIT,
    TREND_LIMIT,
    clip,
)
from fieldstone.economy.flywheel.money import burn, fundamental, mint, reprice
from fieldstone.economy.flywheel.parameters import Scenario
from fieldstone.economy.flywheel.sales import sell
from fieldstone.economy.flywheel.series import COHORT_NAMES, NAMES
from fieldstone.economy.flywheel.state import State, start


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


def expectation(s: Scenario, trend: float) -> float:
    """Return the price joiners expect over their horizon, relative to today's."""
    if s.behaviour.expectation == "adaptive":
        return math.exp(clip(trend * s.behaviour.horizon_months / 2, TREND_LIMIT))
    return 1 - s.behaviour.haircut if s.behaviour.expectation == "pessimistic" else 1.0


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
