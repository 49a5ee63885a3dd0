"""Delivered once, metered once, whatever breaks in between; what is not delivered is not paid."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from fieldstone.clock import SystemClock
from fieldstone.errors import Rejected, Retryable
from fieldstone.market import Box, DataFormat, Source, revenue
from fieldstone.market import delivery as delivery_module
from fieldstone.market import invoices as invoices_module
from tests.market.world import ALL_READINGS, POLICY, START_MS, STATIONS, World, make_world, row, seal_epoch, two_epochs

TABLE = "sellable-sensing-readings.parquet"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_journal_that_fails_leaves_the_order_held_and_a_retry_delivers_it_once(world: World, moment: str) -> None:
    quote = world.market.quote(world.holder, world.query())
    flaky = world.flaky()
    flaky.fail = moment
    with pytest.raises(Retryable):
        world.market.order(world.holder, quote.id, "key")
    (held,) = world.market.orders(world.holder)
    assert held.status == "held"
    assert world.market.account(world.holder).held_micro_usd == held.price_micro_usd
    with pytest.raises(Retryable, match="not delivered yet"):
        world.market.data(world.holder, held.id, DataFormat.CSV)
    flaky.fail = ""
    done = world.market.order(world.holder, quote.id, "key")
    assert (done.id, done.status) == (held.id, "delivered")
    assert len(world.metering()) == 1
    world.healthy()


class Died(BaseException):
    """Stands for the end of the process: nothing catches it."""


@pytest.mark.parametrize("step", ["write", "count", "append", "after append", "invoice", "commit"])
def test_a_process_that_dies_at_any_step_resumes(world: World, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quote = world.market.quote(world.holder, world.query())

    def die(*_: object, **__: object) -> None:
        raise Died

    with monkeypatch.context() as broken:
        if step == "write":
            broken.setattr(delivery_module.os, "replace", die)
        elif step == "count":
            broken.setattr(delivery_module, "count", die)
        elif step == "append":
            broken.setattr(world.market._fulfilment, "_delivered", die)
        elif step == "after append":
            broken.setattr(world.market._fulfilment, "_settle", die)
        elif step == "invoice":
            broken.setattr(invoices_module, "keep", die)
        else:
            broken.setattr(delivery_module, "read_provenance", die)
        with pytest.raises(Died):
            world.market.order(world.holder, quote.id)
    again = world.reopen()
    assert again.market.resume().orders == 1
    assert again.market.resume().orders == 0
    (order,) = again.market.orders(again.holder)
    assert (order.status, order.delivered_readings, order.invoice_id) == ("delivered", ALL_READINGS, "INV-000001")
    assert len(again.metering()) == 1
    again.healthy()
    again.journal.close()


def test_a_metered_order_whose_file_was_lost_is_written_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(world.market._fulfilment, "_settle", lambda *_: (_ for _ in ()).throw(Died))
        with pytest.raises(Died):
            world.buy()
    for path in (world.folder / "deliveries").iterdir():
        path.unlink()
    assert world.market.resume().orders == 1
    world.healthy()


def test_an_order_that_cannot_be_what_was_metered_is_named_and_does_not_stop_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(world.market._fulfilment, "_settle", lambda *_: (_ for _ in ()).throw(Died))
        for _ in range(2):
            with pytest.raises(Died):
                world.buy(start_ms=START_MS)
    first, second = world.market._orders.held()
    (world.folder / "deliveries" / f"{first}.parquet").unlink()
    (world.epochs / "epoch=1" / TABLE).unlink()
    resumed = world.market.resume()
    assert resumed.orders == 1
    assert list(resumed.stuck) == [first]
    assert "metered with other data" in resumed.stuck[first]
    assert world.market.order_status(world.holder, second).status == "delivered"


def test_less_than_the_service_level_is_refunded_in_proportion(world: World) -> None:
    quote = world.market.quote(world.holder, world.query())
    (world.epochs / "epoch=1" / TABLE).unlink()  # 17 of 19 readings are gone
    order = world.market.order(world.holder, quote.id)
    assert (order.delivered_readings, order.refund_micro_usd) == (2, 17 * 20)
    assert world.credits() == 1_000_000 - 2 * 20
    assert order.provenance is not None
    assert list(order.provenance["not_delivered"]) == ["1"]
    assert [epoch["epoch"] for epoch in order.provenance["epochs"]] == [2]
    (entry,) = world.metering()
    assert (entry.refund_micro_usd, entry.devices) == (340, {"did:key:a": 2})
    assert revenue(world.journal.read()).rows() == [("did:key:a", "sensing", 40)]
    document = world.market.invoice(world.holder, order.invoice_id or "")
    assert document.total_micro_usd == 40
    assert "17 of 19 quoted readings could not be delivered" in document.notes[0]
    world.healthy()


def test_a_miss_within_the_service_level_is_paid_and_shown(world: World) -> None:
    rows = [row("did:key:a", START_MS + 1 + n, temperature_c=1.0) for n in range(981)]
    seal_epoch(world.epochs, 3, rows, STATIONS)
    quote = world.market.quote(world.holder, world.query())  # 1000 readings
    (world.epochs / "epoch=1" / TABLE).unlink()
    order = world.market.order(world.holder, quote.id)
    assert (order.quoted_readings, order.delivered_readings, order.refund_micro_usd) == (1000, 983, 0)
    document = world.market.invoice(world.holder, order.invoice_id or "")
    assert document.lines[-1].text == "not delivered, within level"
    assert sum(line.amount_micro_usd for line in document.lines) == document.total_micro_usd == 20_000
    world.healthy()


def test_a_repeated_row_that_stands_in_for_a_lost_one_is_free(world: World) -> None:
    # Epoch 3 repeats a time of epoch 1 with one value more; when epoch 1 is lost, that row is delivered in its place.
    repeat = row("did:key:a", START_MS, temperature_c=1.0, humidity_pct=1.0)
    seal_epoch(world.epochs, 3, [repeat], STATIONS)
    quote = world.market.quote(world.holder, world.query(end_ms=START_MS + 1, box=Box(52, 13, 52.55, 14)))
    assert quote.body.readings == 1
    (world.epochs / "epoch=1" / TABLE).unlink()
    order = world.market.order(world.holder, quote.id)
    assert (order.delivered_readings, order.price_micro_usd, order.refund_micro_usd) == (2, 20, 0)
    document = world.market.invoice(world.holder, order.invoice_id or "")
    assert (document.lines[-1].amount_micro_usd, document.total_micro_usd) == (-20, 20)
    world.healthy()


def test_when_nothing_can_be_delivered_everything_goes_back(world: World) -> None:
    quote = world.market.quote(world.holder, world.query())
    for number in (1, 2):
        (world.epochs / f"epoch={number}" / TABLE).unlink()
    order = world.market.order(world.holder, quote.id)
    assert (order.delivered_readings, order.refund_micro_usd) == (0, order.price_micro_usd)
    assert world.credits() == 1_000_000
    assert revenue(world.journal.read()).is_empty()
    assert b"".join(world.market.data(world.holder, order.id, DataFormat.JSON)).endswith(b'"rows":[]}')
    assert b"".join(world.market.data(world.holder, order.id, DataFormat.CSV)).count(b"\n") == 1
    world.healthy()


def test_what_was_sealed_after_the_quote_is_not_delivered_and_what_changed_is_not_paid(world: World) -> None:
    quote = world.market.quote(world.holder, world.query())
    seal_epoch(world.epochs, 3, [row("did:key:a", START_MS + 7, temperature_c=1.0)], STATIONS)
    seal_epoch(world.epochs, 2, [row("did:key:a", START_MS + 8, temperature_c=1.0)] * 1, STATIONS)
    order = world.market.order(world.holder, quote.id)
    assert order.delivered_readings == 17
    assert order.refund_micro_usd == 40
    assert order.provenance is not None
    assert "not the file that was quoted" in order.provenance["not_delivered"]["2"]


def test_a_full_disk_holds_the_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    quote = world.market.quote(world.holder, world.query())
    with monkeypatch.context() as broken:
        broken.setattr(
            delivery_module, "_sync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        with pytest.raises(Retryable, match="No space left"):
            world.market.order(world.holder, quote.id)
    assert world.metering() == []
    assert world.market.order(world.holder, quote.id).status == "delivered"
    world.healthy()


_BUYER = """
import sys
from pathlib import Path
from fieldstone.clock import SystemClock
from tests.market.world import POLICY, make_world
world = make_world(Path(sys.argv[1]), SystemClock(), POLICY)
world.market.resume()
world.holder = world.market.authenticate(sys.argv[2])
print("ready", flush=True)
while True:
    print(world.buy().id, flush=True)
