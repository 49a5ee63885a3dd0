"""Place an order: take a quote's price from the customer into escrow, once.

Rules. A quote buys once: asking again, with or without an Idempotency-Key, returns the same order. The check of the
spending limit, the taking of the price and the making of the order are one transaction, so concurrent orders cannot
overspend. What follows (`fulfil`) can be resumed from the order's row alone.
"""

from __future__ import annotations

import secrets
import zlib
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row, func, select
from sqlalchemy.exc import IntegrityError

from fieldstone.clock import Clock
from fieldstone.errors import Rejected
from fieldstone.ledger.escrow import Escrow
from fieldstone.market.customers import Customers, KeyHolder, checked_text
from fieldstone.market.quotes import Quotes
from fieldstone.reasons import reason
from fieldstone.state.engine import reading, writing
from fieldstone.state.schema import order, order_epoch

HELD, DELIVERED = "held", "delivered"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order. `status`: held (paid into escrow, data not yet released) or delivered. Times in Unix milliseconds."""

    id: str
    customer_id: str
    key_prefix: str
    quote_id: str
    status: str
    price_micro_usd: int
    refund_micro_usd: int
    quoted_readings: int
    delivered_readings: int | None
    data_sha256: str | None
    provenance: dict[str, Any] | None
    invoice_id: str | None
    created_ms: int
    delivered_ms: int | None
    journal_after: int


class Orders:
    """The orders that were placed."""

    def __init__(self, engine: Engine, clock: Clock, customers: Customers, quotes: Quotes, escrow: Escrow) -> None:
        self._engine = engine
        self._clock = clock
        self._customers = customers
        self._quotes = quotes
        self._escrow = escrow

    def place(self, holder: KeyHolder, quote_id: str, idempotency_key: str | None, head: int) -> tuple[Order, bool]:
        """Place an order and hold its price; return it and whether it is new. `head`: the journal's.

        Raises Rejected UNKNOWN_PRODUCT, QUOTE_EXPIRED, BAD_QUERY (an empty quote), BAD_API_KEY, SPENDING_LIMIT, NO_CREDITS,
        IDEMPOTENCY_CONFLICT, BAD_TEXT.
        """
        if idempotency_key is not None:
            idempotency_key = checked_text(idempotency_key, "Idempotency-Key", longest=128)
        try:
            with writing(self._engine) as connection:
                return self._place(connection, holder, quote_id, idempotency_key, head)
        except IntegrityError as error:
            # only where writers do not wait for each other (PostgreSQL): the same key for two quotes at once
            raise Rejected(reason("IDEMPOTENCY_CONFLICT"), idempotency_key or quote_id) from error

    def _place(
        self, connection: Connection, holder: KeyHolder, quote_id: str, idempotency_key: str | None, head: int
    ) -> tuple[Order, bool]:
        quoted = self._quotes.get(quote_id, holder.customer_id, connection, lock=True)
        if idempotency_key is not None:
            same_key = (order.c.customer_id == holder.customer_id) & (order.c.idempotency_key == idempotency_key)
            earlier = connection.execute(select(order).where(same_key)).one_or_none()
            if earlier is not None and earlier.quote_id != quote_id:
                raise Rejected(reason("IDEMPOTENCY_CONFLICT"), idempotency_key, f"it made order {earlier.id}")
        earlier = connection.execute(select(order).where(order.c.quote_id == quote_id)).one_or_none()
        if earlier is not None:
            return _order(earlier), False
        now_ms = self._clock.now_ms()
        if now_ms > quoted.valid_until_ms:
            raise Rejected(reason("QUOTE_EXPIRED"), quote_id, f"it ended {now_ms - quoted.valid_until_ms} ms ago")
        if quoted.body.readings == 0:
            raise Rejected(reason("BAD_QUERY"), quote_id, "the quote holds no readings; nothing to buy")
        self._customers.check_key(connection, holder, quoted.price_micro_usd)
        order_id = "ord_" + secrets.token_hex(12)
        self._escrow.hold(order_id, holder.customer_id, quoted.price_micro_usd, now_ms, connection)
        connection.execute(
            order.insert().values(
                id=order_id,
                customer_id=holder.customer_id,
                key_prefix=holder.key_prefix,
                quote_id=quote_id,
                idempotency_key=idempotency_key,
                status=HELD,
                price_micro_usd=quoted.price_micro_usd,
                refund_micro_usd=0,
                quoted_readings=quoted.body.readings,
                journal_after=head,
                created_ms=now_ms,
            )
        )
        return self.get(order_id, connection=connection), True

    def get(self, order_id: str, customer_id: str | None = None, connection: Connection | None = None) -> Order:
        """Return an order, of `customer_id` when given. Raises Rejected UNKNOWN_PRODUCT, also for somebody else's."""
        if connection is None:
            with reading(self._engine) as own:
                return self.get(order_id, customer_id, own)
        row = connection.execute(select(order).where(order.c.id == order_id)).one_or_none()
        if row is None or customer_id not in (None, row.customer_id):
            raise Rejected(reason("UNKNOWN_PRODUCT"), order_id[:40])
        return _order(row)

    def of_customer(self, customer_id: str, limit: int) -> list[Order]:
        """Return a customer's newest orders, newest first."""
        query = (
            select(order)
            .where(order.c.customer_id == customer_id)
            .order_by(order.c.created_ms.desc(), order.c.id)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [_order(row) for row in connection.execute(query)]

    def held(self) -> list[str]:
        """Return the ids of all orders that are not delivered yet, oldest first."""
        query = select(order.c.id).where(order.c.status == HELD).order_by(order.c.created_ms, order.c.id)
        with reading(self._engine) as connection:
            return list(connection.execute(query).scalars())

    def held_of(self, connection: Connection, customer_id: str) -> int:
        """Return what a customer's orders hold in escrow, in micro-dollars."""
        total = select(func.coalesce(func.sum(order.c.price_micro_usd), 0)).where(
            order.c.customer_id == customer_id, order.c.status == HELD
        )
        return int(connection.execute(total).scalar_one())

    def delivered_from(self, epoch: int) -> list[str]:
        """Return the ids of all delivered orders that hold data of an epoch."""
        query = select(order_epoch.c.order_id).where(order_epoch.c.epoch == epoch).order_by(order_epoch.c.order_id)
        with reading(self._engine) as connection:
            return list(connection.execute(query).scalars())

    def delivered_before(self, time_ms: int) -> list[str]:
        """Return the ids of all orders delivered before a time."""
        query = select(order.c.id).where(order.c.delivered_ms < time_ms)
        with reading(self._engine) as connection:
            return list(connection.execute(query).scalars())


def pack(readings_by_device: dict[str, int]) -> bytes:
    """Return the stored form of {device: readings}."""
    return zlib.compress(msgspec.json.encode(readings_by_device, order="sorted"))


def unpack(body: bytes) -> dict[str, int]:
    """Read the stored form of {device: readings}."""
    return msgspec.json.decode(zlib.decompress(body), type=dict[str, int])


def _order(row: Row[Any]) -> Order:
    return Order(
        id=row.id,
        customer_id=row.customer_id,
        key_prefix=row.key_prefix,
        quote_id=row.quote_id,
        status=row.status,
        price_micro_usd=row.price_micro_usd,
        refund_micro_usd=row.refund_micro_usd,
        quoted_readings=row.quoted_readings,
        delivered_readings=row.delivered_readings,
        data_sha256=row.data_sha256,
        provenance=None if row.provenance is None else msgspec.json.decode(row.provenance),
        invoice_id=row.invoice_id,
        created_ms=row.created_ms,
        delivered_ms=row.delivered_ms,
        journal_after=row.journal_after,
    )
