"""A quote is what the gateway will really store, in whole micro-dollars, and says openly what a permanent price assumes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.errors import UsageError
from fieldstone.services.storage.codes import cipher
from fieldstone.services.storage.codes.stripes import Layout
from fieldstone.services.storage.endowment import Assumptions
from fieldstone.services.storage.object_quote import monthly, permanent, stored_bytes
from fieldstone.services.storage.pool.profile import INLINE_BYTES, PROFILES, Profile
from fieldstone.services.storage.schema import GIB

PRICES = {"storage": 2_000, "egress": 6_000}
SMALL = Profile("4/6", 4, 6, block_bytes=4_096, segment_bytes=100_000)


def test_a_gib_at_20_of_40_costs_twice_the_price_of_shares_and_a_tag_per_chunk() -> None:
    """Twice 65,568/65,536 GiB of shares at $0.002 a month, and as much of one GiB at $0.006 for the reader."""
    made = monthly(GIB, PROFILES["20/40"], months=12, egress_bytes=GIB, prices_micro_usd=PRICES)
    assert made.segments == 16
    assert made.stored_bytes == 16 * 40 * Layout(cipher.sealed_bytes(64 * 2**20), 20, 40, 65_536).share_bytes
    assert 2 * GIB * 65_568 // 65_536 <= made.stored_bytes < 2 * GIB * 1.001
    assert made.storage_micro_usd == -(-made.stored_bytes * 12 * 2_000 // GIB) == 48_024
    assert (made.storage_micro_usd_per_gib_month, made.egress_micro_usd_per_gib) == (4_002, 6_003)
    assert (made.egress_micro_usd, made.whole_read_micro_usd) == (6_003, 6_003)
    assert made.total_micro_usd == made.storage_micro_usd + made.egress_micro_usd


@given(size=st.integers(0, 1_000_000))
def test_what_is_quoted_is_what_segments_of_the_pool_take(size: int) -> None:
    segments, stored, read = stored_bytes(size, SMALL)
    if size <= INLINE_BYTES:
        assert (segments, stored, read) == (0, 0, 0)
        return
    parts = [min(100_000, size - at) for at in range(0, size, 100_000)]
    shares = [Layout(cipher.sealed_bytes(part), 4, 6, 4_096).share_bytes for part in parts]
    assert (segments, stored, read) == (len(parts), sum(shares) * 6, sum(shares) * 4)
    assert read >= cipher.sealed_bytes(size)


@given(size=st.integers(INLINE_BYTES + 1, 2**40), months=st.integers(0, 120), price=st.integers(0, 10**9))
def test_a_month_is_never_cheaper_alone(size: int, months: int, price: int) -> None:
    prices = {"storage": price, "egress": price}
    one = monthly(size, PROFILES["4/6"], months=1, egress_bytes=0, prices_micro_usd=prices)
    many = monthly(size, PROFILES["4/6"], months=months, egress_bytes=0, prices_micro_usd=prices)
    assert many.storage_micro_usd <= months * one.storage_micro_usd_per_month <= many.storage_micro_usd + months
    assert one.storage_micro_usd * GIB >= one.stored_bytes * price


def test_a_permanent_quote_shows_price_assumptions_years_and_futures() -> None:
    profile = PROFILES["20/40"]
    made = monthly(GIB, profile, months=0, egress_bytes=0, prices_micro_usd=PRICES)
    found = permanent(made, Assumptions(), PRICES["storage"], PRICES["egress"], seed=3)
    # 52 years of the first year's costs, whatever they are: 1.05/(−ln 0.98)
    assert found["price_micro_usd"] / found["first_year_micro_usd"] == pytest.approx(51.97, abs=0.01)
    assert found["first_year_micro_usd"] == pytest.approx(2_000 * 2 * 365 / 30 + 6_000 / 2, rel=0.0006)
    assert (
        found["assumptions"]["kryder_rate_ppm_per_year"] == 20_000
        and found["assumptions"]["expansion_ppm"] == 2_000_000
    )
    assert found["covered"]["rows"][0]["years"] == [52.0, 60.2, 73.5, None, None]
    assert found["covered"]["rows"][2]["years"][0] == 5.2
    by_100 = [one["exhausted_by_ppm"]["100"] for one in found["stress"]]
    assert by_100[0] > by_100[1] > by_100[2] >= by_100[3] and by_100[4] > 900_000  # a volatile token ruins any plan
    assert {one["seed"] for one in found["stress"]} == {3}
    assert permanent(made, Assumptions(), PRICES["storage"], PRICES["egress"], seed=3) == found
    assert "nothing is promised" in found["at_exhaustion"]


def test_no_finite_price_lasts_for_ever_without_a_decline() -> None:
    made = monthly(GIB, PROFILES["4/6"], months=0, egress_bytes=0, prices_micro_usd=PRICES)
    with pytest.raises(UsageError, match="no finite price"):
        permanent(made, Assumptions(cost_decline_ppm=0), PRICES["storage"], PRICES["egress"])
    ten = permanent(made, Assumptions(cost_decline_ppm=0, years=10), PRICES["storage"], PRICES["egress"])
    assert ten["price_micro_usd"] == -(-ten["first_year_micro_usd"] * 105 // 10)


@pytest.mark.parametrize(("size", "months", "egress"), [(-1, 1, 0), (2**50, 1, 0), (1, -1, 0), (1, 1, -1)])
def test_impossible_wishes_are_refused(size: int, months: int, egress: int) -> None:
    with pytest.raises(UsageError):
        monthly(size, PROFILES["4/6"], months=months, egress_bytes=egress, prices_micro_usd=PRICES)


@given(size=st.integers(INLINE_BYTES + 1, 1_000_000), times=st.integers(0, 5), rest=st.integers(0, 1_000_000))
def test_reading_all_of_it_costs_what_a_whole_read_costs(size: int, times: int, rest: int) -> None:
    """Shares are padded, so a whole read orders more than the sealed bytes; a quote must not be exceeded by that."""
    prices = {"storage": 0, "egress": 10**9}
    _, _, read = stored_bytes(size, SMALL)
    whole = monthly(size, SMALL, months=1, egress_bytes=times * size, prices_micro_usd=prices)
    assert whole.egress_micro_usd == -(-times * read * 10**9 // GIB)
    rest %= size
    more = monthly(size, SMALL, months=1, egress_bytes=times * size + rest, prices_micro_usd=prices)
    assert whole.egress_micro_usd <= more.egress_micro_usd <= -(-(times + 1) * read * 10**9 // GIB)


@given(start=st.integers(0, 4_999_999), length=st.integers(1, 500_000))
def test_a_range_orders_no_more_than_was_quoted(start: int, length: int) -> None:
    """One segment, any place: the chunks that a range touches, sealed."""
    size = 5_000_000
    end = min(size, start + length)
    chunks = (end - 1) // cipher.CHUNK_BYTES - start // cipher.CHUNK_BYTES + 1
    prices = {"storage": 0, "egress": GIB}
    quoted = monthly(size, PROFILES["4/6"], months=0, egress_bytes=end - start, prices_micro_usd=prices)
    last_is_short = end > size // cipher.CHUNK_BYTES * cipher.CHUNK_BYTES
    touched = chunks * cipher.sealed_bytes(cipher.CHUNK_BYTES) - last_is_short * (-size % cipher.CHUNK_BYTES)
    assert quoted.egress_micro_usd >= touched


def test_the_tables_of_a_permanent_quote_hold_what_was_assumed() -> None:
    """A fund that earns, or melts, lasts otherwise than one that lies still; the buyer's own row and column are there."""
    made = monthly(GIB, PROFILES["20/40"], months=0, egress_bytes=0, prices_micro_usd=PRICES)
    earning = permanent(made, Assumptions(cost_decline_ppm=0, fund_return_ppm=20_000), 2_000, 6_000)
    assert earning["covered"]["rows"][0]["years"][0] is None  # bought for ever at no decline: its own row says so
    melting = permanent(made, Assumptions(cost_decline_ppm=15_000, fund_return_ppm=-50_000, years=20), 2_000, 6_000)
    assert 15_000 in melting["covered"]["declines_ppm"]
    own = melting["covered"]["declines_ppm"].index(15_000)
    assert 20 <= melting["covered"]["rows"][0]["years"][own] < 22  # twenty and the margin, not 50
    half = permanent(made, Assumptions(purchasing_power_ppm=250_000, years=20), 2_000, 6_000)
    assert 250_000 in [row["purchasing_power_ppm"] for row in half["covered"]["rows"]]
    assert 20 <= half["repaired"][0]["years"][half["covered"]["declines_ppm"].index(20_000)] < 22
