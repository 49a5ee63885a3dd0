"""The market of a network: everything that a customer or the founder can do, as plain Python calls.

>>> market = Market(engine, journal, data / "epochs", lambda: policy, SystemClock(), services,
...                 deliveries=data / "deliveries")                                                # doctest: +SKIP
>>> market.resume()                                                                                # doctest: +SKIP
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from fieldstone.clock import Clock
from fieldstone.errors import FieldstoneError, Rejected, Retryable
from fieldstone.journal.entries import EntryKind
from fieldstone.ledger.accounts import AccountKind, account
from fieldstone.ledger.book import Ledger
from fieldstone.ledger.escrow import Escrow
from fieldstone.market import catalogue, delivery
from fieldstone.market.catalogue import Offer
from fieldstone.market.credits import Credits, Source, Topup
from fieldstone.market.customers import Customers, KeyHolder
from fieldstone.market.delivery import DataFormat
from fieldstone.market.fulfil import Fulfilment
from fieldstone.market.fund_parts import Fund
from fieldstone.market.funds import PREFIX as FUND_PREFIX
from fieldstone.market.funds import Funds
from fieldstone.market.invoices import Invoice, Invoices
from fieldstone.market.journalled import MarketJournal
from fieldstone.market.metering import Refunded
from fieldstone.market.observations import select, tally
from fieldstone.market.orders import DELIVERED, Order, Orders
from fieldstone.market.query import Query, checked
from fieldstone.market.quotes import Quote, Quotes, price
from fieldstone.market.reconcile import Difference, reconcile
from fieldstone.market.refunds import Refunds
from fieldstone.market.sealed import SealedEpochs
from fieldstone.market.usage import Usage
from fieldstone.policy import Policy
from fieldstone.reasons import reason
from fieldstone.services.contract import Service
from fieldstone.state.engine import reading
from fieldstone.units import DAY_MS

CONCURRENT_READS = 2  # quotes and deliveries that read sealed tables at once; the others wait
WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Account:
    """A customer's account. `spent_micro_usd`: by this key in its limit's period; `funds_micro_usd`: paid once and not spent
    yet; it cannot be withdrawn. Amounts in micro-dollars."""

    customer_id: str
    customer_name: str
    credits_micro_usd: int
    held_micro_usd: int
    key_prefix: str
    limit_micro_usd: int | None
    limit_period_s: int
    spent_micro_usd: int
    funds_micro_usd: int = 0


@dataclass(frozen=True, slots=True)
class Resumed:
    """What `resume` carried on: numbers of top-ups, orders and refunds, and the orders that could not be, with why."""

    topups: int
    orders: int
    refunds: int
    stuck: dict[str, str]


class Market:
    """The market. Thread-safe; one per journal."""

    def __init__(
        self,
        engine: Engine,
        journal: MarketJournal,
        sealed: Path | SealedEpochs,
        policy: Callable[[], Policy],
        clock: Clock,
        services: Sequence[Service],
        *,
        deliveries: Path,
        founder: str | None = None,
        network_name: str = "",
        download_days: int = 30,
    ) -> None:
        """`sealed`: folder of `epoch=N`. `deliveries`: folder for sold data, kept `download_days`.

        `founder`: the address that must sign fiat top-ups; None trusts whoever may call `topup`.
        """
        self._engine = engine
        self._journal = journal
        self._sealed = SealedEpochs(sealed) if isinstance(sealed, Path) else sealed
        self._policy = policy
        self._clock = clock
        self._services = tuple(services)
        self._download_ms = download_days * DAY_MS
        self._reads = threading.BoundedSemaphore(CONCURRENT_READS)
        name = network_name or policy().network_id
        self.ledger = Ledger(engine)
        self.escrow = Escrow(engine, self.ledger)
        self.customers = Customers(engine, clock)
        self.invoices = Invoices(engine)
        self._quotes = Quotes(engine, clock)
        self._orders = Orders(engine, clock, self.customers, self._quotes, self.escrow)
        self._credits = Credits(engine, self.escrow, clock, network_id=policy().network_id, founder=founder)
        self._fulfilment = Fulfilment(
            engine,
            journal,
            self._sealed,
            deliveries,
            clock,
            policy,
            self._offer,
            self.customers,
            self._quotes,
            self._orders,
            self.escrow,
            name,
        )
        by_name = {service.name: service for service in self._services}
        self.funds = Funds(engine, journal, clock, self.customers, self.escrow, self.products, by_name)
        self.usage = Usage(
            engine, journal, clock, self.escrow, self.ledger, self._offer, policy().network_id, self.funds
        )
        self._refunds = Refunds(
            engine, journal, clock, policy, self.customers, self._quotes, self._orders, self.escrow, name
        )

    # ---- for the node ----------------------------------------------------------------------------------------------

    def resume(self) -> Resumed:
        """Carry on what a crash, a full disk or another process left: call it at start and now and then.

        Raises Retryable while the journal or the state refuse.
        """
        topups = self._credits.complete(self._journal)
        self.funds.complete()
        self.usage.complete()
        refunds = self._refunds.complete()
        finished, stuck = 0, {}
        for order_id in self._orders.held():
            try:
                self._finish(order_id)
                finished += 1
            except Retryable:
                raise
            except FieldstoneError as error:
                stuck[order_id] = str(error)
        return Resumed(len(topups), finished, len(refunds), stuck)

    def sweep(self) -> int:
        """Delete downloads that are over and quotes that ended a day ago; return how many files went."""
        now_ms = self._clock.now_ms()
        self._quotes.sweep(now_ms - DAY_MS)
        return self._fulfilment.forget(now_ms - self._download_ms)

    def reconcile(self) -> list[Difference]:
        """Compare the journal with the ledger; no differences is what `resume` leaves."""
        entries = self._journal.read(1, None, (EntryKind.CREDIT, EntryKind.METERING))
        return reconcile(entries, self.ledger)

    # ---- for the founder -------------------------------------------------------------------------------------------

    def topup(
        self, customer_id: str, amount_micro_usd: int, source: Source, reference: str, signature: str = ""
    ) -> Topup:
        """Credit a customer once per (source, reference); repeat at will.

        Raises UsageError, Rejected BAD_OPERATOR_SIGNATURE or BAD_TEXT, Terminal for a reference used otherwise, Retryable.
        """
        wish = self._credits.request(customer_id, amount_micro_usd, source, reference, signature, self._journal.head)
        self._credits.complete(self._journal)
        return Topup(wish.customer, wish.amount_micro_usd, wish.source, wish.reference, "credited")

    def refund_corrected(
        self, correction: str, service: str, epoch: int, devices: Collection[str], cause: str
    ) -> list[Refunded]:
        """Refund every customer who bought readings of `devices` in `epoch`. See `refunds`."""
        return self._refunds.correct(correction, service, epoch, devices, cause)

    # ---- for customers ---------------------------------------------------------------------------------------------

    def authenticate(self, key: str) -> KeyHolder:
        """Return whose API key it is. Raises Rejected BAD_API_KEY."""
        return self.customers.authenticate(key)

    def products(self) -> tuple[Offer, ...]:
        """Return what is on offer, at today's prices."""
        return catalogue.offers(self._services, self._policy())

    @property
    def quote_valid_s(self) -> int:
        """Seconds that a quote made now stays valid."""
        return self._policy().market.quote_valid_s

    def quote(self, holder: KeyHolder, query: Query) -> Quote:
        """Price exactly what a query selects now. Raises Rejected BAD_QUERY, UNKNOWN_PRODUCT."""
        offered = self._offer(query.service, query.product)
        if not offered.kind:
            detail = f"{query.service}/{query.product} is no selection of data: a gateway of yours uses it, and you pay for that"
            raise Rejected(reason("BAD_QUERY"), query.product, detail)
        canonical = checked(query, offered)
        with self._reading_tables():
            selection = select(self._sealed, offered, canonical)
            counted = tally(selection.rows, canonical)
        body = price(offered, canonical, selection.parts, counted, selection.excluded)
        return self._quotes.add(holder.customer_id, body, self._policy().market.quote_valid_s)

    def quote_once(self, holder: KeyHolder, service: str, product: str, device: str, wish: Mapping[str, Any]) -> Fund:
        """Price paying once for what `device` will use. See `Funds.quote` for errors; buy it with `order_once`."""
        self._credit_pending()
        return self.funds.quote(holder, service, product, device, wish, self.quote_valid_s)

    def order_once(self, holder: KeyHolder, quote_id: str, idempotency_key: str | None = None) -> Fund:
        """Pay a quote of `quote_once` into its fund. See `Funds.buy` for errors."""
        self._credit_pending()
        return self.funds.buy(holder, quote_id, idempotency_key)

    @staticmethod
    def is_once(quote_id: str) -> bool:
        """Tell a quote for paying once from one for data."""
        return quote_id.startswith(FUND_PREFIX)

    def order(self, holder: KeyHolder, quote_id: str, idempotency_key: str | None = None) -> Order:
        """Buy a quote and deliver it; the same quote or key returns the same order.

        Raises Rejected (see `Orders.place`), and Retryable when the delivery has to wait: then the price is held, and
        the same call, `order_status` or `resume` carries on.
        """
        self._credit_pending()
        placed, new = self._orders.place(holder, quote_id, idempotency_key, self._journal.head)
        return placed if placed.status == DELIVERED else self._finish(placed.id, first_attempt=new)

    def order_status(self, holder: KeyHolder, order_id: str) -> Order:
        """Return one of the caller's orders. Raises Rejected UNKNOWN_PRODUCT."""
        return self._orders.get(order_id, holder.customer_id)

    def orders(self, holder: KeyHolder, limit: int = 100) -> list[Order]:
        """Return the caller's newest orders, newest first."""
        return self._orders.of_customer(holder.customer_id, limit)

    def data(self, holder: KeyHolder, order_id: str, form: DataFormat) -> Iterator[bytes]:
        """Return the bytes of a delivered order, as often as wanted until `downloadable_until_ms`.

        Raises Rejected UNKNOWN_PRODUCT or DOWNLOAD_EXPIRED, Retryable while it is not delivered yet.
        """
        return delivery.stream(self.data_path(holder, order_id), form)

    def data_path(self, holder: KeyHolder, order_id: str) -> Path:
        """Return the Parquet file of a delivered order. Raises as `data`."""
        bought = self._orders.get(order_id, holder.customer_id)
        if bought.status != DELIVERED:
            raise Retryable(f"order {order_id} is paid but not delivered yet; ask again in a moment")
        until_ms = self.downloadable_until_ms(bought)
        path = self._fulfilment.path(order_id)
        if until_ms is None or self._clock.now_ms() >= until_ms or not path.exists():
            raise Rejected(reason("DOWNLOAD_EXPIRED"), order_id)
        return path

    def downloadable_until_ms(self, bought: Order) -> int | None:
        """Return until when an order can be downloaded again for free; None before it is delivered."""
        return None if bought.delivered_ms is None else bought.delivered_ms + self._download_ms

    def invoice(self, holder: KeyHolder, invoice_id: str) -> Invoice:
        """Return one of the caller's invoices or credit notes. Raises Rejected UNKNOWN_PRODUCT."""
        return self.invoices.get(invoice_id, holder.customer_id)

    def invoice_ids(self, holder: KeyHolder, order_id: str) -> list[str]:
        """Return an order's invoice and credit notes. Raises Rejected UNKNOWN_PRODUCT."""
        return self.invoices.of_order(self._orders.get(order_id, holder.customer_id).id)

    def account(self, holder: KeyHolder) -> Account:
        """Return the caller's credits and what its key may still spend."""
        self._credit_pending()
        who = self.customers.get(holder.customer_id)
        with reading(self._engine) as connection:
            return Account(
                customer_id=who.id,
                customer_name=who.name,
                credits_micro_usd=self.ledger.balance(account(AccountKind.CUSTOMER, who.id), connection),
                held_micro_usd=self._orders.held_of(connection, who.id),
                key_prefix=holder.key_prefix,
                limit_micro_usd=holder.limit_micro_usd,
                limit_period_s=holder.limit_period_s,
                spent_micro_usd=self.customers.spent(connection, holder.key_prefix, holder.limit_period_s),
                funds_micro_usd=self.funds.balance(connection, who.id),
            )

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _offer(self, service: str, product: str) -> Offer:
        return catalogue.offer(self._services, self._policy(), service, product)

    def _finish(self, order_id: str, *, first_attempt: bool = False) -> Order:
        with self._reading_tables():
            return self._fulfilment.finish(order_id, first_attempt=first_attempt)

    def _credit_pending(self) -> None:
        """Take up top-ups that another process wrote down, so that a customer need not wait for the next `resume`."""
        if self._credits.pending():
            # A journal that refuses for now must not hide an account; `resume` tries again.
            with suppress(Retryable):
                self._credits.complete(self._journal)

    @contextmanager
    def _reading_tables(self) -> Iterator[None]:
        """Bound the memory that large queries take together. Raises Retryable after waiting for `WAIT_S`."""
        if not self._reads.acquire(timeout=WAIT_S):
            raise Retryable("too many large queries at once; ask again in a moment")
        try:
            yield
        finally:
            self._reads.release()
