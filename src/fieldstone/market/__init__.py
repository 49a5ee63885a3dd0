"""Sell what devices proved: catalogue, quotes, orders in escrow, delivery, metering, invoices, refunds.

Imports are lazy: the command line's `--help` needs none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldstone.market.metering import revenue, settle_revenue

__all__ = ["revenue", "settle_revenue"]

_HOME = {"revenue": "metering", "settle_revenue": "metering"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
