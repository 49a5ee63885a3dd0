"""Stage 1: look at each device alone and write one compact row about it (`series.RESAMPLED`).

Everything works on whole columns of the partition; nothing depends on which devices share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fieldstone.services.contract import EpochInput
from fieldstone.services.sensing import stuck
from fieldstone.services.sensing.coverage import longest_gap, vouched
from fieldstone.services.sensing.flags import CHECK_OF, CODE_OF, Flags
from fieldstone.services.sensing.limits import Limits
from fieldstone.services.sensing.pack import nest, nest_numbers, stack
from fieldstone.services.sensing.rows import Rows, read_rows
from fieldstone.services.sensing.schema import KIND, VARIABLE_NAMES
from fieldstone.services.sensing.series import LOSS, RESAMPLED, RUN, grid_of
from fieldstone.services.sensing.slots import fill_slots, plan_slots
from fieldstone.services.sensing.spikes import check_spikes
from fieldstone.services.sensing.value_checks import check_cross, check_numbers, check_range

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

CHECKS = {**CHECK_OF, "NO_VALUE": "gaps", "GAPS": "gaps", "NO_DATA": "gaps", "CLOCK_OFFSET": "clock"}
CHECKS |= {"OUTSIDE_EPOCH": "clock", "BEFORE_ENROLMENT": "enrolment"}
_FLAT_LOSS = {"place": pl.Int64(), **{field.name: field.dtype for field in LOSS.fields if field.name != "check"}}
_FLAT_RUN = {"place": pl.Int64(), **{field.name: field.dtype for field in RUN.fields}}


def check_devices(part: EpochInput) -> pl.DataFrame:
    """Return RESAMPLED for the devices of `part.registry`, sorted by device."""
    registry = part.registry.sort("device")
    rows = read_rows(part.evidence[KIND], registry, part.start_ms, part.end_ms)
    limits = Limits(_models(registry, rows, part.params), part.params)
    begin_ms = np.clip(registry["enrolled_ms"].fill_null(part.start_ms).to_numpy(), part.start_ms, part.end_ms)
    hold_ms = (limits.model("hold_s") * 1000).astype(np.int64)
    time_ms = vouched(rows.t_ms, rows.device, begin_ms, part.end_ms, hold_ms)
    future = rows.delay_ms < -int(part.params["future_tolerance_s"] * 1000)
    flags, runs = _check_values(rows, future, limits, stuck.open_runs(part.carry.get(stuck.CARRY), registry))
    grid = grid_of(part.start_ms, part.end_ms, part.params)
    plan = plan_slots(rows, grid)
    expected_ms = part.end_ms - begin_ms
    available_ms = _per_device(rows, time_ms, ~future)
    table: dict[str, Any] = {
        "device": registry["device"],
        "model": pl.Series(limits.names, dtype=pl.String),
        "step_s": limits.model("step_s").astype(np.int64),
        "slot_ms": np.full(rows.devices, grid.slot_ms, dtype=np.int64),
        "expected_ms": expected_ms,
        "available_ms": available_ms,
        "rows": rows.evidence_counts,
        "longest_gap_ms": longest_gap(rows.t_ms, rows.device, begin_ms, part.end_ms),
    }
    table["delay_median_ms"], losses = _clock_losses(rows, time_ms, future, limits)
    losses += _gap_losses(rows, table, time_ms, hold_ms)
    required = limits.required()
    bits = np.zeros(int(rows.evidence_counts.sum()), dtype=np.uint16)
    for number, name in enumerate(VARIABLE_NAMES):
        if name not in flags:
            passed_ms = covered_ms = np.zeros(rows.devices, dtype=np.int64)
            table[f"series_{name}"] = pl.Series([None] * rows.devices, dtype=pl.List(pl.Float32))
        else:
            values, mine = rows.values[name], flags[name]
            present, own_ms = _own_time(rows, name, flags, time_ms, begin_ms, part.end_ms, hold_ms, limits)
            good = present & (mine.code == 0)
            covered_ms = np.minimum(_per_device(rows, own_ms, present & ~future), available_ms)
            passed_ms = np.minimum(_per_device(rows, own_ms, good), available_ms)
            if mine.any:
                losses.append(mine.losses(name, rows.device, own_ms))
            held = ~np.isnan(values)
            _set_bits(bits, rows, name, number, good & held)
            visible = mine.good_for_series() & held if mine.any or future.any() else held
            table[f"series_{name}"] = fill_slots(plan, name, values, None if visible.all() else visible)
        table[f"passed_ms_{name}"] = passed_ms
        expected_here = required[:, number] | (covered_ms > 0)
        losses.append(_missing(name, expected_here, available_ms - covered_ms, available_ms))
    table["losses"] = _nest_losses(losses, rows.devices)
    table["runs"] = _nest_runs(runs, rows.devices)
    table["row_flags"] = nest_numbers(bits, rows.evidence_counts)
    return pl.DataFrame(table).select(pl.col(name).cast(kind) for name, kind in RESAMPLED.items())


def _models(registry: pl.DataFrame, rows: Rows, params: Mapping[str, Any]) -> list[str]:
    """Return the model that judges each device: its own, or for an unlisted one the default that fits its rhythm."""
    named = registry["model"].fill_null("").to_list()
    unlisted = np.array([name not in params["models"] for name in named], dtype=np.bool_)
    if not unlisted.any() or len(rows) == 0:
        return named
    step = np.diff(rows.t_ms)
    inside = (rows.device[1:] == rows.device[:-1]) & unlisted[rows.device[1:]]
    median = (
        pl.DataFrame({"place": rows.device[1:][inside], "step": step[inside]})
        .group_by("place")
        .agg(pl.col("step").median())
        .filter(pl.col("step") > params["slow_from_s"] * 1000)
    )
    for place in median["place"].to_list():
        named[place] = str(params["slow_model"])
    return named


def _check_values(
    rows: Rows, future: Mask, limits: Limits, before: dict[str, stuck.OpenRuns]
) -> tuple[dict[str, Flags], dict[str, stuck.OpenRuns]]:
    """Run the value checks in their fixed order; return the marks and the runs open at the end, by channel."""
    flags = {name: Flags(len(rows)) for name in VARIABLE_NAMES if name in rows.values}
    for name, mine in flags.items():
        if future.any():
            mine.code[future] = CODE_OF["FUTURE_TIME"]  # charged once, to the whole device
        check_numbers(rows, name, mine)
        check_range(rows, name, mine, limits)
        check_spikes(rows, name, mine, limits)
    check_cross(rows, flags, limits)
    runs = {name: stuck.check_stuck(rows, name, flags, limits, before.get(name, stuck.NO_RUNS)) for name in flags}
    return flags, runs


def _own_time(
    rows: Rows,
    name: str,
    flags: dict[str, Flags],
    time_ms: Ints,
    begin_ms: Ints,
    end_ms: int,
    hold_ms: Ints,
    limits: Limits,
) -> tuple[Mask, Ints]:
    """Return where a channel is present, and the time for which each of its readings vouches.

    A wind direction that is missing in calm counts as present: there is none (reference: sensing §5.7).
    """
    present = ~np.isnan(rows.values[name])
    if len(rows.not_numbers[name]):
        present |= rows.not_numbers[name]
    if name == "wind_direction_deg" and "wind_speed_ms" in rows.values:
        with np.errstate(invalid="ignore"):
            calm = rows.values["wind_speed_ms"] <= limits.params["calm_ms"]
        has_vane = np.bincount(rows.device[present], minlength=rows.devices) > 0  # others miss it all day long
        present |= calm & (flags["wind_speed_ms"].code == 0) & has_vane[rows.device]
    if present.all():
        return present, time_ms
    some = np.flatnonzero(present)
    own_ms = np.zeros(len(rows), dtype=np.int64)
    own_ms[some] = vouched(rows.t_ms[some], rows.device[some], begin_ms, end_ms, hold_ms)
    return present, own_ms


def _per_device(rows: Rows, time_ms: Ints, mask: Mask) -> Ints:
    """Sum milliseconds per device."""
    total = np.zeros(rows.devices, dtype=np.int64)
    if len(rows):
        first = np.flatnonzero(rows.first_of_device)
        total[rows.device[first]] = np.add.reduceat(time_ms if mask.all() else np.where(mask, time_ms, 0), first)
    return total


def _set_bits(bits: NDArray[np.uint16], rows: Rows, name: str, number: int, good: Mask) -> None:
    source = rows.held_by.get(name, rows.source)
    bits[source if good.all() else source[good]] |= np.uint16(1 << number)


def _clock_losses(rows: Rows, time_ms: Ints, future: Mask, limits: Limits) -> tuple[pl.Series, list[pl.DataFrame]]:
    """Judge the clock: dated ahead of receipt, or always late by the same. Return the median delay and the losses."""
    params, devices = limits.params, rows.devices
    empty = pl.Series([None] * devices, dtype=pl.Int64)
    losses = [
        _loss(np.flatnonzero(counts), "", reason, counts[counts > 0], 0, np.nan, np.nan)
        for reason, counts in (("OUTSIDE_EPOCH", rows.outside), ("BEFORE_ENROLMENT", rows.early))
    ]
    if len(rows) == 0:
        return empty, losses
    if future.any():
        who = np.unique(rows.device[future])
        worst = np.zeros(devices)
        np.maximum.at(worst, rows.device[future], -rows.delay_ms[future] / 1000.0)
        counts = np.bincount(rows.device[future], minlength=devices)[who]
        lost = _per_device(rows, time_ms, future)[who]
        losses.append(_loss(who, "", "FUTURE_TIME", counts, lost, worst[who], float(params["future_tolerance_s"])))
    if not rows.delay_ms.any():
        return empty.fill_null(0).set(pl.Series(rows.evidence_counts == 0), None), losses
    delays = (
        pl.DataFrame({"place": rows.device, "delay": rows.delay_ms})
        .group_by("place", maintain_order=True)
        .agg(pl.col("delay").median().alias("median"), pl.col("delay").min().alias("least"), pl.len().alias("count"))
    )
    who = delays["place"].to_numpy()
    least = delays["least"].to_numpy() / 1000.0
    behind = (least > params["clock_offset_min_s"]) & (least <= params["clock_offset_max_s"])
    behind &= delays["count"].to_numpy() >= params["clock_offset_min_rows"]
    limit = float(params["clock_offset_min_s"])
    losses.append(_loss(who[behind], "", "CLOCK_OFFSET", delays["count"].to_numpy()[behind], 0, least[behind], limit))
    every = pl.DataFrame({"place": np.arange(devices, dtype=np.int32)})
    median = every.join(delays, on="place", how="left", maintain_order="left")["median"]
    return median.floor().cast(pl.Int64), losses


def _gap_losses(rows: Rows, table: dict[str, Any], time_ms: Ints, hold_ms: Ints) -> list[pl.DataFrame]:
    """Charge the time for which no reading vouches: NO_DATA when there is none at all, else GAPS."""
    vouched_ms = _per_device(rows, time_ms, np.ones(len(rows), dtype=np.bool_))
    missing = table["expected_ms"] - vouched_ms
    silent = np.bincount(rows.device, minlength=rows.devices) == 0
    gap_s, hold_s = table["longest_gap_ms"] / 1000.0, hold_ms / 1000.0
    none, some = np.flatnonzero(silent), np.flatnonzero(~silent & (missing > 0))
    return [
        _loss(none, "", "NO_DATA", 0, missing[none], gap_s[none], hold_s[none]),
        _loss(some, "", "GAPS", 0, missing[some], gap_s[some], hold_s[some]),
    ]


def _missing(name: str, expected: Mask, missing_ms: Ints, available_ms: Ints) -> pl.DataFrame:
    """Charge a channel that is required, or that the device does send, for the time in which only others report."""
    who = np.flatnonzero(expected & (missing_ms > 0))
    share = missing_ms[who] / available_ms[who]
    return _loss(who, name, "NO_VALUE", 0, missing_ms[who], share, 0.0)


def _loss(who: Any, variable: str, reason: str, rows: Any, lost_ms: Any, measured: Any, threshold: Any) -> pl.DataFrame:
    count = len(who)
    numbers = {"rows": rows, "lost_ms": lost_ms, "measured": measured, "threshold": threshold}
    columns = {name: np.broadcast_to(np.asarray(value), (count,)) for name, value in numbers.items()}
    text = {"variable": pl.repeat(variable, count, eager=True), "reason": pl.repeat(reason, count, eager=True)}
    return pl.DataFrame({"place": np.asarray(who, dtype=np.int64), **text, **columns})


def _nest_losses(losses: list[pl.DataFrame], devices: int) -> pl.Series:
    flat = stack(losses, _FLAT_LOSS).with_columns(
        pl.col("reason").replace_strict(CHECKS, return_dtype=pl.String).alias("check"),
        pl.col("measured", "threshold").fill_nan(None),
    )
    return nest(flat.sort("place", "variable", "reason"), LOSS, devices)


def _nest_runs(runs: dict[str, stuck.OpenRuns], devices: int) -> pl.Series:
    frames = [
        pl.DataFrame(
            {"place": open_.place, "value": open_.value, "since_ms": open_.since_ms, "last_ms": open_.last_ms}
        ).with_columns(pl.lit(name).alias("variable"))
        for name, open_ in runs.items()
    ]
    return nest(stack(frames, _FLAT_RUN).sort("place", "variable"), RUN, devices)
