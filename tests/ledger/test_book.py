"""The book balances, whoever posts what, in whatever order."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from fieldstone.errors import FieldstoneError, Rejected, Terminal
from fieldstone.ledger import Ledger, Line, Transaction
from fieldstone.state import open_state, writing


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_state(tmp_path / "state.sqlite"))


def move(key: str, *lines: tuple[str, int]) -> Transaction:
    return Transaction(key, "test", key, 1, tuple(Line(name, amount) for name, amount in lines))


def test_a_posted_transaction_moves_balances(ledger: Ledger) -> None:
    posted = ledger.post(move("a", ("external:fiat", -10), ("customer:x", 10)))
    assert (posted.repeated, ledger.balance("customer:x"), ledger.balance("external:fiat")) == (False, 10, -10)
    assert ledger.balance("customer:nobody") == 0


@pytest.mark.parametrize(
    "lines",
    [
        (("external:fiat", -10), ("customer:x", 9)),
        (("customer:x", 10),),
        (),
        (("external:fiat", 0), ("customer:x", 0)),
        (("external:fiat", -1.0), ("customer:x", 1.0)),
        (("external:fiat", -True), ("customer:x", True)),
        (("external:fiat", -(2**63)), ("customer:x", 2**63)),
        (("external:fiat", -1), ("purse:x", 1)),
        (("customer:x", -1), ("customer:x", 1)),
    ],
)
def test_every_transaction_sums_to_zero_or_is_refused(ledger: Ledger, lines: tuple[tuple[str, int], ...]) -> None:
    with pytest.raises(Terminal):
        ledger.post(move("bad", *lines))
    assert ledger.transactions() == []


def test_the_same_key_posts_once(ledger: Ledger) -> None:
    first = ledger.post(move("a", ("external:fiat", -10), ("customer:x", 10)))
    again = ledger.post(move("a", ("customer:x", 10), ("external:fiat", -10)))
    assert (again.id, again.repeated, ledger.balance("customer:x")) == (first.id, True, 10)
    with pytest.raises(Terminal, match="other lines"):
        ledger.post(move("a", ("external:fiat", -11), ("customer:x", 11)))


def test_no_customer_account_below_zero(ledger: Ledger) -> None:
    ledger.post(move("a", ("external:fiat", -10), ("customer:x", 10)))
    with pytest.raises(Rejected) as refused:
        ledger.post(move("b", ("customer:x", -11), ("escrow:o", 11)))
    assert refused.value.reason.code == "NO_CREDITS"
    assert (ledger.balance("customer:x"), ledger.balance("escrow:o")) == (10, 0)
    assert [t.key for t in ledger.transactions()] == ["a"]


def test_no_other_purse_below_zero(ledger: Ledger) -> None:
    for name in ("escrow:o", "revenue:sensing", "treasury"):
        with pytest.raises(Terminal, match="out of bounds"):
            ledger.post(move("b", (name, -1), ("customer:x", 1)))


def test_balances_cannot_leave_64_bits(ledger: Ledger) -> None:
    with writing(ledger._engine) as connection:
        connection.execute(text("INSERT INTO ledger_account VALUES ('customer:x', 'customer', 999999999999999999)"))
    with pytest.raises(Terminal, match="out of bounds"):
        ledger.post(move("a", ("external:fiat", -2), ("customer:x", 2)))


def test_concurrent_orders_cannot_overspend(ledger: Ledger) -> None:
    ledger.post(move("a", ("external:fiat", -100), ("customer:x", 100)))
    refusals: list[FieldstoneError] = []
    barrier = threading.Barrier(8)

    def spend(who: int) -> None:
        barrier.wait()
        for n in range(5):
            try:
                ledger.post(move(f"{who}/{n}", ("customer:x", -7), (f"escrow:{who}/{n}", 7)))
            except Rejected as error:
                refusals.append(error)

    threads = [threading.Thread(target=spend, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.balance("customer:x") == 100 - 14 * 7
    assert len(refusals) == 40 - 14
    assert ledger.trial_balance().faults == ()


def test_history_can_only_be_added_to(ledger: Ledger) -> None:
    ledger.post(move("a", ("external:fiat", -10), ("customer:x", 10)))
    for statement in (
        "UPDATE ledger_posting SET amount_micro_usd = 1",
        "DELETE FROM ledger_posting",
        "UPDATE ledger_transaction SET at_ms = 0",
        "DELETE FROM ledger_transaction",
    ):
        with pytest.raises(IntegrityError, match="append-only"), writing(ledger._engine) as connection:
            connection.execute(text(statement))


def test_the_trial_balance_finds_a_tampered_book(ledger: Ledger) -> None:
    ledger.post(move("a", ("external:fiat", -10), ("customer:x", 10)))
    assert ledger.trial_balance().faults == ()
    with writing(ledger._engine) as connection:
        connection.execute(text("UPDATE ledger_account SET balance_micro_usd = 11 WHERE id = 'customer:x'"))
    assert ledger.trial_balance().faults == ("account customer:x shows 11, its postings are 10",)
    with writing(ledger._engine) as connection:
        connection.execute(text("INSERT INTO ledger_posting VALUES (1, 9, 'customer:x', 1)"))
    faults = ledger.trial_balance().faults
    assert "transaction a adds up to 1, not 0" in faults
    assert "all accounts together hold 1, not 0" in faults
