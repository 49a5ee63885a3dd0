"""Quotes: the price of an exact selection, good for a while. Nothing is paid for what was not quoted."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, Engine, delete, exists, select

from fieldstone.clock import Clock
from fieldstone.errors import Rejected
from fieldstone.market.catalogue import Offer
from fieldstone.market.observations import EpochPart, Tally, selection_hash
from fieldstone.market.query import Query
from fieldstone.reasons import reason
from fieldstone.state.engine import reading, writing
from fieldstone.state.schema import order, quote

MAX_READINGS = 50_000_000  # of one order: what a small server can sort in memory


class QuoteBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a quote promises. `excluded`: epochs that could not be read, and why; they are not part of the price."""

    query: Query
    parts: tuple[EpochPart, ...]
    readings: int
    rows: int
    devices: int
    by_variable: dict[str, int]
    by_quality: dict[int, int]
    unit_price_micro_usd: int
    selection_sha256: str
    excluded: dict[int, str]

    @property
    def price_micro_usd(self) -> int:
        """Readings × price of one."""
        return self.readings * self.unit_price_micro_usd


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """A quote made to a customer. Times in Unix milliseconds."""

    id: str
    customer_id: str
    body: QuoteBody
    price_micro_usd: int
    created_ms: int
    valid_until_ms: int


def price(
    offer: Offer, query: Query, parts: Sequence[EpochPart], counted: Tally, excluded: dict[int, str]
) -> QuoteBody:
    """Return what a counted selection costs. Pure. Raises Rejected BAD_QUERY when it is more than one order may hold."""
    if counted.readings > MAX_READINGS:
        raise Rejected(
            reason("BAD_QUERY"),
            detail=f"{counted.readings} readings; at most {MAX_READINGS} an order: ask for less time",
        )
    return QuoteBody(
        query=query,
        parts=tuple(parts),
        readings=counted.readings,
        rows=counted.rows,
        devices=len(counted.by_device),
        by_variable=counted.by_variable,
        by_quality=counted.by_quality,
        unit_price_micro_usd=offer.unit_price_micro_usd,
        selection_sha256=selection_hash(query, parts, counted),
        excluded=excluded,
    )


class Quotes:
    """The quotes that were made."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def add(self, customer_id: str, body: QuoteBody, valid_s: int) -> Quote:
        """Keep a quote for `valid_s` seconds and return it."""
        now_ms = self._clock.now_ms()
        new = Quote(
            id="quo_" + secrets.token_hex(12),
            customer_id=customer_id,
            body=body,
            price_micro_usd=body.price_micro_usd,
            created_ms=now_ms,
            valid_until_ms=now_ms + valid_s * 1000,
        )
        with writing(self._engine) as connection:
            connection.execute(
                quote.insert().values(
                    id=new.id,
                    customer_id=customer_id,
                    body=msgspec.json.encode(body),
                    price_micro_usd=new.price_micro_usd,
                    created_ms=now_ms,
                    valid_until_ms=new.valid_until_ms,
                )
            )
        return new

    def get(
        self,
        quote_id: str,
        customer_id: str | None = None,
        connection: Connection | None = None,
        *,
        lock: bool = False,
    ) -> Quote:
        """Return a quote, of `customer_id` when given. Raises Rejected UNKNOWN_PRODUCT, also for somebody else's.

        `lock` makes other transactions that want to lock the same quote wait for this one.
        """
        if connection is None:
            with reading(self._engine) as own:
                return self.get(quote_id, customer_id, own)
        query = select(quote).where(quote.c.id == quote_id)
        row = connection.execute(query.with_for_update() if lock else query).one_or_none()
        if row is None or customer_id not in (None, row.customer_id):
            raise Rejected(reason("UNKNOWN_PRODUCT"), quote_id[:40])
        return Quote(
            id=row.id,
            customer_id=row.customer_id,
            body=msgspec.json.decode(row.body, type=QuoteBody),
            price_micro_usd=row.price_micro_usd,
            created_ms=row.created_ms,
            valid_until_ms=row.valid_until_ms,
        )

    def sweep(self, older_than_ms: int) -> int:
        """Forget quotes that ended before `older_than_ms` and bought nothing; return how many."""
        with writing(self._engine) as connection:
            return connection.execute(
                delete(quote).where(
                    quote.c.valid_until_ms < older_than_ms, ~exists().where(order.c.quote_id == quote.c.id)
                )
            ).rowcount
