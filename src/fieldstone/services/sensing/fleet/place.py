"""Is a device where it claims to be? Weather at another place, air pressure of another elevation, light of another longitude."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fieldstone.services.sensing.fleet.frame import Bools, Floats, Indices
from fieldstone.services.sensing.fleet.ledger import Ledger
from fieldstone.services.sensing.fleet.signals import movement, unit
from fieldstone.services.sensing.fleet.solar import clear_sky_wm2, sin_elevation
from fieldstone.services.sensing.fleet.surroundings import KIN, Surroundings, row_quantile
from fieldstone.units import PPM


def better_place(
    around: Surroundings, suspects: Indices, params: Mapping[str, Any]
) -> dict[int, tuple[float, float, float, float]]:
    """Return suspect → (km from the claim, gain in atanh r, latitude, longitude) of the place that it fits best.

    The place is the centre of the five most alike stations, of other operators, weighted by likeness; its fit is their
    mean correlation, compared with the mean of the five nearest stations. Suspects do not vouch for each other.
    """
    frame = around.frame
    if suspects.size == 0 or frame.count < 8:
        return {}
    like = np.zeros((suspects.size, frame.count))
    weight = np.zeros((suspects.size, frame.count))
    width = max(1, min(round(3_600_000 / frame.grid.slot_ms), frame.grid.slots // 16))
    for name in KIN:
        if around.has(name) and name != "pressure_hpa":
            moved = unit(movement(around.values(name).astype(np.float32), width))
            moving = np.abs(moved).sum(axis=1) > 0
            like += KIN[name] * (moved[suspects] @ moved.T)
            weight += KIN[name] * np.outer(moving[suspects], moving)
    most = weight.max(initial=0.0)
    like = np.where(weight >= 0.7 * most, like / np.where(weight > 0, weight, 1.0), -1.0)
    like[:, suspects] = -1.0
    like[frame.operators[suspects][:, None] == frame.operators[None, :]] = -1.0
    out: dict[int, tuple[float, float, float, float]] = {}
    for row, device in enumerate(suspects):
        usable = np.flatnonzero(like[row] > -1)
        if usable.size < 8:
            continue
        r = np.round(like[row, usable], 4)
        top = usable[np.lexsort((usable, -r))[:5]]
        distance = frame.distance_km(np.full(usable.size, device), usable)
        nearest = usable[np.lexsort((usable, distance))[:5]]
        best, claimed = like[row, top].mean(), like[row, nearest].mean()
        gain = np.arctanh(np.clip(best, 0, 0.99)) - np.arctanh(np.clip(claimed, 0, 0.99))
        centre = np.average(frame.places_km[top], axis=0, weights=np.maximum(like[row, top], 1e-6))
        away = float(np.linalg.norm(centre - frame.places_km[device]))
        lat = float(np.degrees(np.arctan2(centre[2], np.hypot(centre[0], centre[1]))))
        lon = float(np.degrees(np.arctan2(centre[1], centre[0])))
        if best >= params["place_alike"]:
            out[int(device)] = (round(away, 1), round(float(gain), 3), round(lat, 2), round(lon, 2))
    return out


def report_elevation(around: Surroundings, params: Mapping[str, Any], ledger: Ledger, skip: Bools) -> Bools:
    """Write WRONG_ELEVATION where the pressure stays off its neighbours', both reduced to sea level."""
    n = around.frame.count
    if not around.has("pressure_hpa"):
        return np.zeros(n, dtype=bool)
    least = int(params["min_slots"])
    residual = np.round(row_quantile(around.values("pressure_hpa") - around.median("pressure_hpa"), 0.5, least), 3)
    ledger.cover("elevation", np.isfinite(residual))
    caught = (np.abs(np.nan_to_num(residual)) > params["elevation_hpa"]) & ~skip
    for device in np.flatnonzero(caught):
        ledger.add(
            int(device),
            "elevation",
            "WRONG_ELEVATION",
            variable="pressure_hpa",
            severity_ppm=int(params["elevation_severity_ppm"]),
            measured=float(residual[device]),
            threshold=float(params["elevation_hpa"]),
            meaning="hPa above the neighbours at the same level",
            fits_elevation_m=round(float(around.frame.elevation_m[device] - 8.3 * residual[device])),
        )
    return np.asarray(caught)


def light_shift(around: Surroundings, params: Mapping[str, Any]) -> tuple[Floats, Floats]:
    """Return (minutes by which the light comes later than at the claim, correlation there); NaN without a clear gain."""
    frame = around.frame
    n = frame.count
    shift, fit = np.full(n, np.nan), np.full(n, np.nan)
    if not around.has("solar_wm2") or frame.grid.slots * frame.grid.slot_ms < 20 * 3_600_000:
        return shift, fit
    light = around.values("solar_wm2")
    present = np.isfinite(light)
    enough = present.mean(axis=1) >= 0.7
    rows = np.flatnonzero(enough & (np.nan_to_num(light).max(axis=1, initial=0.0) > 20))
    if rows.size == 0:
        return shift, fit
    seen = np.where(present[rows], light[rows], 0.0)
    minutes = np.arange(-720, 720, 15)
    best, zero = np.full(rows.size, -1.0), np.full(rows.size, -1.0)
    at = np.zeros(rows.size)
    centred = np.where(present[rows], seen - (seen.sum(axis=1) / present[rows].sum(axis=1))[:, None], 0.0)
    norm = np.sqrt((centred**2).sum(axis=1))
    for minute in minutes:
        sun = clear_sky_wm2(
            sin_elevation(frame.lat[rows, None], frame.lon[rows, None] - minute / 4, frame.grid.centres_ms[None, :])
        )
        sun = np.where(present[rows], sun, 0.0)
        sun = np.where(present[rows], sun - (sun.sum(axis=1) / present[rows].sum(axis=1))[:, None], 0.0)
        power = np.sqrt((sun**2).sum(axis=1)) * norm
        r = np.round((sun * centred).sum(axis=1) / np.where(power > 0, power, 1.0), 4)
        if minute == 0:
            zero = r
        better = r > best
        best, at = np.where(better, r, best), np.where(better, float(minute), at)
    clear = best - zero > 0.02
    shift[rows] = np.where(clear, at, 0.0)
    fit[rows] = best
    return shift, fit


def report_light(around: Surroundings, params: Mapping[str, Any], ledger: Ledger, skip: Bools) -> Bools:
    """Write WRONG_PLACE where the daily course of light belongs to another longitude (or the clock is far off)."""
    shift, fit = light_shift(around, params)
    ledger.cover("light", np.isfinite(shift))
    # a clear morning and a cloudy afternoon shift everybody's light: compare with the neighbours', if there are any
    ids = around.near.index
    usual = row_quantile(np.where(ids >= 0, shift[ids], np.nan), 0.5, int(params["min_votes"]))
    limit = np.where(np.isfinite(usual), params["longitude_min"], params["longitude_alone_min"])
    far = np.abs(np.nan_to_num(shift) - np.nan_to_num(usual)) >= limit
    caught = far & (np.nan_to_num(fit) >= params["longitude_r"]) & ~skip
    for device in np.flatnonzero(caught):
        ledger.add(
            int(device),
            "light",
            "WRONG_PLACE",
            severity_ppm=PPM,
            measured=float(shift[device]),
            threshold=float(limit[device]),
            meaning="minutes by which noon comes later than at the claimed place; a clock in a wrong time zone looks alike",
            fits_longitude=round(float((around.frame.lon[device] - shift[device] / 4 + 180) % 360 - 180), 1),
            correlation=float(fit[device]),
        )
    return np.asarray(caught)
