"""The accounts of the book, named `kind:owner`.

A balance is what the account holds. Money enters from an `external` account, which therefore goes below zero by exactly
what all others hold together; `refunds` is what was earned and later given back, and stands below zero beside `revenue`.
"""

from __future__ import annotations

from enum import StrEnum


class AccountKind(StrEnum):
    """What an account is for."""

    CUSTOMER = "customer"  # customer:<id>     prepaid credits
    ESCROW = "escrow"  # escrow:<order>    paid, not yet delivered
    FUND = "fund"  # fund:<id>         paid once, locked: pays metered charges of one device, nothing else
    REVENUE = "revenue"  # revenue:<service> earned by devices
    TREASURY = "treasury"  # treasury          rounding remainders
    REFUNDS = "refunds"  # refunds:<service> given back after delivery
    EXTERNAL = "external"  # external:fiat, external:burn


MAY_BE_NEGATIVE = frozenset({AccountKind.EXTERNAL, AccountKind.REFUNDS})
TREASURY = "treasury"


def account(kind: AccountKind, owner: str = "") -> str:
    """Return the id of an account: `account(AccountKind.ESCROW, "ord_1")` is `escrow:ord_1`."""
    return f"{kind.value}:{owner}" if owner else kind.value


def kind_of(account_id: str) -> AccountKind:
    """Return the kind of an account id. Raises ValueError for a kind that does not exist."""
    return AccountKind(account_id.partition(":")[0])
