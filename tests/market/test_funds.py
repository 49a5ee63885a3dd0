"""Paid once: bought once, locked, drawn on first and for no more than was bought, and told every epoch how it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.clock import SetClock
from fieldstone.errors import Rejected, Retryable, UsageError
from fieldstone.identity import DeviceKey
from fieldstone.journal import EntryKind
from fieldstone.ledger.accounts import AccountKind, account
from fieldstone.market import Source, metering, router
from fieldstone.market.fund_fold import FUND_SCHEMA, settle_funds
from fieldstone.market.fund_parts import YEAR_MS, Fund, Part, Room, share
from fieldstone.market.funds import ENDOWED
from fieldstone.market.metering import Endowed
from fieldstone.market.payers import payers
from fieldstone.market.usage import binding_text
from fieldstone.services.contract import USAGE_SCHEMA, Allowance, Endowment, FundFacts, Product
from fieldstone.units import DAY_MS
from tests.market.test_fund_fold import delivered, endowed
from tests.market.world import HOUR_MS, POLICY, START_MS, Sensing, World, make_world

HELD = Product("held", "held", "GiB-month", 4_000, "space", usage_per_unit=1_000)
KEPT = Product("kept", "kept", "GiB-month", 1, "space of what was paid once", usage_per_unit=1_000, priced_as="held")
READ = Product("read", "read", "GiB", 50, "reads", usage_per_unit=10)
MENDED = Product("mended", "mended", "GiB", 1, "reads for repair", usage_per_unit=10, priced_as="read")
FOREVER = Product("forever", "kept for ever", "GiB", 1_000_000, "paid once")
NOW_MS = START_MS + 10 * HOUR_MS


@dataclass(frozen=True)
class Disks(Sensing):
    """Sells 10 units a second for ever at 100,000 micro-dollars a wished unit."""

    products: tuple[Product, ...] = (HELD, KEPT, READ, MENDED, FOREVER)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", {})

    def endow(self, product: str, wish: Mapping[str, Any], prices_micro_usd: Mapping[str, int]) -> Endowment:
        price = wish["units"] * prices_micro_usd["held"] * 25
        also = {"mended": Allowance(wish["mended"], 365 * wish["mended"])} if "mended" in wish else {}
        return Endowment(price, "kept", wish["units"], {"said": "for ever", "assumptions": {"n": 1}}, also)

    def review_fund(self, terms: Mapping[str, Any], facts: FundFacts) -> Mapping[str, Any]:
        return {
            "state": "covers",
            "charged": list(facts.charged),
            "price": facts.price_micro_usd,
            "also": dict(facts.also_micro_usd),
            **terms,
        }


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "epochs").mkdir()
    made = make_world(tmp_path, SetClock(NOW_MS), POLICY, service=Disks())
    made.customer = made.market.customers.add("Archive of Anna").id
    key = made.market.customers.add_key(made.customer)
    made.key, made.holder = key.secret, made.market.authenticate(key.secret)
    made.market.topup(made.customer, 3_000_000, Source.FIAT, "bank-1")
    yield made
    made.journal.close()


def bound(world: World) -> str:
    key = DeviceKey.generate()
    device = key.public.device_id
    world.market.usage.bind(world.customer, device, key.sign(binding_text(POLICY.network_id, device, world.customer)))
    return device


def credits(world: World) -> int:
    return world.market.ledger.balance(account(AccountKind.CUSTOMER, world.customer))


def bought(world: World, gateway: str, units: int = 10) -> Fund:
    made = world.market.quote_once(world.holder, "sensing", "forever", gateway, {"units": units})
    return world.market.order_once(world.holder, made.id)


def used(gateway: str, units: int, product: str = "kept") -> pl.DataFrame:
    return pl.DataFrame([(gateway, "disk-a", product, units)], schema=USAGE_SCHEMA, orient="row")


def bodies(world: World) -> list[metering.Body]:
    return [metering.decode(entry.body) for entry in world.journal.read(1, None, (EntryKind.METERING,))]


def folded(world: World, start_ms: int) -> pl.DataFrame:
    """Return the funds as everybody works them out from the journal, in the epoch that began then."""
    prices = {
        (one.service, one.product.name): (one.unit_price_micro_usd, one.product.usage_per_unit)
        for one in world.market.products()
    }
    empty = pl.DataFrame(schema=FUND_SCHEMA)
    return settle_funds(world.journal.read(), empty, epoch=4, start_ms=start_ms, prices=prices)


def test_worked_example_bought_once_then_the_fund_pays_and_credits_stay(world: World) -> None:
    gateway = bound(world)
    fund = bought(world, gateway)
    assert (fund.status, fund.price_micro_usd, fund.balance_micro_usd) == (ENDOWED, 1_000_000, 1_000_000)
    assert credits(world) == 2_000_000
    assert world.market.ledger.balance(f"fund:{fund.id}") == 1_000_000
    # 100 s later 1,000 units are due at 4 a unit: what was bought
    (charge,) = world.market.usage.charge("sensing", 3, used(gateway, 1_000), NOW_MS + 100_000)
    assert (charge.due_micro_usd, charge.paid_micro_usd, charge.from_funds_micro_usd) == (4_000, 4_000, 4_000)
    assert credits(world) == 2_000_000
    (now,) = world.market.funds.of_customer(world.customer)
    assert (now.drawn_micro_usd, now.drawn_units, now.balance_micro_usd) == (4_000, 1_000, 996_000)
    assert now.review == {
        "state": "covers", "charged": [(3, 4_000, 4_000)], "price": 4_000, "also": {}, "said": "for ever",
        "assumptions": {"n": 1},
    }  # fmt: skip
    assert world.market.account(world.holder).funds_micro_usd == 996_000
    assert world.market.reconcile() == [] and world.market.ledger.trial_balance().faults == ()
    table = folded(world, NOW_MS + 100_000)
    assert table.select("fund", "payer", "paid_in_micro_usd", "drawn_micro_usd").rows() == [
        (fund.id, gateway, 1_000_000, 4_000)
    ]


def test_a_quote_buys_once(world: World) -> None:
    gateway = bound(world)
    made = world.market.quote_once(world.holder, "sensing", "forever", gateway, {"units": 10})
    again = world.market.quote_once(world.holder, "sensing", "forever", gateway, {"units": 10})
    for _ in range(3):
        world.market.order_once(world.holder, made.id, "my-key")
    with pytest.raises(Rejected, match="IDEMPOTENCY_CONFLICT"):
        world.market.order_once(world.holder, again.id, "my-key")
    assert credits(world) == 2_000_000
    assert [type(body) for body in bodies(world)] == [Endowed]


def test_quotes_end_and_are_nobody_elses(world: World) -> None:
    made = world.market.quote_once(world.holder, "sensing", "forever", bound(world), {"units": 10})
    other = world.market.customers.add("Ben").id
    stranger = world.market.authenticate(world.market.customers.add_key(other).secret)
    with pytest.raises(Rejected, match="UNKNOWN_PRODUCT"):
        world.market.order_once(stranger, made.id)
    with pytest.raises(UsageError, match="do not pay for"):
        world.market.quote_once(stranger, "sensing", "forever", made.payer, {"units": 10})
    with pytest.raises(Rejected, match="UNKNOWN_PRODUCT"):
        world.market.quote_once(world.holder, "sensing", "nothing", made.payer, {"units": 10})
    world.clock.set(NOW_MS + 901_000)
    with pytest.raises(Rejected, match="QUOTE_EXPIRED"):
        world.market.order_once(world.holder, made.id)
    assert credits(world) == 3_000_000


def test_credits_and_the_keys_limit_bound_what_is_paid_once(world: World) -> None:
    gateway = bound(world)
    small = world.market.customers.add_key(world.customer, limit_micro_usd=1_500_000)
    holder = world.market.authenticate(small.secret)
    one = world.market.quote_once(holder, "sensing", "forever", gateway, {"units": 10})
    world.market.order_once(holder, one.id)
    two = world.market.quote_once(holder, "sensing", "forever", gateway, {"units": 10})
    with pytest.raises(Rejected, match="SPENDING_LIMIT"):
        world.market.order_once(holder, two.id)
    dear = world.market.quote_once(world.holder, "sensing", "forever", gateway, {"units": 30})
    with pytest.raises(Rejected, match="NO_CREDITS"):
        world.market.order_once(world.holder, dear.id)
    assert world.market.reconcile() == []


def test_a_fund_never_pays_for_more_than_was_bought(world: World) -> None:
    gateway = bound(world)
    bought(world, gateway, 10)
    # twice what was bought was stored: half of it is charged to credits like any storage
    (charge,) = world.market.usage.charge("sensing", 1, used(gateway, 2_000), NOW_MS + 100_000)
    assert (charge.from_funds_micro_usd, charge.paid_micro_usd) == (4_000, 8_000)
    assert credits(world) == 2_000_000 - 4_000
    assert world.market.reconcile() == []


def test_a_fund_pays_what_else_was_bought_up_to_its_allowance_also_when_the_customer_is_gone(world: World) -> None:
    from sqlalchemy import delete

    from fieldstone.state import writing
    from fieldstone.state.schema import payer

    gateway = bound(world)
    made = world.market.quote_once(world.holder, "sensing", "forever", gateway, {"units": 10, "mended": 100})
    fund = world.market.order_once(world.holder, made.id)
    with writing(world.market._engine) as connection:
        connection.execute(delete(payer))
    # 150 units of repair are due at 5 each on the day it was bought: 100 are the fund's, for the others nobody pays
    (charge,) = world.market.usage.charge("sensing", 1, used(gateway, 150, "mended"), NOW_MS)
    assert (charge.due_micro_usd, charge.paid_micro_usd, charge.from_funds_micro_usd) == (750, 500, 500)
    # a day later another 100 may be paid; what is stored is paid beside it, and plain reads never
    day = NOW_MS + DAY_MS
    both = pl.concat([used(gateway, 30, "mended"), used(gateway, 1_000), used(gateway, 9_999, "read")])
    charges = {one.product: one.from_funds_micro_usd for one in world.market.usage.charge("sensing", 2, both, day)}
    assert charges == {"mended": 150, "kept": 4_000}
    (now,) = world.market.funds.of_customer(world.customer)
    assert (now.drawn_micro_usd, now.drawn_units, now.also["mended"].drawn_units) == (4_650, 1_000, 130)
    assert now.review is not None and now.review["also"] == {"mended": 50}
    assert sorted(now.review["charged"]) == [(1, 750, 500), (2, 150, 150), (2, 4_000, 4_000)]
    table = folded(world, day)
    assert table.select("fund", "also", "drawn_micro_usd", "drawn_now_micro_usd", "assumptions").rows() == [
        (fund.id, ["mended"], 4_650, 4_650, '{"n":1}')
    ]
    assert settle_funds([], table, epoch=5, start_ms=day, prices={})["drawn_now_micro_usd"].to_list() == [0]
    assert world.market.reconcile() == []


def test_an_empty_fund_leaves_the_charge_to_credits_and_says_so(world: World) -> None:
    gateway = bound(world)
    fund = bought(world, gateway)
    later = NOW_MS + 10**9 * 1_000
    (charge,) = world.market.usage.charge("sensing", 1, used(gateway, 300_000), later)
    assert (charge.due_micro_usd, charge.from_funds_micro_usd, charge.paid_micro_usd) == (
        1_200_000,
        1_000_000,
        1_200_000,
    )
    (charge,) = world.market.usage.charge("sensing", 2, used(gateway, 1_000_000), later)
    assert (charge.from_funds_micro_usd, charge.paid_micro_usd) == (0, 1_800_000)  # all credits there were
    assert world.market.ledger.balance(f"fund:{fund.id}") == 0
    assert world.market.reconcile() == []


def test_what_was_paid_once_stays_paid_when_nobody_pays_for_the_gateway_any_more(world: World) -> None:
    from sqlalchemy import delete

    from fieldstone.state import writing
    from fieldstone.state.schema import payer

    gateway = bound(world)
    bought(world, gateway)
    with writing(world.market._engine) as connection:
        connection.execute(delete(payer))
    (charge,) = world.market.usage.charge("sensing", 1, used(gateway, 2_000), NOW_MS + 100_000)
    assert (charge.due_micro_usd, charge.paid_micro_usd) == (8_000, 4_000)
    assert credits(world) == 2_000_000


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_journal_that_fails_leaves_the_fund_held_until_it_can_go_on(world: World, moment: str) -> None:
    made = world.market.quote_once(world.holder, "sensing", "forever", bound(world), {"units": 10})
    flaky = world.flaky()
    flaky.fail = moment
    with pytest.raises(Retryable):
        world.market.order_once(world.holder, made.id)
    assert credits(world) == 2_000_000 and world.market.ledger.balance(f"fund:{made.id}") == 0
    flaky.fail = ""
    world.market.resume()
    assert world.market.order_once(world.holder, made.id).status == ENDOWED
    assert len(bodies(world)) == 1
    assert world.market.ledger.balance(f"fund:{made.id}") == 1_000_000
    assert world.market.reconcile() == []


def test_a_fund_pays_nothing_of_what_was_used_before_it_was_bought(world: World) -> None:
    gateway = bound(world)
    made = world.market.quote_once(world.holder, "sensing", "forever", gateway, {"units": 10, "mended": 100})
    world.market.order_once(world.holder, made.id)
    (charge,) = world.market.usage.charge("sensing", 1, used(gateway, 10, "mended"), NOW_MS - 1)
    assert (charge.from_funds_micro_usd, charge.paid_micro_usd) == (0, 50)


def test_a_fund_that_waited_long_for_the_journal_counts_from_when_the_journal_has_it(world: World) -> None:
    """Everybody else takes no older date, and would refuse what was drawn by it."""
    gateway = bound(world)
    made = world.market.quote_once(world.holder, "sensing", "forever", gateway, {"units": 10})
    flaky = world.flaky()
    flaky.fail = "before"
    with pytest.raises(Retryable):
        world.market.order_once(world.holder, made.id)
    flaky.fail = ""
    later = NOW_MS + 9 * DAY_MS
    world.clock.set(later)
    world.market.resume()
    (fund,) = world.market.funds.of_customer(world.customer)
    assert fund.bought_ms == later
    (charge,) = world.market.usage.charge("sensing", 3, used(gateway, 5_000), later + 100_000)
    assert charge.from_funds_micro_usd == 4_000
    assert folded(world, later + 100_000)["drawn_micro_usd"].to_list() == [4_000]


FUND = Fund("a", "cus", "gw", "s", "forever", "kept", ENDOWED, 1_000, 5, 0, 0, {}, 0, 0, 0)


@given(
    prices=st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 10**6)), max_size=4),
    units=st.integers(0, 10**9),
    price=st.integers(1, 10**6),
    per=st.integers(1, 10**9),
    until_ms=st.integers(0, 10**9),
    product=st.sampled_from(["kept", "mended", "read"]),
)
def test_funds_never_pay_more_than_was_due_nor_more_than_they_hold(
    prices: list[tuple[int, int, int]], units: int, price: int, per: int, until_ms: int, product: str
) -> None:
    also = {"mended": Room(at_once=7, per_year=10**6, drawn_units=5)}
    funds = [
        replace(FUND, id=str(n), price_micro_usd=paid, drawn_micro_usd=min(drawn, paid), units_per_s=rate, also=also)
        for n, (paid, drawn, rate) in enumerate(prices)
    ]
    parts = {part.fund: part for part in share(funds, units, (price, per), until_ms, product)}
    assert sum(part.amount_micro_usd for part in parts.values()) <= units * price // per
    assert sum(part.units for part in parts.values()) <= units
    for one in funds:
        part = parts.get(one.id, Part(one.id, 0, 0))
        assert part.amount_micro_usd <= one.balance_micro_usd
        bought = {"kept": rate_of(one, until_ms), "mended": 2 + 10**6 * until_ms // YEAR_MS}
        assert part.units <= bought.get(product, 0)


def rate_of(one: Fund, until_ms: int) -> int:
    return one.units_per_s * until_ms // 1_000


def test_locked_money_is_nobodys_revenue_and_nobodys_payment_yet() -> None:
    entries = [endowed("f", 100), delivered(1, 60, {"f": 50})]
    assert metering.revenue(entries)["revenue_micro_usd"].to_list() == [60]

    class Sealed:
        folder, manifest = Path(), None

        def table(self, name: str) -> pl.DataFrame:
            return pl.DataFrame({"body": [entry.body for entry in entries]})

        def table_names(self) -> list[str]:
            return ["journal-metering"]

        def check_files(self) -> None: ...

    assert payers([Sealed()]) == {"c": 60}


def test_http_quotes_buys_and_lists_funds(world: World) -> None:
    app = FastAPI()
    app.include_router(router(world.market))
    client = TestClient(app, headers={"Authorization": f"Bearer {world.key}"})
    ask = {"service": "sensing", "product": "forever", "payer": bound(world), "wish": {"units": 10}}
    made = client.post("/v1/market/funds", json=ask)
    assert made.status_code == 201 and made.json()["status"] == "quoted" and made.json()["review"] is None
    got = client.post("/v1/market/orders", json={"quote_id": made.json()["id"]}, headers={"Idempotency-Key": "k"})
    assert (got.status_code, got.json()["status"], got.json()["balance_micro_usd"]) == (201, "endowed", 1_000_000)
    (listed,) = client.get("/v1/market/funds").json()["funds"]
    assert listed["terms"]["said"] == "for ever" and listed["review"]["state"] == "covers"
    assert client.get(f"/v1/market/funds/{listed['id']}").json() == listed
    assert client.post("/v1/market/orders", json={"quote_id": "fnd_unknown"}).status_code == 404
    assert client.get("/v1/market/account").json()["funds_micro_usd"] == 1_000_000
