"""Checks that need one reading, or one instant: numbers, clock, repeated times, range, amounts, contradictions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fieldstone.services.sensing.flags import Flags
from fieldstone.services.sensing.limits import Limits, per_row
from fieldstone.services.sensing.rows import Rows

Mask = NDArray[np.bool_]

TOLERANCE = 1e-9  # relative; a value that sits on its limit after a change of units passes


def check_numbers(rows: Rows, variable: str, flags: Flags) -> None:
    """NaN and infinity are sent values that fail, unlike missing ones. Repeated times with other values fail likewise."""
    wrong = rows.not_numbers[variable]
    if len(wrong):
        flags.fail(np.flatnonzero(wrong), "NOT_A_NUMBER", np.nan, np.nan)
    if variable in rows.conflicts:
        flags.fail(np.flatnonzero(rows.conflicts[variable]), "REPEATED_TIME", np.nan, np.nan)


def check_range(rows: Rows, variable: str, flags: Flags, limits: Limits) -> None:
    """Compare with what the model can measure; amounts also with what can fall or pass in the time since the last."""
    values = rows.values[variable]
    low, high = limits.channel(variable, "low"), limits.channel(variable, "high")
    with np.errstate(invalid="ignore"):
        outside = (values < per_row(low, rows.device)) | (values > per_row(high, rows.device))
    if outside.any():
        bad = np.flatnonzero(outside)
        limit = np.where(values[bad] < low[rows.device[bad]], low[rows.device[bad]], high[rows.device[bad]])
        flags.fail(bad, "OUT_OF_RANGE", values[bad], limit)
    per_s = limits.channel(variable, "per_s")
    if np.isfinite(per_s).any():
        _check_amount(rows, variable, flags, limits, per_s)


def _check_amount(rows: Rows, variable: str, flags: Flags, limits: Limits, per_s: NDArray[np.float64]) -> None:
    values = rows.values[variable]
    present = np.flatnonzero(values > 0)  # NaN is not
    if len(present) == 0:
        return
    sent = np.flatnonzero(~np.isnan(values))
    where = np.searchsorted(sent, present)
    before = sent[np.maximum(where - 1, 0)]
    device = rows.device[present]
    since_s = (rows.t_ms[present] - rows.t_ms[before]) / 1000.0
    alone = (where == 0) | (rows.device[before] != device)
    since_s = np.where(alone, limits.model("hold_s")[device], np.maximum(since_s, limits.model("step_s")[device]))
    most = np.maximum(per_s[device] * since_s, limits.channel(variable, "resolution")[device])
    with np.errstate(invalid="ignore"):
        fast = values[present] > most * (1 + TOLERANCE)
    flags.fail(present[fast], "TOO_FAST", values[present][fast], most[fast])


def check_cross(rows: Rows, flags: dict[str, Flags], limits: Limits) -> None:
    """Find channels that contradict each other: PM2.5 above PM10, more water vapour than air has ever held."""
    params = limits.params
    pair = ("pm2_5_ugm3", "pm10_ugm3")
    if all(name in rows.values for name in pair):
        fine, coarse = (rows.values[name] for name in pair)
        most = coarse * (1 + params["pm_tolerance_share"]) + params["pm_tolerance_ugm3"]
        _contradict(rows, flags, pair, fine, most, fine > most)
    pair = ("temperature_c", "humidity_pct")
    if all(name in rows.values for name in pair):
        temperature, humidity = (rows.values[name] for name in pair)
        good = (flags[pair[0]].code == 0) & (flags[pair[1]].code == 0)
        hot = np.flatnonzero(good & (temperature > 34.0))  # cooler air cannot hold that much
        if len(hot):
            warm = np.minimum(temperature[hot], 1000.0)
            vapour = np.full(len(rows), np.nan)
            # Magnus, coefficients of WMO-No. 8 annex 4.B
            # rounded, because exp may differ in the last bit between processors
            vapour[hot] = np.round(humidity[hot] / 100.0 * 6.112 * np.exp(17.62 * warm / (243.12 + warm)), 6)
            limit = np.full(len(rows), float(params["vapour_pressure_max_hpa"]))
            _contradict(rows, flags, pair, vapour, limit, vapour > limit)


def _contradict(
    rows: Rows,
    flags: dict[str, Flags],
    names: tuple[str, str],
    measured: NDArray[np.float64],
    threshold: NDArray[np.float64],
    wrong: Mask,
) -> None:
    both_good = (flags[names[0]].code == 0) & (flags[names[1]].code == 0)
    bad = np.flatnonzero(wrong & both_good)
    for name in names:
        flags[name].fail(bad, "CROSS_CHANNEL", measured[bad], threshold[bad])
