"""The double-entry book of credits: what customers hold, what is in escrow, what was earned.

Amounts are integers in micro-dollars. The database layer is imported when a ledger is made, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldstone.ledger.accounts import TREASURY, AccountKind, account
    from fieldstone.ledger.book import Ledger, Line, Posted, Transaction, TrialBalance
    from fieldstone.ledger.escrow import Escrow, EscrowTotals

__all__ = [
    "TREASURY",
    "AccountKind",
    "Escrow",
    "EscrowTotals",
    "Ledger",
    "Line",
    "Posted",
    "Transaction",
    "TrialBalance",
    "account",
]

_HOME = {
    "TREASURY": "accounts",
    "AccountKind": "accounts",
    "account": "accounts",
    "Escrow": "escrow",
    "EscrowTotals": "escrow",
    "Ledger": "book",
    "Line": "book",
    "Posted": "book",
    "Transaction": "book",
    "TrialBalance": "book",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
