"""Post balanced transactions, once each, and never change them.

Rule: every transaction's lines add up to zero, so money is moved and never made. Invariants (tests bear these names):
the sum of all accounts is zero; a cached balance equals the sum of its postings; no account of a customer, of escrow,
of a fund, of revenue or of the treasury is ever below zero, however many threads post at once; a fund gives to escrow and
takes from escrow, so nobody can withdraw what was paid once.

Why the last one holds: the check is part of the UPDATE that takes the money (`… WHERE balance + amount >= 0`), so
no other transaction can come between, on SQLite or on PostgreSQL; a CHECK constraint stands behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, and_, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from fieldstone.errors import Rejected, Terminal
from fieldstone.ledger.accounts import MAY_BE_NEGATIVE, AccountKind, kind_of
from fieldstone.reasons import reason
from fieldstone.state.engine import reading, writing
from fieldstone.state.schema import ledger_account, ledger_posting, ledger_transaction

MAX_LINE_MICRO_USD = 10**15  # a billion dollars; keeps every sum far inside 64 bits
MAX_BALANCE_MICRO_USD = 10**18


@dataclass(frozen=True, slots=True)
class Line:
    """Move `amount_micro_usd` into (+) or out of (−) `account`."""

    account: str
    amount_micro_usd: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """Lines that add up to zero. `key` makes it happen once; `reference` is what it is about (order, top-up)."""

    key: str
    kind: str
    reference: str
    at_ms: int
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Posted:
    """A transaction in the book. `repeated`: it was there before and nothing moved."""

    id: int
    repeated: bool


@dataclass(frozen=True, slots=True)
class TrialBalance:
    """`balances`: account → sum of its postings. `faults`: every broken invariant in words; empty when all is well."""

    balances: dict[str, int]
    faults: tuple[str, ...]


class Ledger:
    """The book on a state database. Safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def post(self, transaction: Transaction, connection: Connection | None = None) -> Posted:
        """Write a transaction, inside `connection`'s transaction when one is given.

        Raises Terminal when it does not balance or its key stands for other lines, Rejected NO_CREDITS when a customer
        would fall below zero, Retryable when the database does not answer. Nothing is written when it raises, if the
        caller lets the exception leave its own transaction.
        """
        _check(transaction)
        if connection is not None:
            return _post(connection, transaction)
        with writing(self._engine) as own:
            return _post(own, transaction)

    def balance(self, account_id: str, connection: Connection | None = None) -> int:
        """Return what an account holds, in micro-dollars; 0 for one that was never used."""
        query = select(ledger_account.c.balance_micro_usd).where(ledger_account.c.id == account_id)
        if connection is not None:
            return connection.execute(query).scalar_one_or_none() or 0
        with reading(self._engine) as own:
            return own.execute(query).scalar_one_or_none() or 0

    def transactions(self, connection: Connection | None = None) -> list[Transaction]:
        """Return the whole book in the order of posting."""
        if connection is None:
            with reading(self._engine) as own:
                return self.transactions(own)
        lines: dict[int, list[Line]] = {}
        for row in connection.execute(
            select(ledger_posting).order_by(ledger_posting.c.transaction_id, ledger_posting.c.line)
        ):
            lines.setdefault(row.transaction_id, []).append(Line(row.account_id, row.amount_micro_usd))
        return [
            Transaction(row.key, row.kind, row.reference, row.at_ms, tuple(lines.get(row.id, ())))
            for row in connection.execute(select(ledger_transaction).order_by(ledger_transaction.c.id))
        ]

    def trial_balance(self) -> TrialBalance:
        """Add the whole book up again and compare it with the cached balances."""
        total = func.sum(ledger_posting.c.amount_micro_usd)
        with reading(self._engine) as connection:
            posted = {
                account_id: int(amount)
                for account_id, amount in connection.execute(
                    select(ledger_posting.c.account_id, total).group_by(ledger_posting.c.account_id)
                )
            }
            cached = {row.id: row.balance_micro_usd for row in connection.execute(select(ledger_account))}
            unbalanced = connection.execute(
                select(ledger_transaction.c.key, func.coalesce(total, 0))
                .outerjoin(ledger_posting, ledger_posting.c.transaction_id == ledger_transaction.c.id)
                .group_by(ledger_transaction.c.key)
                .having(func.coalesce(total, 0) != 0)
            ).all()
        faults = [f"transaction {key} adds up to {int(amount)}, not 0" for key, amount in unbalanced]
        for account_id in sorted(posted.keys() | cached.keys()):
            held = posted.get(account_id, 0)
            if cached.get(account_id, 0) != held:
                faults.append(f"account {account_id} shows {cached.get(account_id, 0)}, its postings are {held}")
            if held < 0 and kind_of(account_id) not in MAY_BE_NEGATIVE:
                faults.append(f"account {account_id} is below zero: {held}")
        if sum(posted.values()) != 0:
            faults.append(f"all accounts together hold {sum(posted.values())}, not 0")
        return TrialBalance(posted, tuple(faults))


