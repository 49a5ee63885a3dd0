"""What one epoch hands to the next. Everything in it is a fold over the journal, so it can be recomputed from entry 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from fieldstone.epoch.bonds import Snapshot
from fieldstone.identity.registry import Registry
from fieldstone.market.fund_fold import FUND_SCHEMA
from fieldstone.market.metering import OWED_SCHEMA
from fieldstone.policy import Policy

Carry = Mapping[str, Mapping[str, pl.DataFrame]]  # service → table name → table


@dataclass(frozen=True)
class EpochState:
    """The network after `epoch` closed (0: before the first).

    `policy` is in force for the next epoch. `balances`: operator address → cumulative reward in token base units.
    `pools`: named remainders in base units. `last_seq`: device → highest sequence number that was counted.
    `owed_revenue`: late refunds that later revenue has to repay; `funds`: what was paid once and what of it was drawn
    (`market.metering`, `market.fund_fold`). `bonds`: the newest snapshot of the bonds on chain (`epoch.bonds`).
    """

    epoch: int
    next_start_ms: int
    last_position: int
    policy: Policy
    registry: Registry
    price_micro_usd: int
    smoothed_revenue_micro_usd: int = 0
    pools: Mapping[str, int] = field(default_factory=dict)
    balances: Mapping[str, int] = field(default_factory=dict)
    last_seq: Mapping[str, int] = field(default_factory=dict)
    owed_revenue: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=OWED_SCHEMA))
    funds: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=FUND_SCHEMA))
    carry: Carry = field(default_factory=dict)
    bonds: Snapshot | None = None

    @property
    def next_end_ms(self) -> int:
        """Unix ms at which the next epoch ends: the first millisecond that does not belong to it."""
        return self.next_start_ms + self.policy.epoch.length_s * 1000


def genesis(policy: Policy, first_received_ms: int) -> EpochState:
    """Return the state before epoch 1. The first policy entry starts the clock unless the policy names a start."""
    return EpochState(
        epoch=0,
        next_start_ms=policy.epoch.first_start_ms or first_received_ms,
        last_position=0,
        policy=policy,
        registry=Registry(),
        price_micro_usd=policy.rewards.token_price_micro_usd,
    )
