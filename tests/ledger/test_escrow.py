"""escrow_in = paid + refunded + held, always."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import event

from fieldstone.errors import Rejected, Terminal
from fieldstone.ledger import Escrow, EscrowTotals, Ledger, Line, Transaction
from fieldstone.state import open_state, writing

CUSTOMERS = ("anna", "ben")


def test_refund_never_exceeds_what_was_paid(tmp_path: Path) -> None:
    engine = open_state(tmp_path / "state.sqlite")
    ledger = Ledger(engine)
    escrow = Escrow(engine, ledger)
    with writing(engine) as connection:
        escrow.topup("fiat", "1", "anna", 100, 1, connection)
        escrow.hold("o", "anna", 60, 2, connection)
        escrow.settle("o", "anna", "sensing", 60, 10, 1, 3, connection)
    assert escrow.totals("o") == EscrowTotals(escrow_in=60, paid=50, refunded=10, held=0)
    with pytest.raises(Terminal, match="cannot be refunded"), writing(engine) as connection:
        escrow.refund("r", "o", "anna", "sensing", 51, 4, connection)
    with writing(engine) as connection:
        escrow.refund("r", "o", "anna", "sensing", 50, 4, connection)
    assert escrow.totals("o") == EscrowTotals(escrow_in=60, paid=0, refunded=60, held=0)
    assert ledger.balance("customer:anna") == 100
    with pytest.raises(Terminal, match="cannot settle"), writing(engine) as connection:
        escrow.settle("p", "anna", "sensing", 5, 5, 1, 3, connection)


class EscrowMachine(RuleBasedStateMachine):
    """Random customers, orders, retries, settlements and refunds, against a model in plain dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.engine = open_state(self.folder / "state.sqlite")
        # Random order is what is tried here, not power cuts: without syncing it is several times faster.
        event.listen(self.engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=OFF"))
        self.engine.dispose()
        self.ledger = Ledger(self.engine)
        self.escrow = Escrow(self.engine, self.ledger)
        self.credits = dict.fromkeys(CUSTOMERS, 0)
        self.held: dict[str, tuple[str, int]] = {}
        self.settled: dict[str, tuple[str, int, int]] = {}  # customer, price, refundable
        self.count = 0

    def teardown(self) -> None:
        self.engine.dispose()
        shutil.rmtree(self.folder)

    @rule(customer=st.sampled_from(CUSTOMERS), amount=st.integers(1, 1000), repeats=st.integers(1, 2))
    def top_up(self, customer: str, amount: int, repeats: int) -> None:
        self.count += 1
        for _ in range(repeats):
            with writing(self.engine) as connection:
                self.escrow.topup("burn", f"event{self.count}", customer, amount, self.count, connection)
        self.credits[customer] += amount

    @rule(customer=st.sampled_from(CUSTOMERS), price=st.integers(1, 1200))
    def hold(self, customer: str, price: int) -> None:
        self.count += 1
        order = f"ord{self.count}"
        try:
            with writing(self.engine) as connection:
                self.escrow.hold(order, customer, price, self.count, connection)
        except Rejected:
            assert price > self.credits[customer]
            return
        assert price <= self.credits[customer]
        self.credits[customer] -= price
        self.held[order] = (customer, price)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), repeats=st.integers(1, 2))
    def settle(self, data: st.DataObject, repeats: int) -> None:
        order = data.draw(st.sampled_from(sorted(self.held)))
        customer, price = self.held.pop(order)
        refund = data.draw(st.integers(0, price))
        remainder = data.draw(st.integers(0, price - refund))
        for _ in range(repeats):
            with writing(self.engine) as connection:
                self.escrow.settle(order, customer, "sensing", price, refund, remainder, self.count, connection)
        self.credits[customer] += refund
        self.settled[order] = (customer, price, price - refund)

    @precondition(lambda self: self.settled)
    @rule(data=st.data(), amount=st.integers(1, 1200))
    def refund(self, data: st.DataObject, amount: int) -> None:
        self.count += 1
        order = data.draw(st.sampled_from(sorted(self.settled)))
        customer, price, refundable = self.settled[order]
        try:
            with writing(self.engine) as connection:
                self.escrow.refund(f"r{self.count}", order, customer, "sensing", amount, self.count, connection)
        except Terminal:
            assert amount > refundable
            return
        assert amount <= refundable
        self.credits[customer] += amount
        self.settled[order] = (customer, price, refundable - amount)

    @invariant()
    def every_transaction_sums_to_zero_and_no_account_is_below_zero(self) -> None:
        assert self.ledger.trial_balance().faults == ()

    @invariant()
    def escrow_in_is_paid_plus_refunded_plus_held(self) -> None:
        totals = self.escrow.totals()
        assert totals.adds_up
        assert totals.held == sum(price for _, price in self.held.values())
        assert totals.paid == sum(refundable for _, _, refundable in self.settled.values())
        assert totals.escrow_in == totals.held + sum(price for _, price, _ in self.settled.values())
        for order, (_, price, refundable) in self.settled.items():
            assert self.escrow.totals(order) == EscrowTotals(price, refundable, price - refundable, 0)

    @invariant()
    def customers_hold_what_the_model_says(self) -> None:
        assert {c: self.ledger.balance(f"customer:{c}") for c in CUSTOMERS} == self.credits


EscrowMachine.TestCase.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)
TestEscrow = EscrowMachine.TestCase


def test_what_is_paid_once_leaves_a_fund_through_escrow_only(tmp_path: Path) -> None:
    engine = open_state(tmp_path / "state.sqlite")
    ledger = Ledger(engine)
    escrow = Escrow(engine, ledger)
    with writing(engine) as connection:
        escrow.topup("fiat", "1", "anna", 100, 1, connection)
        escrow.hold("f", "anna", 60, 2, connection)
        escrow.endow("f", 60, 2, connection)
        escrow.hold("use_1", "anna", 25, 3, connection, {"f": 20})
        escrow.settle("use_1", "anna", "storage", 25, 0, 1, 3, connection)
    assert (ledger.balance("fund:f"), ledger.balance("customer:anna")) == (40, 35)
    assert escrow.totals() == EscrowTotals(escrow_in=25, paid=25, refunded=0, held=0)
    assert ledger.trial_balance().faults == ()
    with pytest.raises(Terminal, match="out of bounds"), writing(engine) as connection:
        escrow.hold("use_2", "anna", 41, 4, connection, {"f": 41})
    for to in ("customer:anna", "treasury", "fund:g", "external:fiat", "revenue:storage"):
        for lines in ((Line("fund:f", -1), Line(to, 1)), (Line("fund:f", 1), Line(to, -1))):
            with pytest.raises(Terminal, match="gives to escrow and takes from escrow"):
                ledger.post(Transaction(f"steal-{to}-{lines[0].amount_micro_usd}", "hold", "f", 5, lines))
