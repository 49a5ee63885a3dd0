"""What was delivered and refunded, as journal entries, and whose revenue it is. Pure.

Formula, per order: `net = price − refunds`; a device whose data was delivered earns
`floor(net · readings_device / readings_order)`, and what flooring leaves goes to the row of device "" (the treasury).
A refund that names devices takes their readings out of the division first, so the devices whose data was bad lose it.
Reason: devices earn exactly what customers paid for *their* data; never more, or buying from yourself would be profitable.

A refund in a later epoch cannot take back what was already paid out. `settle_revenue` therefore carries it as `owed` and
deducts it from the same device's next revenue, floored at zero.

What is paid once is locked in a fund (`Endowed`) and is nobody's revenue until a charge draws on it (`Delivered.funds`).
`fund_fold` folds both, so that everybody who has the journal knows what every fund holds and still may pay.

Invariants (tests bear these names): revenue plus newly owed adds up to what customers paid minus what they got back; no row
is negative; the result does not depend on the order of the entries within an order's window, or on repeated entries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import msgspec
import polars as pl

from fieldstone.errors import Terminal
from fieldstone.units import split

TREASURY_DEVICE = ""
REVENUE_SCHEMA: dict[str, Any] = {"device": pl.String(), "service": pl.String(), "revenue_micro_usd": pl.Int64()}
OWED_SCHEMA: dict[str, Any] = {"device": pl.String(), "service": pl.String(), "owed_micro_usd": pl.Int64()}

_NotNegative = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(gt=0)]


class JournalEntry(Protocol):
    """The part of a journal entry that is read here."""

    @property
    def kind(self) -> str: ...
    @property
    def body(self) -> bytes: ...


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """An order was delivered. `devices`: readings per device; `refund_micro_usd`: for what was quoted and not delivered.

    Where funds pay a charge: `funds`, what of the price came out of which; `fund_units`, how much of the use each paid for;
    `payer`, whose use it was (did:key); `epoch`, which epoch's (`charge_id` of them is the order)."""

    order: str
    customer: str
    service: str
    product: str
    price_micro_usd: _NotNegative
    delivered_ms: int
    devices: dict[str, _Positive]
    refund_micro_usd: _NotNegative = 0
    data_sha256: str = ""
    funds: dict[str, _Positive] = {}
    fund_units: dict[str, _Positive] = {}
    payer: str = ""
    epoch: _NotNegative = 0

    @property
    def net_micro_usd(self) -> int:
        """What the customer pays for the delivery."""
        return self.price_micro_usd - self.refund_micro_usd


class Endowed(msgspec.Struct, frozen=True, kw_only=True):
    """A customer paid once into a fund. It pays what `payer` is charged for product `covers`, up to `units_per_s` of it
    a second, and for products in `also` up to their allowances. `terms`: what was assumed when the price was made."""

    fund: str
    customer: str
    payer: str
    service: str
    product: str
    covers: str
    paid_in_micro_usd: _Positive
    units_per_s: _NotNegative
    endowed_ms: int
    terms: dict[str, Any] = {}
    also: dict[str, dict[str, _NotNegative]] = {}


class Refunded(msgspec.Struct, frozen=True, kw_only=True):
    """Part of an order was given back later. `refund` is its id, `devices` the readings that were bad, if they are known."""

    order: str
    refund_micro_usd: _NotNegative
    refund: str = ""
    customer: str = ""
    service: str = ""
    cause: str = ""
    devices: dict[str, _Positive] = {}


@dataclass(frozen=True)
class RevenueSettlement:
    """`revenue`: REVENUE_SCHEMA, rows above zero, sorted by service and device. `owed`: OWED_SCHEMA, to be carried."""

    revenue: pl.DataFrame
    owed: pl.DataFrame


Body = Delivered | Refunded | Endowed


def encode(body: Body) -> bytes:
    """Return the canonical JSON of a metering entry: keys sorted, no white space; what concerns funds only where they pay."""
    fields = msgspec.to_builtins(body)
    for name in ("funds", "fund_units", "payer", "epoch", "also"):
        if not fields.get(name, True):
            del fields[name]
    return msgspec.json.encode(fields, order="sorted")


