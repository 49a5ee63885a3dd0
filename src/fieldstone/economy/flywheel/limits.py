"""Where the flywheel's formulas end: bounds that keep every number finite, whatever a scenario says. Both engines use them."""

from __future__ import annotations

HOURS_PER_MONTH = 730.5
MOST_BURNED = 0.5  # of what circulates, in one step: a market cannot be emptied
BANNED_LEAVE_MONTH = 0.5  # devices that may not work leave at this rate
TREND_LIMIT = 2.0
RETURN_LIMIT = 50.0
EXPONENT_LIMIT = 300.0
LOG_GROWTH_LIMIT = 1.0
SPECULATION_LIMIT = 1e30
PRICE_FLOOR = 1e-12


def clip(value: float, limit: float) -> float:
    """Return the value held between −limit and limit."""
    return min(max(value, -limit), limit)
