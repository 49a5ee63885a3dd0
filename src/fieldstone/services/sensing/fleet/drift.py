"""Slow drift: the robust slope of a sensor's daily difference from its neighbours, over up to thirty days.

Theil–Sen slope: the median of the slopes of all pairs of days. Its standard error comes from the MAD of the residuals.
An alarm needs slope × days beyond the model's stated accuracy and a slope that is far from zero. It is maintenance
advice first and costs quality only after a grace period (reference §2.7).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from fieldstone.services.sensing.fleet.frame import Bools, Floats
from fieldstone.services.sensing.fleet.ledger import Ledger
from fieldstone.services.sensing.fleet.surroundings import Surroundings, row_quantile
from fieldstone.units import DAY_MS

CARRY = "fleet_residuals"
CARRY_SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),
    "variable": pl.String(),
    "day": pl.Int64(),  # days since 1970-01-01
    "slots": pl.Int64(),  # coarse slots that the median stands on
    "residual": pl.Float64(),  # station − neighbours, the variable's unit
}
VARIABLES = ("temperature_c", "humidity_pct", "pressure_hpa")


def daily_residuals(around: Surroundings, params: Mapping[str, Any]) -> pl.DataFrame:
    """Return one row per device, variable and day of the epoch: the median difference from the neighbours."""
    grid = around.frame.grid
    days = grid.centres_ms // DAY_MS
    tables = [pl.DataFrame(schema=CARRY_SCHEMA)]
    least = max(4, int(params["min_slots"]) // 4)
    for name in VARIABLES:
        if not around.has(name):
            continue
        difference = around.values(name) - around.median(name)
        for day in np.unique(days):
            part = difference[:, days == day]
            middle = np.round(row_quantile(part, 0.5, least), 4)
            known = np.flatnonzero(np.isfinite(middle))
            tables.append(
                pl.DataFrame(
                    {
                        "device": [around.frame.devices[k] for k in known],
                        "variable": [name] * known.size,
                        "day": [int(day)] * known.size,
                        "slots": np.isfinite(part[known]).sum(axis=1),
                        "residual": middle[known],
                    },
                    schema=CARRY_SCHEMA,
                )
            )
    return pl.concat(tables)


def join(past: pl.DataFrame | None, now: pl.DataFrame, days: int) -> pl.DataFrame:
    """Return the residuals of the last `days` days; epochs of one day are averaged by their slots."""
    both = now if past is None else pl.concat([past.select(list(CARRY_SCHEMA)).cast(dict(CARRY_SCHEMA)), now])  # type: ignore[arg-type]
    if both.is_empty():
        return both
    last = int(both["day"].max())  # type: ignore[arg-type]
    weighted = (pl.col("residual") * pl.col("slots")).sum() / pl.col("slots").sum()
    return (
        both.filter(pl.col("day") > last - days)
        .sort("device", "variable", "day", "slots", "residual")
        .group_by("device", "variable", "day", maintain_order=True)
        .agg(pl.col("slots").sum(), residual=weighted.round(4))
        .select(list(CARRY_SCHEMA))
        .sort("device", "variable", "day")
    )


def theil_sen(day: Floats, value: Floats) -> tuple[float, float]:
    """Return slope per day and its standard error. Needs three different days or more, else (nan, nan)."""
    i, j = np.triu_indices(day.size, 1)
    apart = day[j] - day[i]
    use = apart > 0
    if use.sum() < 3:
        return float("nan"), float("nan")
    slope = float(np.median((value[j] - value[i])[use] / apart[use]))
    rest = value - slope * day
    noise = 1.4826 * float(np.median(np.abs(rest - np.median(rest))))
    # days are not independent: weather persists for about two days, so half of them count
    spread = float(((day - day.mean()) ** 2).sum()) / 2
    return slope, max(noise, 1e-3) / float(np.sqrt(spread))


def report_drift(
    around: Surroundings, past: pl.DataFrame | None, params: Mapping[str, Any], ledger: Ledger, skip: Bools
) -> pl.DataFrame:
    """Write DRIFT and return the residuals to keep."""
    days = int(params["drift_days"])
    table = join(past, daily_residuals(around, params), days)
    number = {device: index for index, device in enumerate(around.frame.devices)}
    judged = np.zeros(around.frame.count)
    groups = table.group_by(["device", "variable"], maintain_order=True)
    for (device, variable), rows in groups:
        index = number.get(str(device))
        if index is None or rows.height < params["drift_min_days"]:
            continue
        judged[index] = 1.0
        day = rows["day"].to_numpy().astype(np.float64)
        slope, error = theil_sen(day, rows["residual"].to_numpy())
        span = float(day[-1] - day[0]) + 1
        total = round(slope * span, 3)
        limit = float(params[f"drift_{variable}"])
        if (
            not np.isfinite(slope)
            or abs(total) <= limit
            or abs(slope) <= params["drift_confidence"] * error
            or skip[index]
        ):
            continue
        ledger.add(
            index,
            "drift",
            "DRIFT",
            variable=str(variable),
            severity_ppm=int(params["drift_severity_ppm"]) if span >= params["drift_grace_days"] else 0,
            measured=total,
            threshold=limit,
            meaning=f"drift against the neighbours over {span:.0f} days",
            per_day=round(slope, 4),
            standard_error=round(error, 4),
        )
    ledger.cover("drift", judged)
    return table
