"""A small active service: each round asks every enrolled device to send back its number and four bytes of the seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import polars as pl

from fieldstone.services.contract import (
    CHALLENGE_SCHEMA,
    USAGE_SCHEMA,
    VERDICT_SCHEMA,
    Document,
    EpochInput,
    FleetVerdicts,
    Product,
    Round,
    VerdictReason,
)


class Asking:
    """Right answers earn one unit; answers of the first device are charged to whom the second device's documents name."""

    name = "asking"
    quantity_unit = "answer"
    kinds: Mapping[str, Any] = {}
    documents: Mapping[str, Document] = {
        "answer": Document(64, "the answer to a round"),
        "wish": Document(200, "who pays"),
    }
    products = (Product("answer", "answers", "thousand answers", 5_000_000, "right answers", usage_per_unit=1_000),)
    reasons: Mapping[str, VerdictReason] = {"WRONG": VerdictReason("WRONG", "a wrong answer", "answer what was asked")}
    rule_versions = (1,)

    def default_params(self, rule_version: int) -> Mapping[str, Any]:
        return {"round_s": 3600}

    def with_overrides(self, params: Mapping[str, Any], overrides: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**params, **overrides}

    def round_s(self, params: Mapping[str, Any]) -> int:
        return int(params["round_s"])

    def challenges(self, so_far: EpochInput, asked: Round) -> pl.DataFrame:
        devices = so_far.registry["device"].sort()
        body = msgspec.msgpack.encode([asked.number, asked.seed[:4]])
        return pl.DataFrame({"device": devices, "body": [body] * len(devices)}, schema=CHALLENGE_SCHEMA)

    def directory(self, so_far: EpochInput) -> Mapping[str, Mapping[str, Any]]:
        wishes = so_far.evidence["wish"].iter_rows(named=True)
        return {row["device"]: {"wish": row["body"].decode()} for row in wishes}

    def check_devices(self, part: EpochInput) -> pl.DataFrame:
        right = {msgspec.msgpack.encode([asked.number, asked.seed[:4]]) for asked in part.rounds}
        rows = part.evidence["answer"].filter(pl.col("body").is_in(sorted(right)))
        counted = rows.group_by("device").agg(pl.col("body").n_unique().cast(pl.Int64).alias("quantity"))
        return part.registry.select("device").join(counted, on="device", how="left").fill_null(0).sort("device")

    def check_fleet(self, whole: EpochInput, device_checks: pl.DataFrame) -> FleetVerdicts:
        verdicts = device_checks.select(
            "device",
            service=pl.lit(self.name),
            epoch=pl.lit(whole.epoch, pl.Int64),
            quantity="quantity",
            quality_ppm=pl.when(pl.col("quantity") > 0).then(1_000_000).otherwise(0).cast(pl.Int64),
            verdict=pl.when(pl.col("quantity") > 0).then(pl.lit("accepted")).otherwise(pl.lit("rejected")),
            reasons=pl.when(pl.col("quantity") > 0)
            .then(pl.lit([], dtype=pl.List(pl.String)))
            .otherwise(pl.lit(["WRONG"], dtype=pl.List(pl.String))),
            detail=pl.lit("{}"),
        ).cast(dict(VERDICT_SCHEMA))  # type: ignore[arg-type]
        wishes = [row["body"].decode() for row in whole.evidence["wish"].iter_rows(named=True)]
        worked = [row for row in device_checks.iter_rows(named=True) if row["quantity"]]
        usage = [(payer, row["device"], "answer", row["quantity"]) for payer in sorted(set(wishes)) for row in worked]
        return FleetVerdicts(verdicts, {}, {}, pl.DataFrame(usage, schema=USAGE_SCHEMA, orient="row"))

    def partitions(self, whole: EpochInput, count: int) -> Iterator[EpochInput]:
        devices = whole.registry["device"].to_list()
        for n in range(max(1, min(count, len(devices)))):
            mine = devices[n::count]
            registry = whole.registry.filter(pl.col("device").is_in(mine))
            tables = {kind: table.filter(pl.col("device").is_in(mine)) for kind, table in whole.evidence.items()}
            yield dataclasses.replace(whole, registry=registry, evidence=tables)
