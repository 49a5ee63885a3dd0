"""How long what was paid once still lasts: credits against what the newest epochs charged.

    yearly cost   what the charges of the window were due, scaled from its length to 365 days, rounded up
    years         T = −ln(1 − F·λ/C)/λ, λ = −ln(1 − d); F/C at d = 0 (`endowment.years_covered`), per assumed decline d

The window begins where its first charged epoch began, so time that nothing was proven in counts as cheap time: only proven
time is ever charged. Pure; the years are predictions and decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fieldstone.services.storage.endowment import years_covered
from fieldstone.units import DAY_MS, PPM

__all__ = ["DECLINES_PPM", "Period", "coverage"]

DECLINES_PPM = (0, 5_000, 10_000, 20_000, 50_000)
YEAR_MS = 365 * DAY_MS


@dataclass(frozen=True, slots=True)
class Period:
    """What an epoch from `start_ms` to `end_ms` charged: micro-dollars due, and paid from the credits there were."""

    epoch: int
    start_ms: int
    end_ms: int
    due_micro_usd: int
    paid_micro_usd: int


def coverage(credits_micro_usd: int, periods: Sequence[Period]) -> dict[str, Any]:
    """Return the yearly cost at the pace of `periods` and the years that the credits cover; None: for ever.

    `unpaid_micro_usd`: what credits did not reach for. Without periods nothing is known and years are missing.
    """
    if not periods:
        return {"credits_micro_usd": credits_micro_usd, "epochs": 0, "unpaid_micro_usd": 0, "years": []}
    start_ms, end_ms = min(one.start_ms for one in periods), max(one.end_ms for one in periods)
    due = sum(one.due_micro_usd for one in periods)
    yearly = -(-due * YEAR_MS // max(1, end_ms - start_ms))
    years = [years_covered(credits_micro_usd, yearly, decline / PPM) for decline in DECLINES_PPM]
    return {
        "credits_micro_usd": credits_micro_usd,
        "due_micro_usd": due,
        "end_ms": end_ms,
        "epochs": len({one.epoch for one in periods}),
        "start_ms": start_ms,
        "unpaid_micro_usd": due - sum(one.paid_micro_usd for one in periods),
        "yearly_micro_usd": yearly,
        "years": [
            {"decline_ppm": decline, "years": None if math.isinf(found) else round(found, 2)}
            for decline, found in zip(DECLINES_PPM, years, strict=True)
        ],
    }