def charge_id(service: str, epoch: int, payer: str, product: str) -> str:
    """Return the order of the one charge that a payer's use of a product in an epoch can have."""
    return "use_" + hashlib.sha256(f"{service}\0{epoch}\0{payer}\0{product}".encode()).hexdigest()[:24]


def decode(body: bytes) -> Body:
    """Read a metering entry. Raises Terminal: the journal's own entries are never malformed."""
    try:
        fields = msgspec.json.decode(body)
        if "paid_in_micro_usd" in fields:
            return msgspec.convert(fields, Endowed)
        if "price_micro_usd" in fields:
            return msgspec.convert(fields, Delivered)
        return msgspec.convert(fields, Refunded)
    except (msgspec.MsgspecError, TypeError) as error:
        raise Terminal(
            f"metering entry {body[:80]!r} cannot be read: {error}; check the journal's integrity"
        ) from error


def shares(net_micro_usd: int, readings: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """Divide `net_micro_usd` over devices by readings: ({device: micro-dollars}, remainder for the treasury)."""
    devices = sorted(readings)
    parts, remainder = split(net_micro_usd, [readings[device] for device in devices])
    return dict(zip(devices, parts, strict=True)), remainder


def revenue(entries: Iterable[JournalEntry]) -> pl.DataFrame:
    """Return what each device earned by the metering entries of one epoch: REVENUE_SCHEMA, floored, never negative.

    Entries of other kinds are skipped. Refunds of orders that are not among the entries reduce the same device's revenue
    as far as it goes; `settle_revenue` also says what is left over.
    """
    return settle_revenue(entries).revenue


def settle_revenue(entries: Iterable[JournalEntry], owed: pl.DataFrame | None = None) -> RevenueSettlement:
    """Return revenue after deducting `owed` (what earlier epochs left, OWED_SCHEMA) and late refunds, and what is still owed."""
    orders: dict[str, Delivered] = {}
    refunds: dict[tuple[str, str], Refunded] = {}
    for n, entry in enumerate(entry for entry in entries if entry.kind == "metering"):
        body = decode(entry.body)
        if isinstance(body, Delivered):
            orders.setdefault(body.order, body)  # an order is metered once; a repeated entry changes nothing
        elif isinstance(body, Refunded):
            refunds.setdefault((body.order, body.refund or f"#{n}"), body)
    earned: dict[tuple[str, str], int] = {}
    debt: dict[tuple[str, str], int] = {}
    if owed is not None:
        for device, service, amount in owed.select(*OWED_SCHEMA).iter_rows():
            _add(debt, service, {device: amount})
    by_order: dict[str, list[Refunded]] = {}
    for refund in refunds.values():
        if refund.order in orders:
            by_order.setdefault(refund.order, []).append(refund)
        else:
            parts, rest = shares(refund.refund_micro_usd, refund.devices)
            _add(debt, refund.service, {**parts, TREASURY_DEVICE: rest})
    for order in orders.values():
        parts, rest = _net_shares(order, by_order.get(order.order, []))
        _add(earned, order.service, {**parts, TREASURY_DEVICE: rest})
    for key in debt:
        paid_back = min(debt[key], earned.get(key, 0))
        debt[key] -= paid_back
        earned[key] = earned.get(key, 0) - paid_back
    return RevenueSettlement(_table(earned, REVENUE_SCHEMA), _table(debt, OWED_SCHEMA))


def _net_shares(order: Delivered, refunds: list[Refunded]) -> tuple[dict[str, int], int]:
    net = order.net_micro_usd
    good = dict(order.devices)
    for refund in refunds:
        net -= refund.refund_micro_usd
        for device, readings in refund.devices.items():
            good[device] = max(good.get(device, 0) - readings, 0)
    return shares(max(net, 0), good)


def _add(totals: dict[tuple[str, str], int], service: str, amounts: Mapping[str, int]) -> None:
    for device, amount in amounts.items():
        totals[service, device] = totals.get((service, device), 0) + amount


def _table(totals: Mapping[tuple[str, str], int], schema: dict[str, Any]) -> pl.DataFrame:
    rows = [(device, service, amount) for (service, device), amount in sorted(totals.items()) if amount > 0]
    return pl.DataFrame(rows, schema=schema, orient="row")
