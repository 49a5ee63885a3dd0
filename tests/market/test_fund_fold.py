"""Everybody who replays an epoch refuses a charge that draws on a fund what it was not bought for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.errors import CheckFailed
from fieldstone.market import metering
from fieldstone.market.fund_fold import DATED_BACK_MS, FUND_SCHEMA, Prices, settle_funds
from fieldstone.market.fund_parts import YEAR_MS, Fund, Room, share
from fieldstone.market.metering import Delivered, Endowed, charge_id
from fieldstone.units import DAY_MS

EMPTY = pl.DataFrame(schema=FUND_SCHEMA)
PRICES = {("s", "kept"): (3, 1), ("s", "mended"): (10, 2), ("s", "read"): (10, 2)}
BOUGHT_MS = 10 * DAY_MS
AT_ONCE = 100


@dataclass(frozen=True)
class Entry:
    kind: str
    body: bytes


def delivered(
    epoch: int,
    price: int,
    funds: dict[str, int],
    units: dict[str, int] | None = None,
    product: str = "kept",
    payer: str = "gw",
    order: str = "",
) -> Any:
    """Return a charge of an epoch; by default each fund pays a unit for every three micro-dollars."""
    units = {fund: -(-amount // 3) for fund, amount in funds.items()} if units is None else units
    body = Delivered(
        order=order or charge_id("s", epoch, payer, product), customer="c", service="s", product=product,
        price_micro_usd=price, delivered_ms=1, devices={"d": max(1, sum(units.values()))}, funds=funds, fund_units=units,
        payer=payer, epoch=epoch,
    )  # fmt: skip
    return Entry("metering", metering.encode(body))


def endowed(fund: str, amount: int, endowed_ms: int = BOUGHT_MS) -> Any:
    body = Endowed(
        fund=fund, customer="c", payer="gw", service="s", product="forever", covers="kept", paid_in_micro_usd=amount,
        units_per_s=1, endowed_ms=endowed_ms, also={"mended": {"at_once": AT_ONCE, "per_year": 365}},
    )  # fmt: skip
    return Entry("metering", metering.encode(body))


def fold(
    entries: list[Any], funds: pl.DataFrame = EMPTY, *, epoch: int = 3, day: int = 11, prices: Prices = PRICES
) -> pl.DataFrame:
    return settle_funds(entries, funds, epoch=epoch, start_ms=day * DAY_MS, prices=prices)


def rooms(table: pl.DataFrame) -> dict[str, dict[str, int]]:
    return {room["product"]: room for room in table["rooms"].to_list()[0]}


def test_every_verifier_refuses_a_charge_that_draws_more_than_a_fund_holds() -> None:
    first = fold([endowed("f", 100), delivered(1, 60, {"f": 60}), delivered(1, 60, {"f": 60})])
    assert first["drawn_micro_usd"].to_list() == [60]  # a charge that is written twice draws once
    assert fold([delivered(2, 40, {"f": 40})], first)["drawn_micro_usd"].to_list() == [100]
    for forged, why in (
        (delivered(2, 50, {"f": 41}), "does not hold so much"),
        (delivered(2, 50, {"g": 1}), "does not pay"),
        (delivered(2, 50, {"f": 1}, payer="somebody else's gateway"), "does not pay"),
        (delivered(2, 50, {"f": 1}, product="read"), "does not pay"),
        (delivered(2, 5, {"f": 6}), "more from funds than its price"),
    ):
        with pytest.raises(CheckFailed, match=why):
            fold([forged], first)


def test_a_fund_pays_its_allowance_to_the_unit_and_not_one_more() -> None:
    """A day after it was bought: 100 units of repair at once and one for the day, of 5 micro-dollars each."""
    first = fold([endowed("f", 10_000)])
    honest = fold([delivered(2, 505, {"f": 505}, {"f": 101}, "mended")], first)
    assert rooms(honest)["mended"]["drawn_units"] == 101 and honest["drawn_micro_usd"].to_list() == [505]
    with pytest.raises(CheckFailed, match="pay for 102 units of mended, 1 more than its allowance: 101 were bought"):
        fold([delivered(2, 510, {"f": 510}, {"f": 102}, "mended")], first)
    # the next day allows one more, however the use is cut
    for units, stands in ((1, True), (2, False)):
        charge = delivered(3, 5 * units, {"f": 5 * units}, {"f": units}, "mended")
        if stands:
            assert rooms(fold([charge], honest, epoch=4, day=12))["mended"]["drawn_units"] == 102
        else:
            with pytest.raises(
                CheckFailed, match="1 more than its allowance: 102 were bought so far and 101 of them paid"
            ):
                fold([charge], honest, epoch=4, day=12)


def test_what_a_fund_covers_is_bounded_in_units_too() -> None:
    first = fold([endowed("f", 10**9)])
    day = DAY_MS // 1_000
    assert rooms(fold([delivered(2, 3 * day, {"f": 3 * day})], first))["kept"]["drawn_units"] == day
    with pytest.raises(CheckFailed, match="1 more than its allowance"):
        fold([delivered(2, 3 * day + 3, {"f": 3 * day + 3})], first)


def test_the_price_of_a_unit_bounds_what_it_draws() -> None:
    first = fold([endowed("f", 10_000)])
    with pytest.raises(CheckFailed, match="10000 micro-dollars from fund f for 1 units of kept, which cost at most 3"):
        fold([delivered(2, 10_000, {"f": 10_000}, {"f": 1})], first)
    with pytest.raises(CheckFailed, match="cost at most 0"):  # units that are not told cost nothing
        fold([delivered(2, 10, {"f": 1}, {})], first)
    with pytest.raises(CheckFailed, match="cost at most"):  # a service that was taken out of the policy has no price
        fold([delivered(2, 10, {"f": 10}, {"f": 1})], first, prices={})


def test_a_charge_that_was_held_up_while_prices_fell_stands_and_the_next_one_pays_todays_price() -> None:
    dear = fold([endowed("f", 10_000)])
    cheap = {**PRICES, ("s", "kept"): (1, 1)}
    fallen = fold([], dear, epoch=4, prices=cheap)
    late = fold([delivered(2, 30, {"f": 30}, {"f": 10})], fallen, epoch=5, prices=cheap)
    assert rooms(late)["kept"]["price_micro_usd"] == 1
    with pytest.raises(CheckFailed, match="for 10 units of kept, which cost at most 10"):
        fold([delivered(5, 30, {"f": 30}, {"f": 10})], late, epoch=6, prices=cheap)


def test_nothing_is_charged_twice_nor_before_its_epoch_is_over() -> None:
    first = fold([endowed("f", 10_000), delivered(2, 30, {"f": 30})])
    for forged, why in (
        (delivered(2, 30, {"f": 30}), "again for kept of epoch 2"),
        (delivered(1, 30, {"f": 30}), "again for kept of epoch 1"),
        (delivered(4, 30, {"f": 30}), "not the charge of an epoch before 4"),
        (delivered(3, 30, {"f": 30}, order="use_another"), "not the charge of an epoch before 4"),
    ):
        with pytest.raises(CheckFailed, match=why):
            fold([forged], first, epoch=4)
    assert fold([delivered(3, 30, {"f": 30})], first, epoch=4)["drawn_micro_usd"].to_list() == [60]


def test_two_funds_do_not_pay_for_the_same_unit() -> None:
    first = fold([endowed("f", 10_000), endowed("g", 10_000)])
    body = Delivered(
        order=charge_id("s", 2, "gw", "kept"), customer="c", service="s", product="kept", price_micro_usd=60,
        delivered_ms=1, devices={"d": 10}, funds={"f": 30, "g": 30}, fund_units={"f": 10, "g": 10}, payer="gw", epoch=2,
    )  # fmt: skip
    with pytest.raises(CheckFailed, match="pay for more units than were used"):
        fold([Entry("metering", metering.encode(body))], first)


def test_a_fund_cannot_be_dated_back_to_have_more_allowance() -> None:
    table = fold([endowed("f", 10_000, endowed_ms=0)], day=4_000)
    assert table["endowed_ms"].to_list() == [4_000 * DAY_MS - DATED_BACK_MS]
    with pytest.raises(CheckFailed, match="more than its allowance: 102 were bought"):
        fold([delivered(2, 515, {"f": 515}, {"f": 103}, "mended")], table, day=4_000)


@given(
    uses=st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 200_000), st.integers(1, 9), st.integers(0, 3)), max_size=8
    ),
    paid=st.lists(st.integers(1, 10**6), min_size=1, max_size=3),
)
def test_what_an_honest_market_draws_always_stands(uses: list[tuple[int, int, int, int]], paid: list[int]) -> None:
    """Of every epoch's use the parts that `share` makes are charged in the next one, whatever the price does."""
    funds = {
        f"f{n}": Fund(
            f"f{n}", "c", "gw", "s", "forever", "kept", "endowed", amount, 1, 0, 0, {}, 0, 0, BOUGHT_MS,
            also={"mended": Room(at_once=AT_ONCE, per_year=365)},
        )
        for n, amount in enumerate(paid)
    }  # fmt: skip
    table = fold([endowed(one.id, one.price_micro_usd) for one in funds.values()], epoch=1, day=10)
    day = 10
    for number, (mended, kept, price, days) in enumerate(uses, start=2):
        day += days
        prices = {**PRICES, ("s", "kept"): (price, 1), ("s", "mended"): (7 * price, 2)}
        charges = []
        for product, units in (("kept", kept), ("mended", mended)):
            parts = share(list(funds.values()), units, prices["s", product], day * DAY_MS, product)
            for part in parts:
                one = funds[part.fund]
                also = dict(one.also)
                if product == "mended":
                    also["mended"] = Room(
                        at_once=AT_ONCE, per_year=365, drawn_units=also["mended"].drawn_units + part.units
                    )
                funds[part.fund] = Fund(
                    one.id, "c", "gw", "s", "forever", "kept", "endowed", one.price_micro_usd, 1,
                    one.drawn_micro_usd + part.amount_micro_usd,
                    one.drawn_units + (part.units if product == "kept" else 0), {}, 0, 0, BOUGHT_MS, also=also,
                )  # fmt: skip
            if parts:
                drawn = {part.fund: part.amount_micro_usd for part in parts}
                of = {part.fund: part.units for part in parts}
                charges.append(delivered(number - 1, sum(drawn.values()), drawn, of, product))
        table = settle_funds(charges, table, epoch=number, start_ms=day * DAY_MS, prices=prices)
    held = dict(table.select("fund", "drawn_micro_usd").iter_rows())
    assert held == {one.id: one.drawn_micro_usd for one in funds.values()}
    assert day * DAY_MS < YEAR_MS
