"""Charge customers for the verified work that their devices used: storage held and proven, bytes read.

Formula, per payer, product and epoch: `due = floor(units · price of one unit / units that make one unit)`, with the units
of all devices added up first, so that many small shares do not vanish in rounding. The payer's funds pay first, for what they
were bought for (`funds.share`); `paid = min(due, funds + credits)`; devices share `paid` by units (`metering.shares`). Reason: only what an epoch verified is charged, the customer never goes below
zero, and nobody is paid with money that was not there.

Invariant (a test bears this name): what is paid never exceeds what was due nor what the customer had.

A device with a fund is paid for even when no customer is bound to it any more: what was paid once stays paid.

Steps, each of which can be resumed: row and hold in one transaction, then the metering entry in the journal, then the
ledger. The journal entry falls into the running epoch: epoch N's proven work is revenue of epoch N + 1.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import polars as pl
from sqlalchemy import Connection, Engine, Row, select, update

from fieldstone.clock import Clock
from fieldstone.errors import Rejected, Terminal, UsageError
from fieldstone.identity.keys import PublicKey, verify
from fieldstone.journal.entries import EntryKind, NewEntry
from fieldstone.ledger.accounts import AccountKind, account
from fieldstone.ledger.book import Ledger
from fieldstone.ledger.escrow import Escrow
from fieldstone.market import metering
from fieldstone.market.catalogue import Offer
from fieldstone.market.fund_parts import share
from fieldstone.market.funds import Funds, from_funds
from fieldstone.market.journalled import MarketJournal, append_once
from fieldstone.market.metering import Delivered
from fieldstone.market.orders import pack, unpack
from fieldstone.reasons import reason
from fieldstone.state.engine import reading, writing
from fieldstone.state.schema import payer, usage

HELD, BOOKED = "held", "booked"


@dataclass(frozen=True, slots=True)
class Charge:
    """What one payer's use of one product in one epoch cost. Amounts in micro-dollars; `units` as in USAGE_SCHEMA;
    `from_funds_micro_usd`: what of the paid was paid once, before."""

    id: str
    customer_id: str
    payer: str
    service: str
    product: str
    epoch: int
    units: int
    due_micro_usd: int
    paid_micro_usd: int
    from_funds_micro_usd: int = 0


class Usage:
    """The charges of a market. Thread-safe; idempotent by epoch, payer and product."""

    def __init__(
        self,
        engine: Engine,
        journal: MarketJournal,
        clock: Clock,
        escrow: Escrow,
        ledger: Ledger,
        offer: Callable[[str, str], Offer],
        network_id: str,
        funds: Funds,
    ) -> None:
        self._engine = engine
        self._journal = journal
        self._clock = clock
        self._escrow = escrow
        self._ledger = ledger
        self._offer = offer
        self._network_id = network_id
        self._funds = funds
        self._working = threading.Lock()

    def bind(self, customer_id: str, device: str, signature: bytes) -> None:
        """Let a customer pay for what `device` (did:key) uses; the device agreed by signing `binding_text`.

        A device that changes hands is bound anew. Raises Rejected BAD_SIGNATURE, UsageError for no device id.
        """
        try:
            public = PublicKey.from_device_id(device)
        except Rejected as error:
            raise UsageError(f"{device[:80]!r} is no device id: {error.detail}") from None
        if not verify(public, binding_text(self._network_id, device, customer_id), signature):
            raise Rejected(reason("BAD_SIGNATURE"), device)
        with writing(self._engine) as connection:
            moved = connection.execute(update(payer).where(payer.c.device == device).values(customer_id=customer_id))
            if moved.rowcount == 0:
                row = {"device": device, "customer_id": customer_id, "created_ms": self._clock.now_ms()}
                connection.execute(payer.insert().values(row))

    def payers(self, customer_id: str) -> list[str]:
        """Return the devices that a customer pays for, sorted."""
        query = select(payer.c.device).where(payer.c.customer_id == customer_id).order_by(payer.c.device)
        with reading(self._engine) as connection:
            return list(connection.execute(query).scalars())

    def charges(self, customer_id: str, limit: int = 100) -> list[Charge]:
        """Return a customer's newest charges, newest first."""
        query = (
            select(usage)
            .where(usage.c.customer_id == customer_id)
            .order_by(usage.c.epoch.desc(), usage.c.id)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [_charge(row) for row in connection.execute(query)]

    def charge(self, service: str, epoch: int, table: pl.DataFrame, end_ms: int | None = None) -> list[Charge]:
        """Charge an epoch's usage (USAGE_SCHEMA), once; return the new charges. `end_ms`: the epoch's end (None: now).

        Usage of a device that nobody pays for, or of a product without a price, is passed over: its work stays unsold.
        Raises Retryable.
        """
        until_ms = self._clock.now_ms() if end_ms is None else end_ms
        with self._working:
            made = [
                self._hold(service, epoch, until_ms, str(name), str(product), rows)
                for (name, product), rows in sorted(table.group_by("payer", "product"), key=lambda group: str(group[0]))
            ]
            self._complete()
        return [charge for charge in made if charge is not None]

    def complete(self) -> int:
        """Carry held charges to the journal and the ledger; return how many. Raises Retryable."""
        with self._working:
            return self._complete()

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _hold(
        self, service: str, epoch: int, until_ms: int, device: str, product: str, rows: pl.DataFrame
    ) -> Charge | None:
        offered = self._offer(service, product)
        if offered.product.usage_per_unit <= 0:
            raise Terminal(f"service {service} meters {product}, which is sold by order")
        units_by_device = dict(rows.group_by("device").agg(pl.col("units").sum()).sort("device").iter_rows())
        units = sum(units_by_device.values())
        due = units * offered.unit_price_micro_usd // offered.product.usage_per_unit
        charge_id = metering.charge_id(service, epoch, device, product)
        with writing(self._engine) as connection:
            customer = connection.execute(select(payer.c.customer_id).where(payer.c.device == device)).scalar()
            funds = self._funds.paying_for(connection, device, service, product)
            if (customer is None and not funds) or due == 0:
                return None
            if connection.execute(select(usage.c.id).where(usage.c.id == charge_id)).first() is not None:
                return None
            unit_price = offered.unit_price_micro_usd, offered.product.usage_per_unit
            parts = share(funds, units, unit_price, until_ms, product)
            drawn = {part.fund: part.amount_micro_usd for part in parts}
            shown = {part.fund: (part.amount_micro_usd, part.units) for part in parts}
            paid = sum(drawn.values())
            if customer is None:
                customer = funds[-1].customer_id
            else:
                credits = self._ledger.balance(account(AccountKind.CUSTOMER, customer), connection)
                paid += min(due - paid, credits)
            now_ms = self._clock.now_ms()
            if paid:
                self._escrow.hold(charge_id, customer, paid, now_ms, connection, drawn)
                self._funds.draw(connection, parts, product)
            values = {
                "id": charge_id,
                "customer_id": customer,
                "payer": device,
                "service": service,
                "product": product,
                "epoch": epoch,
                "units": units,
                "due_micro_usd": due,
                "paid_micro_usd": paid,
                "units_by_device": pack(units_by_device),
                "status": HELD if paid else BOOKED,
                "journal_after": self._journal.head,
                "created_ms": now_ms,
                "funds": msgspec.json.encode(shown, order="sorted") if shown else None,
            }
            connection.execute(usage.insert().values(values))
        return Charge(charge_id, customer, device, service, product, epoch, units, due, paid, sum(drawn.values()))

    def _complete(self) -> int:
        query = select(usage).where(usage.c.status == HELD).order_by(usage.c.created_ms, usage.c.id)
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        for row in rows:
            self._book(row)
        return len(rows)

    def _book(self, row: Row[tuple[object, ...]]) -> None:
        parts = from_funds(row.funds)
        entry = Delivered(
            order=row.id,
            customer=row.customer_id,
            service=row.service,
            product=row.product,
            price_micro_usd=row.paid_micro_usd,
            delivered_ms=row.created_ms,
            devices=unpack(row.units_by_device),
            funds={fund: amount for fund, (amount, _) in parts.items()},
            fund_units={fund: units for fund, (_, units) in parts.items()},
            payer=row.payer if parts else "",
            epoch=row.epoch if parts else 0,
        )

        def same(body: bytes) -> bool:
            found = metering.decode(body)
            return isinstance(found, Delivered) and found.order == row.id

        new = NewEntry(EntryKind.METERING, row.customer_id, metering.encode(entry))
        append_once(self._journal, new, row.journal_after, same, perhaps_there=True)
        with writing(self._engine) as connection:
            self._settle(connection, entry)

    def _settle(self, connection: Connection, entry: Delivered) -> None:
        booked = update(usage).where(usage.c.id == entry.order, usage.c.status == HELD).values(status=BOOKED)
        if connection.execute(booked).rowcount != 1:
            return
        _, remainder = metering.shares(entry.net_micro_usd, entry.devices)
        price = entry.price_micro_usd
        self._escrow.settle(
            entry.order, entry.customer, entry.service, price, 0, remainder, entry.delivered_ms, connection
        )


def binding_text(network_id: str, device: str, customer_id: str) -> bytes:
    """Return what a device signs to say which customer pays for it."""
    return f"fieldstone payer v1\nnetwork {network_id}\ndevice {device}\ncustomer {customer_id}\n".encode()


def _charge(row: Row[tuple[object, ...]]) -> Charge:
    return Charge(
        row.id,
        row.customer_id,
        row.payer,
        row.service,
        row.product,
        row.epoch,
        row.units,
        row.due_micro_usd,
        row.paid_micro_usd,
        sum(amount for amount, _ in from_funds(row.funds).values()),
    )
