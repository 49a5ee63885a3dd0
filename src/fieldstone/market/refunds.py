"""Give customers back what they paid for readings that turned out bad after delivery.

Formula, per order and corrected epoch: `min(bad readings · price of one reading, price − refunds so far)`. A device's readings
of an epoch are refunded once, however many corrections name them. Steps: the refund is written to the state, then a
metering entry `{order, refund, refund_micro_usd, devices}` to the journal, then ledger and credit note; it can be resumed anywhere.
Only a correction of the network refunds; a customer cannot ask for one, or operators could buy their own data, be paid for it, and take
the price back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from sqlalchemy import Connection, Engine, Row, select, update

from fieldstone.clock import Clock
from fieldstone.journal.entries import EntryKind, NewEntry
from fieldstone.ledger.escrow import Escrow
from fieldstone.market import billing, invoices, metering
from fieldstone.market.customers import Customers, checked_text
from fieldstone.market.journalled import MarketJournal, append_once
from fieldstone.market.metering import Refunded
from fieldstone.market.orders import Orders, pack, unpack
from fieldstone.market.quotes import Quotes
from fieldstone.policy import Policy
from fieldstone.state.engine import reading, writing
from fieldstone.state.schema import order, order_epoch, refund

PENDING, REFUNDED = "pending", "refunded"


class Refunds:
    """Refunds after corrections."""

    def __init__(
        self,
        engine: Engine,
        journal: MarketJournal,
        clock: Clock,
        policy: Callable[[], Policy],
        customers: Customers,
        quotes: Quotes,
        orders: Orders,
        escrow: Escrow,
        network_name: str,
    ) -> None:
        self._engine = engine
        self._journal = journal
        self._clock = clock
        self._policy = policy
        self._customers = customers
        self._quotes = quotes
        self._orders = orders
        self._escrow = escrow
        self._network_name = network_name
        self._working = threading.Lock()

    def correct(
        self, correction: str, service: str, epoch: int, devices: Collection[str], cause: str
    ) -> list[Refunded]:
        """Refund every delivered reading of `devices` in `epoch`. `correction` names the correction, `cause` is shown.

        Repeating it gives nothing more. Raises Rejected BAD_TEXT, Retryable.
        """
        correction = checked_text(correction, "correction id", longest=80)
        cause = checked_text(cause, "cause of the refund", longest=200)
        wanted = set(devices)
        with self._working:
            for order_id in self._orders.delivered_from(epoch):
                with writing(self._engine) as connection:
                    self._request(connection, order_id, service, epoch, wanted, correction, cause)
            return self._complete()

    def complete(self) -> list[Refunded]:
        """Carry all pending refunds to the journal and the ledger; return them. Raises Retryable."""
        with self._working:
            return self._complete()

    def _request(
        self,
        connection: Connection,
        order_id: str,
        service: str,
        epoch: int,
        wanted: set[str],
        correction: str,
        cause: str,
    ) -> None:
        place = (order_epoch.c.order_id == order_id) & (order_epoch.c.epoch == epoch)
        row = connection.execute(select(order_epoch).where(place).with_for_update()).one()
        good = unpack(row.readings_by_device)
        bad = {device: good.pop(device) for device in sorted(wanted & good.keys())}
        bought = self._orders.get(order_id, connection=connection)
        quoted = self._quotes.get(bought.quote_id, connection=connection)
        if not bad or quoted.body.query.service != service:
            return
        worth = sum(bad.values()) * quoted.body.unit_price_micro_usd
        amount = min(worth, bought.price_micro_usd - bought.refund_micro_usd)
        connection.execute(update(order_epoch).where(place).values(readings_by_device=pack(good)))
        if amount == 0:
            return
        connection.execute(
            update(order).where(order.c.id == order_id).values(refund_micro_usd=order.c.refund_micro_usd + amount)
        )
        count = len(connection.execute(select(refund.c.id).where(refund.c.order_id == order_id)).all())
        connection.execute(
            refund.insert().values(
                id=f"ref_{order_id.removeprefix('ord_')}_{count + 1}",
                order_id=order_id,
                cause=f"{cause} (correction {correction}, epoch {epoch})",
                amount_micro_usd=amount,
                readings_by_device=pack(bad),
                status=PENDING,
                journal_after=self._journal.head,
                created_ms=self._clock.now_ms(),
            )
        )

    def _complete(self) -> list[Refunded]:
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(refund).where(refund.c.status == PENDING).order_by(refund.c.created_ms, refund.c.id)
            ).all()
        return [self._carry(row) for row in rows]

    def _carry(self, row: Row[tuple[object, ...]]) -> Refunded:
        bought = self._orders.get(row.order_id)
        service = self._quotes.get(bought.quote_id).body.query.service
        body = Refunded(
            order=row.order_id,
            refund=row.id,
            refund_micro_usd=row.amount_micro_usd,
            customer=bought.customer_id,
            service=service,
            cause=row.cause,
            devices=unpack(row.readings_by_device),
        )

        def same(other: bytes) -> bool:
            found = metering.decode(other)
            return isinstance(found, Refunded) and found.refund == body.refund

        entry = NewEntry(EntryKind.METERING, bought.customer_id, metering.encode(body))
        append_once(self._journal, entry, row.journal_after, same, perhaps_there=True)
        now_ms = self._clock.now_ms()
        name = self._customers.get(bought.customer_id).name
        with writing(self._engine) as connection:
            moved = connection.execute(
                update(refund).where(refund.c.id == row.id, refund.c.status == PENDING).values(status=REFUNDED)
            ).rowcount
            if moved != 1:
                return body
            self._escrow.refund(
                row.id, row.order_id, bought.customer_id, service, row.amount_micro_usd, now_ms, connection
            )
            document = billing.credit_note(
                invoices.next_number(connection),
                now_ms,
                (self._policy().network_id, self._network_name),
                (bought.customer_id, name),
                row.order_id,
                body.devices,
                row.amount_micro_usd,
                row.cause,
            )
            invoices.keep(connection, document)
            connection.execute(update(refund).where(refund.c.id == row.id).values(invoice_id=document.id))
        return body
