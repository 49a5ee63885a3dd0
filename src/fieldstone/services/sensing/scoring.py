"""From losses and findings to quality, verdict, reasons and their evidence. Integers only.

Formula, in parts per million, every division floored:

    q_v       = time vouched with a passed value of channel v ÷ available time                        (per channel)
    required  = Π over required channels of floor + (1 − floor) · q_v      (floor: `required_floor_ppm`, 0.25)
    optional  = mean of q_v over the other channels that were sent; 1 when there are none
    station   = required · (1 − w + w · optional)                          (w: `optional_weight_ppm`, 0.2)
    quality   = station · Π over findings of (1 − severity)     (one per check and channel: the most severe counts)

So a dead required sensor leaves a quarter, two leave a sixteenth; it cannot hide in a mean of seven. Where a model
requires nothing, the channels present for at least `sent_from_ppm` of the time count as required. Availability is not part of quality:
it is the *quantity*, seconds of the epoch for which readings vouch. Station-seconds were chosen over a count of readings because a
count would pay a station for sending more often, and a station cannot make more seconds.

`cost_ppm` of a reason is what (quality × availability) would gain if that reason alone went away; reasons are listed by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fieldstone.services.sensing.findings import FINDINGS_SCHEMA
from fieldstone.services.sensing.limits import Limits
from fieldstone.services.sensing.pack import unnest
from fieldstone.services.sensing.schema import VARIABLE_NAMES
from fieldstone.units import PPM

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Losses of availability, not of a channel: fixing them adds time.
TIME_REASONS = ("GAPS", "NO_DATA", "FUTURE_TIME")
CAUSE_SCHEMA: dict[str, pl.DataType] = {
    "place": pl.Int64(),
    "check": pl.String(),
    "variable": pl.String(),
    "reason": pl.String(),
    "rows": pl.Int64(),
    "lost_ms": pl.Int64(),
    "severity_ppm": pl.Int64(),
    "measured": pl.Float64(),
    "threshold": pl.Float64(),
    "detail": pl.String(),
}


@dataclass(frozen=True)
class Scores:
    """Scores of the fleet, one entry per device in registry order. `causes`: CAUSE_SCHEMA plus cost and counterfactual."""

    quality_ppm: Ints
    station_ppm: Ints
    variable_ppm: Ints  # (devices, variables)
    available_ms: Ints
    expected_ms: Ints
    causes: pl.DataFrame
    off_sale: Mask  # (devices, variables): a finding took the channel off sale


def score(device_checks: pl.DataFrame, findings: pl.DataFrame, params: Mapping[str, Any]) -> Scores:
    """Combine stage 1 and the fleet's findings. `device_checks` is sorted by device; findings of others are ignored."""
    limits = Limits(device_checks["model"].to_list(), params)
    available = device_checks["available_ms"].to_numpy()
    expected = device_checks["expected_ms"].to_numpy()
    passed = np.column_stack([device_checks[f"passed_ms_{name}"].to_numpy() for name in VARIABLE_NAMES])
    causes = _causes(device_checks, findings, params)
    covered = passed + _by_channel(causes.filter(pl.col("lost_ms") > 0, pl.col("reason") != "NO_VALUE"), len(available))
    needed, optional = _channels(limits, covered, available, params)
    severity = causes.filter(pl.col("severity_ppm") > 0)
    station = _station(passed, available, needed, optional, params)
    kept = _kept(severity, len(available))
    quality = station * kept // PPM
    causes = _with_costs(causes, severity, passed, available, expected, needed, optional, station, quality, params)
    off = severity.filter(pl.col("severity_ppm") >= params["sell_finding_below_ppm"])
    channel_ppm = np.where(available[:, None] > 0, passed * PPM // np.maximum(available[:, None], 1), 0)
    sent = covered > 0
    return Scores(
        quality,
        station,
        np.where(sent | limits.required(), channel_ppm, -1),
        available,
        expected,
        causes,
        _by_channel(off.with_columns(lost_ms=pl.lit(1, pl.Int64)), len(available)) > 0,
    )


def _causes(device_checks: pl.DataFrame, findings: pl.DataFrame, params: Mapping[str, Any]) -> pl.DataFrame:
    """Bring stage-1 losses and fleet findings into one table, the most severe finding per device, check and channel."""
    places = device_checks.select("device").with_row_index("place").with_columns(pl.col("place").cast(pl.Int64))
    clock = pl.lit(int(params["clock_offset_severity_ppm"]), pl.Int64)
    own = unnest(device_checks, "losses").with_columns(
        pl.when(pl.col("reason") == "CLOCK_OFFSET").then(clock).otherwise(0).cast(pl.Int64).alias("severity_ppm"),
        pl.lit("").alias("detail"),
    )
    fleet = (
        findings.select(list(FINDINGS_SCHEMA))
        .with_columns(pl.col("severity_ppm").clip(0, PPM), pl.col("measured", "threshold").fill_nan(None))
        .sort("device", "check", "variable", -pl.col("severity_ppm"), "reason", "detail", "measured")
        .unique(("device", "check", "variable"), keep="first", maintain_order=True)
        .with_columns(rows=pl.lit(0, pl.Int64), lost_ms=pl.lit(0, pl.Int64))
    )
    columns = ["device", *(name for name in CAUSE_SCHEMA if name != "place")]
    both = pl.concat([own.select(columns), fleet.select(columns)])
    joined = both.join(places, on="device", how="inner").select(pl.col(n).cast(k) for n, k in CAUSE_SCHEMA.items())
    return joined.sort("place", "check", "variable", "reason")


def _by_channel(causes: pl.DataFrame, devices: int) -> Ints:
    """Sum `lost_ms` per device and channel."""
    table = np.zeros((devices, len(VARIABLE_NAMES)), dtype=np.int64)
    own = causes.filter(pl.col("variable") != "")
    if own.height:
        np.add.at(table, (own["place"].to_numpy(), _channel_numbers(own)), own["lost_ms"].to_numpy())
    return table


def _channel_numbers(causes: pl.DataFrame) -> Ints:
    numbers = {name: number for number, name in enumerate(VARIABLE_NAMES)}
    return causes["variable"].replace_strict(numbers, default=-1, return_dtype=pl.Int64).to_numpy()


def _channels(limits: Limits, covered: Ints, available: Ints, params: Mapping[str, Any]) -> tuple[Mask, Mask]:
    """Return which channels count as required and which as optional."""
    required = limits.required()
    frugal: Mask = (required.sum(axis=1) == 0).reshape(-1, 1)
    often: Mask = covered * PPM >= int(params["sent_from_ppm"]) * np.maximum(available, 1)[:, None]
    needed: Mask = np.where(frugal, often, required)
    sent: Mask = covered > 0
    return needed, sent & ~needed & ~frugal


def _station(passed: Ints, available: Ints, needed: Mask, optional: Mask, params: Mapping[str, Any]) -> Ints:
    """Return the station's own quality for rows of (passed, available); see the module's formula."""
    floor, weight = int(params["required_floor_ppm"]), int(params["optional_weight_ppm"])
    share = np.minimum(passed, available[:, None]) * PPM // np.maximum(available, 1)[:, None]
    result = np.full(len(available), PPM, dtype=np.int64)
    for channel in range(passed.shape[1]):
        factor = floor + (PPM - floor) * share[:, channel] // PPM
        result = np.where(needed[:, channel], result * factor // PPM, result)
    others = optional.sum(axis=1)
    mean = np.where(others > 0, (share * optional).sum(axis=1) // np.maximum(others, 1), PPM)
    result = result * (PPM - weight + weight * mean // PPM) // PPM
    nothing = (available <= 0) | ~(needed | optional).any(axis=1)
    return np.where(nothing, 0, result)


def _kept(severity: pl.DataFrame, devices: int) -> Ints:
    """Return Π (1 − severity) per device, in the causes' fixed order."""
    kept = np.full(devices, PPM, dtype=np.int64)
    ranked = severity.with_columns(pl.int_range(pl.len()).over("place").alias("rank"))
    for _, layer in sorted(ranked.group_by("rank"), key=lambda item: int(item[0][0])):
        place = layer["place"].to_numpy()
        kept[place] = kept[place] * (PPM - layer["severity_ppm"].to_numpy()) // PPM
    return kept


def _with_costs(
    causes: pl.DataFrame,
    severity: pl.DataFrame,
    passed: Ints,
    available: Ints,
    expected: Ints,
    needed: Mask,
    optional: Mask,
    station: Ints,
    quality: Ints,
    params: Mapping[str, Any],
) -> pl.DataFrame:
    """Recompute every device once per (reason, channel) as if that cause were gone; add cost and counterfactual."""
    if causes.is_empty():
        return causes.with_columns(cost_ppm=pl.lit(0, pl.Int64), quality_if_fixed_ppm=pl.lit(0, pl.Int64))
    place, lost = causes["place"].to_numpy(), causes["lost_ms"].to_numpy()
    in_time = causes["reason"].is_in(TIME_REASONS).to_numpy()
    channel = _channel_numbers(causes)
    fixed_passed = passed[place]
    one = np.flatnonzero(channel >= 0)
    fixed_passed[one, channel[one]] += lost[one]
    fixed_available = np.minimum(available[place] + np.where(in_time, lost, 0), expected[place])
    fixed_passed = np.where(in_time[:, None], _grown(fixed_passed, available[place], fixed_available), fixed_passed)
    fixed_station = _station(fixed_passed, fixed_available, needed[place], optional[place], params)
    fixed_station = np.where(in_time & (available[place] <= 0), PPM, fixed_station)
    others = (
        causes.with_row_index("case")
        .select("case", "place", "check", "variable", "reason")
        .join(
            severity.select("place", "severity_ppm", other="check", other_variable="variable", other_reason="reason"),
            on="place",
            maintain_order="left_right",
        )
    )
    same = (pl.col("check") == pl.col("other")) & (pl.col("variable") == pl.col("other_variable"))
    rest = others.filter(~(same & (pl.col("reason") == pl.col("other_reason"))))
    kept = _kept(rest.select(pl.col("case").cast(pl.Int64).alias("place"), "severity_ppm"), causes.height)
    fixed_quality = fixed_station * kept // PPM
    whole = np.maximum(expected[place], 1)
    cost = (
        fixed_quality * (fixed_available * PPM // whole) // PPM
        - quality[place] * (available[place] * PPM // whole) // PPM
    )
    return causes.with_columns(
        pl.Series("cost_ppm", np.maximum(cost, 0)), pl.Series("quality_if_fixed_ppm", fixed_quality)
    )


def _grown(passed: Ints, before: Ints, after: Ints) -> Ints:
    """Let added time have the quality of the time that is there."""
    return np.where(before[:, None] > 0, passed * (after / np.maximum(before, 1))[:, None], 0).astype(np.int64)
