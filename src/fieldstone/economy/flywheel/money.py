"""Steps 4, 5 and 10 of the flywheel: burn, mint and price."""

from __future__ import annotations

import math

from fieldstone.economy.flywheel import draws, emission
from fieldstone.economy.flywheel.inputs import Now
from fieldstone.economy.flywheel.limits import EXPONENT_LIMIT, MOST_BURNED, PRICE_FLOOR, SPECULATION_LIMIT, clip
from fieldstone.economy.flywheel.parameters import Scenario
from fieldstone.economy.flywheel.state import Minted, Sales, State


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
        scheduled += e.scale * state.supply * math.expm1(min(e.rounds_month * dt * math.log1p(mean), EXPONENT_LIMIT))

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
        push = math.sqrt(max(now.pushed, 1e-9))  # a price from outside is a trade: it moves the pool along its curve
        state.pool_usd *= max(now.deeper, 1e-9) * push
        state.pool_tokens *= max(now.deeper, 1e-9) / push
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
        raw = (value + state.speculative) / state.circulating * now.price
    return max(raw, PRICE_FLOOR)
