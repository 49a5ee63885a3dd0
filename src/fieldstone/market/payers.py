"""Who paid, read back from sealed epochs: the same sums for the assessment, the model of a live network and an auditor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from fieldstone.market.metering import Delivered, Refunded, decode


class Sealed(Protocol):
    """What is read of a sealed epoch; `fieldstone.epoch.store.SealedEpoch` is one."""

    folder: Path
    manifest: Any

    def table(self, name: str) -> pl.DataFrame: ...
    def table_names(self) -> list[str]: ...
    def check_files(self) -> None: ...


def payers(epochs: Iterable[Sealed]) -> Counter[str]:
    """Return what each customer paid in micro-dollars, refunds deducted.

    A refund of an earlier epoch's order counts in the epoch where it happened; what was paid once into a fund, in the epochs
    whose charges draw on it.
    """
    paid: Counter[str] = Counter()
    for sealed in epochs:
        if "journal-metering" not in sealed.table_names():
            continue
        orders: set[str] = set()
        for body in sealed.table("journal-metering")["body"].to_list():
            entry = decode(body)
            if isinstance(entry, Refunded):
                if entry.customer:
                    paid[entry.customer] -= entry.refund_micro_usd
            elif isinstance(entry, Delivered) and entry.order not in orders:
                paid[entry.customer] += entry.net_micro_usd
                orders.add(entry.order)
    return paid
