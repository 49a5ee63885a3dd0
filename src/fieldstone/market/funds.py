"""Pay once: quote, buy and review funds that pay for what a device of the customer uses from then on.

    quote    the service's price for a wish, its assumptions (`terms`) kept with it, good for a while
    buy      credits → escrow → journal entry `Endowed` → `fund:<id>` of the ledger; the same quote buys once
    draw     a charge of a product that funds pay takes from the payer's funds first (`fund_parts.share`), then credits
    review   the service holds each fund against what was really charged: still covered, until when, what then

Nobody can take money out of a fund, the founder included: the ledger moves it into escrow of charges only, and an epoch
refuses a charge that draws more than a fund holds or was bought for (`fund_fold`).

Invariants (tests bear these names): those of `fund_parts`; a quote buys once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row, delete, select, update
from sqlalchemy.exc import IntegrityError

from fieldstone.clock import Clock
from fieldstone.errors import Rejected, UsageError
from fieldstone.journal.entries import EntryKind, NewEntry
from fieldstone.ledger.escrow import Escrow
from fieldstone.market import metering
from fieldstone.market.catalogue import Offer
from fieldstone.market.customers import Customers, KeyHolder, checked_text
from fieldstone.market.fund_parts import Fund, Part, Room
from fieldstone.market.journalled import MarketJournal, append_once
from fieldstone.market.metering import Endowed
from fieldstone.reasons import reason
from fieldstone.services.contract import Endowing, Endowment, FundFacts
from fieldstone.state.engine import reading, writing
from fieldstone.state.schema import fund, payer, usage
from fieldstone.units import DAY_MS

PREFIX = "fnd_"
QUOTED, HELD, ENDOWED = "quoted", "held", "endowed"
MOST_QUOTES = 100  # open ones of a customer
REVIEWED = 1_000  # newest charges that a review looks at


class Funds:
    """The funds of a market. Thread-safe."""

    def __init__(
        self,
        engine: Engine,
        journal: MarketJournal,
        clock: Clock,
        customers: Customers,
        escrow: Escrow,
        offers: Callable[[], Sequence[Offer]],
        services: Mapping[str, object],
    ) -> None:
        self._engine = engine
        self._journal = journal
        self._clock = clock
        self._customers = customers
        self._escrow = escrow
        self._offers = offers
        self._services = services

    # ---- buying ------------------------------------------------------------------------------------------------------

    def quote(
        self, holder: KeyHolder, service: str, product: str, device: str, wish: Mapping[str, Any], valid_s: int
    ) -> Fund:
        """Return the price of paying once for what `device` will use. Free, and binding until `valid_until_ms`.

        Raises Rejected UNKNOWN_PRODUCT; UsageError for a wish that cannot be or a device that the caller does not pay for.
        """
        selling = self._selling(service, product)
        prices = {one.product.name: one.unit_price_micro_usd for one in self._offers() if one.service == service}
        offered: Endowment = selling.endow(product, wish, prices)
        if offered.price_micro_usd <= 0:
            raise UsageError("there is nothing to pay for: what is wished costs nothing")
        now_ms = self._clock.now_ms()
        values = {
            "id": PREFIX + secrets.token_hex(12),
            "customer_id": holder.customer_id,
            "payer": device,
            "service": service,
            "product": product,
            "covers": offered.covers,
            "status": QUOTED,
            "price_micro_usd": offered.price_micro_usd,
            "units_per_s": offered.units_per_s,
            "drawn_micro_usd": 0,
            "drawn_units": 0,
            "terms": msgspec.json.encode(offered.terms, order="sorted"),
            "also": _packed({p: Room(at_once=a.at_once, per_year=a.per_year) for p, a in offered.also.items()}),
            "created_ms": now_ms,
            "valid_until_ms": now_ms + valid_s * 1_000,
        }
        with writing(self._engine) as connection:
            pays = select(payer.c.device).where(payer.c.device == device, payer.c.customer_id == holder.customer_id)
            if connection.execute(pays).first() is None:
                raise UsageError(
                    f"you do not pay for {device[:80]!r} yet: `fieldstone market pay-for` says that you do"
                )
            mine = (fund.c.customer_id == holder.customer_id) & (fund.c.status == QUOTED)
            connection.execute(delete(fund).where(mine & (fund.c.valid_until_ms < now_ms)))
            if len(connection.execute(select(fund.c.id).where(mine)).all()) >= MOST_QUOTES:
                raise UsageError(f"{MOST_QUOTES} quotes are open already; buy one or wait until they end")
            connection.execute(fund.insert().values(values))
        return self.get(holder, str(values["id"]))

    def buy(self, holder: KeyHolder, fund_id: str, idempotency_key: str | None = None) -> Fund:
        """Pay a quote into its fund; the same quote, with or without an idempotency key, buys once.

        Raises Rejected UNKNOWN_PRODUCT, QUOTE_EXPIRED, BAD_API_KEY, SPENDING_LIMIT, NO_CREDITS, IDEMPOTENCY_CONFLICT;
        Retryable when it is paid and the journal has to wait: ask again.
        """
        if idempotency_key is not None:
            idempotency_key = checked_text(idempotency_key, "Idempotency-Key", longest=128)
        try:
            with writing(self._engine) as connection:
                self._hold(connection, holder, fund_id, idempotency_key)
        except IntegrityError as error:
            raise Rejected(reason("IDEMPOTENCY_CONFLICT"), idempotency_key or fund_id) from error
        self.complete()
        return self.get(holder, fund_id)

    def complete(self) -> int:
        """Carry funds that are paid to the journal and the ledger; return how many. Raises Retryable."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(fund).where(fund.c.status == HELD).order_by(fund.c.bought_ms, fund.c.id)
            ).all()
        for row in map(self._dated, rows):
            entry = Endowed(
                fund=row.id, customer=row.customer_id, payer=row.payer, service=row.service, product=row.product,
                covers=row.covers, paid_in_micro_usd=row.price_micro_usd, units_per_s=row.units_per_s,
                endowed_ms=row.bought_ms, terms=msgspec.json.decode(row.terms),
                also={p: {"at_once": a.at_once, "per_year": a.per_year} for p, a in _rooms(row.also).items()},
            )  # fmt: skip
            new = NewEntry(EntryKind.METERING, row.customer_id, metering.encode(entry))
            append_once(self._journal, new, row.journal_after, _same(row.id), perhaps_there=True)
            with writing(self._engine) as connection:
                moved = update(fund).where(fund.c.id == row.id, fund.c.status == HELD).values(status=ENDOWED)
                if connection.execute(moved).rowcount == 1:
                    self._escrow.endow(row.id, row.price_micro_usd, row.bought_ms, connection)
        return len(rows)

    def _dated(self, row: Row[Any]) -> Row[Any]:
        """Return the row of a fund that is paid, bought now if the journal had to wait for long: an epoch does not believe
        older dates (`fund_fold`). Where the journal has it already, its date stays and only allows more."""
        now_ms = self._clock.now_ms()
        if now_ms - row.bought_ms < DAY_MS:
            return row
        with writing(self._engine) as connection:
            connection.execute(update(fund).where(fund.c.id == row.id).values(bought_ms=now_ms))
            return connection.execute(select(fund).where(fund.c.id == row.id)).one()

    # ---- paying ------------------------------------------------------------------------------------------------------

    def paying_for(self, connection: Connection, device: str, service: str, product: str) -> list[Fund]:
        """Return the funds that pay a device's charges for a product, oldest first."""
        query = (
            select(fund)
            .where(fund.c.payer == device, fund.c.service == service, fund.c.status == ENDOWED)
            .order_by(fund.c.bought_ms, fund.c.id)
        )
        return [one for one in map(_fund, connection.execute(query)) if product in one.products]

    def draw(self, connection: Connection, parts: Sequence[Part], product: str) -> None:
        """Note what a charge of `product` takes from funds, in the transaction that holds it."""
        for part in parts:
            mine = fund.c.id == part.fund
            row = connection.execute(select(fund.c.covers, fund.c.also).where(mine).with_for_update()).one()
            taken: dict[str, Any] = {"drawn_micro_usd": fund.c.drawn_micro_usd + part.amount_micro_usd}
            if product == row.covers:
                taken["drawn_units"] = fund.c.drawn_units + part.units
            else:
                rooms = _rooms(row.also)
                drawn = rooms[product].drawn_units + part.units
                rooms[product] = msgspec.structs.replace(rooms[product], drawn_units=drawn)
                taken["also"] = _packed(rooms)
            connection.execute(update(fund).where(mine).values(taken))

    # ---- looking -----------------------------------------------------------------------------------------------------

    def get(self, holder: KeyHolder, fund_id: str) -> Fund:
        """Return one of the caller's quotes or funds, a fund with its review. Raises Rejected UNKNOWN_PRODUCT."""
        with reading(self._engine) as connection:
            row = connection.execute(select(fund).where(fund.c.id == fund_id)).one_or_none()
            if row is None or row.customer_id != holder.customer_id:
                raise Rejected(reason("UNKNOWN_PRODUCT"), fund_id[:40])
            return self._reviewed(connection, _fund(row))

    def of_customer(self, customer_id: str) -> list[Fund]:
        """Return a customer's bought funds with their reviews, oldest first."""
        return self._bought(fund.c.customer_id == customer_id)

    def all(self) -> list[Fund]:
        """Return every bought fund with its review, oldest first: what the node looks at after each epoch."""
        return self._bought(None)

    def balance(self, connection: Connection, customer_id: str) -> int:
        """Return what all funds of a customer hold, in micro-dollars."""
        mine = select(fund).where(fund.c.customer_id == customer_id, fund.c.bought_ms.is_not(None))
        return sum(_fund(row).balance_micro_usd for row in connection.execute(mine))

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _selling(self, service: str, product: str) -> Endowing:
        offered = any((one.service, one.product.name) == (service, product) for one in self._offers())
        selling = self._services.get(service)
        if not offered or not isinstance(selling, Endowing):
            raise Rejected(reason("UNKNOWN_PRODUCT"), f"{service}/{product}"[:80], "it cannot be paid once")
        return selling

    def _hold(self, connection: Connection, holder: KeyHolder, fund_id: str, idempotency_key: str | None) -> None:
        row = connection.execute(select(fund).where(fund.c.id == fund_id).with_for_update()).one_or_none()
        if row is None or row.customer_id != holder.customer_id:
            raise Rejected(reason("UNKNOWN_PRODUCT"), fund_id[:40])
        if idempotency_key is not None:
            same = (fund.c.customer_id == holder.customer_id) & (fund.c.idempotency_key == idempotency_key)
            earlier = connection.execute(select(fund.c.id).where(same)).scalar_one_or_none()
            if earlier is not None and earlier != fund_id:
                raise Rejected(reason("IDEMPOTENCY_CONFLICT"), idempotency_key, f"it bought fund {earlier}")
        if row.status != QUOTED:
            return
        now_ms = self._clock.now_ms()
        if now_ms > row.valid_until_ms:
            raise Rejected(reason("QUOTE_EXPIRED"), fund_id, f"it ended {now_ms - row.valid_until_ms} ms ago")
        self._customers.check_key(connection, holder, row.price_micro_usd)
        self._escrow.hold(fund_id, holder.customer_id, row.price_micro_usd, now_ms, connection)
        bought = {
            "status": HELD,
            "bought_ms": now_ms,
            "key_prefix": holder.key_prefix,
            "idempotency_key": idempotency_key,
            "journal_after": self._journal.head,
        }
        connection.execute(update(fund).where(fund.c.id == fund_id).values(bought))

    def _bought(self, whose: Any) -> list[Fund]:
        query = select(fund).where(fund.c.status != QUOTED).order_by(fund.c.bought_ms, fund.c.id)
        with reading(self._engine) as connection:
            rows = connection.execute(query if whose is None else query.where(whose)).all()
            return [self._reviewed(connection, _fund(row)) for row in rows]

    def _reviewed(self, connection: Connection, one: Fund) -> Fund:
        selling = self._services.get(one.service)
        if one.bought_ms is None or not isinstance(selling, Endowing):
            return one
        prices = {o.product.name: o.unit_price_micro_usd for o in self._offers() if o.service == one.service}
        query = (
            select(usage.c.epoch, usage.c.due_micro_usd, usage.c.funds, usage.c.created_ms)
            .where(usage.c.payer == one.payer, usage.c.service == one.service, usage.c.product.in_(one.products))
            .order_by(usage.c.epoch.desc(), usage.c.id)
            .limit(REVIEWED)
        )
        rows = [row for row in connection.execute(query) if row.created_ms >= one.bought_ms][::-1]
        charged = [(row.epoch, row.due_micro_usd, from_funds(row.funds).get(one.id, (0, 0))[0]) for row in rows]
        facts = FundFacts(
            paid_in_micro_usd=one.price_micro_usd,
            drawn_micro_usd=one.drawn_micro_usd,
            bought_ms=one.bought_ms,
            now_ms=self._clock.now_ms(),
            price_micro_usd=prices.get(one.covers, 0),
            also_micro_usd={product: prices.get(product, 0) for product in one.also},
            charged=charged,
            since_ms=max(one.bought_ms, rows[0].created_ms) if len(rows) >= REVIEWED else one.bought_ms,
            until_ms=rows[-1].created_ms if rows else one.bought_ms,
        )
        return replace(one, review=selling.review_fund(one.terms, facts))


