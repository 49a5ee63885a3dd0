"""What was paid once, read back from a sealed epoch: `state-funds` and the prices and use of that epoch. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import polars as pl

from fieldstone.errors import CheckFailed
from fieldstone.services.contract import Endowing, FundFacts

__all__ = ["review_sealed"]


def review_sealed(
    fund: Mapping[str, Any],
    funds: Iterable[Mapping[str, Any]],
    *,
    service: Endowing,
    prices_micro_usd: Mapping[str, int],
    start_ms: int,
    end_ms: int,
    usage: pl.DataFrame | None,
    paid: Sequence[tuple[int, int]] = (),
) -> Mapping[str, Any]:
    """Return the service's review of one of an epoch's `funds` (rows of FUND_SCHEMA) as of the epoch's end.

    `prices_micro_usd`: product → price of a unit in the epoch; `usage`: its USAGE_SCHEMA; `paid`: (epoch, micro-dollars) that
    the fund paid before and in it, oldest first. Raises CheckFailed when the fund's assumptions cannot be read.
    """
    payer, covers = fund["payer"], fund["covers"]
    same = [one for one in funds if all(one[name] == fund[name] for name in ("payer", "service", "covers"))]
    same = [one for one in same if one["drawn_micro_usd"] < one["paid_in_micro_usd"]]
    used = 0
    if usage is not None:
        mine = usage.filter((pl.col("payer") == payer) & (pl.col("product") == covers))
        used = int(mine["units"].sum()) * 1_000 // max(1, end_ms - start_ms)
    try:
        assumed = msgspec.json.decode(fund["assumptions"], type=dict[str, Any])
        beside = [msgspec.json.decode(text, type=dict[str, Any]) for text in (one["assumptions"] for one in same)]
        facts = FundFacts(
            paid_in_micro_usd=fund["paid_in_micro_usd"],
            drawn_micro_usd=fund["drawn_micro_usd"],
            bought_ms=fund["endowed_ms"],
            now_ms=end_ms,
            price_micro_usd=prices_micro_usd.get(covers, 0),
            charged=[(epoch, amount, amount) for epoch, amount in paid],
            since_ms=fund["endowed_ms"],
            until_ms=end_ms,
            also_micro_usd={product: prices_micro_usd.get(product, 0) for product in fund["also"]},
            used_per_s=used,
            assumed_beside=beside,
        )
        return service.review_fund({"assumptions": assumed}, facts)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        raise CheckFailed(f"what fund {fund['fund']} rests on cannot be read: {error!r}") from error