def _check(transaction: Transaction) -> None:
    name = f"ledger transaction {transaction.key!r}"
    if not transaction.key:
        raise Terminal("a ledger transaction needs a key")
    if not transaction.lines:
        raise Terminal(f"{name} has no lines")
    accounts = [line.account for line in transaction.lines]
    if len(set(accounts)) != len(accounts):
        raise Terminal(f"{name} names an account twice")
    for line in transaction.lines:
        if type(line.amount_micro_usd) is not int or not 0 < abs(line.amount_micro_usd) <= MAX_LINE_MICRO_USD:
            raise Terminal(f"{name}: {line.account} gets {line.amount_micro_usd!r}, not a whole amount other than 0")
        try:
            kind_of(line.account)
        except ValueError:
            raise Terminal(f"{name}: no kind of account is called {line.account!r}") from None
    total = sum(line.amount_micro_usd for line in transaction.lines)
    if total != 0:
        raise Terminal(f"{name} does not balance: its lines add up to {total}")
    _check_funds(transaction, name)


def _check_funds(transaction: Transaction, name: str) -> None:
    """Refuse what would let money out of a fund, or into it past the escrow that its journal entry empties."""
    kinds = {line.account: kind_of(line.account) for line in transaction.lines}
    funds = [line for line in transaction.lines if kinds[line.account] is AccountKind.FUND]
    for sign in (-1, 1):
        if any(line.amount_micro_usd * sign < 0 for line in funds):
            against = {kinds[line.account] for line in transaction.lines if line.amount_micro_usd * sign > 0}
            if against != {AccountKind.ESCROW}:
                raise Terminal(f"{name}: a fund gives to escrow and takes from escrow, not {sorted(against)}")


def _post(connection: Connection, transaction: Transaction) -> Posted:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    new_id = connection.execute(
        insert(ledger_transaction)
        .values(key=transaction.key, kind=transaction.kind, reference=transaction.reference, at_ms=transaction.at_ms)
        .on_conflict_do_nothing(index_elements=["key"])
        .returning(ledger_transaction.c.id)
    ).scalar_one_or_none()
    if new_id is None:
        return _repeated(connection, transaction)
    # Sorted, so that two transactions which touch the same accounts cannot wait for each other.
    for line in sorted(transaction.lines, key=lambda line: line.account):
        connection.execute(
            insert(ledger_account)
            .values(id=line.account, kind=kind_of(line.account).value, balance_micro_usd=0)
            .on_conflict_do_nothing(index_elements=["id"])
        )
        _move(connection, line, transaction)
    connection.execute(
        insert(ledger_posting),
        [
            {"transaction_id": new_id, "line": n, "account_id": line.account, "amount_micro_usd": line.amount_micro_usd}
            for n, line in enumerate(transaction.lines)
        ],
    )
    return Posted(new_id, repeated=False)


def _move(connection: Connection, line: Line, transaction: Transaction) -> None:
    kind = kind_of(line.account)
    lowest = -MAX_BALANCE_MICRO_USD if kind in MAY_BE_NEGATIVE else 0
    after = ledger_account.c.balance_micro_usd + line.amount_micro_usd
    allowed = after <= MAX_BALANCE_MICRO_USD if line.amount_micro_usd > 0 else after >= lowest
    moved = connection.execute(
        update(ledger_account).where(and_(ledger_account.c.id == line.account, allowed)).values(balance_micro_usd=after)
    ).rowcount
    if moved == 1:
        return
    if kind is AccountKind.CUSTOMER and line.amount_micro_usd < 0:
        raise Rejected(reason("NO_CREDITS"), transaction.reference, f"{-line.amount_micro_usd} micro-dollars needed")
    raise Terminal(
        f"ledger transaction {transaction.key!r} would take {line.account} out of bounds "
        f"({line.amount_micro_usd:+d} micro-dollars)"
    )


def _repeated(connection: Connection, transaction: Transaction) -> Posted:
    row = connection.execute(select(ledger_transaction).where(ledger_transaction.c.key == transaction.key)).one()
    lines = {
        posting.account_id: posting.amount_micro_usd
        for posting in connection.execute(select(ledger_posting).where(ledger_posting.c.transaction_id == row.id))
    }
    if lines != {line.account: line.amount_micro_usd for line in transaction.lines}:
        raise Terminal(
            f"ledger transaction {transaction.key!r} is in the book with other lines; its key was used twice"
        )
    return Posted(row.id, repeated=True)
