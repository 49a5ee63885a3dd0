"""Do the values themselves agree with the stations around? Slot by slot (buddy check) and as a level over the epoch.

A coast, a valley or a bias are honest: they cost little (`buddy_cap_ppm`). A level that is off by more than any
microclimate takes the channel off sale. Where a wider ring can be asked it has the last word, because a cluster of
friends next door can outvote an honest station, but not a ring of strangers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fieldstone.services.sensing.fleet.frame import Bools, Floats
from fieldstone.services.sensing.fleet.ledger import Ledger
from fieldstone.services.sensing.fleet.surroundings import LAPSE_C_PER_M, Surroundings, row_quantile
from fieldstone.services.sensing.neighbours import FLAGGED, PASSED, BuddyRule, buddy_flags_batch, neighbour_lists
from fieldstone.units import PPM

LEVELS = ("temperature_c", "humidity_pct", "wind_speed_ms")
BUDDIES = ("temperature_c", "humidity_pct", "pressure_hpa", "pm2_5_ugm3")


def report_level(around: Surroundings, params: Mapping[str, Any], ledger: Ledger, skip: Bools) -> None:
    """Write NEIGHBOURS_DISAGREE where the median difference from the ring (else the voters) is beyond a microclimate."""
    least = int(params["min_slots"])
    for name in LEVELS:
        if not around.has(name):
            continue
        own = around.values(name)
        near = row_quantile(own - around.median(name), 0.5, least)
        ring = row_quantile(own - around.ring_median(name), 0.5, least)
        level = np.round(np.where(np.isfinite(ring), ring, near), 3)
        limit = float(params[f"level_{name}"])
        for device in np.flatnonzero((np.abs(np.nan_to_num(level)) > limit) & ~skip):
            ledger.add(
                int(device),
                "level",
                "NEIGHBOURS_DISAGREE",
                variable=name,
                severity_ppm=int(params["level_severity_ppm"]),
                measured=float(level[device]),
                threshold=limit,
                meaning="median difference from the stations around",
                asked="ring" if np.isfinite(ring[device]) else "nearest",
            )


def report_buddies(
    around: Surroundings, params: Mapping[str, Any], ledger: Ledger, allowed: Bools, skip: Bools
) -> None:
    """Write NEIGHBOURS_DISAGREE for channels that disagree in more than `buddy_share` of their slots."""
    frame = around.frame
    radius_m = float(params["radius_km"]) * 1000
    judged_any: Floats = np.zeros(frame.count)
    lists = neighbour_lists(frame.lat, frame.lon, radius_m, groups=frame.operators) if frame.count else None
    for name in BUDDIES:
        if not around.has(name) or lists is None:
            continue
        rule = BuddyRule(
            min_neighbours=int(params["min_votes"]),
            threshold=float(params["buddy_threshold"]),
            lapse_per_m=LAPSE_C_PER_M if name == "temperature_c" else 0.0,
            min_sd=float(params[f"buddy_sd_{name}"]),
        )
        values = around.values(name)
        voting = np.where(allowed[:, None], values, np.nan)
        flags = buddy_flags_batch(voting, lists, rule, elevation_m=frame.elevation_m)
        ring = around.ring_median(name)
        limit = rule.threshold * rule.min_sd
        confirmed = ~np.isfinite(ring) | (np.abs(values - ring) > limit)
        flagged = ((flags == FLAGGED) & confirmed).sum(axis=1)
        judged = ((flags == FLAGGED) | (flags == PASSED)).sum(axis=1)
        judged_any = np.maximum(judged_any, judged / max(frame.grid.slots, 1))
        share = np.round(flagged / np.maximum(judged, 1), 4)
        enough = judged >= params["min_slots"]
        for device in np.flatnonzero(enough & (share > params["buddy_share"]) & ~skip):
            ledger.add(
                int(device),
                "neighbours",
                "NEIGHBOURS_DISAGREE",
                variable=name,
                severity_ppm=min(int(params["buddy_cap_ppm"]), int(share[device] * PPM)),
                measured=float(share[device]),
                threshold=float(params["buddy_share"]),
                meaning="share of slots in which the value stands outside its neighbours'",
            )
    ledger.cover("neighbours", judged_any)
