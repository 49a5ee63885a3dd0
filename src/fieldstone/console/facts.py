"""What the pages show, read from sealed epochs: one place, so that a page and its JSON twin cannot differ."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import polars as pl

from fieldstone.epoch.store import EpochStore
from fieldstone.metrics import gini, nakamoto, subsidy_ratio
from fieldstone.units import TOKEN_DECIMALS, USD_MICRO

TOKEN_BASE = 10**TOKEN_DECIMALS
_AMOUNTS = ("paid_base", "bootstrap_base", "correction_base", "total_base")


@dataclass(frozen=True, slots=True)
class EpochFacts:
    """An epoch in numbers. Amounts in token base units, money in micro-dollars, times in Unix ms."""

    epoch: int
    start_ms: int
    end_ms: int
    root: str
    reports: int
    devices: int
    earning: int
    verdicts: dict[str, int]
    reasons: list[tuple[str, int]]
    services: list[str]
    mean_quality_ppm: int
    revenue_micro_usd: int
    paid_base: int
    bootstrap_base: int
    correction_base: int
    minted_base: int
    total_base: int
    subsidy_ratio: float | None  # part of what operators received that no customer paid (`metrics.subsidy_ratio`)
    reward_gini: float | None  # over operators who earned (`metrics.gini`)
    reward_nakamoto: int | None  # operators who together earned more than half (`metrics.nakamoto`)

    @property
    def demand_share_ppm(self) -> int:
        """Part of what was minted that customers paid for."""
        return self.paid_base * 1_000_000 // self.minted_base if self.minted_base else 0


def verdict_word(verdict: str, quality_ppm: int | None) -> str:
    """Return a verdict in a reader's words.

    Rejected without any fault found means that there was nothing to pay for (a disk without shares, a customer's gateway):
    nobody should look for a mistake there.
    """
    return "no work" if verdict == "rejected" and quality_ppm == 1_000_000 else verdict


def epoch_facts(store: EpochStore, epoch: int) -> EpochFacts:
    """Gather an epoch's facts from its sealed tables."""
    sealed = store.sealed(epoch)
    manifest = sealed.manifest
    statements = sealed.table("statements").filter(pl.col("device") != "")
    judged = statements.filter(pl.col("verdict") != "none")
    reasons: Counter[str] = Counter(code for codes in statements["reasons"].to_list() for code in codes)
    price_usd = store.state(epoch).price_micro_usd / USD_MICRO
    revenue_micro_usd = int(sealed.table("statements")["revenue_micro_usd"].sum())
    earned = statements.group_by("operator").agg(pl.col("total_base").cast(pl.Float64).sum())["total_base"].to_numpy()
    emission_usd = int(manifest.minted_base) / TOKEN_BASE * price_usd
    sums = {name: sum(int(value) for value in sealed.table("statements")[name].to_list()) for name in _AMOUNTS}
    return EpochFacts(
        epoch=epoch,
        start_ms=manifest.start_ms,
        end_ms=manifest.end_ms,
        root=manifest.root,
        reports=manifest.counts.get("report", 0),
        devices=statements["device"].n_unique(),
        earning=statements.filter(pl.col("total_base") != "0")["device"].n_unique(),
        verdicts=dict(Counter(verdict_word(*row) for row in judged.select("verdict", "quality_ppm").iter_rows())),
        reasons=sorted(reasons.items(), key=lambda item: (-item[1], item[0])),
        services=sorted(manifest.rule_versions),
        mean_quality_ppm=int(judged["quality_ppm"].sum()) // max(judged.height, 1),
        revenue_micro_usd=revenue_micro_usd,
        paid_base=sums["paid_base"],
        bootstrap_base=sums["bootstrap_base"],
        correction_base=sums["correction_base"],
        minted_base=int(manifest.minted_base),
        total_base=int(manifest.total_base),
        subsidy_ratio=subsidy_ratio(emission_usd, revenue_micro_usd / USD_MICRO),
        reward_gini=gini(earned),
        reward_nakamoto=nakamoto(earned),
    )


def device_rows(store: EpochStore, query: str = "") -> pl.DataFrame:
    """Return every enrolled device with its newest verdict and reward; `query` filters by id, name, operator, model."""
    if not store.latest:
        return pl.DataFrame(schema={"device": pl.String()})
    sealed = store.sealed(store.latest)
    registry = sealed.table("state-registry").select("device", "name", "operator", "model", "revoked_ms")
    newest = (
        sealed.table("statements")
        .filter(pl.col("device") != "")
        .with_columns(_tokens("total_base").alias("rank"))
        .sort("rank", descending=True)
        .unique("device", keep="first", maintain_order=True)
        .select("device", "verdict", "quality_ppm", "reasons", "total_base", "rank")
    )
    rows = registry.join(newest, on="device", how="left", maintain_order="left")
    rows = rows.with_columns(pl.col("verdict").fill_null("none"), pl.col("quality_ppm").fill_null(0))
    if query:
        wanted = query.lower()
        text = pl.concat_str(
            "device", "name", "operator", "model", separator="\n", ignore_nulls=True
        ).str.to_lowercase()
        rows = rows.filter(text.str.contains(wanted, literal=True))
    return rows.sort("rank", descending=True, nulls_last=True, maintain_order=True)


def device_history(store: EpochStore, device: str) -> list[dict[str, Any]]:
    """Return a device's verdicts and rewards of the last 30 epochs, oldest first, with `height` 0 … 100 for a chart."""
    rows = []
    for number in store.epochs()[-30:]:
        table = store.sealed(number).table("statements").filter(pl.col("device") == device)
        if table.height:
            total = sum(int(value) for value in table["total_base"].to_list())
            rows.append(
                {
                    "epoch": number,
                    "verdict": table["verdict"][0],
                    "quality_ppm": table["quality_ppm"][0],
                    "total_base": total,
                }
            )
    highest = max((row["total_base"] for row in rows), default=0) or 1
    return [{**row, "height": 100 * row["total_base"] // highest} for row in rows]


def operators_of(store: EpochStore, epoch: int) -> list[dict[str, Any]]:
    """Return what each operator's devices earned in an epoch, most first, with the cumulative leaf."""
    sealed = store.sealed(epoch)
    leaves = sealed.leaves()
    totals: Counter[str] = Counter()
    devices: dict[str, set[str]] = {}
    for operator, device, total in sealed.table("statements").select("operator", "device", "total_base").iter_rows():
        totals[operator] += int(total)
        devices.setdefault(operator, set()).add(device)
    return [
        {
            "operator": operator,
            "devices": len(devices[operator]),
            "total_base": total,
            "cumulative_base": leaves.get(operator, 0),
        }
        for operator, total in sorted(totals.items(), key=lambda item: (-item[1], item[0]))
        if operator
    ]


def _tokens(column: str) -> pl.Expr:
    """Order amounts (decimal texts) by size; 128-bit integers hold every amount a contract allows."""
    return pl.col(column).cast(pl.Int128)
