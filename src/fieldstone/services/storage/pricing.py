"""What a period pays after it was proven, and the price that rewards go by. Integers, micro-dollars.

What an object costs before it is bought is `object_quote`'s subject; what an epoch charges is the market's: proven
KiB-seconds · price, rounded down. The state machine here is the rule that both keep, in the form in which Filecoin has it.

    settle    pay = proposed · proven epochs div requested epochs   (the state machine of reference 2.7, exactly)
    list      the price per GiB-month, as the rewards hold it against what empty space may earn (`rewards.caps`)

The state machine is Filecoin's warm-storage validator. Epochs (A, A+1, …] of a data set activated at A are cut into
periods of M; period N = (A + N·M, A + (N+1)·M], its deadline the last epoch in it. Proven: pay and advance. Faulted
(deadline passed, no proof): advance and pay nothing. Open: stop there; only the last period of a range can be open.
There is no way to settle without proofs, not even after a termination (trap 12).

Invariants (tests bear these names): never more than proposed; a range settled in pieces stops where the whole stops; what
pieces pay never exceeds what the whole pays; an open period pays nothing and is not passed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fieldstone.errors import UsageError
from fieldstone.services.contract import ListPrice
from fieldstone.services.storage.schema import KIB_S_PER_GIB_MONTH, PRODUCTS, STORAGE

__all__ = [
    "EPOCHS_PER_MONTH",
    "PeriodState",
    "Schedule",
    "Settlement",
    "list_price",
    "rate_per_epoch",
    "settle",
]

EPOCHS_PER_MONTH = 86_400  # of 30 s in thirty days (Filecoin)
_PRICES = {product.name: product.price_micro_usd for product in PRODUCTS}


def list_price(params: Mapping[str, Any], prices_micro_usd: Mapping[str, int] = _PRICES) -> ListPrice:
    """Return what a KiB-second of shares costs, and how much a KiB-second of proven empty space counts beside it.

    The price of proven storage is that of permanent objects too (`Product.priced_as`), so it is the price of every
    share. Egress is no part of it: an empty disk delivers nothing.
    """
    return ListPrice(
        prices_micro_usd[STORAGE], KIB_S_PER_GIB_MONTH, "GiB-month", unsold_weight_ppm=int(params["space_weight_ppm"])
    )


def rate_per_epoch(size_bytes: int, price_per_tib_month: int, dataset_fee_per_month: int) -> int:
    """Return base units per 30-second epoch: bytes · price div 2^40 div 86,400 + fee div 86,400; an empty set: 0."""
    if not size_bytes:
        return 0
    return size_bytes * price_per_tib_month // 2**40 // EPOCHS_PER_MONTH + dataset_fee_per_month // EPOCHS_PER_MONTH


class PeriodState(StrEnum):
    """What became of a proving period."""

    PROVEN = "proven"
    FAULTED = "faulted"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A data set's proving periods: `activation` A is a boundary and not billable, `length` M in epochs."""

    activation: int
    length: int

    def period_of(self, epoch: int) -> int:
        """Return (e − A − 1) div M. Raises UsageError for epochs up to the activation."""
        if epoch <= self.activation:
            raise UsageError(f"epoch {epoch} is not after the activation at {self.activation}")
        return (epoch - self.activation - 1) // self.length

    def deadline(self, period: int) -> int:
        """Return the last epoch of a period."""
        return self.activation + (period + 1) * self.length

    def state(self, period: int, proven: Collection[int], now: int) -> PeriodState:
        """Return what became of a period by epoch `now`."""
        if period in proven:
            return PeriodState.PROVEN
        return PeriodState.FAULTED if self.deadline(period) < now else PeriodState.OPEN


@dataclass(frozen=True, slots=True)
class Settlement:
    """`paid` base units; settled up to epoch `until`, where the next call starts; epochs that were proven."""

    paid: int
    until: int
    proven_epochs: int


def settle(schedule: Schedule, start: int, end: int, *, rate: int, proven: Collection[int], now: int) -> Settlement:
    """Settle the range (start, end] at `rate` base units per epoch: pay = proposed · proven div requested.

    Split ranges where the rate changes and settle each piece. `proven`: numbers of the periods with a proof.
    Raises UsageError when the range is reversed or lies in the future.
    """
    if end < start or rate < 0 or end > now:
        raise UsageError(f"no settlement of epochs ({start}, {end}] at rate {rate} in epoch {now}")
    first = max(start, schedule.activation)
    if end <= first:
        return Settlement(0, end, 0)
    until, counted = first, 0
    for period in range(schedule.period_of(first + 1), schedule.period_of(end) + 1):
        state = schedule.state(period, proven, now)
        if state is PeriodState.OPEN:
            break
        last = min(schedule.deadline(period), end)
        counted += last - until if state is PeriodState.PROVEN else 0
        until = last
    requested = end - start
    return Settlement(rate * requested * counted // requested, until, counted)
