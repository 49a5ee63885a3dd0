"""All fleet checks in order. What an earlier check found takes the vote in the later ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from fieldstone.services.contract import EpochInput
from fieldstone.services.sensing.findings import FleetFindings
from fieldstone.services.sensing.fleet import agreement, blends, copies, drift, indoors, place, replay, sources, weather
from fieldstone.services.sensing.fleet.frame import Bools, Floats, Frame, dense, fleet_params, frame_of
from fieldstone.services.sensing.fleet.ledger import Ledger
from fieldstone.services.sensing.fleet.surroundings import Surroundings


def run(whole: EpochInput, device_checks: pl.DataFrame) -> FleetFindings:
    """Return findings, coverage and carry of an epoch; see `fleet.check`."""
    params = fleet_params(whole.params)
    frame = dense(frame_of(whole, device_checks))
    ledger = Ledger(frame.devices)
    nobody = np.zeros(frame.count, dtype=bool)

    # 1. copied streams: the copies lose their vote, so that a farm cannot outvote its neighbours
    first = Surroundings(frame, params, ~nobody)
    judge = copies.Judge(frame, first.near, params)
    pairs = judge.certain(*copies.screen(frame, params))
    if pairs.i.size:
        found = sources.copies_of(judge, pairs, first.mean_kinship, _delays(frame, device_checks))
        sources.report(frame, found, params, ledger)
    has_series = np.zeros(frame.count, dtype=bool)
    for values in frame.series.values():
        has_series |= np.isfinite(values).sum(axis=1) >= params["copy_min_slots"]
    ledger.cover("copies", has_series & (frame.count > 1))
    copied = ledger.found("copies")
    replays = replay.report_replays(frame, whole.epoch, whole.carry.get(replay.CARRY), params, ledger, copied)

    # 2. who does not follow the weather around; those lose their vote too, and the rest is judged again without them
    around = Surroundings(frame, params, ~copied) if copied.any() else first
    strange = _strange(around, weather.strangeness(around, params)) & ~copied
    if strange.any():
        around = Surroundings(frame, params, ~(copied | strange))
        strange = _strange(around, weather.strangeness(around, params)) & ~copied
    excess, share = weather.strangeness(around, params)
    ledger.cover("weather", np.isfinite(excess))

    inside = indoors.report_indoors(around, params, ledger, copied)
    flat = weather.report_flat(around, params, ledger, copied | inside)
    smooth = weather.report_smooth(around, params, ledger, copied | inside)
    place.report_elevation(around, params, ledger, copied)
    shifted = place.report_light(around, params, ledger, copied | inside)
    explained = copied | inside | flat | smooth | shifted
    strange |= _report_strange(around, strange, explained, excess, share, ledger)
    blended = blends.report_blends(around, params, ledger, explained | strange)

    # 3. the values themselves
    voting = ~(copied | strange | inside | smooth | blended)
    agreement.report_level(around, params, ledger, copied | inside)
    agreement.report_buddies(around, params, ledger, voting, copied | inside)
    residuals = drift.report_drift(around, whole.carry.get(drift.CARRY), params, ledger, copied | inside | strange)
    return FleetFindings(ledger.findings, ledger.coverage, {replay.CARRY: replays, drift.CARRY: residuals})


def _strange(around: Surroundings, judged: tuple[Floats, Floats]) -> Bools:
    excess, share = judged
    limit, below = float(around.params["kin_excess"]), float(around.params["kin_below"])
    return (np.nan_to_num(excess) <= -limit) & (np.nan_to_num(share, nan=1.0) < below)


def _report_strange(
    around: Surroundings, strange: Bools, skip: Bools, excess: Floats, share: Floats, ledger: Ledger
) -> Bools:
    """Write WRONG_PLACE where a station fits another place of the fleet better, FABRICATED where it fits none.

    For WRONG_PLACE a doubt is enough, because the better place is evidence of its own. Return who was found.
    """
    rules = around.params
    doubtful = (np.nan_to_num(excess) <= -float(rules["place_doubt"])) & ~skip
    suspects = np.flatnonzero((strange & ~skip) | doubtful)
    elsewhere = place.better_place(around, suspects, rules)
    found = np.zeros(around.frame.count, dtype=bool)
    for device in suspects:
        away = elsewhere.get(int(device))
        fits = away is not None and away[0] >= rules["place_min_km"] and away[1] >= rules["place_gain"]
        if not fits and not strange[device]:
            continue
        found[device] = True
        evidence: dict[str, Any] = {"share_of_usual_correlation": float(share[device])}
        if fits and away is not None:
            evidence |= {"fits_better_km_away": away[0], "near_lat": away[2], "near_lon": away[3]}
        ledger.add(
            int(device),
            "weather",
            "WRONG_PLACE" if fits else "FABRICATED",
            severity_ppm=int(rules["invented_severity_ppm"]),
            measured=float(excess[device]),
            threshold=-float(rules["kin_excess" if strange[device] else "place_doubt"]),
            meaning="standard deviations by which it follows the weather around less than its peers do",
            **evidence,
        )
    return found


def _delays(frame: Frame, device_checks: pl.DataFrame) -> Floats:
    """Return the median delay from observation to receipt in ms, 0 where unknown."""
    delays = dict(zip(device_checks["device"].to_list(), device_checks["delay_median_ms"].to_list(), strict=True))
    return np.array([float(delays.get(device) or 0) for device in frame.devices])