"""


@pytest.mark.crash
def test_kill_9_between_delivery_and_metering(tmp_path: Path) -> None:
    """Kill a real buyer at random moments: nothing is metered twice, and what was released is metered and paid."""
    two_epochs(tmp_path / "epochs")
    world = make_world(tmp_path, SystemClock(), POLICY)  # type: ignore[arg-type]
    customer = world.market.customers.add("Anna").id
    key = world.market.customers.add_key(customer).secret
    world.market.topup(customer, 10**9, Source.FIAT, "bank")
    world.journal.close()
    released: set[str] = set()
    for n in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", _BUYER, str(tmp_path), key],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        released.add(process.stdout.readline().strip())  # on a busy machine the first delivery alone may take a second
        time.sleep(0.02 + 0.037 * n)
        os.kill(process.pid, signal.SIGKILL)
        released |= {line.strip() for line in process.stdout if line.endswith("\n")}
        process.wait()
    world = make_world(tmp_path, SystemClock(), POLICY)  # type: ignore[arg-type]
    world.holder = world.market.authenticate(key)
    resumed = world.market.resume()
    assert resumed.stuck == {}
    metered = [entry.order for entry in world.metering()]
    assert len(metered) == len(set(metered))
    assert released <= set(metered)
    assert released
    orders = world.market.orders(world.holder, 10_000)
    assert {order.id for order in orders} == set(metered)
    assert {order.status for order in orders} == {"delivered"}
    total = sum(order.price_micro_usd for order in orders)
    assert revenue(world.journal.read())["revenue_micro_usd"].sum() == total
    assert world.credits() == 10**9 - total
    world.healthy()
    world.journal.close()


def test_the_file_the_ledger_and_the_journal_say_the_same(world: World) -> None:
    order = world.buy()
    table = pl.read_parquet(world.market.data_path(world.holder, order.id))
    counted = table.select(pl.sum_horizontal(pl.col(pl.Float64).count())).item()
    assert counted == order.delivered_readings == sum(world.metering()[0].devices.values())
    assert json.loads(pl.read_parquet_metadata(world.market.data_path(world.holder, order.id))["fieldstone"]) == (
        order.provenance
    )


def test_the_price_is_that_of_the_quote_even_when_the_policy_changes(world: World) -> None:
    quote = world.market.quote(world.holder, world.query())
    with pytest.raises(Rejected):
        world.market.order(world.holder, quote.id + "x")
    assert world.market.order(world.holder, quote.id).price_micro_usd == ALL_READINGS * 20
