"""Sell what devices proved: catalogue, quotes, orders in escrow, delivery, metering, invoices, refunds.

`Market` is the whole of it for a node; `revenue` is what an epoch reads; `router` puts it on HTTP. Imports are lazy: the
command line's `--help` needs none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldstone.market.credits import Source
    from fieldstone.market.delivery import DataFormat
    from fieldstone.market.http import router
    from fieldstone.market.market import Market
    from fieldstone.market.metering import revenue, settle_revenue
    from fieldstone.market.query import Box, Query
    from fieldstone.market.reconcile import reconcile
    from fieldstone.market.sealed import SealedEpochs

__all__ = [
    "Box",
    "DataFormat",
    "Market",
    "Query",
    "SealedEpochs",
    "Source",
    "reconcile",
    "revenue",
    "router",
    "settle_revenue",
]

_HOME = {
    "Box": "query",
    "DataFormat": "delivery",
    "Market": "market",
    "Query": "query",
    "SealedEpochs": "sealed",
    "Source": "credits",
    "reconcile": "reconcile",
    "revenue": "metering",
    "router": "http",
    "settle_revenue": "metering",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
