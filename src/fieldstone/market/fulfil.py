"""Fulfil an order: data written → metering entry durable → ledger settled → data released.

The data can be downloaded only after the metering entry is in the journal, so nothing is delivered that devices are
not paid for; the entry is appended once (`journalled`), so nothing is metered twice, whenever the process dies. Every step
can be repeated: the file is replaced, the entry is found, the ledger knows its key.

Service level: when less than `refund_below_delivery_ppm` of the quoted readings can be delivered, the customer pays
`floor(price · delivered / quoted)` and gets the rest back at once. Files that changed since the quote count as not
deliverable: what was quoted is what is delivered, or it is not paid.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, update

from fieldstone.clock import Clock
from fieldstone.errors import Terminal
from fieldstone.journal.entries import EntryKind, NewEntry
from fieldstone.ledger.escrow import Escrow
from fieldstone.market import billing, delivery, invoices, metering
from fieldstone.market.catalogue import Offer
from fieldstone.market.customers import Customers
from fieldstone.market.journalled import MarketJournal, find
from fieldstone.market.metering import Delivered
from fieldstone.market.observations import Selection, Tally, select
from fieldstone.market.orders import DELIVERED, HELD, Order, Orders, pack
from fieldstone.market.quotes import Quote, Quotes
from fieldstone.market.sealed import SealedEpochs
from fieldstone.policy import Policy
from fieldstone.state.engine import writing
from fieldstone.state.schema import order, order_epoch
from fieldstone.units import PPM


class Fulfilment:
    """Carries held orders to delivery. Safe to call from several threads, and again after any failure."""

    def __init__(
        self,
        engine: Engine,
        journal: MarketJournal,
        sealed: SealedEpochs,
        deliveries: Path,
        clock: Clock,
        policy: Callable[[], Policy],
        offer: Callable[[str, str], Offer],
        customers: Customers,
        quotes: Quotes,
        orders: Orders,
        escrow: Escrow,
        network_name: str,
    ) -> None:
        self._engine = engine
        self._journal = journal
        self._sealed = sealed
        self._deliveries = deliveries
        self._clock = clock
        self._policy = policy
        self._offer = offer
        self._customers = customers
        self._quotes = quotes
        self._orders = orders
        self._escrow = escrow
        self._network_name = network_name
        # Two requests for one order must not both append; striped, so that the number of locks stays bounded.
        self._locks = [threading.Lock() for _ in range(64)]

    def path(self, order_id: str) -> Path:
        """Return where an order's data is kept."""
        return self._deliveries / f"{order_id}.parquet"

    def finish(self, order_id: str, *, first_attempt: bool = False) -> Order:
        """Deliver a held order; return it, delivered. Raises Retryable when journal, disk or state refuse for now."""
        with self._locks[hash(order_id) % len(self._locks)]:
            held = self._orders.get(order_id)
            if held.status == DELIVERED:
                return held
            quoted = self._quotes.get(held.quote_id)
            entry = None if first_attempt else self._metered(held)
            path = self.path(order_id)
            if entry is None or not path.exists():
                sha256, counted = self._write(held, quoted, path)
            else:
                sha256, counted = delivery.sha256_of(path), delivery.count(path, quoted.body.query)
            if entry is None:
                entry = self._delivered(held, quoted, counted, sha256)
                self._journal.append([NewEntry(EntryKind.METERING, held.customer_id, metering.encode(entry))])
            elif entry.devices != counted.by_device:
                raise Terminal(
                    f"order {order_id} was metered with other data than can be written now; compare its metering entry "
                    "with the sealed epochs"
                )
            with writing(self._engine) as connection:
                self._settle(connection, held, quoted, entry, counted, sha256)
        return self._orders.get(order_id)

    def forget(self, delivered_before_ms: int) -> int:
        """Delete the files of orders delivered before a time; return how many."""
        count = 0
        for order_id in self._orders.delivered_before(delivered_before_ms):
            with suppress(FileNotFoundError):
                self.path(order_id).unlink()
                count += 1
        return count

    def provenance(self, order_id: str, quoted: Quote, selection: Selection) -> dict[str, Any]:
        """Return what a buyer needs to check the data: network, query, epochs with roots and hashes."""
        return {
            "network_id": self._policy().network_id,
            "order": order_id,
            "query": msgspec.to_builtins(quoted.body.query),
            "selection_sha256": quoted.body.selection_sha256,
            "epochs": [msgspec.to_builtins(part) for part in selection.parts],
            "not_delivered": {str(epoch): why for epoch, why in sorted(selection.excluded.items())},
        }

    def _metered(self, held: Order) -> Delivered | None:
        def same(body: bytes) -> bool:
            entry = metering.decode(body)
            return isinstance(entry, Delivered) and entry.order == held.id

        body = find(self._journal, EntryKind.METERING, held.journal_after, same)
        if body is None:
            return None
        entry = metering.decode(body)
        assert isinstance(entry, Delivered)
        return entry

    def _write(self, held: Order, quoted: Quote, path: Path) -> tuple[str, Tally]:
        query = quoted.body.query
        selection = select(self._sealed, self._offer(query.service, query.product), query, quoted.body.parts)
        return delivery.write(selection, query, path, self.provenance(held.id, quoted, selection))

    def _delivered(self, held: Order, quoted: Quote, counted: Tally, sha256: str) -> Delivered:
        price, delivered, promised = held.price_micro_usd, counted.readings, held.quoted_readings
        level_kept = delivered * PPM >= promised * self._policy().market.refund_below_delivery_ppm
        refund = 0 if level_kept and delivered else price - price * delivered // promised
        return Delivered(
            order=held.id,
            customer=held.customer_id,
            service=quoted.body.query.service,
            product=quoted.body.query.product,
            price_micro_usd=price,
            delivered_ms=self._clock.now_ms(),
            devices=counted.by_device,
            refund_micro_usd=refund,
            data_sha256=sha256,
        )

    def _settle(
        self, connection: Connection, held: Order, quoted: Quote, entry: Delivered, counted: Tally, sha256: str
    ) -> None:
        """Ledger, invoice and status in one transaction: the order is either wholly delivered or still held."""
        moved = connection.execute(
            update(order).where(order.c.id == held.id, order.c.status == HELD).values(status=DELIVERED)
        ).rowcount
        if moved != 1:
            return
        _, remainder = metering.shares(entry.net_micro_usd, entry.devices)
        self._escrow.settle(
            held.id,
            held.customer_id,
            entry.service,
            entry.price_micro_usd,
            entry.refund_micro_usd,
            remainder,
            entry.delivered_ms,
            connection,
        )
        document = billing.invoice(
            invoices.next_number(connection),
            entry.delivered_ms,
            (self._policy().network_id, self._network_name),
            (held.customer_id, self._customers.get(held.customer_id).name),
            quoted.body,
            counted,
            entry,
        )
        invoices.keep(connection, document)
        for epoch, devices in counted.by_epoch_device.items():
            connection.execute(
                order_epoch.insert().values(order_id=held.id, epoch=epoch, readings_by_device=pack(devices))
            )
        provenance = delivery.read_provenance(self.path(held.id))
        connection.execute(
            update(order)
            .where(order.c.id == held.id)
            .values(
                refund_micro_usd=entry.refund_micro_usd,
                delivered_readings=counted.readings,
                data_sha256=sha256,
                provenance=provenance,
                invoice_id=document.id,
                delivered_ms=entry.delivered_ms,
            )
        )
