"""What customers paid, from the metering entries of sealed epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from fieldstone.market.metering import Delivered, Refunded, encode
from fieldstone.market.payers import payers


class Epoch:
    """A sealed epoch with metering entries, or without a metering table."""

    folder, manifest = Path(), None

    def __init__(self, *entries: Delivered | Refunded) -> None:
        self._bodies = [encode(entry) for entry in entries]

    def table(self, name: str) -> pl.DataFrame:
        assert name == "journal-metering"
        return pl.DataFrame({"body": self._bodies}, schema={"body": pl.Binary})

    def table_names(self) -> list[str]:
        return ["journal-metering"] if self._bodies else []

    def check_files(self) -> None: ...


def delivered(order: str, customer: str, price: int, refund: int = 0) -> Delivered:
    return Delivered(
        order=order,
        customer=customer,
        service="sensing",
        product="observations",
        price_micro_usd=price,
        delivered_ms=0,
        devices={"did:key:z": 1},
        refund_micro_usd=refund,
    )


def test_customers_are_summed_with_refunds_deducted() -> None:
    epochs: list[Any] = [
        Epoch(delivered("o1", "ada", 10, 4), delivered("o2", "bob", 7), delivered("o1", "ada", 10, 4)),
        Epoch(),
        Epoch(Refunded(order="o2", refund_micro_usd=2, refund="r1", customer="bob"), delivered("o3", "ada", 1)),
    ]
    assert payers(epochs) == {"ada": 7, "bob": 5}
