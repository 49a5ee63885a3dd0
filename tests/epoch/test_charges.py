"""An epoch stands when funds paid for what they were bought for and for what was verified, and falls by one unit more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from fieldstone.epoch.charges import check_charges
from fieldstone.errors import CheckFailed
from fieldstone.journal import EntryKind, NewEntry
from fieldstone.market import metering
from fieldstone.market.metering import Delivered, Endowed, charge_id
from fieldstone.policy import EpochPolicy, Policy, ServicePolicy
from fieldstone.services.contract import USAGE_SCHEMA
from fieldstone.services.storage.schema import PERMANENT_REPAIR, PERMANENT_STORAGE

from .conftest import SmallNetwork

GIB = 2**30
ALLOWED = 5 * GIB  # bytes of repair that may be paid at once, at 6,000 micro-dollars a GiB


@pytest.fixture
def paid_once(tmp_path: Path) -> Iterator[SmallNetwork]:
    """The second epoch of a network in which somebody paid once in the first."""
    services = {"sensing": ServicePolicy(share_ppm=500_000), "storage": ServicePolicy(share_ppm=500_000)}
    small = SmallNetwork(
        tmp_path, 1, Policy(network_id="test", epoch=EpochPolicy(length_s=6 * 3600), services=services)
    )
    body = Endowed(
        fund="f", customer="c", payer="gw", service="storage", product="permanent", covers=PERMANENT_STORAGE,
        paid_in_micro_usd=10**6, units_per_s=0, endowed_ms=small.clock.now_ms(),
        also={PERMANENT_REPAIR: {"at_once": ALLOWED, "per_year": 0}},
    )  # fmt: skip
    small.append(NewEntry(EntryKind.METERING, "c", metering.encode(body)))
    small.close()
    small.clock.set(small.state.next_start_ms)
    yield small
    small.journal.close()


def charge(units: int, device: str = "disk") -> NewEntry:
    amount = units * 6_000 // GIB
    body = Delivered(
        order=charge_id("storage", 1, "gw", PERMANENT_REPAIR), customer="c", service="storage",
        product=PERMANENT_REPAIR, price_micro_usd=amount, delivered_ms=1, devices={device: units},
        funds={"f": amount}, fund_units={"f": units}, payer="gw", epoch=1,
    )  # fmt: skip
    return NewEntry(EntryKind.METERING, "c", metering.encode(body))


def test_an_epoch_in_which_a_fund_pays_its_whole_allowance_stands(paid_once: SmallNetwork) -> None:
    paid_once.append(charge(ALLOWED))
    funds = paid_once.compute().state.funds
    assert funds["drawn_micro_usd"].to_list() == [30_000]
    again = paid_once.close().state_after().funds
    assert again.equals(funds)  # as it is sealed, so it is read
    assert {one["product"]: one["drawn_units"] for one in again["rooms"].to_list()[0]} == {
        PERMANENT_STORAGE: 0,
        PERMANENT_REPAIR: ALLOWED,
    }


def test_an_epoch_in_which_a_fund_pays_one_byte_more_is_refused(paid_once: SmallNetwork) -> None:
    paid_once.append(charge(ALLOWED + 1))
    with pytest.raises(CheckFailed, match="permanent-repair, 1 more than its allowance"):
        paid_once.compute()


def test_a_verifier_refuses_to_let_a_fund_pay_for_what_no_epoch_verified(paid_once: SmallNetwork) -> None:
    paid_once.append(charge(GIB))
    entries = paid_once.entries()

    def verified(units: int, device: str = "disk") -> pl.DataFrame:
        return pl.DataFrame(
            [("gw", device, PERMANENT_REPAIR, units), ("gw", "disk", PERMANENT_STORAGE, 7), ("x", "disk", PERMANENT_REPAIR, 7)],
            schema=USAGE_SCHEMA, orient="row",
        )  # fmt: skip

    check_charges(entries, lambda epoch, service: verified(GIB) if (epoch, service) == (1, "storage") else None)
    for other in (verified(GIB - 1), verified(GIB, "a friend"), None):
        with pytest.raises(CheckFailed, match="draws on funds for 1073741824 units of permanent-repair"):
            check_charges(entries, lambda epoch, service, other=other: other)
