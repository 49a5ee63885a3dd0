"""Invoices: gapless numbers, lines that add up, texts that cannot run."""

from __future__ import annotations

import threading

import pytest

from fieldstone.errors import Rejected
from fieldstone.market.invoice_pages import as_html, as_text
from fieldstone.market.invoices import Invoice, InvoiceLine, QualityLine
from tests.market.world import World

SAMPLE = Invoice(
    id="INV-000007",
    number=7,
    kind="invoice",
    network_id="testnet",
    network_name="Test network",
    issued_ms=1_700_000_000_000,
    issued="2023-11-14",
    customer_id="cus_1",
    customer_name="<script>alert(1)</script>",
    order_id="ord_1",
    currency="USD",
    lines=(
        InvoiceLine(
            text="observations: temperature_c", quantity=1200, unit="readings", unit_price_micro_usd=20, amount_micro_usd=24_000
        ),
        InvoiceLine(text="refund", quantity=3, unit="readings", unit_price_micro_usd=None, amount_micro_usd=-60),
    ),
    total_micro_usd=23_940,
    quality=(QualityLine(at_least_ppm=990_000, readings=1200),),
    notes=("a & b",),
)  # fmt: skip


def test_an_invoice_adds_up_and_names_the_quality(world: World) -> None:
    order = world.buy()
    document = world.market.invoice(world.holder, order.invoice_id or "")
    assert [(line.text, line.quantity, line.amount_micro_usd) for line in document.lines] == [
        ("observations: temperature_c", 10, 200),
        ("observations: humidity_pct", 9, 180),
    ]
    assert document.total_micro_usd == order.price_micro_usd == 380
    assert {band.at_least_ppm: band.readings for band in document.quality} == {990_000: 7, 900_000: 6, 500_000: 6}
    assert (document.id, document.number, document.issued) == ("INV-000001", 1, "2023-11-15")
    assert document.data_sha256 == order.data_sha256


def test_numbers_have_no_gaps_even_when_orders_race(world: World) -> None:
    quotes = [world.market.quote(world.holder, world.query()).id for _ in range(6)]
    threads = [threading.Thread(target=world.market.order, args=(world.holder, quote)) for quote in quotes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.market.refund_corrected("c", "sensing", 1, ["did:key:a"], "bad")
    numbers = sorted(
        world.market.invoice(world.holder, document).number
        for order in world.market.orders(world.holder)
        for document in world.market.invoice_ids(world.holder, order.id)
    )
    assert numbers == list(range(1, 13))


def test_an_unknown_invoice_is_named(world: World) -> None:
    with pytest.raises(Rejected, match="UNKNOWN_PRODUCT"):
        world.market.invoice(world.holder, "INV-999999")


def test_as_text() -> None:
    page = as_text(SAMPLE)
    assert "Invoice INV-000007" in page
    assert "1,200 readings × $0.00002" in page
    assert page.splitlines()[7].endswith("$0.024")
    assert "at least  99.0 %" in page
    assert max(map(len, page.splitlines())) <= 78


def test_html_escapes_every_text() -> None:
    page = as_html(SAMPLE)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "a &amp; b" in page
    assert "-$0.00006" in page
