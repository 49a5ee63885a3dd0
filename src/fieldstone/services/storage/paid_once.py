"""The permanent product: what a fund for an object costs, and whether a bought fund still covers what it was bought for.

    endow    size → the shares of one object of that size → `endowment.permanent_price` at the network's prices today
    review   years = `years_covered`(what is left, what all that was bought costs a year at today's prices, yearly decline)

Besides proven storage a fund pays the reads that made shares of permanent objects anew (`repair_reads` says which): twice
all of the object at once, and four times as often as was assumed. It may pay more often than was assumed because a fund
that refuses a repair while it holds money breaks its only promise; not without end, because whoever has the gateway's key
says what is repaired.

A fund is held in the network's dollars and earns nothing, so only the Kryder rate, the code, the reads for repair, and the years
are the buyer's to choose; fund return and purchasing power of `endowment.Assumptions` are 0 and 1 here. That prices really fall as assumed is
the founder's doing and nobody's promise: each epoch's review takes the price as it is that day.

States of a review, the first that holds:
    empty    nothing is left; charges go to the payer's credits
    short    at today's price, falling as assumed, it ends before what was bought for: top up, or it is lost then
    ending   it covers, but what it was bought for ends within two years
    covers   it lasts as long as it was bought for
Pure. The years are predictions and decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from fieldstone.errors import UsageError
from fieldstone.services.contract import Allowance, Endowment, FundFacts
from fieldstone.services.storage import object_quote
from fieldstone.services.storage.coverage import DECLINES_PPM
from fieldstone.services.storage.endowment import MOST_REPAIR_READS_PPM, Assumptions, years_covered
from fieldstone.services.storage.pool.profile import profile_named
from fieldstone.services.storage.schema import (
    EGRESS,
    GIB,
    MONTH_S,
    PERMANENT,
    PERMANENT_REPAIR,
    PERMANENT_STORAGE,
    STORAGE,
)
from fieldstone.units import DAY_MS, PPM

__all__ = ["AT_EXHAUSTION", "STATES", "PaidOnce", "endow", "review"]

YEAR_MS = 365 * DAY_MS
ENDING_YEARS = 2.0
MOST_YEARS = 1_000
REPAIRS_AT_ONCE = 2  # whole reads that a fund pays for repair in any case
REPAIR_TIMES = (1, 2, 4)  # times the assumed reads for repair: shown, and the last is the most that a fund pays for
MOST_SHOWN = 30  # newest epochs whose charges a review lists

STATES: Mapping[str, str] = {
    "empty": "nothing is left in the fund: charges go to the credits of whoever pays for the gateway",
    "short": "at today's prices, falling as assumed, the fund ends before the time it was bought for: top it up",
    "ending": "the time it was bought for ends within two years",
    "covers": "at today's prices, falling as assumed, the fund lasts as long as it was bought for",
}
AT_EXHAUSTION = (
    "when the fund is empty, its charges go to the credits of whoever pays for the gateway; without credits providers are "
    "no longer paid, and what the gateway stores is lost share by share. Nothing is promised beyond the fund; whoever pays "
    "for the gateway can add another one"
)


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to keep: bytes of one object, its code, the assumed yearly fall of prices and reads for repair, and for how long
    (None: for ever)."""

    size_bytes: int
    k: int = 20
    n: int = 40
    cost_decline_ppm: int = 20_000
    repair_reads_ppm: int = 500_000
    years: int | None = None


