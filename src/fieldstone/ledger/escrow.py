"""Hold a customer's credits for an order, then pay the devices or give the credits back.

Formulas, per order: `hold` moves the price from the customer to escrow; `settle` empties the escrow into revenue (what
devices get), the treasury (rounding) and the customer (what was not delivered); `refund` gives back what turned out bad
later. Reason: a customer never pays for what was not delivered, and the network never owes more than it was given.

What is paid once goes the same way into a fund: `hold`, then `endow` moves it from escrow to `fund:<id>`. A later charge is
held out of funds first (`hold` with `funds`). Money in a fund was not delivered and is not in escrow either.

Invariant: escrow_in = paid + refunded + held, always, for each order and for all together, none below zero.
(After Akash `x/escrow`: settle on touch, in integers.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, func, select

from fieldstone.errors import Terminal
from fieldstone.ledger.accounts import TREASURY, AccountKind, account
from fieldstone.ledger.book import Ledger, Line, Posted, Transaction
from fieldstone.state.engine import reading
from fieldstone.state.schema import ledger_account, ledger_posting, ledger_transaction

TOPUP, HOLD, SETTLE, REFUND, ENDOW = "topup", "hold", "settle", "refund", "endow"


@dataclass(frozen=True, slots=True)
class EscrowTotals:
    """Micro-dollars of one order or of all. `paid` is net of what was refunded after delivery. What went on into a fund is
    not counted as `escrow_in` until a charge takes it out again."""

    escrow_in: int
    paid: int
    refunded: int
    held: int

    @property
    def adds_up(self) -> bool:
        """Whether the invariant of this module holds."""
        return self.escrow_in == self.paid + self.refunded + self.held and min(self.paid, self.refunded, self.held) >= 0


class Escrow:
    """The five movements of customers' credits. Each is idempotent by its order, refund or top-up id."""

    def __init__(self, engine: Engine, ledger: Ledger) -> None:
        self._engine = engine
        self._ledger = ledger

    def topup(
        self, source: str, reference: str, customer: str, amount_micro_usd: int, at_ms: int, connection: Connection
    ) -> Posted:
        """Credit a customer from outside: `source` is `fiat` or `burn`. See `Ledger.post` for errors."""
        lines = _lines(
            (account(AccountKind.EXTERNAL, source), -amount_micro_usd),
            (account(AccountKind.CUSTOMER, customer), amount_micro_usd),
        )
        return self._ledger.post(Transaction(topup_key(source, reference), TOPUP, reference, at_ms, lines), connection)

    def hold(
        self,
        order: str,
        customer: str,
        price_micro_usd: int,
        at_ms: int,
        connection: Connection,
        funds: Mapping[str, int] | None = None,
    ) -> Posted:
        """Put the price of an order aside, `funds` (fund → amount) first and the rest from credits.

        Raises Rejected NO_CREDITS, Terminal when a fund does not hold its part.
        """
        drawn = funds or {}
        lines = _lines(
            (account(AccountKind.CUSTOMER, customer), sum(drawn.values()) - price_micro_usd),
            *((account(AccountKind.FUND, fund), -amount) for fund, amount in sorted(drawn.items())),
            (account(AccountKind.ESCROW, order), price_micro_usd),
        )
        return self._ledger.post(Transaction(f"hold:{order}", HOLD, order, at_ms, lines), connection)

    def endow(self, fund: str, amount_micro_usd: int, at_ms: int, connection: Connection) -> Posted:
        """Lock what was held under the fund's id into the fund."""
        lines = _lines(
            (account(AccountKind.ESCROW, fund), -amount_micro_usd), (account(AccountKind.FUND, fund), amount_micro_usd)
        )
        return self._ledger.post(Transaction(f"endow:{fund}", ENDOW, fund, at_ms, lines), connection)

    def settle(
        self,
        order: str,
        customer: str,
        service: str,
        price_micro_usd: int,
        refund_micro_usd: int,
        remainder_micro_usd: int,
        at_ms: int,
        connection: Connection,
    ) -> Posted:
        """Empty the escrow of a delivered order. Raises Terminal when refund and remainder exceed the price."""
        earned = price_micro_usd - refund_micro_usd - remainder_micro_usd
        if min(earned, refund_micro_usd, remainder_micro_usd) < 0:
            raise Terminal(
                f"order {order} cannot settle {price_micro_usd} with {refund_micro_usd} refunded and "
                f"{remainder_micro_usd} to the treasury"
            )
        lines = _lines(
            (account(AccountKind.ESCROW, order), -price_micro_usd),
            (account(AccountKind.REVENUE, service), earned),
            (TREASURY, remainder_micro_usd),
            (account(AccountKind.CUSTOMER, customer), refund_micro_usd),
        )
        return self._ledger.post(Transaction(f"settle:{order}", SETTLE, order, at_ms, lines), connection)

    def refund(
        self,
        refund: str,
        order: str,
        customer: str,
        service: str,
        amount_micro_usd: int,
        at_ms: int,
        connection: Connection,
    ) -> Posted:
        """Give back part of a settled order. Raises Terminal when more than was paid would go back."""
        lines = _lines(
            (account(AccountKind.REFUNDS, service), -amount_micro_usd),
            (account(AccountKind.CUSTOMER, customer), amount_micro_usd),
        )
        posted = self._ledger.post(Transaction(f"refund:{refund}", REFUND, order, at_ms, lines), connection)
        totals = self.totals(order, connection)
        if not totals.adds_up:
            raise Terminal(f"order {order} cannot be refunded {amount_micro_usd} more: {totals}")
        return posted

    def totals(self, order: str | None = None, connection: Connection | None = None) -> EscrowTotals:
        """Add up what went through escrow, for one order or all, from the postings themselves."""
        if connection is None:
            with reading(self._engine) as own:
                return self.totals(order, own)
        amount = func.sum(ledger_posting.c.amount_micro_usd)
        query = (
            select(ledger_transaction.c.kind, ledger_account.c.kind, amount)
            .join(ledger_posting, ledger_posting.c.transaction_id == ledger_transaction.c.id)
            .join(ledger_account, ledger_account.c.id == ledger_posting.c.account_id)
            .where(ledger_transaction.c.kind.in_((HOLD, SETTLE, REFUND, ENDOW)))
            .group_by(ledger_transaction.c.kind, ledger_account.c.kind)
        )
        if order is not None:
            query = query.where(ledger_transaction.c.reference == order)
        sums = {(movement, kind): int(total) for movement, kind, total in connection.execute(query)}
        late = sums.get((REFUND, AccountKind.CUSTOMER), 0)
        taken_in = sums.get((HOLD, AccountKind.ESCROW), 0) + sums.get((ENDOW, AccountKind.ESCROW), 0)
        earned = sums.get((SETTLE, AccountKind.REVENUE), 0) + sums.get((SETTLE, AccountKind.TREASURY), 0)
        return EscrowTotals(
            escrow_in=taken_in,
            paid=earned - late,
            refunded=sums.get((SETTLE, AccountKind.CUSTOMER), 0) + late,
            held=taken_in + sums.get((SETTLE, AccountKind.ESCROW), 0),
        )


def topup_key(source: str, reference: str) -> str:
    """Return the ledger key of a top-up: one bank reference or one burn event credits once."""
    return f"topup:{source}:{reference}"


def _lines(*pairs: tuple[str, int]) -> tuple[Line, ...]:
    return tuple(Line(name, amount) for name, amount in pairs if amount != 0)
