"""Charges for metered use: exact, once, never more than there is, and resumable anywhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldstone.clock import SetClock
from fieldstone.errors import Rejected, Retryable, UsageError
from fieldstone.identity import DeviceKey
from fieldstone.journal import EntryKind
from fieldstone.ledger.accounts import AccountKind, account
from fieldstone.market import Source, metering
from fieldstone.market.usage import binding_text
from fieldstone.services.contract import USAGE_SCHEMA, Product
from tests.market.world import HOUR_MS, POLICY, START_MS, Sensing, World, make_world

HELD_GIB = Product("held", "held", "GiB-month", 4_000, "space", usage_per_unit=2**30 * 720)
READ_GIB = Product("read", "read", "GiB", 7_000, "reads", usage_per_unit=2**30)


FOREVER = Product("forever", "kept for ever", "GiB", 1_000_000, "paid once")


@dataclasses.dataclass(frozen=True)
class Disks(Sensing):
    """A service that reports no columns: nothing of it is cut from a table."""

    kinds: dict[str, Any] = dataclasses.field(default_factory=dict)
    products: tuple[Product, ...] = (HELD_GIB, READ_GIB, FOREVER)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "epochs").mkdir()
    made = make_world(tmp_path, SetClock(START_MS + 10 * HOUR_MS), POLICY, service=Disks())
    made.customer = made.market.customers.add("Backups of Anna").id
    made.market.topup(made.customer, 1_000_000, Source.FIAT, "bank-1")
    yield made
    made.journal.close()


def bound(world: World) -> str:
    key = DeviceKey.generate()
    device = key.public.device_id
    world.market.usage.bind(world.customer, device, key.sign(binding_text(POLICY.network_id, device, world.customer)))
    return device


def table(*rows: tuple[str, str, str, int]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=USAGE_SCHEMA, orient="row")


def credits(world: World) -> int:
    return world.market.ledger.balance(account(AccountKind.CUSTOMER, world.customer))


def delivered(world: World) -> list[metering.Delivered]:
    bodies = [metering.decode(entry.body) for entry in world.journal.read(1, None, (EntryKind.METERING,))]
    return [body for body in bodies if isinstance(body, metering.Delivered)]


def test_worked_example_two_disks_share_what_the_gateway_owes(world: World) -> None:
    gateway = bound(world)
    month = 2**30 * 720  # one GiB for a month of 720 hours: 4,000 micro-dollars
    used = table((gateway, "disk-a", "held", 2 * month), (gateway, "disk-b", "held", month))
    (charge,) = world.market.usage.charge("sensing", 3, used)
    assert (charge.due_micro_usd, charge.paid_micro_usd) == (12_000, 12_000)
    assert credits(world) == 1_000_000 - 12_000
    (entry,) = delivered(world)
    assert metering.shares(entry.net_micro_usd, entry.devices) == ({"disk-a": 8_000, "disk-b": 4_000}, 0)
    assert world.market.reconcile() == []


def test_small_shares_do_not_vanish_in_rounding(world: World) -> None:
    gateway = bound(world)
    used = table(*((gateway, f"disk-{n}", "held", 2**30 * 720 // 4_000) for n in range(10)))
    (charge,) = world.market.usage.charge("sensing", 1, used)
    assert charge.due_micro_usd == 9  # each alone would be 0


def test_charged_once_however_often(world: World) -> None:
    used = table((bound(world), "disk-a", "read", 2**30))
    assert len(world.market.usage.charge("sensing", 1, used)) == 1
    assert world.market.usage.charge("sensing", 1, used) == []
    assert credits(world) == 1_000_000 - 7_000
    assert len(delivered(world)) == 1


def test_what_nobody_pays_for_is_not_revenue(world: World) -> None:
    assert world.market.usage.charge("sensing", 1, table(("did:key:stranger", "disk-a", "read", 2**40))) == []
    assert delivered(world) == []


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(units=st.lists(st.integers(1, 2**42), min_size=1, max_size=4), epoch=st.integers(1, 2**40))
def test_paid_never_exceeds_what_was_due_nor_what_the_customer_had(world: World, units: list[int], epoch: int) -> None:
    before = credits(world)
    used = table(*((bound(world), f"disk-{n}", "read", count) for n, count in enumerate(units)))
    charges = world.market.usage.charge("sensing", epoch, used)
    assert all(charge.paid_micro_usd <= charge.due_micro_usd for charge in charges)
    assert credits(world) == before - sum(charge.paid_micro_usd for charge in charges) >= 0
    assert world.market.reconcile() == []
    assert world.market.ledger.trial_balance().faults == ()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_journal_that_fails_leaves_the_charge_held_until_it_can_go_on(world: World, moment: str) -> None:
    used = table((bound(world), "disk-a", "read", 2**30))
    flaky = world.flaky()
    flaky.fail = moment
    with pytest.raises(Retryable):
        world.market.usage.charge("sensing", 1, used)
    assert credits(world) == 1_000_000 - 7_000
    assert len(delivered(world)) == (moment == "after")
    flaky.fail = ""
    world.market.resume()
    world.market.resume()
    assert len(delivered(world)) == 1
    assert world.market.reconcile() == []


def test_a_device_agrees_to_be_paid_for(world: World) -> None:
    key = DeviceKey.generate()
    device = key.public.device_id
    with pytest.raises(Rejected, match="BAD_SIGNATURE"):
        world.market.usage.bind(world.customer, device, key.sign(binding_text("elsewhere", device, world.customer)))
    with pytest.raises(UsageError, match="no device id"):
        world.market.usage.bind(world.customer, "gateway-1", bytes(64))
    assert world.market.usage.payers(world.customer) == []


def test_metered_products_have_no_quotes(world: World) -> None:
    from fieldstone.market import Query

    holder = world.market.authenticate(world.market.customers.add_key(world.customer).secret)
    for product in ("held", "forever"):
        with pytest.raises(Rejected, match="no selection of data"):
            world.market.quote(
                holder, Query(service="sensing", product=product, start_ms=START_MS, end_ms=START_MS + 1)
            )
    assert [offer.product.name for offer in world.market.products()] == ["forever", "held", "read"]
