"""What the rewards of an epoch are worked out from: verdicts, revenue, policy, and what earlier epochs left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from fieldstone.policy import RewardPolicy, ServicePolicy
from fieldstone.rewards.bonded import Bonded
from fieldstone.rewards.caps import SOLD_INPUT_SCHEMA
from fieldstone.services.bonding import Staked
from fieldstone.services.contract import HoldBack, ListPrice


@dataclass(frozen=True, kw_only=True)
class AllocationInput:
    """All that the rewards of one epoch may depend on.

    `verdicts`: VERDICT_SCHEMA of all services. `registry`: REGISTRY_SCHEMA, one row per device. `revenue`: device,
    service, revenue_micro_usd (device "": remainder of splitting; negative: refund of an earlier epoch's order).
    `corrections`: device, operator, amount_base (signed integer or its decimal text), cause. `pools` and
    `smoothed_revenue_micro_usd`: as the previous epoch left them. `previous`: cumulative balances. `treasury`: the
    address that receives take and dust; None keeps them in the pool `treasury`. `sold`: what of a verdict's quantity
    customers' own data made (device, service, quantity). `bonded`: services that ask for a bond; `staked`: what is bonded.
    `list_prices`: of the services whose work has a price per unit (`rewards.caps`).
    """

    epoch: int
    epoch_length_s: int
    policy: RewardPolicy
    services: Mapping[str, ServicePolicy]
    verdicts: pl.DataFrame
    registry: pl.DataFrame
    revenue: pl.DataFrame
    price_micro_usd: int
    smoothed_revenue_micro_usd: int
    corrections: pl.DataFrame
    pools: Mapping[str, int]
    previous: Mapping[str, int]
    treasury: str | None = None
    now_ms: int = 0  # the epoch's end
    hold_backs: Mapping[str, HoldBack] = field(default_factory=dict)  # service → rule (`rewards.held`)
    bonded: Mapping[str, Bonded] = field(default_factory=dict)
    staked: Staked = field(default_factory=dict)
    list_prices: Mapping[str, ListPrice] = field(default_factory=dict)  # service → price of its work
    sold: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SOLD_INPUT_SCHEMA))
