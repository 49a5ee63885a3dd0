"""Buying: exact prices, once per quote, never more than the credits, only one's own."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text

from fieldstone.errors import FieldstoneError, Rejected
from fieldstone.market import DataFormat
from fieldstone.state import writing
from tests.market.world import ALL_READINGS, HOUR_MS, World

PRICE = ALL_READINGS * 20


def test_the_main_path(world: World) -> None:
    quote = world.market.quote(world.holder, world.query())
    assert (quote.price_micro_usd, quote.body.readings) == (PRICE, ALL_READINGS)
    assert world.credits() == 1_000_000
    bought = world.market.order(world.holder, quote.id)
    assert (bought.status, bought.delivered_readings, bought.refund_micro_usd) == ("delivered", ALL_READINGS, 0)
    assert world.credits() == 1_000_000 - PRICE
    (entry,) = world.metering()
    assert entry.devices == {"did:key:a": 7, "did:key:b": 6, "did:key:c": 6}
    assert (entry.order, entry.customer, entry.price_micro_usd) == (bought.id, world.customer, PRICE)
    assert entry.data_sha256 == bought.data_sha256
    assert world.market.ledger.balance("revenue:sensing") == PRICE
    assert world.market.escrow.totals(bought.id).held == 0
    world.healthy()


def test_a_quote_buys_once_with_and_without_an_idempotency_key(world: World) -> None:
    quote = world.market.quote(world.holder, world.query())
    first = world.market.order(world.holder, quote.id, "key-1")
    for key in ("key-1", None, "key-2"):
        assert world.market.order(world.holder, quote.id, key) == first
    assert len(world.metering()) == 1
    assert world.credits() == 1_000_000 - PRICE
    world.healthy()


def test_an_idempotency_key_names_one_quote(world: World) -> None:
    first, second = (world.market.quote(world.holder, world.query()) for _ in range(2))
    world.market.order(world.holder, first.id, "key")
    with pytest.raises(Rejected, match="IDEMPOTENCY_CONFLICT"):
        world.market.order(world.holder, second.id, "key")
    with pytest.raises(Rejected, match="BAD_TEXT"):
        world.market.order(world.holder, second.id, "a\nb")
    assert len(world.market.orders(world.holder)) == 1


def test_an_expired_quote_is_refused_but_its_order_stays(world: World) -> None:
    bought, unused = (world.market.quote(world.holder, world.query()) for _ in range(2))
    order = world.market.order(world.holder, bought.id)
    world.clock.set(bought.valid_until_ms + 1)
    with pytest.raises(Rejected, match="QUOTE_EXPIRED"):
        world.market.order(world.holder, unused.id)
    assert world.market.order(world.holder, bought.id) == order


def test_nothing_can_be_bought_for_nothing(world: World) -> None:
    quote = world.market.quote(world.holder, world.query(end_ms=1))
    assert quote.price_micro_usd == 0
    with pytest.raises(Rejected, match="no readings"):
        world.market.order(world.holder, quote.id)


def test_no_credits_no_order(world: World) -> None:
    poor = world.market.customers.add("Poor")
    holder = world.market.authenticate(world.market.customers.add_key(poor.id).secret)
    quote = world.market.quote(holder, world.query())
    with pytest.raises(Rejected, match="NO_CREDITS"):
        world.market.order(holder, quote.id)
    assert world.market.orders(holder) == []
    assert world.metering() == []
    world.healthy()


def test_customers_see_only_their_own(world: World) -> None:
    quote = world.market.quote(world.holder, world.query())
    order = world.buy()
    spy = world.market.authenticate(world.market.customers.add_key(world.market.customers.add("Spy").id).secret)
    attempts = (
        lambda: world.market.order(spy, quote.id),
        lambda: world.market.order_status(spy, order.id),
        lambda: world.market.data(spy, order.id, DataFormat.CSV),
        lambda: world.market.invoice(spy, order.invoice_id or ""),
        lambda: world.market.invoice_ids(spy, order.id),
        lambda: world.market.order_status(world.holder, "ord_unknown"),
    )
    for attempt in attempts:
        with pytest.raises(Rejected, match="UNKNOWN_PRODUCT"):
            attempt()
    assert world.market.orders(spy) == []


def test_concurrent_orders_cannot_overspend_and_one_quote_is_delivered_once(world: World) -> None:
    poor = world.market.customers.add("Almost poor")
    from fieldstone.market import Source

    world.market.topup(poor.id, 3 * PRICE + 1, Source.FIAT, "bank-poor")
    holder = world.market.authenticate(world.market.customers.add_key(poor.id).secret)
    quotes = [world.market.quote(holder, world.query()).id for _ in range(6)]
    bought, refused = [], []
    barrier = threading.Barrier(12)

    def buy(quote_id: str) -> None:
        barrier.wait()
        try:
            bought.append(world.market.order(holder, quote_id).id)
        except FieldstoneError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=buy, args=(quote_id,)) for quote_id in quotes * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(bought)) == 3
    assert len(refused) == 6
    assert all("NO_CREDITS" in why for why in refused)
    assert len(world.metering()) == 3
    assert world.market.account(holder).credits_micro_usd == 1
    world.healthy()


def test_a_limit_holds_against_concurrent_orders(world: World) -> None:
    key = world.market.customers.add_key(world.customer, limit_micro_usd=2 * PRICE)
    holder = world.market.authenticate(key.secret)
    quotes = [world.market.quote(holder, world.query()).id for _ in range(5)]
    outcomes: list[str] = []

    def buy(quote_id: str) -> None:
        try:
            outcomes.append(world.market.order(holder, quote_id).status)
        except Rejected as error:
            outcomes.append(error.reason.code)

    threads = [threading.Thread(target=buy, args=(quote_id,)) for quote_id in quotes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["SPENDING_LIMIT"] * 3 + ["delivered"] * 2


def test_downloads_are_free_until_they_are_over(world: World) -> None:
    order = world.buy()
    first = b"".join(world.market.data(world.holder, order.id, DataFormat.PARQUET))
    until = world.market.downloadable_until_ms(order)
    assert until == world.clock.now_ms() + 30 * 24 * HOUR_MS
    world.clock.set(until - 1)
    assert world.market.sweep() == 0
    assert b"".join(world.market.data(world.holder, order.id, DataFormat.PARQUET)) == first
    world.clock.set(until)
    with pytest.raises(Rejected, match="DOWNLOAD_EXPIRED"):
        world.market.data(world.holder, order.id, DataFormat.PARQUET)
    world.clock.set(until + 1)
    assert world.market.sweep() == 1
    assert list((world.folder / "deliveries").iterdir()) == []
    assert world.credits() == 1_000_000 - PRICE


def test_sweep_forgets_old_quotes_but_not_those_that_bought(world: World) -> None:
    order = world.buy()
    unused = world.market.quote(world.holder, world.query())
    world.clock.set(world.clock.now_ms() + 48 * HOUR_MS)
    world.market.sweep()
    assert world.market.order(world.holder, order.quote_id) == order
    with pytest.raises(Rejected, match="UNKNOWN_PRODUCT"):
        world.market.order(world.holder, unused.id)


def test_reconcile_finds_what_does_not_agree(world: World) -> None:
    order = world.buy()
    world.healthy()
    with writing(world.market._engine) as connection:
        connection.execute(text("DROP TRIGGER ledger_posting_no_update"))
        connection.execute(
            text(
                "UPDATE ledger_posting SET amount_micro_usd = amount_micro_usd - 1 WHERE account_id = 'revenue:sensing'"
            )
        )
    (difference,) = world.market.reconcile()
    assert difference.key == f"settle:{order.id}"
    assert (f"+{PRICE}" in difference.journal, f"+{PRICE - 1}" in difference.ledger) == (True, True)
    assert world.market.ledger.trial_balance().faults != ()
