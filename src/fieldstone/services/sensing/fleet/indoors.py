"""Indoors or boxed in: hardly any light, a damped day, no wind (after the public "blind" detectors, sensing §2.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fieldstone.services.sensing.fleet.frame import Bools, Floats
from fieldstone.services.sensing.fleet.ledger import Ledger
from fieldstone.services.sensing.fleet.solar import clear_sky_wm2, sin_elevation
from fieldstone.services.sensing.fleet.surroundings import Surroundings, row_quantile


def light_ratios(around: Surroundings, params: Mapping[str, Any]) -> tuple[Floats, Floats]:
    """Return light over clear-sky light, of the device and of its voters' median, with the sun above 7°; NaN unknown."""
    frame = around.frame
    sine = sin_elevation(frame.lat[:, None], frame.lon[:, None], frame.grid.centres_ms[None, :])
    clear = clear_sky_wm2(sine)
    day = sine > np.sin(np.radians(7.0))
    bright = np.where(day, clear, 0).mean(axis=1) > params["night_wm2"]
    least = np.maximum(params["daylight_share"] * day.sum(axis=1), 4)

    def ratio(light: Floats) -> Floats:
        use = day & np.isfinite(light)
        theory = np.where(use, clear, 0).sum(axis=1)
        known = bright & (use.sum(axis=1) >= least) & (theory > 0)
        return np.where(known, np.where(use, light, 0).sum(axis=1) / np.where(theory > 0, theory, 1.0), np.nan)

    if not around.has("solar_wm2"):
        nothing = np.full(frame.count, np.nan)
        return nothing, nothing
    return np.round(ratio(around.values("solar_wm2")), 4), np.round(ratio(around.median("solar_wm2")), 4)


def report_indoors(around: Surroundings, params: Mapping[str, Any], ledger: Ledger, skip: Bools) -> Bools:
    """Write INDOORS where light is missing and a second sign agrees; without light, where range and wind both agree.

    Signs: daily range of temperature and of humidity far below the neighbours'; no wind while neighbours have some.
    Without neighbours only almost complete darkness together with no wind counts.
    """
    n = around.frame.count
    least = int(params["min_slots"])
    own_light, their_light = light_ratios(around, params)
    relative = own_light / np.where(their_light > 0.02, their_light, np.nan)
    dim = np.nan_to_num(relative, nan=np.inf) < params["indoor_light"]
    dark = np.nan_to_num(own_light, nan=np.inf) < params["indoor_dark"]
    narrow = np.zeros((2, n), dtype=bool)
    ratios = np.full((2, n), np.nan)
    for number, name in enumerate(("temperature_c", "humidity_pct")):
        if around.has(name):
            own, others = around.values(name), around.median(name)
            both = np.isfinite(own) & np.isfinite(others)
            mine, theirs = np.where(both, own, np.nan), np.where(both, others, np.nan)
            span = row_quantile(theirs, 0.95, least) - row_quantile(theirs, 0.05, least)
            width = row_quantile(mine, 0.95, least) - row_quantile(mine, 0.05, least)
            judged = span >= params[f"flat_range_{name}"]
            ratios[number] = np.where(judged, np.round(width / np.where(judged, span, 1.0), 4), np.nan)
            narrow[number] = np.nan_to_num(ratios[number], nan=np.inf) < params["indoor_range"]
    calm, breezy = _calm(around, params)
    no_wind = (np.nan_to_num(calm) > params["indoor_calm"]) & breezy
    lonely = ~np.isfinite(their_light)
    by_light = dim & (narrow.any(axis=0) | no_wind) | lonely & dark & (np.nan_to_num(calm) > params["indoor_calm"])
    without_light = ~np.isfinite(own_light) & narrow.all(axis=0) & (no_wind | ~np.isfinite(calm))
    ledger.cover("indoors", np.isfinite(own_light) | np.isfinite(ratios).all(axis=0))
    caught = (by_light | without_light) & ~skip
    for device in np.flatnonzero(caught):
        ledger.add(
            int(device),
            "indoors",
            "INDOORS",
            severity_ppm=int(params["indoor_severity_ppm"]),
            measured=float(relative[device] if by_light[device] and not lonely[device] else own_light[device])
            if by_light[device]
            else float(ratios[0, device]),
            threshold=float(
                params["indoor_range" if not by_light[device] else "indoor_dark" if lonely[device] else "indoor_light"]
            ),
            light_share=_number(own_light[device]),
            light_share_of_neighbours=_number(their_light[device]),
            temperature_range_share=_number(ratios[0, device]),
            humidity_range_share=_number(ratios[1, device]),
            calm_share=_number(calm[device]),
        )
    return np.asarray(caught)


def _calm(around: Surroundings, params: Mapping[str, Any]) -> tuple[Floats, Bools]:
    """Return the share of slots without wind, and whether the neighbours had wind (median above 1 m/s)."""
    n = around.frame.count
    if not around.has("wind_speed_ms"):
        return np.full(n, np.nan), np.zeros(n, dtype=bool)
    wind = around.values("wind_speed_ms")
    present = np.isfinite(wind).sum(axis=1)
    still = np.where(np.isfinite(wind), wind < 0.3, False).sum(axis=1)
    calm = np.where(present >= params["min_slots"], np.round(still / np.maximum(present, 1), 4), np.nan)
    others = row_quantile(around.median("wind_speed_ms"), 0.5, int(params["min_slots"]))
    return calm, np.nan_to_num(others) > 1.0


def _number(value: float) -> float | None:
    return round(float(value), 3) if np.isfinite(value) else None