def endow(product: str, wish: Mapping[str, Any], prices_micro_usd: Mapping[str, int]) -> Endowment:
    """Return the price of keeping what `wish` says and the terms to be kept with it.

    Raises UsageError for another product, for a wish that cannot be, or when no finite price lasts for ever.
    """
    if product != PERMANENT:
        raise UsageError(f"{product!r} cannot be paid once; {PERMANENT!r} can")
    try:
        wanted = msgspec.convert({name: value for name, value in wish.items() if value is not None}, Wish)
    except msgspec.ValidationError as error:
        raise UsageError(f"the wish is malformed: {error}") from None
    years_are_whole = wanted.years is None or 1 <= wanted.years <= MOST_YEARS
    if not 0 <= wanted.cost_decline_ppm < PPM or not years_are_whole:
        raise UsageError(f"prices fall by 0 to 999,999 ppm a year, for 1 to {MOST_YEARS} years or for ever")
    if not 0 <= wanted.repair_reads_ppm <= MOST_REPAIR_READS_PPM:
        raise UsageError(f"repair reads an object 0 to {MOST_REPAIR_READS_PPM // PPM} times a year, in millionths")
    profile = profile_named(f"{wanted.k}/{wanted.n}")
    prices = {name: prices_micro_usd[name] for name in (STORAGE, EGRESS)}
    quoted = object_quote.monthly(wanted.size_bytes, profile, months=0, egress_bytes=0, prices_micro_usd=prices)
    assumed = Assumptions(
        k=profile.k,
        n=profile.n,
        cost_decline_ppm=wanted.cost_decline_ppm,
        repair_reads_ppm=wanted.repair_reads_ppm,
        years=wanted.years,
    )  # held in dollars, earning nothing: that is what the ledger does
    found = object_quote.permanent(quoted, assumed, prices[STORAGE], prices[EGRESS])
    terms = {
        **found,
        "at_exhaustion": AT_EXHAUSTION,
        "size_bytes": wanted.size_bytes,
        "stored_bytes": quoted.stored_bytes,
        "k": profile.k,
        "n": profile.n,
    }
    read_bytes = found["assumptions"]["read_bytes"]
    repairs = Allowance(
        at_once=REPAIRS_AT_ONCE * read_bytes,
        per_year=-(-REPAIR_TIMES[-1] * assumed.repair_reads_ppm * read_bytes // PPM),
    )
    units_per_s = -(-quoted.stored_bytes // 1_024)
    return Endowment(found["price_micro_usd"], PERMANENT_STORAGE, units_per_s, terms, {PERMANENT_REPAIR: repairs})


def review(terms: Mapping[str, Any], facts: FundFacts) -> dict[str, Any]:
    """Hold a fund against its terms and what was really charged; see the module's words for the states.

    Of `terms` only `assumptions` are needed (they are in every sealed epoch), and `at_exhaustion` if they have it.
    """
    assumed = terms["assumptions"]
    decline_ppm, promised = int(assumed["kryder_rate_ppm_per_year"]), assumed["years"]
    reads_ppm = int(assumed["repair_reads_ppm_per_year"])
    balance = facts.paid_in_micro_usd - facts.drawn_micro_usd
    age_years = max(0, facts.now_ms - facts.bought_ms) / YEAR_MS
    yearly = _yearly(assumed, facts, reads_ppm)
    planned = int(assumed["first_year_micro_usd"]) * (1 - decline_ppm / PPM) ** age_years
    due, drawn = sum(one[1] for one in facts.charged), sum(one[2] for one in facts.charged)
    span_ms = facts.until_ms - facts.since_ms
    left = None if promised is None else max(0.0, promised - age_years)
    lasts = years_covered(balance, yearly, decline_ppm / PPM)
    declines = sorted({*DECLINES_PPM, decline_ppm})
    found = [(ppm, years_covered(balance, yearly, ppm / PPM)) for ppm in declines]
    repairs = [reads_ppm * times for times in REPAIR_TIMES]
    repaired = [(ppm, years_covered(balance, _yearly(assumed, facts, ppm), decline_ppm / PPM)) for ppm in repairs]
    worst = years_covered(balance, _yearly(assumed, facts, repairs[-1]), 0.0)
    state = _state(balance, lasts, left)
    excess = _excess(facts)
    warnings = [] if state == "covers" else [_warning(state, lasts, left)]
    return {
        "state": state,
        "warning": " ".join(warnings + ([excess] if excess else [])),
        "at_exhaustion": terms.get("at_exhaustion", AT_EXHAUSTION),
        "age_years": round(age_years, 3),
        "assumed_decline_ppm": decline_ppm,
        "assumed_repair_reads_ppm": reads_ppm,
        "assumed_return_ppm": int(assumed["fund_return_ppm_per_year"]),
        "expansion_ppm": int(assumed["expansion_ppm"]),
        "stored_bytes": int(assumed["stored_bytes"]),
        "yearly_micro_usd": yearly,
        "planned_yearly_micro_usd": math.ceil(planned),
        "pace_yearly_micro_usd": -(-drawn * YEAR_MS // span_ms) if drawn and span_ms > 0 else None,
        "charged_micro_usd": due,
        "not_from_fund_micro_usd": due - drawn,
        "epochs": len({one[0] for one in facts.charged}),
        "paid_by_epoch": _by_epoch(facts)[-MOST_SHOWN:],
        "years_wanted": None if left is None else round(left, 2),
        "years": _years(lasts),
        "dry_ms": _dry(lasts, facts.now_ms),
        "if_prices_fall": [
            {"decline_ppm": ppm, "years": _years(years), "dry_ms": _dry(years, facts.now_ms)} for ppm, years in found
        ],
        "if_repairs": [
            {"repair_reads_ppm": ppm, "years": _years(years), "dry_ms": _dry(years, facts.now_ms)}
            for ppm, years in repaired
        ],
        "worst": {"years": _years(worst), "dry_ms": _dry(worst, facts.now_ms)},
    }


def _yearly(assumed: Mapping[str, Any], facts: FundFacts, reads_ppm: int) -> int:
    """Return what all that was bought costs a year at today's prices, with so many reads for repair, rounded up."""
    storage = -(-int(assumed["stored_bytes"]) * facts.price_micro_usd * 365 * 86_400 // (GIB * MONTH_S))
    egress = facts.also_micro_usd.get(PERMANENT_REPAIR, 0)
    return storage - (-int(assumed["read_bytes"]) * egress * reads_ppm // (GIB * PPM))


def _excess(facts: FundFacts) -> str:
    """Say when more is kept than all funds together were bought for."""
    bought = sum(int(one["stored_bytes"]) for one in facts.assumed_beside)
    kept = 0 if facts.used_per_s is None else facts.used_per_s * 1_024
    if not facts.assumed_beside or kept * 100 <= bought * 101:
        return ""
    return (
        f"{kept:,} bytes of shares are kept as permanent, {bought:,} were paid for: what exceeds them is charged to credits, "
        "and is lost when they end."
    )


def _by_epoch(facts: FundFacts) -> list[dict[str, int]]:
    found: dict[int, list[int]] = {}
    for epoch, due, drawn in facts.charged:
        row = found.setdefault(epoch, [0, 0])
        row[0], row[1] = row[0] + due, row[1] + drawn
    return [{"epoch": epoch, "due_micro_usd": due, "paid_micro_usd": paid} for epoch, (due, paid) in found.items()]


def _warning(state: str, lasts: float, left: float | None) -> str:
    if state == "empty":
        return "The fund is empty: what it kept is charged to credits, and is lost share by share when they end."
    if state == "ending":
        return f"The time that was paid for ends in {left:.1f} years; nothing pays for it after that."
    wanted = "for ever" if left is None else f"for {left:,.1f} more years"
    return (
        f"The fund is underfunded: at today's prices, falling as was assumed, it lasts {lasts:,.1f} years; it was bought to "
        f"last {wanted}. Add another fund, or what it keeps is lost then."
    )


def _state(balance: int, lasts: float, left: float | None) -> str:
    if balance <= 0:
        return "empty"
    if not math.isinf(lasts) and (left is None or lasts < left):
        return "short"
    return "ending" if left is not None and left < ENDING_YEARS else "covers"


def _years(years: float) -> float | None:
    return None if math.isinf(years) else round(years, 2)


def _dry(years: float, now_ms: int) -> int | None:
    return None if math.isinf(years) else now_ms + round(min(years, 10_000.0) * YEAR_MS)


class PaidOnce:
    """The two as the contract has them (`services.contract.Endowing`)."""

    def endow(self, product: str, wish: Mapping[str, Any], prices_micro_usd: Mapping[str, int]) -> Endowment:
        """See `endow`."""
        return endow(product, wish, prices_micro_usd)

    def review_fund(self, terms: Mapping[str, Any], facts: FundFacts) -> Mapping[str, Any]:
        """See `review`."""
        return review(terms, facts)
