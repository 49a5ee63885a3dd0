"""Data that turns out bad is refunded once, to whoever bought it, at the cost of whoever delivered it."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldstone.errors import Rejected, Retryable
from fieldstone.market import metering, revenue, settle_revenue
from fieldstone.market.metering import Refunded
from tests.market.world import World

A, B, C = "did:key:a", "did:key:b", "did:key:c"


def test_a_correction_refunds_the_bad_readings(world: World) -> None:
    order = world.buy()
    (refund,) = world.market.refund_corrected("c1", "sensing", 1, [A, "did:key:unknown"], "stuck sensor")
    assert (refund.order, refund.refund_micro_usd, refund.devices) == (order.id, 5 * 20, {A: 5})
    assert world.credits() == 1_000_000 - 380 + 100
    assert revenue(world.journal.read()).rows() == [(A, "sensing", 40), (B, "sensing", 120), (C, "sensing", 120)]
    assert world.market.order_status(world.holder, order.id).refund_micro_usd == 100
    ids = world.market.invoice_ids(world.holder, order.id)
    assert ids == ["INV-000001", "CN-000002"]
    note = world.market.invoice(world.holder, ids[1])
    assert (note.kind, note.total_micro_usd, note.lines[0].quantity) == ("credit_note", -100, 5)
    assert note.notes == ("stuck sensor (correction c1, epoch 1)",)
    world.healthy()


def test_bad_readings_are_refunded_once(world: World) -> None:
    world.buy()
    assert len(world.market.refund_corrected("c1", "sensing", 1, [A], "bad")) == 1
    assert world.market.refund_corrected("c1", "sensing", 1, [A], "bad") == []
    (second,) = world.market.refund_corrected("c2", "sensing", 1, [A, B], "worse")
    assert second.devices == {B: 6}
    assert world.credits() == 1_000_000 - 380 + 100 + 120
    world.healthy()


def test_other_epochs_and_services_are_not_touched(world: World) -> None:
    world.buy(end_ms=world.query().start_ms + 2**41)
    assert world.market.refund_corrected("c1", "sensing", 9, [A], "bad") == []
    assert world.market.refund_corrected("c1", "storage", 1, [A], "bad") == []
    assert len(world.market.refund_corrected("c1", "sensing", 2, [A], "bad")) == 1


def test_every_buyer_is_refunded(world: World) -> None:
    orders = {world.buy().id for _ in range(3)}
    refunds = world.market.refund_corrected("c1", "sensing", 1, [A, B, C], "all bad")
    assert {refund.order for refund in refunds} == orders
    assert world.credits() == 1_000_000 - 3 * 40
    assert revenue(world.journal.read()).rows() == [(A, "sensing", 120)]
    world.healthy()


def test_a_refund_in_a_later_epoch_is_owed_by_the_device(world: World) -> None:
    world.buy()
    border = world.journal.head
    world.market.refund_corrected("c1", "sensing", 1, [A], "bad")
    world.buy()
    later = settle_revenue(world.journal.read(border + 1))
    assert later.revenue.rows() == [(A, "sensing", 40), (B, "sensing", 120), (C, "sensing", 120)]
    assert later.owed.is_empty()


def test_a_text_that_is_no_text_is_refused(world: World) -> None:
    world.buy()
    with pytest.raises(Rejected, match="BAD_TEXT"):
        world.market.refund_corrected("c1", "sensing", 1, [A], "a\x00b")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_refund_survives_a_failing_journal(world: World, moment: str) -> None:
    world.buy()
    flaky = world.flaky()
    flaky.fail = moment
    with pytest.raises(Retryable):
        world.market.refund_corrected("c1", "sensing", 1, [A], "bad")
    assert world.credits() == 1_000_000 - 380
    again = world.reopen()
    assert again.market.resume().refunds == 1
    assert again.market.resume().refunds == 0
    assert again.credits() == 1_000_000 - 280
    assert sum(isinstance(entry, Refunded) for entry in again.metering()) == 1
    again.healthy()
    again.journal.close()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(1, 2), st.sets(st.sampled_from([A, B, C]))), min_size=1, max_size=4))
def test_customers_never_get_back_more_than_they_paid(world: World, steps: list[tuple[int, set[str]]]) -> None:
    before = world.credits()
    order = world.buy()
    for n, (epoch, devices) in enumerate(steps):
        world.market.refund_corrected(f"c{n}", "sensing", epoch, devices, "bad")
    now = world.market.order_status(world.holder, order.id)
    assert 0 <= now.refund_micro_usd <= now.price_micro_usd
    assert world.credits() >= before - now.price_micro_usd
    totals = world.market.escrow.totals(order.id)
    assert (totals.refunded, totals.adds_up) == (now.refund_micro_usd, True)
    bought = [e for e in world.journal.read() if e.kind == "metering" and metering.decode(e.body).order == order.id]
    assert revenue(bought)["revenue_micro_usd"].sum() == now.price_micro_usd - now.refund_micro_usd
    world.healthy()
