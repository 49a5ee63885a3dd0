"""One run, compiled: `reference.run` step for step, in one loop over plain numbers.

One function on purpose: its state lives in registers, and every line has its twin in `reference`, `sales` or `money`,
where the method is explained. A test compares the two on random scenarios.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fieldstone.economy.flywheel import draws, emission, limits
from fieldstone.economy.flywheel.compiled_parts import (
    annuity,
    baseline_paid,
    clip,
    elastic_answer,
    expectation,
    growth_of,
    jit,
    logistic,
    logit_answer,
    normal,
    uniform,
)
from fieldstone.economy.flywheel.series import NAMES

DEMAND, PRICE, JUMP, JUMP_SIZE, UPTIME = draws.DEMAND, draws.PRICE, draws.JUMP, draws.JUMP_SIZE, draws.UPTIME
DEMAND_FIRST, REVENUE_SHARE, STAKING = emission.DEMAND_FIRST, emission.REVENUE_SHARE, emission.STAKING
NET_EMISSIONS, BACKSTOP, BASELINE = emission.NET_EMISSIONS, emission.BACKSTOP, emission.BASELINE
BURN, NONE, VAULT, BUYBACK = range(4)  # places in the choices of `Burn.mode`
HYPERBOLIC, POOL, LOGIT, ADAPTIVE = (
    1,
    1,
    1,
    1,
)  # of `Service.coverage_form`, `Price.model`, `Segment.form`, `Behaviour.expectation`
MOST_BURNED, BANNED = limits.MOST_BURNED, limits.BANNED_LEAVE_MONTH
RETURN_LIMIT, EXPONENT_LIMIT = limits.RETURN_LIMIT, limits.EXPONENT_LIMIT
SPECULATION_LIMIT, PRICE_FLOOR = limits.SPECULATION_LIMIT, limits.PRICE_FLOOR
KILOWATT_HOURS = limits.HOURS_PER_MONTH / 1000
WIDTH = len(NAMES)


@jit
def one_run(
    p: Any, cohorts: Any, segments: Any, regions: Any, now: Any, cohort_now: Any, segment_now: Any,
    run: int, k0: Any, k1: Any, slots: Any, out: Any, cohort_out: Any,
) -> None:  # fmt: skip
    """Simulate one run into out[series, step] and cohort_out[series, step, cohort] (may be empty)."""
    steps, count, places, kinds = len(now), len(cohorts), len(regions), len(segments)
    dt = p.dt
    year = dt / 12.0
    mode, rule, is_pool = int(p.burn_mode), int(p.rule), int(p.price_model) == POOL
    keeps_burn = mode in (BURN, BUYBACK)
    keep = 1.0 - p.burn_take - (p.burn_share if keeps_burn else 0.0)

    devices, demand = np.empty(count), np.empty(kinds)
    loss_months, waiting = np.zeros(count), np.zeros(count)
    worth, wear, power, hazards = np.empty(count), np.empty(count), np.empty(count), np.empty(count)
    per_capex, per_potential = np.empty(count), np.empty(count)
    lead = np.empty(count, np.int64)
    longest = 0
    for k in range(count):
        c = cohorts[k]
        devices[k] = c.initial_devices
        lead[k] = int(c.lead_steps)
        longest = max(longest, lead[k])
        worth[k] = annuity(p.behaviour_discount_year, min(p.behaviour_horizon_months, c.life_months))
        wear[k] = c.capex_usd / c.life_months
        per_capex[k] = 1.0 / max(c.capex_usd, 1e-9)
        per_potential[k] = 1.0 / c.potential_devices if c.potential_devices > 0.0 else 0.0
        hazards[k] = p.behaviour_leave_year / 12.0 + c.failure_year / 12.0
        power[k] = c.power_w * KILOWATT_HOURS * regions[int(c.region)].power_usd_kwh
    ordered = np.zeros((count, longest + 1))
    for j in range(kinds):
        demand[j] = segments[j].units_month
    answers, answered_usd = np.zeros(kinds), -1.0  # of elastic demand to the last price asked
    working, joins, gone = np.empty(count), np.empty(count), np.empty(count)
    count_in, units_in = np.empty(places), np.empty(places)
    quality_in, offered_in, capacity_in = np.empty(places), np.empty(places), np.empty(places)
    row, prices = np.empty(WIDTH), np.empty(steps + 1)

    supply, unlocking, reward_locked = p.supply_initial_tokens, p.supply_locked_tokens, 0.0
    speculative, pool_usd = 0.0, p.price_pool_usd
    pool_tokens = p.price_pool_usd / p.price_initial_usd
    treasury, vault, credits, trend = p.treasury_initial_usd, 0.0, 0.0, 0.0
    burn_usd_year, emission_rate_year, smoothed_revenue, smoothed_burn = 0.0, 0.0, 0.0, 0.0
    target_growth = math.log1p(p.emission_baseline_growth_year) / 12.0
    realised = p.emission_baseline_units_month * math.expm1(target_growth * p.emission_effective_months) / target_growth
    inflation = p.emission_inflation_round
    prices[0] = p.price_initial_usd

    # the same in every step
    revenue_weight = -math.expm1(-dt / p.emission_revenue_memory_months)
    burn_weight = -math.expm1(-dt / p.emission_burn_memory_months)
    price_weight = -math.expm1(-dt / p.price_memory_months)
    trend_weight = -math.expm1(-dt / p.behaviour_trend_memory_months)
    jump_chance = -math.expm1(-p.price_jumps_year * year)
    spread = p.price_volatility_year * math.sqrt(year)
    release = min(1.0, dt / p.supply_reward_lock_months)
    join_part = min(1.0, p.behaviour_join_month * dt)
    first_movers = p.behaviour_first_movers
    data_share = p.emission_data_share
    per_step, per_scale, per_memory = 1.0 / dt, 1.0 / p.behaviour_return_scale, 1.0 / p.behaviour_loss_memory_months
    uses_trend = int(p.behaviour_expectation) == ADAPTIVE

    for t in range(steps):
        n, price = now[t], prices[t]
        # 1 coverage
        uptime = p.service_uptime * n.uptime
        if p.service_uptime_noise != 0.0:
            uptime += p.service_uptime_noise * normal(t, run, UPTIME, k0, k1)
        uptime = min(max(uptime, 0.0), 1.0)
        fraud = max(0.0, p.service_fraud * n.fraud + n.fraud_extra)
        before, weights = 0.0, 0.0
        count_in[:] = 0.0
        units_in[:] = 0.0
        for k in range(count):
            c, g = cohorts[k], int(cohorts[k].region)
            working[k] = devices[k] * cohort_now[t, k].active
            before += devices[k]
            weights += c.reward_weight * working[k]
            count_in[g] += working[k]
            units_in[g] += working[k] * c.capacity_units_month
        weights *= 1.0 + fraud
        coverage, quality, capacity = 0.0, 0.0, 0.0
        for g in range(places):
            ratio = count_in[g] / regions[g].coverage_devices
            covered = ratio / (1.0 + ratio) if int(p.service_coverage_form) == HYPERBOLIC else -math.expm1(-ratio)
            raised = covered if p.service_coverage_exponent == 1.0 else max(covered, 0.0) ** p.service_coverage_exponent
            quality_in[g] = raised * uptime / (1.0 + fraud) if covered > 0.0 else 0.0
            coverage += regions[g].demand_share * covered
            quality += regions[g].demand_share * quality_in[g]
            capacity_in[g] = units_in[g] * uptime * p.service_usable_capacity * dt
            capacity += capacity_in[g]

        # 2 demand
        unit_usd = max(p.service_price_usd * n.service_price, 1e-12)
        noise = normal(t, run, DEMAND, k0, k1)
        offered, demand_sum = 0.0, 0.0
        if unit_usd != answered_usd:
            answered_usd = unit_usd
            for j in range(kinds):
                answers[j] = elastic_answer(segments[j], unit_usd)
        for j in range(kinds):
            segment, patch = segments[j], segment_now[t, j]
            rise = segment.growth_year * quality * (1.0 - demand[j] / segment.market_units_month)
            demand[j] = max(0.0, demand[j] * (1.0 + year * (rise - segment.churn_year)))
            demand_sum += demand[j]
            swing = segment.noise_year * math.sqrt(year)
            weather = math.exp(swing * noise - swing * swing / 2.0) if swing > 0.0 else 1.0
            patched = max(0.0, patch.season) * patch.demand * weather
            if int(segment.form) == LOGIT:
                answer = logit_answer(segment, unit_usd, quality, patch.alternative_price)
            else:
                answer = answers[j] * quality
            offered += demand[j] * answer * patched * dt

        # 3 sales
        served = 0.0
        for g in range(places):
            offered_in[g] = offered * regions[g].demand_share * quality_in[g] / quality if quality > 0.0 else 0.0
            served += min(offered_in[g], capacity_in[g])
        revenue = unit_usd * served
        bought = max(0.0, revenue + p.burn_credit_months * revenue / dt - credits)
        if mode == VAULT and p.burn_halt_ratio > 0.0 and credits > 0.0 and vault * price < p.burn_halt_ratio * credits:
            bought = 0.0
        used = min(revenue, credits + bought)
        credits = max(0.0, credits + bought - used)
        part = used / revenue if revenue > 0.0 else 1.0
        served *= part
        for g in range(places):
            offered_in[g] *= part

        # 4 burn
        late_price = prices[max(0, t - int(n.oracle_lag))]
        most = MOST_BURNED * (supply - unlocking - reward_locked)
        burned, burn_cost = 0.0, 0.0
        if mode == BURN:
            burned = min(p.burn_share * bought / late_price, most)
            burn_cost = burned * price
        elif mode == VAULT:
            burned = min(bought * (1.0 + p.burn_mint_spread) / late_price, most)
            burn_cost = burned * price
        elif mode == BUYBACK:
            burn_cost = p.burn_share * bought
            paid_in = burn_cost * (1.0 - p.price_pool_fee)
            burned = min(pool_tokens * paid_in / (pool_usd + paid_in) if is_pool else burn_cost / price, most)

        # 5 emission
        room = max(0.0, p.supply_max_tokens - (supply - burned))
        scheduled, top_up, direct_usd = n.schedule * p.emission_scale, 0.0, 0.0
        if rule == DEMAND_FIRST:
            smoothed_revenue += revenue_weight * (used / dt - smoothed_revenue)
            half = p.emission_half_revenue_usd_month
            scheduled *= half / (half + smoothed_revenue)
            direct_usd = 1.0 - p.burn_take
        elif rule == REVENUE_SHARE:
            direct_usd = p.emission_revenue_share
        elif rule in (NET_EMISSIONS, BACKSTOP):
            cap = p.emission_recycle_cap_tokens_month
            smoothed_burn += burn_weight * (burned / dt - smoothed_burn)
            scheduled += min(smoothed_burn, cap) * dt
            if rule == BACKSTOP and p.emission_operator_share > 0.0:
                missing = max(0.0, p.emission_floor_share * used / price - p.emission_operator_share * scheduled)
                top_up = min(missing / p.emission_operator_share, max(0.0, smoothed_burn - cap) * dt)
        elif rule == BASELINE:
            paid_before = baseline_paid(p, target_growth, realised)
            target = p.emission_baseline_units_month * math.exp(target_growth * (p.emission_start_month + t * dt))
            realised += min(target, capacity / dt) * dt
            scheduled += p.emission_scale * (baseline_paid(p, target_growth, realised) - paid_before)
        elif rule == STAKING:
            change = p.emission_inflation_change_round * p.emission_rounds_month * dt
            moved = inflation
            if p.emission_bonded_share < p.emission_bonded_target:
                moved = max(0.0, inflation + change)
            elif p.emission_bonded_share > p.emission_bonded_target:
                moved = max(0.0, inflation - change)
            mean, inflation = (inflation + moved) / 2.0, moved
            scheduled += (
                p.emission_scale
                * supply
                * math.expm1(min(p.emission_rounds_month * dt * math.log1p(mean), EXPONENT_LIMIT))
            )
        owed = used / late_price if mode == VAULT else 0.0
        settlement = min(owed, room)
        pool = p.emission_operator_share * (scheduled + top_up)
        other = (1.0 - p.emission_operator_share) * (scheduled + top_up) + n.supplement
        direct_unit = direct_usd * unit_usd / price
        total = pool + other + direct_unit * served
        fit = min(1.0, (room - settlement) / total) if total > 0.0 else 1.0
        pool, other, direct_unit = pool * fit, other * fit, direct_unit * fit
        fiat = used * keep * (settlement / owed if owed > 0.0 else 1.0)

        # 6 margin, 7 joining, 8 leaving
        expected = price * expectation(p, trend)
        opex_sum, wear_sum, paid_tokens, join_sum, worst = 0.0, 0.0, 0.0, 0.0, math.inf
        for k in range(count):
            c, patch = cohorts[k], cohort_now[t, k]
            g = int(c.region)
            own = c.capacity_units_month * uptime * p.service_usable_capacity * dt
            units = own * min(1.0, offered_in[g] / max(capacity_in[g], own)) if own > 0.0 else 0.0
            weight = c.reward_weight
            tokens = (1.0 - data_share) * pool * weight / max(weights, weight) if weight > 0.0 else 0.0
            paid_tokens += tokens * working[k] * (1.0 + fraud)
            if units > 0.0:
                tokens += data_share * pool * units / max(served, units)
            tokens += direct_unit * units
            opex = c.opex_usd_month * patch.opex + power[k] * patch.power
            fiat_month = units * unit_usd * keep * per_step
            margin = tokens * price * per_step + fiat_month - opex

            returns = (tokens * expected * per_step + fiat_month - opex) * worth[k]
            roi = clip((returns - c.capex_usd) * per_capex[k], RETURN_LIMIT)
            left = max(0.0, c.potential_devices - devices[k] - waiting[k])
            word = first_movers + (1.0 - first_movers) * devices[k] * per_potential[k]
            wish = join_part * logistic((roi - c.hurdle) * per_scale)
            joins[k] = min(left, wish * left * word * patch.join * patch.active)
            join_sum += joins[k]

            loss = max(0.0, (1.0 - p.behaviour_sunk) * wear[k] - margin)
            loss_months[k] = max(0.0, loss_months[k] + dt if loss > 0.0 else loss_months[k] - dt)
            elsewhere = c.competitor_usd_month * patch.competitor + patch.competitor_extra
            pull = max(0.0, elsewhere - max(margin, 0.0))
            hazard = hazards[k] + BANNED * (1.0 - patch.active)
            if loss > 0.0:
                remembered = -math.expm1(-loss_months[k] * per_memory)
                hazard += p.behaviour_leave_month * remembered * min(1.0, loss / max(opex, 1e-9))
            if pull > 0.0:
                hazard += p.behaviour_competitor_month * min(1.0, pull / max(opex, 1e-9))
            gone[k] = -math.expm1(-hazard * dt)
            opex_sum += opex * devices[k] * dt
            wear_sum += wear[k] * devices[k] * dt
            if devices[k] >= 1.0:
                worst = min(worst, margin - wear[k])
            if cohort_out.size:
                cohort_out[1, t, k] = margin
                cohort_out[2, t, k] = gone[k]
        if served > 0.0:
            paid_tokens += data_share * pool + direct_unit * served

        after, exits, backlog = 0.0, 0.0, 0.0
        for k in range(count):
            length = lead[k] + 1
            ordered[k, (t + length - 1) % length] += joins[k]
            slot = t % length
            delivered, ordered[k, slot] = ordered[k, slot], 0.0
            leaving = devices[k] * gone[k]
            exits += leaving
            devices[k] += delivered - leaving
            waiting[k] = 0.0
            for slot in range(length):
                waiting[k] += ordered[k, slot]
            backlog += waiting[k]
            after += devices[k]
            if cohort_out.size:
                cohort_out[0, t, k] = devices[k]

        # 9 tokens
        to_lock = p.supply_reward_lock_share * paid_tokens
        released = reward_locked * release
        unlocked = min(n.unlock, unlocking)
        emitted = paid_tokens + other + settlement
        supply += emitted - burned
        unlocking -= unlocked
        reward_locked += to_lock - released
        circulating = supply - unlocking - reward_locked
        if mode == VAULT:
            vault = max(0.0, vault + burned - settlement)

        # 10 price
        sold = p.price_sell_share * (paid_tokens - to_lock + other + released + unlocked) + settlement
        weight = price_weight if t else 1.0
        burn_usd_year += weight * (burned * price / year - burn_usd_year)
        emission_rate_year += weight * (emitted / circulating / year - emission_rate_year)
        move = 0.0
        if p.price_speculation > 0.0:
            move = p.price_reflexivity * growth_of(before, after) - p.price_fade_year * year - spread * spread / 2.0
            move += spread * normal(t, run, PRICE, k0, k1)
            if uniform(t, run, JUMP, k0, k1) <= jump_chance:
                move += p.price_jump_mean + p.price_jump_sd * normal(t, run, JUMP_SIZE, k0, k1)
        value = burn_usd_year / (p.price_discount_year + emission_rate_year) + (credits if mode == VAULT else 0.0)
        if is_pool:
            liquidity_before, price_before = (now[t - 1].liquidity, now[t - 1].price) if t > 0 else (1.0, 1.0)
            deeper = max(n.liquidity / liquidity_before if liquidity_before != 0.0 else 1.0, 1e-9)
            push = math.sqrt(max(n.price / price_before if price_before != 0.0 else 1.0, 1e-9))
            pool_usd *= deeper * push
            pool_tokens *= deeper / push
            constant = pool_usd * pool_tokens
            pool_usd = constant / (pool_tokens + sold * (1.0 - p.price_pool_fee))
            pool_usd += burn_cost * (1.0 - p.price_pool_fee)
            if p.price_speculation > 0.0:
                pushed = pool_usd * math.exp(clip(p.price_speculation * move, EXPONENT_LIMIT / 10.0) / 2.0)
                speculative += pushed - pool_usd
                pool_usd = pushed
            pool_usd = min(max(pool_usd, 1e-9), SPECULATION_LIMIT)
            pool_tokens = constant / pool_usd
            raw = pool_usd / pool_tokens
            value = pool_usd
        else:
            if t == 0:
                speculative = p.price_speculation * max(0.0, p.price_initial_usd * circulating - value)
            else:
                speculative = min(speculative * math.exp(clip(move, EXPONENT_LIMIT / 10.0)), SPECULATION_LIMIT)
            raw = (value + speculative) / circulating
        new_price = max(raw if is_pool else raw * n.price, PRICE_FLOOR)
        if uses_trend:
            trend += trend_weight * (math.log(new_price / price) / dt - trend)
        prices[t + 1] = new_price

        # 11 treasury
        income = p.burn_take * used
        spent = min(p.treasury_spend_usd_month * dt, treasury + income)
        treasury += income - spent

        # in the order of `series.SERIES`
        row[0], row[1], row[2], row[3], row[4] = after, join_sum, exits, backlog, coverage
        row[5], row[6], row[7], row[8], row[9] = quality, capacity, offered, served, used
        row[10] = credits
        row[11] = vault * new_price / credits if mode == VAULT and credits > 0.0 else 1.0
        row[12], row[13], row[14], row[15], row[16] = emitted, paid_tokens, burned, supply, circulating
        row[17], row[18], row[19], row[20] = unlocking + reward_locked, new_price, value, speculative
        row[21], row[22], row[23], row[24] = paid_tokens * price, fiat, opex_sum, wear_sum
        row[25] = worst if worst < math.inf else 0.0
        row[26], row[27], row[28] = treasury, spent, demand_sum
        for i in range(WIDTH):
            if slots[i] >= 0:
                out[slots[i], t] = row[i]
