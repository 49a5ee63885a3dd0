"""Vouchers: signed, for this device, only the rise, never twice, plausibly fast; nothing is lost by the cap."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.services.storage import records
from fieldstone.services.storage.egress import EgressCount, count_egress
from fieldstone.services.storage.lab_providers import Honest
from fieldstone.services.storage.lab_world import World
from fieldstone.services.storage.rules.v1 import default_params
from fieldstone.units import DAY_MS

WORLD = World(1)
DEVICE = WORLD.add("p", Honest()).device
OTHER = WORLD.add("q", Honest()).device
GATEWAY = WORLD.gateway.public.device_id
PARAMS = {**default_params(), "egress_floor_bytes": 0}


def voucher(total: int, *, provider: str = DEVICE, key=None) -> bytes:
    order = records.AccessOrder(
        operation="get", gateway=GATEWAY, provider=provider, share=bytes(16), expires_ms=1, egress_bytes=total
    )
    return records.sign(key or WORLD.gateway, order, records.ACCESS)


def claim(*vouchers: bytes) -> tuple[int, bytes]:
    return 0, records.encode(records.EgressClaim(vouchers=vouchers))


def count(*claims: tuple[int, bytes], redeemed=None, stored: int = 2**40, length_ms: int = DAY_MS) -> EgressCount:
    return count_egress(DEVICE, list(claims), redeemed or {}, {GATEWAY: stored}, length_ms, PARAMS, {})


def test_only_the_rise_counts() -> None:
    found = count(claim(voucher(700), voucher(900)), redeemed={GATEWAY: 500})
    assert found.rows == [{"gateway": GATEWAY, "redeemed_bytes": 900, "counted_bytes": 400, "held_back_bytes": 0}]
    again = count(claim(voucher(900)), redeemed={GATEWAY: 900})
    assert again.rows[0]["counted_bytes"] == 0 and again.bad_vouchers == 0


def test_forged_borrowed_old_and_unreadable_vouchers_count_for_nothing() -> None:
    forged, borrowed = voucher(10**9, key=WORLD.key("p")), voucher(10**9, provider=OTHER)
    found = count(claim(forged, borrowed, voucher(400), b"junk"), (0, b"\xc1"), redeemed={GATEWAY: 500})
    assert found.bad_vouchers == 4 and found.bad_reports == 1
    assert found.rows[0]["redeemed_bytes"] == 500


def test_the_cap_holds_back_and_pays_later() -> None:
    """A gateway's shares may be read 50 times a day; the rest stays redeemable without a new voucher."""
    found = count(claim(voucher(1_000_000)), stored=1_000)
    assert (found.rows[0]["counted_bytes"], found.rows[0]["held_back_bytes"]) == (50_000, 950_000)
    total, days = found.rows[0]["redeemed_bytes"], 1
    while total < 1_000_000:
        total = count(claim(voucher(1_000_000)), redeemed={GATEWAY: total}, stored=1_000).rows[0]["redeemed_bytes"]
        days += 1
    assert (total, days) == (1_000_000, 20)


def test_a_line_is_not_faster_than_a_line() -> None:
    found = count(claim(voucher(2**61)), stored=2**60, length_ms=1_000)
    assert found.rows[0]["counted_bytes"] == 1_250_000_000


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 5_000), max_size=5), st.integers(0, 4_000), st.integers(0, 100))
def test_never_more_than_the_gateway_signed(totals: list[int], before: int, stored: int) -> None:
    found = count(claim(*(voucher(total) for total in totals)), redeemed={GATEWAY: before}, stored=stored)
    (row,) = found.rows
    assert before <= row["redeemed_bytes"] <= max([before, *totals])
    assert row["redeemed_bytes"] - before == row["counted_bytes"]
    assert row["counted_bytes"] + row["held_back_bytes"] == max([before, *totals]) - before
