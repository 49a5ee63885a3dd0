"""What is paid once is the quote's price, keeps its assumptions, and is held against the price as it is each day."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.errors import UsageError
from fieldstone.services.contract import Allowance, Endowing, FundFacts
from fieldstone.services.storage import object_quote, service
from fieldstone.services.storage.endowment import Assumptions
from fieldstone.services.storage.paid_once import STATES, YEAR_MS, endow, review
from fieldstone.services.storage.pool.profile import PROFILES

GIB = 2**30
PRICES = {"storage": 2_000, "egress": 6_000, "permanent": 2_685_301}
SOLD = endow("permanent", {"size_bytes": GIB}, PRICES)


def facts(drawn: int = 0, years: float = 0.0, price: int = 2_000, paid_in: int = SOLD.price_micro_usd) -> FundFacts:
    return FundFacts(paid_in, drawn, 0, round(years * YEAR_MS), price, also_micro_usd={"permanent-repair": price * 3})


def test_the_price_is_that_of_the_quote_and_the_terms_say_what_it_rests_on() -> None:
    assert isinstance(service, Endowing)
    quoted = object_quote.monthly(GIB, PROFILES["20/40"], months=0, egress_bytes=0, prices_micro_usd=PRICES)
    found = object_quote.permanent(quoted, Assumptions(), PRICES["storage"], PRICES["egress"])
    assert SOLD.price_micro_usd == found["price_micro_usd"] == 2_686_601
    assert (SOLD.covers, SOLD.units_per_s) == ("permanent-storage", -(-quoted.stored_bytes // 1_024))
    assert SOLD.terms["assumptions"] == found["assumptions"] and SOLD.terms["stress"] == found["stress"]
    assert SOLD.terms["assumptions"]["stored_bytes"] == quoted.stored_bytes
    read_bytes = SOLD.terms["assumptions"]["read_bytes"]
    # two whole reads at once, and four times the half a year that was assumed
    assert SOLD.also == {"permanent-repair": Allowance(2 * read_bytes, 2 * read_bytes)}


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        ({}, "size_bytes"),
        ({"size_bytes": GIB, "fund_return_ppm": 10}, "fund_return_ppm"),
        ({"size_bytes": -1}, "an object has"),
        ({"size_bytes": GIB, "k": 5, "n": 4}, "k = 5"),
        ({"size_bytes": GIB, "cost_decline_ppm": 0}, "no finite price"),
        ({"size_bytes": GIB, "cost_decline_ppm": 1_000_000}, "fall by"),
        ({"size_bytes": GIB, "years": 0}, "for 1 to"),
        ({"size_bytes": GIB, "repair_reads_ppm": -1}, "repair reads"),
    ],
)
def test_wishes_that_cannot_be_are_named(wish: dict[str, int], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        endow("permanent", wish, PRICES)
    with pytest.raises(UsageError, match="cannot be paid once"):
        endow("storage", {"size_bytes": GIB}, PRICES)


def test_a_fund_that_spends_as_planned_covers_for_ever_and_says_when_it_would_not() -> None:
    found = review(SOLD.terms, facts())
    assert (found["state"], found["years"], found["dry_ms"], found["years_wanted"]) == ("covers", None, None, None)
    flat = found["if_prices_fall"][0]
    assert (flat["decline_ppm"], flat["years"]) == (0, 51.97)  # 5 % margin on 49.5 years
    assert flat["dry_ms"] == pytest.approx(51.97 * YEAR_MS, rel=1e-3)
    assert found["warning"] == "" and found["worst"]["years"] < found["if_repairs"][2]["years"]


def test_more_repair_than_was_assumed_shortens_the_years_and_what_is_assumed_makes_the_price() -> None:
    half, twice, four = (row["years"] for row in review(SOLD.terms, facts())["if_repairs"])
    assert half is None and four is not None and twice is not None and four < twice
    often = endow("permanent", {"size_bytes": GIB, "repair_reads_ppm": 2_000_000}, PRICES)
    assert often.price_micro_usd == pytest.approx(SOLD.price_micro_usd * (48.68 + 12) / (48.68 + 3), rel=1e-3)
    assert review(often.terms, facts(paid_in=often.price_micro_usd))["state"] == "covers"
    assert often.also["permanent-repair"].per_year == 4 * SOLD.also["permanent-repair"].per_year


def test_an_underfunded_fund_says_so_in_words_with_the_years() -> None:
    found = review(SOLD.terms, facts(SOLD.price_micro_usd // 2))
    assert found["state"] == "short"
    assert (
        "underfunded" in found["warning"] and "it lasts 36.8 years; it was bought to last for ever" in found["warning"]
    )
    assert "empty" in review(SOLD.terms, facts(SOLD.price_micro_usd))["warning"]


def test_a_price_that_does_not_fall_shows_as_a_fund_that_runs_dry() -> None:
    planned = SOLD.terms["first_year_micro_usd"]
    drawn = sum(planned for _ in range(10))  # ten years at the first year's price
    found = review(SOLD.terms, facts(drawn, years=10))
    assert found["state"] == "short" and found["years"] is not None and found["dry_ms"] is not None
    assert found["yearly_micro_usd"] > found["planned_yearly_micro_usd"]
    assert review(SOLD.terms, facts(price=4_000))["state"] == "short"
    assert review(SOLD.terms, facts(price=1_000))["state"] == "covers"
    assert review(SOLD.terms, facts(SOLD.price_micro_usd))["state"] == "empty"
    assert "nothing is promised" in found["at_exhaustion"].lower()


def test_a_fund_for_some_years_ends_with_them() -> None:
    ten = endow("permanent", {"size_bytes": GIB, "years": 10}, PRICES)
    states = {}
    for years in (0, 5, 9):
        left = sum(ten.terms["first_year_micro_usd"] * 0.98**n for n in range(years))
        found = review(
            ten.terms, facts(round(left), years=years, price=round(2_000 * 0.98**years), paid_in=ten.price_micro_usd)
        )
        states[years] = (found["state"], found["years_wanted"])
    assert states == {0: ("covers", 10.0), 5: ("covers", 5.0), 9: ("ending", 1.0)}


def test_the_pace_is_what_the_fund_really_paid() -> None:
    seen = FundFacts(10_000_000, 3_000, 0, YEAR_MS, 2_000, [(1, 2_000, 2_000), (2, 1_500, 1_000)], 0, YEAR_MS // 2)
    found = review(SOLD.terms, seen)
    assert (found["pace_yearly_micro_usd"], found["not_from_fund_micro_usd"], found["epochs"]) == (6_000, 500, 2)
    assert found["paid_by_epoch"] == [
        {"epoch": 1, "due_micro_usd": 2_000, "paid_micro_usd": 2_000},
        {"epoch": 2, "due_micro_usd": 1_500, "paid_micro_usd": 1_000},
    ]


@given(st.integers(0, SOLD.price_micro_usd), st.floats(0, 500), st.integers(0, 10**9))
def test_every_review_has_a_state_and_is_plain_json(drawn: int, years: float, price: int) -> None:
    import json

    found = review(SOLD.terms, facts(drawn, years, price))
    assert found["state"] in STATES
    assert json.loads(json.dumps(found, allow_nan=False)) == found
