"""What was paid once, read back from a sealed epoch: `state-funds` and the prices and use of that epoch. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import polars as pl

from fieldstone.errors import CheckFailed
from fieldstone.services.contract import Endowing, FundFacts

__all__ = ["SealedFunds"]


class SealedFunds:
    """The funds of one service in one epoch; what concerns several of them is summed up once."""

    def __init__(
        self,
        funds: Iterable[Mapping[str, Any]],
        service: Endowing,
        *,
        prices_micro_usd: Mapping[str, int],
        start_ms: int,
        end_ms: int,
        usage: pl.DataFrame | None,
    ) -> None:
        """`funds`: rows of FUND_SCHEMA; `prices_micro_usd`: product → price of a unit in the epoch; `usage`: its
        USAGE_SCHEMA, None: there was none."""
        self._service, self._prices, self._end_ms = service, prices_micro_usd, end_ms
        self._beside: dict[tuple[str, str], list[str]] = defaultdict(list)
        for one in funds:
            if one["drawn_micro_usd"] < one["paid_in_micro_usd"]:
                self._beside[one["payer"], one["covers"]].append(one["assumptions"])
        self._used: dict[tuple[str, str], int] = {}
        if usage is not None:
            sums = usage.group_by("payer", "product").agg(pl.col("units").sum())
            span_ms = max(1, end_ms - start_ms)
            self._used = {(payer, product): units * 1_000 // span_ms for payer, product, units in sums.iter_rows()}

    def review(self, fund: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the service's review of a fund as of the epoch's end.

        Raises CheckFailed when what it rests on cannot be read.
        """
        payer, covers = fund["payer"], fund["covers"]
        try:
            facts = FundFacts(
                paid_in_micro_usd=fund["paid_in_micro_usd"],
                drawn_micro_usd=fund["drawn_micro_usd"],
                bought_ms=fund["endowed_ms"],
                now_ms=self._end_ms,
                price_micro_usd=self._prices.get(covers, 0),
                also_micro_usd={product: self._prices.get(product, 0) for product in fund["also"]},
                used_per_s=self._used.get((payer, covers), 0),
                assumed_beside=[_assumed(text) for text in self._beside[payer, covers]],
            )
            return self._service.review_fund({"assumptions": _assumed(fund["assumptions"])}, facts)
        except (msgspec.MsgspecError, LookupError, TypeError, ValueError, ArithmeticError) as error:
            raise CheckFailed(f"what fund {fund['fund']} rests on cannot be read: {error!r:.200}") from error


def _assumed(text: str) -> dict[str, Any]:
    return msgspec.json.decode(text, type=dict[str, Any])
