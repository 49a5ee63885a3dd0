"""Fieldstone's own policy, demand first: customers' money decides, the bootstrap fades as they come (DESIGN §4.8).

The schedule, the smoothing and the fade are the very functions that pay a live network (`fieldstone.rewards.emission`);
a test compares the paid part with `fieldstone.rewards.allocate`. So what is simulated and what is paid cannot drift.
The caps on single devices' work (`fieldstone.rewards.caps`) are no part of it: they depend on list prices, places and
how full each device is, which a network as a whole does not know. So `bootstrap_base` is what an epoch offers, and at
low prices a service with a list price (storage) mints less.
Invariants: `never_more_than_the_customer_paid`, `minted_below_cap`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fieldstone.economy.policies.contract import MonetaryPolicy, Output, Source, integer

_PPM = 1_000_000
_TOKEN = 10**18


def _demand_first(
    epoch: int,
    revenue_micro_usd: int,
    price_micro_usd: int,
    smoothed_before_micro_usd: int,
    take_ppm: int,
    bootstrap_per_epoch_base: int,
    decay_ppm: int,
    r_half_micro_usd: int,
    smoothing_ppm: int,
    max_epoch_mint_base: int,
) -> Mapping[str, Any]:
    from fieldstone.rewards.emission import fade, schedule, smooth

    gross = revenue_micro_usd * _TOKEN // price_micro_usd
    paid = (_PPM - take_ppm) * revenue_micro_usd * _TOKEN // (_PPM * price_micro_usd)
    smoothed = smooth(smoothed_before_micro_usd, revenue_micro_usd, smoothing_ppm)
    scheduled = schedule(epoch, bootstrap_per_epoch_base, decay_ppm)
    bootstrap = fade(scheduled, r_half_micro_usd, smoothed)
    firm = min(gross, max_epoch_mint_base)
    if gross > max_epoch_mint_base:
        paid = paid * max_epoch_mint_base // gross
    bootstrap = min(bootstrap, max_epoch_mint_base - firm)
    return {
        "paid_base": paid,
        "bootstrap_base": bootstrap,
        "treasury_base": firm - paid,
        "minted_base": firm + bootstrap,
        "owed_base": gross - firm,
        "schedule_base": scheduled,
        "smoothed_micro_usd": smoothed,
    }


POLICIES = (
    MonetaryPolicy(
        name="fieldstone.demand_first",
        summary="What one epoch of a Fieldstone network mints: paid work, and a bootstrap that fades with demand.",
        function=_demand_first,
        keys=(
            integer("epoch", "epochs", "the epoch, 1 is the first", minimum=1, maximum=1_000_000),
            integer("revenue_micro_usd", "10⁻⁶ USD", "delivered, metered, not refunded in the epoch"),
            integer("price_micro_usd", "10⁻⁶ USD per token", "price of the token", 50_000, above=0),
            integer("smoothed_before_micro_usd", "10⁻⁶ USD per epoch", "smoothed revenue before", 0),
            integer("take_ppm", "ppm", "the network's share of revenue", 100_000, maximum=_PPM),
            integer("bootstrap_per_epoch_base", "10⁻¹⁸ token", "bootstrap of the first epoch", 1_000 * _TOKEN),
            integer("decay_ppm", "ppm per epoch", "how fast the schedule falls", 0, maximum=_PPM),
            integer(
                "r_half_micro_usd", "10⁻⁶ USD per epoch", "revenue at which half the bootstrap is left", 100_000_000
            ),
            integer("smoothing_ppm", "ppm", "weight of this epoch in the smoothed revenue", 200_000, maximum=_PPM),
            integer("max_epoch_mint_base", "10⁻¹⁸ token", "most that an epoch mints", 10_000 * _TOKEN),
        ),
        outputs=(
            Output("paid_base", "10⁻¹⁸ token", "to operators, for work that customers paid"),
            Output("bootstrap_base", "10⁻¹⁸ token", "offered for verified but unsold capacity"),
            Output("treasury_base", "10⁻¹⁸ token", "take and rounding dust"),
            Output("minted_base", "10⁻¹⁸ token", "all of it"),
            Output("owed_base", "10⁻¹⁸ token", "held back by the cap, paid later"),
            Output("schedule_base", "10⁻¹⁸ token", "the bootstrap before it fades"),
            Output("smoothed_micro_usd", "10⁻⁶ USD per epoch", "smoothed revenue after"),
        ),
        rounding="floor at each step",
        exact=True,
        example={"epoch": "1", "revenue_micro_usd": "100000000"},
        source=Source("Fieldstone", "fieldstone.rewards.emission and fieldstone.rewards.allocation; DESIGN §4.8"),
        notes="one operator; defaults are those of network.toml. What the bootstrap pays depends on coverage (rewards.need) and on list prices (rewards.caps)",
    ),
)
