"""What each fund pays of a charge. Pure.

Rule of `share`: a fund pays for at most what was bought, less what it paid for before, and never more than it holds; what
one fund does not take, the next may, oldest first; the rest is for credits.

    of what it covers        units_per_s · seconds since it was bought
    of a product in `also`   at_once + per_year · years since it was bought

Reason: what was bought for one object cannot be eaten up by a larger one that was never paid for, nor by reads that were
called repair; such excess is charged to credits like any storage and any read.

Invariants (tests bear these names): funds never pay more than was due nor more than they hold; a fund never pays for more
than was bought.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fieldstone.errors import Terminal
from fieldstone.units import DAY_MS

__all__ = ["YEAR_MS", "Fund", "Part", "Room", "allowed", "covered", "share"]

YEAR_MS = 365 * DAY_MS


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a product a fund may pay besides what it covers, and how much it has: smallest units."""

    at_once: int
    per_year: int
    drawn_units: int = 0

    def left(self, age_ms: int) -> int:
        """Return the units that may still be paid, so long after the fund was bought."""
        return max(0, allowed(self.at_once, self.per_year, age_ms) - self.drawn_units)


def covered(units_per_s: int, age_ms: int) -> int:
    """Return the units of what it covers that a fund may have paid so long after it was bought."""
    return units_per_s * max(0, age_ms) // 1_000


def allowed(at_once: int, per_year: int, age_ms: int) -> int:
    """Return the units of another product that a fund may have paid so long after it was bought."""
    return at_once + per_year * max(0, age_ms) // YEAR_MS


@dataclass(frozen=True, slots=True)
class Fund:
    """A quote for paying once, or the fund that it bought. Amounts in micro-dollars, times in Unix ms.

    `status`: quoted, held (paid; the journal has it in a moment) or endowed. `also`: products that it may pay besides
    `covers`. `review`: the service's, of a bought fund.
    """

    id: str
    customer_id: str
    payer: str
    service: str
    product: str
    covers: str
    status: str
    price_micro_usd: int
    units_per_s: int
    drawn_micro_usd: int
    drawn_units: int
    terms: Mapping[str, Any]
    created_ms: int
    valid_until_ms: int
    bought_ms: int | None
    review: Mapping[str, Any] | None = None
    also: Mapping[str, Room] = field(default_factory=dict)

    @property
    def balance_micro_usd(self) -> int:
        """What the fund still holds; 0 before it is bought."""
        return self.price_micro_usd - self.drawn_micro_usd if self.bought_ms is not None else 0

    @property
    def products(self) -> tuple[str, ...]:
        """The metered products whose charges it pays."""
        return (self.covers, *sorted(self.also))

    def room(self, product: str, until_ms: int) -> int:
        """Return how many units of a product it may still pay for: what was bought until then, less what was drawn.

        Nothing of what was used before it was bought: no sealed epoch knew of the fund then.
        """
        if self.bought_ms is None or until_ms < self.bought_ms:
            return 0
        age_ms = until_ms - self.bought_ms
        if product == self.covers:
            return max(0, covered(self.units_per_s, age_ms) - self.drawn_units)
        room = self.also.get(product)
        return 0 if room is None else room.left(age_ms)


@dataclass(frozen=True, slots=True)
class Part:
    """What one fund pays of a charge."""

    fund: str
    units: int
    amount_micro_usd: int


def share(
    funds: Sequence[Fund], units: int, unit_price: tuple[int, int], until_ms: int, product: str | None = None
) -> list[Part]:
    """Divide a charge of `units` of `product` (None: of what each fund covers) over funds, oldest first.

    `unit_price`: (micro-dollars, units that cost them). Floors run over the sum, so the parts never exceed the due of all.
    """
    price, per = unit_price
    parts: list[Part] = []
    taken = paid = 0
    for one in funds:
        if one.balance_micro_usd <= 0:
            continue
        mine = min(units - taken, one.room(one.covers if product is None else product, until_ms))
        # the amount of units a…b is floor(b · price) − floor(a · price), so no order of funds changes the sum
        amount = min((taken + mine) * price // per - taken * price // per, one.balance_micro_usd)
        if mine <= 0 or amount <= 0:
            continue
        taken, paid = taken + mine, paid + amount
        parts.append(Part(one.id, mine, amount))
    if paid > units * price // per:
        raise Terminal(f"funds would pay {paid} of a charge of {units * price // per} micro-dollars; this is a bug")
    return parts
