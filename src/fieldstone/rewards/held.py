"""Pay held back from new devices: who leaves others with a loss leaves his own pay behind.

Rule (Storj's held amount; a month is 30 days since enrolment):
    withheld   = (paid + bootstrap) · by_month_ppm[month] // 10⁶        0 after the last month of the list
    released   = held · release_ppm // 10⁶   once, in month `release_month`; the rest is paid at a clean exit
    forfeited  = all of it, to the treasury, when a verdict says that the device's data has to be restored elsewhere, or the
                 device is revoked while it still holds data
A clean exit: a verdict says that the device left after handing over all that it held, or the device is revoked in an epoch
whose verdict says that it holds nothing.
Reason: a device that joins, takes shares and vanishes costs its customers a repair; held pay is a bond that grows out of
income, so that nobody has to put money down first. It is per device and by age, so splitting into new devices gains nothing.
Forfeits go to the treasury, not to the gateways that had to repair, though these paid for it: whoever runs a gateway under
another name and leases most of a device to it would get most of his own forfeit back, and the threat would be empty. The
treasury's owner can make good what a repair cost, in the open, with a correction.

Held pay is not minted: it is a pool of the epoch's state, `held:<service>:<device>`, then `kept:…` after the release.
Invariants: `withheld_pay_is_released_or_forfeited_once`, `holding_back_never_mints`.
"""

from __future__ import annotations

from collections.abc import Collection, MutableMapping
from typing import NamedTuple

from fieldstone.services.contract import HoldBack
from fieldstone.units import DAY_MS, PPM

MONTH_MS = 30 * DAY_MS
HELD, KEPT = "held", "kept"


class Settled(NamedTuple):
    """What became of a device's held pay before this epoch's income: base units; at most one of both is above 0."""

    released: int = 0
    forfeited: int = 0


def month_of(enrolled_ms: int, now_ms: int) -> int:
    """Return how many whole months a device is enrolled."""
    return max(0, now_ms - enrolled_ms) // MONTH_MS


def settle_held(
    pools: MutableMapping[str, int],
    rule: HoldBack,
    service: str,
    device: str,
    *,
    month: int,
    reasons: Collection[str],
    is_revoked: bool,
) -> Settled:
    """Release or forfeit what earlier epochs held back, in `pools`."""
    held, kept = f"{HELD}:{service}:{device}", f"{KEPT}:{service}:{device}"
    whole = pools.get(held, 0) + pools.get(kept, 0)
    if not whole:
        return Settled()
    is_clean = not rule.departures.isdisjoint(reasons) or (is_revoked and not rule.exits.isdisjoint(reasons))
    if not rule.forfeits.isdisjoint(reasons) or (is_revoked and not is_clean):
        pools[held] = pools[kept] = 0
        return Settled(forfeited=whole)
    if is_clean:
        pools[held] = pools[kept] = 0
        return Settled(released=whole)
    if month >= rule.release_month and pools.get(held, 0):
        amount = pools[held] * rule.release_ppm // PPM
        pools[kept] = pools.get(kept, 0) + pools[held] - amount
        pools[held] = 0
        return Settled(released=amount)
    return Settled()


def withhold(
    pools: MutableMapping[str, int], rule: HoldBack, service: str, device: str, month: int, income: int
) -> int:
    """Hold back a part of an epoch's income; return it."""
    share_ppm = rule.by_month_ppm[month] if month < len(rule.by_month_ppm) else 0
    amount = income * share_ppm // PPM
    if amount:
        name = f"{HELD}:{service}:{device}"
        pools[name] = pools.get(name, 0) + amount
    return amount
