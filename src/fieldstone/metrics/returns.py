"""What an investment gives back: payback, discounted payback, present value, runway. Months; infinite is allowed."""

from __future__ import annotations

import math
from collections.abc import Sequence


def payback_months(capex_usd: float, margin_usd_month: float, *, delay_months: float = 0.0) -> float:
    """Return delay + capex / margin in months; infinite when the margin is not positive and something was paid.

    `capex_usd` is the delivered cost, set-up included; `delay_months` the time from paying to the first reward.
    """
    if capex_usd <= 0:
        return delay_months
    return delay_months + capex_usd / margin_usd_month if margin_usd_month > 0 else math.inf


def discounted_payback_months(capex_usd: float, margins_usd: Sequence[float], discount_month: float) -> float:
    """Return the first month n (1-based) with Σ margin_k / (1 + r)^k ≥ capex, k = 1 … n; infinite if there is none.

    `discount_month` is the discount rate of one month (0.01 is 1 %). Nothing invested: 0.
    """
    if capex_usd <= 0:
        return 0.0
    worth = 0.0
    for month, margin in enumerate(margins_usd, start=1):
        worth += margin / (1 + discount_month) ** month
        if worth >= capex_usd:
            return float(month)
    return math.inf


def net_present_value(capex_usd: float, margins_usd: Sequence[float], discount_month: float) -> float:
    """Return Σ margin_k / (1 + r)^k − capex in dollars, k = 1, 2 …"""
    worth = [margin / (1 + discount_month) ** month for month, margin in enumerate(margins_usd, start=1)]
    return math.fsum([*worth, -capex_usd])


def runway_months(treasury_usd: float, net_outflow_usd_month: float) -> float:
    """Return the months a treasury lasts; infinite when it does not shrink, 0 when it is empty and does."""
    if net_outflow_usd_month <= 0:
        return math.inf
    return max(0.0, treasury_usd) / net_outflow_usd_month