def from_funds(packed: bytes | None) -> dict[str, tuple[int, int]]:
    """Return what each fund paid of a charge, as its row has it: fund → (micro-dollars, units)."""
    return {} if packed is None else msgspec.json.decode(packed, type=dict[str, tuple[int, int]])


def _rooms(packed: bytes | None) -> dict[str, Room]:
    return {} if packed is None else msgspec.json.decode(packed, type=dict[str, Room])


def _packed(rooms: Mapping[str, Room]) -> bytes | None:
    return msgspec.json.encode(rooms, order="sorted") if rooms else None


def _same(fund_id: str) -> Callable[[bytes], bool]:
    def same(body: bytes) -> bool:
        found = metering.decode(body)
        return isinstance(found, Endowed) and found.fund == fund_id

    return same


def _fund(row: Row[Any]) -> Fund:
    return Fund(
        id=row.id,
        customer_id=row.customer_id,
        payer=row.payer,
        service=row.service,
        product=row.product,
        covers=row.covers,
        status=row.status,
        price_micro_usd=row.price_micro_usd,
        units_per_s=row.units_per_s,
        drawn_micro_usd=row.drawn_micro_usd,
        drawn_units=row.drawn_units,
        terms=msgspec.json.decode(row.terms),
        created_ms=row.created_ms,
        valid_until_ms=row.valid_until_ms,
        bought_ms=row.bought_ms,
        also=_rooms(row.also),
    )
