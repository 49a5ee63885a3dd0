"""The recorded series of a run: one value per step, in this order. Amounts are those of the step, stocks at its end."""

from __future__ import annotations

# name → (unit, meaning)
SERIES: dict[str, tuple[str, str]] = {
    "devices": ("devices", "active devices, all cohorts"),
    "joins": ("devices", "ordered in the step"),
    "exits": ("devices", "left or failed in the step"),
    "backlog": ("devices", "ordered and not yet delivered"),
    "coverage": ("fraction", "by demand share of regions"),
    "quality": ("fraction", "coverage^a · uptime · (1 − fraud)"),
    "capacity": ("units", "that could be sold at the service level"),
    "offered": ("units", "asked for at this price and quality"),
    "served": ("units", "delivered and paid"),
    "revenue_usd": ("USD", "paid by customers for what was served"),
    "credits_usd": ("USD", "prepaid and not yet used"),
    "collateral": ("ratio", "vault · price / credits; 1 when there are no credits or no vault"),
    "emission": ("tokens", "all mints: schedule, re-emission, top-up, supplement, settlement"),
    "operator_tokens": ("tokens", "of them paid to operators"),
    "burn": ("tokens", "burned"),
    "supply": ("tokens", "all tokens"),
    "circulating": ("tokens", "not locked"),
    "locked": ("tokens", "locked: unlock schedule and rewards"),
    "price_usd": ("USD/token", "at the end of the step"),
    "fundamental_usd": ("USD", "F; in the pool model the dollars in the pool"),
    "speculative_usd": ("USD", "X; in the pool model the sum of speculative flows"),
    "reward_usd": ("USD", "worth of operators' tokens at the step's price"),
    "fiat_usd": ("USD", "customers' dollars that reach operators"),
    "opex_usd": ("USD", "running costs of all devices"),
    "depreciation_usd": ("USD", "wear of all devices"),
    "marginal_margin_usd": ("USD/device-month", "margin after wear of the worst cohort that is active"),
    "treasury_usd": ("USD", "in the treasury"),
    "treasury_spend_usd": ("USD", "spent by it in the step"),
    "demand": ("units/month", "D: demand at reference price and full quality"),
}
NAMES = tuple(SERIES)

# per cohort, recorded on request
COHORT_SERIES: dict[str, tuple[str, str]] = {
    "devices": ("devices", "active devices"),
    "margin_usd": ("USD/device-month", "reward and fiat less running costs"),
    "hazard": ("fraction", "part that left or failed in the step"),
}
COHORT_NAMES = tuple(COHORT_SERIES)
