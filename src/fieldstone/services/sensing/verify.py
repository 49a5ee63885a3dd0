"""The two stages of the sensing service: `check_devices` (each device alone) and `check_fleet` (all, and the verdicts)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import polars as pl

from fieldstone.services.contract import EpochInput, FleetVerdicts
from fieldstone.services.sensing.devices import check_devices
from fieldstone.services.sensing.findings import FleetFindings, no_findings
from fieldstone.services.sensing.fleet import check as check_neighbourhood
from fieldstone.services.sensing.pack import unnest
from fieldstone.services.sensing.schema import KIND
from fieldstone.services.sensing.scoring import score
from fieldstone.services.sensing.sellable import sellable_rows
from fieldstone.services.sensing.stuck import CARRY, CARRY_SCHEMA
from fieldstone.services.sensing.verdicts import not_enrolled, verdict_table

__all__ = ["check_devices", "check_fleet", "partitions"]


def check_fleet(whole: EpochInput, device_checks: pl.DataFrame) -> FleetVerdicts:
    """Compare the devices with each other and decide: verdicts, what may be sold, what the next epoch must know."""
    device_checks = device_checks.sort("device")
    found = check_neighbourhood(whole, device_checks) if device_checks.height else FleetFindings(no_findings())
    scores = score(device_checks, found.findings, whole.params)
    verdicts = verdict_table(device_checks, scores, found.coverage, whole.epoch, whole.params)
    evidence = whole.evidence[KIND]
    strangers = (
        evidence.join(device_checks.select("device"), on="device", how="anti")
        .group_by("device")
        .agg(pl.len().alias("rows"))
        .sort("device")
    )
    if strangers.height:
        verdicts = pl.concat([verdicts, not_enrolled(strangers, whole.epoch)]).sort("device")
    rejected = (verdicts_of := verdicts.filter(pl.col("device").is_in(device_checks["device"].implode())))["verdict"]
    sellable = sellable_rows(
        evidence,
        device_checks,
        verdicts_of["quality_ppm"].to_numpy(),
        (rejected == "rejected").to_numpy(),
        scores.off_sale,
    )
    runs = unnest(device_checks, "runs")
    own = runs.select(list(CARRY_SCHEMA)).cast(dict(CARRY_SCHEMA)) if runs.height else pl.DataFrame(schema=CARRY_SCHEMA)  # type: ignore[arg-type]
    return FleetVerdicts(verdicts, {KIND: sellable}, {**found.carry, CARRY: own.sort("device", "variable")})


def partitions(whole: EpochInput, count: int) -> Iterator[EpochInput]:
    """Cut the input into at most `count` parts by device, of about equal numbers of readings.

    Readings of devices that are not in the registry go to no part; `check_fleet` names them.
    """
    registry = whole.registry.sort("device")
    evidence = _in_order(whole.evidence[KIND])
    devices = registry["device"]
    first = evidence["device"].search_sorted(devices, side="left").to_numpy().astype(np.int64)
    after = evidence["device"].search_sorted(devices, side="right").to_numpy().astype(np.int64)
    work = np.cumsum(after - first + 1)
    parts = max(1, min(count, registry.height))
    cuts = np.searchsorted(work, work[-1] * np.arange(1, parts) / parts) + 1 if registry.height else []
    edges = np.unique(np.concatenate(([0], cuts, [registry.height]))).astype(np.int64).tolist()
    if registry.height == 0:
        edges = [0, 0]
    for begin, end in pairwise(edges):
        mine = registry[begin:end]
        low, high = (int(first[begin]), int(after[end - 1])) if end > begin else (0, 0)
        runs = whole.carry.get(CARRY)
        carry = {} if runs is None else {CARRY: runs.join(mine.select("device"), on="device", how="semi")}
        yield EpochInput(
            whole.epoch,
            whole.start_ms,
            whole.end_ms,
            mine,
            {KIND: evidence[low:high]},
            whole.params,
            whole.randomness,
            carry,
        )


def _in_order(evidence: pl.DataFrame) -> pl.DataFrame:
    """Return evidence sorted by device and time, equal keys in their order; without a copy when it is sorted."""
    ordered = evidence.select(
        (
            (pl.col("device") > pl.col("device").shift(1))
            | ((pl.col("device") == pl.col("device").shift(1)) & (pl.col("t_ms") >= pl.col("t_ms").shift(1)))
        ).all()
    ).item()
    return evidence if ordered else evidence.sort("device", "t_ms", maintain_order=True)
