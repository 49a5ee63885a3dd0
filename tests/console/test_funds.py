"""The pages of what was paid once, in a real browser: balance, payments, assumptions, years, and the warning in words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from fieldstone.console.funds import fund_history, fund_rows
from fieldstone.epoch import compute as compute_module
from fieldstone.errors import CheckFailed
from fieldstone.identity.keys import DeviceKey
from fieldstone.market import Source
from fieldstone.market.fund_fold import settle_funds
from fieldstone.market.usage import binding_text
from fieldstone.services.sealed_funds import SealedFunds
from fieldstone.services.storage.paid_once import PaidOnce
from tests.node.conftest import Network

SERVICES = "[services.sensing]\nshare_ppm = 500000\n[services.storage]\nshare_ppm = 500000"
GIB = 2**30


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory):
    network = Network(tmp_path_factory.mktemp("funds"), stations=1, settlement=SERVICES)
    market = network.live.node.market
    customer = market.customers.add("<b>Archive</b>").id
    holder = market.authenticate(market.customers.add_key(customer).secret)
    market.topup(customer, 100_000_000, Source.FIAT, "bank-1")
    gateways = []
    for _ in range(2):
        key = DeviceKey.generate()
        device = key.public.device_id
        market.usage.bind(customer, device, key.sign(binding_text("test", device, customer)))
        quoted = market.quote_once(holder, "storage", "permanent", device, {"size_bytes": 10 * GIB})
        market.order_once(holder, quoted.id)
        gateways.append(device)
    network.hours()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            compute_module, "settle_funds", lambda *told, **more: _spent(settle_funds(*told, **more), device)
        )
        network.live.close_epoch()
    yield network
    network.close()


def _spent(funds: pl.DataFrame, payer: str) -> pl.DataFrame:
    """Let one fund have paid for 40 years of storage already: no journal of a test is that long."""
    paid = pl.when(pl.col("payer") == payer).then(pl.col("paid_in_micro_usd") * 3 // 4).otherwise(0)
    return funds.with_columns(drawn_micro_usd=paid, drawn_now_micro_usd=paid)


def test_funds_that_will_not_last_come_first_and_say_why(served: Network) -> None:
    store = served.live.node.store
    short, covers = fund_rows(store, 1)
    assert [one["review"]["state"] for one in (short, covers)] == ["short", "covers"]
    assert "underfunded" in short["review"]["warning"] and covers["review"]["warning"] == ""
    assert short["drawn_now_micro_usd"] == short["drawn_micro_usd"] > 0 == covers["drawn_now_micro_usd"]
    assert covers["review"]["assumed_decline_ppm"] == 20_000 and covers["review"]["expansion_ppm"] == 2_000_000
    assert fund_history(store, short["fund"]) == [
        {
            "epoch": 1,
            "paid_micro_usd": short["drawn_micro_usd"],
            "balance_micro_usd": short["balance_micro_usd"],
            "height": 100,
        }
    ]
    assert "customer" in short and "assumptions" not in short


def test_a_fund_that_nobody_can_read_hides_no_other() -> None:
    """Whatever an epoch says that a price rests on: it is a named refusal, and never a page that fails."""
    row = {"fund": "f", "payer": "p", "service": "storage", "covers": "permanent-storage", "also": ["permanent-repair"],
           "paid_in_micro_usd": 9, "drawn_micro_usd": 0, "endowed_ms": 0}  # fmt: skip
    good = dict(PaidOnce().endow("permanent", {"size_bytes": GIB}, {"storage": 1, "egress": 1}).terms["assumptions"])
    lies = [b"", b"[]", b"{}", *(json.dumps({**good, name: value}).encode() for name, value in (
        ("kryder_rate_ppm_per_year", 10**6), ("stored_bytes", 10**400), ("years", "ten"), ("read_bytes", None),
        ("repair_reads_ppm_per_year", [1]), ("first_year_micro_usd", 10**400),
    ))]  # fmt: skip
    for lie in lies:
        rows = [{**row, "assumptions": lie.decode()}]
        funds = SealedFunds(
            rows, PaidOnce(), prices_micro_usd={"permanent-storage": 1}, start_ms=0, end_ms=10, usage=None
        )
        with pytest.raises(CheckFailed, match="what fund f rests on"):
            funds.review(rows[0])


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed: scripts/install-test-tools")
def test_a_visitor_reads_whether_a_fund_lasts(served: Network, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900}, java_script_enabled=False)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(served.url)
        page.get_by_role("link", name="Paid once").click()
        assert page.locator("tbody tr").count() == 2 and "1\nneeds attention" in page.locator(".tiles").inner_text()
        page.locator("tbody a").first.click()
        assert "The fund is underfunded" in page.get_by_role("alert").inner_text()
        text = page.locator("main").inner_text()
        for words in ("2.0 % a year", "0.5 a year", "2 ×", "prices fall 0.0 % a year", "for ever", "At exhaustion"):
            assert words in text, words
        page.goto(served.url + "/funds/fnd_nothing")
        assert "No fund fnd_nothing" in page.locator("main").inner_text()
        phone = browser.new_page(viewport={"width": 390, "height": 800})
        for path in ("/funds", "/funds/" + fund_rows(served.live.node.store, 1)[0]["fund"]):
            phone.goto(served.url + path)
            assert phone.evaluate("document.documentElement.scrollWidth") <= 390, path
        assert [url for url in asked if not url.startswith(served.url)] == []
        browser.close()
