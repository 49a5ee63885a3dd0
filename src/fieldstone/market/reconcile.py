"""Compare what the journal says was credited, delivered and refunded with what the ledger booked. Pure.

Invariant: a journal and its ledger never disagree. Between the journal's commit and the ledger's (milliseconds, or a crash)
an entry may wait for its booking; `Market.resume` closes that gap, after which there are no differences.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from fieldstone.errors import Terminal
from fieldstone.ledger.accounts import TREASURY, AccountKind, account
from fieldstone.ledger.book import Ledger, Transaction
from fieldstone.ledger.escrow import ENDOW, HOLD, REFUND, SETTLE, TOPUP, topup_key
from fieldstone.market import metering
from fieldstone.market.credits import Credit
from fieldstone.market.metering import Delivered, Endowed, JournalEntry


@dataclass(frozen=True, slots=True)
class Difference:
    """`key`: the ledger key of what differs; `journal` and `ledger`: what each says, in words ("" when it has nothing)."""

    key: str
    journal: str
    ledger: str


def reconcile(entries: Iterable[JournalEntry], ledger: Ledger) -> list[Difference]:
    """Return every difference between the journal's credit and metering entries and the ledger, sorted by key."""
    return compare(entries, ledger.transactions())


def compare(entries: Iterable[JournalEntry], transactions: Iterable[Transaction]) -> list[Difference]:
    """Like `reconcile`, on the transactions of a ledger."""
    expected: dict[str, dict[str, int]] = {}
    held: dict[str, tuple[int, dict[str, int]]] = {}
    differences = []
    for entry in entries:
        booked = _booking(entry)
        if booked is None:
            continue
        key, lines, price, funds = booked
        if key in expected:
            differences.append(Difference(key, "is in the journal twice", ""))
        expected[key] = lines
        if price:
            held[f"hold:{key.partition(':')[2]}"] = (price, funds)
    found: dict[str, dict[str, int]] = {}
    for transaction in transactions:
        lines = {line.account: line.amount_micro_usd for line in transaction.lines}
        if transaction.kind in (TOPUP, SETTLE, REFUND, ENDOW):
            found[transaction.key] = lines
        elif transaction.kind == HOLD:
            taken = max(lines.values())
            drawn = {name.partition(":")[2]: -n for name, n in lines.items() if name.startswith(_FUND)}
            # an order that is still held has no journal entry yet
            if held.pop(transaction.key, (taken, drawn)) != (taken, drawn):
                differences.append(Difference(transaction.key, "another price", f"held {taken}, of it {drawn}"))
        else:
            differences.append(Difference(transaction.key, "", f"unknown kind {transaction.kind!r}"))
    differences += [Difference(key, f"price {price}", "") for key, (price, _) in held.items()]
    for key in expected.keys() | found.keys():
        if expected.get(key) != found.get(key):
            differences.append(Difference(key, _words(expected.get(key)), _words(found.get(key))))
    return sorted(differences, key=lambda difference: (difference.key, difference.journal))


_FUND = account(AccountKind.FUND, "") + ":"


def _booking(entry: JournalEntry) -> tuple[str, dict[str, int], int, dict[str, int]] | None:
    """Return the ledger key, lines, held price and what of it came out of funds that an entry must have led to."""
    if entry.kind == "credit":
        try:
            credit = msgspec.json.decode(entry.body, type=Credit)
        except msgspec.MsgspecError as error:
            raise Terminal(f"credit entry {entry.body[:80]!r} cannot be read: {error}") from error
        amount = credit.amount_micro_usd
        lines = {
            account(AccountKind.EXTERNAL, credit.source): -amount,
            account(AccountKind.CUSTOMER, credit.customer): amount,
        }
        return topup_key(credit.source, credit.reference), lines, 0, {}
    if entry.kind != "metering":
        return None
    body = metering.decode(entry.body)
    if isinstance(body, Delivered):
        _, remainder = metering.shares(body.net_micro_usd, body.devices)
        lines = {
            account(AccountKind.ESCROW, body.order): -body.price_micro_usd,
            account(AccountKind.REVENUE, body.service): body.net_micro_usd - remainder,
            TREASURY: remainder,
            account(AccountKind.CUSTOMER, body.customer): body.refund_micro_usd,
        }
        return f"settle:{body.order}", {name: n for name, n in lines.items() if n}, body.price_micro_usd, body.funds
    if isinstance(body, Endowed):
        amount = body.paid_in_micro_usd
        lines = {account(AccountKind.ESCROW, body.fund): -amount, account(AccountKind.FUND, body.fund): amount}
        return f"endow:{body.fund}", lines, amount, {}
    lines = {
        account(AccountKind.REFUNDS, body.service): -body.refund_micro_usd,
        account(AccountKind.CUSTOMER, body.customer): body.refund_micro_usd,
    }
    return f"refund:{body.refund}", {name: n for name, n in lines.items() if n}, 0, {}


def _words(lines: dict[str, int] | None) -> str:
    if lines is None:
        return ""
    return ", ".join(f"{name} {amount:+d}" for name, amount in sorted(lines.items()))
